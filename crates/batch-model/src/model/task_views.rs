//! What clients see of tasks.

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

impl Model {
    /// A task as clients see it.
    pub fn see_task(&self, job: &Job, task: &Task, select: &Select) -> wire::Task {
        let facts = &task.facts;
        // Only whoever wants something of it has it read.
        let mut asked = None;
        macro_rules! pick {
            ($name:literal, $field:ident) => {
                select.take($name, || asked.get_or_insert_with(|| task.asked()).$field.take())
            };
        }
        wire::Task {
            id: task.id.as_ref().to_owned(),
            display_name: pick!("displayName", display_name),
            url: select.take("url", || self.url(&format!("jobs/{}/tasks/{}", job.spec.id, task.id))),
            e_tag: select.take("eTag", || Some(facts.etag())),
            last_modified: select.take("lastModified", || Some(facts.modified())),
            creation_time: select.take("creationTime", || Some(facts.created())),
            exit_conditions: pick!("exitConditions", exit_conditions),
            state: select.take("state", || Some(facts.state())),
            state_transition_time: select.take("stateTransitionTime", || Some(facts.state_at())),
            previous_state: select.take("previousState", || facts.previous().map(|(state, _)| state)),
            previous_state_transition_time: select
                .take("previousStateTransitionTime", || facts.previous().map(|(_, moment)| moment)),
            command_line: select.take("commandLine", || {
                Some(std::mem::take(&mut asked.get_or_insert_with(|| task.asked()).command_line))
            }),
            resource_files: pick!("resourceFiles", resource_files),
            output_files: pick!("outputFiles", output_files),
            environment_settings: pick!("environmentSettings", environment_settings),
            affinity_info: pick!("affinityInfo", affinity_info),
            constraints: pick!("constraints", constraints),
            required_slots: pick!("requiredSlots", required_slots),
            user_identity: pick!("userIdentity", user_identity),
            execution_info: select.take("executionInfo", || Some(facts.run().info.clone().into())),
            node_info: select.take("nodeInfo", || {
                Some(self.node_info(facts.run().node.as_ref()?, &task.directory(&job.spec.id)))
            }),
            depends_on: pick!("dependsOn", depends_on),
            stats: select.stats(|now| self.task_statistics(job, task, now)),
            multi_instance_settings: pick!("multiInstanceSettings", multi_instance_settings),
            application_package_references: pick!(
                "applicationPackageReferences",
                application_package_references
            ),
            authentication_token_settings: pick!(
                "authenticationTokenSettings",
                authentication_token_settings
            ),
            ..wire::Task::default()
        }
    }

    /// A page of a job's tasks. A filter on a state goes through the index of that state, in the order in which tasks
    /// entered it, from the moment the filter names: it costs what it returns.
    ///
    /// # Errors
    /// `JobNotFound`, or a filter that cannot be read.
    pub fn list_tasks(
        &self,
        job: &str,
        filter: &str,
        select: &Select,
        after: &str,
        size: usize,
    ) -> Result<PageOf<wire::Task>, Refusal> {
        let filter = read_filter(filter, TASK_PROPERTIES)?;
        let job = self.job(job)?;
        let state = filter.as_ref().and_then(|filter| filter.must_equal("state"));
        let Some(Value::Text(state)) = state else {
            return Ok(page(job.tasks.range(TaskKey::of(after)), filter.as_ref(), size, |task| {
                self.see_task(job, task, select)
            }));
        };
        let state = TaskState::from(state.as_str());
        let since = filter.as_ref().and_then(|filter| filter.not_before("stateTransitionTime"));
        let from = match after.split_once('|') {
            Some((moment, key)) => {
                let nanoseconds =
                    moment.parse::<i128>().ok().and_then(|text| Timestamp::from_nanosecond(text).ok());
                let bad = || Refusal::bad_query("$skiptoken", "it is none of this service");
                (nanoseconds.ok_or_else(bad)?, TaskKey::of(key))
            }
            None => (since.unwrap_or(Timestamp::MIN), TaskKey::of("")),
        };
        let mut found = vec![];
        for entry in job.tasks.in_state_from(&state, from) {
            let task = job.tasks.get(&entry.1).expect("the index names tasks that are there");
            if !filter.as_ref().is_none_or(|filter| filter.lets(task)) {
                continue;
            }
            if found.len() == size {
                return Ok((
                    found,
                    Some(format!("{}|{}", Timestamp::from(entry.0).as_nanosecond(), entry.1)),
                ));
            }
            found.push(self.see_task(job, task, select));
        }
        Ok((found, None))
    }
}
