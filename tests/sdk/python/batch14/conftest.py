"""Clients of the msrest generation, and a pool that most tests share."""

import azure.batch.models as m
import pytest
from azure.batch import BatchServiceClient
from azure.batch.batch_auth import SharedKeyCredentials
from azure.storage.blob import BlobServiceClient

from shapes import job_of, pool_of


@pytest.fixture(scope="session")
def batch(connection):
    batch = connection["batch"]
    client = BatchServiceClient(SharedKeyCredentials(batch["account"], batch["key"]), batch_url=batch["endpoint"])
    client.config.retry_policy.retries = 0
    return client


@pytest.fixture(scope="session")
def blobs(connection):
    return BlobServiceClient.from_connection_string(connection["connection_string"])


@pytest.fixture(scope="session")
def pool(batch, until):
    name = "shared-by-tests-of-14"
    batch.pool.add(pool_of(name, nodes=2, task_slots_per_node=2))
    idle = lambda: [node.state for node in batch.compute_node.list(name)] == [m.ComputeNodeState.idle] * 2
    until("two nodes are idle", idle)
    yield name
    batch.pool.delete(name)


@pytest.fixture
def job(batch, pool, fresh):
    """An empty job, which is deleted after the test."""
    name = fresh("job")
    batch.job.add(job_of(name, pool))
    yield name
    try:
        batch.job.delete(name)
    except m.BatchErrorException:  # the test deleted it itself
        pass


@pytest.fixture
def finished(batch, until):
    """Waits until every task of a job is completed; returns the tasks by their ids."""

    def finished(job, seconds=60):
        def look():
            tasks = {task.id: task for task in batch.task.list(job)}
            return tasks if all(task.state == m.TaskState.completed for task in tasks.values()) else None

        return until(f"the tasks of {job} are completed", look, seconds)

    return finished
