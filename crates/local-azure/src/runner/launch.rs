//! The life of one launch, on a thread of its own: folders, resource files, process, what it left, outputs.

use super::{
    caps,
    control::{Ask, Handle},
    environment, failures,
    orphans::{self, Ticks},
    outputs,
    place::TaskPlace,
    processes::Shared,
    program, resources,
};
use crate::orders::{Launch, LaunchEnding, NodeEvent, NodeFailure};
use rustix::process::Pid;
use std::{
    fs, io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ExitStatus},
};

/// How it ended, without its times.
type Outcome = (Option<i32>, Option<NodeFailure>);

/// Lives it through and reports its start and its end.
pub(super) fn live(shared: &Shared, handle: &Handle, launch: &Launch) {
    let started = shared.clock.now();
    let (exit_code, failure) = run(shared, handle, launch).unwrap_or_else(|failure| (None, Some(failure)));
    shared.leave_place(launch.id);
    let ending = LaunchEnding { started, ended: shared.clock.now(), exit_code, failure };
    shared.report(NodeEvent::Ended { launch: launch.id, ending });
}

fn run(shared: &Shared, handle: &Handle, launch: &Launch) -> Result<Outcome, NodeFailure> {
    let place = shared.places.task(&launch.node, &launch.directory).ok_or_else(|| {
        failures::no_directory(&launch.directory, "the name of the task's folder is empty or leads elsewhere")
    })?;
    let wanted = || handle.asked().is_none();
    shared.registry.wait_for_place(handle, &place.directory);
    if !wanted() {
        return Err(failures::ended());
    }
    {
        let _turn = shared.starts.take();
        make_folders(shared, &place)
            .map_err(|error| failures::no_directory(&launch.directory, &error.to_string()))?;
    }
    let environment = environment::of(launch, &place, &shared.settings, &shared.orphans.tag(launch.id));
    let brought = resources::bring(&launch.resource_files, &place.working, &*shared.door, wanted)?;
    if !brought || !wanted() {
        return Err(failures::ended());
    }
    let (ticks, child) = {
        let _turn = shared.starts.take();
        (Ticks::now(), program::start(&launch.command_line, &place, &environment)?)
    };
    let exit_code = attend(shared, handle, launch, &place.directory, child, ticks);
    caps::cut(&place.directory, shared.settings.max_output_bytes);

    let asked = handle.asked();
    if asked > Some(Ask::Kill) {
        return Ok((Some(exit_code), Some(failures::ended())));
    }
    // A killed task is not tried again: what it left behind is all there will be.
    let last_try = launch.last_try || asked.is_some();
    let due: Vec<_> =
        launch.output_files.iter().filter(|order| outputs::is_due(order, exit_code, last_try)).collect();
    let failure = outputs::store(&due, &place, &environment, &*shared.door, &|| handle.asked() == asked);
    Ok((Some(exit_code), failure))
}

/// From the first moment of a process until nothing of it is left; its exit code.
fn attend(
    shared: &Shared,
    handle: &Handle,
    launch: &Launch,
    directory: &Path,
    mut child: Child,
    before: Ticks,
) -> i32 {
    let leader = Pid::from_child(&child);
    if handle.started(leader, directory.to_owned()) {
        shared.kill_later(launch.id);
    }
    let process = before.start_of(leader).map(|start| (child.id(), start));
    shared.report(NodeEvent::Started { launch: launch.id, process });
    orphans::wait_dead(leader);
    handle.over();
    shared.orphans.sweep(launch.id, leader, directory, &|id| shared.registry.handle(id).is_some());
    match child.wait() {
        Ok(status) => exit_code(status),
        Err(error) => {
            tracing::error!(launch = launch.id, %error, "a process could not be waited for");
            255
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

/// The task's folder and its working folder, which is used again from try to try.
fn make_folders(shared: &Shared, place: &TaskPlace) -> io::Result<()> {
    shared.removal.make_way(&place.directory)?;
    make_folder(&place.directory)?;
    make_folder(&place.working)
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() {
                return Ok(());
            }
            // An earlier try put something else in its place.
            fs::remove_file(path)?;
            fs::create_dir(path)
        }
        outcome => outcome,
    }
}
