//! `dropmill status`: how a drop folder stands, as its folders tell; whether or not a daemon is at work.

use super::environment;
use crate::{cli::StatusArgs, daemon::look, render::say, settings::load, state::State};
use anyhow::Result;

/// Tells who watches the folder and how many files lie where.
pub fn status(arguments: &StatusArgs, state: &State) -> Result<u8> {
    let loaded = load(&arguments.file, &arguments.set, environment())?;
    let found = look(&loaded, state)?;
    if arguments.json {
        say::json(&found);
        return Ok(0);
    }
    let watched = match &found.holder {
        Some(holder) => format!("watched by {holder}"),
        None => "nobody watches it: `dropmill watch` does".into(),
    };
    say::lines([
        format!("{}: {watched}", found.directory.display()),
        format!("waiting  {}", found.waiting),
        format!("at work  {}", found.at_work),
        format!("done     {} in {}", found.done, found.done_folder.display()),
        format!("failed   {} in {}", found.failed, found.failed_folder.display()),
    ]);
    Ok(0)
}
