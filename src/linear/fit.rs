//! One fit of one problem: the optimizer is chosen, run, and stopped early where validation says so.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::certificate::certify;
use super::objective::Objective;
use super::rows::Rows;
use super::solver::lbfgs::{self, LbfgsOptions};
use super::solver::metric::Preconditioner;
use super::solver::minibatch::{self, MinibatchOptions, Rule};
use super::solver::schedule::Schedule;
use super::solver::{Fit, Step};
use super::stages::fit_samples;
use crate::Result;
use crate::matrix::Matrix;

/// How a problem is solved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Full-batch L-BFGS up to a relative gap.
    Lbfgs {
        /// Relative gap of J to reach.
        tolerance: f64,
        /// Iterations at most.
        max_iterations: usize,
        /// Whether the gap has to be certified, or only estimated.
        certified: bool,
    },
    /// Minibatches over shuffled rows.
    Minibatch {
        /// Update rule.
        rule: Rule,
        /// Passes over the rows at most.
        epochs: usize,
        /// Rows a step; `None`: by the number of rows.
        batch: Option<usize>,
        /// Base learning rate; `None`: from the scale of the features.
        rate: Option<f64>,
        /// Decay of the rate.
        schedule: Schedule,
        /// Epochs without a better validation score before the fit stops.
        patience: usize,
        /// Key of the shuffles.
        seed: u64,
    },
}

impl Optimizer {
    /// For settings that are only told apart: a gap that is estimated instead of certified, in a fifth of the iterations.
    /// Minibatches stay as they are.
    pub fn loosened(self) -> Self {
        match self {
            Optimizer::Lbfgs { tolerance, max_iterations, .. } => {
                Optimizer::Lbfgs { tolerance, max_iterations: max_iterations.div_ceil(5), certified: false }
            }
            minibatch => minibatch,
        }
    }
}

/// Work of one L-BFGS pass (stored values of the rows x classes) above which `auto` takes minibatches: a pass of a minute or more.
/// On 1,281,167 x 1,024 x 1,000 (1.3e12) L-BFGS is certified after 12 passes; minibatches take 20 by default.
const LBFGS_WORK: f64 = 1e13;

/// Whether full-batch passes over so many of these rows are cheap enough for L-BFGS to be the default.
pub fn suits_lbfgs(features: &Matrix, rows: usize, classes: usize) -> bool {
    rows as f64 * Rows::all(features).entries_a_row() * classes as f64 <= LBFGS_WORK
}

/// What a fit reports after each epoch or iteration.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Epochs or iterations done.
    pub step: usize,
    /// Epochs or iterations at most.
    pub steps: usize,
    /// Objective, or its running estimate.
    pub objective: f64,
    /// Learning rate or step length.
    pub step_size: f64,
    /// Whether the objective is still that of a sample of the rows, where a large fit starts.
    pub on_sample: bool,
}

/// Watches a fit; `Break` ends it after the current epoch or iteration with what was reached.
pub type Watch<'w> = dyn FnMut(&Progress) -> ControlFlow<()> + 'w;

/// Scores parameters (`C x D` weights, then C biases) on validation rows; higher is better.
pub type Score<'s> = dyn FnMut(&[f32]) -> f64 + 's;

/// Solves the problem of `objective` from `start`; `preconditioner` serves all fits over the same rows. A minibatch fit with a `score` keeps its best epoch and stops
/// after `patience` epochs without a better one; L-BFGS runs to its tolerance.
///
/// # Errors
/// [`crate::Error::Diverged`]; [`crate::Error::Io`] where rows on disk cannot be read.
pub fn fit(
    objective: &mut Objective<'_>,
    preconditioner: &mut Preconditioner,
    start: &[f32],
    optimizer: &Optimizer,
    score: Option<&mut Score<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Fit> {
    // Rows on disk that cannot be read end the fit: what it says from there on is worth nothing.
    let matrix = objective.problem().rows.matrix();
    let mut unless_failed = |progress: &Progress| match matrix.has_failed() {
        true => ControlFlow::Break(()),
        false => watch(progress),
    };
    let fit = fit_readable(objective, preconditioner, start, optimizer, score, &mut unless_failed);
    matrix.check()?;
    fit
}

fn fit_readable(
    objective: &mut Objective<'_>,
    preconditioner: &mut Preconditioner,
    start: &[f32],
    optimizer: &Optimizer,
    score: Option<&mut Score<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Fit> {
    match *optimizer {
        Optimizer::Lbfgs { tolerance, max_iterations, certified } => {
            let options = LbfgsOptions { tolerance, max_iterations, certified };
            let mut tell =
                |step: &Step, on_sample| watch(&Progress { on_sample, ..progress(step, max_iterations) });
            let staged =
                fit_samples(objective, preconditioner, start, max_iterations, &mut |step| tell(step, true))?;
            let start = staged.as_ref().map_or(start, |staged| &staged.theta);
            let mut fit =
                lbfgs::minimise(objective, preconditioner, start, &options, &mut |step| tell(step, false))?;
            fit.passes += staged.map_or(0, |staged| staged.passes.ceil() as usize);
            Ok(fit)
        }
        Optimizer::Minibatch { rule, epochs, batch, rate, schedule, patience, seed } => {
            let options = MinibatchOptions { rule, epochs, batch, rate, schedule, seed };
            let mut best = Best::new(patience, score);
            let mut fit = minibatch::minimise(objective, start, &options, &mut |step, theta| match watch(
                &progress(step, epochs),
            ) {
                ControlFlow::Continue(()) => best.see(step, theta),
                stop => stop,
            })?;
            if let Some(theta) = best.theta.take().filter(|theta| *theta != fit.theta) {
                let mut entered = theta.clone();
                objective.enter(&mut entered);
                let mut gradient = vec![0.0; entered.len()];
                let value = objective.evaluate(&entered, &mut gradient);
                fit.certificate = certify(objective, &entered, value, &gradient);
                fit.theta = theta;
                fit.steps = best.epoch;
            }
            Ok(fit)
        }
    }
}

fn progress(step: &Step, steps: usize) -> Progress {
    Progress {
        step: step.number,
        steps,
        objective: step.objective,
        step_size: step.step_size,
        on_sample: false,
    }
}

/// The best epoch so far by validation score.
struct Best<'b, 's> {
    patience: usize,
    waited: usize,
    value: f64,
    epoch: usize,
    theta: Option<Vec<f32>>,
    score: Option<&'b mut Score<'s>>,
}

impl<'b, 's> Best<'b, 's> {
    fn new(patience: usize, score: Option<&'b mut Score<'s>>) -> Self {
        Best { patience, waited: 0, value: f64::NEG_INFINITY, epoch: 0, theta: None, score }
    }

    fn see(&mut self, step: &Step, theta: &[f32]) -> ControlFlow<()> {
        let Some(score) = &mut self.score else { return ControlFlow::Continue(()) };
        let value = score(theta);
        if value > self.value {
            self.value = value;
            self.epoch = step.number;
            self.theta = Some(theta.to_vec());
            self.waited = 0;
        } else {
            self.waited += 1;
        }
        if self.waited >= self.patience { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
