#!/usr/bin/env python3
"""Compares the speed of the program with a lower bound and with common tools, interleaved (A B C A B C), and prints ratios.

    cargo build --release && python3 tests/bench/bench.py [many|one|words|start] ...

Every round uses fresh folders below --folder (default: a new temporary one) and deletes nothing before the end: deleting
many folders makes the next ones slower to create, which would charge one command for another's clean-up.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
RELEASE = PROJECT / "target" / "release"

XARGS = """seq {n} | xargs -P2 -n1 sh -c '
mkdir -p "$0/wd" && cd "$0/wd" && exec /bin/true >../stdout.txt 2>../stderr.txt'"""

RUN_FILE = """
[run]
name = "true"
[input]
files = ["in/*"]
[task]
command = ["/bin/true"]
[pool]
nodes = {nodes}
slots_per_node = 1
[output]
directory = "out"
"""


class Bench:
    def __init__(self, folder, rounds):
        self.folder, self.rounds, self.fresh = Path(folder), rounds, 0

    def new(self):
        self.fresh += 1
        path = self.folder / f"round-{self.fresh}"
        path.mkdir(parents=True)
        return path

    def compare(self, title, unit, commands, rounds=None):
        """Runs commands in turn. `commands` maps a name to a function(folder) that returns (arguments, working folder); ratios refer to the first."""
        taken = {name: [] for name in commands}
        for _ in range(rounds or self.rounds):
            for name, prepare in commands.items():
                arguments, where = prepare(self.new())
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                began = time.perf_counter()
                subprocess.run(arguments, cwd=where, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                wall = time.perf_counter() - began
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                taken[name].append((wall, cpu))
        first = [wall for wall, _ in next(iter(taken.values()))]
        print(f"\n{title}\n")
        print("| command | wall, min / median / max | per unit | x first (median of rounds) | CPU |")
        print("|---|---|---|---|---|")
        for name, rounds_taken in taken.items():
            walls = sorted(wall for wall, _ in rounds_taken)
            ratio = statistics.median(wall / base for (wall, _), base in zip(rounds_taken, first))
            middle = statistics.median(walls)
            cpu = statistics.median(cpu for _, cpu in rounds_taken)
            print(
                f"| {name} | {walls[0]:.3f} / {middle:.3f} / {walls[-1]:.3f} s | {middle / unit * 1e6:.0f} us "
                f"| {ratio:.2f} | {cpu:.2f} s |"
            )
        sys.stdout.flush()

    def run_folder(self, count, nodes):
        """Prepares a run of one-byte inputs, which are created once; each round has its own output and state."""
        source = self.folder / f"inputs-{count}"
        if not source.exists():
            (source / "in").mkdir(parents=True)
            for number in range(count):
                (source / "in" / f"f{number}").write_text("x")
            (source / "run.toml").write_text(RUN_FILE.format(nodes=nodes))

        def prepare(fresh):
            output = f"output.directory={fresh}/out"
            command = [RELEASE / "dropmill", "run", "run.toml", "-q", "--state", fresh / "state", "--set", output]
            return command, source

        return prepare

    def many(self):
        for count in (1000, 5000):
            self.compare(
                f"{count} x /bin/true: folder, two files, durable record; dropmill also transfers inputs and results through the protocol",
                count,
                {
                    "floor": lambda fresh, n=count: ([self.floor(), str(n), fresh / "tasks"], fresh),
                    "dropmill run": self.run_folder(count, 4),
                    "xargs -P2 with folders": lambda fresh, n=count: (["sh", "-c", XARGS.format(n=n)], fresh),
                },
            )

    def one(self):
        self.compare(
            "one task: the whole command, from start to exit",
            1,
            {"/bin/true": lambda fresh: (["/bin/true"], fresh), "dropmill run": self.run_folder(1, 1)},
            rounds=20,
        )

    def words(self):
        text = self.folder / "text.txt"
        if not text.exists():
            self.write_text(text, 200 << 20)

        def ours(fresh):
            os.link(text, fresh / "text.txt")
            return [RELEASE / "top-words", "text.txt", "10"], fresh

        self.compare(
            "words of 200 MiB",
            200,
            {"top-words": ours, "wc -w": lambda fresh: (["env", "LC_ALL=C", "wc", "-w", text], fresh)},
        )

    def start(self):
        def ours(fresh):
            (fresh / "text.txt").write_text("a few words " * 80)
            loop = f"for i in $(seq 200); do {RELEASE}/top-words text.txt 3; done"
            return ["sh", "-c", loop], fresh

        def wc(fresh):
            (fresh / "text.txt").write_text("a few words " * 80)
            return ["sh", "-c", "for i in $(seq 200); do wc -w text.txt; done"], fresh

        self.compare("a file of 1 KiB, including the start of the process (200 times)", 200, {"wc -w": wc, "top-words": ours})

    def floor(self):
        built = self.folder / "floor"
        if not built.exists():
            source = Path(__file__).with_name("floor.rs")
            subprocess.run(["rustc", "-O", "--edition", "2024", source, "-o", built], check=True)
        return built

    @staticmethod
    def write_text(path, size):
        """Writes a deterministic text with Zipf-distributed words."""
        state = 12345
        letters = "etaoinshrdlucmfwypvbgkjqxz"
        words = []
        for number in range(200_000):
            word, rest = "", number
            while True:
                word += letters[rest % 26]
                rest //= 26
                if rest == 0:
                    break
            words.append(word)
        with open(path, "w", encoding="utf-8") as file:
            written = 0
            while written < size:
                line = []
                for _ in range(1000):
                    state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
                    # The frequency of rank r is proportional to 1/r: the logarithm of a rank is uniformly distributed.
                    rank = int(len(words) ** ((state >> 11) / (1 << 53)))
                    line.append(words[rank - 1])
                text = " ".join(line) + "\n"
                written += len(text)
                file.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", default=["many", "one", "words", "start"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="folder for all files, on the disk to measure; not deleted")
    options = parser.parse_args()
    folder = options.folder or tempfile.mkdtemp(prefix="dropmill-bench-")
    bench = Bench(folder, options.rounds)
    for section in options.sections:
        getattr(bench, section)()
    if not options.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
