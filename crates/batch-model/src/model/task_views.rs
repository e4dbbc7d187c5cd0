//! Tasks as clients see them.

use super::{
    Job, Model, Refusal, Task,
    keys::TaskKey,
    query::{Select, Value},
    views::{PageOf, TASK_PROPERTIES, page, read_filter},
};
use dropmill_azure_wire::{
    batch::{self as wire, TaskState},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// A task as clients see it: its stored specification and its state.
#[derive(Debug, Clone, Serialize)]
pub struct SeenTask {
    /// All properties except the specification.
    #[serde(flatten)]
    pub goes: wire::Task,
    #[serde(flatten)]
    asked: Asked,
}

/// The specification, by property. It is not parsed here, because it is stored as the protocol writes it.
macro_rules! asked {
    ($($name:literal $field:ident),+ $(,)?) => {
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        struct Asked { $(
            #[serde(rename = $name, skip_serializing_if = "Option::is_none")]
            $field: Option<Box<RawValue>>,
        )+ }

        impl Asked {
            const NAMES: &[&str] = &[$($name),+];

            /// Returns the selected properties of a task's specification.
            fn of(task: &Task, select: &Select) -> Self {
                let mut asked: Self = task.read();
                $( asked.$field = select.take($name, || asked.$field.take()); )+
                asked
            }
        }
    };
}

asked! {
    "displayName" display_name,
    "exitConditions" exit_conditions,
    "commandLine" command_line,
    "resourceFiles" resource_files,
    "outputFiles" output_files,
    "environmentSettings" environment_settings,
    "affinityInfo" affinity_info,
    "constraints" constraints,
    "requiredSlots" required_slots,
    "userIdentity" user_identity,
    "multiInstanceSettings" multi_instance_settings,
    "dependsOn" depends_on,
    "applicationPackageReferences" application_package_references,
    "authenticationTokenSettings" authentication_token_settings,
}

/// Writes a task as JSON. For a list of a thousand tasks, most of the time is spent on allocating memory.
fn written(seen: &SeenTask) -> Box<RawValue> {
    to_raw_value(seen).expect("views have text keys")
}

/// Returns whether any property of the specification is selected: if not, it is not unpacked.
fn wants_asked(select: &Select) -> bool {
    Asked::NAMES.iter().any(|name| select.wants(name))
}

impl Model {
    /// Returns a task as clients see it.
    pub fn see_task(&self, job: &Job, task: &Task, select: &Select) -> SeenTask {
        self.see(job, task, select, wants_asked(select))
    }

    fn see(&self, job: &Job, task: &Task, select: &Select, wants_asked: bool) -> SeenTask {
        let facts = &task.facts;
        let goes = wire::Task {
            id: task.id.as_ref().to_owned(),
            url: select.take("url", || self.url(&format!("jobs/{}/tasks/{}", job.spec.id, task.id))),
            e_tag: select.take("eTag", || Some(facts.etag())),
            last_modified: select.take("lastModified", || Some(facts.modified())),
            creation_time: select.take("creationTime", || Some(facts.created())),
            state: select.take("state", || Some(facts.state())),
            state_transition_time: select.take("stateTransitionTime", || Some(facts.state_at())),
            previous_state: select.take("previousState", || facts.previous().map(|(state, _)| state)),
            previous_state_transition_time: select
                .take("previousStateTransitionTime", || facts.previous().map(|(_, moment)| moment)),
            execution_info: select.take("executionInfo", || Some(facts.run().info.clone().into())),
            node_info: select.take("nodeInfo", || {
                Some(self.node_info(facts.run().node.as_ref()?, &task.directory(&job.spec.id)))
            }),
            stats: select.stats(|now| self.task_statistics(job, task, now)),
            ..wire::Task::default()
        };
        let asked = if wants_asked { Asked::of(task, select) } else { Asked::default() };
        SeenTask { goes, asked }
    }

    /// Returns a page of a job's tasks, as JSON. A filter on a state uses the index of that state, in the
    /// order in which tasks entered it, from the time in the filter: the cost depends on the size of the
    /// result only.
    ///
    /// # Errors
    /// `JobNotFound`, or an invalid filter.
    pub fn list_tasks(
        &self,
        job: &str,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<Box<RawValue>>, Refusal> {
        let filter = read_filter(filter, TASK_PROPERTIES)?;
        let (job, wants_asked) = (self.job(job)?, wants_asked(select));
        let state = filter.as_ref().and_then(|filter| filter.must_equal("state"));
        let Some(Value::Text(state)) = state else {
            return Ok(page(job.tasks.range(TaskKey::of(after)), filter.as_ref(), size, |task| {
                written(&self.see(job, task, select, wants_asked))
            }));
        };
        let state = TaskState::from(state.as_str());
        let since = filter.as_ref().and_then(|filter| filter.not_before("stateTransitionTime"));
        let from = match after.split_once('|') {
            Some((moment, key)) => {
                let nanoseconds =
                    moment.parse::<i128>().ok().and_then(|text| Timestamp::from_nanosecond(text).ok());
                let bad = || Refusal::bad_query("$skiptoken", "it was not issued by this service");
                (nanoseconds.ok_or_else(bad)?, TaskKey::of(key))
            }
            None => (since.unwrap_or(Timestamp::MIN), TaskKey::of("")),
        };
        let mut found = vec![];
        for entry in job.tasks.in_state_from(&state, from) {
            let task = job.tasks.get(&entry.1).expect("the index contains only existing tasks");
            if !filter.as_ref().is_none_or(|filter| filter.lets(task)) {
                continue;
            }
            if found.len() == size {
                return Ok((
                    found,
                    Some(format!("{}|{}", Timestamp::from(entry.0).as_nanosecond(), entry.1)),
                ));
            }
            found.push(written(&self.see(job, task, select, wants_asked)));
        }
        Ok((found, None))
    }
}
