//! Tests application packages on nodes, from folders and from harmless and malicious zip files.

use super::*;
use crate::{orders::PackageOrder, runner::check_package};
use std::{
    io::{Cursor, Write},
    os::unix::fs::{PermissionsExt, symlink},
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

const DEFLATED: SimpleFileOptions =
    SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Deflated);

/// Returns a zip file with an executable `bin/tool`, and `data.txt`.
fn archive(data: &str) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    writer.add_directory("bin/", DEFLATED).unwrap();
    writer.start_file("bin/tool", DEFLATED.unix_permissions(0o4755)).unwrap();
    writer.write_all(b"#!/bin/sh\necho made\n").unwrap();
    writer.start_file("data.txt", DEFLATED.unix_permissions(0o644)).unwrap();
    writer.write_all(data.as_bytes()).unwrap();
    writer.finish().unwrap().into_inner()
}

/// Returns a zip file with an entry of any name: a name of the same length is replaced in both places where
/// it occurs.
fn archive_with(name: &str) -> Vec<u8> {
    let harmless = "n".repeat(name.len());
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    writer.start_file(&*harmless, DEFLATED).unwrap();
    writer.write_all(b"evil").unwrap();
    let mut bytes = writer.finish().unwrap().into_inner();
    let mut replaced = 0;
    for at in 0..bytes.len() - name.len() {
        if bytes[at..].starts_with(harmless.as_bytes()) {
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
            replaced += 1;
        }
    }
    assert_eq!(replaced, 2, "{name}");
    bytes
}

fn package(rig: &Rig, version: &str, content: &[u8]) -> PackageOrder {
    let source = rig.folder.path().join(format!("mill-{version}.zip"));
    fs::write(&source, content).unwrap();
    package_at(version, Some(source))
}

fn package_at(version: &str, source: Option<PathBuf>) -> PackageOrder {
    PackageOrder {
        application: "Mill".into(),
        version: version.into(),
        source,
        variables: vec!["AZ_BATCH_APP_PACKAGE_Mill".into(), "AZ_BATCH_APP_PACKAGE_mill".into()],
    }
}

/// Returns the output of a launch with these packages.
fn prints(rig: &mut Rig, packages: &[PackageOrder], script: &str) -> String {
    let mut launch = rig.shell(script);
    launch.packages = packages.to_vec();
    let ending = rig.run(&launch);
    assert_eq!((ending.exit_code, &ending.failure), (Some(0), &None), "{}", rig.error(&launch));
    rig.output(&launch)
}

fn boot(rig: &Rig, packages: &[PackageOrder]) {
    rig.runner.carry_out(Order::Boot { node: node(), packages: packages.to_vec() });
    assert_eq!(rig.event(), NodeEvent::Booted(node()));
}

/// Returns everything in a folder, with its permissions.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            let mode = fs::symlink_metadata(entry.path()).unwrap().permissions().mode() & 0o7777;
            found.push(format!("{} {mode:o}", entry.path().strip_prefix(folder).unwrap().display()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_package_is_installed_before_the_command_and_its_variables_name_its_folder() {
    let mut rig = Rig::new();
    let zip = package(&rig, "1.0", &archive("grain"));
    let script = "$AZ_BATCH_APP_PACKAGE_Mill/bin/tool; cat $AZ_BATCH_APP_PACKAGE_mill/data.txt";
    assert_eq!(prints(&mut rig, &[zip], script), "made\ngrain");
    let modes = tree(&rig.node().join("applications/mill/1.0"));
    let line = |name: &str| modes.iter().find(|line| line.starts_with(name)).cloned();
    assert_eq!(line("bin/tool"), Some("bin/tool 755".into()), "no set-user-id");
    assert_eq!(line("data.txt"), Some("data.txt 644".into()));
}

#[test]
fn a_folder_is_a_package_and_keeps_its_links() {
    let mut rig = Rig::new();
    let folder = rig.folder.path().join("mill");
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::write(folder.join("bin/data"), "grain").unwrap();
    symlink("bin/data", folder.join("link")).unwrap();
    symlink(&folder, folder.join("loop")).unwrap();
    let package = package_at("1", Some(folder));
    assert_eq!(prints(&mut rig, &[package], "cat $AZ_BATCH_APP_PACKAGE_mill/link"), "grain");
}

#[test]
fn entries_that_lead_out_of_a_package_are_rejected() {
    let names = [
        "../evil",
        "../../evil",
        "a/../../evil",
        "/evil",
        "//evil",
        "..\\evil",
        "a\\..\\..\\evil",
        "C:\\evil",
        "C:evil",
        "..",
        "a/..",
        "./../evil",
        "evil\0",
        "",
    ];
    let mut archives: Vec<(String, Vec<u8>)> = names
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| ((*name).into(), archive_with(name)))
        .collect();
    for target in ["/etc", "../..", "data.txt"] {
        let mut writer = ZipWriter::new(Cursor::new(vec![]));
        writer.add_symlink("link", target, DEFLATED).unwrap();
        writer.start_file("link/evil", DEFLATED).unwrap();
        archives.push((format!("a link to {target}"), writer.finish().unwrap().into_inner()));
    }
    archives.push(("no archive".into(), b"PK no archive at all".to_vec()));
    let mut cut = archive("grain");
    cut.truncate(cut.len() / 2);
    archives.push(("half an archive".into(), cut));
    let mut rig = Rig::new();
    boot(&rig, &[]);
    let before = tree(rig.folder.path());
    for (what, content) in archives {
        let package = package(&rig, "1.0", &content);
        assert!(check_package(package.source.as_deref().unwrap()).is_err(), "{what}");
        let mut launch = rig.shell("echo never");
        launch.packages = vec![package.clone()];
        let failure = rig.run(&launch).failure.unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!((&*failure.code, failure.user_error), ("ApplicationPackageError", true), "{what}");
        rig.runner.carry_out(Order::Boot { node: node(), packages: vec![package.clone()] });
        assert!(matches!(rig.event(), NodeEvent::BootFailed { .. }), "{what}");
        fs::remove_file(package.source.unwrap()).unwrap();
        let after = tree(rig.folder.path());
        let new = after.iter().filter(|path| !before.contains(path) && !path.contains("/workitems/job"));
        let new: Vec<_> = new.filter(|path| !path.ends_with("/applications")).collect();
        assert!(new.is_empty(), "{what}: {new:?}");
    }
}

#[test]
fn a_zip_bomb_is_rejected_before_the_disk_is_full() {
    let mut rig = Rig::new();
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    for name in ["one", "two", "three"] {
        writer.start_file(name, DEFLATED).unwrap();
        for _ in 0..30 {
            writer.write_all(&[0; 1 << 20]).unwrap();
        }
    }
    let bomb = package(&rig, "1.0", &writer.finish().unwrap().into_inner());
    let mut launch = rig.shell("echo never");
    launch.packages = vec![bomb];
    let failure = rig.run(&launch).failure.unwrap();
    let message = failure.details.iter().find(|(name, _)| name == "Message").unwrap();
    assert!(message.1.contains("too large"), "{message:?}");
    assert!(!rig.node().join("applications/mill/1.0").exists());
    assert_eq!(left_of_packages(&rig), [""; 0], "nothing of it fills the disk");
}

/// Returns the content of a node's folder of packages.
fn left_of_packages(rig: &Rig) -> Vec<String> {
    let entries = fs::read_dir(rig.node().join("applications")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_rejected_package_leaves_nothing_and_an_earlier_one_stays_complete() {
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    writer.start_file("first", DEFLATED).unwrap();
    writer.write_all(&[b'x'; 1 << 20]).unwrap();
    writer.add_symlink("link", "first", DEFLATED).unwrap();
    let late_link = writer.finish().unwrap().into_inner();
    // The content of the second file is damaged, but not its name and position.
    let stored = DEFLATED.compression_method(CompressionMethod::Stored);
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    for (name, text) in [("one", "the first content"), ("two", "the second content")] {
        writer.start_file(name, stored).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    let mut damaged = writer.finish().unwrap().into_inner();
    let at = damaged.windows(6).position(|part| part == b"second").unwrap();
    damaged[at] = b'S';
    for (what, content) in [("a link behind a file", late_link), ("a damaged file", damaged)] {
        let mut rig = Rig::new();
        let mut launch = rig.shell("echo never");
        launch.packages = vec![package(&rig, "1.0", &content)];
        assert!(rig.run(&launch).failure.is_some(), "{what}");
        assert_eq!(left_of_packages(&rig), [""; 0], "{what}");
        // The same, if another version is already installed.
        let good = package(&rig, "1.0", &archive("grain"));
        boot(&rig, &[good]);
        let bad = package(&rig, "1.0", &content);
        rig.runner.carry_out(Order::Boot { node: node(), packages: vec![bad] });
        assert!(matches!(rig.event(), NodeEvent::BootFailed { .. }), "{what}");
        let mut left = left_of_packages(&rig);
        left.sort();
        assert_eq!(left, ["mill"], "{what}");
        let kept = rig.node().join("applications/mill/1.0/data.txt");
        assert_eq!(fs::read_to_string(kept).unwrap(), "grain", "{what}");
    }
}

#[test]
fn a_changed_package_is_installed_again_only_when_the_node_boots() {
    let mut rig = Rig::new();
    let package = package(&rig, "1.0", &archive("old"));
    let all = [package.clone()];
    boot(&rig, &all);
    let script = "cat $AZ_BATCH_APP_PACKAGE_mill/data.txt; : > $AZ_BATCH_APP_PACKAGE_mill/seen";
    assert_eq!(prints(&mut rig, &all, script), "old");
    let seen = rig.node().join("applications/mill/1.0/seen");
    boot(&rig, &all);
    assert!(seen.exists(), "the same: left as it is");
    fs::write(package.source.as_ref().unwrap(), archive("newer")).unwrap();
    assert_eq!(prints(&mut rig, &all, script), "old");
    boot(&rig, &all);
    assert!(!seen.exists());
    assert_eq!(prints(&mut rig, &all, script), "newer");
}

#[test]
fn an_incomplete_package_of_a_previous_process_is_not_used() {
    let mut rig = Rig::new();
    let package = package(&rig, "1.0", &archive("grain"));
    let half = rig.node().join("applications/.unpacking");
    fs::create_dir_all(half.join("data.txt/in the way")).unwrap();
    let script = "ls $AZ_BATCH_APP_PACKAGE_mill; ls -A $AZ_BATCH_NODE_ROOT_DIR/applications";
    assert_eq!(prints(&mut rig, &[package], script), "bin\ndata.txt\nmill\n");
}

#[test]
fn an_installed_package_needs_no_source_and_another_does() {
    let mut rig = Rig::new();
    let package = package(&rig, "1.0", &archive("grain"));
    let script = "cat $AZ_BATCH_APP_PACKAGE_mill/data.txt";
    assert_eq!(prints(&mut rig, &[package], script), "grain");
    assert_eq!(prints(&mut rig, &[package_at("1.0", None)], script), "grain");
    let mut launch = rig.shell("echo never");
    launch.packages = vec![package_at("2.0", None)];
    assert_eq!(rig.run(&launch).failure.unwrap().code, "ApplicationPackageError");
}
