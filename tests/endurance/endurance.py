#!/usr/bin/env python3
"""Endurance tests that take too long for the test suite: repeated kills, a full disk, a flooded drop folder.

    tests/endurance/endurance.py kills-run [--kills 200] [--files 500] [--serve] [--proxy SHARE] [--service-kills N]
    tests/endurance/endurance.py kills-watch [--seconds 60] [--serve] [--proxy SHARE] [--only KIND ...] [--calm]
    tests/endurance/endurance.py latency [--files 500]
    tests/endurance/endurance.py many [--files 100000]
    tests/endurance/endurance.py pair --with PROGRAM [--rounds 7] [--files 2000]
    tests/endurance/endurance.py slow-writer
    tests/endurance/endurance.py full-disk          (in its own user namespace)
    tests/endurance/endurance.py two-daemons [--files 1000]

Each command exits with 0 only if every result was delivered exactly once and complete. It prints measurements.
"""

import argparse
import atexit
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from served import Memory, Service

PROGRAM = Path(os.environ.get("DROPMILL_PROGRAM", Path(__file__).resolve().parents[2] / "target/release/dropmill"))
COUNT = """
[run]
name = "mill"
[input]
files = ["data/*"]
[task]
shell = 'sha256sum < "$DROPMILL_INPUT" > sum.txt'
outputs = ["sum.txt"]
[pool]
nodes = 4
slots_per_node = 1
[watch]
directory = "drop"
stable_for = "{stable}"
"""
TRUE = COUNT.replace("""shell = 'sha256sum < "$DROPMILL_INPUT" > sum.txt'\noutputs = ["sum.txt"]""", """command = ["/bin/true"]""")
# A task fails if the first line of its input is `fail`.
FAIL_ON_REQUEST = 'if test "$(head -n 1 "$DROPMILL_INPUT")" = fail; then exit 3; fi; '


class Fixture:
    """A folder with a run file, in which the program is started."""

    def __init__(self, folder, text):
        self.folder = Path(folder)
        for name in ("data", "drop"):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "run.toml").write_text(text)

    def start(self, *arguments, state="state", **options):
        command = [str(PROGRAM), "--state", str(self.folder / state), *arguments]
        log = open(self.folder / "log", "ab")
        return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **options)

    def watch(self, state="state", **options):
        """Starts a daemon and waits until it is ready."""
        log_path = self.log(state)
        log_path.write_text("")
        log = open(log_path, "ab")
        command = [str(PROGRAM), "--state", str(self.folder / state), "watch", "run.toml"]
        mill = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **options)
        while "ready" not in log_path.read_text(errors="replace"):
            if mill.poll() is not None:
                raise SystemExit(log_path.read_text(errors="replace"))
            time.sleep(0.01)
        return mill

    def log(self, state):
        """Returns the path of a daemon's log. It is not on the daemon's disk, which may be full."""
        path = Path(tempfile.gettempdir()) / f"{self.folder.name}-{Path(state).name}.log"
        atexit.register(lambda: path.unlink(missing_ok=True))
        return path

    def put(self, name, content):
        coming = self.folder / "coming"
        coming.write_bytes(content)
        coming.rename(self.folder / "drop" / name)

    def done(self):
        folder = self.folder / "done"
        return sorted(os.listdir(folder)) if folder.exists() else []


def end(mill):
    mill.send_signal(signal.SIGTERM)
    code = mill.wait()
    if code != 0:
        raise SystemExit(f"the daemon exited with {code}")


# Number of files, from the first one, that have 8 to 16 MiB.
LARGE = 0


def content(number):
    if number < LARGE:
        return f"file {number:09}\n".encode() * ((8 + 8 * number // LARGE << 20) // 15)
    return f"file {number}\n".encode() * (number % 50 + 1)


def check(place, number, input_too=True):
    """Checks that a result is complete and belongs to its input."""
    wanted = hashlib.sha256(content(number)).hexdigest()
    found = (place / "sum.txt").read_text().split()[0]
    assert found == wanted, f"{place}: incomplete or wrong output"
    if input_too:
        assert (place / place.name).read_bytes() == content(number), f"{place}: its input is incomplete"


def processes_below(folder):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(folder) in os.readlink(entry / "cwd") and "/nodes/" in os.readlink(entry / "cwd"):
                    found.append(entry.name)
            except OSError:
                pass
    return found


def kills_run(arguments):
    """Kills one command, which starts and resumes a run, at random times, also during recovery. Its tasks run in the
    process or on a service, which may be killed too."""
    with tempfile.TemporaryDirectory() as folder:
        service = service_for(arguments, folder)
        try:
            fixture = Fixture(folder, COUNT.format(stable="2s") + (service.section() if service else ""))
            for number in range(arguments.files):
                (fixture.folder / "data" / f"{number:04}").write_bytes(content(number))
            began = time.time()
            kills, services = kill_repeatedly(fixture, arguments, service)
            out = fixture.folder / "out" / "data"
            names = sorted(os.listdir(out))
            assert names == [f"{number:04}" for number in range(arguments.files)], "missing, or delivered twice"
            for number in range(arguments.files):
                check(out / f"{number:04}", number, input_too=False)
            left = processes_below(fixture.folder) + (service.left() if service else [])
            assert not left, f"left: {left}"
            if service:
                print(damages(service.end()))
        finally:
            if service:
                service.kill()
        runs = subprocess.run([PROGRAM, "--state", fixture.folder / "state", "runs"], capture_output=True, text=True)
        killed = f"{kills} kills" + (f", {services} of the service" if service else "")
        print(f"{arguments.files} files, {killed}, {time.time() - began:.0f} s: each delivered exactly once and complete")
        print(runs.stdout.strip())


def service_for(arguments, folder):
    """Starts the service for the tasks, behind its proxy; returns `None` if the tasks run in the program."""
    if not arguments.serve and not arguments.proxy:
        return None
    return Service(PROGRAM, folder, arguments.proxy, arguments.seed, arguments.only, arguments.log)


def damages(summary):
    if summary is None:
        return "no proxy"
    share = summary["damaged"] / max(summary["requests"], 1)
    return f"{summary['requests']} requests, {summary['damaged']} damaged ({share:.0%}): {counted(summary['kinds'])}"


def kill_repeatedly(fixture, arguments, service):
    """Starts and kills the command repeatedly, then lets it complete; sometimes kills the service."""
    dice = random.Random(arguments.seed)
    kills = services = 0
    # A process killed after 20 to 100 ms is still recovering; later kills allow some work. A proxy slows everything down.
    lengths = [0.2, 0.5, 1, 2, 4] if service else [0.02, 0.05, 0.1, 0.2, 0.3]
    while True:
        process = fixture.start("run", "run.toml", "--resume", "--quiet")
        if services < arguments.service_kills and dice.random() < arguments.service_kills / max(arguments.kills, 1):
            time.sleep(dice.uniform(0, 0.5))
            service.kill_and_start()
            services += 1
        try:
            last = kills >= arguments.kills
            code = process.wait(None if last else dice.choice(lengths) * dice.uniform(0.5, 1.5))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert code == 0, (fixture.folder / "log").read_text()[-2000:]
    return kills, services


def kills_watch(arguments):
    """Kills a daemon every 1 to 5 s while files arrive. Its tasks run on the embedded service, or on one behind a proxy."""
    with tempfile.TemporaryDirectory() as folder:
        text = COUNT.format(stable="0s").replace("sha256sum", FAIL_ON_REQUEST + "sha256sum")
        text = text.replace("> sum.txt", '> sum.txt; cat "$DROPMILL_INPUT" > copy').replace('["sum.txt"]', '["sum.txt", "copy"]')
        service = service_for(arguments, folder)
        try:
            fixture = Fixture(folder, text + (service.section() if service else ""))
            put, kills, memory = flood(fixture, arguments, service)
            problems = misplaced(fixture, put)
            problems += [f"not deleted from the service: {name}" for name in service.left()] if service else []
            summary = service.end() if service else None
        finally:
            if service:
                service.kill()
        words = [f"{put} files, {kills} kills in {arguments.seconds} s"]
        if summary:
            words.append(damages(summary))
        for role in memory.processes:
            figure, too_much = memory.grown(role)
            words.append(figure)
            problems += [figure] if too_much and role == "daemon" else []
        print("\n".join(words))
        if problems:
            raise SystemExit("\n".join(problems))
        print("no result missing, duplicate or incomplete, nothing left behind")


def counted(kinds):
    """Formats the counts of a proxy; merges all rejections with the same status."""
    sums = {}
    for kind, count in kinds.items():
        name = "-".join(kind.split("-")[:2])
        sums[name] = sums.get(name, 0) + count
    return ", ".join(f"{count} {name}" for name, count in sums.items())


def flood(fixture, arguments, service):
    """Puts files into the drop folder for the given time, kills the daemon meanwhile, and waits for the last result."""
    dice = random.Random(arguments.seed)
    memory = Memory()
    if service:
        memory.processes["serve"] = service.process.pid
    put = kills = 0
    until = time.time() + arguments.seconds
    mill = None
    try:
        while time.time() < until:
            mill = fixture.watch()
            memory.processes["daemon"] = mill.pid
            dies = until if arguments.calm else time.time() + dice.uniform(1, 5)
            while time.time() < dies:
                fixture.put(f"{put:06}", dropped(put))
                put += 1
                time.sleep(dice.uniform(0, arguments.pause))
            if not arguments.calm:
                mill.kill()
                mill.wait()
                kills += 1
        if not arguments.calm:
            mill = fixture.watch()
            memory.processes["daemon"] = mill.pid
        deadline = time.time() + (600 if service else 120)
        count = lambda name: len(os.listdir(fixture.folder / name)) if (fixture.folder / name).exists() else 0
        while count("done") + count("failed") < put and time.time() < deadline:
            time.sleep(0.1)
        memory.stop()
        end(mill)
    finally:
        if mill and mill.poll() is None:
            mill.kill()
            mill.wait()
    return put, kills, memory


def must_fail(number):
    return number % 40 == 7


def dropped(number):
    """Returns the content of a dropped file: mostly short, some megabytes, and one too long for a single request. That one
    takes minutes through the proxy and is not among the first thousand files."""
    length = 66 << 20 if number == 1001 else number % 7 << 18 if number % 50 == 11 else 0
    text = content(number) * (length // len(content(number)) + 1)
    return b"fail\n" + text if must_fail(number) else text


def misplaced(fixture, put):
    """Returns problems, one line each: missing, duplicate, incomplete or misplaced results, and leftovers."""
    folders = {name: sorted(os.listdir(fixture.folder / name)) for name in ("done", "failed", "drop")}
    wanted = {"failed": [f"{number:06}" for number in range(put) if must_fail(number)], "drop": [],
              "done": [f"{number:06}" for number in range(put) if not must_fail(number)]}
    everywhere = [name for names in folders.values() for name in names]
    found = [f"missing: {name}" for name in wanted["done"] + wanted["failed"] if name not in everywhere]
    found += [f"duplicate: {name}" for name in sorted(set(everywhere)) if everywhere.count(name) > 1 or "~" in name]
    found += [f"left in the drop folder: {name}" for name in folders["drop"]]
    found += [f"in done although its task must fail: {name}" for name in folders["done"] if name in wanted["failed"]]
    for name in folders["failed"]:
        reason = json.loads((fixture.folder / "failed" / name / "reason.json").read_text())
        if name not in wanted["failed"] or reason["exit_code"] != 3:
            found.append(f"in failed although its task did not fail: {name}: {reason['cause']}")
        elif (fixture.folder / "failed" / name / name).read_bytes() != dropped(int(name)):
            found.append(f"its input is incomplete: {name}")
    for name in sorted(set(folders["done"]) & set(wanted["done"])):
        found += torn(fixture.folder / "done" / name, dropped(int(name)))
    found += [f"left in the work folder: {path}" for path in left_in_work(fixture)]
    found += [f"process still running: {process}" for process in processes_below(fixture.folder)]
    return found


def torn(place, content):
    """Returns the files of a result that are missing or differ from those expected for its input."""
    wanted = {"sum.txt": f"{hashlib.sha256(content).hexdigest()}  -\n".encode(), "copy": content, place.name: content}
    found = []
    for name, whole in wanted.items():
        path = place / name
        there = path.read_bytes() if path.exists() else None
        if there != whole:
            found.append(f"incomplete: {path}: {'missing' if there is None else f'{len(there)} of {len(whole)} bytes, or other content'}")
    return found


def left_in_work(fixture):
    """Returns the files in the work folder; ignores the daemon's empty folders."""
    return [path.relative_to(fixture.folder) for path in (fixture.folder / "work").rglob("*") if not path.is_dir()]


def percentiles(seconds):
    seconds = sorted(seconds)
    at = lambda part: seconds[min(len(seconds) - 1, int(len(seconds) * part))] * 1000
    return f"p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms"


def wait_for(path, deadline=10):
    until = time.perf_counter() + deadline
    while not path.exists():
        if time.perf_counter() > until:
            raise SystemExit(f"{path} did not appear")
        time.sleep(0.0001)


MINIMAL = """
import ctypes, os, struct, subprocess, sys
base = sys.argv[1]
libc = ctypes.CDLL(None)
handle = libc.inotify_init()
libc.inotify_add_watch(handle, (base + "/drop").encode(), 0x8)
print("ready", flush=True)
while True:
    data = os.read(handle, 65536)
    at = 0
    while at < len(data):
        length = struct.unpack_from("iIII", data, at)[3]
        name = data[at + 16 : at + 16 + length].rstrip(b"\\0").decode()
        at += 16 + length
        os.rename(f"{base}/drop/{name}", f"{base}/work/{name}")
        subprocess.run(["/bin/true"])
        os.mkdir(f"{base}/coming/{name}")
        os.rename(f"{base}/work/{name}", f"{base}/coming/{name}/{name}")
        os.rename(f"{base}/coming/{name}", f"{base}/done/{name}")
"""


def latency(arguments):
    """Measures the time from the close of a 1 KB file to its published result, compared with a loop of inotify, spawn and rename."""
    text = TRUE.format(stable="0s")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        minimal = Path(folder) / "minimal"
        for name in ("drop", "work", "coming", "done"):
            (minimal / name).mkdir(parents=True)
        loop = subprocess.Popen([sys.executable, "-c", MINIMAL, str(minimal)], stdout=subprocess.PIPE)
        loop.stdout.readline()
        (Path(folder) / "mill").mkdir()
        fixture = Fixture(Path(folder) / "mill", text)
        mill = fixture.watch()
        for name, base in (("minimal loop", minimal), ("dropmill", fixture.folder)):
            figures[name] = []
            for number in range(arguments.files):
                with open(base / "drop" / f"{number}", "wb") as file:
                    file.write(b"x" * 1024)
                began = time.perf_counter()
                wait_for(base / "done" / f"{number}")
                figures[name].append(time.perf_counter() - began)
        loop.kill()
        loop.wait()
        end(mill)
    for name, seconds in figures.items():
        print(f"{name:<14} {percentiles(seconds)} over {len(seconds)} files")


def many(arguments):
    """Processes many small files that arrive at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        text = TRUE.format(stable="1s")
        fixture = Fixture(folder, text)
        for number in range(arguments.files):
            (fixture.folder / "drop" / f"{number:06}").write_bytes(b"x" * 100)
        began = time.time()
        mill = fixture.watch()
        first, peak = None, 0
        samples = []
        while True:
            status = Path(f"/proc/{mill.pid}/status").read_text()
            memory = int(status.split("VmRSS:")[1].split()[0]) // 1024
            peak = max(peak, memory)
            count = len(os.listdir(fixture.folder / "done"))
            first = first or (count and time.time() - began)
            samples.append((count, memory))
            if count == arguments.files:
                break
            time.sleep(1)
        seconds = time.time() - began
        end(mill)
        assert not os.listdir(fixture.folder / "drop") and not os.listdir(fixture.folder / "failed")
        assert not any("~" in name for name in fixture.done())
        quarter = [memory for count, memory in samples if count >= arguments.files / 4]
        print(
            f"{arguments.files} files: {arguments.files / seconds:.0f} files/s, first result after {first:.1f} s, "
            f"memory {quarter[0]} MiB after a quarter, {peak} MiB at most"
        )


def one_latency(folder, files):
    """Returns the median seconds from the close of a 1 KB file to its published result, one file at a time."""
    fixture = Fixture(folder, TRUE.format(stable="0s"))
    mill = fixture.watch()
    seconds = []
    for number in range(files):
        with open(fixture.folder / "drop" / f"{number}", "wb") as file:
            file.write(b"x" * 1024)
        began = time.perf_counter()
        wait_for(fixture.folder / "done" / f"{number}")
        seconds.append(time.perf_counter() - began)
    end(mill)
    return sorted(seconds)[len(seconds) // 2]


def one_flood(folder, files):
    """Returns the seconds per file for many small files that exist at the start."""
    fixture = Fixture(folder, TRUE.format(stable="1s"))
    for number in range(files):
        (fixture.folder / "drop" / f"{number:06}").write_bytes(b"x" * 100)
    mill = fixture.watch()
    wait_for(fixture.folder / "done" / "000000", 60)
    began = time.perf_counter()
    while len(os.listdir(fixture.folder / "done")) < files:
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    end(mill)
    return seconds / files


def one_run(folder, files):
    """Returns the seconds per task for a run of many tasks that do nothing."""
    fixture = Fixture(folder, TRUE.format(stable="1s"))
    for number in range(files):
        (fixture.folder / "data" / f"{number:06}").write_bytes(b"x" * 100)
    began = time.perf_counter()
    process = fixture.start("run", "run.toml", "--quiet")
    assert process.wait() == 0, (fixture.folder / "log").read_text(errors="replace")
    return (time.perf_counter() - began) / files


def pair(arguments):
    """Compares latency and throughput of this program and another one, in turn; only the ratios are meaningful."""
    global PROGRAM
    programs = {"this": PROGRAM, "other": Path(arguments.with_program).resolve()}
    measures = (("run", one_run, arguments.files), ("latency", one_latency, 100), ("flood", one_flood, arguments.files))
    for name, measure, files in measures:
        if arguments.only and name not in arguments.only:
            continue
        ratios = []
        for number in range(arguments.rounds):
            seconds = {}
            # Alternate which program runs first.
            for which in sorted(programs, reverse=number % 2 == 0):
                PROGRAM = programs[which]
                with tempfile.TemporaryDirectory() as folder:
                    seconds[which] = measure(folder, files)
            ratios.append(seconds["this"] / seconds["other"])
            print(f"{name} round {number + 1}: this {seconds['this'] * 1000:.2f} ms, other {seconds['other'] * 1000:.2f} ms, "
                  f"ratio {ratios[-1]:.3f}", flush=True)
        print(f"{name}: median ratio {sorted(ratios)[len(ratios) // 2]:.3f} of {arguments.rounds} rounds", flush=True)


def slow_writer(_):
    """Writes one byte per second for 20 s; expects one complete claim after the last byte."""
    with tempfile.TemporaryDirectory() as folder:
        fixture = Fixture(folder, COUNT.format(stable="2s"))
        mill = fixture.watch()
        with open(fixture.folder / "drop" / "slow", "wb", buffering=0) as file:
            for _ in range(20):
                file.write(b"x")
                time.sleep(1)
                assert not fixture.done() and (fixture.folder / "drop" / "slow").exists(), "claimed while it was being written"
        wait_for(fixture.folder / "done" / "slow", 30)
        end(mill)
        assert (fixture.folder / "done" / "slow" / "slow").read_bytes() == b"x" * 20
        print("one byte per second for 20 s: claimed once and complete, after the last byte")


def full_disk(_):
    """Fills the file system of the folders for a while: the daemon reports it, waits, and resumes on its own."""
    if os.environ.get("DROPMILL_NAMESPACE") is None:
        os.environ["DROPMILL_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "-rm", sys.executable, __file__, "full-disk"])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", folder], check=True)
        try:
            text = COUNT.format(stable="0s") + '[limits]\ndisk_floor = "1MiB"\n'
            fixture = Fixture(folder, text)
            state = tempfile.mkdtemp()
            mill = fixture.watch(state=state)
            fixture.put("before", content(1))
            wait_for(fixture.folder / "done" / "before")
            filler = fixture.folder / "filler"
            with open(filler, "wb") as file:
                try:
                    while True:
                        file.write(b"x" * 65536)
                        file.flush()
                except OSError:
                    pass
            # An empty file fits on a full disk.
            (fixture.folder / "drop" / "during").touch()
            time.sleep(3)
            assert "waiting: " in fixture.log(state).read_text(), "the log does not contain the reason for waiting"
            assert (fixture.folder / "drop" / "during").exists() and mill.poll() is None
            filler.unlink()
            wait_for(fixture.folder / "done" / "during", 60)
            end(mill)
            shutil.rmtree(state)
            print("full disk: the daemon waited and resumed on its own")
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


def two_daemons(arguments):
    """Runs two daemons on one folder: each file is processed exactly once."""
    with tempfile.TemporaryDirectory() as folder:
        fixture = Fixture(folder, COUNT.format(stable="0s"))
        mills = [fixture.watch(state="one"), fixture.watch(state="two")]
        for number in range(arguments.files):
            fixture.put(f"{number:06}", content(number))
        deadline = time.time() + 300
        while len(fixture.done()) < arguments.files and time.time() < deadline:
            time.sleep(0.1)
        for mill in mills:
            end(mill)
        assert fixture.done() == [f"{number:06}" for number in range(arguments.files)]
        for number in range(arguments.files):
            check(fixture.folder / "done" / f"{number:06}", number)
        runs = [json.loads((fixture.folder / "done" / name / "result.json").read_text())["run"] for name in fixture.done()]
        shares = sorted(runs.count(run) for run in set(runs))
        print(f"{arguments.files} files, two daemons: each processed once; shares {shares}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", action="store_true", help="with kills-run and kills-watch: run the tasks on a `dropmill serve` process")
    parser.add_argument("--service-kills", type=int, default=0, help="with kills-run and --serve: number of kills of the service")
    parser.add_argument("--proxy", type=float, default=0.0, metavar="SHARE", help="likewise, behind a proxy (proxy.py) that "
                        "damages this share of all requests")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help="with --proxy: only these kinds of damage")
    parser.add_argument("--log", help="with --proxy: log file, one line per damaged request")
    parser.add_argument("--calm", action="store_true", help="with kills-watch: no kills, to measure the memory of one process")
    parser.add_argument("--large", type=int, default=0, help="with kills-run: number of files of 8 to 16 MiB")
    parser.add_argument("--pause", type=float, default=0.02, help="with kills-watch: longest time between two files in seconds")
    parser.add_argument("--with", dest="with_program", help="with pair: path of the other program")
    parser.add_argument("--rounds", type=int, default=7, help="with pair: number of measurements of both programs")
    arguments = parser.parse_args()
    global LARGE
    LARGE = arguments.large
    of = {"kills-run": (kills_run, 500), "kills-watch": (kills_watch, 0), "latency": (latency, 500),
          "many": (many, 100_000), "pair": (pair, 2000), "slow-writer": (slow_writer, 0), "full-disk": (full_disk, 0),
          "two-daemons": (two_daemons, 1000)}
    if arguments.what not in of:
        parser.error(f"expected one of {', '.join(of)}")
    work, files = of[arguments.what]
    arguments.files = arguments.files or files
    work(arguments)


if __name__ == "__main__":
    main()
