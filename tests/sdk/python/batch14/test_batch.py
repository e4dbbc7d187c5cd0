"""The same service with an older client, which has other methods and another version of the API."""

import datetime as dt

import azure.batch.models as m
import pytest
from azure.batch import BatchServiceClient
from azure.batch.batch_auth import SharedKeyCredentials
from azure.storage.blob import BlobSasPermissions, ContainerSasPermissions, generate_blob_sas, generate_container_sas

from shapes import job_of, pool_of, task_of


def later():
    return dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=2)


def code(raised):
    return raised.value.response.status_code, raised.value.error.code


def input_of(blobs, container, name, content):
    blob = blobs.get_blob_client(container, name)
    blob.upload_blob(content)
    sas = generate_blob_sas(
        blobs.account_name,
        container,
        name,
        account_key=blobs.credential.account_key,
        permission=BlobSasPermissions(read=True),
        expiry=later(),
    )
    return m.ResourceFile(http_url=f"{blob.url}?{sas}", file_path=name)


def output_to(blobs, container, pattern):
    sas = generate_container_sas(
        blobs.account_name,
        container,
        account_key=blobs.credential.account_key,
        permission=ContainerSasPermissions(write=True, create=True),
        expiry=later(),
    )
    url = f"{blobs.get_container_client(container).url}?{sas}"
    return m.OutputFile(
        file_pattern=pattern,
        destination=m.OutputFileDestination(container=m.OutputFileBlobContainerDestination(container_url=url)),
        upload_options=m.OutputFileUploadOptions(upload_condition=m.OutputFileUploadCondition.task_success),
    )


def test_the_tutorial_with_a_start_task_inputs_and_outputs(batch, blobs, fresh, until, finished):
    inputs, outputs, pool, job = fresh("in"), fresh("out"), fresh("pool"), fresh("job")
    for name in (inputs, outputs):
        blobs.create_container(name)
    start = m.StartTask(
        command_line='/bin/sh -c "echo ready > $AZ_BATCH_NODE_SHARED_DIR/ready"',
        wait_for_success=True,
        user_identity=m.UserIdentity(
            auto_user=m.AutoUserSpecification(scope=m.AutoUserScope.pool, elevation_level=m.ElevationLevel.admin)
        ),
    )
    batch.pool.add(pool_of(pool, nodes=2, start_task=start))
    until("idle", lambda: [node.state for node in batch.compute_node.list(pool)] == ["idle"] * 2)
    assert all(node.start_task_info.exit_code == 0 for node in batch.compute_node.list(pool))
    batch.job.add(job_of(job, pool))
    tasks = [
        task_of(
            f"Task{n}",
            f"cat $AZ_BATCH_NODE_SHARED_DIR/ready; tr a-z A-Z < in{n}.txt > out{n}.txt",
            resource_files=[input_of(blobs, inputs, f"in{n}.txt", f"words of {n}")],
            output_files=[output_to(blobs, outputs, "out*.txt")],
        )
        for n in range(4)
    ]
    batch.task.add_collection(job, tasks)
    for name, task in finished(job).items():
        assert task.execution_info.result == m.TaskExecutionResult.success, task.execution_info.failure_info
        assert b"".join(batch.file.get_from_task(job, name, "stdout.txt")) == b"ready\n"
    for n in range(4):
        home = blobs.get_blob_client(outputs, f"out{n}.txt").download_blob().readall()
        assert home == f"WORDS OF {n}".encode()
    batch.job.delete(job)
    batch.pool.delete(pool)
    until("the job is gone", lambda: job not in [each.id for each in batch.job.list()])
    until("the pool is gone", lambda: not batch.pool.exists(pool))


def test_a_task_is_seen_as_it_was_added(batch, job, finished):
    batch.task.add(
        job,
        task_of(
            "t",
            "echo $A",
            display_name="T",
            environment_settings=[m.EnvironmentSetting(name="A", value="b")],
            constraints=m.TaskConstraints(max_wall_clock_time=dt.timedelta(minutes=1), max_task_retry_count=1),
        ),
    )
    task = finished(job)["t"]
    assert (task.display_name, task.constraints.max_wall_clock_time) == ("T", dt.timedelta(minutes=1))
    assert task.execution_info.exit_code == 0 and task.node_info.node_id
    assert b"".join(batch.file.get_from_task(job, "t", "stdout.txt")) == b"b\n"


def test_a_task_that_fails_says_why(batch, job, finished):
    batch.task.add_collection(
        job, [task_of("seven", "exit 7"), m.TaskAddParameter(id="none", command_line="no-such")]
    )
    tasks = finished(job)
    assert tasks["seven"].execution_info.exit_code == 7
    assert tasks["seven"].execution_info.failure_info.category == m.ErrorCategory.user_error
    assert tasks["none"].execution_info.failure_info.code == "CommandProgramNotFound"
    counts = batch.job.get_task_counts(job)
    assert (counts.task_counts.completed, counts.task_counts.failed) == (2, 2)


ERRORS = {
    "TaskExists": (409, lambda batch, job, pool: batch.task.add(job, task_of("one"))),
    "TaskNotFound": (404, lambda batch, job, pool: batch.task.get(job, "none")),
    "JobNotFound": (404, lambda batch, job, pool: batch.job.get("no-such-job")),
    "PoolNotFound": (404, lambda batch, job, pool: batch.pool.get("no-such-pool")),
    "JobExists": (409, lambda batch, job, pool: batch.job.add(job_of(job, pool))),
    "PoolExists": (409, lambda batch, job, pool: batch.pool.add(pool_of(pool))),
    "InvalidPropertyValue": (400, lambda batch, job, pool: batch.task.add(job, task_of("not an id"))),
    "InvalidQueryParameterValue": (
        400,
        lambda batch, job, pool: list(batch.task.list(job, m.TaskListOptions(filter="no filter"))),
    ),
    "NodeNotFound": (404, lambda batch, job, pool: batch.compute_node.get(pool, "tvm-none")),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_have_their_codes(batch, job, pool, name):
    batch.task.add(job, task_of("one"))
    status, call = ERRORS[name]
    with pytest.raises(m.BatchErrorException) as refused:
        call(batch, job, pool)
    assert code(refused) == (status, name) and refused.value.error.message.value


def test_a_wrong_key_may_nothing(connection):
    batch = connection["batch"]
    wrong = BatchServiceClient(SharedKeyCredentials(batch["account"], "d3Jvbmc="), batch_url=batch["endpoint"])
    with pytest.raises(m.BatchErrorException) as refused:
        list(wrong.pool.list())
    assert refused.value.response.status_code in (401, 403)


def test_lists_are_filtered_selected_and_paged(batch, pool, fresh):
    job = fresh("job")
    batch.job.add(job_of(job, pool))
    batch.job.disable(job, m.DisableJobOption.requeue)
    batch.task.add_collection(job, [task_of(f"{'ab'[n % 2]}{n:03}") for n in range(130)], threads=2)
    assert len(list(batch.task.list(job, m.TaskListOptions(max_results=40)))) == 130
    first = batch.task.list(job, m.TaskListOptions(max_results=40))
    assert len(first.advance_page()) == 40
    some = list(batch.task.list(job, m.TaskListOptions(filter="startswith(id,'b')", select="id,state")))
    assert len(some) == 65 and all(task.command_line is None and task.state == "active" for task in some)
    assert [each.id for each in batch.job.list(m.JobListOptions(filter=f"id eq '{job}'"))] == [job]
    batch.job.delete(job)


def test_in_a_collection_a_failure_names_its_task(batch, job):
    batch.task.add(job, task_of("b"))
    result = batch.task.add_collection(job, [task_of("a"), task_of("b"), task_of("c")])
    assert {each.task_id for each in result.value} == {"a", "b", "c"}
    with pytest.raises(m.CreateTasksErrorException) as failed:
        batch.task.add_collection(job, [task_of("d"), task_of("no id")])
    assert [each.task_id for each in failed.value.failure_tasks] == ["no id"]


def test_files_of_tasks_and_nodes(batch, job, pool, finished):
    batch.task.add(job, task_of("t", "echo 0123456789; mkdir d; echo x > d/f"))
    node = finished(job)["t"].node_info
    names = {file.name for file in batch.file.list_from_task(job, "t", recursive=True)}
    assert {"stdout.txt", "stderr.txt", "wd", "wd/d", "wd/d/f"} <= names
    part = m.FileGetFromTaskOptions(ocp_range="bytes=2-4")
    assert b"".join(batch.file.get_from_task(job, "t", "stdout.txt", part)) == b"234"
    seen = batch.file.get_properties_from_task(job, "t", "stdout.txt", raw=True).headers
    assert (seen["Content-Length"], seen["ocp-batch-file-isdirectory"]) == (11, False)
    path = f"{node.task_root_directory}/stdout.txt"
    assert b"".join(batch.file.get_from_compute_node(pool, node.node_id, path)) == b"0123456789\n"
    top = {file.name for file in batch.file.list_from_compute_node(pool, node.node_id)}
    assert {"shared", "startup", "workitems"} <= top
    with pytest.raises(m.BatchErrorException) as none:
        batch.file.get_from_task(job, "t", "wd/none")
    assert none.value.response.status_code == 404
    batch.file.delete_from_task(job, "t", "wd/d", recursive=True)
    assert "wd/d" not in {file.name for file in batch.file.list_from_task(job, "t", recursive=True)}


def test_a_job_is_disabled_enabled_changed_and_terminated(batch, job, until):
    batch.task.add(job, task_of("long", "sleep 1000"))
    until("it runs", lambda: batch.task.get(job, "long").state == "running")
    batch.job.disable(job, m.DisableJobOption.requeue)
    until("disabled", lambda: batch.job.get(job).state == m.JobState.disabled)
    batch.job.enable(job)
    until("it runs again", lambda: batch.task.get(job, "long").state == "running")
    batch.job.patch(job, m.JobPatchParameter(priority=500))
    assert batch.job.get(job).priority == 500
    with pytest.raises(m.BatchErrorException) as stale:
        batch.job.patch(job, m.JobPatchParameter(priority=1), m.JobPatchOptions(if_match='"0x1"'))
    assert code(stale) == (412, "ConditionNotMet")
    batch.task.terminate(job, "long")
    until("it ended", lambda: batch.task.get(job, "long").state == "completed")
    batch.job.terminate(job, terminate_reason="because")
    seen = until("ended", lambda: (j := batch.job.get(job)).state == m.JobState.completed and j)
    assert seen.execution_info.terminate_reason == "because"


def test_a_pool_is_resized_changed_and_deleted(batch, fresh, until):
    pool = fresh("pool")
    batch.pool.add(pool_of(pool, nodes=1, metadata=[m.MetadataItem(name="k", value="v")]))
    until("steady", lambda: batch.pool.get(pool).allocation_state == m.AllocationState.steady)
    batch.pool.resize(pool, m.PoolResizeParameter(target_dedicated_nodes=3))
    until("three nodes", lambda: [n.state for n in batch.compute_node.list(pool)] == ["idle"] * 3)
    counts = {each.pool_id: each for each in batch.account.list_pool_node_counts()}
    assert counts[pool].dedicated.idle == 3
    gone = next(iter(batch.compute_node.list(pool))).id
    batch.pool.remove_nodes(pool, m.NodeRemoveParameter(node_list=[gone]))
    until("two nodes", lambda: len(list(batch.compute_node.list(pool))) == 2)
    batch.pool.patch(pool, m.PoolPatchParameter(metadata=[m.MetadataItem(name="k", value="w")]))
    assert batch.pool.get(pool).metadata[0].value == "w"
    node = next(iter(batch.compute_node.list(pool)))
    batch.compute_node.disable_scheduling(pool, node.id)
    assert batch.compute_node.get(pool, node.id).scheduling_state == m.SchedulingState.disabled
    batch.compute_node.enable_scheduling(pool, node.id)
    batch.compute_node.reboot(pool, node.id)
    seen = lambda: batch.compute_node.get(pool, node.id)
    until("booted again", lambda: (n := seen()).state == "idle" and n.last_boot_time > node.last_boot_time)
    batch.pool.delete(pool)
    until("gone", lambda: not batch.pool.exists(pool))


def test_supported_images_are_listed(batch):
    agents = {image.node_agent_sku_id for image in batch.account.list_supported_images()}
    assert "batch.node.ubuntu 22.04" in agents


def test_a_task_waits_for_those_it_depends_on(batch, pool, fresh, finished):
    job = fresh("job")
    batch.job.add(job_of(job, pool, uses_task_dependencies=True))
    last = task_of("last", depends_on=m.TaskDependencies(task_ids=["a", "b"]))
    batch.task.add_collection(job, [last, task_of("a"), task_of("b", "sleep 0.2")])
    tasks = finished(job)
    assert tasks["last"].execution_info.start_time >= tasks["b"].execution_info.end_time
    batch.job.delete(job)


@pytest.mark.slow
def test_five_thousand_tasks_are_added_and_all_complete(batch, pool, fresh, until):
    job = fresh("job")
    batch.job.add(job_of(job, pool))
    tasks = [m.TaskAddParameter(id=f"t{n:04}", command_line="true") for n in range(5000)]
    added = batch.task.add_collection(job, tasks, threads=4)
    assert sorted(each.task_id for each in added.value) == [f"t{n:04}" for n in range(5000)]
    until("all completed", lambda: batch.job.get_task_counts(job).task_counts.completed == 5000, 240)
    counts = batch.job.get_task_counts(job).task_counts
    assert (counts.active, counts.running, counts.succeeded, counts.failed) == (0, 0, 5000, 0)
    done = m.TaskListOptions(filter="state eq 'completed'", select="id")
    assert len({task.id for task in batch.task.list(job, done)}) == 5000
    batch.job.delete(job)


def test_a_job_schedule_makes_a_job(batch, pool, fresh, until):
    name = fresh("schedule")
    batch.job_schedule.add(
        m.JobScheduleAddParameter(
            id=name,
            schedule=m.Schedule(recurrence_interval=dt.timedelta(minutes=10)),
            job_specification=m.JobSpecification(pool_info=m.PoolInformation(pool_id=pool)),
        )
    )
    until("its first job", lambda: [job.id for job in batch.job.list_from_job_schedule(name)] == [f"{name}:job-1"])
    batch.job_schedule.delete(name)


def test_autoscale_is_evaluated(batch, fresh, until):
    pool = fresh("pool")
    batch.pool.add(pool_of(pool, nodes=0))
    try:
        until("steady", lambda: batch.pool.get(pool).allocation_state == "steady")
        batch.pool.enable_auto_scale(pool, auto_scale_formula="$TargetDedicatedNodes=1;")
        until("grown", lambda: len(list(batch.compute_node.list(pool))) == 1)
    finally:
        batch.pool.delete(pool)


def test_preparation_and_release_run_around_the_tasks_of_a_node(batch, pool, fresh, finished):
    job = fresh("job")
    prepare = m.JobPreparationTask(command_line="true")
    batch.job.add(job_of(job, pool, job_preparation_task=prepare))
    batch.task.add(job, task_of("t"))
    assert finished(job)["t"].execution_info.exit_code == 0
    said = list(batch.job.list_preparation_and_release_task_status(job))
    assert said[0].job_preparation_task_execution_info.exit_code == 0
    batch.job.delete(job)
