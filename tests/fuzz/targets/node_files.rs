//! Files of nodes: no path and no link that a task created leads out of the node's folder.
#![no_main]

use dropmill_azure_wire::time::WallClock;
use dropmill_local_azure::{
    blob::{BlobService, BlobSettings},
    durability::Durability,
    orders::{NodeRef, Runner},
    runner::{ProcessRunner, RunnerSettings},
};
use libfuzzer_sys::fuzz_target;
use std::{cell::OnceCell, fs, os::unix::fs::symlink, path::PathBuf, sync::Arc};
use tempfile::TempDir;

const OUTSIDE: &str = "content that no node may return";

struct Fixture {
    folder: TempDir,
    runner: Arc<ProcessRunner>,
}

thread_local! {
    static FIXTURE: OnceCell<Fixture> = const { OnceCell::new() };
}

// The first line has option bits and the path of a file. Every other line is a link that a task created,
// written as `name -> target`.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let first = lines.next().unwrap_or_default();
    let (how, path) = first.split_once(' ').unwrap_or(("0", first));
    let links: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(" -> ")).collect();
    FIXTURE.with(|fixture| fixture.get_or_init(Fixture::open).check(path, &links, how.parse().unwrap_or(0)));
});

impl Fixture {
    fn open() -> Self {
        let folder = dropmill_fuzz::scratch();
        let settings = BlobSettings {
            state_dir: None,
            durability: Durability::Process,
            account: "local".into(),
            key: "a2V5".into(),
            endpoint: "http://127.0.0.1/local".into(),
            allow_https_only_sas: false,
        };
        let blobs = BlobService::open(settings, Arc::new(WallClock)).expect("blobs in memory");
        let settings = RunnerSettings::new(folder.path().join("nodes"), "local", "http://127.0.0.1");
        let runner = ProcessRunner::start(settings, Arc::new(WallClock), Arc::new(|_| {}), blobs.door());
        Self { runner: runner.expect("a runner"), folder }
    }

    fn node(&self) -> PathBuf {
        self.folder.path().join("nodes/pool/node")
    }

    /// Restores the node's folder and its neighbours to their initial content.
    fn lay_out(&self) {
        let _ = fs::remove_dir_all(self.node());
        let made = fs::create_dir_all(self.node().join("workitems/j/job-1/t/wd"))
            .and_then(|()| fs::write(self.node().join("workitems/j/job-1/t/stdout.txt"), "inside"))
            .and_then(|()| fs::create_dir_all(self.folder.path().join("nodes/pool/other")))
            .and_then(|()| fs::write(self.folder.path().join("secret"), OUTSIDE))
            .and_then(|()| fs::write(self.folder.path().join("nodes/secret"), OUTSIDE))
            .and_then(|()| fs::write(self.folder.path().join("nodes/pool/other/secret"), OUTSIDE));
        made.expect("a node's folder");
    }

    fn check(&self, path: &str, links: &[(&str, &str)], how: u8) {
        self.lay_out();
        let working = self.node().join("workitems/j/job-1/t/wd");
        for (name, to) in links.iter().take(8) {
            if !name.is_empty() && !name.contains(['/', '\0']) {
                let _ = symlink(to, working.join(name));
            }
        }
        let node = NodeRef { pool: "pool".into(), node: "node".into() };
        let files = self.runner.files();
        if let Ok(bytes) = files.read(&node, path, 0, 4096) {
            assert_eq!(bytes, b"inside", "{path:?} leads out of the node's folder");
        }
        if let Ok(Some(entry)) = files.entry(&node, path) {
            assert!(
                entry.is_directory || entry.size_bytes == 6,
                "{path:?} leads out of the node's folder: {entry:?}"
            );
        }
        if let Ok(entries) = files.list(&node, path, how & 1 == 1) {
            assert!(entries.iter().all(|entry| !entry.name.contains("secret")), "{path:?}: {entries:?}");
        }
        let _ = files.delete(&node, path, how & 2 == 2);
        for kept in ["secret", "nodes/secret", "nodes/pool/other/secret"] {
            let content = fs::read_to_string(self.folder.path().join(kept)).unwrap_or_default();
            assert_eq!(content, OUTSIDE, "{path:?} took {kept} away");
        }
        assert!(self.node().is_dir(), "{path:?} deleted the node's own folder");
    }
}
