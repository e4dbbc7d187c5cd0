"""Replays recorded sessions of the real Batch service against ours and reports every difference.

A session is the list of calls that a public test suite of an official client recorded. Each session is replayed against its own
service, with its own version of the protocol or the oldest that our service supports. Pools, jobs, tasks and nodes that existed before
the recording are created first. The comparison covers the status, the error code, the fields of a body with their types, and the values
that depend on the request.
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

from preparation import Preparation, path_of

# The oldest protocol version that our service supports: older sessions are replayed with it.
OLDEST = "2022-10-01.16.0"
# Fields whose values depend on the request.
DETERMINED = {
    "id", "displayName", "vmSize", "priority", "maxParallelTasks", "usesTaskDependencies", "allowTaskPreemption",
    "onAllTasksComplete", "onTaskFailure", "name", "value", "targetDedicatedNodes", "targetLowPriorityNodes",
    "taskSlotsPerNode", "enableAutoScale", "enableInterNodeCommunication", "commandLine", "maxTaskRetryCount",
    "maxWallClockTime", "retentionTime", "requiredSlots", "waitForSuccess", "scope", "elevationLevel", "poolId",
    "nodeFillType", "recurrenceInterval", "nodeAgentSKUId", "publisher", "offer", "sku", "autoScaleFormula", "filePath",
    "resizeTimeout",
}  # fmt: skip


class Service:
    def __init__(self, connection):
        batch = connection["batch"]
        self.base, self.account = batch["endpoint"].rstrip("/"), batch["account"]
        self.key = base64.b64decode(batch["key"])
        self.version = OLDEST

    def call(self, method, path, query=(), headers=None, body=None):
        """Returns status, headers and body (parsed JSON) of the response to a signed request."""
        query = {**dict(query), "api-version": self.version}
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


# Headers that describe the object of a response.
ABOUT = ("etag", "last-modified", "dataserviceid", "location", "content-type")


def read(body):
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode(errors="replace")


def template(path):
    """Returns the operation of a path, without ids."""
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
    """Returns the differences between two bodies as (place, what)."""
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
            for one, other in beside(real, ours):
                yield from differences(one, other, f"{at}[]")
        elif real or ours:
            yield at, "empty here" if real else "empty there"


def beside(real, ours):
    """Pairs corresponding elements of two lists: by id or name where both have it, the others by their order."""
    id_of = lambda each: each.get("id", each.get("name")) if isinstance(each, dict) else None
    by_id = {id_of(each): each for each in ours if id_of(each) is not None}
    pairs = [(each, by_id[id_of(each)]) for each in real if id_of(each) in by_id]
    rest = [[each for each in all if not any(each is one[side] for one in pairs)] for side, all in enumerate((real, ours))]
    return pairs + list(zip(*rest))


class Session:
    """One recording, replayed against its own service."""

    def __init__(self, calls, service, carried=()):
        self.calls, self.service, self.carried = calls, service, carried
        self.preparation = Preparation(calls, service)
        self.nodes, self.pages = {}, {}

    def path_of(self, call):
        path, _, query = call["path"].partition("?")
        path = urllib.parse.unquote(path)
        for there, here in self.nodes.items():
            path = path.replace(there, here)
        query = [(name, value) for name, value in urllib.parse.parse_qsl(query) if name != "api-version"]
        return path, [(name, self.pages.get(value, value)) for name, value in query]

    def note_next_page(self, real, ours):
        """Replaces the recorded token of the next page by the one of our service."""
        links = [(body or {}).get("odata.nextLink") if isinstance(body, dict) else None for body in (real, ours)]
        if all(links):
            there, here = [dict(urllib.parse.parse_qsl(link.partition("?")[2])).get("$skiptoken") for link in links]
            self.pages[there] = here

    def find_node(self, path):
        found = re.match(r"^/pools/([^/]+)/nodes/([^/]+)", path)
        if not found or found[2] in self.nodes:
            return
        status, _, nodes = self.service.call("GET", f"/pools/{found[1]}/nodes")
        ours = [node["id"] for node in nodes["value"]] if status == 200 else []
        free = [node for node in ours if node not in self.nodes.values()]
        if free:
            self.nodes[found[2]] = free[0]

    def node_of(self, call):
        """Returns our node for a call, or the first node of its pool."""
        found = re.match(r"^/pools/([^/]+)(?:/nodes/([^/]+))?", path_of(call))
        if not found or found[2] in self.nodes:
            return self.nodes[found[2]] if found else ""
        status, _, nodes = self.service.call("GET", f"/pools/{found[1]}/nodes")
        return next((node["id"] for node in nodes["value"]), "") if status == 200 else ""

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
        """Replays all calls; yields (call, place, what) for every difference."""
        self.preparation.presuppose()
        for number, call in enumerate(self.calls):
            self.find_node(path_of(call))
            node = self.node_of(call)
            self.preparation.before(call, self.calls[:number], node)
            path, query = self.path_of(call)
            self.service.version = max(OLDEST, *re.findall(r"api-version=([0-9.-]+)", call["path"]))
            name = f"{call['method']} {template(path)}"
            kept = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "ocp-range")
            headers = {key: value for key, value in (call.get("request_headers") or {}).items() if key in kept}
            body = call.get("request_body_json")
            body = self.with_our_nodes(body) if "request_headers" in call else self.preparation.body_of(call, node)
            status, answered, ours = self.service.call(call["method"], path, query, headers, body)
            self.note_next_page(call.get("response_body_json"), ours)
            for place, what in [*self.compare(call, status, ours), *self.compare_headers(call, status, answered)]:
                yield f"{name} {call['status']}", place, what

    def compare_headers(self, call, status, ours):
        """Compares the headers that describe the object of a response: which exist, and which path their URLs name."""
        real = {name.lower(): value for name, value in (call.get("response_headers") or {}).items()}
        ours = {name.lower(): value for name, value in ours.items()}
        if status != call["status"] or status >= 300:
            return
        # Tags and times were removed from some recordings.
        for name in self.carried:
            if (name in real) != (name in ours):
                yield f"header.{name}", "only there" if name in real else "only here"
            elif name in ("dataserviceid", "location") and name in real:
                paths = [self.with_known_nodes(urllib.parse.unquote(urllib.parse.urlsplit(each[name]).path)) for each in (real, ours)]
                if paths[0].lower() != paths[1].lower():
                    yield f"header.{name}", "other path"

    def with_known_nodes(self, path):
        for there, here in self.nodes.items():
            path = path.replace(there, here)
        return path

    def compare(self, call, status, ours):
        real = call.get("response_body_json")
        if status != call["status"]:
            code = (ours or {}).get("code", "") if isinstance(ours, dict) else ""
            # The name contains the property that was rejected in the recording, so that one reason does not excuse another property.
            details = (real or {}).get("values", []) if isinstance(real, dict) else []
            about = next((each["value"] for each in details if isinstance(each, dict) and each.get("key") == "PropertyName"), "")
            yield f"status of {about}" if about else "status", f"{status} {code}".strip()
            return
        if real is None:
            return
        if call["status"] >= 400:
            if real.get("code") != (ours or {}).get("code"):
                yield "code", f"{real.get('code')} there, {(ours or {}).get('code')} here"
            return
        yield from differences(real, ours)

