//! Output files: found by their patterns after the command, and stored through the blob access.

use super::{
    caps::LeftOut,
    environment::{Environment, expand},
    failures,
    pattern::{Pattern, as_text, has_wildcard},
    place::TaskPlace,
};
use crate::orders::{
    BlobAccess, DoorError, FileToStore, GoOn, NodeFailure, OutputFileOrder, UploadCondition,
};
use dropmill_azure_wire::{blob::FileMetadata, secret::shown_url};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Number of files stored by one call: enough to share a commit, and few enough to check for a stop between
/// calls.
const TOGETHER: usize = 256;
/// A variable that only tasks of dropmill have.
const KEEP_FACTS: &str = "DROPMILL_RUN";
/// Names of the two upload logs of Batch, in the task's folder.
const LOGS: [&str; 2] = ["fileuploadout.txt", "fileuploaderr.txt"];

/// Returns whether an order applies after this exit. Outputs of a failed attempt are only stored if no
/// further attempt follows.
pub(super) fn is_due(order: &OutputFileOrder, exit_code: i32, last_try: bool) -> bool {
    let success = exit_code == 0;
    (success || last_try)
        && match order.condition {
            UploadCondition::TaskSuccess => success,
            UploadCondition::TaskFailure => !success,
            UploadCondition::TaskCompletion => true,
        }
}

/// A pattern and the folder where it starts.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The working folder, the task's folder, or the node's root.
    pub base: PathBuf,
    /// Pattern below the folder.
    pub pattern: Pattern,
    wildcard: bool,
}

impl Resolved {
    /// Parses an order's pattern: variables expanded, relative to the working folder. `..` is resolved in the
    /// text.
    ///
    /// # Errors
    /// Fails if it leads out of the node's root.
    pub fn new(
        order: &OutputFileOrder,
        place: &TaskPlace,
        environment: &Environment,
    ) -> Result<Self, DoorError> {
        let text = expand(&order.pattern, environment);
        let start = if text.starts_with('/') { Path::new("") } else { &*place.working };
        let start = start.to_string_lossy().into_owned();
        let mut segments: Vec<&str> = Vec::new();
        for segment in start.split('/').chain(text.split('/')) {
            match segment {
                "" | "." => {}
                ".." => drop(segments.pop()),
                name => segments.push(name),
            }
        }
        for base in [&place.working, &place.directory, &place.node] {
            let prefix = base.to_string_lossy();
            let prefix: Vec<&str> = prefix.split('/').filter(|segment| !segment.is_empty()).collect();
            if let Some(rest) = segments.strip_prefix(&*prefix) {
                let wildcard = rest.iter().any(|segment| has_wildcard(segment));
                return Ok(Self {
                    base: base.clone(),
                    pattern: Pattern::new(rest.iter().copied()),
                    wildcard,
                });
            }
        }
        Err(DoorError::Local(format!("the pattern {} leads out of the node's folders", order.pattern)))
    }

    /// Returns the blob's name for a file with this path below the base.
    pub fn blob_name(&self, order: &OutputFileOrder, below: &str) -> String {
        let folder = order.path.trim_matches('/');
        match (self.wildcard, folder) {
            (true, "") => below.to_owned(),
            (true, folder) => format!("{folder}/{below}"),
            (false, "") => below.rsplit('/').next().unwrap_or(below).to_owned(),
            (false, name) => name.to_owned(),
        }
    }
}

/// Stores the outputs of orders that apply; tries all, and returns the first failure. `go_on` is checked
/// between files.
pub(super) fn store(
    due: &[&OutputFileOrder],
    place: &TaskPlace,
    environment: &Environment,
    left_out: &LeftOut,
    door: &dyn BlobAccess,
    go_on: GoOn<'_>,
) -> Option<NodeFailure> {
    if due.is_empty() {
        return None;
    }
    for log in LOGS {
        let _ = fs::remove_file(place.directory.join(log));
    }
    let mut store = Store::new(place, environment, left_out, door, go_on);
    for order in due {
        store.take(order);
    }
    store.send();
    store.write_logs();
    match store.stopped {
        true => Some(failures::ended()),
        false => store.failure,
    }
}

struct Store<'a> {
    place: &'a TaskPlace,
    environment: &'a Environment,
    left_out: &'a LeftOut,
    door: &'a dyn BlobAccess,
    go_on: GoOn<'a>,
    /// Files found but not sent yet, all for the container of the first order that matched one.
    found: Vec<FileToStore>,
    order: Option<&'a OutputFileOrder>,
    /// File of each blob name: two files with one name are a mistake that must be reported.
    names: BTreeMap<(&'a str, String), PathBuf>,
    said: String,
    complained: String,
    failure: Option<NodeFailure>,
    stopped: bool,
}

impl<'a> Store<'a> {
    fn new(
        place: &'a TaskPlace,
        environment: &'a Environment,
        left_out: &'a LeftOut,
        door: &'a dyn BlobAccess,
        go_on: GoOn<'a>,
    ) -> Self {
        Self {
            place,
            environment,
            left_out,
            door,
            go_on,
            found: Vec::new(),
            order: None,
            names: BTreeMap::new(),
            said: String::new(),
            complained: String::new(),
            failure: None,
            stopped: false,
        }
    }

    fn take(&mut self, order: &'a OutputFileOrder) {
        let resolved = match Resolved::new(order, self.place, self.environment) {
            Ok(resolved) => resolved,
            Err(error) => return self.fail(order, &error),
        };
        if self.order.is_some_and(|before| before.container_url != order.container_url) {
            self.send();
        }
        let mut count = 0_u64;
        let walked = resolved.pattern.walk(&resolved.base, &mut |below| {
            count += u64::from(self.add(order, &resolved, below));
            if self.found.len() >= TOGETHER {
                self.send();
            }
            !self.stopped
        });
        if let Err(error) = walked {
            self.fail(order, &DoorError::Local(format!("cannot search for {}: {error}", order.pattern)));
        } else if count == 0 {
            let _ = writeln!(self.said, "{}: no files found", order.pattern);
        }
    }

    /// Adds one file to be sent; returns whether it was added.
    fn add(&mut self, order: &'a OutputFileOrder, resolved: &Resolved, below: &Path) -> bool {
        let file = resolved.base.join(below);
        if let Err(why) = readable(&file, &self.place.directory) {
            let _ = writeln!(self.complained, "{}: left out, {why}", file.display());
            return false;
        }
        let Some(text) = as_text(below) else {
            self.fail(order, &DoorError::Local(format!("{}: the name is not UTF-8", below.display())));
            return false;
        };
        let name = resolved.blob_name(order, text);
        match self.names.get(&(&*order.container_url, name.clone())) {
            Some(same) if *same == file => return true,
            Some(other) => {
                let what = format!("{} and {} would both become {name}", other.display(), file.display());
                self.fail(order, &DoorError::Local(what));
                return true;
            }
            None => drop(self.names.insert((&order.container_url, name.clone()), file.clone())),
        }
        self.order.get_or_insert(order);
        let facts = self.facts(&file);
        self.found.push(FileToStore { name, path: file, facts });
        true
    }

    /// Returns the file metadata to store with a blob. A variable requests it, because other users expect
    /// only their own metadata.
    fn facts(&self, file: &Path) -> FileMetadata {
        let left_out_bytes = self.left_out.get(file).copied().unwrap_or(0);
        let is_stream = file.parent() == Some(&self.place.directory);
        if !self.environment.contains_key(KEEP_FACTS) || (is_stream && left_out_bytes == 0) {
            return FileMetadata::default();
        }
        let Ok(metadata) = fs::metadata(file) else { return FileMetadata::default() };
        FileMetadata {
            mode: Some(metadata.mode() & 0o777),
            modified: metadata.modified().ok(),
            left_out_bytes,
        }
    }

    fn send(&mut self) {
        let files = std::mem::take(&mut self.found);
        let Some(order) = self.order.take().filter(|_| !files.is_empty()) else { return };
        if !(self.go_on)() {
            self.stopped = true;
        }
        if self.stopped {
            return;
        }
        match self.door.store(&order.container_url, &files, self.go_on) {
            Err(DoorError::Stopped) => self.stopped = true,
            Ok(()) => {
                let container = shown_url(&order.container_url);
                let _ = writeln!(self.said, "{} files stored in {container}", files.len());
            }
            Err(error) => self.fail(order, &error),
        }
    }

    fn fail(&mut self, order: &OutputFileOrder, error: &DoorError) {
        let _ = writeln!(self.complained, "{}: {error}", order.pattern);
        self.failure.get_or_insert_with(|| failures::output(order, error));
    }

    /// The logs are for users who look for a problem: none are written if everything succeeded.
    fn write_logs(&mut self) {
        let nothing_found = self.said.contains("no files found");
        if self.complained.is_empty() && !nothing_found {
            return;
        }
        for (log, text) in LOGS.iter().zip([&self.said, &self.complained]) {
            if let Err(error) =
                dropmill_private_files::replace(&self.place.directory.join(log), text.as_bytes(), |_| Ok(()))
            {
                tracing::debug!(%error, log, "cannot write the log of stored outputs");
            }
        }
    }
}

/// Checks for a regular file, or a link to one that is also in the task's folder.
fn readable(file: &Path, directory: &Path) -> Result<(), &'static str> {
    let metadata = fs::symlink_metadata(file).map_err(|_| "it does not exist")?;
    if metadata.is_file() {
        return Ok(());
    }
    if !metadata.is_symlink() {
        return Err("it is not a regular file");
    }
    let target = fs::canonicalize(file).map_err(|_| "the target of the link does not exist")?;
    match (target.starts_with(directory), target.is_file()) {
        (true, true) => Ok(()),
        (true, false) => Err("the link does not lead to a regular file"),
        (false, _) => Err("the link leads out of the task's folder"),
    }
}
