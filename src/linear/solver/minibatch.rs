//! Minibatch SGD with momentum and AdamW over shuffled rows.
//!
//! A batch of B rows contributes `sum w_i grad_i / (B * mean weight of all rows)`: dividing by the batch's own weight
//! sum would make the step depend on which classes the batch happens to hold.

use std::ops::{ControlFlow, Range};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::schedule::Schedule;
use super::{Fit, Step};
use crate::checkpoint::codec::{Stored, store_fields};
use crate::linear::certificate::certify;
use crate::linear::objective::{Objective, penalty};
use crate::linear::problem::Problem;
use crate::linear::products::GradientSums;
use crate::rng::CounterRng;
use crate::simd::{AdamStep, Kernels, SgdStep};
use crate::{Error, Result};

/// Update rule of a minibatch fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Stochastic gradient descent with momentum, plain or Nesterov's.
    Sgd {
        /// Share of the velocity kept each step.
        momentum: f64,
        /// Whether the gradient is looked up ahead.
        nesterov: bool,
    },
    /// Adam (Kingma & Ba 2015) with the decay kept out of the moments (Loshchilov & Hutter 2019) but inside the
    /// metric, so that its fixed point is the minimum of J.
    AdamW,
}

impl Rule {
    /// `sgd`, `nesterov` or `adamw`.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Sgd { nesterov: false, .. } => "sgd",
            Rule::Sgd { nesterov: true, .. } => "nesterov",
            Rule::AdamW => "adamw",
        }
    }
}

/// Settings of a minibatch fit.
#[derive(Debug, Clone, Copy)]
pub struct MinibatchOptions {
    /// Update rule.
    pub rule: Rule,
    /// Passes over the rows.
    pub epochs: usize,
    /// Rows a step; `None` takes [`automatic_batch`].
    pub batch: Option<usize>,
    /// Base learning rate; `None` takes [`automatic_rate`].
    pub rate: Option<f64>,
    /// Decay of the rate.
    pub schedule: Schedule,
    /// Key of the shuffles, together with the epoch.
    pub seed: u64,
}

/// Share of all steps that the warm-up takes.
const WARMUP: f64 = 0.05;
/// A final J of so many times its start means that the rate was too high.
const DIVERGED: f64 = 10.0;
/// Rows at most that tell where J starts: its end is held against a multiple of that, and a pass over all rows would cost as
/// much as an epoch.
const START_ROWS: usize = 4096;
/// Parameters that one task moves.
const UPDATE_VALUES: usize = 1 << 16;
const ADAM_BETA1: f64 = 0.9;
const ADAM_BETA2: f64 = 0.999;
const ADAM_EPSILON: f64 = 1e-8;

/// Called after each epoch with the parameters over the features as they are (`C x D` weights, then C biases); `Break`
/// ends the fit with the parameters of this epoch.
pub type EpochMonitor<'m> = dyn FnMut(&Step, &[f32]) -> ControlFlow<()> + 'm;

/// Called after each epoch as [`EpochMonitor`], with what writes down the fit as it is.
pub(in crate::linear) type StateMonitor<'m> =
    dyn FnMut(&Step, &[f32], &dyn Fn() -> Vec<u8>) -> ControlFlow<()> + 'm;

/// A fit between two epochs, in the coordinates of the objective.
#[derive(Debug)]
pub(in crate::linear) struct State {
    theta: Vec<f32>,
    velocity: Vec<f32>,
    /// Second moments of AdamW; empty for other rules.
    second: Vec<f32>,
    steps: i32,
    /// Epochs done, and what the last one reported.
    epochs: usize,
    objective: f64,
    step_size: f64,
}
store_fields!(State { theta, velocity, second, steps, epochs, objective, step_size });

impl State {
    fn start(theta: Vec<f32>, rule: Rule) -> Self {
        let second = if rule == Rule::AdamW { vec![0.0; theta.len()] } else { Vec::new() };
        let velocity = vec![0.0; theta.len()];
        State { theta, velocity, second, steps: 0, epochs: 0, objective: 0.0, step_size: 0.0 }
    }

    /// Whether this can be a state of the fit of `objective` by `rule`.
    pub(in crate::linear) fn fits(&self, objective: &Objective<'_>, rule: Rule) -> bool {
        let parameters = objective.problem().parameters();
        let second = if rule == Rule::AdamW { parameters } else { 0 };
        [self.theta.len(), self.velocity.len(), self.second.len()] == [parameters, parameters, second]
    }

    /// The state as a checkpoint holds it. Its memory is taken at once: of many classes it is large, and what the allocator
    /// keeps of the steps of a growing list would be as large.
    fn to_bytes(&self) -> Vec<u8> {
        const REST: usize = 128; // counts and single numbers
        let values = self.theta.len() + self.velocity.len() + self.second.len();
        let mut bytes = Vec::with_capacity(size_of::<f32>() * values + REST);
        self.store(&mut bytes);
        bytes
    }

    fn step(&self) -> Step {
        Step { number: self.epochs, objective: self.objective, step_size: self.step_size }
    }
}

/// Runs the epochs from `start` (over the features as they are, `C x D + C`); `monitor` sees the parameters after each.
///
/// # Errors
/// [`Error::Diverged`] when the objective of an epoch is not finite, or ends far above its start.
pub fn minimise(
    objective: &mut Objective<'_>,
    start: &[f32],
    options: &MinibatchOptions,
    monitor: &mut EpochMonitor<'_>,
) -> Result<Fit> {
    minimise_from(objective, start, None, options, &mut |step, theta, _| monitor(step, theta))
}

/// [`minimise`], from `state` where the fit from `start` was left there. The epoch it was left at is shown to `monitor`
/// once more.
///
/// # Errors
/// Those of [`minimise`].
pub(in crate::linear) fn minimise_from(
    objective: &mut Objective<'_>,
    start: &[f32],
    state: Option<State>,
    options: &MinibatchOptions,
    monitor: &mut StateMonitor<'_>,
) -> Result<Fit> {
    let rate = options.rate.unwrap_or_else(|| automatic_rate(objective, options.rule));
    let problem = *objective.problem();
    let rows = problem.rows.len();
    let batch = options.batch.unwrap_or_else(|| automatic_batch(rows)).clamp(1, rows.max(1));
    let steps_per_epoch = rows.div_ceil(batch);
    let steps = steps_per_epoch.saturating_mul(options.epochs);
    let warmup = (steps as f64 * WARMUP) as usize;

    objective.rest();
    let mut theta = start.to_vec();
    objective.enter(&mut theta);
    let mut trainer =
        Trainer::new(objective, &problem, options.rule, batch, State::start(theta, options.rule));
    let start_value = trainer.start_value();
    if let Some(state) = state {
        trainer.state = state;
    }
    let mean_weight = objective.moments().total_weight / rows as f64;
    let mut raw = start.to_vec();
    let mut is_left = false;
    if trainer.state.epochs > 0 {
        raw.copy_from_slice(&trainer.state.theta);
        objective.leave(&mut raw);
        is_left = monitor(&trainer.state.step(), &raw, &|| trainer.state.to_bytes()).is_break();
    }
    let diverged = |value: f64, epoch: usize| Error::Diverged {
        value,
        place: format!("epoch {epoch}"),
        lr: format!("{rate:.3e}"),
    };
    for epoch in trainer.state.epochs + 1..=options.epochs {
        if is_left || problem.rows.is_stopped() {
            break;
        }
        // From the plain order each time: the order of an epoch depends on the seed and the epoch alone.
        let mut order: Vec<usize> = (0..rows).collect();
        CounterRng::new(options.seed, epoch as u64).shuffle(&mut order);
        let mut loss = 0.0;
        let mut factor = 0.0;
        for (number, positions) in order.chunks(batch).enumerate() {
            if problem.rows.is_stopped() {
                break;
            }
            factor = options.schedule.factor((epoch - 1) * steps_per_epoch + number, steps, warmup);
            loss +=
                trainer.step(positions, mean_weight, rate * factor) * positions.len() as f64 / rows as f64;
        }
        if problem.rows.is_stopped() {
            break;
        }
        raw.copy_from_slice(&trainer.state.theta);
        objective.leave(&mut raw);
        if !loss.is_finite() || raw.iter().any(|w| !w.is_finite()) {
            return Err(diverged(loss, epoch));
        }
        let objective_now = loss + trainer.penalty();
        let state = &mut trainer.state;
        (state.epochs, state.objective, state.step_size) = (epoch, objective_now, rate * factor);
        is_left = monitor(&state.step(), &raw, &|| trainer.state.to_bytes()).is_break();
    }
    // What steps need makes room for what a pass needs.
    let (theta, done, mut gradient) = trainer.into_parts();
    let value = objective.evaluate(&theta, &mut gradient);
    if objective.is_stopped() {
        return Ok(Fit::unevaluated(raw, done, done + 1));
    }
    // A strong penalty leaves nothing to gain on the start, and batches are noisy: only a multiple of it is divergence.
    if value.objective().is_nan() || value.objective() > DIVERGED * start_value {
        return Err(diverged(value.objective(), done));
    }
    let certificate = certify(objective, &theta, value, &gradient);
    Ok(Fit { certificate, theta: raw, converged: false, steps: done, passes: done + 1 })
}

/// Rows a step where the user names none: 64 steps an epoch or more, in batches of 32 to 1,024.
pub fn automatic_batch(rows: usize) -> usize {
    (rows / 64).next_power_of_two().clamp(32, 1024)
}

/// A learning rate from the scale of the features: for SGD the inverse of the largest curvature of J, for AdamW the
/// rate at which one step moves a logit by at most about a half.
pub fn automatic_rate(objective: &Objective<'_>, rule: Rule) -> f64 {
    let moments = objective.moments();
    match rule {
        Rule::Sgd { .. } => {
            let curvature = objective.problem().loss.curvature_bound() * largest_eigenvalue(objective);
            let problem = objective.problem();
            let factor = (0..problem.classes).map(|class| problem.l2_factor(class)).fold(0.0, f64::max);
            1.0 / (curvature + factor * problem.l2).max(f64::MIN_POSITIVE)
        }
        Rule::AdamW => {
            let spread: f64 =
                moments.variance.iter().zip(&moments.mean).map(|(v, m)| (v + m * m).sqrt()).sum();
            0.5 / (1.0 + spread)
        }
    }
}

/// Largest eigenvalue of the weighted second moments of the features as they enter the objective, at least the 1 of the
/// bias, by power iteration on a sample of rows.
fn largest_eigenvalue(objective: &Objective<'_>) -> f64 {
    const SAMPLE: usize = 4096;
    const ITERATIONS: usize = 20;
    let (problem, kernels) = (objective.problem(), objective.kernels());
    let (rows, features) = (problem.rows.len(), problem.rows.features());
    let stride = rows.div_ceil(SAMPLE);
    let sample: Vec<usize> = (0..rows).step_by(stride).collect();
    let dense = if problem.rows.is_sparse() { 0 } else { sample.len() * features };
    let mut x = vec![0.0; dense];
    if dense > 0 {
        problem.rows.gather_into(kernels, objective.centre(), &sample, &mut x);
    }
    let total: f64 = sample.iter().map(|&row| f64::from(problem.weights[row])).sum();
    let moments = objective.moments();
    let second_moments = moments.variance.iter().zip(&moments.mean).map(|(v, m)| (v + m * m).sqrt() as f32);
    let mut vector: Vec<f32> = second_moments.collect();
    let mut eigenvalue = 0.0;
    for _ in 0..ITERATIONS {
        let norm = kernels.dot(&vector, &vector).sqrt();
        if norm <= 0.0 {
            break;
        }
        vector.iter_mut().for_each(|v| *v /= norm as f32);
        let mut next = vec![0.0; features];
        let share = |position: usize| f64::from(problem.weights[position]) / total;
        if dense > 0 {
            for (row, &position) in x.chunks_exact(features).zip(&sample) {
                kernels.axpy((kernels.dot(row, &vector) * share(position)) as f32, row, &mut next);
            }
        } else {
            problem.rows.visit(sample.iter().copied(), |place, row| {
                let mut along = 0.0;
                row.for_each_entry(|at, x| along += f64::from(x) * f64::from(vector[at]));
                let along = (along * share(sample[place])) as f32;
                row.for_each_entry(|at, x| next[at] += along * x);
            });
        }
        eigenvalue = kernels.dot(&next, &next).sqrt();
        vector = next;
    }
    eigenvalue.max(1.0)
}

/// The state, its gradient and the buffers of one batch, in the coordinates of the objective.
struct Trainer<'p> {
    problem: &'p Problem<'p>,
    kernels: &'static Kernels,
    rule: Rule,
    decays: (f64, f64),
    state: State,
    gradient: Vec<f32>,
    batch: Batch<'p>,
}

impl<'p> Trainer<'p> {
    fn new(
        objective: &Objective<'_>,
        problem: &'p Problem<'p>,
        rule: Rule,
        batch: usize,
        state: State,
    ) -> Self {
        Trainer {
            gradient: vec![0.0; state.theta.len()],
            batch: Batch::new(objective, problem, batch),
            problem,
            kernels: objective.kernels(),
            rule,
            decays: objective.decays(),
            state,
        }
    }

    /// About J at the parameters as they are: from evenly spaced rows among those that have a weight.
    fn start_value(&mut self) -> f64 {
        let problem = self.problem;
        let weighty = || (0..problem.rows.len()).filter(|&position| problem.weights[position] > 0.0);
        let stride = weighty().count().div_ceil(START_ROWS).max(1);
        let positions: Vec<usize> = weighty().step_by(stride).collect();
        let total: f64 = positions.iter().map(|&position| f64::from(problem.weights[position])).sum();
        let pieces = self.batch.take(&self.state.theta, &positions, 1.0 / total);
        let loss: f64 = pieces.map(|piece| self.batch.score(&positions, piece).loss).sum();
        loss + self.penalty()
    }

    /// One update from the rows at `positions`; returns their weighted mean loss before it.
    fn step(&mut self, positions: &[usize], mean_weight: f64, rate: f64) -> f64 {
        let scale = 1.0 / (positions.len() as f64 * mean_weight);
        let pieces = self.batch.take(&self.state.theta, positions, scale);
        let loss = pieces.map(|piece| self.add_piece(positions, piece)).sum();
        self.update(rate);
        loss
    }

    /// Adds the gradient of `piece` of the rows of a batch to that of the pieces before it; returns their loss.
    fn add_piece(&mut self, positions: &[usize], piece: Range<usize>) -> f64 {
        let (classes, features) = (self.problem.classes, self.problem.rows.features());
        let is_first = piece.start == 0;
        let arithmetic = self.batch.arithmetic();
        let piece = self.batch.score(positions, piece);
        // Each task owns some classes and sums over the whole piece, so the sums do not depend on the threads.
        let tile = if classes < 64 { 8 } else { 32 };
        let (weight_gradient, bias_gradient) = self.gradient.split_at_mut(classes * features);
        weight_gradient
            .par_chunks_mut(tile * features)
            .zip(bias_gradient.par_chunks_mut(tile))
            .enumerate()
            .for_each_init(
                || (GradientSums::default(), vec![0.0; tile * features], Vec::new()),
                |(sums, room, bias_sums), (number, (weight_gradient, bias_gradient))| {
                    if is_first {
                        weight_gradient.fill(0.0);
                        bias_gradient.fill(0.0);
                    }
                    let first = number * tile;
                    sums.reset(bias_gradient.len(), 0..features as u32, arithmetic);
                    piece.add_weights(first, sums);
                    let sum = &mut room[..weight_gradient.len()];
                    sums.copy_to(sum);
                    weight_gradient.iter_mut().zip(sum).for_each(|(to, sum)| *to += *sum);
                    piece.add_biases(first, bias_gradient, bias_sums);
                },
            );
        piece.loss
    }

    fn update(&mut self, rate: f64) {
        self.state.steps = self.state.steps.saturating_add(1);
        let (classes, features) = (self.problem.classes, self.problem.rows.features());
        let bias_at = classes * features;
        let (on_weights, on_bias) = self.decays;
        if self.problem.l2_factors.is_none() {
            self.update_range(0..bias_at, rate, on_weights);
            self.update_range(bias_at..bias_at + classes, rate, on_bias);
            return;
        }
        for class in 0..classes {
            let factor = self.problem.l2_factor(class);
            self.update_range(class * features..(class + 1) * features, rate, factor * on_weights);
            self.update_range(bias_at + class..bias_at + class + 1, rate, factor * on_bias);
        }
    }

    /// One step of the parameters `range`, which decay by `l2`.
    fn update_range(&mut self, range: Range<usize>, rate: f64, l2: f64) {
        let kernels = self.kernels;
        let State { theta, velocity, second, steps, .. } = &mut self.state;
        let steps = *steps;
        let parts = theta[range.clone()]
            .par_chunks_mut(UPDATE_VALUES)
            .zip(self.gradient[range.clone()].par_chunks(UPDATE_VALUES))
            .zip(velocity[range.clone()].par_chunks_mut(UPDATE_VALUES));
        match self.rule {
            Rule::Sgd { momentum, nesterov } => {
                let (lr, momentum, l2) = (rate as f32, momentum as f32, l2 as f32);
                let step = SgdStep { lr, momentum, nesterov, l2 };
                parts.for_each(|((theta, gradient), velocity)| {
                    kernels.sgd_update(theta, gradient, velocity, step)
                });
            }
            Rule::AdamW => {
                let step = AdamStep {
                    lr: rate as f32,
                    beta1: ADAM_BETA1 as f32,
                    beta2: ADAM_BETA2 as f32,
                    eps: ADAM_EPSILON as f32,
                    correction1: (1.0 - ADAM_BETA1.powi(steps)) as f32,
                    correction2: (1.0 - ADAM_BETA2.powi(steps)) as f32,
                    decay: l2 as f32,
                };
                parts.zip(second[range].par_chunks_mut(UPDATE_VALUES)).for_each(
                    |(((theta, gradient), velocity), second)| {
                        kernels.adamw_update(theta, gradient, velocity, second, step);
                    },
                );
            }
        }
    }

    /// The parameters, the number of epochs done, and room for a gradient. All else is given back.
    fn into_parts(self) -> (Vec<f32>, usize, Vec<f32>) {
        (self.state.theta, self.state.epochs, self.gradient)
    }

    fn penalty(&self) -> f64 {
        penalty(self.problem, self.kernels, self.decays, &self.state.theta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::rows::Rows;
    use crate::loss::Loss;
    use crate::matrix::Matrix;
    use crate::simd::Kernels;

    #[test]
    fn the_start_of_few_rows_is_j_and_of_many_rows_near_it() {
        for (rows, off) in [(500, 1e-6), (20_000, 0.05)] {
            let value = |at: usize| ((at * 7919) % 1009) as f32 / 1009.0 - 0.5;
            let matrix = Matrix::from_f32((0..2 * rows).map(value).collect(), 2);
            let labels: Vec<u32> = (0..rows).map(|row| (row % 7 / 3) as u32).collect();
            // Rows without a weight say nothing.
            let weights: Vec<f32> = (0..rows).map(|row| (row % 5) as f32 / 3.0).collect();
            let offsets = [0.3, -0.2, 0.0];
            let problem = Problem {
                offsets: Some(&offsets),
                ..Problem::new(Rows::all(&matrix), &labels, &weights, 3, Loss::Softmax, 0.1)
            };
            let mut objective = Objective::new(problem, Kernels::best());
            let mut theta: Vec<f32> = (0..problem.parameters()).map(value).collect();
            objective.enter(&mut theta);
            let whole = objective.evaluate(&theta, &mut vec![0.0; theta.len()]).objective();
            let rule = Rule::AdamW;
            let mut trainer = Trainer::new(&objective, &problem, rule, 64, State::start(theta, rule));
            let found = trainer.start_value();
            assert!((found / whole - 1.0).abs() < off, "{rows} rows: {found} for {whole}");
        }
    }
}
