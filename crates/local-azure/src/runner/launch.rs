//! Runs one launch on its own thread: folders, resource files, commands, remaining processes, outputs.

use super::{
    caps,
    control::{Ask, Handle},
    environment::{self, Environment},
    failures,
    keeper::Start,
    outputs,
    patience::while_full,
    place::TaskPlace,
    processes::Shared,
    program::Prints,
    resources,
    tree::{Running, Tree},
};
use crate::orders::{Coordination, Launch, LaunchEnding, NodeEvent, NodeFailure, ResourceFileOrder};
use dropmill_private_files::create_folder;
use std::{fs, io, path::Path};

/// The end of a launch, without its times.
type Outcome = (Option<i32>, Option<NodeFailure>);

/// Runs a launch and reports its start and its end.
pub(super) fn live(shared: &Shared, handle: &Handle, launch: &Launch) {
    let started = shared.clock.now();
    let (exit_code, failure) = run(shared, handle, launch).unwrap_or_else(|failure| (None, Some(failure)));
    shared.leave_place(launch.id);
    if !shared.places.root().is_dir() {
        // Whatever happened is not the task's fault: the owner of the state folder stops now, and finds this
        // launch unfinished when it starts again.
        tracing::error!(
            launch = launch.id,
            ?exit_code,
            "the folder of the nodes is gone: an end is not reported"
        );
        return;
    }
    let (ended, spent) = (shared.clock.now(), handle.all_spent());
    let ending = LaunchEnding { started, ended, exit_code, failure, spent };
    shared.report(NodeEvent::Ended { launch: launch.id, ending });
}

fn run(shared: &Shared, handle: &Handle, launch: &Launch) -> Result<Outcome, NodeFailure> {
    let place = shared.places.task(&launch.node, &launch.directory).ok_or_else(|| {
        failures::no_directory(&launch.directory, "the name of the task's folder is empty or invalid")
    })?;
    let wanted = || handle.asked().is_none();
    shared.registry.wait_for_place(handle, &place.directory);
    if !wanted() {
        return Err(failures::ended());
    }
    let mut tree = Tree::new(shared, handle, launch.id, &place.directory)
        .map_err(|error| failures::launch_failed(false, &launch.command_line, &error.to_string()))?;
    while_full(handle, || {
        let _turn = shared.starts.take();
        make_folders(shared, &place)
            .map_err(|error| failures::no_directory(&launch.directory, &error.to_string()))
    })?;
    shared.packages.provide(&place.node, &launch.packages, false)?;
    if !wanted() {
        return Err(failures::ended());
    }
    let environment = environment::of(launch, &place, &shared.settings, &shared.orphans.tag(launch.id));
    let folder = place.directory.parent().unwrap_or(&place.node);
    let coordination = launch.coordination.as_ref();
    let common = coordination.map(|coordination| &*coordination.common_resource_files).unwrap_or_default();
    let bring =
        |files: &[ResourceFileOrder], folder: &Path| resources::bring(files, folder, &*shared.door, handle);
    let brought = bring(common, folder)? && bring(&launch.resource_files, &place.working)?;
    if !brought || !wanted() {
        return Err(failures::ended());
    }
    let work = Work { shared, handle, launch, place: &place, environment: &environment };
    match coordination {
        None => work.command(&mut tree, Prints::Anew),
        Some(coordination) => work.coordinate(&mut tree, coordination),
    }
}

/// The data that the commands of a launch need.
struct Work<'a> {
    shared: &'a Shared,
    handle: &'a Handle,
    launch: &'a Launch,
    place: &'a TaskPlace,
    environment: &'a Environment,
}

impl Work<'_> {
    /// Runs the launch's own command, and ends what it leaves.
    fn command(&self, tree: &mut Tree<'_>, prints: Prints) -> Result<Outcome, NodeFailure> {
        let running = self.start(tree, &self.launch.command_line, prints, false)?;
        let exit_code = tree.end(running)?;
        let left_out = caps::cut(&self.place.directory, self.shared.settings.max_output_bytes);

        let asked = self.handle.asked();
        if asked > Some(Ask::Kill) {
            return Ok((Some(exit_code), Some(failures::ended())));
        }
        // A killed task is not retried, so its outputs are final.
        let last_try = self.launch.last_try || asked.is_some();
        let orders = self.launch.output_files.iter();
        let due: Vec<_> = orders.filter(|order| outputs::is_due(order, exit_code, last_try)).collect();
        let go_on = || self.handle.asked() == asked;
        let store =
            || outputs::store(&due, self.place, self.environment, &left_out, &*self.shared.door, &go_on);
        let failure = while_full(self.handle, || store().map_or(Ok(()), Err)).err();
        Ok((Some(exit_code), failure))
    }

    /// Runs the coordination command, for one of several instances of a task. Processes that it leaves run
    /// until the launch ends.
    fn coordinate(&self, tree: &mut Tree<'_>, coordination: &Coordination) -> Result<Outcome, NodeFailure> {
        let mut before = self.start(tree, &coordination.command_line, Prints::Anew, true)?;
        let outcome = if tree.exited_well(&mut before)? && self.handle.asked().is_none() {
            self.handle.leaves_running();
            self.shared.report(NodeEvent::Coordinated { launch: self.launch.id });
            match (self.handle.wait_to_go_on(), coordination.is_primary) {
                (true, true) => Some(self.command(tree, Prints::After)),
                (true, false) => None,
                // Whatever its exit code, the launch was ended before its end.
                (false, _) => Some(Ok((Some(0), Some(failures::ended())))),
            }
        } else {
            None
        };
        let exit_code = tree.end(before)?;
        caps::cut(&self.place.directory, self.shared.settings.max_output_bytes);
        outcome.unwrap_or_else(|| {
            let failure = (self.handle.asked() > Some(Ask::Kill)).then(failures::ended);
            Ok((Some(exit_code), failure))
        })
    }

    fn start(
        &self,
        tree: &mut Tree<'_>,
        line: &str,
        prints: Prints,
        stays: bool,
    ) -> Result<Running, NodeFailure> {
        let running = {
            let _turn = self.shared.starts.take();
            tree.start(Start {
                line: line.to_owned(),
                place: self.place.clone(),
                environment: self.environment.clone(),
                prints,
                stays,
            })?
        };
        let started = NodeEvent::Started { launch: self.launch.id, process: running.process() };
        self.shared.report(started);
        Ok(running)
    }
}

/// Creates the task's folder and its working folder, which later attempts reuse.
fn make_folders(shared: &Shared, place: &TaskPlace) -> io::Result<()> {
    shared.removal.make_way(&place.directory)?;
    make_folder(shared, &place.directory)?;
    make_folder(shared, &place.working)
}

fn make_folder(shared: &Shared, path: &Path) -> io::Result<()> {
    match create_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => shared.places.make(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() {
                return Ok(());
            }
            // An earlier attempt put something else in its place.
            fs::remove_file(path)?;
            create_folder(path)
        }
        outcome => outcome,
    }
}
