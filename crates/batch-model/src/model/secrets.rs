//! What nobody is told: keys and passwords stay with the service, wherever in a body they were given.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Properties that are never shown.
const SECRETS: &[&str] = &["password", "sshPrivateKey", "accountKey", "sasKey", "protectedSettings"];
/// Properties whose own names are the user's, so that nothing in them is a secret by its name.
const FREE: &[&str] = &["resourceTags", "settings"];

/// The properties without secrets.
pub(super) fn hidden(properties: &Map<String, Value>) -> Map<String, Value> {
    let mut seen = properties.clone();
    strip(&mut seen);
    seen
}

/// The thing without secrets.
pub(super) fn without_secrets<T: Serialize + DeserializeOwned + Clone>(thing: &T) -> T {
    let Ok(mut value) = serde_json::to_value(thing) else { return thing.clone() };
    strip_value(&mut value);
    // Secrets are all optional or kept unread, so that what is left can be read again.
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
