"""Connections of Airflow to the service, and its operators and hooks. No scheduler runs."""

import json
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

CONNECTION = json.loads(Path(os.environ["DROPMILL_CONNECTION"]).read_text())
# Set before any import of Airflow, which reads its settings at that time.
HOME = tempfile.TemporaryDirectory(prefix="dropmill-airflow-")
BATCH, BLOB = CONNECTION["batch"], CONNECTION["blob"]
os.environ |= {
    "AIRFLOW_HOME": HOME.name,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "AIRFLOW_CONN_AZURE_BATCH_DEFAULT": json.dumps(
        {
            "conn_type": "azure_batch",
            "login": BATCH["account"],
            "password": BATCH["key"],
            "extra": {"account_url": BATCH["endpoint"]},
        }
    ),
    "AIRFLOW_CONN_OF_ANOTHER_KEY": json.dumps(
        {
            "conn_type": "azure_batch",
            "login": BATCH["account"],
            "password": "d3Jvbmc=",
            "extra": {"account_url": BATCH["endpoint"]},
        }
    ),
    "AIRFLOW_CONN_WASB_DEFAULT": json.dumps(
        {"conn_type": "wasb", "extra": {"connection_string": CONNECTION["connection_string"]}}
    ),
}


@pytest.fixture(scope="session", autouse=True)
def home():
    yield HOME.name
    HOME.cleanup()


@pytest.fixture
def hook(monkeypatch):
    """The hook of Batch, changed only to poll every 50 ms instead of every 10 or 15 s."""
    from airflow.providers.microsoft.azure.hooks import batch

    monkeypatch.setattr(batch, "time", SimpleNamespace(sleep=lambda _: time.sleep(0.05)))
    return batch.AzureBatchHook()


@pytest.fixture
def client(hook):
    """The client that the hook creates from Airflow's connection."""
    return hook.connection


@pytest.fixture
def operator(hook, client, fresh):
    """Creates operators with their own pool, job and task, which are deleted afterwards."""
    from airflow.providers.microsoft.azure.operators.batch import AzureBatchOperator
    from azure.core.exceptions import ResourceNotFoundError

    made = []

    def operator(script="true", **more):
        command = {"batch_task_command_line": f"/bin/sh -c '{script}'"}
        asked = {
            "batch_pool_id": fresh("pool"),
            "batch_pool_vm_size": "STANDARD_D2S_V3",
            "batch_job_id": fresh("job"),
            "batch_task_id": "t",
            "vm_publisher": "canonical",
            "vm_offer": "0001-com-ubuntu-server-jammy",
            "vm_sku": "22_04-lts",
            "vm_version": "latest",
            "vm_node_agent_sku_id": "batch.node.ubuntu 22.04",
            **({} if "enable_auto_scale" in more else {"target_dedicated_nodes": 1}),
        }
        one = AzureBatchOperator(task_id="of-airflow", **(asked | command | more))
        made.append(one)
        return one

    yield operator
    for one in made:
        for delete, name in ((client.begin_delete_job, one.batch_job_id), (client.begin_delete_pool, one.batch_pool_id)):
            try:
                delete(name)
            except ResourceNotFoundError:  # the test had it deleted
                pass


@pytest.fixture
def printed(client):
    """Returns a task's standard output."""
    return lambda one: b"".join(
        client.download_task_file(one.batch_job_id, one.batch_task_id, "stdout.txt")
    ).decode()


@pytest.fixture
def container(fresh):
    """A container, and the hook of Blob."""
    from airflow.providers.microsoft.azure.hooks.wasb import WasbHook

    wasb, name = WasbHook(), fresh("c")
    wasb.create_container(name)
    yield wasb, name
    wasb.delete_container(name)
