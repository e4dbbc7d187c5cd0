//! The program `dropmill`.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    dropmill::run_command(dropmill::cli::Cli::parse())
}
