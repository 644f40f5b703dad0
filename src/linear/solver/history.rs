//! The pairs of steps and gradient changes that L-BFGS remembers.

use std::collections::VecDeque;

use super::balance::{cholesky, substitute};
use super::memory::decays;
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

    /// Whether it can be one of steps of so many parameters.
    pub(super) fn fits(&self, parameters: usize) -> bool {
        let vectors = self.pairs.iter().flat_map(|pair| [&pair.change, &pair.gradient_change]);
        vectors.into_iter().all(|vector| vector.len() == parameters)
    }

    /// Gives up the oldest pairs beyond what many small ones may hold.
    pub(super) fn shrink(&mut self) {
        let values = self.pairs.front().map_or(1, |pair| 2 * pair.change.len()).max(1);
        let dropped = self.pairs.len().saturating_sub(MEMORY / values);
        self.pairs.drain(..dropped);
    }

    /// Makes of steps under other penalties on the weights and biases of the classes, `before`, those of `objective`: of a
    /// step `s` the gradient changes by `(l2 - before) s` more.
    pub(super) fn move_to(&mut self, objective: &Objective<'_>, before: &[(f64, f64)]) {
        let (kernels, classes) = (objective.kernels(), before.len());
        let now = decays(objective);
        for pair in std::mem::take(&mut self.pairs) {
            let Pair { change, mut gradient_change, .. } = pair;
            let (weights, biases) = change.split_at(change.len() - classes);
            let (of_weights, of_biases) = gradient_change.split_at_mut(weights.len());
            let features = (weights.len() / classes.max(1)).max(1);
            let weights = weights.chunks_exact(features).zip(of_weights.chunks_exact_mut(features));
            for ((change, gradient), (now, before)) in weights.zip(now.iter().zip(before)) {
                kernels.axpy((now.0 - before.0) as f32, change, gradient);
            }
            for ((change, gradient), (now, before)) in
                biases.iter().zip(of_biases).zip(now.iter().zip(before))
            {
                *gradient += (now.1 - before.1) as f32 * change;
            }
            self.pairs.extend(Pair::new(change, gradient_change, kernels));
        }
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
        let Some(pair) = Pair::new(change, gradient_change, kernels) else { return };
        if self.pairs.len() >= self.most_pairs {
            self.pairs.pop_front();
        }
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
    /// `None` without curvature, as rounding or a stretch that is not convex can leave it: it would spoil the metric.
    fn new(change: Vec<f32>, gradient_change: Vec<f32>, kernels: &Kernels) -> Option<Self> {
        let curvature = dot(kernels, &change, &gradient_change);
        let scale =
            (dot(kernels, &change, &change) * dot(kernels, &gradient_change, &gradient_change)).sqrt();
        (curvature > 1e-8 * scale).then(|| Pair {
            change,
            gradient_change,
            inverse_curvature: 1.0 / curvature,
        })
    }

    /// `s.y / y'M^-1 y`: the factor that fits the metric M to this pair.
    fn metric_scale(&self, preconditioner: &Preconditioner, kernels: &Kernels) -> f32 {
        let mut solved = self.gradient_change.clone();
        preconditioner.solve(&mut solved, kernels);
        (1.0 / (self.inverse_curvature * dot(kernels, &solved, &self.gradient_change))) as f32
    }
}
