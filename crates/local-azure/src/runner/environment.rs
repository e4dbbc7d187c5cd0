//! The environment of a command: a short default list, the folders of its node, then the variables of its
//! launch.
//!
//! Nothing of the service's own environment is passed on, so that no key of its user reaches a task.

use super::{RunnerSettings, place::TaskPlace};
use crate::orders::Launch;
use std::{collections::BTreeMap, ffi::OsString};

/// The variable that marks a launch's processes, to find those that left their process group.
pub(super) const TAG: &str = "DROPMILL_LAUNCH";

/// Variables whose values in a launch are folders below the node's root.
const BELOW_THE_NODE: [&str; 3] =
    ["AZ_BATCH_JOB_PREP_DIR", "AZ_BATCH_JOB_PREP_WORKING_DIR", "AZ_BATCH_TASK_SHARED_DIR"];

/// Returns the variables of every command unless its launch sets them: the search path of a Linux node and
/// UTF-8.
pub fn default_environment() -> Vec<(String, String)> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    vec![("PATH".into(), path.into()), ("LANG".into(), "C.UTF-8".into())]
}

/// Names the variables of a launch whose values refer to variables of the node.
const REFERENCES: &str = "DROPMILL_REFERENCES";

/// Variables that the caller of the service hands to all nodes. Values may be secret: they are shown nowhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NodeEnvironment(Environment);

impl NodeEnvironment {
    /// Takes variables by name.
    pub fn new(variables: BTreeMap<String, OsString>) -> Self {
        Self(variables)
    }
}

impl std::fmt::Debug for NodeEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Variables by name.
pub(super) type Environment = BTreeMap<String, OsString>;

/// Returns all variables of a launch; of two with one name, the later counts.
pub(super) fn of(launch: &Launch, place: &TaskPlace, settings: &RunnerSettings, tag: &str) -> Environment {
    let mut all: Environment =
        settings.environment.iter().map(|(name, value)| (name.clone(), value.into())).collect();
    all.insert("HOME".into(), place.working.clone().into());
    all.extend(settings.inherited.0.clone());
    let of_the_node = all.clone();
    let references = launch.environment.iter().rfind(|(name, _)| name == REFERENCES);
    let refers = |name: &str| references.is_some_and(|(_, names)| names.split(' ').any(|of| of == name));
    let mut set = |name: &str, value: OsString| all.insert(name.to_owned(), value);
    set("AZ_BATCH_ACCOUNT_NAME", settings.account_name.clone().into());
    set("AZ_BATCH_ACCOUNT_URL", settings.account_url.clone().into());
    set("AZ_BATCH_NODE_ROOT_DIR", place.node.clone().into());
    set("AZ_BATCH_NODE_SHARED_DIR", place.node.join("shared").into());
    set("AZ_BATCH_NODE_STARTUP_DIR", place.node.join("startup").into());
    set("AZ_BATCH_NODE_MOUNTS_DIR", place.node.join("fsmounts").into());
    set("AZ_BATCH_CERTIFICATES_DIR", place.node.join("startup/certs").into());
    set("AZ_BATCH_TASK_DIR", place.directory.clone().into());
    set("AZ_BATCH_TASK_WORKING_DIR", place.working.clone().into());
    for package in &launch.packages {
        let folder = place.node.join(package.directory());
        for variable in &package.variables {
            set(variable, folder.clone().into());
        }
    }
    for (name, value) in launch.environment.iter().filter(|(name, _)| name != REFERENCES) {
        let value = match name {
            _ if BELOW_THE_NODE.contains(&name.as_str()) => place.node.join(value).into(),
            _ if refers(name) => replaced(value, &of_the_node),
            _ => value.into(),
        };
        set(name, value);
    }
    set(TAG, tag.into());
    all
}

/// Replaces `${NAME}` by the node's value, or by nothing if the node has no such variable, and `$$` by `$`.
fn replaced(text: &str, of_the_node: &Environment) -> OsString {
    let (mut value, mut rest) = (OsString::new(), text);
    while let Some((before, behind)) = rest.split_once('$') {
        value.push(before);
        rest = match (
            behind.strip_prefix('$'),
            behind.strip_prefix('{').and_then(|inner| inner.split_once('}')),
        ) {
            (Some(behind), _) => {
                value.push("$");
                behind
            }
            (None, Some((name, behind))) => {
                value.push(of_the_node.get(name).map(OsString::as_os_str).unwrap_or_default());
                behind
            }
            (None, None) => {
                value.push("$");
                behind
            }
        };
    }
    value.push(rest);
    value
}

/// Maximum length of an expanded pattern in bytes; thousands of `$A` with a long value would fill any memory.
const LONGEST: usize = 64 << 10;

/// Replaces `$NAME` and `${NAME}` by their values. Unknown names and a single `$` stay unchanged, and so does
/// everything after the first 64 KiB.
pub(super) fn expand(text: &str, environment: &Environment) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        let (name, length) = variable(&rest[1..]);
        match environment.get(name).filter(|_| length > 0 && expanded.len() < LONGEST) {
            Some(value) => expanded.push_str(&value.to_string_lossy()),
            None => expanded.push_str(&rest[..=length]),
        }
        rest = &rest[1 + length..];
    }
    expanded + rest
}

/// Returns the name at the start of `text` (after a `$`), and its length in bytes with braces.
fn variable(text: &str) -> (&str, usize) {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let (inner, braces) = text.strip_prefix('{').map_or((text, 0), |inner| (inner, 2));
    let name = &inner[..inner.find(|character| !is_part(character)).unwrap_or(inner.len())];
    if braces > 0 && !inner[name.len()..].starts_with('}') {
        return ("", 0);
    }
    (name, name.len() + if name.is_empty() { 0 } else { braces })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_variables_are_expanded_and_nothing_else() {
        let environment = Environment::from([("A_1".into(), "x".into()), ("DIR".into(), "/n/é".into())]);
        let table = [
            ("", ""),
            ("plain/*.txt", "plain/*.txt"),
            ("$DIR/$A_1.txt", "/n/é/x.txt"),
            ("${A_1}b$A_1", "xbx"),
            ("$A_1b $UNKNOWN ${UNKNOWN} $", "$A_1b $UNKNOWN ${UNKNOWN} $"),
            ("${A_1 $é $$A_1 ${}", "${A_1 $é $x ${}"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, &environment), expected, "{text}");
        }
    }

    #[test]
    fn references_stand_for_what_the_node_has_and_two_dollars_for_one() {
        let node = Environment::from([
            ("PATH".into(), "/usr/bin".into()),
            ("TOKEN".into(), "$$ {x} ${PATH}".into()),
        ]);
        let table = [
            ("", ""),
            ("/opt:${PATH}", "/opt:/usr/bin"),
            ("${PATH}${PATH}", "/usr/bin/usr/bin"),
            ("$${PATH} $$$$ $", "${PATH} $$ $"),
            ("$$${PATH}", "$/usr/bin"),
            ("[${NONE}] ${PATH $x", "[] ${PATH $x"),
            ("Bearer ${TOKEN}", "Bearer $$ {x} ${PATH}"),
        ];
        for (text, expected) in table {
            assert_eq!(replaced(text, &node), expected, "{text}");
        }
    }

    #[test]
    fn values_of_a_node_are_never_shown() {
        let node = NodeEnvironment::new([("TOKEN".into(), "canary".into())].into());
        assert_eq!(format!("{node:?}"), "{\"TOKEN\"}");
    }

    #[test]
    fn many_variables_with_a_long_value_are_limited() {
        let environment = Environment::from([("A".into(), "x".repeat(100_000).into())]);
        let expanded = expand(&"$A".repeat(10_000), &environment);
        assert!(expanded.starts_with("xxx") && expanded.ends_with("$A$A"));
        assert!(expanded.len() < 200_000, "{}", expanded.len());
    }
}
