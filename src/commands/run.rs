//! `dropmill run`: carries out run files, one after the other.

use super::{ask, load_all, services};
use crate::{
    cli::RunArgs,
    plan,
    render::{progress::Shown, report, say},
    settings::{Loaded, Problems},
    state::{State, write_private},
};
use anyhow::{Context, Result};
use dropmill_actors::{place::DiskPlace, start};
use dropmill_azure_wire::time::{SharedClock, WallClock};
use dropmill_journal::{Journal, RunHeader, event::Outcome, report::Report};
use dropmill_lifecycle::plan::RunPlan;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::{fs, path::Path, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};

/// What the shell says of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Runs every file; the exit code is that of the first that did not succeed.
pub fn run(arguments: &RunArgs, state: &State) -> Result<u8> {
    let files = load_all(&arguments.files)?;
    let clock: SharedClock = Arc::new(WallClock);
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let mut rng = ChaCha8Rng::from_seed(bytes);
    // Every plan before the first call: a mistake in the last file must not be found after an hour.
    let mut plans = vec![];
    let mut wrong: Option<Problems> = None;
    for loaded in files {
        let run = plan::run_name(&loaded.settings.run.name, clock.now(), &mut rng);
        match plan::plan(&loaded, &run, &ask) {
            Ok(plan) => plans.push((loaded, plan)),
            Err(problems) => match &mut wrong {
                None => wrong = Some(problems),
                Some(wrong) => wrong.found.extend(problems.found),
            },
        }
    }
    if let Some(wrong) = wrong {
        return Err(wrong.into());
    }
    let mut code = 0;
    for (loaded, plan) in plans {
        let ended = one(&loaded, plan, arguments, state, &clock)?;
        if code == 0 {
            code = ended;
        }
        if ended == Outcome::Cancelled.exit_code() {
            break;
        }
    }
    Ok(code)
}

fn one(
    loaded: &Loaded,
    plan: RunPlan,
    arguments: &RunArgs,
    state: &State,
    clock: &SharedClock,
) -> Result<u8> {
    let folder = state.new_run(&plan.run, clock.now())?;
    let body = serde_json::to_vec_pretty(&plan)?;
    write_private(&folder.path.join("plan.json"), &body)?;
    let hash: String = Sha256::digest(&body).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let header = RunHeader::of(&plan.run, &plan.name, clock.now(), &hash);
    let journal = Journal::create(&folder.path.join("journal.db"), &header)?;
    let service_folder = folder.path.join("service");
    let runtime = || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be started")
    };
    let output = plan.output.directory.clone();
    let ended = actix::System::with_tokio_rt(runtime).block_on(carry_out(
        loaded,
        plan,
        journal,
        arguments,
        clock,
        &service_folder,
    ));
    let report = ended?;
    // What is still there only then is what was asked to be kept, or could not be delivered.
    if report.left_behind.is_empty() {
        clear(&service_folder)?;
    }
    show(&report, &output, arguments)?;
    Ok(report.outcome.unwrap_or(Outcome::Infrastructure).exit_code())
}

async fn carry_out(
    loaded: &Loaded,
    plan: RunPlan,
    journal: Journal,
    arguments: &RunArgs,
    clock: &SharedClock,
    service_folder: &Path,
) -> Result<Report> {
    let (services, embedded) = services::open(loaded, service_folder, clock)?;
    if let Some(service) = embedded.clone() {
        actix::spawn(async move { service.alarms().await });
    }
    let place = Arc::new(DiskPlace::new(&plan.run, &plan.output));
    if !arguments.json && !arguments.quiet {
        eprintln!("{}: {} tasks", plan.run, plan.items.len());
    }
    let run = start(plan, services, place, journal, clock.clone());
    let events = run.events();
    let mut shown = Shown::new(arguments.quiet || arguments.json);
    let json = arguments.json;
    let watching = actix::spawn(async move {
        let mut heard = true;
        while let Ok(event) = events.recv().await {
            if json && heard {
                // Somebody who stops reading does not stop the run.
                heard = serde_json::to_string(&event).is_ok_and(|line| say::line(&line));
            }
            shown.apply(&event);
        }
        shown.end();
    });
    let canceller = run.canceller();
    let doomed = embedded.clone();
    let listening = actix::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            tracing::error!("signals cannot be heard: interrupting ends the program at once");
            return;
        };
        let mut asked = false;
        loop {
            let name = tokio::select! {
                biased;
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if std::mem::replace(&mut asked, true) {
                // No task of ours outlives the program; what the service holds stays for later.
                if let Some(service) = &doomed {
                    service.stop();
                }
                std::process::exit(INTERRUPTED);
            }
            eprintln!("{name}: tasks are ended, what finished is fetched; once more to end at once");
            canceller.cancel(name);
        }
    });
    let finished = run.finished().await;
    listening.abort();
    let _ = watching.await;
    if let Some(service) = embedded {
        service.stop();
    }
    finished.context("the run could not be carried to its end")
}

fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn show(report: &Report, output: &Path, arguments: &RunArgs) -> Result<()> {
    if arguments.json {
        say::line(&serde_json::to_string(report)?);
    } else {
        say::line(&report::text(report, Some(output)));
    }
    Ok(())
}
