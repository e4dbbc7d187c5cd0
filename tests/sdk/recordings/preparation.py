"""Prepares the service for a recorded session, and completes the requests of the session, from its responses.

A session uses pools, jobs and tasks that were created before its recording began, and some recordings contain no request bodies.
Both are derived from the responses: an object is created as the first response shows it, and an operation is requested with the
minimum that it needs.
"""

import re
import time
import urllib.parse

# Current names of what older versions of the protocol called otherwise.
RENAMED = {"targetDedicated": "targetDedicatedNodes", "maxTasksPerNode": "taskSlotsPerNode", "blobSource": "httpUrl"}
# The properties that a request to create an object may contain.
SETTABLE = {
    "pools": {
        "id", "displayName", "vmSize", "cloudServiceConfiguration", "virtualMachineConfiguration", "resizeTimeout", "metadata",
        "targetDedicatedNodes", "targetLowPriorityNodes", "enableAutoScale", "autoScaleFormula", "enableInterNodeCommunication",
        "startTask", "userAccounts", "taskSlotsPerNode", "taskSchedulingPolicy", "networkConfiguration",
    },
    "jobs": {
        "id", "displayName", "priority", "usesTaskDependencies", "constraints", "jobManagerTask", "jobPreparationTask",
        "jobReleaseTask", "commonEnvironmentSettings", "poolInfo", "onAllTasksComplete", "onTaskFailure", "metadata",
    },
    "jobschedules": {"id", "displayName", "schedule", "jobSpecification", "metadata"},
    "tasks": {
        "id", "displayName", "commandLine", "resourceFiles", "environmentSettings", "affinityInfo", "userIdentity",
        "constraints", "exitConditions", "dependsOn", "outputFiles", "multiInstanceSettings", "applicationPackageReferences",
    },
}  # fmt: skip
# Calls that bring objects into the state that an operation requires, if nothing in the session did.
BEFORE = [
    (r"POST /jobs/[^/]+/enable", "disable", {"disableTasks": "requeue"}),
    (r"POST /jobschedules/[^/]+/enable", "disable", None),
    (r"POST /pools/[^/]+/(evaluateautoscale|disableautoscale)", "enableautoscale", {"autoScaleFormula": "$TargetDedicatedNodes=0"}),
    (r"POST /pools/[^/]+/nodes/[^/]+/enablescheduling", "disablescheduling", None),
    (r"(PUT|DELETE) /pools/[^/]+/nodes/[^/]+/users/[^/]+", "", {"name": "{last}"}),
]
FORMULA = {"autoScaleFormula": "$TargetDedicatedNodes=0"}
# Requests whose bodies were not recorded: the minimum that the operation needs,
LEAST = {
    "POST resize": {"targetDedicatedNodes": 0},
    "POST enableautoscale": FORMULA,
    "POST disable": {"disableTasks": "requeue"},
    "POST updateproperties": {"metadata": [], "applicationPackageReferences": []},
    "POST users": {"name": "{new}"},
    "POST removenodes": {"nodeList": ["{node}"]},
    "PUT jobs": {"poolInfo": {"poolId": "made-before"}},
    "PUT jobschedules": {"schedule": {}, "jobSpecification": {"poolInfo": {"poolId": "made-before"}}},
}
# and properties that the next response shows;
CHANGEABLE = {
    "POST pools": {"autoScaleFormula", "startTask", "metadata"},
    "PATCH pools": {"startTask", "metadata"},
    "PUT jobs": {"priority", "constraints", "poolInfo", "metadata"},
    "PUT jobschedules": {"schedule", "jobSpecification", "metadata"},
    "PUT tasks": {"constraints"},
}
# or properties that were rejected.
SUBNET = "/subscriptions/0/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
REFUSED = {
    "InvalidApplicationPackageReferences": {"applicationPackageReferences": [{"applicationId": "unknown"}]},
    "Forbidden": {"networkConfiguration": {"subnetId": SUBNET}},
}
MAY_BE_REFUSED = ("applicationPackageReferences",)


def today(value):
    """Returns a recorded value with the current names."""
    if isinstance(value, dict):
        return {RENAMED.get(name, name): today(each) for name, each in value.items()}
    return [today(each) for each in value] if isinstance(value, list) else value


def path_of(call):
    return urllib.parse.unquote(call["path"].partition("?")[0])


class Preparation:
    """The objects that one session shows, and their creation."""

    def __init__(self, calls, service):
        self.calls, self.service = calls, service
        self.made, self.changed = set(), set()
        self.shown = self.what_is_shown(calls)

    def what_is_shown(self, calls):
        """Collects the objects in responses by their path; the first response with an object counts."""
        shown = {}
        for call in calls:
            path, body = path_of(call).lower(), call.get("response_body_json") or {}
            if call["method"] not in ("GET", "HEAD"):
                self.changed |= {place for place in (path, path.rpartition("/")[0]) if place not in shown}
            path = re.sub(r"^/jobschedules/[^/]+/jobs$", "/jobs", path)
            for each in [body, *(body["value"] if isinstance(body.get("value"), list) else [])]:
                if isinstance(each, dict) and "id" in each:
                    shown.setdefault(path if each is body else f"{path}/{each['id']}".lower(), each)
        return shown

    def settable(self, kind, path, shown=None):
        shown = today((shown or self.shown).get(path.lower(), {}))
        return {name: value for name, value in shown.items() if name in SETTABLE[kind]}

    # -- Bodies that were not recorded

    def body_of(self, call, node):
        """Returns the body of a request that was not recorded."""
        method, path = call["method"], path_of(call)
        if method in ("GET", "HEAD", "DELETE"):
            return None
        headers = call.get("response_headers") or {}
        new = urllib.parse.unquote(headers.get("dataserviceid", "").rpartition("/")[2]) or "refused"
        if (created := re.match(r"^(?:.*/)?(pools|jobs|jobschedules|tasks)$", path)) and method == "POST":
            kind = created[1]
            if kind == "jobs":
                # The service gives all new jobs the same name.
                later = [re.match(r"^/jobs/([^/]+)", path_of(each)) for each in self.calls]
                new = next((found[1] for found in later if found), new)
            refused = REFUSED.get((call.get("response_body_json") or {}).get("code"), {})
            return {**self.creation(kind, f"{path}/{new}", new), **refused}
        if path.endswith("/addtaskcollection"):
            added = [each["taskId"] for each in (call.get("response_body_json") or {}).get("value", [])]
            return {"value": [self.creation("tasks", f"/tasks/{name}", name) for name in added]}
        last = path.rpartition("/")[2]
        answer = call.get("response_body_json") or {}
        if last == "evaluateautoscale":
            return {"autoScaleFormula": "something_useless" if "error" in answer else answer["results"].replace("=requeue", " = requeue")}
        # The next response shows the changed properties.
        after = self.what_is_shown(self.calls[self.calls.index(call) :])
        if last in ("enableautoscale", "updateproperties") or method in ("PUT", "PATCH"):
            of = path.rpartition("/")[0] if method == "POST" else path
            kind = of.split("/")[-2]
            changeable = CHANGEABLE.get(f"{method} {kind}", ())
            found = {name: value for name, value in self.settable(kind, of, after).items() if name in changeable}
            least = LEAST.get(f"{method} {last}", LEAST.get(f"{method} {kind}", {}))
            return {**least, **found, **REFUSED.get(answer.get("code"), {})}
        return filled(LEAST.get(f"{method} {last}"), new=new, node=node)

    def creation(self, kind, path, name):
        shown = self.settable(kind, path)
        if path.lower() in self.changed:
            shown = {name: value for name, value in shown.items() if name not in ("enableAutoScale", "autoScaleFormula")}
        least = least_of(kind, name)
        if "cloudServiceConfiguration" in shown:
            del least["virtualMachineConfiguration"]
        return {**least, **shown}

    def derived(self, call):
        return (self.body_of(call, "") or {}) if "request_headers" not in call else {}

    # -- Objects that were created outside of the session

    def presuppose(self):
        """Creates what the session uses and does not create, in order: pools, jobs, tasks."""
        for call in self.calls:
            self.note_made(call)
        for place, shown in list(self.shown.items()):
            if found := re.match(r"^/(pools|jobs|jobschedules)/([^/]+)$", place):
                self.make(found[1], shown["id"])
            if found := re.match(r"^/jobs/([^/]+)/tasks/([^/]+)$", place):
                self.make_task(found[1], shown["id"])
        for call in self.calls:
            path, body = path_of(call), call.get("request_body_json") or self.derived(call)
            pool = (body.get("poolInfo") or (body.get("jobSpecification") or {}).get("poolInfo") or {}).get("poolId")
            if pool:
                self.make("pools", pool)
            used = re.match(r"^/(pools|jobs|jobschedules)/([^/]+)(.*)", path)
            if used and (call["status"] != 404 or used[3]):
                self.make(used[1], used[2])
            task = re.match(r"^/jobs/([^/]+)/tasks/([^/]+)(.*)", path)
            if task and (call["status"] != 404 or task[3]):
                self.make_task(task[1], task[2])

    def note_made(self, call):
        """Records an object that the session creates itself, so that it is not prepared."""
        path, body = path_of(call), call.get("request_body_json") or {}
        if call["method"] != "POST" or call["status"] >= 400:
            return
        if re.match(r"^/(pools|jobs|jobschedules)$", path) or path.endswith("/tasks"):
            name = body.get("id") or self.derived(call).get("id")
            self.made.add(f"{path}/{name}".lower())

    def make(self, kind, name):
        place = f"/{kind}/{name}"
        if place.lower() in self.made:
            return
        self.made.add(place.lower())
        if kind == "jobs" and ":job-" in name:
            return self.make("jobschedules", name.partition(":")[0])
        body = self.creation(kind, place, name)
        if kind == "pools":
            return self.make_pool(name, body)
        if kind == "jobschedules":
            # The session shows which jobs the schedule creates.
            of = next((place for place in self.shown if place.startswith(f"/jobs/{name}:".lower())), "")
            body["jobSpecification"] |= {key: value for key, value in self.settable("jobs", of).items() if key != "id"}
        pool = body.get("poolInfo", body.get("jobSpecification", {}).get("poolInfo", {})).get("poolId")
        if pool:
            self.make("pools", pool)
        if kind == "jobs" and any(path_of(call).endswith("/jobpreparationandreleasetaskstatus") for call in self.calls):
            granted = all(call["status"] < 400 for call in self.calls if path_of(call).startswith(place))
            body |= {"jobPreparationTask": {"commandLine": "true"}} if granted else {}
        self.create(f"/{kind}", body, least_of(kind, name))
        # Sets a state that the session shows and that does not change by itself.
        state = (self.shown.get(place.lower()) or {}).get("state") if place.lower() not in self.changed else None
        if state == "disabled":
            self.service.call("POST", f"{place}/disable", body=None if kind == "jobschedules" else {"disableTasks": "requeue"})
        if state == "completed":
            self.service.call("POST", f"{place}/terminate")

    def make_pool(self, name, body):
        wanted = self.nodes_of(name)
        nodes = [shown for place, shown in self.shown.items() if place.startswith(f"/pools/{name}/nodes/".lower())]
        if nodes:
            body = {**body, **{key: nodes[0][key] for key in ("vmSize", "startTask") if key in nodes[0]}}
        if "startTask" in body and wanted:
            body["startTask"] = runnable(body["startTask"])
        files = [re.match(rf"^/pools/{re.escape(name)}/nodes/[^/]+/files/startup/(.+)", path_of(call)) for call in self.calls]
        if any(files):
            body["startTask"] = {"commandLine": "/bin/sh -c 'echo hello > hello.txt'"}
        if "targetDedicatedNodes" not in body and not body.get("enableAutoScale"):
            body["targetDedicatedNodes"] = wanted
        self.create("/pools", body, {**least_of("pools", name), "targetDedicatedNodes": wanted})
        if wanted:
            self.settled(name, body["targetDedicatedNodes"])
        self.until(f"/pools/{name}", lambda pool: pool["allocationState"] == "steady")

    def nodes_of(self, pool):
        """Returns how many nodes a pool needs if no response shows their number."""
        paths = [path_of(call) for call in self.calls]
        lists = [call for call in self.calls if path_of(call).lower() == f"/pools/{pool}/nodes".lower()]
        listed = [len((call.get("response_body_json") or {}).get("value", [])) for call in lists]
        if any(path.lower().startswith((f"/pools/{pool}/nodes".lower(), f"/pools/{pool}/removenodes".lower())) for path in paths):
            return max([2, *listed])
        runs = any("/files" in path or path.endswith(("/reactivate", "/taskcounts")) for path in paths)
        unchanged = [each for place, each in self.shown.items() if place not in self.changed]
        ended = any(each.get("state") == "completed" and "commandLine" in each for each in unchanged)
        return 1 if runs or ended else 0

    def make_task(self, job, name):
        place = f"/jobs/{job}/tasks/{name}"
        if place.lower() in self.made:
            return
        self.made.add(place.lower())
        self.make("jobs", job)
        body = runnable(self.creation("tasks", place, name))
        files = [re.match(rf"^{re.escape(place)}/files/wd/(.+)", path_of(call)) for call in self.calls]
        if names := {found[1] for found in files if found}:
            # The task creates the files that the session reads.
            body["commandLine"] = "/bin/sh -c 'for name in %s; do echo hello > $name; done'" % " ".join(sorted(names))
        if any(path_of(call) == f"{place}/reactivate" for call in self.calls):
            body["commandLine"] = "false"
        self.create(f"/jobs/{job}/tasks", body, least_of("tasks", name))
        state = (self.shown.get(place.lower()) or {}).get("state")
        uses = [path_of(call) for call in self.calls if path_of(call).lower().startswith(place.lower() + "/")]
        needs_end = any("/files" in path or path.endswith("/reactivate") for path in uses)
        if needs_end or state == "completed" and place.lower() not in self.changed:
            self.ended(place)

    def create(self, path, body, least):
        """Creates an object as it was shown, without rejected properties, or else with as few properties as possible."""
        body = dict(body)
        while True:
            status, _, answer = self.service.call("POST", path, body=body)
            if status < 400 or answer["code"].endswith("Exists"):
                return
            values = [each["value"] for each in answer.get("values", []) if each["key"] == "PropertyName"]
            refused = [name for name in values or MAY_BE_REFUSED if body.pop(name, None) is not None]
            if not refused:
                self.service.call("POST", path, body=least)
                return

    def before(self, call, earlier, node):
        """Prepares an operation that nothing in the session has prepared."""
        path, place = path_of(call), self.here(path_of(call), node)
        name = f"{call['method']} {path}"
        for pattern, verb, body in BEFORE:
            if re.fullmatch(pattern, name) and call["status"] < 400:
                of = path.rpartition("/")[0]
                if not any(each["method"] != "GET" and path_of(each).startswith(of) for each in earlier):
                    target = f"{place.rpartition('/')[0]}/{verb}".rstrip("/")
                    self.service.call("POST", target, body=filled(body, last=path.rpartition("/")[2]))
        if call["method"] == "DELETE" and (call.get("response_body_json") or {}).get("code") == "PoolBeingDeleted":
            self.service.call("DELETE", place)

    def here(self, path, node):
        return re.sub(r"/nodes/[^/]+", lambda found: f"/nodes/{node}" if node else found[0], path)

    # -- Waiting

    def settled(self, pool, count):
        self.until(f"/pools/{pool}/nodes", lambda nodes: [node["state"] for node in nodes["value"]] == ["idle"] * count)

    def ended(self, task):
        self.until(task, lambda body: body["state"] == "completed")

    def until(self, path, holds):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            status, _, body = self.service.call("GET", path)
            if status >= 400 or holds(body):
                return
            time.sleep(0.02)


def least_of(kind, name):
    """Returns the smallest body that creates a pool, a job, a schedule or a task."""
    image = {"publisher": "canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts"}
    machines = {"imageReference": image, "nodeAgentSKUId": "batch.node.ubuntu 22.04"}
    pool = {"poolId": "made-before"}
    return {
        "pools": {"id": name, "vmSize": "STANDARD_D2S_V3", "virtualMachineConfiguration": machines},
        "jobs": {"id": name, "poolInfo": pool},
        "jobschedules": {"id": name, "schedule": {}, "jobSpecification": {"poolInfo": pool}},
        "tasks": {"id": name, "commandLine": "true"},
    }[kind]


def runnable(task):
    """Returns a task whose Windows shell command is replaced by a Linux command that succeeds."""
    command = task.get("commandLine", "")
    if command.startswith("cmd /c "):
        return {**task, "commandLine": f"/bin/sh -c '{command.removeprefix('cmd /c ')} || true'"}
    return task


def filled(body, **names):
    """Returns a body with the words in braces replaced."""
    if isinstance(body, str):
        return re.sub(r"\{(\w+)\}", lambda found: str(names.get(found[1], found[0])), body)
    if isinstance(body, list):
        return [filled(each, **names) for each in body]
    return {name: filled(value, **names) for name, value in body.items()} if isinstance(body, dict) else body
