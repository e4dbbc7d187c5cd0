//! `$filter`: a parsed filter survives a round trip, and entries that match it meet the conditions derived
//! from it.
#![no_main]

use dropmill_azure_wire::time::{Timestamp, iso};
use dropmill_local_azure::model::{
    Fields,
    query::{Comparison, Filter, Select, Value},
};
use libfuzzer_sys::fuzz_target;

const PROPERTIES: [&str; 6] =
    ["id", "state", "creationTime", "executionInfo/exitCode", "enableAutoScale", "lastModified"];

struct Entry;

impl Fields for Entry {
    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "id" => Some(Value::Text("task-ä-1".into())),
            "state" => Some(Value::Text("completed".into())),
            "creationTime" => "2026-03-02T10:11:12Z".parse().ok().map(Value::Moment),
            "executionInfo/exitCode" => Some(Value::Number(1)),
            "enableAutoScale" => Some(Value::Bool(true)),
            _ => None,
        }
    }
}

fuzz_target!(|text: &str| {
    let _ = Select::parse(text).wants("id");
    let Ok(filter) = Filter::parse(text, &PROPERTIES) else { return };
    let written = written(&filter);
    // Added parentheses and spaces may exceed the maximum length of a filter.
    if let Ok(again) = Filter::parse(&written, &PROPERTIES) {
        assert_eq!(again, filter, "{written}");
    } else {
        assert!(text.len() > 200, "not parsed again: {written}");
    }
    let lets = filter.lets(&Entry);
    if lets && let Some(Value::Text(state)) = filter.must_equal("state") {
        assert!(state.eq_ignore_ascii_case("completed"));
    }
    if lets && let Some(time) = filter.not_before("creationTime") {
        let created: Timestamp = "2026-03-02T10:11:12Z".parse().expect("a valid time");
        assert!(time <= created);
    }
});

/// Writes a filter with only the necessary parentheses; `and` and `or` are left-associative.
fn written(filter: &Filter) -> String {
    let inner = |filter: &Filter, bracket: bool| {
        let text = written(filter);
        if bracket { format!("({text})") } else { text }
    };
    match filter {
        Filter::And(one, other) => format!(
            "{} and {}",
            inner(one, matches!(**one, Filter::Or(..))),
            inner(other, matches!(**other, Filter::Or(..) | Filter::And(..)))
        ),
        Filter::Or(one, other) => {
            format!("{} or {}", inner(one, false), inner(other, matches!(**other, Filter::Or(..))))
        }
        Filter::StartsWith(name, prefix) => format!("startswith({name}, '{}')", prefix.replace('\'', "''")),
        Filter::Compare(name, comparison, value) => {
            let sign = match comparison {
                Comparison::Eq => "eq",
                Comparison::Ne => "ne",
                Comparison::Ge => "ge",
                Comparison::Gt => "gt",
                Comparison::Le => "le",
                Comparison::Lt => "lt",
            };
            let value = match value {
                Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
                Value::Moment(time) => format!("DateTime'{}'", precise(*time)),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
            };
            format!("{name} {sign} {value}")
        }
    }
}

fn precise(time: Timestamp) -> String {
    // Use nine digits if seven would lose precision.
    if time.as_nanosecond() % 100 == 0 { iso(time) } else { time.to_string() }
}
