//! Hides keys and passwords: responses never contain them, wherever in a body they were set.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Names of properties that are never returned.
const SECRETS: &[&str] = &["password", "sshPrivateKey", "accountKey", "sasKey", "protectedSettings"];
/// Properties whose members have names chosen by the user, so that such a name does not mean a secret.
const FREE: &[&str] = &["resourceTags", "settings"];

/// Returns the properties without secrets.
pub(super) fn hidden(properties: &Map<String, Value>) -> Map<String, Value> {
    let mut seen = properties.clone();
    strip(&mut seen);
    seen
}

/// Returns a value without secrets.
pub(super) fn without_secrets<T: Serialize + DeserializeOwned + Clone>(thing: &T) -> T {
    let Ok(mut value) = serde_json::to_value(thing) else { return thing.clone() };
    strip_value(&mut value);
    // All secrets are optional or not parsed, so the rest can be parsed again.
    serde_json::from_value(value).unwrap_or_else(|_| thing.clone())
}

fn strip(properties: &mut Map<String, Value>) {
    properties.retain(|name, _| !SECRETS.contains(&name.as_str()));
    for (_, value) in properties.iter_mut().filter(|(name, _)| !FREE.contains(&name.as_str())) {
        strip_value(value);
    }
}

fn strip_value(value: &mut Value) {
    match value {
        Value::Object(properties) => strip(properties),
        Value::Array(list) => list.iter_mut().for_each(strip_value),
        _ => {}
    }
}
