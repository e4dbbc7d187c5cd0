//! What befalls a run from outside, at its time: by somebody else with the same keys, or by the service itself.

use crate::{
    ShiftedClock,
    scenario::{Incident, IncidentKind},
};
use dropmill_actors::Services;
use dropmill_local_azure::{
    model::{Condition, Supply},
    service::LocalAzure,
};

/// The service of a world, its clock, and somebody else who may do everything.
#[derive(Clone)]
pub struct World {
    /// The service.
    pub service: LocalAzure,
    /// What it reads the time from.
    pub clock: ShiftedClock,
    /// Somebody else, who has a good wire.
    pub other: Services,
    /// The run's pool and job; none: the first that there are.
    pub pool: Option<String>,
    /// Likewise.
    pub job: Option<String>,
}

impl World {
    /// What the service does of itself; false if it is somebody's doing.
    pub fn befall(&self, what: &IncidentKind) -> bool {
        let supply = |supply| self.service.befall(&Condition::Supply(supply));
        match what {
            IncidentKind::PreemptNodes { nodes } => {
                self.service.befall(&Condition::Preempt { nodes: *nodes });
            }
            IncidentKind::BreakNodes { nodes } => self.service.befall(&Condition::Break { nodes: *nodes }),
            IncidentKind::Quota { nodes, code } => {
                supply(Supply { code: code.clone(), ..Supply::quota(*nodes) });
            }
            IncidentKind::StallResizes => supply(Supply { stalled: true, ..Supply::quota(u32::MAX) }),
            IncidentKind::MoveClock { ahead_seconds } => {
                self.clock.set(*ahead_seconds);
                self.service.clock_moved();
            }
            _ => return false,
        }
        true
    }

    /// Undoes it, where it can be undone.
    pub fn revert(&self, what: &IncidentKind) {
        match what {
            IncidentKind::PreemptNodes { .. } => self.service.befall(&Condition::Return),
            IncidentKind::BreakNodes { .. } => self.service.befall(&Condition::Recover),
            IncidentKind::Quota { .. } | IncidentKind::StallResizes => {
                self.service.befall(&Condition::Supply(Supply::quota(u32::MAX)));
            }
            IncidentKind::MoveClock { .. } => self.clock.set(0),
            _ => {}
        }
    }

    /// Lets an incident happen at its time, and end at its end; `cancel` is what the user does who cancels.
    pub async fn run_incident(self, incident: Incident, cancel: impl FnOnce()) {
        tokio::time::sleep(incident.at).await;
        if !self.befall(&incident.what) {
            self.interfere(&incident.what, cancel).await;
        }
        if let Some(lasts) = incident.lasts {
            tokio::time::sleep(lasts).await;
            self.revert(&incident.what);
        }
    }

    /// What somebody else does. That it cannot be done any more is no defect: the run was quicker.
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
            tracing::info!(?what, %error, "the scenario's interference came too late");
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
