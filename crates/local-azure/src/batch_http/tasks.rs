//! Operations on tasks and their files.

use super::{
    Ask,
    answer::{Outcome, empty, entity, json, tagged},
    files::{self, Place},
    routes::{changed, check_conditions, created, no_such_verb, page},
};
use crate::model::{Model, Refusal};
use dropmill_azure_wire::{
    batch::{
        Page, TaskAdd, TaskAddCollection, TaskAddCollectionResult, TaskAddResult, TaskAddStatus, TaskUpdate,
        limit,
    },
    etag::ETag,
    operation::Operation as Op,
    time::Timestamp,
};

/// Answers an operation on tasks.
pub async fn answer(ask: &Ask<'_>, operation: Op, ids: &[String]) -> Outcome {
    match (operation, ids) {
        (Op::ListTasks, [job]) => page(ask, "tasks", limit::PAGE, |model, filter, select, after, size| {
            model.list_tasks(job, filter, select, after, size)
        }),
        (Op::AddTask, [job]) => {
            let task: TaskAdd = ask.body()?;
            let url = format!("{}/jobs/{job}/tasks/{}", ask.base(), task.id);
            let made = ask
                .core
                .change(|model, now| {
                    let made = model.add_task(job, task, now);
                    model.schedule_job(job, now);
                    made
                })
                .await?;
            Ok(created(made, &url))
        }
        (Op::AddTasks, [job]) => add_collection(ask, job).await,
        (operation, [job, task, file @ ..]) => {
            on_task(ask, operation, (job.as_str(), task.as_str()), &file.join("/")).await
        }
        _ => Err(no_such_verb()),
    }
}

/// Up to 100 tasks at once. The answer is 200 even when every one of them failed.
async fn add_collection(ask: &Ask<'_>, job: &str) -> Outcome {
    let mut tasks: TaskAddCollection = ask.body()?;
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
            for task in &mut tasks.value {
                let id = task.id.clone();
                results.push(match model.add_one_of_many(job, task, now) {
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

async fn on_task(ask: &Ask<'_>, operation: Op, (job, task): (&str, &str), file: &str) -> Outcome {
    match operation {
        Op::GetTask => {
            let select = ask.select();
            let (seen, etag, modified) = ask.core.look(|model| {
                check(ask, model, (job, task))?;
                let task = model.task(job, task)?;
                Ok((model.see_task(model.job(job)?, task, &select), task.facts.etag(), task.facts.modified()))
            })?;
            Ok(tagged(entity(ask.base(), "tasks", &seen), &etag, modified))
        }
        Op::UpdateTask => {
            let update: TaskUpdate = ask.body()?;
            let made = change(ask, (job, task), |model, now| {
                model.update_task(job, task, update.constraints, now).map(drop)
            });
            Ok(changed(ask, 200, made.await?))
        }
        Op::DeleteTask => {
            ask.core
                .change(|model, now| {
                    check(ask, model, (job, task)).and_then(|()| model.delete_task(job, task, now))
                })
                .await?;
            Ok(empty(200))
        }
        Op::TerminateTask => {
            let made = change(ask, (job, task), |model, now| model.terminate_task(job, task, now)).await?;
            Ok(changed(ask, 204, made))
        }
        Op::ReactivateTask => {
            let made = change(ask, (job, task), |model, now| model.reactivate_task(job, task, now)).await?;
            Ok(tagged(empty(204), &made.0, made.1))
        }
        Op::ListSubtasks => {
            let select = ask.select();
            let value = ask.core.look(|model| model.subtasks(job, task, &select))?;
            Ok(json(&Page {
                odata_metadata: Some(format!("{}/$metadata#subtaskinfo", ask.base())),
                value,
                next_link: None,
            }))
        }
        Op::ListTaskFiles => files::list(ask, ask.core.files(), &place(ask, job, task)?),
        Op::GetTaskFile | Op::HeadTaskFile | Op::DeleteTaskFile => {
            files::one(ask, ask.core.files(), &place(ask, job, task)?, file)
        }
        _ => Err(no_such_verb()),
    }
}

fn check(ask: &Ask<'_>, model: &Model, (job, task): (&str, &str)) -> Result<(), Refusal> {
    let task = model.task(job, task)?;
    check_conditions(ask, &task.facts.etag(), task.facts.modified())
}

/// Changes a task if the request's conditions hold, and returns its new tag.
async fn change(
    ask: &Ask<'_>,
    (job, task): (&str, &str),
    change: impl FnOnce(&mut Model, Timestamp) -> Result<(), Refusal>,
) -> Result<(ETag, Timestamp), Refusal> {
    let change = |model: &mut Model, now| {
        check(ask, model, (job, task))?;
        change(model, now)?;
        let task = model.task(job, task)?;
        Ok((task.facts.etag(), task.facts.modified()))
    };
    ask.core.change(change).await
}

/// Returns where the files of a task are.
fn place(ask: &Ask<'_>, job: &str, task: &str) -> Result<Place, Refusal> {
    ask.core.look(|model| {
        let found = model.task(job, task)?;
        let id = &model.job(job)?.spec.id;
        let on = found.facts.run().node.as_ref();
        let on = on.ok_or_else(|| Refusal::conflict("TaskFilesUnavailable"))?;
        let url = format!("{}/jobs/{id}/tasks/{}/files", ask.base(), found.id);
        let gone = found.facts.files_gone.then_some("TaskFilesCleanedup");
        Ok(Place { node: on.node_ref(), folder: found.directory(id), url, gone })
    })
}
