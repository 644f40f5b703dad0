//! Passes over all rows for loss and gradient of J.
//!
//! Whatever the number of threads, sums are taken in an order fixed by the shape of the data. Few parameters: rows are
//! cut into segments, each sums a gradient of its own. Many: no second gradient is affordable, so a slab of rows is
//! turned into residuals, and tasks that own some classes each add up the whole slab.

use std::sync::Mutex;

use rayon::prelude::*;

use super::problem::Problem;
use super::products::{Arithmetic, Block, BlockBuffer, Weights};
use crate::simd::{Kernels, TileScratch};

/// Segments are multiples of the largest block.
const SEGMENT_UNIT: usize = 256;
const MAX_SEGMENTS: usize = 64;
/// Parameters up to which segments hold gradients of their own.
const SEGMENT_PARAMETERS: usize = 1 << 18;
/// Rows whose gradient is summed in f32 before it is added to the f64 sum.
const FLUSH_ROWS: usize = 2048;
/// Residuals of a slab: 32 MiB of f32.
const SLAB_LOGITS: usize = 1 << 23;

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
pub(super) enum Sums {
    BySegment { segment_rows: usize, segments: Vec<Segment>, spare: Mutex<Vec<Scratch>> },
    ByClass { slab: Slab, gradient: Vec<f64> },
}

impl Sums {
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        let (rows, classes) = (problem.rows.len(), problem.classes.max(1));
        if problem.parameters() > SEGMENT_PARAMETERS {
            let slab_rows =
                (SLAB_LOGITS / classes).clamp(SEGMENT_UNIT, FLUSH_ROWS) / SEGMENT_UNIT * SEGMENT_UNIT;
            let slab = Slab { rows: slab_rows.min(rows.max(1)), ..Slab::default() };
            return Sums::ByClass { slab, gradient: Vec::new() };
        }
        let segments = rows.div_ceil(2 * SEGMENT_UNIT).clamp(1, MAX_SEGMENTS);
        let segment_rows = rows.div_ceil(segments).next_multiple_of(SEGMENT_UNIT).max(SEGMENT_UNIT);
        let segments = (0..rows.div_ceil(segment_rows)).map(|_| Segment::default()).collect();
        Sums::BySegment { segment_rows, segments, spare: Mutex::default() }
    }

    /// Runs `pass` over all rows and returns the sum of the weighted losses.
    pub(super) fn run(&mut self, pass: &Pass<'_>) -> f64 {
        let rows = pass.problem.rows.len();
        match self {
            Sums::BySegment { segment_rows, segments, spare } => {
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
            Sums::ByClass { slab, gradient } => {
                gradient.clear();
                gradient.resize(pass.problem.parameters(), 0.0);
                (0..rows)
                    .step_by(slab.rows)
                    .map(|start| slab.run(pass, start..(start + slab.rows).min(rows), gradient))
                    .sum()
            }
        }
    }

    /// Sum of the gradient at parameter `at`.
    pub(super) fn gradient(&self, at: usize) -> f64 {
        match self {
            Sums::BySegment { segments, .. } => segments.iter().map(|s| s.gradient[at]).sum(),
            Sums::ByClass { gradient, .. } => gradient[at],
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Segment {
    loss: f64,
    gradient: Vec<f64>,
    recent: Vec<f32>,
}

#[derive(Debug, Default)]
pub(super) struct Scratch {
    rows: BlockBuffer,
    logits: Vec<f32>,
    tiles: TileScratch,
}

impl Segment {
    fn run(&mut self, pass: &Pass<'_>, rows: std::ops::Range<usize>, scratch: &mut Scratch) {
        let problem = pass.problem;
        let (classes, features) = (problem.classes, problem.rows.features());
        let block_rows = pass.arithmetic.block_rows();
        self.loss = 0.0;
        self.gradient.clear();
        self.gradient.resize(problem.parameters(), 0.0);
        self.recent.clear();
        self.recent.resize(classes * features, 0.0);
        let mut unflushed = 0;
        for start in rows.clone().step_by(block_rows) {
            let end = (start + block_rows).min(rows.end);
            let x = scratch.rows.load(&problem.rows, pass.centre, start..end, pass.arithmetic);
            scratch.logits.resize((end - start) * classes, 0.0);
            let z = scratch.logits.as_mut_slice();
            self.loss += pass.residuals(x, start, z);
            x.accumulate_gradient(z, classes, classes, &mut self.recent, &mut scratch.tiles);
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

/// Rows whose residuals are held together.
#[derive(Debug, Default)]
pub(super) struct Slab {
    rows: usize,
    blocks: Vec<BlockBuffer>,
    z: Vec<f32>,
}

impl Slab {
    /// Adds the gradient of `rows` to `gradient` and returns their loss.
    fn run(&mut self, pass: &Pass<'_>, rows: std::ops::Range<usize>, gradient: &mut [f64]) -> f64 {
        let problem = pass.problem;
        let (classes, features) = (problem.classes, problem.rows.features());
        let block_rows = pass.arithmetic.block_rows();
        self.z.resize(rows.len() * classes, 0.0);
        self.blocks.resize_with(rows.len().div_ceil(block_rows), BlockBuffer::default);
        let loaded: Vec<(f64, Block<'_>)> = self
            .blocks
            .par_iter_mut()
            .zip(self.z.par_chunks_mut(block_rows * classes))
            .enumerate()
            .map(|(block, (buffer, z))| {
                let start = rows.start + block * block_rows;
                let end = (start + block_rows).min(rows.end);
                let x = buffer.load(&problem.rows, pass.centre, start..end, pass.arithmetic);
                (pass.residuals(x, start, z), x)
            })
            .collect();
        let (weight, bias) = gradient.split_at_mut(classes * features);
        let tile_classes = pass.arithmetic.tile_classes();
        let z = &self.z;
        weight
            .par_chunks_mut((tile_classes * features).max(1))
            .zip(bias.par_chunks_mut(tile_classes))
            .enumerate()
            .for_each_init(
                Default::default,
                |(recent, scratch): &mut (Vec<f32>, _), (tile, (weight, bias))| {
                    let first = tile * tile_classes;
                    recent.clear();
                    recent.resize(weight.len(), 0.0);
                    for ((_, x), z) in loaded.iter().zip(z.chunks(block_rows * classes)) {
                        x.accumulate_gradient(&z[first..], classes, bias.len(), recent, scratch);
                    }
                    for (sum, &recent) in weight.iter_mut().zip(recent.iter()) {
                        *sum += f64::from(recent);
                    }
                    for row in z.chunks_exact(classes) {
                        for (sum, &residual) in bias.iter_mut().zip(&row[first..]) {
                            *sum += f64::from(residual);
                        }
                    }
                },
            );
        loaded.iter().map(|(loss, _)| loss).sum()
    }
}

impl Pass<'_> {
    /// Weighted loss of the rows `x` (they start at `start`), whose residuals come into `z`.
    pub(super) fn residuals(&self, x: Block<'_>, start: usize, z: &mut [f32]) -> f64 {
        let (problem, classes) = (self.problem, self.problem.classes);
        let end = start + z.len() / classes;
        x.logits(self.weights, self.bias, z);
        let (labels, weights) = (&problem.labels[start..end], &problem.weights[start..end]);
        problem.loss.residuals(self.kernels, z, classes, classes, labels, weights)
    }
}
