//! The command line.

use crate::settings::Length;
use clap::{Args, Parser, Subcommand, ValueEnum};
use dropmill_test_kit::crash::CrashPoint;
use std::path::PathBuf;

/// Run one task per input file, on this machine or on Azure Batch, and deliver each result once.
#[derive(Debug, Parser)]
#[command(name = "dropmill", version, arg_required_else_help = true)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
    /// State folder of runs and of the local service; default $XDG_STATE_HOME/dropmill or ~/.local/state/dropmill.
    #[arg(long, global = true, value_name = "DIR", env = "DROPMILL_STATE")]
    pub state: Option<PathBuf>,
    /// Write log lines to standard error as JSON. RUST_LOG selects them, for example RUST_LOG=dropmill=debug.
    #[arg(long, global = true)]
    pub log_json: bool,
}

/// The commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one or more run files in sequence.
    Run(RunArgs),
    /// Watch a drop folder: run a task for each file that appears in it, and deliver its result.
    Watch(WatchArgs),
    /// Show the status of a drop folder.
    Status(StatusArgs),
    /// Resume an interrupted run; finished work is not repeated.
    Resume {
        /// Run name, unique prefix, name of its run file (the latest run), or `latest`.
        run: String,
        /// How progress and report are shown.
        #[command(flatten)]
        showing: Showing,
    },
    /// Show standard output or error of tasks, while they run and afterwards.
    Logs(LogsArgs),
    /// Explain what a run or one of its tasks waits for, with evidence and what to do.
    Why {
        /// Run name, unique prefix, name of its run file (the latest run), or `latest`.
        run: String,
        /// A task: its input, the end or the beginning of its input, or its id.
        task: Option<String>,
        /// Print the causes as JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a run in order: stop its tasks, download finished results, delete what costs money.
    Cancel {
        /// Run name, unique prefix, name of its run file (the latest run), or `latest`.
        run: String,
        /// End its process at once: tasks are killed, and `resume` continues the run later.
        #[arg(long)]
        now: bool,
    },
    /// Deliver results that an ended run could not deliver and left at its service.
    Deliver {
        /// Run name, unique prefix, name of its run file (the latest run), or `latest`.
        run: String,
    },
    /// Run the tasks of an ended run again that did not succeed, with the settings of the run file as it is now.
    Retry {
        /// Run name, unique prefix, name of its run file (the latest run), or `latest`.
        run: String,
        /// Only failed tasks, not those that were unfinished when the run ended.
        #[arg(long)]
        failed: bool,
        /// How progress and report are shown.
        #[command(flatten)]
        showing: Showing,
    },
    /// Show what `run` would do, without network calls or changes.
    Plan(PlanArgs),
    /// Simulate a run file: virtual time, simulated tasks, faults from a scenario.
    Simulate(SimulateArgs),
    /// Serve the local Azure Batch and Blob service to SDKs of any language.
    Serve(ServeArgs),
    /// Print variables that make official tools use the service of `serve`, for a shell or as JSON.
    Env(EnvArgs),
    /// List the runs of the state folder, or remove some.
    #[command(args_conflicts_with_subcommands = true)]
    Runs {
        /// What to do with runs; default: list them.
        #[command(subcommand)]
        what: Option<RunsCommand>,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Show the report of a run, or what a live run is doing.
    Show {
        /// Run name, unique prefix, name of its run file (the latest run), or `latest`.
        run: String,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
        /// Show the state of a live run every second until it ends.
        #[arg(long, short)]
        watch: bool,
    },
    /// Show the events of a run. `trace compare A B` shows what two runs did differently, `trace test DIR` compares the
    /// outlines beside scenarios, `trace accept DIR` renews them, and `trace crash DIR` crashes each scenario at every point.
    Trace {
        /// Run name, unique prefix, name of its run file (the latest run), or `latest`; or `compare`, `test`, `accept` or `crash`.
        run: String,
        /// For `test`, `accept` and `crash`: a folder of `*.scenario.toml` files. For `compare`: a run, or a file of events
        /// that `--json` printed.
        folder: Option<PathBuf>,
        /// For `compare`: the other run or file.
        other: Option<PathBuf>,
        /// Print one line per subject; subjects with equal histories share a line.
        #[arg(long)]
        outline: bool,
        /// Print every event as JSON, one per line.
        #[arg(long, conflicts_with = "outline")]
        json: bool,
    },
    /// Write a commented run file to start from.
    Init {
        /// Folder to write it to.
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Print the JSON Schema of run files, events or reports.
    Schema {
        /// What the schema describes.
        #[arg(default_value = "run-file", value_parser = ["run-file", "event", "report"])]
        of: String,
    },
    /// Print completions for a shell.
    Completions {
        /// Name of the shell.
        shell: clap_complete::Shell,
    },
}

/// What `runs` does.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Remove runs from the state folder. Their results stay. A run that has not ended, or left something at its service, is
    /// not removed.
    Remove {
        /// Run names, unique prefixes, names of run files (the latest run), or `latest`.
        #[arg(required = true)]
        runs: Vec<String>,
        /// Remove them in any case, unless a process works on them: `resume`, `retry` and `deliver` are not possible afterwards.
        #[arg(long)]
        force: bool,
    },
    /// Remove all runs that ended some time ago and left nothing at their service.
    Prune {
        /// How long ago, for example 30d.
        #[arg(long, value_name = "TIME")]
        older_than: Length,
        /// Remove interrupted runs, and runs that left something at their service, too.
        #[arg(long)]
        force: bool,
        /// Only print which runs would be removed.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Arguments of all commands that read run files.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Run files: TOML, YAML or JSON, by their extension.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Override a key of the file: section.key=value; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Run files to run.
    #[command(flatten)]
    pub files: FileArgs,
    /// Resume the latest interrupted run of each file; start a new run where there is none.
    #[arg(long)]
    pub resume: bool,
    /// Skip inputs whose results exist: from an earlier run of the file, for the same input, command, environment,
    /// application and outputs.
    #[arg(long)]
    pub skip_done: bool,
    /// With --skip-done: compare the content of results, not only their lengths.
    #[arg(long, requires = "skip_done")]
    pub check_content: bool,
    /// Run only the first N tasks, for example to try a run file; with --skip-done, the first N that are not done.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "resume")]
    pub limit: Option<u32>,
    /// Record every request and response in this folder, without secrets, for `simulate --replay`.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Record contents of results up to this length, longer ones as digests.
    #[arg(long, value_name = "BYTES", requires = "record", default_value_t = dropmill_azure_client::record::KEPT_BYTES)]
    pub record_bytes: usize,
    /// How progress and report are shown.
    #[command(flatten)]
    pub showing: Showing,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Run name, unique prefix, name of its run file (the latest run), or `latest`.
    pub run: String,
    /// A task: its input, the end or the beginning of its input, or its id. Default: all tasks, each line with its input.
    pub task: Option<String>,
    /// Follow the output until the task or the run ends; with several tasks, new ones too.
    #[arg(long, short)]
    pub follow: bool,
    /// Show standard error in place of standard output.
    #[arg(long)]
    pub stderr: bool,
    /// Only tasks that failed.
    #[arg(long, conflicts_with = "task")]
    pub failed: bool,
    /// Start with the last N lines of each task, of at most 256 KiB.
    #[arg(long, value_name = "N")]
    pub tail: Option<usize>,
}

/// How the progress of a run is shown.
#[derive(Debug, Clone, Args)]
pub struct Showing {
    /// Print one event per line on standard output as JSON, and the report last.
    #[arg(long)]
    pub json: bool,
    /// Print no progress, and of a run that succeeded one line.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The run file, with a `[watch]` section.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Override a key of the file: section.key=value; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one event per line on standard output as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The run file, with a `[watch]` section.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Override a key of the file: section.key=value; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print one line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The run file.
    #[arg(value_name = "FILE", required_unless_present = "replay")]
    pub file: Option<PathBuf>,
    /// Replay a recording of `run --record`, with the responses that were recorded.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "set", "scenario", "seed", "seeds"])]
    pub replay: Option<PathBuf>,
    /// Override a key of the file: section.key=value; can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Scenario of nodes, tasks and faults; without it nothing fails.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Seed for scheduling order and random faults.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Crash at this point, then resume, for example "after call 3" (`trace crash` prints points).
    #[arg(long, value_name = "POINT", conflicts_with_all = ["seeds", "replay"])]
    pub crash: Option<CrashPoint>,
    /// With --crash: downtime before the run resumes, for example 1h.
    #[arg(long, value_name = "TIME", requires = "crash")]
    pub down: Option<Length>,
    /// Check every rule on many seeds, for example 1..1000; the first seed that breaks one is shown.
    #[arg(long, value_name = "A..B", conflicts_with_all = ["seed", "json", "outline"])]
    pub seeds: Option<String>,
    /// Print one line per subject; subjects with equal histories share a line.
    #[arg(long)]
    pub outline: bool,
    /// Print every event as JSON, one per line, and the report last.
    #[arg(long, conflicts_with = "outline")]
    pub json: bool,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Run files to plan.
    #[command(flatten)]
    pub files: FileArgs,
    /// Print the plan as JSON.
    #[arg(long)]
    pub json: bool,
    /// Show for each input whether `run --skip-done` skips it, and if not, why.
    #[arg(long)]
    pub skip_done: bool,
    /// With --skip-done: compare the content of results, not only their lengths.
    #[arg(long, requires = "skip_done")]
    pub check_content: bool,
}

/// Arguments of `env`.
#[derive(Debug, Args)]
pub struct EnvArgs {
    /// Syntax of the output; `posix` is for bash, zsh and sh.
    #[arg(long, value_enum, default_value_t = Shell::Posix)]
    pub shell: Shell,
}

/// The reader of the variables that `env` prints.
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
    /// Address of Batch; loopback only unless TLS is on. Port 0 selects a free port.
    #[arg(long, default_value = "127.0.0.1:10100")]
    pub batch: String,
    /// Address of Blob; loopback only unless TLS is on. Port 0 selects a free port.
    #[arg(long, default_value = "127.0.0.1:10000")]
    pub blob: String,
    /// Serve over TLS with this certificate chain (PEM, the server's certificate first).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Host name in the addresses that clients get; the certificate must be valid for it.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Accept a SAS that demands HTTPS (`spr=https`) although Blob is served without TLS. Azure rejects it.
    #[arg(long)]
    pub allow_https_only_sas: bool,
    /// Reject requests with properties that Azure Batch does not have, such as `dependson` for `dependsOn`. By default each
    /// such property is logged once and ignored.
    #[arg(long)]
    pub strict: bool,
    /// Print a line on standard error for each request: time, client, service, status, error code, milliseconds until the
    /// response started, method and address. Signatures are left out.
    #[arg(long)]
    pub log_requests: bool,
    /// Inject the faults and incidents of a scenario; requests to /__faults and /__clock change them.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Seed for random faults of the scenario.
    #[arg(long, default_value_t = 1, requires = "scenario")]
    pub seed: u64,
    /// Application package for pools and tasks, a zip file or a folder; can be repeated. The last of several versions is
    /// the default version.
    #[arg(long = "application", value_name = "ID@VERSION=PATH")]
    pub applications: Vec<String>,
    /// Pass a variable of the environment of `serve` on to all tasks, by name or pattern (`PATH`, `CUDA_*`); can be repeated. By
    /// default, tasks get none.
    #[arg(long, value_name = "NAME")]
    pub inherit: Vec<String>,
    /// Print the connection as one line of JSON when the service is ready.
    #[arg(long)]
    pub json: bool,
}
