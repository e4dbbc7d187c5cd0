//! `docs/emulator.md`, made from what the service answers.

#![allow(clippy::unwrap_used, clippy::panic)]

mod declared;
mod described;
mod probe;
mod values;

#[tokio::test(start_paused = true)]
async fn every_field_is_taken_or_refused_as_declared() {
    let faults = declared::faults(&probe::all().await);
    assert!(faults.is_empty(), "{} fields:\n{}", faults.len(), faults.join("\n"));
}
