//! Tests application packages: `mill` has versions 1.0 and 2.0.

use super::{World, outcome_text, read, with};
use crate::orders::{NodeEvent, NodeFailure, NodeRef};
use serde_json::{Value, json};

const UNKNOWN: &str = "409 InvalidApplicationPackageReferences";

fn references(list: &[(&str, Option<&str>)]) -> Value {
    let one = |(id, version): &(&str, Option<&str>)| match version {
        Some(version) => json!({"applicationId": id, "version": version}),
        None => json!({"applicationId": id}),
    };
    json!({"applicationPackageReferences": list.iter().map(one).collect::<Vec<_>>()})
}

/// Returns the package versions of running launches.
fn given(world: &World) -> Vec<Vec<String>> {
    let versions = |launch: &crate::orders::Launch| {
        launch.packages.iter().map(|package| package.version.clone()).collect()
    };
    world.running.values().map(versions).collect()
}

#[test]
fn references_to_missing_packages_are_rejected_everywhere() {
    let table = [
        (references(&[("mill", None)]), "ok"),
        (references(&[("mill", Some("1.0")), ("MILL", Some("2.0"))]), "ok"),
        (references(&[("mill", None), ("mill", Some("3.0"))]), UNKNOWN),
        (references(&[("other", None)]), UNKNOWN),
    ];
    for (references, expected) in table {
        let mut world = World::new();
        assert_eq!(outcome_text(world.add_pool("p", references.clone())), expected);
        let _ = world.add_pool("p", json!({"targetDedicatedNodes": 1}));
        let now = world.now;
        assert_eq!(outcome_text(world.model.patch_pool("p", read(references.clone()), now)), expected);
        let update = with(json!({"metadata": []}), references.clone());
        assert_eq!(outcome_text(world.model.update_pool("p", read(update), now)), expected);
        let manager = with(json!({"id": "m", "commandLine": "x"}), references.clone());
        assert_eq!(outcome_text(world.add_job("k", json!({"jobManagerTask": manager}))), expected);
        world.add_job("j", json!({})).unwrap();
        assert_eq!(outcome_text(world.add_task("t", references)), expected);
    }
}

#[test]
fn an_auto_pool_without_its_package_ends_its_job() {
    let mut world = World::new();
    let machine = json!({"imageReference": {}, "nodeAgentSKUId": "x"});
    let pool = json!({"vmSize": "standard_d2s_v3", "virtualMachineConfiguration": machine});
    let pool = with(pool, references(&[("other", None)]));
    let auto = json!({"poolInfo": {"autoPoolSpecification": {"poolLifetimeOption": "job", "pool": pool}}});
    world.add_job("j", auto).unwrap();
    let code = &world.job("j")["executionInfo"]["schedulingError"]["code"];
    assert_eq!(code, "InvalidApplicationPackageReferencesInAutoPool");
}

#[test]
fn a_node_has_the_packages_of_its_boot_and_tasks_have_their_own() {
    let mut world = World::new();
    let pool = with(json!({"targetDedicatedNodes": 1}), references(&[("mill", Some("1.0"))]));
    world.add_pool("p", pool).unwrap();
    world.add_job("j", json!({})).unwrap();
    world.add_task("t", references(&[("mill", None)])).unwrap();
    assert_eq!(given(&world), [["1.0", "2.0"]]);
    world.exit("/t", 0);
    let now = world.now;
    world.model.patch_pool("p", read(references(&[("mill", Some("2.0"))])), now).unwrap();
    world.add_task("u", json!({})).unwrap();
    assert_eq!(given(&world), [["1.0"]], "the node has not booted since");
    world.exit("/u", 0);
    assert_eq!(world.ask("reboot node"), "ok");
    world.add_task("v", json!({})).unwrap();
    assert_eq!(given(&world), [["2.0"]]);
    let world = world.begin_anew();
    assert_eq!(given(&world), [["2.0"]]);
    assert_eq!(world.task("t")["applicationPackageReferences"], json!([{"applicationId": "mill"}]));
}

#[test]
fn a_node_without_its_package_is_unusable_and_shows_the_reason() {
    let mut world = World::new();
    world.boots_by_hand = true;
    world.add_pool("p", with(json!({"targetDedicatedNodes": 1}), references(&[("mill", None)]))).unwrap();
    let failure = NodeFailure {
        user_error: true,
        code: "ApplicationPackageError".into(),
        message: "no".into(),
        details: vec![("ApplicationId".into(), "mill".into())],
    };
    let node = NodeRef { pool: "p".into(), node: world.node_ids()[0].clone() };
    world.model.happened(NodeEvent::BootFailed { node, failure }, world.now);
    let seen = &world.nodes()[0];
    assert_eq!(seen["state"], "unusable");
    assert_eq!(seen["errors"][0]["code"], "ApplicationPackageError");
    assert_eq!(world.pool("p")["allocationState"], "steady", "nothing more is to be waited for");
}
