"""Application packages, tasks on several nodes at once, and usage metrics, with the older client."""

import azure.batch.models as m
import pytest

from shapes import job_of, pool_of, task_of


def greeter(version=None):
    return [m.ApplicationPackageReference(application_id="greeter", version=version)]


def test_applications_are_listed_with_their_versions(batch):
    [seen] = list(batch.application.list())
    assert (seen.id, seen.versions) == ("greeter", ["1.0", "2.0"])
    assert batch.application.get("greeter").display_name == "greeter"
    with pytest.raises(m.BatchErrorException) as none:
        batch.application.get("none")
    assert none.value.error.code == "ApplicationNotFound"


def test_a_task_finds_its_packages_and_its_pools(batch, fresh, finished):
    pool, job = fresh("pool"), fresh("job")
    batch.pool.add(pool_of(pool, nodes=1, application_package_references=greeter()))
    batch.job.add(job_of(job, pool))
    script = "$AZ_BATCH_APP_PACKAGE_greeter/bin/greet; $AZ_BATCH_APP_PACKAGE_greeter_1_0/bin/greet"
    batch.task.add(job, task_of("t", script, application_package_references=greeter("1.0")))
    assert finished(job)["t"].execution_info.exit_code == 0
    assert b"".join(batch.file.get_from_task(job, "t", "stdout.txt")) == b"greeter 2.0\ngreeter 1.0\n"
    with pytest.raises(m.BatchErrorException) as unknown:
        batch.pool.patch(pool, m.PoolPatchParameter(application_package_references=greeter("3.0")))
    assert unknown.value.error.code == "InvalidApplicationPackageReferences"
    batch.job.delete(job)
    batch.pool.delete(pool)


def test_a_task_runs_on_several_nodes_at_once(batch, fresh, finished):
    pool, job = fresh("pool"), fresh("job")
    batch.pool.add(pool_of(pool, nodes=2, enable_inter_node_communication=True))
    batch.job.add(job_of(job, pool))
    settings = m.MultiInstanceSettings(
        number_of_instances=2, coordination_command_line='/bin/sh -c "echo met > $AZ_BATCH_TASK_SHARED_DIR/met"'
    )
    batch.task.add(job, task_of("t", "cat $AZ_BATCH_TASK_SHARED_DIR/met", multi_instance_settings=settings))
    task = finished(job)["t"]
    assert task.execution_info.result == m.TaskExecutionResult.success, task.execution_info.failure_info
    assert b"".join(batch.file.get_from_task(job, "t", "stdout.txt")) == b"met\n"
    [subtask] = batch.task.list_subtasks(job, "t").value
    assert (subtask.id, subtask.state, subtask.exit_code) == (1, m.SubtaskState.completed, 0)
    assert subtask.node_info.node_id != task.node_info.node_id
    batch.job.delete(job)
    batch.pool.delete(pool)


def test_usage_and_statistics_are_those_of_what_ran(batch, pool, job, finished):
    batch.task.add_collection(job, [task_of("well"), task_of("badly", "exit 3")])
    finished(job)
    stats = batch.job.get(job, m.JobGetOptions(expand="stats")).stats
    assert (stats.num_succeeded_tasks, stats.num_failed_tasks, stats.num_task_retries) == (1, 1, 0)
    assert batch.task.get(job, "well", m.TaskGetOptions(expand="stats")).stats.wall_clock_time is not None
    stats = batch.pool.get(pool, m.PoolGetOptions(expand="stats")).stats
    assert stats.usage_stats.dedicated_core_time.total_seconds() > 0
    [metrics] = [each for each in batch.pool.list_usage_metrics() if each.pool_id == pool]
    assert metrics.vm_size == "STANDARD_D2S_V3" and metrics.total_core_hours > 0
