//! The settings of a run: a run file that overrides the defaults, or settings made in code. All mistakes
//! are found at once.

mod length;
mod load;
mod problems;
mod retry;
mod sections;
mod slot_count;

pub use length::{Length, Size, readable_size};
pub use load::{DEFAULTS, Lines, Loaded, in_code, load};
pub use problems::{Located, Problem, Problems, nearest as nearest_of};
pub use retry::{MaxFailures, RetryCause};

pub use sections::*;
pub use slot_count::SlotCount;

/// Returns the name in a list that is most similar to `wrong`.
pub fn nearest_name<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    nearest_of(wrong, names.iter().copied())
}

/// The JSON Schema of a run file. Every key may be left out: what is missing has its default.
pub fn schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(Settings);
    fn relax(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                map.remove("required");
                map.values_mut().for_each(relax);
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(relax),
            _ => {}
        }
    }
    schema.as_object_mut().into_iter().flat_map(|map| map.values_mut()).for_each(relax);
    schema.remove("required");
    let known = schema.as_object_mut().and_then(|schema| schema.get_mut("properties")?.as_object_mut());
    if let Some(known) = known {
        let names_schema =
            serde_json::json!({ "description": "Address of this schema, for editors.", "type": "string" });
        known.insert("$schema".into(), names_schema);
    }
    schema
}
