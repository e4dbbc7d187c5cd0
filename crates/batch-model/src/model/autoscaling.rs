//! Pools whose number of nodes a formula sets.

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

/// How often a formula is evaluated by default.
const INTERVAL: IsoDuration = IsoDuration::from_secs(15 * 60);
/// The least and the most of it.
const INTERVALS: std::ops::RangeInclusive<IsoDuration> =
    IsoDuration::from_secs(5 * 60)..=IsoDuration::from_secs(168 * 3600);
/// How long a pool whose formula was set has to keep it, in seconds.
const PAUSE: i64 = 30;

/// What a new pool says of autoscale, with the service's defaults.
///
/// # Errors
/// A formula that is missing, cannot be read, or stands beside numbers of nodes.
pub(super) fn complete(spec: &mut PoolAdd) -> Result<(), Refusal> {
    if spec.enable_auto_scale != Some(true) {
        if spec.auto_scale_formula.is_some() || spec.auto_scale_evaluation_interval.is_some() {
            let words = "A formula or its interval is given, but enableAutoScale is not true.";
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
    let told = |error: FormulaError| {
        Refusal::new(400, "AutoScalingFormulaSyntaxError", words).with("Reason", error.message)
    };
    Formula::read(formula).map_err(told)
}

fn checked_interval(interval: IsoDuration) -> Result<(), Refusal> {
    if INTERVALS.contains(&interval) {
        return Ok(());
    }
    let reason = "It must be from 5 minutes to 168 hours";
    Err(Refusal::invalid("autoScaleEvaluationInterval", interval.to_string(), reason))
}

impl Model {
    /// Lets a formula set a pool's number of nodes, or changes that formula or how often it is evaluated.
    ///
    /// # Errors
    /// `PoolNotFound`, `PoolBeingResized`, a formula that cannot be read.
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

    /// From now on numbers set the number of nodes; those that are there stay.
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

    /// Evaluates a formula without doing what it wishes.
    ///
    /// # Errors
    /// `PoolNotFound`, a pool without autoscale. What is wrong with the formula is part of the answer.
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
        // A question changes nothing: it sees the pool as it is now, and leaves samples and chance as they were.
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

    /// Samples a pool from now on and evaluates its formula at once.
    pub(super) fn begin_autoscale(&mut self, key: &PoolKey, moment: Timestamp) {
        self.stop_autoscale(key);
        self.sample(key, moment);
        self.scale(key, moment);
    }

    /// Takes a sample, and sees to it that the next one is taken.
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

    /// What a pool does now. Costs what its jobs and nodes are many, whatever their tasks.
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

    /// Evaluates a pool's formula, does what it wishes, and sees to it that it is evaluated again.
    pub(super) fn scale(&mut self, key: &PoolKey, now: Timestamp) {
        // The alarm of a pool that was deleted stays until its time.
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

/// How an evaluation went.
fn run_of(now: Timestamp, wish: &Result<Wish, FormulaError>) -> AutoScaleRun {
    let told = |error: &FormulaError| {
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
        Err(error) => (error.results.clone(), Some(told(error))),
    };
    AutoScaleRun { timestamp: now, results, error }
}
