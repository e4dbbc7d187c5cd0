//! Reads a run file: defaults, then the file, then the environment, then `--set`; and finds every mistake
//! in it.
//!
//! One mistake does not hide the next: a value that cannot be read is reported and replaced by its default,
//! and reading continues.

use super::{
    Settings,
    problems::{Located, Problem, Problems, nearest},
};
use config::{Config, File, FileFormat};
use dropmill_inputs::sweep::{self, Axis};
use serde_json::Value;
use serde_path_to_error::Segment;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// The defaults, as TOML.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");
/// Prefix of the variables that override keys: `DROPMILL__POOL__NODES=5`.
const PREFIX: &str = "DROPMILL__";
/// Suffix of the path that represents settings made in code.
const IN_CODE: &str = ".settings";
/// The key that names the schema of a file. It is not a setting.
const SCHEMA_KEY: &str = "$schema";
/// Largest number of mistakes that are reported; more would not help.
const MOST_PROBLEMS: usize = 50;

/// Settings that could be read, and their origin.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The run file; none for settings that were made in code.
    pub file: Option<PathBuf>,
    /// The folder that paths in the settings are relative to.
    pub base: PathBuf,
    /// The settings, with defaults where nothing else is set.
    pub settings: Settings,
    /// `section.key=value` that override the run file.
    pub set: Vec<String>,
    /// The lines of the keys in the run file.
    pub lines: Lines,
    /// Keys that the file, the environment or the command line sets, to any value: `output.layout`.
    pub given: BTreeSet<String>,
    /// Axes of `[input.sweep]`; if the file is TOML, with numbers written as in the file.
    pub sweep: Vec<Axis>,
    /// The plan is made for a simulated world: it must not depend on this machine.
    pub simulated: bool,
    /// Standard input, once it was read: it can be read only once.
    standard_input: Arc<OnceLock<Vec<u8>>>,
}

impl Loaded {
    /// Returns standard input, or its first `longest` + 1 bytes if it is longer than `longest`. It is read at
    /// the first call and kept.
    ///
    /// # Errors Fails if it cannot be read.
    pub fn standard_input(&self, longest: u64) -> std::io::Result<&[u8]> {
        if let Some(read) = self.standard_input.get() {
            return Ok(read);
        }
        let mut bytes = vec![];
        std::io::stdin().take(longest + 1).read_to_end(&mut bytes)?;
        Ok(self.standard_input.get_or_init(|| bytes))
    }

    /// Returns standard input if it was read or set.
    pub fn known_standard_input(&self) -> Option<&[u8]> {
        self.standard_input.get().map(Vec::as_slice)
    }

    /// Sets standard input to the bytes that an interrupted run stored.
    pub fn set_standard_input(&self, bytes: Vec<u8>) {
        let _ = self.standard_input.set(bytes);
    }

    /// Adds file and lines to mistakes that were found later.
    pub fn problems(&self, found: Vec<Problem>) -> Problems {
        problems(self.file.as_deref(), found, &self.lines)
    }

    /// Returns the path that identifies the runs of these settings: the real path of the run file. For
    /// settings made in code it consists of their folder and `run.name`, and no file has it.
    ///
    /// # Errors Fails if the run file or the folder does not exist.
    pub fn identity(&self) -> std::io::Result<PathBuf> {
        match &self.file {
            Some(file) => std::fs::canonicalize(file),
            None => {
                let name = dropmill_lifecycle::plan::slug(&self.settings.run.name, 60);
                Ok(std::fs::canonicalize(&self.base)?.join(format!("{name}{IN_CODE}")))
            }
        }
    }

    /// Returns the name of the run file for messages.
    pub fn shown(&self) -> String {
        match &self.file {
            Some(file) => file.display().to_string(),
            None => format!("the settings of {}", self.settings.run.name),
        }
    }
}

/// The line of each key of a TOML file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(BTreeMap<String, usize>);

impl Default for Settings {
    /// Returns the settings of `config/default.toml`.
    fn default() -> Self {
        serde_json::from_value(defaults()).expect("the defaults are settings")
    }
}

/// Reads a run file. `set` holds `section.key=value` of the command line.
///
/// # Errors
/// Returns every mistake in it.
pub fn load(
    file: &Path,
    set: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    let whole = |what: String| problems(Some(file), vec![Problem::new("", what)], &Lines::default());
    let text = std::fs::read_to_string(file).map_err(|error| {
        whole(match error.kind() {
            std::io::ErrorKind::NotFound => "file not found; `dropmill init` writes one".to_owned(),
            _ => format!("it cannot be read: {error}"),
        })
    })?;
    let absolute = std::path::absolute(file).map_err(|error| whole(error.to_string()))?;
    let base = absolute.parent().unwrap_or(Path::new("/")).to_path_buf();
    let format = match file.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("yaml" | "yml") => FileFormat::Yaml,
        Some("json") => FileFormat::Json,
        _ => return Err(whole("its name must end in .toml, .yaml, .yml or .json".into())),
    };
    let lines = if format == FileFormat::Toml {
        lines_of(&text).map_err(|(line, what)| Problems {
            found: vec![Located { file: Some(file.to_owned()), line, problem: Problem::new("", what) }],
        })?
    } else {
        Lines::default()
    };
    let from = Origin { file: Some(file), base, lines };
    lay_over(from, &text, format, set, environment)
}

/// Takes settings that were made in code. `base` is the folder that their paths are relative to; `set` holds
/// `section.key=value` that override them.
///
/// # Errors Returns every mistake in `set`. Settings that make no sense are found when a run is planned.
pub fn in_code(settings: &Settings, base: &Path, set: &[String]) -> Result<Loaded, Problems> {
    let whole = |what: String| problems(None, vec![Problem::new("", what)], &Lines::default());
    let base = std::path::absolute(base).map_err(|error| whole(format!("{}: {error}", base.display())))?;
    if set.is_empty() {
        return Ok(Loaded {
            file: None,
            base,
            settings: settings.clone(),
            set: vec![],
            lines: Lines::default(),
            given: BTreeSet::new(),
            simulated: false,
            standard_input: Arc::default(),
            sweep: sweep(&settings.input.sweep, vec![], &BTreeSet::new())
                .map_err(|found| problems(None, found, &Lines::default()))?,
        });
    }
    let text = serde_json::to_string(settings).map_err(|error| whole(error.to_string()))?;
    lay_over(Origin { file: None, base, lines: Lines::default() }, &text, FileFormat::Json, set, [])
}

/// The origin of settings.
struct Origin<'a> {
    file: Option<&'a Path>,
    base: PathBuf,
    lines: Lines,
}

/// Combines the defaults with a run file, and overrides both with the environment and `set`. Settings made in
/// code are complete.
fn lay_over(
    Origin { file, base, lines }: Origin<'_>,
    text: &str,
    format: FileFormat,
    set: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    let mut builder = Config::builder();
    if file.is_some() {
        builder = builder.add_source(File::from_str(DEFAULTS, FileFormat::Toml));
    }
    builder = builder.add_source(File::from_str(text, format));
    let mut given = BTreeSet::new();
    let own = Config::builder().add_source(File::from_str(text, format)).build();
    // Settings made in code hold every key, also those that nobody chose. Any mistake in a file is found below.
    if file.is_some()
        && let Ok(own) = own.and_then(Config::try_deserialize)
    {
        leaves("", &own, &mut given);
    }
    let mut found = vec![];
    let mut overridden = BTreeSet::new();
    for (key, value, from) in overrides(set, environment, &mut found) {
        given.insert(key.clone());
        overridden.insert(key.clone());
        match builder.clone().set_override(&key, value) {
            Ok(next) => builder = next,
            Err(error) => found.push(Problem::new(&key, format!("{from}: {error}"))),
        }
    }
    let mut tree: Value = builder.build().and_then(Config::try_deserialize).map_err(|error| {
        let what = error.to_string().lines().next().unwrap_or_default().to_owned();
        problems(file, vec![Problem::new("", what)], &Lines::default())
    })?;
    // Editors read it, to find the schema of JSON files.
    if let Some(table) = tree.as_object_mut() {
        table.remove(SCHEMA_KEY);
    }
    let settings = read(tree, &mut found);
    let written = match format {
        FileFormat::Toml => sweep::of_toml(text).unwrap_or_default(),
        _ => vec![],
    };
    let sweep = settings.as_ref().map(|settings| sweep(&settings.input.sweep, written, &overridden));
    let sweep = sweep.unwrap_or(Ok(vec![])).unwrap_or_else(|wrong| {
        found.extend(wrong);
        vec![]
    });
    match (settings, found.is_empty()) {
        (Some(settings), true) => {
            let (file, set) = (file.map(Path::to_owned), set.to_vec());
            let standard_input = Arc::default();
            Ok(Loaded { file, base, settings, set, lines, given, sweep, simulated: false, standard_input })
        }
        _ => Err(problems(file, found, &lines)),
    }
}

/// Returns the axes of a sweep: as the file writes them, unless the environment or the command line sets another value.
fn sweep(
    settings: &BTreeMap<String, Value>,
    written: Vec<Axis>,
    overridden: &BTreeSet<String>,
) -> Result<Vec<Axis>, Vec<Problem>> {
    let is_written = |name: &str| {
        !overridden.contains("input.sweep") && !overridden.contains(&format!("input.sweep.{name}"))
    };
    let mut axes: Vec<Axis> = written
        .into_iter()
        .filter(|axis| settings.contains_key(&axis.name) && is_written(&axis.name))
        .collect();
    let mut problems = vec![];
    for (name, value) in settings {
        if axes.iter().any(|axis| axis.name == *name) {
            continue;
        }
        match sweep::of_json(name, value) {
            Ok(axis) => axes.push(axis),
            Err(problem) => problems.push(problem.into()),
        }
    }
    if problems.is_empty() { Ok(axes) } else { Err(problems) }
}

/// Adds the keys of a tree whose values are not tables.
fn leaves(above: &str, tree: &Value, keys: &mut BTreeSet<String>) {
    match tree {
        Value::Object(inner) if !inner.is_empty() || above.is_empty() => {
            for (key, value) in inner {
                let key = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
                leaves(&key, value, keys);
            }
        }
        _ => drop(keys.insert(above.to_owned())),
    }
}

/// The defaults as a tree.
pub fn defaults() -> Value {
    let table: toml::Table = toml::from_str(DEFAULTS).expect("the defaults are TOML");
    serde_json::to_value(table).expect("TOML fits into JSON")
}

fn problems(file: Option<&Path>, found: Vec<Problem>, lines: &Lines) -> Problems {
    let located =
        |problem: Problem| Located { file: file.map(Path::to_owned), line: lines.of(&problem.key), problem };
    let mut found: Vec<_> = found.into_iter().map(located).collect();
    found.sort_by_key(|located| (located.line.unwrap_or(usize::MAX), located.problem.key.clone()));
    Problems { found }
}

/// Returns what the environment and the command line set, the command line last.
fn overrides(
    set: &[String],
    environment: impl IntoIterator<Item = (String, String)>,
    found: &mut Vec<Problem>,
) -> Vec<(String, config::Value, String)> {
    let mut said = vec![];
    let mut variables: Vec<_> =
        environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    for (name, text) in variables {
        let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
        said.push((key, value_of(&text), format!("variable {name}")));
    }
    for text in set {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                said.push((key.trim().to_owned(), value_of(value), format!("--set {text}")));
            }
            _ => found.push(Problem::new("", format!("--set {text}: write it as section.key=value"))),
        }
    }
    said
}

/// Returns a value that was not written in a file: TOML if it can be parsed, text otherwise.
fn value_of(text: &str) -> config::Value {
    let parsed: Result<toml::Table, _> = toml::from_str(&format!("v = {}", text.trim()));
    let value = parsed.ok().and_then(|mut table| table.remove("v"));
    value.map_or_else(|| text.into(), config_value)
}

fn config_value(value: toml::Value) -> config::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(config_value).collect::<Vec<_>>().into(),
        toml::Value::Table(table) => {
            let pairs = table.into_iter().map(|(key, value)| (key, config_value(value)));
            pairs.collect::<config::Map<String, config::Value>>().into()
        }
    }
}

/// Reads the tree, and records each mistake and continues with the default in its place.
fn read(mut tree: Value, found: &mut Vec<Problem>) -> Option<Settings> {
    let defaults = defaults();
    for _ in 0..MOST_PROBLEMS {
        match serde_path_to_error::deserialize::<_, Settings>(&tree) {
            Ok(settings) => return Some(settings),
            Err(error) => {
                let is_known = |segment: &&Segment| !matches!(segment, Segment::Unknown);
                let segments: Vec<&Segment> = error.path().iter().filter(is_known).collect();
                let path: Vec<String> = segments.iter().map(|segment| name_of(segment)).collect();
                let what = words(&error.inner().to_string(), &path, &tree);
                // A mistake within a list counts as a mistake of the list.
                let is_index = |segment: &&Segment| matches!(segment, Segment::Seq { .. });
                let path = &path[..segments.iter().position(is_index).unwrap_or(path.len())];
                let key = path.join(".");
                let known = found.iter().any(|problem| problem.key == key);
                if !known {
                    found.push(Problem::new(&key, what));
                }
                if path.is_empty() || known || !put_back(&mut tree, &defaults, path) {
                    return None;
                }
            }
        }
    }
    None
}

/// Returns a segment of a path as text: the index alone for an element of a list.
fn name_of(segment: &Segment) -> String {
    match segment {
        Segment::Seq { index } => index.to_string(),
        segment => segment.to_string(),
    }
}

/// Replaces a wrong value by its default, or removes it.
fn put_back(tree: &mut Value, defaults: &Value, path: &[String]) -> bool {
    let default = path.iter().try_fold(defaults, |at, key| at.get(key)).cloned();
    let Some((last, above)) = path.split_last() else { return false };
    let mut at = tree;
    for key in above {
        match at.get_mut(key) {
            Some(next) => at = next,
            None => return false,
        }
    }
    let Some(table) = at.as_object_mut() else { return false };
    match default {
        Some(default) => table.insert(last.clone(), default).is_some(),
        None => table.remove(last).is_some(),
    }
}

/// Rewrites an error of serde for people who write run files.
fn words(said: &str, path: &[String], tree: &Value) -> String {
    let last = path.last().map(String::as_str).unwrap_or_default();
    if let Some(rest) = said.strip_prefix("unknown field `") {
        let names: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
        if path.len() > 1 && defaults().get(last).is_some() {
            return format!("unknown key; {last} is a section of its own: write [{last}]");
        }
        let hint = nearest(last, names.iter().copied()).map(|name| format!("; did you mean {name}?"));
        let all =
            if hint.is_some() { String::new() } else { format!("; known keys are {}", names.join(", ")) };
        return format!("unknown key{}{all}", hint.unwrap_or_default());
    }
    // The wrong value may be the key itself, so it is not repeated.
    if path.starts_with(&["task".into(), "secret_env".into()]) {
        return "a secret must not stand in a run file: write { env = \"NAME\" } or { file = \"PATH\" }"
            .into();
    }
    if last.ends_with("_key") {
        return "a run file must not contain a key: write { env = \"NAME\" } or { file = \"PATH\" }".into();
    }
    if let Some(rest) = said.strip_prefix("unknown variant `") {
        let wrong = rest.split('`').next().unwrap_or_default();
        let names: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
        let hint = nearest(wrong, names.iter().copied()).map(|name| format!("did you mean {name:?}? "));
        let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
        return format!(
            "{wrong:?} is not possible; {}it is one of {}",
            hint.unwrap_or_default(),
            names.join(", ")
        );
    }
    let value = path.iter().try_fold(tree, |at, key| match at {
        Value::Array(values) => values.get(key.parse::<usize>().ok()?),
        _ => at.get(key),
    });
    match (said.split_once(", expected "), value) {
        (Some((_, expected)), Some(value)) => {
            let expected = match expected.split(" at line").next().unwrap_or(expected) {
                "a string" => "a text in quotes",
                "u32" | "u16" => "a whole number, not negative",
                "i32" => "a whole number",
                "f64" => "a number",
                "a sequence" => "a list, in [ and ]",
                "a map" => "a table",
                "a boolean" => "true or false",
                other => other,
            };
            format!("{value} is not valid here: it must be {expected}")
        }
        _ => said.to_owned(),
    }
}

impl Lines {
    /// Returns the line of a key, or of the nearest table around it.
    pub fn of(&self, key: &str) -> Option<usize> {
        let mut key = key;
        loop {
            if let Some(line) = self.0.get(key) {
                return Some(*line);
            }
            key = &key[..key.rfind('.')?];
        }
    }
}

/// Finds the line of every key, or the line of the first syntax error.
fn lines_of(text: &str) -> Result<Lines, (Option<usize>, String)> {
    let line_at = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let table = toml::de::DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_at(span.start));
        (line, format!("it is not TOML: {}", error.message()))
    })?;
    let mut lines = BTreeMap::new();
    walk(table.get_ref(), "", &line_at, &mut lines);
    Ok(Lines(lines))
}

fn walk(
    table: &toml::de::DeTable<'_>,
    above: &str,
    line_at: &impl Fn(usize) -> usize,
    lines: &mut BTreeMap<String, usize>,
) {
    for (key, value) in table {
        let path =
            if above.is_empty() { key.get_ref().to_string() } else { format!("{above}.{}", key.get_ref()) };
        lines.insert(path.clone(), line_at(key.span().start));
        if let toml::de::DeValue::Table(inner) = value.get_ref() {
            walk(inner, &path, line_at, lines);
        }
    }
}
