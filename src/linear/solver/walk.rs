//! The point that a full-batch solver stands at, and how it moves along a direction.

use super::balance::BiasNewton;
use super::vector::{axpy, dot, subtract_from};
use crate::checkpoint::codec::store_fields;
use crate::linear::certificate::{Certificate, certify, gap_if_balanced};
use crate::linear::objective::{Objective, Value};

/// Relative rounding noise of J: f32 logits, summed in f64.
pub(super) const NOISE: f64 = 2e-7;

/// The current point with value and gradient, in the coordinates of the objective.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    pub(super) theta: Vec<f32>,
    pub(super) value: Value,
    pub(super) gradient: Vec<f32>,
    /// Whether value and gradient are those of f32, or f64.
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

pub(super) struct Accepted {
    pub(super) length: f64,
    pub(super) decrease: f64,
    pub(super) change: Vec<f32>,
    pub(super) gradient_change: Vec<f32>,
}

impl Walk {
    pub(super) fn start(objective: &mut Objective<'_>, start: &[f32]) -> Self {
        let mut theta = start.to_vec();
        objective.enter(&mut theta);
        Self::at(objective, theta)
    }

    fn at(objective: &mut Objective<'_>, theta: Vec<f32>) -> Self {
        let mut gradient = vec![0.0; theta.len()];
        let value = objective.evaluate(&theta, &mut gradient);
        Walk { theta, value, gradient, is_in_f32: objective.is_in_f32() }
    }

    /// Where `change` moves its parameters to.
    pub(super) fn moved(&self, objective: &mut Objective<'_>, change: impl FnOnce(&mut [f32])) -> Self {
        let mut theta = self.theta.clone();
        change(&mut theta);
        Self::at(objective, theta)
    }

    /// Value and gradient as they are far from the optimum no longer.
    pub(super) fn leave_coarse(&mut self, objective: &mut Objective<'_>) {
        if objective.is_coarse() {
            objective.refine();
            let mut gradient = vec![0.0; self.theta.len()];
            let value = objective.evaluate(&self.theta, &mut gradient);
            self.take_in(objective, value, gradient, objective.is_in_f32());
        }
    }

    /// Value and gradient in f32 throughout.
    pub(super) fn refine(&mut self, objective: &mut Objective<'_>) {
        if !self.is_in_f32 {
            let mut gradient = vec![0.0; self.theta.len()];
            let value = objective.evaluate_in_f32(&self.theta, &mut gradient);
            self.take_in(objective, value, gradient, true);
        }
    }

    /// Value and gradient in f64.
    pub(super) fn refine_in_f64(&mut self, objective: &mut Objective<'_>) {
        let mut gradient = vec![0.0; self.theta.len()];
        let value = objective.evaluate_in_f64(&self.theta, &mut gradient);
        self.take_in(objective, value, gradient, true);
    }

    /// What was evaluated where the walk stands, unless that was broken off.
    fn take_in(&mut self, objective: &Objective<'_>, value: Value, gradient: Vec<f32>, is_in_f32: bool) {
        if !objective.is_stopped() {
            (self.value, self.gradient, self.is_in_f32) = (value, gradient, is_in_f32);
        }
    }

    /// Of a walk that was broken off without a gap unless it was seen in f32.
    pub(super) fn certificate(&self, objective: &Objective<'_>) -> Certificate {
        let certificate = certify(objective, &self.theta, self.value, &self.gradient);
        match self.is_in_f32 || !objective.is_stopped() {
            true => certificate,
            false => Certificate { relative_gap: None, ..certificate },
        }
    }

    /// Whether the certificate meets `tolerance`.
    pub(super) fn is_within(&self, tolerance: f64, objective: &Objective<'_>) -> bool {
        self.certificate(objective).relative_gap.is_some_and(|gap| gap <= tolerance)
    }

    pub(super) fn raw(&self, objective: &Objective<'_>) -> Vec<f32> {
        let mut raw = self.theta.clone();
        objective.leave(&mut raw);
        raw
    }

    /// Newton steps in the biases as long as they help, until the certificate meets `tolerance`; in f64 where `in_f64`.
    pub(super) fn balance_bias(
        &mut self,
        objective: &mut Objective<'_>,
        newton: &BiasNewton,
        tolerance: f64,
        in_f64: bool,
    ) {
        const STEPS: usize = 4;
        let bias_at = self.theta.len() - objective.problem().classes;
        let kernels = objective.kernels();
        let size = |gradient: &[f32]| dot(kernels, &gradient[bias_at..], &gradient[bias_at..]);
        for _ in 0..STEPS {
            let mut theta = self.theta.clone();
            let step = newton.step(&self.gradient[bias_at..], objective.problem().rows.stop());
            axpy(kernels, 1.0, &step, &mut theta[bias_at..]);
            let mut gradient = vec![0.0; theta.len()];
            let value = match in_f64 {
                true => objective.evaluate_in_f64(&theta, &mut gradient),
                false => objective.evaluate(&theta, &mut gradient),
            };
            let is_better = value.objective() <= self.value.objective() * (1.0 + NOISE)
                && size(&gradient) < size(&self.gradient);
            if !is_better || objective.is_stopped() {
                break;
            }
            (self.theta, self.value, self.gradient) = (theta, value, gradient);
            self.is_in_f32 = in_f64 || objective.is_in_f32();
            let hope = gap_if_balanced(objective, &self.theta, self.value, &self.gradient);
            if self.is_within(tolerance, objective) || hope.is_none_or(|hope| hope > tolerance) {
                break;
            }
        }
    }

    /// Moves to a point along `direction` that meets the weak Wolfe conditions, found by interpolation and doubling
    /// (Lewis & Overton 2013). `None`, and no move, where rounding leaves no such point or the rows are stopped.
    pub(super) fn search(
        &mut self,
        objective: &mut Objective<'_>,
        direction: &[f32],
        slope: f64,
    ) -> Option<Accepted> {
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
            if objective.is_stopped() {
                return None;
            }
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
