//! The lower bound for the run time of N tasks: starts N processes, four at a time, each with a folder, a
//! working folder and two output files, and writes one durable line per completed process, flushed in groups.
//! `bench.py` builds it with plain rustc.
//!
//! floor N FOLDER

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

fn main() {
    let mut arguments = env::args().skip(1);
    let count: usize = arguments.next().expect("N").parse().expect("N is a number");
    let folder = PathBuf::from(arguments.next().expect("FOLDER"));
    fs::create_dir_all(&folder).expect("a folder");
    let mut log = File::create(folder.join("log")).expect("a log");
    let (ended, ends) = mpsc::channel::<String>();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            let (folder, next, ended) = (&folder, &next, ended.clone());
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let task = folder.join(number.to_string());
                    fs::create_dir(&task).expect("a task's folder");
                    fs::create_dir(task.join("wd")).expect("a working folder");
                    let file = |name| Stdio::from(File::create(task.join(name)).expect("an output"));
                    let (out, err) = (file("stdout.txt"), file("stderr.txt"));
                    let mut command = Command::new("/bin/true");
                    command.current_dir(task.join("wd")).stdin(Stdio::null()).stdout(out).stderr(err);
                    let status = command.status().expect("a process");
                    ended.send(format!("{number} {status}\n")).expect("the log is open");
                }
            });
        }
        drop(ended);
        while let Ok(first) = ends.recv() {
            let group: String = std::iter::once(first).chain(ends.try_iter()).collect();
            log.write_all(group.as_bytes()).and_then(|()| log.sync_data()).expect("a durable line");
        }
    });
}
