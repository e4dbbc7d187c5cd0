//! A program that has files processed: first a run file, then a drop folder, both on this machine.
//!
//! `cargo run --example embedding -- FOLDER` works in FOLDER, which is made if it is not there.

use dropmill::{Daemon, DaemonEvent, Run};
use std::{error::Error, fs, path::PathBuf};

const RUN_FILE: &str = r#"
[run]
name = "lines"

[input]
files = ["data/*.txt"]

[task]
command = ["/bin/sh", "-c", "wc -l < \"$DROPMILL_INPUT\" > lines.txt"]
outputs = ["lines.txt"]

[watch]
directory = "drop"
stable_for = "0s"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    // First of all: this program, started again, holds the processes of its tasks, and ends them with it.
    if dropmill::run_as_keeper() {
        return Ok(());
    }
    work()
}

// A plain tokio program; any runtime will do, and none is needed for the `_blocking` forms.
#[tokio::main(flavor = "current_thread")]
async fn work() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name a folder")?);
    fs::create_dir_all(folder.join("data"))?;
    fs::create_dir_all(folder.join("drop"))?;
    fs::write(folder.join("data/poem.txt"), "one\ntwo\nthree\n")?;
    let file = folder.join("run.toml");
    fs::write(&file, RUN_FILE)?;

    // One run, to its end: each event is durable before it is sent.
    let (run, events) = Run::from_file(&file).state(folder.join("state")).set("pool.nodes=2").start()?;
    println!("{}", run.name());
    while let Ok(event) = events.recv().await {
        println!("{:>3} {:<16} {}", event.seq, event.actor, event.subject);
    }
    let report = run.finished().await?;
    println!("{} of {} succeeded", report.tasks.succeeded, report.tasks.total);

    // A drop folder, for as long as you like; here until one file has come out.
    let (daemon, notices) = Daemon::from_file(&file).state(folder.join("state")).start()?;
    fs::write(folder.join("drop/letter.txt"), "dear\nyou\n")?;
    while let Ok(notice) = notices.recv().await {
        if let DaemonEvent::Finished { input, outcome, place, .. } = notice {
            println!("{input}: {outcome}, {}", place.display());
            break;
        }
    }
    drop(notices);
    daemon.drain();
    daemon.ended().await?;
    print!("{}", fs::read_to_string(folder.join("done/letter.txt/lines.txt"))?);
    Ok(())
}
