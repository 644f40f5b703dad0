//! A boosted model: base scores and trees, with the bins that its trees speak of.

use serde::{Deserialize, Serialize};

use super::binned::MISSING;
use super::binning::{BinnedFeature, Binner, Values};
use super::predictor::{ScoredTree, add_binned, add_raw};
use super::tree::{Node, Test, Tree};
use crate::loss::Loss;
use crate::matrix::Matrix;
use crate::{Error, Result};

/// What a tree adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// The score of this output.
    One(u32),
    /// All scores: the tree is its round.
    All,
}

/// A tree and what its leaves add to the scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoostedTree {
    /// Inner nodes.
    pub tree: Tree,
    /// What it adds to.
    pub output: Output,
    /// One value a leaf, or leaves x outputs of a tree for all, the learning rate included.
    pub values: Vec<f32>,
}

/// Scores as a sum of trees. Two classes have one score F: the logits are `(-F/2, F/2)` for softmax losses, of which
/// only differences count, and `(-F, F)` for one-vs-rest losses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoostModel {
    /// The loss that the scores minimise.
    pub loss: Loss,
    /// Number of classes K.
    pub classes: usize,
    /// Bins of the features.
    pub binner: Binner,
    /// Score of every row before the trees, one an output.
    pub base: Vec<f32>,
    /// Trees in the order of their rounds; within a round in the order of outputs.
    pub trees: Vec<BoostedTree>,
}

/// Number of scores a row for `classes` classes.
pub(super) fn outputs(classes: usize) -> usize {
    if classes == 2 { 1 } else { classes }
}

impl BoostModel {
    /// Scores a row: 1 for two classes, else one a class.
    pub fn outputs(&self) -> usize {
        self.base.len()
    }

    /// Rounds of boosting: trees of an output.
    pub fn rounds(&self) -> usize {
        self.round_ends(&self.trees).count()
    }

    /// Leaves the trees of the first `rounds` rounds.
    pub fn truncate(&mut self, rounds: usize) {
        let kept = rounds.checked_sub(1).map_or(Some(0), |last| self.round_ends(&self.trees).nth(last));
        self.trees.truncate(kept.unwrap_or(usize::MAX));
    }

    /// Number of `trees` after each round: a tree for all outputs, or the tree of the last output, ends one.
    pub(super) fn round_ends<'t>(&self, trees: &'t [BoostedTree]) -> impl Iterator<Item = usize> + use<'t> {
        let outputs = self.outputs();
        let last = move |tree: &BoostedTree| match tree.output {
            Output::One(output) => output as usize + 1 == outputs,
            Output::All => true,
        };
        trees.iter().enumerate().filter(move |(_, tree)| last(tree)).map(|(at, _)| at + 1)
    }

    /// Logits of all rows, `N x K`.
    ///
    /// # Errors
    /// Those of [`BoostModel::scores`].
    pub fn logits(&self, matrix: &Matrix) -> Result<Vec<f32>> {
        self.scores(matrix).map(|scores| self.logits_of(scores))
    }

    /// Scores of all rows, `N x outputs`: with two classes the log-odds of the second, else the logits.
    ///
    /// # Errors
    /// [`Error::FeatureMismatch`] where the matrix has another number of columns.
    pub fn scores(&self, matrix: &Matrix) -> Result<Vec<f32>> {
        if matrix.cols() != self.binner.columns() {
            return Err(Error::FeatureMismatch {
                file: "the matrix".into(),
                detail: format!("{} columns, not {}", matrix.cols(), self.binner.columns()),
            });
        }
        let mut scores = self.base.repeat(matrix.rows());
        add_raw(&self.scored(), matrix, &self.binner, &mut scores, self.outputs());
        Ok(scores)
    }

    /// Logits of a model that was trained on top of `start` (logits, `N x K`), as [`BoostModel::logits`].
    ///
    /// # Errors
    /// Those of [`BoostModel::logits`]; [`Error::LengthMismatch`] where `start` has another length.
    pub fn logits_onto(&self, matrix: &Matrix, start: &[f32]) -> Result<Vec<f32>> {
        let mut logits = self.logits(matrix)?;
        if logits.len() != start.len() {
            return Err(Error::LengthMismatch {
                left: "the features".into(),
                left_rows: matrix.rows() as u64,
                right: "the logits to start from".into(),
                right_rows: (start.len() / self.classes.max(1)) as u64,
            });
        }
        logits.iter_mut().zip(start).for_each(|(logit, start)| *logit += start);
        Ok(logits)
    }

    /// Adds all trees to scores (rows x outputs) of rows with the bins of this model.
    pub(super) fn add_to(&self, matrix: &super::binned::BinnedMatrix, scores: &mut [f32]) {
        add_binned(&self.scored(), matrix, scores, self.outputs());
    }

    fn scored(&self) -> Vec<ScoredTree<'_>> {
        self.trees.iter().map(BoostedTree::scored).collect()
    }

    /// `N x K` logits of scores.
    pub(super) fn logits_of(&self, scores: Vec<f32>) -> Vec<f32> {
        if self.classes != 2 {
            return scores;
        }
        let factor = logit_of_score(&self.loss);
        scores.into_iter().flat_map(|score| [-factor * score, factor * score]).collect()
    }

    /// What each column of the matrix did for output `output`, or for all, by [`Importance`]. A tree for all outputs counts
    /// for each.
    pub fn importances(&self, importance: Importance, output: Option<usize>) -> Vec<f64> {
        let mut totals = vec![0.0; self.binner.columns()];
        let serves = |tree: &&BoostedTree| match (tree.output, output) {
            (Output::One(own), Some(wanted)) => own as usize == wanted,
            _ => true,
        };
        let trees = self.trees.iter().filter(serves);
        for node in trees.flat_map(|tree| &tree.tree.nodes) {
            let column = self.binner.features()[node.feature as usize].column as usize;
            totals[column] += match importance {
                Importance::Gain => f64::from(node.gain),
                Importance::Splits => 1.0,
                Importance::Cover => f64::from(node.cover),
            };
        }
        totals
    }

    /// Whether nodes, leaves and features of the trees refer to each other as they must: to be asked of a model that
    /// was read from a file.
    pub fn is_sound(&self) -> bool {
        self.base.len() == outputs(self.classes) && self.admits(&self.trees)
    }

    /// Whether `trees` can be trees of this model, in the sense of [`BoostModel::is_sound`].
    pub fn admits(&self, trees: &[BoostedTree]) -> bool {
        let features = self.binner.features();
        trees.iter().all(|boosted| {
            let leaves = boosted.tree.leaves();
            let (there, values) = match boosted.output {
                Output::One(output) => ((output as usize) < self.base.len(), leaves),
                Output::All => (true, leaves * self.base.len()),
            };
            there
                && boosted.values.len() == values
                && boosted.tree.is_sound()
                && boosted.tree.nodes.iter().all(|node| {
                    features.get(node.feature as usize).is_some_and(|feature| fits(node, feature))
                })
        })
    }
}

/// Whether a test is one of a feature: bins and the values that stand for them decide alike.
fn fits(node: &Node, feature: &BinnedFeature) -> bool {
    match (node.test, &feature.values) {
        (Test::UpTo { bin, threshold }, Values::Numeric(_)) => {
            bin != MISSING && threshold.to_bits() == feature.threshold(bin).to_bits()
        }
        (Test::Among(set), Values::Categorical(_)) => (set[0] & 1 == 1) == node.missing_left,
        _ => false,
    }
}

impl BoostedTree {
    pub(super) fn scored(&self) -> ScoredTree<'_> {
        ScoredTree { tree: &self.tree, values: &self.values, output: self.output }
    }
}

/// Logit of the second of two classes at a score of 1.
pub(crate) fn logit_of_score(loss: &Loss) -> f32 {
    match loss {
        Loss::Softmax | Loss::SoftmaxFocal { .. } => 0.5,
        Loss::Sigmoid | Loss::Focal { .. } => 1.0,
    }
}

/// How the use of a feature is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// Loss that its cuts took away in training, relative to a row of mean weight.
    Gain,
    /// Number of its cuts.
    Splits,
    /// Training rows that met its cuts.
    Cover,
}
