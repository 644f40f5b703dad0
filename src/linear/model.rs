//! A fitted linear classifier: `logits = W x + b`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::products::{Arithmetic, BlockBuffer, Weights};
use super::rows::Rows;
use crate::loss::Loss;
use crate::matrix::Matrix;
use crate::simd::Kernels;

/// Weights and bias of C linear functions over D features, and the loss that fitted them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinearModel {
    /// `C x D`, row-major: one row a class.
    pub weight: Vec<f32>,
    /// One value a class.
    pub bias: Vec<f32>,
    /// Number of features D.
    pub features: usize,
    /// Loss the model was fitted with; it decides how logits become probabilities.
    pub loss: Loss,
}

/// Rows of one block of [`LinearModel::logits`] at most and at least, and its logits where both allow: with many classes a
/// block of the most rows would be all the rows there are, and one thread would have it.
const BLOCK_ROWS: usize = 256;
const FEWEST_BLOCK_ROWS: usize = 32;
const BLOCK_LOGITS: usize = 1 << 22;

/// The weights of a model in the order of its products, for many calls: those of many classes take as long to lay out as
/// some rows take to score.
#[derive(Debug)]
pub struct LaidOut {
    weights: Weights,
    arithmetic: Arithmetic,
    is_sparse: bool,
}

impl LaidOut {
    /// Whether rows stored like these can be scored.
    pub fn suits(&self, rows: &Rows<'_>) -> bool {
        self.is_sparse == rows.is_sparse()
    }
}

impl LinearModel {
    /// Number of classes C.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// The D weights of a class.
    pub fn weights_of(&self, class: usize) -> &[f32] {
        &self.weight[class * self.features..][..self.features]
    }

    /// Logits of all rows of `features` (N x D): `N x C`, row-major. The caller has checked that D is
    /// [`LinearModel::features`].
    pub fn logits(&self, features: &Matrix, kernels: &'static Kernels) -> Vec<f32> {
        self.logits_of(Rows::all(features), kernels)
    }

    /// Logits of a view of rows: `rows.len() x C`, row-major.
    pub fn logits_of(&self, rows: Rows<'_>, kernels: &'static Kernels) -> Vec<f32> {
        let mut logits = Vec::new();
        self.logits_into(&self.lay_out(&rows, kernels), rows, &mut logits);
        logits
    }

    /// The weights for rows stored like `rows`.
    pub fn lay_out(&self, rows: &Rows<'_>, kernels: &'static Kernels) -> LaidOut {
        let arithmetic = Arithmetic::in_f32(kernels, rows);
        let mut weights = Weights::default();
        weights.lay_out(&self.weight, self.classes(), self.features, arithmetic);
        LaidOut { weights, arithmetic, is_sparse: rows.is_sparse() }
    }

    /// [`LinearModel::logits_of`] by weights of this model that [suit](LaidOut::suits) the rows, in the place of what `logits`
    /// holds: memory that comes and goes with every block costs a tenth of the scores of many classes.
    pub fn logits_into(&self, laid_out: &LaidOut, rows: Rows<'_>, logits: &mut Vec<f32>) {
        let classes = self.classes();
        let block_rows = (BLOCK_LOGITS / classes.max(1)).clamp(FEWEST_BLOCK_ROWS, BLOCK_ROWS);
        logits.resize(rows.len() * classes, 0.0);
        logits.par_chunks_mut(block_rows * classes).enumerate().for_each_init(
            BlockBuffer::default,
            |buffer, (block, z)| {
                if rows.is_stopped() {
                    return;
                }
                let start = block * block_rows;
                let x = buffer.load(&rows, None, start..start + z.len() / classes, laid_out.arithmetic);
                x.logits(&laid_out.weights, &self.bias, z);
            },
        );
    }
}
