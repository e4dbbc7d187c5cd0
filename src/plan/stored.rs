//! `plan.json`: the stored plan of a run, with the version of its format.
//!
//! `docs/decisions/0003-format-of-journal-and-plan.md` says when the version changes.

use dropmill_lifecycle::plan::{Item, Layout, RetryPlan, RunPlan};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the format that this release writes; it reads all earlier ones. A plan without a version has format 1.
const FORMAT: u32 = 2;

/// Why a stored plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A later release wrote it.
    #[error(
        "{} was made by a later release: its format is {found}, this release reads up to {FORMAT}; \
         use that release or a later one",
        path.display()
    )]
    Newer {
        /// Path of the stored plan.
        path: PathBuf,
        /// Format of the stored plan.
        found: u32,
    },
    /// A later release wrote it and uses a feature that this release must not ignore.
    #[error(
        "{} was made by a later release: it uses {}, which this release does not know; use that release or a later one",
        path.display(),
        needs.join(", ")
    )]
    Needs {
        /// Path of the stored plan.
        path: PathBuf,
        /// The features that it uses.
        needs: Vec<String>,
    },
    /// It is not the plan of a run.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Path of the stored plan.
        path: PathBuf,
        /// What the parser reports.
        source: serde_json::Error,
    },
}

/// The fields that every format of a plan has, so that a release can detect what it does not know.
#[derive(Deserialize)]
struct Version {
    #[serde(default = "first")]
    format: u32,
    #[serde(default)]
    needs: Vec<String>,
}

fn first() -> u32 {
    1
}

/// Tasks have files besides their source, values, or outputs of their own.
const NAMED_FILES: &str = "named-files";
/// Results are in the folders of their inputs.
const MIRROR: &str = "mirror";
/// Tasks upload their results themselves.
const SELF_UPLOAD: &str = "self-upload";
/// Failures have rules of their own: what a success is, what is tried again, when the run starts no more.
const FAILURE_RULES: &str = "failure-rules";

/// What a plan may need that this release knows.
const KNOWN_NEEDS: [&str; 5] = [NAMED_FILES, MIRROR, SELF_UPLOAD, FAILURE_RULES, GROUPS];

/// Inputs are grouped: several have one task.
const GROUPS: &str = "groups";

#[derive(Serialize)]
struct Stored<'a> {
    format: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    needs: Vec<&'static str>,
    #[serde(flatten)]
    plan: &'a RunPlan,
}

/// Returns the content of `plan.json`.
///
/// # Errors Fails if the plan has a key that JSON cannot write, which no plan has.
pub fn to_bytes(plan: &RunPlan) -> Result<Vec<u8>, serde_json::Error> {
    let is_plain = |item: &Item| {
        item.more_files.is_empty() && item.blob.is_none() && item.values.is_empty() && item.outputs.is_none()
    };
    let usual_rules = plan.job.success_codes == [0]
        && plan.job.retry == RetryPlan::default()
        && plan.max_failures.is_none();
    let needs = [
        (NAMED_FILES, !plan.items.iter().all(is_plain)),
        (MIRROR, plan.output.layout == Layout::Mirror),
        (SELF_UPLOAD, plan.job.self_upload),
        (FAILURE_RULES, !usual_rules),
        (GROUPS, plan.grouping.is_some()),
    ];
    let needs = needs.into_iter().filter(|(_, is_needed)| *is_needed).map(|(need, _)| need).collect();
    serde_json::to_vec_pretty(&Stored { format: FORMAT, needs, plan })
}

/// Reads the content of `plan.json`, also in the formats of earlier releases.
///
/// # Errors [`PlanError::Newer`] and [`PlanError::Needs`] if a later release wrote it,
/// [`PlanError::Unreadable`] if it is not a plan.
pub fn from_bytes(path: &Path, body: &[u8]) -> Result<RunPlan, PlanError> {
    let unreadable = |source| PlanError::Unreadable { path: path.into(), source };
    // The version is read first: this release may not be able to read the rest.
    let Version { format, needs } = serde_json::from_slice(body).map_err(unreadable)?;
    if format > FORMAT {
        return Err(PlanError::Newer { path: path.into(), found: format });
    }
    let unknown: Vec<String> = needs.into_iter().filter(|need| !KNOWN_NEEDS.contains(&&**need)).collect();
    if !unknown.is_empty() {
        return Err(PlanError::Needs { path: path.into(), needs: unknown });
    }
    serde_json::from_slice(body).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dropmill_lifecycle::{
        attempts::{CauseWord, RetryCause},
        delays::Delays,
        plan::FailureLimit,
    };
    use serde_json::Value;
    use std::time::Duration;

    /// A plan as written by the release before plans had a format version. This file never changes.
    const FORMAT_1: &str = include_str!("golden/format-1.json");
    /// The same plan in the format of this release.
    const FORMAT_2: &str = include_str!("golden/format-2.json");

    fn read(text: &str) -> Result<RunPlan, PlanError> {
        from_bytes(Path::new("runs/r/plan.json"), text.as_bytes())
    }

    #[test]
    fn plans_of_earlier_releases_are_read_and_written_in_the_current_format() {
        let plan = read(FORMAT_1).unwrap();
        assert_eq!((plan.items.len(), plan.items[5].relative.as_str()), (6, "data/6.txt"));
        let written = String::from_utf8(to_bytes(&plan).unwrap()).unwrap();
        assert_eq!(written, FORMAT_2.trim_end(), "the format changed: keep another plan, and its version");
        assert_eq!(read(FORMAT_2).unwrap(), plan);
    }

    #[test]
    fn rules_for_failures_are_kept_and_not_read_by_earlier_releases() {
        let plan = read(FORMAT_2).unwrap();
        let written = |plan: &RunPlan| String::from_utf8(to_bytes(plan).unwrap()).unwrap();
        assert!(!written(&plan).contains(FAILURE_RULES));
        let mut codes = plan.clone();
        codes.job.success_codes = vec![0, 1];
        let mut retry = plan.clone();
        retry.job.retry.delays = Some(Delays::growing(Duration::from_secs(1), 2.0, Duration::from_secs(9)));
        retry.job.retry.on = vec![RetryCause::Code(75), RetryCause::Word(CauseWord::NodeLost)];
        let mut limited = plan.clone();
        limited.max_failures = Some(FailureLimit::PercentHundredths(250));
        for plan in [codes, retry, limited] {
            let written = written(&plan);
            assert!(written.contains(FAILURE_RULES), "{written}");
            assert_eq!(read(&written).unwrap(), plan);
        }
    }

    #[test]
    fn plans_of_later_releases_are_rejected_before_anything_else_is_read() {
        let mut later: Value = serde_json::from_str(FORMAT_2).unwrap();
        later["items"] = "something else".into();
        assert!(matches!(read(&later.to_string()), Err(PlanError::Unreadable { .. })));
        later["needs"] = vec!["named-files", "stages", "chunks"].into();
        let message = read(&later.to_string()).unwrap_err().to_string();
        assert!(
            message.starts_with("runs/r/plan.json was made by a later release: it uses stages, chunks"),
            "{message}"
        );
        later["format"] = 3.into();
        let message = read(&later.to_string()).unwrap_err().to_string();
        assert!(message.contains("its format is 3, this release reads up to 2"), "{message}");
    }
}
