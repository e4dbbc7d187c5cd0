//! Keys that are set and have no effect.

use super::Finding;
use crate::settings::{Policy, ServiceKind, Settings};
use std::collections::BTreeSet;

/// Names each key that the run file sets although another key makes it useless.
pub fn check(settings: &Settings, given: &BTreeSet<String>) -> Vec<Finding> {
    let mut found = vec![];
    let is_given = |key: &str| {
        let inner = format!("{key}.");
        given.contains(key)
            || given.range(inner.clone()..).next().is_some_and(|next| next.starts_with(&inner))
    };
    let mut useless = |condition: bool, keys: &[&str], why: &str| {
        for key in keys.iter().filter(|key| condition && is_given(key)) {
            found.push(Finding::warning(*key, format!("it has no effect {why}")));
        }
    };
    let (service, input, task) = (&settings.service, &settings.input, &settings.task);
    useless(
        service.kind == ServiceKind::Embedded,
        &[
            "service.batch_endpoint",
            "service.batch_account",
            "service.batch_key",
            "service.blob_endpoint",
            "service.storage_account",
            "service.storage_key",
        ],
        "with service.kind = \"embedded\": remove it, or set service.kind = \"azure\"",
    );
    useless(
        input.files.is_empty() && input.parts.is_empty(),
        &["input.exclude", "input.ignore_case", "input.follow_links"],
        "without input.files or input.parts",
    );
    useless(input.parts.is_empty(), &["input.incomplete"], "without input.parts");
    useless(
        settings.application.start_task.is_none(),
        &["application.start_task_retries"],
        "without application.start_task",
    );
    useless(
        settings.pool.id.is_some() && settings.cleanup.pool != Policy::Never,
        &["cleanup.pool"],
        "with pool.id: a shared pool is never deleted",
    );
    useless(
        settings.notify.command.is_none() && settings.notify.url.is_none(),
        &["notify.secret", "notify.timeout", "notify.tries"],
        "without notify.command or notify.url",
    );
    useless(
        settings.notify.command.is_some() && settings.notify.url.is_none(),
        &["notify.secret"],
        "without notify.url",
    );
    let deadline = settings.run.deadline.0;
    useless(
        task.timeout.is_some_and(|timeout| timeout.0 >= deadline),
        &["task.timeout"],
        "because run.deadline ends the run earlier: make it shorter, or the deadline longer",
    );
    found
}
