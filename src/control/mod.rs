//! The control socket: how another process of the same user talks to a live run.
//!
//! Each process that works on a run listens on `control.sock` in the folder of the run. A request is one line of JSON, and so
//! is the response. `docs/control.md` describes both for programs in other languages.
//!
//! ```text
//! {"request":"log","task":"3-txt-17","stream":"stdout","at":0,"len":65536,"wait_ms":1000}
//! {"response":"log","state":"live","size":12,"at":0,"data":"aGVsbG8gd29ybGQK"}
//! ```

mod client;
mod live;
mod message;
mod server;
mod socket;

pub use client::ControlClient;
pub use live::LiveRun;
pub use message::{ControlError, LogPart, LogState, Request, Response, RunStatus, Stream, VERSION};
pub use server::{Answer, ControlServer};
pub use socket::SOCKET;
