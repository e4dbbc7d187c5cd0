//! `dropmill schema` and `dropmill completions`: for editors and shells.

use crate::{cli::Cli, render::say, settings};
use anyhow::Result;
use clap::CommandFactory;

/// Prints a JSON Schema.
pub fn schema(of: &str) -> Result<u8> {
    let schema = match of {
        "event" => dropmill_journal::schema::event(),
        "report" => dropmill_journal::schema::report(),
        _ => settings::schema(),
    };
    say::own_text(&serde_json::to_string_pretty(&schema)?);
    Ok(0)
}

/// Prints completions for a shell.
pub fn completions(shell: clap_complete::Shell) -> Result<u8> {
    let mut text = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "dropmill", &mut text);
    say::own_text(&String::from_utf8_lossy(&text));
    Ok(0)
}
