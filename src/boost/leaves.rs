//! What the leaves of a tree say, and what that adds to the scores of its rows.
//!
//! The structure of a tree stands on rounded sums; its values do not: they are refitted in f64 to the derivatives as they
//! are. The rows of a leaf ascend, so those within a chunk of rows lie side by side, and threads share the chunks.

use rayon::prelude::*;

use super::columns::{chunk_rows, chunks};
use super::gradient::Derivatives;
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
        let size = chunk_rows(rows);
        let chunks = rows.div_ceil(size);
        let bounds = grown.leaves.par_iter().with_min_len(8).map(|leaf| {
            let mut bounds = Vec::with_capacity(chunks + 1);
            let mut at = leaf.start;
            bounds.push(at);
            for chunk in 1..=chunks {
                let rest = &grown.rows[at..leaf.end];
                at += rest.partition_point(|&row| (row as usize) < chunk * size);
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
    let sums: Vec<Vec<(f64, f64)>> = chunks(derivatives.rows())
        .enumerate()
        .map_init(Vec::new, |buffer, (chunk, of_chunk)| {
            let (gradients, hessians) = derivatives.of(&of_chunk, output, buffer);
            let sums = (0..grown.leaves.len())
                .map(|leaf| sum_of(bounds.rows(grown, leaf, chunk), of_chunk.start, gradients, hessians));
            sums.collect()
        })
        .collect();
    let total =
        |leaf: usize| sums.iter().fold((0.0, 0.0), |(g, h), sums| (g + sums[leaf].0, h + sums[leaf].1));
    (0..grown.leaves.len()).map(total).map(|(g, h)| step.value(g, h)).collect()
}

/// Sums of gradients and Hessians, given from row `first` on, of some rows: in four lanes, so that the processor need not
/// wait for each addition.
fn sum_of(rows: &[u32], first: usize, gradients: &[f32], hessians: &[f32]) -> (f64, f64) {
    let (mut g, mut h) = ([0.0; LANES], [0.0; LANES]);
    let mut add = |lane: usize, row: u32| {
        let at = row as usize - first;
        g[lane] += f64::from(gradients[at]);
        h[lane] += f64::from(hessians[at]);
    };
    let (whole, rest) = rows.as_chunks::<LANES>();
    for rows in whole {
        rows.iter().enumerate().for_each(|(lane, &row)| add(lane, row));
    }
    rest.iter().enumerate().for_each(|(lane, &row)| add(lane, row));
    (g.iter().sum(), h.iter().sum())
}

/// Sums that the rows of a leaf in a chunk are added to in turn.
const LANES: usize = 4;

/// Adds the values to the scores of the rows that the tree was grown on, given chunk by chunk.
pub(super) fn add<B: Sync>(grown: &Grown<B>, bounds: &Bounds, values: &[f32], scores: &mut [&mut [f32]]) {
    let size = scores.first().map_or(0, |chunk| chunk.len());
    scores.par_iter_mut().enumerate().for_each(|(chunk, scores)| {
        for (leaf, &value) in values.iter().enumerate() {
            bounds
                .rows(grown, leaf, chunk)
                .iter()
                .for_each(|&row| scores[row as usize - chunk * size] += value);
        }
    });
}
