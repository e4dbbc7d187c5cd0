//! Requests about jobs and their tasks.

use super::{
    Ask,
    answer::{Outcome, empty, entity, json, tagged},
    files::{self, Place},
    routes::{changed, check_conditions, created, no_such_verb, page},
};
use crate::model::{Model, Refusal};
use dropmill_azure_wire::{
    batch::{
        self as wire, JobPatch, JobTerminate, JobUpdate, Page, TaskAdd, TaskAddCollection,
        TaskAddCollectionResult, TaskAddResult, TaskAddStatus, TaskUpdate, limit,
    },
    uri::decode,
};

/// Handles a request about a job.
pub async fn job_call(ask: &Ask<'_>, job: &str, rest: &[&str]) -> Outcome {
    let core = ask.core;
    let check = |model: &Model| {
        let job = model.job(job)?;
        check_conditions(ask, &job.etag, job.modified)
    };
    let tags = |model: &Model| {
        let job = model.job(job)?;
        Ok((job.etag.clone(), job.modified))
    };
    match (ask.method.as_str(), rest) {
        ("GET", []) => {
            let select = ask.select();
            let (seen, etag, modified) = core.look(|model| {
                check(model)?;
                let job = model.job(job)?;
                Ok((model.see_job(job, &select), job.etag.clone(), job.modified))
            })?;
            Ok(tagged(entity(ask.base(), "jobs", &seen), &etag, modified))
        }
        ("PATCH", []) => {
            let patch: JobPatch = ask.body()?;
            let made = core
                .change(|model, now| check(model).and_then(|()| model.patch_job(job, patch, now)))
                .await?;
            Ok(changed(ask, 200, made))
        }
        ("PUT", []) => {
            let update: JobUpdate = ask.body()?;
            let made = core
                .change(|model, now| check(model).and_then(|()| model.update_job(job, update, now)))
                .await?;
            Ok(changed(ask, 200, made))
        }
        ("DELETE", []) => {
            core.change(|model, now| check(model).and_then(|()| model.delete_job(job, now))).await?;
            Ok(empty(202))
        }
        ("POST", ["disable"]) => {
            let disable: wire::JobDisable = ask.body()?;
            let tasks = disable.disable_tasks;
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.disable_job(job, &tasks, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 202, made))
        }
        ("POST", ["enable"]) => {
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.enable_job(job, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 202, made))
        }
        ("POST", ["terminate"]) => {
            let terminate: JobTerminate = ask.body_or_default()?;
            let reason = terminate.terminate_reason;
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.terminate_job(job, reason, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 202, made))
        }
        ("GET", ["taskcounts"]) => {
            let counts = core.look(|model| model.task_counts(job))?;
            Ok(entity(ask.base(), "taskcounts", &counts))
        }
        ("GET", ["jobpreparationandreleasetaskstatus"]) => {
            let kind = "jobpreparationandreleasetaskstatuslist";
            page(ask, kind, limit::PAGE, |model, filter, select, after, size| {
                model.list_preparations(job, filter, select, after, size)
            })
        }
        ("POST", ["addtaskcollection"]) => add_collection(ask, job).await,
        ("GET", ["tasks"]) => page(ask, "tasks", limit::PAGE, |model, filter, select, after, size| {
            model.list_tasks(job, filter, select, after, size)
        }),
        ("POST", ["tasks"]) => {
            let task: TaskAdd = ask.body()?;
            let url = format!("{}/jobs/{job}/tasks/{}", ask.base(), task.id);
            let made = core
                .change(|model, now| {
                    let made = model.add_task(job, task, now);
                    model.schedule_job(job, now);
                    made
                })
                .await?;
            Ok(created(made, &url))
        }
        (_, ["tasks", task, rest @ ..]) => task_call(ask, job, &decode(task), rest).await,
        _ => Err(no_such_verb()),
    }
}

/// Adds up to 100 tasks at once. The status is 200 even if every task failed.
async fn add_collection(ask: &Ask<'_>, job: &str) -> Outcome {
    let tasks: TaskAddCollection = ask.body()?;
    let count = tasks.value.len();
    if !(1..=limit::TASKS_PER_COLLECTION).contains(&count) {
        return Err(Refusal::invalid("value", count.to_string(), "A collection must have 1 to 100 tasks"));
    }
    let base = ask.base().to_owned();
    let value = ask
        .core
        .change(|model, now| {
            model.takes_tasks(job)?;
            let mut results = Vec::with_capacity(count);
            for task in tasks.value {
                let id = task.id.clone();
                results.push(match model.add_task(job, task, now) {
                    Ok((etag, modified)) => TaskAddResult {
                        status: TaskAddStatus::Success,
                        location: Some(format!("{base}/jobs/{job}/tasks/{id}")),
                        task_id: id,
                        e_tag: Some(etag),
                        last_modified: Some(modified),
                        error: None,
                    },
                    Err(refusal) => TaskAddResult {
                        status: TaskAddStatus::ClientError,
                        task_id: id,
                        e_tag: None,
                        last_modified: None,
                        location: None,
                        error: Some(*refusal.error),
                    },
                });
            }
            model.schedule_job(job, now);
            Ok(results)
        })
        .await?;
    Ok(entity(ask.base(), "taskaddresult", &TaskAddCollectionResult { value }))
}

async fn task_call(ask: &Ask<'_>, job: &str, task: &str, rest: &[&str]) -> Outcome {
    let core = ask.core;
    let check = |model: &Model| {
        let task = model.task(job, task)?;
        check_conditions(ask, &task.facts.etag(), task.facts.modified())
    };
    let tags = |model: &Model| {
        let task = model.task(job, task)?;
        Ok((task.facts.etag(), task.facts.modified()))
    };
    match (ask.method.as_str(), rest) {
        ("GET", []) => {
            let select = ask.select();
            let (seen, etag, modified) = core.look(|model| {
                check(model)?;
                let task = model.task(job, task)?;
                Ok((model.see_task(model.job(job)?, task, &select), task.facts.etag(), task.facts.modified()))
            })?;
            Ok(tagged(entity(ask.base(), "tasks", &seen), &etag, modified))
        }
        ("PUT", []) => {
            let update: TaskUpdate = ask.body()?;
            let made = core
                .change(|model, now| {
                    check(model).and_then(|()| model.update_task(job, task, update.constraints, now))
                })
                .await?;
            Ok(changed(ask, 200, made))
        }
        ("DELETE", []) => {
            core.change(|model, now| check(model).and_then(|()| model.delete_task(job, task, now))).await?;
            Ok(empty(200))
        }
        ("POST", ["terminate"]) => {
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.terminate_task(job, task, now)?;
                    tags(model)
                })
                .await?;
            Ok(changed(ask, 204, made))
        }
        ("POST", ["reactivate"]) => {
            let made = core
                .change(|model, now| {
                    check(model)?;
                    model.reactivate_task(job, task, now)?;
                    tags(model)
                })
                .await?;
            let (etag, modified) = made;
            Ok(tagged(empty(204), &etag, modified))
        }
        ("GET", ["subtasksinfo"]) => {
            let select = ask.select();
            let value = core.look(|model| model.subtasks(job, task, &select))?;
            Ok(json(&Page {
                odata_metadata: Some(format!("{}/$metadata#subtaskinfo", ask.base())),
                value,
                next_link: None,
            }))
        }
        (_, ["files", file @ ..]) => {
            let place = core.look(|model| {
                let found = model.task(job, task)?;
                let id = &model.job(job)?.spec.id;
                let on = found.facts.run().node.as_ref();
                let on = on.ok_or_else(|| Refusal::conflict("TaskFilesUnavailable"))?;
                let url = format!("{}/jobs/{id}/tasks/{}/files", ask.base(), found.id);
                let gone = found.facts.files_gone.then_some("TaskFilesCleanedup");
                Ok(Place { node: on.node_ref(), folder: found.directory(id), url, gone })
            })?;
            match file {
                [] => files::list(ask, core.files(), &place),
                file => files::one(ask, core.files(), &place, &decode(&file.join("/"))),
            }
        }
        _ => Err(no_such_verb()),
    }
}
