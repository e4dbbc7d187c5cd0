//! The command of each task, written so that no name is ever more than a name.

use super::files::InputFile;
use crate::settings::{Problem, Task};
use dropmill_azure_wire::command_line::quote;

/// What stands for text of the input.
const PLACEHOLDERS: &[&str] = &["input", "name", "stem", "relative", "index"];
/// Programs that read an argument as a program of theirs.
const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh", "ksh", "fish", "cmd", "cmd.exe", "powershell", "pwsh"];

/// A command with gaps for what differs from task to task.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// Arguments.
    Arguments(Vec<Vec<Part>>),
    /// A line for the shell; it has no gaps, only variables.
    Shell(String),
}

/// A part of an argument.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// What stands for something.
    Gap(String),
}

impl Template {
    /// Reads the command of a task; that there is exactly one was checked.
    ///
    /// # Errors
    /// Gaps that nothing fills, and gaps where a shell would read them.
    pub fn of(task: &Task) -> Result<Self, Vec<Problem>> {
        let Some(command) = &task.command else {
            let line = task.shell.clone().unwrap_or_default();
            let wrong: Vec<_> = gaps_in_shell(&line).map(|what| Problem::new("task.shell", what)).collect();
            return if wrong.is_empty() { Ok(Self::Shell(line)) } else { Err(wrong) };
        };
        let mut problems = vec![];
        let mut wrong = |what: String| problems.push(Problem::new("task.command", what));
        if command.first().is_none_or(String::is_empty) {
            wrong("it is empty: name a program".into());
        }
        let program =
            command.first().map(String::as_str).unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let is_shell = SHELLS.contains(&program);
        let mut arguments = vec![];
        let mut is_script = false;
        for (at, argument) in command.iter().enumerate() {
            match parse(argument) {
                Ok(parts) => {
                    if is_shell && is_script && parts.iter().any(|part| matches!(part, Part::Gap(_))) {
                        wrong(format!(
                            "argument {at} is a program for {program}, and a file's name in it would be run: use \
                             \"$DROPMILL_INPUT\" there, or \"$1\" with \"sh\", \"{{input}}\" as further arguments"
                        ));
                    }
                    arguments.push(parts);
                }
                Err(what) => wrong(format!("argument {at}: {what}")),
            }
            is_script = is_shell
                && (argument == "-c" || argument.eq_ignore_ascii_case("/c") || argument == "-Command");
            if argument.contains('\0') {
                wrong(format!("argument {at} holds a NUL"));
            }
        }
        if problems.is_empty() { Ok(Self::Arguments(arguments)) } else { Err(problems) }
    }

    /// The command line of one task, for the node's splitter.
    pub fn write(&self, input: &InputFile, index: u32) -> String {
        match self {
            Self::Shell(line) => shell_line(line),
            Self::Arguments(arguments) => {
                let fill = |parts: &Vec<Part>| -> String {
                    parts
                        .iter()
                        .map(|part| match part {
                            Part::Text(text) => text.clone(),
                            Part::Gap(name) => value(name, input, index),
                        })
                        .collect()
                };
                quote(arguments.iter().map(fill))
            }
        }
    }
}

/// What is wrong with words in braces that stand for something in `task.command` alone: in a line for the shell they would be
/// text, and a name in their place could be a program.
fn gaps_in_shell(line: &str) -> impl Iterator<Item = String> {
    let instead = |name: &str| match name {
        "input" => Some("\"$DROPMILL_INPUT\""),
        "name" => Some("\"$DROPMILL_INPUT_NAME\""),
        "stem" => Some("\"${DROPMILL_INPUT_NAME%.*}\""),
        _ => None,
    };
    let is_gap = |name: &str| {
        let found = line.match_indices(&format!("{{{name}}}")).map(|(at, _)| &line[..at]).collect::<Vec<_>>();
        found.iter().any(|before| !before.ends_with(['$', '{']))
    };
    let gaps: Vec<_> = PLACEHOLDERS.iter().filter(|name| is_gap(name)).collect();
    gaps.into_iter().map(move |name| match instead(name) {
        Some(variable) => format!("{{{name}}} stands for nothing in a line for the shell: write {variable}"),
        None => format!(
            "{{{name}}} stands for nothing in a line for the shell: use task.command = [\"sh\", \"-c\", \"…\", \"sh\", \
             \"{{{name}}}\"], where the line has it as \"$1\""
        ),
    })
}

/// A line for the node's shell as a command line.
pub fn shell_line(line: &str) -> String {
    quote(["/bin/sh", "-c", line])
}

/// A file's name as an argument: one that begins with a hyphen is no option.
pub fn as_argument(name: &str) -> String {
    if name.starts_with('-') { format!("./{name}") } else { name.to_owned() }
}

fn value(name: &str, input: &InputFile, index: u32) -> String {
    let file = input.name();
    match name {
        "input" => as_argument(&input.place()),
        "stem" => match file.rfind('.') {
            Some(dot) if dot > 0 => file[..dot].to_owned(),
            _ => file.to_owned(),
        },
        "relative" => input.relative.clone(),
        "index" => index.to_string(),
        _ => file.to_owned(),
    }
}

/// Splits an argument at its gaps: a word of small letters in braces. `{{word}}` stands for such a word itself; any
/// other brace, and `${word}`, which is a shell's, is text as it stands.
fn parse(argument: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut text, mut rest) = (vec![], String::new(), argument);
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(name) = after.strip_prefix('{').and_then(word)
            && after[1 + name.len()..].starts_with("}}")
        {
            text.push_str(&format!("{{{name}}}"));
            rest = &after[name.len() + 3..];
            continue;
        }
        let Some(name) = word(after).filter(|_| !text.ends_with('$')) else {
            text.push('{');
            rest = after;
            continue;
        };
        if !PLACEHOLDERS.contains(&name) {
            let near = crate::settings::nearest_name(name, PLACEHOLDERS);
            let hint = near.map(|near| format!("did you mean {{{near}}}? ")).unwrap_or_default();
            let all: Vec<_> = PLACEHOLDERS.iter().map(|name| format!("{{{name}}}")).collect();
            return Err(format!(
                "{{{name}}} stands for nothing; {hint}there are {}; write {{{{{name}}}}} for the word itself",
                all.join(", ")
            ));
        }
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(Part::Gap(name.to_owned()));
        rest = &after[name.len() + 1..];
    }
    text.push_str(rest);
    if !text.is_empty() || parts.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

/// The word of small letters that `text` begins with, if a `}` follows.
fn word(text: &str) -> Option<&str> {
    let name = &text[..text.find('}')?];
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    (plain && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dropmill_azure_wire::command_line::split;

    #[test]
    fn a_line_for_the_shell_names_its_variables_and_every_other_brace_is_its_own() {
        let told = |line: &str| gaps_in_shell(line).collect::<Vec<_>>().join("\n");
        assert!(told("wc {input}").contains("write \"$DROPMILL_INPUT\""));
        assert!(told("mv x {stem}.csv").contains("%.*"));
        assert!(told("echo {index}").contains("as \"$1\""));
        for line in [
            "awk '{print}'",
            "echo ${input} {{input}} {input,output} {} { input; }",
            "docker --format '{{.Name}}'",
        ] {
            assert_eq!(told(line), "", "{line}");
        }
    }

    fn found(relative: &str) -> InputFile {
        InputFile {
            path: "/x".into(),
            relative: relative.into(),
            below: String::new(),
            size_bytes: 0,
            modified: None,
            mode: None,
        }
    }

    fn task(command: &[&str]) -> Task {
        Task {
            command: Some(command.iter().map(|&argument| argument.to_owned()).collect()),
            shell: None,
            outputs: vec![],
            max_retries: 0,
            timeout: None,
            env: Default::default(),
            required_slots: 1,
        }
    }

    #[test]
    fn gaps_are_filled_within_one_argument_each() {
        let template =
            Template::of(&task(&["count", "-n{index}", "{input}", "{stem}_{name}", "{{literal}}", ""]))
                .unwrap();
        let line = template.write(&found("data/a 'b\" $(id).tar.gz"), 7);
        let name = "a 'b\" $(id).tar.gz";
        let stem = "a 'b\" $(id).tar";
        assert_eq!(split(&line).unwrap(), ["count", "-n7", name, &format!("{stem}_{name}"), "{literal}", ""]);
        let line = template.write(&found("-rf"), 0);
        assert_eq!(split(&line).unwrap()[2], "./-rf");
    }

    #[test]
    fn gaps_that_nothing_fills_and_names_in_shell_programs_are_refused() {
        for (command, word) in [
            (vec!["x", "{inptu}"], "{input}"),
            (vec!["/bin/sh", "-c", "wc {input}"], "$DROPMILL_INPUT"),
            (vec!["bash", "-c", "wc '{name}'"], "$DROPMILL_INPUT"),
            (vec![], "name a program"),
        ] {
            let problems = Template::of(&task(&command)).unwrap_err();
            assert!(problems[0].what.contains(word), "{command:?}: {}", problems[0].what);
        }
        assert!(Template::of(&task(&["sh", "-c", "wc \"$1\"", "sh", "{input}"])).is_ok());
    }

    #[test]
    fn braces_that_are_no_gaps_stay_as_they_are() {
        for (argument, text) in [
            ("{", "{"),
            ("}{ }", "}{ }"),
            ("{print $1}", "{print $1}"),
            ("{ echo a; }", "{ echo a; }"),
            (r#"{"a": {"b": {}}}"#, r#"{"a": {"b": {}}}"#),
            ("${HOME} ${name}", "${HOME} ${name}"),
            ("{A} {} {1}", "{A} {} {1}"),
            ("{{name}} {{", "{name} {{"),
        ] {
            assert_eq!(parse(argument), Ok(vec![Part::Text(text.to_owned())]), "{argument}");
        }
    }
}
