#!/usr/bin/env python3
"""What takes too long for a test: the program is killed for minutes, its disk is filled, its folder flooded.

    tests/endurance/endurance.py kills-run [--kills 200] [--files 500] [--serve] [--proxy SHARE] [--service-kills N]
    tests/endurance/endurance.py kills-watch [--seconds 60] [--serve] [--proxy SHARE] [--only KIND ...] [--calm]
    tests/endurance/endurance.py latency [--files 500]
    tests/endurance/endurance.py many [--files 100000]
    tests/endurance/endurance.py pair --with PROGRAM [--rounds 7] [--files 2000]
    tests/endurance/endurance.py slow-writer
    tests/endurance/endurance.py full-disk          (in a user namespace of its own)
    tests/endurance/endurance.py two-daemons [--files 1000]

Each ends with exit code 0 only if nothing was lost, nothing came twice and nothing was torn. Figures are printed.
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
[watch]
directory = "drop"
stable_for = "{stable}"
"""
TRUE = COUNT.replace("""shell = 'sha256sum < "$DROPMILL_INPUT" > sum.txt'\noutputs = ["sum.txt"]""", """command = ["/bin/true"]""")
# The first line of some inputs asks their task to fail.
FAIL_IF_ASKED = 'if test "$(head -n 1 "$DROPMILL_INPUT")" = fail; then exit 3; fi; '


class Desk:
    """A folder with a run file."""

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
        """A daemon that is ready."""
        told = self.log(state)
        told.write_text("")
        log = open(told, "ab")
        command = [str(PROGRAM), "--state", str(self.folder / state), "watch", "run.toml"]
        mill = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **options)
        while "ready" not in told.read_text(errors="replace"):
            if mill.poll() is not None:
                raise SystemExit(told.read_text(errors="replace"))
            time.sleep(0.01)
        return mill

    def log(self, state):
        """What a daemon with that state folder says; not on its disk, which may be full."""
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
        raise SystemExit(f"it ended with {code}")


# So many of the first files have 8 to 16 MiB.
LARGE = 0


def content(number):
    if number < LARGE:
        return f"file {number:09}\n".encode() * ((8 + 8 * number // LARGE << 20) // 15)
    return f"file {number}\n".encode() * (number % 50 + 1)


def check(place, number, input_too=True):
    """A result is whole: its output is that of its input."""
    wanted = hashlib.sha256(content(number)).hexdigest()
    found = (place / "sum.txt").read_text().split()[0]
    assert found == wanted, f"{place}: torn or wrong"
    if input_too:
        assert (place / place.name).read_bytes() == content(number), f"{place}: its input is not whole"


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
    """The one command that starts and resumes, killed at random moments, also while it recovers; its tasks run within it,
    or at a service, which may be killed too."""
    with tempfile.TemporaryDirectory() as folder:
        service = service_for(arguments, folder)
        try:
            desk = Desk(folder, COUNT.format(stable="2s") + (service.section() if service else ""))
            for number in range(arguments.files):
                (desk.folder / "data" / f"{number:04}").write_bytes(content(number))
            began = time.time()
            kills, services = kill_lives(desk, arguments, service)
            out = desk.folder / "out" / "data"
            names = sorted(os.listdir(out))
            assert names == [f"{number:04}" for number in range(arguments.files)], "missing, or delivered twice"
            for number in range(arguments.files):
                check(out / f"{number:04}", number, input_too=False)
            left = processes_below(desk.folder) + (service.left() if service else [])
            assert not left, f"left: {left}"
            if service:
                print(damages(service.end()))
        finally:
            if service:
                service.kill()
        runs = subprocess.run([PROGRAM, "--state", desk.folder / "state", "runs"], capture_output=True, text=True)
        killed = f"{kills} kills" + (f", {services} of the service" if service else "")
        print(f"{arguments.files} files, {killed}, {time.time() - began:.0f} s: each delivered once, whole")
        print(runs.stdout.strip())


def service_for(arguments, folder):
    """The service that the tasks run at, behind its proxy; `None` if they run within the program."""
    if not arguments.serve and not arguments.proxy:
        return None
    return Service(PROGRAM, folder, arguments.proxy, arguments.seed, arguments.only, arguments.log)


def damages(summary):
    if summary is None:
        return "no proxy"
    share = summary["damaged"] / max(summary["requests"], 1)
    return f"{summary['requests']} requests, {summary['damaged']} damaged ({share:.0%}): {counted(summary['kinds'])}"


def kill_lives(desk, arguments, service):
    """Starts the command and kills it, again and again, and at last lets it end; kills the service now and then."""
    dice = random.Random(arguments.seed)
    kills = services = 0
    # Lives of 20 to 100 ms die while they recover; longer ones get some work done. Through a proxy all takes longer.
    lengths = [0.2, 0.5, 1, 2, 4] if service else [0.02, 0.05, 0.1, 0.2, 0.3]
    while True:
        life = desk.start("run", "run.toml", "--resume", "--quiet")
        if services < arguments.service_kills and dice.random() < arguments.service_kills / max(arguments.kills, 1):
            time.sleep(dice.uniform(0, 0.5))
            service.kill_and_start()
            services += 1
        try:
            last = kills >= arguments.kills
            code = life.wait(None if last else dice.choice(lengths) * dice.uniform(0.5, 1.5))
            break
        except subprocess.TimeoutExpired:
            life.kill()
            life.wait()
            kills += 1
    assert code == 0, (desk.folder / "log").read_text()[-2000:]
    return kills, services


def kills_watch(arguments):
    """A daemon killed every 1 to 5 s while files come in; its tasks run beside it, or at a service behind a proxy."""
    with tempfile.TemporaryDirectory() as folder:
        text = COUNT.format(stable="0s").replace("sha256sum", FAIL_IF_ASKED + "sha256sum")
        text = text.replace("> sum.txt", '> sum.txt; cat "$DROPMILL_INPUT" > copy').replace('["sum.txt"]', '["sum.txt", "copy"]')
        service = service_for(arguments, folder)
        try:
            desk = Desk(folder, text + (service.section() if service else ""))
            put, kills, memory = flood(desk, arguments, service)
            problems = misplaced(desk, put)
            problems += [f"left at the service: {name}" for name in service.left()] if service else []
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
        print("none missing, none twice, none torn, nothing left")


def counted(kinds):
    """The counts of a proxy in words; all refusals with one status are one."""
    sums = {}
    for kind, count in kinds.items():
        name = "-".join(kind.split("-")[:2])
        sums[name] = sums.get(name, 0) + count
    return ", ".join(f"{count} {name}" for name, count in sums.items())


def flood(desk, arguments, service):
    """Puts files into the drop folder until the time is over, kills the daemon meanwhile, and waits for the last file."""
    dice = random.Random(arguments.seed)
    memory = Memory()
    if service:
        memory.processes["serve"] = service.process.pid
    put = kills = 0
    until = time.time() + arguments.seconds
    mill = None
    try:
        while time.time() < until:
            mill = desk.watch()
            memory.processes["daemon"] = mill.pid
            dies = until if arguments.calm else time.time() + dice.uniform(1, 5)
            while time.time() < dies:
                desk.put(f"{put:06}", dropped(put))
                put += 1
                time.sleep(dice.uniform(0, arguments.pause))
            if not arguments.calm:
                mill.kill()
                mill.wait()
                kills += 1
        if not arguments.calm:
            mill = desk.watch()
            memory.processes["daemon"] = mill.pid
        patience = time.time() + (600 if service else 120)
        count = lambda name: len(os.listdir(desk.folder / name)) if (desk.folder / name).exists() else 0
        while count("done") + count("failed") < put and time.time() < patience:
            time.sleep(0.1)
        memory.stop()
        end(mill)
    finally:
        if mill and mill.poll() is None:
            mill.kill()
            mill.wait()
    return put, kills, memory


def asked_to_fail(number):
    return number % 40 == 7


def dropped(number):
    """The content of a dropped file: mostly short, some of megabytes, one that is too long for one request. That one takes
    minutes through the proxy, and is not among the first thousand files."""
    length = 66 << 20 if number == 1001 else number % 7 << 18 if number % 50 == 11 else 0
    text = content(number) * (length // len(content(number)) + 1)
    return b"fail\n" + text if asked_to_fail(number) else text


def misplaced(desk, put):
    """What is missing, twice, torn, in the wrong place, or left: one line each."""
    folders = {name: sorted(os.listdir(desk.folder / name)) for name in ("done", "failed", "drop")}
    wanted = {"failed": [f"{number:06}" for number in range(put) if asked_to_fail(number)], "drop": [],
              "done": [f"{number:06}" for number in range(put) if not asked_to_fail(number)]}
    everywhere = [name for names in folders.values() for name in names]
    found = [f"missing: {name}" for name in wanted["done"] + wanted["failed"] if name not in everywhere]
    found += [f"twice: {name}" for name in sorted(set(everywhere)) if everywhere.count(name) > 1 or "~" in name]
    found += [f"left in drop: {name}" for name in folders["drop"]]
    found += [f"done, but its task must fail: {name}" for name in folders["done"] if name in wanted["failed"]]
    for name in folders["failed"]:
        reason = json.loads((desk.folder / "failed" / name / "reason.json").read_text())
        if name not in wanted["failed"] or reason["exit_code"] != 3:
            found.append(f"in failed, but its task did not fail: {name}: {reason['cause']}")
        elif (desk.folder / "failed" / name / name).read_bytes() != dropped(int(name)):
            found.append(f"its input is not whole: {name}")
    for name in sorted(set(folders["done"]) & set(wanted["done"])):
        found += torn(desk.folder / "done" / name, dropped(int(name)))
    found += [f"left in work: {path}" for path in left_in_work(desk)]
    found += [f"a process is left: {process}" for process in processes_below(desk.folder)]
    return found


def torn(place, content):
    """What of a result is missing or is not that of its input."""
    wanted = {"sum.txt": f"{hashlib.sha256(content).hexdigest()}  -\n".encode(), "copy": content, place.name: content}
    found = []
    for name, whole in wanted.items():
        path = place / name
        there = path.read_bytes() if path.exists() else None
        if there != whole:
            found.append(f"torn: {path}: {'missing' if there is None else f'{len(there)} of {len(whole)} bytes, or others'}")
    return found


def left_in_work(desk):
    """Files in the work folder, apart from the daemon's own empty folders."""
    return [path.relative_to(desk.folder) for path in (desk.folder / "work").rglob("*") if not path.is_dir()]


def percentiles(seconds):
    seconds = sorted(seconds)
    at = lambda part: seconds[min(len(seconds) - 1, int(len(seconds) * part))] * 1000
    return f"p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms"


def wait_for(path, patience=10):
    until = time.perf_counter() + patience
    while not path.exists():
        if time.perf_counter() > until:
            raise SystemExit(f"{path} did not come")
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
    """From the close of a 1 KB file to its published result; next to a loop of inotify, spawn and rename."""
    text = TRUE.format(stable="0s")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        minimal = Path(folder) / "minimal"
        for name in ("drop", "work", "coming", "done"):
            (minimal / name).mkdir(parents=True)
        loop = subprocess.Popen([sys.executable, "-c", MINIMAL, str(minimal)], stdout=subprocess.PIPE)
        loop.stdout.readline()
        (Path(folder) / "mill").mkdir()
        desk = Desk(Path(folder) / "mill", text)
        mill = desk.watch()
        for name, base in (("minimal loop", minimal), ("dropmill", desk.folder)):
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
    """Very many small files at once."""
    with tempfile.TemporaryDirectory() as folder:
        text = TRUE.format(stable="1s")
        desk = Desk(folder, text)
        for number in range(arguments.files):
            (desk.folder / "drop" / f"{number:06}").write_bytes(b"x" * 100)
        began = time.time()
        mill = desk.watch()
        first, peak = None, 0
        samples = []
        while True:
            status = Path(f"/proc/{mill.pid}/status").read_text()
            memory = int(status.split("VmRSS:")[1].split()[0]) // 1024
            peak = max(peak, memory)
            count = len(os.listdir(desk.folder / "done"))
            first = first or (count and time.time() - began)
            samples.append((count, memory))
            if count == arguments.files:
                break
            time.sleep(1)
        seconds = time.time() - began
        end(mill)
        assert not os.listdir(desk.folder / "drop") and not os.listdir(desk.folder / "failed")
        assert not any("~" in name for name in desk.done())
        quarter = [memory for count, memory in samples if count >= arguments.files / 4]
        print(
            f"{arguments.files} files: {arguments.files / seconds:.0f} files/s, first result after {first:.1f} s, "
            f"memory {quarter[0]} MiB after a quarter, {peak} MiB at most"
        )


def one_latency(folder, files):
    """Median seconds from the close of a 1 KB file to its published result, one file after the other."""
    desk = Desk(folder, TRUE.format(stable="0s"))
    mill = desk.watch()
    seconds = []
    for number in range(files):
        with open(desk.folder / "drop" / f"{number}", "wb") as file:
            file.write(b"x" * 1024)
        began = time.perf_counter()
        wait_for(desk.folder / "done" / f"{number}")
        seconds.append(time.perf_counter() - began)
    end(mill)
    return sorted(seconds)[len(seconds) // 2]


def one_flood(folder, files):
    """Seconds for each of many small files that are there at the start."""
    desk = Desk(folder, TRUE.format(stable="1s"))
    for number in range(files):
        (desk.folder / "drop" / f"{number:06}").write_bytes(b"x" * 100)
    mill = desk.watch()
    wait_for(desk.folder / "done" / "000000", 60)
    began = time.perf_counter()
    while len(os.listdir(desk.folder / "done")) < files:
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    end(mill)
    return seconds / files


def one_run(folder, files):
    """Seconds for each task of a run of many tasks that do nothing."""
    desk = Desk(folder, TRUE.format(stable="1s"))
    for number in range(files):
        (desk.folder / "data" / f"{number:06}").write_bytes(b"x" * 100)
    began = time.perf_counter()
    life = desk.start("run", "run.toml", "--quiet")
    assert life.wait() == 0, (desk.folder / "log").read_text(errors="replace")
    return (time.perf_counter() - began) / files


def pair(arguments):
    """Latency and throughput of this program and another one, in turn: only their ratios mean something."""
    global PROGRAM
    programs = {"this": PROGRAM, "other": Path(arguments.with_program).resolve()}
    measures = (("run", one_run, arguments.files), ("latency", one_latency, 100), ("flood", one_flood, arguments.files))
    for name, measure, files in measures:
        if arguments.only and name not in arguments.only:
            continue
        ratios = []
        for number in range(arguments.rounds):
            seconds = {}
            # Who goes first changes from round to round.
            for which in sorted(programs, reverse=number % 2 == 0):
                PROGRAM = programs[which]
                with tempfile.TemporaryDirectory() as folder:
                    seconds[which] = measure(folder, files)
            ratios.append(seconds["this"] / seconds["other"])
            print(f"{name} round {number + 1}: this {seconds['this'] * 1000:.2f} ms, other {seconds['other'] * 1000:.2f} ms, "
                  f"ratio {ratios[-1]:.3f}", flush=True)
        print(f"{name}: median ratio {sorted(ratios)[len(ratios) // 2]:.3f} of {arguments.rounds} rounds", flush=True)


def slow_writer(_):
    """A byte every second for 20 s: one claim, after the last byte, whole."""
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(folder, COUNT.format(stable="2s"))
        mill = desk.watch()
        with open(desk.folder / "drop" / "slow", "wb", buffering=0) as file:
            for _ in range(20):
                file.write(b"x")
                time.sleep(1)
                assert not desk.done() and (desk.folder / "drop" / "slow").exists(), "taken while it was written"
        wait_for(desk.folder / "done" / "slow", 30)
        end(mill)
        assert (desk.folder / "done" / "slow" / "slow").read_bytes() == b"x" * 20
        print("a byte a second for 20 s: taken once, after the last, whole")


def full_disk(_):
    """The folders on a small file system that is full for a while: it says so, waits, and goes on by itself."""
    if os.environ.get("DROPMILL_NAMESPACE") is None:
        os.environ["DROPMILL_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "-rm", sys.executable, __file__, "full-disk"])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", folder], check=True)
        try:
            text = COUNT.format(stable="0s") + '[limits]\ndisk_floor = "1MiB"\n'
            desk = Desk(folder, text)
            state = tempfile.mkdtemp()
            mill = desk.watch(state=state)
            desk.put("before", content(1))
            wait_for(desk.folder / "done" / "before")
            filler = desk.folder / "filler"
            with open(filler, "wb") as file:
                try:
                    while True:
                        file.write(b"x" * 65536)
                        file.flush()
                except OSError:
                    pass
            # An empty file needs no space of its own.
            (desk.folder / "drop" / "during").touch()
            time.sleep(3)
            assert "waiting: " in desk.log(state).read_text(), "it does not say why it waits"
            assert (desk.folder / "drop" / "during").exists() and mill.poll() is None
            filler.unlink()
            wait_for(desk.folder / "done" / "during", 60)
            end(mill)
            shutil.rmtree(state)
            print("full disk: it waited, and went on by itself")
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


def two_daemons(arguments):
    """Two daemons on one folder: each file exactly once in all."""
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(folder, COUNT.format(stable="0s"))
        mills = [desk.watch(state="one"), desk.watch(state="two")]
        for number in range(arguments.files):
            desk.put(f"{number:06}", content(number))
        patience = time.time() + 300
        while len(desk.done()) < arguments.files and time.time() < patience:
            time.sleep(0.1)
        for mill in mills:
            end(mill)
        assert desk.done() == [f"{number:06}" for number in range(arguments.files)]
        for number in range(arguments.files):
            check(desk.folder / "done" / f"{number:06}", number)
        runs = [json.loads((desk.folder / "done" / name / "result.json").read_text())["run"] for name in desk.done()]
        shares = sorted(runs.count(run) for run in set(runs))
        print(f"{arguments.files} files, two daemons: each once; shares {shares}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", action="store_true", help="with kills-run and kills-watch: the tasks run at one `dropmill serve`")
    parser.add_argument("--service-kills", type=int, default=0, help="with kills-run and --serve: kills of the service")
    parser.add_argument("--proxy", type=float, default=0.0, metavar="SHARE", help="likewise, behind a proxy (proxy.py) that "
                        "damages this share of all requests")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help="with --proxy: these kinds of damage")
    parser.add_argument("--log", help="with --proxy: a file for one line for each damaged request")
    parser.add_argument("--calm", action="store_true", help="with kills-watch: no kills, for the memory of one process")
    parser.add_argument("--large", type=int, default=0, help="with kills-run: so many files of 8 to 16 MiB")
    parser.add_argument("--pause", type=float, default=0.02, help="with kills-watch: longest time between two files")
    parser.add_argument("--with", dest="with_program", help="with pair: the other program")
    parser.add_argument("--rounds", type=int, default=7, help="with pair: how often both are measured")
    arguments = parser.parse_args()
    global LARGE
    LARGE = arguments.large
    of = {"kills-run": (kills_run, 500), "kills-watch": (kills_watch, 0), "latency": (latency, 500),
          "many": (many, 100_000), "pair": (pair, 2000), "slow-writer": (slow_writer, 0), "full-disk": (full_disk, 0),
          "two-daemons": (two_daemons, 1000)}
    if arguments.what not in of:
        parser.error(f"there are {', '.join(of)}")
    work, files = of[arguments.what]
    arguments.files = arguments.files or files
    work(arguments)


if __name__ == "__main__":
    main()
