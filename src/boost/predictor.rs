//! Walking rows down trees: several rows side by side, so that the processor waits for many loads at once.

use rayon::prelude::*;

use super::binned::{BINS, BinnedMatrix};
use super::model::Output;
use super::tree::{BinSet, Child, Test, Tree};
use crate::matrix::{MatRef, Matrix};

/// Rows that walk together.
const WALKERS: usize = 16;

/// Rows whose bins are looked up before they walk down all trees.
const ROWS: usize = 256;

/// One node; a leaf leads to itself.
#[derive(Debug, Clone, Copy)]
struct FlatNode {
    feature: u32,
    children: [u32; 2],
    /// Set of bins that go left where this is not a numeric test; else [`NUMERIC`].
    set: u32,
    /// A bin goes left where, less `shift` (0 wraps around to 255), it is at most `limit`: `shift` is 1 where missing
    /// values, bin 0, go right.
    shift: u8,
    limit: u8,
}

const NUMERIC: u32 = u32::MAX;

/// A tree laid out for walking: inner nodes, then leaves.
#[derive(Debug)]
pub(super) struct FlatTree {
    nodes: Vec<FlatNode>,
    inner: usize,
    sets: Vec<BinSet>,
}

impl FlatTree {
    pub(super) fn new(tree: &Tree) -> Self {
        let inner = tree.nodes.len();
        let place = |child: Child| match child {
            Child::Node(node) => node,
            Child::Leaf(leaf) => inner as u32 + leaf,
        };
        let mut sets = Vec::new();
        let mut nodes: Vec<FlatNode> = tree
            .nodes
            .iter()
            .map(|node| {
                let shift = u8::from(!node.missing_left);
                let (set, limit) = match node.test {
                    Test::UpTo { bin, .. } => (NUMERIC, bin - shift),
                    Test::Among(set) => {
                        sets.push(set);
                        (sets.len() as u32 - 1, 0)
                    }
                };
                FlatNode { feature: node.feature, children: node.children.map(place), set, shift, limit }
            })
            .collect();
        nodes.extend((0..tree.leaves()).map(|leaf| {
            let itself = (inner + leaf) as u32;
            FlatNode { feature: 0, children: [itself; 2], set: NUMERIC, shift: 0, limit: u8::MAX }
        }));
        FlatTree { nodes, inner, sets }
    }

    /// The leaf of each row of `bins` (rows of `features` bytes), in turn.
    pub(super) fn leaves(&self, bins: &[u8], features: usize, mut visit: impl FnMut(usize, usize)) {
        let rows = bins.len().checked_div(features).unwrap_or(0);
        for start in (0..rows).step_by(WALKERS) {
            let count = WALKERS.min(rows - start);
            let mut at = [0u32; WALKERS];
            let mut walking = self.inner > 0;
            while walking {
                walking = false;
                for (walker, at) in at[..count].iter_mut().enumerate() {
                    let node = &self.nodes[*at as usize];
                    let bin = bins[(start + walker) * features + node.feature as usize];
                    let left = match node.set {
                        NUMERIC => bin.wrapping_sub(node.shift) <= node.limit,
                        set => self.sets[set as usize][usize::from(bin) / (BINS / 4)] >> (bin % 64) & 1 == 1,
                    };
                    *at = node.children[usize::from(!left)];
                    walking |= (*at as usize) < self.inner;
                }
            }
            for (walker, at) in at[..count].iter().enumerate() {
                visit(start + walker, *at as usize - self.inner);
            }
        }
    }
}

/// A tree and what its leaves add.
pub(super) struct ScoredTree<'a> {
    pub tree: FlatTree,
    pub values: &'a [f32],
    pub output: Output,
}

/// Adds what `trees` say to the scores (rows x outputs) of rows of bins.
fn add_block(trees: &[ScoredTree<'_>], bins: &[u8], features: usize, scores: &mut [f32], outputs: usize) {
    for scored in trees {
        scored.tree.leaves(bins, features, |row, leaf| match scored.output {
            Output::One(output) => scores[row * outputs + output as usize] += scored.values[leaf],
            Output::All => {
                let values = &scored.values[leaf * outputs..][..outputs];
                let scores = &mut scores[row * outputs..][..outputs];
                scores.iter_mut().zip(values).for_each(|(score, value)| *score += value);
            }
        });
    }
}

/// The leaf of each row of a binned matrix.
pub(super) fn leaves_of(tree: &Tree, matrix: &BinnedMatrix) -> Vec<u32> {
    let (tree, features) = (FlatTree::new(tree), matrix.features().len().max(1));
    let mut leaf_of = vec![0; matrix.rows()];
    leaf_of.par_chunks_mut(ROWS).enumerate().for_each_init(
        || vec![0u8; ROWS * features],
        |bins, (block, leaf_of)| {
            let bins = &mut bins[..leaf_of.len() * features];
            matrix.copy_rows(block * ROWS, features, bins);
            tree.leaves(bins, features, |row, leaf| leaf_of[row] = leaf as u32);
        },
    );
    leaf_of
}

/// Adds what `trees` say to the scores (rows x outputs) of all rows of a binned matrix.
pub(super) fn add_binned(
    trees: &[ScoredTree<'_>],
    matrix: &BinnedMatrix,
    scores: &mut [f32],
    outputs: usize,
) {
    // A matrix without features still has rows, which all reach the only leaf.
    let features = matrix.features().len().max(1);
    scores.par_chunks_mut(ROWS * outputs).enumerate().for_each_init(
        || vec![0u8; ROWS * features],
        |bins, (block, scores)| {
            let bins = &mut bins[..scores.len() / outputs * features];
            matrix.copy_rows(block * ROWS, features, bins);
            add_block(trees, bins, features, scores, outputs);
        },
    );
}

/// Adds what `trees` say to the scores (rows x outputs) of all rows of `matrix`; `bin_row` looks up the bins of a row.
pub(super) fn add_raw(
    trees: &[ScoredTree<'_>],
    matrix: &Matrix,
    features: usize,
    bin_row: impl Fn(&dyn Fn(usize) -> f32, &mut [u8]) + Sync,
    scores: &mut [f32],
    outputs: usize,
) {
    let features = features.max(1);
    let block = |bins: &mut Vec<u8>, (block, scores): (usize, &mut [f32])| {
        let rows = scores.len() / outputs;
        let bins = &mut bins[..rows * features];
        for (offset, bins) in bins.chunks_exact_mut(features).enumerate() {
            let row = block * ROWS + offset;
            match matrix.row_range(row, row + 1) {
                MatRef::F32(values) => bin_row(&|column| values[column], bins),
                MatRef::F16(values) => bin_row(&|column| values[column].to_f32(), bins),
                MatRef::Bf16(values) => bin_row(&|column| values[column].to_f32(), bins),
                MatRef::Sparse(values) => bin_row(&|column| values.get(0, column), bins),
            }
        }
        add_block(trees, bins, features, scores, outputs);
    };
    let buffer = || vec![0u8; ROWS.min(matrix.rows()) * features];
    if matrix.rows() <= ROWS {
        // Few rows are answered at once: threads take longer to wake.
        scores.chunks_mut(ROWS * outputs).enumerate().for_each(|part| block(&mut buffer(), part));
    } else {
        scores.par_chunks_mut(ROWS * outputs).enumerate().for_each_init(buffer, block);
    }
}
