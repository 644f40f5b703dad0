//! What a linear fit minimises: the objective J of weighted rows.

use serde::{Deserialize, Serialize};

use super::rows::Rows;
use crate::loss::Loss;

/// Which parameters the l2 penalty falls on. The paper leaves the bias undecayed (Cui et al. 2019, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// The weights W, not the bias.
    Weights,
    /// Weights and bias.
    Both,
    /// Only the bias.
    Bias,
    /// Nothing: l2 has no effect.
    None,
}

impl Decay {
    /// Whether W is penalised.
    pub fn on_weights(self) -> bool {
        matches!(self, Decay::Weights | Decay::Both)
    }

    /// Whether b is penalised.
    pub fn on_bias(self) -> bool {
        matches!(self, Decay::Both | Decay::Bias)
    }
}

/// The objective of METHODS section 1 over a view of rows:
///
/// `J(W, b) = sum_i w_i loss(W x_i + b + offsets, y_i) / sum_i w_i + l2/2 ||decayed parameters||^2`
///
/// Dividing by the total weight keeps the meaning of `l2` under every weighting scheme and normalisation.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// N rows of D features.
    pub rows: Rows<'a>,
    /// Class code of each row, below `classes`.
    pub labels: &'a [u32],
    /// `w_i`: row weight times class weight, finite, not negative, at least one positive.
    pub weights: &'a [f32],
    /// Number of classes C, each with at least one row.
    pub classes: usize,
    /// Pointwise loss.
    pub loss: Loss,
    /// Added to the logits inside the loss only (logit adjustment), one value a class.
    pub offsets: Option<&'a [f32]>,
    /// Strength of the penalty.
    pub l2: f64,
    /// What the penalty falls on.
    pub decay: Decay,
}

impl Problem<'_> {
    /// Number of parameters: `C x D` weights, then C biases.
    pub fn parameters(&self) -> usize {
        self.classes * (self.rows.features() + 1)
    }

    /// Where the search starts: zero weights and the bias start of the loss (METHODS section 2).
    pub fn start(&self) -> Vec<f32> {
        let mut theta = vec![0.0; self.parameters()];
        let bias_at = self.classes * self.rows.features();
        theta[bias_at..].fill(self.loss.bias_start(self.classes));
        theta
    }

    /// Sum of the row weights, the divisor of J.
    pub fn total_weight(&self) -> f64 {
        self.weights.iter().map(|&w| f64::from(w)).sum()
    }
}
