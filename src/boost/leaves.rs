//! What the leaves of a tree say, and what that adds to the scores of its rows.
//!
//! The structure of a tree stands on rounded sums; its values do not: they are refitted in f64 to the derivatives as they
//! are. The rows of a leaf ascend, so those within a chunk of rows lie side by side, and threads share the chunks.

use rayon::prelude::*;

use super::gradient::{CHUNK, Derivatives};
use super::growth::Grown;

/// How derivatives become values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// Factor of every value.
    pub learning_rate: f64,
    /// Added to the Hessian of a leaf.
    pub l2: f64,
    /// Largest value before the learning rate, 0 for no limit.
    pub max_delta_step: f64,
}

impl Step {
    /// `-G / (H + l2)`, limited, times the learning rate; 0 where nothing says how far to go.
    pub(super) fn value(&self, gradient: f64, hessian: f64) -> f32 {
        let full = -gradient / (hessian + self.l2);
        if !full.is_finite() {
            return 0.0;
        }
        let limit = if self.max_delta_step > 0.0 { self.max_delta_step } else { f64::INFINITY };
        (self.learning_rate * full.clamp(-limit, limit)) as f32
    }
}

/// Where the rows of each leaf pass from one chunk to the next, chunk after chunk: in `rows` of a grown tree, the rows
/// of `leaf` in `chunk` lie between the entries `chunk` and `chunk + 1` of the leaf.
pub(super) struct Bounds(Vec<Vec<usize>>);

impl Bounds {
    /// Bounds of `rows` rows in all.
    pub(super) fn new<B: Sync>(grown: &Grown<B>, rows: usize) -> Self {
        let chunks = rows.div_ceil(CHUNK);
        let bounds = grown.leaves.par_iter().with_min_len(8).map(|leaf| {
            let mut bounds = Vec::with_capacity(chunks + 1);
            let mut at = leaf.start;
            bounds.push(at);
            for chunk in 1..=chunks {
                let rest = &grown.rows[at..leaf.end];
                at += rest.partition_point(|&row| (row as usize) < chunk * CHUNK);
                bounds.push(at);
            }
            bounds
        });
        Bounds(bounds.collect())
    }

    fn rows<'g, B>(&self, grown: &'g Grown<B>, leaf: usize, chunk: usize) -> &'g [u32] {
        &grown.rows[self.0[leaf][chunk]..self.0[leaf][chunk + 1]]
    }
}

/// Values of the leaves for one output.
pub(super) fn values<B: Sync>(
    grown: &Grown<B>,
    bounds: &Bounds,
    derivatives: &Derivatives,
    output: usize,
    step: &Step,
) -> Vec<f32> {
    let chunks = derivatives.rows().div_ceil(CHUNK);
    let sums: Vec<Vec<(f64, f64)>> = (0..chunks)
        .into_par_iter()
        .map_init(Vec::new, |buffer, chunk| {
            let (gradients, hessians) = derivatives.chunk(chunk, output, buffer);
            let sums = (0..grown.leaves.len()).map(|leaf| {
                let rows = bounds.rows(grown, leaf, chunk);
                rows.iter().fold((0.0, 0.0), |(g, h), &row| {
                    let at = row as usize - chunk * CHUNK;
                    (g + f64::from(gradients[at]), h + f64::from(hessians[at]))
                })
            });
            sums.collect()
        })
        .collect();
    let total =
        |leaf: usize| sums.iter().fold((0.0, 0.0), |(g, h), sums| (g + sums[leaf].0, h + sums[leaf].1));
    (0..grown.leaves.len()).map(total).map(|(g, h)| step.value(g, h)).collect()
}

/// Adds the values to the scores (rows x outputs) of the rows that the tree was grown on.
pub(super) fn add<B: Sync>(
    grown: &Grown<B>,
    bounds: &Bounds,
    values: &[f32],
    scores: &mut [f32],
    outputs: usize,
    output: usize,
) {
    scores.par_chunks_mut(CHUNK * outputs).enumerate().for_each(|(chunk, scores)| {
        for (leaf, &value) in values.iter().enumerate() {
            for &row in bounds.rows(grown, leaf, chunk) {
                scores[(row as usize - chunk * CHUNK) * outputs + output] += value;
            }
        }
    });
}
