//! Carries out the incidents of a scenario at their times: actions of an outside user with the same keys, or
//! of the service itself.

use crate::{
    ShiftedClock,
    scenario::{Incident, IncidentKind},
};
use dropmill_actors::Services;
use dropmill_local_azure::{
    model::{Capacity, ServiceIncident},
    service::LocalAzure,
};

/// The service of a simulation, its clock, and an outside user with full access.
#[derive(Clone)]
pub struct World {
    /// The service under test.
    pub service: LocalAzure,
    /// Clock of the service.
    pub clock: ShiftedClock,
    /// Client of the outside user, without faults on its transport.
    pub other: Services,
    /// Id of the run's pool; if absent, the first pool of the service.
    pub pool: Option<String>,
    /// Id of the run's job; if absent, the first job of the service.
    pub job: Option<String>,
}

impl World {
    /// Injects an incident of the service. Returns `false` if the incident is an action of an outside user.
    pub fn inject(&self, what: &IncidentKind) -> bool {
        let supply = |supply| self.service.inject(&ServiceIncident::Capacity(supply));
        match what {
            IncidentKind::PreemptNodes { nodes } => {
                self.service.inject(&ServiceIncident::Preempt { nodes: *nodes });
            }
            IncidentKind::BreakNodes { nodes } => {
                self.service.inject(&ServiceIncident::Break { nodes: *nodes })
            }
            IncidentKind::Quota { nodes, code } => {
                supply(Capacity { code: code.clone(), ..Capacity::quota(*nodes) });
            }
            IncidentKind::StallResizes => supply(Capacity { stalled: true, ..Capacity::quota(u32::MAX) }),
            IncidentKind::MoveClock { ahead_seconds } => {
                self.clock.set(*ahead_seconds);
                self.service.clock_moved();
            }
            _ => return false,
        }
        true
    }

    /// Reverts an incident, if that is possible.
    pub fn revert(&self, what: &IncidentKind) {
        match what {
            IncidentKind::PreemptNodes { .. } => self.service.inject(&ServiceIncident::Return),
            IncidentKind::BreakNodes { .. } => self.service.inject(&ServiceIncident::Recover),
            IncidentKind::Quota { .. } | IncidentKind::StallResizes => {
                self.service.inject(&ServiceIncident::Capacity(Capacity::quota(u32::MAX)));
            }
            IncidentKind::MoveClock { .. } => self.clock.set(0),
            _ => {}
        }
    }

    /// Starts an incident at its time and ends it at its end; calls `cancel` if the incident is that the user
    /// cancels.
    pub async fn run_incident(self, incident: Incident, cancel: impl FnOnce()) {
        tokio::time::sleep(incident.at).await;
        if !self.inject(&incident.what) {
            self.interfere(&incident.what, cancel).await;
        }
        if let Some(lasts) = incident.lasts {
            tokio::time::sleep(lasts).await;
            self.revert(&incident.what);
        }
    }

    /// Carries out an action of an outside user. A failure is no defect: the run may already have ended.
    async fn interfere(&self, what: &IncidentKind, cancel: impl FnOnce()) {
        let batch = &self.other.batch;
        let pool = self.pool_id().await;
        let nodes = batch.list_nodes(&pool, None, None).await;
        let node = nodes.ok().and_then(|nodes| nodes.first().map(|node| node.id.clone().to_string()));
        let done = match (what, node) {
            (IncidentKind::Cancel, _) => {
                cancel();
                Ok(())
            }
            (IncidentKind::DeleteJob, _) => batch.delete_job(&self.job_id().await).await,
            (IncidentKind::DeletePool, _) => batch.delete_pool(&pool).await,
            (IncidentKind::RemoveNode, Some(node)) => batch.remove_nodes(&pool, &[node], None).await,
            (IncidentKind::RebootNode, Some(node)) => batch.reboot_node(&pool, &node).await,
            _ => Ok(()),
        };
        if let Err(error) = done {
            tracing::info!(?what, %error, "cannot carry out an incident of the scenario; the run may have ended");
        }
    }

    async fn pool_id(&self) -> String {
        match &self.pool {
            Some(pool) => pool.clone(),
            None => {
                let pools = self.other.batch.list_pools(None, Some("id")).await.unwrap_or_default();
                pools.into_iter().next().map(|pool| pool.id).unwrap_or_default()
            }
        }
    }

    async fn job_id(&self) -> String {
        match &self.job {
            Some(job) => job.clone(),
            None => {
                let jobs = self.other.batch.list_jobs(None, Some("id")).await.unwrap_or_default();
                jobs.into_iter().next().map(|job| job.id).unwrap_or_default()
            }
        }
    }
}
