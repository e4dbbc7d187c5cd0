//! The bodies of the requests that create and resize the pool.

use super::{application_files, signed_count};
use dropmill_azure_client::blob::BlobApi;
use dropmill_azure_wire::{batch as wire, time::Timestamp};
use dropmill_lifecycle::{plan::RunPlan, pool::Nodes};

/// Returns the request for these nodes.
pub fn pool_resize(nodes: Nodes) -> wire::PoolResize {
    wire::PoolResize {
        target_dedicated_nodes: Some(signed_count(nodes.dedicated)),
        target_low_priority_nodes: Some(signed_count(nodes.spot)),
        ..Default::default()
    }
}

/// Returns the pool of a run, with these nodes.
pub fn pool_add(plan: &RunPlan, nodes: Nodes, blob: &BlobApi, expiry: Timestamp) -> wire::PoolAdd {
    let pool = &plan.pool;
    let start_task = pool.start_task.as_ref().map(|line| wire::StartTask {
        command_line: line.clone(),
        resource_files: Some(application_files(plan, blob, expiry)),
        max_task_retry_count: Some(pool.start_task_retries),
        wait_for_success: Some(true),
        ..Default::default()
    });
    wire::PoolAdd {
        id: pool.id.clone(),
        vm_size: pool.vm_size.clone(),
        virtual_machine_configuration: Some(wire::VirtualMachineConfiguration {
            image_reference: wire::ImageReference {
                publisher: pool.image.get("publisher").cloned(),
                offer: pool.image.get("offer").cloned(),
                sku: pool.image.get("sku").cloned(),
                version: pool.image.get("version").cloned(),
                virtual_machine_image_id: pool.image.get("virtual_machine_image_id").cloned(),
                ..Default::default()
            },
            node_agent_sku_id: pool.node_agent.clone(),
            ..Default::default()
        }),
        target_dedicated_nodes: Some(signed_count(nodes.dedicated)),
        target_low_priority_nodes: Some(signed_count(nodes.spot)),
        task_slots_per_node: Some(signed_count(pool.slots_per_node)),
        start_task,
        metadata: Some(vec![
            wire::MetadataItem::new("dropmill-run", &plan.run),
            wire::MetadataItem::new("dropmill-fingerprint", &pool.fingerprint),
        ]),
        ..Default::default()
    }
}
