//! Pools whose number of nodes is set by an autoscale formula.

use super::{Alarm, Model, Pool, Refusal, keys::PoolKey, pools, tag};
use crate::autoscale::{Formula, FormulaError, Samples, Sight, Wish};
use dropmill_azure_wire::{
    batch::{
        AutoScaleRun, AutoScaleRunError, JobState, NameValuePair, NodeState, PoolAdd, PoolEnableAutoScale,
        PoolResize, TaskState,
    },
    duration::IsoDuration,
    time::Timestamp,
};
use rand::RngExt;

/// Default interval between evaluations of a formula.
const INTERVAL: IsoDuration = IsoDuration::from_secs(15 * 60);
/// Minimum and maximum interval.
const INTERVALS: std::ops::RangeInclusive<IsoDuration> =
    IsoDuration::from_secs(5 * 60)..=IsoDuration::from_secs(168 * 3600);
/// Minimum time in seconds between two changes of a pool's formula.
const PAUSE: i64 = 30;

/// Checks the autoscale settings of a new pool and sets their defaults.
///
/// # Errors
/// Fails if the formula is missing or invalid, or if the pool has numbers of nodes too.
pub(super) fn complete(spec: &mut PoolAdd) -> Result<(), Refusal> {
    if spec.enable_auto_scale != Some(true) {
        if spec.auto_scale_formula.is_some() || spec.auto_scale_evaluation_interval.is_some() {
            let words = "A formula or its interval is set, but enableAutoScale is not true.";
            return Err(Refusal::new(400, "InvalidAutoScalingSettings", words));
        }
        return Ok(());
    }
    if spec.target_dedicated_nodes.is_some() || spec.target_low_priority_nodes.is_some() {
        let words = "A pool with a formula cannot have numbers of nodes.";
        return Err(Refusal::new(400, "InvalidAutoScalingSettings", words));
    }
    let formula = spec.auto_scale_formula.as_deref().ok_or_else(|| Refusal::missing("autoScaleFormula"))?;
    checked_formula(formula)?;
    checked_interval(*spec.auto_scale_evaluation_interval.get_or_insert(INTERVAL))
}

fn checked_formula(formula: &str) -> Result<Formula, Refusal> {
    let words = "The specified autoscaling formula has a syntax error.";
    let details = |error: FormulaError| {
        Refusal::new(400, "AutoScalingFormulaSyntaxError", words).with("Reason", error.message)
    };
    Formula::read(formula).map_err(details)
}

fn checked_interval(interval: IsoDuration) -> Result<(), Refusal> {
    if INTERVALS.contains(&interval) {
        return Ok(());
    }
    let reason = "It must be between 5 minutes and 168 hours";
    Err(Refusal::invalid("autoScaleEvaluationInterval", interval.to_string(), reason))
}

impl Model {
    /// Enables autoscale for a pool, or changes its formula or interval.
    ///
    /// # Errors
    /// `PoolNotFound`, `PoolBeingResized`, or an invalid formula.
    pub fn enable_autoscale(
        &mut self,
        id: &str,
        enable: &PoolEnableAutoScale,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let moment = self.moment(now);
        if let Some(formula) = &enable.auto_scale_formula {
            checked_formula(formula)?;
        }
        if let Some(interval) = enable.auto_scale_evaluation_interval {
            checked_interval(interval)?;
        }
        let pool = self.live_pool(id)?;
        let enabled = pool.spec.enable_auto_scale == Some(true);
        if !enabled && pool.resizing {
            return Err(Refusal::conflict("PoolBeingResized"));
        }
        if !enabled && enable.auto_scale_formula.is_none() {
            return Err(Refusal::missing("autoScaleFormula"));
        }
        if pool.formula_at.is_some_and(|at| moment.as_second() - at.as_second() < PAUSE) {
            let words = "Autoscale of the pool was enabled less than 30 seconds ago.";
            return Err(Refusal::new(503, "TooManyEnableAutoScaleRequests", words));
        }
        let spec = &mut pool.spec;
        spec.enable_auto_scale = Some(true);
        spec.auto_scale_formula = enable.auto_scale_formula.clone().or(spec.auto_scale_formula.take());
        let interval = enable.auto_scale_evaluation_interval.or(spec.auto_scale_evaluation_interval);
        spec.auto_scale_evaluation_interval = Some(interval.unwrap_or(INTERVAL));
        pool.formula_at = Some(moment);
        (pool.etag, pool.modified) = (tag(moment), moment);
        let key = PoolKey::of(id);
        self.begin_autoscale(&key, moment);
        self.keep_pool(&key);
        Ok(())
    }

    /// Disables autoscale; existing nodes stay.
    ///
    /// # Errors
    /// `PoolNotFound`, `PoolBeingDeleted`.
    pub fn disable_autoscale(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        let moment = self.moment(now);
        let pool = self.live_pool(id)?;
        pool.spec.enable_auto_scale = Some(false);
        (pool.spec.auto_scale_formula, pool.spec.auto_scale_evaluation_interval) = (None, None);
        pool.autoscale_run = None;
        (pool.etag, pool.modified) = (tag(moment), moment);
        let key = PoolKey::of(id);
        self.stop_autoscale(&key);
        self.keep_pool(&key);
        Ok(())
    }

    /// Evaluates a formula without applying its result.
    ///
    /// # Errors
    /// `PoolNotFound`, or a pool without autoscale. Errors of the formula are part of the response.
    pub fn evaluate_autoscale(
        &self,
        id: &str,
        formula: &str,
        now: Timestamp,
    ) -> Result<AutoScaleRun, Refusal> {
        let pool = self.pool(id)?;
        if pool.deleting {
            return Err(Refusal::conflict("PoolBeingDeleted"));
        }
        if pool.spec.enable_auto_scale != Some(true) {
            let words = "The operation needs a pool with autoscale.";
            return Err(Refusal::new(409, "OperationInvalidForCurrentState", words));
        }
        // This request changes nothing: it uses the current state of the pool and leaves samples and random
        // numbers unchanged.
        let (key, mut rng) = (PoolKey::of(id), self.rng.clone());
        let mut samples = pool.samples.clone();
        samples.take(now, self.sight(&key));
        let wish = Formula::read(formula)
            .and_then(|formula| formula.evaluate(&samples, self.targets(&key), now, &mut || rng.random()));
        Ok(run_of(now, &wish))
    }

    fn targets(&self, key: &PoolKey) -> (i32, i32) {
        let spec = &self.pools.get(key).expect(pools::THERE).spec;
        let of = |target: fn(&PoolAdd) -> Option<i32>| target(spec).unwrap_or(0);
        (of(|spec| spec.target_dedicated_nodes), of(|spec| spec.target_low_priority_nodes))
    }

    fn evaluate(&mut self, key: &PoolKey, formula: &Formula, now: Timestamp) -> Result<Wish, FormulaError> {
        let targets = self.targets(key);
        let pool = self.pools.get(key).expect(pools::THERE);
        let rng = &mut self.rng;
        formula.evaluate(&pool.samples, targets, now, &mut || rng.random())
    }

    fn stop_autoscale(&mut self, key: &PoolKey) {
        self.alarms.retain(|(_, alarm)| !matches!(alarm, Alarm::Sample(of) | Alarm::Scale(of) if of == key));
    }

    /// Starts to sample a pool, and evaluates its formula at once.
    pub(super) fn begin_autoscale(&mut self, key: &PoolKey, moment: Timestamp) {
        self.stop_autoscale(key);
        self.sample(key, moment);
        self.scale(key, moment);
    }

    /// Takes a sample and schedules the next one.
    pub(super) fn sample(&mut self, key: &PoolKey, now: Timestamp) {
        if !self.pools.get(key).is_some_and(scales) {
            return;
        }
        self.take_sample(key, now);
        if let Ok(next) = now.checked_add(Samples::PERIOD) {
            self.alarms.insert((next, Alarm::Sample(key.clone())));
        }
    }

    fn take_sample(&mut self, key: &PoolKey, now: Timestamp) {
        let sight = self.sight(key);
        if let Some(pool) = self.pools.get_mut(key) {
            pool.samples.take(now, sight);
        }
    }

    /// Returns the current state of a pool. The cost depends on the number of its jobs and nodes, not of its
    /// tasks.
    fn sight(&self, key: &PoolKey) -> Sight {
        let pool = self.pools.get(key).expect(pools::THERE);
        let mut sight = Sight { slots: pool.slots_per_node().into(), ..Sight::default() };
        let number = |count: usize| count as f64;
        for job in self.jobs.values() {
            if !job.pool_id().is_some_and(|id| id.eq_ignore_ascii_case(key.as_str())) {
                continue;
            }
            if job.state == JobState::Active {
                sight.active += number(job.tasks.ready().len());
            }
            sight.running += number(job.on_nodes_now());
            sight.succeeded += f64::from(job.tasks.succeeded());
            sight.failed += number(job.count(TaskState::Completed)) - f64::from(job.tasks.succeeded());
        }
        for node in pool.nodes.values().filter(|node| !node.leaving) {
            *(if node.dedicated { &mut sight.dedicated } else { &mut sight.low_priority }) += 1.0;
            sight.preempted += f64::from(u8::from(node.state == NodeState::Preempted));
            sight.usable += f64::from(u8::from(matches!(node.state, NodeState::Idle | NodeState::Running)));
        }
        sight
    }

    /// Evaluates a pool's formula, applies the result and schedules the next evaluation.
    pub(super) fn scale(&mut self, key: &PoolKey, now: Timestamp) {
        // The alarm of a deleted pool stays until its time.
        let Some(pool) = self.pools.get(key).filter(|pool| scales(pool)) else { return };
        let (id, formula) = (pool.spec.id.clone(), pool.spec.auto_scale_formula.clone().unwrap_or_default());
        let interval = pool.spec.auto_scale_evaluation_interval.unwrap_or(INTERVAL).as_std();
        if let Some(next) = interval.and_then(|interval| now.checked_add(interval).ok()) {
            self.alarms.insert((next, Alarm::Scale(key.clone())));
        }
        let wish = Formula::read(&formula).and_then(|formula| self.evaluate(key, &formula, now));
        let targets = self.targets(key);
        let pool = self.pools.get_mut(key).expect(pools::THERE);
        pool.autoscale_run = Some(run_of(now, &wish));
        let resizing = pool.resizing;
        if let Ok(wish) = wish
            && targets != (wish.dedicated, wish.low_priority)
            && !resizing
        {
            let resize = PoolResize {
                target_dedicated_nodes: Some(wish.dedicated),
                target_low_priority_nodes: Some(wish.low_priority),
                resize_timeout: None,
                node_deallocation_option: Some(wish.option),
            };
            if let Err(refusal) = self.change_size(&id, &resize, now) {
                let pool = self.pools.get_mut(key).expect(pools::THERE);
                let error = FormulaError::evaluation(refusal.error.text());
                pool.autoscale_run = Some(run_of(now, &Err(error)));
            }
        }
        self.keep_pool(key);
    }
}

fn scales(pool: &Pool) -> bool {
    pool.spec.enable_auto_scale == Some(true) && !pool.deleting
}

/// Returns the result of an evaluation.
fn run_of(now: Timestamp, wish: &Result<Wish, FormulaError>) -> AutoScaleRun {
    let details = |error: &FormulaError| {
        let (code, what) = match error.is_syntax {
            true => ("AutoScalingFormulaSyntaxError", "a syntax error"),
            false => ("AutoScalingFormulaEvaluationError", "evaluation error"),
        };
        AutoScaleRunError {
            code: Some(code.into()),
            message: Some(format!("The specified auto-scaling formula has {what}")),
            values: Some(vec![NameValuePair::new("Message", &error.message)]),
        }
    };
    let (results, error) = match wish {
        Ok(wish) => (Some(wish.results.clone()), None),
        Err(error) => (error.results.clone(), Some(details(error))),
    };
    AutoScaleRun { timestamp: now, results, error }
}
