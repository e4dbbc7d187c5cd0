//! Reads a body into its type and checks it in the same pass.
//!
//! A wrapper around the JSON deserializer knows the described kind of each value. It checks each value before it passes the
//! value on, and it skips properties that the description does not have.

use super::{Check, Kind, Name, Place, Property, Report, Shape, body_of, is_annotation};
use crate::batch::version::Family;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, IntoDeserializer,
    MapAccess, SeqAccess, Visitor,
};
use std::fmt;

/// Reads and checks the body of a request: [`super::check`] and `serde_json::from_slice` in one pass.
///
/// Properties that [`Report::unknown`] names are left out of the value, even where the type would keep them. If the
/// body cannot be read, the report is that of [`super::check`], which also covers what follows the error.
pub fn read<T: DeserializeOwned>(
    family: Family,
    method: &str,
    path: &[&str],
    body: &[u8],
) -> (Report, serde_json::Result<T>) {
    let Some((kind, definition)) = body_of(method, path) else {
        return (Report::default(), serde_json::from_slice(body));
    };
    let mut report = Report { definition, ..Report::default() };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let mut notes = Notes { report: &mut report, family, is_complete: true };
    let place = Place { kind, above: None, name: "" };
    let value = T::deserialize(Checked { inner: &mut reader, place: &place, notes: &mut notes });
    let value = value.and_then(|value| reader.end().map(|()| value));
    if value.is_err() || !notes.is_complete {
        return (super::check(family, method, path, body), value);
    }
    (report, value)
}

/// The findings so far.
struct Notes<'a> {
    report: &'a mut Report,
    family: Family,
    /// False if a value was read in a way that cannot be checked.
    is_complete: bool,
}

/// A deserializer, visitor, seed or access of serde that checks what passes through it.
struct Checked<'a, 'n, T> {
    inner: T,
    place: &'a Place<'a>,
    notes: &'a mut Notes<'n>,
}

impl<T> Checked<'_, '_, T> {
    fn check(&mut self) -> Check<'_> {
        Check { place: self.place, family: self.notes.family, report: self.notes.report }
    }
}

/// Forwards each of these methods with a visitor that checks.
macro_rules! pass_on {
    ($($method:ident($($name:ident: $type:ty),*))+) => { $(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            if matches!(self.place.kind, Kind::Any) {
                return self.inner.$method($($name,)* visitor);
            }
            let Checked { inner, place, notes } = self;
            inner.$method($($name,)* Checked { inner: visitor, place, notes })
        }
    )+ };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Checked<'_, '_, D> {
    type Error = D::Error;

    pass_on! {
        deserialize_any()
        deserialize_bool()
        deserialize_i8()
        deserialize_i16()
        deserialize_i32()
        deserialize_i64()
        deserialize_u8()
        deserialize_u16()
        deserialize_u32()
        deserialize_u64()
        deserialize_f32()
        deserialize_f64()
        deserialize_char()
        deserialize_str()
        deserialize_string()
        deserialize_bytes()
        deserialize_byte_buf()
        deserialize_option()
        deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq()
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier()
    }

    /// A value that the type does not have is checked all the same.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, place, notes } = self;
        Check { place, family: notes.family, report: notes.report }.deserialize(inner)?;
        visitor.visit_unit()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Checked<'_, '_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<V::Value, D::Error> {
        let Checked { inner, place, notes } = self;
        inner.visit_some(Checked { inner: reader, place, notes })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, reader: D) -> Result<V::Value, D::Error> {
        let Checked { inner, place, notes } = self;
        inner.visit_newtype_struct(Checked { inner: reader, place, notes })
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<V::Value, E> {
        self.check().visit_bool(value)?;
        self.inner.visit_bool(value)
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<V::Value, E> {
        self.check().visit_i64(value)?;
        self.inner.visit_i64(value)
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<V::Value, E> {
        self.check().visit_u64(value)?;
        self.inner.visit_u64(value)
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<V::Value, E> {
        self.check().visit_f64(value)?;
        self.inner.visit_f64(value)
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<V::Value, E> {
        self.check().visit_str(value)?;
        self.inner.visit_str(value)
    }

    fn visit_borrowed_str<E: Error>(mut self, value: &'de str) -> Result<V::Value, E> {
        self.check().visit_str(value)?;
        self.inner.visit_borrowed_str(value)
    }

    fn visit_string<E: Error>(mut self, value: String) -> Result<V::Value, E> {
        self.check().visit_str(&value)?;
        self.inner.visit_string(value)
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<V::Value, E> {
        self.notes.is_complete = false;
        self.inner.visit_bytes(value)
    }

    fn visit_borrowed_bytes<E: Error>(self, value: &'de [u8]) -> Result<V::Value, E> {
        self.notes.is_complete = false;
        self.inner.visit_borrowed_bytes(value)
    }

    fn visit_byte_buf<E: Error>(self, value: Vec<u8>) -> Result<V::Value, E> {
        self.notes.is_complete = false;
        self.inner.visit_byte_buf(value)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, value: A) -> Result<V::Value, A::Error> {
        self.notes.is_complete = false;
        self.inner.visit_enum(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, list: A) -> Result<V::Value, A::Error> {
        let kind = match self.place.kind {
            Kind::List(of) => of,
            _ => {
                self.check().wrong("a list");
                &Kind::Any
            }
        };
        let place = Place { kind, above: Some(self.place), name: "[]" };
        let Checked { inner, notes, .. } = self;
        inner.visit_seq(Elements { list, place: &place, notes })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<V::Value, A::Error> {
        let shape = self.place.kind.shape();
        if shape.is_none() {
            self.check().wrong("an object");
        }
        let Checked { inner, place, notes } = self;
        inner.visit_map(Properties { map, shape, next: (&Kind::Any, ""), place, notes })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Checked<'_, '_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<S::Value, D::Error> {
        let Checked { inner, place, notes } = self;
        inner.deserialize(Checked { inner: reader, place, notes })
    }
}

/// The elements of a list.
struct Elements<'a, 'n, A> {
    list: A,
    /// Position of each element.
    place: &'a Place<'a>,
    notes: &'a mut Notes<'n>,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, '_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.list.next_element_seed(Checked { inner: seed, place: self.place, notes: self.notes })
    }
}

/// The properties of an object.
struct Properties<'a, 'n, A> {
    map: A,
    /// None if no object belongs here: its properties are passed on as they are.
    shape: Option<&'static Shape>,
    /// Kind and name of the property whose name was read last.
    next: (&'static Kind, &'static str),
    /// Position of the object.
    place: &'a Place<'a>,
    notes: &'a mut Notes<'n>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Properties<'_, '_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        while let Some(Name(name)) = self.map.next_key()? {
            let property = self.shape.and_then(|shape| shape.property(&name, self.notes.family));
            if let Some(Property { name, kind, .. }) = property {
                self.next = (kind, name);
                return seed.deserialize((*name).into_deserializer()).map(Some);
            }
            if self.shape.is_none() || is_annotation(&name) {
                self.next = (&Kind::Any, "");
                return seed.deserialize(name.into_deserializer()).map(Some);
            }
            self.map.next_value::<IgnoredAny>()?;
            self.notes.report.unknown.push(self.place.path_of(&name));
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let (kind, name) = self.next;
        let place = Place { kind, above: Some(self.place), name };
        self.map.next_value_seed(Checked { inner: seed, place: &place, notes: self.notes })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    /// A type that ignores every property.
    #[derive(Deserialize)]
    struct Nothing {}

    /// JSON from names of the description and others, in places where they belong and where they do not.
    fn bodies() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i8>().prop_map(Value::from),
            prop::sample::select(vec!["", "7", "noaction", "TerminateJob", "PT1H"]).prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let names = vec![
                "id",
                "priority",
                "metadata",
                "name",
                "poolInfo",
                "autoPoolSpecification",
                "pool",
                "onAllTasksComplete",
                "constraints",
                "dependson",
                "odata.type",
                "id@odata.type",
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(prop::sample::select(names), inner, 0..6)
                    .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn one_pass_reports_what_the_check_reports(body in bodies()) {
            let text = body.to_string();
            let expected = check(Family::Dated, "POST", &["jobs"], text.as_bytes());
            let (report, value) = read::<Value>(Family::Dated, "POST", &["jobs"], text.as_bytes());
            prop_assert_eq!(&report, &expected);
            prop_assert!(expected.wrong.is_some() || !expected.unknown.is_empty() || value.unwrap() == body);
            let (report, _) = read::<Nothing>(Family::Dated, "POST", &["jobs"], text.as_bytes());
            prop_assert_eq!(&report, &expected);
        }
    }

    #[test]
    fn unknown_properties_are_left_out_and_annotations_stay() {
        let body = br#"{"id": "j", "poolinfo": {"poolId": "p"}, "poolInfo": {"poolId": "p", "poolid": 1}, "odata.type": 2}"#;
        let (report, value) = read::<Value>(Family::Dated, "POST", &["jobs"], body);
        assert_eq!(report.unknown, ["poolinfo", "poolInfo.poolid"]);
        assert_eq!(value.unwrap(), json!({"id": "j", "poolInfo": {"poolId": "p"}, "odata.type": 2}));
    }

    #[test]
    fn after_an_error_the_rest_of_the_body_is_checked_too() {
        let body = br#"{"value": [{"commandLine": "x"}, {"id": "t", "commandLine": "x", "dependson": 1}]}"#;
        let path = ["jobs", "j", "addtaskcollection"];
        let (report, value) = read::<crate::batch::TaskAddCollection>(Family::Dated, "POST", &path, body);
        assert_eq!(report.unknown, ["value[].dependson"]);
        assert!(value.unwrap_err().to_string().contains("missing field `id`"));
    }

    #[test]
    fn what_follows_the_body_is_an_error() {
        let (_, value) = read::<Value>(Family::Dated, "POST", &["jobs"], b"{} {}");
        assert!(value.is_err());
    }
}
