//! The Batch service: scripts of signed requests, with virtual time passing in between.
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
                Step::Send(request) => {
                    let is_head = request.method == Method::HEAD;
                    let is_content = request.target.contains("/files");
                    let Some(reply) = world.batch_scripted(request).await else { continue };
                    let is_error = reply.status.is_client_error() && !is_head;
                    if is_error || !is_content {
                        let body = reply.json();
                        assert!(!is_error || body["code"].is_string(), "{}: {body}", reply.status);
                    }
                }
            }
        }
        // Afterwards the service still works and can list everything.
        world.wait(3600).await;
        for path in ["pools", "jobs", "jobschedules", "nodecounts"] {
            let reply = world.batch_text("GET", path, "").await;
            assert!(reply.status == 200, "{path}: {}", reply.status);
            for entry in reply.json()["value"].as_array().expect("a list").iter().filter(|_| path == "jobs") {
                let id = entry["id"].as_str().expect("a job has an id");
                for list in ["tasks", "taskcounts"] {
                    let path = format!("jobs/{id}/{list}");
                    assert!(world.batch_text("GET", &path, "").await.status == 200, "{path}");
                }
            }
        }
    });
});
