//! The thread that makes results durable and moves them to their places.

use super::{
    Delivery, PlaceError, Placed, beside,
    disk::{Published, Queue, refused},
    layout::{failed_folder, is_log, single_name},
    logs::Logs,
    same::{holds_only, is_as_delivered, same_folder},
    taken::{Occupant, Placing, placing},
};
use crate::output_names::guarded;
use dropmill_journal::{
    event::DeliveredFile,
    results::{MadeFrom, OwnResult, OwnResults, RecordError},
};
use dropmill_lifecycle::plan::{Layout, OutputPlan, Superseded};
use rustix::fs::{AtFlags, CWD, RenameFlags};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Number of files from which one `syncfs` replaces the `fsync` of each.
const SYNC_TOGETHER: usize = 4;
/// Maximum number of attempts to find a free name.
const NAMES: u32 = 10_000;
/// The data of the thread.
pub(super) struct Publisher {
    pub run: String,
    pub output: OutputPlan,
    pub staging: PathBuf,
    /// The record of own results, if there is one.
    pub own: Option<OwnResults>,
    pub recipe: BTreeMap<String, String>,
    /// Standard output and error of successful tasks with the layout `mirror`.
    pub logs: Option<Logs>,
}

/// A file of a result without a folder, and its place.
struct Single<'a> {
    file: &'a DeliveredFile,
    /// Path below the output folder.
    place: String,
    placing: Placing,
}

/// Changed folders that must be made durable.
type Changed = BTreeSet<PathBuf>;

impl Publisher {
    pub fn work(mut self, queue: &Queue) {
        loop {
            let group = queue.next_group();
            if group.is_empty() {
                break;
            }
            self.publish_group(group);
        }
        if let Some(Err(error)) = self.own.as_ref().map(OwnResults::sync) {
            tracing::warn!(%error, "the record of results is not durable");
        }
    }

    /// First contents, then names, then the folders with the names: each step for the whole group.
    fn publish_group(&mut self, group: Vec<Published>) {
        let synced = self.sync_contents(&group);
        let mut folders = Changed::new();
        let mut outcomes = vec![];
        for (delivery, answer) in group {
            let outcome = synced.clone().and_then(|()| self.put(&delivery, &mut folders));
            outcomes.push((answer, outcome));
        }
        let named = self.sync_names(&folders);
        for (answer, outcome) in outcomes {
            // The caller of an abandoned run no longer waits; the result is in place all the same.
            let _ = answer.send(outcome.and_then(|placed| named.clone().map(|()| placed)));
        }
    }

    fn sync_contents(&self, group: &[Published]) -> Result<(), PlaceError> {
        if group.iter().map(|(delivery, _)| delivery.files.len()).sum::<usize>() >= SYNC_TOGETHER {
            return sync_file_system(&self.staging);
        }
        for (delivery, _) in group {
            let folder = self.staging.join(&delivery.task);
            for file in &delivery.files {
                sync(&folder.join(&file.path))?;
            }
            sync(&folder)?;
        }
        Ok(())
    }

    fn sync_names(&self, folders: &Changed) -> Result<(), PlaceError> {
        if folders.len() >= SYNC_TOGETHER {
            return sync_file_system(&self.output.directory);
        }
        folders.iter().try_for_each(|folder| sync(folder))
    }

    fn put(&mut self, delivery: &Delivery, folders: &mut Changed) -> Result<Placed, PlaceError> {
        let placed = match self.output.layout {
            Layout::ByInput => self.put_folder(delivery, &guarded(&delivery.folder), folders)?,
            Layout::Flat | Layout::Mirror if delivery.success => self.put_files(delivery, folders)?,
            Layout::Flat | Layout::Mirror => {
                self.put_folder(delivery, &failed_folder(&delivery.input.relative), folders)?
            }
        };
        if delivery.success {
            self.remove_earlier(delivery, &placed, folders)?;
        }
        Ok(placed)
    }

    fn put_folder(
        &mut self,
        delivery: &Delivery,
        wanted: &str,
        folders: &mut Changed,
    ) -> Result<Placed, PlaceError> {
        let staged = self.staging.join(&delivery.task);
        let mut beside_what = None;
        for tries in 0..NAMES {
            let folder = beside(wanted, tries, true);
            let place = self.output.directory.join(&folder);
            let mut occupant = match is_free(&place) {
                true => Occupant::Nothing,
                false => self.occupant(delivery, &folder),
            };
            if occupant == Occupant::Nothing {
                self.record(delivery, &folder, delivery.files.clone())?;
                match self.put_new(&staged, &place, folders) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        occupant = self.occupant(delivery, &folder);
                    }
                    Err(error) => return Err(refused("rename to", &place, &error)),
                }
            }
            let placing = placing(self.output.existing, delivery.success, &occupant);
            match placing {
                Placing::Put => {}
                Placing::Recognise => {
                    self.record(delivery, &folder, delivery.files.clone())?;
                    remove_folder(&staged)?;
                }
                Placing::Exchange => {
                    self.record(delivery, &folder, delivery.files.clone())?;
                    exchange(&staged, &place).map_err(|error| refused("replace", &place, &error))?;
                    folders.extend(place.parent().map(Path::to_path_buf));
                    remove_any(&staged).map_err(|error| refused("remove", &staged, &error))?;
                }
                Placing::Beside => {
                    beside_what.get_or_insert_with(|| occupant.explain(&folder));
                    continue;
                }
                Placing::Refuse => return Err(PlaceError::Taken { path: place.display().to_string() }),
            }
            return Ok(Placed {
                folder,
                files: delivery.files.clone(),
                replaced: placing == Placing::Exchange,
                beside: beside_what,
            });
        }
        Err(PlaceError::Taken { path: self.output.directory.join(wanted).display().to_string() })
    }

    /// Renames a staged folder to a free place; missing parent folders are created.
    fn put_new(&self, staged: &Path, place: &Path, folders: &mut Changed) -> io::Result<()> {
        let parent = place.parent().unwrap_or(&self.output.directory).to_path_buf();
        match rename_new(staged, place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&parent)?;
                let mut above = parent.parent();
                while let Some(folder) = above.filter(|above| above.starts_with(&self.output.directory)) {
                    folders.insert(folder.to_path_buf());
                    above = folder.parent();
                }
                rename_new(staged, place)?;
            }
            outcome => outcome?,
        }
        folders.insert(parent);
        Ok(())
    }

    /// Moves each file of a result into the output folder.
    fn put_files(&mut self, delivery: &Delivery, folders: &mut Changed) -> Result<Placed, PlaceError> {
        let staged = self.staging.join(&delivery.task);
        let logs = self.keep_logs(delivery, &staged)?;
        // The decision is recorded before it is carried out, and repeated if the place was taken in the
        // meantime.
        for _ in 0..NAMES {
            let (singles, beside) = self.places_of(delivery)?;
            let at =
                |single: &Single<'_>| DeliveredFile { path: single.place.clone(), ..single.file.clone() };
            self.record(delivery, "", singles.iter().map(at).collect())?;
            let mut lost_race = false;
            for single in &singles {
                let (from, place) =
                    (staged.join(&single.file.path), self.output.directory.join(&single.place));
                let parent = place.parent().unwrap_or(&self.output.directory).to_path_buf();
                fs::create_dir_all(&parent).map_err(|error| refused("make folder", &parent, &error))?;
                let done = match single.placing {
                    Placing::Put => rename_new(&from, &place),
                    Placing::Exchange => exchange(&from, &place),
                    Placing::Recognise | Placing::Beside | Placing::Refuse => Ok(()),
                };
                match done {
                    Ok(()) => folders.insert(parent),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        lost_race = true;
                        break;
                    }
                    Err(error) => return Err(refused("rename to", &place, &error)),
                };
            }
            if lost_race {
                continue;
            }
            remove_folder(&staged)?;
            let placed = singles.iter().map(|single| DeliveredFile {
                at: (single.place != single.file.path).then(|| single.place.clone()),
                ..single.file.clone()
            });
            let mut files: Vec<_> = placed.chain(logs).collect();
            files.sort_by(|one, other| one.path.cmp(&other.path));
            return Ok(Placed {
                folder: String::new(),
                files,
                replaced: singles.iter().any(|single| single.placing == Placing::Exchange),
                beside,
            });
        }
        Err(PlaceError::Taken { path: self.output.directory.display().to_string() })
    }

    /// Copies standard output and error to the folder of the run if the layout requires it, and returns them.
    fn keep_logs(&mut self, delivery: &Delivery, staged: &Path) -> Result<Vec<DeliveredFile>, PlaceError> {
        let mut kept = vec![];
        let Some(logs) = &mut self.logs else { return Ok(kept) };
        for file in delivery.files.iter().filter(|file| is_log(self.output.layout, &file.path)) {
            logs.keep(&delivery.task, &file.path, &staged.join(&file.path))?;
            kept.push(DeliveredFile { is_log: true, ..file.clone() });
        }
        Ok(kept)
    }

    /// Decides the place of each file of a result without a folder. If a file gets another name, returns the
    /// reason for the first one.
    fn places_of<'a>(&self, delivery: &'a Delivery) -> Result<(Vec<Single<'a>>, Option<String>), PlaceError> {
        let mut beside_what = None;
        let mut singles: Vec<Single<'a>> = vec![];
        let keeps_logs = self.logs.is_some();
        let goes_there = |file: &&DeliveredFile| !(keeps_logs && is_log(self.output.layout, &file.path));
        for file in delivery.files.iter().filter(goes_there) {
            let name = single_name(self.output.layout, &delivery.folder, &delivery.input.name, &file.path);
            let found = (0..NAMES).find_map(|tries| {
                let place = beside(&name, tries, false);
                if singles.iter().any(|single| single.place == place) {
                    beside_what.get_or_insert_with(|| format!("{place} is another file of the same result"));
                    return None;
                }
                let path = self.output.directory.join(&place);
                let occupant = match is_free(&path) {
                    true => Occupant::Nothing,
                    false => self.occupant_of_file(delivery, &place, file),
                };
                let placing = placing(self.output.existing, delivery.success, &occupant);
                if placing == Placing::Beside {
                    beside_what.get_or_insert_with(|| occupant.explain(&place));
                    return None;
                }
                Some(Single { file, place, placing })
            });
            match found {
                Some(Single { placing: Placing::Refuse, place, .. }) => {
                    let path = self.output.directory.join(place).display().to_string();
                    return Err(PlaceError::Taken { path });
                }
                Some(single) => singles.push(single),
                None => {
                    let path = self.output.directory.join(name).display().to_string();
                    return Err(PlaceError::Taken { path });
                }
            }
        }
        Ok((singles, beside_what))
    }

    /// Returns the content of the place of a result's folder.
    fn occupant(&self, delivery: &Delivery, folder: &str) -> Occupant {
        let place = self.output.directory.join(folder);
        if same_folder(&place, &delivery.files) {
            return Occupant::Same;
        }
        let superseded = |old: &Superseded| old.folder == folder && same_folder(&place, &files_of(old));
        if delivery.supersedes.as_ref().is_some_and(superseded) {
            return Occupant::Superseded;
        }
        self.owner(delivery, folder, |own| holds_only(&place, &own.files))
    }

    fn occupant_of_file(&self, delivery: &Delivery, place: &str, file: &DeliveredFile) -> Occupant {
        let path = self.output.directory.join(place);
        let its_own =
            |own: &OwnResult| own.files.iter().any(|file| file.path == place && is_as_delivered(&path, file));
        match self.owner(delivery, place, its_own) {
            // Equal files of two inputs are two results.
            Occupant::OfAnother(input) => Occupant::OfAnother(input),
            _ if is_as_delivered(&path, file) => Occupant::Same,
            other => other,
        }
    }

    /// Determines the owner of the content of a place; `its_own` checks that it is unchanged.
    fn owner(&self, delivery: &Delivery, place: &str, its_own: impl Fn(&OwnResult) -> bool) -> Occupant {
        let mut claims = self.own.iter().flat_map(|own| own.at_place(place));
        match claims.find(|own| its_own(own)) {
            Some(own) if own.input == delivery.input.relative => Occupant::Own { success: own.success },
            Some(own) => Occupant::OfAnother(own.input.clone()),
            None => Occupant::Foreign,
        }
    }

    /// Removes earlier results of the same input in other places, and files that the new result does not
    /// have.
    fn remove_earlier(
        &self,
        delivery: &Delivery,
        placed: &Placed,
        folders: &mut Changed,
    ) -> Result<(), PlaceError> {
        use dropmill_lifecycle::plan::Existing as If;
        match self.output.existing {
            If::KeepBoth | If::Refuse => return Ok(()),
            If::ReplaceOwn | If::Replace => {}
        }
        let kept: BTreeSet<String> = match placed.folder.as_str() {
            "" => {
                let there = placed.files.iter().filter(|file| !file.is_log);
                there.map(|file| file.at.clone().unwrap_or(file.path.clone())).collect()
            }
            folder => [folder.to_owned()].into(),
        };
        for own in self.own.iter().flat_map(|own| own.of_input(&delivery.input.relative)) {
            if !own.folder.is_empty() {
                let place = self.output.directory.join(&own.folder);
                if !kept.contains(&own.folder) && place.is_dir() && holds_only(&place, &own.files) {
                    remove_folder(&place)?;
                    self.remove_empty_above(&place, folders);
                }
                continue;
            }
            for file in own.files.iter().filter(|file| !kept.contains(&file.path)) {
                let place = self.output.directory.join(&file.path);
                if is_as_delivered(&place, file) {
                    fs::remove_file(&place).map_err(|error| refused("remove", &place, &error))?;
                    self.remove_empty_above(&place, folders);
                }
            }
        }
        Ok(())
    }

    /// Removes empty parent folders of a place, up to the output folder.
    fn remove_empty_above(&self, place: &Path, folders: &mut Changed) {
        let mut above = place.parent();
        while let Some(folder) = above.filter(|folder| *folder != self.output.directory) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
            folders.remove(folder);
            above = folder.parent();
        }
        folders.extend(above.map(Path::to_path_buf));
    }

    /// Records a result as own before it is moved to its place.
    fn record(
        &mut self,
        delivery: &Delivery,
        folder: &str,
        files: Vec<DeliveredFile>,
    ) -> Result<(), PlaceError> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let same = |known: &OwnResult| {
            (known.success, &*known.folder, &known.files) == (delivery.success, folder, &files)
        };
        // After a crash, the result is moved to its place again.
        if own
            .of_input(&delivery.input.relative)
            .next()
            .is_some_and(|known| known.run == self.run && same(known))
        {
            return Ok(());
        }
        let mut recipe = self.recipe.clone();
        recipe.extend(delivery.input.recipe.clone());
        let made_from = MadeFrom { bytes: delivery.input.bytes, modified: delivery.input.modified, recipe };
        let result = OwnResult {
            input: delivery.input.relative.clone(),
            run: self.run.clone(),
            success: delivery.success,
            folder: folder.to_owned(),
            files,
            made_from: Some(made_from),
        };
        own.add(result).map_err(|error| match error {
            RecordError::Io { path, source } => refused("write", &path, &source),
            other => refused("write below", &self.output.directory, &io::Error::other(other)),
        })
    }
}

fn is_free(place: &Path) -> bool {
    // Any other error is reported by the rename.
    fs::symlink_metadata(place).is_err()
}

/// Renames without replacing an entry. On a file system without this operation, it takes two steps.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            match rustix::fs::statat(CWD, to, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
                Err(rustix::io::Errno::NOENT) => fs::rename(from, to),
                Err(error) => Err(error.into()),
            }
        }
        outcome => Ok(outcome?),
    }
}

pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

fn remove_any(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

pub(crate) fn sync(path: &Path) -> Result<(), PlaceError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| refused("sync", path, &error))
}

fn sync_file_system(below: &Path) -> Result<(), PlaceError> {
    File::open(below)
        .and_then(|folder| Ok(rustix::fs::syncfs(&folder)?))
        .map_err(|error| refused("sync file system of", below, &error))
}

fn remove_folder(path: &Path) -> Result<(), PlaceError> {
    fs::remove_dir_all(path).map_err(|error| refused("remove", path, &error))
}

fn files_of(old: &Superseded) -> Vec<DeliveredFile> {
    let file = |(path, bytes, md5): &(String, u64, String)| DeliveredFile {
        path: path.clone(),
        bytes: *bytes,
        md5: md5.clone(),
        ..DeliveredFile::default()
    };
    old.files.iter().map(file).collect()
}
