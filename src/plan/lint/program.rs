//! Whether the nodes find the program of `task.command` and the script that it interprets, and can execute them.

use super::{FileFacts, Finding, Subject, relative_name};
use dropmill_lifecycle::plan::AppFile;
use std::path::Path;

const COMMAND: &str = "task.command";

/// Programs that execute a script named by their first argument.
const INTERPRETERS: [&str; 17] = [
    "Rscript", "bash", "dash", "deno", "julia", "ksh", "lua", "node", "octave", "perl", "php", "pypy3",
    "python", "python3", "ruby", "sh", "zsh",
];

/// Options of interpreters after which no script follows: the program is an argument, or a module.
const INLINE: [&str; 7] = ["-c", "-e", "-E", "-m", "-r", "--eval", "-"];

/// Extensions of scripts.
const SCRIPTS: [&str; 12] =
    [".py", ".pl", ".r", ".rb", ".sh", ".js", ".mjs", ".jl", ".php", ".lua", ".m", ".ts"];

/// Checks the program of the command, and its script.
pub fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(command) = &subject.settings.task.command else { return vec![] };
    let Some(program) = command.first().filter(|program| !program.contains('{') && !program.is_empty())
    else {
        return vec![];
    };
    let mut found = match () {
        () if !program.contains('/') => bare(subject, program, command),
        () if program.starts_with('/') => absolute(subject, program),
        () => relative(subject, program),
    };
    found.extend(script_argument(command).and_then(|script| script_finding(subject, script)));
    found
}

/// Returns the argument that names the script of an interpreter.
pub fn script_argument(command: &[String]) -> Option<&str> {
    let (program, arguments) = command.split_first()?;
    let name = program.rsplit('/').next()?;
    let plain = name.trim_end_matches(|last: char| last.is_ascii_digit() || last == '.');
    if !INTERPRETERS.contains(&name) && !INTERPRETERS.contains(&plain) {
        return None;
    }
    let first = arguments.iter().position(|argument| !argument.starts_with('-') || argument == "-")?;
    let is_inline = arguments[..=first].iter().any(|option| INLINE.contains(&option.as_str()));
    (!is_inline).then(|| arguments[first].as_str())
}

fn script_finding(subject: &Subject<'_>, script: &str) -> Option<Finding> {
    let name = relative_name(script)?;
    if let Some(file) = subject.application_file(name)
        && subject.has_start_task()
    {
        return Some(Finding::error(COMMAND, in_the_start_task(file)));
    }
    if subject.is_in_working_folder(name) {
        return None;
    }
    if subject.machine.beside(name).is_some() {
        return Some(Finding::error(COMMAND, not_on_the_nodes(subject, name)));
    }
    let lower = name.to_lowercase();
    SCRIPTS.iter().any(|extension| lower.ends_with(extension)).then(|| {
        let what = format!("there is no {name} beside the run file, and none among application.files: the tasks do not find it");
        Finding::warning(COMMAND, what)
    })
}

/// The message for a file beside the run file that no task gets.
pub fn not_on_the_nodes(subject: &Subject<'_>, name: &str) -> String {
    let mut files = subject.settings.application.files.clone();
    files.push(name.to_owned());
    format!(
        "{name} lies beside the run file, but tasks run in folders of their own and do not get it: write application.files = {files:?}"
    )
}

fn in_the_start_task(file: &AppFile) -> String {
    let name = &file.name;
    format!(
        "application.start_task gets {name}, the tasks do not: let it copy the file to \"$AZ_BATCH_NODE_SHARED_DIR\", and use \
         task.shell with \"$AZ_BATCH_NODE_SHARED_DIR/{name}\""
    )
}

/// A program without a path, which the nodes look for on their search path.
fn bare(subject: &Subject<'_>, program: &str, command: &[String]) -> Vec<Finding> {
    if subject.application_file(program).is_some() && !subject.has_start_task() {
        let what = format!(
            "{program} is in application.files, so it is in the working folder of each task: write \"./{program}\""
        );
        return vec![Finding::error(COMMAND, what)];
    }
    let Some(path) = &subject.machine.task_path else { return vec![] };
    let what = match subject.machine.search(path, program) {
        Some((file, facts)) if facts.is_executable => {
            return below_home(subject, &file).into_iter().collect();
        }
        Some((file, _)) => format!("{} is not executable: run chmod +x on it", file.display()),
        None => not_found(subject, program, command, path),
    };
    vec![unless_installed(subject, what)]
}

fn not_found(subject: &Subject<'_>, program: &str, command: &[String], path: &str) -> String {
    let machine = &subject.machine;
    if program.contains(char::is_whitespace) {
        let words: Vec<_> =
            program.split_whitespace().chain(command[1..].iter().map(String::as_str)).collect();
        return format!(
            "no program is called {program:?}: write each word as an element of its own, {words:?}"
        );
    }
    if machine.beside(program).is_some() {
        return format!("{} Start it as \"./{program}\"", sentence(&not_on_the_nodes(subject, program)));
    }
    match machine.search(&machine.caller_path, program) {
        Some((file, _)) => format!(
            "tasks do not find {program}: it is {}, and their PATH is {path}. Write the whole path in task.command, or \
             task.inherit = [\"PATH\"]",
            file.display()
        ),
        None => format!("there is no program {program} in {path}: install it, or write its whole path"),
    }
}

fn sentence(text: &str) -> String {
    format!("{text}.")
}

/// A program with an absolute path: it must exist on the nodes.
fn absolute(subject: &Subject<'_>, program: &str) -> Vec<Finding> {
    let machine = &subject.machine;
    let path = Path::new(program);
    if machine.task_path.is_none() {
        let is_ours = path.starts_with(&machine.base) && (machine.file)(path).is_some();
        let what = || {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!(
                "{program} is on this machine, not on the nodes: add it to application.files and write \"./{name}\""
            )
        };
        return is_ours.then(|| Finding::error(COMMAND, what())).into_iter().collect();
    }
    let Some(facts) = (machine.file)(path) else {
        return vec![unless_installed(subject, format!("there is no file {program}"))];
    };
    let mut found: Vec<_> = cannot_execute(subject, program, &facts).into_iter().collect();
    found.extend(below_home(subject, path));
    found
}

/// A program in the working folder of the task.
fn relative(subject: &Subject<'_>, program: &str) -> Vec<Finding> {
    let Some(name) = relative_name(program) else { return vec![] };
    if let Some(file) = subject.application_file(name) {
        if subject.has_start_task() {
            return vec![Finding::error(COMMAND, in_the_start_task(file))];
        }
        let facts = (subject.machine.file)(&file.source);
        return facts.and_then(|facts| cannot_execute(subject, name, &facts)).into_iter().collect();
    }
    if subject.is_in_working_folder(name) {
        return vec![];
    }
    let what = match subject.machine.beside(name) {
        Some(_) => not_on_the_nodes(subject, name),
        None => format!(
            "there is no {name} beside the run file, and none among application.files: the tasks do not find it"
        ),
    };
    vec![Finding::error(COMMAND, what)]
}

/// A start task may install the program.
fn unless_installed(subject: &Subject<'_>, what: String) -> Finding {
    match subject.has_start_task() {
        true => Finding::warning(COMMAND, format!("{what}, unless application.start_task installs it")),
        false => Finding::error(COMMAND, what),
    }
}

/// Returns why the kernel cannot execute a file.
fn cannot_execute(subject: &Subject<'_>, shown: &str, facts: &FileFacts) -> Option<Finding> {
    if !facts.is_executable {
        return Some(Finding::error(COMMAND, format!("{shown} is not executable: run chmod +x {shown}")));
    }
    // Only a text can be a script that lacks its first line; the formats of binaries are the kernel's business.
    let is_text =
        !facts.head.contains(&0) && std::str::from_utf8(&facts.head[..facts.head.len().min(64)]).is_ok();
    if facts.head.is_empty() || !is_text {
        return None;
    }
    let Some(line) = facts.head.strip_prefix(b"#!") else {
        let what = format!(
            "{shown} is a script without a first line such as #!/bin/sh, so that no interpreter is known: add one"
        );
        return Some(Finding::error(COMMAND, what));
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    if line.ends_with('\r') {
        let what = format!(
            "{shown} has line ends of Windows, so that its interpreter is not found: convert it, for example with sed -i 's/\\r$//' {shown}"
        );
        return Some(Finding::error(COMMAND, what));
    }
    let path = subject.machine.task_path.as_deref()?;
    let mut words = line.split_whitespace();
    let interpreter = words.next()?;
    let missing = match words.next() {
        Some(program) if interpreter.ends_with("/env") && !program.starts_with('-') => {
            subject.machine.search(path, program).is_none().then(|| format!("{program} is not in {path}"))
        }
        _ => (subject.machine.file)(Path::new(interpreter))
            .is_none()
            .then(|| format!("there is no {interpreter}")),
    }?;
    Some(unless_installed(subject, format!("{shown} needs the interpreter of its first line, and {missing}")))
}

/// A program below the home folder often reads settings there, and tasks have another home folder.
fn below_home(subject: &Subject<'_>, program: &Path) -> Option<Finding> {
    let home = subject.machine.hidden_home.as_ref().filter(|home| program.starts_with(home))?;
    if home == Path::new("/") {
        return None;
    }
    let mut inherit = subject.settings.task.inherit.clone().unwrap_or_else(|| vec!["PATH".to_owned()]);
    inherit.push("HOME".to_owned());
    let what = format!(
        "{} lies below your home folder, and HOME of a task is its working folder: if the program reads files of {}, write \
         task.inherit = {inherit:?}",
        program.display(),
        home.display()
    );
    Some(Finding::warning(COMMAND, what))
}
