//! Scores of many rows: the bins of a block of rows are looked up once, and go down all trees while they are in the
//! cache, 64 rows side by side.

use rayon::prelude::*;

use super::binned::BinnedMatrix;
use super::binning::Binner;
use super::fill::Lookup;
use super::model::Output;
use super::tree::{Child, Node, Test, Tree};
use crate::matrix::Matrix;
use crate::simd::{Kernels, RowBytes, RowNode, RowTest, RowTree, TREE_ROWS};
use crate::stop::Stop;

/// Groups of rows in a block at most, so that the nodes of a tree serve several while they are at hand.
const GROUPS: usize = 8;

/// Columns of bins in a block at most, of all its groups.
const COLUMNS: usize = 1 << 12;

/// Rows up to which each walks by itself: laying trees out would take longer.
const FEW: usize = 16;

/// A tree and what its leaves add.
pub(super) struct ScoredTree<'a> {
    pub tree: &'a Tree,
    pub values: &'a [f32],
    pub output: Output,
}

impl ScoredTree<'_> {
    /// Adds what the leaves of rows say to their scores, one an output.
    fn add(&self, leaves: &[u32], scores: &mut [f32], outputs: usize) {
        let value = |leaf: u32| self.values[leaf as usize];
        match self.output {
            Output::One(_) if outputs == 1 => {
                scores.iter_mut().zip(leaves).for_each(|(score, &leaf)| *score += value(leaf));
            }
            Output::One(output) => {
                let scores = scores.iter_mut().skip(output as usize).step_by(outputs);
                scores.zip(leaves).for_each(|(score, &leaf)| *score += value(leaf));
            }
            Output::All => {
                for (scores, &leaf) in scores.chunks_exact_mut(outputs).zip(leaves) {
                    let values = &self.values[leaf as usize * outputs..][..outputs];
                    scores.iter_mut().zip(values).for_each(|(score, value)| *score += value);
                }
            }
        }
    }
}

/// A tree for the rows of a group.
enum Layout<'a> {
    Rows(RowTree),
    /// So large that its rows walk one by one.
    Walk(&'a Tree),
}

/// Trees laid out for many rows, with the features that they ask.
struct Forest<'a> {
    trees: Vec<Layout<'a>>,
    /// Features asked, ascending: each has a column of bins.
    asked: Vec<usize>,
    /// Column of each feature.
    column_of: Vec<u32>,
    kernels: &'static Kernels,
    stop: &'a Stop,
}

impl<'a> Forest<'a> {
    fn new(trees: impl Iterator<Item = &'a Tree> + Clone, features: usize, stop: &'a Stop) -> Self {
        let mut is_asked = vec![false; features];
        let nodes = trees.clone().flat_map(|tree| &tree.nodes);
        nodes.for_each(|node| is_asked[node.feature as usize] = true);
        let asked: Vec<usize> = (0..features).filter(|&feature| is_asked[feature]).collect();
        let mut column_of = vec![0; features];
        asked.iter().enumerate().for_each(|(column, &feature)| column_of[feature] = column as u32);
        let trees = trees.map(|tree| match tree.leaves() {
            ..=RowTree::MOST_LEAVES => Layout::Rows(row_tree(tree, &column_of)),
            _ => Layout::Walk(tree),
        });
        Forest { trees: trees.collect(), asked, column_of, kernels: Kernels::best(), stop }
    }

    /// Groups of rows in a block.
    fn groups(&self) -> usize {
        (COLUMNS / self.asked.len().max(1)).clamp(1, GROUPS)
    }

    /// The leaf of each row of a group in the tree `tree`.
    fn leaves(
        &self,
        tree: usize,
        columns: &[RowBytes],
        reach: &mut Vec<RowBytes>,
        leaves: &mut [u32; TREE_ROWS],
    ) {
        match &self.trees[tree] {
            Layout::Rows(tree) => self.kernels.leaves_of_rows(tree, columns, reach, leaves),
            Layout::Walk(tree) => {
                for (row, leaf) in leaves.iter_mut().enumerate() {
                    *leaf = tree.leaf(|feature| columns[self.column_of[feature] as usize][row]) as u32;
                }
            }
        }
    }

    fn room(&self) -> Room {
        let columns = self.groups() * self.asked.len();
        Room { columns: vec![[0; TREE_ROWS]; columns], reach: Vec::new(), leaves: [0; TREE_ROWS] }
    }

    /// Goes through `rows` rows block by block: `fill` writes the columns of bins of a group, given its first row and
    /// their number; `visit` is told of each tree and group: the tree, the part of `out` with `width` numbers for each row
    /// of the group, and the leaves.
    fn for_each_group<T: Send>(
        &self,
        out: &mut [T],
        width: usize,
        fill: impl Fn(usize, usize, &mut [RowBytes]) + Sync,
        visit: impl Fn(usize, &mut [T], &[u32; TREE_ROWS]) + Sync,
    ) {
        let (per_group, per_block) = (TREE_ROWS * width, TREE_ROWS * width * self.groups());
        let asked = self.asked.len();
        let block = |room: &mut Room, (at, out): (usize, &mut [T])| {
            if self.stop.is_set() {
                return;
            }
            let Room { columns, reach, leaves } = room;
            for (group, out) in out.chunks(per_group).enumerate() {
                let first = (at * self.groups() + group) * TREE_ROWS;
                fill(first, out.len() / width, &mut columns[group * asked..][..asked]);
            }
            for tree in 0..self.trees.len() {
                for (group, out) in out.chunks_mut(per_group).enumerate() {
                    self.leaves(tree, &columns[group * asked..][..asked], reach, leaves);
                    visit(tree, out, leaves);
                }
            }
        };
        if out.len() <= per_block {
            // Few rows are answered at once: threads take longer to wake.
            block(&mut self.room(), (0, out));
        } else {
            out.par_chunks_mut(per_block).enumerate().for_each_init(|| self.room(), block);
        }
    }

    /// Adds what trees say to the scores (rows x outputs) of rows.
    fn score(
        &self,
        trees: &[ScoredTree<'_>],
        scores: &mut [f32],
        outputs: usize,
        fill: impl Fn(usize, usize, &mut [RowBytes]) + Sync,
    ) {
        self.for_each_group(scores, outputs, fill, |tree, scores, leaves| {
            trees[tree].add(leaves, scores, outputs);
        });
    }
}

/// Memory that a thread uses block after block.
struct Room {
    /// Bins of the features asked, group after group.
    columns: Vec<RowBytes>,
    reach: Vec<RowBytes>,
    leaves: [u32; TREE_ROWS],
}

fn row_tree(tree: &Tree, column_of: &[u32]) -> RowTree {
    let place = |child: Child| match child {
        Child::Node(node) => node as u16,
        Child::Leaf(leaf) => (tree.nodes.len() + leaf as usize) as u16,
    };
    let mut sets = Vec::new();
    let test = |node: &Node, sets: &mut Vec<[u8; 256]>| match node.test {
        Test::UpTo { bin, .. } => {
            // Bin 0, of missing values, is the largest of all once 1 is taken off.
            let shift = u8::from(!node.missing_left);
            RowTest::UpTo { shift, limit: bin - shift }
        }
        Test::Among(_) => {
            sets.push(std::array::from_fn(|bin| if node.goes_left(bin as u8) { u8::MAX } else { 0 }));
            RowTest::Among(sets.len() as u32 - 1)
        }
    };
    let nodes = tree.nodes.iter().map(|node| RowNode {
        column: column_of[node.feature as usize],
        children: node.children.map(place),
        test: test(node, &mut sets),
    });
    RowTree { nodes: nodes.collect(), sets }
}

/// The leaf of each row of a binned matrix.
pub(super) fn leaves_of(tree: &Tree, matrix: &BinnedMatrix) -> Vec<u32> {
    let forest = Forest::new(std::iter::once(tree), matrix.features().len(), matrix.stop());
    let mut leaf_of = vec![0; matrix.rows()];
    let fill = |first: usize, rows: usize, columns: &mut [RowBytes]| {
        copy_bins(matrix, &forest.asked, first, rows, columns);
    };
    forest.for_each_group(&mut leaf_of, 1, fill, |_, leaf_of, leaves| {
        leaf_of.iter_mut().zip(leaves).for_each(|(to, &leaf)| *to = leaf);
    });
    leaf_of
}

/// Adds what `trees` say to the scores (rows x outputs) of all rows of a binned matrix.
pub(super) fn add_binned(
    trees: &[ScoredTree<'_>],
    matrix: &BinnedMatrix,
    scores: &mut [f32],
    outputs: usize,
) {
    let forest = Forest::new(trees.iter().map(|tree| tree.tree), matrix.features().len(), matrix.stop());
    forest.score(trees, scores, outputs, |first, rows, columns| {
        copy_bins(matrix, &forest.asked, first, rows, columns);
    });
}

fn copy_bins(matrix: &BinnedMatrix, asked: &[usize], first: usize, rows: usize, columns: &mut [RowBytes]) {
    for (column, &feature) in columns.iter_mut().zip(asked) {
        matrix.copy_bins(feature, first, &mut column[..rows]);
    }
}

/// Adds what `trees` say to the scores (rows x outputs) of all rows of `matrix`, whose bins `binner` knows.
pub(super) fn add_raw(
    trees: &[ScoredTree<'_>],
    matrix: &Matrix,
    binner: &Binner,
    scores: &mut [f32],
    outputs: usize,
) {
    let features = binner.features();
    if matrix.rows() <= FEW {
        let mut bins = vec![0; features.len()];
        for (row, scores) in scores.chunks_exact_mut(outputs).enumerate() {
            binner.bin_row(|column| matrix.get(row, column), &mut bins);
            for tree in trees {
                let leaf = tree.tree.leaf(|feature| bins[feature]) as u32;
                tree.add(&[leaf], scores, outputs);
            }
        }
        return;
    }
    let forest = Forest::new(trees.iter().map(|tree| tree.tree), features.len(), matrix.stop());
    let lookups: Vec<Lookup> = forest.asked.iter().map(|&feature| Lookup::new(&features[feature])).collect();
    // Which column of bins a column of the matrix goes to.
    let mut column_at = vec![None; binner.columns()];
    for (column, &feature) in forest.asked.iter().enumerate() {
        column_at[features[feature].column as usize] = Some(column);
    }
    forest.score(trees, scores, outputs, |first, rows, columns| {
        // Entries that are not stored are 0.
        let mut values = vec![[0.0f32; TREE_ROWS]; lookups.len()];
        matrix.visit_rows(first..first + rows, |row, entries| {
            entries.for_each_entry(|place, value| {
                if let Some(column) = column_at[place] {
                    values[column][row] = value;
                }
            });
        });
        for ((lookup, values), column) in lookups.iter().zip(&values).zip(columns) {
            lookup.bins(&values[..rows], &mut column[..rows]);
        }
    });
}
