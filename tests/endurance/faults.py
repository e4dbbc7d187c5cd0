#!/usr/bin/env python3
"""Faults that a test cannot provoke by itself: strace makes calls fail, a mount namespace has file systems that are full or
read-only, prlimit takes handles away, setpriv makes another user.

    tests/endurance/faults.py all
    tests/endurance/faults.py NAME…       of those that `all` prints

Each says what it saw and fails where a promise is broken. What cannot be provoked on this machine is said, not passed over.
"""

import contextlib
import glob
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from endurance import PROGRAM, Desk, end, wait_for

RUN = """
[run]
name = "mill"
[input]
files = ["data/*"]
[task]
shell = '{shell}'
outputs = ["out.txt"]
[pool]
nodes = {nodes}
[watch]
directory = "drop"
stable_for = "0s"
rescan = "500ms"
"""
COPY = 'cat "$DROPMILL_INPUT" > out.txt'
GATED = 'while test -e {wall}; do sleep 0.02; done; cat "$DROPMILL_INPUT" > out.txt'
WRITES_FIRST = 'cat "$DROPMILL_INPUT" > out.txt; while test -e {wall}; do sleep 0.02; done'
PATIENCE = 60


@contextlib.contextmanager
def workplace():
    """A folder that goes at the end, with whatever was mounted in it and whoever still works for it."""
    folder = tempfile.mkdtemp()
    try:
        yield folder
    finally:
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if folder.encode() in Path(path).read_bytes():
                    os.kill(int(path.split("/")[2]), signal.SIGKILL)
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if line.split()[1].startswith(folder):
                subprocess.run(["umount", "-l", line.split()[1]], check=True)
        shutil.rmtree(folder)


def desk(folder, files=4, shell=COPY, nodes=2, bytes_each=10):
    made = Desk(folder, RUN.format(shell=shell.replace("{wall}", f"{folder}/wall"), nodes=nodes))
    for number in range(files):
        (made.folder / "data" / f"{number}.txt").write_bytes(b"%d\n" % number * (bytes_each // 2))
    return made


def program(made, *arguments, before=()):
    command = [*before, str(PROGRAM), "--state", str(made.folder / "state"), *arguments]
    return subprocess.run(command, cwd=made.folder, capture_output=True, text=True, timeout=PATIENCE * 2)


def until(condition, what):
    patience = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < patience, f"in vain: {what}"
        time.sleep(0.02)


def delivered_once(made, files):
    """Every result is there, whole, and none beside another."""
    out = made.folder / "out" / "data"
    assert sorted(os.listdir(out)) == sorted(f"{number}.txt" for number in range(files)), os.listdir(out)
    for number in range(files):
        wanted = (made.folder / "data" / f"{number}.txt").read_bytes()
        assert (out / f"{number}.txt" / "out.txt").read_bytes() == wanted, f"{number} is torn"


def cut_off(made):
    """A run that is killed while its tasks wait at the wall, which then goes; its journal's log."""
    (made.folder / "wall").touch()
    life = made.start("run", "run.toml", "--json", "--quiet")
    until(lambda: '"task_running"' in (made.folder / "log").read_text(errors="replace"), "a task runs")
    life.kill()
    life.wait()
    (made.folder / "wall").unlink()
    return glob.glob(str(made.folder / "state/runs/*/journal.db-wal"))[0]


def strace(path, *what):
    return ["strace", "-f", "-qq", "-o", os.devnull, "-P", str(path), *(part for one in what for part in ("-e", one))]


def journal_full():
    """15: no space for the journal, three times in a row: nothing is lost, and it goes on by itself."""
    with workplace() as folder:
        made = desk(folder, shell=GATED)
        log = cut_off(made)
        injected = strace(log, "trace=pwrite64", "inject=pwrite64:error=ENOSPC:when=2..4")
        life = program(made, "run", "run.toml", "--resume", before=injected)
        assert life.returncode == 0, life.stderr
        assert "events not recorded; trying again" in life.stderr, life.stderr
        delivered_once(made, 4)
        return "it said so, tried again each second and lost nothing"


def journal_flush():
    """19: a flush of the journal fails once, whichever: that life ends, the next one reads what the disk holds."""
    hit = 0
    for number in range(1, 5):
        with workplace() as folder:
            made = desk(folder, shell=GATED)
            # What a run that ends leaves of a task that was not over is delivered too; the next run's is better.
            text = (made.folder / "run.toml").read_text()
            (made.folder / "run.toml").write_text(text + '[output]\nexisting = "replace"\n')
            log = cut_off(made)
            calls = "fsync,fdatasync"
            injected = strace(log, f"trace={calls}", f"inject={calls}:error=EIO:when={number}")
            life = program(made, "run", "run.toml", "--resume", before=injected)
            if life.returncode != 0:
                hit += 1
                assert life.returncode == 3 and "a flush failed" in life.stderr, life.stderr
                assert "trying again" not in life.stderr, "a flush that failed was tried again: " + life.stderr
            after = program(made, "run", "run.toml", "--resume" if life.returncode else "--skip-done")
            # A run that was told to end is ended by the next life, and not continued: the rest is for another.
            if after.returncode != 0:
                after = program(made, "run", "run.toml", "--skip-done")
            assert after.returncode == 0, after.stderr
            delivered_once(made, 4)
    assert hit >= 2, f"only {hit} flushes failed"
    return f"{hit} lives ended at it, each was gone on with"


def killed_at(made, number, calls, *paths):
    """One more life of the run, killed at the so-and-so-many-th of these calls on these files; its exit code."""
    named = [word for path in paths for word in ("-P", path)]
    injected = ["strace", "-f", "-qq", "-o", os.devnull, *named, "-e", f"trace={calls}"]
    life = program(made, "run", "run.toml", "--resume", "--quiet",
                   before=[*injected, "-e", f"inject={calls}:signal=KILL:when={number}"])
    assert life.returncode in (0, -9, 137), f"{life.returncode}: {life.stderr}"
    return life.returncode


def journal_kills():
    """1, 2, 3, 7: killed at each call that changes the journal: its log, its flushes, and its folding into one file."""
    with workplace() as folder:
        made = desk(folder, files=12, shell=GATED)
        log = cut_off(made)
        calls = "pwrite64,fsync,fdatasync,ftruncate,unlink"
        killed = 0
        while killed_at(made, killed + 1, calls, log) != 0:
            killed += 1
        assert killed >= 5, f"only {killed} lives"
        delivered_once(made, 12)
    folding = 0
    # Only checkpoints write to the file itself, at the beginning and at the end; no page of it may be missing then.
    for number in range(1, 6):
        with workplace() as folder:
            made = desk(folder, shell=GATED)
            journal = cut_off(made).removesuffix("-wal")
            if killed_at(made, number, "pwrite64,fsync,fdatasync,ftruncate", journal) == 0:
                break
            folding += 1
            after = program(made, "resume", Path(journal).parent.name)
            assert after.returncode == 0, after.stderr
            delivered_once(made, 4)
    assert folding >= 2, f"only {folding} were killed while the log was folded"
    return f"{killed} lives of one run were killed, each one call later than the one before; {folding} while its log was folded"


def damages(path, others):
    """Every damage of one file: what was done, and the bytes that are left, or none if it is deleted."""
    whole = Path(path).read_bytes()
    places = [len(whole) * part // 6 for part in range(1, 6)]
    yield "deleted", None
    yield "emptied", b""
    yield from ((f"cut at {at}", whole[:at]) for at in places)
    for at in places:
        yield f"bit flipped at {at}", whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1:]
        end = min(len(whole), at + 900)
        yield f"zeros at {at}", whole[:at] + bytes(end - at) + whole[end:]
        yield f"garbage at {at}", whole[:at] + bytes(number * 89 % 251 for number in range(end - at)) + whole[end:]
    yield from (("swapped", Path(other).read_bytes()) for other in others if Path(other).exists())


def journal_damage():
    """17: one file of an interrupted run's journal is damaged: the run is refused, or no delivered task is executed again."""
    shell = ('echo "$DROPMILL_INPUT_NAME" >> {wall}.executed; case "$DROPMILL_INPUT_NAME" in [345].txt) '
             'while test -e {wall}; do sleep 0.02; done;; esac; cat "$DROPMILL_INPUT" > out.txt')
    refused = intact = 0
    with workplace() as folder, workplace() as other:
        made, foreign = desk(folder, files=6, shell=shell), desk(other, shell=GATED)
        cut_off(foreign)
        (made.folder / "wall").touch()
        life = made.start("run", "run.toml", "--json", "--quiet")
        until(lambda: (made.folder / "log").read_text(errors="replace").count('"output_delivered"') == 3, "three are delivered")
        life.kill()
        life.wait()
        (made.folder / "wall").unlink()
        kept, places = Path(folder) / "kept", ["state", "out", "wall.executed"]
        kept.mkdir()
        for name in places:
            subprocess.run(["cp", "-a", made.folder / name, kept], check=True)
        journal = glob.glob(str(made.folder / "state/runs/*/journal.db"))[0]
        for ending in ["", "-wal", "-mark"]:
            swaps = [path + ending for path in glob.glob(str(foreign.folder / "state/runs/*/journal.db"))]
            for damage, left in list(damages(journal + ending, swaps)):
                for name in places:
                    subprocess.run(["rm", "-rf", made.folder / name], check=True)
                    subprocess.run(["cp", "-a", kept / name, made.folder], check=True)
                os.unlink(journal + ending)
                if left is not None:
                    Path(journal + ending).write_bytes(left)
                    os.chmod(journal + ending, 0o600)
                after = program(made, "run", "run.toml", "--resume", "--quiet")
                what = f"journal.db{ending} {damage}: {after.returncode} {after.stderr}"
                executed = (made.folder / "wall.executed").read_text().split()
                assert all(executed.count(f"{number}.txt") == 1 for number in range(3)), f"executed again: {what}"
                if after.returncode == 0:
                    intact += 1
                    delivered_once(made, 6)
                else:
                    refused += 1
                    assert after.returncode == 3 and "journal.db" in after.stderr, what
        assert refused > 40 and intact > 3, f"{refused} refused, {intact} intact"
        return f"{refused} damages were refused by name, {intact} harmed nothing, no delivered task was executed again"


def result_flush():
    """19: the flush of a result's folder fails: the result is not acknowledged, and can be had again."""
    with workplace() as folder:
        made = desk(folder, files=1)
        out = made.folder / "out" / "data"
        out.mkdir(parents=True)
        injected = strace(out, "trace=fsync", "inject=fsync:error=EIO:when=1")
        life = program(made, "run", "run.toml", "--json", before=injected)
        assert life.returncode == 1 and "Input/output error" in life.stdout, life.stdout + life.stderr
        assert '"output_delivered"' not in life.stdout, "it was acknowledged"
        run = json.loads(life.stdout.splitlines()[0])["run"]
        again = program(made, "retry", run)
        assert again.returncode == 0, again.stderr
        delivered_once(made, 1)
        return "not acknowledged, said why, and had by `retry`"


def unreadable_input():
    """18: the disk fails under one input: that one fails with its reason, the others are done."""
    with workplace() as folder:
        made = desk(folder)
        calls = "read,pread64,readv,preadv"
        injected = strace(made.folder / "data" / "2.txt", f"trace={calls}", f"inject={calls}:error=EIO")
        life = program(made, "run", "run.toml", before=injected)
        assert life.returncode == 1, life.stdout + life.stderr
        line = next(line for line in life.stdout.splitlines() if "2.txt" in line)
        assert "Input/output error" in line, line
        assert sorted(os.listdir(made.folder / "out/data")) == ["0.txt", "1.txt", "3.txt"]
        return line.strip()


def folder_flushed():
    """22: content before the name, the name before the record: in the order of the calls themselves."""
    with workplace() as folder:
        made = desk(folder, files=1)
        calls = made.folder / "calls"
        traced = ["strace", "-f", "-qq", "-y", "-o", str(calls), "-e", "trace=fsync,fdatasync,syncfs,rename,renameat2"]
        life = program(made, "run", "run.toml", before=traced)
        assert life.returncode == 0, life.stderr
        lines = calls.read_text().splitlines()

        def first(pattern, since=0):
            at = next((at for at in range(since, len(lines)) if re.search(pattern, lines[at])), None)
            assert at is not None, f"no {pattern} since line {since} of:\n" + "\n".join(lines)
            return at

        # The thread that publishes does one thing after the other: a call that another interrupts still begins in order.
        renamed = first(r'renameat2\(.*\.dropmill-.*/out/data/0\.txt"')
        content = first(r"f(data)?sync\(\d+<.*/\.dropmill-[^>]*/out\.txt>")
        assert content < renamed, "it was renamed before its content was flushed"
        named = first(r"fsync\(\d+<[^>]*/out/data>", renamed)
        first(r"f(data)?sync\(\d+<[^>]*/journal\.db-wal>", named)
        return f"content (line {content}), rename ({renamed}), folder ({named}), then the journal"


def mounted(path, size="8m"):
    Path(path).mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)], check=True)
    return Path(path)


def said(life, text):
    """Whether a run that prints events said so until now."""
    return text in Path(life.told).read_text(errors="replace")


def running(made, *arguments):
    told = Path(tempfile.mkstemp()[1])
    command = [str(PROGRAM), "--state", str(made.folder / "state"), *arguments]
    life = subprocess.Popen(command, cwd=made.folder, stdout=open(told, "wb"), stderr=subprocess.STDOUT)
    life.told = told
    return life


def fill(path, leave_bytes):
    free = os.statvfs(path)
    with open(path / "filler", "wb") as file:
        file.write(b"\0" * (free.f_bavail * free.f_frsize - leave_bytes))


def full_output():
    """16, 17, 121: the output folder is full for a while: it is said how much is missing, and it goes on by itself."""
    with workplace() as folder:
        made = desk(folder, files=3, shell=GATED, bytes_each=1 << 20)
        (made.folder / "wall").touch()
        out = mounted(made.folder / "out")
        fill(out, 512 << 10)
        life = running(made, "run", "run.toml", "--json")
        (made.folder / "wall").unlink()
        until(lambda: said(life, "B are free"), "it is said how much is missing")
        told = re.search(r"find room in [^\"]*", Path(life.told).read_text()).group()
        assert re.search(r"needs 1048576 B, 5\d{5} B are free", told), f"told only when it was full: {told}"
        # One fits now; its room is reserved until it is complete, however many are fetched at once.
        os.truncate(out / "filler", os.path.getsize(out / "filler") - (1088 << 10))
        until(lambda: said(life, '"output_delivered"'), "what fits is delivered")
        assert life.poll() is None, "the others wait"
        (out / "filler").unlink()
        assert life.wait(PATIENCE) == 0, Path(life.told).read_text()
        delivered_once(made, 3)
        assert not glob.glob(str(out / ".dropmill-*")), "something half is left"
        return told


def interrupted(life, seconds):
    """Ends a run as Ctrl-C would; its exit code, which must come within so many seconds."""
    life.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code = life.wait(PATIENCE * 2)
    took = time.monotonic() - began
    assert took < seconds, f"it took {took:.0f} s to end: {Path(life.told).read_text()}"
    return code


def run_name(made):
    return os.listdir(made.folder / "state" / "runs")[0]


def full_output_interrupted():
    """A full output folder does not hold a run that is told to end; what is not delivered stays and is named."""
    with workplace() as folder:
        made = desk(folder, files=3, shell=GATED, bytes_each=1 << 20)
        (made.folder / "wall").touch()
        out = mounted(made.folder / "out")
        fill(out, 256 << 10)
        life = running(made, "run", "run.toml", "--json", "--set", "run.deadlines.cancelled=3s")
        (made.folder / "wall").unlink()
        until(lambda: said(life, "B are free"), "it is said how much is missing")
        ended = lambda: Path(life.told).read_text(errors="replace").count('"task_ended"')
        until(lambda: ended() == 3, "all tasks end")
        code = interrupted(life, 30)
        text = Path(life.told).read_text()
        assert code == 130 and '"left_behind"' in text, f"{code}: {text}"
        (out / "filler").unlink()
        brought = program(made, "deliver", run_name(made))
        assert brought.returncode == 0, brought.stderr
        delivered_once(made, 3)
        return "it ended, named what it left, and `deliver` brought it"


def full_journal_interrupted():
    """A disk that takes no record does not hold a run that is told to end, and the next life does not call its tasks failed."""
    with workplace() as folder:
        made = desk(folder, files=2, shell=WRITES_FIRST)
        (made.folder / "wall").touch()
        state = mounted(made.folder / "state", "24m")
        life = running(made, "run", "run.toml", "--json")
        written = lambda: glob.glob(str(state / "runs/*/service/nodes/**/out.txt"), recursive=True)
        until(lambda: len(written()) == 2 and all(os.path.getsize(path) == 10 for path in written()), "both tasks have written")
        fill(state, 0)
        (made.folder / "wall").unlink()
        # Whether a last record still fits is chance; something does not.
        until(lambda: said(life, "disk is full"), "it says that the disk is full")
        code = interrupted(life, 60)
        text = Path(life.told).read_text()
        assert code in (3, 130) and (code == 130 or "last events are not recorded" in text), f"{code}: {text}"
        (state / "filler").unlink()
        after = program(made, "resume", run_name(made), "--json")
        report = json.loads(after.stdout.splitlines()[-1])
        assert report["tasks"]["failed"] == 0, f"{report}"
        if after.returncode != 0:
            again = program(made, "run", "run.toml", "--skip-done")
            assert again.returncode == 0, again.stderr
        delivered_once(made, 2)
        return f"it ended with {code}; its next life: {report['tasks']}"


def full_state():
    """The disk of the embedded service: too small, and a run does not begin; full on the way, and it waits and says so."""
    with workplace() as folder:
        made = desk(folder, files=2, shell=WRITES_FIRST, nodes=1, bytes_each=1 << 20)
        state = mounted(made.folder / "state", "16m")
        fill(state, 2 << 20)
        refused = program(made, "run", "run.toml")
        assert refused.returncode == 2 and "B are free" in refused.stderr, refused.stderr
        (state / "filler").unlink()
        (made.folder / "wall").touch()
        life = running(made, "run", "run.toml", "--json")
        until(lambda: glob.glob(str(state / "runs/*/service/nodes/**/out.txt"), recursive=True), "a task has written its output")
        until(lambda: os.path.getsize(glob.glob(str(state / "runs/*/service/nodes/**/out.txt"), recursive=True)[0]) == 1 << 20, "all of it")
        # There is room for records, and none for another copy of the output.
        fill(state, 512 << 10)
        (made.folder / "wall").unlink()
        until(lambda: said(life, "the disk is full: a task waits"), "it says why it waits")
        assert life.poll() is None, Path(life.told).read_text()
        (state / "filler").unlink()
        assert life.wait(PATIENCE) == 0, Path(life.told).read_text()
        delivered_once(made, 2)
        return "it did not begin without room; on the way it waited, said so, and no task failed"


def little_room():
    """A disk with room for all inputs and little more: files of delivered tasks are deleted early."""
    with workplace() as folder:
        files, each = 16, 4 << 20
        made = desk(folder, files=files, nodes=1, bytes_each=each)
        # Kept until the end, inputs and results of all tasks and their copies in the tasks' folders would be 256 MiB.
        state = mounted(made.folder / "state", "144m")
        life = running(made, "run", "run.toml", "--json")
        most, until_then = 0, time.monotonic() + PATIENCE
        while life.poll() is None and time.monotonic() < until_then:
            most = max(most, used(state))
        # A task may have to wait until the files of another are deleted; without that it would wait for ever.
        assert life.poll() == 0, Path(life.told).read_text()
        delivered_once(made, files)
        return f"{files * each >> 20} MiB in and out took at most {most >> 20} MiB"


def used(path):
    room = os.statvfs(path)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


def read_only():
    """20: a file system that cannot be written to, at the start and in between."""
    with workplace() as folder:
        made = desk(folder, files=2, shell=GATED)
        state = mounted(made.folder / "state")
        subprocess.run(["mount", "-o", "remount,ro", str(state)], check=True)
        for command in ("run", "watch", "serve"):
            arguments = [command] if command == "serve" else [command, "run.toml"]
            refused = program(made, *arguments)
            assert refused.returncode == 3, f"{command}: {refused.returncode} {refused.stderr}"
            assert str(state) in refused.stderr and "Read-only" in refused.stderr, refused.stderr
        subprocess.run(["umount", str(state)], check=True)
        out = mounted(made.folder / "out")
        (made.folder / "wall").touch()
        life = running(made, "run", "run.toml", "--json")
        until(lambda: said(life, '"task_running"'), "a task runs")
        subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
        (made.folder / "wall").unlink()
        until(lambda: said(life, "Read-only file system"), "it says why it waits")
        assert life.poll() is None
        subprocess.run(["mount", "-o", "remount,rw", str(out)], check=True)
        assert life.wait(PATIENCE) == 0, Path(life.told).read_text()
        delivered_once(made, 2)
        return "refused with its path at the start; in between it waited, and went on by itself"


def unmounted():
    """114: the drop folder's file system goes and comes: it says so, and nothing is forgotten."""
    with workplace() as folder:
        made = desk(folder, shell=COPY)
        drop = mounted(made.folder / "drop")
        mill = made.watch()
        (drop / "one").write_text("1")
        wait_for(made.folder / "done" / "one" / "out.txt", PATIENCE)
        subprocess.run(["umount", "-l", str(drop)], check=True)
        until(lambda: "another folder is in its place" in made.log("state").read_text(), "it is said")
        mounted(drop)
        (drop / "two").write_text("2")
        wait_for(made.folder / "done" / "two" / "out.txt", PATIENCE)
        end(mill)
        return "said, and the file in the new mount was done"


def few_handles():
    """23: 64 handles. `serve` answers again once others let go, and does not spin meanwhile; `run` gets through."""
    with workplace() as folder:
        made = desk(folder, files=60)
        limited = ["prlimit", "--nofile=64"]
        life = program(made, "run", "run.toml", before=limited)
        assert life.returncode == 0, life.stdout + life.stderr
        delivered_once(made, 60)
        command = [*limited, str(PROGRAM), "--state", str(made.folder / "served"), "serve", "--json",
                   "--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0"]
        serving = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            address = json.loads(serving.stdout.readline())["blob"]["endpoint"]
            port = int(re.search(r":(\d+)", address[8:]).group(1))
            crowd = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(100)]
            cpu = lambda: sum(int(word) for word in Path(f"/proc/{serving.pid}/stat").read_text().rsplit(")")[1].split()[11:13])
            before = cpu()
            time.sleep(2)
            ticks = cpu() - before
            assert ticks < 100, f"it spins: {ticks} ticks of 10 ms in 2 s"
            assert serving.poll() is None
            for one in crowd:
                one.close()
            try:
                urllib.request.urlopen(address + "?comp=list", timeout=PATIENCE)
            except urllib.error.HTTPError as refused:
                assert refused.code in (400, 401, 403), refused
        finally:
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(PATIENCE) == 0
        return f"60 files through; a crowd of 100 cost {ticks * 10} ms of processor time, then it answered"


def no_permission():
    """106, 113: a file that may not be read is named and left, and taken as soon as it may be; one of another user stays."""
    with workplace() as folder:
        # Root may read everything: then somebody else does it.
        nobody = 65534 if os.geteuid() == 0 else None
        other = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"] if nobody else []
        made = desk(folder)
        copy = made.folder / "dropmill"
        shutil.copy(PROGRAM, copy)
        for path in [made.folder, *made.folder.rglob("*")]:
            os.chmod(path, 0o777)
        locked = made.folder / "drop" / "locked"
        locked.write_text("secret")
        locked.chmod(0)
        if nobody:
            os.chown(locked, nobody, nobody)
            (made.folder / "drop" / "foreign").write_text("of root")
        told = made.folder / "told"
        command = [*other, str(copy), "--state", str(made.folder / "state"), "watch", "run.toml", "--set",
                   "watch.take_foreign=false"]
        mill = subprocess.Popen(command, cwd=made.folder, stdout=open(told, "wb"), stderr=subprocess.STDOUT)
        until(lambda: "left in the drop folder: locked: not readable" in told.read_text(), "it is named")
        if nobody:
            until(lambda: "foreign: it belongs to another user" in told.read_text(), "the other user's is named")
        assert locked.exists() and mill.poll() is None
        locked.chmod(0o644)
        wait_for(made.folder / "done" / "locked" / "out.txt", PATIENCE)
        end(mill)
        assert not nobody or os.listdir(made.folder / "drop") == ["foreign"]
        return "named, left, and done as soon as it could be read" + ("; another user's file stayed" if nobody else "")


def silent_actor():
    """14: the thread of the actors is stuck in a call: the service manager hears nothing until it is not."""
    with workplace() as folder:
        made = desk(folder)
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(str(made.folder / "manager"))
        manager.settimeout(PATIENCE)
        # A file that is heard of is looked at by the thread of all actors, unless a look at the whole folder comes first.
        # It is named relative to an open folder.
        calls = "statx,newfstatat"
        injected = strace("stuck", f"trace={calls}", f"inject={calls}:delay_enter=3000000:when=1")
        variables = {**os.environ, "NOTIFY_SOCKET": str(made.folder / "manager"), "WATCHDOG_USEC": "200000"}
        command = [*injected, str(PROGRAM), "--state", str(made.folder / "state"), "watch", "run.toml"]
        command += ["--set", "watch.rescan=10m"]
        mill = subprocess.Popen(command, cwd=made.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=variables)
        beats = []
        gap = 0
        patience = time.monotonic() + PATIENCE
        while gap < 2.5 or len(beats) < 10:
            assert time.monotonic() < patience, f"its longest silence was {gap:.2f} s"
            if b"WATCHDOG=1" in manager.recv(4096):
                beats.append(time.monotonic())
                gap = max([later - earlier for earlier, later in zip(beats, beats[1:])], default=0)
                if len(beats) == 5:
                    made.put("stuck", b"1")
        # strace passes the signal on.
        children = Path(f"/proc/{mill.pid}/task/{mill.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        while b"STOPPING=1" not in manager.recv(4096):
            pass
        # Every thread's first look at the file is held up: there is no end to wait for.
        os.kill(int(children[0]), signal.SIGTERM)
        assert mill.wait(PATIENCE) == 0
        return f"a beat every 0.1 s, none for {gap:.1f} s while the thread was stuck"


def many_tasks():
    """136, 137: hundreds of tasks: never more at once than there are slots, and no dead child stays."""
    with workplace() as folder:
        log = f"{folder}/running"
        made = desk(folder, files=0, shell=f"echo + >> {log}; echo > out.txt; sleep 0.03; echo - >> {log}", nodes=2)
        text = (made.folder / "run.toml").read_text().replace("nodes = 2", "nodes = 2\nslots_per_node = 2")
        (made.folder / "run.toml").write_text(text)
        files = 500
        for number in range(files):
            (made.folder / "drop" / f"{number}").write_text("x")
        mill = made.watch()
        until(lambda: len(made.done()) == files, "all are done")
        at_once = most = 0
        for sign in Path(log).read_text().split():
            at_once += 1 if sign == "+" else -1
            most = max(most, at_once)
        assert 2 <= most <= 4, f"{most} at once in 4 slots"

        def dead():
            """Dead children of the daemon, or of what it started: its keeper and the shims of tasks."""
            parents, corpses = {}, []
            for path in glob.glob("/proc/[0-9]*/stat"):
                try:
                    state, parent = Path(path).read_text().rsplit(")")[1].split()[:2]
                except OSError:
                    continue
                process = int(path.split("/")[2])
                parents[process] = int(parent)
                if state == "Z":
                    corpses.append(process)

            def below(process):
                return process == mill.pid or process in parents and below(parents[process])

            return [process for process in corpses if below(process)]

        until(lambda: not dead(), "no dead child is left")
        end(mill)
        return f"{files} tasks, {most} at once in 4 slots, no dead child left"


PLAIN = [journal_kills, journal_full, journal_flush, journal_damage, result_flush, unreadable_input, folder_flushed, few_handles, no_permission, silent_actor,
         many_tasks]
# In a mount namespace of their own.
MOUNTING = [full_output, full_output_interrupted, full_journal_interrupted, full_state, little_room, read_only, unmounted]
ALL = {work.__name__.replace("_", "-"): work for work in PLAIN + MOUNTING}
NEEDS = {"strace": [journal_kills, journal_full, journal_flush, result_flush, unreadable_input, folder_flushed, silent_actor],
         "unshare": MOUNTING, "prlimit": [few_handles], "setpriv": [no_permission]}


def lacking():
    """What cannot be provoked here, and why."""
    tries = {"strace": ["strace", "-f", "-o", os.devnull, "true"], "unshare": ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"],
             "prlimit": ["prlimit", "--nofile=64", "true"], "setpriv": ["setpriv", "--help"]}
    why = {}
    for tool, command in tries.items():
        try:
            tried = subprocess.run(command, capture_output=True, text=True)
            problem = tried.stderr.strip() if tried.returncode else None
        except OSError as error:
            problem = str(error)
        if problem:
            why.update({work: f"{tool}: {problem}" for work in NEEDS[tool]})
    return why


def main():
    names = sys.argv[1:] or ["all"]
    if names == ["all"]:
        names = list(ALL)
    if unknown := [name for name in names if name not in ALL]:
        raise SystemExit(f"there is no {', '.join(unknown)}: there are {', '.join(ALL)}")
    mounts = os.environ.get("DROPMILL_NAMESPACE")
    why = {} if mounts else lacking()
    for name in names:
        work = ALL[name]
        if work in why:
            print(f"{name}: NOT TESTED here: {why[work]}")
        elif work in MOUNTING and not mounts:
            environment = {**os.environ, "DROPMILL_NAMESPACE": "1"}
            subprocess.run(["unshare", "-rm", sys.executable, __file__, name], check=True, env=environment)
        else:
            began = time.monotonic()
            print(f"{name}: {work()} ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
