//! Autoscale formulas: every valid formula is evaluated within limits and yields valid numbers of nodes.
#![no_main]

use dropmill_fuzz::world::{World, in_virtual_time};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|formula: &str| {
    in_virtual_time(async {
        let mut world = World::open();
        let image = serde_json::json!({"imageReference": {}, "nodeAgentSKUId": "batch.node.ubuntu 22.04"});
        let pool = serde_json::json!({
            "id": "p",
            "vmSize": "a1",
            "enableAutoScale": true,
            "autoScaleFormula": formula,
            "autoScaleEvaluationInterval": "PT5M",
            "virtualMachineConfiguration": image,
        });
        let made = world.batch_text("POST", "pools", &pool.to_string()).await;
        if made.status != 201 {
            assert!(made.status.is_client_error(), "{}", made.status);
            return;
        }
        world.wait(360).await;
        let reply = world.batch_text("GET", "pools/p", "").await.json();
        let (wanted, run) = (reply["targetDedicatedNodes"].as_i64(), &reply["autoScaleRun"]);
        assert!(wanted.is_none_or(|wanted| wanted >= 0), "{reply}");
        assert!(run.is_null() || run["timestamp"].is_string(), "{reply}");
    });
});
