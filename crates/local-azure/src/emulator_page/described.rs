//! The fields of every request body, from the published description of the API, with a test value for each.

use serde_json::{Map, Value, json};

/// A field with a value, and its path in the body.
#[derive(Debug, Clone)]
pub struct Field {
    /// Definition and property, from the body to the value.
    pub chain: Vec<(String, String)>,
    /// Which of those properties are lists.
    lists: Vec<bool>,
}

impl Field {
    /// Returns a path such as `startTask.resourceFiles[].httpUrl`.
    pub fn path(&self) -> String {
        let links = self.chain.iter().zip(&self.lists);
        let names: Vec<_> =
            links.map(|((_, name), list)| format!("{name}{}", if *list { "[]" } else { "" })).collect();
        names.join(".")
    }

    /// Returns the value of a body at this place.
    pub fn of<'a>(&self, body: &'a Value) -> &'a Value {
        let links = self.chain.iter().zip(&self.lists).enumerate();
        links.fold(body, |at, (number, ((_, name), list))| {
            let at = &at[name.as_str()];
            // A list of texts is the value itself.
            if *list && number + 1 < self.chain.len() { &at[0] } else { at }
        })
    }
}

/// The description of one API version.
pub struct Described(Map<String, Value>);

impl Described {
    pub fn of_20() -> Self {
        let text =
            include_str!("../../../azure-wire/tests/openapi/BatchService-2024-07-01.20.0.definitions.json");
        let document: Value = serde_json::from_str(text).unwrap();
        Self(document["definitions"].as_object().unwrap().clone())
    }

    /// Returns the names of all definitions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the definition that a property refers to, if it is an object with properties, and whether it
    /// is a list.
    fn part<'a>(&'a self, schema: &'a Value) -> (Option<&'a str>, bool) {
        let is_list = schema["type"] == "array";
        let of = if is_list { &schema["items"] } else { schema };
        let name = of["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        (name.filter(|name| self.0[*name]["properties"].is_object()), is_list)
    }

    /// Returns all fields of a body that have a value and that a client may set.
    pub fn fields(&self, definition: &str) -> Vec<Field> {
        let mut all = vec![];
        self.collect(definition, &Field { chain: vec![], lists: vec![] }, &mut all);
        all
    }

    fn collect(&self, definition: &str, before: &Field, all: &mut Vec<Field>) {
        for (name, schema) in self.0[definition]["properties"].as_object().unwrap() {
            if schema["readOnly"] == json!(true) {
                continue;
            }
            let mut field = before.clone();
            let (part, is_list) = self.part(schema);
            field.chain.push((definition.to_owned(), name.clone()));
            field.lists.push(is_list);
            match part {
                Some(part) => self.collect(part, &field, all),
                None => all.push(field),
            }
        }
    }

    /// Returns `base` with the field, and with what is required beside it.
    pub fn body_with(&self, base: &Value, field: &Field) -> Value {
        let mut body = base.clone();
        self.put(&mut body, &field.chain, &field.lists);
        body
    }

    fn put(&self, body: &mut Value, chain: &[(String, String)], lists: &[bool]) {
        let Some(((definition, name), rest)) = chain.split_first() else { return };
        let schema = &self.0[definition]["properties"][name];
        let mut value = match self.part(schema).0 {
            Some(part) => self.beside(part, rest.first().map_or("", |(_, name)| name)),
            None => self.value(definition, name, schema),
        };
        self.put(&mut value, rest, &lists[1..]);
        if lists[0] && !rest.is_empty() {
            value = json!([value]);
        }
        for (other, needed) in super::values::WITH
            .iter()
            .filter(|(at, _)| *at == format!("{definition}.{name}"))
            .flat_map(|(_, with)| *with)
        {
            body[*other] = serde_json::from_str(needed).unwrap();
        }
        body[name.as_str()] = value;
    }

    /// Returns a minimal object, to which one of its properties can be added.
    fn beside(&self, definition: &str, property: &str) -> Value {
        let given = |at: &str| super::values::BESIDE.iter().find(|(of, _)| *of == at);
        if let Some((_, text)) = given(&format!("{definition}.{property}")).or_else(|| given(definition)) {
            return serde_json::from_str(text).unwrap();
        }
        let required = self.0[definition]["required"].as_array();
        let names = required.into_iter().flatten().filter_map(Value::as_str);
        names.map(|name| (name.to_owned(), self.required(definition, name))).collect()
    }

    fn required(&self, definition: &str, name: &str) -> Value {
        let schema = &self.0[definition]["properties"][name];
        match self.part(schema) {
            (Some(part), true) => json!([self.beside(part, "")]),
            (Some(part), false) => self.beside(part, ""),
            (None, _) => self.value(definition, name, schema),
        }
    }

    /// Returns a valid value that is not the default.
    fn value(&self, definition: &str, name: &str, schema: &Value) -> Value {
        let given = |at: &str| super::values::VALUES.iter().find(|(of, _)| *of == at);
        if let Some((_, text)) = given(&format!("{definition}.{name}")).or_else(|| given(name)) {
            return serde_json::from_str(text).unwrap();
        }
        if let Some(of) = schema["$ref"].as_str().and_then(|of| of.rsplit('/').next()) {
            return self.value(definition, name, &self.0[of]);
        }
        if let Some(values) = schema["enum"].as_array() {
            return values.last().unwrap().clone();
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("string"), Some("date-time")) => json!("2026-03-03T10:00:00Z"),
            (Some("string"), Some("duration")) => json!("PT10M"),
            (Some("string"), _) => json!("a-text"),
            (Some("integer"), _) => json!(2),
            (Some("boolean"), _) => json!(true),
            (Some("array"), _) => json!([self.value(definition, "", &schema["items"])]),
            _ => json!({"a": "b"}),
        }
    }
}
