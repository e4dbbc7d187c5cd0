//! `dropmill status`: how a drop folder stands, as its folders tell; whether or not a daemon is at work.

use super::environment;
use crate::{cli::StatusArgs, daemon::look, render::say, settings::load, state::State};
use anyhow::Result;

/// Tells who watches the folder and how many files lie where.
pub fn status(arguments: &StatusArgs, state: &State) -> Result<u8> {
    let loaded = load(&arguments.file, &arguments.set, environment())?;
    let found = look(&loaded, state)?;
    if arguments.json {
        say::line(&serde_json::to_string(&found)?);
        return Ok(0);
    }
    let watched = match &found.holder {
        Some(holder) => format!("watched by {holder}"),
        None => "nobody watches it: `dropmill watch` does".into(),
    };
    say::line(&format!(
        "{}: {watched}\nwaiting  {}\nat work  {}\ndone     {} in {}\nfailed   {} in {}",
        found.directory.display(),
        found.waiting,
        found.at_work,
        found.done,
        found.done_folder.display(),
        found.failed,
        found.failed_folder.display()
    ));
    Ok(0)
}
