//! What differs between versions of the API.

#![allow(clippy::unwrap_used)]

use super::tests::{Reply, Rig};
use crate::service::ServiceSettings;
use serde_json::{Value, json};

/// A version, and a property of a pool that it has and the other has not.
const SIDES: [(&str, &str); 2] =
    [("2025-06-01", "jobDefaultOrder"), ("2024-07-01.20.0", "targetNodeCommunicationMode")];

fn pool(id: &str, properties: &[&str]) -> Value {
    let mut pool = json!({"id": id, "vmSize": "a1", "taskSchedulingPolicy": {"nodeFillType": "pack"},
        "virtualMachineConfiguration": {"imageReference": {}, "nodeAgentSKUId": "x"}});
    for property in properties {
        match *property {
            "jobDefaultOrder" => pool["taskSchedulingPolicy"][property] = json!("creationtime"),
            _ => pool[property] = json!("simplified"),
        }
    }
    pool
}

fn shows(reply: &Reply, property: &str) -> bool {
    reply.body.to_string().contains(property)
}

#[tokio::test(start_paused = true)]
async fn each_version_has_its_own_properties() {
    for strict in [false, true] {
        let rig = Rig::with("", ServiceSettings { strict, ..ServiceSettings::in_memory() });
        let get = async |version: &str, path: &str| rig.get(&format!("{path}?api-version={version}")).await;
        let add =
            async |version: &str, pool: Value| rig.post(&format!("pools?api-version={version}"), pool).await;
        for (number, (version, own)) in SIDES.into_iter().enumerate() {
            let (other, foreign) = SIDES[1 - number];
            let id = format!("p{number}");
            let made = add(version, pool(&id, &[own])).await;
            assert_eq!(made.told(), "201", "{version}: {}", made.body);
            assert!(shows(&get(version, &format!("pools/{id}")).await, own), "{version}");

            let id = format!("q{number}");
            let made = add(version, pool(&id, &[own, foreign])).await;
            if strict {
                assert_eq!(made.told(), "400 InvalidRequestBody", "{version}");
                assert!(shows(&made, foreign), "{}", made.body);
                continue;
            }
            assert_eq!(made.told(), "201", "{version}");
            // It is ignored, and not kept for clients of the other version.
            for speaks in [version, other] {
                let seen = get(speaks, &format!("pools/{id}")).await;
                assert!(!shows(&seen, foreign), "{version} {speaks}: {}", seen.body);
            }
        }
        // A client of the new version does not see what ended with it, of whoever made it.
        let (new, old) = (SIDES[0].0, SIDES[1]);
        for path in ["pools/p1", "pools"] {
            assert!(!shows(&get(new, path).await, old.1), "{path}");
            assert!(shows(&get(old.0, path).await, old.1), "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_ignored_is_ignored_wherever_it_is() {
    let rig = Rig::with_tasks().await;
    let access = json!({"access": ["job"]});
    let task = |id: &str| json!({"id": id, "commandLine": "x", "authenticationTokenSettings": access});
    let tasks = json!({"value": [task("a"), task("b")]});
    let added = rig.post("jobs/j/addtaskcollection?api-version=2025-06-01", tasks).await;
    assert_eq!(added.told(), "200");
    assert_eq!(rig.post("jobs/j/tasks", task("c")).await.told(), "201");
    for (id, kept) in [("a", false), ("b", false), ("c", true)] {
        let seen = rig.get(&format!("jobs/j/tasks/{id}")).await;
        assert_eq!(shows(&seen, "authenticationTokenSettings"), kept, "{id}");
    }
}
