//! Sends each field of each operation separately to the service, and checks whether it is accepted and
//! returned.

use super::described::{Described, Field};
use crate::batch_http::{operations::operations, tests::Rig};
use serde_json::{Value, json};

/// The body of an operation, and the resource that returns its content.
pub struct Body {
    pub operation: &'static str,
    pub definition: &'static str,
    shown: Option<&'static str>,
}

const fn body(operation: &'static str, definition: &'static str, shown: Option<&'static str>) -> Body {
    Body { operation, definition, shown }
}

/// Every operation that has a body.
pub const BODIES: &[Body] = &[
    body("POST pools", "PoolAddParameter", Some("pools/NEW")),
    body("PATCH pools/{p}", "PoolPatchParameter", Some("pools/{p}")),
    body("POST pools/{p}/updateproperties", "PoolUpdatePropertiesParameter", Some("pools/{p}")),
    body("POST pools/{p}/resize", "PoolResizeParameter", None),
    body("POST pools/{p}/removenodes", "NodeRemoveParameter", None),
    body("POST pools/{p}/enableautoscale", "PoolEnableAutoScaleParameter", Some("pools/{p}")),
    body("POST pools/{p}/evaluateautoscale", "PoolEvaluateAutoScaleParameter", None),
    body("POST pools/{p}/nodes/{n}/reboot", "NodeRebootParameter", None),
    body("POST pools/{p}/nodes/{n}/reimage", "NodeReimageParameter", None),
    body("POST pools/{p}/nodes/{n}/deallocate", "NodeDeallocateParameter", None),
    body("POST pools/{p}/nodes/{n}/disablescheduling", "NodeDisableSchedulingParameter", None),
    body("POST pools/{p}/nodes/{n}/users", "ComputeNodeUser", None),
    body("PUT pools/{p}/nodes/{n}/users/{u}", "NodeUpdateUserParameter", None),
    body("POST pools/{p}/nodes/{n}/uploadbatchservicelogs", "UploadBatchServiceLogsConfiguration", None),
    body("POST jobs", "JobAddParameter", Some("jobs/NEW")),
    body("PATCH jobs/{j}", "JobPatchParameter", Some("jobs/{j}")),
    body("PUT jobs/{j}", "JobUpdateParameter", Some("jobs/{j}")),
    body("POST jobs/{j}/disable", "JobDisableParameter", None),
    body("POST jobs/{j}/terminate", "JobTerminateParameter", None),
    body("POST jobs/{j}/tasks", "TaskAddParameter", Some("jobs/{j}/tasks/NEW")),
    body("PUT jobs/{j}/tasks/{t}", "TaskUpdateParameter", Some("jobs/{j}/tasks/{t}")),
    body("POST jobschedules", "JobScheduleAddParameter", Some("jobschedules/NEW")),
    body("PATCH jobschedules/{s}", "JobSchedulePatchParameter", Some("jobschedules/{s}")),
    body("PUT jobschedules/{s}", "JobScheduleUpdateParameter", Some("jobschedules/{s}")),
];

/// The result for a field.
pub struct Seen {
    pub body: &'static Body,
    pub field: Field,
    /// Status, and code if it was rejected.
    pub outcome: String,
    /// Whether it was returned; `None` if no response contains it.
    pub shown: Option<bool>,
}

impl Seen {
    pub fn is_taken(&self) -> bool {
        self.outcome.starts_with('2')
    }
}

/// Tests all fields.
pub async fn all() -> Vec<Seen> {
    let (described, mut seen) = (Described::of_20(), vec![]);
    let mut rig = Rig::with_tasks().await;
    for body in BODIES {
        for (number, field) in described.fields(body.definition).into_iter().enumerate() {
            // Actions on nodes take effect, so each needs a new node.
            if number % 100 == 99 || body.operation.contains("{n}") || body.operation.contains("node") {
                rig = Rig::with_tasks().await;
            }
            let (outcome, shown) = ask(&rig, &described, body, &field, number).await;
            seen.push(Seen { body, field, outcome, shown });
        }
        rig = Rig::with_tasks().await;
    }
    seen
}

async fn ask(
    rig: &Rig,
    described: &Described,
    body: &Body,
    field: &Field,
    number: usize,
) -> (String, Option<bool>) {
    let (method, path) = body.operation.split_once(' ').unwrap();
    let (_, _, text) = operations().find(|(verb, of, _)| *verb == method && *of == path).unwrap();
    let node = rig.get("pools/p/nodes").await.ids().first().map(|id| (*id).to_owned()).unwrap_or_default();
    let mut base: Value = match text {
        "" => json!({}),
        text => serde_json::from_str(&text.replace("NODE", &node)).unwrap(),
    };
    let new = format!("new-{number}");
    if base["id"].is_string() {
        base["id"] = json!(new);
    }
    let names = things(rig, number, path).await;
    let filled = |text: &str| {
        let text = text.replace("{n}", &node);
        names.iter().fold(text, |text, (name, value)| text.replace(name, value))
    };
    let asked = described.body_with(&base, field).to_string().replace("NODE", &node);
    let asked: Value = serde_json::from_str(&asked).unwrap();
    let reply = rig.ask(method, &filled(path), &[], Some(asked.clone())).await;
    let Some(shown) = body.shown.filter(|_| reply.outcome().starts_with('2')) else {
        return (reply.outcome(), None);
    };
    let place = filled(shown).replace("NEW", asked["id"].as_str().unwrap_or_default());
    let there = rig.get(&place).await.body;
    (reply.outcome(), Some(is_shown(field.of(&asked), field.of(&there))))
}

/// Creates separate objects for a request, so that requests do not affect each other.
async fn things(rig: &Rig, number: usize, path: &str) -> Vec<(&'static str, String)> {
    let pool =
        if path.contains("{n}") || path.contains("node") { "p".to_owned() } else { format!("p{number}") };
    if path.starts_with("pools/") && pool != "p" {
        let image = json!({"imageReference": {}, "nodeAgentSKUId": "x"});
        let mut made = json!({"id": pool, "vmSize": "a1", "virtualMachineConfiguration": image});
        if path.ends_with("evaluateautoscale") {
            made["enableAutoScale"] = json!(true);
            made["autoScaleFormula"] = json!("x = 1;");
        }
        assert_eq!(rig.post("pools", made).await.outcome(), "201");
    }
    if path.ends_with("users/{u}") {
        let node = rig.get("pools/p/nodes").await.ids()[0].to_owned();
        assert_eq!(
            rig.post(&format!("pools/p/nodes/{node}/users"), json!({"name": "u"})).await.outcome(),
            "201"
        );
    }
    let job = format!("j{number}");
    if path.starts_with("jobs/") {
        // Without nodes, so that its tasks wait.
        let image = json!({"imageReference": {}, "nodeAgentSKUId": "x"});
        rig.post("pools", json!({"id": "empty", "vmSize": "a1", "taskSlotsPerNode": 4, "virtualMachineConfiguration": image})).await;
        let pool = if path.contains("tasks") { "empty" } else { "p" };
        let made = json!({"id": job, "poolInfo": {"poolId": pool}, "usesTaskDependencies": true});
        assert_eq!(rig.post("jobs", made).await.outcome(), "201");
        if path == "jobs/{j}" {
            // Its pool can only be changed while it is disabled.
            let disable = json!({"disableTasks": "requeue"});
            assert_eq!(rig.post(&format!("jobs/{job}/disable"), disable).await.outcome(), "202");
        }
        let task = json!({"id": "t", "commandLine": "x"});
        assert_eq!(rig.post(&format!("jobs/{job}/tasks"), task).await.outcome(), "201");
    }
    let schedule = format!("s{number}");
    if path.starts_with("jobschedules/") {
        let made = json!({"id": schedule, "schedule": {"recurrenceInterval": "PT1H"}, "jobSpecification": {"poolInfo": {"poolId": "p"}}});
        assert_eq!(rig.post("jobschedules", made).await.outcome(), "201");
    }
    vec![("{p}", pool), ("{j}", job), ("{s}", schedule), ("{t}", "t".into()), ("{u}", "u".into())]
}

/// Returns whether the returned value equals the sent one, ignoring the case of enums and the type of
/// numbers.
fn is_shown(asked: &Value, shown: &Value) -> bool {
    match (asked, shown) {
        (Value::String(asked), Value::String(shown)) => asked.eq_ignore_ascii_case(shown),
        (asked, shown) => asked == shown,
    }
}
