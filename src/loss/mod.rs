//! Pointwise losses with gradient and Hessian.

use serde::{Deserialize, Serialize};

/// Loss of one row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Softmax cross-entropy.
    Softmax,
    /// Sigmoid one-vs-rest.
    Sigmoid,
    /// Focal loss over sigmoids.
    Focal {
        /// Exponent of the modulator.
        gamma: f64,
    },
    /// Focal loss over the softmax.
    SoftmaxFocal {
        /// Exponent of the modulator.
        gamma: f64,
    },
}
