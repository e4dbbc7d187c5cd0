//! Another user writes to the drop folder, and to claimed folders, while files are claimed and delivered.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/common/attacker.rs"]
mod attacker;

use attacker::{Attack, Attacker, SECRET};
use dropmill_actors::{
    drop_store::{
        DiskDropStore, DropFolders, DropStore, EntryState, Parcel, Root, Rules, RulesSettings, Take, Unit,
        text_of,
    },
    inputs::Inputs,
};
use dropmill_lifecycle::plan::Item;
use serde_json::json;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const SWAPS: u32 = 200;

/// The attacking process: see `attacker.rs`.
#[test]
#[ignore = "a helper that other tests start"]
fn attacks() {
    attacker::attack();
}

#[tokio::test]
async fn a_parent_folder_swapped_with_a_link_reveals_nothing_outside() {
    for attack in [Attack::Parent, Attack::Grandparent] {
        let mut desk = Desk::new(Unit::File, Disk::Same);
        let attacker = desk.attack(attack, desk.path("drop"));
        desk.work_while(attacker).await;
    }
}

#[tokio::test]
async fn a_file_of_a_claimed_folder_that_becomes_a_link_is_neither_read_nor_delivered() {
    let mut desk = Desk::new(Unit::Directory, Disk::Same);
    let attacker = desk.attack(Attack::Held, desk.path("drop"));
    desk.work_while(attacker).await;
    assert!(fs::read_dir(desk.path("done")).unwrap().count() > 0, "folders are delivered all the same");
}

#[tokio::test]
async fn a_copy_to_another_file_system_during_a_swap_reveals_nothing_outside() {
    for (attack, unit) in [(Attack::Parent, Unit::File), (Attack::Held, Unit::Directory)] {
        let mut desk = Desk::new(unit, Disk::Other);
        let attacker = desk.attack(attack, desk.path("drop"));
        desk.work_while(attacker).await;
    }
}

#[tokio::test]
async fn a_results_folder_swapped_with_a_link_leads_no_result_outside() {
    let mut desk = Desk::new(Unit::File, Disk::Same);
    attacker::open_to_all(&desk.path("done"));
    let mut attacker = desk.attack(Attack::Results, desk.path("done"));
    let mut number = 0;
    while !attacker.is_over() {
        number += 1;
        desk.write("drop/p/new", &format!("bait {number}"));
        desk.work().await;
    }
    desk.work_while(attacker).await;
}

struct Desk {
    folder: tempfile::TempDir,
    /// Contains the folders of work, results and failures.
    away: tempfile::TempDir,
    store: DiskDropStore,
    rules: Rules,
    taken: u32,
}

/// Where inputs are moved: to the file system of the drop folder, or to another one if there is one.
#[derive(PartialEq, Eq)]
enum Disk {
    Same,
    Other,
}

impl Desk {
    fn new(unit: Unit, disk: Disk) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let away = match disk == Disk::Other && Path::new("/dev/shm").is_dir() {
            true => tempfile::tempdir_in("/dev/shm").unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        for folder in [&folder, &away] {
            fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        }
        attacker::open_to_all(&folder.path().join("drop"));
        attacker::secrets(&folder.path().join("secrets"));
        let store = DiskDropStore::open(&DropFolders {
            directory: folder.path().join("drop"),
            done: away.path().join("done"),
            failed: away.path().join("failed"),
            work: away.path().join("work/id"),
        });
        let rules = Rules::new(RulesSettings {
            unit,
            recursive: unit == Unit::File,
            ignore: vec![".*".into()],
            include: vec![],
            marker: None,
            min_file_bytes: 0,
            max_file_bytes: u64::MAX,
            take_foreign: true,
        });
        Self { folder, away, store: store.unwrap(), rules, taken: 0 }
    }

    fn path(&self, below: &str) -> PathBuf {
        let is_here = below.starts_with("drop") || below == "secrets";
        let folder = if is_here { &self.folder } else { &self.away };
        folder.path().join(below)
    }

    fn write(&self, below: &str, content: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn attack(&self, attack: Attack, on: PathBuf) -> Attacker {
        Attacker::start(attack, &on, &self.path("secrets"), SWAPS, "attacks")
    }

    /// Claims, reads and delivers all current inputs.
    async fn work(&mut self) {
        for (relative, state) in self.store.scan(&self.rules).await.unwrap() {
            let EntryState::Input(look, _) = state else { continue };
            self.taken += 1;
            let (task, place) = (format!("t{}", self.taken), format!("r/t{}", self.taken));
            let take = Take {
                id: 0,
                relative: relative.clone(),
                place: place.clone(),
                look,
                marker: None,
                hash: true,
            };
            if self.store.take(vec![take]).await[0].outcome.is_ok() {
                self.read(&place, &relative).await;
                self.publish(&task, &place, &relative).await;
            }
            self.store.release(&place);
        }
    }

    /// Opens an input like an upload.
    async fn read(&self, place: &str, relative: &Path) {
        let whole_folder = self.rules.unit() == Unit::Directory;
        let item = item(self.store.source(place, relative), whole_folder);
        let read = |below: Option<&Path>| {
            let length = self.store.open(&item, below).map_or(0, |source| source.length());
            assert_ne!(length, SECRET.len() as u64, "{} {below:?} is the secret", text_of(relative));
        };
        match whole_folder {
            false => read(None),
            true => {
                let files = self.store.files(&item).await.unwrap_or_default();
                files.iter().for_each(|file| read(Some(file)));
            }
        }
    }

    async fn publish(&self, task: &str, place: &str, relative: &Path) {
        let published = self.store.publish(Parcel {
            results: ("r".into(), task.into()),
            input: place.into(),
            relative: relative.to_owned(),
            look: None,
            with_input: true,
            root: if self.taken.is_multiple_of(2) { Root::Failed } else { Root::Done },
            note: json!({ "run": "r", "task": task }),
        });
        // If a link is in the path, the publication fails.
        let _ = published.await;
    }

    async fn work_while(&mut self, mut attacker: Attacker) {
        while !attacker.is_over() {
            self.work().await;
        }
        self.work().await;
        let folders = ["done", "failed", "work"].map(|name| self.path(name));
        attacker::check(&self.path("secrets"), &folders, &[]);
        assert!(self.taken > 0, "nothing was taken");
    }
}

fn item(source: PathBuf, whole_folder: bool) -> Item {
    Item {
        index: 0,
        task: "t".into(),
        relative: "input".into(),
        source: Some(source),
        whole_folder,
        file_name: "input".into(),
        size_bytes: 0,
        modified: None,
        mode: None,
        command_line: String::new(),
        environment: vec![],
        result_folder: String::new(),
        supersedes: None,
        blob: None,
        more_files: vec![],
        values: vec![],
        recipe: Default::default(),
        outputs: None,
        chunk: None,
    }
}
