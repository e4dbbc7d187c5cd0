//! Autoscale formulas: whatever is read is evaluated within bounds, and asks for numbers of nodes that there can be.
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
        let told = world.batch_text("GET", "pools/p", "").await.json();
        let (wanted, run) = (told["targetDedicatedNodes"].as_i64(), &told["autoScaleRun"]);
        assert!(wanted.is_none_or(|wanted| wanted >= 0), "{told}");
        assert!(run.is_null() || run["timestamp"].is_string(), "{told}");
    });
});
