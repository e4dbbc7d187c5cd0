//! Tests pools with an autoscale formula.

use super::{World, outcome_text};
use dropmill_azure_wire::batch::PoolEnableAutoScale;
use serde_json::{Value, json};

const FORMULA: &str =
    "$TargetDedicatedNodes = min(3, $PendingTasks.GetSample(1)); $NodeDeallocationOption = taskcompletion;";

fn world() -> World {
    let mut world = World::new();
    let pool =
        json!({"enableAutoScale": true, "autoScaleFormula": FORMULA, "autoScaleEvaluationInterval": "PT5M"});
    world.add_pool("p", pool).unwrap();
    world.add_job("j", json!({})).unwrap();
    world
}

#[test]
fn a_pool_follows_its_formula() {
    let mut world = world();
    assert_eq!(world.nodes().len(), 0);
    for number in 0..5 {
        world.add_task(&format!("t{number}"), json!({})).unwrap();
    }
    world.pass(301);
    assert_eq!(world.runs(), ["t0", "t1", "t2"]);
    let run = &world.pool("p")["autoScaleRun"];
    assert!(
        run["results"].as_str().unwrap().starts_with("$TargetDedicatedNodes=3;$TargetLowPriorityNodes=0;"),
        "{run}"
    );
    for task in ["t0", "t1", "t2"] {
        world.exit(&format!("/{task}"), 0);
    }
    assert_eq!(world.runs(), ["t3", "t4"]);
    world.exit("/t3", 0);
    world.pass(300);
    assert_eq!((world.nodes().len(), world.runs()), (1, vec!["t4".to_owned()]), "the node at work stays");
    world.exit("/t4", 0);
    world.pass(300);
    assert_eq!(world.nodes().len(), 0);
}

#[test]
fn autoscale_requests_are_checked() {
    let mut world = world();
    let resize = json!({"targetDedicatedNodes": 1});
    let resize = serde_json::from_value(resize).unwrap();
    assert_eq!(
        outcome_text(world.model.resize_pool("p", &resize, world.now)),
        "409 OperationInvalidForCurrentState"
    );
    // As in the service, the error is returned with the variables so far.
    let start = "$TargetDedicatedNodes=0;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue";
    for (formula, code, results) in [
        ("x = 1 / 0;", "AutoScalingFormulaEvaluationError", Some(start.to_owned())),
        ("something_useless", "AutoScalingFormulaEvaluationError", Some(start.to_owned())),
        ("x = 2; y = z;", "AutoScalingFormulaEvaluationError", Some(format!("{start};x=2"))),
        ("x = ", "AutoScalingFormulaSyntaxError", None),
    ] {
        let run = world.model.evaluate_autoscale("p", formula, world.now).unwrap();
        assert_eq!(run.error.unwrap().code.as_deref(), Some(code), "{formula}");
        assert_eq!(run.results, results, "{formula}");
    }
    assert_eq!(world.nodes().len(), 0);
    let faster = PoolEnableAutoScale {
        auto_scale_evaluation_interval: Some("PT6M".parse().unwrap()),
        ..Default::default()
    };
    assert_eq!(outcome_text(world.model.enable_autoscale("p", &faster, world.now)), "ok");
    assert_eq!(
        outcome_text(world.model.enable_autoscale("p", &faster, world.now)),
        "503 TooManyEnableAutoScaleRequests"
    );
    assert_eq!(world.pool("p")["autoScaleEvaluationInterval"], "PT6M");
    assert_eq!(outcome_text(world.model.disable_autoscale("p", world.now)), "ok");
    assert_eq!(
        outcome_text(world.model.evaluate_autoscale("p", "x = 1;", world.now)),
        "409 OperationInvalidForCurrentState"
    );
    world.pass(3600);
    assert_eq!(
        outcome_text(world.model.enable_autoscale("p", &faster, world.now)),
        "400 MissingRequiredProperty"
    );
    assert_eq!(outcome_text(world.model.resize_pool("p", &resize, world.now)), "ok");
    let formula = PoolEnableAutoScale { auto_scale_formula: Some(FORMULA.into()), ..Default::default() };
    assert_eq!(outcome_text(world.model.enable_autoscale("p", &formula, world.now)), "409 PoolBeingResized");
    world.settle();
    assert_eq!(outcome_text(world.model.enable_autoscale("p", &formula, world.now)), "ok");
    world.settle();
    assert_eq!(world.nodes().len(), 0, "it is evaluated at once");
    assert_eq!(outcome_text(world.model.enable_autoscale("none", &formula, world.now)), "404 PoolNotFound");
}

#[test]
fn a_pool_with_an_invalid_formula_is_rejected() {
    let table: [(Value, &str); 6] = [
        (json!({"enableAutoScale": true}), "400 MissingRequiredProperty"),
        (json!({"enableAutoScale": true, "autoScaleFormula": "x ="}), "400 AutoScalingFormulaSyntaxError"),
        (
            json!({"enableAutoScale": true, "autoScaleFormula": "x = 1;", "targetDedicatedNodes": 1}),
            "400 InvalidAutoScalingSettings",
        ),
        (json!({"autoScaleFormula": "x = 1;"}), "400 InvalidAutoScalingSettings"),
        (
            json!({"enableAutoScale": true, "autoScaleFormula": "x = 1;", "autoScaleEvaluationInterval": "PT4M"}),
            "400 InvalidPropertyValue",
        ),
        (json!({"enableAutoScale": true, "autoScaleFormula": "x = y;"}), "ok"),
    ];
    for (more, expected) in table {
        let mut world = World::new();
        assert_eq!(outcome_text(world.add_pool("p", more.clone())), expected, "{more}");
    }
}

#[test]
fn evaluating_a_formula_changes_nothing() {
    let formula = json!({"enableAutoScale": true, "autoScaleFormula": "$TargetDedicatedNodes = 1;"});
    let two = || {
        let mut world = World::new();
        world.add_pool("p", formula.clone()).unwrap();
        world
    };
    let (mut asked, mut not_asked) = (two(), two());
    let ask = |world: &World| {
        let text = "x = $ActiveTasks.Count(); y = rand(); z = $CurrentDedicatedNodes;";
        world.model.evaluate_autoscale("p", text, world.now).unwrap().results
    };
    assert_eq!(ask(&asked), ask(&asked), "the same answer each time");
    for _ in 0..3 {
        ask(&asked);
        asked.pass(30);
        not_asked.pass(30);
        assert_eq!(ask(&asked), ask(&not_asked));
    }
    assert_eq!(asked.pool("p"), not_asked.pool("p"));
    assert_eq!(asked.node_ids(), not_asked.node_ids());
}
