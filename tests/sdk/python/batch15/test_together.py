"""Application packages, tasks on several nodes at once, and usage metrics."""

import datetime as dt

import azure.batch.models as m
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobSasPermissions, ContainerSasPermissions, generate_blob_sas, generate_container_sas

from shapes import job_of, pool_of, task_of


def greeter(version=None):
    return [m.BatchApplicationPackageReference(application_id="greeter", version=version)]


def printed(batch, job, task):
    return b"".join(batch.download_task_file(job, task, "stdout.txt")).decode()


@pytest.fixture
def together(batch, fresh, until):
    """A pool of three nodes that can communicate with each other, and an empty job on it."""
    pool, job = fresh("pool"), fresh("job")
    batch.create_pool(pool_of(pool, nodes=3, enable_inter_node_communication=True))
    until("idle", lambda: [node.state for node in batch.list_nodes(pool)] == ["idle"] * 3)
    batch.create_job(job_of(job, pool))
    yield job
    batch.begin_delete_job(job)
    batch.begin_delete_pool(pool)


def on(nodes, script, common=None):
    return m.MultiInstanceSettings(
        number_of_instances=nodes, coordination_command_line=f"/bin/sh -c '{script}'", common_resource_files=common
    )


def test_applications_are_listed_with_their_versions(batch):
    [seen] = list(batch.list_applications())
    assert (seen.id, seen.display_name, seen.versions) == ("greeter", "greeter", ["1.0", "2.0"])
    assert batch.get_application("greeter").versions == ["1.0", "2.0"]
    with pytest.raises(ResourceNotFoundError) as none:
        batch.get_application("none")
    assert none.value.error.code == "ApplicationNotFound"


def test_packages_are_on_the_nodes_of_a_pool_and_of_a_task(batch, fresh, until, finished):
    pool, job = fresh("pool"), fresh("job")
    start = m.BatchStartTask(command_line="/bin/sh -c '$AZ_BATCH_APP_PACKAGE_greeter_1_0/bin/greet'")
    batch.create_pool(pool_of(pool, nodes=1, application_package_references=greeter("1.0"), start_task=start))
    [node] = until("idle", lambda: [n for n in batch.list_nodes(pool) if n.state == "idle"])
    assert node.start_task_info.exit_code == 0
    assert batch.get_pool(pool).application_package_references[0].version == "1.0"
    names = [each.name for each in batch.list_node_files(pool, node.id, recursive=True)]
    assert "applications/greeter/1.0/bin/greet" in names
    batch.create_job(job_of(job, pool))
    script = "$AZ_BATCH_APP_PACKAGE_greeter_1_0/bin/greet; $AZ_BATCH_APP_PACKAGE_greeter/bin/greet"
    batch.create_task(job, task_of("t", script, application_package_references=greeter()))
    task = finished(job)["t"]
    assert task.execution_info.exit_code == 0 and task.application_package_references[0].application_id == "greeter"
    assert printed(batch, job, "t") == "greeter 1.0\ngreeter 2.0\n"
    with pytest.raises(HttpResponseError) as unknown:
        batch.create_task(job, task_of("u", application_package_references=greeter("3.0")))
    assert (unknown.value.status_code, unknown.value.error.code) == (409, "InvalidApplicationPackageReferences")
    with pytest.raises(HttpResponseError) as unknown:
        batch.create_pool(pool_of(fresh("pool"), application_package_references=greeter("3.0")))
    assert (unknown.value.status_code, unknown.value.error.code) == (409, "InvalidApplicationPackageReferences")
    batch.begin_delete_job(job)
    batch.begin_delete_pool(pool)


def test_a_task_runs_on_several_nodes_at_once(batch, blobs, together, fresh, finished):
    container = fresh("in")
    blobs.create_container(container)
    blob = blobs.get_blob_client(container, "common.txt")
    blob.upload_blob("of all")
    sas = generate_blob_sas(
        blobs.account_name,
        container,
        "common.txt",
        account_key=blobs.credential.account_key,
        permission=BlobSasPermissions(read=True),
        expiry=dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1),
    )
    common = [m.ResourceFile(http_url=f"{blob.url}?{sas}", file_path="common.txt")]
    settings = on(3, "echo $AZ_BATCH_IS_CURRENT_NODE_MASTER; cat $AZ_BATCH_TASK_SHARED_DIR/common.txt", common)
    script = "echo; echo $AZ_BATCH_HOST_LIST $AZ_BATCH_MASTER_NODE; echo $CCP_NODES"
    batch.create_task(together, task_of("t", script, multi_instance_settings=settings))
    task = finished(together)["t"]
    assert task.execution_info.result == "success", task.execution_info.failure_info
    assert task.multi_instance_settings.number_of_instances == 3
    hosts = "127.0.0.1,127.0.0.1,127.0.0.1 127.0.0.1:6000\n3 127.0.0.1 2 127.0.0.1 2 127.0.0.1 2\n"
    assert printed(batch, together, "t") == "true\nof all\n" + hosts
    subtasks = list(batch.list_subtasks(together, "t"))
    assert [each.id for each in subtasks] == [1, 2]
    assert {(each.state, each.result, each.exit_code) for each in subtasks} == {("completed", "success", 0)}
    nodes = {task.node_info.node_id, *(each.node_info.node_id for each in subtasks)}
    assert len(nodes) == 3
    where = subtasks[0].node_info
    path = f"{where.task_root_directory}/stdout.txt"
    assert b"".join(batch.download_node_file(where.pool_id, where.node_id, path)) == b"false\nof all"


def test_a_subtask_that_fails_ends_the_task_which_is_tried_again(batch, together, finished):
    fails = "$AZ_BATCH_IS_CURRENT_NODE_MASTER || exit 9"
    limits = m.BatchTaskConstraints(max_task_retry_count=1)
    batch.create_task(together, task_of("t", "exit 0", multi_instance_settings=on(2, fails), constraints=limits))
    task = finished(together)["t"]
    assert (task.execution_info.exit_code, task.execution_info.retry_count) == (9, 1)
    assert task.execution_info.failure_info.code == "FailureExitCode"
    [subtask] = batch.list_subtasks(together, "t")
    assert (subtask.exit_code, subtask.result) == (9, "failure")


def test_what_runs_together_ends_together(batch, together, until):
    batch.create_task(together, task_of("t", "sleep 1000", multi_instance_settings=on(3, "sleep 1000 & exit 0")))
    until("it runs", lambda: {each.state for each in batch.list_subtasks(together, "t")} == {"running"})
    batch.terminate_task(together, "t")
    until("it ended", lambda: batch.get_task(together, "t").state == "completed")
    assert {each.state for each in batch.list_subtasks(together, "t")} == {"completed"}
    pool = batch.get_task(together, "t").node_info.pool_id
    until("its nodes are free", lambda: {node.state for node in batch.list_nodes(pool)} == {"idle"})


def test_a_task_on_more_nodes_than_there_are_stays_active(batch, job, until):
    batch.create_task(job, task_of("t", multi_instance_settings=on(2, "true")))
    batch.create_task(job, task_of("u"))
    # The nodes of the shared pool cannot communicate with each other, so `t` cannot start; the task after it still runs.
    until("the other is over", lambda: batch.get_task(job, "u").state == "completed")
    assert batch.get_task(job, "t").state == "active"


def test_usage_and_statistics_are_those_of_what_ran(batch, fresh, pool, finished):
    job = fresh("job")
    batch.create_job(job_of(job, pool))
    batch.create_tasks(job, [task_of("well", "sleep 0.2"), task_of("badly", "exit 3")])
    finished(job)
    stats = batch.get_job(job, expand=["stats"]).job_statistics
    assert (stats.succeeded_tasks_count, stats.failed_tasks_count, stats.task_retries_count) == (1, 1, 0)
    assert stats.wall_clock_time >= dt.timedelta(seconds=0.2)
    whole = stats.user_cpu_time + stats.kernel_cpu_time
    assert batch.get_job(job).job_statistics is None
    stats = batch.get_task(job, "well", expand=["stats"]).task_statistics
    assert stats.wall_clock_time >= dt.timedelta(seconds=0.2)
    assert dt.timedelta(0) < stats.user_cpu_time + stats.kernel_cpu_time < whole
    usage = batch.get_pool(pool, expand=["stats"]).pool_statistics.usage_statistics
    assert usage.dedicated_core_time > dt.timedelta(0)
    [metrics] = [each for each in batch.list_pool_usage_metrics() if each.pool_id == pool]
    assert metrics.vm_size == "STANDARD_D2S_V3" and 0 < metrics.total_core_hours < 6
    assert (metrics.start_time.minute % 30, metrics.start_time.second) == (0, 0)
    batch.begin_delete_job(job)


def test_the_log_of_a_node_is_stored_where_it_is_asked_for(batch, blobs, pool, fresh):
    container = fresh("logs")
    blobs.create_container(container)
    now = dt.datetime.now(dt.timezone.utc)
    sas = generate_container_sas(
        blobs.account_name,
        container,
        account_key=blobs.credential.account_key,
        permission=ContainerSasPermissions(write=True, create=True),
        expiry=now + dt.timedelta(hours=1),
    )
    node = next(iter(batch.list_nodes(pool))).id
    url = f"{blobs.get_container_client(container).url}?{sas}"
    options = m.UploadBatchServiceLogsOptions(container_url=url, start_time=now - dt.timedelta(hours=1))
    stored = batch.upload_node_logs(pool, node, options)
    assert stored.number_of_files_uploaded == 1
    [name] = [blob.name for blob in blobs.get_container_client(container).list_blobs()]
    assert name.startswith(stored.virtual_directory_name)
    assert b"to idle" in blobs.get_blob_client(container, name).download_blob().readall()
    nothing = m.UploadBatchServiceLogsOptions(container_url=url, start_time=now + dt.timedelta(hours=1))
    assert batch.upload_node_logs(pool, node, nothing).number_of_files_uploaded == 0
