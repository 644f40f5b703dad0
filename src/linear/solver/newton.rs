//! The metric of few parameters: the Hessian of J in all of them, taken where the fit stands and factored.
//!
//! Tables have few features, and rows that differ by orders of magnitude: on kdd99_10pct no second moments that classes
//! share follow the Hessian, and L-BFGS in a class metric needs a thousand passes.

use super::factor::InverseFactor;
use super::work_of_a_pass;
use crate::checkpoint::codec::Stored;
use crate::linear::hessian::{Hessian, UpperTriangle};
use crate::linear::objective::Objective;
use crate::linear::problem::Problem;
use crate::loss::Loss;

/// Parameters up to which the Hessian is factored: 64 MiB a matrix.
const MOST_PARAMETERS: usize = 4096;
/// Classes up to which the Hessian is taken: every pair of them has sums of its own.
const MOST_CLASSES: usize = 256;
/// Passes over all rows that the products of rows may cost.
const PASSES: f64 = 16.0;

/// A factored Hessian.
#[derive(Debug)]
pub(super) struct NewtonMetric {
    /// Hessian of the mean loss, `P x P`.
    hessian: UpperTriangle,
    factor: Option<InverseFactor>,
    /// Floating-point operations that it cost, its factor included.
    work: f64,
}

/// Without what [`NewtonMetric::set_l2`] makes of it.
impl Stored for NewtonMetric {
    fn store(&self, out: &mut Vec<u8>) {
        self.hessian.store(out);
        self.work.store(out);
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        let (hessian, work) = Stored::load(from)?;
        Some(NewtonMetric { hessian, factor: None, work })
    }
}

impl NewtonMetric {
    /// Whether its size is that of `problem`.
    pub(super) fn fits(&self, problem: &Problem<'_>) -> bool {
        self.hessian.is_of(problem.parameters())
    }

    /// Whether it is taken: of few parameters, few classes and a convex loss.
    pub(super) fn is_taken(loss: Loss, classes: usize, parameters: usize) -> bool {
        parameters <= MOST_PARAMETERS && classes <= MOST_CLASSES && loss.is_convex()
    }

    /// Whether the fits of a search are about certain to pay for it: factoring it costs no more than its products may.
    pub(super) fn is_soon_paid(problem_work: f64, parameters: usize) -> bool {
        factoring(parameters) <= PASSES * problem_work
    }

    /// Bytes that it takes at least while it is made ready: half a matrix, one that is eliminated, its factor laid out twice.
    pub(super) fn bytes(parameters: usize) -> u64 {
        10 * (parameters as u64).pow(2)
    }

    /// Floating-point operations that it may cost, its factor included.
    pub(super) fn most_work(problem: &Problem<'_>) -> f64 {
        factoring(problem.parameters()) + PASSES * work_of_a_pass(problem)
    }

    /// At `theta` (coordinates of the objective), to be made ready by [`NewtonMetric::set_l2`]. `None` where too few rows
    /// would be affordable.
    pub(super) fn at(objective: &Objective<'_>, theta: &[f32]) -> Option<Self> {
        let problem = objective.problem();
        let Hessian { upper, work } = objective.hessian(theta, PASSES * work_of_a_pass(problem))?;
        let work = factoring(problem.parameters()) + work;
        Some(NewtonMetric { hessian: upper, factor: None, work })
    }

    /// Floating-point operations that it cost, its factor included.
    pub(super) fn work(&self) -> f64 {
        self.work
    }

    /// Factors the Hessian of J with the penalty of the objective.
    pub(super) fn set_l2(&mut self, objective: &Objective<'_>) {
        let problem = objective.problem();
        let (size, features) = (problem.parameters(), problem.rows.features());
        let bias_at = size - problem.classes;
        let (on_weights, on_bias) = objective.decays();
        let diagonal = |i: usize| f64::from(self.hessian.row(i)[0]);
        let mean = (0..size).map(diagonal).sum::<f64>() / size as f64;
        // f32 resolves about seven digits; what does not factor gets a stronger ridge. The softmax does not feel a shift of
        // all biases, and the ridge has to make up for that, too.
        let mut floor = 1e-6 * mean;
        self.factor = None;
        while self.factor.is_none() && floor.is_finite() && !objective.is_stopped() {
            let mut matrix = vec![0.0; size * size];
            for i in 0..size {
                matrix[i * size + i..][..size - i].copy_from_slice(self.hessian.row(i));
                let (class, decay) =
                    if i < bias_at { (i / features, on_weights) } else { (i - bias_at, on_bias) };
                let decay = decay * problem.l2_factor(class);
                matrix[i * size + i] = (diagonal(i) * (1.0 + 1e-6) + decay + floor) as f32;
            }
            self.factor = InverseFactor::new(matrix, size, objective.kernels(), problem.rows.stop());
            floor = (10.0 * floor).max(1e-30);
        }
    }

    /// Undoes [`NewtonMetric::set_l2`].
    pub(super) fn forget_l2(&mut self) {
        self.factor = None;
    }

    /// Replaces a gradient (`C x D` weights, then C biases) by the inverse metric times it.
    pub(super) fn solve(&self, gradient: &mut [f32]) {
        if let Some(factor) = &self.factor {
            factor.solve(gradient);
        }
    }
}

/// Floating-point operations of a Cholesky factor and its inverse.
fn factoring(size: usize) -> f64 {
    2.0 / 3.0 * (size as f64).powi(3)
}
