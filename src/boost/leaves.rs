//! What the leaves of a tree say, and what that adds to the scores of its rows.
//!
//! The structure of a tree stands on rounded sums; its values do not: they are refitted in f64 to the derivatives as they
//! are. The rows of a leaf ascend, so those within a chunk of rows lie side by side, and threads share the chunks.

use rayon::prelude::*;

use super::gradient::{CHUNK, Derivatives};
use super::grower::Grown;

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

/// Values of the leaves for one output.
pub(super) fn values<B: Sync>(
    grown: &Grown<B>,
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
                let rows = rows_within(grown, leaf, chunk);
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
    values: &[f32],
    scores: &mut [f32],
    outputs: usize,
    output: usize,
) {
    scores.par_chunks_mut(CHUNK * outputs).enumerate().for_each(|(chunk, scores)| {
        for (leaf, &value) in values.iter().enumerate() {
            for &row in rows_within(grown, leaf, chunk) {
                scores[(row as usize - chunk * CHUNK) * outputs + output] += value;
            }
        }
    });
}

/// The rows of a leaf that lie in a chunk.
fn rows_within<B>(grown: &Grown<B>, leaf: usize, chunk: usize) -> &[u32] {
    let leaf = &grown.leaves[leaf];
    let rows = &grown.rows[leaf.start..leaf.end];
    let below = |end: usize| rows.partition_point(|&row| (row as usize) < end);
    &rows[below(chunk * CHUNK)..below((chunk + 1) * CHUNK)]
}
