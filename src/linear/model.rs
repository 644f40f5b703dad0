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

/// Rows of one block of [`LinearModel::logits`].
const BLOCK_ROWS: usize = 256;

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
        let classes = self.classes();
        let arithmetic = Arithmetic::in_f32(kernels, &rows);
        let mut weights = Weights::default();
        weights.lay_out(&self.weight, classes, self.features, arithmetic);
        let mut logits = vec![0.0; rows.len() * classes];
        logits.par_chunks_mut(BLOCK_ROWS * classes).enumerate().for_each_init(
            BlockBuffer::default,
            |buffer, (block, z)| {
                if rows.is_stopped() {
                    return;
                }
                let start = block * BLOCK_ROWS;
                let x = buffer.load(&rows, None, start..start + z.len() / classes, arithmetic);
                x.logits(&weights, &self.bias, z);
            },
        );
        logits
    }
}
