//! The number of slots of a node: a number, or `"auto"`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// What `pool.slots_per_node` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "Form")]
pub enum SlotCount {
    /// As many as the node has processors, where Dropmill knows that.
    Auto,
    /// A fixed number.
    Number(u32),
}

#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum Form {
    Word(Auto),
    Number(u32),
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code)]
enum Auto {
    Auto,
}

/// The word for [`SlotCount::Auto`].
const AUTO: &str = "auto";

impl fmt::Display for SlotCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl Serialize for SlotCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::Number(number) => serializer.serialize_u32(*number),
        }
    }
}

impl<'de> Deserialize<'de> for SlotCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = SlotCount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"auto\" or a whole number, not negative")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<SlotCount, E> {
        let unexpected = de::Unexpected::Unsigned(number);
        u32::try_from(number).map(SlotCount::Number).map_err(|_| E::invalid_value(unexpected, &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<SlotCount, E> {
        let unexpected = de::Unexpected::Signed(number);
        u32::try_from(number).map(SlotCount::Number).map_err(|_| E::invalid_value(unexpected, &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SlotCount, E> {
        if text == AUTO {
            return Ok(SlotCount::Auto);
        }
        Err(E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::SlotCount::{self, Auto, Number};
    use serde_json::{Value, json};

    #[test]
    fn a_number_of_slots_is_a_number_or_auto_and_is_written_as_it_is_read() {
        let table = [
            (json!("auto"), Some(Auto)),
            (json!(8), Some(Number(8))),
            (json!(0), Some(Number(0))),
            (json!(-1), None),
            (json!(1_u64 << 32), None),
            (json!(1.5), None),
            (json!("8"), None),
            (json!("Auto"), None),
            (Value::Null, None),
        ];
        for (value, expected) in table {
            let read = serde_json::from_value::<SlotCount>(value.clone()).ok();
            assert_eq!(read, expected, "{value}");
            if let Some(read) = read {
                assert_eq!(json!(read), value);
            }
        }
    }
}
