//! Pointwise losses with gradient and Hessian.

use serde::{Deserialize, Serialize};

/// Loss of one row, before its weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// `-log softmax(z)_y`.
    Softmax,
    /// One-vs-rest logistic loss, summed over classes.
    Sigmoid,
    /// One-vs-rest focal loss, summed over classes.
    Focal {
        /// Exponent of the modulator, at least 0.
        gamma: f64,
    },
    /// `-(1 - p_y)^gamma log p_y` with `p = softmax(z)`.
    SoftmaxFocal {
        /// Exponent of the modulator, at least 0.
        gamma: f64,
    },
}
