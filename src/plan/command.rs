//! The command of each task, quoted so that a file name is always a single argument and never executed.

use super::sources::Declared;
use crate::settings::{Problem, Task};
use dropmill_azure_wire::command_line::quote;
use dropmill_inputs::{
    Draft,
    template::{Template as Text, Unknown},
};

/// Programs that interpret an argument as a script.
const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh", "ksh", "fish", "cmd", "cmd.exe", "powershell", "pwsh"];

/// A command with placeholders for the values that differ between tasks.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// A program and its arguments.
    Arguments(Vec<Text>),
    /// A line for the shell; it has no placeholders, only variables.
    Shell(String),
}

impl Template {
    /// Reads the command of a task; the caller has checked that there is exactly one.
    ///
    /// # Errors Returns placeholders that have no value, and placeholders in text that a shell would
    /// interpret.
    pub fn of(task: &Task, declared: &Declared) -> Result<Self, Vec<Problem>> {
        let Some(command) = &task.command else {
            let line = task.shell.clone().unwrap_or_default();
            let wrong: Vec<_> = gaps_in_shell(&line, declared)
                .into_iter()
                .map(|what| Problem::new("task.shell", what))
                .collect();
            return if wrong.is_empty() { Ok(Self::Shell(line)) } else { Err(wrong) };
        };
        let mut problems = vec![];
        let mut wrong = |what: String| problems.push(Problem::new("task.command", what));
        if command.first().is_none_or(String::is_empty) {
            wrong("it is empty: name a program".into());
        }
        let program =
            command.first().map(String::as_str).unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let is_shell = is_shell(program);
        let mut arguments = vec![];
        let mut is_script = false;
        for (at, argument) in command.iter().enumerate() {
            match Text::parse(argument, &declared.all(), Unknown::Error) {
                Ok(text) => {
                    if let Some(name) = text.names().next().filter(|_| is_shell && is_script) {
                        let variable = variable_of(name, declared).unwrap_or("\"$1\"".into());
                        wrong(format!(
                            "argument {at} is a program for {program}, and a value in it would be run: use {variable} \
                             there, or \"$1\" with \"sh\", \"{{{name}}}\" as further arguments"
                        ));
                    }
                    arguments.push(text);
                }
                Err(what) => wrong(format!("argument {at}: {what}")),
            }
            is_script = is_shell && is_script_option(argument);
            if argument.contains('\0') {
                wrong(format!("argument {at} holds a NUL"));
            }
        }
        if problems.is_empty() { Ok(Self::Arguments(arguments)) } else { Err(problems) }
    }

    /// Returns the command line of one task, quoted as the node splits it.
    pub fn write(&self, draft: &Draft, index: usize) -> String {
        match self {
            Self::Shell(line) => shell_line(line),
            Self::Arguments(arguments) => {
                quote(arguments.iter().map(|argument| argument.fill(|name| value(name, draft, index))))
            }
        }
    }
}

/// Returns the quoted shell variable with the same value as a placeholder.
fn variable_of(name: &str, declared: &Declared) -> Option<String> {
    let is_in = |names: &[String]| names.iter().any(|own| own == name);
    Some(match name {
        "input" => "\"$DROPMILL_INPUT\"".into(),
        "name" if declared.files.iter().any(|file| file == "input") => "\"$DROPMILL_INPUT_NAME\"".into(),
        "stem" => "\"${DROPMILL_INPUT_NAME%.*}\"".into(),
        _ if is_in(&declared.files) => format!("\"$DROPMILL_FILE_{}\"", name.to_ascii_uppercase()),
        _ if is_in(&declared.values) => format!("\"$DROPMILL_VALUE_{}\"", name.to_ascii_uppercase()),
        _ => return None,
    })
}

/// Returns the mistakes of placeholders in a line for the shell: they would be plain text there, and a
/// replaced value could be executed.
fn gaps_in_shell(line: &str, declared: &Declared) -> Vec<String> {
    let is_gap = |name: &&str| {
        let found = line.match_indices(&format!("{{{name}}}")).map(|(at, _)| &line[..at]).collect::<Vec<_>>();
        found.iter().any(|before| !before.ends_with(['$', '{']))
    };
    let instead = |name: &str| match variable_of(name, declared) {
        Some(variable) => format!("{{{name}}} is not replaced in a line for the shell: write {variable}"),
        None => format!(
            "{{{name}}} is not replaced in a line for the shell: use task.command = [\"sh\", \"-c\", \"…\", \"sh\", \
             \"{{{name}}}\"], where the line has it as \"$1\""
        ),
    };
    declared.all().into_iter().filter(is_gap).map(instead).collect()
}

/// Whether a program reads an argument as a program of its own.
pub fn is_shell(program: &str) -> bool {
    SHELLS.contains(&program.rsplit('/').next().unwrap_or(program))
}

/// Whether the argument that follows this one is a program for a shell.
pub fn is_script_option(argument: &str) -> bool {
    argument == "-c" || argument.eq_ignore_ascii_case("/c") || argument == "-Command"
}

/// Returns a command line that runs a line in the node's shell.
pub fn shell_line(line: &str) -> String {
    quote(["/bin/sh", "-c", line])
}

/// Returns a file name as an argument; a name that begins with a hyphen must not be read as an option.
pub fn as_argument(name: &str) -> String {
    if name.starts_with('-') { format!("./{name}") } else { name.to_owned() }
}

/// Returns the value of a placeholder. The path of a file becomes an argument; other values are text.
pub fn value(name: &str, draft: &Draft, index: usize) -> String {
    let value = draft.value(name, index).unwrap_or_default();
    let is_file = draft.files.iter().any(|file| file.name.as_deref() == Some(name));
    if is_file { as_argument(&value) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use dropmill_azure_wire::command_line::split;
    use dropmill_inputs::NamedFile;

    #[test]
    fn a_shell_line_reports_placeholders_with_their_variables_and_ignores_other_braces() {
        let problems = |line: &str| gaps_in_shell(line, &Declared::of_a_file()).join("\n");
        assert!(problems("wc {input}").contains("write \"$DROPMILL_INPUT\""));
        assert!(problems("mv x {stem}.csv").contains("%.*"));
        assert!(problems("echo {index}").contains("as \"$1\""));
        for line in [
            "awk '{print}'",
            "echo ${input} {{input}} {input,output} {} { input; }",
            "docker --format '{{.Name}}'",
        ] {
            assert_eq!(problems(line), "", "{line}");
        }
    }

    fn task(command: &[&str]) -> Task {
        Task {
            command: Some(command.iter().map(|&argument| argument.to_owned()).collect()),
            ..Settings::default().task
        }
    }

    #[test]
    fn each_placeholder_is_replaced_within_one_argument() {
        let template = Template::of(
            &task(&["count", "-n{index}", "{input}", "{stem}_{name}", "{{literal}}", ""]),
            &Declared::of_a_file(),
        )
        .unwrap();
        let line = template.write(&Draft::of_file("data/a 'b\" $(id).tar.gz"), 7);
        let name = "a 'b\" $(id).tar.gz";
        let stem = "a 'b\" $(id).tar";
        assert_eq!(split(&line).unwrap(), ["count", "-n7", name, &format!("{stem}_{name}"), "{literal}", ""]);
        let line = template.write(&Draft::of_file("-rf"), 0);
        assert_eq!(split(&line).unwrap()[2], "./-rf");
    }

    #[test]
    fn unknown_placeholders_and_placeholders_in_shell_scripts_are_rejected() {
        for (command, word) in [
            (vec!["x", "{inptu}"], "{input}"),
            (vec!["/bin/sh", "-c", "wc {input}"], "$DROPMILL_INPUT"),
            (vec!["bash", "-c", "wc '{name}'"], "$DROPMILL_INPUT"),
            (vec![], "name a program"),
        ] {
            let problems = Template::of(&task(&command), &Declared::of_a_file()).unwrap_err();
            assert!(problems[0].what.contains(word), "{command:?}: {}", problems[0].what);
        }
        assert!(
            Template::of(&task(&["sh", "-c", "wc \"$1\"", "sh", "{input}"]), &Declared::of_a_file()).is_ok()
        );
    }

    #[test]
    fn values_and_files_of_a_set_have_names_and_never_become_part_of_a_shell_line() {
        let declared = Declared {
            files: vec!["r1".into()],
            values: vec!["sample".into(), "alpha".into()],
            built_in: vec!["name", "index"],
        };
        let draft = Draft {
            name: "a".into(),
            files: vec![NamedFile {
                name: Some("r1".into()),
                path: "/d/-a.fq".into(),
                place: "-a.fq".into(),
            }],
            values: vec![("sample".into(), "$(id) 'x'".into()), ("alpha".into(), "-0.10".into())],
            origin: String::new(),
        };
        let template =
            Template::of(&task(&["t", "{r1}", "{sample}", "-a{alpha}", "{name}"]), &declared).unwrap();
        assert_eq!(split(&template.write(&draft, 0)).unwrap(), ["t", "./-a.fq", "$(id) 'x'", "-a-0.10", "a"]);
        for (line, variable) in [
            ("cat {r1}", "\"$DROPMILL_FILE_R1\""),
            ("echo {sample}", "\"$DROPMILL_VALUE_SAMPLE\""),
            ("echo {name}", "as \"$1\""),
        ] {
            assert!(gaps_in_shell(line, &declared)[0].contains(variable), "{line}");
            let problems = Template::of(&task(&["sh", "-c", line]), &declared).unwrap_err();
            assert!(problems[0].what.contains("would be run"), "{line}");
        }
        let problems = Template::of(&task(&["x", "{input}"]), &declared).unwrap_err();
        assert!(problems[0].what.contains("unknown placeholder {input}"), "{problems:?}");
    }
}
