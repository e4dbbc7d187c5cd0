//! Sample sheets as spreadsheets save them, large sweeps, and everything that the plan finds wrong with sets and names.
#![allow(clippy::unwrap_used)]

mod common;

use common::Desk;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

/// A task that writes its values to a file in four ways: as arguments, from the environment, and by the name of the file.
const TASK: &str = r#"
[task]
command = ["sh", "-c", "printf '%s|%s|%s|%s' \"$1\" \"$2\" \"$DROPMILL_VALUE_NOTE\" \"$NOTE\" > \"$3\"", "sh", "{sample}", "{note}", "r_{sample}"]
outputs = ["r_{sample}"]
env = { NOTE = "<{note}>" }

[pool]
slots_per_node = 4
"#;

/// Rows with what must stay text: quotes, commas, newlines, tabs, commands.
const ROWS: [(&str, &str); 4] = [
    ("A1", "two, \"quoted\"\r\nlines"),
    ("$(touch evil)", "`touch evil`; touch evil"),
    ("-rf *", "a\tb {input} {{x}} %s \\n"),
    ("Ärger 0.10", "=1+1"),
];

/// The rows as a spreadsheet saves them: byte order mark, CRLF, quotes where needed, an empty row at the end.
fn sheet(separator: char) -> String {
    let cell = |text: &str| match text.contains([separator, '"', '\n', '\r', '\t']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let row = |(name, note): &(&str, &str)| format!("{}{separator}{}\r\n", cell(name), cell(note));
    let rows: String = ROWS.iter().map(row).collect();
    format!("\u{feff}name{separator}note\r\n{rows}{separator}\r\n")
}

fn json_lines() -> String {
    let row =
        |(name, note): &(&str, &str)| serde_json::json!({ "name": name, "note": note }).to_string() + "\n";
    ROWS.iter().map(row).collect()
}

fn check_results(desk: &Desk, shown: &str) {
    for (sample, note) in ROWS {
        let content = desk.read(format!("out/{sample}/r_{sample}"));
        assert_eq!(content, format!("{sample}|{note}|{note}|<{note}>"), "{shown}");
        assert!(!desk.files(&format!("out/{sample}")).iter().any(|file| file == "evil"), "{shown}");
    }
    assert!(!desk.path("evil").exists(), "{shown}");
}

#[test]
fn a_sheet_has_the_same_values_in_every_format_and_nothing_of_it_is_run() {
    let rename = "rename = { name = \"sample\" }";
    for (file, content) in [
        ("s.csv", sheet(',')),
        ("s.tsv", sheet('\t')),
        ("s.jsonl", json_lines()),
        ("semicolons.csv", sheet(';')),
    ] {
        let desk = Desk::new();
        desk.write(file, content).write("run.toml", format!("[input]\ntable = \"{file}\"\n{rename}\n{TASK}"));
        let said = desk.run("run.toml");
        said.exited(0);
        assert_eq!(said.report["tasks"]["succeeded"], 4, "{file}");
        check_results(&desk, file);
    }
}

#[test]
fn a_sheet_from_standard_input_is_read_once_and_a_killed_run_of_it_is_resumed() {
    let desk = Desk::new();
    let gate = desk.path("gate");
    let waiting = TASK.replace("printf", "while [ -e \\\"$GATE\\\" ]; do sleep 0.05; done; printf");
    let waiting = waiting.replace("env = {", &format!("env = {{ GATE = \"{}\",", gate.display()));
    let input = "[input]\ntable = \"-\"\ntable_format = \"tsv\"\nrename = { name = \"sample\" }\n";
    desk.write("gate", "").write("run.toml", format!("{input}{waiting}"));
    let mut command = desk.dropmill(&["run", "run.toml", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(sheet('\t').as_bytes()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("\"task_running\"")));
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(gate).unwrap();
    // Standard input is empty now: the run keeps a copy of what it read.
    desk.run_with(&["run", "run.toml", "--resume", "--json"]).exited(0);
    check_results(&desk, "standard input");
    let runs = desk.output(&["runs", "--json"]);
    assert_eq!(String::from_utf8_lossy(&runs.stdout).lines().count(), 1, "one run");
}

#[test]
fn a_large_sweep_over_files_has_readable_names_and_keeps_the_text_of_its_numbers() {
    let desk = Desk::new();
    for name in ["a", "b", "c", "d"] {
        desk.write(format!("data/{name}.txt"), name);
    }
    let run_file = "[input]\nfiles = [\"data/*.txt\"]\n\n[input.sweep]\nalpha = [0.10, 0.5, 1e-3]\nseed = \"1..100\"\n\n[task]\n\
                    command = [\"sh\", \"-c\", \"echo $1 $2 > r\", \"sh\", \"{alpha}\", \"{seed}\"]\noutputs = [\"r\"]\n\n\
                    [pool]\nnodes = 4\nslots_per_node = 4\n";
    desk.write("run.toml", run_file);
    let output = desk.output(&["plan", "run.toml", "--json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let items = plan["items"].as_array().unwrap();
    let names: std::collections::BTreeSet<&str> =
        items.iter().map(|item| item["relative"].as_str().unwrap()).collect();
    assert_eq!((items.len(), names.len()), (1200, 1200));
    for expected in
        ["data/a.txt/alpha=0.10,seed=1", "data/d.txt/alpha=1e-3,seed=100", "data/c.txt/alpha=0.5,seed=77"]
    {
        assert!(names.contains(expected), "{expected}");
    }
    // All of them take a minute: the ends of the ranges will do.
    let said = desk.run_with(&["run", "run.toml", "--json", "--set", "input.sweep.seed='99..100'"]);
    said.exited(0);
    assert_eq!(said.report["tasks"]["succeeded"], 24);
    assert_eq!(said.of("shared_file_uploaded").len(), 4, "each file is uploaded once");
    assert_eq!(desk.read("out/data/b.txt/alpha=0.10,seed=100/r"), "0.10 100\n");
}

#[test]
fn missing_partners_and_companions_equal_names_and_colliding_results_are_all_found_by_one_plan() {
    let desk = Desk::new();
    for path in
        ["r/a_R1.fq", "r/b_R2.fq", "r/c_R1.fq", "r/c_R2.fq", "m/x.shp", "m/y.shp", "m/y.shx", "n/x.shp"]
    {
        desk.write(path, "x");
    }
    desk.write("s.csv", "sample,n\nA,1\nB,2\nA,3\nB,4\n");
    let task = "\n[task]\ncommand = [\"true\"]\n";
    desk.write(
        "pairs.toml",
        format!("[input.parts]\nr1 = \"r/{{s}}_R1.fq\"\nr2 = \"r/{{s}}_R2.fq\"\n{task}\n[pool]\nnodes = 0\n"),
    );
    desk.write(
        "maps.toml",
        format!("[input]\nfiles = [\"m/*.shp\"]\nwith = [\"{{stem}}.shx\", \"{{stem}}.dbf\"]\n{task}"),
    );
    desk.write("names.toml", format!("[input]\ntable = \"s.csv\"\n{task}"));
    desk.write("flat.toml", format!("[input]\nfiles = [\"*/*.shp\"]\n{task}\n[output]\nlayout = \"flat\"\n"));
    let (code, errors) = desk.refused(&["plan", "pairs.toml", "maps.toml", "names.toml", "flat.toml"]);
    assert_eq!(code, Some(2), "{errors}");
    let line = |file: &str, words: &[&str]| {
        let found =
            errors.lines().any(|line| line.starts_with(file) && words.iter().all(|word| line.contains(word)));
        assert!(found, "{file} {words:?}:\n{errors}");
    };
    line("pairs.toml:1: input.parts:", &["s=a has no r2", "s=b has no r1"]);
    line("pairs.toml:9: pool.nodes:", &[]);
    line("maps.toml:3: input.with:", &["m/x.shp", "{stem}.shx"]);
    line("maps.toml:3: input.with:", &["m/y.shp", "{stem}.dbf"]);
    line("names.toml:1: input.name:", &["s.csv line 2", "s.csv line 4", "\"A\""]);
    line("names.toml:1: input.name:", &["s.csv line 3", "s.csv line 5", "\"B\""]);
    line("flat.toml:8: output.layout:", &["m/x.shp and n/x.shp"]);
}
