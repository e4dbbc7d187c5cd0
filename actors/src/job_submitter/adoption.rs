//! Interprets the response to "add tasks" for each task.

use super::still_unclear;
use dropmill_azure_client::batch::BatchApi;
use dropmill_azure_wire::batch as wire;
use dropmill_lifecycle::{Code, Failure};

/// Interprets one entry of the response: accepted (`true`: it existed already and belongs to this run), or
/// the reason for the rejection.
pub async fn verdict(
    batch: &BatchApi,
    job: &str,
    task: &wire::TaskAdd,
    result: Option<&wire::TaskAddResult>,
) -> Result<bool, Failure> {
    let Some(result) = result else {
        let message = format!("add task {}: the response does not contain it", task.id);
        return Err(Failure::transient(Code::BrokenAnswer, message));
    };
    let (code, message) = match (&result.status, &result.error) {
        (wire::TaskAddStatus::Success, _) => return Ok(false),
        (_, Some(error)) => (Code::from(error.code.as_str()), error.text().to_owned()),
        (_, None) => (Code::Other("Unknown".to_owned()), "no error given".to_owned()),
    };
    if code == Code::TaskExists {
        return adopt_task(batch, job, task).await.map_err(still_unclear);
    }
    let message = format!("add task {}: rejected with {code}: {message}", task.id);
    Err(match result.status {
        wire::TaskAddStatus::ServerError => Failure::transient(code, message),
        _ => Failure::permanent(code, message),
    })
}

/// A job that ended on its own had all its tasks. That it accepts none now does not concern tasks that a
/// previous process added without recording it.
pub async fn added_before(
    batch: &BatchApi,
    job: &str,
    tasks: &[wire::TaskAdd],
    refused: Failure,
) -> Result<Vec<Result<bool, Failure>>, Failure> {
    let mut verdicts = vec![];
    for task in tasks {
        verdicts.push(match adopt_task(batch, job, task).await {
            Err(failure) if failure.code == Code::TaskNotFound => Err(refused.clone()),
            Err(failure) => Err(still_unclear(failure)),
            Ok(adopted) => Ok(adopted),
        });
    }
    let none = verdicts.iter().all(|verdict| verdict.as_ref().is_err_and(|failure| *failure == refused));
    if none { Err(refused) } else { Ok(verdicts) }
}

/// Returns whether the service has this task, and it belongs to this run.
async fn adopt_task(batch: &BatchApi, job: &str, task: &wire::TaskAdd) -> Result<bool, Failure> {
    let found = batch.get_task(job, &task.id).await.map_err(|error| error.failure())?;
    if found.command_line == Some(task.command_line.clone()) {
        return Ok(true);
    }
    let message =
        format!("task {} exists with another command line: it does not belong to this run", task.id);
    Err(Failure::permanent(Code::TaskExists, message))
}
