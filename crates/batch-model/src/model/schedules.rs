//! Job schedules: jobs that start at given times, one after another.

use super::{
    Alarm, Change, Fields, Job, Model, Refusal,
    facts::json,
    job_specs,
    keys::{JobKey, ScheduleKey},
    query::{Filter, Select, Value as FieldValue},
    refusal::checked_id,
    tag,
    views::PageOf,
};
use dropmill_azure_wire::{
    batch::{AutoPoolSpecification, JobAdd, JobState, MetadataItem, PoolLifetime},
    duration::IsoDuration,
    etag::ETag,
    time::{Timestamp, iso},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json as object};

/// Minimum recurrence interval and start window.
const SHORTEST: IsoDuration = IsoDuration::from_secs(60);

/// The body of a request that creates or changes a schedule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleAsk {
    /// Id of a new schedule.
    #[serde(default)]
    pub id: String,
    /// Display name of a new schedule.
    pub display_name: Option<String>,
    /// Times at which its jobs start.
    pub schedule: Option<Times>,
    /// Specification of its jobs: a job without an id.
    pub job_specification: Option<Map<String, Value>>,
    /// Metadata, as name and value pairs.
    pub metadata: Option<Vec<MetadataItem>>,
}

/// The times at which jobs of a schedule start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Earliest start of a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub do_not_run_until: Option<Timestamp>,
    /// Latest start of a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub do_not_run_after: Option<Timestamp>,
    /// Maximum delay of a job's start; no limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_window: Option<IsoDuration>,
    /// Interval between starts; without it there is one job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence_interval: Option<IsoDuration>,
}

/// The state of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleState {
    /// Its jobs start.
    Active,
    /// Its jobs do not start for now.
    Disabled,
    /// Its last job is ending.
    Terminating,
    /// It has ended.
    Completed,
    /// It is being deleted with its jobs.
    Deleting,
}

impl ScheduleState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Terminating => "terminating",
            Self::Completed => "completed",
            Self::Deleting => "deleting",
        }
    }
}

/// A job schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Schedule {
    /// Id of the schedule.
    pub id: String,
    /// Name shown to people.
    pub display_name: Option<String>,
    /// Times at which its jobs start.
    pub times: Times,
    /// Specification of its jobs.
    pub job: Map<String, Value>,
    /// Metadata, as name and value pairs.
    pub metadata: Option<Vec<MetadataItem>>,
    /// Changes with the properties above.
    pub etag: ETag,
    /// Time of the last change of those properties.
    pub modified: Timestamp,
    /// Creation time of the schedule.
    pub created: Timestamp,
    /// Current state of the schedule.
    pub state: ScheduleState,
    /// Start time of that state.
    pub state_at: Timestamp,
    /// Previous state and its start time.
    pub previous: Option<(ScheduleState, Timestamp)>,
    /// Number of jobs so far.
    pub count: u32,
    /// Start time of the next job.
    pub next: Option<Timestamp>,
    /// End time of the schedule.
    pub ended: Option<Timestamp>,
    /// Id of the auto pool for all its jobs.
    pub auto_pool: Option<String>,
}

/// Properties of schedules that filters can use.
const PROPERTIES: &[&str] =
    &["id", "state", "stateTransitionTime", "creationTime", "lastModified", "executionInfo/nextRunTime"];

impl Fields for Schedule {
    fn field(&self, name: &str) -> Option<FieldValue> {
        Some(match name {
            "id" => FieldValue::Text(self.id.clone()),
            "state" => FieldValue::Text(self.state.as_str().to_owned()),
            "stateTransitionTime" => FieldValue::Moment(self.state_at),
            "creationTime" => FieldValue::Moment(self.created),
            "lastModified" => FieldValue::Moment(self.modified),
            "executionInfo/nextRunTime" => FieldValue::Moment(self.next?),
            _ => return None,
        })
    }
}

impl Schedule {
    /// Returns the id of its job with a number.
    fn job_id(&self, number: u32) -> String {
        format!("{}:job-{number}", self.id)
    }

    /// Returns its next job.
    fn job_add(&self) -> Result<JobAdd, Refusal> {
        job_of(&self.job_id(self.count + 1), &self.job)
    }

    fn auto_pool(&self) -> Option<AutoPoolSpecification> {
        let auto = self.job_add().ok()?.pool_info.auto_pool_specification?;
        (auto.pool_lifetime_option == PoolLifetime::JobSchedule).then_some(auto)
    }
}

/// Creates a job from a specification, which has all properties of a new job except its id.
fn job_of(id: &str, specification: &Map<String, Value>) -> Result<JobAdd, Refusal> {
    let mut whole = specification.clone();
    whole.insert("id".into(), Value::String(id.to_owned()));
    serde_json::from_value(Value::Object(whole)).map_err(|error| {
        let reason = error.to_string();
        match reason.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
            Some((property, _)) => Refusal::missing(property),
            None => Refusal::invalid("jobSpecification", "", &reason),
        }
    })
}

fn checked_times(times: &Times) -> Result<(), Refusal> {
    for (name, time) in
        [("recurrenceInterval", times.recurrence_interval), ("startWindow", times.start_window)]
    {
        if let Some(time) = time.filter(|time| *time < SHORTEST) {
            return Err(Refusal::invalid(name, time.to_string(), "It must be at least a minute"));
        }
    }
    match (times.do_not_run_until, times.do_not_run_after) {
        (Some(from), Some(to)) if to <= from => {
            Err(Refusal::invalid("doNotRunAfter", iso(to), "It must be after doNotRunUntil"))
        }
        _ => Ok(()),
    }
}

/// Message for a schedule that must exist while its next step is carried out.
const THERE: &str = "a schedule stays until its deletion is over";

impl Model {
    /// Returns a job specification with the service's defaults.
    fn complete_specification(
        &self,
        specification: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Refusal> {
        let mut job = job_of("job-1", specification)?;
        job_specs::complete(&mut job)?;
        let manager = job.job_manager_task.as_ref();
        self.checked_packages(manager.and_then(|task| task.application_package_references.as_deref()))?;
        self.checked_pool(&job.pool_info)?;
        let Ok(Value::Object(mut whole)) = serde_json::to_value(&job) else {
            return Ok(specification.clone());
        };
        whole.remove("id");
        Ok(whole)
    }

    /// Creates a schedule.
    ///
    /// # Errors
    /// `JobScheduleExists`, or the property that is invalid.
    pub fn create_schedule(
        &mut self,
        ask: ScheduleAsk,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        checked_id(&ask.id)?;
        let times = ask.schedule.ok_or_else(|| Refusal::missing("schedule"))?;
        let job = ask.job_specification.ok_or_else(|| Refusal::missing("jobSpecification"))?;
        checked_times(&times)?;
        let job = self.complete_specification(&job)?;
        let key = ScheduleKey::of(&ask.id);
        if let Some(found) = self.schedules.get(&key) {
            let deleting = found.state == ScheduleState::Deleting;
            let code = if deleting { "JobScheduleBeingDeleted" } else { "JobScheduleExists" };
            return Err(Refusal::conflict(code));
        }
        let moment = self.moment(now);
        let next = Some(times.do_not_run_until.map_or(moment, |until| until.max(moment)));
        let schedule = Schedule {
            id: ask.id,
            display_name: ask.display_name,
            times,
            job,
            metadata: ask.metadata,
            etag: tag(moment),
            modified: moment,
            created: moment,
            state: ScheduleState::Active,
            state_at: moment,
            previous: None,
            count: 0,
            next,
            ended: None,
            auto_pool: None,
        };
        self.schedules.insert(key.clone(), schedule);
        self.run_schedule(&key, moment);
        self.keep_schedule(&key);
        Ok((tag(moment), moment))
    }

    fn keep_schedule(&mut self, key: &ScheduleKey) {
        let schedule = self.schedules.get(key).expect(THERE);
        let body = if self.durable { json(schedule) } else { String::new() };
        self.keep(|| Change::PutSchedule { key: key.clone(), body });
    }

    /// Returns a schedule.
    ///
    /// # Errors
    /// `JobScheduleNotFound`.
    pub fn schedule_named(&self, id: &str) -> Result<&Schedule, Refusal> {
        self.schedules.get(&ScheduleKey::of(id)).ok_or_else(|| Refusal::not_found("JobScheduleNotFound"))
    }

    fn live_schedule(&mut self, id: &str) -> Result<&mut Schedule, Refusal> {
        let found = self
            .schedules
            .get_mut(&ScheduleKey::of(id))
            .ok_or_else(|| Refusal::not_found("JobScheduleNotFound"))?;
        match found.state {
            ScheduleState::Deleting => Err(Refusal::conflict("JobScheduleBeingDeleted")),
            ScheduleState::Terminating => Err(Refusal::conflict("JobScheduleBeingTerminated")),
            ScheduleState::Completed => Err(Refusal::conflict("JobScheduleCompleted")),
            ScheduleState::Active | ScheduleState::Disabled => Ok(found),
        }
    }

    /// Changes a schedule. Absent properties stay unchanged, or with `whole` get their default. Existing jobs
    /// stay unchanged.
    ///
    /// # Errors
    /// `JobScheduleNotFound`, `JobScheduleCompleted`, …, or the property that is invalid.
    pub fn change_schedule(
        &mut self,
        id: &str,
        ask: ScheduleAsk,
        whole: bool,
        now: Timestamp,
    ) -> Result<(ETag, Timestamp), Refusal> {
        self.live_schedule(id)?;
        if whole && ask.job_specification.is_none() {
            return Err(Refusal::missing("jobSpecification"));
        }
        ask.schedule.as_ref().map_or(Ok(()), checked_times)?;
        let job = ask.job_specification.as_ref().map(|job| self.complete_specification(job)).transpose()?;
        let moment = self.moment(now);
        let found = self.live_schedule(id)?;
        if let Some(times) = ask.schedule.or(whole.then(Times::default)) {
            if found.count == 0 || times.recurrence_interval.is_some() {
                let least = found.next.filter(|_| found.count > 0).unwrap_or(moment);
                found.next = Some(times.do_not_run_until.map_or(least, |until| until.max(least)));
            } else {
                found.next = None;
            }
            found.times = times;
        }
        if let Some(job) = job {
            found.job = job;
        }
        if ask.metadata.is_some() || whole {
            found.metadata = ask.metadata;
        }
        (found.etag, found.modified) = (tag(moment), moment);
        let key = ScheduleKey::of(id);
        self.run_schedule(&key, moment);
        self.keep_schedule(&key);
        Ok((tag(moment), moment))
    }

    fn set_schedule_state(&mut self, key: &ScheduleKey, state: ScheduleState, moment: Timestamp) {
        let found = self.schedules.get_mut(key).expect(THERE);
        if found.state != state {
            found.previous = Some((std::mem::replace(&mut found.state, state), found.state_at));
            found.state_at = moment;
        }
        self.keep_schedule(key);
    }

    /// Enables or disables a schedule; a disabled one starts no jobs.
    ///
    /// # Errors
    /// `JobScheduleNotFound`, `JobScheduleCompleted`, ….
    pub fn enable_schedule(&mut self, id: &str, enabled: bool, now: Timestamp) -> Result<(), Refusal> {
        self.live_schedule(id)?;
        let moment = self.moment(now);
        let state = if enabled { ScheduleState::Active } else { ScheduleState::Disabled };
        let key = ScheduleKey::of(id);
        self.set_schedule_state(&key, state, moment);
        self.run_schedule(&key, moment);
        Ok(())
    }

    /// Terminates a schedule and its job.
    ///
    /// # Errors
    /// `JobScheduleNotFound`, `JobScheduleCompleted`, ….
    pub fn terminate_schedule(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        self.live_schedule(id)?;
        let (moment, key) = (self.moment(now), ScheduleKey::of(id));
        self.set_schedule_state(&key, ScheduleState::Terminating, moment);
        if let Some(job) = self.job_under_way(&key) {
            // An error means that the job is ending already.
            let _ = self.terminate_job(&job, Some("TerminateJobSchedule".into()), moment);
        }
        self.schedule_quiet(&key, moment);
        Ok(())
    }

    /// Deletes a schedule and its jobs.
    ///
    /// # Errors
    /// `JobScheduleNotFound`, `JobScheduleBeingDeleted`.
    pub fn delete_schedule(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        if self.schedule_named(id)?.state == ScheduleState::Deleting {
            return Err(Refusal::conflict("JobScheduleBeingDeleted"));
        }
        let (moment, key) = (self.moment(now), ScheduleKey::of(id));
        self.set_schedule_state(&key, ScheduleState::Deleting, moment);
        for job in self.jobs_of(&key).map(|(_, job)| job.spec.id.clone()).collect::<Vec<_>>() {
            // An error means that the job is being deleted already.
            let _ = self.delete_job(&job, moment);
        }
        self.schedule_quiet(&key, moment);
        Ok(())
    }

    fn jobs_of(&self, schedule: &ScheduleKey) -> impl Iterator<Item = (&JobKey, &Job)> {
        let of_it = |key: &JobKey| {
            key.as_str().strip_prefix(schedule.as_str()).is_some_and(|rest| rest.starts_with(':'))
        };
        let from = self.jobs.range(JobKey::of(&format!("{schedule}:")));
        from.take_while(move |(key, _)| of_it(key))
    }

    /// Returns the id of its job that has not ended.
    fn job_under_way(&self, schedule: &ScheduleKey) -> Option<String> {
        let found = self.schedules.get(schedule)?;
        let job = self.job(&found.job_id(found.count)).ok()?;
        (job.state != JobState::Completed).then(|| job.spec.id.clone())
    }

    /// Handles a job that has ended or was deleted: its schedule may continue or end.
    pub(super) fn after_job(&mut self, job: &JobKey, moment: Timestamp) {
        if let Some((schedule, _)) = job.as_str().split_once(':') {
            let schedule = ScheduleKey::of(schedule);
            self.run_schedule(&schedule, moment);
            self.schedule_quiet(&schedule, moment);
        }
    }

    /// Ends a schedule that is terminating or being deleted once it has no unfinished job.
    fn schedule_quiet(&mut self, key: &ScheduleKey, moment: Timestamp) {
        // It may have ended with a job; and a job may have such a name without a schedule.
        let Some(found) = self.schedules.get(key) else { return };
        match found.state {
            ScheduleState::Terminating if self.job_under_way(key).is_none() => self.end_schedule(key, moment),
            ScheduleState::Deleting if self.jobs_of(key).next().is_none() => {
                self.drop_schedule_pool(key, moment);
                self.schedules.remove(key);
                self.keep(|| Change::DropSchedule { key: key.clone() });
            }
            _ => {}
        }
    }

    fn end_schedule(&mut self, key: &ScheduleKey, moment: Timestamp) {
        let found = self.schedules.get_mut(key).expect(THERE);
        (found.ended, found.next) = (Some(moment), None);
        self.drop_schedule_pool(key, moment);
        self.set_schedule_state(key, ScheduleState::Completed, moment);
    }

    fn drop_schedule_pool(&mut self, key: &ScheduleKey, moment: Timestamp) {
        let found = self.schedules.get_mut(key).expect(THERE);
        let keeps = found.auto_pool().is_some_and(|auto| auto.keep_alive == Some(true));
        if let Some(pool) = found.auto_pool.take().filter(|_| !keeps) {
            // A client may have deleted it.
            let _ = self.delete_pool(&pool, moment);
        }
    }

    /// Starts the job that is due, if no other is unfinished, and sets the time of the next.
    pub(super) fn run_schedule(&mut self, key: &ScheduleKey, moment: Timestamp) {
        // The alarm of a deleted schedule stays until its time.
        let Some(found) = self.schedules.get(key).filter(|found| found.state == ScheduleState::Active) else {
            return;
        };
        if self.job_under_way(key).is_some() {
            return;
        }
        let Some(next) = found.next else { return self.end_schedule(key, moment) };
        if found.times.do_not_run_after.is_some_and(|after| next.max(moment) > after) {
            return self.end_schedule(key, moment);
        }
        if next > moment {
            self.alarms.insert((next, Alarm::Schedule(key.clone())));
            return;
        }
        let (due, following) = due(&found.times, next, moment);
        let late = |window: IsoDuration| window.as_std().and_then(|window| due.checked_add(window).ok());
        let missed = found.times.start_window.and_then(late).is_some_and(|until| until < moment);
        // Set before the job is created, because a job that ends at once reads it.
        self.schedules.get_mut(key).expect(THERE).next = following;
        let made = if missed { Ok(()) } else { self.make_scheduled(key, moment) };
        if let Err(refusal) = made {
            tracing::warn!(
                schedule = key.as_str(),
                code = refusal.error.code,
                "a scheduled job could not be made"
            );
        }
        self.keep_schedule(key);
        // A job that could not start, or ended at once, is followed by the next, which is later than now.
        if self.job_under_way(key).is_none() {
            self.run_schedule(key, moment);
        }
    }

    fn make_scheduled(&mut self, key: &ScheduleKey, moment: Timestamp) -> Result<(), Refusal> {
        let found = self.schedules.get(key).expect(THERE);
        let job = found.job_add()?;
        if let (Some(auto), None) = (found.auto_pool(), &found.auto_pool) {
            // Without a pool, the job itself shows the reason.
            let pool = self.make_auto_pool(&auto, moment).ok();
            self.schedules.get_mut(key).expect(THERE).auto_pool = pool;
        }
        let found = self.schedules.get_mut(key).expect(THERE);
        found.count += 1;
        let pool = found.auto_pool.clone();
        self.make_job(job, pool, moment).map(drop)
    }

    /// Returns a schedule as clients see it.
    pub fn see_schedule(&self, schedule: &Schedule, select: &Select) -> Value {
        let base = &self.identity.base;
        let recent = (schedule.count > 0).then(|| {
            let id = schedule.job_id(schedule.count);
            object!({"url": format!("{base}/jobs/{id}"), "id": id})
        });
        let mut info = Map::new();
        let mut put = |name: &str, value: Option<Value>| value.map(|value| info.insert(name.into(), value));
        // A terminating schedule has no next time, even while its last job is ending.
        let goes_on = matches!(schedule.state, ScheduleState::Active | ScheduleState::Disabled);
        let next = schedule.next.filter(|_| goes_on);
        put("nextRunTime", next.map(|next| iso(next).into()));
        put("recentJob", recent);
        put("endTime", schedule.ended.map(|ended| iso(ended).into()));
        let seen = object!({
            "id": schedule.id,
            "displayName": schedule.display_name,
            "url": format!("{base}/jobschedules/{}", schedule.id),
            "eTag": schedule.etag,
            "lastModified": iso(schedule.modified),
            "creationTime": iso(schedule.created),
            "state": schedule.state,
            "stateTransitionTime": iso(schedule.state_at),
            "previousState": schedule.previous.map(|(state, _)| state),
            "previousStateTransitionTime": schedule.previous.map(|(_, moment)| iso(moment)),
            "schedule": schedule.times,
            "jobSpecification": super::secrets::hidden(&schedule.job),
            "executionInfo": info,
            "metadata": schedule.metadata,
        });
        let Value::Object(mut seen) = seen else { return Value::Null };
        seen.retain(|name, value| !value.is_null() && (name == "id" || select.wants(name)));
        let statistics = select.stats(|now| {
            let url = format!("jobschedules/{}", schedule.id);
            let key = ScheduleKey::of(&schedule.id);
            let jobs = self.jobs_of(&key).map(|(_, job)| job);
            self.job_statistics(&url, schedule.created, jobs, now)
        });
        if let Some(statistics) = statistics.and_then(|statistics| serde_json::to_value(statistics).ok()) {
            seen.insert("stats".into(), statistics);
        }
        Value::Object(seen)
    }

    /// Returns a page of schedules.
    ///
    /// # Errors
    /// Fails if the filter is invalid.
    pub fn list_schedules(
        &self,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<Value>, Refusal> {
        let filter = if filter.is_empty() { None } else { Some(Filter::parse(filter, PROPERTIES)?) };
        let see = |schedule: &Schedule| self.see_schedule(schedule, select);
        Ok(super::views::page(self.schedules.range(ScheduleKey::of(after)..), filter.as_ref(), size, see))
    }

    /// Returns a page of a schedule's jobs.
    ///
    /// # Errors
    /// `JobScheduleNotFound`, or an invalid filter.
    pub fn list_schedule_jobs(
        &self,
        id: &str,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<dropmill_azure_wire::batch::Job>, Refusal> {
        self.schedule_named(id)?;
        let filter = super::views::read_filter(filter, super::views::JOB_PROPERTIES)?;
        let see = |job: &Job| self.see_job(job, select);
        let key = ScheduleKey::of(id);
        let jobs = self.jobs_of(&key).filter(|(key, _)| key.as_str() >= after);
        Ok(super::views::page(jobs, filter.as_ref(), size, see))
    }

    /// Restores the schedules of a previous process.
    pub fn revive_schedules(&mut self, schedules: Vec<(ScheduleKey, Schedule)>, now: Timestamp) {
        for (key, schedule) in schedules {
            self.last_moment = self.last_moment.max(schedule.state_at).max(schedule.modified);
            self.schedules.insert(key.clone(), schedule);
            let moment = self.moment(now);
            self.run_schedule(&key, moment);
            self.schedule_quiet(&key, moment);
        }
    }
}

/// Returns the latest start time from `next` on that has passed, and the one after it.
fn due(times: &Times, next: Timestamp, moment: Timestamp) -> (Timestamp, Option<Timestamp>) {
    let interval = times.recurrence_interval.and_then(IsoDuration::as_std);
    let Some(interval) = interval.and_then(|interval| i128::try_from(interval.as_nanos()).ok()) else {
        return (next, None);
    };
    let steps = (moment.as_nanosecond() - next.as_nanosecond()).max(0) / interval;
    let after = |steps: i128| {
        let moment = interval.checked_mul(steps).and_then(|span| span.checked_add(next.as_nanosecond()));
        moment.and_then(|moment| Timestamp::from_nanosecond(moment).ok())
    };
    (after(steps).unwrap_or(next), after(steps + 1))
}
