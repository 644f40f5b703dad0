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

/// What the vectors of a history are relative to.
#[derive(Debug)]
pub(super) struct Frame {
    /// l2 in the weights and the bias of each class.
    decays: Vec<(f64, f64)>,
    /// What is taken from every row.
    centre: Option<Vec<f32>>,
}
store_fields!(Frame { decays, centre });

impl Frame {
    pub(super) fn of(objective: &Objective<'_>) -> Self {
        let (on_weights, on_bias) = objective.decays();
        let problem = objective.problem();
        let of_class = |factor: f64| (factor * on_weights, factor * on_bias);
        Frame {
            decays: (0..problem.classes).map(|class| of_class(problem.l2_factor(class))).collect(),
            centre: objective.centre().map(<[f32]>::to_vec),
        }
    }

    /// Whether it can be that of an objective of the classes and features of `objective`.
    pub(super) fn fits(&self, objective: &Objective<'_>) -> bool {
        let problem = objective.problem();
        self.decays.len() == problem.classes
            && self.centre.as_ref().map(Vec::len) == objective.centre().map(<[f32]>::len)
    }
}

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
        let mut vectors = self.pairs.iter().flat_map(|pair| [&pair.change, &pair.gradient_change]);
        self.most_pairs == History::new(parameters).most_pairs
            && vectors.all(|vector| vector.len() == parameters)
    }

    /// Keeps as many pairs as [`MEMORY`] holds: of a large model none.
    pub(super) fn shrink(&mut self) {
        let values = self.pairs.front().map_or(1, |pair| 2 * pair.change.len()).max(1);
        let dropped = self.pairs.len().saturating_sub(MEMORY / values);
        self.pairs.drain(..dropped);
    }

    /// Makes of steps in the frame `before` what they are in the frame `now`.
    pub(super) fn move_to(&mut self, now: &Frame, before: &Frame, kernels: &Kernels) {
        let classes = before.decays.len();
        let shift = match (&now.centre, &before.centre) {
            (Some(now), Some(before)) => now.iter().zip(before).map(|(now, before)| now - before).collect(),
            _ => Vec::new(),
        };
        for pair in std::mem::take(&mut self.pairs) {
            let Pair { mut change, mut gradient_change, .. } = pair;
            let bias_at = change.len() - classes;
            let features = (bias_at / classes.max(1)).max(1);
            let (weights, biases) = change.split_at_mut(bias_at);
            let (of_weights, of_biases) = gradient_change.split_at_mut(bias_at);
            let rows = weights.chunks_exact(features).zip(of_weights.chunks_exact_mut(features));
            let pairs = rows.zip(biases.iter_mut().zip(of_biases)).zip(now.decays.iter().zip(&before.decays));
            for (((weights, of_weights), (bias, of_bias)), (now, before)) in pairs {
                // b' = b + W centre: a gradient in b' is one in W as well.
                if !shift.is_empty() {
                    *bias += kernels.dot(weights, &shift) as f32;
                    kernels.axpy(-*of_bias, &shift, of_weights);
                }
                kernels.axpy((now.0 - before.0) as f32, weights, of_weights);
                *of_bias += (now.1 - before.1) as f32 * *bias;
            }
            self.pairs.extend(Pair::new(change, gradient_change, kernels));
        }
    }

    /// Whether all pairs are those of another fit or metric.
    pub(super) fn is_foreign(&self) -> bool {
        self.pushed == 0 && !self.is_empty()
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
        self.scale = self.pairs.back().map_or(1.0, |pair| pair.metric_scale(preconditioner, kernels));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::problem::{Decay, Problem};
    use crate::linear::rows::Rows;
    use crate::loss::Loss;
    use crate::matrix::Matrix;

    const FEATURES: usize = 3;
    const CLASSES: usize = 2;
    const PARAMETERS: usize = CLASSES * (FEATURES + 1);

    fn rows() -> (Matrix<'static>, Vec<u32>, Vec<f32>) {
        let values = (0..60).map(|i| ((i * 7 % 11) as f32) / 5.0 + 1.0).collect();
        (Matrix::from_f32(values, FEATURES), (0..20).map(|row| row % 2).collect(), vec![1.0; 20])
    }

    /// Both ends of a step, over the features as they are.
    fn ends() -> [Vec<f32>; 2] {
        let start = (0..PARAMETERS).map(|i| (i * 3 % 5) as f32 / 10.0).collect();
        [start, (0..PARAMETERS).map(|i| (i * 5 % 7) as f32 / 7.0).collect()]
    }

    /// The step from `start` to `end` (over the features as they are) as `objective` sees it.
    fn step(objective: &mut Objective<'_>, start: &[f32], end: &[f32]) -> Pair {
        let mut gradient_at = |raw: &[f32]| {
            let (mut theta, mut gradient) = (raw.to_vec(), vec![0.0; raw.len()]);
            objective.enter(&mut theta);
            objective.evaluate(&theta, &mut gradient);
            (theta, gradient)
        };
        let ((from, before), (to, after)) = (gradient_at(start), gradient_at(end));
        let minus = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f32>>();
        Pair::new(minus(&to, &from), minus(&after, &before), objective.kernels()).unwrap()
    }

    fn assert_near(moved: &Pair, wanted: &Pair) {
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near(&moved.change, &wanted.change), "{moved:?}, not {wanted:?}");
        assert!(near(&moved.gradient_change, &wanted.gradient_change), "{moved:?}, not {wanted:?}");
    }

    #[test]
    fn steps_in_another_frame_are_what_they_would_have_been_there() {
        let (matrix, labels, weights) = rows();
        let [start, end] = ends();
        let (few, many) = ([1.0, 3.0], [2.0, 0.5]);
        for decay in [Decay::Weights, Decay::Both] {
            let problem = |l2: f64, factors| Problem {
                decay,
                l2_factors: Some(factors),
                ..Problem::new(Rows::all(&matrix), &labels, &weights, CLASSES, Loss::Softmax, l2)
            };
            let mut old = Objective::new(problem(0.5, &few), Kernels::best());
            let mut new = Objective::new(problem(0.1, &many), Kernels::best());
            let mut history = History::new(PARAMETERS);
            history.pairs.push_back(step(&mut old, &start, &end));
            history.move_to(&Frame::of(&new), &Frame::of(&old), new.kernels());
            assert_near(&history.pairs[0], &step(&mut new, &start, &end));
            history.clear();
            history.scale = 3.0;
            history.renew_scale(&Preconditioner::default(), new.kernels());
            assert_eq!(history.scale, 1.0, "no pairs, no scale");
        }
    }

    /// Without a penalty a problem whose bias would be decayed is the same one over features that are not centred.
    #[test]
    fn steps_about_another_centre_are_what_they_would_have_been_there() {
        let (matrix, labels, weights) = rows();
        let [start, end] = ends();
        let centred = Problem::new(Rows::all(&matrix), &labels, &weights, CLASSES, Loss::Softmax, 0.0);
        let mut centred = Objective::new(centred, Kernels::best());
        let mut raw = Objective::new(Problem { decay: Decay::Both, ..*centred.problem() }, Kernels::best());
        assert!(centred.centre().is_some() && raw.centre().is_none());
        let there = Frame::of(&centred);
        let here = Frame { centre: Some(vec![0.0; FEATURES]), ..Frame::of(&raw) };
        let mut history = History::new(PARAMETERS);
        history.pairs.push_back(step(&mut centred, &start, &end));
        history.move_to(&here, &there, raw.kernels());
        assert_near(&history.pairs[0], &step(&mut raw, &start, &end));
        history.move_to(&there, &here, raw.kernels());
        assert_near(&history.pairs[0], &step(&mut centred, &start, &end));
    }

    #[test]
    fn of_a_large_model_no_pairs_are_kept() {
        for (parameters, kept) in [(1 << 17, 4), (1 << 20, 0)] {
            let mut history = History::new(parameters);
            for _ in 0..5 {
                let pair = Pair::new(vec![1.0; parameters], vec![1.0; parameters], Kernels::best());
                history.pairs.extend(pair);
            }
            history.shrink();
            assert_eq!(history.pairs.len(), kept);
        }
    }
}
