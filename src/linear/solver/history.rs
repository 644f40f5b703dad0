//! The pairs of steps and gradient changes that L-BFGS remembers.

use std::collections::VecDeque;

use super::balance::{cholesky, substitute};
use super::metric::Preconditioner;
use super::vector::{axpy, dot};
use crate::checkpoint::codec::store_fields;
use crate::linear::objective::Objective;
use crate::simd::Kernels;

/// Values that the pairs of steps and gradient changes may hold together, and bounds on their number. On embeddings 5 pairs
/// take as many passes as 50; on kdd99_10pct, a table whose Hessian no metric follows, 100 pairs need half of what 10 do.
const MEMORY: usize = 1 << 20;
const FEWEST_PAIRS: usize = 5;
const MOST_PAIRS: usize = 100;

/// The last pairs `(s, y)`, oldest first.
#[derive(Debug)]
pub(super) struct History {
    /// Factor of the inverse metric; 1 as long as there are no pairs.
    scale: f32,
    /// Pairs seen since the metric is what it is.
    pushed: usize,
    most_pairs: usize,
    pub(super) pairs: VecDeque<Pair>,
}
store_fields!(History { scale, pushed, most_pairs, pairs });

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) change: Vec<f32>,
    pub(super) gradient_change: Vec<f32>,
    inverse_curvature: f64,
}
store_fields!(Pair { change, gradient_change, inverse_curvature });

/// Pairs whose points are combined, see [`History::flattest`].
const MOST_COMBINED: usize = 20;

/// The scale of the metric follows each of the first pairs, then every so-manieth: it costs as much as a direction.
const SETTLED: usize = 4;
const RESCALE: usize = 8;

impl History {
    pub(super) fn new(parameters: usize) -> Self {
        let most_pairs = (MEMORY / (2 * parameters.max(1))).clamp(FEWEST_PAIRS, MOST_PAIRS);
        History { scale: 1.0, pushed: 0, most_pairs, pairs: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub(super) fn clear(&mut self) {
        (self.scale, self.pushed) = (1.0, 0);
        self.pairs.clear();
    }

    /// Fits the scale to the last pair and the next ones: the metric is another one.
    pub(super) fn renew_scale(&mut self, preconditioner: &Preconditioner, kernels: &Kernels) {
        self.pushed = 0;
        if let Some(pair) = self.pairs.back() {
            self.scale = pair.metric_scale(preconditioner, kernels);
        }
    }

    pub(super) fn push(
        &mut self,
        preconditioner: &Preconditioner,
        kernels: &Kernels,
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
    pub(super) fn direction(
        &self,
        preconditioner: &Preconditioner,
        kernels: &Kernels,
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

/// A combination of the last points.
pub(super) struct Flattest {
    /// Of the changes, from the youngest pair on.
    coefficients: Vec<f64>,
    /// Its squared gradient.
    pub(super) squared: f64,
}

impl History {
    /// The changes to add to a point of this `gradient` for the shortest gradient, were J quadratic: the least squares
    /// of Anderson 1965 over its points. What is left in a bias, a Newton step there turns into as much in the weights
    /// of its class as the features are long.
    pub(super) fn flattest(&self, objective: &Objective<'_>, gradient: &[f32]) -> Flattest {
        let (kernels, problem) = (objective.kernels(), objective.problem());
        let (mean, variance) = (&objective.moments().mean, &objective.moments().variance);
        let squared_length: f64 =
            mean.iter().zip(variance).map(|(mean, variance)| mean * mean + variance).sum();
        let bias_at = gradient.len() - problem.classes;
        let product = |a: &[f32], b: &[f32]| {
            dot(kernels, &a[..bias_at], &b[..bias_at])
                + squared_length * dot(kernels, &a[bias_at..], &b[bias_at..])
        };
        let changes: Vec<&[f32]> = self.youngest().map(|pair| &*pair.gradient_change).collect();
        let size = changes.len();
        let mut products = vec![0.0; size * size];
        for (i, a) in changes.iter().enumerate() {
            for (j, b) in changes[..=i].iter().enumerate() {
                products[i * size + j] = product(a, b);
            }
            products[i * size + i] *= 1.0 + 1e-9;
        }
        let slopes: Vec<f64> = changes.iter().map(|change| -product(change, gradient)).collect();
        let whole = product(gradient, gradient).max(f64::MIN_POSITIVE);
        if !cholesky(&mut products, size, problem.rows.stop()) {
            return Flattest { coefficients: vec![0.0; size], squared: whole };
        }
        let coefficients = substitute(&products, slopes.clone());
        let saved: f64 = coefficients.iter().zip(&slopes).map(|(c, slope)| c * slope).sum();
        Flattest { coefficients, squared: (whole - saved).max(0.0) }
    }

    /// Moves `theta` as `flattest` says.
    pub(super) fn add_to(&self, flattest: &Flattest, kernels: &Kernels, theta: &mut [f32]) {
        for (pair, &coefficient) in self.youngest().zip(&flattest.coefficients) {
            axpy(kernels, coefficient, &pair.change, theta);
        }
    }

    fn youngest(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().rev().take(MOST_COMBINED)
    }
}

impl Pair {
    /// `s.y / y'M^-1 y`: the factor that fits the metric M to this pair.
    fn metric_scale(&self, preconditioner: &Preconditioner, kernels: &Kernels) -> f32 {
        let mut solved = self.gradient_change.clone();
        preconditioner.solve(&mut solved, kernels);
        (1.0 / (self.inverse_curvature * dot(kernels, &solved, &self.gradient_change))) as f32
    }
}
