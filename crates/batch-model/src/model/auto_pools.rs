//! Auto pools: pools that the service creates for a job and deletes after it.

use super::{
    Model, Refusal, jobs,
    keys::{JobKey, PoolKey},
};
use dropmill_azure_wire::{
    batch::{
        AutoPoolSpecification, ErrorCategory, FailureInfo, NameValuePair, PoolAdd, PoolLifetime,
        PoolSpecification,
    },
    time::Timestamp,
};
use rand::RngExt;

impl Model {
    /// Creates the auto pool of a job or schedule and returns its id.
    ///
    /// # Errors
    /// Returns the reason why it could not be created, as the job shows it.
    pub(super) fn make_auto_pool(
        &mut self,
        auto: &AutoPoolSpecification,
        now: Timestamp,
    ) -> Result<String, FailureInfo> {
        let pool = auto.pool.clone().unwrap_or_default();
        let bits: [u8; 16] = self.rng.random();
        let hex: String = bits.iter().map(|byte| format!("{byte:02X}")).collect();
        let guid = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        let id = match auto.auto_pool_id_prefix.as_deref() {
            Some(prefix) if !prefix.is_empty() => format!("{prefix}_{guid}"),
            _ => guid,
        };
        self.create_pool(add_of(id.clone(), pool), now).map(|_| id).map_err(|refusal| failure(&refusal))
    }

    /// Deletes the auto pool of a job that has ended.
    pub(super) fn drop_auto_pool(&mut self, job: &JobKey, now: Timestamp) {
        let found = self.jobs.get(job).expect(jobs::THERE);
        // A pool that the job names is kept.
        let Some(auto) = &found.spec.pool_info.auto_pool_specification else { return };
        let goes = auto.pool_lifetime_option == PoolLifetime::Job && auto.keep_alive != Some(true);
        if let Some(pool) = found.auto_pool.clone().filter(|_| goes)
            && self.pools.get(&PoolKey::of(&pool)).is_some_and(|pool| !pool.deleting)
        {
            // It exists and is not being deleted, so no error is possible.
            let _ = self.delete_pool(&pool, now);
        }
    }
}

fn failure(refusal: &Refusal) -> FailureInfo {
    let values = refusal.error.values.iter().flatten();
    let details =
        values.map(|detail| NameValuePair { name: detail.key.clone(), value: detail.value.clone() });
    FailureInfo {
        category: ErrorCategory::UserError,
        code: Some(match refusal.error.code.as_str() {
            "InvalidApplicationPackageReferences" => "InvalidApplicationPackageReferencesInAutoPool".into(),
            _ => "InvalidAutoPoolSettings".into(),
        }),
        message: Some(format!("{}: {}", refusal.error.code, refusal.error.text())),
        details: Some(details.collect()),
    }
}

fn add_of(id: String, pool: PoolSpecification) -> PoolAdd {
    PoolAdd {
        id,
        display_name: pool.display_name,
        vm_size: pool.vm_size,
        virtual_machine_configuration: pool.virtual_machine_configuration,
        cloud_service_configuration: pool.cloud_service_configuration,
        resize_timeout: pool.resize_timeout,
        target_dedicated_nodes: pool.target_dedicated_nodes,
        target_low_priority_nodes: pool.target_low_priority_nodes,
        enable_auto_scale: pool.enable_auto_scale,
        auto_scale_formula: pool.auto_scale_formula,
        auto_scale_evaluation_interval: pool.auto_scale_evaluation_interval,
        enable_inter_node_communication: pool.enable_inter_node_communication,
        network_configuration: pool.network_configuration,
        start_task: pool.start_task,
        certificate_references: pool.certificate_references,
        application_package_references: pool.application_package_references,
        application_licenses: pool.application_licenses,
        task_slots_per_node: pool.task_slots_per_node,
        task_scheduling_policy: pool.task_scheduling_policy,
        user_accounts: pool.user_accounts,
        metadata: pool.metadata,
        mount_configuration: pool.mount_configuration,
        target_node_communication_mode: pool.target_node_communication_mode,
        upgrade_policy: pool.upgrade_policy,
        resource_tags: pool.resource_tags,
    }
}
