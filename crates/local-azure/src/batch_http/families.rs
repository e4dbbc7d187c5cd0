//! Tests the differences between versions of the API.

use super::tests::{Reply, Rig};
use crate::service::ServiceSettings;
use serde_json::{Value, json};

const NINETEEN: &str = "2024-02-01.19.0";
const TWENTY: &str = "2024-07-01.20.0";
const DATED: &str = "2025-06-01";
const VERSIONS: [&str; 3] = [NINETEEN, TWENTY, DATED];
/// Properties of a new pool: path, value, and the versions that have it.
const PROPERTIES: [(&str, &str, &str, &[&str]); 3] = [
    ("", "applicationLicenses", r#"["maya"]"#, &[NINETEEN]),
    ("", "targetNodeCommunicationMode", r#""simplified""#, &[NINETEEN, TWENTY]),
    ("/taskSchedulingPolicy", "jobDefaultOrder", r#""creationtime""#, &[DATED]),
];

fn shows(reply: &Reply, property: &str) -> bool {
    reply.body.to_string().contains(property)
}

#[tokio::test(start_paused = true)]
async fn each_version_has_its_own_properties() {
    for strict in [false, true] {
        let rig = Rig::with("", ServiceSettings { strict, ..ServiceSettings::in_memory() });
        for (number, (place, property, value, has)) in PROPERTIES.into_iter().enumerate() {
            for speaks in VERSIONS {
                let id = format!("{}-{number}", speaks.replace('.', "-"));
                let mut pool = json!({"id": id, "vmSize": "a1", "taskSchedulingPolicy": {"nodeFillType": "pack"},
                    "virtualMachineConfiguration": {"imageReference": {}, "nodeAgentSKUId": "x"}});
                pool.pointer_mut(place).unwrap()[property] = serde_json::from_str::<Value>(value).unwrap();
                let made = rig.post(&format!("pools?api-version={speaks}"), pool).await;
                if strict && !has.contains(&speaks) {
                    assert_eq!(made.outcome(), "400 InvalidRequestBody", "{speaks} {property}");
                    assert!(shows(&made, property), "{}", made.body);
                    continue;
                }
                assert_eq!(made.outcome(), "201", "{speaks} {property}: {}", made.body);
                // Ignored properties are not stored for clients of another version, and removed ones are not
                // returned to later versions.
                for reads in VERSIONS {
                    let seen = rig.get(&format!("pools/{id}?api-version={reads}")).await;
                    let nested = !place.is_empty();
                    let expected = has.contains(&speaks) && (nested || has.contains(&reads));
                    assert_eq!(shows(&seen, property), expected, "{speaks} {reads}: {}", seen.body);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ignored_properties_are_ignored_at_every_depth() {
    let rig = Rig::with_tasks().await;
    let access = json!({"access": ["job"]});
    let task = |id: &str| json!({"id": id, "commandLine": "x", "authenticationTokenSettings": access});
    let tasks = json!({"value": [task("a"), task("b")]});
    let added = rig.post("jobs/j/addtaskcollection?api-version=2025-06-01", tasks).await;
    assert_eq!(added.outcome(), "200");
    assert_eq!(rig.post("jobs/j/tasks", task("c")).await.outcome(), "201");
    for (id, kept) in [("a", false), ("b", false), ("c", true)] {
        let seen = rig.get(&format!("jobs/j/tasks/{id}")).await;
        assert_eq!(shows(&seen, "authenticationTokenSettings"), kept, "{id}");
    }
}
