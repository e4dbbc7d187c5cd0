//! Sweeps: each combination of values is a task. Values keep the text of the run file, so that `0.10` stays `0.10`.

use crate::{Problem, names};
use toml_edit::{DocumentMut, Item, TableLike, Value};

/// Maximum number of values of one axis.
const MOST_VALUES: usize = 1_000_000;
const KEY: &str = "input.sweep";
const SCALARS: &str = "expected a list of texts, numbers or truth values";
const VALUES: &str = "expected a list of values, or a range such as \"1..100\"";

/// A name and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Name of the value, as placeholders write it.
    pub name: String,
    /// The values as text.
    pub values: Vec<String>,
}

impl Axis {
    /// Creates an axis.
    pub fn new(name: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.to_owned(), values: values.into_iter().map(Into::into).collect() }
    }
}

/// Reads `[input.sweep]` of a run file in TOML, in the order of the file.
///
/// # Errors
/// Returns every problem with a value.
pub fn of_toml(text: &str) -> Result<Vec<Axis>, Vec<Problem>> {
    let document: DocumentMut = match text.parse() {
        Ok(document) => document,
        Err(error) => return Err(vec![Problem::new(KEY, format!("invalid TOML: {error}"))]),
    };
    let sweep = document.get("input").and_then(Item::as_table_like).and_then(|input| input.get("sweep"));
    match sweep {
        None => Ok(vec![]),
        Some(sweep) => match sweep.as_table_like() {
            Some(table) => axes(table),
            None => Err(vec![Problem::new(
                KEY,
                "expected a table, for example [input.sweep] with seed = \"1..100\"",
            )]),
        },
    }
}

fn axes(table: &dyn TableLike) -> Result<Vec<Axis>, Vec<Problem>> {
    let (mut axes, mut problems) = (vec![], vec![]);
    for (name, item) in table.iter() {
        let key = format!("{KEY}.{name}");
        if let Some(problem) = names::problem_of(name) {
            problems.push(Problem::new(&key, problem));
        }
        let values = match item.as_value() {
            Some(Value::Array(values)) => {
                values.iter().map(scalar).collect::<Option<Vec<_>>>().ok_or_else(|| SCALARS.to_owned())
            }
            Some(Value::String(text)) => range(text.value()),
            _ => Err(VALUES.to_owned()),
        };
        match values.and_then(|values| check(&values).map(|()| values)) {
            Ok(values) => axes.push(Axis { name: name.to_owned(), values }),
            Err(message) => problems.push(Problem::new(&key, message)),
        }
    }
    if problems.is_empty() { Ok(axes) } else { Err(problems) }
}

/// Reads an axis of a run file that is not TOML, or of the command line: a list of values, or the text of a range.
///
/// # Errors
/// Returns what is wrong with it.
pub fn of_json(name: &str, value: &serde_json::Value) -> Result<Axis, Problem> {
    use serde_json::Value as Json;
    let text = |value: &Json| match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    };
    let values = match value {
        Json::Array(values) => {
            values.iter().map(text).collect::<Option<Vec<_>>>().ok_or_else(|| SCALARS.to_owned())
        }
        Json::String(text) => range(text),
        _ => Err(VALUES.to_owned()),
    };
    let named = names::problem_of(name).map_or(Ok(()), Err);
    let values = named.and(values).and_then(|values| check(&values).map(|()| values));
    values
        .map(|values| Axis { name: name.to_owned(), values })
        .map_err(|message| Problem::new(format!("{KEY}.{name}"), message))
}

/// Checks the values of an axis.
///
/// # Errors
/// Fails if there is no value, a duplicate, or one that cannot be an argument.
pub fn check(values: &[String]) -> Result<(), String> {
    if values.is_empty() {
        return Err("expected at least one value".into());
    }
    let mut seen = std::collections::BTreeSet::new();
    for value in values {
        if value.contains('\0') {
            return Err(format!("{value:?} has a zero byte, which no argument can have"));
        }
        if !seen.insert(value) {
            return Err(format!("{value:?} is listed twice"));
        }
    }
    Ok(())
}

/// Returns the text of a value as the file has it; a string without its quotes.
fn scalar(value: &Value) -> Option<String> {
    let raw = |repr: Option<&toml_edit::Repr>, fallback: String| {
        repr.and_then(|repr| repr.as_raw().as_str()).map_or(fallback, ToOwned::to_owned)
    };
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(raw(number.as_repr(), number.value().to_string())),
        Value::Float(number) => Some(raw(number.as_repr(), number.value().to_string())),
        Value::Boolean(is_true) => Some(is_true.value().to_string()),
        Value::Datetime(time) => Some(raw(time.as_repr(), time.value().to_string())),
        Value::Array(_) | Value::InlineTable(_) => None,
    }
}

/// Reads a range of whole numbers, both bounds included: `1..100`. A bound with leading zeros gives all numbers its width.
///
/// # Errors
/// Returns a message if it is not a range, or has too many numbers.
pub fn range(text: &str) -> Result<Vec<String>, String> {
    let invalid =
        || format!("expected a range such as \"1..100\" (100 included) or a list of values, found {text:?}");
    let (first, last) = text.split_once("..").ok_or_else(invalid)?;
    let (first, last) = (first.trim(), last.trim().trim_start_matches('='));
    let number = |text: &str| text.parse::<i64>().map_err(|_| invalid());
    let (from, to) = (number(first)?, number(last)?);
    if from > to {
        return Err(format!("{text:?} is empty: its first number is larger than its last"));
    }
    let count =
        to.checked_sub(from).and_then(|less| usize::try_from(less).ok()).and_then(|less| less.checked_add(1));
    if count.is_none_or(|count| count > MOST_VALUES) {
        return Err(format!("{text:?} has more than {MOST_VALUES} numbers"));
    }
    let padded = |text: &str| text.len() > 1 && text.starts_with('0');
    let width = if padded(first) || padded(last) { first.len().max(last.len()) } else { 0 };
    Ok((from..=to).map(|number| format!("{number:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_the_text_of_the_file() {
        let text = "[input]\nfiles = []\n[input.sweep]\nalpha = [0.10, 1e-3, 0.5]\nseed = \"1..3\"\nmode = ['a b', \"x\\ty\"]\nbig = [1_000, 0x1F]\non = [true, false]\n";
        let axes = of_toml(text).unwrap();
        let shown: Vec<_> =
            axes.iter().map(|axis| format!("{}: {}", axis.name, axis.values.join("|"))).collect();
        assert_eq!(
            shown,
            ["alpha: 0.10|1e-3|0.5", "seed: 1|2|3", "mode: a b|x\ty", "big: 1_000|0x1F", "on: true|false"]
        );
        assert_eq!(of_toml("input = { sweep = { a = [1] } }").unwrap(), [Axis::new("a", ["1"])]);
        assert_eq!(of_toml("[run]\nname = 'x'").unwrap(), []);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let text =
            "[input.sweep]\na = []\nb = [[1]]\nc = \"x\"\ninput = [1]\nd = [1, 1]\n\"2e\" = [1]\nf = 3\n";
        let problems = of_toml(text).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        let expected = ["a", "b", "c", "input", "d", "2e", "f"].map(|name| format!("input.sweep.{name}"));
        assert_eq!(keys, expected);
    }

    #[test]
    fn axes_of_json_are_lists_or_ranges() {
        use serde_json::json;
        assert_eq!(of_json("a", &json!(["x", 1, true])), Ok(Axis::new("a", ["x", "1", "true"])));
        assert_eq!(of_json("a", &json!("1..2")), Ok(Axis::new("a", ["1", "2"])));
        for wrong in [json!(1), json!([[]]), json!([null]), json!({}), json!([])] {
            assert!(of_json("a", &wrong).is_err(), "{wrong}");
        }
        assert!(of_json("input", &json!([1])).is_err());
    }

    #[test]
    fn a_range_has_both_of_its_ends() {
        for (text, expected) in [
            ("1..3", Some("1 2 3")),
            ("1..=3", Some("1 2 3")),
            ("-1..1", Some("-1 0 1")),
            ("5..5", Some("5")),
            ("08..11", Some("08 09 10 11")),
            ("3..1", None),
            ("1..", None),
            ("a..b", None),
            ("1", None),
            ("0..99999999999", None),
            ("-9223372036854775808..9223372036854775807", None),
        ] {
            assert_eq!(range(text).ok().map(|values| values.join(" ")).as_deref(), expected, "{text}");
        }
    }
}
