//! The objective J and its gradient over blocks of rows, the same bytes on any number of threads.

use rayon::prelude::*;

use super::curvature::LeadingHessian;
use super::hard_rows::HardRows;
use super::moments::Moments;
use super::pass::{Pass, Sums};
use super::problem::Problem;
use super::products::{Arithmetic, Weights};
use super::sample::Sample;
use crate::checkpoint::codec::store_fields;
use crate::simd::Kernels;

/// J at one point, split into its parts.
#[derive(Debug, Clone, Copy)]
pub struct Value {
    /// Weighted mean loss.
    pub loss: f64,
    /// `l2/2` times the squared norm of the decayed parameters.
    pub penalty: f64,
}
store_fields!(Value { loss, penalty });

impl Value {
    /// J itself.
    pub fn objective(&self) -> f64 {
        self.loss + self.penalty
    }
}

/// Rows that the Hessian of the biases is taken from at most: it only has to lead a Newton step.
const BIAS_HESSIAN_ROWS: usize = 1 << 17;

/// Evaluates J for a [`Problem`]. Parameters are one vector: `C x D` weights, row-major, then C biases.
///
/// Where the bias carries no penalty, features are centred on their weighted mean: `z = W (x - mean) + b'` and
/// `b = b' - W mean` describe the same functions under the same penalty, but without the mean neither rounding nor the
/// largest eigenvalue of features that are never negative (after a ReLU) stands in the way. All parameters and gradients
/// here are in these coordinates; [`Objective::enter`] and [`Objective::leave`] translate.
pub struct Objective<'a> {
    problem: Problem<'a>,
    kernels: &'static Kernels,
    moments: Moments,
    centre: Option<Vec<f32>>,
    arithmetic: Arithmetic,
    is_coarse: bool,
    weights: Weights,
    sums: Sums,
    evaluations: usize,
}

impl<'a> Objective<'a> {
    /// Prepares `problem`: one pass over the rows for their moments.
    pub fn new(problem: Problem<'a>, kernels: &'static Kernels) -> Self {
        let mut moments = Moments::of(&problem, kernels);
        // Sparse rows stay where they are, or every value of theirs would be one to store.
        let centre = (!problem.decay.on_bias() && !problem.rows.is_sparse())
            .then(|| moments.mean.iter().map(|&mean| mean as f32).collect::<Vec<f32>>());
        if let Some(centre) = &centre {
            moments.recentre(centre);
        }
        let sums = Sums::new(&problem);
        let arithmetic = Arithmetic::fastest(kernels, &problem.rows, problem.classes);
        Objective {
            problem,
            kernels,
            moments,
            centre,
            arithmetic,
            is_coarse: false,
            weights: Weights::default(),
            sums,
            evaluations: 0,
        }
    }

    /// The problem evaluated.
    pub fn problem(&self) -> &Problem<'a> {
        &self.problem
    }

    /// The kernels used.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Whether work on the rows was broken off: what was evaluated since is worth nothing.
    pub(crate) fn is_stopped(&self) -> bool {
        self.problem.rows.is_stopped()
    }

    /// What is subtracted from every row, if anything.
    pub fn centre(&self) -> Option<&[f32]> {
        self.centre.as_deref()
    }

    /// Parameters over the features as they are, in the coordinates of this objective.
    pub fn enter(&self, theta: &mut [f32]) {
        self.shift_bias(theta, 1.0);
    }

    /// Parameters in the coordinates of this objective, over the features as they are.
    pub fn leave(&self, theta: &mut [f32]) {
        self.shift_bias(theta, -1.0);
    }

    fn shift_bias(&self, theta: &mut [f32], sign: f64) {
        let Some(centre) = &self.centre else { return };
        let (weight, bias) = theta.split_at_mut(self.problem.classes * centre.len());
        for (class, b) in bias.iter_mut().enumerate() {
            let w = &weight[class * centre.len()..(class + 1) * centre.len()];
            let shift: f64 = w.iter().zip(centre).map(|(&w, &m)| f64::from(w) * f64::from(m)).sum();
            *b = (f64::from(*b) + sign * shift) as f32;
        }
    }

    /// Weighted moments of the rows, in the coordinates of this objective.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Passes over the rows made so far, for the loss or for loss and gradient.
    pub fn evaluations(&self) -> usize {
        self.evaluations
    }

    /// Gives back the memory of passes until the next one.
    pub fn rest(&mut self) {
        self.weights = Weights::default();
        self.sums.rest();
    }

    /// Changes the penalty; everything computed from the rows stays.
    pub fn set_l2(&mut self, l2: f64) {
        self.problem.l2 = l2;
    }

    /// J at `theta`, and its gradient into `gradient` (both `C x D + C`), in the fastest arithmetic: with split floats
    /// off by about 1e-6 of the sum of the terms' sizes.
    pub fn evaluate(&mut self, theta: &[f32], gradient: &mut [f32]) -> Value {
        self.evaluate_in(self.arithmetic, theta, gradient)
    }

    /// [`Objective::evaluate`] in f32 throughout, for what is certified and reported.
    pub fn evaluate_in_f32(&mut self, theta: &[f32], gradient: &mut [f32]) -> Value {
        // Seldom asked for: weights laid out in f32 are not kept beside those of split floats.
        let kept = std::mem::take(&mut self.weights);
        let value = self.evaluate_in(Arithmetic::in_f32(self.kernels, &self.problem.rows), theta, gradient);
        self.weights = kept;
        value
    }

    /// From now on [`Objective::evaluate`] is off by about 1e-3 of the sum of the terms' sizes, where that is faster.
    pub fn coarsen(&mut self) {
        let coarse = Arithmetic::coarse(self.kernels, &self.problem.rows, self.problem.classes);
        self.arithmetic = coarse.unwrap_or(self.arithmetic);
        self.is_coarse = coarse.is_some();
    }

    /// Ends what [`Objective::coarsen`] has begun.
    pub fn refine(&mut self) {
        self.arithmetic = Arithmetic::fastest(self.kernels, &self.problem.rows, self.problem.classes);
        self.is_coarse = false;
    }

    /// Whether [`Objective::coarsen`] made a difference.
    pub fn is_coarse(&self) -> bool {
        self.is_coarse
    }

    /// Whether [`Objective::evaluate`] is that of f32.
    pub fn is_in_f32(&self) -> bool {
        self.arithmetic.is_in_f32()
    }

    pub(super) fn count_evaluation(&mut self) {
        self.evaluations += 1;
    }

    fn evaluate_in(&mut self, arithmetic: Arithmetic, theta: &[f32], gradient: &mut [f32]) -> Value {
        self.count_evaluation();
        let mut weights = std::mem::take(&mut self.weights);
        let bias = self.lay_out(theta, arithmetic, &mut weights);
        let loss =
            self.sums.run(&pass(&self.problem, self.kernels, &self.centre, arithmetic, &weights, &bias))
                / self.moments.total_weight;
        self.weights = weights;
        self.reduce_gradient(
            theta,
            gradient,
            |class, first, out| self.sums.weights_of(class, first, out),
            |class| self.sums.bias(class),
        );
        Value { loss, penalty: self.penalty(theta) }
    }

    /// Diagonal curvature of the loss at `theta` over the rows `positions` under `weights` (no part of the problem's):
    /// for each row summed over classes, for each class summed over rows. What is concave counts as flat.
    pub fn curvatures(&self, theta: &[f32], positions: &[usize], weights: &[f32]) -> (Vec<f32>, Vec<f64>) {
        self.with_f32_pass(theta, |pass| pass.curvatures(positions, weights))
    }

    /// The `most` rows of each class that carry most of its curvature at `theta`, of a convex loss, as
    /// [`Objective::evaluate`] sees it; and the curvature of each class over the others.
    pub(super) fn hard_rows(&self, theta: &[f32], most: usize) -> (HardRows, Vec<f64>) {
        let total = self.moments.total_weight;
        self.with_pass_of(&self.problem, self.arithmetic, theta, |pass| pass.hard_rows(most, total))
    }

    /// Hessian of J in the biases at `theta`, `C x C` row-major, for a convex loss; of many rows from a sample.
    pub fn bias_hessian(&self, theta: &[f32]) -> Vec<f64> {
        let rows = self.problem.rows.len();
        let mut hessian = if rows > BIAS_HESSIAN_ROWS {
            let sample = Sample::of(&self.problem, BIAS_HESSIAN_ROWS);
            let in_f32 = Arithmetic::in_f32(self.kernels, &self.problem.rows);
            self.with_pass_of(&sample.problem(&self.problem), in_f32, theta, |pass| pass.bias_hessian())
        } else {
            self.with_f32_pass(theta, |pass| pass.bias_hessian())
        };
        hessian.iter_mut().for_each(|h| *h /= self.moments.total_weight);
        hessian
    }

    /// [`Objective::bias_hessian`] for many classes, of the summed loss.
    pub(super) fn leading_bias_hessian(&self, theta: &[f32]) -> LeadingHessian {
        self.with_f32_pass(theta, |pass| pass.leading_bias_hessian())
    }

    pub(super) fn with_f32_pass<T>(&self, theta: &[f32], work: impl FnOnce(&Pass<'_>) -> T) -> T {
        self.with_pass_of(&self.problem, Arithmetic::in_f32(self.kernels, &self.problem.rows), theta, work)
    }

    /// A pass over `problem`, which has rows of this objective's features and its classes.
    fn with_pass_of<T>(
        &self,
        problem: &Problem<'_>,
        arithmetic: Arithmetic,
        theta: &[f32],
        work: impl FnOnce(&Pass<'_>) -> T,
    ) -> T {
        let mut weights = Weights::default();
        let bias = self.lay_out(theta, arithmetic, &mut weights);
        work(&pass(problem, self.kernels, &self.centre, arithmetic, &weights, &bias))
    }

    /// Lays out the weights of `theta` and returns its biases plus the offsets.
    fn lay_out(&self, theta: &[f32], arithmetic: Arithmetic, weights: &mut Weights) -> Vec<f32> {
        let (classes, features) = (self.problem.classes, self.problem.rows.features());
        let (weight, bias) = theta.split_at(classes * features);
        weights.lay_out(weight, classes, features, arithmetic);
        match self.problem.offsets {
            None => bias.to_vec(),
            Some(offsets) => bias.iter().zip(offsets).map(|(b, o)| b + o).collect(),
        }
    }

    /// The gradient of J at `theta` from sums over rows: of a class those in its weights from a feature on, and in its bias.
    pub(super) fn reduce_gradient(
        &self,
        theta: &[f32],
        gradient: &mut [f32],
        weights_of: impl Fn(usize, usize, &mut [f64]) + Sync,
        bias_of: impl Fn(usize) -> f64,
    ) {
        const CHUNK: usize = 1024;
        let total = self.moments.total_weight;
        let features = self.problem.rows.features().max(1);
        let (on_weights, on_bias) = self.decays();
        let (weight, bias) = theta.split_at(theta.len() - self.problem.classes);
        let (weight_gradient, bias_gradient) = gradient.split_at_mut(weight.len());
        let rows = weight_gradient.par_chunks_mut(features).zip(weight.par_chunks(features));
        rows.enumerate().for_each(|(class, (gradient, weight))| {
            let chunks = gradient.par_chunks_mut(CHUNK).zip(weight.par_chunks(CHUNK));
            let on_weights = on_weights * self.problem.l2_factor(class);
            chunks.enumerate().for_each(|(chunk, (gradient, weight))| {
                let mut of_loss = [0.0; CHUNK];
                let of_loss = &mut of_loss[..weight.len()];
                weights_of(class, chunk * CHUNK, of_loss);
                for ((out, &w), sum) in gradient.iter_mut().zip(weight).zip(of_loss) {
                    *out = (*sum / total + on_weights * f64::from(w)) as f32;
                }
            });
        });
        for ((class, out), &b) in bias_gradient.iter_mut().enumerate().zip(bias) {
            let on_bias = on_bias * self.problem.l2_factor(class);
            *out = (bias_of(class) / total + on_bias * f64::from(b)) as f32;
        }
    }

    /// l2 as it acts on weights and on biases, before the factors of the classes.
    pub fn decays(&self) -> (f64, f64) {
        let l2 = self.problem.l2;
        let decay = self.problem.decay;
        (if decay.on_weights() { l2 } else { 0.0 }, if decay.on_bias() { l2 } else { 0.0 })
    }

    pub(super) fn penalty(&self, theta: &[f32]) -> f64 {
        penalty(&self.problem, self.kernels, self.decays(), theta)
    }
}

/// `l2/2` times the squared norm of the decayed parameters of all classes.
pub(super) fn penalty(
    problem: &Problem<'_>,
    kernels: &Kernels,
    (on_weights, on_bias): (f64, f64),
    theta: &[f32],
) -> f64 {
    let (weight, bias) = theta.split_at(theta.len() - problem.classes);
    let rows = weight.chunks(problem.rows.features().max(1)).chain(std::iter::repeat(&[][..]));
    let squares = rows.zip(bias).enumerate().map(|(class, (row, &b))| {
        let squared = on_weights * kernels.dot(row, row) + on_bias * f64::from(b) * f64::from(b);
        problem.l2_factor(class) * squared
    });
    0.5 * squares.sum::<f64>()
}

fn pass<'p>(
    problem: &'p Problem<'p>,
    kernels: &'static Kernels,
    centre: &'p Option<Vec<f32>>,
    arithmetic: Arithmetic,
    weights: &'p Weights,
    bias: &'p [f32],
) -> Pass<'p> {
    Pass { problem, kernels, arithmetic, weights, bias, centre: centre.as_deref() }
}
