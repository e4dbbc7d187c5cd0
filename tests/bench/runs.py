#!/usr/bin/env python3
"""Compares the throughput of two builds: whole runs of plain tasks (/bin/true over files of one byte), interleaved.

    python3 tests/bench/runs.py BEFORE AFTER [--tasks 5000] [--rounds 7]

A round is one run of each build, in alternating order (A B, B A, A B, ...), so that a machine that becomes slower or faster favours
neither. The table shows medians, and the median, smallest and largest ratio of the pairs. A ratio below 1 means that AFTER is faster.
Processor time includes the tasks. It varies less than the wall time if other programs use the machine. All folders are new, and
deleted after the last round only: see `bench.py`.
"""

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path

BENCH = SourceFileLoader("bench", str(Path(__file__).with_name("bench.py"))).load_module()


def measure(arguments, where):
    """Runs a command. Returns its wall time and processor time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(arguments, cwd=where, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs=2, type=Path, metavar="PROGRAM")
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", help="folder for all files, on the disk to measure; not deleted")
    options = parser.parse_args()
    folder = options.folder or tempfile.mkdtemp(prefix="dropmill-runs-")
    bench = BENCH.Bench(folder, options.rounds)
    programs = [program.resolve(strict=True) for program in options.programs]
    prepare = bench.run_folder(options.tasks, options.nodes)
    pairs = []
    for number in range(options.rounds):
        pair = [None, None]
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            (_, *arguments), where = prepare(bench.new())
            pair[which] = measure([programs[which], *arguments], where)
        pairs.append(pair)
        print(f"round {number + 1}: {pair[0][0]:.2f} s, {pair[1][0]:.2f} s", file=sys.stderr)
    print(f"{options.tasks} tasks, {options.rounds} rounds\n")
    print("| what | before | after | ratio, median of pairs | min | max |\n|---|---|---|---|---|---|")
    for measure_of, what in enumerate(("wall", "processor")):
        before, after = (statistics.median(pair[which][measure_of] for pair in pairs) for which in (0, 1))
        ratios = sorted(pair[1][measure_of] / pair[0][measure_of] for pair in pairs)
        print(
            f"| {what}, per task | {before / options.tasks * 1e6:.0f} us | {after / options.tasks * 1e6:.0f} us "
            f"| {statistics.median(ratios):.3f} | {ratios[0]:.3f} | {ratios[-1]:.3f} |"
        )
    if not options.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
