//! Minibatch SGD with momentum and AdamW over shuffled rows.
//!
//! A batch of B rows contributes `sum w_i grad_i / (B * mean weight of all rows)`: dividing by the batch's own weight
//! sum would make the step depend on which classes the batch happens to hold.

use std::ops::{ControlFlow, Range};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::{Fit, Step};
use crate::checkpoint::codec::{bytes_of, store_fields};
use crate::linear::certificate::certify;
use crate::linear::objective::{Objective, penalty};
use crate::linear::problem::Problem;
use crate::linear::products::{Arithmetic, Block, BlockBuffer, GradientSums, Weights};
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
/// Rows that one task widens and scores.
const TASK_ROWS: usize = 128;
/// Logits held at once (64 MiB): a batch of many classes goes through in pieces.
const MOST_LOGITS: usize = 1 << 24;
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

    let mut theta = start.to_vec();
    objective.enter(&mut theta);
    let mut gradient = vec![0.0; theta.len()];
    let start_value = objective.evaluate(&theta, &mut gradient).objective();
    let state = state.unwrap_or_else(|| State::start(theta, options.rule));
    let mut trainer = Trainer::new(objective, &problem, options.rule, batch, state);
    let mean_weight = objective.moments().total_weight / rows as f64;
    let mut raw = start.to_vec();
    let mut is_left = false;
    if trainer.state.epochs > 0 {
        raw.copy_from_slice(&trainer.state.theta);
        objective.leave(&mut raw);
        is_left = monitor(&trainer.state.step(), &raw, &|| bytes_of(&trainer.state)).is_break();
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
        is_left = monitor(&state.step(), &raw, &|| bytes_of(&trainer.state)).is_break();
    }
    let done = trainer.state.epochs;
    let value = objective.evaluate(&trainer.state.theta, &mut gradient);
    if objective.is_stopped() {
        return Ok(Fit::unevaluated(raw, done, done + 1));
    }
    // A strong penalty leaves nothing to gain on the start, and batches are noisy: only a multiple of it is divergence.
    if value.objective().is_nan() || value.objective() > DIVERGED * start_value {
        return Err(diverged(value.objective(), done));
    }
    let certificate = certify(objective, &trainer.state.theta, value, &gradient);
    Ok(Fit { certificate, theta: raw, converged: false, steps: done, passes: done + 2 })
}

/// Rows of a batch whose logits are held at once: whole tasks.
fn piece_rows(classes: usize) -> usize {
    (MOST_LOGITS / classes.max(1) / TASK_ROWS * TASK_ROWS).max(TASK_ROWS)
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

/// The state and the buffers of one batch, in the coordinates of the objective.
struct Trainer<'p> {
    problem: &'p Problem<'p>,
    kernels: &'static Kernels,
    centre: Option<Vec<f32>>,
    rule: Rule,
    decays: (f64, f64),
    state: State,
    gradient: Vec<f32>,
    arithmetic: Arithmetic,
    laid_out: Weights,
    blocks: Vec<BlockBuffer>,
    z: Vec<f32>,
    labels: Vec<u32>,
    weights: Vec<f32>,
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
            arithmetic: Arithmetic::in_f32(objective.kernels(), &problem.rows),
            laid_out: Weights::default(),
            blocks: std::iter::repeat_with(BlockBuffer::default)
                .take(batch.min(piece_rows(problem.classes)).div_ceil(TASK_ROWS))
                .collect(),
            z: vec![0.0; batch.min(piece_rows(problem.classes)) * problem.classes],
            labels: Vec::with_capacity(batch),
            weights: Vec::with_capacity(batch),
            problem,
            kernels: objective.kernels(),
            centre: objective.centre().map(<[f32]>::to_vec),
            rule,
            decays: objective.decays(),
            state,
        }
    }

    /// One update from the rows at `positions`; returns their weighted mean loss before it.
    fn step(&mut self, positions: &[usize], mean_weight: f64, rate: f64) -> f64 {
        let scale = 1.0 / (positions.len() as f64 * mean_weight);
        self.labels.clear();
        self.labels.extend(positions.iter().map(|&p| self.problem.labels[p]));
        self.weights.clear();
        self.weights.extend(positions.iter().map(|&p| (f64::from(self.problem.weights[p]) * scale) as f32));
        let loss = self.loss_and_gradient(positions);
        self.update(rate);
        loss
    }

    fn loss_and_gradient(&mut self, positions: &[usize]) -> f64 {
        let (classes, features) = (self.problem.classes, self.problem.rows.features());
        let (weight, bias) = self.state.theta.split_at(classes * features);
        self.laid_out.lay_out(weight, classes, features, self.arithmetic);
        let mut shifted = bias.to_vec();
        if let Some(offsets) = self.problem.offsets {
            shifted.iter_mut().zip(offsets).for_each(|(b, o)| *b += o);
        }
        self.gradient.fill(0.0);
        let size = piece_rows(classes);
        let starts = (0..positions.len()).step_by(size);
        starts
            .map(|start| self.add_piece(positions, start..(start + size).min(positions.len()), &shifted))
            .sum()
    }

    /// Adds the gradient of `piece` of the rows of a batch; returns their loss.
    fn add_piece(&mut self, positions: &[usize], piece: Range<usize>, bias: &[f32]) -> f64 {
        let (problem, kernels, arithmetic) = (self.problem, self.kernels, self.arithmetic);
        let (classes, features) = (problem.classes, problem.rows.features());
        let (laid_out, centre) = (&self.laid_out, self.centre.as_deref());
        let z = &mut self.z[..piece.len() * classes];
        let (labels, weights) = (&self.labels[piece.clone()], &self.weights[piece.clone()]);
        let loaded: Vec<(f64, Block<'_>)> = positions[piece]
            .par_chunks(TASK_ROWS)
            .zip(self.blocks.par_iter_mut())
            .zip(z.par_chunks_mut(TASK_ROWS * classes))
            .zip(labels.par_chunks(TASK_ROWS).zip(weights.par_chunks(TASK_ROWS)))
            .map(|(((positions, buffer), z), (labels, weights))| {
                let x = buffer.gather(&problem.rows, centre, positions, arithmetic);
                x.logits(laid_out, bias, z);
                (problem.residuals(kernels, z, labels, weights), x)
            })
            .collect();
        let z = &*z;
        // Each task owns some classes and sums over the whole piece, so the sums do not depend on the threads.
        let tile = if classes < 64 { 8 } else { 32 };
        let (weight_gradient, bias_gradient) = self.gradient.split_at_mut(classes * features);
        weight_gradient
            .par_chunks_mut(tile * features)
            .zip(bias_gradient.par_chunks_mut(tile))
            .enumerate()
            .for_each_init(
                || (GradientSums::default(), vec![0.0; tile * features]),
                |(sums, room), (number, (weight_gradient, bias_gradient))| {
                    let first = number * tile;
                    sums.reset(bias_gradient.len(), 0..features as u32, arithmetic);
                    for ((_, x), z) in loaded.iter().zip(z.chunks(TASK_ROWS * classes)) {
                        x.accumulate_gradient(&z[first..], classes, sums);
                    }
                    let sum = &mut room[..weight_gradient.len()];
                    sums.copy_to(sum);
                    weight_gradient.iter_mut().zip(sum).for_each(|(to, sum)| *to += *sum);
                    for (offset, out) in bias_gradient.iter_mut().enumerate() {
                        let column = z[first + offset..].iter().step_by(classes);
                        *out += column.map(|&r| f64::from(r)).sum::<f64>() as f32;
                    }
                },
            );
        loaded.iter().map(|(loss, _)| loss).sum()
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
        let theta = &mut theta[range.clone()];
        let gradient = &self.gradient[range.clone()];
        let velocity = &mut velocity[range.clone()];
        match self.rule {
            Rule::Sgd { momentum, nesterov } => {
                let (lr, momentum, l2) = (rate as f32, momentum as f32, l2 as f32);
                kernels.sgd_update(theta, gradient, velocity, SgdStep { lr, momentum, nesterov, l2 });
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
                kernels.adamw_update(theta, gradient, velocity, &mut second[range], step);
            }
        }
    }

    fn penalty(&self) -> f64 {
        penalty(self.problem, self.kernels, self.decays, &self.state.theta)
    }
}
