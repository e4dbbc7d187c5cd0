//! `dropmill env`: shell exports for the official tools.

use crate::{render::say, state::State};
use anyhow::{Context, Result};
use serde_json::Value;

/// Prints them.
pub fn env(state: &State) -> Result<u8> {
    let path = state.service().join("connection.json");
    let text = std::fs::read(&path).with_context(|| {
        format!("{}: no service was started here: `dropmill serve` starts one", path.display())
    })?;
    let connection: Value = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let text = |pointer: &str| connection.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    for (name, value) in [
        ("AZURE_BATCH_ACCOUNT", text("/batch/account")),
        ("AZURE_BATCH_ACCESS_KEY", text("/batch/key")),
        ("AZURE_BATCH_ENDPOINT", text("/batch/endpoint")),
        ("AZURE_STORAGE_CONNECTION_STRING", text("/connection_string")),
    ] {
        say::line(&format!("export {name}={}", dropmill_azure_wire::command_line::quote([value])));
    }
    Ok(0)
}
