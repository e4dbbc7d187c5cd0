//! Turns the `[input]` section and the files on disk into drafts of tasks.

use super::files::{self, InputFile, LeftOut, Search};
use crate::settings::{Incomplete, Input, InputOrder, Loaded, Problem, TableFormat};
use dropmill_inputs::{
    Draft,
    companions::{self, Companion},
    drafts::{self, Order},
    lines,
    parts::{self, Part},
    table::{self, Columns, Format},
};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Largest size of a table or a list of lines, in bytes.
const LONGEST_LIST: u64 = 256 << 20;
/// Largest number of tasks of a run.
const MOST_TASKS: usize = 1_000_000;

/// The drafts and files that were found.
#[derive(Default)]
pub struct Sources {
    /// One draft for each task.
    pub drafts: Vec<Draft>,
    /// The files that drafts name, by their path in the drafts.
    pub files: BTreeMap<String, InputFile>,
    /// The folder of the run file.
    pub base: PathBuf,
    /// Names that a command may use.
    pub declared: Declared,
    /// What was left out, one line for each kind.
    pub notes: Vec<String>,
}

/// Names that a command may use in braces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Names of files.
    pub files: Vec<String>,
    /// Names of values.
    pub values: Vec<String>,
    /// Names that every task has.
    pub built_in: Vec<&'static str>,
}

impl Declared {
    /// Returns the names of a task for one file.
    pub fn of_a_file() -> Self {
        let built_in = vec!["name", "stem", "relative", "index"];
        Self { files: vec!["input".into()], values: vec![], built_in }
    }

    /// Returns all names that a command may use.
    pub fn all(&self) -> Vec<&str> {
        let own = self.files.iter().chain(&self.values).map(String::as_str);
        own.chain(self.built_in.iter().copied()).collect()
    }
}

/// Finds files on disk as the run file names them.
struct Disk<'a> {
    loaded: &'a Loaded,
    output: &'a Path,
    files: RefCell<BTreeMap<String, InputFile>>,
    left_out: RefCell<LeftOut>,
}

impl Disk<'_> {
    fn search<'s>(&'s self, key: &'s str, base: &'s Path) -> Search<'s> {
        let input = &self.loaded.settings.input;
        Search {
            key,
            base,
            output: self.output,
            follow_links: input.follow_links,
            exclude: &input.exclude,
            ignore_case: input.ignore_case,
        }
    }

    /// Finds files and records them by the path that `name` gives each.
    fn find(
        &self,
        key: &str,
        patterns: &[String],
        problems: &mut Vec<Problem>,
        name: impl Fn(&InputFile) -> String,
    ) -> Vec<String> {
        let (found, left_out) = files::find(self.search(key, &self.loaded.base), patterns, problems);
        self.left_out.borrow_mut().extend(left_out);
        let mut files = self.files.borrow_mut();
        let entry = |file: InputFile| {
            let name = name(&file);
            files.insert(name.clone(), file);
            name
        };
        found.into_iter().map(entry).collect()
    }
}

/// Creates the drafts of a run's tasks.
pub fn read(loaded: &Loaded, output: &Path, problems: &mut Vec<Problem>) -> Sources {
    let input = &loaded.settings.input;
    let disk = Disk { loaded, output, files: RefCell::default(), left_out: RefCell::new(LeftOut::default()) };
    let before = problems.len();
    let mut sources = Sources::default();
    one_source(input, !loaded.sweep.is_empty(), problems);
    if problems.len() == before {
        sources = match () {
            () if !input.parts.is_empty() => sets(&disk, problems),
            () if input.table.is_some() => rows(&disk, problems),
            () if input.lines.is_some() => listed(&disk, problems),
            () if !input.files.is_empty() => plain(&disk, problems),
            () => Sources {
                declared: Declared { built_in: vec!["name", "index"], ..Declared::default() },
                ..Sources::default()
            },
        };
    } else {
        sources.declared = Declared::of_a_file();
    }
    for axis in &loaded.sweep {
        if sources.declared.all().contains(&axis.name.as_str()) {
            let what = "a file or a value of the input already has this name: choose another";
            problems.push(Problem::new(format!("input.sweep.{}", axis.name), what));
        }
    }
    sources.declared.values.extend(loaded.sweep.iter().map(|axis| axis.name.clone()));
    hidden_variables(&sources.declared, problems);
    sources.base = files::normal(&loaded.base);
    let count = drafts::combinations(&loaded.sweep).saturating_mul(sources.drafts.len().max(1));
    if count > MOST_TASKS {
        problems
            .push(Problem::new("input.sweep", format!("{count} tasks: at most {MOST_TASKS} are possible")));
        return sources;
    }
    if problems.len() == before {
        finish(&disk, &mut sources, problems);
    }
    sources.files = disk.files.into_inner();
    sources.notes.extend(disk.left_out.into_inner().lines());
    sources
}

/// Checks that exactly one source is named, and that no key of another source is used.
fn one_source(input: &Input, has_sweep: bool, problems: &mut Vec<Problem>) {
    let named: Vec<&str> = [
        ("files", !input.files.is_empty()),
        ("parts", !input.parts.is_empty()),
        ("table", input.table.is_some()),
        ("lines", input.lines.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, is_there)| is_there.then_some(name))
    .collect();
    if let [_, other, ..] = named[..] {
        let what = format!("use exactly one of input.{}", named.join(", input."));
        problems.push(Problem::new(format!("input.{other}"), what));
    }
    if named.is_empty() && !has_sweep {
        let what = "no input is set: name files, for example [\"data/**/*.txt\"], or use parts, table, lines or sweep";
        problems.push(Problem::new("input.files", what));
    }
    for (key, is_there, of) in [
        ("with", !input.with.is_empty(), "files"),
        ("table_files", !input.table_files.is_empty(), "table"),
        ("rename", !input.rename.is_empty(), "table"),
        ("table_format", input.table_format.is_some(), "table"),
    ] {
        if is_there && !named.contains(&of) {
            problems.push(Problem::new(
                format!("input.{key}"),
                format!("it is used only with input.{of}, which is not set"),
            ));
        }
    }
}

/// Reports two values whose variables would have the same name.
fn hidden_variables(declared: &Declared, problems: &mut Vec<Problem>) {
    let mut variables: BTreeMap<String, &str> = BTreeMap::new();
    for name in declared.files.iter().chain(&declared.values) {
        let variable = name.to_ascii_uppercase();
        if let Some(other) = variables.insert(variable, name)
            && other != name
        {
            let what = format!(
                "{other:?} and {name:?} would have the same variable: they differ in letter case alone"
            );
            problems.push(Problem::new("input", what));
        }
    }
}

fn finish(disk: &Disk<'_>, sources: &mut Sources, problems: &mut Vec<Problem>) {
    let input = &disk.loaded.settings.input;
    sources.drafts = drafts::multiply(std::mem::take(&mut sources.drafts), &disk.loaded.sweep);
    let order = match input.order {
        InputOrder::Listed => Order::Listed,
        InputOrder::Name => Order::Name,
        InputOrder::SizeDesc => Order::SizeDescending,
    };
    if let Err(problem) = drafts::name(&mut sources.drafts, input.name.as_deref()) {
        problems.push(problem.into());
        return;
    }
    problems.extend(drafts::check_names(&sources.drafts, input.name.is_some()).into_iter().map(Into::into));
    let files = disk.files.borrow();
    drafts::order(&mut sources.drafts, order, |path| files.get(path).map_or(0, |file| file.size_bytes));
}

/// Creates a task for each file, with its companions.
fn plain(disk: &Disk<'_>, problems: &mut Vec<Problem>) -> Sources {
    let input = &disk.loaded.settings.input;
    let paths = disk.find("input.files", &input.files, problems, |file| file.relative.clone());
    let mut drafts: Vec<Draft> = paths.iter().map(|path| Draft::of_file(path)).collect();
    let parsed: Vec<_> = input.with.iter().map(|text| Companion::parse(text)).collect();
    problems.extend(parsed.iter().filter_map(|parsed| parsed.clone().err()).map(Problem::from));
    let parsed: Vec<Companion> = parsed.into_iter().flatten().collect();
    for draft in drafts.iter_mut().filter(|_| !parsed.is_empty()) {
        let beside = |companion: &Companion| beside(disk, &draft.name, companion);
        let found: Vec<_> = parsed.iter().map(|companion| (companion, beside(companion))).collect();
        if let Err(wrong) = companions::add(draft, &found) {
            problems.extend(wrong.into_iter().map(Problem::from));
        }
    }
    Sources { drafts, declared: Declared::of_a_file(), ..Sources::default() }
}

/// Returns files in the folder of an input that match a pattern of companions.
fn beside(disk: &Disk<'_>, path: &str, companion: &Companion) -> Vec<String> {
    let Some(source) = disk.files.borrow().get(path).cloned() else { return vec![] };
    let folder = source.path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let own = source.name().to_owned();
    // A missing match is reported by the caller, which knows whether the companion is optional.
    let mut ignored = vec![];
    let search = disk.search("input.with", &folder);
    let (found, _) = files::find(search, &[companion.pattern(&own)], &mut ignored);
    let above = &path[..path.len() - own.len()];
    let mut files = disk.files.borrow_mut();
    let entry = |file: InputFile| {
        let name = format!("{above}{}", file.relative);
        files.entry(name.clone()).or_insert(file);
        name
    };
    found.into_iter().map(entry).collect()
}

/// Creates a task for each set of files.
fn sets(disk: &Disk<'_>, problems: &mut Vec<Problem>) -> Sources {
    let input = &disk.loaded.settings.input;
    let mut all = vec![];
    let before = problems.len();
    for (name, pattern) in &input.parts {
        let absolute = files::absolute_pattern(&disk.loaded.base, pattern);
        // The pattern is parsed twice: first without files to get its glob, then with the files that the glob
        // found.
        let glob = dropmill_inputs::pattern::Pattern::parse(pattern).map(|pattern| pattern.glob().to_owned());
        let key = format!("input.parts.{name}");
        let paths = glob.map(|glob| disk.find(&key, &[glob], problems, |file| files::text(&file.path)));
        match Part::new(name, &absolute, paths.unwrap_or_default().iter().map(String::as_str)) {
            Ok(part) => all.push(part),
            Err(problem) => problems.push(problem.into()),
        }
    }
    let mut sources = Sources::default();
    for part in &all {
        sources.declared.files.push(part.name().to_owned());
        sources.declared.values.extend(part.wildcards().into_iter().map(ToOwned::to_owned));
    }
    sources.declared.values.sort();
    sources.declared.values.dedup();
    sources.declared.built_in = vec!["name", "index"];
    if problems.len() > before {
        return sources;
    }
    let incomplete = match input.incomplete {
        Incomplete::Error => parts::Incomplete::Error,
        Incomplete::Skip => parts::Incomplete::Skip,
    };
    let joined = parts::join(&all, incomplete);
    problems.extend(joined.problems.into_iter().map(Problem::from));
    if let [first, ..] = &joined.skipped[..] {
        let what = match joined.skipped.len() {
            1 => format!("left out: {first}"),
            count => format!("left out: {count} sets that are not complete, for example {first}"),
        };
        sources.notes.push(what);
    }
    if joined.drafts.is_empty() && problems.len() == before {
        problems.push(Problem::new("input.parts", "no set is complete"));
    }
    for (index, draft) in joined.drafts.iter().enumerate() {
        problems.extend(drafts::check_places("input.parts", draft, index).into_iter().map(Problem::from));
    }
    sources.drafts = joined.drafts;
    sources
}

/// Creates a task for each row of a table.
fn rows(disk: &Disk<'_>, problems: &mut Vec<Problem>) -> Sources {
    let input = &disk.loaded.settings.input;
    let mut sources = Sources::default();
    sources.declared.built_in = vec!["name", "index"];
    let path = input.table.as_deref().unwrap_or(Path::new("-"));
    let format = match (input.table_format, Format::of_file(&path.to_string_lossy())) {
        (Some(TableFormat::Csv), _) => Format::Csv,
        (Some(TableFormat::Tsv), _) => Format::Tsv,
        (Some(TableFormat::Jsonl), _) => Format::JsonLines,
        (None, Some(format)) => format,
        (None, None) => {
            let what = format!(
                "{}: its name says no format; set input.table_format to \"csv\", \"tsv\" or \"jsonl\"",
                path.display()
            );
            problems.push(Problem::new("input.table", what));
            return sources;
        }
    };
    let Some(bytes) = content(disk, "input.table", path, problems) else { return sources };
    let shown = shown(path);
    let table = match table::read(&shown, &bytes, format) {
        Ok(table) => table,
        Err(wrong) => {
            problems.extend(wrong.into_iter().map(Problem::from));
            return sources;
        }
    };
    let rename = input.rename.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
    let columns = Columns { rename, files: input.table_files.iter().map(String::as_str).collect() };
    for column in &table.columns {
        let name = input.rename.get(column).unwrap_or(column).clone();
        match input.table_files.contains(&name) {
            true => sources.declared.files.push(name),
            false => sources.declared.values.push(name),
        }
    }
    let folder = match path == Path::new("-") {
        true => disk.loaded.base.clone(),
        false => disk.loaded.base.join(path).parent().unwrap_or(Path::new("/")).to_path_buf(),
    };
    let locate = |cell: &str| {
        let path = files::normal(&folder.join(cell));
        let name = files::text(&path);
        let mut known = disk.files.borrow_mut();
        if !known.contains_key(&name) {
            known.insert(name.clone(), files::one(&path, &disk.loaded.base)?);
        }
        Ok(name)
    };
    match table::drafts(&shown, &table, &columns, locate) {
        Ok(drafts) => sources.drafts = drafts,
        Err(wrong) => problems.extend(wrong.into_iter().map(Problem::from)),
    }
    sources
}

/// Creates a task for each line of a text.
fn listed(disk: &Disk<'_>, problems: &mut Vec<Problem>) -> Sources {
    let path = disk.loaded.settings.input.lines.as_deref().unwrap_or(Path::new("-"));
    let declared = Declared { files: vec![], values: vec!["line".into()], built_in: vec!["name", "index"] };
    let mut sources = Sources { declared, ..Sources::default() };
    let Some(bytes) = content(disk, "input.lines", path, problems) else { return sources };
    match lines::drafts(&shown(path), &bytes) {
        Ok(drafts) => sources.drafts = drafts,
        Err(wrong) => problems.extend(wrong.into_iter().map(Problem::from)),
    }
    sources
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
}

/// Reads a list; `-` means standard input.
fn content(disk: &Disk<'_>, key: &str, path: &Path, problems: &mut Vec<Problem>) -> Option<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        if path == Path::new("-") {
            return disk.loaded.standard_input(LONGEST_LIST).map(<[u8]>::to_vec);
        }
        let mut bytes = vec![];
        fs::File::open(disk.loaded.base.join(path))?.take(LONGEST_LIST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let what = match read() {
        Ok(bytes) if bytes.len() as u64 <= LONGEST_LIST => return Some(bytes),
        Ok(_) => format!("{} is longer than {} MiB", shown(path), LONGEST_LIST >> 20),
        Err(error) => format!("cannot read {}: {error}", shown(path)),
    };
    problems.push(Problem::new(key, what));
    None
}
