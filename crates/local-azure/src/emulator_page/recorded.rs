//! The differences that recorded sessions with the real service show.

use serde::Deserialize;

const LIST: &str = include_str!("../../../../tests/sdk/recordings/differences.toml");

#[derive(Deserialize)]
struct List {
    difference: Vec<Difference>,
}

#[derive(Deserialize)]
struct Difference {
    call: Texts,
    at: Texts,
    what: Option<Texts>,
    of: Option<Texts>,
    reason: String,
    #[serde(default)]
    sometimes: bool,
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    More(Vec<String>),
}

impl Texts {
    fn shown(&self) -> String {
        let texts: &[String] = match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::More(texts) => texts,
        };
        texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
    }
}

/// Returns all differences.
pub fn table() -> String {
    let list: List = toml::from_str(LIST).unwrap();
    let mut text = "| call | where | how | because |\n|---|---|---|---|\n".to_owned();
    for one in &list.difference {
        let of = one.of.as_ref().map(|of| format!(" of {}", of.shown())).unwrap_or_default();
        let what = one.what.as_ref().map(Texts::shown).unwrap_or_default();
        let what = if one.sometimes { format!("{what} at times") } else { what };
        text.push_str(&format!(
            "| {}{of} | {} | {} | {} |\n",
            one.call.shown(),
            one.at.shown(),
            what.trim(),
            one.reason
        ));
    }
    text
}
