//! What each feature did for the score of a row: exact Shapley values of trees.
//!
//! The game is the path-dependent one of Lundberg et al. (2018, 2020): features outside a coalition are averaged out by
//! sending a row down both sides of their tests, in the shares of the training rows. A leaf with value v is then worth
//! `v * product of o_j over S * product of z_j over the rest` to a coalition S of the m features on its path: o_j is 1
//! where the row passes all tests of feature j on the path and 0 elsewhere, z_j is the share of training rows that do.
//!
//! Shapley weights are integrals, `|S|! (m-1-|S|)! / m! = integral of t^|S| (1-t)^(m-1-|S|) over [0, 1]`, and under the
//! integral the sum over coalitions is a product:
//!
//! ```text
//! phi_i = v (o_i - z_i) * integral of product over j != i of y_j(t) dt,    y_j(t) = t o_j + (1 - t) z_j
//! ```
//!
//! The integrand is a polynomial of degree m - 1, which a Gauss-Legendre rule of m / 2 points integrates exactly. So a row
//! carries the product of its y_j at those points down the tree, one factor a node, and each leaf divides by the y_i of
//! its features: every factor is positive and at most 1, nothing is subtracted, and the cost a tree is (nodes + features
//! on the paths) * points, where the recursion of Lundberg et al. takes the square of the depth at each leaf. What a path
//! weighs does not depend on the value of its leaf: trees with a value for each class are walked once for all of them.

use rayon::prelude::*;

use super::binned::MISSING;
use super::model::{BoostModel, BoostedTree, Output};
use super::quadrature::{LANES, Rule};
use super::tree::{Child, Tree};
use crate::matrix::Matrix;
use crate::{Error, Result};

/// Rows that are explained together, tree by tree: what is worked out about a tree serves them all.
const ROWS: usize = 64;

/// Most bytes that a thread may hold of what it works out about one tree.
const TREE_BYTES: u64 = 1 << 30;

/// The scores that are explained.
#[derive(Debug, Clone, Copy)]
pub enum Explained<'a> {
    /// These outputs for every row.
    Outputs(&'a [u32]),
    /// One output a row.
    OfRow(&'a [u32]),
}

/// Explains the scores of a model.
#[derive(Debug)]
pub struct Explainer<'m> {
    model: &'m BoostModel,
    /// Integration rule of each tree, by its place in `rules`.
    rule_of: Vec<usize>,
    rules: Vec<Rule>,
    expected: Vec<f64>,
}

impl<'m> Explainer<'m> {
    /// Prepares for `model`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a tree whose paths test so many features that a gigabyte would not hold its factors.
    pub fn new(model: &'m BoostModel) -> Result<Self> {
        let mut expected: Vec<f64> = model.base.iter().map(|&base| f64::from(base)).collect();
        let (mut rule_of, mut rules) = (Vec::with_capacity(model.trees.len()), Vec::<Rule>::new());
        let mut paths = Paths::default();
        for boosted in &model.trees {
            let points = points_for(paths.outline(&boosted.tree));
            let need = (boosted.tree.nodes.len() as u64).saturating_mul(2 * 4 * 8 * points as u64);
            if need > TREE_BYTES {
                let what = "explaining a tree with so many features on a path".into();
                return Err(Error::TooLarge { what, need, limit: TREE_BYTES });
            }
            let known = rules.iter().position(|rule| rule.points() == points);
            rule_of.push(known.unwrap_or_else(|| {
                rules.push(Rule::new(points));
                rules.len() - 1
            }));
            add_expected(boosted, &paths, &mut expected);
        }
        Ok(Explainer { model, rule_of, rules, expected })
    }

    /// Mean score over the training rows by the covers of the nodes, one an output: what contributions start from.
    pub fn expected(&self) -> &[f64] {
        &self.expected
    }

    /// The output that speaks of a class, and the sign with which it does: with two classes the one score is the log-odds
    /// of the second, and less that of the first; else the score of a class is its logit.
    pub fn output_of(&self, class: u32) -> (u32, f32) {
        match (self.model.classes, class) {
            (2, 0) => (0, -1.0),
            (2, _) => (0, 1.0),
            _ => (class, 1.0),
        }
    }

    /// Contributions to the scores `of` the rows of `matrix`: `rows x outputs asked for x (columns + 1)`, the last of each
    /// the expected score. They add up to the score, up to rounding. With two classes the logits of a softmax loss are minus
    /// and plus half of the score, those of a one-vs-rest loss minus and plus the score: their contributions are in the
    /// same relation.
    ///
    /// # Errors
    /// [`Error::FeatureMismatch`] where the matrix has another number of columns; [`Error::LengthMismatch`] where
    /// [`Explained::OfRow`] has not one output a row; [`Error::BadValue`] for an output that the model lacks.
    pub fn contributions(&self, matrix: &Matrix, of: Explained<'_>) -> Result<Vec<f32>> {
        let columns = self.model.binner.columns();
        if matrix.cols() != columns {
            let detail = format!("{} columns, not {columns}", matrix.cols());
            return Err(Error::FeatureMismatch { file: "the matrix".into(), detail });
        }
        let (Explained::Outputs(all) | Explained::OfRow(all)) = of;
        if let Some(output) = all.iter().find(|&&output| output as usize >= self.expected.len()) {
            let why = format!("the model has {} outputs", self.expected.len());
            return Err(Error::bad_value("output", output.to_string(), why, "they count from 0"));
        }
        let width = match of {
            Explained::Outputs(outputs) => outputs.len(),
            Explained::OfRow(outputs) if outputs.len() == matrix.rows() => 1,
            Explained::OfRow(outputs) => {
                return Err(Error::LengthMismatch {
                    left: "the features".into(),
                    left_rows: matrix.rows() as u64,
                    right: "the outputs to explain".into(),
                    right_rows: outputs.len() as u64,
                });
            }
        };
        let row_len = width * (columns + 1);
        let mut out = vec![0.0; matrix.rows() * row_len];
        if row_len > 0 {
            out.par_chunks_mut(ROWS * row_len).enumerate().for_each_init(
                Worker::default,
                |worker, (at, out)| {
                    let rows = at * ROWS..at * ROWS + out.len() / row_len;
                    self.explain(worker, matrix, rows, of, width, out);
                },
            );
        }
        Ok(out)
    }

    /// Explains `rows`, `width` outputs each.
    fn explain(
        &self,
        worker: &mut Worker,
        matrix: &Matrix,
        rows: std::ops::Range<usize>,
        of: Explained<'_>,
        width: usize,
        out: &mut [f32],
    ) {
        let binner = &self.model.binner;
        let (features, columns) = (binner.features().len(), binner.columns());
        let Worker { bins, sums, slots, paths, walk } = worker;
        bins.clear();
        bins.resize(rows.len() * features, MISSING);
        for (row, bins) in rows.clone().zip(bins.chunks_exact_mut(features.max(1))) {
            binner.bin_row(|column| matrix.get(row, column), bins);
        }
        let wanted = |row: usize| match of {
            Explained::Outputs(outputs) => outputs,
            Explained::OfRow(outputs) => &outputs[row..=row],
        };
        // Columns x outputs, so that what a feature does to all outputs lies side by side.
        sums.clear();
        sums.resize(rows.len() * columns * width, 0.0);
        let stride = (columns * width).max(1);
        for (boosted, &rule) in self.model.trees.iter().zip(&self.rule_of) {
            if boosted.tree.nodes.is_empty() {
                continue;
            }
            paths.prepare(&boosted.tree, &self.rules[rule], |feature| binner.features()[feature].column);
            for (offset, sums) in sums.chunks_exact_mut(stride).enumerate() {
                let wanted = wanted(rows.start + offset);
                slots.clear();
                slots.extend((0..width).filter(|&slot| match boosted.output {
                    Output::One(own) => wanted[slot] == own,
                    Output::All => true,
                }));
                if slots.is_empty() {
                    continue;
                }
                let bins = &bins[offset * features..][..features];
                walk.down(&boosted.tree, paths, &self.rules[rule], bins);
                walk.credit(paths, &self.rules[rule], |column, leaf, weight| {
                    let sums = &mut sums[column * width..][..width];
                    if boosted.output == Output::All {
                        let values = &boosted.values[leaf * self.expected.len()..][..self.expected.len()];
                        for (sum, &output) in sums.iter_mut().zip(wanted) {
                            *sum += weight * f64::from(values[output as usize]);
                        }
                    } else {
                        let value = weight * f64::from(boosted.values[leaf]);
                        slots.iter().for_each(|&slot| sums[slot] += value);
                    }
                });
            }
        }
        for (offset, (row, out)) in rows.zip(out.chunks_exact_mut(width * (columns + 1))).enumerate() {
            let sums = &sums[offset * columns * width..][..columns * width];
            for (slot, (out, &output)) in out.chunks_exact_mut(columns + 1).zip(wanted(row)).enumerate() {
                let own = sums.iter().skip(slot).step_by(width);
                out.iter_mut().zip(own).for_each(|(out, &sum)| *out = sum as f32);
                out[columns] = self.expected[output as usize] as f32;
            }
        }
    }
}

/// Adds the mean values of a tree over its training rows.
fn add_expected(boosted: &BoostedTree, paths: &Paths, expected: &mut [f64]) {
    let outputs = expected.len();
    for (leaf, share) in paths.leaf_shares(&boosted.tree).into_iter().enumerate() {
        match boosted.output {
            Output::One(own) => expected[own as usize] += share * f64::from(boosted.values[leaf]),
            Output::All => {
                let values = &boosted.values[leaf * outputs..][..outputs];
                expected.iter_mut().zip(values).for_each(|(sum, &value)| *sum += share * f64::from(value));
            }
        }
    }
}

/// Points of the rule for paths of at most `features` different features: as many lanes as hold half of them.
fn points_for(features: usize) -> usize {
    features.div_ceil(2).max(1).next_multiple_of(LANES)
}

/// Place of what a passed feature is credited with among the factors of an edge.
const CREDIT: usize = 3;

/// No edge.
const NONE: u32 = u32::MAX;

/// One side of an inner node: edge `2 * node + side`.
#[derive(Debug, Clone, Copy)]
struct Edge {
    /// Edge that leads to the node; [`NONE`] at the root.
    parent: u32,
    /// Nearest edge above of the same feature.
    above: u32,
    /// Different features on the path down to here.
    features: u32,
    /// Where it leads: inner nodes, then leaves.
    place: u32,
    column: u32,
    /// Share of training rows that pass the tests of this feature from the root down to here.
    share: f64,
    /// Share of the rows at its node that it leads on.
    share_here: f64,
}

/// A tree as rows walk it to be explained. Its vectors are filled anew for each tree and keep their memory.
#[derive(Debug, Default)]
struct Paths {
    edges: Vec<Edge>,
    /// Points of an edge: the factor where the row passes it, where it fails it, where it has failed its feature above, and
    /// `(1 - z) / y` of the feature where the row passes it.
    factors: Vec<[[f64; LANES]; 4]>,
    /// Edge that leads to each inner node.
    into: Vec<u32>,
    /// For each leaf, the last edge of every feature on its path, up to `ends[leaf]`.
    last: Vec<u32>,
    ends: Vec<usize>,
}

impl Paths {
    /// Fills the edges, all but their columns; returns the most different features on a path.
    fn outline(&mut self, tree: &Tree) -> usize {
        let inner = tree.nodes.len();
        self.edges.clear();
        self.into.clear();
        self.into.resize(inner, NONE);
        let mut most = 0;
        for (at, node) in tree.nodes.iter().enumerate() {
            let parent = self.into[at];
            let mut above = parent;
            while above != NONE && tree.nodes[above as usize / 2].feature != node.feature {
                above = self.edges[above as usize].parent;
            }
            let passed = self.edges.get(above as usize).map_or(1.0, |edge| edge.share);
            let features = self.edges.get(parent as usize).map_or(0, |edge| edge.features);
            let features = features + u32::from(above == NONE);
            most = most.max(features);
            for (side, child) in node.children.into_iter().enumerate() {
                let edge = self.edges.len() as u32;
                let place = match child {
                    Child::Node(node) => {
                        self.into[node as usize] = edge;
                        node
                    }
                    Child::Leaf(leaf) => inner as u32 + leaf,
                };
                let share_here = f64::from(node.side_cover(side)) / f64::from(node.cover);
                let share = passed * share_here;
                self.edges.push(Edge { parent, above, features, place, column: 0, share, share_here });
            }
        }
        most as usize
    }

    /// Share of the training rows in each leaf.
    fn leaf_shares(&self, tree: &Tree) -> Vec<f64> {
        let mut shares = vec![1.0; tree.nodes.len() + tree.leaves()];
        for (at, edge) in self.edges.iter().enumerate() {
            shares[edge.place as usize] = shares[at / 2] * edge.share_here;
        }
        shares.split_off(tree.nodes.len())
    }

    /// Fills everything for rows to walk `tree`; `column_of` gives the column of a feature.
    fn prepare(&mut self, tree: &Tree, rule: &Rule, column_of: impl Fn(usize) -> u32) {
        self.outline(tree);
        self.factors.clear();
        for at in 0..self.edges.len() {
            let edge = self.edges[at];
            self.edges[at].column = column_of(tree.nodes[at / 2].feature as usize);
            let above = self.edges.get(edge.above as usize).map(|edge| edge.share);
            for points in rule.lanes() {
                let mut factors = [[edge.share_here; LANES]; 4];
                for (lane, &t) in points.iter().enumerate() {
                    let passes = t + (1.0 - t) * edge.share;
                    // What the feature has put into the product above is taken out again.
                    let before = above.map_or(1.0, |share| t + (1.0 - t) * share);
                    factors[0][lane] = passes / before;
                    factors[1][lane] = (1.0 - t) * edge.share / before;
                    factors[CREDIT][lane] = (1.0 - edge.share) / passes;
                }
                self.factors.push(factors);
            }
        }
        self.gather(tree);
    }

    /// Finds the last edge of every feature on the path of each leaf.
    fn gather(&mut self, tree: &Tree) {
        let inner = tree.nodes.len();
        let mut into_leaf = vec![NONE; tree.leaves()];
        for (at, edge) in self.edges.iter().enumerate() {
            if let Some(into) =
                (edge.place as usize).checked_sub(inner).and_then(|leaf| into_leaf.get_mut(leaf))
            {
                *into = at as u32;
            }
        }
        self.last.clear();
        self.ends.clear();
        for mut edge in into_leaf {
            let start = self.last.len();
            while let Some(found) = self.edges.get(edge as usize) {
                if !self.last[start..].iter().any(|&below| self.edges[below as usize].column == found.column)
                {
                    self.last.push(edge);
                }
                edge = found.parent;
            }
            self.ends.push(self.last.len());
        }
    }
}

/// What one row carries down a tree.
#[derive(Debug, Default)]
struct Walk {
    /// Weights of the rule times the factors so far, a row of lanes for each inner node, then for each leaf.
    products: Vec<[f64; LANES]>,
    /// Whether the row passes all tests of the feature of an edge down to it.
    passes: Vec<bool>,
}

impl Walk {
    /// Takes a row of `bins` down all paths.
    fn down(&mut self, tree: &Tree, paths: &Paths, rule: &Rule, bins: &[u8]) {
        let width = rule.weights().len();
        self.products.resize((tree.nodes.len() + tree.leaves()) * width, [0.0; LANES]);
        self.products[..width].copy_from_slice(rule.weights());
        self.passes.clear();
        for (at, node) in tree.nodes.iter().enumerate() {
            let left = node.goes_left(bins[node.feature as usize]);
            for (side, edge) in paths.edges[2 * at..2 * at + 2].iter().enumerate() {
                let passed_above = edge.above == NONE || self.passes[edge.above as usize];
                let passes = passed_above && left == (side == 0);
                self.passes.push(passes);
                // Which of the factors holds is looked up, for no processor foresees where a row goes.
                let which = 2 - usize::from(passed_above) - usize::from(passes);
                let factors = &paths.factors[(2 * at + side) * width..][..width];
                for (lanes, factors) in factors.iter().enumerate() {
                    let mut product = self.products[at * width + lanes];
                    product.iter_mut().zip(&factors[which]).for_each(|(p, f)| *p *= f);
                    self.products[edge.place as usize * width + lanes] = product;
                }
            }
        }
    }

    /// Tells, for each leaf and each feature on its path, by how much of the value of the leaf the feature moved the score.
    fn credit(&self, paths: &Paths, rule: &Rule, mut tell: impl FnMut(usize, usize, f64)) {
        let width = rule.weights().len();
        let leaves = self.products[(paths.into.len()) * width..].chunks_exact(width);
        let mut start = 0;
        for ((leaf, products), &end) in leaves.enumerate().zip(&paths.ends) {
            // All features that the row fails share one weight: their factors are (1 - t) z, of which -z is left.
            let failed = -dot(products, rule.reciprocals().iter());
            for &edge in &paths.last[start..end] {
                let weight = if self.passes[edge as usize] {
                    let factors = &paths.factors[edge as usize * width..][..width];
                    dot(products, factors.iter().map(|factors| &factors[CREDIT]))
                } else {
                    failed
                };
                tell(paths.edges[edge as usize].column as usize, leaf, weight);
            }
            start = end;
        }
    }
}

fn dot<'a>(products: &[[f64; LANES]], factors: impl Iterator<Item = &'a [f64; LANES]>) -> f64 {
    let mut sums = [0.0; LANES];
    for (products, factors) in products.iter().zip(factors) {
        for ((sum, p), f) in sums.iter_mut().zip(products).zip(factors) {
            *sum += p * f;
        }
    }
    sums.iter().sum()
}

/// Memory that a thread uses again for every block of rows.
#[derive(Debug, Default)]
struct Worker {
    bins: Vec<u8>,
    sums: Vec<f64>,
    /// Places among the outputs wanted that a tree adds to.
    slots: Vec<usize>,
    paths: Paths,
    walk: Walk,
}

#[cfg(test)]
#[path = "shap_tests.rs"]
mod tests;
