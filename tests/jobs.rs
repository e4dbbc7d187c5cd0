//! Typical jobs as whole runs: sets of files, companions, tables, lines and sweeps.
#![allow(clippy::unwrap_used)]

mod common;

use common::Desk;
use serde_json::Value;
use std::{io::Write, process::Stdio};

/// A run file around an `[input]` section and a `[task]` section.
fn run_file(input: &str, task: &str) -> String {
    format!(
        "[run]\nname = \"job\"\n[input]\n{input}\n[task]\n{task}\n[pool]\nslots_per_node = 4\n[output]\ndirectory = \"out\"\n"
    )
}

/// Returns the plan of a run file as JSON.
fn planned(desk: &Desk) -> Value {
    let output = desk.output(&["plan", "run.toml", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(plan: &Value) -> Vec<String> {
    plan["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["relative"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn files_of_a_set_are_one_task_and_a_shared_file_is_uploaded_once() {
    let desk = Desk::new();
    for sample in ["a", "b b", "-c"] {
        desk.write(format!("reads/{sample}_R1.fq"), format!("1{sample}\n"));
        desk.write(format!("reads/{sample}_R2.fq"), format!("2{sample}\n"));
    }
    desk.write("ref/genome.fa", "G\n").write(
        "run.toml",
        run_file(
            "parts = { r1 = \"reads/{sample}_R1.fq\", r2 = \"reads/{sample}_R2.fq\", ref = \"./ref/genome.fa\" }",
            "command = [\"sh\", \"-c\", \"cat -- \\\"$1\\\" \\\"$2\\\" \\\"$DROPMILL_FILE_REF\\\" > \\\"$3\\\"; echo \\\"$DROPMILL_VALUE_SAMPLE\\\"\", \"sh\", \
             \"{r1}\", \"{r2}\", \"./{sample}.sam\"]\noutputs = [\"{sample}.sam\"]",
        ),
    );
    let said = desk.run("run.toml");
    said.exited(0);
    assert_eq!(desk.read("out/a/a.sam"), "1a\n2a\nG\n");
    assert_eq!(desk.read("out/b b/b b.sam"), "1b b\n2b b\nG\n");
    assert_eq!(
        (desk.read("out/-c/-c.sam"), desk.read("out/-c/stdout.txt")),
        ("1-c\n2-c\nG\n".into(), "-c\n".into())
    );
    assert_eq!(said.of("shared_file_uploaded").len(), 1, "one genome for three tasks");
    assert_eq!(said.of("input_uploaded").len(), 3);
}

#[test]
fn incomplete_sets_are_found_by_the_plan_all_at_once() {
    let desk = Desk::new();
    for path in ["reads/a_R1.fq", "reads/b_R1.fq", "reads/b_R2.fq", "reads/c_R2.fq"] {
        desk.write(path, "x");
    }
    let parts = "parts = { r1 = \"reads/{sample}_R1.fq\", r2 = \"reads/{sample}_R2.fq\" }";
    desk.write("run.toml", run_file(parts, "command = [\"true\"]"));
    let (code, errors) = desk.refused(&["plan", "run.toml"]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("sample=a has no r2; sample=c has no r1"), "{errors}");
    desk.write("run.toml", run_file(&format!("{parts}\nincomplete = \"skip\""), "command = [\"true\"]"));
    let plan = planned(&desk);
    assert_eq!(names(&plan), ["b"]);
    let notes = plan["notes"].to_string();
    assert!(notes.contains("2 sets that are not complete, for example sample=a has no r2"), "{notes}");
}

#[test]
fn companions_lie_beside_their_input() {
    let desk = Desk::new();
    for path in [
        "maps/town.shp",
        "maps/town.shx",
        "maps/town.prj",
        "maps/img/deep/x.png",
        "maps/lake.shp",
        "maps/lake.shx",
    ] {
        desk.write(path, path);
    }
    let input =
        "files = [\"maps/*.SHP\"]\nignore_case = true\nwith = [\"{stem}.shx\", \"{stem}.prj?\", \"img/**\"]";
    let task = "shell = \"find . -type f ! -name list.txt | sort > list.txt\"\noutputs = [\"list.txt\"]";
    desk.write("run.toml", run_file(input, task));
    desk.run("run.toml").exited(0);
    assert_eq!(
        desk.read("out/maps/town.shp/list.txt"),
        "./img/deep/x.png\n./town.prj\n./town.shp\n./town.shx\n"
    );
    assert_eq!(desk.read("out/maps/lake.shp/list.txt"), "./img/deep/x.png\n./lake.shp\n./lake.shx\n");
    std::fs::remove_file(desk.path("maps/lake.shx")).unwrap();
    let (_, errors) = desk.refused(&["plan", "run.toml"]);
    assert!(errors.contains("maps/lake.shp has no companion \"{stem}.shx\""), "{errors}");
}

#[test]
fn rows_of_a_csv_file_are_values_and_never_commands() {
    let desk = Desk::new();
    let sheet = "\u{feff}name,bam,note\r\nA1,in/a.bam,\"two, \"\"quoted\"\"\r\nlines\"\r\n$(touch evil),in/b.bam,`touch evil`; touch evil\r\n,,\r\n";
    desk.write("sheets/s.csv", sheet).write("sheets/in/a.bam", "AA").write("sheets/in/b.bam", "BB");
    let input = "table = \"sheets/s.csv\"\ntable_files = [\"bam\"]\nrename = { name = \"sample\" }";
    let task = "command = [\"sh\", \"-c\", \"printf '%s|%s|' \\\"$1\\\" \\\"$DROPMILL_VALUE_NOTE\\\" > r; cat \\\"$2\\\" >> r; ls >> r\", \"sh\", \"{sample}\", \"{bam}\"]\n\
                outputs = [\"r\"]\nenv = { NOTE = \"<{note}>\" }";
    desk.write("run.toml", run_file(input, task));
    desk.run("run.toml").exited(0);
    assert_eq!(desk.read("out/A1/r"), "A1|two, \"quoted\"\r\nlines|AAa.bam\nr\n");
    assert_eq!(desk.read("out/$(touch evil)/r"), "$(touch evil)|`touch evil`; touch evil|BBb.bam\nr\n");
    let plan = planned(&desk);
    let environment = plan["items"][0]["environment"].to_string();
    assert!(environment.contains("<two, "), "{environment}");
    desk.write("run.toml", run_file(&input.replace("rename", "# rename"), &task.replace("{sample}", "x")));
    let (_, errors) = desk.refused(&["plan", "run.toml"]);
    assert!(errors.contains("input.rename = { \"name\" = "), "{errors}");
    desk.write("sheets/s.csv", "sample,bam\nA,in/a.bam\nB,in/none.bam\nC,in\n");
    let (_, errors) = desk.refused(&["plan", "run.toml"]);
    assert!(errors.contains("s.csv line 3: bam = \"in/none.bam\"") && errors.contains("line 4"), "{errors}");
}

#[test]
fn a_run_whose_list_is_standard_input_resumes_after_a_kill() {
    let desk = Desk::new();
    let input = "lines = \"-\"\nname = \"{index}\"";
    let task = "shell = \"while [ -e $GATE ]; do sleep 0.05; done; printf %s \\\"$DROPMILL_VALUE_LINE\\\" > r\"\noutputs = [\"r\"]\n\
                env = { GATE = \"GATEPATH\" }";
    let gate = desk.path("gate");
    desk.write("gate", "")
        .write("run.toml", run_file(input, &task.replace("GATEPATH", &gate.display().to_string())));
    let mut command = desk.dropmill(&["run", "run.toml", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all("first line\n\n$(id)\r\n".as_bytes()).unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let is_running = |line: std::io::Result<String>| line.unwrap().contains("\"task_running\"");
    assert!(std::io::BufRead::lines(output).any(is_running));
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(gate).unwrap();
    desk.run_with(&["run", "run.toml", "--resume", "--json"]).exited(0);
    assert_eq!((desk.read("out/0/r"), desk.read("out/1/r")), ("first line".into(), "$(id)".into()));
}

#[test]
fn a_sweep_over_files_keeps_the_text_of_its_numbers() {
    let desk = Desk::new();
    desk.write("d/a.txt", "a").write("d/b.txt", "b");
    let input = "files = [\"d/*.txt\"]\n[input.sweep]\nalpha = [0.10, 1e-3]\nseed = \"1..3\"\n";
    let task = "command = [\"sh\", \"-c\", \"echo $1 $2 > \\\"$3\\\"\", \"sh\", \"{alpha}\", \"{seed}\", \"r_{alpha}.txt\"]\noutputs = [\"r_{alpha}.txt\"]";
    desk.write("run.toml", run_file(input, task));
    let plan = planned(&desk);
    assert_eq!(plan["items"].as_array().unwrap().len(), 12);
    assert_eq!(names(&plan)[0], "d/a.txt/alpha=0.10,seed=1");
    let said = desk.run("run.toml");
    said.exited(0);
    assert_eq!(desk.read("out/d/b.txt/alpha=1e-3,seed=3/r_1e-3.txt"), "1e-3 3\n");
    assert_eq!(said.of("shared_file_uploaded").len(), 2, "each file is uploaded once");
    // The command line and other formats set axes, too.
    let output = desk.output(&["plan", "run.toml", "--json", "--set", "input.sweep.seed=[7]"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(names(&plan)[1], "d/a.txt/alpha=1e-3,seed=7");
}

#[test]
fn a_sweep_alone_makes_tasks_without_files() {
    let desk = Desk::new();
    desk.write(
        "run.toml",
        run_file("sweep = { x = [\"a b\", \"c/d\"] }", "command = [\"printf\", \"%s\", \"{x}\"]"),
    );
    desk.run("run.toml").exited(0);
    assert_eq!(desk.read("out/x=a b/stdout.txt"), "a b");
    assert_eq!(desk.read("out/x=c%2Fd/stdout.txt"), "c/d");
}

#[test]
fn all_input_mistakes_are_reported_at_once_with_their_lines() {
    let desk = Desk::new();
    desk.write("a.txt", "").write("l.txt", "x\nx\n");
    for (input, task, expected) in [
        (
            "files = [\"*.txt\"]\nlines = \"l.txt\"",
            "command = [\"true\"]",
            vec!["exactly one of input.files, input.lines"],
        ),
        ("lines = \"l.txt\"", "command = [\"true\"]", vec!["line 1", "would all be named \"x\""]),
        (
            "lines = \"l.txt\"\nwith = [\"x\"]",
            "command = [\"true\"]",
            vec!["run.toml:5: input.with: it is used only with input.files"],
        ),
        ("lines = \"l.txt\"\nname = \"{lien}\"", "command = [\"{input}\"]", vec!["did you mean {line}?"]),
        ("lines = \"none\"", "command = [\"true\"]", vec!["cannot read none"]),
        ("table = \"a.txt\"", "command = [\"true\"]", vec!["set input.table_format"]),
        (
            "sweep = { index = [1], line = [] }",
            "command = [\"true\"]",
            vec!["input.sweep.index", "input.sweep.line: expected at least one value"],
        ),
        (
            "files = [\"a.txt\"]\nsweep = { input = [1] }",
            "command = [\"true\"]",
            vec!["\"input\" is the name of a built-in value"],
        ),
        (
            "lines = \"l.txt\"\nname = \"{index}\"",
            "shell = \"echo {line}\"",
            vec!["write \"$DROPMILL_VALUE_LINE\""],
        ),
        (
            "lines = \"l.txt\"\nname = \"{index}\"",
            "command = [\"true\"]\nenv = { DROPMILL_VALUE_LINE = \"x\" }",
            vec!["DROPMILL_VALUE_LINE: names that begin with AZ_BATCH_ or DROPMILL_ are reserved"],
        ),
        ("", "command = [\"true\"]", vec!["no input is set"]),
    ] {
        desk.write("run.toml", run_file(input, task));
        let (code, errors) = desk.refused(&["plan", "run.toml"]);
        assert_eq!(code, Some(2), "{input}: {errors}");
        for expected in expected {
            assert!(errors.contains(expected), "{input}: {expected}: {errors}");
        }
    }
}

#[test]
fn inputs_can_be_ordered_by_size_and_excluded_files_make_no_task() {
    let desk = Desk::new();
    for (name, bytes) in [("a.txt", 1), ("b.txt", 30), ("c.txt", 5), ("old/d.txt", 9), ("e.tmp.txt", 2)] {
        desk.write(name, "x".repeat(bytes));
    }
    let input = "files = [\"**/*.txt\"]\nexclude = [\"old\", \"**/*.tmp.*\"]\norder = \"size-desc\"";
    desk.write("run.toml", run_file(input, "command = [\"true\"]"));
    assert_eq!(names(&planned(&desk)), ["b.txt", "c.txt", "a.txt"]);
}

#[test]
fn skip_done_runs_again_what_was_made_from_other_values_or_other_files() {
    let desk = Desk::new();
    desk.write("s.csv", "sample,depth\nA,10\nB,20\n")
        .write("m/x.shp", "x")
        .write("m/x.shx", "1")
        .write("l.txt", "one\n");
    let table =
        run_file("table = \"s.csv\"", "shell = \"echo $DROPMILL_VALUE_DEPTH > r\"\noutputs = [\"r\"]");
    let sides = run_file(
        "files = [\"m/*.shp\"]\nwith = [\"{stem}.shx\"]",
        "shell = \"cat x.shx > r\"\noutputs = [\"r\"]",
    );
    let lines = run_file("lines = \"l.txt\"", "shell = \"echo > r\"\noutputs = [\"r\"]");
    let done = |file: &str| {
        let output = desk.output(&["plan", file, "--skip-done"]);
        String::from_utf8(output.stdout).unwrap()
    };
    for (file, text) in [("table.toml", table), ("sides.toml", sides), ("lines.toml", lines)] {
        let text = text
            .replace("\"out\"", &format!("\"out-{file}\""))
            .replace("\"job\"", &format!("\"{}\"", &file[..5]));
        desk.write(file, text);
        desk.run(file).exited(0);
        assert!(done(file).contains(": 0 of "), "{}", done(file));
    }
    desk.write("s.csv", "sample,depth\nA,10\nB,21\n").write("m/x.shx", "12");
    let printed = done("table.toml");
    assert!(
        printed.contains("done      A") && printed.contains("run       B: changed since: values"),
        "{printed}"
    );
    assert!(done("sides.toml").contains("run       m/x.shp: changed since: files"), "{}", done("sides.toml"));
    desk.run_with(&["run", "table.toml", "--skip-done", "--json"]).exited(0);
    assert_eq!(desk.read("out-table.toml/B/r"), "21\n");
}

#[test]
fn tasks_without_files_have_streams_of_their_own_in_one_folder() {
    let desk = Desk::new();
    let text = run_file("sweep = { x = [1, 2] }", "command = [\"echo\", \"{x}\"]");
    desk.write("run.toml", text + "layout = \"flat\"\n");
    desk.run("run.toml").exited(0);
    assert_eq!(
        (desk.read("out/x=1.stdout.txt"), desk.read("out/x=2.stdout.txt")),
        ("1\n".into(), "2\n".into())
    );
}

#[test]
fn a_trial_runs_the_first_tasks_and_skip_done_the_rest() {
    let desk = Desk::new();
    for name in ["a", "b", "c", "d"] {
        desk.write(format!("d/{name}.txt"), name);
    }
    desk.write(
        "run.toml",
        run_file("files = [\"d/*\"]", "command = [\"cp\", \"{input}\", \"copy\"]\noutputs = [\"copy\"]"),
    );
    let ran = |more: &[&str]| {
        let said = desk.run_with(&[&["run", "run.toml", "--json"], more].concat());
        said.exited(0);
        said.of("input_uploaded")
            .iter()
            .map(|event| event["input"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ran(&["--limit", "1"]), ["d/a.txt"]);
    assert_eq!(ran(&["--skip-done", "--limit", "2"]).len(), 2);
    assert_eq!(ran(&["--skip-done"]), ["d/d.txt"]);
    let (code, errors) = desk.refused(&["run", "run.toml", "--limit", "0"]);
    assert_eq!(code, Some(2), "{errors}");
}
