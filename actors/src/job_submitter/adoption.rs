//! What the answer to "add these tasks" means for each of them.

use super::still_unclear;
use dropmill_azure_client::batch::BatchApi;
use dropmill_azure_wire::batch as wire;
use dropmill_lifecycle::{Code, Failure};

/// What one entry of the answer means: accepted (`true`: it was there already, and ours), or why not.
pub async fn verdict(
    batch: &BatchApi,
    job: &str,
    task: &wire::TaskAdd,
    result: Option<&wire::TaskAddResult>,
) -> Result<bool, Failure> {
    let Some(result) = result else {
        let message = format!("add task {}: the answer does not name it", task.id);
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
    let message = format!("add task {}: refused with {code}: {message}", task.id);
    Err(match result.status {
        wire::TaskAddStatus::ServerError => Failure::transient(code, message),
        _ => Failure::permanent(code, message),
    })
}

/// A job that ended by itself had all its tasks: that it takes none now says nothing of those an earlier life of the
/// run added and did not live to write down.
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

/// Whether the service has this task, and it is ours.
async fn adopt_task(batch: &BatchApi, job: &str, task: &wire::TaskAdd) -> Result<bool, Failure> {
    let found = batch.get_task(job, &task.id).await.map_err(|error| error.failure())?;
    if found.command_line == Some(task.command_line.clone()) {
        return Ok(true);
    }
    let message = format!("task {} exists with another command line: it is not ours", task.id);
    Err(Failure::permanent(Code::TaskExists, message))
}
