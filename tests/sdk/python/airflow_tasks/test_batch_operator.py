"""AzureBatchOperator: pool, job and task in one step of a workflow."""

import asyncio
import datetime as dt

import azure.batch.models as m
import pytest
from airflow.providers.microsoft.azure.hooks.batch import AzureBatchHook
from airflow.sdk.exceptions import TaskDeferred
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

ENDED = {"terminateReason": "because"}


def gone(call, name):
    with pytest.raises(ResourceNotFoundError):
        call(name)
    return True


def test_a_task_runs_and_pool_and_job_stay(operator, client, printed):
    one = operator("echo $AZ_BATCH_TASK_ID of $AZ_BATCH_JOB_ID", batch_task_display_name="Shown")
    assert one.execute({}) is None
    assert printed(one) == f"t of {one.batch_job_id}\n"
    assert client.get_pool(one.batch_pool_id).current_dedicated_nodes == 1
    assert client.get_job(one.batch_job_id).state == m.BatchJobState.ACTIVE
    task = client.get_task(one.batch_job_id, "t")
    assert (task.display_name, task.execution_info.exit_code) == ("Shown", 0)
    # Pool, job and task exist: the operator waits for them, and nothing runs twice.
    again = operator("exit 1", batch_pool_id=one.batch_pool_id, batch_job_id=one.batch_job_id)
    again.execute({})
    assert client.get_task(one.batch_job_id, "t").execution_info.start_time == task.execution_info.start_time
    # Another task in the same job.
    other = operator("echo two", batch_pool_id=one.batch_pool_id, batch_job_id=one.batch_job_id, batch_task_id="u")
    other.execute({})
    assert printed(other) == "two\n"


def test_pool_and_job_are_deleted_when_asked_for(operator, client):
    one = operator("echo done", should_delete_job=True, should_delete_pool=True)
    one.execute({})
    assert gone(client.get_job, one.batch_job_id) and gone(client.get_pool, one.batch_pool_id)


def test_a_job_is_deleted_and_its_pool_kept(operator, client):
    one = operator(should_delete_job=True)
    one.execute({})
    assert gone(client.get_job, one.batch_job_id)
    assert client.get_pool(one.batch_pool_id).state == m.BatchPoolState.ACTIVE


@pytest.mark.parametrize(("command", "code"), [("/bin/sh -c 'exit 7'", "FailureExitCode"), ("no-such", "CommandProgramNotFound")])
def test_a_task_that_fails_fails_the_step(operator, client, command, code):
    one = operator(batch_task_command_line=command)
    with pytest.raises(RuntimeError, match="Job fail") as failed:
        one.execute({})
    assert f"/jobs/{one.batch_job_id}/tasks/t" in str(failed.value) and code in str(failed.value)
    assert client.get_task(one.batch_job_id, "t").execution_info.failure_info.code == code


def test_what_failed_is_cleaned_up_too(operator, client):
    one = operator("exit 1", should_delete_job=True, should_delete_pool=True)
    with pytest.raises(RuntimeError, match="Job fail"):
        one.execute({})
    assert gone(client.get_job, one.batch_job_id) and gone(client.get_pool, one.batch_pool_id)


def test_a_step_that_takes_too_long_fails_while_its_task_runs_on(operator, client, until):
    one = operator("sleep 1000", timeout=0.02)
    with pytest.raises(TimeoutError):
        one.execute({})
    until("it runs", lambda: client.get_task(one.batch_job_id, "t").state == m.BatchTaskState.RUNNING)
    # The operator's `on_kill` calls this without options, which azure-batch 15.1 rejects.
    client.begin_terminate_job(one.batch_job_id, ENDED, polling_interval=0.05).result()
    assert client.get_job(one.batch_job_id).state == m.BatchJobState.COMPLETED
    assert client.get_task(one.batch_job_id, "t").state == m.BatchTaskState.COMPLETED


def test_files_go_in_and_out(operator, container):
    wasb, name = container
    wasb.load_string("some words", name, "in/a.txt")
    account = wasb.get_conn()
    sas = generate_container_sas(
        account.account_name,
        name,
        account_key=account.credential.account_key,
        permission=ContainerSasPermissions(read=True, write=True, create=True, list=True),
        expiry=dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1),
    )
    url = f"{account.get_container_client(name).url}?{sas}"
    to = m.OutputFileDestination(container=m.OutputFileBlobContainerDestination(container_url=url, path="out"))
    options = m.OutputFileUploadConfiguration(upload_condition=m.OutputFileUploadCondition.TASK_SUCCESS)
    one = operator(
        "tr a-z A-Z < in/a.txt > result.txt; cat $AZ_BATCH_NODE_SHARED_DIR/ready >> result.txt",
        batch_task_resource_files=[m.ResourceFile(storage_container_url=url, blob_prefix="in/")],
        batch_task_output_files=[m.OutputFile(file_pattern="*.txt", destination=to, upload_options=options)],
        batch_start_task=m.BatchStartTask(
            command_line="/bin/sh -c 'echo , ready > $AZ_BATCH_NODE_SHARED_DIR/ready'", wait_for_success=True
        ),
        batch_task_user_identity=m.UserIdentity(
            auto_user=m.AutoUserSpecification(scope=m.AutoUserScope.POOL, elevation_level=m.ElevationLevel.ADMIN)
        ),
    )
    one.execute({})
    assert wasb.get_blobs_list_recursive(name, prefix="out/") == ["out/result.txt"]
    assert wasb.read_file(name, "out/result.txt") == "SOME WORDS, ready\n"


def test_nodes_are_prepared_for_the_job(operator, client, printed):
    one = operator(
        "cat $AZ_BATCH_NODE_SHARED_DIR/prepared",
        batch_job_preparation_task=m.BatchJobPreparationTask(
            command_line="/bin/sh -c 'echo prepared > $AZ_BATCH_NODE_SHARED_DIR/prepared'"
        ),
        batch_job_release_task=m.BatchJobReleaseTask(command_line="/bin/sh -c 'rm $AZ_BATCH_NODE_SHARED_DIR/prepared'"),
    )
    one.execute({})
    assert printed(one) == "prepared\n"
    [status] = client.list_job_preparation_and_release_task_status(one.batch_job_id)
    assert status.job_preparation_task_execution_info.exit_code == 0
    client.begin_terminate_job(one.batch_job_id, ENDED, polling_interval=0.05).result()
    [status] = client.list_job_preparation_and_release_task_status(one.batch_job_id)
    assert status.job_release_task_execution_info.exit_code == 0


def test_a_job_manager_runs_beside_the_task(operator, client, printed):
    manager = m.BatchJobManagerTask(id="manager", command_line="/bin/sh -c 'echo manages'", kill_job_on_completion=False)
    one = operator("echo works", batch_job_manager_task=manager)
    one.execute({})
    assert sorted(task.id for task in client.list_tasks(one.batch_job_id)) == ["manager", "t"]
    assert b"".join(client.download_task_file(one.batch_job_id, "manager", "stdout.txt")) == b"manages\n"
    assert printed(one) == "works\n"


def test_the_newest_verified_image_is_found(operator, client, printed):
    one = operator("echo found", use_latest_verified_vm_image_and_sku=True, sku_starts_with="22_04")
    one.execute({})
    assert printed(one) == "found\n"
    chosen = client.get_pool(one.batch_pool_id).virtual_machine_configuration
    assert chosen.image_reference.sku.startswith("22_04") and "22.04" in chosen.node_agent_sku_id


def test_a_pool_sizes_itself(operator, client, printed):
    one = operator("echo scaled", enable_auto_scale=True, auto_scale_formula="$TargetDedicatedNodes = 1;")
    one.execute({})
    assert printed(one) == "scaled\n"
    assert client.get_pool(one.batch_pool_id).enable_auto_scale


def test_more_nodes_than_the_account_has_are_reported(operator):
    with pytest.raises(RuntimeError, match="AccountCoreQuotaReached"):
        # The quota is 1000 nodes, so one node is too many.
        operator(target_dedicated_nodes=1000, target_low_priority_nodes=1).execute({})


def test_a_node_whose_start_task_failed_is_no_reason_to_wait(operator, client):
    start = m.BatchStartTask(command_line="/bin/sh -c 'exit 3'", wait_for_success=True)
    one = operator("true", batch_start_task=start, timeout=0.01)
    with pytest.raises(TimeoutError):
        one.execute({})
    [node] = client.list_nodes(one.batch_pool_id)
    assert (node.state, node.start_task_info.exit_code) == (m.BatchNodeState.START_TASK_FAILED, 3)
    assert client.get_task(one.batch_job_id, "t").state == m.BatchTaskState.ACTIVE


async def first_of(trigger):
    async for event in trigger.run():
        return event.payload


@pytest.mark.parametrize(
    ("script", "status", "fails"),
    [("true", "success", None), ("exit 5", "error", "Failed tasks: .'t'."), ("sleep 1000", "timeout", "Timeout waiting")],
)
def test_a_deferred_step_is_called_when_its_tasks_are_over(operator, client, script, status, fails):
    waits = 0.02 if status == "timeout" else 1
    one = operator(script, deferrable=True, poll_interval=0.05, timeout=waits, should_delete_job=True)
    with pytest.raises(TaskDeferred) as deferred:
        one.execute({})
    assert deferred.value.method_name == "execute_complete"
    event = asyncio.run(first_of(deferred.value.trigger))
    assert (event["status"], event["job_id"]) == (status, one.batch_job_id)
    if fails:
        with pytest.raises(RuntimeError, match=fails):
            one.execute_complete({}, event)
    else:
        one.execute_complete({}, event)
    assert gone(client.get_job, one.batch_job_id)


def test_a_connection_is_tested(hook):
    assert hook.test_connection() == (True, "Successfully connected to Azure Batch.")
    works, why = AzureBatchHook("of_another_key").test_connection()
    assert not works and "AuthenticationFailed" in why
