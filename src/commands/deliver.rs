//! `dropmill deliver`: delivers results that a run left at its service.

use super::environment;
use crate::{
    error::UsageError,
    render::say::{self, shown},
    services,
    session::{discard, same_service},
    state::State,
    stored_run::{LOGS, StoredRun},
};
use anyhow::Result;
use dropmill_actors::{
    delete_containers_of_attempts, deliver_now,
    place::{DiskPlace, Placed},
};
use dropmill_azure_client::blob::BlobApi;
use dropmill_azure_wire::time::{SharedClock, WallClock};
use dropmill_journal::{event::TaskEnding, past::RecoveredTask};
use dropmill_lifecycle::{
    Code, Failure, FailureKind,
    plan::{Item, RunPlan},
    task::Ending,
};
use std::{sync::Arc, time::Duration};

/// Seconds to wait between attempts.
const RESTS: [u64; 3] = [1, 5, 15];

/// Delivers results of successful tasks that were not delivered; the exit code is 0 if all are delivered.
pub fn deliver(run: &str, state: &State) -> Result<u8> {
    let found = StoredRun::find(run, state)?;
    let name = found.header.run.clone();
    let past = found.past();
    if past.ended.is_none() {
        return Err(UsageError::NotEnded { run: name }.into());
    }
    let task = |item: &Item| past.tasks.get(&item.task);
    let is_undelivered = |item: &Item| {
        task(item).is_some_and(|task| task.closed.as_ref().is_some_and(|last| last.undelivered))
    };
    // The outputs of a task for several inputs are delivered together.
    let chunk_of = |item: &Item| {
        let chunk = item.members()?;
        let past = task(item)?.chunk.as_ref().filter(|past| !past.is_split)?;
        Some((&found.plan.items[chunk.first as usize..chunk.range().end as usize], past))
    };
    let chunks: Vec<&Item> = found.plan.chunks.iter().filter(|item| chunk_of(item).is_some()).collect();
    let is_single = |item: &&Item| {
        let chunk = found.plan.chunk_of(item.index).map(|number| &found.plan.chunks[number]);
        chunk.is_none_or(|chunk| chunk_of(chunk).is_none())
    };
    let is_left = |item: &&Item| match chunk_of(item) {
        Some((members, past)) => past.undelivered || members.iter().any(is_undelivered),
        None => is_undelivered(item),
    };
    let all = || chunks.iter().copied().chain(found.plan.items.iter().filter(is_single));
    let codes = &found.plan.job.success_codes;
    let is_success = |ended: &TaskEnding| {
        Ending::is_success(ended.success, ended.exit_code, ended.failure_code.as_deref(), codes)
    };
    let has_result = |item: &Item| task(item).is_some_and(|task| task.ended.as_ref().is_some_and(is_success));
    let (wanted, unfinished): (Vec<&Item>, Vec<&Item>) =
        all().filter(is_left).partition(|item| has_result(item));
    if wanted.is_empty() {
        let more = match unfinished.len() {
            0 => String::new(),
            count => format!(", and {count} have none: `dropmill retry {name}` runs them again"),
        };
        say::note(&format!("{name}: nothing to deliver, every result was delivered{more}"));
        return Ok(0);
    }
    let clock: SharedClock = Arc::new(WallClock);
    let mut loaded = found.load(&[], environment())?;
    // Nothing is run: no task needs a variable of this environment, and a secret that is missing stops nothing.
    loaded.settings.task.inherit = Some(vec![]);
    loaded.settings.task.secret_env.clear();
    same_service(&found.header, &loaded)?;
    let folder = state.hold_run(&found.path, clock.now())?;
    let service = folder.path.join("service");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failed = runtime.block_on(async {
        let (services, embedded) = services::open(&loaded, &service, &clock, None)?;
        let place = DiskPlace::of(&found.plan, Some(folder.path.join(LOGS)));
        let mut failed = 0;
        for item in &wanted {
            let attempt = task(item).map_or(1, RecoveredTask::attempt);
            let mut outcome = deliver_now(&services, &place, &found.plan, item, attempt).await;
            for rest in RESTS {
                match &outcome {
                    Err(failure) if failure.kind != FailureKind::Permanent => {
                        say::note(&format!(
                            "{}: {}: again in {rest} s",
                            shown(&item.relative),
                            shown(&failure.message)
                        ));
                        tokio::time::sleep(Duration::from_secs(rest)).await;
                        outcome = deliver_now(&services, &place, &found.plan, item, attempt).await;
                    }
                    _ => break,
                }
            }
            failed += u32::from(outcome.is_err());
            report(item, &outcome);
        }
        drop(place);
        if failed == 0 && unfinished.is_empty() {
            remove(&services.blob, &found.plan).await;
        }
        if let Some(embedded) = embedded {
            embedded.stop();
        }
        anyhow::Ok(failed)
    })?;
    let (all, home) = (wanted.len(), wanted.len() - failed as usize);
    if failed == 0
        && unfinished.is_empty()
        && loaded.settings.service.kind == crate::settings::ServiceKind::Embedded
    {
        discard(&service);
    }
    let left = match unfinished.len() {
        0 => String::new(),
        count => format!(
            "; {count} tasks were not finished (`dropmill retry {name}` runs them again), and their containers stay"
        ),
    };
    say::note(&format!(
        "{name}: {home} of {all} results delivered to {}{left}",
        found.plan.output.directory.display()
    ));
    Ok(u8::from(failed > 0))
}

fn report(item: &Item, outcome: &Result<Placed, Failure>) {
    let input = shown(&item.relative);
    say::line(&match outcome {
        Ok(Placed { beside: Some(what), folder, .. }) => {
            format!("delivered   {input} in {}: {}", shown(folder), shown(what))
        }
        Ok(_) => format!("delivered   {input}"),
        Err(failure) => format!("failed      {input}: {}", shown(&failure.message)),
    });
}

/// Removes the containers of a run whose results are all delivered.
async fn remove(blob: &BlobApi, plan: &RunPlan) {
    let mut containers = vec![plan.input_container(), plan.output_container()];
    if plan.shared_application.is_none() && !plan.application.is_empty() {
        containers.push(plan.app_container());
    }
    if let Err(failure) = delete_containers_of_attempts(blob, plan).await {
        say::note(&format!("left: containers {}-*: {}", plan.run, shown(&failure.message)));
    }
    for container in containers {
        match blob.delete_container(&container).await {
            Err(error) if error.code() != Some(Code::ContainerNotFound) => {
                say::note(&format!("not deleted: container {container}: {}", shown(&error.to_string())));
            }
            _ => {}
        }
    }
}
