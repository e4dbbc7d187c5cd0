"""Tasks: adding one, many and too many; lists; failures; dependencies; terminate, reactivate, delete."""

import datetime as dt

import azure.batch.models as m
import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from shapes import job_of, task_of


def test_a_task_is_seen_as_it_was_added(batch, job, finished):
    batch.create_task(
        job,
        task_of(
            "full",
            "echo $GREETING $AZ_BATCH_TASK_ID $AZ_BATCH_JOB_ID",
            display_name="With everything",
            environment_settings=[m.EnvironmentSetting(name="GREETING", value="häll\u00f6")],
            constraints=m.BatchTaskConstraints(
                max_wall_clock_time=dt.timedelta(minutes=5),
                retention_time=dt.timedelta(days=2),
                max_task_retry_count=2,
            ),
            required_slots=2,
        ),
    )
    task = finished(job)["full"]
    assert task.display_name == "With everything" and task.required_slots == 2
    assert task.constraints.max_wall_clock_time == dt.timedelta(minutes=5)
    assert task.constraints.retention_time == dt.timedelta(days=2)
    assert task.constraints.max_task_retry_count == 2
    assert [(each.name, each.value) for each in task.environment_settings] == [("GREETING", "hällö")]
    assert task.url.endswith(f"/jobs/{job}/tasks/full") and task.etag
    assert task.state == m.BatchTaskState.COMPLETED and task.previous_state == m.BatchTaskState.RUNNING
    info = task.execution_info
    assert task.creation_time <= info.start_time <= info.end_time <= dt.datetime.now(dt.timezone.utc)
    assert (info.exit_code, info.retry_count, info.requeue_count) == (0, 0, 0)
    out = b"".join(batch.download_task_file(job, "full", "stdout.txt")).decode()
    assert out == f"hällö full {job}\n"


def test_a_task_that_exits_with_another_code_has_failed_and_says_so(batch, job, finished):
    batch.create_task(job, task_of("bad", "echo why >&2; exit 7"))
    task = finished(job)["bad"]
    assert task.execution_info.exit_code == 7
    assert task.execution_info.result == m.BatchTaskExecutionResult.FAILURE
    assert task.execution_info.failure_info.category == m.BatchErrorSourceCategory.USER_ERROR
    assert task.execution_info.failure_info.code == "FailureExitCode"
    assert b"".join(batch.download_task_file(job, "bad", "stderr.txt")) == b"why\n"
    counts = batch.get_job_task_counts(job).task_counts
    assert (counts.active, counts.running, counts.completed, counts.succeeded, counts.failed) == (0, 0, 1, 0, 1)


def test_a_task_is_tried_again_as_often_as_it_may(batch, job, finished):
    batch.create_task(
        job, task_of("again", "exit 3", constraints=m.BatchTaskConstraints(max_task_retry_count=2))
    )
    info = finished(job)["again"].execution_info
    assert (info.retry_count, info.exit_code) == (2, 3) and info.last_retry_time is not None


def test_a_task_that_takes_too_long_is_ended(batch, job, finished):
    batch.create_task(
        job,
        task_of("long", "sleep 100", constraints=m.BatchTaskConstraints(max_wall_clock_time=dt.timedelta(seconds=1))),
    )
    info = finished(job)["long"].execution_info
    assert info.result == "failure" and info.failure_info.code == "TaskEnded"


def test_a_program_that_is_not_there(batch, job, finished):
    batch.create_task(job, m.BatchTaskCreateOptions(id="none", command_line="no-such-program --at-all"))
    info = finished(job)["none"].execution_info
    assert info.result == "failure" and info.failure_info.code == "CommandProgramNotFound"


def test_a_task_that_exists_is_a_conflict_and_one_that_does_not_is_not_found(batch, job):
    batch.create_task(job, task_of("one"))
    with pytest.raises(ResourceExistsError) as twice:
        batch.create_task(job, task_of("one"))
    assert (twice.value.status_code, twice.value.error.code) == (409, "TaskExists")
    with pytest.raises(ResourceNotFoundError) as none:
        batch.get_task(job, "none")
    assert (none.value.status_code, none.value.error.code) == (404, "TaskNotFound")
    with pytest.raises(ResourceNotFoundError) as nowhere:
        batch.create_task("no-such-job", task_of("one"))
    assert nowhere.value.error.code == "JobNotFound"


@pytest.mark.parametrize("name", ["", "with space", "with/slash", "a" * 65, "dot.dot"])
def test_an_id_that_cannot_be_one_is_refused(batch, job, name):
    with pytest.raises(HttpResponseError) as bad:
        batch.create_task(job, task_of(name))
    assert (bad.value.status_code, bad.value.error.code) == (400, "InvalidPropertyValue")


def test_in_a_collection_each_task_has_its_own_answer(batch, job):
    batch.create_task(job, task_of("b"))
    group = m.BatchTaskGroup(task_values=[task_of("a"), task_of("b"), task_of("c")])
    answers = {each.task_id: each for each in batch.create_task_collection(job, group).result_values}
    assert answers["a"].status == answers["c"].status == m.BatchTaskAddStatus.SUCCESS
    assert answers["a"].etag and answers["a"].location.endswith(f"/jobs/{job}/tasks/a")
    assert answers["b"].status == m.BatchTaskAddStatus.CLIENT_ERROR and answers["b"].error.code == "TaskExists"


def test_more_than_a_hundred_at_once_are_refused(batch, job):
    group = m.BatchTaskGroup(task_values=[task_of(f"t{n}") for n in range(101)])
    with pytest.raises(HttpResponseError) as many:
        batch.create_task_collection(job, group)
    assert many.value.status_code == 400
    assert list(batch.list_tasks(job)) == []


def test_a_body_that_is_too_large_is_halved_by_the_client_until_it_fits(batch, job):
    long = "x" * 30_000
    tasks = [
        task_of(f"t{n}", "true", environment_settings=[m.EnvironmentSetting(name="LONG", value=long)])
        for n in range(60)
    ]
    added = batch.create_tasks(job, tasks)
    assert len(added.result_values) == 60
    assert sorted(task.id for task in batch.list_tasks(job, select=["id"])) == sorted(f"t{n}" for n in range(60))


@pytest.fixture
def hundred(batch, pool, fresh):
    """A job with 120 tasks, none of which runs."""
    job = fresh("job")
    batch.create_job(job_of(job, pool))
    batch.begin_disable_job(
        job, m.BatchJobDisableOptions(disable_tasks=m.DisableBatchJobOption.REQUEUE), polling_interval=0.05
    ).result()
    batch.create_tasks(job, [task_of(f"{'even' if n % 2 == 0 else 'odd'}-{n:03}") for n in range(120)])
    yield job
    batch.begin_delete_job(job)


def test_lists_come_in_pages_as_long_as_was_asked_for(batch, hundred):
    pages = [list(page) for page in batch.list_tasks(hundred, max_results=50).by_page()]
    assert [len(page) for page in pages] == [50, 50, 20]
    ids = [task.id for page in pages for task in page]
    assert len(set(ids)) == 120
    odd = batch.list_tasks(hundred, filter="startswith(id,'odd-')", max_results=7)
    assert [len(list(page)) for page in odd.by_page()] == [7] * 8 + [4]


@pytest.mark.parametrize(
    ("filter", "count"),
    [
        ("id eq 'odd-001'", 1),
        ("startswith(id, 'even-1')", 10),
        ("state eq 'active'", 120),
        ("state eq 'completed'", 0),
        ("state eq 'active' and startswith(id,'odd-00')", 5),
        ("id eq 'odd-001' or id eq 'even-000'", 2),
        ("creationTime gt datetime'2020-01-01T00:00:00Z'", 120),
        ("creationTime lt datetime'2020-01-01T00:00:00Z'", 0),
        ("(startswith(id,'odd') or startswith(id,'even')) and state ne 'running'", 120),
    ],
)
def test_lists_are_filtered(batch, hundred, filter, count):
    assert len(list(batch.list_tasks(hundred, filter=filter))) == count


@pytest.mark.parametrize("filter", ["id eq", "colour eq 'red'", "id eq 'a", "startswith(id)", "id gt5 'a'"])
def test_a_filter_that_makes_no_sense_is_refused(batch, job, filter):
    with pytest.raises(HttpResponseError) as bad:
        list(batch.list_tasks(job, filter=filter))
    assert (bad.value.status_code, bad.value.error.code) == (400, "InvalidQueryParameterValue")


@pytest.mark.parametrize("size", [0, -1, 1001])
def test_a_page_of_no_such_size_is_refused(batch, job, size):
    with pytest.raises(HttpResponseError) as bad:
        list(batch.list_tasks(job, max_results=size))
    assert bad.value.status_code == 400


def test_only_selected_properties_are_returned(batch, hundred):
    task = next(iter(batch.list_tasks(hundred, select=["id", "state"], max_results=1)))
    assert set(task.as_dict()) == {"id", "state"}
    one = set(batch.get_task(hundred, "odd-001", select=["id", "commandLine"]).as_dict()) - {"odata.metadata"}
    assert one == {"id", "commandLine"}


def test_a_task_waits_for_those_it_depends_on(batch, pool, fresh, finished):
    job = fresh("job")
    batch.create_job(job_of(job, pool, uses_task_dependencies=True))
    batch.create_task(
        job, task_of("last", depends_on=m.BatchTaskDependencies(task_ids=["1", "2"], task_id_ranges=[
            m.BatchTaskIdRange(start=3, end=5)
        ]))
    )
    batch.create_tasks(job, [task_of(f"{n}", "sleep 0.1") for n in range(1, 6)])
    tasks = finished(job)
    ends = [task.execution_info.end_time for name, task in tasks.items() if name != "last"]
    assert tasks["last"].execution_info.start_time >= max(ends)
    assert tasks["last"].depends_on.task_id_ranges[0].end == 5
    batch.begin_delete_job(job)


def test_a_running_task_is_terminated(batch, job, until):
    batch.create_task(job, task_of("long", "sleep 1000"))
    until("it runs", lambda: batch.get_task(job, "long").state == "running")
    counts = batch.get_job_task_counts(job)
    assert counts.task_counts.running == 1 and counts.task_slot_counts.running == 1
    batch.terminate_task(job, "long")
    task = until("it ended", lambda: (t := batch.get_task(job, "long")).state == "completed" and t)
    assert task.execution_info.failure_info.code == "TaskEnded"
    with pytest.raises(HttpResponseError) as again:
        batch.terminate_task(job, "long")
    assert (again.value.status_code, again.value.error.code) == (409, "TaskCompleted")


def test_a_failed_task_is_reactivated_and_a_succeeded_one_is_not(batch, job, finished, until):
    batch.create_tasks(job, [task_of("bad", "exit 1"), task_of("good")])
    first = finished(job)["bad"].execution_info.end_time
    batch.reactivate_task(job, "bad")
    until("it ran again", lambda: (t := batch.get_task(job, "bad")).state == "completed"
          and t.execution_info.end_time > first)
    with pytest.raises(HttpResponseError) as good:
        batch.reactivate_task(job, "good")
    assert good.value.status_code == 409


def test_a_deleted_task_is_gone(batch, job, finished):
    batch.create_task(job, task_of("one"))
    finished(job)
    batch.delete_task(job, "one")
    with pytest.raises(ResourceNotFoundError):
        batch.get_task(job, "one")
    with pytest.raises(ResourceNotFoundError) as again:
        batch.delete_task(job, "one")
    assert again.value.error.code == "TaskNotFound"


def test_constraints_are_replaced_only_of_the_version_that_was_seen(batch, hundred):
    task = batch.get_task(hundred, "odd-001")
    task.constraints = m.BatchTaskConstraints(max_task_retry_count=4)
    batch.replace_task(hundred, "odd-001", task, etag=task.etag, match_condition=MatchConditions.IfNotModified)
    assert batch.get_task(hundred, "odd-001").constraints.max_task_retry_count == 4
    with pytest.raises(HttpResponseError) as stale:
        batch.replace_task(hundred, "odd-001", task, etag=task.etag, match_condition=MatchConditions.IfNotModified)
    assert (stale.value.status_code, stale.value.error.code) == (412, "ConditionNotMet")


def test_exit_conditions_end_the_job(batch, pool, fresh, until):
    job = fresh("job")
    batch.create_job(job_of(job, pool, task_failure_mode=m.BatchTaskFailureMode.PERFORM_EXIT_OPTIONS_JOB_ACTION))
    ends = m.ExitConditions(
        exit_codes=[m.ExitCodeMapping(code=9, exit_options=m.ExitOptions(job_action=m.BatchJobActionKind.TERMINATE))]
    )
    batch.create_task(job, task_of("t", "exit 9", exit_conditions=ends))
    until("the job ended", lambda: batch.get_job(job).state == "completed")
    assert batch.get_job(job).execution_info.termination_reason == "TaskFailed"
    batch.begin_delete_job(job)


@pytest.mark.slow
def test_five_thousand_tasks_are_added_and_all_complete(batch, pool, fresh, until):
    job = fresh("job")
    batch.create_job(job_of(job, pool))
    tasks = [m.BatchTaskCreateOptions(id=f"t{n:04}", command_line="true") for n in range(5000)]
    added = batch.create_tasks(job, tasks, max_concurrency=4)
    assert sorted(each.task_id for each in added.result_values) == [f"t{n:04}" for n in range(5000)]
    until("all completed", lambda: batch.get_job_task_counts(job).task_counts.completed == 5000, 240)
    counts = batch.get_job_task_counts(job)
    assert (counts.task_counts.active, counts.task_counts.running) == (0, 0)
    assert (counts.task_counts.succeeded, counts.task_counts.failed) == (5000, 0)
    assert counts.task_slot_counts.completed == 5000
    seen = {task.id: task.execution_info.exit_code for task in batch.list_tasks(job, select=["id", "executionInfo"])}
    assert len(seen) == 5000 and set(seen.values()) == {0}
    assert len(list(batch.list_tasks(job, filter="state eq 'completed'", select=["id"], max_results=1000))) == 5000
    batch.begin_delete_job(job, polling_interval=0.05).result()
