//! One fit of one problem: the optimizer is chosen, run, and stopped early where validation says so.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::certificate::{Certificate, certify};
use super::objective::Objective;
use super::rows::Rows;
use super::solver::lbfgs::{self, LbfgsOptions};
use super::solver::memory::Memory;
use super::solver::minibatch::{self, MinibatchOptions, Rule};
use super::solver::schedule::Schedule;
use super::solver::{Fit, Step};
use super::stages::fit_samples;
use crate::Result;
use crate::checkpoint::codec::{Stored, bytes_of, store_fields};
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

    /// For values of l2 that are chosen among on validation rows: [`Optimizer::loosened`], up to four times the gap. On
    /// cifar10_lt100, clinc150imb and banking77 that finds models as good on test rows in 60 to 95 % of the time.
    pub fn for_choosing(self) -> Self {
        match self.loosened() {
            Optimizer::Lbfgs { tolerance, max_iterations, certified } => {
                Optimizer::Lbfgs { tolerance: 4.0 * tolerance, max_iterations, certified }
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

/// Solves the problem of `objective` from `start`; `memory` serves all fits over the same rows. A minibatch fit with a `score` keeps its best epoch and stops
/// after `patience` epochs without a better one; L-BFGS runs to its tolerance.
///
/// # Errors
/// [`crate::Error::Diverged`]; [`crate::Error::Io`] where rows on disk cannot be read.
pub fn fit(
    objective: &mut Objective<'_>,
    memory: &mut Memory,
    start: &[f32],
    optimizer: &Optimizer,
    score: Option<&mut Score<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Fit> {
    fit_from(objective, memory, start, None, optimizer, score, &mut |progress, _| watch(progress))
}

/// Watches a fit as [`Watch`], with what writes down its [`State`]; `None` where it could not go on from there.
pub(super) type StateWatch<'w> = dyn FnMut(&Progress, &dyn Fn() -> Option<Vec<u8>>) -> ControlFlow<()> + 'w;

/// A fit between two epochs or iterations.
pub(super) enum State {
    /// Passes that the samples cost, then the fit of all rows.
    Lbfgs(usize, Box<lbfgs::State>),
    /// The fit, and what early stopping knows of it.
    Minibatch(Box<minibatch::State>, Best),
}

impl State {
    /// Whether this can be a state of the fit of `objective` by `optimizer`.
    pub(super) fn fits(&self, objective: &Objective<'_>, optimizer: &Optimizer) -> bool {
        let parameters = objective.problem().parameters();
        match (self, *optimizer) {
            (State::Lbfgs(_, state), Optimizer::Lbfgs { .. }) => state.fits(objective),
            (State::Minibatch(state, best), Optimizer::Minibatch { rule, .. }) => {
                state.fits(objective, rule)
                    && best.theta.as_ref().is_none_or(|theta| theta.len() == parameters)
            }
            _ => false,
        }
    }
}

impl Stored for State {
    fn store(&self, out: &mut Vec<u8>) {
        match self {
            State::Lbfgs(passes, state) => out.extend(stored(0, passes, bytes_of(&**state))),
            State::Minibatch(state, best) => out.extend(stored(1, best, bytes_of(&**state))),
        }
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        Some(match u8::load(from)? {
            0 => State::Lbfgs(Stored::load(from)?, Box::new(Stored::load(from)?)),
            1 => {
                let best = Stored::load(from)?;
                State::Minibatch(Box::new(Stored::load(from)?), best)
            }
            _ => return None,
        })
    }
}

/// A [`State`] as it is stored, made of the bytes of the fit itself in their place: of many classes they are large.
fn stored(kind: u8, first: &impl Stored, mut fit: Vec<u8>) -> Vec<u8> {
    let mut head = vec![kind];
    first.store(&mut head);
    fit.splice(..0, head);
    fit
}

/// [`fit`], from `state` where the fit from `start` was left there.
///
/// # Errors
/// Those of [`fit`].
pub(super) fn fit_from(
    objective: &mut Objective<'_>,
    memory: &mut Memory,
    start: &[f32],
    state: Option<State>,
    optimizer: &Optimizer,
    score: Option<&mut Score<'_>>,
    watch: &mut StateWatch<'_>,
) -> Result<Fit> {
    // Rows on disk that cannot be read end the fit: what it says from there on is worth nothing.
    let matrix = objective.problem().rows.matrix();
    let mut unless_failed =
        |progress: &Progress, state: &dyn Fn() -> Option<Vec<u8>>| match matrix.has_failed() {
            true => ControlFlow::Break(()),
            false => watch(progress, state),
        };
    let fit = fit_readable(objective, memory, start, state, optimizer, score, &mut unless_failed);
    matrix.check()?;
    fit
}

fn fit_readable(
    objective: &mut Objective<'_>,
    memory: &mut Memory,
    start: &[f32],
    state: Option<State>,
    optimizer: &Optimizer,
    mut score: Option<&mut Score<'_>>,
    watch: &mut StateWatch<'_>,
) -> Result<Fit> {
    match *optimizer {
        Optimizer::Lbfgs { tolerance, max_iterations, certified } => {
            let options = LbfgsOptions { tolerance, max_iterations, certified };
            let of = |step: &Step, on_sample| Progress { on_sample, ..progress(step, max_iterations) };
            let staged_theta;
            let (passes, start) = match state {
                Some(State::Lbfgs(passes, state)) => (passes, lbfgs::Start::From(state)),
                _ => {
                    let mut tell = |step: &Step| watch(&of(step, true), &|| None);
                    match fit_samples(objective, memory, start, max_iterations, &mut tell)? {
                        None => (0, lbfgs::Start::At(start)),
                        Some(staged) => {
                            staged_theta = staged.theta;
                            (staged.passes.ceil() as usize, lbfgs::Start::At(&staged_theta))
                        }
                    }
                }
            };
            let mut tell = |step: &Step, state: &dyn Fn() -> Vec<u8>| {
                watch(&of(step, false), &|| Some(stored(0, &passes, state())))
            };
            let mut fit = lbfgs::minimise_from(objective, memory, start, &options, &mut tell)?;
            fit.passes += passes;
            Ok(fit)
        }
        Optimizer::Minibatch { rule, epochs, batch, rate, schedule, patience, seed } => {
            let options = MinibatchOptions { rule, epochs, batch, rate, schedule, seed };
            let (state, mut best) = match state {
                Some(State::Minibatch(state, best)) => (Some(*state), best),
                _ => (None, Best::default()),
            };
            let rows = objective.problem().rows;
            let mut follow = |step: &Step, theta: &[f32], state: &dyn Fn() -> Vec<u8>| {
                if let Some(score) = &mut score {
                    best.see(step.number, theta, &mut |theta| {
                        let value = score(theta);
                        if rows.is_stopped() { f64::NEG_INFINITY } else { value }
                    });
                }
                let flow = watch(&progress(step, epochs), &|| Some(stored(1, &best, state())));
                if score.is_some() && best.waited >= patience { ControlFlow::Break(()) } else { flow }
            };
            let mut fit = minibatch::minimise_from(objective, start, state, &options, &mut follow)?;
            if let Some(theta) = best.theta.take().filter(|theta| *theta != fit.theta) {
                let mut entered = theta.clone();
                objective.enter(&mut entered);
                let mut gradient = vec![0.0; entered.len()];
                let value = objective.evaluate(&entered, &mut gradient);
                fit.certificate = match objective.is_stopped() {
                    true => Certificate::unknown(),
                    false => certify(objective, &entered, value, &gradient),
                };
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
pub(super) struct Best {
    /// Epochs scored.
    seen: usize,
    waited: usize,
    value: f64,
    epoch: usize,
    theta: Option<Vec<f32>>,
}
store_fields!(Best { seen, waited, value, epoch, theta });

impl Default for Best {
    fn default() -> Self {
        Best { seen: 0, waited: 0, value: f64::NEG_INFINITY, epoch: 0, theta: None }
    }
}

impl Best {
    /// Scores the parameters `theta` of an epoch, once.
    fn see(&mut self, epoch: usize, theta: &[f32], score: &mut Score<'_>) {
        if epoch <= self.seen {
            return;
        }
        self.seen = epoch;
        let value = score(theta);
        if value > self.value {
            self.value = value;
            self.epoch = epoch;
            self.theta = Some(theta.to_vec());
            self.waited = 0;
        } else {
            self.waited += 1;
        }
    }
}
