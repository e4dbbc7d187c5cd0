//! The program `dropmill`.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // This process may have been started by a running `dropmill` to hold its tasks.
    if dropmill::run_as_keeper() {
        return ExitCode::SUCCESS;
    }
    dropmill::run_command(dropmill::cli::Cli::parse())
}
