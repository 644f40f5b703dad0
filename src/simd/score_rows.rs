//! Scores of training rows as boosting of many classes passes over them: what the kernels take, and their checks.
//!
//! The score of the true class is kept apart. In its place, and in the padding, stands the smallest f32: every
//! exponential, slope and curvature of it is 0 and it stays where it is when leaf values are added, so that no loop
//! over classes needs a mask or a branch, and neither `1 - p_y` nor a small residual is formed by subtraction.

use super::padded::LINE;
use super::{Kernels, area, math};
use serde::{Deserialize, Serialize};

/// What stands in the place of the true class and in the padding of a row of scores.
pub const NO_SCORE: f32 = math::LOWEST;

/// Which function of the scores the loss is; `gamma` is the focusing exponent, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScoreLoss {
    /// `-(1 - p_y)^gamma log p_y`, `p = softmax(z)`.
    Softmax {
        /// Focusing exponent.
        gamma: f64,
    },
    /// `sum_c (1 - p_c^t)^gamma softplus(-z_c^t)`.
    OneVsRest {
        /// Focusing exponent.
        gamma: f64,
    },
}

/// What stands for the second derivative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Curvature {
    /// The diagonal of the Hessian, for softmax times `K / (K - 1)` (Friedman 2001), which steps in each class alone need.
    /// Vector trees take the focal modulator for a constant factor, so that it is never negative: `|g| (1 - p)`.
    Newton,
    /// The magnitude of the gradient: steps of bounded size, however sure the model is.
    Absolute,
}

/// A run of training rows.
#[derive(Debug)]
pub struct ClassRows<'a> {
    /// Scores, rows x stride, [`NO_SCORE`] in the place of the true class and behind the classes.
    pub z: &'a mut [f32],
    /// Distance between rows, a multiple of 16.
    pub stride: usize,
    /// Score of the true class, one a row.
    pub own: &'a mut [f32],
    /// True class, one a row, below the stride.
    pub labels: &'a [u32],
    /// Row weights; a row of weight 0 gets the leaf values and nothing else.
    pub weights: &'a [f32],
}

/// Values to add to scores before anything else.
#[derive(Debug, Clone, Copy)]
pub struct LeafRows<'a> {
    /// Leaf of each row.
    pub leaf_of: &'a [u32],
    /// Values, leaves x stride, 0 behind the classes.
    pub values: &'a [f32],
}

/// What a row's residuals are made from once its exponentials are summed, kept for the sums over leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowSlope {
    /// Largest score of the row.
    pub peak: f32,
    /// What exponentials (softmax) or slopes (one-vs-rest) are multiplied by to become residuals.
    pub factor: f32,
    /// One over the sum of the exponentials of the row.
    pub inverse_total: f32,
    /// Residual of the true class.
    pub own_gradient: f32,
    /// Second derivative for the true class.
    pub own_hessian: f32,
}

/// What [`Kernels::sketch_rows`] writes for each row.
#[derive(Debug)]
pub struct SketchOut<'a> {
    /// One a row.
    pub slopes: &'a mut [RowSlope],
    /// Residuals projected onto the directions, rows x directions.
    pub sketch: &'a mut [f32],
}

impl ClassRows<'_> {
    fn check(&self) {
        assert!(self.stride.is_multiple_of(LINE) && self.stride > 0, "rows of whole lines");
        assert_eq!(self.z.len(), area(self.labels.len(), self.stride), "scores are rows x stride");
        assert!(self.own.len() == self.labels.len() && self.weights.len() == self.labels.len());
        assert!(!self.labels.iter().any(|&label| label as usize >= self.stride), "label beyond the classes");
    }
}

/// Rows of a leaf with what [`Kernels::sketch_rows`] left of them.
#[derive(Debug, Clone, Copy)]
pub struct LeafSum<'a> {
    /// Scores of all rows, rows x stride.
    pub z: &'a [f32],
    /// Distance between rows, a multiple of 16.
    pub stride: usize,
    /// One a row.
    pub slopes: &'a [RowSlope],
    /// The rows to sum over.
    pub rows: &'a [u32],
}

impl Kernels {
    /// One pass over rows: adds `leaves` to the scores, and from these forms the residuals `weight * dloss/dz` and
    /// their projections onto `directions` (directions x stride), which alone are written, with a [`RowSlope`]. The
    /// result is the sum of the weighted losses, row losses in f32 or better, their sum in f64.
    ///
    /// # Panics
    /// Where the lengths contradict each other or a label or leaf is out of range.
    pub fn sketch_rows(
        &self,
        rows: ClassRows<'_>,
        leaves: Option<LeafRows<'_>>,
        directions: &[f32],
        loss: (ScoreLoss, Curvature),
        out: SketchOut<'_>,
    ) -> f64 {
        rows.check();
        assert!(directions.len().is_multiple_of(rows.stride), "directions are directions x stride");
        let count = directions.len() / rows.stride;
        assert!(count <= MAX_DIRECTIONS, "{count} directions");
        assert_eq!(out.slopes.len(), rows.labels.len());
        assert_eq!(out.sketch.len(), area(rows.labels.len(), count), "a sketch is rows x directions");
        if let Some(leaves) = leaves {
            assert_eq!(leaves.leaf_of.len(), rows.labels.len());
            let count = leaves.values.len() / rows.stride;
            assert!(!leaves.leaf_of.iter().any(|&leaf| leaf as usize >= count), "leaf out of range");
        }
        // SAFETY: shapes and indices checked; the table's instruction set is available.
        unsafe { (self.0.sketch_rows)(rows, leaves, directions, loss, out) }
    }

    /// Adds the residuals of the rows of a leaf to `gradient` and, for [`Curvature::Newton`], the second derivatives to
    /// `hessian`, both of one stride; sums in f32 in the order of the rows, so a call should have some dozens of rows. The
    /// true classes are left out: theirs are in [`RowSlope`]. With [`Curvature::Absolute`] `hessian` stays as it is, for
    /// the derivatives of the other classes are their residuals.
    ///
    /// # Panics
    /// Where the lengths contradict each other or a row is out of range.
    pub fn sum_leaf(
        &self,
        leaf: LeafSum<'_>,
        loss: (ScoreLoss, Curvature),
        gradient: &mut [f32],
        hessian: &mut [f32],
    ) {
        assert!(leaf.stride.is_multiple_of(LINE) && leaf.stride > 0, "rows of whole lines");
        assert_eq!(leaf.z.len(), area(leaf.slopes.len(), leaf.stride), "scores are rows x stride");
        assert!(!leaf.rows.iter().any(|&row| row as usize >= leaf.slopes.len()), "row out of range");
        assert!(gradient.len() == leaf.stride && hessian.len() == leaf.stride, "sums of a stride");
        // SAFETY: shapes and indices checked; the table's instruction set is available.
        unsafe { (self.0.sum_leaf)(leaf, loss, gradient, hessian) }
    }
}

/// Largest number of directions that [`Kernels::sketch_rows`] takes.
pub(super) const MAX_DIRECTIONS: usize = 16;
