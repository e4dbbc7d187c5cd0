"""Pools, jobs, tasks, files and blobs by `az`. Each command is a process of a second or two: few commands, and long tests."""

import json

import pytest

from terminal import Refused


def pool_of(name, nodes):
    image = {"publisher": "canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts"}
    return {
        "id": name,
        "vmSize": "Standard_D2s_v3",
        "virtualMachineConfiguration": {"imageReference": image, "nodeAgentSKUId": "batch.node.ubuntu 22.04"},
        "targetDedicatedNodes": nodes,
    }


@pytest.fixture(scope="module")
def pool(az, until):
    name = "of-the-command-line"
    (az.home / "pool.json").write_text(json.dumps(pool_of(name, 1)))
    az("batch", "pool", "create", "--json-file", "pool.json")
    nodes = lambda: [node["state"] for node in az("batch", "node", "list", "--pool-id", name)]
    until("a node is idle", lambda: nodes() == ["idle"])
    yield name
    az("batch", "pool", "delete", "--pool-id", name, "--yes")


def test_a_pool_is_shown_listed_and_changed(az, pool):
    seen = az("batch", "pool", "show", "--pool-id", pool)
    assert (seen["id"], seen["state"], seen["vmSize"].lower()) == (pool, "active", "standard_d2s_v3")
    assert "batch.node.ubuntu 22.04" in seen["virtualMachineConfiguration"].values()
    chosen = az("batch", "pool", "list", "--filter", f"id eq '{pool}'", "--select", "id,state")
    assert [(each["id"], each["state"]) for each in chosen] == [(pool, "active")]
    az("batch", "pool", "set", "--pool-id", pool, "--metadata", "k=v")
    assert az("batch", "pool", "show", "--pool-id", pool)["metadata"] == [{"name": "k", "value": "v"}]


def test_a_pool_is_made_of_options_and_resized(az, until, fresh):
    """The command line sends numeric options as text."""
    name = fresh("pool")
    az(
        "batch", "pool", "create", "--id", name, "--vm-size", "Standard_D2s_v3", "--target-dedicated-nodes", 1,
        "--image", "canonical:0001-com-ubuntu-server-jammy:22_04-lts", "--node-agent-sku-id", "batch.node.ubuntu 22.04",
    )  # fmt: skip
    until("one node", lambda: len(az("batch", "node", "list", "--pool-id", name)) == 1)
    az("batch", "pool", "resize", "--pool-id", name, "--target-dedicated-nodes", 2)
    until("two nodes", lambda: len(az("batch", "node", "list", "--pool-id", name)) == 2)
    az("batch", "pool", "delete", "--pool-id", name, "--yes")


def test_a_job_with_tasks_and_their_files(az, pool, until, fresh):
    job = fresh("job")
    az("batch", "job", "create", "--id", job, "--pool-id", pool)
    az("batch", "task", "create", "--job-id", job, "--task-id", "one", "--command-line", "/bin/sh -c 'echo hello; exit 3'")
    tasks = [{"id": f"t{n}", "commandLine": f"/bin/sh -c 'echo {n}'"} for n in range(3)]
    (az.home / "tasks.json").write_text(json.dumps(tasks))
    added = az("batch", "task", "create", "--job-id", job, "--json-file", "tasks.json")
    assert sorted(each["taskId"] for each in added) == ["t0", "t1", "t2"]
    done = lambda: az("batch", "job", "task-counts", "show", "--job-id", job)["taskCounts"]["completed"] == 4
    until("all are completed", done)
    seen = az("batch", "task", "show", "--job-id", job, "--task-id", "one")
    assert (seen["state"], seen["executionInfo"]["exitCode"]) == ("completed", 3)
    assert sorted(each["id"] for each in az("batch", "task", "list", "--job-id", job)) == ["one", "t0", "t1", "t2"]
    files = az("batch", "task", "file", "list", "--job-id", job, "--task-id", "one")
    assert {"stdout.txt", "stderr.txt", "wd"} <= {file["name"] for file in files}
    to = az.home / "out.txt"
    az(
        "batch", "task", "file", "download", "--job-id", job, "--task-id", "one",
        "--file-path", "stdout.txt", "--destination", to,
    )  # fmt: skip
    assert to.read_text() == "hello\n"
    az("batch", "job", "stop", "--job-id", job, "--terminate-reason", "enough")
    until("it ended", lambda: az("batch", "job", "show", "--job-id", job)["state"] == "completed")
    assert job in [each["id"] for each in az("batch", "job", "list")]
    az("batch", "job", "delete", "--job-id", job, "--yes")


def test_a_rejected_request_has_its_error_code(az, pool):
    with pytest.raises(Refused, match="JobNotFound|does not exist"):
        az("batch", "job", "show", "--job-id", "none")
    with pytest.raises(Refused, match="PoolExists|already exists"):
        az("batch", "pool", "create", "--json-file", "pool.json")


def test_nodes_and_images(az, pool):
    node = az("batch", "node", "list", "--pool-id", pool)[0]["id"]
    assert az("batch", "node", "show", "--pool-id", pool, "--node-id", node)["isDedicated"] is True
    assert {"shared", "startup"} <= {
        file["name"] for file in az("batch", "node", "file", "list", "--pool-id", pool, "--node-id", node)
    }
    images = az("batch", "pool", "supported-images", "list")
    assert "batch.node.ubuntu 22.04" in {image["nodeAgentSkuId"] for image in images}


def test_blobs_go_up_and_come_back(az, fresh):
    container = fresh("c")
    assert az("storage", "container", "create", "--name", container)["created"] is True
    (az.home / "in.bin").write_bytes(bytes(range(256)) * 1000)
    az("storage", "blob", "upload", "-c", container, "-n", "a/b c.bin", "-f", "in.bin", "--no-progress")
    assert [each["name"] for each in az("storage", "blob", "list", "-c", container)] == ["a/b c.bin"]
    az("storage", "blob", "download", "-c", container, "-n", "a/b c.bin", "-f", "back.bin", "--no-progress")
    assert (az.home / "back.bin").read_bytes() == (az.home / "in.bin").read_bytes()
    assert az("storage", "blob", "show", "-c", container, "-n", "a/b c.bin")["properties"]["contentLength"] == 256_000
    # The command line builds the source's URL from the account's name: https://ACCOUNT.blob.core.windows.net/...
    source = ("--source-container", container, "--source-blob", "a/b c.bin")
    copied = az("storage", "blob", "copy", "start", *source, "--destination-container", container, "--destination-blob", "copy")
    assert copied["copy_status"] == "success"
    az("storage", "container", "delete", "--name", container)
