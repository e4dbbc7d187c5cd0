//! Starts a process from a command line: finds the program, opens its handles, and reports why it could not
//! start.

use super::{environment::Environment, failures, keeper::Start, place::TaskPlace};
use crate::orders::NodeFailure;
use dropmill_azure_wire::command_line;
use dropmill_private_files as private_files;
use rustix::fs::{Access, access};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Value for `oom_score_adj`: thousandths of the machine's memory.
const OUT_OF_MEMORY_FIRST: &str = "500";

/// Where a command's output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prints {
    /// To new files.
    Anew,
    /// After the output of the previous command, which may still be running.
    After,
}

/// Starts a command in its own process group, in its working folder, with only its variables, an empty
/// standard input and the two output files.
///
/// Called in a shim or, without a keeper, in the service's own process. This code must not make std fork the
/// whole process instead of using `posix_spawn`. So there is no `pre_exec`, and the program is looked up
/// before: a changed `PATH` with a bare name would be enough for a fork.
///
/// # Errors Returns the failure if no process could be started.
pub(super) fn start(start: &Start) -> Result<Child, NodeFailure> {
    let Start { line, place, environment, prints, .. } = start;
    let output = |name: &str| {
        let path = place.directory.join(name);
        let file = if *prints == Prints::Anew { new_file(&path) } else { same_file(&path) };
        file.map_err(|error| failures::no_directory(&place.directory.to_string_lossy(), &error.to_string()))
    };
    // As on Azure, both exist even if the program does not.
    let (stdout, stderr) = (output("stdout.txt")?, output("stderr.txt")?);
    let arguments =
        command_line::split(line).map_err(|error| failures::launch_failed(true, line, &error.to_string()))?;
    let Some((name, arguments)) = arguments.split_first() else {
        return Err(failures::launch_failed(true, line, "the command line is empty"));
    };
    let program = find(name, place, environment)
        .ok_or_else(|| failures::program_not_found(line, &format!("program {name} not found")))?;
    let mut command = Command::new(&program);
    command.arg0(name).args(arguments).current_dir(&place.working).process_group(0);
    command.env_clear().envs(environment);
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let child = spawn(&mut command).map_err(|error| why_not(&error, line, &program, place))?;
    give_way(child.id());
    Ok(child)
}

/// Makes the kernel kill a task before the service if memory runs out: half of the machine's memory is added
/// to its score. Processes that it starts inherit this; those that it has already started do not.
fn give_way(process: u32) {
    // A process that has ended needs no memory, and systems without this file have other mechanisms.
    let _ = fs::write(format!("/proc/{process}/oom_score_adj"), OUT_OF_MEMORY_FIRST);
}

/// Retries while the program's file is still open for writing: another thread's child that has not executed
/// its own program yet holds every handle of this process for some microseconds.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut rest = Duration::from_micros(100);
    loop {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && rest < Duration::from_secs(1) => {
                std::thread::sleep(rest);
                rest *= 2;
            }
            outcome => return outcome,
        }
    }
}

/// Returns the file of a program: a bare name on the task's own `PATH`, any other relative to the working
/// folder or absolute.
fn find(name: &str, place: &TaskPlace, environment: &Environment) -> Option<PathBuf> {
    if name.contains('/') {
        let program = place.working.join(name);
        return fs::metadata(&program).is_ok().then_some(program);
    }
    let path = environment.get("PATH")?;
    let all = || {
        std::env::split_paths(path)
            .map(|folder| place.working.join(folder).join(name))
            .filter(|file| fs::metadata(file).is_ok_and(|metadata| metadata.is_file()))
    };
    if name.is_empty() {
        return None;
    }
    all().find(|file| access(file, Access::EXEC_OK).is_ok()).or_else(|| all().next())
}

/// Creates a new, empty file: an existing file or link of an earlier attempt is replaced.
fn new_file(path: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().append(true).create_new(true).mode(private_files::FILE).open(path);
    match create() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path).or_else(|_| fs::remove_dir_all(path))?;
            create()
        }
        outcome => outcome,
    }
}

/// Opens the output file of an earlier command of the launch; replaces anything else in its place.
fn same_file(path: &Path) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
            OpenOptions::new().append(true).custom_flags(flags).open(path)
        }
        _ => new_file(path),
    }
}

fn why_not(error: &io::Error, line: &str, program: &Path, place: &TaskPlace) -> NodeFailure {
    match error.kind() {
        ErrorKind::NotFound if !place.working.is_dir() => {
            failures::no_directory(&place.working.to_string_lossy(), "the working folder does not exist")
        }
        ErrorKind::NotFound if program.exists() => {
            let what = format!("{}: its interpreter or loader was not found", program.display());
            failures::launch_failed(true, line, &what)
        }
        ErrorKind::NotFound => failures::program_not_found(line, &error.to_string()),
        // Too many processes, too little memory, too many open files: not the command's fault.
        ErrorKind::WouldBlock | ErrorKind::OutOfMemory => {
            failures::launch_failed(false, line, &error.to_string())
        }
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => {
            failures::launch_failed(false, line, &error.to_string())
        }
        _ => failures::launch_failed(true, line, &format!("{}: {error}", program.display())),
    }
}
