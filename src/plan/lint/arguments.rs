//! Arguments and shell lines that name files which no task gets, or that expect a shell where there is none.

use super::{Finding, Subject, program, relative_name};
use std::collections::BTreeSet;

/// Programs that read arguments as shell lines.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh", "fish", "env"];

/// Commands of `/bin/sh` itself, and its keywords.
const BUILT_IN: [&str; 48] = [
    ".", ":", "[", "alias", "bg", "break", "case", "cd", "command", "continue", "echo", "eval", "exec",
    "exit", "export", "false", "fg", "for", "function", "getopts", "hash", "if", "jobs", "kill", "local",
    "printf", "pwd", "read", "readonly", "return", "select", "set", "shift", "source", "test", "time",
    "times", "trap", "true", "type", "ulimit", "umask", "unalias", "unset", "until", "wait", "while", "!",
];

/// Checks the arguments of the command, or the words of the shell line.
pub fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let task = &subject.settings.task;
    match (&task.command, &task.shell) {
        (Some(command), _) => of_command(subject, command),
        (None, Some(line)) => of_shell(subject, "task.shell", line),
        (None, None) => vec![],
    }
}

fn of_command(subject: &Subject<'_>, command: &[String]) -> Vec<Finding> {
    let key = "task.command";
    let Some((program, arguments)) = command.split_first() else { return vec![] };
    let is_shell = SHELLS.contains(&program.rsplit('/').next().unwrap_or_default());
    let script = program::script_argument(command);
    let mut found = vec![];
    let mut seen = BTreeSet::new();
    for (at, argument) in arguments.iter().enumerate() {
        if Some(argument.as_str()) == script {
            continue;
        }
        if is_shell && at > 0 && arguments[at - 1] == "-c" {
            found.extend(of_shell(subject, key, argument));
            continue;
        }
        if !is_shell {
            found.extend(needs_a_shell(program, argument).map(|what| Finding::warning(key, what)));
        }
        let value = match argument.starts_with('-') {
            true => argument.split_once('=').map_or("", |(_, value)| value),
            false => argument,
        };
        if seen.insert(value) {
            found.extend(not_on_the_nodes(subject, value).map(|what| Finding::warning(key, what)));
        }
    }
    found
}

/// Returns what an argument is that only a shell would understand.
fn needs_a_shell(program: &str, argument: &str) -> Option<String> {
    let is_operator =
        matches!(argument, "|" | "||" | "&&" | ";" | "&" | ">" | ">>" | "<" | "2>" | "2>&1" | "&>");
    if is_operator {
        return Some(format!(
            "{program} gets {argument:?} as an argument, because no shell reads task.command: write the line as task.shell"
        ));
    }
    let variable = ["$DROPMILL_", "${DROPMILL_", "$AZ_BATCH_", "${AZ_BATCH_"];
    if variable.iter().any(|variable| argument.contains(variable)) {
        return Some(format!(
            "{program} gets {argument:?} as it stands, because no shell reads task.command: use a placeholder such as {{input}}, or \
             task.shell"
        ));
    }
    argument.starts_with("~/").then(|| {
        format!("{program} gets {argument:?} as it stands, because no shell reads task.command: write the whole path")
    })
}

/// Returns the message for an argument that names a file beside the run file, if no task gets that.
fn not_on_the_nodes(subject: &Subject<'_>, word: &str) -> Option<String> {
    let name = relative_name(word)?;
    if subject.settings.task.outputs.iter().any(|output| output == name) {
        return None;
    }
    subject.machine.beside(name)?;
    if subject.is_in_working_folder(name) {
        return None;
    }
    if subject.items.iter().any(|item| item.relative == name) {
        let instead = if subject.settings.task.shell.is_some() { "\"$DROPMILL_INPUT\"" } else { "{input}" };
        return Some(format!(
            "{name} is the input of one task, and all tasks would be given its name: write {instead}"
        ));
    }
    if subject.application_file(name).is_some() {
        return Some(format!(
            "application.start_task gets {name}, the tasks do not: let it copy the file to \"$AZ_BATCH_NODE_SHARED_DIR\", and \
             name it there"
        ));
    }
    Some(program::not_on_the_nodes(subject, name))
}

fn of_shell(subject: &Subject<'_>, key: &str, line: &str) -> Vec<Finding> {
    let words = words_of(line);
    let mut found = vec![];
    if let (Some(first), Some(path)) = (words.first(), &subject.machine.task_path) {
        let is_plain = first
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '+'));
        let is_known =
            BUILT_IN.contains(&first.as_str()) || subject.has_start_task() || line.contains("PATH=");
        if is_plain
            && !is_known
            && subject.machine.search(path, first).is_none()
            && subject.machine.beside(first).is_none()
        {
            found.push(Finding::warning(key, format!("there is no program {first} in {path}")));
        }
    }
    let mut seen = BTreeSet::new();
    let named = words.iter().filter(|word| seen.insert(word.as_str()));
    found.extend(
        named.filter_map(|word| not_on_the_nodes(subject, word)).map(|what| Finding::warning(key, what)),
    );
    found
}

/// Returns the words of a shell line, without operators, comments, and files that it writes. Quotes are removed; words with
/// variables are left out.
fn words_of(line: &str) -> Vec<String> {
    let mut words = vec![];
    for line in line.lines() {
        let mut is_written = false;
        let spaced = line.replace('>', " > ").replace(['|', '&', ';', '(', ')', '<', '`'], " ");
        for word in spaced.split_whitespace() {
            if word.starts_with('#') {
                break;
            }
            if word == ">" {
                is_written = true;
                continue;
            }
            let plain = word.trim_matches(['"', '\'']);
            if !std::mem::take(&mut is_written) && !plain.is_empty() && !plain.contains(['$', '*', '=', '\\'])
            {
                words.push(plain.to_owned());
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words_of;

    #[test]
    fn words_of_a_shell_line_are_read_without_what_it_writes() {
        for (line, expected) in [
            ("python3 work.py \"$DROPMILL_INPUT\" > out.txt", vec!["python3", "work.py"]),
            ("a|b 2>x.log&&'c d.txt'", vec!["a", "b", "2", "c", "d.txt"]),
            ("A=1 b # c\nd<e.txt", vec!["b", "d", "e.txt"]),
            ("", vec![]),
        ] {
            assert_eq!(words_of(line), expected, "{line}");
        }
    }
}
