//! Passes over all rows: loss and gradient of J, and its curvature at a sample of rows.
//!
//! Whatever the number of threads, sums are taken in an order fixed by the shape of the data. Few parameters: rows are
//! cut into segments, each sums a gradient of its own. Many: no second gradient is affordable, so a slab of rows is
//! turned into residuals, and tasks that own some classes each add up the whole slab.

use std::sync::Mutex;

use rayon::prelude::*;

use super::problem::Problem;
use crate::loss::Loss;
use crate::simd::{Kernels, PackedWeights};

/// Rows of one block: with up to 4,096 features they stay in a second-level cache between the two products.
const BLOCK_ROWS: usize = 64;
const MAX_SEGMENTS: usize = 64;
/// Parameters up to which segments hold gradients of their own.
const SEGMENT_PARAMETERS: usize = 1 << 18;
/// Rows whose gradient is summed in f32 before it is added to the f64 sum.
const FLUSH_ROWS: usize = 2048;
/// Residuals of a slab: 32 MiB of f32.
const SLAB_LOGITS: usize = 1 << 23;
/// Rows of one block of the Hessian of the biases, and how many sums are taken side by side.
const HESSIAN_BLOCK: usize = 256;
const HESSIAN_PARTIALS: usize = 8;
/// Classes of one task over a slab.
const TILE_CLASSES: usize = 32;

/// What all parts of one pass share.
pub(super) struct Pass<'p> {
    pub(super) problem: &'p Problem<'p>,
    pub(super) kernels: &'static Kernels,
    pub(super) packed: &'p PackedWeights,
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
            let slab_rows = (SLAB_LOGITS / classes).clamp(BLOCK_ROWS, FLUSH_ROWS) / BLOCK_ROWS * BLOCK_ROWS;
            let slab = Slab { rows: slab_rows.min(rows.max(1)), ..Slab::default() };
            return Sums::ByClass { slab, gradient: Vec::new() };
        }
        let segments = rows.div_ceil(8 * BLOCK_ROWS).clamp(1, MAX_SEGMENTS);
        let segment_rows = rows.div_ceil(segments).next_multiple_of(BLOCK_ROWS).max(BLOCK_ROWS);
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
    rows: Vec<f32>,
    logits: Vec<f32>,
}

impl Segment {
    fn run(&mut self, pass: &Pass<'_>, rows: std::ops::Range<usize>, scratch: &mut Scratch) {
        let (problem, kernels) = (pass.problem, pass.kernels);
        let (classes, features) = (problem.classes, problem.rows.features());
        self.loss = 0.0;
        self.gradient.clear();
        self.gradient.resize(problem.parameters(), 0.0);
        self.recent.clear();
        self.recent.resize(classes * features, 0.0);
        let mut unflushed = 0;
        for start in rows.clone().step_by(BLOCK_ROWS) {
            let end = (start + BLOCK_ROWS).min(rows.end);
            let x = problem.rows.block(kernels, pass.centre, start, end, &mut scratch.rows);
            scratch.logits.resize((end - start) * classes, 0.0);
            let z = scratch.logits.as_mut_slice();
            self.loss += pass.residuals(x, start, z);
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

/// Rows whose residuals are held together.
#[derive(Debug, Default)]
pub(super) struct Slab {
    rows: usize,
    x: Vec<f32>,
    z: Vec<f32>,
}

impl Slab {
    /// Adds the gradient of `rows` to `gradient` and returns their loss.
    fn run(&mut self, pass: &Pass<'_>, rows: std::ops::Range<usize>, gradient: &mut [f64]) -> f64 {
        let (problem, kernels) = (pass.problem, pass.kernels);
        let (classes, features) = (problem.classes, problem.rows.features());
        self.x.resize(rows.len() * features, 0.0);
        self.z.resize(rows.len() * classes, 0.0);
        let losses: Vec<f64> = self
            .x
            .par_chunks_mut((BLOCK_ROWS * features).max(1))
            .zip(self.z.par_chunks_mut(BLOCK_ROWS * classes))
            .enumerate()
            .map(|(block, (x, z))| {
                let start = rows.start + block * BLOCK_ROWS;
                problem.rows.copy_block(kernels, pass.centre, start, x);
                pass.residuals(x, start, z)
            })
            .collect();
        let (weight, bias) = gradient.split_at_mut(classes * features);
        let (x, z) = (&self.x, &self.z);
        weight
            .par_chunks_mut((TILE_CLASSES * features).max(1))
            .zip(bias.par_chunks_mut(TILE_CLASSES))
            .enumerate()
            .for_each_init(Vec::new, |recent, (tile, (weight, bias))| {
                let first = tile * TILE_CLASSES;
                recent.clear();
                recent.resize(weight.len(), 0.0f32);
                kernels.accumulate_gradient(&z[first..], classes, bias.len(), x, features, recent);
                for (sum, &recent) in weight.iter_mut().zip(recent.iter()) {
                    *sum += f64::from(recent);
                }
                for row in z.chunks_exact(classes) {
                    for (sum, &residual) in bias.iter_mut().zip(&row[first..]) {
                        *sum += f64::from(residual);
                    }
                }
            });
        losses.iter().sum()
    }
}

impl Pass<'_> {
    /// Weighted loss of the rows `x` (they start at `start`), whose residuals come into `z`.
    fn residuals(&self, x: &[f32], start: usize, z: &mut [f32]) -> f64 {
        let (problem, classes) = (self.problem, self.problem.classes);
        let end = start + z.len() / classes;
        self.kernels.logits(x, problem.rows.features(), self.packed, self.bias, z, classes);
        let (labels, weights) = (&problem.labels[start..end], &problem.weights[start..end]);
        problem.loss.residuals(self.kernels, z, classes, classes, labels, weights)
    }

    /// Hessian of the summed loss in the biases, `C x C` row-major, of a convex loss.
    pub(super) fn bias_hessian(&self) -> Vec<f64> {
        let (problem, classes) = (self.problem, self.problem.classes);
        let coupled = problem.loss == Loss::Softmax;
        let rows = problem.rows.len();
        let partial_rows = rows.div_ceil(HESSIAN_PARTIALS).next_multiple_of(HESSIAN_BLOCK);
        let partials: Vec<(Vec<f64>, Vec<f32>)> = (0..rows.div_ceil(partial_rows))
            .into_par_iter()
            .map(|partial| {
                let first = partial * partial_rows;
                let mut diagonal = vec![0.0f64; classes];
                let mut products = vec![0.0f32; if coupled { classes * classes } else { 0 }];
                let (mut x, mut p, mut weighted) = (Vec::new(), Vec::new(), Vec::new());
                for start in (first..(first + partial_rows).min(rows)).step_by(HESSIAN_BLOCK) {
                    let end = (start + HESSIAN_BLOCK).min(first + partial_rows).min(rows);
                    let x = problem.rows.block(self.kernels, self.centre, start, end, &mut x);
                    p.resize((end - start) * classes, 0.0);
                    self.residuals(x, start, &mut p);
                    weighted.clear();
                    for (p, row) in p.chunks_exact_mut(classes).zip(start..end) {
                        let weight = problem.weights[row];
                        // The residual is weight * (p - onehot).
                        p[problem.labels[row] as usize] += weight;
                        weighted.extend_from_slice(p);
                        p.iter_mut().for_each(|p| *p /= weight.max(f32::MIN_POSITIVE));
                        for ((sum, &p), &wp) in
                            diagonal.iter_mut().zip(p.iter()).zip(&weighted[weighted.len() - classes..])
                        {
                            *sum += f64::from(wp) * if coupled { 1.0 } else { 1.0 - f64::from(p) };
                        }
                    }
                    if coupled {
                        self.kernels.accumulate_gradient(
                            &weighted,
                            classes,
                            classes,
                            &p,
                            classes,
                            &mut products,
                        );
                    }
                }
                (diagonal, products)
            })
            .collect();
        let mut hessian = vec![0.0; classes * classes];
        for (diagonal, products) in partials {
            for (sum, product) in hessian.iter_mut().zip(products) {
                *sum -= f64::from(product);
            }
            for (class, sum) in diagonal.into_iter().enumerate() {
                hessian[class * classes + class] += sum;
            }
        }
        hessian
    }

    /// Diagonal curvature of the loss at the rows `positions` under `weights`: summed over classes for each row, and
    /// over rows for each class. What is concave counts as flat.
    pub(super) fn curvatures(&self, positions: &[usize], weights: &[f32]) -> (Vec<f32>, Vec<f64>) {
        const ROWS: usize = 64;
        let (problem, classes) = (self.problem, self.problem.classes);
        let features = problem.rows.features();
        let blocks: Vec<(Vec<f32>, Vec<f64>)> = positions
            .par_chunks(ROWS)
            .zip(weights.par_chunks(ROWS))
            .map(|(positions, weights)| {
                let mut x = vec![0.0; positions.len() * features];
                let mut z = vec![0.0; positions.len() * classes];
                problem.rows.gather_into(self.kernels, self.centre, positions, &mut x);
                self.kernels.logits(&x, features, self.packed, self.bias, &mut z, classes);
                let mut by_class = vec![0.0; classes];
                let (mut gradient, mut hessian) = (vec![0.0; classes], vec![0.0; classes]);
                let mut by_row = Vec::with_capacity(positions.len());
                for ((z, &position), &weight) in z.chunks_exact(classes).zip(positions).zip(weights) {
                    let z: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
                    let label = problem.labels[position] as usize;
                    problem.loss.row_f64(&z, label, &mut gradient, &mut hessian);
                    let mut total = 0.0;
                    for (sum, &curvature) in by_class.iter_mut().zip(&hessian) {
                        let curvature = f64::from(weight) * curvature.max(0.0);
                        *sum += curvature;
                        total += curvature;
                    }
                    by_row.push(total as f32);
                }
                (by_row, by_class)
            })
            .collect();
        let mut by_class = vec![0.0; classes];
        let mut by_row = Vec::with_capacity(positions.len());
        for (rows, sums) in blocks {
            by_row.extend(rows);
            by_class.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        (by_row, by_class)
    }
}
