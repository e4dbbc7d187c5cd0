//! The command line.

use crate::settings::Length;
use clap::{Args, Parser, Subcommand, ValueEnum};
use dropmill_test_kit::crash::CrashPoint;
use std::path::PathBuf;

/// Turns files into results: one task per file, on this machine or on Azure Batch.
#[derive(Debug, Parser)]
#[command(name = "dropmill", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Folder of runs and of the local service; default $XDG_STATE_HOME/dropmill or ~/.local/state/dropmill.
    #[arg(long, global = true, value_name = "DIR", env = "DROPMILL_STATE")]
    pub state: Option<PathBuf>,
    /// Log lines on standard error as JSON; what is logged is set by RUST_LOG, for example RUST_LOG=dropmill=debug.
    #[arg(long, global = true)]
    pub log_json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry out run files, one after the other.
    Run(RunArgs),
    /// Watch a drop folder: every file that is put there becomes a task, its result appears beside it.
    Watch(WatchArgs),
    /// Tell how a drop folder stands.
    Status(StatusArgs),
    /// Go on with a run that was cut off: only what is missing is done.
    Resume {
        /// Its name, or the beginning of it.
        run: String,
        /// How it is shown.
        #[command(flatten)]
        showing: Showing,
    },
    /// Bring results home that a run which is over left at its service, because the output folder took none.
    Deliver {
        /// Its name, or the beginning of it.
        run: String,
    },
    /// Run again what did not succeed in a run that is over, as the run file now says.
    Retry {
        /// Its name, or the beginning of it.
        run: String,
        /// Only what failed, not what was unfinished when the run ended.
        #[arg(long)]
        failed: bool,
        /// How it is shown.
        #[command(flatten)]
        showing: Showing,
    },
    /// Show what `run` would do; calls nobody.
    Plan(PlanArgs),
    /// Carry out a run file in a simulated world: virtual time, pretended tasks, faults from a scenario.
    Simulate(SimulateArgs),
    /// Offer the local Azure Batch and Blob service to the SDKs of any language.
    Serve(ServeArgs),
    /// Print variables that make official tools use the service of `serve`, for a shell or as JSON.
    Env(EnvArgs),
    /// List the runs of the state folder.
    Runs {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show what became of a run.
    Show {
        /// Its name, or the beginning of it.
        run: String,
        /// The report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tell what happened in a run; `trace compare A B`: what two runs did differently; `trace test DIR` and `trace accept
    /// DIR`: compare, or renew, the outlines beside scenarios.
    Trace {
        /// Its name, or the beginning of it; or `compare`, `test` or `accept`.
        run: String,
        /// With `test` and `accept`: a folder of `*.scenario.toml` files. With `compare`: a run, or a file of events as
        /// `--json` prints them.
        folder: Option<PathBuf>,
        /// With `compare`: the other run or file.
        other: Option<PathBuf>,
        /// One line for each life, equal lives grouped: the same for two runs that did the same.
        #[arg(long)]
        outline: bool,
        /// Every event as JSON, one a line.
        #[arg(long, conflicts_with = "outline")]
        json: bool,
    },
    /// Write a run file to begin with.
    Init {
        /// Into this folder.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Print the JSON Schema of run files, events or reports.
    Schema {
        /// Of what.
        #[arg(default_value = "run-file", value_parser = ["run-file", "event", "report"])]
        of: String,
    },
    /// Print completions for a shell.
    Completions {
        /// Which.
        shell: clap_complete::Shell,
    },
}

/// What all commands that read run files take.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Run files: TOML, YAML or JSON, by their ending.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Set a key over the file: section.key=value. May be given often.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which files.
    #[command(flatten)]
    pub files: FileArgs,
    /// Go on with the latest run of each file that was cut off; where there is none, start one.
    #[arg(long)]
    pub resume: bool,
    /// Leave out inputs whose results are there: made by an earlier run of the file, from the same input, with the same
    /// command, environment, application and outputs.
    #[arg(long)]
    pub skip_done: bool,
    /// With --skip-done: compare the content of results, not their lengths alone.
    #[arg(long, requires = "skip_done")]
    pub check_content: bool,
    /// Keep every request and answer in this folder, without secrets, for `simulate --replay`.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Keep contents of results up to this length whole, longer ones as digests.
    #[arg(long, value_name = "BYTES", requires = "record", default_value_t = dropmill_azure_client::record::KEPT_BYTES)]
    pub record_bytes: usize,
    /// How it is shown.
    #[command(flatten)]
    pub showing: Showing,
}

/// How a run that goes on is shown.
#[derive(Debug, Clone, Args)]
pub struct Showing {
    /// One event a line on standard output, and the report as the last.
    #[arg(long)]
    pub json: bool,
    /// No progress, only the report.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The run file, with a section `watch`.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Set a key over the file: section.key=value. May be given often.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// One event a line on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The run file, with a section `watch`.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Set a key over the file: section.key=value. May be given often.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// As one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The run file.
    #[arg(value_name = "FILE", required_unless_present = "replay")]
    pub file: Option<PathBuf>,
    /// Play a recording of `run --record` again, with what the services answered then.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "set", "scenario", "seed", "seeds"])]
    pub replay: Option<PathBuf>,
    /// Set a key over the file: section.key=value. May be given often.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// What nodes, tasks and the wire do; without it, nothing out of the ordinary.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Which interleaving, which draws.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Let the orchestrator die there, and a later life go on, for example "after call 3": see `trace crash`.
    #[arg(long, value_name = "POINT", conflicts_with_all = ["seeds", "replay"])]
    pub crash: Option<CrashPoint>,
    /// With `--crash`: how long nobody lives then, for example 1h.
    #[arg(long, value_name = "TIME", requires = "crash")]
    pub down: Option<Length>,
    /// Check every rule on many seeds, for example 1..1000; the first that breaks one is shown.
    #[arg(long, value_name = "A..B", conflicts_with_all = ["seed", "json", "outline"])]
    pub seeds: Option<String>,
    /// One line for each life, equal lives grouped.
    #[arg(long)]
    pub outline: bool,
    /// Every event as JSON, one a line, and the report as the last.
    #[arg(long, conflicts_with = "outline")]
    pub json: bool,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Which files.
    #[command(flatten)]
    pub files: FileArgs,
    /// The plan as JSON.
    #[arg(long)]
    pub json: bool,
    /// Say for each input whether `run --skip-done` leaves it out, and if not, why.
    #[arg(long)]
    pub skip_done: bool,
    /// With --skip-done: compare the content of results, not their lengths alone.
    #[arg(long, requires = "skip_done")]
    pub check_content: bool,
}

/// Arguments of `env`.
#[derive(Debug, Args)]
pub struct EnvArgs {
    /// The syntax: `posix` for bash, zsh and sh.
    #[arg(long, value_enum, default_value_t = Shell::Posix)]
    pub shell: Shell,
}

/// What reads the variables that `env` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash, zsh, sh: `export NAME=value`.
    Posix,
    /// fish: `set -gx NAME 'value'`.
    Fish,
    /// PowerShell: `$Env:NAME = 'value'`.
    Powershell,
    /// A JSON object, for other programs.
    Json,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address of Batch; loopback only, if there is no TLS. Port 0 takes any free port.
    #[arg(long, default_value = "127.0.0.1:10100")]
    pub batch: String,
    /// Address of Blob; loopback only, if there is no TLS. Port 0 takes any free port.
    #[arg(long, default_value = "127.0.0.1:10000")]
    pub blob: String,
    /// Serve over TLS with this certificate (PEM, those that vouch for it behind it).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The name of this machine in the addresses that clients are told; the certificate must be for it.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Accept a SAS that demands HTTPS (`spr=https`) although Blob is served without TLS. Azure rejects it.
    #[arg(long)]
    pub allow_https_only_sas: bool,
    /// Reject requests with properties that Azure Batch does not have, such as `dependson` for `dependsOn`. By default each
    /// such property is logged once and ignored.
    #[arg(long)]
    pub strict: bool,
    /// Print a line on standard error for each request: time, sender, service, status, error code, milliseconds until the
    /// answer began, method and address. Signatures are left out.
    #[arg(long)]
    pub log_requests: bool,
    /// Let the faults and incidents of a scenario strike whoever uses the service; /__faults and /__clock change them.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Which draws the scenario's probabilities make.
    #[arg(long, default_value_t = 1, requires = "scenario")]
    pub seed: u64,
    /// An application package that pools and tasks may name, a zip file or a folder; may be given often. Of several
    /// versions the last is the default one.
    #[arg(long = "application", value_name = "ID@VERSION=PATH")]
    pub applications: Vec<String>,
    /// Print the connection as one line of JSON when ready.
    #[arg(long)]
    pub json: bool,
}
