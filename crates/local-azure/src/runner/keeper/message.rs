//! The messages between runner, keeper and shims, as bytes.
//!
//! Paths and variables are arbitrary bytes, so messages are not text. Both ends are the same build of the
//! same program, so messages have no version.

use crate::{
    orders::{NodeFailure, Spent},
    runner::{environment::Environment, place::TaskPlace, program::Prints},
};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
};

/// A request of the runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runner) enum Request {
    /// Become the keeper. The lock is sent with it.
    BeKeeper,
    /// Become a shim. The lock is sent with it.
    BeShim,
    /// To the keeper: start a shim with this number; its standard input is the socket that is sent with it.
    NewShim(u64),
    /// To the keeper: end the shim with this number, and reply when nothing is left of it and of its task.
    Settle(u64),
    /// To a shim: start a command.
    Start(Box<Start>),
    /// To a shim: send SIGTERM to the process groups of its commands.
    Terminate,
    /// To a shim: kill its commands and everything that is orphaned by now.
    Kill,
    /// To a shim: end everything, including what a command with `stays` left.
    End,
}

/// A command to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runner) struct Start {
    /// Command line, as Batch splits it.
    pub line: String,
    /// Folders of the task.
    pub place: TaskPlace,
    /// All environment variables.
    pub environment: Environment,
    /// Where its output is written.
    pub prints: Prints,
    /// Whether the processes that it leaves run until the next [`Request::End`] or the end of the next
    /// command.
    pub stays: bool,
}

/// A reply of the keeper or a shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runner) enum Reply {
    /// Answer to [`Request::BeKeeper`].
    Ready,
    /// The process cannot become what was requested; it exits.
    Broken(String),
    /// To [`Request::Settle`] with this number.
    Settled(u64),
    /// The command runs: its process number, and its start time if known.
    Started { process: i32, start: Option<u64> },
    /// The command could not be started.
    Failed(NodeFailure),
    /// A command that `stays` has exited with this code.
    Exited { code: i32 },
    /// Nothing runs any more: the exit code of the command, and the resource usage of all processes that
    /// ended since the last such reply.
    Ended { code: i32, spent: Spent },
}

impl Request {
    /// Returns it as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::BeKeeper => out.byte(0),
            Self::BeShim => out.byte(1),
            Self::NewShim(number) => {
                out.byte(2);
                out.number(*number);
            }
            Self::Settle(number) => {
                out.byte(3);
                out.number(*number);
            }
            Self::Terminate => out.byte(4),
            Self::Kill => out.byte(5),
            Self::End => out.byte(6),
            Self::Start(start) => {
                out.byte(7);
                out.text(start.line.as_bytes());
                for path in [&start.place.node, &start.place.directory, &start.place.working] {
                    out.text(path.as_os_str().as_bytes());
                }
                out.byte(u8::from(start.prints == Prints::After));
                out.byte(u8::from(start.stays));
                out.number(start.environment.len() as u64);
                for (name, value) in &start.environment {
                    out.text(name.as_bytes());
                    out.text(value.as_bytes());
                }
            }
        }
        out.0
    }

    /// Parses bytes; `None` if they are not a request.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        Some(match from.byte()? {
            0 => Self::BeKeeper,
            1 => Self::BeShim,
            2 => Self::NewShim(from.number()?),
            3 => Self::Settle(from.number()?),
            4 => Self::Terminate,
            5 => Self::Kill,
            6 => Self::End,
            7 => Self::Start(Box::new(Start {
                line: from.string()?,
                place: TaskPlace {
                    node: from.os()?.into(),
                    directory: from.os()?.into(),
                    working: from.os()?.into(),
                },
                prints: if from.byte()? == 0 { Prints::Anew } else { Prints::After },
                stays: from.byte()? != 0,
                environment: (0..from.number()?)
                    .map(|_| Some((from.string()?, from.os()?)))
                    .collect::<Option<_>>()?,
            })),
            _ => return None,
        })
    }
}

impl Reply {
    /// Returns it as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Ready => out.byte(0),
            Self::Broken(why) => {
                out.byte(1);
                out.text(why.as_bytes());
            }
            Self::Settled(number) => {
                out.byte(2);
                out.number(*number);
            }
            Self::Started { process, start } => {
                out.byte(3);
                out.number(u64::from(process.unsigned_abs()));
                out.number(start.map_or(0, |start| start + 1));
            }
            Self::Failed(failure) => {
                out.byte(4);
                out.byte(u8::from(failure.user_error));
                out.text(failure.code.as_bytes());
                out.text(failure.message.as_bytes());
                out.number(failure.details.len() as u64);
                for (name, value) in &failure.details {
                    out.text(name.as_bytes());
                    out.text(value.as_bytes());
                }
            }
            Self::Exited { code } => {
                out.byte(5);
                out.number(u64::from(code.unsigned_abs()));
            }
            Self::Ended { code, spent } => {
                out.byte(6);
                out.number(u64::from(code.unsigned_abs()));
                for number in [spent.user_us, spent.kernel_us, spent.read_blocks, spent.written_blocks] {
                    out.number(number);
                }
            }
        }
        out.0
    }

    /// Parses bytes; `None` if they are not a reply.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        Some(match from.byte()? {
            0 => Self::Ready,
            1 => Self::Broken(from.string()?),
            2 => Self::Settled(from.number()?),
            3 => Self::Started { process: from.int()?, start: from.number()?.checked_sub(1) },
            4 => Self::Failed(NodeFailure {
                user_error: from.byte()? != 0,
                code: from.string()?,
                message: from.string()?,
                details: (0..from.number()?)
                    .map(|_| Some((from.string()?, from.string()?)))
                    .collect::<Option<_>>()?,
            }),
            5 => Self::Exited { code: from.int()? },
            6 => Self::Ended {
                code: from.int()?,
                spent: Spent {
                    user_us: from.number()?,
                    kernel_us: from.number()?,
                    read_blocks: from.number()?,
                    written_blocks: from.number()?,
                },
            },
            _ => return None,
        })
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.0.extend(text);
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn int(&mut self) -> Option<i32> {
        self.number()?.try_into().ok()
    }

    fn text(&mut self) -> Option<&[u8]> {
        let length = self.number()?.try_into().ok()?;
        self.take(length)
    }

    fn string(&mut self) -> Option<String> {
        String::from_utf8(self.text()?.to_vec()).ok()
    }

    fn os(&mut self) -> Option<OsString> {
        Some(OsStr::from_bytes(self.text()?).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;

    fn requests() -> impl Strategy<Value = Request> {
        let os = || prop::collection::vec(any::<u8>(), 0..40).prop_map(OsString::from_vec);
        let start =
            (".*", [os(), os(), os()], prop::collection::btree_map(".*", os(), 0..5), any::<[bool; 2]>())
                .prop_map(|(line, [node, directory, working], environment, [after, stays])| Start {
                    line,
                    place: TaskPlace {
                        node: node.into(),
                        directory: directory.into(),
                        working: working.into(),
                    },
                    environment,
                    prints: if after { Prints::After } else { Prints::Anew },
                    stays,
                });
        prop_oneof![
            prop::sample::select(vec![
                Request::BeKeeper,
                Request::BeShim,
                Request::NewShim(3),
                Request::Settle(u64::MAX),
                Request::Terminate,
                Request::Kill,
                Request::End,
            ]),
            start.prop_map(|start| Request::Start(Box::new(start))),
        ]
    }

    fn replies() -> impl Strategy<Value = Reply> {
        let code = || 0..=255_i32;
        let failure = (any::<bool>(), ".*", ".*", prop::collection::vec((".*", ".*"), 0..3));
        prop_oneof![
            Just(Reply::Ready),
            any::<u64>().prop_map(Reply::Settled),
            ".*".prop_map(Reply::Broken),
            (1..i32::MAX, prop::option::of(0..u64::MAX))
                .prop_map(|(process, start)| Reply::Started { process, start }),
            failure.prop_map(|(user_error, code, message, details)| Reply::Failed(NodeFailure {
                user_error,
                code,
                message,
                details
            })),
            code().prop_map(|code| Reply::Exited { code }),
            (code(), any::<[u64; 4]>()).prop_map(|(code, numbers)| {
                let [user_us, kernel_us, read_blocks, written_blocks] = numbers;
                Reply::Ended { code, spent: Spent { user_us, kernel_us, read_blocks, written_blocks } }
            }),
        ]
    }

    proptest! {
        #[test]
        fn encoded_messages_can_be_decoded(request in requests(), reply in replies()) {
            prop_assert_eq!(Request::decode(&request.encode()), Some(request));
            prop_assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        }

        #[test]
        fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (Request::decode(&bytes), Reply::decode(&bytes));
        }
    }
}
