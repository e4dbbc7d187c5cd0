//! What the bodies of requests may hold, by the published description of the API: names, kinds and words.
//!
//! Reading a body into its type skips unknown names and keeps unknown words. This check reports both, and names the
//! property of a value of the wrong kind. The list is `requests.txt`; a test compares it with the description.

use super::version::Family;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{collections::BTreeMap, fmt, ops::RangeInclusive, sync::OnceLock};

/// A line `METHOD /path definition` for each request with a body, an empty line, and a line for each definition:
/// its name, and `property:kind` for each property; `property<=19.0` ended with that version, and `property>=2025-06-01` began with it. A kind is `text`, `number`, `truth`, `any`, another definition, words
/// with `|` between them (behind it, if there is one alone), or one of these in brackets for a list.
const LIST: &str = include_str!("requests.txt");

/// What the check of a body reports.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The description's name of the body: `JobAddParameter`. Empty if it has none.
    pub definition: &'static str,
    /// Paths of properties that the description does not name: `startTask.runElevated`, `value[].dependson`.
    pub unknown: Vec<String>,
    /// The first value of the wrong kind, or the first unknown word.
    pub wrong: Option<Wrong>,
}

/// A value that its property cannot have.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Path of the property.
    pub property: String,
    /// The value, if it is short.
    pub value: String,
    /// What would be right: `It must be a number`.
    pub reason: String,
}

/// What a value may be.
#[derive(Debug)]
enum Kind {
    Text,
    Number,
    Truth,
    Any,
    Words(Vec<&'static str>),
    Object(&'static str),
    List(Box<Kind>),
}

/// Properties of a definition, by name.
type Shape = BTreeMap<&'static str, Property>;

struct Property {
    kind: Kind,
    /// The families of versions that have it.
    families: RangeInclusive<Family>,
}

struct Described {
    requests: Vec<(&'static str, Vec<&'static str>, &'static str)>,
    shapes: BTreeMap<&'static str, Shape>,
}

impl Kind {
    fn read(text: &'static str) -> Self {
        match text {
            "text" => Self::Text,
            "number" => Self::Number,
            "truth" => Self::Truth,
            "any" => Self::Any,
            _ => match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(of) => Self::List(Box::new(Self::read(of))),
                None if text.contains('|') => {
                    Self::Words(text.split('|').filter(|word| !word.is_empty()).collect())
                }
                None => Self::Object(text),
            },
        }
    }
}

impl Property {
    fn read(name: &'static str, kind: Kind) -> (&'static str, Self) {
        let (first, last) = (Family::Nineteen, Family::Dated);
        let (name, families) = match (name.split_once("<="), name.split_once(">=")) {
            (Some((name, "19.0")), _) => (name, first..=Family::Nineteen),
            (Some((name, _)), _) => (name, first..=Family::Twenty),
            (None, Some((name, "20.0"))) => (name, Family::Twenty..=last),
            (None, Some((name, _))) => (name, Family::Dated..=last),
            (None, None) => (name, first..=last),
        };
        (name, Self { kind, families })
    }
}

fn described() -> &'static Described {
    static READ: OnceLock<Described> = OnceLock::new();
    READ.get_or_init(|| {
        let (requests, definitions) = LIST.split_once("\n\n").unwrap_or((LIST, ""));
        let request = |line: &'static str| {
            let mut parts = line.split(' ');
            let (method, path) = (parts.next()?, parts.next()?);
            Some((method, path.split('/').skip(1).collect(), parts.next()?))
        };
        let shape = |line: &'static str| {
            let mut parts = line.split(' ');
            let name = parts.next()?;
            let properties = parts.filter_map(|part| part.split_once(':'));
            Some((name, properties.map(|(name, kind)| Property::read(name, Kind::read(kind))).collect()))
        };
        Described {
            requests: requests.lines().filter_map(request).collect(),
            shapes: definitions.lines().filter_map(shape).collect(),
        }
    })
}

/// Checks the body of a request of a family of versions; `path` is its segments. Nothing is reported of requests that the description does not
/// give a body, and of bodies that are not JSON.
pub fn check(family: Family, method: &str, path: &[&str], body: &[u8]) -> Report {
    let fits = |wanted: &[&str]| {
        wanted.len() == path.len()
            && wanted.iter().zip(path).all(|(wanted, part)| *wanted == "*" || wanted == part)
    };
    let mut report = Report::default();
    let found = described().requests.iter().find(|(of, wanted, _)| *of == method && fits(wanted));
    if let Some((_, _, definition)) = found {
        report.definition = definition;
        let mut reader = serde_json::Deserializer::from_slice(body);
        let place = Place { kind: &Kind::Object(definition), above: None, name: "" };
        // What is no JSON is reported by whoever reads the body.
        let _ = Check { place: &place, family, report: &mut report }.deserialize(&mut reader);
    }
    report
}

/// Where a value stands.
struct Place<'a> {
    kind: &'a Kind,
    above: Option<&'a Place<'a>>,
    name: &'a str,
}

impl Place<'_> {
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
        let fits = match self.place.kind {
            Kind::Text => true,
            // Some clients write numbers as texts, and the service reads them all the same.
            Kind::Number => value.parse::<f64>().is_ok(),
            Kind::Words(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            Kind::Truth | Kind::Any | Kind::Object(_) | Kind::List(_) => false,
        };
        if !fits {
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
        let Kind::Object(name) = self.place.kind else {
            self.wrong("an object");
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let shape = described().shapes.get(name);
        while let Some(Name(name)) = map.next_key()? {
            let property = shape.and_then(|shape| shape.get_key_value(&*name));
            match property.filter(|(_, property)| property.families.contains(&self.family)) {
                Some((name, Property { kind, .. })) => {
                    let place = Place { kind, above: Some(self.place), name };
                    let family = self.family;
                    map.next_value_seed(Check { place: &place, family, report: &mut *self.report })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    // Annotations of OData say nothing that the service would act on.
                    if !name.contains('@') && !name.starts_with("odata.") {
                        let place = Place { kind: &Kind::Any, above: Some(self.place), name: &name };
                        self.report.unknown.push(place.path());
                    }
                }
            }
        }
        Ok(())
    }
}

/// A property's name, borrowed where the body has it without escapes.
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
    fn names_kinds_and_words_are_compared_with_the_description() {
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
            // The first mistake counts; what is no JSON, or has no body, is not this check's.
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
