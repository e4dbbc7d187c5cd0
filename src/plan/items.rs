//! The items of a plan: a task for each draft, with its files, its variables and its outputs.

use super::{
    chunks,
    command::{self, Template},
    files::text,
    layouts, name,
    sources::{Declared, Sources},
    variables,
};
use crate::settings::{Problem, Settings, Task};
use dropmill_actors::drop_folder::NewItem;
use dropmill_inputs::{
    Draft, NamedFile,
    names::file_name,
    template::{Template as Text, Unknown},
};
use dropmill_lifecycle::plan::{AppFile, Item, ItemFile, Layout};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Creates the item of a file of a drop folder; the caller has checked the command.
pub fn dropped(task: &Task, file: &NewItem) -> Item {
    let mut draft = Draft::of_file(&file.relative);
    // The blobs of a folder are downloaded under their whole names, which begin with the task's name and have
    // no control characters.
    if file.whole_folder {
        let name = draft.files[0].place.replace(char::is_control, "_");
        draft.files[0].place = format!("{}/{name}", file.task);
    }
    let template = Template::of(task, &Declared::of_a_file());
    Item {
        index: 0,
        task: file.task.clone(),
        relative: file.relative.clone(),
        source: Some(file.source.clone()),
        file_name: file_name(&file.relative).to_owned(),
        size_bytes: file.size_bytes,
        modified: None,
        mode: None,
        command_line: template.map(|template| template.write(&draft, 0)).unwrap_or_default(),
        environment: environment(task, &draft, &file.run, 0, &Declared::of_a_file()),
        result_folder: file.task.clone(),
        whole_folder: file.whole_folder,
        supersedes: None,
        blob: None,
        more_files: vec![],
        values: vec![],
        recipe: BTreeMap::new(),
        outputs: None,
        chunk: None,
    }
}

/// Creates the items of all drafts.
pub fn items(settings: &Settings, run: &str, sources: &Sources, problems: &mut Vec<Problem>) -> Vec<Item> {
    let is_grouped = settings.input.per_task.is_some();
    let template = match Template::of(&settings.task, &sources.declared) {
        _ if is_grouped => None,
        Ok(template) => Some(template),
        Err(found) => {
            problems.extend(found);
            return vec![];
        }
    };
    let grouping = chunks::grouping(settings, &sources.declared, problems);
    if !problems.is_empty() {
        return vec![];
    }
    if settings.output.layout != Layout::ByInput {
        problems.extend(layouts::same_places(settings, sources));
    }
    let shared = shared_files(sources, is_grouped);
    let mut ids = BTreeSet::new();
    let mut items = vec![];
    for (index, draft) in sources.drafts.iter().enumerate() {
        let task = match draft.values.is_empty() {
            true => name::task_name(&draft.name),
            false => name::task_name_of(&draft.name, &draft.name),
        };
        if !ids.insert(task.clone()) {
            let what = format!("{} has the task id of another task", draft.name);
            problems.push(Problem::new("input", what));
        }
        let blob = |file: &NamedFile| {
            shared
                .get(file.path.as_str())
                .cloned()
                .unwrap_or_else(|| format!("{task}/{}", without_controls(&file.place)))
        };
        let (source, more_files) = files_of(draft, sources, &blob);
        let file = source.map(|file| &sources.files[&file.path]);
        let item = Item {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            relative: draft.name.clone(),
            source: file.map(|file| file.path.clone()),
            file_name: source.map(|file| file_name(&file.place).to_owned()).unwrap_or_default(),
            size_bytes: file.map_or(0, |file| file.size_bytes),
            modified: file.and_then(|file| file.modified),
            mode: file.and_then(|file| file.mode),
            command_line: template.as_ref().map(|template| template.write(draft, index)).unwrap_or_default(),
            environment: environment(&settings.task, draft, run, index, &sources.declared),
            result_folder: match settings.output.layout {
                Layout::ByInput => draft.name.clone(),
                Layout::Flat => String::new(),
                Layout::Mirror => layouts::folder_of(draft, sources),
            },
            whole_folder: false,
            supersedes: None,
            blob: source.and_then(|file| shared.get(file.path.as_str()).cloned()),
            more_files,
            values: draft.values.clone(),
            recipe: own_recipe(draft, sources),
            outputs: outputs_of(&settings.task, &sources.declared, |name| {
                draft.value(name, index).unwrap_or_default()
            }),
            chunk: None,
            task,
        };
        items.push(match &grouping {
            Some(grouping) => chunks::grouped(item, draft, grouping, (settings, run), sources),
            None => item,
        });
    }
    if is_grouped {
        problems.extend(chunks::same_places(&items));
        problems.extend(chunks::same_outputs(&items));
    }
    items
}

/// Splits the files of a task into the first and the others.
fn files_of<'a>(
    draft: &'a Draft,
    sources: &Sources,
    blob: &dyn Fn(&NamedFile) -> String,
) -> (Option<&'a NamedFile>, Vec<ItemFile>) {
    let more = |file: &NamedFile| {
        let found = &sources.files[&file.path];
        ItemFile {
            source: found.path.clone(),
            place: file.place.clone(),
            blob: blob(file),
            size_bytes: found.size_bytes,
            modified: found.modified,
            mode: found.mode,
        }
    };
    let mut files = draft.files.iter();
    (files.next(), files.map(more).collect())
}

/// Returns digests of what a task is made from, besides its first file.
fn own_recipe(draft: &Draft, sources: &Sources) -> BTreeMap<String, String> {
    let more = draft.files.iter().skip(1).map(|file| {
        let found = &sources.files[&file.path];
        (&file.name, &file.place, found.size_bytes, found.modified)
    });
    let more: Vec<_> = more.collect();
    let mut recipe = BTreeMap::new();
    if !more.is_empty() {
        recipe.insert("files".to_owned(), super::short_digest(&json!(more)));
    }
    if !draft.values.is_empty() {
        recipe.insert("values".to_owned(), super::short_digest(&json!(draft.values)));
    }
    recipe
}

/// Returns the blob names of files that several tasks share: each is uploaded once. If inputs are grouped, only what all
/// of them share: each task gets a copy of anything else.
fn shared_files(sources: &Sources, is_grouped: bool) -> BTreeMap<&str, String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for file in sources.drafts.iter().flat_map(|draft| &draft.files) {
        *counts.entry(&file.path).or_default() += 1;
    }
    let name = |path: &str| {
        // The name must be the same in each copy of the run file's folder, so it does not contain the path of
        // that folder.
        let digest = Sha256::digest(from_base(&sources.files[path].path, &sources.base).as_bytes());
        let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("shared/{hash}/{}", without_controls(file_name(path)))
    };
    let least = if is_grouped { sources.drafts.len().max(2) } else { 2 };
    counts.into_iter().filter(|(_, count)| *count >= least).map(|(path, _)| (path, name(path))).collect()
}

/// Returns the path of a file relative to the folder of the run file: `a/b`, or `../../a/b`.
pub(super) fn from_base(path: &Path, base: &Path) -> String {
    let mut up = String::new();
    for above in base.ancestors() {
        if let Ok(below) = path.strip_prefix(above) {
            return format!("{up}{}", text(below));
        }
        up.push_str("../");
    }
    text(path)
}

/// Removes control characters, which blob names cannot have.
pub(super) fn without_controls(name: &str) -> String {
    name.replace(char::is_control, "_")
}

/// Finds an input that would lie in the place of a file of the application, in the folder of a task that gets both.
pub fn taken_by_the_application(items: &[Item], application: &[AppFile]) -> Option<Problem> {
    let places: BTreeMap<&str, &Path> =
        application.iter().map(|file| (file.name.as_str(), file.source.as_path())).collect();
    let is_taken = |place: &str, source: &Path| places.get(place).is_some_and(|other| *other != source);
    let item = items.iter().find(|item| {
        item.source.as_ref().is_some_and(|source| is_taken(&item.file_name, source))
            || item.more_files.iter().any(|file| is_taken(&file.place, &file.source))
    })?;
    let what = format!(
        "a file of the application and a file of the input {} would have the same path in the folder of the task: rename one",
        item.relative
    );
    Some(Problem::new("application.files", what))
}

/// Returns the patterns of a task's outputs, if they have placeholders. Special characters in the values of
/// placeholders have no effect.
pub(super) fn outputs_of(
    task: &Task,
    declared: &Declared,
    value: impl Fn(&str) -> String,
) -> Option<Vec<String>> {
    let names = declared.all();
    let templates: Vec<_> =
        task.outputs.iter().filter_map(|pattern| Text::parse(pattern, &names, Unknown::Text).ok()).collect();
    if templates.iter().all(|template| template.names().next().is_none()) {
        return None;
    }
    Some(templates.iter().map(|template| template.fill(|name| globset::escape(&value(name)))).collect())
}

/// Returns the environment variables of a task.
fn environment(
    task: &Task,
    draft: &Draft,
    run: &str,
    index: usize,
    declared: &Declared,
) -> Vec<(String, String)> {
    let mut environment = vec![("DROPMILL_RUN".to_owned(), run.to_owned())];
    for file in &draft.files {
        let Some(name) = &file.name else { continue };
        let place = command::as_argument(&file.place);
        if name == "input" {
            environment.push(("DROPMILL_INPUT".into(), place));
            environment.push(("DROPMILL_INPUT_NAME".into(), file_name(&file.path).to_owned()));
        } else {
            environment.push((format!("DROPMILL_FILE_{}", name.to_ascii_uppercase()), place));
        }
    }
    for (name, value) in &draft.values {
        environment.push((format!("DROPMILL_VALUE_{}", name.to_ascii_uppercase()), value.clone()));
    }
    let names = declared.all();
    let fill = |text: &str| {
        let filled = Text::parse(text, &names, Unknown::Text)
            .map(|template| template.fill(|name| command::value(name, draft, index)));
        filled.unwrap_or_else(|_| text.to_owned())
    };
    environment.extend(variables::filled(task, &names, &fill));
    environment
}
