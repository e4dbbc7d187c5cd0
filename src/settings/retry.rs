//! Causes of failed attempts and limits of failed tasks, as run files write them.

use super::nearest_of;
use dropmill_lifecycle::{
    attempts::{CauseWord, RetryCause as PlannedCause},
    plan::FailureLimit,
};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};
use std::fmt;

/// A cause of a failed attempt: an exit code, or a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "CauseSchema")]
pub struct RetryCause(pub PlannedCause);

/// A number of failed tasks, or a share of all tasks such as `"5%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "FailuresSchema")]
pub struct MaxFailures(pub FailureLimit);

/// An exit code, or a word that stands for a kind of failure.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it exists for its schema")]
enum CauseSchema {
    Code(u8),
    Word(CauseNames),
}

/// The words for kinds of failures.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "it exists for its schema")]
enum CauseNames {
    ExitCode,
    Timeout,
    NodeLost,
    Inputs,
    Outputs,
    Environment,
}

/// A number of tasks, or a share of all tasks such as "5%".
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it exists for its schema")]
enum FailuresSchema {
    Tasks(u32),
    Share(String),
}

/// Reads a whole number or a text.
struct NumberOrText<T> {
    what: &'static str,
    number: fn(i64) -> Result<T, String>,
    text: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for NumberOrText<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        (self.number)(number).map_err(E::custom)
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        (self.number)(i64::try_from(number).unwrap_or(i64::MAX)).map_err(E::custom)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.text)(text).map_err(E::custom)
    }
}

fn exit_code(number: i64) -> Result<RetryCause, String> {
    match u8::try_from(number) {
        Ok(code) => Ok(RetryCause(PlannedCause::Code(code.into()))),
        Err(_) => Err(format!("{number} is no exit code: exit codes are from 0 to 255")),
    }
}

fn cause_word(text: &str) -> Result<RetryCause, String> {
    if let Some(word) = CauseWord::ALL.into_iter().find(|word| word.as_str() == text) {
        return Ok(RetryCause(PlannedCause::Word(word)));
    }
    if text.trim().parse::<i64>().is_ok() {
        return Err(format!("{text:?} is a text: write an exit code without quotes"));
    }
    let names = CauseWord::ALL.map(CauseWord::as_str);
    let hint = nearest_of(text, names).map(|name| format!("did you mean {name:?}? "));
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    let hint = hint.unwrap_or_default();
    Err(format!("{text:?} is not possible; {hint}it is an exit code or one of {}", names.join(", ")))
}

fn failed_tasks(number: i64) -> Result<MaxFailures, String> {
    match u32::try_from(number) {
        Ok(tasks) if tasks > 0 => Ok(MaxFailures(FailureLimit::Tasks(tasks))),
        _ => Err(format!("{number} is not possible: it must be at least 1; leave the key out for no limit")),
    }
}

/// Reads a share: `"5%"`, `"2.5%"`, with at most two decimals.
fn share(text: &str) -> Result<MaxFailures, String> {
    let wrong =
        || format!("{text:?} is no share of the tasks: write a number of tasks, or for example \"5%\"");
    let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 2 || number.ends_with('.') || !is_number(whole) || !is_number(part) {
        return Err(wrong());
    }
    let hundredths: u32 = format!("{whole}{part:0<2}").parse().map_err(|_| wrong())?;
    if !(1..=10_000).contains(&hundredths) {
        return Err(format!("{text:?} is not possible: it must be more than 0% and at most 100%"));
    }
    Ok(MaxFailures(FailureLimit::PercentHundredths(hundredths)))
}

impl fmt::Display for MaxFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FailureLimit::Tasks(tasks) => write!(f, "{tasks}"),
            FailureLimit::PercentHundredths(share) if share % 100 == 0 => write!(f, "{}%", share / 100),
            FailureLimit::PercentHundredths(share) => write!(f, "{}.{:02}%", share / 100, share % 100),
        }
    }
}

impl<'de> Deserialize<'de> for RetryCause {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let what = "an exit code or a word";
        from.deserialize_any(NumberOrText { what, number: exit_code, text: cause_word })
    }
}

impl Serialize for RetryCause {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for MaxFailures {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let what = "a number of tasks or a share such as \"5%\"";
        from.deserialize_any(NumberOrText { what, number: failed_tasks, text: share })
    }
}

impl Serialize for MaxFailures {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            FailureLimit::Tasks(tasks) => to.serialize_u32(tasks),
            FailureLimit::PercentHundredths(_) => to.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_exit_codes_and_words_of_a_closed_list() {
        for (text, expected) in [
            ("75", Ok(PlannedCause::Code(75))),
            ("\"timeout\"", Ok(PlannedCause::Word(CauseWord::Timeout))),
            ("\"node_lost\"", Ok(PlannedCause::Word(CauseWord::NodeLost))),
            ("\"node-lost\"", Err("did you mean \"node_lost\"? it is an exit code or one of \"exit_code\"")),
            ("\"elephant\"", Err("\"elephant\" is not possible; it is an exit code or one of")),
            ("\"75\"", Err("write an exit code without quotes")),
            ("256", Err("256 is no exit code")),
            ("-1", Err("-1 is no exit code")),
            ("1.5", Err("expected an exit code or a word")),
        ] {
            let found: Result<RetryCause, _> = serde_json::from_str(text);
            match (found, expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found.0, expected);
                    assert_eq!(serde_json::to_string(&found).unwrap(), text);
                }
                (Err(error), Err(message)) => assert!(error.to_string().contains(message), "{text}: {error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        let schema = serde_json::to_string(&schemars::schema_for!(RetryCause)).unwrap();
        for word in CauseWord::ALL {
            assert!(schema.contains(&format!("\"{}\"", word.as_str())), "{word:?}: {schema}");
        }
    }

    #[test]
    fn a_limit_of_failures_is_a_number_or_a_share() {
        use FailureLimit::{PercentHundredths, Tasks};
        for (text, limit) in [
            ("20", Tasks(20)),
            ("\"5%\"", PercentHundredths(500)),
            ("\"2.50%\"", PercentHundredths(250)),
            ("\"0.01%\"", PercentHundredths(1)),
            ("\"100%\"", PercentHundredths(10_000)),
        ] {
            let found: MaxFailures = serde_json::from_str(text).unwrap();
            assert_eq!(found.0, limit, "{text}");
            assert_eq!(serde_json::to_string(&found).unwrap(), text);
        }
        for text in
            ["0", "-3", "\"0%\"", "\"101%\"", "\"5\"", "\"5.%\"", "\"%\"", "\"1.234%\"", "\"-5%\"", "true"]
        {
            assert!(serde_json::from_str::<MaxFailures>(text).is_err(), "{text}");
        }
    }
}
