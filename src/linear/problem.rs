//! What a linear fit minimises: the objective J of weighted rows.

use serde::{Deserialize, Serialize};

use super::rows::Rows;
use crate::loss::Loss;
use crate::simd::{Kernels, Layout, RowBlock};

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
/// Inside the loss a margin may be taken from the logit of `y_i`, and the penalty may weigh classes differently. Dividing by the total weight keeps the meaning of `l2` under every weighting scheme and normalisation.
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
    /// Taken from the logit of the true class inside the loss only (LDAM), one value of at least 0 a class.
    pub margins: Option<&'a [f32]>,
    /// Strength of the penalty.
    pub l2: f64,
    /// Factor of l2 for the parameters of each class, positive; `None`: all 1.
    pub l2_factors: Option<&'a [f64]>,
    /// What the penalty falls on.
    pub decay: Decay,
}

impl<'a> Problem<'a> {
    /// With a penalty on the weights alone, the same for every class, and nothing added to logits.
    pub fn new(
        rows: Rows<'a>,
        labels: &'a [u32],
        weights: &'a [f32],
        classes: usize,
        loss: Loss,
        l2: f64,
    ) -> Self {
        let decay = Decay::Weights;
        let (offsets, margins, l2_factors) = (None, None, None);
        Problem { rows, labels, weights, classes, loss, offsets, margins, l2, l2_factors, decay }
    }

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

    /// l2 relative to its strength, for the parameters of a class.
    pub fn l2_factor(&self, class: usize) -> f64 {
        self.l2_factors.map_or(1.0, |factors| factors[class])
    }

    /// Sum of `weight * loss` of some rows with `labels` and `weights`; their logits `z` (rows x C, offsets included)
    /// become the residuals `weight * dloss/dz`.
    pub fn residuals(&self, kernels: &Kernels, z: &mut [f32], labels: &[u32], weights: &[f32]) -> f64 {
        let classes = self.classes;
        if let Some(margins) = self.margins {
            for (z, &label) in z.chunks_exact_mut(classes).zip(labels) {
                z[label as usize] -= margins[label as usize];
            }
        }
        let layout = Layout::Rows { stride: classes };
        self.loss.residuals(kernels, RowBlock { z, layout, classes, labels, weights })
    }

    /// Sum of the row weights, the divisor of J.
    pub fn total_weight(&self) -> f64 {
        self.weights.iter().map(|&w| f64::from(w)).sum()
    }
}
