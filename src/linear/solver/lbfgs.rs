//! Full-batch L-BFGS (Liu & Nocedal 1989) in a diagonal metric, ending in a certificate: the exact reference solver.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::vector::{axpy, difference, dot};
use super::{Fit, Monitor, Step};
use crate::linear::certificate::{Certificate, certify};
use crate::linear::objective::{Objective, Value};
use crate::{Error, Result};

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub struct LbfgsOptions {
    /// Relative gap of J to reach: certified where a bound exists, else estimated from the model of the objective.
    pub tolerance: f64,
    /// Iterations at most.
    pub max_iterations: usize,
}

/// Pairs of steps and gradient changes kept. 30 pairs gained nothing over 10 on embeddings.
const MEMORY: usize = 10;
/// Relative rounding noise of J: f32 logits, summed in f64.
const NOISE: f64 = 2e-7;
/// Iterations without a lower J (beyond rounding) or a tighter gap after which nothing more is to be had.
const STAGNATION: usize = 30;

/// Minimises the objective from `start` (over the features as they are, `C x D + C`). At least one iteration is made
/// unless the gradient vanishes.
///
/// # Errors
/// [`Error::Diverged`] when J or its gradient is not finite at the start.
pub fn minimise(
    objective: &mut Objective<'_>,
    start: &[f32],
    options: &LbfgsOptions,
    monitor: &mut Monitor<'_>,
) -> Result<Fit> {
    let passes_before = objective.evaluations();
    let mut walk = Walk::start(objective, start);
    if !walk.value.objective().is_finite() {
        return Err(Error::Diverged {
            value: walk.value.objective(),
            place: "the first pass".into(),
            lr: "none: L-BFGS".into(),
        });
    }
    let mut history = History::new(inverse_metric(objective));
    let mut steps = 0;
    let mut converged = walk.gradient.iter().all(|&g| g == 0.0);
    let mut stalled = false;
    let mut record = Record::default();

    while !converged && steps < options.max_iterations && !record.is_stagnant(steps) {
        let direction = history.direction(objective.kernels(), &walk.gradient);
        let slope = dot(objective.kernels(), &direction, &walk.gradient);
        // A direction that does not descend, or a line without progress, means a stale history: start afresh once.
        let step = if slope < 0.0 { walk.search(objective, &direction, slope) } else { None };
        let Some(step) = step else {
            if history.is_empty() || stalled {
                break;
            }
            history.clear();
            stalled = true;
            continue;
        };
        stalled = false;
        steps += 1;
        history.push(objective.kernels(), step.change, step.gradient_change);
        let certificate = walk.certificate(objective);
        record.see(steps, &certificate);
        let estimate = (-0.5 * slope).max(history.decrement(&walk.gradient));
        converged = is_done(&certificate, options.tolerance, estimate);
        let raw = walk.raw(objective);
        let report =
            Step { number: steps, objective: walk.value.objective(), step_size: step.length, theta: &raw };
        if let ControlFlow::Break(()) = monitor(&report) {
            break;
        }
    }
    Ok(Fit {
        certificate: walk.certificate(objective),
        theta: walk.raw(objective),
        converged,
        steps,
        passes: objective.evaluations() - passes_before,
    })
}

/// Whether the gap is within the tolerance; where no bound exists, a tenth of it is asked of the estimated gap.
fn is_done(certificate: &Certificate, tolerance: f64, estimate: f64) -> bool {
    match certificate.relative_gap {
        Some(gap) => gap <= tolerance,
        None => estimate <= 0.1 * tolerance * certificate.objective.abs(),
    }
}

/// The best values so far and the iteration that brought them.
#[derive(Default)]
struct Record {
    objective: Option<f64>,
    gap: Option<f64>,
    improved_at: usize,
}

impl Record {
    fn see(&mut self, step: usize, certificate: &Certificate) {
        let objective = certificate.objective;
        if self.objective.is_none_or(|best| objective < best - 0.05 * NOISE * best.abs()) {
            self.objective = Some(objective);
            self.improved_at = step;
        }
        if let Some(gap) = certificate.relative_gap
            && self.gap.is_none_or(|best| gap < 0.9 * best)
        {
            self.gap = Some(gap);
            self.improved_at = step;
        }
    }

    fn is_stagnant(&self, step: usize) -> bool {
        step >= self.improved_at + STAGNATION
    }
}

/// The current point with value and gradient, in the coordinates of the objective.
struct Walk {
    theta: Vec<f32>,
    value: Value,
    gradient: Vec<f32>,
}

struct Accepted {
    length: f64,
    change: Vec<f32>,
    gradient_change: Vec<f32>,
}

impl Walk {
    fn start(objective: &mut Objective<'_>, start: &[f32]) -> Self {
        let mut theta = start.to_vec();
        objective.enter(&mut theta);
        let mut gradient = vec![0.0; theta.len()];
        let value = objective.evaluate(&theta, &mut gradient);
        Walk { theta, value, gradient }
    }

    fn certificate(&self, objective: &Objective<'_>) -> Certificate {
        certify(objective, &self.theta, self.value, &self.gradient)
    }

    fn raw(&self, objective: &Objective<'_>) -> Vec<f32> {
        let mut raw = self.theta.clone();
        objective.leave(&mut raw);
        raw
    }

    /// Moves to a point along `direction` that meets the weak Wolfe conditions, found by bisection and doubling
    /// (Lewis & Overton 2013). `None`, and no move, where rounding leaves no such point.
    fn search(&mut self, objective: &mut Objective<'_>, direction: &[f32], slope: f64) -> Option<Accepted> {
        const SUFFICIENT_DECREASE: f64 = 1e-4;
        const CURVATURE: f64 = 0.9;
        const NOT_BEYOND: f64 = 0.8;
        const TRIALS: usize = 40;
        let kernels = objective.kernels();
        let start_value = self.value.objective();
        let noise = NOISE * start_value.abs();
        let (mut low, mut high, mut length) = (0.0, f64::INFINITY, 1.0);
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
            if !decreased || !slope_here.is_finite() {
                high = length;
            } else if slope_here < CURVATURE * slope {
                low = length;
            } else {
                return Some(self.accept(length, value, trial, gradient));
            }
            length = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * length };
        }
        None
    }

    fn accept(&mut self, length: f64, value: Value, theta: Vec<f32>, gradient: Vec<f32>) -> Accepted {
        let (mut change, mut gradient_change) = (Vec::new(), Vec::new());
        difference(&theta, &self.theta, &mut change);
        difference(&gradient, &self.gradient, &mut gradient_change);
        self.value = value;
        self.theta = theta;
        self.gradient = gradient;
        Accepted { length, change, gradient_change }
    }
}

/// Inverse of a diagonal model of the Hessian: `p_c (1 - p_c) variance_j + l2`, with `p_c` the weighted class share.
fn inverse_metric(objective: &Objective<'_>) -> Vec<f32> {
    let moments = objective.moments();
    let (on_weights, on_bias) = objective.decays();
    let curvature = |class: usize| {
        let share = moments.class_share[class];
        share * (1.0 - share)
    };
    let floor =
        1e-6 * (moments.total_variance() / moments.variance.len().max(1) as f64).max(f64::MIN_POSITIVE);
    let classes = moments.class_share.len();
    // Finite in f32 even where a feature is constant and nothing is penalised.
    let invert = |curvature: f64| (1.0 / curvature.max(1e-30)) as f32;
    let mut inverse = Vec::with_capacity(objective.problem().parameters());
    for class in 0..classes {
        let curvature = curvature(class);
        inverse.extend(moments.variance.iter().map(|v| invert(curvature * v.max(floor) + on_weights)));
    }
    inverse.extend((0..classes).map(|class| invert(curvature(class).max(1e-12) + on_bias)));
    inverse
}

/// The last pairs `(s, y)`, oldest first, and the metric that starts the recursion.
struct History {
    inverse_metric: Vec<f32>,
    pairs: VecDeque<Pair>,
}

struct Pair {
    change: Vec<f32>,
    gradient_change: Vec<f32>,
    inverse_curvature: f64,
}

impl History {
    fn new(inverse_metric: Vec<f32>) -> Self {
        History { inverse_metric, pairs: VecDeque::new() }
    }

    fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn clear(&mut self) {
        self.pairs.clear();
    }

    fn push(&mut self, kernels: &crate::simd::Kernels, change: Vec<f32>, gradient_change: Vec<f32>) {
        let curvature = dot(kernels, &change, &gradient_change);
        let scale =
            (dot(kernels, &change, &change) * dot(kernels, &gradient_change, &gradient_change)).sqrt();
        // Rounding or a non-convex stretch can leave a pair without curvature; it would spoil the metric.
        if curvature <= 1e-8 * scale {
            return;
        }
        if self.pairs.len() == MEMORY {
            self.pairs.pop_front();
        }
        self.pairs.push_back(Pair { change, gradient_change, inverse_curvature: 1.0 / curvature });
    }

    /// `g' M^-1 g / 2` in the metric M: the gap that the diagonal model of the Hessian expects.
    fn decrement(&self, gradient: &[f32]) -> f64 {
        let square = |(&g, &m): (&f32, &f32)| f64::from(g) * f64::from(g) * f64::from(m);
        0.5 * gradient.iter().zip(&self.inverse_metric).map(square).sum::<f64>()
    }

    /// The quasi-Newton direction `-H gradient` by the two-loop recursion.
    fn direction(&self, kernels: &crate::simd::Kernels, gradient: &[f32]) -> Vec<f32> {
        let mut direction: Vec<f32> = gradient.iter().map(|g| -g).collect();
        let mut along = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let alpha = pair.inverse_curvature * dot(kernels, &pair.change, &direction);
            axpy(kernels, -alpha, &pair.gradient_change, &mut direction);
            along.push(alpha);
        }
        let scale = self.pairs.back().map_or(1.0, |newest| self.metric_scale(newest));
        for (d, m) in direction.iter_mut().zip(&self.inverse_metric) {
            *d *= scale * m;
        }
        for (pair, alpha) in self.pairs.iter().zip(along.into_iter().rev()) {
            let beta = pair.inverse_curvature * dot(kernels, &pair.gradient_change, &direction);
            axpy(kernels, alpha - beta, &pair.change, &mut direction);
        }
        direction
    }

    /// `s.y / y'My`: the factor that fits the metric M to the newest pair.
    fn metric_scale(&self, newest: &Pair) -> f32 {
        let in_metric: f64 = newest
            .gradient_change
            .iter()
            .zip(&self.inverse_metric)
            .map(|(&y, &m)| f64::from(y) * f64::from(y) * f64::from(m))
            .sum();
        (1.0 / (newest.inverse_curvature * in_metric)) as f32
    }
}
