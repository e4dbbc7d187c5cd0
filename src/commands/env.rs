//! `dropmill env`: prints variables for the official tools, in the syntax of a shell.

use crate::{
    cli::Shell,
    render::say::{self, shown},
    state::State,
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// How long to wait for a service to accept a connection.
const PATIENCE: Duration = Duration::from_millis(500);

/// Prints the variables, and a warning on standard error if no service answers at their addresses.
pub fn env(state: &State, shell: Shell) -> Result<u8> {
    let path = state.service().join("connection.json");
    let text = std::fs::read(&path).with_context(|| {
        format!("{}: no service was started here: `dropmill serve` starts one", path.display())
    })?;
    let connection: Value = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let text = |pointer: &str| connection.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let variables = [
        ("AZURE_BATCH_ACCOUNT", text("/batch/account")),
        ("AZURE_BATCH_ACCESS_KEY", text("/batch/key")),
        ("AZURE_BATCH_ENDPOINT", text("/batch/endpoint")),
        ("AZURE_STORAGE_CONNECTION_STRING", text("/connection_string")),
    ];
    if shell == Shell::Json {
        let object: serde_json::Map<_, _> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        say::line(&serde_json::to_string(&object)?);
    } else {
        for (name, value) in variables {
            say::line(&assignment(shell, name, value));
        }
    }
    let endpoint = text("/batch/endpoint");
    if !answers(endpoint) {
        say::note(&format!("no service answers at {}: start it with `dropmill serve`", shown(endpoint)));
    }
    Ok(0)
}

/// Returns the line that sets a variable for this shell and the programs that it starts.
fn assignment(shell: Shell, name: &str, value: &str) -> String {
    match shell {
        Shell::Posix => format!("export {name}={}", dropmill_azure_wire::command_line::quote([value])),
        Shell::Fish => format!("set -gx {name} '{}'", value.replace('\\', r"\\").replace('\'', r"\'")),
        Shell::Powershell => format!("$Env:{name} = '{}'", value.replace('\'', "''")),
        Shell::Json => serde_json::json!({ name: value }).to_string(),
    }
}

/// Returns whether something accepts connections at an endpoint, `http://host:port`.
fn answers(endpoint: &str) -> bool {
    let Some((_, address)) = endpoint.split_once("://") else { return false };
    let mut addresses = address.trim_end_matches('/').to_socket_addrs().into_iter().flatten();
    addresses.any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_as_each_shell_reads_them() {
        for (shell, value, expected) in [
            (Shell::Posix, "a", "export N=a"),
            (Shell::Posix, "a;b=c'd", r#"export N='a;b=c'\''d'"#),
            (Shell::Fish, "a;b", "set -gx N 'a;b'"),
            (Shell::Fish, r"a'b\c$d", r"set -gx N 'a\'b\\c$d'"),
            (Shell::Powershell, "a'b$c", "$Env:N = 'a''b$c'"),
        ] {
            assert_eq!(assignment(shell, "N", value), expected);
        }
    }
}
