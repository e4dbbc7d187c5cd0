//! Dropmill inside another program: a run, or a daemon over a drop folder, in a thread of its own.
//!
//! A program calls `run_as_keeper` first in `main`, so that the processes of its tasks end with it. Nothing else is
//! global: no signal is handled, nothing is printed, the process is never ended, and any number of runs and daemons can run
//! at once. Handles are asynchronous and need no particular runtime; the `_blocking` forms need none.

mod daemon;
mod options;
mod run;

pub use daemon::{Daemon, DaemonBuilder};
pub use run::{ResumeBuilder, RetryBuilder, Run, RunBuilder};
