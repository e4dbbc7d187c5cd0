//! Checks and defaults of the properties of pools, for pools and for auto pool specifications. The defaults
//! are those of recorded sessions with Azure.

use super::{Refusal, autoscaling, pools};
use dropmill_azure_wire::{
    batch::{
        self as wire, AutoPoolSpecification, ImageReference, NodeFillType, PoolAdd, PoolLifetime,
        PoolSpecification, Subtree, TaskSchedulingPolicy, VirtualMachineConfiguration,
    },
    duration::IsoDuration,
};
use serde_json::{Value, json};

/// Default timeout of a resize.
const RESIZE_TIMEOUT: IsoDuration = IsoDuration::from_secs(15 * 60);
/// Maximum length of the prefix of an auto pool's id.
const LONGEST_PREFIX: usize = 20;
/// The forms of the resource id of a custom image: the texts between the names.
const IMAGE_IDS: &[&str] = &[
    "/subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/images/*",
    "/subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/galleries/*/images/*",
    "/subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/galleries/*/images/*/versions/*",
];

/// Sets the defaults of a pool or of an auto pool specification.
macro_rules! fill {
    ($spec:expr) => {{
        let spec = $spec;
        spec.task_slots_per_node.get_or_insert(1);
        spec.resize_timeout.get_or_insert(RESIZE_TIMEOUT);
        spec.enable_auto_scale.get_or_insert(false);
        spec.enable_inter_node_communication.get_or_insert(false);
        spec.task_scheduling_policy.get_or_insert(TaskSchedulingPolicy {
            node_fill_type: NodeFillType::Spread,
            job_default_order: None,
        });
        if let Some(start_task) = &mut spec.start_task {
            pools::fill_start_task(start_task);
        }
        if let Some(machine) = &mut spec.virtual_machine_configuration {
            fill_machine(machine);
        }
        if let Some(Subtree(network)) = &mut spec.network_configuration {
            put(network, "dynamicVNetAssignmentScope", json!("none"));
            let rules = network.pointer_mut("/endpointConfiguration/inboundNATPools");
            each(rules, |pool| {
                each(pool.get_mut("networkSecurityGroupRules"), |rule| {
                    put(rule, "sourcePortRanges", json!(["*"]))
                });
            });
        }
        each(spec.user_accounts.as_mut().map(|Subtree(accounts)| accounts), |account| {
            put(account, "elevationLevel", json!("nonadmin"));
        });
    }};
}

/// Checks a new pool and sets its defaults.
///
/// # Errors
/// Returns the property that is invalid.
pub(super) fn complete(spec: &mut PoolAdd) -> Result<(), Refusal> {
    if spec.vm_size.is_empty() {
        return Err(Refusal::missing("vmSize"));
    }
    if spec.virtual_machine_configuration.is_none() && spec.cloud_service_configuration.is_none() {
        return Err(Refusal::missing("virtualMachineConfiguration"));
    }
    checked_machine(spec.virtual_machine_configuration.as_ref())?;
    autoscaling::complete(spec)?;
    for (name, count) in [
        ("targetDedicatedNodes", spec.target_dedicated_nodes),
        ("targetLowPriorityNodes", spec.target_low_priority_nodes),
    ] {
        pools::checked_count(name, count)?;
    }
    pools::checked_timeout(spec.resize_timeout)?;
    pools::checked_slots(spec.task_slots_per_node.unwrap_or(1))?;
    spec.start_task.as_ref().map(pools::checked_start_task).transpose()?;
    fill!(&mut *spec);
    spec.target_dedicated_nodes.get_or_insert(0);
    spec.target_low_priority_nodes.get_or_insert(0);
    Ok(())
}

/// Checks an auto pool specification before a pool is created, and sets its defaults.
///
/// # Errors
/// `InvalidPropertyValue`, `MissingRequiredProperty`.
pub(super) fn complete_auto(auto: &mut AutoPoolSpecification) -> Result<(), Refusal> {
    let prefix = auto.auto_pool_id_prefix.as_deref().unwrap_or_default();
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if prefix.len() > LONGEST_PREFIX || !prefix.bytes().all(fine) {
        let reason = "It must have up to 20 letters, digits, hyphens and underscores";
        return Err(Refusal::invalid("autoPoolIdPrefix", prefix, reason));
    }
    if let PoolLifetime::Other(other) = &auto.pool_lifetime_option {
        return Err(Refusal::invalid("poolLifetimeOption", &**other, "It must be job or jobschedule"));
    }
    let Some(pool) = &mut auto.pool else { return Err(Refusal::missing("pool")) };
    auto.keep_alive.get_or_insert(false);
    fill_auto(pool);
    Ok(())
}

fn fill_auto(pool: &mut PoolSpecification) {
    fill!(&mut *pool);
    // A pool with a formula must not have numbers of nodes.
    if pool.enable_auto_scale != Some(true) {
        pool.target_dedicated_nodes.get_or_insert(0);
        pool.target_low_priority_nodes.get_or_insert(0);
    }
}

/// Checks the machine configuration of a pool or of a patch.
///
/// # Errors
/// `InvalidPropertyValue` for an invalid image id.
pub(super) fn checked_machine(machine: Option<&VirtualMachineConfiguration>) -> Result<(), Refusal> {
    let id = machine.and_then(|machine| machine.image_reference.virtual_machine_image_id.as_deref());
    match id {
        Some(id) if !is_image_id(id) => Err(Refusal::invalid(
            "virtualMachineImageId",
            id,
            "The specified resource id must be of the format \
             /subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Compute/images/{imageName}, \
             or the one of a gallery's image: \
             .../galleries/{galleryName}/images/{galleryImageName}, with or without /versions/{galleryImageVersionName}",
        )),
        _ => Ok(()),
    }
}

fn is_image_id(id: &str) -> bool {
    let parts: Vec<&str> = id.split('/').collect();
    IMAGE_IDS.iter().any(|known| {
        let known: Vec<&str> = known.split('/').collect();
        let fits = |(known, part): (&&str, &&str)| match *known {
            "*" => !part.is_empty(),
            known => known.eq_ignore_ascii_case(part),
        };
        known.len() == parts.len() && known.iter().zip(&parts).all(fits)
    })
}

/// Sets the defaults of a pool's machine configuration.
pub(super) fn fill_machine(machine: &mut VirtualMachineConfiguration) {
    let image = &mut machine.image_reference;
    if image.publisher.is_some() && image.virtual_machine_image_id.is_none() {
        image.version.get_or_insert_with(|| "latest".into());
    }
    each(machine.data_disks.as_mut().map(|Subtree(disks)| disks), |disk| {
        put(disk, "caching", json!("none"));
        // A disk has its storage type in one of two properties, depending on the client's version.
        if disk.get("managedDisk").is_none() {
            put(disk, "storageAccountType", json!("standard_lrs"));
        }
    });
    if let Some(Subtree(disk)) = &mut machine.os_disk {
        put(disk, "ephemeralOSDiskSettings", json!({}));
    }
}

/// Returns the image of a node: the pool's image with a version. Nodes have no real image here, so the latest
/// version of every image is 1.0.0.
pub(super) fn image_of_node(image: &ImageReference) -> ImageReference {
    let exact = image.version.as_deref().map(|version| match version {
        "latest" => "1.0.0".to_owned(),
        version => version.to_owned(),
    });
    wire::ImageReference { exact_version: exact, ..image.clone() }
}

/// Sets a property of an object if it is missing.
fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.entry(name).or_insert(value);
    }
}

/// Applies a change to each element of a list, if the value is a list.
fn each(list: Option<&mut Value>, change: impl FnMut(&mut Value)) {
    list.and_then(Value::as_array_mut).into_iter().flatten().for_each(change);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_an_id_of_a_known_kind() {
        let of = |rest: &str| format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/{rest}");
        for (id, expected) in [
            (of("images/i"), true),
            (of("galleries/g/images/i"), true),
            (of("galleries/g/images/i/versions/1.0.0"), true),
            (of("galleries/g/images/i/versions/1.0.0").to_uppercase(), true),
            (of("gallery/g/images/i/versions/1.0.0"), false),
            (of("galleries/g/images/i/versions"), false),
            (of("galleries/g/images//versions/1"), false),
            (of("images/"), false),
            (of("images/i/"), false),
            ("ubuntu".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_image_id(&id), expected, "{id}");
        }
    }

    #[test]
    fn defaults_are_set_and_nothing_else_is_changed() {
        let given = json!({
            "id": "p", "vmSize": "a1",
            "virtualMachineConfiguration": {
                "nodeAgentSKUId": "x", "imageReference": {"publisher": "canonical", "offer": "o", "sku": "s"},
                "dataDisks": [{"lun": 1, "diskSizeGB": 50}, {"lun": 2, "diskSizeGB": 50, "caching": "readonly", "managedDisk": {}}],
                "osDisk": {"diskSizeGB": 100},
            },
            "networkConfiguration": {"endpointConfiguration": {"inboundNATPools": [
                {"name": "e", "networkSecurityGroupRules": [{"priority": 150}, {"priority": 151, "sourcePortRanges": ["1"]}]}]}},
            "userAccounts": [{"name": "a"}, {"name": "b", "elevationLevel": "admin"}],
            "startTask": {"commandLine": "x", "maxTaskRetryCount": 2},
            "taskSlotsPerNode": 4,
        });
        let mut spec: PoolAdd = serde_json::from_value(given).unwrap();
        complete(&mut spec).unwrap();
        let whole = serde_json::to_value(&spec).unwrap();
        let expected = json!({
            "id": "p", "vmSize": "a1",
            "virtualMachineConfiguration": {
                "nodeAgentSKUId": "x",
                "imageReference": {"publisher": "canonical", "offer": "o", "sku": "s", "version": "latest"},
                "dataDisks": [
                    {"lun": 1, "diskSizeGB": 50, "caching": "none", "storageAccountType": "standard_lrs"},
                    {"lun": 2, "diskSizeGB": 50, "caching": "readonly", "managedDisk": {}},
                ],
                "osDisk": {"diskSizeGB": 100, "ephemeralOSDiskSettings": {}},
            },
            "networkConfiguration": {"dynamicVNetAssignmentScope": "none", "endpointConfiguration": {"inboundNATPools": [
                {"name": "e", "networkSecurityGroupRules": [
                    {"priority": 150, "sourcePortRanges": ["*"]}, {"priority": 151, "sourcePortRanges": ["1"]}]}]}},
            "userAccounts": [{"name": "a", "elevationLevel": "nonadmin"}, {"name": "b", "elevationLevel": "admin"}],
            "startTask": {
                "commandLine": "x", "maxTaskRetryCount": 2, "waitForSuccess": true,
                "userIdentity": {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}},
            },
            "taskSlotsPerNode": 4, "resizeTimeout": "PT15M", "targetDedicatedNodes": 0, "targetLowPriorityNodes": 0,
            "enableAutoScale": false, "enableInterNodeCommunication": false,
            "taskSchedulingPolicy": {"nodeFillType": "spread"},
        });
        assert_eq!(whole, expected);
    }
}
