//! Moves results and failed inputs to their final places.

use super::{
    Adopt, DropFolder,
    claims::{Claim, ME},
};
use crate::{
    drop_store::{NotPublished, Parcel, Published, Root, text_of},
    mill::{Finished, MillNotice},
    place::PlaceError,
    shell::DrivesMany,
};
use actix::prelude::*;
use dropmill_journal::event::{EventKind, FileOutcome, Subject};
use dropmill_lifecycle::{
    Code, Elapsed, Failure,
    arrival::{ArrivalEvent, ArrivalState, Outcome},
};
use serde_json::json;

impl DropFolder {
    /// Publishes a file with its outcome.
    pub(super) fn publish(&mut self, id: u32, outcome: Outcome, ctx: &mut Context<Self>) {
        let Some(parcel) = self.parcel(id, &outcome) else { return };
        let put = self.store.publish(parcel);
        ctx.spawn(put.into_actor(self).map(move |put, folder, ctx| {
            let event = match put {
                Ok(published) => {
                    folder.published(id, &outcome, &published, ctx);
                    ArrivalEvent::Published
                }
                Err(NotPublished::Refused(error)) => ArrivalEvent::PublishFailed(failure(&error)),
                Err(NotPublished::Changed(look)) => ArrivalEvent::Changed(look),
            };
            folder.happened(id, event, ctx);
            folder.go_on(ctx);
        }));
    }

    /// Discards the results of a failed attempt: the next attempt has its own.
    pub(super) fn discard_results(&self, id: u32) {
        let Some(claim) = self.claims.get(&id) else { return };
        if matches!(claim.state, ArrivalState::Returning { .. }) && !claim.run.is_empty() {
            let (run, folder) = results_of(claim);
            self.store.discard_results(&run, &folder);
        }
    }

    fn parcel(&self, id: u32, outcome: &Outcome) -> Option<Parcel> {
        let claim = self.claims.get(&id)?;
        let report = &claim.report;
        let attempt = match claim.state {
            ArrivalState::Publishing { attempt, .. } => attempt,
            _ => 1,
        };
        let ended = report.ended.as_ref();
        let mut note = json!({
            "input": text_of(&claim.relative),
            "run": claim.run,
            "task": claim.task,
            "outcome": file_outcome(outcome),
            "bytes": claim.look.size_bytes,
            "exit_code": ended.and_then(|ended| ended.exit_code),
            "node": ended.and_then(|ended| ended.node.clone()),
            "started": ended.and_then(|ended| ended.started),
            "ended": ended.and_then(|ended| ended.ended),
            "retries": ended.map_or(0, |ended| ended.retries),
            "requeues": ended.map_or(0, |ended| ended.requeues),
            "files": report.files,
        });
        if let Some((run, task)) = &claim.same_as {
            note["same_as"] = json!({ "run": run, "task": task });
        }
        if let Outcome::Failed { cause } = outcome {
            note["cause"] = cause.clone().into();
            note["stderr_tail"] = report.stderr_tail.clone().into();
        }
        tracing::debug!(task = %claim.task, attempt, "published");
        let failed = matches!(outcome, Outcome::Failed { .. });
        Some(Parcel {
            results: results_of(claim),
            input: claim.place.clone(),
            relative: claim.relative.clone(),
            look: claim.is_exact.then_some(claim.look),
            with_input: failed || self.settings.keep_input,
            root: if failed { Root::Failed } else { Root::Done },
            note,
        })
    }

    fn published(&mut self, id: u32, outcome: &Outcome, published: &Published, ctx: &mut Context<Self>) {
        let place = &published.place;
        let Some(claim) = self.claims.get(&id) else { return };
        let (root, cause) = match outcome {
            Outcome::Done | Outcome::Duplicate => (Root::Done, None),
            Outcome::Failed { cause } => (Root::Failed, Some(cause.clone())),
        };
        let recorded = file_outcome(outcome);
        let kind = EventKind::FilePublished { outcome: recorded.clone(), place: text_of(place) };
        if let Some(feeder) = self.feeder(&claim.run) {
            feeder.note(ME, Subject::of_task(&claim.task), claim.cause, kind);
        }
        if let (Outcome::Done, Some(key)) = (outcome, &claim.key) {
            let now = jiff::Timestamp::now().as_second();
            if let Err(error) = self.known.add(key, &claim.run, &claim.task, now) {
                tracing::error!(%error, "cannot remember a processed file: its duplicates will not be found");
            }
        }
        if published.left {
            let (relative, place, attempts) = (claim.relative.clone(), claim.place.clone(), claim.attempts);
            ctx.notify(Adopt { relative, place, attempts });
        } else {
            self.store.release(&claim.place);
        }
        let input = text_of(&claim.relative);
        let (run, task, place) = (claim.run.clone(), claim.task.clone(), self.store.root(root).join(place));
        let finished = Finished { run, task, input, outcome: recorded, place, cause };
        let _ = self.notices.try_send(MillNotice::Finished(finished));
        match outcome {
            Outcome::Done | Outcome::Duplicate => self.counts.done += 1,
            Outcome::Failed { .. } => self.counts.failed += 1,
        }
        let taken_at = self.claims.get(&id).map_or(Elapsed(0), |claim| claim.taken_at);
        self.counts.work_ms += u64::try_from(self.now().since(taken_at).as_millis()).unwrap_or(0);
    }
}

/// Returns an outcome in the form of events and notes.
fn file_outcome(outcome: &Outcome) -> FileOutcome {
    match outcome {
        Outcome::Done => FileOutcome::Done,
        Outcome::Duplicate => FileOutcome::Duplicate,
        Outcome::Failed { .. } => FileOutcome::Failed,
    }
}

/// Returns run and folder of the results of a claim's task.
fn results_of(claim: &Claim) -> (String, String) {
    let folder = claim.report.folder.as_deref().unwrap_or(&claim.task);
    (claim.run.clone(), folder.to_owned())
}

fn failure(error: &PlaceError) -> Failure {
    match error {
        PlaceError::Refused { may_pass: true, .. } => Failure::transient(Code::Disk, error.to_string()),
        PlaceError::Refused { .. } | PlaceError::Taken { .. } => {
            Failure::permanent(Code::Disk, error.to_string())
        }
    }
}
