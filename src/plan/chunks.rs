//! Groups inputs into tasks (`input.per_task`).

use super::{
    command,
    items::{from_base, outputs_of, without_controls},
    sources::{Declared, Sources},
};
use crate::{
    plan::{name, variables},
    settings::{Problem, Settings, Upload},
};
use dropmill_azure_wire::command_line::quote;
use dropmill_inputs::{
    Draft, drafts,
    names::{bounded, segment},
    template::{Template as Text, Unknown},
};
use dropmill_lifecycle::plan::{
    Chunk, Grouping, INPUTS, INPUTS0, Item, ItemFile, LISTS, Layout, ROWS, RunPlan,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Most inputs of one task.
const MOST: u32 = 10_000;
/// Longest command line of a task for several inputs. The arguments of a program have 2 MiB together on Linux, and the
/// request that adds tasks has 1 MB on Azure.
const LONGEST_COMMAND: usize = 256 << 10;
/// Most folders that outputs of one task are looked for in singly.
const MOST_FOLDERS: usize = 32;
/// Names of the problems that are listed.
const MOST_SHOWN: usize = 5;
/// What stands for a placeholder while a pattern is widened.
const MARK: &str = "\u{1}";

/// Returns how a run groups its inputs; `None` if it does not, or if its settings have mistakes.
pub(super) fn grouping(
    settings: &Settings,
    declared: &Declared,
    problems: &mut Vec<Problem>,
) -> Option<Grouping> {
    let per_task = settings.input.per_task?;
    let before = problems.len();
    if !(1..=MOST).contains(&per_task) {
        problems.push(Problem::new("input.per_task", format!("it must be from 1 to {MOST}")));
    }
    for (is_set, key) in [
        (settings.output.layout == Layout::Mirror, "output.layout = \"mirror\""),
        (settings.task.upload == Upload::SelfUpload, "task.upload = \"self\""),
    ] {
        if is_set {
            problems.push(Problem::new(
                "input.per_task",
                format!("it cannot be combined with {key}: remove one of the two"),
            ));
        }
    }
    let command = words(settings, declared, problems);
    let names = declared.all();
    let environment = environment(settings, &names, problems);
    let wide_outputs = wide_outputs(settings, &names, problems);
    (problems.len() == before).then_some(Grouping { per_task, command, environment, wide_outputs })
}

/// Whether an input is one file or one line: then it is an argument. Other inputs have several values.
fn is_text(declared: &Declared) -> bool {
    match (&declared.files[..], &declared.values[..]) {
        ([file], []) => file == "input",
        ([], [value]) => value == "line",
        _ => false,
    }
}

fn lists(declared: &Declared) -> &'static str {
    if is_text(declared) {
        "the list that $DROPMILL_INPUTS names"
    } else {
        "the list that $DROPMILL_ROWS names"
    }
}

/// The words of the command; none for all inputs.
fn words(settings: &Settings, declared: &Declared, problems: &mut Vec<Problem>) -> Vec<Option<String>> {
    let Some(command) = &settings.task.command else {
        // A line for the shell has no placeholders, and is checked like that of any task.
        if let Err(wrong) = command::Template::of(&settings.task, &Declared::default()) {
            problems.extend(wrong);
        }
        let line = settings.task.shell.clone().unwrap_or_default();
        for name in declared.all().into_iter().chain(["inputs"]) {
            let place = line.find(&format!("{{{name}}}"));
            if place.is_some_and(|at| !line[..at].ends_with(['$', '{'])) {
                let what = format!(
                    "{{{name}}} stands for nothing in a line for the shell: read {}",
                    lists(declared)
                );
                problems.push(Problem::new("task.shell", what));
            }
        }
        return ["/bin/sh", "-c", &line].map(|word| Some(word.to_owned())).into();
    };
    let known: Vec<&str> = declared.all().into_iter().chain(["inputs"]).collect();
    let is_shell = command.first().is_some_and(|program| command::is_shell(program));
    let mut wrong = |what: String| problems.push(Problem::new("task.command", what));
    if command.first().is_none_or(String::is_empty) {
        wrong("it is empty: name a program".into());
    }
    let mut words = vec![];
    for (at, argument) in command.iter().enumerate() {
        if argument.contains('\0') {
            wrong(format!("argument {at} holds a NUL"));
        }
        let text = match Text::parse(argument, &known, Unknown::Error) {
            Ok(text) => text,
            Err(what) => {
                wrong(format!("argument {at}: {what}"));
                continue;
            }
        };
        let single = text.names().find(|name| *name != "inputs");
        let is_script = is_shell && at > 0 && command::is_script_option(&command[at - 1]);
        match (single, text.names().next()) {
            (Some(name), _) => wrong(format!(
                "argument {at}: a task has several inputs (input.per_task), so {{{name}}} has no single value: use {}{}",
                if is_text(declared) { "{inputs} as an argument, or " } else { "" },
                lists(declared)
            )),
            (None, Some(_)) if !is_text(declared) => wrong(format!(
                "argument {at}: {{inputs}} stands for files or lines, and these inputs have several values: read {}, \
                 which has a JSON object for each",
                lists(declared)
            )),
            (None, Some(_)) if text.alone().is_none() => {
                wrong(format!(
                    "argument {at}: {{inputs}} stands for several arguments: write it as one of its own"
                ));
            }
            (None, Some(_)) if is_script || at == 0 => wrong(format!(
                "argument {at}: {{inputs}} cannot be a program: use \"$@\" there, with \"sh\", \"{{inputs}}\" as further \
                 arguments"
            )),
            (None, Some(_)) => words.push(None),
            (None, None) => words.push(Some(text.fill(|_| String::new()))),
        }
    }
    words
}

fn environment(settings: &Settings, names: &[&str], problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    for (variable, text) in &settings.task.env {
        let Ok(text) = Text::parse(text, names, Unknown::Text) else { continue };
        if let Some(name) = text.names().next() {
            let what = format!(
                "{variable}: a task has several inputs (input.per_task), so {{{name}}} has no single value in its environment"
            );
            problems.push(Problem::new("task.env", what));
        }
    }
    let unescaped = |text: &str| {
        let text = Text::parse(text, names, Unknown::Text).map(|text| text.fill(|_| String::new()));
        text.unwrap_or_default()
    };
    variables::filled(&settings.task, names, &unescaped).into_iter().collect()
}

/// A pattern for each of `task.outputs` that fits it for every input; none if no output is named by its input.
fn wide_outputs(settings: &Settings, names: &[&str], problems: &mut Vec<Problem>) -> Vec<String> {
    let parsed: Vec<Text> = settings
        .task
        .outputs
        .iter()
        .filter_map(|pattern| Text::parse(pattern, names, Unknown::Text).ok())
        .collect();
    let is_own = |text: &Text| text.names().next().is_some();
    if !parsed.iter().any(is_own) {
        return vec![];
    }
    if let Some(at) = parsed.iter().position(|text| !is_own(text)) {
        let what = format!(
            "{:?} is the same for all inputs of a task (input.per_task), and other patterns are not: name an input in each \
             pattern, for example \"{{stem}}.csv\", or in none",
            settings.task.outputs[at]
        );
        problems.push(Problem::new("task.outputs", what));
    }
    parsed.iter().map(|text| widened(&text.fill(|_| MARK.into()))).collect()
}

/// A pattern in which `*` stands for each mark, but never two of them.
fn widened(marked: &str) -> String {
    let segment = |segment: &str| match segment.contains(MARK) {
        true => {
            let mut wide = segment.replace(MARK, "*");
            while wide.contains("**") {
                wide = wide.replace("**", "*");
            }
            wide
        }
        false => segment.to_owned(),
    };
    marked.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// Returns the item of an input that is grouped: how it is submitted if it is alone in its task.
pub(super) fn grouped(
    item: Item,
    draft: &Draft,
    grouping: &Grouping,
    (settings, run): (&Settings, &str),
    sources: &Sources,
) -> Item {
    let place = |path: &str| place(&from_base(&sources.files[path].path, &sources.base));
    let mut more_files = item.more_files.clone();
    for (file, named) in more_files.iter_mut().zip(draft.files.iter().skip(1)) {
        let is_own = file.blob.starts_with(&format!("{}/", item.task));
        file.place = place(&named.path);
        if is_own {
            file.blob = format!("{}/{}", item.task, file.place);
        }
    }
    let file_name = draft.files.first().map(|file| place(&file.path)).unwrap_or_default();
    let texts = is_text(&sources.declared);
    let names = draft.files.iter().map(|file| file.name.clone().unwrap_or_default()).collect();
    let chunk = Chunk {
        first: item.index,
        count: 1,
        own_results: !grouping.wide_outputs.is_empty(),
        names: (!texts).then_some(names),
    };
    let value = |name: &str| match draft.files.iter().find(|file| file.name.as_deref() == Some(name)) {
        // Its path in the working folder.
        Some(file) => format!("{}/{}", item.task, place(&file.path)),
        None => draft.value(name, item.index as usize).unwrap_or_default(),
    };
    let outputs = outputs_of(&settings.task, &sources.declared, value);
    let mut item = Item { file_name, more_files, outputs, chunk: Some(chunk), ..item };
    let text = item.as_input_of(&item.task);
    item.command_line = command_line(grouping, &[&text]);
    item.environment = variables(&item, grouping, run);
    item
}

/// The path of a file below the folder of the inputs of a task.
fn place(path: &str) -> String {
    let path = without_controls(path);
    let mut segments: Vec<&str> = path.split('/').collect();
    for segment in segments.iter_mut().filter(|segment| **segment == "..") {
        *segment = "%2E.";
    }
    let path = segments.join("/");
    if segments[0] == LISTS { path.replacen('.', "%2E", 1) } else { path }
}

fn command_line(grouping: &Grouping, inputs: &[&str]) -> String {
    let mut words: Vec<&str> = vec![];
    for word in &grouping.command {
        match word {
            Some(word) => words.push(word),
            None => words.extend(inputs),
        }
    }
    quote(words)
}

fn variables(item: &Item, grouping: &Grouping, run: &str) -> Vec<(String, String)> {
    let lists: &[(&str, &str)] = match item.chunk.as_ref().and_then(|chunk| chunk.names.as_ref()) {
        None => &[("DROPMILL_INPUTS", INPUTS), ("DROPMILL_INPUTS0", INPUTS0)],
        Some(_) => &[("DROPMILL_ROWS", ROWS)],
    };
    let mut variables = vec![("DROPMILL_RUN".to_owned(), run.to_owned())];
    variables.extend(
        lists.iter().map(|(name, list)| ((*name).to_owned(), format!("{}/{LISTS}/{list}", item.task))),
    );
    variables.extend(grouping.environment.iter().cloned());
    variables
}

/// Returns problems of different files that would have the same path below the folder of the inputs.
pub(super) fn same_places(items: &[Item]) -> Vec<Problem> {
    let mut places: BTreeMap<&str, &std::path::Path> = BTreeMap::new();
    let mut problems = vec![];
    let files = items.iter().flat_map(|item| {
        let source = item.source.iter().map(|source| (&*item.file_name, &**source));
        source.chain(item.more_files.iter().map(|file| (&*file.place, &*file.source)))
    });
    for (place, source) in files {
        if let Some(other) = places.insert(place, source).filter(|other| *other != source) {
            let what = format!(
                "{} and {} would both be {place:?} in the folder of a task: rename one of them",
                other.display(),
                source.display()
            );
            problems.push(Problem::new("input.per_task", what));
        }
    }
    problems.truncate(MOST_SHOWN);
    problems
}

/// Returns problems of inputs whose outputs would have the same name in the folder of a task.
pub(super) fn same_outputs(items: &[Item]) -> Vec<Problem> {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    let mut problems = vec![];
    for item in items.iter().filter(|item| item.chunk.as_ref().is_some_and(|chunk| chunk.own_results)) {
        for pattern in item.outputs_in("") {
            if let Some(other) = owners.insert(pattern.clone(), &item.relative) {
                let what = format!(
                    "{other} and {} may be inputs of one task (input.per_task), and the outputs of both would be {pattern:?}: \
                     tell them apart, for example with {{relative}} or {{index}}, or remove input.per_task",
                    item.relative
                );
                problems.push(Problem::new("task.outputs", what));
            }
        }
    }
    problems.truncate(MOST_SHOWN);
    problems
}

/// Groups the items of a plan into chunks.
pub(super) fn form(plan: &mut RunPlan) {
    let Some(grouping) = plan.grouping.take() else { return };
    for item in &mut plan.items {
        if let Some(chunk) = &mut item.chunk {
            chunk.first = item.index;
        }
    }
    let ranges = drafts::chunks(plan.items.len(), grouping.per_task as usize);
    let groups = ranges.into_iter().map(|range| &plan.items[range]).filter(|members| members.len() > 1);
    let mut names = BTreeSet::new();
    plan.chunks = groups
        .enumerate()
        .filter_map(|(number, members)| chunk(plan, &grouping, number, members, &mut names))
        .collect();
    plan.grouping = Some(grouping);
}

/// The task for several items.
fn chunk(
    plan: &RunPlan,
    grouping: &Grouping,
    number: usize,
    members: &[Item],
    names: &mut BTreeSet<String>,
) -> Option<Item> {
    let (first, last) = (members.first()?, members.last()?);
    let mut name = chunk_name(&first.relative, &last.relative);
    // Long names are cut, and may be those of inputs or chunks before.
    if !names.insert(name.clone()) {
        name = format!("{name}~{}", first.index);
    }
    let recipe: Vec<_> =
        members.iter().map(|item| (&item.relative, item.size_bytes, item.modified, &item.recipe)).collect();
    let recipe = BTreeMap::from([("inputs".to_owned(), super::short_digest(&json!(recipe)))]);
    let task = name::task_name_of(&name, &format!("{} inputs: {name}", members.len()));
    let texts: Vec<String> = members.iter().map(|item| item.as_input_of(&task)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let run = plan.run.as_str();
    let mut item = Item {
        index: u32::try_from(plan.items.len() + number).unwrap_or(u32::MAX),
        command_line: command_line(grouping, &texts),
        environment: vec![],
        result_folder: if first.result_folder.is_empty() { String::new() } else { name.clone() },
        file_name: String::new(),
        source: None,
        whole_folder: false,
        size_bytes: members.iter().map(Item::all_bytes).fold(0, u64::saturating_add),
        modified: None,
        mode: None,
        supersedes: None,
        blob: None,
        more_files: shared(members),
        values: vec![],
        recipe,
        outputs: None,
        chunk: first.chunk.as_ref().map(|chunk| Chunk {
            first: first.index,
            count: u32::try_from(members.len()).unwrap_or(u32::MAX),
            ..chunk.clone()
        }),
        relative: name,
        task,
    };
    item.environment = variables(&item, grouping, run);
    if !grouping.wide_outputs.is_empty() {
        item.outputs = Some(outputs(grouping, &item.task, members));
    }
    Some(item)
}

/// `data/a.txt..m.txt` for the inputs from `data/a.txt` to `data/m.txt`.
fn chunk_name(first: &str, last: &str) -> String {
    let folder = first.rfind('/').map_or("", |at| &first[..=at]);
    let (first, last) = (&first[folder.len()..], last.strip_prefix(folder).unwrap_or(last));
    bounded(format!("{folder}{first}..{}", segment(last)))
}

/// The files that all inputs share: they have blobs of their own.
fn shared(members: &[Item]) -> Vec<ItemFile> {
    let mut files: BTreeMap<&str, ItemFile> = BTreeMap::new();
    for item in members {
        if let (Some(source), Some(blob)) = (&item.source, &item.blob) {
            files.entry(blob).or_insert_with(|| ItemFile {
                source: source.clone(),
                place: item.file_name.clone(),
                blob: blob.clone(),
                size_bytes: item.size_bytes,
                modified: item.modified,
                mode: item.mode,
            });
        }
        let own = format!("{}/", item.task);
        for file in item.more_files.iter().filter(|file| !file.blob.starts_with(&own)) {
            files.entry(&file.blob).or_insert_with(|| file.clone());
        }
    }
    files.into_values().collect()
}

/// Patterns that fit the outputs of all inputs of a task: few, because a service limits their number.
fn outputs(grouping: &Grouping, task: &str, members: &[Item]) -> Vec<String> {
    let own: Vec<Vec<String>> = members.iter().map(|item| item.outputs_in(task)).collect();
    let mut patterns = BTreeSet::new();
    for (at, wide) in grouping.wide_outputs.iter().enumerate() {
        let filled: Vec<&str> = own.iter().filter_map(|own| own.get(at).map(String::as_str)).collect();
        let depth = wide.matches('/').count();
        if filled.iter().all(|pattern| pattern.matches('/').count() == depth) {
            patterns.insert(wide.clone());
        } else {
            // A value is a path: its folders are spelt out.
            let last = wide.rsplit('/').next().unwrap_or(wide);
            let folders: BTreeSet<&str> =
                filled.iter().map(|pattern| pattern.rfind('/').map_or("", |at| &pattern[..=at])).collect();
            match folders.len() > MOST_FOLDERS {
                true => patterns.insert(format!("**/{last}")),
                false => {
                    patterns.extend(folders.into_iter().map(|folder| format!("{folder}{last}")));
                    true
                }
            };
        }
        // A wildcard fits no name that begins with a dot.
        let is_hidden = |pattern: &&&str| pattern.split('/').any(|segment| segment.starts_with('.'));
        if !wide.split('/').any(|segment| segment.starts_with('.')) {
            patterns.extend(filled.iter().filter(is_hidden).map(|pattern| (*pattern).to_owned()));
        }
    }
    patterns.into_iter().collect()
}

/// Returns the problem of a command line that is too long.
pub(super) fn too_long(plan: &RunPlan) -> Option<Problem> {
    let longest = plan.chunks.iter().max_by_key(|chunk| chunk.command_line.len())?;
    let bytes = longest.command_line.len();
    (bytes > LONGEST_COMMAND).then(|| {
        let what = format!(
            "the command of {} would have {bytes} bytes, and at most {LONGEST_COMMAND} are possible: pass \
             $DROPMILL_INPUTS, which names a list of the inputs, in place of {{inputs}}, or lower input.per_task",
            longest.relative
        );
        Problem::new("input.per_task", what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_widened_within_their_segments() {
        for (marked, wide) in [
            ("\u{1}.png", "*.png"),
            ("\u{1}\u{1}*.png", "*.png"),
            ("**/\u{1}.png", "**/*.png"),
            ("out/\u{1}/x-\u{1}.csv", "out/*/x-*.csv"),
        ] {
            assert_eq!(widened(marked), wide);
        }
    }

    #[test]
    fn chunks_are_named_by_their_first_and_last_input() {
        for (first, last, name) in [
            ("data/a.txt", "data/m.txt", "data/a.txt..m.txt"),
            ("data/a.txt", "data/x/m.txt", "data/a.txt..x%2Fm.txt"),
            ("a", "b", "a..b"),
        ] {
            assert_eq!(chunk_name(first, last), name);
        }
    }

    #[test]
    fn files_keep_their_paths_and_never_leave_the_folder_or_hide_a_list() {
        for (path, expected) in [
            ("d/a b.txt", "d/a b.txt"),
            ("../../x/a", "%2E./%2E./x/a"),
            (".dropmill/inputs", "%2Edropmill/inputs"),
            ("d/a\nb", "d/a_b"),
        ] {
            assert_eq!(place(path), expected);
        }
    }
}
