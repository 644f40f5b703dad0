//! Full-batch L-BFGS (Liu & Nocedal 1989) in the metric of a model of the Hessian, ending in a certificate.
//!
//! In the metric of [`super::metric`] embeddings take 3 to 10 times fewer passes than in a diagonal one. The metric is
//! renewed once the passes have cost as much as another one would.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::balance::BiasNewton;
use super::metric::Preconditioner;
use super::vector::{axpy, dot, subtract_from};
use super::{Fit, Monitor, Step, work_of_a_pass};
use crate::checkpoint::codec::{Stored, store_fields};
use crate::linear::certificate::{Certificate, certify, gap_if_balanced};
use crate::linear::objective::{Objective, Value};
use crate::{Error, Result};

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub struct LbfgsOptions {
    /// Relative gap of J to reach.
    pub tolerance: f64,
    /// Iterations at most.
    pub max_iterations: usize,
    /// Whether the gap has to be certified where a bound exists, or only estimated from the model of the objective.
    pub certified: bool,
}

/// Values that the pairs of steps and gradient changes may hold together, and bounds on their number. On embeddings 5 pairs
/// take as many passes as 50; on kdd99_10pct, a table whose Hessian no metric follows, 100 pairs need half of what 10 do.
const MEMORY: usize = 1 << 20;
const FEWEST_PAIRS: usize = 5;
const MOST_PAIRS: usize = 100;
/// Relative rounding noise of J: f32 logits, summed in f64.
const NOISE: f64 = 2e-7;
/// Iterations without a lower J (beyond rounding) or a tighter gap after which nothing more is to be had.
const STAGNATION: usize = 30;

/// Estimated relative gap, and relative decrease of J in an iteration, at which coarse arithmetic ends. On banking77 and
/// clinc150imb a gap from 0.1 to 1e-4 leaves the number of passes as it is.
const COARSE_GAP: f64 = 1e-3;
const COARSE_DECREASE: f64 = 1e-4;
/// Floating-point operations of a pass from which coarse arithmetic saves more than the pass that leaves it.
const COARSE_WORK: f64 = 1e9;

/// Minimises the objective from `start` (over the features as they are, `C x D + C`). `preconditioner` keeps the metric
/// for the next fit over the same rows.
///
/// # Errors
/// [`Error::Diverged`] when J or its gradient is not finite at the start.
pub fn minimise(
    objective: &mut Objective<'_>,
    preconditioner: &mut Preconditioner,
    start: &[f32],
    options: &LbfgsOptions,
    monitor: &mut Monitor<'_>,
) -> Result<Fit> {
    minimise_from(objective, preconditioner, Start::At(start), options, &mut |step, _| monitor(step))
}

/// Where a fit starts.
pub(in crate::linear) enum Start<'s> {
    /// At parameters, over the features as they are.
    At(&'s [f32]),
    /// Where another one was left.
    From(Box<State>),
}

/// Called after each step as [`Monitor`], with what writes down the fit as it is.
pub(in crate::linear) type StateMonitor<'m> = dyn FnMut(&Step, &dyn Fn() -> Vec<u8>) -> ControlFlow<()> + 'm;

/// [`minimise`] from `start`. A fit that goes on shows the step it was left at to `monitor` once more.
///
/// # Errors
/// Those of [`minimise`].
pub(in crate::linear) fn minimise_from(
    objective: &mut Objective<'_>,
    preconditioner: &mut Preconditioner,
    start: Start<'_>,
    options: &LbfgsOptions,
    monitor: &mut StateMonitor<'_>,
) -> Result<Fit> {
    let kernels = objective.kernels();
    let passes_before = objective.evaluations();
    let mut is_left = false;
    let mut course = match start {
        Start::At(start) => Course::start(objective, preconditioner, start, options)?,
        Start::From(state) => {
            let State { preconditioner: metric, course } = *state;
            *preconditioner = metric;
            preconditioner.make_ready(objective);
            if course.is_coarse {
                objective.coarsen();
            }
            is_left = monitor(&course.step(), &|| state_bytes(preconditioner, &course)).is_break();
            course
        }
    };
    let earlier_passes = course.passes;
    let mut goal = Goal::new(options, &course.balanced_at, objective);
    let mut counted = objective.evaluations();
    let mut converged = false;

    while !is_left {
        let passes = std::mem::take(&mut course.uncounted) + objective.evaluations()
            - std::mem::replace(&mut counted, objective.evaluations());
        let Course { walk, history, record, decrease, stalled, steps, balance_below, balanced_at, .. } =
            &mut course;
        if preconditioner.is_worn_out_by(passes) {
            preconditioner.renew(objective, &walk.theta);
            history.pushed = 0;
        }
        let direction = history.direction(preconditioner, kernels, &walk.gradient);
        let slope = dot(kernels, &direction, &walk.gradient);
        let estimate = -0.5 * slope / walk.value.objective().abs();
        if objective.is_coarse() && (estimate <= COARSE_GAP || *decrease < COARSE_DECREASE) {
            walk.leave_coarse(objective);
            continue;
        }
        converged = goal.is_reached(estimate, walk, balance_below, balanced_at, objective);
        record.see(*steps, walk.value.objective(), estimate);
        if converged || *steps >= options.max_iterations || record.is_stagnant(*steps) {
            break;
        }
        // A direction that does not descend, or a line without progress, means a stale history: start afresh once.
        let step = if slope < 0.0 { walk.search(objective, &direction, slope) } else { None };
        let Some(step) = step else {
            if objective.is_coarse() {
                walk.leave_coarse(objective);
                continue;
            }
            if history.is_empty() || *stalled {
                break;
            }
            history.clear();
            *stalled = true;
            continue;
        };
        *stalled = false;
        *decrease = step.decrease / walk.value.objective().abs();
        *steps += 1;
        history.push(preconditioner, kernels, step.change, step.gradient_change);
        course.step_size = step.length;
        course.is_coarse = objective.is_coarse();
        course.passes = earlier_passes + objective.evaluations() - passes_before;
        course.uncounted = objective.evaluations() - std::mem::replace(&mut counted, objective.evaluations());
        is_left = monitor(&course.step(), &|| state_bytes(preconditioner, &course)).is_break();
    }
    let mut walk = course.walk;
    walk.leave_coarse(objective);
    if options.certified {
        walk.refine(objective);
    }
    Ok(Fit {
        certificate: walk.certificate(objective),
        theta: walk.raw(objective),
        converged,
        steps: course.steps,
        passes: earlier_passes + objective.evaluations() - passes_before,
    })
}

/// A fit between two steps, with the metric it is in.
#[derive(Debug)]
pub(in crate::linear) struct State {
    preconditioner: Preconditioner,
    course: Course,
}

impl State {
    /// Whether this can be a state of the fit of `objective`.
    pub(in crate::linear) fn fits(&self, objective: &Objective<'_>) -> bool {
        let parameters = objective.problem().parameters();
        let Walk { theta, gradient, .. } = &self.course.walk;
        let pairs = self.course.history.pairs.iter().flat_map(|pair| [&pair.change, &pair.gradient_change]);
        let vectors = pairs.chain([theta, gradient]).chain(&self.course.balanced_at);
        let is_of_rows = self.preconditioner.rows() == objective.problem().rows.len();
        is_of_rows
            && self.preconditioner.fits(objective)
            && vectors.into_iter().all(|vector| vector.len() == parameters)
    }
}

/// A [`State`] as its parts are stored.
fn state_bytes(preconditioner: &Preconditioner, course: &Course) -> Vec<u8> {
    let mut out = Vec::new();
    preconditioner.store(&mut out);
    course.store(&mut out);
    out
}
store_fields!(State { preconditioner, course });

/// A fit without its metric.
#[derive(Debug)]
struct Course {
    walk: Walk,
    history: History,
    record: Record,
    /// Relative decrease of J, and length, of the last step.
    decrease: f64,
    step_size: f64,
    stalled: bool,
    steps: usize,
    /// See [`Goal`].
    balance_below: f64,
    balanced_at: Option<Vec<f32>>,
    is_coarse: bool,
    /// Passes made, and those of them that the metric has not been told of.
    passes: usize,
    uncounted: usize,
}
store_fields!(Course {
    walk,
    history,
    record,
    decrease,
    step_size,
    stalled,
    steps,
    balance_below,
    balanced_at,
    is_coarse,
    passes,
    uncounted,
});

impl Course {
    fn start(
        objective: &mut Objective<'_>,
        preconditioner: &mut Preconditioner,
        start: &[f32],
        options: &LbfgsOptions,
    ) -> Result<Self> {
        if work_of_a_pass(objective.problem()) >= COARSE_WORK {
            objective.coarsen();
        }
        let walk = Walk::start(objective, start);
        if !walk.value.objective().is_finite() {
            objective.refine();
            return Err(Error::Diverged {
                value: walk.value.objective(),
                place: "the first pass".into(),
                lr: "none: L-BFGS".into(),
            });
        }
        preconditioner.prepare(objective, &walk.theta);
        Ok(Course {
            history: History::new(walk.theta.len()),
            walk,
            record: Record::default(),
            decrease: f64::INFINITY,
            step_size: 0.0,
            stalled: false,
            steps: 0,
            balance_below: options.tolerance,
            balanced_at: None,
            is_coarse: false,
            passes: 0,
            uncounted: 0,
        })
    }

    fn step(&self) -> Step {
        Step { number: self.steps, objective: self.walk.value.objective(), step_size: self.step_size }
    }
}

/// When a fit is good enough. Below an estimated relative gap, halved by each failure, balancing the biases is tried, with
/// the Hessian of the parameters where that was first done.
struct Goal {
    tolerance: f64,
    certified: bool,
    newton: Option<BiasNewton>,
}

impl Goal {
    fn new(options: &LbfgsOptions, balanced_at: &Option<Vec<f32>>, objective: &Objective<'_>) -> Self {
        let LbfgsOptions { tolerance, certified, .. } = *options;
        let newton = balanced_at.as_ref().and_then(|theta| BiasNewton::at(objective, theta));
        Goal { tolerance, certified, newton }
    }

    /// Whether the walk has arrived where its model promises `estimate` as relative gap; the biases may be moved.
    fn is_reached(
        &mut self,
        estimate: f64,
        walk: &mut Walk,
        balance_below: &mut f64,
        balanced_at: &mut Option<Vec<f32>>,
        objective: &mut Objective<'_>,
    ) -> bool {
        if estimate > self.tolerance {
            return false;
        }
        match walk.certificate(objective).relative_gap {
            Some(gap) if gap <= self.tolerance => self.is_confirmed(walk, objective),
            Some(_) if !self.certified => estimate <= 0.5 * self.tolerance,
            // Where no bound exists, more is asked of the estimate.
            None => estimate <= 0.1 * self.tolerance,
            Some(_) if estimate > *balance_below => false,
            Some(_) => {
                let hope = gap_if_balanced(objective, &walk.theta, walk.value, &walk.gradient);
                if hope.is_none_or(|gap| gap > self.tolerance) {
                    return false;
                }
                *balance_below = 0.5 * estimate;
                if self.newton.is_none() {
                    self.newton = BiasNewton::at(objective, &walk.theta);
                    *balanced_at = Some(walk.theta.clone());
                }
                self.is_reached_by_balance(walk, objective)
            }
        }
    }

    /// Whether the gap is met in f32, too.
    fn is_confirmed(&self, walk: &mut Walk, objective: &mut Objective<'_>) -> bool {
        if self.certified {
            walk.refine(objective);
        }
        walk.certificate(objective).relative_gap.is_some_and(|gap| gap <= self.tolerance)
    }

    fn is_reached_by_balance(&self, walk: &mut Walk, objective: &mut Objective<'_>) -> bool {
        let Some(newton) = &self.newton else { return false };
        walk.balance_bias(objective, newton, self.tolerance);
        let gap = walk.certificate(objective).relative_gap;
        gap.is_some_and(|gap| gap <= self.tolerance) && self.is_confirmed(walk, objective)
    }
}

/// The best values so far and the iteration that brought them.
#[derive(Debug, Default)]
struct Record {
    objective: Option<f64>,
    estimate: Option<f64>,
    improved_at: usize,
}
store_fields!(Record { objective, estimate, improved_at });

impl Record {
    fn see(&mut self, step: usize, objective: f64, estimate: f64) {
        if self.objective.is_none_or(|best| objective < best - 0.05 * NOISE * best.abs()) {
            self.objective = Some(objective);
            self.improved_at = step;
        }
        if self.estimate.is_none_or(|best| estimate < 0.9 * best) {
            self.estimate = Some(estimate);
            self.improved_at = step;
        }
    }

    fn is_stagnant(&self, step: usize) -> bool {
        step >= self.improved_at.saturating_add(STAGNATION)
    }
}

/// The current point with value and gradient, in the coordinates of the objective.
#[derive(Debug)]
struct Walk {
    theta: Vec<f32>,
    value: Value,
    gradient: Vec<f32>,
    /// Whether value and gradient are those of f32.
    is_in_f32: bool,
}
store_fields!(Walk { theta, value, gradient, is_in_f32 });

/// J along a line: how far, the change of J, and its slope.
struct Probe {
    length: f64,
    change: f64,
    slope: f64,
}

impl Probe {
    /// Where the cubic through both ends is lowest (Nocedal & Wright 2006, eq. 3.59), a tenth of the way off the ends.
    fn minimum_before(&self, high: &Probe) -> f64 {
        let width = high.length - self.length;
        let bend = self.slope + high.slope - 3.0 * (high.change - self.change) / width;
        let root = (bend * bend - self.slope * high.slope).sqrt();
        let share = 1.0 - (high.slope + root - bend) / (high.slope - self.slope + 2.0 * root);
        self.length + width * if share.is_finite() { share.clamp(0.1, 0.9) } else { 0.5 }
    }
}

struct Accepted {
    length: f64,
    decrease: f64,
    change: Vec<f32>,
    gradient_change: Vec<f32>,
}

impl Walk {
    fn start(objective: &mut Objective<'_>, start: &[f32]) -> Self {
        let mut theta = start.to_vec();
        objective.enter(&mut theta);
        let mut gradient = vec![0.0; theta.len()];
        let value = objective.evaluate(&theta, &mut gradient);
        Walk { theta, value, gradient, is_in_f32: objective.is_in_f32() }
    }

    /// Value and gradient as they are far from the optimum no longer.
    fn leave_coarse(&mut self, objective: &mut Objective<'_>) {
        if objective.is_coarse() {
            objective.refine();
            self.value = objective.evaluate(&self.theta, &mut self.gradient);
            self.is_in_f32 = objective.is_in_f32();
        }
    }

    /// Value and gradient in f32 throughout.
    fn refine(&mut self, objective: &mut Objective<'_>) {
        if !self.is_in_f32 {
            self.value = objective.evaluate_in_f32(&self.theta, &mut self.gradient);
            self.is_in_f32 = true;
        }
    }

    fn certificate(&self, objective: &Objective<'_>) -> Certificate {
        certify(objective, &self.theta, self.value, &self.gradient)
    }

    fn raw(&self, objective: &Objective<'_>) -> Vec<f32> {
        let mut raw = self.theta.clone();
        objective.leave(&mut raw);
        raw
    }

    /// Newton steps in the biases as long as they help, until the certificate meets `tolerance`.
    fn balance_bias(&mut self, objective: &mut Objective<'_>, newton: &BiasNewton, tolerance: f64) {
        const STEPS: usize = 4;
        let bias_at = self.theta.len() - objective.problem().classes;
        let kernels = objective.kernels();
        let size = |gradient: &[f32]| dot(kernels, &gradient[bias_at..], &gradient[bias_at..]);
        for _ in 0..STEPS {
            let mut theta = self.theta.clone();
            axpy(kernels, 1.0, &newton.step(&self.gradient[bias_at..]), &mut theta[bias_at..]);
            let mut gradient = vec![0.0; theta.len()];
            let value = objective.evaluate(&theta, &mut gradient);
            let is_better = value.objective() <= self.value.objective() * (1.0 + NOISE)
                && size(&gradient) < size(&self.gradient);
            if !is_better {
                break;
            }
            (self.theta, self.value, self.gradient) = (theta, value, gradient);
            self.is_in_f32 = objective.is_in_f32();
            if self.certificate(objective).relative_gap.is_some_and(|gap| gap <= tolerance) {
                break;
            }
        }
    }

    /// Moves to a point along `direction` that meets the weak Wolfe conditions, found by interpolation and doubling
    /// (Lewis & Overton 2013). `None`, and no move, where rounding leaves no such point.
    fn search(&mut self, objective: &mut Objective<'_>, direction: &[f32], slope: f64) -> Option<Accepted> {
        const SUFFICIENT_DECREASE: f64 = 1e-4;
        const CURVATURE: f64 = 0.9;
        const NOT_BEYOND: f64 = 0.8;
        const TRIALS: usize = 40;
        let kernels = objective.kernels();
        let start_value = self.value.objective();
        let noise = NOISE * start_value.abs();
        let mut low = Probe { length: 0.0, change: 0.0, slope };
        let mut high: Option<Probe> = None;
        let mut length = 1.0;
        let mut trial = Vec::with_capacity(self.theta.len());
        let mut gradient = vec![0.0; self.theta.len()];
        for _ in 0..TRIALS {
            trial.clear();
            trial.extend_from_slice(&self.theta);
            axpy(kernels, length, direction, &mut trial);
            let value = objective.evaluate(&trial, &mut gradient);
            let slope_here = dot(kernels, direction, &gradient);
            let change = value.objective() - start_value;
            // Where the change of J drowns in rounding, the slope still tells whether the minimum was passed
            // (the approximate Wolfe condition of Hager & Zhang 2005).
            let decreased = change <= SUFFICIENT_DECREASE * length * slope
                || (change <= noise && slope_here <= -NOT_BEYOND * slope);
            let here = Probe { length, change, slope: slope_here };
            if !decreased || !slope_here.is_finite() {
                high = Some(here);
            } else if slope_here < CURVATURE * slope {
                low = here;
            } else {
                self.is_in_f32 = objective.is_in_f32();
                return Some(self.accept(length, value, trial, gradient));
            }
            length = high.as_ref().map_or(2.0 * length, |high| low.minimum_before(high));
        }
        None
    }

    fn accept(&mut self, length: f64, value: Value, theta: Vec<f32>, gradient: Vec<f32>) -> Accepted {
        // In the memory of the point left: with many classes each vector is as large as the model.
        let mut change = std::mem::replace(&mut self.theta, theta);
        let mut gradient_change = std::mem::replace(&mut self.gradient, gradient);
        subtract_from(&self.theta, &mut change);
        subtract_from(&self.gradient, &mut gradient_change);
        let decrease = std::mem::replace(&mut self.value, value).objective() - value.objective();
        Accepted { length, decrease, change, gradient_change }
    }
}

/// The last pairs `(s, y)`, oldest first.
#[derive(Debug)]
struct History {
    /// Factor of the inverse metric; 1 as long as there are no pairs.
    scale: f32,
    /// Pairs seen since the metric is what it is.
    pushed: usize,
    most_pairs: usize,
    pairs: VecDeque<Pair>,
}
store_fields!(History { scale, pushed, most_pairs, pairs });

#[derive(Debug)]
struct Pair {
    change: Vec<f32>,
    gradient_change: Vec<f32>,
    inverse_curvature: f64,
}
store_fields!(Pair { change, gradient_change, inverse_curvature });

/// The scale of the metric follows each of the first pairs, then every so-manieth: it costs as much as a direction.
const SETTLED: usize = 4;
const RESCALE: usize = 8;

impl History {
    fn new(parameters: usize) -> Self {
        let most_pairs = (MEMORY / (2 * parameters.max(1))).clamp(FEWEST_PAIRS, MOST_PAIRS);
        History { scale: 1.0, pushed: 0, most_pairs, pairs: VecDeque::new() }
    }

    fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn clear(&mut self) {
        (self.scale, self.pushed) = (1.0, 0);
        self.pairs.clear();
    }

    fn push(
        &mut self,
        preconditioner: &Preconditioner,
        kernels: &crate::simd::Kernels,
        change: Vec<f32>,
        gradient_change: Vec<f32>,
    ) {
        let curvature = dot(kernels, &change, &gradient_change);
        let scale =
            (dot(kernels, &change, &change) * dot(kernels, &gradient_change, &gradient_change)).sqrt();
        // Rounding or a non-convex stretch can leave a pair without curvature; it would spoil the metric.
        if curvature <= 1e-8 * scale {
            return;
        }
        if self.pairs.len() >= self.most_pairs {
            self.pairs.pop_front();
        }
        let pair = Pair { change, gradient_change, inverse_curvature: 1.0 / curvature };
        if self.pushed < SETTLED || self.pushed.is_multiple_of(RESCALE) {
            self.scale = pair.metric_scale(preconditioner, kernels);
        }
        self.pushed += 1;
        self.pairs.push_back(pair);
    }

    /// The quasi-Newton direction `-H gradient` by the two-loop recursion.
    fn direction(
        &self,
        preconditioner: &Preconditioner,
        kernels: &crate::simd::Kernels,
        gradient: &[f32],
    ) -> Vec<f32> {
        let mut direction: Vec<f32> = gradient.iter().map(|g| -g).collect();
        let mut along = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let alpha = pair.inverse_curvature * dot(kernels, &pair.change, &direction);
            axpy(kernels, -alpha, &pair.gradient_change, &mut direction);
            along.push(alpha);
        }
        preconditioner.solve(&mut direction, kernels);
        direction.iter_mut().for_each(|d| *d *= self.scale);
        for (pair, alpha) in self.pairs.iter().zip(along.into_iter().rev()) {
            let beta = pair.inverse_curvature * dot(kernels, &pair.gradient_change, &direction);
            axpy(kernels, alpha - beta, &pair.change, &mut direction);
        }
        direction
    }
}

impl Pair {
    /// `s.y / y'M^-1 y`: the factor that fits the metric M to this pair.
    fn metric_scale(&self, preconditioner: &Preconditioner, kernels: &crate::simd::Kernels) -> f32 {
        let mut solved = self.gradient_change.clone();
        preconditioner.solve(&mut solved, kernels);
        (1.0 / (self.inverse_curvature * dot(kernels, &solved, &self.gradient_change))) as f32
    }
}
