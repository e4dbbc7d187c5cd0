//! Checks which source files of a package import which: the library does not import the command line, and
//! cycles of files that import each other are short.
//!
//! The graph contains the paths that begin with `crate::` or `super::`, in `use` and elsewhere, without
//! tests.

use super::sources;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The command line: all other modules of `src` are the library.
const COMMAND_LINE: [&str; 3] = ["cli", "commands", "render"];

/// Largest number of files in a cycle.
const MOST_FILES: usize = 3;

/// Longest simple path is searched for in groups of at most this many files; larger groups are rejected without a search.
const MOST_SEARCHED: usize = 14;

/// Groups of files with longer cycles: the folder of sources, the files, and why they stay.
const EXCEPTIONS: &[(&str, &[&str], &str)] = &[
    (
        "actors/src",
        &[
            "run_context",
            "job_submitter",
            "output_fetcher",
            "pool_keeper",
            "record",
            "result_collector",
            "run_keeper",
            "space_keeper",
            "storage_uploader",
            "task_monitor",
        ],
        "messages are declared beside their handlers, and actors answer each other",
    ),
    (
        "crates/batch-model/src",
        &[
            "model::autoscaling",
            "model::instances",
            "model::job_specs",
            "model::jobs",
            "model::nodes",
            "model::plans",
            "model::pool_specs",
            "model::pools",
            "model::preparation",
            "model::task_ends",
            "model::tasks",
        ],
        "one model in several files: a transition of one object checks or changes others",
    ),
    (
        "crates/local-azure/src",
        &[
            "blob::store::change",
            "blob::store::content",
            "blob::store::facts",
            "blob::store::index",
            "blob::store::queue",
        ],
        "one store in several files: its index, contents and queue of writes share their types",
    ),
];

/// The modules of a package by their paths, `a::b`, each with the modules that it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_library_does_not_import_the_command_line() {
    let imports = imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let is_command_line = |module: &str| {
        COMMAND_LINE.iter().any(|above| module == *above || module.starts_with(&format!("{above}::")))
    };
    assert!(imports.keys().any(|module| module == "session"), "no sources found");
    for (module, imported) in imports.iter().filter(|(module, _)| !is_command_line(module)) {
        let wrong: Vec<_> = imported.iter().filter(|imported| is_command_line(imported)).collect();
        assert!(wrong.is_empty(), "src: {module} is part of the library and imports {wrong:?}");
    }
}

#[test]
fn at_most_three_files_import_each_other_in_a_circle() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec!["src".to_owned(), "actors/src".to_owned(), "task-app/src".to_owned()];
    for entry in fs::read_dir(project.join("crates")).unwrap() {
        folders.push(format!("crates/{}/src", entry.unwrap().file_name().to_string_lossy()));
    }
    let mut used = BTreeSet::new();
    for folder in folders {
        let imports = imports(&project.join(&folder));
        for group in groups(&imports) {
            if !has_longer_cycle(&imports, &group) {
                continue;
            }
            let exception = EXCEPTIONS.iter().position(|(of, files, _)| {
                *of == folder && group.iter().all(|module| files.contains(&module.as_str()))
            });
            let edges: Vec<_> = group
                .iter()
                .map(|module| (module, imports[module].intersection(&group).collect::<Vec<_>>()))
                .collect();
            assert!(exception.is_some(), "{folder}: a cycle of more than {MOST_FILES} files: {edges:#?}");
            used.extend(exception);
        }
    }
    for (at, (folder, files, _)) in EXCEPTIONS.iter().enumerate() {
        assert!(used.contains(&at), "{folder}: {files:?} are no longer an exception: remove them");
    }
}

/// Reads the imports of the sources in a folder. A file that declares other modules, such as `lib.rs`, imports nothing by
/// that.
fn imports(folder: &Path) -> Imports {
    let mut files = BTreeMap::new();
    for path in sources_without_tests(folder) {
        let below = path.strip_prefix(folder).unwrap().with_extension("");
        let parts: Vec<_> = below.iter().map(|part| part.to_str().unwrap()).collect();
        if matches!(*parts, ["lib" | "main"]) {
            continue;
        }
        let module = parts.strip_suffix(&["mod"]).unwrap_or(&parts).join("::");
        files.insert(module, fs::read_to_string(path).unwrap());
    }
    let modules: BTreeSet<String> = files.keys().cloned().collect();
    let of = |module: &String, text: &String| {
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let found = paths(module, text).into_iter().filter_map(|path| file_of(&path, &modules));
        found.filter(|found| found != module).collect()
    };
    files.iter().map(|(module, text)| (module.clone(), of(module, text))).collect()
}

/// Returns the source files in a folder, without the modules that are declared as `#[cfg(test)] mod NAME;` and those below them.
pub(super) fn sources_without_tests(folder: &Path) -> Vec<PathBuf> {
    let mut found = sources(folder);
    let mut tests = vec![];
    for path in &found {
        let beside = path.parent().unwrap();
        let name = path.file_stem().unwrap();
        let is_root = ["lib", "main", "mod"].iter().any(|root| name == *root);
        let below = if is_root { beside.to_owned() } else { beside.join(name) };
        for declared in fs::read_to_string(path).unwrap().split("#[cfg(test)]\n").skip(1) {
            let attributes: Vec<_> = declared.lines().take_while(|line| line.starts_with("#[")).collect();
            let after = declared.lines().nth(attributes.len()).unwrap_or_default();
            let module = after.rsplit_once("mod ").and_then(|(_, name)| name.strip_suffix(';'));
            let Some(module) = module else { continue };
            let elsewhere = attributes.iter().find_map(|line| line.strip_prefix("#[path = \""));
            match elsewhere.and_then(|line| line.strip_suffix("\"]")) {
                Some(file) => tests.push(beside.join(file)),
                None => tests.extend([below.join(module), below.join(format!("{module}.rs"))]),
            }
        }
    }
    found.retain(|path| !tests.iter().any(|test| path.starts_with(test)));
    found
}

/// Returns the module of the file in which a path ends.
fn file_of(path: &[String], modules: &BTreeSet<String>) -> Option<String> {
    (1..=path.len()).rev().map(|length| path[..length].join("::")).find(|path| modules.contains(path))
}

/// Returns the paths that begin with `crate::` or `super::` in the text of a module, from the root of its package.
fn paths(module: &str, text: &str) -> Vec<Vec<String>> {
    let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
    let code = code.join("\n");
    let mut found = vec![];
    let is_inside = |at: usize| {
        code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':')
    };
    for (at, word) in code.match_indices("crate::").filter(|(at, _)| !is_inside(*at)) {
        expand(&code[at + word.len()..], &mut vec![], &mut found);
    }
    for (at, _) in code.match_indices("super::").filter(|(at, _)| !is_inside(*at)) {
        let mut above: Vec<String> = module.split("::").map(str::to_owned).collect();
        let mut rest = &code[at..];
        while let Some(next) = rest.strip_prefix("super::") {
            above.pop();
            rest = next;
        }
        expand(rest, &mut above, &mut found);
    }
    found
}

/// Adds the paths of a use tree, `a::{b, c::D}`, each behind `above`. Returns what follows the tree.
fn expand<'a>(text: &'a str, above: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|letter: char| letter == ',' || letter.is_whitespace());
            if rest.is_empty() || rest.starts_with('}') {
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            let after = expand(rest, above, found);
            // An alias, `as b`; other text ends the tree.
            let next = after.find([',', '}']).unwrap_or(after.len());
            rest = if after.len() == rest.len() { "" } else { &after[next..] };
        }
    }
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    above.push(name.to_owned());
    let rest = match rest.strip_prefix("::") {
        Some(next) => expand(next, above, found),
        None => {
            found.push(above.clone());
            rest
        }
    };
    above.pop();
    rest
}

/// Returns the groups of modules in which each can be reached from each other, without those of one module.
fn groups(imports: &Imports) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        imports.keys().map(|module| (module, reached_from(module, imports))).collect();
    let mut found: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for (module, from) in &reached {
        let group: BTreeSet<String> = from
            .iter()
            .filter(|other| reached[**other].contains(module))
            .map(|other| (*other).clone())
            .collect();
        if group.len() > 1 {
            found.insert(group);
        }
    }
    found.into_iter().collect()
}

fn reached_from<'a>(module: &String, imports: &'a Imports) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&String> = imports[module].iter().collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(&imports[next]);
        }
    }
    found
}

/// Returns whether a group has a cycle of too many files that passes no file twice.
fn has_longer_cycle(imports: &Imports, group: &BTreeSet<String>) -> bool {
    fn goes_on<'a>(
        first: &str,
        path: &mut Vec<&'a str>,
        imports: &'a Imports,
        group: &BTreeSet<String>,
    ) -> bool {
        let last = path[path.len() - 1];
        imports[last].intersection(group).any(|next| {
            if next == first {
                return path.len() > MOST_FILES;
            }
            if path.contains(&next.as_str()) {
                return false;
            }
            let next = imports.get_key_value(next).unwrap().0;
            path.push(next);
            let is_longer = goes_on(first, path, imports, group);
            path.pop();
            is_longer
        })
    }
    group.len() > MOST_SEARCHED
        || group.iter().any(|first| {
            let first = imports.get_key_value(first).unwrap().0;
            goes_on(first, &mut vec![first], imports, group)
        })
}

#[test]
fn paths_are_found_one_by_one_and_in_trees() {
    let text = "use crate::{a::{self, B}, c, d::{e::F, g as h}};\nuse super::i; // crate::no\nlet j = \
                super::super::k::l(crate::m::N);\nmy_crate::o();";
    let found: BTreeSet<String> = paths("x::y::z", text).iter().map(|path| path.join("::")).collect();
    let expected = ["a::self", "a::B", "c", "d::e::F", "d::g", "m::N", "x::k::l", "x::y::i"];
    assert_eq!(found, expected.map(String::from).into());
}

#[test]
fn cycles_of_four_are_found_and_chains_of_short_ones_are_not() {
    let graph = |edges: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (from, to) in edges {
            imports.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            imports.entry((*to).to_owned()).or_default();
        }
        imports
    };
    for (edges, expected) in [
        (vec![("a", "b"), ("b", "c"), ("c", "d")], None),
        (vec![("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")], Some(false)),
        (vec![("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"), ("c", "d"), ("d", "c")], Some(false)),
        (vec![("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")], Some(true)),
    ] {
        let imports = graph(&edges);
        let found = groups(&imports);
        assert_eq!(found.first().map(|group| has_longer_cycle(&imports, group)), expected, "{edges:?}");
    }
}
