//! Requests and responses of the control socket.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Version of the protocol; requests and fields are only added within a major version.
pub const VERSION: &str = "1.0";

/// Which of a task's streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output of the task.
    #[default]
    Stdout,
    /// Standard error of the task.
    Stderr,
}

impl Stream {
    /// Returns the name of the file that holds it.
    pub fn file(self) -> &'static str {
        match self {
            Self::Stdout => "stdout.txt",
            Self::Stderr => "stderr.txt",
        }
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Asks for the process that listens and the progress of the run.
    Status {},
    /// Asks for a part of a task's standard output or error.
    Log {
        /// Id of the task.
        task: String,
        /// Number of the attempt, from 1; 0: the latest.
        #[serde(default)]
        attempt: u32,
        /// The stream to read.
        #[serde(default)]
        stream: Stream,
        /// Offset of the first byte.
        #[serde(default)]
        at: u64,
        /// Counts `at` from the end of the stream: its last bytes, as many as `at` says.
        #[serde(default)]
        from_end: bool,
        /// The most bytes to return; the server returns at most 256 KiB.
        len: u32,
        /// How long to wait for the first byte, in milliseconds, if there is none yet; at most 30,000.
        #[serde(default)]
        wait_ms: u32,
    },
    /// Ends the run after finished results are delivered, or ends only some of its tasks.
    Cancel {
        /// Ids of tasks; empty means the whole run.
        #[serde(default)]
        tasks: Vec<String>,
        /// Ends the process at once: tasks are killed, and `resume` continues the run later.
        #[serde(default)]
        now: bool,
    },
    /// Starts no new task until `resume`; running tasks continue.
    Pause {},
    /// Ends a pause.
    Resume {},
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// Answer to [`Request::Status`].
    Status(RunStatus),
    /// Answer to [`Request::Log`].
    Log(LogPart),
    /// The request was accepted; events show what happens next.
    Accepted {
        /// What will happen, for a person.
        message: String,
    },
    /// The request was rejected or failed.
    Error(ControlError),
}

/// The process that listens, and the progress of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Version of the protocol, [`VERSION`].
    pub version: String,
    /// Name of the run.
    pub run: String,
    /// Process id of the server.
    pub pid: u32,
    /// Number of the last event that is durable.
    pub last: u64,
    /// Whether the run is paused.
    pub paused: bool,
}

/// A part of a task's standard output or error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPart {
    /// Whether more may follow.
    pub state: LogState,
    /// Number of the attempt that wrote it, from 1.
    pub attempt: u32,
    /// Number of the latest attempt of the task.
    pub latest: u32,
    /// Offset of the first byte of `data`.
    pub at: u64,
    /// The bytes, in base64.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub data: Vec<u8>,
}

/// Whether more of a stream may follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogState {
    /// The task has not started.
    #[default]
    Waiting,
    /// The task is running: more may follow.
    Live,
    /// The attempt has ended: `data` is the last part if it is shorter than what was asked for.
    Final,
    /// The service no longer has the stream, and it was not delivered.
    Gone,
}

/// Why a request was rejected or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// A word for programs: `bad_request`, `unknown_task`, `not_possible`, `service`, `busy`.
    pub code: String,
    /// The reason, for a person.
    pub message: String,
}

impl ControlError {
    /// Creates an error.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_the_document_says() {
        for (request, text) in [
            (Request::Status {}, r#"{"request":"status"}"#),
            (
                Request::Log {
                    task: "a".into(),
                    attempt: 0,
                    stream: Stream::Stderr,
                    at: 3,
                    from_end: false,
                    len: 10,
                    wait_ms: 0,
                },
                r#"{"request":"log","task":"a","attempt":0,"stream":"stderr","at":3,"from_end":false,"len":10,"wait_ms":0}"#,
            ),
            (
                Request::Cancel { tasks: vec!["a".into()], now: false },
                r#"{"request":"cancel","tasks":["a"],"now":false}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
        let part = LogPart { state: LogState::Live, attempt: 1, latest: 2, at: 3, data: b"hi\xff".to_vec() };
        let text = r#"{"response":"log","state":"live","attempt":1,"latest":2,"at":3,"data":"aGn/"}"#;
        assert_eq!(serde_json::to_string(&Response::Log(part.clone())).unwrap(), text);
        assert_eq!(serde_json::from_str::<Response>(text).unwrap(), Response::Log(part));
    }

    #[test]
    fn missing_fields_have_defaults_and_unknown_ones_are_rejected() {
        let log: Request = serde_json::from_str(r#"{"request":"log","task":"a","len":1}"#).unwrap();
        assert_eq!(
            log,
            Request::Log {
                task: "a".into(),
                attempt: 0,
                stream: Stream::Stdout,
                at: 0,
                from_end: false,
                len: 1,
                wait_ms: 0
            }
        );
        serde_json::from_str::<Request>(r#"{"request":"cancel","task":"a"}"#).unwrap_err();
        serde_json::from_str::<Request>(r#"{"request":"explode"}"#).unwrap_err();
    }
}
