//! The bodies of the requests that add the job and its tasks.

use super::{application_files, signed_count};
use crate::{
    self_upload::{self, SELF_UPLOAD_VARIABLE},
    storage_uploader::{blob_name, is_own},
};
use dropmill_azure_client::blob::BlobApi;
use dropmill_azure_wire::{batch as wire, secret::Secret, time::Timestamp};
use dropmill_lifecycle::plan::{Item, RunPlan, attempt_id};

/// The parts that all tasks of a run share, with their SAS.
pub struct Signed {
    application: Vec<wire::ResourceFile>,
    input_container: Secret,
    output_container: Secret,
    expiry: Timestamp,
}

impl Signed {
    /// Creates these parts with SAS that are valid until a time.
    pub fn new(plan: &RunPlan, blob: &BlobApi, expiry: Timestamp) -> Self {
        // With a start task, the application is already on the node.
        let application = match plan.pool.start_task {
            Some(_) => vec![],
            None => application_files(plan, blob, expiry),
        };
        let output_container = blob.container_sas(&plan.output_container(), "cw", expiry);
        let input_container = blob.container_sas(&plan.input_container(), "rl", expiry);
        Self { application, input_container, output_container, expiry }
    }
}

/// Returns the job of a run.
pub fn job_add(plan: &RunPlan) -> wire::JobAdd {
    wire::JobAdd {
        id: plan.job.id.clone(),
        pool_info: wire::PoolInfo { pool_id: Some(plan.pool.id.clone()), ..Default::default() },
        priority: Some(plan.job.priority),
        metadata: Some(vec![wire::MetadataItem::new("dropmill-run", &plan.run)]),
        ..Default::default()
    }
}

/// Returns the task of an attempt at an item.
pub fn task_add(plan: &RunPlan, blob: &BlobApi, signed: &Signed, item: &Item, attempt: u32) -> wire::TaskAdd {
    let id = attempt_id(&item.task, attempt);
    let mut resource_files = signed.application.clone();
    // The files of a grouped input are below the task's folder, those of any other in the working folder itself.
    let place = |place: &str| match item.chunk.is_some() {
        true => format!("{}/{place}", item.task),
        false => place.to_owned(),
    };
    let by_prefix = item.whole_folder || item.chunk.is_some();
    if by_prefix {
        // One entry for any number of files, so that the size of a task does not grow with them.
        resource_files.push(wire::ResourceFile {
            blob_prefix: Some(format!("{}/", item.task)),
            ..wire::ResourceFile::from_container(signed.input_container.clone())
        });
    }
    if item.source.is_some() && (!by_prefix || (item.chunk.is_some() && item.blob.is_some())) {
        let url = blob.blob_sas(&plan.input_container(), &blob_name(item), "r", signed.expiry);
        resource_files.push(wire::ResourceFile {
            file_mode: item.mode.map(|mode| format!("0{mode:o}")),
            ..wire::ResourceFile::from_url(url, place(&item.file_name))
        });
    }
    for file in item.more_files.iter().filter(|file| item.chunk.is_none() || !is_own(item, &file.blob)) {
        let url = blob.blob_sas(&plan.input_container(), &file.blob, "r", signed.expiry);
        resource_files.push(wire::ResourceFile {
            file_mode: file.mode.map(|mode| format!("0{mode:o}")),
            ..wire::ResourceFile::from_url(url, place(&file.place))
        });
    }
    let output = |pattern: &str, path: String| {
        let container = signed.output_container.clone();
        wire::OutputFile::to_container(pattern, container, Some(path), wire::UploadCondition::TaskCompletion)
    };
    let mut output_files = vec![output("../std*.txt", id.clone())];
    let mut environment: Vec<_> =
        item.environment.iter().map(|(name, value)| wire::EnvironmentSetting::new(name, value)).collect();
    let mut patterns = item.output_patterns(&plan.job);
    if plan.job.self_upload {
        let url = self_upload::url(plan, blob, &id, signed.expiry);
        environment.push(wire::EnvironmentSetting::new(SELF_UPLOAD_VARIABLE, url.expose()));
        patterns = &[];
    }
    for pattern in patterns {
        let wildcard = pattern.contains(['*', '?', '[']);
        let folder = format!("{id}/wd");
        // With a wildcard, `path` is a folder; without one, it is the name of the blob.
        output_files.push(output(pattern, if wildcard { folder } else { format!("{folder}/{pattern}") }));
    }
    wire::TaskAdd {
        id,
        command_line: item.command_line.clone(),
        resource_files: Some(resource_files),
        output_files: Some(output_files),
        environment_settings: Some(environment),
        constraints: Some(wire::TaskConstraints {
            max_wall_clock_time: plan.job.task_timeout.map(Into::into),
            // The service would retry in the same folder, which contains the remains of the failed attempt
            // (Azure/Batch#14).
            max_task_retry_count: Some(0),
            ..Default::default()
        }),
        required_slots: Some(signed_count(plan.job.required_slots)),
        ..Default::default()
    }
}
