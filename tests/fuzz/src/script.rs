//! Requests as text, so that seeds can be read and written by hand:
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
//! Whatever cannot be a request is left out; what a URL cannot hold is percent-encoded, so that most changes of a
//! text stay requests.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

/// The most requests of one script.
const MOST: usize = 12;

/// One step of a script.
#[derive(Debug)]
pub enum Step {
    /// So many seconds pass.
    Wait(u64),
    /// A request.
    Send(Asked),
}

/// A request as it was written.
#[derive(Debug)]
pub struct Asked {
    /// What stands before the method: who sends it. Empty: the owner.
    pub sender: String,
    /// The method.
    pub method: Method,
    /// Path and query, with a slash in front.
    pub target: String,
    /// The headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Reads a script.
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
    Some(Step::Send(Asked {
        sender: sender.to_owned(),
        method: Method::from_bytes(word.as_bytes()).ok()?,
        target: encoded(target.trim_start_matches('/')),
        headers: headers.collect(),
        body: body.to_vec(),
    }))
}

/// A slash and the target, with everything encoded that a URL does not hold as it is.
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

impl Asked {
    /// The request, not signed yet.
    pub fn request(self, host: &'static str) -> Option<Request<Body>> {
        let uri: Uri = format!("http://{host}{}", self.target).parse().ok()?;
        let mut request = Request::new(Body::from(self.body));
        (*request.method_mut(), *request.uri_mut()) = (self.method, uri);
        request.headers_mut().insert("host", HeaderValue::from_static(host));
        for (name, value) in self.headers {
            // A fuzzed length or date would be refused before anything is looked at; `signing` is about those.
            if name != "content-length" && name != "authorization" {
                request.headers_mut().append(name, value);
            }
        }
        Some(request)
    }
}
