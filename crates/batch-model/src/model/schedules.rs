//! Job schedules: jobs that begin by the clock, one after another.

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

/// The shortest recurrence and window.
const SHORTEST: IsoDuration = IsoDuration::from_secs(60);

/// What is asked of a new schedule, or of one that is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleAsk {
    /// Its id; only of a new one.
    #[serde(default)]
    pub id: String,
    /// A name for people; only of a new one.
    pub display_name: Option<String>,
    /// When its jobs begin.
    pub schedule: Option<Times>,
    /// What its jobs are: a job without id.
    pub job_specification: Option<Map<String, Value>>,
    /// Pairs that only the owner understands.
    pub metadata: Option<Vec<MetadataItem>>,
}

/// When jobs of a schedule begin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub do_not_run_until: Option<Timestamp>,
    /// Not after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub do_not_run_after: Option<Timestamp>,
    /// How long after its time a job may begin; without limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_window: Option<IsoDuration>,
    /// From one beginning to the next; without it there is one job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence_interval: Option<IsoDuration>,
}

/// What a schedule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleState {
    /// Its jobs begin.
    Active,
    /// They do not, for a while.
    Disabled,
    /// Its last job ends.
    Terminating,
    /// It is over.
    Completed,
    /// It goes, with its jobs.
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

/// A schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Schedule {
    /// Its id.
    pub id: String,
    /// A name for people.
    pub display_name: Option<String>,
    /// When its jobs begin.
    pub times: Times,
    /// What its jobs are.
    pub job: Map<String, Value>,
    /// Pairs that only the owner understands.
    pub metadata: Option<Vec<MetadataItem>>,
    /// Changes with all that.
    pub etag: ETag,
    /// When all that changed last.
    pub modified: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// What it does.
    pub state: ScheduleState,
    /// Since when.
    pub state_at: Timestamp,
    /// What it did before, and since when.
    pub previous: Option<(ScheduleState, Timestamp)>,
    /// Jobs so far.
    pub count: u32,
    /// When the next one begins.
    pub next: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// The pool made for all its jobs.
    pub auto_pool: Option<String>,
}

/// Properties of schedules that can be filtered by.
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
    /// Its job of a number.
    fn job_id(&self, number: u32) -> String {
        format!("{}:job-{number}", self.id)
    }

    /// What its next job shall be.
    fn job_add(&self) -> Result<JobAdd, Refusal> {
        job_of(&self.job_id(self.count + 1), &self.job)
    }

    fn auto_pool(&self) -> Option<AutoPoolSpecification> {
        let auto = self.job_add().ok()?.pool_info.auto_pool_specification?;
        (auto.pool_lifetime_option == PoolLifetime::JobSchedule).then_some(auto)
    }
}

/// A job specification has the properties of a new job, but for its id.
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

/// Why a schedule is there while its next step is being made.
const THERE: &str = "a schedule stays until its deletion is over";

impl Model {
    /// A job specification with the service's defaults.
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

    /// Makes a schedule.
    ///
    /// # Errors
    /// `JobScheduleExists`, or what is wrong with it.
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

    /// A schedule.
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

    /// Changes a schedule; what is absent stays, or with `whole` gets its default. Jobs that are there stay as they
    /// are.
    ///
    /// # Errors
    /// `JobScheduleNotFound`, `JobScheduleCompleted`, …, and what is wrong with it.
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

    /// No further job of a schedule begins, or they do again.
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

    /// Ends a schedule and its job.
    ///
    /// # Errors
    /// `JobScheduleNotFound`, `JobScheduleCompleted`, ….
    pub fn terminate_schedule(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        self.live_schedule(id)?;
        let (moment, key) = (self.moment(now), ScheduleKey::of(id));
        self.set_schedule_state(&key, ScheduleState::Terminating, moment);
        if let Some(job) = self.job_under_way(&key) {
            // A job that ends already needs no telling.
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
            // One that is being deleted already goes as well.
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

    /// The id of its job that is not over.
    fn job_under_way(&self, schedule: &ScheduleKey) -> Option<String> {
        let found = self.schedules.get(schedule)?;
        let job = self.job(&found.job_id(found.count)).ok()?;
        (job.state != JobState::Completed).then(|| job.spec.id.clone())
    }

    /// A job is over or gone: its schedule may go on, or be over.
    pub(super) fn after_job(&mut self, job: &JobKey, moment: Timestamp) {
        if let Some((schedule, _)) = job.as_str().split_once(':') {
            let schedule = ScheduleKey::of(schedule);
            self.run_schedule(&schedule, moment);
            self.schedule_quiet(&schedule, moment);
        }
    }

    /// A schedule that ends and has no job left that is under way is over.
    fn schedule_quiet(&mut self, key: &ScheduleKey, moment: Timestamp) {
        // Its end may have come with that of a job; and a job may have a name like that without one.
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
            // Somebody may have deleted it.
            let _ = self.delete_pool(&pool, moment);
        }
    }

    /// Begins the job that is due, if none is under way, and sees to the next.
    pub(super) fn run_schedule(&mut self, key: &ScheduleKey, moment: Timestamp) {
        // An alarm of one that was deleted stays until its time.
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
        // Before the job is made: it may be over at once, and asks for the next.
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
        // What could not begin, or was over at once, is followed by the next, which is later than now.
        if self.job_under_way(key).is_none() {
            self.run_schedule(key, moment);
        }
    }

    fn make_scheduled(&mut self, key: &ScheduleKey, moment: Timestamp) -> Result<(), Refusal> {
        let found = self.schedules.get(key).expect(THERE);
        let job = found.job_add()?;
        if let (Some(auto), None) = (found.auto_pool(), &found.auto_pool) {
            // Without it the job itself tells why there is none.
            let pool = self.make_auto_pool(&auto, moment).ok();
            self.schedules.get_mut(key).expect(THERE).auto_pool = pool;
        }
        let found = self.schedules.get_mut(key).expect(THERE);
        found.count += 1;
        let pool = found.auto_pool.clone();
        self.make_job(job, pool, moment).map(drop)
    }

    /// A schedule as clients see it.
    pub fn see_schedule(&self, schedule: &Schedule, select: &Select) -> Value {
        let base = &self.identity.base;
        let recent = (schedule.count > 0).then(|| {
            let id = schedule.job_id(schedule.count);
            object!({"url": format!("{base}/jobs/{id}"), "id": id})
        });
        let mut info = Map::new();
        let mut put = |name: &str, value: Option<Value>| value.map(|value| info.insert(name.into(), value));
        // One that ends has no next time, while its last job is still ending.
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

    /// A page of schedules.
    ///
    /// # Errors
    /// A filter that cannot be read.
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

    /// A page of a schedule's jobs.
    ///
    /// # Errors
    /// `JobScheduleNotFound`, or a filter that cannot be read.
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

    /// Takes up schedules of an earlier life.
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

/// The latest of the times from `next` on that has come, and the one after it.
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
