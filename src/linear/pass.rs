//! Passes over all rows for loss and gradient of J.
//!
//! Whatever the number of threads, sums are taken in an order fixed by the shape of the data. Few parameters: rows are
//! cut into segments, each sums a gradient of its own. Many: no second gradient is affordable, so a [`slab`] of rows is
//! turned into residuals, and tasks that own a part of the gradient each add up the whole slab.

use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;

use super::problem::Problem;
use super::products::{Arithmetic, Block, BlockBuffer, GradientSums, Weights};
use super::slab::Slab;
use crate::simd::Kernels;

/// Segments are multiples of the largest block.
pub(super) const SEGMENT_UNIT: usize = 256;
/// Rows of a segment at least: with 512 the sums of a fit of 151 classes cost as much as its products.
const SEGMENT_ROWS: usize = 1024;
const MAX_SEGMENTS: usize = 64;
/// Values of the gradients of all segments together, and how few segments are worth it.
const SEGMENT_VALUES: usize = 1 << 24;
const FEWEST_SEGMENTS: usize = 4;
/// Classes from which slabs can share their work by classes.
const MANY_CLASSES: usize = 128;
/// Rows whose gradient is summed in f32 before it is added to the f64 sum; more where rows are sparse and that costs
/// as much as they do.
const FLUSH_ROWS: usize = 2048;
const SPARSE_FLUSH_ROWS: usize = 16_384;

/// Rows whose gradient is summed in f32.
pub(super) fn flush_rows(problem: &Problem<'_>) -> usize {
    if problem.rows.is_sparse() { SPARSE_FLUSH_ROWS } else { FLUSH_ROWS }
}

/// What all parts of one pass share.
pub(super) struct Pass<'p> {
    pub(super) problem: &'p Problem<'p>,
    pub(super) kernels: &'static Kernels,
    pub(super) arithmetic: Arithmetic,
    pub(super) weights: &'p Weights,
    /// Biases plus offsets.
    pub(super) bias: &'p [f32],
    pub(super) centre: Option<&'p [f32]>,
}

/// Sums of the pointwise losses and of their gradient, kept from pass to pass for their memory.
#[derive(Debug)]
pub(super) struct Sums {
    parts: Parts,
    strides: Strides,
}

/// Where in the sums of a gradient its values lie: class by class, of sparse rows feature by feature.
#[derive(Debug, Clone, Copy)]
struct Strides {
    class: usize,
    feature: usize,
    /// Number of weights; biases follow.
    weights: usize,
}

#[derive(Debug)]
enum Parts {
    Segments { segment_rows: usize, segments: Vec<Segment>, spare: Mutex<Vec<Scratch>> },
    Slabs { slab: Slab, gradient: Vec<f64> },
}

impl Sums {
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        let (features, classes) = (problem.rows.features(), problem.classes.max(1));
        let (class, feature) = if problem.rows.is_sparse() { (1, classes) } else { (features, 1) };
        Sums { parts: Parts::of(problem), strides: Strides { class, feature, weights: classes * features } }
    }

    /// Runs `pass` over all rows and returns the sum of the weighted losses.
    pub(super) fn run(&mut self, pass: &Pass<'_>) -> f64 {
        let rows = pass.problem.rows.len();
        match &mut self.parts {
            Parts::Segments { segment_rows, segments, spare } => {
                let spare = &*spare;
                segments.par_iter_mut().enumerate().for_each(|(i, segment)| {
                    // Buffers of a megabyte that come and go cost a fifth of a pass in page faults.
                    let mut scratch = spare.lock().ok().and_then(|mut s| s.pop()).unwrap_or_default();
                    let start = i * *segment_rows;
                    segment.run(pass, start..(start + *segment_rows).min(rows), &mut scratch);
                    if let Ok(mut spare) = spare.lock() {
                        spare.push(scratch);
                    }
                });
                segments.iter().map(|s| s.loss).sum()
            }
            Parts::Slabs { slab, gradient } => {
                gradient.clear();
                gradient.resize(pass.problem.parameters(), 0.0);
                let starts = (0..rows).step_by(slab.rows());
                starts.map(|start| slab.run(pass, start..(start + slab.rows()).min(rows), gradient)).sum()
            }
        }
    }

    /// Gives back what the next run makes again.
    pub(super) fn rest(&mut self) {
        match &mut self.parts {
            Parts::Segments { segments, spare, .. } => {
                segments.iter_mut().for_each(|segment| *segment = Segment::default());
                *spare = Mutex::default();
            }
            Parts::Slabs { slab, gradient } => {
                slab.rest();
                *gradient = Vec::new();
            }
        }
    }

    /// Sums of the gradient in the weights of a class for the features from `first` on.
    pub(super) fn weights_of(&self, class: usize, first: usize, out: &mut [f64]) {
        out.fill(0.0);
        match &self.parts {
            Parts::Segments { segments, .. } => {
                segments.iter().for_each(|segment| segment.add_weights_of(class, first, self.strides, out));
            }
            Parts::Slabs { gradient, .. } => self.strides.add(gradient, class, first, out),
        }
    }

    /// Sum of the gradient in the bias of a class.
    pub(super) fn bias(&self, class: usize) -> f64 {
        match &self.parts {
            Parts::Segments { segments, .. } => segments.iter().map(|s| s.bias[class]).sum(),
            Parts::Slabs { gradient, .. } => gradient[self.strides.weights + class],
        }
    }
}

impl Strides {
    /// Adds what `gradient` holds of a class for the features from `first` on.
    fn add(self, gradient: &[f64], class: usize, first: usize, out: &mut [f64]) {
        let from = &gradient[class * self.class + first * self.feature..];
        out.iter_mut().zip(from.iter().step_by(self.feature)).for_each(|(out, value)| *out += value);
    }
}

impl Parts {
    fn of(problem: &Problem<'_>) -> Self {
        let rows = problem.rows.len();
        let Some(most) = affordable_segments(problem) else {
            return Parts::Slabs { slab: Slab::new(problem), gradient: Vec::new() };
        };
        let segments = rows.div_ceil(SEGMENT_ROWS).clamp(1, most);
        let segment_rows = rows.div_ceil(segments).next_multiple_of(SEGMENT_UNIT).max(SEGMENT_UNIT);
        let segments = (0..rows.div_ceil(segment_rows)).map(|_| Segment::default()).collect();
        Parts::Segments { segment_rows, segments, spare: Mutex::default() }
    }
}

/// How many gradients are affordable, `None` where slabs serve better: they cost no gradients, but need classes (features,
/// of sparse rows) enough to share the work by.
fn affordable_segments(problem: &Problem<'_>) -> Option<usize> {
    let affordable = SEGMENT_VALUES / problem.parameters().max(1);
    let is_shareable = problem.rows.is_sparse() || problem.classes >= MANY_CLASSES;
    if affordable >= MAX_SEGMENTS {
        Some(MAX_SEGMENTS)
    } else if is_shareable || affordable < FEWEST_SEGMENTS {
        None
    } else {
        Some(affordable)
    }
}

#[derive(Debug, Default)]
struct Segment {
    loss: f64,
    bias: Vec<f64>,
    /// Sums of the weights up to the last flush; empty where the recent ones are all.
    weight: Vec<f64>,
    recent: GradientSums,
}

#[derive(Debug, Default)]
struct Scratch {
    rows: BlockBuffer,
    logits: Vec<f32>,
}

impl Segment {
    fn run(&mut self, pass: &Pass<'_>, rows: Range<usize>, scratch: &mut Scratch) {
        let problem = pass.problem;
        let (classes, features) = (problem.classes, problem.rows.features());
        let block_rows = pass.arithmetic.block_rows();
        let flush_rows = flush_rows(problem);
        self.loss = 0.0;
        self.bias.clear();
        self.bias.resize(classes, 0.0);
        self.weight.clear();
        if rows.len() > flush_rows {
            self.weight.resize(classes * features, 0.0);
        }
        for rows in ranges(rows, flush_rows) {
            self.recent.reset(classes, 0..features as u32, pass.arithmetic);
            for rows in ranges(rows, block_rows) {
                if problem.rows.is_stopped() {
                    break;
                }
                let x = scratch.rows.load(&problem.rows, pass.centre, rows.clone(), pass.arithmetic);
                scratch.logits.resize(rows.len() * classes, 0.0);
                let z = scratch.logits.as_mut_slice();
                self.loss += pass.residuals(x, rows.start, z);
                x.accumulate_gradient(z, classes, &mut self.recent);
                add_rows(z, classes, &mut self.bias);
            }
            if !self.weight.is_empty() {
                self.recent.add_to(&mut self.weight);
            }
        }
    }

    fn add_weights_of(&self, class: usize, first: usize, strides: Strides, out: &mut [f64]) {
        if self.weight.is_empty() {
            self.recent.add_weights_of(class, first, out);
        } else {
            strides.add(&self.weight, class, first, out);
        }
    }
}

/// `range` in pieces of `size`, the last one what is left.
pub(super) fn ranges(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size).map(move |start| start..(start + size).min(range.end))
}

/// Hands to `add` what `sum` gives for every `size` of `rows` rows, in their order: a few at a time, for all together may
/// take more than memory holds.
pub(super) fn sum_in_order<T: Send>(
    rows: usize,
    size: usize,
    sum: impl Fn(Range<usize>) -> T + Sync,
    mut add: impl FnMut(T),
) {
    let tasks: Vec<Range<usize>> = ranges(0..rows, size).collect();
    for tasks in tasks.chunks(2 * rayon::current_num_threads()) {
        let parts: Vec<T> = tasks.par_iter().map(|rows| sum(rows.clone())).collect();
        parts.into_iter().for_each(&mut add);
    }
}

/// Adds the rows of `z`, `classes` values each, to `sums`.
pub(super) fn add_rows(z: &[f32], classes: usize, sums: &mut [f64]) {
    for row in z.chunks_exact(classes) {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
}

impl Pass<'_> {
    /// Weighted loss of the rows `x` (they start at `start`), whose residuals come into `z`.
    pub(super) fn residuals(&self, x: Block<'_>, start: usize, z: &mut [f32]) -> f64 {
        let (problem, classes) = (self.problem, self.problem.classes);
        let end = start + z.len() / classes;
        x.logits(self.weights, self.bias, z);
        let (labels, weights) = (&problem.labels[start..end], &problem.weights[start..end]);
        problem.residuals(self.kernels, z, labels, weights)
    }
}
