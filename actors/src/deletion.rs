//! Requests that delete resources of a run: only this module sends them for pools and jobs.

use crate::{self_upload, services::Services};
use dropmill_azure_client::{batch::BatchApi, error::BatchError};
use dropmill_lifecycle::{Code, Failure, plan::RunPlan};

/// The response of the service to a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The deletion has begun.
    Accepted,
    /// The deletion was already in progress.
    UnderWay,
    /// The resource does not exist.
    Missing,
}

/// Deletes a pool.
///
/// # Errors
/// Fails if the service rejects the request or cannot be reached.
pub async fn delete_pool(batch: &BatchApi, pool: &str) -> Result<Deletion, BatchError> {
    deletion(batch.delete_pool(pool).await, &Code::PoolBeingDeleted)
}

/// Deletes a job.
///
/// # Errors
/// Fails if the service rejects the request or cannot be reached.
pub async fn delete_job(batch: &BatchApi, job: &str) -> Result<Deletion, BatchError> {
    deletion(batch.delete_job(job).await, &Code::JobBeingDeleted)
}

fn deletion(outcome: Result<(), BatchError>, under_way: &Code) -> Result<Deletion, BatchError> {
    match outcome {
        Ok(()) => Ok(Deletion::Accepted),
        Err(error) if error.is_not_found() => Ok(Deletion::Missing),
        Err(error) if error.code().as_ref() == Some(under_way) => Ok(Deletion::UnderWay),
        Err(error) => Err(error),
    }
}

/// A resource of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The job of the run.
    Job,
    /// The pool of the run, if it is its own.
    Pool,
    /// The containers of the run.
    Containers,
}

/// Deletes a resource of a run on behalf of an actor that has exited. The service may be deleting it already.
///
/// # Errors
/// Fails if the service rejects a request or cannot be reached.
pub async fn delete_part(services: &Services, plan: &RunPlan, part: Part) -> Result<(), Failure> {
    let outcome = match part {
        Part::Job => delete_job(&services.batch, &plan.job.id).await,
        // A pool that the run file names is shared: it is never deleted.
        Part::Pool if !plan.pool.own => return Ok(()),
        Part::Pool => delete_pool(&services.batch, &plan.pool.id).await,
        Part::Containers => return delete_containers(services, plan).await,
    };
    outcome.map(|_| ()).map_err(|error| error.failure())
}

async fn delete_containers(services: &Services, plan: &RunPlan) -> Result<(), Failure> {
    self_upload::delete_all(&services.blob, plan).await?;
    let application = plan.shared_application.is_none().then(|| plan.app_container());
    let others = [plan.input_container(), plan.output_container()];
    for container in application.into_iter().chain(others) {
        match services.blob.delete_container(&container).await {
            Err(error) if !error.is_not_found() && error.code() != Some(Code::ContainerBeingDeleted) => {
                return Err(error.failure());
            }
            _ => {}
        }
    }
    Ok(())
}
