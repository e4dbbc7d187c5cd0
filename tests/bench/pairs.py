#!/usr/bin/env python3
"""Requests to the local service of one build beside those to another: A B B A, the ratio of each pair.

The time of the processor that the service takes for a request says more than the time of its answer where other programs run beside it.

    python3 tests/bench/pairs.py BEFORE AFTER [--rounds 9]

Adds tasks like those of a run to a job whose pool has no nodes, and asks for one and for pages of them.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from importlib.machinery import SourceFileLoader
from pathlib import Path

MEMORY = SourceFileLoader("memory", str(Path(__file__).with_name("memory.py"))).load_module()
SERVICE = MEMORY.SERVICE
API = SERVICE.API


class Side:
    def __init__(self, program, folder):
        SERVICE.PROGRAM = program
        self.folder = folder
        self.service = SERVICE.Service(folder / "state")
        image = {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"}
        machine = {"imageReference": image, "nodeAgentSKUId": "batch.node.ubuntu 24.04"}
        self.service.call("POST", f"/pools?{API}", {"id": "idle", "vmSize": "standard_d2s_v5", "virtualMachineConfiguration": machine})
        for job in ("few", "many", "small"):
            self.service.call("POST", f"/jobs?{API}", {"id": job, "poolInfo": {"poolId": "idle"}})
        for first in range(0, 1000, 100):
            body = {"value": [MEMORY.task(number) for number in range(first, first + 100)]}
            self.service.call("POST", f"/jobs/few/addtaskcollection?{API}", body)

    def fire(self, load, request, connections, count):
        """Of one request, in microseconds: the median of the answers, and the time of the service's processor."""
        file = self.folder / "request"
        file.write_bytes(request)
        before = self.spent()
        out = subprocess.run([load, file, self.service.address, str(connections), str(count)], check=True, capture_output=True)
        return float(out.stdout.split()[1]), (self.spent() - before) / count

    def spent(self):
        fields = Path(f"/proc/{self.service.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000 / os.sysconf("SC_CLK_TCK")


def requests(service, serial):
    """What is asked. Numbers begin anew with each start of the client: names of tasks must not, so they have a serial number."""
    get = lambda path: service.request("GET", f"{path}{'&' if '?' in path else '?'}{API}")
    add = lambda job, task: service.request("POST", f"/jobs/{job}/addtaskcollection?{API}", json.dumps({"value": [task] * 100}).encode())
    of_a_run = json.loads(json.dumps(MEMORY.task(0)).replace("00000000", "@@@@@@@@").replace("0123456789ab", f"{serial:012x}"))
    one = f"/jobs/few/tasks/{MEMORY.task(500)['id']}"
    return {
        "get a task, 1 connection": (get(one), 1, 10000),
        "get a task, 16 connections": (get(one), 16, 20000),
        "get a task's state": (get(f"{one}?$select=id,state"), 1, 10000),
        "page of 1,000 tasks, $select=id,state": (get("/jobs/few/tasks?$select=id,state"), 1, 300),
        "page of 1,000 tasks, whole": (get("/jobs/few/tasks"), 1, 100),
        "add 100 tasks of a run": (add("many", of_a_run), 1, 60),
        "add 100 small tasks": (add("small", {"id": f"t{serial:04}-@@@@@@@@", "commandLine": "/bin/true"}), 1, 100),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs=2, type=Path, metavar="PROGRAM")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder, sides = Path(folder), []
        load = SERVICE.load_program(folder)
        try:
            for name, program in zip("ab", arguments.programs):
                (folder / name).mkdir()
                sides.append(Side(program.resolve(), folder / name))
            found, serial = {}, 0
            for round in range(arguments.rounds):
                for what in requests(sides[0].service, 0):
                    took = {}
                    for which in (0, 1) if round % 2 else (1, 0):
                        serial += 1
                        request, connections, count = requests(sides[which].service, serial)[what]
                        took[which] = sides[which].fire(load, request, connections, count)
                    found.setdefault(what, []).append((took[0], took[1]))
        finally:
            for side in sides:
                side.service.stop()
    print("| what | answer before | after | ratio, median of pairs | processor before | after | ratio |\n|---|---|---|---|---|---|---|")
    for what, pairs in found.items():
        row = what
        for measure in (0, 1):
            before, after = (statistics.median(pair[which][measure] for pair in pairs) for which in (0, 1))
            ratio = statistics.median(pair[1][measure] / max(pair[0][measure], 1) for pair in pairs)
            row += f" | {before:,.0f} us | {after:,.0f} us | {ratio:.2f}"
        print(f"| {row} |")


if __name__ == "__main__":
    main()
