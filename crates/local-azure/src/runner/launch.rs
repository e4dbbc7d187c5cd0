//! The life of one launch, on a thread of its own: folders, resource files, process, what it left, outputs.

use super::{
    caps,
    control::{Ask, Handle},
    environment::{self, Environment},
    failures,
    orphans::{self, Ticks},
    outputs,
    place::TaskPlace,
    processes::Shared,
    program::{self, Prints},
    resources, spent,
};
use crate::orders::{Coordination, Launch, LaunchEnding, NodeEvent, NodeFailure};
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
    if !shared.places.root().is_dir() {
        // However it ended, it is not the task's doing: whoever keeps its state there ends now, and finds this unfinished
        // when that is back.
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
    shared.packages.provide(&place.node, &launch.packages, false)?;
    if !wanted() {
        return Err(failures::ended());
    }
    let environment = environment::of(launch, &place, &shared.settings, &shared.orphans.tag(launch.id));
    let folder = place.directory.parent().unwrap_or(&place.node);
    let coordination = launch.coordination.as_ref();
    let common = coordination.map(|coordination| &*coordination.common_resource_files).unwrap_or_default();
    let brought = resources::bring(common, folder, &*shared.door, wanted)?
        && resources::bring(&launch.resource_files, &place.working, &*shared.door, wanted)?;
    if !brought || !wanted() {
        return Err(failures::ended());
    }
    match coordination {
        None => command(shared, handle, launch, &place, &environment, Prints::Anew),
        Some(coordination) => coordinate(shared, handle, launch, coordination, &place, &environment),
    }
}

/// The launch's own command, and what it leaves.
fn command(
    shared: &Shared,
    handle: &Handle,
    launch: &Launch,
    place: &TaskPlace,
    environment: &Environment,
    prints: Prints,
) -> Result<Outcome, NodeFailure> {
    let (ticks, child) = {
        let _turn = shared.starts.take();
        (Ticks::now(), program::start(&launch.command_line, place, environment, prints)?)
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
    let failure = outputs::store(&due, place, environment, &*shared.door, &|| handle.asked() == asked);
    Ok((Some(exit_code), failure))
}

/// The command before, for one of several instances of a task. What it leaves running stays until the launch ends:
/// its leader, dead, keeps the number of its group until then.
fn coordinate(
    shared: &Shared,
    handle: &Handle,
    launch: &Launch,
    coordination: &Coordination,
    place: &TaskPlace,
    environment: &Environment,
) -> Result<Outcome, NodeFailure> {
    let (before, mut child) = {
        let _turn = shared.starts.take();
        let line = &coordination.command_line;
        (Ticks::now(), program::start(line, place, environment, Prints::Anew)?)
    };
    let leader = Pid::from_child(&child);
    begins(shared, handle, launch, &place.directory, leader, before);
    let outcome = if orphans::wait_dead(leader) == Some(0) && handle.asked().is_none() {
        handle.leaves_running();
        shared.report(NodeEvent::Coordinated { launch: launch.id });
        match (handle.wait_to_go_on(), coordination.is_primary) {
            (true, true) => Some(command(shared, handle, launch, place, environment, Prints::After)),
            (true, false) => None,
            // Whatever its command said, it was not let to its end.
            (false, _) => Some(Ok((Some(0), Some(failures::ended())))),
        }
    } else {
        None
    };
    handle.over();
    handle.nothing_runs();
    let alive = |id| shared.registry.handle(id).is_some();
    shared.orphans.sweep(launch.id, leader, &place.directory, &alive);
    let exit_code = reap(handle, &mut child);
    caps::cut(&place.directory, shared.settings.max_output_bytes);
    outcome.unwrap_or_else(|| {
        let failure = (handle.asked() > Some(Ask::Kill)).then(failures::ended);
        Ok((Some(exit_code), failure))
    })
}

/// A process has begun.
fn begins(shared: &Shared, handle: &Handle, launch: &Launch, directory: &Path, leader: Pid, before: Ticks) {
    if handle.started(leader, directory.to_owned()) {
        shared.kill_later(launch.id);
    }
    let process = before.start_of(leader).map(|start| (leader.as_raw_nonzero().get().unsigned_abs(), start));
    shared.report(NodeEvent::Started { launch: launch.id, process });
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
    begins(shared, handle, launch, directory, leader, before);
    orphans::wait_dead(leader);
    handle.over();
    shared.orphans.sweep(launch.id, leader, directory, &|id| shared.registry.handle(id).is_some());
    reap(handle, &mut child)
}

/// Reaps a process that is dead; its exit code.
fn reap(handle: &Handle, child: &mut Child) -> i32 {
    let (status, spent) = spent::measured(|| child.wait());
    handle.spent(spent);
    match status {
        Ok(status) => exit_code(status),
        Err(error) => {
            tracing::error!(launch = handle.id, %error, "a process could not be waited for");
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
    make_folder(shared, &place.directory)?;
    make_folder(shared, &place.working)
}

fn make_folder(shared: &Shared, path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => shared.places.make(path),
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
