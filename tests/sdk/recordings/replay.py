"""Replays recorded sessions of the real Batch service against ours and tells every difference.

A session is the list of calls that a public test suite of an official client recorded. Each is played against a service of its own; what
a session presupposes (pools, jobs, tasks and nodes that were made outside of it) is made first. Compared are the status, the code of an
error, which fields a body has and of which types, and the values that are determined by what was asked.
"""

import base64
import hashlib
import hmac
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from email.utils import formatdate

VERSION = "2024-07-01.20.0"
# Fields whose values follow from what was asked.
DETERMINED = {
    "id", "displayName", "vmSize", "priority", "maxParallelTasks", "usesTaskDependencies", "allowTaskPreemption",
    "onAllTasksComplete", "onTaskFailure", "name", "value", "targetDedicatedNodes", "targetLowPriorityNodes",
    "taskSlotsPerNode", "enableAutoScale", "enableInterNodeCommunication", "commandLine", "maxTaskRetryCount",
    "maxWallClockTime", "retentionTime", "requiredSlots", "waitForSuccess", "scope", "elevationLevel", "poolId",
    "nodeFillType", "recurrenceInterval", "nodeAgentSKUId", "publisher", "offer", "sku", "autoScaleFormula", "filePath",
    "resizeTimeout",
}  # fmt: skip
CREATES = re.compile(r"^/(pools|jobs|jobschedules)$")


class Service:
    def __init__(self, connection):
        batch = connection["batch"]
        self.base, self.account = batch["endpoint"].rstrip("/"), batch["account"]
        self.key = base64.b64decode(batch["key"])

    def call(self, method, path, query=(), headers=None, body=None):
        """Status, headers and body (JSON read) of the answer to a signed request."""
        query = {**dict(query), "api-version": VERSION}
        data = None if body is None else json.dumps(body).encode()
        headers = {name.lower(): value for name, value in (headers or {}).items()}
        headers["ocp-date"] = formatdate(usegmt=True)
        if data is not None:
            headers["content-type"] = "application/json; odata=minimalmetadata"
        if method not in ("GET", "HEAD"):
            headers["content-length"] = str(len(data or b""))
        signed = ["content-encoding", "content-language", "content-length", "content-md5", "content-type", "date"]
        signed += ["if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"]
        lines = [method, *(headers.get(name, "") for name in signed)]
        lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("ocp-")]
        lines.append(f"/{self.account}{urllib.parse.quote(path, safe='/(),=:%')}")
        lines += [f"{name.lower()}:{query[name]}" for name in sorted(query, key=str.lower)]
        signature = base64.b64encode(hmac.new(self.key, "\n".join(lines).encode(), hashlib.sha256).digest()).decode()
        headers["authorization"] = f"SharedKey {self.account}:{signature}"
        url = f"{self.base}{urllib.parse.quote(path, safe='/(),=:%')}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, dict(answer.headers), read(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), read(error.read())


def read(body):
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode(errors="replace")


def template(path):
    """The call a path belongs to: ids are left out."""
    path = re.sub(r"\(.*\)", "(..)", path)
    before, _, file = path.partition("/files/")
    kinds = "pools|jobs|tasks|nodes|jobschedules|users|applications"
    return re.sub(rf"/({kinds})/[^/]+(?=/|$)", r"/\1/{}", before) + ("/files/{}" if file else "")


def kind(value):
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return {str: "text", dict: "object", list: "list", type(None): "null"}[type(value)]


def differences(real, ours, at=""):
    """Where two bodies differ, as (place, what)."""
    if kind(real) != kind(ours):
        yield at, f"{kind(real)} there, {kind(ours)} here"
    elif isinstance(real, dict):
        for name in sorted({*real, *ours}):
            place = f"{at}.{name}".lstrip(".")
            if name not in ours:
                yield place, "only there"
            elif name not in real:
                yield place, "only here"
            elif name in DETERMINED and isinstance(real[name], (str, int)) and kind(real[name]) == kind(ours[name]):
                if str(real[name]).lower() != str(ours[name]).lower():
                    yield place, "other value"
            else:
                yield from differences(real[name], ours[name], place)
    elif isinstance(real, list):
        if real and ours:
            # Elements in their order: what is determined is so by what was asked.
            for one, other in zip(real, ours):
                yield from differences(one, other, f"{at}[]")
        elif real or ours:
            yield at, "empty here" if real else "empty there"


class Session:
    """One recording, played against a service of its own."""

    def __init__(self, recording, service):
        self.calls, self.service = recording["interactions"], service
        self.nodes = {}

    def path_of(self, call):
        path, _, query = call["path"].partition("?")
        path = urllib.parse.unquote(path)
        for there, here in self.nodes.items():
            path = path.replace(there, here)
        query = [(name, value) for name, value in urllib.parse.parse_qsl(query) if name != "api-version"]
        return path, query

    def presuppose(self):
        """Makes what the session uses and does not make."""
        made = set()
        for call in self.calls:
            path = urllib.parse.unquote(call["path"].partition("?")[0])
            body = call.get("request_body_json") or {}
            if call["method"] == "POST" and CREATES.match(path):
                made.add((path.strip("/"), str(body.get("id")).lower()))
            used = re.match(r"^/(pools|jobs)/([^/]+)", path)
            wanted = [(used[1], used[2])] if used and call["status"] != 404 else []
            pool = (body.get("poolInfo") or (body.get("jobSpecification") or {}).get("poolInfo") or {}).get("poolId")
            wanted += [("pools", pool)] if pool else []
            for what, name in wanted:
                if (what, name.lower()) not in made:
                    made.add((what, name.lower()))
                    self.make(what, name)
            self.find_node(path)

    def make(self, what, name):
        if what == "pools":
            uses_nodes = any(f"/pools/{name}/nodes" in urllib.parse.unquote(call["path"]) for call in self.calls)
            self.service.call("POST", "/pools", body=pool_of(name, 2 if uses_nodes else 0))
            self.settled(name, 2 if uses_nodes else 0)
            return
        # The second of several is refused, and that is all right.
        self.service.call("POST", "/pools", body=pool_of("made-before", 0))
        self.service.call("POST", "/jobs", body={"id": name, "poolInfo": {"poolId": "made-before"}})

    def settled(self, pool, count):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            status, _, nodes = self.service.call("GET", f"/pools/{pool}/nodes")
            if status == 200 and [node["state"] for node in nodes["value"]] == ["idle"] * count:
                return
            time.sleep(0.02)

    def find_node(self, path):
        found = re.match(r"^/pools/([^/]+)/nodes/([^/]+)", path)
        if not found or found[2] in self.nodes:
            return
        status, _, nodes = self.service.call("GET", f"/pools/{found[1]}/nodes")
        ours = [node["id"] for node in nodes["value"]] if status == 200 else []
        free = [node for node in ours if node not in self.nodes.values()]
        if free:
            self.nodes[found[2]] = free[0]

    def with_our_nodes(self, body):
        text = json.dumps(body)
        for node in re.findall(r"tvm[0-9A-Za-z_-]+", text):
            free = [each for each in self.all_nodes() if each not in self.nodes.values()]
            if node not in self.nodes and free:
                self.nodes[node] = free[0]
            text = text.replace(node, self.nodes.get(node, node))
        return json.loads(text)

    def all_nodes(self):
        _, _, pools = self.service.call("GET", "/pools")
        for pool in pools["value"]:
            _, _, nodes = self.service.call("GET", f"/pools/{pool['id']}/nodes")
            yield from (node["id"] for node in nodes["value"])

    def play(self):
        """Plays all calls; yields (call, place, what) for every difference."""
        self.presuppose()
        for call in self.calls:
            self.find_node(urllib.parse.unquote(call["path"].partition("?")[0]))
            path, query = self.path_of(call)
            name = f"{call['method']} {template(path)}"
            kept = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "ocp-range")
            headers = {key: value for key, value in (call.get("request_headers") or {}).items() if key in kept}
            body = self.with_our_nodes(call.get("request_body_json"))
            status, answered, ours = self.service.call(call["method"], path, query, headers, body)
            for place, what in self.compare(call, status, answered, ours):
                yield f"{name} {call['status']}", place, what

    def compare(self, call, status, answered, ours):
        real = call.get("response_body_json")
        if status != call["status"]:
            code = (ours or {}).get("code", "") if isinstance(ours, dict) else ""
            yield "status", f"{status} {code}".strip()
            return
        if real is None:
            return
        if call["status"] >= 400:
            if real.get("code") != (ours or {}).get("code"):
                yield "code", f"{real.get('code')} there, {(ours or {}).get('code')} here"
            return
        yield from differences(real, ours)


def pool_of(name, nodes):
    return {
        "id": name,
        "vmSize": "STANDARD_D2S_V3",
        "virtualMachineConfiguration": {
            "imageReference": {"publisher": "canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts"},
            "nodeAgentSKUId": "batch.node.ubuntu 22.04",
        },
        "targetDedicatedNodes": nodes,
    }
