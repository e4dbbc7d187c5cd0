//! Validates request bodies against the published description of the API: property names, types and enum
//! values.
//!
//! Deserialising a body ignores unknown properties and keeps unknown enum values. This check reports both,
//! and the path of a value that has the wrong type. The rules are in `requests.txt`; a test compares them
//! with the description.

mod read;

use super::version::Family;
pub use read::read;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{fmt, ops::RangeInclusive, sync::OnceLock};

/// The rules: a line `METHOD /path definition` for each request with a body, an empty line, and a line for
/// each definition with its name and `property:kind` for each property. `property<=19.0` exists up to that
/// version, `property>=2025-06-01` since that version. A kind is `text`, `number`, `truth`, `any`, the name
/// of another definition, enum values separated by `|` (a single value ends with `|`), or one of these in
/// brackets for a list.
const LIST: &str = include_str!("requests.txt");

/// The result of checking a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Name of the body's definition, for example `JobAddParameter`; empty if the request has no body.
    pub definition: &'static str,
    /// Paths of properties that are not in the description: `startTask.runElevated`, `value[].dependson`.
    pub unknown: Vec<String>,
    /// First value of the wrong type, or first unknown enum value.
    pub wrong: Option<Wrong>,
}

/// A value that is not valid for its property.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Path of the property.
    pub property: String,
    /// Value as text, or what it is (`an object`, `a list`).
    pub value: String,
    /// Expected type or values: `It must be a number`.
    pub reason: String,
}

/// The expected type of a value.
#[derive(Debug)]
enum Kind {
    Text,
    Number,
    Truth,
    Any,
    Words(Vec<&'static str>),
    /// Index of a definition in [`Described::shapes`].
    Object(usize),
    List(Box<Kind>),
}

/// A definition of the description.
struct Shape {
    name: &'static str,
    /// The list is short: a scan is faster than a map.
    properties: Vec<Property>,
}

struct Property {
    name: &'static str,
    kind: Kind,
    /// API versions that have the property.
    families: RangeInclusive<Family>,
}

struct Described {
    /// Method, path and definition of the body, which is a [`Kind::Object`].
    requests: Vec<(&'static str, Vec<&'static str>, Kind)>,
    shapes: Vec<Shape>,
}

impl Shape {
    fn property(&self, name: &str, family: Family) -> Option<&Property> {
        self.properties.iter().find(|property| property.name == name && property.families.contains(&family))
    }
}

/// Why a name in the list can be looked up.
const DEFINED: &str = "requests.txt defines every name that it uses, as a test checks";

impl Kind {
    /// Returns the definition of an object.
    fn shape(&self) -> Option<&'static Shape> {
        match self {
            Self::Object(at) => described().shapes.get(*at),
            _ => None,
        }
    }

    /// `names` are the names of all definitions.
    fn read(text: &'static str, names: &[&str]) -> Self {
        match text {
            "text" => Self::Text,
            "number" => Self::Number,
            "truth" => Self::Truth,
            "any" => Self::Any,
            _ => match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(of) => Self::List(Box::new(Self::read(of, names))),
                None if text.contains('|') => {
                    Self::Words(text.split('|').filter(|word| !word.is_empty()).collect())
                }
                None => Self::Object(names.iter().position(|name| *name == text).expect(DEFINED)),
            },
        }
    }
}

impl Property {
    fn read(name: &'static str, kind: Kind) -> Self {
        let (first, last) = (Family::Nineteen, Family::Dated);
        let (name, families) = match (name.split_once("<="), name.split_once(">=")) {
            (Some((name, "19.0")), _) => (name, first..=Family::Nineteen),
            (Some((name, _)), _) => (name, first..=Family::Twenty),
            (None, Some((name, "20.0"))) => (name, Family::Twenty..=last),
            (None, Some((name, _))) => (name, Family::Dated..=last),
            (None, None) => (name, first..=last),
        };
        Self { name, kind, families }
    }
}

fn described() -> &'static Described {
    static READ: OnceLock<Described> = OnceLock::new();
    READ.get_or_init(|| {
        let (requests, definitions) = LIST.split_once("\n\n").unwrap_or((LIST, ""));
        let names: Vec<&str> = definitions.lines().filter_map(|line| line.split(' ').next()).collect();
        let request = |line: &'static str| {
            let mut parts = line.split(' ');
            let (method, path) = (parts.next()?, parts.next()?);
            Some((method, path.split('/').skip(1).collect(), Kind::read(parts.next()?, &names)))
        };
        let shape = |line: &'static str| {
            let mut parts = line.split(' ');
            let name = parts.next()?;
            let properties = parts.filter_map(|part| part.split_once(':'));
            let properties = properties.map(|(name, kind)| Property::read(name, Kind::read(kind, &names)));
            Some(Shape { name, properties: properties.collect() })
        };
        Described {
            requests: requests.lines().filter_map(request).collect(),
            shapes: definitions.lines().filter_map(shape).collect(),
        }
    })
}

/// Returns the kind of a request's body and the name of its definition, if the description has the request with a body.
fn body_of(method: &str, path: &[&str]) -> Option<(&'static Kind, &'static str)> {
    let matches_path = |wanted: &[&str]| {
        wanted.len() == path.len()
            && wanted.iter().zip(path).all(|(wanted, part)| *wanted == "*" || wanted == part)
    };
    let found = described().requests.iter().find(|(of, wanted, _)| *of == method && matches_path(wanted));
    let (_, _, kind) = found?;
    Some((kind, kind.shape()?.name))
}

/// Checks the body of a request. `path` is the path split into segments. The report is empty for requests
/// that have no body in the description, and for bodies that are not JSON.
pub fn check(family: Family, method: &str, path: &[&str], body: &[u8]) -> Report {
    let mut report = Report::default();
    if let Some((kind, definition)) = body_of(method, path) {
        report.definition = definition;
        let mut reader = serde_json::Deserializer::from_slice(body);
        let place = Place { kind, above: None, name: "" };
        // Ignore the error: the caller parses the body and reports invalid JSON.
        let _ = Check { place: &place, family, report: &mut report }.deserialize(&mut reader);
    }
    report
}

/// The position of a value in the body, as a linked list of parents.
struct Place<'a> {
    kind: &'static Kind,
    above: Option<&'a Place<'a>>,
    name: &'a str,
}

impl Place<'_> {
    /// Returns the path of a property of this value.
    fn path_of(&self, name: &str) -> String {
        Place { kind: &Kind::Any, above: Some(self), name }.path()
    }

    fn path(&self) -> String {
        let above = self.above.map(Place::path).unwrap_or_default();
        match (above.is_empty(), self.name) {
            (true, name) => name.to_owned(),
            (false, "[]") => format!("{above}[]"),
            (false, name) => format!("{above}.{name}"),
        }
    }
}

struct Check<'a> {
    place: &'a Place<'a>,
    family: Family,
    report: &'a mut Report,
}

impl Check<'_> {
    fn wrong(&mut self, value: impl fmt::Display) {
        if self.report.wrong.is_some() {
            return;
        }
        let reason = match self.place.kind {
            Kind::Text => "It must be a string".to_owned(),
            Kind::Number => "It must be a number".to_owned(),
            Kind::Truth => "It must be true or false".to_owned(),
            Kind::Object(_) | Kind::Any => "It must be an object".to_owned(),
            Kind::List(_) => "It must be a list".to_owned(),
            Kind::Words(words) => format!("It must be one of {}", words.join(", ")),
        };
        let value = value.to_string().chars().take(100).collect();
        self.report.wrong = Some(Wrong { property: self.place.path(), value, reason });
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        match self.place.kind {
            Kind::Any => reader.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => reader.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        if !matches!(self.place.kind, Kind::Truth) {
            self.wrong(value);
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        if !matches!(self.place.kind, Kind::Number) {
            self.wrong(value);
        }
        Ok(())
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<(), E> {
        let is_valid = match self.place.kind {
            Kind::Text => true,
            // Some clients write numbers as strings, and the service accepts them.
            Kind::Number => value.parse::<f64>().is_ok(),
            Kind::Words(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            Kind::Truth | Kind::Any | Kind::Object(_) | Kind::List(_) => false,
        };
        if !is_valid {
            self.wrong(value);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let Kind::List(of) = self.place.kind else {
            self.wrong("a list");
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let place = Place { kind: of, above: Some(self.place), name: "[]" };
        let family = self.family;
        while list.next_element_seed(Check { place: &place, family, report: &mut *self.report })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let Some(shape) = self.place.kind.shape() else {
            self.wrong("an object");
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while let Some(Name(name)) = map.next_key()? {
            match shape.property(&name, self.family) {
                Some(Property { name, kind, .. }) => {
                    let place = Place { kind, above: Some(self.place), name };
                    let family = self.family;
                    map.next_value_seed(Check { place: &place, family, report: &mut *self.report })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    if !is_annotation(&name) {
                        self.report.unknown.push(self.place.path_of(&name));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns `true` for OData annotations, which the service ignores.
fn is_annotation(name: &str) -> bool {
    name.contains('@') || name.starts_with("odata.")
}

/// A property name, borrowed from the body unless it contains escapes.
struct Name<'de>(std::borrow::Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(name.into()))
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(name.to_owned().into()))
            }
        }
        reader.deserialize_str(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_types_and_values_are_checked_against_the_description() {
        let wrong = |property: &str, value: &str, reason: &str| {
            let (property, value, reason) = (property.into(), value.into(), reason.into());
            Report { wrong: Some(Wrong { property, value, reason }), ..Report::default() }
        };
        let unknown = |paths: &[&str]| Report {
            unknown: paths.iter().map(|path| (*path).to_owned()).collect(),
            ..Report::default()
        };
        let fine = || Report::default();
        for (request, body, expected) in [
            ("POST /jobs", r#"{"id": "j", "onAllTasksComplete": "TerminateJob", "priority": "7"}"#, fine()),
            (
                "POST /jobs",
                r#"{"id": null, "metadata": [], "odata.type": "x", "id@odata.type": "y"}"#,
                fine(),
            ),
            (
                "POST /jobs",
                r#"{"onAllTasksComplete": "terminate"}"#,
                wrong("onAllTasksComplete", "terminate", "It must be one of noaction, terminatejob"),
            ),
            ("POST /jobs", r#"{"priority": "high"}"#, wrong("priority", "high", "It must be a number")),
            ("POST /jobs", r#"{"priority": true}"#, wrong("priority", "true", "It must be a number")),
            ("POST /jobs", r#"{"id": 7}"#, wrong("id", "7", "It must be a string")),
            ("POST /jobs", r#"{"poolInfo": "p"}"#, wrong("poolInfo", "p", "It must be an object")),
            (
                "POST /jobs",
                r#"{"metadata": {"a": "b"}}"#,
                wrong("metadata", "an object", "It must be a list"),
            ),
            (
                "POST /jobs",
                r#"{"usesTaskDependencies": "yes"}"#,
                wrong("usesTaskDependencies", "yes", "It must be true or false"),
            ),
            (
                "POST /jobs",
                r#"{"dependson": 1, "poolInfo": {"poolid": "p"}}"#,
                unknown(&["dependson", "poolInfo.poolid"]),
            ),
            (
                "POST /jobs/j/addtaskcollection",
                r#"{"value": [{"id": "t"}, {"id": "u", "dependson": {}, "outputFiles": [{"uploadOptions": {"when": ""}}]}]}"#,
                unknown(&["value[].dependson", "value[].outputFiles[].uploadOptions.when"]),
            ),
            (
                "POST /jobs/j/tasks",
                r#"{"outputFiles": [{"uploadOptions": {"uploadCondition": "always"}}]}"#,
                wrong(
                    "outputFiles[].uploadOptions.uploadCondition",
                    "always",
                    "It must be one of tasksuccess, taskfailure, taskcompletion",
                ),
            ),
            (
                "POST /pools/p/nodes/n/reboot",
                r#"{"nodeRebootOption": "now"}"#,
                wrong(
                    "nodeRebootOption",
                    "now",
                    "It must be one of requeue, terminate, taskcompletion, retaineddata",
                ),
            ),
            // Only the first error is reported. Invalid JSON and requests without a body are not checked.
            (
                "POST /jobs",
                r#"{"priority": [], "id": 7}"#,
                wrong("priority", "a list", "It must be a number"),
            ),
            ("POST /jobs", "{", fine()),
            ("POST /nothing", r#"{"a": 1}"#, fine()),
        ] {
            let (method, path) = request.split_once(" /").unwrap_or_default();
            let path: Vec<_> = path.split('/').collect();
            let found = Report { definition: "", ..check(Family::Dated, method, &path, body.as_bytes()) };
            assert_eq!(found, expected, "{request} {body}");
        }
    }
}
