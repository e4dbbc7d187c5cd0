//! Results and failures find their places.

use super::{
    DropFolder, Want,
    claims::{Claim, ME},
    scan::text_of,
    shelf::Parcel,
};
use crate::place::PlaceError;
use actix::prelude::*;
use dropmill_journal::event::Happening;
use dropmill_lifecycle::{
    Elapsed, Trouble,
    arrival::{ArrivalEvent, ArrivalState, Outcome},
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

impl DropFolder {
    /// Puts a file in its place, with what came of it.
    pub(super) fn publish(&mut self, id: u32, outcome: Outcome, ctx: &mut Context<Self>) {
        let Some(parcel) = self.parcel(id, &outcome) else { return };
        let put = tokio::task::spawn_blocking(move || parcel.put());
        ctx.spawn(put.into_actor(self).map(move |put, folder, ctx| {
            let event = match put {
                Ok(Ok(place)) => {
                    folder.published(id, &outcome, &place);
                    ArrivalEvent::Published
                }
                Ok(Err(error)) => ArrivalEvent::PublishFailed(trouble(&error)),
                Err(error) => ArrivalEvent::PublishFailed(Trouble::transient("Thread", error.to_string())),
            };
            folder.happened(id, event, ctx);
            folder.go_on(ctx);
        }));
    }

    /// What a try left that came to nothing: the next one leaves its own.
    pub(super) fn discard_results(&self, id: u32) {
        let Some(claim) = self.claims.get(&id) else { return };
        if matches!(claim.state, ArrivalState::Returning { .. }) && !claim.run.is_empty() {
            let _ = fs::remove_dir_all(self.results_of(claim));
        }
    }

    fn results_of(&self, claim: &Claim) -> PathBuf {
        let results = self.settings.work.join(&claim.run).join(".results");
        results.join(claim.told.folder.as_deref().unwrap_or(&claim.task))
    }

    fn parcel(&self, id: u32, outcome: &Outcome) -> Option<Parcel> {
        let claim = self.claims.get(&id)?;
        let told = &claim.told;
        let results = self.results_of(claim);
        let attempt = match claim.state {
            ArrivalState::Publishing { attempt, .. } => attempt,
            _ => 1,
        };
        let ended = told.ended.as_ref();
        let mut note = json!({
            "input": text_of(&claim.relative),
            "run": claim.run,
            "task": claim.task,
            "outcome": match outcome {
                Outcome::Done => "done",
                Outcome::Duplicate => "duplicate",
                Outcome::Failed { .. } => "failed",
            },
            "bytes": claim.look.size_bytes,
            "exit_code": ended.and_then(|ended| ended.exit_code),
            "node": ended.and_then(|ended| ended.node.clone()),
            "started": ended.and_then(|ended| ended.started),
            "ended": ended.and_then(|ended| ended.ended),
            "retries": ended.map_or(0, |ended| ended.retries),
            "requeues": ended.map_or(0, |ended| ended.requeues),
            "files": told.files,
        });
        if let Some((run, task)) = &claim.same_as {
            note["same_as"] = json!({ "run": run, "task": task });
        }
        if let Outcome::Failed { cause } = outcome {
            note["cause"] = cause.clone().into();
            note["stderr_tail"] = told.stderr_tail.clone().into();
        }
        tracing::debug!(task = %claim.task, attempt, "put in its place");
        Some(match outcome {
            Outcome::Done | Outcome::Duplicate => Parcel {
                results,
                input: self.settings.keep_input.then(|| claim.input.clone()),
                root: self.settings.done.clone(),
                relative: claim.relative.clone(),
                note_name: "result.json",
                note,
            },
            Outcome::Failed { .. } => Parcel {
                results,
                input: Some(claim.input.clone()),
                root: self.settings.failed.clone(),
                relative: claim.relative.clone(),
                note_name: "reason.json",
                note,
            },
        })
    }

    fn published(&mut self, id: u32, outcome: &Outcome, place: &Path) {
        let Some(claim) = self.claims.get(&id) else { return };
        let (word, root, cause) = match outcome {
            Outcome::Done => ("done", &self.settings.done, None),
            Outcome::Duplicate => ("duplicate", &self.settings.done, None),
            Outcome::Failed { cause } => ("failed", &self.settings.failed, Some(cause.clone())),
        };
        let happening = Happening::FilePublished { outcome: word.into(), place: text_of(place) };
        if let Some(feeder) = self.feeder(&claim.run) {
            feeder.note(ME, &format!("task/{}", claim.task), claim.cause, happening);
        }
        if let (Outcome::Done, Some(key)) = (outcome, &claim.key) {
            let now = jiff::Timestamp::now().as_second();
            if let Err(error) = self.known.add(key, &claim.run, &claim.task, now) {
                tracing::error!(%error, "a file that was done will not be known again");
            }
        }
        if let Some(folder) = claim.input.parent() {
            if !self.settings.keep_input {
                let _ = match claim.input.is_dir() {
                    true => fs::remove_dir_all(&claim.input),
                    false => fs::remove_file(&claim.input),
                };
            }
            let _ = fs::remove_dir(folder);
        }
        let input = text_of(&claim.relative);
        let (run, task, place) = (claim.run.clone(), claim.task.clone(), root.join(place));
        self.want(Want::Finished { run, task, input, outcome: word, place, cause });
        match outcome {
            Outcome::Done | Outcome::Duplicate => self.counts.done += 1,
            Outcome::Failed { .. } => self.counts.failed += 1,
        }
        let taken_at = self.claims.get(&id).map_or(Elapsed(0), |claim| claim.taken_at);
        self.counts.work_ms += u64::try_from(self.now().since(taken_at).as_millis()).unwrap_or(0);
    }
}

fn trouble(error: &PlaceError) -> Trouble {
    match error {
        PlaceError::Refused { may_pass: true, .. } => Trouble::transient("Disk", error.to_string()),
        PlaceError::Refused { .. } | PlaceError::Taken { .. } => {
            Trouble::permanent("Disk", error.to_string())
        }
    }
}
