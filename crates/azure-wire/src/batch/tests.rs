use super::*;
use crate::{duration::IsoDuration, secret::Secret};
use serde_json::json;

#[test]
fn a_new_task_is_sent_with_its_urls_but_debug_hides_them() {
    let task = TaskAdd {
        id: "t1".into(),
        command_line: "/bin/true".into(),
        resource_files: Some(vec![ResourceFile::from_url(Secret::new("http://h/c/b?sig=S3"), "in.txt")]),
        output_files: Some(vec![OutputFile::to_container(
            "**/*",
            Secret::new("http://h/out?sig=S3"),
            Some("t1".into()),
            UploadCondition::TaskCompletion,
        )]),
        environment_settings: Some(vec![EnvironmentSetting::new("KEY", "S3")]),
        constraints: Some(TaskConstraints {
            max_wall_clock_time: Some(IsoDuration::from_secs(90)),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(
        serde_json::to_value(&task).unwrap(),
        json!({
            "id": "t1",
            "commandLine": "/bin/true",
            "resourceFiles": [{"httpUrl": "http://h/c/b?sig=S3", "filePath": "in.txt"}],
            "outputFiles": [{
                "filePattern": "**/*",
                "destination": {"container": {"path": "t1", "containerUrl": "http://h/out?sig=S3"}},
                "uploadOptions": {"uploadCondition": "taskcompletion"}
            }],
            "environmentSettings": [{"name": "KEY", "value": "S3"}],
            "constraints": {"maxWallClockTime": "PT1M30S"}
        })
    );
    assert!(!format!("{task:?}").contains("S3"), "{task:?}");
}

#[test]
fn uninterpreted_parts_are_kept_and_hidden_in_debug() {
    let body =
        json!({"id": "p", "vmSize": "s", "userAccounts": [{"name": "u", "password": "S3"}], "new": true});
    let pool: PoolAdd = serde_json::from_value(body).unwrap();
    assert!(!format!("{pool:?}").contains("S3"));
    assert_eq!(
        serde_json::to_value(&pool).unwrap()["userAccounts"],
        json!([{"name": "u", "password": "S3"}])
    );
}

#[test]
fn a_slim_list_is_read_from_a_page_of_full_tasks() {
    let page = r#"{"odata.metadata":"m","value":[{"id":"t1","state":"Completed","url":"u","commandLine":"c",
        "stateTransitionTime":"2024-04-10T07:12:44.1234567Z",
        "executionInfo":{"exitCode":3,"result":"Failure","retryCount":1,"requeueCount":0,
            "failureInfo":{"category":"UserError","code":"FailureExitCode"}},
        "nodeInfo":{"nodeId":"tvm-1","poolId":"p"}}],"odata.nextLink":"http://h/next"}"#;
    let page: Page<TaskStatus> = serde_json::from_str(page).unwrap();
    assert_eq!(page.next_link.as_deref(), Some("http://h/next"));
    let task = &page.value[0];
    let info = task.execution_info.as_ref().unwrap();
    assert_eq!((&*task.id, &task.state, info.exit_code), ("t1", &TaskState::Completed, Some(3)));
    assert_eq!(info.result, Some(TaskResult::Failure));
    assert_eq!(info.failure_info.as_ref().unwrap().category, ErrorCategory::UserError);
    assert_eq!(task.node_info.as_ref().unwrap().node_id.as_deref(), Some("tvm-1"));
}

#[test]
fn a_response_starts_with_its_metadata_url() {
    let task = Task { id: "t".into(), state: Some(TaskState::Active), ..Default::default() };
    let response = ResponseBody { odata_metadata: "m", entity: &task };
    assert_eq!(
        serde_json::to_string(&response).unwrap(),
        r#"{"odata.metadata":"m","id":"t","state":"active"}"#
    );
}

#[test]
fn a_file_length_is_written_as_a_string_and_read_from_string_or_number() {
    for length in [json!("5"), json!(5)] {
        let body = json!({"lastModified": "2024-04-10T07:12:44Z", "contentLength": length});
        let properties: FileProperties = serde_json::from_value(body).unwrap();
        assert_eq!(properties.content_length, 5);
        assert_eq!(serde_json::to_value(&properties).unwrap()["contentLength"], json!("5"));
    }
}

#[test]
fn ids_are_letters_digits_dash_and_underscore() {
    let long = "a".repeat(64);
    for id in ["a", "A-b_9", &long] {
        assert!(is_valid_id(id), "{id}");
    }
    for id in ["", "a b", "a/b", "ä", "a.b", &format!("{long}a")] {
        assert!(!is_valid_id(id), "{id}");
    }
}
