#!/usr/bin/env python3
"""Measures the memory of the local service per task: (resident after - resident before) / number of tasks.

    cargo build --release && python3 tests/bench/memory.py [--tasks 20000 100000] [--run 20000]

`--tasks` adds tasks like those of a run (one input, two kinds of outputs, four variables) to a job on a pool without nodes.
`--run` runs this many files on a service that keeps job and containers: completed tasks with their blobs.
"""

import argparse
import json
import subprocess
import tempfile
from importlib.machinery import SourceFileLoader
from pathlib import Path

SERVICE = SourceFileLoader("service", str(Path(__file__).with_name("service.py"))).load_module()
API = SERVICE.API
RUN = """
[run]
name = "memory"
[input]
files = ["data/*"]
[task]
command = ["/bin/cp", "{{input}}", "copy"]
outputs = ["copy"]
[pool]
slots_per_node = 2
[output]
directory = "out"
[cleanup]
job = "never"
containers = "never"
[service]
kind = "azure"
batch_endpoint = "{batch[endpoint]}"
batch_account = "{batch[account]}"
batch_key = {{ file = "batch.key" }}
blob_endpoint = "{blob[endpoint]}"
storage_account = "{blob[account]}"
storage_key = {{ file = "blob.key" }}
"""


def resident(service):
    for line in Path(f"/proc/{service.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024


def task(number):
    name = f"{number:08}-txt-0123456789ab"
    sas = "sv=2022-11-02&st=2026-11-30T06%3A00%3A00Z&se=2026-12-03T06%3A00%3A00Z&sr=b&sp=r&sig=" + "x" * 43 + "%3D"
    blob = f"http://127.0.0.1:10000/devstoreaccount1/memory-20261130-060000-abcdef"
    out = lambda path: {"container": {"containerUrl": f"{blob}-output?{sas}", "path": path}}
    file = lambda pattern, path: {"filePattern": pattern, "destination": out(path), "uploadOptions": {"uploadCondition": "taskcompletion"}}
    variables = {"DROPMILL_RUN": "memory-20261130-060000-abcdef", "DROPMILL_INPUT": f"{number:08}.txt", "DROPMILL_INPUT_NAME": f"{number:08}.txt",
                 "DROPMILL_INPUT_STEM": f"{number:08}"}
    return {"id": name, "commandLine": f"/bin/cp {number:08}.txt copy",
            "resourceFiles": [{"httpUrl": f"{blob}-input/{name}/{number:08}.txt?{sas}", "filePath": f"{number:08}.txt", "fileMode": "0644"}],
            "outputFiles": [file("../std*.txt", name), file("copy", f"{name}/wd/copy")],
            "environmentSettings": [{"name": key, "value": value} for key, value in variables.items()],
            "constraints": {"maxTaskRetryCount": 0}, "requiredSlots": 1}


def waiting_tasks(count):
    with tempfile.TemporaryDirectory() as folder:
        service = SERVICE.Service(Path(folder) / "state")
        try:
            image = {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"}
            machine = {"imageReference": image, "nodeAgentSKUId": "batch.node.ubuntu 24.04"}
            service.call("POST", f"/pools?{API}", {"id": "idle", "vmSize": "standard_d2s_v5", "virtualMachineConfiguration": machine})
            service.call("POST", f"/jobs?{API}", {"id": "job", "poolInfo": {"poolId": "idle"}})
            for first in range(0, 1000, 100):
                service.call("POST", f"/jobs/job/addtaskcollection?{API}", {"value": [task(number) for number in range(first, first + 100)]})
            before = resident(service)
            for first in range(1000, 1000 + count, 100):
                service.call("POST", f"/jobs/job/addtaskcollection?{API}", {"value": [task(number) for number in range(first, first + 100)]})
            after = resident(service)
            print(f"{count:,} waiting tasks: {(after - before) / count:,.0f} B each; {after / 2**20:.0f} MiB resident", flush=True)
            service.call("DELETE", f"/jobs/job?{API}")
            print(f"after the job's deletion: {resident(service) / 2**20:.0f} MiB resident", flush=True)
        finally:
            service.stop()


def completed_tasks(count):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        service = SERVICE.Service(folder / "state")
        try:
            (folder / "data").mkdir()
            for number in range(count):
                (folder / "data" / f"{number:08}.txt").write_text(f"{number}\n")
            for of in ("batch", "blob"):
                key = folder / f"{of}.key"
                key.touch(mode=0o600)
                key.write_text(service.settings[of]["key"])
            (folder / "run.toml").write_text(RUN.format(**service.settings))
            before = resident(service)
            command = [SERVICE.PROGRAM, "--state", folder / "client", "run", "run.toml", "--quiet"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
            after = resident(service)
            print(f"{count:,} completed tasks with their blobs: {(after - before) / count:,.0f} B each; "
                  f"{after / 2**20:.0f} MiB resident", flush=True)
        finally:
            service.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="*", default=[20000, 100000])
    parser.add_argument("--run", type=int, nargs="*", default=[20000])
    arguments = parser.parse_args()
    for count in arguments.tasks:
        waiting_tasks(count)
    for count in arguments.run:
        completed_tasks(count)


if __name__ == "__main__":
    main()
