//! Solvers of a linear problem: full-batch L-BFGS with a certificate, and minibatch SGD and AdamW.

mod balance;
mod batch;
mod class_metric;
mod correction;
pub(super) mod factor;
mod goal;
mod history;
pub mod lbfgs;
pub mod memory;
pub mod metric;
pub mod minibatch;
mod newton;
pub mod schedule;
pub mod second_moments;
mod vector;
mod walk;

use std::ops::ControlFlow;

use super::certificate::Certificate;
use super::problem::Problem;
use crate::checkpoint::codec::store_fields;

/// Floating-point operations of a pass for J and its gradient.
fn work_of_a_pass(problem: &Problem<'_>) -> f64 {
    work_of(problem.rows.len(), problem.rows.entries_a_row(), problem.classes)
}

fn work_of(rows: usize, values_a_row: f64, classes: usize) -> f64 {
    4.0 * rows as f64 * values_a_row * classes as f64
}

/// Where a solver stands after an epoch or an iteration.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Epochs or iterations done, from 1.
    pub number: usize,
    /// J of the whole training set (L-BFGS) or its running estimate over the epoch's batches (minibatch).
    pub objective: f64,
    /// Learning rate or accepted step length.
    pub step_size: f64,
}

/// Called after each step; `Break` ends the fit with the parameters of this step.
pub type Monitor<'m> = dyn FnMut(&Step) -> ControlFlow<()> + 'm;

/// What a solver returns.
#[derive(Debug, Clone)]
pub struct Fit {
    /// Parameters over the features as they are: `C x D` weights, then C biases.
    pub theta: Vec<f32>,
    /// Objective, gradient norm and gap at `theta`.
    pub certificate: Certificate,
    /// Whether the tolerance was met.
    pub converged: bool,
    /// Epochs or iterations that led to `theta`.
    pub steps: usize,
    /// Passes over all rows, including those of line searches.
    pub passes: usize,
}
store_fields!(Fit { theta, certificate, converged, steps, passes });

impl Fit {
    /// What a fit has reached whose rows were stopped before it could evaluate that.
    fn unevaluated(theta: Vec<f32>, steps: usize, passes: usize) -> Self {
        Fit { theta, certificate: Certificate::unknown(), converged: false, steps, passes }
    }
}
