//! Tables: one task for each row of a CSV, TSV or JSON Lines file.

use crate::{
    Draft, NamedFile, Problem,
    names::{self, file_name, segment},
};
use csv::{ByteRecord, ReaderBuilder};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

const KEY: &str = "input.table";
/// Maximum number of problems that are reported for one table.
const MOST_PROBLEMS: usize = 20;

/// The format of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Values separated by commas; by semicolons if the first line has these and no comma, as spreadsheets of some
    /// languages write it.
    Csv,
    /// Values separated by tabs.
    Tsv,
    /// A JSON object in each line.
    JsonLines,
}

impl Format {
    /// Returns the format for the extension of a file name.
    pub fn of_file(name: &str) -> Option<Self> {
        let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// A parsed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns, as the file has them.
    pub columns: Vec<String>,
    /// Rows with their lines in the file, counted from 1.
    pub rows: Vec<(u64, Vec<String>)>,
}

/// Reads a table.
///
/// # Errors
/// Returns every problem with its line, at most twenty.
pub fn read(source: &str, bytes: &[u8], format: Format) -> Result<Table, Vec<Problem>> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        let message = format!("{source} is UTF-16: save the sheet as \"CSV UTF-8\"");
        return Err(vec![Problem::new(KEY, message)]);
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut found = Found { source, problems: vec![] };
    let table = match format {
        Format::Csv => separated(&mut found, bytes, delimiter(bytes)),
        Format::Tsv => separated(&mut found, bytes, b'\t'),
        Format::JsonLines => json_lines(&mut found, bytes),
    };
    if table.rows.is_empty() && found.problems.is_empty() {
        found.problems.push(Problem::new(KEY, format!("{source} has no row")));
    }
    if found.problems.is_empty() { Ok(table) } else { Err(found.problems) }
}

struct Found<'a> {
    source: &'a str,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, line: u64, message: impl fmt::Display) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem::new(KEY, format!("{} line {line}: {message}", self.source)));
        }
    }

    /// Returns a value if it is text that an argument can have.
    fn text(&mut self, line: u64, column: &str, bytes: &[u8]) -> Option<String> {
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains('\0') => {
                self.add(line, format!("{column:?} has a zero byte, which no argument can have"));
                None
            }
            Ok(text) => Some(text.to_owned()),
            Err(_) => {
                self.add(line, format!("{column:?} is not UTF-8: save the sheet as \"CSV UTF-8\""));
                None
            }
        }
    }
}

fn delimiter(bytes: &[u8]) -> u8 {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.contains(&b';') && !first.contains(&b',') { b';' } else { b',' }
}

fn separated(found: &mut Found<'_>, bytes: &[u8], delimiter: u8) -> Table {
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).flexible(true).has_headers(false).from_reader(bytes);
    let mut records = reader.byte_records();
    let mut table = Table { columns: vec![], rows: vec![] };
    match records.next() {
        Some(Ok(header)) => {
            for (at, name) in header.iter().enumerate() {
                let name = found.text(1, &format!("column {}", at + 1), name).unwrap_or_default();
                table.columns.push(name.trim().to_owned());
            }
        }
        Some(Err(error)) => found.add(1, error),
        None => {}
    }
    // Spreadsheets also write columns that were always empty.
    while table.columns.last().is_some_and(String::is_empty) {
        table.columns.pop();
    }
    check_columns(found, 1, &table.columns);
    let mut lines = Lines { bytes, at: 0, line: 1 };
    for record in records {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                found.add(line, error);
                break;
            }
        };
        let line = lines.of(record.position().map_or(0, csv::Position::byte));
        if record.iter().all(<[u8]>::is_empty) {
            continue;
        }
        if let Some(row) = row(found, line, &record, &table.columns) {
            table.rows.push((line, row));
        }
    }
    table
}

/// Counts lines. The reader's own count is one too low after a line that ends in CR LF.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// Returns the line of the record that begins at a byte or after the line ends there.
    fn of(&mut self, byte: u64) -> u64 {
        let byte = usize::try_from(byte).unwrap_or(usize::MAX).clamp(self.at, self.bytes.len());
        let ends = self.bytes[byte..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let newlines = self.bytes[self.at..byte + ends].iter().filter(|byte| **byte == b'\n').count();
        (self.at, self.line) = (byte + ends, self.line + newlines as u64);
        self.line
    }
}

fn row(found: &mut Found<'_>, line: u64, record: &ByteRecord, columns: &[String]) -> Option<Vec<String>> {
    let surplus = record.iter().skip(columns.len()).any(|cell| !cell.is_empty());
    if record.len() < columns.len() || surplus {
        found.add(line, format!("it has {} cells, the header has {}", record.len(), columns.len()));
        return None;
    }
    let cells: Vec<_> =
        columns.iter().zip(record).map(|(column, cell)| found.text(line, column, cell)).collect();
    cells.into_iter().collect()
}

fn check_columns(found: &mut Found<'_>, line: u64, columns: &[String]) {
    let mut seen = BTreeSet::new();
    for (at, name) in columns.iter().enumerate() {
        if name.is_empty() {
            found.add(line, format!("column {} has no name", at + 1));
        } else if !seen.insert(name) {
            found.add(line, format!("two columns are named {name:?}"));
        }
    }
}

/// A JSON object with its keys in order and the text of its values.
struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = vec![];
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

fn json_lines(found: &mut Found<'_>, bytes: &[u8]) -> Table {
    let mut table = Table { columns: vec![], rows: vec![] };
    for (number, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = number as u64 + 1;
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let object: Object = match serde_json::from_slice(text) {
            Ok(object) => object,
            Err(error) => {
                found.add(line, format!("expected a JSON object: {error}"));
                continue;
            }
        };
        let keys: Vec<String> = object.0.iter().map(|(key, _)| key.clone()).collect();
        if table.columns.is_empty() {
            check_columns(found, line, &keys);
            table.columns = keys;
        } else if !same(&keys, &table.columns) {
            found.add(
                line,
                format!(
                    "its keys are {}, those of the first object are {}",
                    keys.join(", "),
                    table.columns.join(", ")
                ),
            );
            continue;
        }
        let mut values: BTreeMap<String, Option<String>> = BTreeMap::new();
        for (key, value) in object.0 {
            let value = scalar(&value);
            if value.is_none() {
                found.add(
                    line,
                    format!("{key:?} is a list or an object: expected a text, a number or a truth value"),
                );
            }
            let value = value.and_then(|value| found.text(line, &key, value.as_bytes()));
            values.insert(key, value);
        }
        let cells: Option<Vec<String>> =
            table.columns.iter().map(|column| values.remove(column).flatten()).collect();
        table.rows.extend(cells.map(|cells| (line, cells)));
    }
    table
}

fn same(keys: &[String], columns: &[String]) -> bool {
    keys.len() == columns.len() && keys.iter().collect::<BTreeSet<_>>() == columns.iter().collect()
}

/// Returns the text of a value; of a number as it is written.
fn scalar(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'[' | b'{' => None,
        b'n' => Some(String::new()),
        _ => Some(value.get().to_owned()),
    }
}

/// How columns become values and files.
#[derive(Debug, Clone, Default)]
pub struct Columns<'a> {
    /// New names of columns, by the old.
    pub rename: BTreeMap<&'a str, &'a str>,
    /// Columns that name files, by their new names.
    pub files: Vec<&'a str>,
}

/// Makes a draft of each row. `locate` turns a cell that names a file into its listed path.
///
/// # Errors
/// Returns every column and file that cannot be used.
pub fn drafts(
    source: &str,
    table: &Table,
    columns: &Columns<'_>,
    locate: impl Fn(&str) -> Result<String, String>,
) -> Result<Vec<Draft>, Vec<Problem>> {
    let mut problems = vec![];
    for old in columns.rename.keys().filter(|old| !table.columns.iter().any(|column| column == *old)) {
        problems.push(Problem::new(
            "input.rename",
            format!("{source} has no column {old:?}; it has {}", table.columns.join(", ")),
        ));
    }
    let mut declared: Vec<&str> = vec![];
    for column in &table.columns {
        let name = columns.rename.get(column.as_str()).copied().unwrap_or(column);
        if let Some(problem) = names::problem_of(name) {
            let advice =
                format!("{problem}, for example input.rename = {{ {column:?} = {:?} }}", suggestion(column));
            problems.push(Problem::new(KEY, format!("column {column:?}: {advice}")));
        }
        if declared.contains(&name) {
            problems.push(Problem::new("input.rename", format!("two columns would be named {name:?}")));
        }
        declared.push(name);
    }
    for name in columns.files.iter().filter(|name| !declared.contains(name)) {
        problems.push(Problem::new(
            "input.table_files",
            format!("{source} has no column {name:?}; it has {}", declared.join(", ")),
        ));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut drafts = vec![];
    for (line, cells) in &table.rows {
        let origin = format!("{source} line {line}");
        let mut draft = Draft {
            name: cells.first().map(|cell| segment(cell)).unwrap_or_default(),
            origin,
            ..Draft::default()
        };
        for (name, cell) in declared.iter().zip(cells) {
            if !columns.files.contains(name) {
                draft.values.push(((*name).to_owned(), cell.clone()));
            } else if cell.is_empty() {
                problems.push(Problem::new(
                    "input.table_files",
                    format!("{source} line {line}: {name:?} is empty"),
                ));
            } else {
                match locate(cell) {
                    Ok(path) => {
                        let place = file_name(&path).to_owned();
                        draft.files.push(NamedFile { name: Some((*name).to_owned()), path, place });
                    }
                    Err(error) => problems.push(Problem::new(
                        "input.table_files",
                        format!("{source} line {line}: {name} = {cell:?}: {error}"),
                    )),
                }
            }
        }
        problems.extend(crate::drafts::check_places("input.table_files", &draft, drafts.len()));
        drafts.push(draft);
    }
    problems.truncate(MOST_PROBLEMS);
    if problems.is_empty() { Ok(drafts) } else { Err(problems) }
}

/// A name for a column whose own cannot be used.
fn suggestion(column: &str) -> String {
    let letters = column
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' });
    let name: String = letters.collect();
    let name = name.trim_matches('_');
    match names::problem_of(name) {
        None => name.to_owned(),
        Some(_) => format!("column_{name}").trim_end_matches('_').to_owned(),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
