//! Tests that no error shows a secret (the account's key, a signature, a SAS), whatever a service responds.

use crate::service::{Answer, KEY, Service, batch_over, breaking_off, status, with_body};
use dropmill_azure_client::in_process::InProcess;
use dropmill_azure_wire::{
    batch::{EnvironmentSetting, OutputFile, ResourceFile, TaskAdd, UploadCondition},
    secret::Secret,
};
use serde_json::json as value;
use std::{error::Error, sync::Arc};

/// A service may echo everything that it receives.
fn echo(seen: &crate::service::Seen) -> String {
    format!(
        "you sent Authorization: {} and {} to {}?{}",
        seen.header("authorization"),
        String::from_utf8_lossy(&seen.body),
        seen.path,
        seen.query
    )
}

fn task() -> TaskAdd {
    let url = || Secret::new("http://h/c/b?sv=1&sig=C4NARY%3D&sp=r");
    TaskAdd {
        id: "t".into(),
        command_line: "/bin/true".into(),
        resource_files: Some(vec![ResourceFile::from_url(url(), "in")]),
        output_files: Some(vec![OutputFile::to_container("*", url(), None, UploadCondition::TaskCompletion)]),
        environment_settings: Some(vec![EnvironmentSetting::new("URL", "http://h/?sig=C4NARY")]),
        ..Default::default()
    }
}

/// Returns everything that an error can show.
fn shown(error: &(dyn Error + 'static)) -> String {
    let mut all = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(found) = cause {
        all.push_str(&format!(" {found} {found:?}"));
        cause = found.source();
    }
    all
}

#[tokio::test]
async fn no_error_of_batch_shows_a_secret() {
    type Answering = fn(crate::service::Seen) -> Answer;
    let answers: [Answering; 7] = [
        |seen| {
            let value = value!({"code": echo(&seen), "message": {"value": echo(&seen)}, "values": [
                {"key": "AuthenticationErrorDetail", "value": echo(&seen)},
                {"key": "PropertyValue", "value": echo(&seen)},
            ]});
            with_body(403, &[], value.to_string())
        },
        |seen| with_body(400, &[("content-type", "text/html")], echo(&seen)),
        |seen| with_body(200, &[], value!({"value": echo(&seen)}).to_string()),
        |seen| {
            with_body(
                200,
                &[],
                value!({"value": [{"status": "success", "taskId": {"a": echo(&seen)}}]}).to_string(),
            )
        },
        |_| status(302, &[("location", "http://u:C4NARY@h/?sig=C4NARY")]),
        |_| with_body(200, &[], breaking_off(vec![])),
        |_| panic!("gone"),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let service = Service::answering(answer);
        let error = service.batch().add_tasks("j", &[task()]).await.unwrap_err();
        let all = format!("{} {:?}", shown(&error), error.failure());
        let signature = service.asked()[0].header("authorization").rsplit(':').next().unwrap().to_owned();
        assert!(signature.len() > 40, "there is something to find");
        for secret in ["C4NARY", KEY, &signature] {
            assert!(!all.contains(secret), "{number}: {secret} in {all}");
        }
    }
    let error = batch_over(Arc::new(InProcess::new()), "http://nowhere:1")
        .add_tasks("j", &[task()])
        .await
        .unwrap_err();
    assert!(!shown(&error).contains("C4NARY"));
}

#[tokio::test]
async fn no_error_of_blob_shows_a_secret() {
    let service = Service::answering(|seen| {
        let text = echo(&seen).replace('&', "&amp;");
        let xml = format!(
            "<Error><Code>AuthenticationFailed</Code><Message>{text}</Message><AuthenticationErrorDetail>{text}</AuthenticationErrorDetail></Error>"
        );
        with_body(403, &[], xml)
    });
    let error = service.blob().get_blob("c", "b", 10).await.unwrap_err();
    let signature = service.asked()[0].header("authorization").rsplit(':').next().unwrap().to_owned();
    let all = format!("{} {:?}", shown(&error), error.failure());
    assert!(all.contains("AuthenticationFailed"));
    assert!(!all.contains(&signature) && !all.contains(KEY), "{all}");
}

#[test]
fn no_client_shows_its_key() {
    let service = Service::answering(|_| status(200, &[]));
    let all = format!("{:?} {:?}", service.batch(), service.blob());
    assert!(all.contains("account") && !all.contains(KEY), "{all}");
}
