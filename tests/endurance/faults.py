#!/usr/bin/env python3
"""Injects faults that need external tools: failing system calls (strace), full or read-only file systems (mount namespace),
few file handles (prlimit), another user (setpriv).

    tests/endurance/faults.py all
    tests/endurance/faults.py NAME…       only these, with names as `all` prints them

Each prints what it observed and fails if a guarantee is violated. Faults that this machine cannot inject are reported as skipped.
"""

import contextlib
import errno
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

from endurance import PROGRAM, Fixture, end, wait_for

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
slots_per_node = 1
[watch]
directory = "drop"
stable_for = "0s"
rescan = "500ms"
"""
COPY = 'cat "$DROPMILL_INPUT" > out.txt'
GATED = 'while test -e {wall}; do sleep 0.02; done; cat "$DROPMILL_INPUT" > out.txt'
WRITES_FIRST = 'cat "$DROPMILL_INPUT" > out.txt; while test -e {wall}; do sleep 0.02; done'
TIMEOUT = 60


@contextlib.contextmanager
def workplace():
    """Yields a folder; at the end kills its processes, unmounts its file systems and deletes it."""
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


def fixture(folder, files=4, shell=COPY, nodes=2, bytes_each=10):
    made = Fixture(folder, RUN.format(shell=shell.replace("{wall}", f"{folder}/wall"), nodes=nodes))
    for number in range(files):
        (made.folder / "data" / f"{number}.txt").write_bytes(b"%d\n" % number * (bytes_each // 2))
    return made


def program(made, *arguments, before=()):
    command = [*before, str(PROGRAM), "--state", str(made.folder / "state"), *arguments]
    return subprocess.run(command, cwd=made.folder, capture_output=True, text=True, timeout=TIMEOUT * 2)


def until(condition, what):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting: {what}"
        time.sleep(0.02)


def delivered_once(made, files):
    """Checks that every result exists exactly once and is complete."""
    out = made.folder / "out" / "data"
    assert sorted(os.listdir(out)) == sorted(f"{number}.txt" for number in range(files)), os.listdir(out)
    for number in range(files):
        wanted = (made.folder / "data" / f"{number}.txt").read_bytes()
        assert (out / f"{number}.txt" / "out.txt").read_bytes() == wanted, f"{number} is incomplete"


def interrupted_run(made):
    """Kills a run while its tasks wait, then lets tasks continue; returns the path of its journal's log."""
    (made.folder / "wall").touch()
    process = made.start("run", "run.toml", "--json", "--quiet")
    until(lambda: '"task_running"' in (made.folder / "log").read_text(errors="replace"), "a task runs")
    process.kill()
    process.wait()
    (made.folder / "wall").unlink()
    return glob.glob(str(made.folder / "state/runs/*/journal.db-wal"))[0]


def strace(path, *what):
    return ["strace", "-f", "-qq", "-o", os.devnull, "-P", str(path), *(part for one in what for part in ("-e", one))]


def journal_full():
    """15: writing the journal fails three times for lack of space: nothing is lost, and the run continues on its own."""
    with workplace() as folder:
        made = fixture(folder, shell=GATED)
        log = interrupted_run(made)
        injected = strace(log, "trace=pwrite64", "inject=pwrite64:error=ENOSPC:when=2..4")
        process = program(made, "run", "run.toml", "--resume", before=injected)
        assert process.returncode == 0, process.stderr
        assert "cannot record events; trying again" in process.stderr, process.stderr
        delivered_once(made, 4)
        return "the run reported it, retried every second and lost nothing"


def journal_flush():
    """19: a flush of the journal fails once, at any position: the process exits, and the next one reads what is on the disk."""
    hit = 0
    for number in range(1, 5):
        with workplace() as folder:
            made = fixture(folder, shell=GATED)
            # An ending run also delivers partial results of unfinished tasks; the next run replaces them.
            text = (made.folder / "run.toml").read_text()
            (made.folder / "run.toml").write_text(text + '[output]\nexisting = "replace"\n')
            log = interrupted_run(made)
            calls = "fsync,fdatasync"
            injected = strace(log, f"trace={calls}", f"inject={calls}:error=EIO:when={number}")
            process = program(made, "run", "run.toml", "--resume", before=injected)
            if process.returncode != 0:
                hit += 1
                assert process.returncode == 3 and "a flush failed" in process.stderr, process.stderr
                assert "trying again" not in process.stderr, "a failed flush was retried: " + process.stderr
            after = program(made, "run", "run.toml", "--resume" if process.returncode else "--skip-done")
            # The next process only ends a run that was already ending; another run does the rest.
            if after.returncode != 0:
                after = program(made, "run", "run.toml", "--skip-done")
            assert after.returncode == 0, after.stderr
            delivered_once(made, 4)
    assert hit >= 2, f"only {hit} flushes failed"
    return f"{hit} processes exited because of it, and each run was resumed"


def killed_at(made, number, calls, *paths):
    """Resumes the run and kills it at the given call number on these files; returns its exit code."""
    named = [word for path in paths for word in ("-P", path)]
    injected = ["strace", "-f", "-qq", "-o", os.devnull, *named, "-e", f"trace={calls}"]
    process = program(made, "run", "run.toml", "--resume", "--quiet",
                   before=[*injected, "-e", f"inject={calls}:signal=KILL:when={number}"])
    assert process.returncode in (0, -9, 137), f"{process.returncode}: {process.stderr}"
    return process.returncode


def journal_kills():
    """1, 2, 3, 7: kills the run at each call that changes the journal: writes, flushes and checkpoints."""
    with workplace() as folder:
        made = fixture(folder, files=12, shell=GATED)
        log = interrupted_run(made)
        calls = "pwrite64,fsync,fdatasync,ftruncate,unlink"
        killed = 0
        while killed_at(made, killed + 1, calls, log) != 0:
            killed += 1
        assert killed >= 5, f"only {killed} kills"
        delivered_once(made, 12)
    folding = 0
    # Only checkpoints write to the database file, at the start and at the end; no page of it may get lost.
    for number in range(1, 6):
        with workplace() as folder:
            made = fixture(folder, shell=GATED)
            journal = interrupted_run(made).removesuffix("-wal")
            if killed_at(made, number, "pwrite64,fsync,fdatasync,ftruncate", journal) == 0:
                break
            folding += 1
            after = program(made, "resume", Path(journal).parent.name)
            assert after.returncode == 0, after.stderr
            delivered_once(made, 4)
    assert folding >= 2, f"only {folding} kills during a checkpoint"
    return f"{killed} processes of one run were killed, each one call later than the previous; {folding} during a checkpoint"


def damages(path, others):
    """Yields all damages of one file: a description and the remaining bytes, `None` if the file is deleted."""
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
    """17: damages one file of an interrupted run's journal: the program rejects it, or executes no delivered task again."""
    shell = ('echo "$DROPMILL_INPUT_NAME" >> {wall}.executed; case "$DROPMILL_INPUT_NAME" in [345].txt) '
             'while test -e {wall}; do sleep 0.02; done;; esac; cat "$DROPMILL_INPUT" > out.txt')
    refused = intact = 0
    with workplace() as folder, workplace() as other:
        made, foreign = fixture(folder, files=6, shell=shell), fixture(other, shell=GATED)
        interrupted_run(foreign)
        (made.folder / "wall").touch()
        process = made.start("run", "run.toml", "--json", "--quiet")
        until(lambda: (made.folder / "log").read_text(errors="replace").count('"output_delivered"') == 3, "three results are delivered")
        process.kill()
        process.wait()
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
        return f"{refused} damaged files were rejected with their name, {intact} damages had no effect, no delivered task was executed again"


def result_flush():
    """19: the flush of a result's folder fails: the result is not acknowledged, and `retry` delivers it."""
    with workplace() as folder:
        made = fixture(folder, files=1)
        out = made.folder / "out" / "data"
        out.mkdir(parents=True)
        injected = strace(out, "trace=fsync", "inject=fsync:error=EIO:when=1")
        process = program(made, "run", "run.toml", "--json", before=injected)
        assert process.returncode == 1 and "Input/output error" in process.stdout, process.stdout + process.stderr
        assert '"output_delivered"' not in process.stdout, "the result was acknowledged"
        run = json.loads(process.stdout.splitlines()[0])["run"]
        again = program(made, "retry", run)
        assert again.returncode == 0, again.stderr
        delivered_once(made, 1)
        return "not acknowledged, with the reason, and delivered by `retry`"


def unreadable_input():
    """18: a disk error in one input: its task fails with the reason, the others succeed."""
    with workplace() as folder:
        made = fixture(folder)
        calls = "read,pread64,readv,preadv"
        injected = strace(made.folder / "data" / "2.txt", f"trace={calls}", f"inject={calls}:error=EIO")
        process = program(made, "run", "run.toml", before=injected)
        assert process.returncode == 1, process.stdout + process.stderr
        line = next(line for line in process.stdout.splitlines() if "2.txt" in line)
        assert "Input/output error" in line, line
        assert sorted(os.listdir(made.folder / "out/data")) == ["0.txt", "1.txt", "3.txt"]
        return line.strip()


def folder_flushed():
    """22: the order of system calls is content, rename, journal record."""
    with workplace() as folder:
        made = fixture(folder, files=1)
        calls = made.folder / "calls"
        traced = ["strace", "-f", "-qq", "-y", "-o", str(calls), "-e", "trace=fsync,fdatasync,syncfs,rename,renameat2"]
        process = program(made, "run", "run.toml", before=traced)
        assert process.returncode == 0, process.stderr
        lines = calls.read_text().splitlines()

        def first(pattern, since=0):
            at = next((at for at in range(since, len(lines)) if re.search(pattern, lines[at])), None)
            assert at is not None, f"no {pattern} since line {since} of:\n" + "\n".join(lines)
            return at

        # The publishing thread makes its calls in sequence: also interrupted calls start in order.
        renamed = first(r'renameat2\(.*\.dropmill-.*/out/data/0\.txt"')
        content = first(r"f(data)?sync\(\d+<.*/\.dropmill-[^>]*/out\.txt>")
        assert content < renamed, "the rename was before the flush of the content"
        named = first(r"fsync\(\d+<[^>]*/out/data>", renamed)
        first(r"f(data)?sync\(\d+<[^>]*/journal\.db-wal>", named)
        return f"content (line {content}), rename ({renamed}), folder ({named}), then the journal"


def mounted(path, size="8m"):
    Path(path).mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)], check=True)
    return Path(path)


def has_printed(process, text):
    """Returns `True` if a run that prints events has printed this text."""
    return text in Path(process.output).read_text(errors="replace")


def running(made, *arguments):
    output = Path(tempfile.mkstemp()[1])
    command = [str(PROGRAM), "--state", str(made.folder / "state"), *arguments]
    process = subprocess.Popen(command, cwd=made.folder, stdout=open(output, "wb"), stderr=subprocess.STDOUT)
    process.output = output
    return process


def fill(path, leave_bytes):
    """Fills a file system, but for `leave_bytes`. A process that writes to it at the same time may take the last blocks first."""
    free = os.statvfs(path)
    left = free.f_bavail * free.f_frsize - leave_bytes
    with open(path / "filler", "wb", buffering=0) as file:
        try:
            while left > 0:
                left -= file.write(bytes(min(left, 64 << 10)))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def full_output():
    """16, 17, 121: the output folder is full for a while: the run reports how much space is missing, and continues on its own."""
    with workplace() as folder:
        made = fixture(folder, files=3, shell=GATED, bytes_each=1 << 20)
        (made.folder / "wall").touch()
        out = mounted(made.folder / "out")
        fill(out, 512 << 10)
        process = running(made, "run", "run.toml", "--json")
        (made.folder / "wall").unlink()
        until(lambda: has_printed(process, "B are free"), "the missing space is reported")
        output = re.search(r"find room in [^\"]*", Path(process.output).read_text()).group()
        assert re.search(r"needs 1048576 B, 5\d{5} B are free", output), f"reported only when the disk was full: {output}"
        # One result fits now. Its space is reserved until it is complete, also with parallel downloads.
        os.truncate(out / "filler", os.path.getsize(out / "filler") - (1088 << 10))
        until(lambda: has_printed(process, '"output_delivered"'), "the result that fits is delivered")
        assert process.poll() is None, "the run exited, but the others must wait"
        (out / "filler").unlink()
        assert process.wait(TIMEOUT) == 0, Path(process.output).read_text()
        delivered_once(made, 3)
        assert not glob.glob(str(out / ".dropmill-*")), "a partial download is left behind"
        return output


def interrupted(process, seconds):
    """Interrupts a run like Ctrl-C; returns its exit code. Fails if the run takes longer than `seconds` to exit."""
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code = process.wait(TIMEOUT * 2)
    took = time.monotonic() - began
    assert took < seconds, f"the run took {took:.0f} s to exit: {Path(process.output).read_text()}"
    return code


def run_name(made):
    return os.listdir(made.folder / "state" / "runs")[0]


def full_output_interrupted():
    """A full output folder does not delay an interrupted run; it reports the undelivered results and keeps them."""
    with workplace() as folder:
        made = fixture(folder, files=3, shell=GATED, bytes_each=1 << 20)
        (made.folder / "wall").touch()
        out = mounted(made.folder / "out")
        fill(out, 256 << 10)
        process = running(made, "run", "run.toml", "--json", "--set", "run.deadlines.cancelled=3s")
        (made.folder / "wall").unlink()
        until(lambda: has_printed(process, "B are free"), "the missing space is reported")
        ended = lambda: Path(process.output).read_text(errors="replace").count('"task_ended"')
        until(lambda: ended() == 3, "all tasks have ended")
        code = interrupted(process, 30)
        text = Path(process.output).read_text()
        assert code == 130 and '"left_behind"' in text, f"{code}: {text}"
        (out / "filler").unlink()
        brought = program(made, "deliver", run_name(made))
        assert brought.returncode == 0, brought.stderr
        delivered_once(made, 3)
        return "the run exited, reported the undelivered results, and `deliver` delivered them"


def full_journal_interrupted():
    """A full disk of the journal does not delay an interrupted run, and after a restart its tasks are not reported as failed."""
    with workplace() as folder:
        made = fixture(folder, files=2, shell=WRITES_FIRST)
        (made.folder / "wall").touch()
        state = mounted(made.folder / "state", "24m")
        process = running(made, "run", "run.toml", "--json")
        written = lambda: glob.glob(str(state / "runs/*/service/nodes/**/out.txt"), recursive=True)
        until(lambda: len(written()) == 2 and all(os.path.getsize(path) == 10 for path in written()), "both tasks have written")
        fill(state, 0)
        (made.folder / "wall").unlink()
        # The last record may or may not fit; at least one record does not.
        until(lambda: has_printed(process, "disk is full"), "the full disk is reported")
        code = interrupted(process, 60)
        text = Path(process.output).read_text()
        assert code in (3, 130) and (code == 130 or "last events are not recorded" in text), f"{code}: {text}"
        (state / "filler").unlink()
        after = program(made, "resume", run_name(made), "--json")
        report = json.loads(after.stdout.splitlines()[-1])
        assert report["tasks"]["failed"] == 0, f"{report}"
        if after.returncode != 0:
            again = program(made, "run", "run.toml", "--skip-done")
            assert again.returncode == 0, again.stderr
        delivered_once(made, 2)
        return f"the run exited with {code}; after the restart: {report['tasks']}"


def full_state():
    """The disk of the embedded service: if too small, a run does not start; if it becomes full, the run reports it and waits."""
    with workplace() as folder:
        made = fixture(folder, files=2, shell=WRITES_FIRST, nodes=1, bytes_each=1 << 20)
        state = mounted(made.folder / "state", "16m")
        fill(state, 2 << 20)
        refused = program(made, "run", "run.toml")
        assert refused.returncode == 2 and "B are free" in refused.stderr, refused.stderr
        (state / "filler").unlink()
        (made.folder / "wall").touch()
        process = running(made, "run", "run.toml", "--json")
        until(lambda: glob.glob(str(state / "runs/*/service/nodes/**/out.txt"), recursive=True), "a task has written its output")
        until(lambda: os.path.getsize(glob.glob(str(state / "runs/*/service/nodes/**/out.txt"), recursive=True)[0]) == 1 << 20, "the output is complete")
        # Leave space for records, but not for another copy of the output.
        fill(state, 512 << 10)
        (made.folder / "wall").unlink()
        until(lambda: has_printed(process, "the disk is full: a task waits"), "the reason for waiting is reported")
        assert process.poll() is None, Path(process.output).read_text()
        (state / "filler").unlink()
        assert process.wait(TIMEOUT) == 0, Path(process.output).read_text()
        delivered_once(made, 2)
        return "the run did not start without space; later it reported the full disk and waited, and no task failed"


def little_room():
    """A disk with space for all inputs and little more: files of delivered tasks are deleted early."""
    with workplace() as folder:
        files, each = 16, 4 << 20
        made = fixture(folder, files=files, nodes=1, bytes_each=each)
        # Without early deletion, inputs, results and their copies in the task folders would need 256 MiB.
        state = mounted(made.folder / "state", "144m")
        process = running(made, "run", "run.toml", "--json")
        most, until_then = 0, time.monotonic() + TIMEOUT
        while process.poll() is None and time.monotonic() < until_then:
            most = max(most, used(state))
        # A task may wait until the files of another are deleted; without deletion it would wait forever.
        assert process.poll() == 0, Path(process.output).read_text()
        delivered_once(made, files)
        return f"{files * each >> 20} MiB of inputs and outputs used at most {most >> 20} MiB"


def used(path):
    room = os.statvfs(path)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


def read_only():
    """20: a read-only file system, at the start and during a run."""
    with workplace() as folder:
        made = fixture(folder, files=2, shell=GATED)
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
        process = running(made, "run", "run.toml", "--json")
        until(lambda: has_printed(process, '"task_running"'), "a task runs")
        subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True)
        (made.folder / "wall").unlink()
        until(lambda: has_printed(process, "Read-only file system"), "the reason for waiting is reported")
        assert process.poll() is None
        subprocess.run(["mount", "-o", "remount,rw", str(out)], check=True)
        assert process.wait(TIMEOUT) == 0, Path(process.output).read_text()
        delivered_once(made, 2)
        return "rejected with its path at the start; during the run it waited and continued on its own"


def unmounted():
    """114: the file system of the drop folder is unmounted and mounted: the daemon reports it and loses no file."""
    with workplace() as folder:
        made = fixture(folder, shell=COPY)
        drop = mounted(made.folder / "drop")
        mill = made.watch()
        (drop / "one").write_text("1")
        wait_for(made.folder / "done" / "one" / "out.txt", TIMEOUT)
        subprocess.run(["umount", "-l", str(drop)], check=True)
        until(lambda: "another folder is in its place" in made.log("state").read_text(), "the change is reported")
        mounted(drop)
        (drop / "two").write_text("2")
        wait_for(made.folder / "done" / "two" / "out.txt", TIMEOUT)
        end(mill)
        return "reported, and the file in the new mount was processed"


def few_handles():
    """23: only 64 file handles. `serve` responds again after other clients disconnect and does not spin meanwhile; `run` completes."""
    with workplace() as folder:
        made = fixture(folder, files=60)
        limited = ["prlimit", "--nofile=64"]
        process = program(made, "run", "run.toml", before=limited)
        assert process.returncode == 0, process.stdout + process.stderr
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
            assert ticks < 100, f"`serve` spins: {ticks} ticks of 10 ms in 2 s"
            assert serving.poll() is None
            for one in crowd:
                one.close()
            try:
                urllib.request.urlopen(address + "?comp=list", timeout=TIMEOUT)
            except urllib.error.HTTPError as refused:
                assert refused.code in (400, 401, 403), refused
        finally:
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(TIMEOUT) == 0
        return f"60 files completed; 100 connections cost {ticks * 10} ms of CPU time, then `serve` responded"


def no_permission():
    """106, 113: an unreadable file is reported, left in place, and claimed once it is readable; one of another user stays."""
    with workplace() as folder:
        # Root can read everything: run the daemon as another user.
        nobody = 65534 if os.geteuid() == 0 else None
        other = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"] if nobody else []
        made = fixture(folder)
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
        output = made.folder / "output"
        command = [*other, str(copy), "--state", str(made.folder / "state"), "watch", "run.toml", "--set",
                   "watch.take_foreign=false"]
        mill = subprocess.Popen(command, cwd=made.folder, stdout=open(output, "wb"), stderr=subprocess.STDOUT)
        until(lambda: "left in the drop folder: locked: not readable" in output.read_text(), "the unreadable file is reported")
        if nobody:
            until(lambda: "foreign: it belongs to another user" in output.read_text(), "the file of the other user is reported")
        assert locked.exists() and mill.poll() is None
        locked.chmod(0o644)
        wait_for(made.folder / "done" / "locked" / "out.txt", TIMEOUT)
        end(mill)
        assert not nobody or os.listdir(made.folder / "drop") == ["foreign"]
        return "reported, left in place, and processed once it was readable" + ("; another user's file stayed" if nobody else "")


def silent_actor():
    """14: the thread of the actors is stuck in a call: the service manager gets no watchdog messages meanwhile."""
    with workplace() as folder:
        made = fixture(folder)
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(str(made.folder / "manager"))
        manager.settimeout(TIMEOUT)
        # The thread of the actors checks a file after its change notification, unless a full scan is first.
        # The calls name the file relative to an open folder.
        calls = "statx,newfstatat"
        injected = strace("stuck", f"trace={calls}", f"inject={calls}:delay_enter=3000000:when=1")
        variables = {**os.environ, "NOTIFY_SOCKET": str(made.folder / "manager"), "WATCHDOG_USEC": "200000"}
        command = [*injected, str(PROGRAM), "--state", str(made.folder / "state"), "watch", "run.toml"]
        command += ["--set", "watch.rescan=10m"]
        mill = subprocess.Popen(command, cwd=made.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=variables)
        beats = []
        gap = 0
        deadline = time.monotonic() + TIMEOUT
        while gap < 2.5 or len(beats) < 10:
            assert time.monotonic() < deadline, f"the longest gap between watchdog messages was {gap:.2f} s"
            if b"WATCHDOG=1" in manager.recv(4096):
                beats.append(time.monotonic())
                gap = max([later - earlier for earlier, later in zip(beats, beats[1:])], default=0)
                if len(beats) == 5:
                    made.put("stuck", b"1")
        # strace forwards the signal.
        children = Path(f"/proc/{mill.pid}/task/{mill.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        while b"STOPPING=1" not in manager.recv(4096):
            pass
        # The first check of the file is delayed in every thread, so the daemon may not exit: do not wait for it.
        os.kill(int(children[0]), signal.SIGTERM)
        assert mill.wait(TIMEOUT) == 0
        return f"a watchdog message every 0.1 s, none for {gap:.1f} s while the thread was stuck"


def many_tasks():
    """136, 137: hundreds of tasks: never more in parallel than slots, and no zombie process remains."""
    with workplace() as folder:
        log = f"{folder}/running"
        made = fixture(folder, files=0, shell=f"echo + >> {log}; echo > out.txt; sleep 0.03; echo - >> {log}", nodes=2)
        text = (made.folder / "run.toml").read_text().replace("slots_per_node = 1", "slots_per_node = 2")
        (made.folder / "run.toml").write_text(text)
        files = 500
        for number in range(files):
            (made.folder / "drop" / f"{number}").write_text("x")
        mill = made.watch()
        until(lambda: len(made.done()) == files, "all files are processed")
        at_once = most = 0
        for sign in Path(log).read_text().split():
            at_once += 1 if sign == "+" else -1
            most = max(most, at_once)
        assert 2 <= most <= 4, f"{most} in parallel in 4 slots"

        def dead():
            """Returns zombie processes below the daemon, including those of its keeper and of the shims of tasks."""
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

        until(lambda: not dead(), "no zombie process remains")
        end(mill)
        return f"{files} tasks, {most} in parallel in 4 slots, no zombie process left"


PLAIN = [journal_kills, journal_full, journal_flush, journal_damage, result_flush, unreadable_input, folder_flushed, few_handles, no_permission, silent_actor,
         many_tasks]
# These run in their own mount namespace.
MOUNTING = [full_output, full_output_interrupted, full_journal_interrupted, full_state, little_room, read_only, unmounted]
ALL = {work.__name__.replace("_", "-"): work for work in PLAIN + MOUNTING}
NEEDS = {"strace": [journal_kills, journal_full, journal_flush, result_flush, unreadable_input, folder_flushed, silent_actor],
         "unshare": MOUNTING, "prlimit": [few_handles], "setpriv": [no_permission]}


def lacking():
    """Returns the faults that this machine cannot inject, with the reason."""
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
        raise SystemExit(f"unknown fault {', '.join(unknown)}; expected {', '.join(ALL)}")
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
