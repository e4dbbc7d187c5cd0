//! Places of results in layouts in which several inputs share a folder.

use super::sources::Sources;
use crate::settings::{Problem, Settings};
use dropmill_inputs::{
    Draft,
    names::file_name,
    template::{Template, Unknown},
};
use dropmill_lifecycle::plan::Layout;
use std::collections::BTreeMap;

/// Maximum number of shared places that are listed one by one.
const LISTED: usize = 3;

/// Returns the folder of a task's first file, for the layout `mirror`, with `/` between segments.
pub fn folder_of(draft: &Draft, sources: &Sources) -> String {
    let first = draft.files.first().and_then(|file| sources.files.get(&file.path));
    let folder = first.and_then(|file| file.relative.rsplit_once('/'));
    folder.map(|(folder, _)| folder.to_owned()).unwrap_or_default()
}

/// Reports inputs whose results would have the same place, if the names of their outputs are known before the
/// tasks run.
pub fn same_places(settings: &Settings, sources: &Sources) -> Vec<Problem> {
    let layout = settings.output.layout;
    let mut places: BTreeMap<String, &str> = BTreeMap::new();
    let mut shared: Vec<(String, &str, &str)> = vec![];
    let outputs = fixed_outputs(settings, sources);
    for (index, draft) in sources.drafts.iter().enumerate() {
        let mut add = |place: String| {
            if let Some(other) =
                places.insert(place.clone(), &draft.name).filter(|other| *other != draft.name)
            {
                shared.push((place, other, &draft.name));
            }
        };
        let folder = match layout {
            Layout::Mirror => folder_of(draft, sources),
            Layout::Flat | Layout::ByInput => String::new(),
        };
        if layout == Layout::Flat {
            add(format!("{}.stdout.txt", file_name(&draft.name)));
        }
        for output in &outputs {
            let name = output.fill(|name| draft.value(name, index).unwrap_or_default());
            add(if folder.is_empty() { name } else { format!("{folder}/{name}") });
        }
    }
    let line = |(place, one, other): &(String, &str, &str)| {
        let what = format!(
            "{one} and {other} would both have the result {place}: name outputs after their inputs, for example \
             \"{{stem}}.txt\", or use layout = \"by-input\""
        );
        Problem::new("output.layout", what)
    };
    let mut problems: Vec<_> = shared.iter().take(LISTED).map(line).collect();
    if shared.len() > LISTED {
        let more = format!("{} more results would share their places", shared.len() - LISTED);
        problems.push(Problem::new("output.layout", more));
    }
    problems
}

/// Returns the outputs with known names: those without wildcards.
fn fixed_outputs(settings: &Settings, sources: &Sources) -> Vec<Template> {
    let names = sources.declared.all();
    let fixed = settings.task.outputs.iter().filter(|pattern| !pattern.contains(['*', '?', '[']));
    fixed.filter_map(|pattern| Template::parse(pattern, &names, Unknown::Text).ok()).collect()
}
