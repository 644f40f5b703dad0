//! Pointwise losses with gradient and Hessian.
//!
//! [`Loss::residuals`] runs the f32 kernels over blocks of rows; [`Loss::row_f64`] is the same loss for one row in f64
//! with its curvature, the reference the kernels are held to. The weight of a row multiplies its whole loss and stands
//! outside the focal modulator.

mod adjust;
mod one_vs_rest;
mod softmax;

pub use adjust::{ldam_margins, logit_adjustment, vector_scaling};

use crate::simd::{Kernels, RowBlock};
use serde::{Deserialize, Serialize};

/// Loss of one row with logits z and true class y, before the weight. `z_c^t` is `z_c` for the true class and `-z_c`
/// for the others, `p_c^t` its logistic function.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Cross entropy `-log softmax(z)_y`.
    Softmax,
    /// One-vs-rest `sum_c softplus(-z_c^t)`: a sum over classes, not a mean.
    Sigmoid,
    /// `sum_c (1 - p_c^t)^gamma softplus(-z_c^t)` (Lin et al. 2017 over independent classes).
    Focal {
        /// Focusing exponent, not negative; 0 is the sigmoid loss.
        gamma: f64,
    },
    /// `-(1 - p_y)^gamma log p_y` with `p = softmax(z)`.
    SoftmaxFocal {
        /// Focusing exponent, not negative; 0 is the cross entropy.
        gamma: f64,
    },
}

impl Loss {
    /// `"softmax"`, `"sigmoid"`, `"focal"` or `"softmax-focal"`.
    pub fn name(&self) -> &'static str {
        match self {
            Loss::Softmax => "softmax",
            Loss::Sigmoid => "sigmoid",
            Loss::Focal { .. } => "focal",
            Loss::SoftmaxFocal { .. } => "softmax-focal",
        }
    }

    /// Whether the loss is convex in the logits: the focal ones are not, unless gamma is 0.
    pub fn is_convex(&self) -> bool {
        self.gamma() == 0.0
    }

    /// Bias to start from: for the one-vs-rest losses `-log(C - 1)`, the log-odds of one class among C (Cui et al.
    /// 2019), so that the C - 1 negative terms of a row do not swamp the first steps; else 0.
    pub fn bias_start(&self, classes: usize) -> f32 {
        match self {
            Loss::Sigmoid | Loss::Focal { .. } => -(classes.saturating_sub(1).max(1) as f64).ln() as f32,
            Loss::Softmax | Loss::SoftmaxFocal { .. } => 0.0,
        }
    }

    /// Sum of `weight * loss` over a block of rows; the logits become the residuals `weight * dloss/dz`.
    ///
    /// A row of weight 0 is left out: no value, residuals 0, any label. Row losses are f32, their sum f64. A logit that is
    /// not finite makes the value NaN.
    ///
    /// # Panics
    /// Where the lengths contradict each other or a label is out of range.
    pub fn residuals(&self, kernels: &Kernels, block: RowBlock<'_>) -> f64 {
        match *self {
            Loss::Softmax => kernels.softmax_rows(block),
            Loss::Sigmoid | Loss::Focal { gamma: 0.0 } => kernels.sigmoid_rows(block),
            Loss::Focal { gamma } => kernels.focal_rows(block, gamma),
            Loss::SoftmaxFocal { gamma } => kernels.softmax_focal_rows(block, gamma),
        }
    }

    /// Loss of one row in f64, with its gradient and the diagonal of its Hessian, each one number a class. The
    /// diagonal is negative where a focal loss is concave.
    ///
    /// # Panics
    /// Where `label`, `gradient` or `hessian` do not fit the length of `z`.
    pub fn row_f64(&self, z: &[f64], label: usize, gradient: &mut [f64], hessian: &mut [f64]) -> f64 {
        assert!(label < z.len() && gradient.len() == z.len() && hessian.len() == z.len());
        match self {
            Loss::Softmax | Loss::SoftmaxFocal { .. } => {
                softmax::row(z, label, self.gamma(), gradient, hessian)
            }
            Loss::Sigmoid | Loss::Focal { .. } => one_vs_rest::row(z, label, self.gamma(), gradient, hessian),
        }
    }

    /// Upper bound of the curvature: no eigenvalue of the Hessian of a row's loss in its logits is larger. 1/4 for
    /// sigmoid, 1/2 for softmax; the focal losses scale these by the largest curvature of the focal term.
    pub fn curvature_bound(&self) -> f64 {
        let one_term = one_vs_rest::largest_curvature(self.gamma());
        match self {
            Loss::Sigmoid | Loss::Focal { .. } => one_term,
            // Worst with two classes, where the loss is one focal term of z_y - z_c: a direction of squared length 2.
            Loss::Softmax | Loss::SoftmaxFocal { .. } => 2.0 * one_term,
        }
    }

    /// [`Loss::curvature_bound`] relative to the same loss without focusing.
    pub fn relative_curvature(&self) -> f64 {
        one_vs_rest::largest_curvature(self.gamma()) / one_vs_rest::largest_curvature(0.0)
    }

    /// Focusing exponent; 0 for the losses without one.
    pub fn gamma(&self) -> f64 {
        match *self {
            Loss::Softmax | Loss::Sigmoid => 0.0,
            Loss::Focal { gamma } | Loss::SoftmaxFocal { gamma } => gamma,
        }
    }
}

#[cfg(test)]
mod tests;
