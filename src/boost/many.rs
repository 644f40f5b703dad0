//! Scores of all classes in training, with what a round of a vector tree does to them.
//!
//! A round passes over the N x K scores twice. [`ManyClasses::sketch`] adds the leaf values of the tree before, forms the
//! residuals and writes their projections; once the tree is grown, [`ManyClasses::leaves`] forms the residuals again,
//! leaf by leaf, and sums them. Neither residuals nor second derivatives of N x K are ever stored: reading scores
//! twice costs less than writing and reading both.

use rayon::prelude::*;

use super::leaves::Step;
use super::sketch::CHUNK;
use crate::loss::Loss;
use crate::simd::{
    ClassRows, Curvature, Kernels, LeafRows, LeafSum, NO_SCORE, PaddedRows, RowSlope, ScoreLoss, SketchOut,
};
use crate::stop::Stop;

/// Rows summed in f32 before the sums move on to f64.
const BLOCK: usize = 64;
/// Rows of a leaf whose sums are one task.
const TASK: usize = 4096;

/// Scores N x K of the training rows and what the losses need of them.
#[derive(Debug)]
pub(super) struct ManyClasses {
    loss: ScoreLoss,
    curvature: Curvature,
    classes: usize,
    labels: Vec<u32>,
    weights: Vec<f32>,
    /// The place of the true class holds [`NO_SCORE`]; its score is in `own`.
    scores: PaddedRows,
    own: Vec<f32>,
    slopes: Vec<RowSlope>,
    /// Values that the next pass adds: leaf of each row, leaves x K.
    pending: Option<(Vec<u32>, PaddedRows)>,
    kernels: &'static Kernels,
    stop: Stop,
}

/// Sums over the rows of a leaf, one number a class.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LeafSums {
    /// Of `weight * dloss/dz`.
    pub gradient: Vec<f64>,
    /// Of `weight *` second derivative.
    pub hessian: Vec<f64>,
}

impl ManyClasses {
    /// Rows with their labels (below `classes`) and weights (0 leaves a row out), all scores 0.
    pub(super) fn new(
        (loss, curvature): (Loss, Curvature),
        classes: usize,
        labels: &[u32],
        weights: &[f32],
        (kernels, stop): (&'static Kernels, &Stop),
    ) -> Self {
        let loss = match loss {
            Loss::Softmax | Loss::SoftmaxFocal { .. } => ScoreLoss::Softmax { gamma: loss.gamma() },
            Loss::Sigmoid | Loss::Focal { .. } => ScoreLoss::OneVsRest { gamma: loss.gamma() },
        };
        // Filling the scores takes as long as a pass.
        let rows = if stop.is_set() { 0 } else { labels.len() };
        let mut many = ManyClasses {
            loss,
            curvature,
            classes,
            labels: labels.to_vec(),
            weights: weights.to_vec(),
            scores: PaddedRows::filled(rows, classes, NO_SCORE),
            own: vec![0.0; rows],
            slopes: vec![RowSlope::default(); rows],
            pending: None,
            kernels,
            stop: stop.clone(),
        };
        many.start(&|_, scores| scores.fill(0.0));
        many
    }

    /// Sets the scores inside the loss, row by row.
    pub(super) fn start(&mut self, first_scores: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.pending = None;
        let (stride, classes) = (self.scores.stride(), self.classes);
        let rows =
            self.scores.values_mut().par_chunks_mut(stride.max(1)).zip(&mut self.own).zip(&self.labels);
        rows.enumerate().for_each(|(row, ((scores, own), &label))| {
            first_scores(row, &mut scores[..classes]);
            *own = std::mem::replace(&mut scores[label as usize], NO_SCORE);
        });
    }

    /// Adds the pending leaf values to the scores, writes the residuals' projections onto `directions` (rows x
    /// directions) and returns the sum of the weighted losses.
    pub(super) fn sketch(&mut self, directions: &PaddedRows, sketch: &mut [f32]) -> f64 {
        let (stride, d) = (self.scores.stride(), directions.rows());
        let pending = self.pending.take();
        let (kernels, loss, stop) = (self.kernels, (self.loss, self.curvature), &self.stop);
        let losses: Vec<f64> = self
            .scores
            .values_mut()
            .par_chunks_mut(CHUNK * stride)
            .zip(self.own.par_chunks_mut(CHUNK))
            .zip(self.labels.par_chunks(CHUNK).zip(self.weights.par_chunks(CHUNK)))
            .zip(self.slopes.par_chunks_mut(CHUNK).zip(sketch.par_chunks_mut(CHUNK * d)))
            .enumerate()
            .filter(|_| !stop.is_set())
            .map(|(chunk, (((z, own), (labels, weights)), (slopes, sketch)))| {
                let leaves = pending.as_ref().map(|(leaf_of, values)| LeafRows {
                    leaf_of: &leaf_of[chunk * CHUNK..][..labels.len()],
                    values: values.values(),
                });
                let rows = ClassRows { z, stride, own, labels, weights };
                kernels.sketch_rows(rows, leaves, directions.values(), loss, SketchOut { slopes, sketch })
            })
            .collect();
        losses.iter().sum()
    }

    /// Sums over `rows`, as [`ManyClasses::sketch`] left their scores.
    pub(super) fn sums(&self, rows: &[u32]) -> LeafSums {
        let parts: Vec<LeafSums> = rows.par_chunks(TASK).map(|rows| self.task_sums(rows)).collect();
        let mut sums = LeafSums { gradient: vec![0.0; self.classes], hessian: vec![0.0; self.classes] };
        for part in parts {
            sums.gradient.iter_mut().zip(part.gradient).for_each(|(sum, part)| *sum += part);
            sums.hessian.iter_mut().zip(part.hessian).for_each(|(sum, part)| *sum += part);
        }
        sums
    }

    fn task_sums(&self, rows: &[u32]) -> LeafSums {
        let stride = self.scores.stride();
        let mut block = PaddedRows::filled(2, self.classes, 0.0);
        let mut sums = LeafSums { gradient: vec![0.0; self.classes], hessian: vec![0.0; self.classes] };
        let (z, slopes) = (self.scores.values(), self.slopes.as_slice());
        for rows in rows.chunks(BLOCK).take_while(|_| !self.stop.is_set()) {
            block.values_mut().fill(0.0);
            let (gradient, hessian) = block.values_mut().split_at_mut(stride);
            self.kernels.sum_leaf(
                LeafSum { z, stride, slopes, rows },
                (self.loss, self.curvature),
                gradient,
                hessian,
            );
            // The other classes' absolute curvature is their gradient, which is not negative.
            let hessian = if self.curvature == Curvature::Absolute { gradient } else { hessian };
            sums.hessian.iter_mut().zip(hessian.iter()).for_each(|(sum, &value)| *sum += f64::from(value));
            let gradient = block.row(0);
            sums.gradient.iter_mut().zip(gradient).for_each(|(sum, &value)| *sum += f64::from(value));
            for &row in rows {
                let (slope, label) = (slopes[row as usize], self.labels[row as usize] as usize);
                sums.gradient[label] += f64::from(slope.own_gradient);
                sums.hessian[label] += f64::from(slope.own_hessian);
            }
        }
        // Of K softmax scores one is free: the exact step for equal scores is (K - 1) / K of the diagonal one.
        if let (ScoreLoss::Softmax { .. }, Curvature::Newton) = (self.loss, self.curvature) {
            let factor = self.classes as f64 / (self.classes as f64 - 1.0).max(1.0);
            sums.hessian.iter_mut().for_each(|sum| *sum *= factor);
        }
        sums
    }

    /// Values of leaves whose rows are given, leaves x K: a Newton step of each class by itself.
    pub(super) fn leaves(&self, leaves: &[&[u32]], step: &Step) -> PaddedRows {
        let mut values = PaddedRows::filled(leaves.len(), self.classes, 0.0);
        let stride = values.stride().max(1);
        values.values_mut().par_chunks_mut(stride).zip(leaves).for_each(|(values, rows)| {
            let sums = self.sums(rows);
            let steps = values.iter_mut().zip(sums.gradient.iter().zip(&sums.hessian));
            for (value, (&gradient, &hessian)) in steps {
                *value = step.value(gradient, hessian);
            }
        });
        values
    }

    /// Mean weighted second derivative of a row and class over all rows: what one "average row" is.
    pub(super) fn mean_hessian(&self) -> f64 {
        let rows: Vec<u32> = (0..self.labels.len() as u32).collect();
        let sums = self.sums(&rows);
        sums.hessian.iter().sum::<f64>() / (rows.len() * self.classes).max(1) as f64
    }

    /// Has the next pass add the values (leaves x K) of each row's leaf.
    pub(super) fn add_later(&mut self, leaf_of: Vec<u32>, values: PaddedRows) {
        debug_assert!(self.pending.is_none(), "a pass lies between two trees");
        self.pending = Some((leaf_of, values));
    }

    /// Copies the scores of a row, pending values included, to `to`.
    pub(super) fn scores_of(&self, row: usize, to: &mut [f32]) {
        to.copy_from_slice(self.scores.row(row));
        to[self.labels[row] as usize] = self.own[row];
        if let Some((leaf_of, values)) = &self.pending {
            let step = values.row(leaf_of[row] as usize);
            to.iter_mut().zip(step).for_each(|(score, step)| *score += step);
        }
    }
}
