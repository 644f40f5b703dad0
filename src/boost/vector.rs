//! Rounds of one tree whose leaves have a value for every class.

use rayon::prelude::*;

use super::binned::BinnedMatrix;
use super::binning::Binner;
use super::clock::{Clock, Phase};
use super::grower::{Grower, Shape};
use super::histogram::Pool;
use super::leaves::Step;
use super::many::ManyClasses;
use super::model::{BoostedTree, Output};
use super::predictor::leaves_of;
use super::sketch::{SketchRows, directions};
use super::statistics::Limits;
use crate::loss::Loss;
use crate::simd::{Curvature, Kernels, LaneBin};

/// What a fit of vector trees stands on.
pub(super) struct VectorProblem<'a> {
    pub loss: Loss,
    pub curvature: Curvature,
    pub classes: usize,
    pub labels: &'a [u32],
    /// Of mean one.
    pub weights: &'a [f32],
    pub features: &'a BinnedMatrix,
    pub histogram_bytes: usize,
    pub kernels: &'static Kernels,
}

/// How the tree of a round is grown.
pub(super) struct Plan<'a> {
    pub features: &'a BinnedMatrix,
    pub binner: &'a Binner,
    pub usable: &'a [bool],
    /// Rows to grow on, ascending; `None` for all.
    pub rows: Option<&'a [u32]>,
    pub limits: Limits,
    pub shape: Shape,
    /// Its `l2` is in average rows.
    pub step: Step,
    pub clock: &'a Clock,
}

/// A fit of vector trees, whatever the number of lanes of its sketches.
pub(super) trait VectorRounds: std::fmt::Debug + Send + Sync {
    /// Starts anew from scores given row by row, those inside the loss.
    fn start(&mut self, scores: &(dyn Fn(usize, &mut [f32]) + Sync));
    /// Residuals and their sketch along the directions of `(seed, round)`; the sum of weighted losses.
    fn derive(&mut self, seed: u64, round: u64, clock: &Clock) -> f64;
    /// Takes the mean second derivative of a row and class as it is now for that of an average row.
    fn measure(&mut self);
    /// The tree of the round, which the scores will then include.
    fn grow(&mut self, plan: &Plan<'_>) -> BoostedTree;
    /// Scores inside the loss, `N x K`.
    fn scores(&self) -> Vec<f32>;
}

#[derive(Debug)]
pub(super) struct VectorFit<B> {
    many: ManyClasses,
    statistics: SketchRows<B>,
    /// Residuals along the directions, rows x directions.
    sketch: Vec<f32>,
    pool: Pool<B>,
    average_row: f64,
    kernels: &'static Kernels,
}

impl<B: LaneBin> VectorFit<B> {
    /// A fit whose scores are 0.
    pub(super) fn new(problem: &VectorProblem<'_>) -> Self {
        let statistics = SketchRows::<B>::new(problem.weights, problem.kernels);
        let loss = (problem.loss, problem.curvature);
        let many = ManyClasses::new(loss, problem.classes, problem.labels, problem.weights, problem.kernels);
        let sketch = vec![0.0; problem.labels.len() * statistics.directions()];
        let pool = Pool::new(problem.features.features().len(), problem.histogram_bytes);
        VectorFit { many, statistics, sketch, pool, average_row: 1.0, kernels: problem.kernels }
    }
}

impl<B: LaneBin> VectorRounds for VectorFit<B> {
    fn start(&mut self, scores: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.many.start(scores);
    }

    fn derive(&mut self, seed: u64, round: u64, clock: &Clock) -> f64 {
        clock.time(Phase::Gradient, || {
            let directions = directions(seed, round, self.many.classes(), self.statistics.directions());
            let loss = self.many.sketch(&directions, &mut self.sketch);
            self.statistics.set(&self.sketch);
            loss
        })
    }

    fn measure(&mut self) {
        self.average_row = self.many.mean_hessian();
    }

    fn grow(&mut self, plan: &Plan<'_>) -> BoostedTree {
        let grower = Grower {
            statistics: &self.statistics,
            matrix: plan.features,
            usable: plan.usable,
            limits: plan.limits,
            shape: plan.shape,
            threshold: &|feature, bin| plan.binner.features()[feature].threshold(bin),
            clock: plan.clock,
            kernels: self.kernels,
        };
        let all = self.many.rows();
        let rows = plan.rows.map_or_else(|| (0..all as u32).collect(), <[u32]>::to_vec);
        let grown = grower.grow(rows, &self.pool);
        plan.clock.time(Phase::Leaf, || {
            let leaves: Vec<&[u32]> =
                grown.leaves.iter().map(|leaf| &grown.rows[leaf.start..leaf.end]).collect();
            let step = Step { l2: plan.step.l2 * self.average_row, ..plan.step };
            let values = self.many.leaves(&leaves, &step);
            let leaf_of = if plan.rows.is_some() {
                leaves_of(&grown.tree, plan.features)
            } else {
                let mut leaf_of = vec![0; all];
                for (leaf, rows) in leaves.iter().enumerate() {
                    rows.iter().for_each(|&row| leaf_of[row as usize] = leaf as u32);
                }
                leaf_of
            };
            let kept = (0..values.rows()).flat_map(|leaf| values.row(leaf)).copied().collect();
            self.many.add_later(leaf_of, values);
            BoostedTree { tree: grown.tree, output: Output::All, values: kept }
        })
    }

    fn scores(&self) -> Vec<f32> {
        let classes = self.many.classes();
        let mut scores = vec![0.0; self.many.rows() * classes];
        scores.par_chunks_mut(classes).enumerate().for_each(|(row, scores)| self.many.scores_of(row, scores));
        scores
    }
}
