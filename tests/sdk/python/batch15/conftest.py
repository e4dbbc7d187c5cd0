"""Clients of the newest generation, and a pool that most tests share."""

import azure.batch.models as m
import pytest
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient

from shapes import job_of, pool_of

@pytest.fixture(scope="session")
def batch(connection):
    batch = connection["batch"]
    return BatchClient(batch["endpoint"], AzureNamedKeyCredential(batch["account"], batch["key"]), retry_total=0)


@pytest.fixture(scope="session")
def blobs(connection):
    return BlobServiceClient.from_connection_string(connection["connection_string"])


@pytest.fixture(scope="session")
def pool(batch, until):
    name = "shared-by-tests"
    batch.create_pool(pool_of(name, nodes=3, task_slots_per_node=2))
    idle = lambda: sum(node.state == m.BatchNodeState.IDLE for node in batch.list_nodes(name)) == 3
    until("three nodes are idle", idle)
    yield name
    batch.begin_delete_pool(name)


@pytest.fixture
def job(batch, pool, fresh):
    """An empty job, which is deleted after the test."""
    name = fresh("job")
    batch.create_job(job_of(name, pool))
    yield name
    try:
        batch.begin_delete_job(name)
    except Exception:  # the test deleted it itself
        pass


@pytest.fixture
def finished(batch, until):
    """Waits until every task of a job is completed; returns the tasks by their ids."""

    def finished(job, seconds=60):
        def look():
            tasks = {task.id: task for task in batch.list_tasks(job)}
            return tasks if all(task.state == "completed" for task in tasks.values()) else None

        return until(f"the tasks of {job} are completed", look, seconds)

    return finished
