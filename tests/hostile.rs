//! A daemon over a drop folder that another user attacks while files are taken from it.
#![allow(clippy::unwrap_used)]

#[path = "common/attacker.rs"]
mod attacker;
mod common;

use attacker::{Attack, Attacker};
use common::{
    Desk,
    mill::{COUNT, Mill},
};
use std::{fs, os::unix::fs::PermissionsExt};

const SWAPS: u32 = 200;

/// The attacking process: see `attacker.rs`.
#[test]
#[ignore = "a helper that other tests start"]
fn attacks() {
    attacker::attack();
}

#[test]
fn folders_replaced_by_links_expose_no_file_of_the_daemons_user() {
    for attack in [Attack::Parent, Attack::Grandparent] {
        let desk = desk(attack);
        let mill = Mill::start(&desk, &["--set", "watch.recursive=true", "--set", "watch.rescan=20ms"]);
        withstands(&desk, mill, attack, |desk| desk.write("drop/last", "bait"));
    }
}

#[test]
fn files_replaced_by_links_in_a_taken_folder_expose_no_file_of_the_daemons_user() {
    let desk = desk(Attack::Held);
    let set = ["watch.unit=directory", "watch.rescan=20ms", "watch.tries=1"];
    let mill = Mill::start(&desk, &set.map(|set| ["--set", set]).concat());
    withstands(&desk, mill, Attack::Held, |desk| {
        desk.write("coming/file", "bait");
        fs::rename(desk.path("coming"), desk.path("drop/last")).unwrap();
        desk
    });
}

/// A folder whose drop folder is writable for every user; the tasks copy their input.
fn desk(attack: Attack) -> Desk {
    let desk = Desk::new();
    fs::set_permissions(desk.path("."), PermissionsExt::from_mode(0o755)).unwrap();
    attacker::open_to_all(&desk.path("drop"));
    attacker::secrets(&desk.path("secrets"));
    let copy = match attack {
        Attack::Held => r#"cat \"$DROPMILL_INPUT\"/* \"$DROPMILL_INPUT\"/*/* > bytes.txt || true"#,
        _ => r#"cat \"$DROPMILL_INPUT\" > bytes.txt"#,
    };
    let (before, rest) = COUNT.split_once("shell = \"").unwrap();
    let (_, after) = rest.split_once("bytes.txt\"").unwrap();
    desk.write("run.toml", format!("{before}shell = \"{copy}\"{after}"));
    desk
}

/// Attacks, then drops an input called `last`, and checks the files after it is processed.
fn withstands(desk: &Desk, mut mill: Mill, attack: Attack, last: impl FnOnce(&Desk) -> &Desk) {
    let (on, secrets) = (desk.path("drop"), desk.path("secrets"));
    Attacker::start(attack, &on, &secrets, SWAPS, "attacks").wait();
    last(desk);
    let (mut others, mut is_last_done) = (0, false);
    while !is_last_done || others == 0 {
        let finished = mill.until(|said| said["kind"] == "finished").unwrap();
        match finished["input"] == "last" {
            true => is_last_done = true,
            false => others += 1,
        }
    }
    mill.signal(rustix::process::Signal::TERM);
    while mill.until(|_| true).is_some() {}
    let paths = |names: [&str; 2]| names.map(|name| desk.path(name));
    attacker::check(&secrets, &paths(["done", "failed"]), &paths(["work", "state"]));
}
