"""Jobs and pools: reading, changing and ending them; nodes; authentication."""

import datetime as dt

import azure.batch.models as m
import pytest
from azure.batch import BatchClient
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

from shapes import job_of, pool_of, task_of

FAST = dict(polling_interval=0.05)
# This client cannot send empty options, and does not export their class.
ENDED = {"terminateReason": "because"}


def test_a_job_is_seen_as_it_was_added(batch, pool, fresh):
    job = fresh("job")
    batch.create_job(
        job_of(
            job,
            pool,
            display_name="Everything",
            priority=100,
            max_parallel_tasks=3,
            constraints=m.BatchJobConstraints(max_wall_clock_time=dt.timedelta(hours=3), max_task_retry_count=1),
            metadata=[m.BatchMetadataItem(name="k", value="v")],
            common_environment_settings=[m.EnvironmentSetting(name="A", value="b")],
        )
    )
    seen = batch.get_job(job)
    assert (seen.id, seen.display_name, seen.priority, seen.max_parallel_tasks) == (job, "Everything", 100, 3)
    assert seen.constraints.max_wall_clock_time == dt.timedelta(hours=3)
    assert [(each.name, each.value) for each in seen.metadata] == [("k", "v")]
    assert [(each.name, each.value) for each in seen.common_environment_settings] == [("A", "b")]
    assert seen.pool_info.pool_id == pool and seen.state == m.BatchJobState.ACTIVE
    assert seen.all_tasks_complete_mode == m.BatchAllTasksCompleteMode.NO_ACTION
    assert seen.execution_info.start_time and seen.execution_info.pool_id == pool
    assert job in [each.id for each in batch.list_jobs()]
    with pytest.raises(ResourceExistsError) as twice:
        batch.create_job(job_of(job, pool))
    assert twice.value.error.code == "JobExists"
    batch.begin_delete_job(job)


def test_a_job_is_patched_and_replaced(batch, job):
    batch.update_job(
        job, m.BatchJobUpdateOptions(priority=7, metadata=[m.BatchMetadataItem(name="a", value="1")])
    )
    seen = batch.get_job(job)
    assert seen.priority == 7 and seen.metadata[0].value == "1"
    seen.priority, seen.metadata = -1, None
    batch.replace_job(job, seen)
    seen = batch.get_job(job)
    assert seen.priority == -1 and not seen.metadata
    with pytest.raises(HttpResponseError) as stale:
        batch.update_job(
            job, m.BatchJobUpdateOptions(priority=1), etag="0x1", match_condition=MatchConditions.IfNotModified
        )
    assert (stale.value.status_code, stale.value.error.code) == (412, "ConditionNotMet")
    with pytest.raises(ResourceModifiedError):
        batch.get_job(job, etag="0x1", match_condition=MatchConditions.IfNotModified)


def test_unchanged_objects_are_not_returned_again(batch, job):
    seen = batch.get_job(job)
    with pytest.raises(HttpResponseError) as same:
        batch.get_job(job, etag=seen.etag, match_condition=MatchConditions.IfModified)
    assert same.value.status_code == 304


def test_a_disabled_job_runs_nothing_until_it_is_enabled(batch, job, until):
    batch.create_task(job, task_of("long", "sleep 1000"))
    until("it runs", lambda: batch.get_task(job, "long").state == "running")
    options = m.BatchJobDisableOptions(disable_tasks=m.DisableBatchJobOption.REQUEUE)
    batch.begin_disable_job(job, options, **FAST).result()
    assert batch.get_job(job).state == m.BatchJobState.DISABLED
    assert batch.get_task(job, "long").state == m.BatchTaskState.ACTIVE
    batch.begin_enable_job(job, **FAST).result()
    assert batch.get_job(job).state == m.BatchJobState.ACTIVE
    until("it runs again", lambda: batch.get_task(job, "long").state == "running")
    options = m.BatchJobDisableOptions(disable_tasks=m.DisableBatchJobOption.TERMINATE)
    batch.begin_disable_job(job, options, **FAST).result()
    assert batch.get_task(job, "long").state == m.BatchTaskState.COMPLETED


def test_a_terminated_job_ends_its_tasks_and_takes_no_more(batch, job, until):
    batch.create_tasks(job, [task_of(f"t{n}", "sleep 1000") for n in range(20)])
    until("some run", lambda: batch.get_job_task_counts(job).task_counts.running > 0)
    batch.begin_terminate_job(job, ENDED, **FAST).result()
    seen = batch.get_job(job)
    assert seen.state == m.BatchJobState.COMPLETED and seen.execution_info.termination_reason == "because"
    assert seen.execution_info.end_time
    # Queued tasks stay queued: only running tasks are ended.
    counts = until("none runs", lambda: (c := batch.get_job_task_counts(job).task_counts).running == 0 and c)
    assert counts.active + counts.completed == 20 and counts.completed >= 1
    with pytest.raises(HttpResponseError) as late:
        batch.create_task(job, task_of("late"))
    assert (late.value.status_code, late.value.error.code) == (409, "JobCompleted")


def test_a_job_ends_itself_when_all_its_tasks_have(batch, pool, fresh, until):
    job = fresh("job")
    batch.create_job(job_of(job, pool))
    batch.create_tasks(job, [task_of(f"t{n}") for n in range(5)])
    batch.update_job(
        job, m.BatchJobUpdateOptions(all_tasks_complete_mode=m.BatchAllTasksCompleteMode.TERMINATE_JOB)
    )
    until("it ended", lambda: batch.get_job(job).state == "completed")
    assert batch.get_job(job).execution_info.termination_reason == "AllTasksComplete"
    batch.begin_delete_job(job)


def test_a_pool_is_seen_as_it_was_added_then_resized_and_deleted(batch, fresh, until):
    pool = fresh("pool")
    batch.create_pool(
        pool_of(
            pool,
            nodes=1,
            display_name="Seen",
            task_slots_per_node=4,
            metadata=[m.BatchMetadataItem(name="k", value="v")],
            resize_timeout=dt.timedelta(minutes=20),
        )
    )
    with pytest.raises(ResourceExistsError) as twice:
        batch.create_pool(pool_of(pool))
    assert twice.value.error.code == "PoolExists"
    until("steady", lambda: batch.get_pool(pool).allocation_state == "steady")
    seen = batch.get_pool(pool)
    assert (seen.display_name, seen.task_slots_per_node, seen.current_dedicated_nodes) == ("Seen", 4, 1)
    assert seen.resize_timeout == dt.timedelta(minutes=20) and seen.state == m.BatchPoolState.ACTIVE
    assert seen.virtual_machine_configuration.node_agent_sku_id == "batch.node.ubuntu 22.04"
    assert seen.vm_size.lower() == "standard_d2s_v3" and seen.enable_auto_scale is False
    assert seen.task_scheduling_policy.node_fill_type == "spread"
    batch.begin_resize_pool(pool, m.BatchPoolResizeOptions(target_dedicated_nodes=3), **FAST).result()
    until("three nodes", lambda: [n.state for n in batch.list_nodes(pool)] == ["idle"] * 3)
    assert batch.get_pool(pool).target_dedicated_nodes == 3
    counts = {each.pool_id: each.dedicated for each in batch.list_pool_node_counts()}
    assert (counts[pool].idle, counts[pool].total) == (3, 3)
    [gone, *kept] = [node.id for node in batch.list_nodes(pool)]
    batch.begin_remove_nodes(pool, m.BatchNodeRemoveOptions(node_ids=[gone]), **FAST).result()
    until("two nodes", lambda: sorted(node.id for node in batch.list_nodes(pool)) == sorted(kept))
    batch.update_pool(pool, m.BatchPoolUpdateOptions(metadata=[m.BatchMetadataItem(name="k", value="w")]))
    assert batch.get_pool(pool).metadata[0].value == "w"
    batch.replace_pool_properties(
        pool, m.BatchPoolReplaceOptions(application_package_references=[], metadata=[])
    )
    assert not batch.get_pool(pool).metadata
    assert pool in [each.id for each in batch.list_pools(filter=f"id eq '{pool}'", select=["id"])]
    batch.begin_delete_pool(pool, **FAST).result()
    with pytest.raises(ResourceNotFoundError) as none:
        batch.get_pool(pool)
    assert none.value.error.code == "PoolNotFound"


def test_a_start_task_that_fails_is_seen_at_the_node(batch, fresh, until):
    pool = fresh("pool")
    start = m.BatchStartTask(command_line="/bin/sh -c 'exit 5'", wait_for_success=True, max_task_retry_count=0)
    batch.create_pool(pool_of(pool, nodes=1, start_task=start))
    node = until("it failed", lambda: [n for n in batch.list_nodes(pool) if n.state == "starttaskfailed"])[0]
    assert node.start_task_info.exit_code == 5 and node.start_task_info.result == "failure"
    assert node.start_task_info.failure_info.code == "FailureExitCode"
    batch.begin_delete_pool(pool)


def test_a_node_is_seen_its_scheduling_turned_off_and_on_and_it_is_rebooted(batch, fresh, until):
    pool = fresh("pool")
    batch.create_pool(pool_of(pool, nodes=1))
    idle = lambda: [n for n in batch.list_nodes(pool) if n.state == "idle"]
    node = until("idle", idle)[0]
    seen = batch.get_node(pool, node.id)
    assert seen.scheduling_state == m.SchedulingState.ENABLED and seen.is_dedicated is True
    assert seen.affinity_id and seen.ip_address and seen.last_boot_time >= seen.allocation_time
    assert seen.vm_size.lower() == "standard_d2s_v3" and seen.total_tasks_run == 0
    batch.disable_node_scheduling(pool, node.id, {"nodeDisableSchedulingOption": "requeue"})
    assert batch.get_node(pool, node.id).scheduling_state == m.SchedulingState.DISABLED
    batch.enable_node_scheduling(pool, node.id)
    assert batch.get_node(pool, node.id).scheduling_state == m.SchedulingState.ENABLED
    batch.begin_reboot_node(pool, node.id, {"nodeRebootOption": "requeue"}, **FAST).result()
    until("idle again", idle)
    assert batch.get_node(pool, node.id).last_boot_time > seen.last_boot_time
    batch.create_node_user(pool, node.id, m.BatchNodeUserCreateOptions(name="me", password="Pass-word-123"))
    batch.replace_node_user(pool, node.id, "me", m.BatchNodeUserReplaceOptions(password="Pass-word-456"))
    batch.delete_node_user(pool, node.id, "me")
    with pytest.raises(ResourceNotFoundError):
        batch.delete_node_user(pool, node.id, "me")
    login = batch.get_node_remote_login_settings(pool, node.id)
    assert login.remote_login_port > 0
    with pytest.raises(ResourceNotFoundError) as none:
        batch.get_node(pool, "tvm-none")
    assert none.value.error.code == "NodeNotFound"
    batch.begin_delete_pool(pool)


def test_supported_images_are_listed(batch):
    images = list(batch.list_supported_images())
    assert "batch.node.ubuntu 22.04" in [image.node_agent_sku_id for image in images]
    assert all(image.os_type in ("linux", "windows") for image in images)


@pytest.mark.parametrize("nodes", [-1])
def test_a_pool_that_cannot_be_is_refused(batch, fresh, nodes):
    with pytest.raises(HttpResponseError) as bad:
        batch.create_pool(pool_of(fresh("pool"), nodes=nodes))
    assert (bad.value.status_code, bad.value.error.code) == (400, "InvalidPropertyValue")


def test_a_job_without_its_pool_is_refused(batch, fresh):
    job = fresh("job")
    try:
        batch.create_job(job_of(job, "no-such-pool"))
    except HttpResponseError as bad:
        assert bad.error.code == "PoolNotFound"
    else:
        batch.begin_delete_job(job)


def test_a_wrong_key_may_nothing(connection):
    batch = connection["batch"]
    wrong = BatchClient(batch["endpoint"], AzureNamedKeyCredential(batch["account"], "d3Jvbmc="), retry_total=0)
    with pytest.raises((ClientAuthenticationError, HttpResponseError)) as refused:
        list(wrong.list_pools())
    assert refused.value.status_code in (401, 403)
    assert refused.value.error.code in ("AuthenticationFailed", "InvalidAuthenticationInfo")


def test_autoscale_is_evaluated(batch, fresh, until):
    pool = fresh("pool")
    batch.create_pool(pool_of(pool, nodes=0))
    until("steady", lambda: batch.get_pool(pool).allocation_state == "steady")
    try:
        formula = "$TargetDedicatedNodes=1;"
        batch.enable_pool_auto_scale(pool, m.BatchPoolEnableAutoScaleOptions(auto_scale_formula=formula))
        run = batch.evaluate_pool_auto_scale(pool, m.BatchPoolEvaluateAutoScaleOptions(auto_scale_formula=formula))
        assert "$TargetDedicatedNodes=1" in run.results
        until("grown", lambda: len(list(batch.list_nodes(pool))) == 1)
        batch.disable_pool_auto_scale(pool)
    finally:
        batch.begin_delete_pool(pool)


def test_a_job_schedule_makes_a_job(batch, pool, fresh, until):
    name = fresh("schedule")
    batch.create_job_schedule(
        m.BatchJobScheduleCreateOptions(
            id=name,
            schedule=m.BatchJobScheduleConfiguration(recurrence_interval=dt.timedelta(minutes=10)),
            job_specification=m.BatchJobSpecification(pool_info=m.BatchPoolInfo(pool_id=pool)),
        )
    )
    assert batch.job_schedule_exists(name)
    until("its first job", lambda: [job.id for job in batch.list_jobs_from_schedule(name)] == [f"{name}:job-1"])
    batch.disable_job_schedule(name)
    assert batch.get_job_schedule(name).state == "disabled"
    batch.enable_job_schedule(name)
    batch.begin_terminate_job_schedule(name, **FAST).result()
    batch.begin_delete_job_schedule(name, **FAST).result()
    with pytest.raises(ResourceNotFoundError):
        batch.get_job_schedule(name)


def test_preparation_and_release_run_around_the_tasks_of_a_node(batch, pool, fresh, until, finished):
    job = fresh("job")
    batch.create_job(
        job_of(
            job,
            pool,
            job_preparation_task=m.BatchJobPreparationTask(command_line="/bin/sh -c 'echo ready > $AZ_BATCH_NODE_SHARED_DIR/p'"),
            job_release_task=m.BatchJobReleaseTask(command_line="true"),
        )
    )
    batch.create_task(job, task_of("t", "cat $AZ_BATCH_NODE_SHARED_DIR/p"))
    assert finished(job)["t"].execution_info.exit_code == 0
    batch.begin_terminate_job(job, ENDED, **FAST).result()
    said = list(batch.list_job_preparation_and_release_task_status(job))
    assert said[0].job_preparation_task_execution_info.exit_code == 0
    batch.begin_delete_job(job)
