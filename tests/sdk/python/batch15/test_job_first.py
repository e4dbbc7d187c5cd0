"""Programs that add the job and its tasks before its pool exists, as some of Azure's samples do, or create the pool again."""

import azure.batch.models as m
import pytest
from azure.core.exceptions import ResourceNotFoundError

from shapes import job_of, pool_of, task_of

FAST = dict(polling_interval=0.05)


@pytest.fixture
def names(batch, fresh):
    """Ids of a job and of a pool; both are deleted after the test if they exist."""
    job, pool = fresh("job"), fresh("pool")
    yield job, pool
    for delete, name in ((batch.begin_delete_job, job), (batch.begin_delete_pool, pool)):
        try:
            delete(name)
        except ResourceNotFoundError:
            pass


def states(batch, job):
    return {task.id: task.state for task in batch.list_tasks(job)}


def test_tasks_wait_for_a_pool_that_does_not_exist_yet(batch, names, finished):
    job, pool = names
    batch.create_job(job_of(job, pool))
    batch.create_tasks(job, [task_of(f"t{n}", f"echo {n}") for n in range(10)])
    seen = batch.get_job(job)
    assert (seen.state, seen.pool_info.pool_id) == (m.BatchJobState.ACTIVE, pool)
    assert set(states(batch, job).values()) == {m.BatchTaskState.ACTIVE}
    counts = batch.get_job_task_counts(job).task_counts
    assert (counts.active, counts.running, counts.completed) == (10, 0, 0)
    with pytest.raises(ResourceNotFoundError) as none:
        batch.get_pool(pool)
    assert none.value.error.code == "PoolNotFound"
    batch.create_pool(pool_of(pool, nodes=2))
    tasks = finished(job)
    assert {task.execution_info.exit_code for task in tasks.values()} == {0}
    assert {task.node_info.pool_id for task in tasks.values()} == {pool}
    assert b"".join(batch.download_task_file(job, "t7", "stdout.txt")) == b"7\n"


def test_a_pool_that_is_made_without_nodes_runs_the_tasks_when_it_is_resized(batch, names, finished, until):
    job, pool = names
    batch.create_job(job_of(job, pool))
    batch.create_task(job, task_of("t", "echo ran"))
    batch.create_pool(pool_of(pool, nodes=0))
    until("steady", lambda: batch.get_pool(pool).allocation_state == "steady")
    assert states(batch, job) == {"t": m.BatchTaskState.ACTIVE}
    batch.begin_resize_pool(pool, m.BatchPoolResizeOptions(target_dedicated_nodes=1), **FAST).result()
    assert finished(job)["t"].execution_info.exit_code == 0


def test_a_pool_is_deleted_and_remade_under_its_job(batch, names, finished, until):
    job, pool = names
    # Each pool needs this task, because its nodes have no files of the previous pool.
    prepare = m.BatchJobPreparationTask(command_line="/bin/sh -c 'echo prepared > $AZ_BATCH_NODE_SHARED_DIR/p'")
    batch.create_job(job_of(job, pool, job_preparation_task=prepare))
    batch.create_task(job, task_of("before", "cat $AZ_BATCH_NODE_SHARED_DIR/p"))
    batch.create_pool(pool_of(pool, nodes=1))
    first = finished(job)["before"]
    assert first.execution_info.exit_code == 0
    batch.create_task(job, task_of("interrupted", "test -e $AZ_BATCH_NODE_SHARED_DIR/go || sleep 1000"))
    until("it runs", lambda: states(batch, job)["interrupted"] == "running")
    batch.begin_delete_pool(pool, **FAST).result()
    # The task whose node was removed waits again, and tasks can still be added.
    until("it waits", lambda: states(batch, job)["interrupted"] == "active")
    assert batch.get_job(job).state == m.BatchJobState.ACTIVE
    batch.create_task(job, task_of("while-gone", "cat $AZ_BATCH_NODE_SHARED_DIR/p"))
    assert states(batch, job) == {"before": "completed", "interrupted": "active", "while-gone": "active"}
    start = m.BatchStartTask(command_line="/bin/sh -c 'touch $AZ_BATCH_NODE_SHARED_DIR/go'", wait_for_success=True)
    batch.create_pool(pool_of(pool, nodes=1, start_task=start))
    tasks = finished(job)
    assert {name: task.execution_info.exit_code for name, task in tasks.items()} == {
        "before": 0,
        "interrupted": 0,
        "while-gone": 0,
    }
    # Completed tasks did not run again; the interrupted task ran again, on a node of the new pool.
    assert tasks["before"].execution_info.start_time == first.execution_info.start_time
    assert tasks["interrupted"].node_info.node_id != first.node_info.node_id
    assert tasks["interrupted"].execution_info.requeue_count == 1
    assert b"".join(batch.download_task_file(job, "while-gone", "stdout.txt")) == b"prepared\n"


def test_a_job_moves_to_a_pool_that_exists(batch, names, pool, finished):
    job, missing = names
    batch.create_job(job_of(job, missing))
    batch.create_task(job, task_of("t"))
    options = m.BatchJobDisableOptions(disable_tasks=m.DisableBatchJobOption.REQUEUE)
    batch.begin_disable_job(job, options, **FAST).result()
    batch.update_job(job, m.BatchJobUpdateOptions(pool_info=m.BatchPoolInfo(pool_id=pool)))
    batch.begin_enable_job(job, **FAST).result()
    assert finished(job)["t"].node_info.pool_id == pool


@pytest.mark.parametrize("mode", ["terminate", "delete"])
def test_a_job_without_its_pool_ends(batch, names, mode):
    job, pool = names
    batch.create_job(job_of(job, pool))
    batch.create_tasks(job, [task_of(f"t{n}") for n in range(3)])
    if mode == "terminate":
        batch.begin_terminate_job(job, {"terminateReason": "because"}, **FAST).result()
        assert batch.get_job(job).state == m.BatchJobState.COMPLETED
    batch.begin_delete_job(job, **FAST).result()
    with pytest.raises(ResourceNotFoundError):
        batch.get_job(job)
