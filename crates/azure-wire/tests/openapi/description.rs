//! The published description of Azure Batch: what a body may hold.

use serde_json::{Map, Value, json};

/// The definitions of one version of the API.
pub struct Description {
    definitions: Map<String, Value>,
}

impl Description {
    /// Version 2024-07-01.20.0.
    pub fn of_20() -> Self {
        Self::read(include_str!("BatchService-2024-07-01.20.0.definitions.json"))
    }

    /// Version 2024-02-01.19.0, which our client speaks.
    pub fn of_19() -> Self {
        Self::read(include_str!("BatchService-2024-02-01.19.0.definitions.json"))
    }

    fn read(text: &str) -> Self {
        let mut document: Value = serde_json::from_str(text).expect("the description is JSON");
        let Value::Object(definitions) = document["definitions"].take() else { panic!("no definitions") };
        Self { definitions }
    }

    /// A definition by its name.
    pub fn definition(&self, name: &str) -> &Value {
        self.definitions.get(name).unwrap_or_else(|| panic!("{name} is not defined"))
    }

    /// Whether no definition has that name: it is a word of an enum then.
    pub fn is_word(&self, name: &str) -> bool {
        !self.definitions.contains_key(name)
    }

    /// The names of a definition's properties, sorted.
    pub fn properties(&self, name: &str) -> Vec<&str> {
        let properties = self.definition(name)["properties"].as_object();
        properties.into_iter().flat_map(Map::keys).map(String::as_str).collect()
    }

    /// What is wrong with the body of a request, line by line; nothing if all is well. Stricter than the service:
    /// a property that is not described is wrong, and so is one that only the service may set.
    pub fn faults_of_request(&self, definition: &str, body: &Value) -> Vec<String> {
        let mut definitions = self.definitions.clone();
        definitions.values_mut().for_each(close);
        let schema = json!({
            "$schema": "http://json-schema.org/draft-04/schema#",
            "$ref": format!("#/definitions/{definition}"),
            "definitions": definitions,
        });
        let validator = jsonschema::validator_for(&schema).expect("the description is a schema");
        validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// A body with every property that is described, all arrays with every value that an enum has.
    pub fn full_body(&self, definition: &str) -> Value {
        self.full(definition, self.definition(definition))
    }

    fn full(&self, name: &str, schema: &Value) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let definition = reference.rsplit('/').next().expect("a reference names its definition");
            return self.full(name, self.definition(definition));
        }
        if let Some(values) = schema["enum"].as_array() {
            return values[name.len() % values.len()].clone();
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("string"), Some("date-time")) => json!("2024-04-10T07:12:44.1234567Z"),
            (Some("string"), Some("duration")) => json!("P1DT2H3M4.5S"),
            (Some("string"), _) => json!(format!("the {name}")),
            (Some("integer"), _) => json!(7),
            (Some("number"), _) => json!(1.5),
            (Some("boolean"), _) => json!(true),
            (Some("array"), _) => match schema["items"]["enum"].as_array() {
                Some(values) => json!(values),
                None => json!([self.full(name, &schema["items"])]),
            },
            _ => match schema["properties"].as_object() {
                Some(properties) => {
                    properties.iter().map(|(name, schema)| (name.clone(), self.full(name, schema))).collect()
                }
                None => json!({"any": "thing"}),
            },
        }
    }
}

/// Makes a definition refuse what it does not name, and what only the service sets.
fn close(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.retain(|_, property| property["readOnly"] != json!(true));
        properties.values_mut().for_each(close);
        schema.entry("additionalProperties").or_insert(json!(false));
    }
    if let Some(items) = schema.get_mut("items") {
        close(items);
    }
}
