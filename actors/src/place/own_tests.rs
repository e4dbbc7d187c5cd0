//! Tests results of later runs of the same run file, and of other run files, in one output folder.
use super::{
    super::{InputOf, Placed, same::hex},
    *,
};
use dropmill_journal::event::DeliveredFile;
use dropmill_lifecycle::plan::Existing;
use md5::{Digest, Md5};
use std::path::Path;
use tempfile::TempDir;

/// An output folder, and a run file whose runs deliver results to it.
struct Rig {
    folder: TempDir,
    output: OutputPlan,
    runs: u32,
}

/// An input, whether its task succeeded, and its files.
type Left<'a> = (&'a str, bool, &'a [(&'a str, &'a str)]);

impl Rig {
    fn new(layout: Layout, existing: Existing) -> Self {
        let folder = TempDir::new().unwrap();
        let output = OutputPlan { directory: folder.path().join("out"), layout, existing };
        Self { folder, output, runs: 0 }
    }

    /// Runs and delivers these results, one after the other.
    fn run(&mut self, results: &[Left<'_>]) -> Vec<Result<Placed, PlaceError>> {
        self.run_of("/desk/run.toml", results)
    }

    fn run_of(&mut self, file: &str, results: &[Left<'_>]) -> Vec<Result<Placed, PlaceError>> {
        self.runs += 1;
        let layout = self.output.layout;
        let own =
            OwnResults::open(&self.output.directory, Path::new(file), layout != Layout::ByInput).unwrap();
        let logs = Some(self.folder.path().join("logs"));
        let run = format!("run-{}", self.runs);
        let place = DiskPlace::with(&run, &self.output, Some(own), BTreeMap::new(), logs);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let deliver = |(at, (input, success, left)): (usize, &Left<'_>)| {
            let task = format!("t{at}");
            place.stage(&task, 0, &BTreeSet::new()).unwrap();
            let files = left.iter().map(|(path, content)| {
                let mut file = place.create(&task, path).unwrap();
                file.write_all(content.as_bytes()).and_then(|()| file.flush()).unwrap();
                let md5 = hex(&Md5::digest(content.as_bytes()));
                DeliveredFile {
                    path: (*path).into(),
                    bytes: content.len() as u64,
                    md5,
                    ..DeliveredFile::default()
                }
            });
            let files = files.collect();
            let name = input.rsplit('/').next().unwrap().to_owned();
            let input = InputOf { relative: (*input).to_owned(), name, ..InputOf::default() };
            let folder = match layout {
                Layout::ByInput => input.relative.clone(),
                Layout::Flat => String::new(),
                Layout::Mirror => Path::new(&input.relative).parent().unwrap().display().to_string(),
            };
            let delivery = Delivery { task, folder, input, success: *success, files, supersedes: None };
            let placed = runtime.block_on(place.publish(delivery));
            if placed.is_err() {
                place.discard(&format!("t{at}"));
            }
            placed
        };
        results.iter().enumerate().map(deliver).collect()
    }

    /// Returns everything in the output folder except the record, as `path=content`.
    fn there(&self) -> Vec<String> {
        let mut found = vec![];
        let mut folders = vec![self.output.directory.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let below = path.strip_prefix(&self.output.directory).unwrap().display().to_string();
                match path.is_dir() {
                    true if below == dropmill_journal::results::FOLDER => {}
                    true => folders.push(path),
                    false => found.push(format!("{below}={}", fs::read_to_string(&path).unwrap())),
                }
            }
        }
        found.sort();
        found
    }

    fn write(&self, path: &str, content: &str) {
        fs::write(self.output.directory.join(path), content).unwrap();
    }
}

#[test]
fn a_success_replaces_the_earlier_result_with_all_its_files() {
    for layout in [Layout::ByInput, Layout::Flat, Layout::Mirror] {
        let mut rig = Rig::new(layout, Existing::ReplaceOwn);
        rig.run(&[("d/a", true, &[("o", "1"), ("old", "x")])]);
        let again = rig.run(&[("d/a", true, &[("o", "2"), ("new", "y")])]).remove(0).unwrap();
        let (replaced, beside) = (again.replaced, again.beside);
        assert!(replaced && beside.is_none(), "{layout:?}");
        let expected = match layout {
            Layout::ByInput => ["d/a/new=y", "d/a/o=2"],
            Layout::Flat => ["new=y", "o=2"],
            Layout::Mirror => ["d/new=y", "d/o=2"],
        };
        assert_eq!(rig.there(), expected, "{layout:?}");
    }
}

#[test]
fn a_failure_does_not_replace_a_success_and_is_removed_by_the_next_success() {
    let mut rig = Rig::new(Layout::ByInput, Existing::ReplaceOwn);
    rig.run(&[("a", true, &[("o", "good")])]);
    let failed = rig.run(&[("a", false, &[("o", "bad")])]).remove(0).unwrap();
    assert_eq!(failed.folder, "a~2");
    assert!(failed.beside.unwrap().contains("succeeded"));
    // A second failure replaces the first.
    rig.run(&[("a", false, &[("o", "worse")])]);
    assert_eq!(rig.there(), ["a/o=good", "a~2/o=worse"]);
    rig.run(&[("a", true, &[("o", "better")])]);
    assert_eq!(rig.there(), ["a/o=better"]);

    let mut rig = Rig::new(Layout::Flat, Existing::ReplaceOwn);
    rig.run(&[("d/a", true, &[("o", "good")])]);
    rig.run(&[("d/a", false, &[("o", "bad"), ("stderr.txt", "no")])]);
    assert_eq!(rig.there(), [".failed/d/a/o=bad", ".failed/d/a/stderr.txt=no", "o=good"]);
    rig.run(&[("d/a", true, &[("o", "better")])]);
    assert_eq!(rig.there(), ["o=better"]);
    assert!(!rig.output.directory.join(".failed").exists());
}

#[test]
fn foreign_and_changed_files_are_never_replaced() {
    for layout in [Layout::ByInput, Layout::Flat, Layout::Mirror] {
        let mut rig = Rig::new(layout, Existing::ReplaceOwn);
        let (own, other) = if layout == Layout::ByInput { ("a/o", "a/mine") } else { ("o", "mine") };
        rig.run(&[("a", true, &[("o", "1")])]);
        rig.write(own, "2, by hand");
        rig.write(other, "precious");
        let again = rig.run(&[("a", true, &[("o", "3")])]).remove(0).unwrap();
        assert!(again.beside.as_ref().unwrap().contains("changed since"), "{again:?}");
        let by_hand = [format!("{own}=2, by hand"), format!("{other}=precious")];
        for file in &by_hand {
            assert!(rig.there().contains(file), "{layout:?}: {:?}", rig.there());
        }
        // The next result replaces the one with the other name: there are never three.
        rig.run(&[("a", true, &[("o", "4")])]);
        let there = rig.there();
        assert!(there.len() == 3 && there.iter().any(|file| file.ends_with("=4")), "{there:?}");
    }
}

#[test]
fn a_result_with_deleted_or_emptied_files_still_belongs_to_the_run_file() {
    let mut rig = Rig::new(Layout::ByInput, Existing::ReplaceOwn);
    rig.run(&[("a", true, &[("o", "1"), ("p", "1")]), ("b", true, &[("o", "1")])]);
    fs::remove_file(rig.output.directory.join("a/p")).unwrap();
    rig.write("b/o", "");
    rig.run(&[("a", true, &[("o", "2"), ("p", "2")]), ("b", true, &[("o", "2")])]);
    assert_eq!(rig.there(), ["a/o=2", "a/p=2", "b/o=2"]);
}

#[test]
fn the_results_of_two_inputs_never_replace_each_other_and_stay_where_they_are() {
    for existing in [Existing::ReplaceOwn, Existing::Replace, Existing::KeepBoth] {
        let mut rig = Rig::new(Layout::Flat, existing);
        let placed = rig.run(&[("d/x.png", true, &[("x", "png")]), ("d/x.jpg", true, &[("x", "jpg")])]);
        let beside = placed[1].as_ref().unwrap().beside.clone().unwrap();
        assert_eq!(beside, "x is the result of d/x.png", "{existing:?}");
        assert_eq!(rig.there(), ["x=png", "x~2=jpg"], "{existing:?}");
    }
    // Whichever comes first the next time, each goes back to its own place; equal content does not make them
    // one result.
    let mut rig = Rig::new(Layout::Flat, Existing::ReplaceOwn);
    rig.run(&[("d/x.png", true, &[("x", "1")]), ("d/x.jpg", true, &[("x", "1")])]);
    assert_eq!(rig.there(), ["x=1", "x~2=1"]);
    rig.run(&[("d/x.jpg", true, &[("x", "jpg")]), ("d/x.png", true, &[("x", "png")])]);
    assert_eq!(rig.there(), ["x=png", "x~2=jpg"]);
}

#[test]
fn foreign_files_are_replaced_only_if_the_settings_say_so() {
    for (existing, expected) in [
        (Existing::ReplaceOwn, vec!["a/o=1", "a~2/o=2"]),
        (Existing::KeepBoth, vec!["a/o=1", "a~2/o=2"]),
        (Existing::Replace, vec!["a/o=2"]),
        (Existing::Refuse, vec!["a/o=1"]),
    ] {
        let mut rig = Rig::new(Layout::ByInput, existing);
        rig.run_of("/desk/other.toml", &[("a", true, &[("o", "1")])]);
        let placed = rig.run(&[("a", true, &[("o", "2")])]).remove(0);
        assert_eq!(placed.is_err(), existing == Existing::Refuse, "{existing:?}");
        assert_eq!(rig.there(), expected, "{existing:?}");
    }
}

#[test]
fn a_result_with_another_name_is_removed_when_its_own_place_is_free() {
    let mut rig = Rig::new(Layout::ByInput, Existing::ReplaceOwn);
    fs::create_dir_all(rig.output.directory.join("a")).unwrap();
    rig.write("a/foreign", "x");
    rig.run(&[("a", true, &[("o", "1")])]);
    assert_eq!(rig.there(), ["a/foreign=x", "a~2/o=1"]);
    fs::remove_dir_all(rig.output.directory.join("a")).unwrap();
    rig.run(&[("a", true, &[("o", "2")])]);
    assert_eq!(rig.there(), ["a/o=2"]);
    let _ = rig.folder.path();
}

#[test]
fn mirrored_results_share_folders_and_the_run_keeps_streams_of_successes() {
    let mut rig = Rig::new(Layout::Mirror, Existing::ReplaceOwn);
    let outputs = [("film.mp4", "new"), ("deep/sub.srt", "text"), ("stdout.txt", "said"), ("stderr.txt", "")];
    let placed = rig.run(&[("library/film.mov", true, &outputs)]).remove(0).unwrap();
    assert_eq!(rig.there(), ["library/deep/sub.srt=text", "library/film.mp4=new"]);
    assert_eq!(fs::read_to_string(rig.folder.path().join("logs/t0/stdout.txt")).unwrap(), "said");
    let facts = |file: &DeliveredFile| (file.path.clone(), file.at.clone(), file.is_log);
    let expected = [
        ("deep/sub.srt", Some("library/deep/sub.srt"), false),
        ("film.mp4", Some("library/film.mp4"), false),
        ("stderr.txt", None, true),
        ("stdout.txt", None, true),
    ]
    .map(|(path, at, is_log)| (path.to_owned(), at.map(str::to_owned), is_log));
    assert_eq!(placed.files.iter().map(facts).collect::<Vec<_>>(), expected);
    assert_eq!(placed.folder, "");
    // A file of a failed task never has the name of a result; its streams are in the same folder.
    let failed = [("film.mp4", "half"), ("stderr.txt", "no space")];
    let placed = rig.run(&[("library/other.mov", false, &failed)]).remove(0).unwrap();
    assert_eq!(placed.folder, ".failed/library/other.mov");
    assert_eq!(
        rig.there(),
        [
            ".failed/library/other.mov/film.mp4=half",
            ".failed/library/other.mov/stderr.txt=no space",
            "library/deep/sub.srt=text",
            "library/film.mp4=new",
        ]
    );
    // The next success removes that folder, and gets a name beside the result of the other input.
    let placed = rig.run(&[("library/other.mov", true, &[("film.mp4", "other")])]).remove(0).unwrap();
    assert_eq!(placed.beside.as_deref(), Some("library/film.mp4 is the result of library/film.mov"));
    assert_eq!(
        rig.there(),
        ["library/deep/sub.srt=text", "library/film.mp4=new", "library/film~2.mp4=other"]
    );
}

#[test]
fn a_delivery_that_a_crash_interrupted_is_completed_in_the_same_places() {
    for layout in [Layout::Flat, Layout::Mirror] {
        let folder = if layout == Layout::Flat { "" } else { "d/" };
        for placed_before in 0..3 {
            let mut rig = Rig::new(layout, Existing::ReplaceOwn);
            rig.run(&[("d/other", true, &[("b", "other")])]);
            let outputs = [("a", "1"), ("b", "2"), ("c", "3")];
            // The run records this before it moves the first file to its place.
            rig.run(&[("d/x", true, &outputs)]);
            let places = [format!("{folder}a"), format!("{folder}b~2"), format!("{folder}c")];
            for place in &places[placed_before..] {
                fs::remove_file(rig.output.directory.join(place)).unwrap();
            }
            rig.runs -= 1;
            let placed = rig.run(&[("d/x", true, &outputs)]).remove(0).unwrap();
            let found: Vec<_> =
                placed.files.iter().map(|file| file.at.clone().unwrap_or(file.path.clone())).collect();
            assert_eq!(found, places, "{layout:?} {placed_before}");
            assert_eq!(rig.there().len(), 4, "{layout:?} {placed_before}: {:?}", rig.there());
        }
    }
}

#[test]
fn two_files_of_a_result_never_have_the_same_place() {
    let mut rig = Rig::new(Layout::Flat, Existing::Replace);
    let outputs = [("a.stdout.txt", "output"), ("stdout.txt", "stream")];
    rig.run(&[("d/a", true, &outputs)]);
    assert_eq!(rig.there(), ["a.stdout.txt=output", "a.stdout~2.txt=stream"]);
    rig.run(&[("d/a", true, &outputs)]);
    assert_eq!(rig.there(), ["a.stdout.txt=output", "a.stdout~2.txt=stream"]);
}
