//! `dropmill init`: writes a run file for the files of a folder.

mod suggest;

use crate::{error::UsageError, render::say, settings};
use anyhow::{Context, Result};
use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{ErrorKind, Read, Write},
    path::Path,
};
use suggest::Inputs;

/// The schema of run files, beside the run file. Hidden, so that no glob of inputs matches it.
const SCHEMA: &str = ".dropmill.schema.json";
/// Entries of a folder that are looked at.
const MOST_ENTRIES: usize = 50_000;
/// Depth to which folders are looked at.
const DEEPEST: usize = 5;
/// Bytes of a table that are read for the names of its columns.
const HEADER_BYTES: u64 = 4096;
/// Folders without inputs.
const NO_INPUTS: [&str; 6] = ["__pycache__", "build", "node_modules", "out", "target", "venv"];

/// Writes `run.toml`, and the schema beside it. An existing run file stays as it is.
pub fn init(folder: &Path) -> Result<u8> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let path = folder.join("run.toml");
    let files = files_of(folder);
    let text = run_file(&name_of(folder), &files, |table| columns(&folder.join(table)));
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let problem = "an existing file is not overwritten".into();
            return Err(UsageError::File { path, problem }.into());
        }
        opened => opened.with_context(|| format!("write {}", path.display()))?,
    };
    file.write_all(text.as_bytes())?;
    // Only editors need it: one that exists stays.
    if let Ok(mut schema) = OpenOptions::new().write(true).create_new(true).open(folder.join(SCHEMA)) {
        schema.write_all(serde_json::to_string_pretty(&settings::schema())?.as_bytes())?;
    }
    say::line(&format!("wrote {0}; next: dropmill plan {0}", path.display()));
    Ok(0)
}

/// Returns a name for the run: that of the folder.
fn name_of(folder: &Path) -> String {
    let absolute = fs::canonicalize(folder).unwrap_or_default();
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let slug = dropmill_lifecycle::plan::slug(&name, 30);
    if slug.is_empty() { "job".into() } else { slug }
}

/// Lists the files below a folder by their relative paths, without hidden ones, links, and names that are not UTF-8.
fn files_of(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    let mut folders = vec![(folder.to_owned(), String::new(), 0)];
    let mut seen = 0;
    while let Some((folder, above, depth)) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else { continue };
            if name.starts_with('.') || seen > MOST_ENTRIES {
                continue;
            }
            match () {
                () if kind.is_file() => found.push(format!("{above}{name}")),
                () if kind.is_dir() && depth < DEEPEST && !NO_INPUTS.contains(&name.as_str()) => {
                    folders.push((entry.path(), format!("{above}{name}/"), depth + 1));
                }
                () => {}
            }
        }
    }
    found.sort();
    found
}

/// Returns the first line of a table.
fn columns(table: &Path) -> Option<String> {
    let mut head = vec![];
    fs::File::open(table).ok()?.take(HEADER_BYTES).read_to_end(&mut head).ok()?;
    let text = String::from_utf8_lossy(&head).trim_start_matches('\u{feff}').to_owned();
    let line = text.lines().next()?.trim().to_owned();
    (!line.is_empty() && !line.starts_with('{') && !line.contains(char::is_control)).then_some(line)
}

/// Returns the text of a run file for these files.
fn run_file(name: &str, files: &[String], columns: impl Fn(&str) -> Option<String>) -> String {
    let mut text = format!(
        "#:schema ./{SCHEMA}\n\
         # A run file: one task for each item of [input]. Try it:\n\
         #   dropmill plan run.toml              what a run would do, and what is wrong\n\
         #   dropmill run run.toml --limit 3     the first three tasks\n\
         #   dropmill run run.toml               all of them\n\
         # All keys, with defaults and reasons: docs/run-file.md and config/default.toml of Dropmill.\n\n\
         [run]\nname = {name:?}\n\n"
    );
    let inputs = suggest::inputs(files);
    input_section(&mut text, &inputs);
    for table in suggest::tables(files).into_iter().take(2) {
        let columns = columns(table).map(|columns| format!(" Its first line: {columns}")).unwrap_or_default();
        let _ = write!(
            text,
            "\n# One task for each row of {table}, instead of the above.{columns}\n# [input]\n# table = {}\n# table_files = [\"COLUMN\"]         # columns that name files\n",
            quoted(table)
        );
    }
    task_section(&mut text, &inputs);
    match suggest::scripts(files)[..] {
        [] => text.push_str("\n# [application]\n# files = [\"work.py\"]              # scripts and data that every task needs in its folder\n"),
        [(script, program), ..] => {
            let argument = if matches!(inputs, Inputs::Files { .. }) { ", \"{input}\"" } else { "" };
            let _ = write!(
                text,
                "\n# Your script instead: replace the command above by this one. Tasks run in folders of their own, so the script must be named.\n\
                 # command = [{program:?}, {0}{argument}]\n# [application]\n# files = [{0}]\n",
                quoted(script)
            );
        }
    }
    text.push_str(REST);
    text
}

fn input_section(text: &mut String, inputs: &Inputs) {
    let _ = match inputs {
        Inputs::Files { glob, ignore_case, count } => {
            let case = if *ignore_case { "ignore_case = true              # .jpg and .JPG\n" } else { "" };
            write!(
                text,
                "[input]\n# {count} now. Globs relative to the folder of this file; `**` matches folders. Each file is one task.\nfiles = [{}]\n{case}\
                 # exclude = [\"old/**\"]\n",
                quoted(glob)
            )
        }
        Inputs::Pairs { first, second, count, incomplete } => {
            let skip = match incomplete {
                true => {
                    "[input]\nincomplete = \"skip\"             # leave out files without a partner, and report them\n\n"
                }
                false => "",
            };
            write!(
                text,
                "{skip}# Files with the same {{sample}} are one task; {count} now.\n[input.parts]\nr1 = {}\nr2 = {}\n\
                 # reference = \"ref/genome.fa\"      # without {{sample}}: every task gets this file\n",
                quoted(first),
                quoted(second)
            )
        }
        Inputs::None => write!(
            text,
            "# This folder has no input files yet. Until then, each value is one task. With files, write for example:\n\
             # [input]\n# files = [\"data/**/*.txt\"]        # globs relative to the folder of this file; each file is one task\n\
             [input.sweep]\nnumber = \"1..3\"\n"
        ),
    };
}

fn task_section(text: &mut String, inputs: &Inputs) {
    let command = match inputs {
        Inputs::Files { .. } => {
            "# A program and its arguments, without a shell. {input}, {stem}, {name} stand for the file.\n\
             command = [\"cksum\", \"{input}\"]\n\
             # Or a script for /bin/sh:\n\
             # shell = 'sort \"$DROPMILL_INPUT\" > sorted.txt'\n"
        }
        Inputs::Pairs { .. } => {
            "# A program and its arguments, without a shell. {r1} and {r2} are the files, {sample} is their common name.\n\
             command = [\"cksum\", \"{r1}\", \"{r2}\"]\n\
             # Or a script for /bin/sh:\n\
             # shell = 'cat \"$DROPMILL_FILE_R1\" \"$DROPMILL_FILE_R2\" > \"$DROPMILL_VALUE_SAMPLE.txt\"'\n"
        }
        Inputs::None => {
            "# A program and its arguments, without a shell. {number} stands for the value.\n\
             command = [\"echo\", \"{number}\"]\n"
        }
    };
    let _ = write!(
        text,
        "\n[task]\n{command}\
         # Files that the task writes and you want; standard output and error always come.\n\
         outputs = []                     # for example [\"*.txt\"]\n\
         # timeout = \"10m\"\n# max_retries = 1\n"
    );
}

/// Returns a text as TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

const REST: &str = r#"
[pool]
nodes = 1
slots_per_node = "auto"          # tasks at the same time on a node: on this machine as many as it has processors

[output]
directory = "out"                # out/<item>/: its outputs, stdout.txt and stderr.txt

# Nodes on Azure instead of this machine:
# [service]
# kind = "azure"
# batch_endpoint = "https://account.region.batch.azure.com"
# batch_account = "account"
# batch_key = { env = "BATCH_KEY" }
# blob_endpoint = "https://storage.blob.core.windows.net"
# storage_account = "storage"
# storage_key = { env = "STORAGE_KEY" }
"#;
