//! Two macros that keep the nouns of the protocol free of repetition.
//!
//! `wire_struct!` takes plain structs and gives each the wire's habits: camelCase names, absent instead of
//! null. `open_enum!` makes enums that survive a value which a newer service invents.

use crate::time::{Timestamp, to_ticks};
use serde::{Serialize, Serializer};

/// How a field is written. Three differ from serde's way: nothing, moments, and numbers of 64 bits.
pub(crate) trait Wire: Serialize {
    /// Whether the field is left out of a body. Only an optional one ever is.
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

/// In ticks of 100 ns, whatever clock or file system they come from: some clients read no more digits.
impl Wire for Timestamp {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&to_ticks(*self))
    }
}

/// As a text, since not every reader of JSON holds 64 bits.
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

/// Structs as the wire shapes them: an `Option` that is `None` is omitted, an unknown property is ignored.
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

/// Enums of texts: read ignoring letter case (the service mixes it), written as given here, and open: a text
/// that is not listed becomes `Other`, so that a newer service does not break an older reader.
macro_rules! open_enum {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $text:literal, )+ }
    )+) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
            /// A value that this version does not know, as it came.
            Other(Box<str>),
        }

        impl $name {
            /// The values this version knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),+];

            /// The text on the wire.
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
    #![allow(clippy::unwrap_used)]

    open_enum! {
        /// For the test.
        pub enum Light {
            /// Stop.
            Red = "red",
            /// Go.
            Green = "green",
        }
    }

    wire_struct! {
        /// For the test.
        pub struct Crossing {
            /// Required.
            pub main_light: Light,
            /// Optional.
            pub side_light: Option<Light>,
            /// A moment.
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
    fn what_is_absent_is_omitted_and_null_is_absent() {
        let read: Crossing = serde_json::from_str(r#"{"mainLight":"green","sideLight":null}"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"mainLight":"green"}"#);
    }

    #[test]
    fn a_moment_is_written_in_ticks() {
        let text = r#"{"mainLight":"green","seen":"2024-04-10T07:12:44.123456789Z"}"#;
        let read: Crossing = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text.replace("6789Z", "67Z"));
    }

    #[test]
    fn a_required_property_is_asked_for_by_its_wire_name() {
        let error = serde_json::from_str::<Crossing>("{}").unwrap_err();
        assert!(error.to_string().contains("missing field `mainLight`"), "{error}");
    }
}
