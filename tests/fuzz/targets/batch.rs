//! Batch, whole: scripts of signed requests through the router, with time passing in between.
#![no_main]

use dropmill_fuzz::{
    script::{self, Step},
    world::{World, in_virtual_time},
};
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let steps = script::read(data);
    if steps.is_empty() {
        return;
    }
    in_virtual_time(async {
        let mut world = World::with_tasks().await;
        for step in steps {
            match step {
                Step::Wait(seconds) => world.wait(seconds).await,
                Step::Send(asked) => {
                    let is_head = asked.method == Method::HEAD;
                    let is_content = asked.target.contains("/files");
                    let Some(told) = world.batch_asked(asked).await else { continue };
                    let is_error = told.status.is_client_error() && !is_head;
                    if is_error || !is_content {
                        let body = told.json();
                        assert!(!is_error || body["code"].is_string(), "{}: {body}", told.status);
                    }
                }
            }
        }
        // Whatever was said: the service lives on, and can tell of all that it has.
        world.wait(3600).await;
        for path in ["pools", "jobs", "jobschedules", "nodecounts"] {
            let told = world.batch_text("GET", path, "").await;
            assert!(told.status == 200, "{path}: {}", told.status);
            for entry in told.json()["value"].as_array().expect("a list").iter().filter(|_| path == "jobs") {
                let id = entry["id"].as_str().expect("a job has an id");
                for list in ["tasks", "taskcounts"] {
                    let path = format!("jobs/{id}/{list}");
                    assert!(world.batch_text("GET", &path, "").await.status == 200, "{path}");
                }
            }
        }
    });
});
