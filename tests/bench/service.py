#!/usr/bin/env python3
"""Measures the local service: its response times, and its blobs compared with Azurite's through the same client, interleaved.

    cargo build --release && python3 tests/bench/service.py [batch|blob] ... [--tasks 1000000] [--rounds 3] [--big-mib 512]

Installs Azurite and the official Python client of Blob Storage into `target/`; uses `wrk` and `rclone` if they are installed.
The benchmark itself uses only loopback connections.
"""

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from email.utils import formatdate
from importlib.machinery import SourceFileLoader
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
PROGRAM = Path(os.environ.get("DROPMILL_PROGRAM", PROJECT / "target/release/dropmill"))
API = "api-version=2024-07-01.20.0"


def memory(pid):
    """Returns the peak resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024


class Service:
    """A `dropmill serve` process on free ports."""

    def __init__(self, folder):
        command = [PROGRAM, "serve", "--state", folder, "--batch", "127.0.0.1:0", "--blob", "127.0.0.1:0", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.settings = json.loads(self.process.stdout.readline())
        self.address = urlsplit(self.settings["batch"]["endpoint"]).netloc

    def request(self, method, path, body=b""):
        """Returns a complete signed request as bytes."""
        account, key = self.settings["batch"]["account"], base64.b64decode(self.settings["batch"]["key"])
        date = formatdate(usegmt=True)
        kind = "application/json; odata=minimalmetadata" if body else ""
        length = str(len(body)) if method != "GET" else ""
        split = urlsplit(path)
        pairs = sorted(part.split("=", 1) for part in split.query.split("&"))
        resource = f"/{account}{split.path}" + "".join(f"\n{name}:{unquote(value)}" for name, value in pairs)
        text = "\n".join([method, "", "", length, "", kind, "", "", "", "", "", "", f"ocp-date:{date}", resource])
        signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.address}", f"ocp-date: {date}"]
        lines += [f"Authorization: SharedKey {account}:{signature}"]
        if kind:
            lines.append(f"Content-Type: {kind}")
        if method != "GET":
            lines.append(f"Content-Length: {length}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def call(self, method, path, body=None):
        raw = self.request(method, path, json.dumps(body).encode() if body else b"")
        head, _, body = raw.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        connection = http.client.HTTPConnection(self.address)
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        reply = response.read()
        connection.close()
        if response.status >= 300:
            sys.exit(f"{method} {path}: {response.status} {reply[:500]}")
        return json.loads(reply) if reply else None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def load_program(folder):
    program = folder / "load"
    subprocess.run(["rustc", "-O", "--edition", "2024", HERE / "load.rs", "-o", program], check=True)
    return program


def wrk(address, path, headers, connections):
    """Measures with wrk; returns rate, p50 and p99 in microseconds. wrk needs little CPU, so the service has a core for itself."""
    command = ["wrk", "-t1", f"-c{connections}", "-d4s", "--latency", f"http://{address}{path}"]
    command += [word for name, value in headers for word in ("-H", f"{name}: {value}")]
    reply = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in reply and "Socket errors" not in reply, reply
    units = {"us": 1, "ms": 1000, "s": 1_000_000}

    def at(part):
        number, unit = re.search(rf"^ +{part}% +([\d.]+)(us|ms|s)$", reply, re.M).groups()
        return float(number) * units[unit]

    return float(re.search(r"Requests/sec: +([\d.]+)", reply)[1]), at(50), at(99), 0


def batch(arguments, folder):
    load = load_program(folder)
    service = Service(folder / "state")
    floor = subprocess.Popen([load, "floor", "600"], stdout=subprocess.PIPE, text=True)
    floor_address = floor.stdout.readline().strip()

    def fire(request, connections, count, address=service.address):
        """Sends a request repeatedly; returns rate, p50 and p99 in microseconds, and bytes of a response."""
        file = folder / "request"
        file.write_bytes(request)
        out = subprocess.run([load, file, address, str(connections), str(count)], check=True, capture_output=True)
        return [float(word) for word in out.stdout.split()]

    print("\n## Batch\n\n| what | p50 | p99 | per second |\n|---|---|---|---|")

    def row(what, reply, unit=""):
        rate, p50, p99, _ = reply
        print(f"| {what} | {p50 / 1000:.3f} ms | {p99 / 1000:.3f} ms | {rate:,.0f}{unit} |", flush=True)

    try:
        # Without nodes, to measure the service and not the tasks.
        image = {"publisher": "canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts"}
        machine = {"imageReference": image, "nodeAgentSKUId": "batch.node.ubuntu 22.04"}
        service.call("POST", f"/pools?{API}", {"id": "idle", "vmSize": "standard_d2s_v3", "virtualMachineConfiguration": machine})
        for job in ("few", "many"):
            service.call("POST", f"/jobs?{API}", {"id": job, "poolInfo": {"poolId": "idle"}})
        task = {"id": "t@@@@@@@@", "commandLine": "/bin/true"}
        hundred = json.dumps({"value": [task] * 100}).encode()
        add = lambda job: service.request("POST", f"/jobs/{job}/addtaskcollection?{API}", hundred)
        fire(add("few"), 1, 10)
        path = f"/jobs/few/tasks/t00000500?{API}"
        one = service.request("GET", path)
        headers = [line.split(": ", 1) for line in one.decode().split("\r\n")[2:] if line]
        if shutil.which("wrk") is None:
            print("wrk is not installed; skipping its rows")
        for _ in range(arguments.rounds):
            for connections, count in ((1, 5000), (16, 80000)):
                many = f"{connections} connection{'s' * (connections > 1)}"
                row(f"floor, {many}", fire(one, connections, count, floor_address))
                row(f"get a task, {many}", fire(one, connections, count))
                if shutil.which("wrk"):
                    row(f"floor, {many}, wrk", wrk(floor_address, path, headers, connections))
                    row(f"get a task, {many}, wrk", wrk(service.address, path, headers, connections))
            page = f"/jobs/few/tasks?$select={quote('id,state,executionInfo')}&{API}"
            row("page of 1,000 tasks, $select", fire(service.request("GET", page), 1, 200))
        began = time.perf_counter()
        reply = fire(add("many"), 1, min(1000, arguments.tasks // 100))
        row("add 100 tasks, 1 connection", reply)
        shutil.copy(folder / "request", folder / "one")
        # Add the rest with another prefix: the eight-digit number restarts at 0 with each start of the program.
        rest = arguments.tasks // 100 - int(min(1000, arguments.tasks // 100))
        if rest:
            more = json.dumps({"value": [{**task, "id": "u@@@@@@@@"}] * 100}).encode()
            reply = fire(service.request("POST", f"/jobs/many/addtaskcollection?{API}", more), 4, rest)
            row("add 100 tasks, 4 connections", reply)
        print(f"\n{arguments.tasks:,} tasks in {time.perf_counter() - began:.1f} s; peak memory {memory(service.process.pid):.0f} MiB")
        page, number = f"/jobs/many/tasks?$select={quote('id,state,executionInfo')}&{API}", 0
        first, taken = None, []
        while page:
            number += 1
            began = time.perf_counter()
            reply = service.call("GET", page)
            taken.append(time.perf_counter() - began)
            link = reply.get("odata.nextLink")
            last, page = page, link and link.split(service.address, 1)[1]
            first = first or last
        print(f"{number} pages read by a Python client: median {statistics.median(taken) * 1000:.1f} ms\n")
        print("| what | p50 | p99 | per second |\n|---|---|---|---|")
        for _ in range(arguments.rounds):
            row("page 1 of many", fire(service.request("GET", first), 1, 200))
            row(f"page {number} of many", fire(service.request("GET", last), 1, 200))
    finally:
        service.stop()
        floor.kill()
        floor.wait()


class Azurite:
    def __init__(self, folder):
        cache = PROJECT / "target/bench/azurite"
        program = cache / "node_modules/.bin/azurite-blob"
        if not program.exists():
            cache.mkdir(parents=True, exist_ok=True)
            npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", cache, "azurite@3"]
            subprocess.run(npm, check=True)
        folder.mkdir()
        command = [program, "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobHost", "127.0.0.1"]
        self.port = free_port()
        self.process = subprocess.Popen([*command, "--blobPort", str(self.port), "-l", folder])
        key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
        endpoint = f"http://127.0.0.1:{self.port}/devstoreaccount1"
        account = "devstoreaccount1"
        self.connection = (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};BlobEndpoint={endpoint};"
        )
        while True:
            try:
                http.client.HTTPConnection("127.0.0.1", self.port).request("GET", "/")
                break
            except ConnectionRefusedError:
                time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


CLIENT = """
import hashlib, json, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from azure.storage.blob import BlobServiceClient
connection, count, size, big, work = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) << 20, sys.argv[5]
service = BlobServiceClient.from_connection_string(connection)
container = service.create_container(f"bench-{time.time_ns()}")
times, small = {}, os.urandom(size)
def measured(name, action):
    began = time.perf_counter()
    action()
    times[name] = time.perf_counter() - began
with ThreadPoolExecutor(8) as pool:
    put = lambda number: container.upload_blob(f"b{number}", small)
    def get(number):
        assert container.download_blob(f"b{number}").readall() == small
    measured("small up", lambda: list(pool.map(put, range(count))))
    measured("small down", lambda: list(pool.map(get, range(count))))
file = os.path.join(work, "big")
if not os.path.exists(file):
    with open(file, "wb") as out:
        for _ in range(big >> 20):
            out.write(os.urandom(1 << 20))
def up():
    with open(file, "rb") as source:
        container.upload_blob("big", source, length=big, max_concurrency=4)
def down():
    with open(file + ".down", "wb") as target:
        container.download_blob("big", max_concurrency=4).readinto(target)
measured("big up", up)
measured("big down", down)
digest = lambda path: hashlib.file_digest(open(path, "rb"), "md5").hexdigest()
assert digest(file) == digest(file + ".down")
container.delete_container()
print(json.dumps(times))
"""


# Creates a container and prints its URL with a SAS that has all permissions.
CONTAINER = """
import sys, time
from datetime import datetime, timedelta, timezone
from azure.storage.blob import BlobServiceClient, generate_container_sas
service = BlobServiceClient.from_connection_string(sys.argv[1])
container = service.create_container(f"rclone-{time.time_ns()}")
key, expiry = service.credential.account_key, datetime.now(timezone.utc) + timedelta(hours=2)
name = container.container_name
print(container.url + "?" + generate_container_sas(service.account_name, name, account_key=key, permission="racwdl", expiry=expiry))
"""


def rclone(python, connection, source, target):
    """Copies a folder into a new container and back into another folder; returns the seconds of both, including the start of rclone."""
    command = [python, "-c", CONTAINER, connection]
    url = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    remote = f":azureblob,sas_url='{url}':{urlsplit(url).path.rsplit('/', 1)[1]}"
    environment, taken = {**os.environ, "RCLONE_CONFIG": "/dev/null", "NO_PROXY": "*"}, {}
    for what, start, end in (("1,000 x 10 KiB up", source, remote), ("1,000 x 10 KiB down", remote, target)):
        began = time.perf_counter()
        copy = ["rclone", "copy", start, end, "--transfers", "8", "--checkers", "8", "--no-traverse"]
        subprocess.run(copy, check=True, env=environment)
        taken[what] = time.perf_counter() - began
    same_files(source, target)
    return taken


def own_client(connection, source, target):
    """Does the same with our own client; excludes the start of the process."""
    settings = dict(part.split("=", 1) for part in connection.rstrip(";").split(";"))
    program = PROJECT / "target/release/examples/copy"
    command = [program, settings["BlobEndpoint"], settings["AccountName"], f"own-{time.time_ns()}", source, target]
    reply = subprocess.run(command, check=True, capture_output=True, text=True, env={"STORAGE_KEY": settings["AccountKey"]})
    _, up, _, down = reply.stdout.split()
    same_files(source, target)
    return {"1,000 x 10 KiB up": float(up), "1,000 x 10 KiB down": float(down)}


def same_files(source, target):
    for file in source.iterdir():
        assert file.read_bytes() == (target / file.name).read_bytes(), file


def blob(arguments, folder):
    build = ["cargo", "build", "--quiet", "--release", "-p", "dropmill-azure-client", "--example", "copy"]
    subprocess.run(build, cwd=PROJECT, check=True)
    sdk = SourceFileLoader("sdk", str(PROJECT / "tests/sdk/run")).load_module()
    python = sdk.python_of("python-15")
    service, azurite = Service(folder / "blob-state"), Azurite(folder / "azurite")
    client = folder / "client.py"
    client.write_text(CLIENT)
    sides = {"dropmill": (service.settings["connection_string"], service.process.pid)}
    sides["azurite"] = (azurite.connection, azurite.process.pid)

    def official(name, connection):
        command = [python, client, connection, "1000", "10240", str(arguments.big_mib), folder]
        out = subprocess.run(command, check=True, capture_output=True, env={**os.environ, "NO_PROXY": "*"})
        return json.loads(out.stdout)

    small = folder / "small"
    small.mkdir()
    for number in range(1000):
        (small / f"b{number}").write_bytes(os.urandom(10 << 10))
    clients = {"azure-storage-blob, 8 threads (small) or 4 (big)": official}
    fresh = lambda name: Path(tempfile.mkdtemp(prefix=name, dir=folder))
    clients["our own client, 8 at a time"] = lambda name, connection: own_client(connection, small, fresh(name))
    if shutil.which("rclone"):
        clients["rclone, 8 transfers"] = lambda name, connection: rclone(python, connection, small, fresh(name))
    else:
        print("rclone is not installed; skipping its rows")
    try:
        for client_name, measure in clients.items():
            taken = {name: [] for name in sides}
            for _ in range(arguments.rounds):
                for name, (connection, _) in sides.items():
                    taken[name].append(measure(name, connection))
            print(f"\n## Blob, through {client_name}\n")
            print("| what | dropmill | Azurite | Azurite / dropmill (median of rounds) |\n|---|---|---|---|")
            for what in taken["dropmill"][0]:
                ours, theirs = ([each[what] for each in taken[name]] for name in ("dropmill", "azurite"))
                ratio = statistics.median(their / our for our, their in zip(ours, theirs))
                print(f"| {what} | {statistics.median(ours):.2f} s | {statistics.median(theirs):.2f} s | {ratio:.2f} |")
        print(f"\npeak memory: {memory(sides['dropmill'][1]):.0f} MiB, Azurite {memory(sides['azurite'][1]):.0f} MiB", flush=True)
    finally:
        service.stop()
        azurite.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="`batch`, `blob`; default: both")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--big-mib", type=int, default=512)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dropmill-bench-") as folder:
        for name in arguments.what or ["batch", "blob"]:
            {"batch": batch, "blob": blob}[name](arguments, Path(folder))


if __name__ == "__main__":
    main()
