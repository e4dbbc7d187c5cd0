use super::*;

fn messages(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("{}: {}", problem.key, problem.message))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_sheet_is_read_as_spreadsheets_save_it() {
    let text = "\u{feff}sample,note,\r\nA1,\"two, \"\"quoted\"\"\r\nlines\",\r\n\"$(id) `x`\",'; rm -rf /,\r\n,,\r\n";
    let table = read("s.csv", text.as_bytes(), Format::Csv).unwrap();
    assert_eq!(table.columns, ["sample", "note"]);
    assert_eq!(table.rows[0], (2, vec!["A1".into(), "two, \"quoted\"\r\nlines".into()]));
    assert_eq!(table.rows[1], (4, vec!["$(id) `x`".into(), "'; rm -rf /".into()]));
    assert_eq!(table.rows.len(), 2, "a row of nothing is none");
    let semicolons = read("s.csv", b"a;b\n1,5;x\n", Format::Csv).unwrap();
    assert_eq!(semicolons.rows, [(2, vec!["1,5".into(), "x".into()])]);
    let tabs = read("s.tsv", b"a\tb\n1, 2\t\n", Format::Tsv).unwrap();
    assert_eq!(tabs.rows, [(2, vec!["1, 2".into(), String::new()])]);
}

#[test]
fn json_lines_keep_the_text_of_numbers_and_the_order_of_keys() {
    let text = b"{\"s\": \"a\\u00e9\", \"n\": 0.10, \"on\": true, \"x\": null}\n\n{\"n\": 1e3, \"s\": \"b\", \"x\": 1, \"on\": false}\n";
    let table = read("s.jsonl", text, Format::JsonLines).unwrap();
    assert_eq!(table.columns, ["s", "n", "on", "x"]);
    let rows: Vec<_> = table.rows.iter().map(|(line, row)| format!("{line}: {}", row.join("|"))).collect();
    assert_eq!(rows, ["1: aé|0.10|true|", "3: b|1e3|false|1"]);
}

#[test]
fn every_problem_of_a_table_has_its_line() {
    let text = b"a,b,a\n1,2\n1,2,3,4\n1,\xFF,3\n1,\0,3\n";
    let found = messages(&read("s.csv", text, Format::Csv).unwrap_err());
    for expected in [
        "line 1: two columns are named \"a\"",
        "line 2: it has 2 cells, the header has 3",
        "line 3: it has 4 cells",
        "line 4: \"b\" is not UTF-8",
        "line 5: \"b\" has a zero byte",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
    let found = messages(
        &read(
            "s.jsonl",
            b"{\"a\": 1}\n[1]\n{\"b\": 1}\n{\"a\": [1]}\n{\"a\": 1, \"a\": 2}",
            Format::JsonLines,
        )
        .unwrap_err(),
    );
    for expected in [
        "line 2: expected a JSON object",
        "line 3: its keys are b",
        "line 4: \"a\" is a list",
        "line 5: its keys are a, a",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
    assert!(messages(&read("s.csv", b"\xFF\xFEa\0", Format::Csv).unwrap_err()).contains("UTF-16"));
    assert!(messages(&read("s.csv", b"a,b\n", Format::Csv).unwrap_err()).contains("no row"));
    assert!(messages(&read("s.csv", b"", Format::Csv).unwrap_err()).contains("no row"));
}

fn table() -> Table {
    read("s.csv", b"name,bam,Depth\nA,in/a.bam,10\nB,in/b.bam,020\n", Format::Csv).unwrap()
}

#[test]
fn rows_become_values_and_files() {
    let columns = Columns { rename: [("name", "sample")].into(), files: vec!["bam"] };
    let drafts = drafts("s.csv", &table(), &columns, |cell| Ok(format!("sheets/{cell}"))).unwrap();
    let second = &drafts[1];
    assert_eq!((second.name.as_str(), second.origin.as_str()), ("B", "s.csv line 3"));
    assert_eq!(second.value("Depth", 0).as_deref(), Some("020"));
    assert_eq!(
        (second.value("bam", 0).as_deref(), second.files[0].path.as_str()),
        (Some("b.bam"), "sheets/in/b.bam")
    );
}

#[test]
fn columns_that_hide_names_and_files_that_are_missing_are_reported_at_once() {
    let found = messages(&drafts("s.csv", &table(), &Columns::default(), |_| unreachable!()).unwrap_err());
    assert!(found.contains("column \"name\": \"name\" is the name of a built-in value"), "{found}");
    assert!(found.contains("input.rename = { \"name\" = \"column_name\" }"), "{found}");
    let columns = Columns { rename: [("nmae", "sample")].into(), files: vec!["bma"] };
    let found = messages(&drafts("s.csv", &table(), &columns, |_| unreachable!()).unwrap_err());
    assert!(
        found.contains("has no column \"nmae\"; it has name, bam, Depth")
            && found.contains("no column \"bma\""),
        "{found}"
    );
    let columns = Columns { rename: [("name", "sample")].into(), files: vec!["bam"] };
    let found =
        messages(&drafts("s.csv", &table(), &columns, |cell| Err(format!("{cell} not found"))).unwrap_err());
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(found.contains("s.csv line 3: bam = \"in/b.bam\": in/b.bam not found"), "{found}");
}

#[test]
fn formats_follow_from_extensions() {
    for (name, format) in [
        ("a.csv", Some(Format::Csv)),
        ("a.TSV", Some(Format::Tsv)),
        ("a.jsonl", Some(Format::JsonLines)),
        ("a.xlsx", None),
        ("csv", None),
    ] {
        assert_eq!(Format::of_file(name), format, "{name}");
    }
}
