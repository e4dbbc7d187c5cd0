//! `dropmill cancel`: ends a run from another terminal.

use crate::{
    control::{ControlClient, Request, Response},
    error::UsageError,
    render::say,
    state::{State, is_held},
    stored_run::StoredRun,
};
use anyhow::{Result, bail};

/// Asks the process that works on a run to end it; the exit code is 0 if it accepts.
pub fn cancel(run: &str, now: bool, state: &State) -> Result<u8> {
    let stored = StoredRun::find(run, state)?;
    let run = stored.header.run.clone();
    if stored.past().ended.is_some() {
        say::note(&format!("{run} has ended already"));
        return Ok(0);
    }
    let Some(mut client) = ControlClient::connect(&stored.path)? else {
        let next = match is_held(&stored.path) {
            true => "it is live in another program, which opened no control socket".to_owned(),
            false => format!("it was interrupted; `dropmill resume {run}` continues it"),
        };
        return Err(UsageError::NotLive { run, next }.into());
    };
    match client.ask(&Request::Cancel { tasks: vec![], now })?? {
        Response::Accepted { message } => say::note(&format!("{run}: {message}")),
        other => bail!("the process that works on the run gave another response: {other:?}"),
    }
    Ok(0)
}
