#!/usr/bin/env python3
"""Checks that equal seeds give equal traces, also on a busy machine, and measures how long a simulated day takes.

    cargo build --release && python3 tests/bench/same_trace.py [--times 1000] [--processes 20]

Prints a table. Exits with 1 if two traces of one seed differ. Uses a temporary folder.
"""
import argparse, hashlib, os, pathlib, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN = """[run]
name = "day"
deadline = "48h"
[input]
files = ["data/*.txt"]
[task]
command = ["work", "{input}"]
outputs = ["result.txt"]
timeout = "6h"
[pool]
nodes = 60
slots_per_node = 1
[output]
directory = "out"
"""
# 1,000 tasks on 60 nodes take 17 rounds of 85 minutes: slightly more than a day.
DAY = '[task]\nduration = "85m"\n'


def simulate(binary, folder, *arguments):
    """Runs a simulation; returns the SHA-256 of its standard output and its duration in seconds."""
    began = time.monotonic()
    done = subprocess.run([binary, "simulate", "run.toml", *arguments], cwd=folder, capture_output=True)
    if done.returncode not in (0, 1):
        sys.exit(done.stderr.decode())
    return hashlib.sha256(done.stdout).hexdigest()[:16], time.monotonic() - began


def row(what, results):
    hashes = {digest for digest, _ in results}
    seconds = sorted(seconds for _, seconds in results)
    shown = " ".join(sorted(hashes)[:3])
    print(f"| {what} | {len(results)} | {len(hashes)} ({shown}) | {statistics.median(seconds):.2f} | {seconds[-1]:.2f} |")
    return len(hashes) == 1


def simulate_in_parallel(binary, folder, count, *arguments):
    """Runs the same simulation in `count` processes at the same time."""
    began = time.monotonic()
    command = [binary, "simulate", "run.toml", *arguments]
    running = [subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(count)]
    return [(hashlib.sha256(one.communicate()[0]).hexdigest()[:16], time.monotonic() - began) for one in running]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=ROOT / "target/release/dropmill", type=pathlib.Path)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=20)
    options = parser.parse_args()
    binary = str(options.binary.resolve())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, count in [("day", 1000), ("small", 6)]:
            data = folder / name / "data"
            data.mkdir(parents=True)
            for number in range(count):
                (data / f"{number:04}.txt").write_text("x")
            nodes = RUN if name == "day" else RUN.replace("nodes = 60", "nodes = 3")
            (folder / name / "run.toml").write_text(nodes)
        (folder / "day/day.toml").write_text(DAY)
        mixed = (ROOT / "tests/traces/mixed-faults.scenario.toml").read_text()
        (folder / "small/mixed.toml").write_text(mixed)
        print("| what | times | different traces | median s | longest s |\n|---|---|---|---|---|")
        day = ["--scenario", "day.toml"]
        same = row("a day, 1,000 tasks on 60 nodes", [simulate(binary, folder / "day", *day) for _ in range(5)])
        mixed = ["--scenario", "mixed.toml", "--json", "--seed", "7"]
        same &= row("mixed faults, one after the other", [simulate(binary, folder / "small", *mixed) for _ in range(options.times)])
        row_name = f"mixed faults, {options.processes} parallel processes"
        same &= row(row_name, simulate_in_parallel(binary, folder / "small", options.processes, *mixed))
        same &= row(f"a day, {options.processes} parallel processes", simulate_in_parallel(binary, folder / "day", options.processes, *day))
        print(f"\nload average at the end: {os.getloadavg()[0]:.1f}, processors: {os.cpu_count()}")
    sys.exit(0 if same else 1)


main()
