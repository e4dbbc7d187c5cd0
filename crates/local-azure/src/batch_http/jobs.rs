//! Operations on jobs.

use super::{
    Ask,
    answer::{Outcome, empty, entity, tagged},
    routes::{changed, check_conditions, created, no_such_verb, page},
};
use crate::model::{Model, Refusal};
use dropmill_azure_wire::{
    batch::{JobAdd, JobDisable, JobPatch, JobTerminate, JobUpdate, limit},
    etag::ETag,
    operation::Operation as Op,
    time::Timestamp,
};

/// Answers an operation on jobs.
pub async fn answer(ask: &Ask<'_>, operation: Op, ids: &[String]) -> Outcome {
    let Some(job) = ids.first() else { return account_wide(ask, operation).await };
    match operation {
        Op::GetJob => {
            let select = ask.select();
            let (seen, etag, modified) = ask.core.look(|model| {
                check(ask, model, job)?;
                let job = model.job(job)?;
                Ok((model.see_job(job, &select), job.etag.clone(), job.modified))
            })?;
            Ok(tagged(entity(ask.base(), "jobs", &seen), &etag, modified))
        }
        Op::PatchJob => {
            let patch: JobPatch = ask.body()?;
            change(ask, job, 200, |model, now| model.patch_job(job, patch, now).map(drop)).await
        }
        Op::UpdateJob => {
            let update: JobUpdate = ask.body()?;
            change(ask, job, 200, |model, now| model.update_job(job, update, now).map(drop)).await
        }
        Op::DeleteJob => {
            ask.core
                .change(|model, now| check(ask, model, job).and_then(|()| model.delete_job(job, now)))
                .await?;
            Ok(empty(202))
        }
        Op::DisableJob => {
            let disable: JobDisable = ask.body()?;
            change(ask, job, 202, |model, now| model.disable_job(job, &disable.disable_tasks, now)).await
        }
        Op::EnableJob => change(ask, job, 202, |model, now| model.enable_job(job, now)).await,
        Op::TerminateJob => {
            let terminate: JobTerminate = ask.body_or_default()?;
            let reason = terminate.terminate_reason;
            change(ask, job, 202, |model, now| model.terminate_job(job, reason, now)).await
        }
        Op::TaskCounts => {
            let counts = ask.core.look(|model| model.task_counts(job))?;
            Ok(entity(ask.base(), "taskcounts", &counts))
        }
        Op::ListPreparations => {
            let kind = "jobpreparationandreleasetaskstatuslist";
            page(ask, kind, limit::PAGE, |model, filter, select, after, size| {
                model.list_preparations(job, filter, select, after, size)
            })
        }
        _ => Err(no_such_verb()),
    }
}

async fn account_wide(ask: &Ask<'_>, operation: Op) -> Outcome {
    match operation {
        Op::ListJobs => page(ask, "jobs", limit::PAGE, |model, filter, select, after, size| {
            model.list_jobs(filter, select, after, size)
        }),
        Op::CreateJob => {
            let job: JobAdd = ask.body()?;
            // Azure gives each new job this address, whatever its id.
            let url = format!("{}/jobs/job-1", ask.base());
            let made = ask.core.change(|model, now| model.create_job(job, now)).await?;
            Ok(created(made, &url))
        }
        _ => Err(no_such_verb()),
    }
}

fn check(ask: &Ask<'_>, model: &Model, job: &str) -> Result<(), Refusal> {
    let job = model.job(job)?;
    check_conditions(ask, &job.etag, job.modified)
}

/// Changes a job if the request's conditions hold, and answers with its new tag.
async fn change(
    ask: &Ask<'_>,
    job: &str,
    status: u16,
    change: impl FnOnce(&mut Model, Timestamp) -> Result<(), Refusal>,
) -> Outcome {
    let made: (ETag, Timestamp) = ask
        .core
        .change(|model, now| {
            check(ask, model, job)?;
            change(model, now)?;
            let job = model.job(job)?;
            Ok((job.etag.clone(), job.modified))
        })
        .await?;
    Ok(changed(ask, status, made))
}
