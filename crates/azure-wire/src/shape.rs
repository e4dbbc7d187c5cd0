//! Two macros that define the types of the protocol without repetition.
//!
//! `wire_struct!` gives plain structs the conventions of the wire: camelCase names, omitted instead of null.
//! `open_enum!` defines enums that keep a value which only a newer service knows.

use crate::time::{Timestamp, to_ticks};
use serde::{Serialize, Serializer};

/// How a field is serialised. Differs from serde for absent values, timestamps and 64-bit numbers.
pub(crate) trait Wire: Serialize {
    /// Returns `true` if the field is omitted from a body, which only an optional one can be.
    fn is_absent(&self) -> bool {
        false
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.write(serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// Written in ticks of 100 ns whatever clock they come from: some clients read no more digits.
impl Wire for Timestamp {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&to_ticks(*self))
    }
}

/// Written as a string, because not every JSON reader supports 64 bits.
impl Wire for u64 {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

macro_rules! written_as_it_is {
    ($($type:ty),+ $(,)?) => { $(impl $crate::shape::Wire for $type {})+ };
}
pub(crate) use written_as_it_is;

impl<T: Serialize> Wire for Vec<T> {}
impl<T: Serialize + ?Sized> Wire for Box<T> {}
written_as_it_is!(
    String,
    bool,
    i32,
    f64,
    crate::secret::Secret,
    crate::etag::ETag,
    crate::duration::IsoDuration
);

/// Defines structs in the shape of the wire: `None` is omitted, unknown properties are ignored.
macro_rules! wire_struct {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )* }
    )+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name { $(
            $(#[$field_meta])*
            #[serde(skip_serializing_if = "crate::shape::Wire::is_absent", serialize_with = "crate::shape::Wire::write")]
            pub $field: $type,
        )* }
        impl $crate::shape::Wire for $name {}
    )+ };
}
pub(crate) use wire_struct;

/// Defines enums of strings. They are read case-insensitively, because the service mixes case, and written as
/// listed. An unlisted string becomes `Other`, so that a newer service does not break an older reader.
macro_rules! open_enum {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $text:literal, )+ }
    )+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
            /// A value that this version does not know, as received.
            Other(Box<str>),
        }

        impl $name {
            /// All values that this version knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the text on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $text, )+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $( if text.eq_ignore_ascii_case($text) { return Self::$variant; } )+
                Self::Other(text.into())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("the text of a ", stringify!($name)))
                    }
                    fn visit_str<E>(self, text: &str) -> Result<$name, E> {
                        Ok(text.into())
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl $crate::shape::Wire for $name {}
    )+ };
}
pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    open_enum! {
        /// An enum for the tests.
        pub enum Light {
            /// An arbitrary value.
            Red = "red",
            /// Another arbitrary value.
            Green = "green",
        }
    }

    wire_struct! {
        /// A struct for the tests.
        pub struct Crossing {
            /// A required field.
            pub main_light: Light,
            /// An optional field.
            pub side_light: Option<Light>,
            /// An optional timestamp.
            pub seen: Option<jiff::Timestamp>,
        }
    }

    #[test]
    fn every_known_value_is_read_back_from_its_text() {
        for light in Light::KNOWN {
            assert_eq!(Light::from(light.as_str()), *light);
        }
    }

    #[test]
    fn letter_case_is_ignored_and_a_new_value_survives() {
        let read: Crossing =
            serde_json::from_str(r#"{"mainLight":"RED","sideLight":"Blue","new":1}"#).unwrap();
        assert_eq!(read.main_light, Light::Red);
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"mainLight":"red","sideLight":"Blue"}"#);
    }

    #[test]
    fn absent_fields_are_omitted_and_null_is_absent() {
        let read: Crossing = serde_json::from_str(r#"{"mainLight":"green","sideLight":null}"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"mainLight":"green"}"#);
    }

    #[test]
    fn a_timestamp_is_written_in_ticks() {
        let text = r#"{"mainLight":"green","seen":"2024-04-10T07:12:44.123456789Z"}"#;
        let read: Crossing = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text.replace("6789Z", "67Z"));
    }

    #[test]
    fn a_missing_required_property_is_reported_by_its_wire_name() {
        let error = serde_json::from_str::<Crossing>("{}").unwrap_err();
        assert!(error.to_string().contains("missing field `mainLight`"), "{error}");
    }
}
