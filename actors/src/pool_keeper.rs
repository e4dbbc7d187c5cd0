//! The pool of a run, from its creation to its deletion.

use crate::{
    bodies::{pool_add, pool_resize, sas_expiry, signed_count},
    deletion::{Deletion, delete_pool},
    intervals::PollIntervals,
    job_submitter::{JobHappened, JobSubmitter, still_unclear},
    liveness::LivenessGuard,
    record::{Recorder, retrying},
    run_context::RunContext,
    run_keeper::{RunHappened, RunKeeper},
    services::Services,
    shell::{Drives, Shell},
};
use actix::prelude::*;
use dropmill_azure_client::{batch::BatchApi, error::BatchError};
use dropmill_azure_wire::batch as wire;
use dropmill_journal::event::{EventKind, Role, Subject};
use dropmill_lifecycle::{
    Code, Elapsed, Failure,
    job::JobEvent,
    plan::RunPlan,
    pool::{Nodes, Pool, PoolCommand, PoolEvent, PoolLimits, PoolState, PoolView},
    run::RunEvent,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;

const ME: Role = Role::PoolKeeper;
const SUBJECT: Subject = Subject::Pool;
/// Maximum number of bytes of a failed start task's standard error.
const TAIL_BYTES: u64 = 2048;

/// The actor that owns the pool.
pub struct PoolKeeper {
    plan: Rc<RunPlan>,
    services: Services,
    record: Recorder,
    job: Addr<JobSubmitter>,
    run: Addr<RunKeeper>,
    shell: Shell<Pool>,
    /// Serializes requests about the pool, so that a deletion never overtakes the creation.
    turn: Arc<Mutex<()>>,
    looking: bool,
    /// Requested nodes: all nodes of the plan, or as many as an open-ended run needs.
    wanted: Nodes,
    /// Last known state of each node. Running and idle count as one: they change with every task.
    nodes: BTreeMap<String, wire::NodeState>,
    /// Codes of recorded errors because of which the service added no nodes.
    resize_errors: BTreeSet<String>,
    /// Whether a previous process recorded the creation of the pool.
    recorded: bool,
    cause: Option<u64>,
    _guard: LivenessGuard,
}

/// Notifies the keeper of an event of the pool: the result of a request or poll, or time that passed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PoolHappened {
    /// The event of the pool.
    pub event: PoolEvent,
    /// Number of the event that caused it.
    pub cause: Option<u64>,
}

/// The number of waiting and running tasks. A pool grows with this number, and shrinks only when it is 0.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Backlog(pub u32);

/// A node in the result of a poll.
struct NodeSeen {
    id: String,
    state: wire::NodeState,
    is_spot: bool,
    start_task: Option<wire::NodeTaskInfo>,
    stderr_tail: String,
    errors: Vec<String>,
}

impl PoolKeeper {
    /// Creates the keeper of one run's pool.
    pub fn new(
        context: RunContext,
        job: Addr<JobSubmitter>,
        run: Addr<RunKeeper>,
        guard: LivenessGuard,
    ) -> Self {
        let RunContext { plan, services, record, past, .. } = context;
        let intervals = PollIntervals::new(&services, &plan);
        let limits = PoolLimits {
            allocation: plan.deadlines.allocation,
            start_task: plan.deadlines.start_task,
            unusable: plan.deadlines.unusable,
            deletion: plan.deadlines.cleanup,
            look_every: intervals.pool,
            watch_every: intervals.longest,
            resize_every: Duration::from_secs(300),
            delays: plan.delays.clone(),
        };
        let wanted = match plan.open_ended {
            true => nodes_for(&plan, u32::try_from(plan.items.len()).unwrap_or(u32::MAX)),
            false => all_nodes(&plan),
        };
        Self {
            plan,
            wanted,
            services,
            record,
            job,
            run,
            shell: Shell::new(if past.lives > 0 { PoolState::Recovered } else { PoolState::Absent }, limits),
            turn: Arc::default(),
            looking: false,
            nodes: BTreeMap::new(),
            resize_errors: BTreeSet::new(),
            recorded: past.pool.is_some(),
            cause: past.pool,
            _guard: guard,
        }
    }

    fn note(&mut self, kind: EventKind) -> u64 {
        self.record.note(ME, SUBJECT, self.cause, kind)
    }

    fn create(&mut self, ctx: &mut Context<Self>) {
        let (batch, blob) = (self.services.batch.clone(), self.services.blob.clone());
        let (plan, turn) = (self.plan.clone(), self.turn.clone());
        let (expiry, nodes) = (sas_expiry(self.record.clock().now(), &plan), self.wanted);
        let recorded = self.recorded;
        let call = async move {
            let _turn = turn.lock().await;
            // A creation that arrives late, after a crash and the end of the run, would leave a pool.
            if recorded && found_ours(&batch, &plan).await? {
                return Ok(true);
            }
            let pool = pool_add(&plan, nodes, &blob, expiry);
            match batch.create_pool(&pool).await {
                Ok(()) => Ok(false),
                Err(error) if error.code() == Some(Code::PoolExists) || error.is_ambiguous() => {
                    match found_ours(&batch, &plan).await? {
                        true => Ok(true),
                        // It was not created after all: the first error is reported.
                        false => Err(error.failure()),
                    }
                }
                Err(error) => Err(error.failure()),
            }
        };
        ctx.spawn(call.into_actor(self).map(move |outcome, keeper, ctx| match outcome {
            Ok(adopted) => {
                let Nodes { dedicated: nodes, spot: spot_nodes } = nodes;
                let slots_per_node = Some(keeper.plan.pool.slots_per_node);
                let seq = keeper.note(EventKind::PoolCreated { nodes, spot_nodes, adopted, slots_per_node });
                keeper.cause = Some(seq);
                keeper.happened(PoolEvent::Created, ctx);
            }
            Err(failure) => keeper.happened(PoolEvent::CreateFailed(failure), ctx),
        }));
    }

    fn resize(&mut self, ctx: &mut Context<Self>) {
        let (batch, plan, turn) = (self.services.batch.clone(), self.plan.clone(), self.turn.clone());
        let nodes = self.wanted;
        let call = async move {
            let _turn = turn.lock().await;
            batch.resize_pool(&plan.pool.id, &pool_resize(nodes)).await
        };
        ctx.spawn(call.into_actor(self).map(|outcome, _, _| {
            if let Err(error) = outcome {
                tracing::info!(%error, "cannot request missing nodes; the next poll shows the state");
            }
        }));
    }

    fn delete(&mut self, ctx: &mut Context<Self>) {
        let (batch, plan, turn) = (self.services.batch.clone(), self.plan.clone(), self.turn.clone());
        let call = async move {
            let _turn = turn.lock().await;
            delete_pool(&batch, &plan.pool.id).await
        };
        ctx.spawn(call.into_actor(self).map(|outcome, keeper, ctx| match outcome {
            // A local service may delete it at once: poll before the first delay is over.
            Ok(Deletion::Accepted) => keeper.look(ctx),
            Ok(Deletion::Missing) => keeper.happened(PoolEvent::FoundMissing, ctx),
            Ok(Deletion::UnderWay) => {}
            Err(error) => keeper.happened(PoolEvent::DeleteFailed(error.failure()), ctx),
        }));
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.looking, true) {
            return;
        }
        let (batch, id) = (self.services.batch.clone(), self.plan.pool.id.clone());
        let known = self.nodes.clone();
        let look = async move {
            let pool = batch.get_pool(&id).await?;
            let mut nodes = vec![];
            for node in batch.list_nodes(&id, None, Some("id,state,isDedicated,startTaskInfo,errors")).await?
            {
                let failed = node.state == Some(wire::NodeState::StartTaskFailed);
                let news = known.get(&node.id) != Some(&wire::NodeState::StartTaskFailed);
                let stderr_tail = if failed && news {
                    start_task_stderr(&batch, &id, &node.id).await
                } else {
                    String::new()
                };
                nodes.push(NodeSeen {
                    id: node.id,
                    state: node.state.unwrap_or(wire::NodeState::Unknown),
                    is_spot: node.is_dedicated == Some(false),
                    start_task: node.start_task_info,
                    stderr_tail,
                    errors: node.errors.iter().flatten().filter_map(|error| error.message.clone()).collect(),
                });
            }
            Ok((pool, nodes))
        };
        ctx.spawn(look.into_actor(self).map(|outcome: Result<_, BatchError>, keeper, ctx| {
            keeper.looking = false;
            match outcome {
                Ok((pool, nodes)) => {
                    let view = keeper.view(&pool, nodes);
                    keeper.happened(PoolEvent::Seen(view), ctx);
                }
                Err(error) if error.is_not_found() => keeper.happened(PoolEvent::FoundMissing, ctx),
                Err(error) => {
                    tracing::info!(%error, "cannot poll the pool; polling again");
                    keeper.happened(PoolEvent::LookFailed(error.failure()), ctx);
                }
            }
        }));
    }

    /// Records changes since the last poll, and returns a summary.
    fn view(&mut self, pool: &wire::Pool, nodes: Vec<NodeSeen>) -> PoolView {
        let mut view = PoolView {
            steady: pool.allocation_state == Some(wire::AllocationState::Steady),
            target: self.wanted.count(),
            present: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
            shrunk: shrunk(pool, self.wanted),
            ..PoolView::default()
        };
        for error in pool.resize_errors.iter().flatten() {
            let code = error.code.clone().unwrap_or_default();
            let message = error.message.clone().unwrap_or_default();
            if self.resize_errors.insert(code.clone()) {
                self.note(EventKind::ResizeFailed { code: code.clone(), message: message.clone() });
            }
            view.resize_errors.push((code, message));
        }
        for node in nodes {
            match node.state {
                wire::NodeState::Idle | wire::NodeState::Running => view.ready += 1,
                wire::NodeState::StartTaskFailed => view.start_task_failed += 1,
                wire::NodeState::Unusable => {
                    view.unusable += 1;
                    view.spot_unusable |= node.is_spot;
                }
                _ => {}
            }
            // A working node is reported once.
            let coarse = match &node.state {
                wire::NodeState::Running => wire::NodeState::Idle,
                other => other.clone(),
            };
            if self.nodes.get(&node.id) == Some(&coarse) {
                continue;
            }
            let kind = EventKind::NodeChanged { state: coarse.as_str().to_owned() };
            self.nodes.insert(node.id.clone(), coarse);
            let subject = Subject::Node(node.id);
            self.record.note(ME, subject.clone(), self.cause, kind);
            self.run.do_send(RunHappened(RunEvent::Progressed));
            if node.state == wire::NodeState::StartTaskFailed {
                let info = node.start_task;
                let failure = info.as_ref().and_then(|info| info.failure_info.clone());
                let reason = failure.as_ref().map(crate::failure::message).unwrap_or_default();
                let kind = EventKind::StartTaskFailed {
                    exit_code: info.and_then(|info| info.exit_code),
                    reason,
                    stderr_tail: node.stderr_tail,
                };
                self.record.note(ME, subject, self.cause, kind);
            } else if node.state == wire::NodeState::Unusable {
                let reason = format!("node unusable: {}", node.errors.join("; "));
                self.record.note(ME, subject, self.cause, EventKind::Degraded { reason });
            }
        }
        view
    }

    /// Polls at once after a change notification, while it waits for nodes to be added or removed.
    fn listen(&mut self, ctx: &mut Context<Self>) {
        let Some(mut hints) = self.services.hints.clone() else { return };
        let changed = async move { hints.changed().await.map(|()| hints) };
        ctx.spawn(changed.into_actor(self).map(|outcome, keeper, ctx| {
            let Ok(hints) = outcome else { return };
            keeper.services.hints = Some(hints);
            if matches!(keeper.shell.state(), PoolState::Starting { .. } | PoolState::Deleting { .. }) {
                keeper.look(ctx);
            }
            // Many changes at the same time are one notification.
            ctx.run_later(Duration::from_millis(2), |keeper, ctx| keeper.listen(ctx));
        }));
    }
}

impl Drives<Pool> for PoolKeeper {
    fn shell(&mut self) -> &mut Shell<Pool> {
        &mut self.shell
    }

    fn now(&self) -> Elapsed {
        self.record.clock().elapsed()
    }

    fn carry_out(&mut self, command: PoolCommand, ctx: &mut Context<Self>) {
        match command {
            PoolCommand::Create => self.create(ctx),
            PoolCommand::Look => self.look(ctx),
            PoolCommand::Resize => self.resize(ctx),
            PoolCommand::Delete => self.delete(ctx),
            PoolCommand::ReportCreated => {
                self.job.do_send(JobHappened { event: JobEvent::Wanted, cause: self.cause });
            }
            PoolCommand::ReportDelay { attempt, rest, failure } => {
                self.note(retrying("create pool", attempt, rest, failure));
            }
            PoolCommand::ReportReady { nodes } => {
                let seq = self.note(EventKind::PoolReady { nodes });
                self.cause = Some(seq);
                self.run.do_send(RunHappened(RunEvent::Progressed));
            }
            PoolCommand::ReportDegraded(reason) => {
                self.note(EventKind::Degraded { reason });
            }
            PoolCommand::ReportDeadline(which) => {
                self.note(EventKind::DeadlinePassed { which: which.into() });
            }
            PoolCommand::ReportLost(failure) => {
                let timed_out =
                    failure.code == Code::AllocationTimedOut || failure.code == Code::StartTaskTimedOut;
                let event =
                    if timed_out { RunEvent::DeadlinePassed(failure) } else { RunEvent::Lost(failure) };
                self.run.do_send(RunHappened(event));
            }
            PoolCommand::ReportGone => {
                if !self.nodes.is_empty() || !self.resize_errors.is_empty() || self.cause.is_some() {
                    self.note(EventKind::PoolDeleted {});
                }
                self.run.do_send(RunHappened(RunEvent::PoolDone));
            }
            PoolCommand::ReportLeft(reason) => {
                self.note(EventKind::LeftBehind { reason });
                self.run.do_send(RunHappened(RunEvent::PoolDone));
            }
        }
    }
}

impl Actor for PoolKeeper {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.listen(ctx);
    }
}

impl Handler<PoolHappened> for PoolKeeper {
    type Result = ();
    fn handle(&mut self, PoolHappened { event, cause }: PoolHappened, ctx: &mut Context<Self>) {
        if self.cause.is_none() && event == PoolEvent::Wanted {
            self.cause = cause;
        }
        self.happened(event, ctx);
    }
}

impl Handler<Backlog> for PoolKeeper {
    type Result = ();
    fn handle(&mut self, Backlog(tasks): Backlog, ctx: &mut Context<Self>) {
        let wanted = nodes_for(&self.plan, tasks);
        if wanted.count() > self.wanted.count() {
            self.wanted = wanted;
            self.happened(PoolEvent::Grown, ctx);
        }
    }
}

/// Returns whether the service was asked for fewer nodes than the plan needs. A shortage has an error, and an
/// autoscale formula sets its own number.
fn shrunk(pool: &wire::Pool, wanted: Nodes) -> bool {
    let fewer = |wanted: u32, asked: Option<i32>| asked.is_some_and(|asked| asked < signed_count(wanted));
    pool.enable_auto_scale != Some(true)
        && pool.resize_errors.iter().flatten().next().is_none()
        && (fewer(wanted.dedicated, pool.target_dedicated_nodes)
            || fewer(wanted.spot, pool.target_low_priority_nodes))
}

fn all_nodes(plan: &RunPlan) -> Nodes {
    Nodes { dedicated: plan.pool.nodes, spot: plan.pool.spot_nodes }
}

fn nodes_for(plan: &RunPlan, tasks: u32) -> Nodes {
    // A task occupies this many slots of a node.
    let at_once = plan.pool.slots_per_node / plan.job.required_slots.max(1);
    all_nodes(plan).for_tasks(tasks, at_once)
}

/// Polls for the pool; returns whether it exists and belongs to this run. It does if it has the fingerprint
/// and this run's name, or if the run file names it and it matches.
///
/// # Errors
/// Fails if another pool has its id, or if the service does not respond.
async fn found_ours(batch: &BatchApi, plan: &RunPlan) -> Result<bool, Failure> {
    let found = match batch.get_pool(&plan.pool.id).await {
        Ok(found) => found,
        Err(missing) if missing.is_not_found() => return Ok(false),
        Err(other) => return Err(still_unclear(other.failure())),
    };
    let value = |name: &str| {
        found.metadata.iter().flatten().find(|item| item.name == name).map(|item| item.value.as_str())
    };
    let fits = value("dropmill-fingerprint") == Some(plan.pool.fingerprint.as_str());
    let ours = !plan.pool.own || value("dropmill-run") == Some(plan.run.as_str());
    if fits && ours {
        return Ok(true);
    }
    let message = format!(
        "pool {} exists and is another one (its fingerprint is {}, ours {}): name another pool.id, or delete it",
        plan.pool.id,
        value("dropmill-fingerprint").unwrap_or("absent"),
        plan.pool.fingerprint,
    );
    Err(Failure::permanent(Code::PoolExists, message))
}

async fn start_task_stderr(batch: &BatchApi, pool: &str, node: &str) -> String {
    match batch.get_node_file_tail(pool, node, "startup/stderr.txt", TAIL_BYTES).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim_end().to_owned(),
        Err(error) => format!("(its stderr could not be read: {error})"),
    }
}
