//! Checks and defaults of the properties of jobs.

use super::{Refusal, pool_specs, pools::default_identity, refusal::checked_id, tasks::checked_files};
use dropmill_azure_wire::{
    batch::{
        self as wire, EnvironmentSetting, JobAdd, OnAllTasksComplete, OnTaskFailure, ResourceFile,
        TaskConstraints, TaskContainerSettings,
    },
    duration::IsoDuration,
};

/// Default time for which files of tasks are kept.
const RETENTION: IsoDuration = IsoDuration::from_days(7);
/// Default maximum run time of a release task.
const RELEASE_LIMIT: IsoDuration = IsoDuration::from_secs(15 * 60);

/// Checks a new job and sets its defaults.
///
/// # Errors
/// Returns the property that is invalid or not supported.
pub(super) fn complete(spec: &mut JobAdd) -> Result<(), Refusal> {
    checked_numbers(spec.priority, spec.max_parallel_tasks)?;
    checked_constraints(spec.constraints.as_ref())?;
    checked_environment(spec.common_environment_settings.as_deref())?;
    if spec.job_release_task.is_some() && spec.job_preparation_task.is_none() {
        return Err(Refusal::invalid(
            "jobReleaseTask",
            "",
            "A job release task needs a job preparation task",
        ));
    }
    if let Some(task) = &mut spec.job_preparation_task {
        checked_id(task.id.get_or_insert_with(|| "jobpreparation".into()))?;
        checked_chore(
            &task.command_line,
            task.container_settings.as_ref(),
            task.resource_files.as_deref(),
            task.environment_settings.as_deref(),
        )?;
        let constraints = task.constraints.get_or_insert_default();
        checked_limits(constraints)?;
        constraints.max_wall_clock_time.get_or_insert(IsoDuration::UNLIMITED);
        constraints.retention_time.get_or_insert(RETENTION);
        constraints.max_task_retry_count.get_or_insert(0);
        task.user_identity.get_or_insert_with(default_identity);
        task.wait_for_success.get_or_insert(true);
        task.rerun_on_node_reboot_after_success.get_or_insert(true);
    }
    if let Some(task) = &mut spec.job_release_task {
        checked_id(task.id.get_or_insert_with(|| "jobrelease".into()))?;
        checked_chore(
            &task.command_line,
            task.container_settings.as_ref(),
            task.resource_files.as_deref(),
            task.environment_settings.as_deref(),
        )?;
        checked_positive("maxWallClockTime", task.max_wall_clock_time)?;
        task.max_wall_clock_time.get_or_insert(RELEASE_LIMIT);
        task.retention_time.get_or_insert(RETENTION);
        task.user_identity.get_or_insert_with(default_identity);
    }
    if let Some(task) = &mut spec.job_manager_task {
        checked_chore(
            &task.command_line,
            task.container_settings.as_ref(),
            task.resource_files.as_deref(),
            task.environment_settings.as_deref(),
        )?;
        let constraints = task.constraints.get_or_insert_default();
        checked_limits(constraints)?;
        constraints.max_wall_clock_time.get_or_insert(IsoDuration::UNLIMITED);
        constraints.retention_time.get_or_insert(RETENTION);
        let retries = spec.constraints.as_ref().and_then(|limits| limits.max_task_retry_count);
        constraints.max_task_retry_count.get_or_insert(retries.unwrap_or(0));
        task.required_slots.get_or_insert(1);
        task.user_identity.get_or_insert_with(default_identity);
        task.kill_job_on_completion.get_or_insert(true);
        task.run_exclusive.get_or_insert(true);
        task.allow_low_priority_node.get_or_insert(true);
    }
    if let Some(auto) = &mut spec.pool_info.auto_pool_specification {
        pool_specs::complete_auto(auto)?;
    }
    fill(spec);
    Ok(())
}

/// Sets the defaults of the properties that can be changed.
pub(super) fn fill(spec: &mut JobAdd) {
    spec.priority.get_or_insert(0);
    spec.max_parallel_tasks.get_or_insert(-1);
    spec.allow_task_preemption.get_or_insert(false);
    spec.uses_task_dependencies.get_or_insert(false);
    spec.on_all_tasks_complete.get_or_insert(OnAllTasksComplete::NoAction);
    spec.on_task_failure.get_or_insert(OnTaskFailure::NoAction);
    let constraints = spec.constraints.get_or_insert_with(wire::JobConstraints::default);
    constraints.max_wall_clock_time.get_or_insert(IsoDuration::UNLIMITED);
    constraints.max_task_retry_count.get_or_insert(0);
}

/// Checks the command of a start, preparation or release task.
pub(super) fn checked_chore(
    command_line: &str,
    container: Option<&TaskContainerSettings>,
    files: Option<&[ResourceFile]>,
    environment: Option<&[EnvironmentSetting]>,
) -> Result<(), Refusal> {
    if command_line.trim().is_empty() {
        return Err(Refusal::missing("commandLine"));
    }
    if container.is_some() {
        return Err(Refusal::not_here("tasks in containers"));
    }
    checked_files(files)?;
    checked_environment(environment)
}

/// Checks environment variables.
pub(super) fn checked_environment(list: Option<&[EnvironmentSetting]>) -> Result<(), Refusal> {
    let nul = |text: &str| text.contains('\0');
    let bad = |setting: &&EnvironmentSetting| {
        setting.name.is_empty()
            || setting.name.contains('=')
            || nul(&setting.name)
            || setting.value.as_deref().is_some_and(nul)
    };
    match list.into_iter().flatten().find(bad) {
        None => Ok(()),
        Some(setting) => Err(Refusal::invalid(
            "environmentSettings",
            &*setting.name,
            "It cannot be the name of a variable",
        )),
    }
}

/// Checks the limits of a task.
pub(super) fn checked_limits(limits: &TaskConstraints) -> Result<(), Refusal> {
    checked_retries(limits.max_task_retry_count)?;
    checked_positive("maxWallClockTime", limits.max_wall_clock_time)?;
    match limits.retention_time {
        Some(time) if time < IsoDuration::ZERO => {
            Err(Refusal::invalid("retentionTime", time.to_string(), "It must not be negative"))
        }
        _ => Ok(()),
    }
}

/// Checks the limits of a job.
pub(super) fn checked_constraints(limits: Option<&wire::JobConstraints>) -> Result<(), Refusal> {
    let Some(limits) = limits else { return Ok(()) };
    checked_retries(limits.max_task_retry_count)?;
    checked_positive("maxWallClockTime", limits.max_wall_clock_time)
}

fn checked_retries(retries: Option<i32>) -> Result<(), Refusal> {
    match retries {
        Some(retries) if retries < -1 => {
            let reason = "It must be -1 (no limit), 0 or more";
            Err(Refusal::invalid("maxTaskRetryCount", retries.to_string(), reason))
        }
        _ => Ok(()),
    }
}

fn checked_positive(name: &str, time: Option<IsoDuration>) -> Result<(), Refusal> {
    match time {
        Some(time) if time <= IsoDuration::ZERO => {
            Err(Refusal::invalid(name, time.to_string(), "It must be positive"))
        }
        _ => Ok(()),
    }
}

/// Checks the priority of a job and the maximum number of its parallel tasks.
pub(super) fn checked_numbers(priority: Option<i32>, parallel: Option<i32>) -> Result<(), Refusal> {
    if let Some(priority) = priority.filter(|priority| !(-1000..=1000).contains(priority)) {
        return Err(Refusal::invalid("priority", priority.to_string(), "It must be between -1000 and 1000"));
    }
    if let Some(most) = parallel.filter(|most| *most == 0 || *most < -1) {
        let reason = "It must be -1 (no limit) or more than 0";
        return Err(Refusal::invalid("maxParallelTasks", most.to_string(), reason));
    }
    Ok(())
}
