//! What tasks find in their environment of the caller's: which variables, and what refers to them.
//!
//! Values never enter a plan. The run hands them to the nodes of the embedded service in memory, see the module `services`.

use crate::settings::{Loaded, Problem, ServiceKind, Settings, Task};
use globset::{GlobBuilder, GlobMatcher};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

/// What `run` passes on if `task.inherit` is not given.
const DEFAULT: &str = "PATH";
/// Variables that every task on a node has.
const ON_EVERY_NODE: [&str; 3] = ["HOME", "LANG", "PATH"];
/// Begins the names that belong to the service and to Dropmill.
const RESERVED: [&str; 2] = ["AZ_BATCH_", "DROPMILL_"];
/// Names the variables of a task whose values refer to variables of the node: `$$` in them stands for `$`, and `${NAME}` for
/// the node's value. The node replaces them before the task starts, and removes this variable.
const REFERENCES: &str = "DROPMILL_REFERENCES";

/// Patterns of names of variables.
pub struct Names(Vec<GlobMatcher>);

impl Names {
    /// Reads patterns of names.
    ///
    /// # Errors
    /// Returns each text that is not a pattern of names, with the reason.
    pub fn read(patterns: &[String]) -> Result<Self, Vec<String>> {
        let (mut matchers, mut wrong) = (vec![], vec![]);
        for text in patterns {
            if is_reserved(text) {
                wrong.push(format!("{text:?} belongs to the service or to Dropmill: tasks get their own"));
                continue;
            }
            match GlobBuilder::new(text).build() {
                Ok(glob) if !text.is_empty() && !text.contains(['=', '/', '\0']) => {
                    matchers.push(glob.compile_matcher());
                }
                _ => wrong.push(format!(
                    "{text:?} is no name or pattern of a variable: write \"HOME\", or \"CUDA_*\""
                )),
            }
        }
        if wrong.is_empty() { Ok(Self(matchers)) } else { Err(wrong) }
    }

    /// Returns the patterns of `task.inherit`, or its default.
    fn of(task: &Task) -> Result<Self, Vec<Problem>> {
        let default = [DEFAULT.to_owned()];
        Self::read(task.inherit.as_deref().unwrap_or(&default))
            .map_err(|wrong| wrong.into_iter().map(|what| Problem::new("task.inherit", what)).collect())
    }

    /// Returns whether a variable is inherited.
    fn include(&self, name: &str) -> bool {
        !is_reserved(name) && self.0.iter().any(|matcher| matcher.is_match(name))
    }

    /// Returns the variables of the caller that are inherited.
    pub fn choose(
        &self,
        caller: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> BTreeMap<String, OsString> {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        caller.into_iter().filter_map(text).filter(|(name, _)| self.include(name)).collect()
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

/// Finds mistakes in `task.env`, `task.inherit` and `task.secret_env`.
pub fn check(settings: &Settings) -> Vec<Problem> {
    let (task, on_azure) = (&settings.task, settings.service.kind == ServiceKind::Azure);
    let mut problems = Names::of(task).err().unwrap_or_default();
    let named = [
        ("task.env", task.env.keys().collect::<Vec<_>>()),
        ("task.secret_env", task.secret_env.keys().collect()),
    ];
    for (key, names) in named {
        for name in names {
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if name.is_empty() || !plain || name.starts_with(|first: char| first.is_ascii_digit()) {
                let what = format!("{name:?} cannot name a variable: letters, digits and _ can");
                problems.push(Problem::new(key, what));
            } else if is_reserved(name) {
                let what = format!(
                    "{name}: names that begin with AZ_BATCH_ or DROPMILL_ are reserved: choose another name"
                );
                problems.push(Problem::new(key, what));
            }
        }
    }
    for name in task.secret_env.keys().filter(|name| task.env.contains_key(*name)) {
        problems
            .push(Problem::new("task.secret_env", format!("{name} is in task.env, too: remove one of them")));
    }
    if on_azure && !task.secret_env.is_empty() {
        let what = "tasks on Azure would get it in their descriptions, which everyone may read who may read the job: remove it, \
                    and let the task fetch its secret, for example from a key vault";
        problems.push(Problem::new("task.secret_env", what));
    }
    for (variable, text) in task.env.iter().filter(|_| on_azure) {
        for name in references(text, task) {
            let what = format!(
                "{variable}: nothing replaces ${{{name}}} on Azure: write the value, or set the variable in a script \
                 (task.shell)"
            );
            problems.push(Problem::new("task.env", what));
        }
    }
    problems
}

/// Lines about what the settings ask for in vain.
pub fn notes(loaded: &Loaded) -> Vec<Problem> {
    let (settings, task) = (&loaded.settings, &loaded.settings.task);
    let mut notes = vec![];
    if settings.service.kind == ServiceKind::Azure {
        if task.inherit.as_ref().is_some_and(|names| !names.is_empty()) {
            let what = "nothing: nodes on Azure get no variable of this machine; set those that the command needs in task.env";
            notes.push(Problem::new("task.inherit", what));
        }
        for name in ["DROPMILL_NODE", "DROPMILL_SLOT"] {
            if written(task).any(|text| text.contains(name)) {
                let what =
                    format!("{name} is not set on Azure, only on this machine; Azure sets AZ_BATCH_NODE_ID");
                notes.push(Problem::new(
                    if task.shell.is_some() { "task.shell" } else { "task.command" },
                    what,
                ));
            }
        }
    }
    for (variable, text) in &task.env {
        for name in dollars(text).filter(|name| !is_reference(name, task)) {
            let what = format!(
                "{variable}: ${{{name}}} stays as it is, because tasks do not inherit {name}: to replace it, add {name:?} to \
                 task.inherit"
            );
            notes.push(Problem::new("task.env", what));
        }
    }
    notes
}

/// What the run file says that a shell or a program may read.
fn written(task: &Task) -> impl Iterator<Item = &str> {
    task.shell.iter().chain(task.command.iter().flatten()).chain(task.env.values()).map(String::as_str)
}

/// Returns the variables of the caller that tasks inherit.
///
/// # Errors
/// Returns what is no pattern of names.
pub fn inherited(
    task: &Task,
    caller: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, OsString>, Vec<Problem>> {
    Ok(Names::of(task)?.choose(caller))
}

/// Returns whether tasks on this machine inherit a variable.
pub fn inherits(task: &Task, name: &str) -> bool {
    Names::of(task).is_ok_and(|names| names.include(name))
}

/// Returns the value that a variable has in tasks on this machine: of `task.env`, or inherited, or else the node's own. The folders
/// of a task are not known, nor are secrets: references to them are left out.
pub fn value_in_tasks(task: &Task, name: &str, caller: Option<&str>, of_the_node: &str) -> String {
    let before = caller.filter(|_| inherits(task, name)).unwrap_or(of_the_node);
    let Some(text) = task.env.get(name) else { return before.to_owned() };
    let own = format!("${{{name}}}");
    let others = dollars(text).filter(|other| *other != name && is_reference(other, task));
    others.fold(text.replace(&own, before), |text, other| text.replace(&format!("${{{other}}}"), ""))
}

/// Returns the values of `task.secret_env`.
///
/// # Errors
/// Returns each that is not available; no message contains a value.
pub fn secrets(loaded: &Loaded) -> Result<BTreeMap<String, OsString>, Vec<Problem>> {
    let (mut values, mut problems) = (BTreeMap::new(), vec![]);
    for (name, source) in &loaded.settings.task.secret_env {
        match source.fetch(&loaded.base) {
            Ok(secret) => {
                values.insert(name.clone(), OsStr::new(secret.expose()).to_owned());
            }
            Err(what) => problems.push(Problem::new(format!("task.secret_env.{name}"), what)),
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

/// Returns whether `${NAME}` in a value of `task.env` stands for a variable of the node.
fn is_reference(name: &str, task: &Task) -> bool {
    ON_EVERY_NODE.contains(&name)
        || task.secret_env.contains_key(name)
        || Names::of(task).is_ok_and(|names| names.include(name))
}

/// The names in `${NAME}`.
fn dollars(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once('}')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (!name.is_empty() && name.bytes().all(plain)).then_some(name)
    })
}

fn references<'a>(text: &'a str, task: &'a Task) -> impl Iterator<Item = &'a str> {
    dollars(text).filter(|name| is_reference(name, task))
}

/// Returns the variables of `task.env`, with `fill` applied to all text that is no reference to a variable of the node. What
/// `fill` returns never is such a reference.
pub fn filled(task: &Task, declared: &[&str], fill: &dyn Fn(&str) -> String) -> Vec<(String, String)> {
    let (mut variables, mut with_references) = (vec![], vec![]);
    for (variable, text) in &task.env {
        let is_ours = |name: &str| is_reference(name, task) && !declared.contains(&name);
        if !dollars(text).any(is_ours) {
            variables.push((variable.clone(), fill(text)));
            continue;
        }
        let (mut value, mut rest) = (String::new(), text.as_str());
        let mut from = 0;
        while let Some(at) = rest[from..].find("${").map(|at| at + from) {
            match rest[at + 2..].split_once('}') {
                Some((name, after)) if is_ours(name) => {
                    value.push_str(&fill(&rest[..at]).replace('$', "$$"));
                    value.push_str(&format!("${{{name}}}"));
                    (rest, from) = (after, 0);
                }
                _ => from = at + 2,
            }
        }
        value.push_str(&fill(rest).replace('$', "$$"));
        variables.push((variable.clone(), value));
        with_references.push(variable.as_str());
    }
    if !with_references.is_empty() {
        variables.push((REFERENCES.to_owned(), with_references.join(" ")));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(env: &str, inherit: Option<&[&str]>) -> Task {
        let mut task = Settings::default().task;
        task.env.insert("V".into(), env.into());
        task.inherit = inherit.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        task
    }

    #[test]
    fn names_and_patterns_choose_variables_and_never_those_of_the_service() {
        let caller = ["PATH", "HOME", "CUDA_HOME", "CUDA_", "XCUDA_A", "DROPMILL_X", "AZ_BATCH_X", "path"];
        let table: &[(Option<&[&str]>, &[&str])] = &[
            (None, &["PATH"]),
            (Some(&[]), &[]),
            (Some(&["HOME", "NONE"]), &["HOME"]),
            (Some(&["CUDA_*"]), &["CUDA_", "CUDA_HOME"]),
            (Some(&["CUDA_?*", "P[A]TH"]), &["CUDA_HOME", "PATH"]),
            (Some(&["*"]), &["CUDA_", "CUDA_HOME", "HOME", "PATH", "XCUDA_A", "path"]),
        ];
        for (inherit, expected) in table {
            let caller = caller.map(|name| (name.into(), "x".into()));
            let found = inherited(&task("", *inherit), caller).unwrap();
            assert_eq!(found.keys().collect::<Vec<_>>(), *expected, "{inherit:?}");
        }
        for wrong in ["", "A=B", "[", "a/b", "DROPMILL_RUN", "AZ_BATCH_*"] {
            assert!(inherited(&task("", Some(&[wrong])), []).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_search_path_of_tasks_is_known_before_a_run() {
        for (env, inherit, expected) in [
            (None, None, "/venv:/bin"),
            (None, Some(&[][..]), "/usr/bin"),
            (None, Some(&["P*"]), "/venv:/bin"),
            (Some("/opt:${PATH}"), None, "/opt:/venv:/bin"),
            (Some("/opt:${PATH}"), Some(&[]), "/opt:/usr/bin"),
            (Some("/opt"), None, "/opt"),
            (Some("${HOME}/bin:${X}"), None, "/bin:${X}"),
        ] {
            let mut task = task("", inherit);
            task.env = env.map(|text: &str| ("PATH".to_owned(), text.to_owned())).into_iter().collect();
            let found = value_in_tasks(&task, "PATH", Some("/venv:/bin"), "/usr/bin");
            assert_eq!(found, expected, "{env:?} {inherit:?}");
        }
    }

    #[test]
    fn references_are_left_to_the_node_and_what_is_filled_in_never_is_one() {
        let fill = |text: &str| text.replace("{x}", "$$ ${PATH}");
        let table: &[(&str, Option<&[&str]>, &str)] = &[
            ("plain {x}", None, "plain $$ ${PATH}"),
            ("$A ${B} $", None, "$A ${B} $"),
            ("/a:${PATH}", None, "ref /a:${PATH}"),
            ("${PATH}{x}", None, "ref ${PATH}$$$$ $${PATH}"),
            ("$ ${B} ${HOME}$", None, "ref $$ $${B} ${HOME}$$"),
            ("${${PATH}", None, "ref $${${PATH}"),
            ("${CUDA_A}", None, "${CUDA_A}"),
            ("${CUDA_A}", Some(&["CUDA_*"]), "ref ${CUDA_A}"),
            ("${col}", Some(&["*"]), "${col}"),
        ];
        for (text, inherit, expected) in table {
            let found = filled(&task(text, *inherit), &["col"], &fill);
            let shown = match &found[..] {
                [(_, value)] => value.clone(),
                [(_, value), (references, names)] if references == REFERENCES && names == "V" => {
                    format!("ref {value}")
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(shown, *expected, "{text} {inherit:?}");
        }
    }
}
