//! The run files that `init` writes for folders of different fields: each can be planned and run at once.
#![allow(clippy::unwrap_used)]

mod common;

use common::Desk;

/// Writes a run file for a folder with these files, and returns it. Its plan is accepted, and its first tasks succeed.
#[track_caller]
fn begun(files: &[&str]) -> (Desk, String) {
    let desk = Desk::new();
    for file in files {
        desk.write(file, "sample,bam\nx,y\n");
    }
    let output = desk.output(&["init"]);
    assert!(output.status.success(), "{files:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = desk.read("run.toml");
    let output = desk.output(&["plan", "run.toml"]);
    assert!(output.status.success(), "{files:?}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{files:?}: warnings\n{text}");
    desk.run_with(&["run", "run.toml", "--limit", "3", "--json"]).exited(0);
    assert!(text.starts_with("#:schema ./.dropmill.schema.json\n"), "{text}");
    let schema: serde_json::Value = serde_json::from_str(&desk.read(".dropmill.schema.json")).unwrap();
    assert!(schema["properties"]["input"].is_object());
    (desk, text)
}

#[test]
fn the_files_of_a_folder_become_the_inputs_of_its_run_file() {
    for (files, expected) in [
        (
            vec!["photos/a.JPG", "photos/2025/b.jpg", "notes.txt"],
            vec!["files = [\"photos/**/*.jpg\"]", "ignore_case = true"],
        ),
        (
            vec!["reads/a_R1.fastq.gz", "reads/a_R2.fastq.gz", "reads/b_R1.fastq.gz", "reads/b_R2.fastq.gz"],
            vec!["r1 = \"reads/{sample}_R1.fastq.gz\"", "r2 = \"reads/{sample}_R2.fastq.gz\"", "2 now"],
        ),
        (vec!["a_R1.fq", "a_R2.fq", "b_R1.fq"], vec!["r1 = \"{sample}_R1.fq\"", "incomplete = \"skip\""]),
        (
            vec!["bam/x.bam", "bam/y.bam", "samples.csv", "work.py"],
            vec![
                "files = [\"bam/*.bam\"]",
                "# table = \"samples.csv\"",
                "Its first line: sample,bam",
                "# command = [\"python3\", \"work.py\", \"{input}\"]",
                "# files = [\"work.py\"]",
            ],
        ),
        (vec!["it's {odd} [1]/a b.dat"], vec!["it's [{]odd[}] [[]1[]]/*.dat"]),
        (vec![], vec!["[input.sweep]\nnumber = \"1..3\"", "no input files yet"]),
    ] {
        let (_, text) = begun(&files);
        for expected in expected {
            assert!(text.contains(expected), "{files:?}: {expected}\n{text}");
        }
    }
}

#[test]
fn an_existing_run_file_stays_as_it_is() {
    let (desk, before) = begun(&["data/a.txt"]);
    let (code, stderr) = desk.refused(&["init"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("run.toml: an existing file is not overwritten"), "{stderr}");
    assert_eq!(desk.read("run.toml"), before);
    // The commands of the comments are usable as they stand.
    let shell = before.lines().find_map(|line| line.strip_prefix("# shell = ")).unwrap();
    let active = before.replace("command = [\"cksum\", \"{input}\"]", &format!("shell = {shell}"));
    desk.write("run.toml", active.replace("outputs = []", "outputs = [\"*.txt\"]"));
    desk.run("run.toml").exited(0);
    assert_eq!(desk.read("out/data/a.txt/sorted.txt"), "sample,bam\nx,y\n");
}

#[test]
fn run_files_may_name_their_schema() {
    let desk = Desk::new();
    desk.write(
        "run.json",
        r#"{ "$schema": "./x.json", "input": { "sweep": { "n": [1] } }, "task": { "command": ["true"] } }"#,
    );
    desk.run("run.json").exited(0);
    let output = desk.output(&["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["properties"]["$schema"]["type"], "string");
}
