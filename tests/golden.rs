//! The job of the tutorial, `config/top-words.toml`, on fixed inputs: its results, report and trace.

mod common;

use common::Desk;
use std::{collections::HashMap, fmt::Write, fs, path::Path};

const README: &str = "One fish two fish\r\nred fish blue fish\r\n";
const CHANGELOG: &str = "";
const GUIDE: &str = "\u{FEFF}Straße straße\u{A0}Straße\u{3000}語 語 語 語 the\tthe the";

/// Returns `top-words` in the `target` folder, which `cargo test --workspace` builds beside the program.
fn top_words() -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_dropmill")).with_file_name("top-words");
    assert!(path.exists(), "first: cargo build -p top-words");
    path
}

/// Returns words in the order of their first appearance, counted by another method than in the application.
fn count(text: &str) -> Vec<(String, usize)> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut counts: Vec<(String, usize)> = vec![];
    for word in text.trim_start_matches('\u{FEFF}').split_whitespace() {
        let place = *places.entry(word).or_insert_with(|| {
            counts.push((word.to_owned(), 0));
            counts.len() - 1
        });
        counts[place].1 += 1;
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

#[test]
fn the_tutorials_job() {
    let desk = Desk::new();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/top-words.toml");
    desk.write("config/top-words.toml", fs::read(config).unwrap());
    desk.write("README.md", README).write("CHANGELOG.md", CHANGELOG).write("docs/guide/first.md", GUIDE);
    desk.write("target/release/top-words", "");
    fs::copy(top_words(), desk.path("target/release/top-words")).unwrap();

    let said = desk.run("config/top-words.toml");
    said.exited(0);
    let run = said.report["run"].as_str().unwrap();

    assert_eq!(
        desk.files(&format!("state/runs/{run}")),
        ["journal.db", "journal.db-mark", "lock", "plan.json"],
        "no service is left"
    );

    let mut story = String::new();
    for (input, text) in [("README.md", README), ("CHANGELOG.md", CHANGELOG), ("docs/guide/first.md", GUIDE)]
    {
        let (stem, extension) =
            Path::new(input).file_name().unwrap().to_str().unwrap().split_once('.').unwrap();
        let output = desk.read(format!("out/top-words/{input}/{stem}_OUTPUT.{extension}"));
        let rows: Vec<_> =
            count(text).iter().take(3).map(|(word, count)| format!("{count:>3}\t\t{word}\n")).collect();
        assert!(output.starts_with(&format!("Count\tWord\n{}-----", rows.concat())), "{output}");
        let nodes = said.of("task_ended").into_iter().filter_map(|ended| ended["node"].as_str());
        let output =
            nodes.fold(output.replace(run, "‹run›"), |output, node| output.replace(node, "‹node›"));
        writeln!(story, "== {input}\n{output}").unwrap();
    }
    for task in said.report["results"].as_array().unwrap() {
        let facts = ["input", "verdict", "exit_code", "files", "retries"].map(|key| task[key].to_string());
        writeln!(story, "{}", facts.join(" ")).unwrap();
    }
    let report = &said.report;
    writeln!(story, "{} {} left: {}", report["outcome"], report["tasks"], report["left_behind"]).unwrap();
    let outline = desk.output(&["trace", run, "--outline"]);
    // On a busy machine, all tasks may end before the pool is polled.
    let outline = String::from_utf8(outline.stdout).unwrap().replace(" > ready (3 nodes)", "");
    write!(story, "\n{outline}").unwrap();
    insta::assert_snapshot!(story);

    assert_eq!(desk.processes(), Vec::<String>::new());
    assert!(desk.files("out").iter().all(|file| !file.contains(".dropmill")), "no temporary folder is left");
}

#[test]
fn the_tutorials_job_whose_tasks_upload_their_results_themselves() {
    let desk = Desk::new();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tutorial.toml");
    desk.write("config/tutorial.toml", fs::read(config).unwrap());
    desk.write("README.md", README).write("CHANGELOG.md", CHANGELOG).write("docs/guide/first.md", GUIDE);
    desk.write("target/release/top-words", "");
    fs::copy(top_words(), desk.path("target/release/top-words")).unwrap();
    let said = desk.run("config/tutorial.toml");
    said.exited(0);
    for (input, output) in [("README.md", "README_OUTPUT.md"), ("docs/guide/first.md", "first_OUTPUT.md")] {
        let list = desk.read(format!("out/tutorial/{input}/{output}"));
        assert!(list.starts_with("Count\tWord\n"), "{list}");
        let printed = desk.read(format!("out/tutorial/{input}/stdout.txt"));
        assert!(printed.contains(&format!("uploaded {output}")), "{printed}");
    }
    assert!(!format!("{:?}", said.events).contains("sig="), "no event has a signature");
}
