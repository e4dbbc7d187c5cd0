//! `dropmill status`: shows the state of a drop folder, whether or not a daemon watches it.

use super::environment;
use crate::{
    cli::StatusArgs,
    daemon::Overview,
    render::{overview, say},
    settings::load,
    state::State,
};
use anyhow::Result;

/// Shows who watches the folder, how many files are in each place, and what is left alone.
pub fn status(arguments: &StatusArgs, state: &State) -> Result<u8> {
    let loaded = load(&arguments.file, &arguments.set, environment())?;
    let found = Overview::read(&loaded, state)?;
    match arguments.json {
        true => say::json(&found),
        false => say::lines(overview::lines(&found)),
    };
    Ok(0)
}
