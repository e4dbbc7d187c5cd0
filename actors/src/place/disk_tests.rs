use super::{super::publisher::exchange, super::same::hex, *};
use crate::place::InputOf;
use dropmill_journal::event::DeliveredFile;
use dropmill_lifecycle::plan::Existing;
use md5::{Digest, Md5};
use tempfile::TempDir;

fn place(folder: &TempDir, layout: Layout, existing: Existing) -> DiskPlace {
    let output = OutputPlan { directory: folder.path().join("out"), layout, existing };
    DiskPlace::with("run-1", &output, None, BTreeMap::new(), None)
}

fn deliver(
    place: &DiskPlace,
    task: &str,
    folder: &str,
    files: &[(&str, &str)],
) -> Result<String, PlaceError> {
    place.stage(task, 0, &BTreeSet::new())?;
    let mut delivered = vec![];
    for (path, content) in files {
        let mut file = place.create(task, path)?;
        file.write_all(content.as_bytes()).unwrap();
        file.flush().unwrap();
        let md5 = hex(&Md5::digest(content.as_bytes()));
        delivered.push(DeliveredFile {
            path: (*path).into(),
            bytes: content.len() as u64,
            md5,
            ..DeliveredFile::default()
        });
    }
    let delivery = Delivery {
        task: task.into(),
        folder: folder.into(),
        input: InputOf { name: "a.txt".into(), ..InputOf::default() },
        success: true,
        files: delivered,
        supersedes: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(place.publish(delivery)).map(|placed| placed.folder)
}

fn read(folder: &TempDir, path: &str) -> String {
    fs::read_to_string(folder.path().join("out").join(path)).unwrap()
}

#[test]
fn a_result_appears_completely_under_the_name_of_its_input() {
    let folder = TempDir::new().unwrap();
    let place = place(&folder, Layout::ByInput, Existing::KeepBoth);
    let put =
        deliver(&place, "t1", "data/a.txt", &[("lines.txt", "3\n"), ("deep/x", "x"), ("stdout.txt", "")]);
    assert_eq!(put.unwrap(), "data/a.txt");
    assert_eq!(read(&folder, "data/a.txt/lines.txt"), "3\n");
    assert_eq!(read(&folder, "data/a.txt/deep/x"), "x");
    drop(place);
    let names: Vec<_> =
        fs::read_dir(folder.path().join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["data"], "the staging folder is gone");
}

#[test]
fn another_result_in_the_same_place_is_kept_replaced_or_rejected() {
    let folder = TempDir::new().unwrap();
    let keep = place(&folder, Layout::ByInput, Existing::KeepBoth);
    assert_eq!(deliver(&keep, "t1", "a.txt", &[("o", "1")]).unwrap(), "a.txt");
    assert_eq!(
        deliver(&keep, "t1", "a.txt", &[("o", "1")]).unwrap(),
        "a.txt",
        "the same again is recognised"
    );
    assert_eq!(deliver(&keep, "t1", "a.txt", &[("o", "2")]).unwrap(), "a.txt~2");
    assert_eq!(read(&folder, "a.txt/o"), "1");
    assert_eq!(read(&folder, "a.txt~2/o"), "2");
    let replace = place(&folder, Layout::ByInput, Existing::Replace);
    assert_eq!(deliver(&replace, "t1", "a.txt", &[("o", "3")]).unwrap(), "a.txt");
    assert_eq!(read(&folder, "a.txt/o"), "3");
    let refuse = place(&folder, Layout::ByInput, Existing::Refuse);
    assert!(matches!(deliver(&refuse, "t1", "a.txt", &[("o", "4")]), Err(PlaceError::Taken { .. })));
    assert_eq!(read(&folder, "a.txt/o"), "3");
}

#[test]
fn in_a_flat_layout_streams_have_the_name_of_their_input() {
    let folder = TempDir::new().unwrap();
    let place = place(&folder, Layout::Flat, Existing::KeepBoth);
    deliver(&place, "t1", "", &[("lines.txt", "1"), ("stdout.txt", "out"), ("stderr.txt", "")]).unwrap();
    assert_eq!(read(&folder, "a.txt.stdout.txt"), "out");
    deliver(&place, "t2", "", &[("lines.txt", "2")]).unwrap();
    assert_eq!(read(&folder, "lines.txt"), "1");
    assert_eq!(read(&folder, "lines~2.txt"), "2");
}

#[test]
fn no_result_is_put_into_the_staging_folder_of_another_task() {
    for (layout, folder_of) in [(Layout::Flat, ""), (Layout::ByInput, ".dropmill-run-1/t1")] {
        let folder = TempDir::new().unwrap();
        let place = place(&folder, layout, Existing::Replace);
        place.stage("t1", 0, &BTreeSet::new()).unwrap();
        place.create("t1", "own").unwrap().write_all(b"mine").unwrap();
        for (number, name) in
            [".dropmill-run-1/t1/own", ".Dropmill-run-1/t1/own", ".dropmill-run-1/t1/more"].iter().enumerate()
        {
            let task = format!("t2-{number}");
            let path = crate::output_names::result_path(&task, &format!("{task}/wd/{name}")).unwrap();
            deliver(&place, &task, folder_of, &[(&path, "foreign")]).unwrap();
        }
        let staged = folder.path().join("out/.dropmill-run-1/t1");
        let names: Vec<_> = fs::read_dir(&staged).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["own"], "{layout:?}");
        assert_eq!(fs::read_to_string(staged.join("own")).unwrap(), "mine");
    }
}

#[test]
fn a_staged_file_never_follows_a_link_and_a_retry_starts_empty() {
    let folder = TempDir::new().unwrap();
    let place = place(&folder, Layout::ByInput, Existing::KeepBoth);
    place.stage("t1", 0, &BTreeSet::new()).unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, folder.path().join("out/.dropmill-run-1/t1/o")).unwrap();
    assert!(place.create("t1", "o").is_err());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    place.stage("t1", 0, &BTreeSet::new()).unwrap();
    assert!(place.create("t1", "o").is_ok());
}

#[test]
fn many_results_at_once_are_all_delivered() {
    let folder = TempDir::new().unwrap();
    let place = place(&folder, Layout::ByInput, Existing::KeepBoth);
    let publishing: Vec<_> = (0..100)
        .map(|number| {
            let task = format!("t{number}");
            place.stage(&task, 0, &BTreeSet::new()).unwrap();
            place.create(&task, "o").unwrap();
            let files = vec![DeliveredFile {
                path: "o".into(),
                bytes: 0,
                md5: hex(&Md5::digest(b"")),
                ..DeliveredFile::default()
            }];
            place.publish(Delivery {
                task: task.clone(),
                folder: task,
                input: InputOf { name: "i".into(), ..InputOf::default() },
                success: true,
                files,
                supersedes: None,
            })
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for published in runtime.block_on(futures_util::future::join_all(publishing)) {
        assert!(folder.path().join("out").join(published.unwrap().folder).join("o").exists());
    }
}

#[test]
fn a_result_that_does_not_fit_is_not_started() {
    let folder = TempDir::new().unwrap();
    let place = place(&folder, Layout::ByInput, Existing::KeepBoth);
    place.stage("t1", 1 << 20, &BTreeSet::new()).unwrap();
    match place.stage("t2", u64::MAX, &BTreeSet::new()) {
        Err(PlaceError::Refused { reason, may_pass: true, .. }) => {
            assert!(
                reason.contains(&format!("needs {} B", u64::MAX)) && reason.contains(" B are free"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(!folder.path().join("out/.dropmill-run-1/t2").exists());
}

#[test]
fn space_is_reserved_for_each_result_until_it_is_written_or_discarded() {
    let folder = TempDir::new().unwrap();
    let place = place(&folder, Layout::ByInput, Existing::KeepBoth);
    let none = BTreeSet::new();
    let facts = rustix::fs::statvfs(folder.path()).unwrap();
    // More than half: two do not fit, whatever other processes write to this disk meanwhile.
    let most = facts.f_bavail * facts.f_frsize / 4 * 3;
    place.stage("t1", most, &none).unwrap();
    for _ in 0..2 {
        match place.stage("t2", most, &none) {
            Err(PlaceError::Refused { reason, may_pass: true, .. }) => {
                assert!(
                    reason.ends_with(&format!("of which {most} B are reserved for other results")),
                    "{reason}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(place.stage("t1", most, &none).unwrap(), "its own reservation is not in its way");
    place.stage("t3", 0, &none).unwrap();
    let mut file = place.create("t1", "a").unwrap();
    file.write_all(&[7; 1000]).unwrap();
    file.flush().unwrap();
    match place.stage("t2", most, &none) {
        Err(PlaceError::Refused { reason, .. }) => {
            assert!(reason.contains(&format!("{} B are reserved", most - 1000)), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    place.discard("t1");
    place.stage("t2", most, &none).unwrap();
}

#[test]
fn remains_of_an_earlier_attempt_are_removed_before_space_is_checked() {
    let folder = TempDir::new().unwrap();
    let place = place(&folder, Layout::ByInput, Existing::KeepBoth);
    place.stage("t1", 4, &BTreeSet::new()).unwrap();
    for name in ["whole", "half"] {
        let mut file = place.create("t1", name).unwrap();
        file.write_all(b"ab").unwrap();
        file.flush().unwrap();
    }
    let keep = BTreeSet::from(["whole".to_owned()]);
    place.stage("t1", u64::MAX, &keep).unwrap_err();
    let staged = folder.path().join("out/.dropmill-run-1/t1");
    assert!(staged.join("whole").exists(), "what is complete stays");
    assert!(!staged.join("half").exists(), "the part of a file is what filled the disk");
}

#[test]
fn a_link_in_the_path_is_never_followed_for_writing() {
    let folder = TempDir::new().unwrap();
    let place = place(&folder, Layout::ByInput, Existing::KeepBoth);
    place.stage("t1", 0, &BTreeSet::new()).unwrap();
    let (victim, staged) = (folder.path().join("victim"), folder.path().join("out/.dropmill-run-1/t1"));
    fs::create_dir(&victim).unwrap();
    let (deep, link) = (staged.join("deep"), staged.join("link"));
    fs::create_dir(&deep).unwrap();
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (mut written, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        // The folder and the link are swapped as fast as possible.
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                exchange(&deep, &link).unwrap();
            }
        });
        for number in 0..10_000 {
            match place.create("t1", &format!("deep/{number}")) {
                Ok(_) => written += 1,
                Err(_) => refused += 1,
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(written > 0 && refused > 0, "{written} written, {refused} refused: nothing was raced for");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "of 10,000 files some went through the link");
}

#[test]
fn a_file_in_place_of_a_folder_and_a_duplicate_name_are_rejected() {
    let folder = TempDir::new().unwrap();
    let place = place(&folder, Layout::ByInput, Existing::KeepBoth);
    place.stage("t1", 0, &BTreeSet::new()).unwrap();
    place.create("t1", "a").unwrap();
    for path in ["a/b", "a"] {
        match place.create("t1", path) {
            Err(PlaceError::Refused { path: named, may_pass: false, .. }) => {
                assert!(named.ends_with(&format!("t1/{path}")), "{named}");
            }
            _ => panic!("{path} was made"),
        }
    }
}

/// Stages a result's files, each with its path as content.
fn staged(place: &DiskPlace, task: &str, paths: &[&str]) {
    for path in paths {
        let mut file = place.create(task, path).unwrap();
        file.write_all(path.as_bytes()).and_then(|()| file.flush()).unwrap();
    }
}

#[test]
fn downloads_of_an_earlier_attempt_are_kept_and_other_files_removed() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(&folder, Layout::ByInput, Existing::KeepBoth);
    let keep = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<BTreeSet<String>>();
    assert!(place.stage("t", 0, &BTreeSet::new()).unwrap());
    staged(&place, "t", &["a", "wd/deep/b", "wd/half", "half"]);
    std::os::unix::fs::symlink("/etc", place.staged("t").join("wd/link")).unwrap();
    assert!(place.stage("t", 0, &keep(&["a", "wd/deep/b"])).unwrap());
    let folder = place.staged("t");
    assert_eq!(std::fs::read_to_string(folder.join("wd/deep/b")).unwrap(), "wd/deep/b");
    assert!(folder.join("a").exists());
    for gone in ["half", "wd/half", "wd/link"] {
        assert!(!folder.join(gone).exists(), "{gone}");
    }
    // Removed files are created again in the folders that stay.
    staged(&place, "t", &["wd/half"]);
    // If one is missing or not a regular file, nothing of the earlier attempt is kept.
    for wanted in ["missing", "wd"] {
        assert!(!place.stage("t", 0, &keep(&["a", wanted])).unwrap(), "{wanted}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{wanted}");
        staged(&place, "t", &["a", "wd/x"]);
    }
    assert!(!place.stage("never staged", 0, &keep(&["a"])).unwrap());
}
