"""A `dropmill serve` process for endurance runs, the proxy in front of it, and the memory usage of processes."""

import base64
import hashlib
import hmac
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from email.utils import formatdate
from pathlib import Path

SECTION = """
[service]
kind = "azure"
batch_endpoint = "{batch[endpoint]}"
batch_account = "{batch[account]}"
batch_key = {{ file = "batch.key" }}
blob_endpoint = "{blob[endpoint]}"
storage_account = "{blob[account]}"
storage_key = {{ file = "blob.key" }}
"""


class Service:
    """A `dropmill serve` process with a state folder below `folder`. With a share above 0, clients connect through the proxy."""

    def __init__(self, program, folder, share=0.0, seed=1, only=(), log=None):
        self.program, self.folder = program, Path(folder)
        # The service listens on 127.0.0.1 but announces 127.0.0.2, where the proxy listens on the same ports.
        self.named = ["--host", "127.0.0.2"] if share else []
        self.ports = {"batch": 0, "blob": 0}
        self.start()
        self.ports = {of: re.search(r":(\d+)", self.connection[of]["endpoint"][7:]).group(1) for of in self.ports}
        for of in ("batch", "blob"):
            key = self.folder / f"{of}.key"
            key.touch(mode=0o600)
            key.write_text(self.connection[of]["key"])
        self.proxy = self.start_proxy(share, seed, only, log) if share else None

    def start(self):
        command = [str(self.program), "--state", str(self.folder / "served"), "serve", "--json", *self.named]
        command += [word for of, port in self.ports.items() for word in (f"--{of}", f"127.0.0.1:{port}")]
        errors = open(self.folder / "served.log", "ab")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.connection = json.loads(self.process.stdout.readline())

    def kill_and_start(self):
        """Kills the service and restarts it with the same state and addresses."""
        self.process.kill()
        self.process.wait()
        self.start()

    def start_proxy(self, share, seed, only, log):
        pairs = [word for of, port in self.ports.items() for word in (f"--{of}", f"127.0.0.2:{port}=127.0.0.1:{port}")]
        command = [sys.executable, str(Path(__file__).with_name("proxy.py")), *pairs, "--share", str(share), "--seed", str(seed)]
        command += ["--only", *only] if only else []
        command += ["--log", str(log)] if log else []
        proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if not proxy.stdout.readline():
            raise SystemExit("the proxy did not start")
        return proxy

    def section(self):
        """Returns the `[service]` section of a run file for this service."""
        return SECTION.format(**self.connection)

    def left(self):
        """Returns the pools, jobs and containers of the service; does not use the proxy."""
        found = []
        for what in ("pools", "jobs"):
            answer = json.loads(self.get("batch", f"/{what}", {"api-version": "2024-07-01.20.0"}))
            found += [f"{what[:-1]} {entry['id']}" for entry in answer["value"]]
        account = self.connection["blob"]["account"]
        listed = self.get("blob", f"/{account}/", {"comp": "list"})
        return found + [f"container {name}" for name in re.findall("<Name>([^<]*)</Name>", listed.decode())]

    def get(self, of, path, query):
        account, key = self.connection[of]["account"], base64.b64decode(self.connection[of]["key"])
        prefix = "ocp" if of == "batch" else "x-ms"
        headers = {f"{prefix}-date": formatdate(usegmt=True)}
        if of == "blob":
            headers["x-ms-version"] = "2024-11-04"
        signed = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        values = "".join(f"\n{name}:{value}" for name, value in sorted(query.items()))
        text = "GET" + "\n" * 12 + signed + f"/{account}{path}" + values
        signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
        headers["authorization"] = f"SharedKey {account}:{signature}"
        query_text = "&".join(f"{name}={value}" for name, value in query.items())
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[of]}{path}?{query_text}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read()

    def end(self):
        """Stops service and proxy; returns the summary of the proxy, or `None` without a proxy."""
        summary = None
        if self.proxy:
            self.proxy.send_signal(signal.SIGTERM)
            summary = json.loads(self.proxy.communicate()[0])
        self.process.send_signal(signal.SIGTERM)
        if (code := self.process.wait()) != 0:
            raise SystemExit(f"serve exited with {code}")
        return summary

    def kill(self):
        """Kills service and proxy after a failed test."""
        for process in (self.proxy, self.process):
            if process and process.poll() is None:
                process.kill()
                process.wait()


class Memory:
    """Samples the resident memory of processes, by the name of their role."""

    def __init__(self):
        self.began = time.monotonic()
        self.samples = []
        self.processes = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()

    def sample(self):
        while not self.over.wait(0.5):
            for role, pid in list(self.processes.items()):
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                if found := re.search(r"VmRSS:\s+(\d+)", status):
                    self.samples.append((time.monotonic() - self.began, role, int(found.group(1)) / 1024))

    def stop(self):
        self.over.set()
        self.thread.join()

    def around(self, role, second, width=30):
        """Returns the maximum of a role within `width` seconds of `second`; `None` if there is no sample."""
        near = [mib for at, of, mib in self.samples if of == role and abs(at - second) <= width]
        return max(near, default=None)

    def grown(self, role, most=1.1):
        """Describes the memory of a role at minute 2 and at the end; also returns whether it grew by more than a factor of `most`."""
        end = max((at for at, of, _ in self.samples if of == role), default=0)
        early, late = self.around(role, 120), self.around(role, end)
        if late is None:
            return f"{role}: not sampled", False
        if end < 240 or early is None:
            return f"{role}: {late:.1f} MiB at the end; the run is too short to compare", False
        words = f"{role}: {early:.1f} MiB at minute 2, {late:.1f} MiB at minute {end / 60:.0f}: {late / early:.2f} times"
        return words, late > early * most
