//! Scripts: requests as text, so that people can read and write seeds:
//!
//! ```text
//! POST jobs/j/tasks?timeout=30
//! if-match: *
//!
//! {"id":"t","commandLine":"x"}
//! %%
//! WAIT 3600
//! %%
//! sas:rl GET con/a
//! ```
//!
//! Parts that are not valid requests are skipped, and characters that are not valid in a URL are percent-encoded,
//! so that most mutations of a text are still requests.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

/// Maximum number of steps in one script.
const MOST: usize = 12;

/// A step of a script.
#[derive(Debug)]
pub enum Step {
    /// Advance the virtual time by this number of seconds.
    Wait(u64),
    /// Send a request.
    Send(ScriptedRequest),
}

/// A request as written in a script.
#[derive(Debug)]
pub struct ScriptedRequest {
    /// Text before the method, which selects the sender; empty for the account owner.
    pub sender: String,
    /// HTTP method of the request.
    pub method: Method,
    /// Path and query, with a leading slash.
    pub target: String,
    /// Headers as written, unsigned.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Request body; empty if there is none.
    pub body: Vec<u8>,
}

/// Parses a script; skips invalid requests.
pub fn read(text: &[u8]) -> Vec<Step> {
    let mut steps = vec![];
    let mut rest = text;
    while !rest.is_empty() && steps.len() < MOST {
        let (part, next) = cut(rest, b"\n%%\n").unwrap_or((rest, b""));
        steps.extend(step(part));
        rest = next;
    }
    steps
}

fn cut<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let from = text.windows(at.len()).position(|window| window == at)?;
    Some((&text[..from], &text[from + at.len()..]))
}

fn step(part: &[u8]) -> Option<Step> {
    let (head, body) = cut(part, b"\n\n").unwrap_or((part.strip_suffix(b"\n").unwrap_or(part), b""));
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next()?).into_owned();
    let (mut word, mut target) = first.split_once(' ')?;
    if word == "WAIT" {
        return Some(Step::Wait(target.trim().parse().ok()?));
    }
    let mut sender = "";
    if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b':') {
        (sender, (word, target)) = (word, target.split_once(' ')?);
    }
    let headers = lines.filter_map(|line| {
        let (name, value) = cut(line, b":")?;
        Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value.trim_ascii()).ok()?))
    });
    Some(Step::Send(ScriptedRequest {
        sender: sender.to_owned(),
        method: Method::from_bytes(word.as_bytes()).ok()?,
        target: encoded(target.trim_start_matches('/')),
        headers: headers.collect(),
        body: body.to_vec(),
    }))
}

/// Returns the target with a leading slash, with all characters encoded that are not valid in a URL.
fn encoded(target: &str) -> String {
    let mut text = String::from("/");
    for byte in target.bytes() {
        match byte {
            b'!'..=b'~' if !b"\"<>\\^`{|}#".contains(&byte) => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

impl ScriptedRequest {
    /// Builds the unsigned request; `None` if it is invalid.
    pub fn request(self, host: &'static str) -> Option<Request<Body>> {
        let uri: Uri = format!("http://{host}{}", self.target).parse().ok()?;
        let mut request = Request::new(Body::from(self.body));
        (*request.method_mut(), *request.uri_mut()) = (self.method, uri);
        request.headers_mut().insert("host", HeaderValue::from_static(host));
        for (name, value) in self.headers {
            // A fuzzed length or date would be rejected before the rest is examined; the target `signing`
            // covers those.
            if name != "content-length" && name != "authorization" {
                request.headers_mut().append(name, value);
            }
        }
        Some(request)
    }
}
