//! The objective J and its gradient over blocks of rows, the same bytes on any number of threads.

use rayon::prelude::*;

use super::moments::Moments;
use super::problem::Problem;
use crate::simd::{Kernels, PackedWeights};

/// J at one point, split into its parts.
#[derive(Debug, Clone, Copy)]
pub struct Value {
    /// Weighted mean loss.
    pub loss: f64,
    /// `l2/2` times the squared norm of the decayed parameters.
    pub penalty: f64,
}

impl Value {
    /// J itself.
    pub fn objective(&self) -> f64 {
        self.loss + self.penalty
    }
}

/// Evaluates J for a [`Problem`]. Parameters are one vector: `C x D` weights, row-major, then C biases.
///
/// Where the bias carries no penalty, features are centred on their weighted mean: `z = W (x - mean) + b'` and
/// `b = b' - W mean` describe the same functions under the same penalty, but without the mean neither rounding nor the
/// largest eigenvalue of features that are never negative (after a ReLU) stands in the way. All parameters and gradients
/// here are in these coordinates; [`Objective::enter`] and [`Objective::leave`] translate.
///
/// Rows are cut into segments by the shape of the data alone. Each segment sums its blocks in order, the segments are
/// added in order: threads only decide who computes what.
pub struct Objective<'a> {
    problem: Problem<'a>,
    kernels: &'static Kernels,
    moments: Moments,
    centre: Option<Vec<f32>>,
    plan: Plan,
    packed: PackedWeights,
    segments: Vec<Segment>,
    evaluations: usize,
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    block_rows: usize,
    segment_rows: usize,
}

/// Logits of one block: 1 MiB of f32, half of a second-level cache.
const BLOCK_LOGITS: usize = 1 << 18;
const MAX_SEGMENTS: usize = 64;
/// Bytes that the gradients of all segments may take together, unless four segments need more.
const SEGMENT_BYTES: usize = 512 << 20;
/// Rows whose gradient is summed in f32 before it is added to the f64 sum.
const FLUSH_ROWS: usize = 2048;

impl Plan {
    fn new(rows: usize, classes: usize, parameters: usize) -> Self {
        let block_rows = (BLOCK_LOGITS / classes.max(1)).clamp(16, 256);
        let gradient_bytes = parameters.max(1) * (size_of::<f32>() + size_of::<f64>());
        let affordable = (SEGMENT_BYTES / gradient_bytes).max(4);
        let segments = rows.div_ceil(2 * block_rows).clamp(1, MAX_SEGMENTS.min(affordable));
        let segment_rows = rows.div_ceil(segments).next_multiple_of(block_rows).max(block_rows);
        Plan { block_rows, segment_rows }
    }
}

#[derive(Debug, Default)]
struct Segment {
    loss: f64,
    gradient: Vec<f64>,
    recent: Vec<f32>,
}

#[derive(Default)]
struct Scratch {
    rows: Vec<f32>,
    logits: Vec<f32>,
}

impl<'a> Objective<'a> {
    /// Prepares `problem`: one pass over the rows for their moments.
    pub fn new(problem: Problem<'a>, kernels: &'static Kernels) -> Self {
        let mut moments = Moments::of(&problem, kernels);
        let centre = (!problem.decay.on_bias())
            .then(|| moments.mean.iter().map(|&mean| mean as f32).collect::<Vec<f32>>());
        if let Some(centre) = &centre {
            moments.recentre(centre);
        }
        let plan = Plan::new(problem.rows.len(), problem.classes, problem.parameters());
        let segments = problem.rows.len().div_ceil(plan.segment_rows);
        Objective {
            problem,
            kernels,
            moments,
            centre,
            plan,
            packed: PackedWeights::default(),
            segments: (0..segments).map(|_| Segment::default()).collect(),
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

    /// Changes the penalty; everything computed from the rows stays.
    pub fn set_l2(&mut self, l2: f64) {
        self.problem.l2 = l2;
    }

    /// J at `theta`, and its gradient into `gradient` (both `C x D + C`).
    pub fn evaluate(&mut self, theta: &[f32], gradient: &mut [f32]) -> Value {
        self.evaluations += 1;
        let (classes, features) = (self.problem.classes, self.problem.rows.features());
        let (weight, bias) = theta.split_at(classes * features);
        self.kernels.pack_weights(weight, classes, features, &mut self.packed);
        let shifted: Vec<f32> = match self.problem.offsets {
            None => bias.to_vec(),
            Some(offsets) => bias.iter().zip(offsets).map(|(b, o)| b + o).collect(),
        };

        let (problem, kernels, plan, packed) = (&self.problem, self.kernels, self.plan, &self.packed);
        let pass = Pass { problem, kernels, packed, bias: &shifted, centre: self.centre.as_deref() };
        self.segments.par_iter_mut().enumerate().for_each_init(
            Scratch::default,
            |scratch, (number, segment)| {
                let start = number * plan.segment_rows;
                let end = (start + plan.segment_rows).min(problem.rows.len());
                segment.run(&pass, plan.block_rows, start..end, scratch);
            },
        );

        let loss = self.segments.iter().map(|s| s.loss).sum::<f64>() / self.moments.total_weight;
        self.reduce_gradient(theta, gradient);
        Value { loss, penalty: self.penalty(theta) }
    }

    fn reduce_gradient(&self, theta: &[f32], gradient: &mut [f32]) {
        const CHUNK: usize = 4096;
        let (segments, total) = (&self.segments, self.moments.total_weight);
        let bias_at = theta.len() - self.problem.classes;
        let (on_weights, on_bias) = self.decays();
        gradient.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
            let start = chunk * CHUNK;
            for (offset, out) in out.iter_mut().enumerate() {
                let at = start + offset;
                let sum: f64 = segments.iter().map(|s| s.gradient[at]).sum();
                let decay = if at < bias_at { on_weights } else { on_bias };
                *out = (sum / total + decay * f64::from(theta[at])) as f32;
            }
        });
    }

    /// l2 as it acts on weights and on biases.
    pub fn decays(&self) -> (f64, f64) {
        let l2 = self.problem.l2;
        let decay = self.problem.decay;
        (if decay.on_weights() { l2 } else { 0.0 }, if decay.on_bias() { l2 } else { 0.0 })
    }

    fn penalty(&self, theta: &[f32]) -> f64 {
        let (weight, bias) = theta.split_at(theta.len() - self.problem.classes);
        let (on_weights, on_bias) = self.decays();
        0.5 * (on_weights * self.kernels.dot(weight, weight) + on_bias * self.kernels.dot(bias, bias))
    }
}

/// What all segments of one evaluation share.
struct Pass<'p> {
    problem: &'p Problem<'p>,
    kernels: &'static Kernels,
    packed: &'p PackedWeights,
    /// Biases plus offsets.
    bias: &'p [f32],
    centre: Option<&'p [f32]>,
}

impl Segment {
    fn run(
        &mut self,
        pass: &Pass<'_>,
        block_rows: usize,
        rows: std::ops::Range<usize>,
        scratch: &mut Scratch,
    ) {
        let (problem, kernels) = (pass.problem, pass.kernels);
        let (classes, features) = (problem.classes, problem.rows.features());
        self.loss = 0.0;
        self.gradient.clear();
        self.gradient.resize(problem.parameters(), 0.0);
        self.recent.clear();
        self.recent.resize(classes * features, 0.0);
        let mut unflushed = 0;
        for start in rows.clone().step_by(block_rows) {
            let end = (start + block_rows).min(rows.end);
            let x = problem.rows.block(kernels, pass.centre, start, end, &mut scratch.rows);
            scratch.logits.resize((end - start) * classes, 0.0);
            let z = scratch.logits.as_mut_slice();
            kernels.logits(x, features, pass.packed, pass.bias, z, classes);
            let (labels, weights) = (&problem.labels[start..end], &problem.weights[start..end]);
            self.loss += problem.loss.residuals(kernels, z, classes, classes, labels, weights);
            kernels.accumulate_gradient(z, classes, classes, x, features, &mut self.recent);
            let bias_gradient = &mut self.gradient[classes * features..];
            for row in z.chunks_exact(classes) {
                for (sum, &residual) in bias_gradient.iter_mut().zip(row) {
                    *sum += f64::from(residual);
                }
            }
            unflushed += end - start;
            if unflushed >= FLUSH_ROWS || end == rows.end {
                for (sum, recent) in self.gradient.iter_mut().zip(&mut self.recent) {
                    *sum += f64::from(std::mem::take(recent));
                }
                unflushed = 0;
            }
        }
    }
}
