//! What a boosted fit minimises, and whether that makes sense.

use super::binned::BinnedMatrix;
use super::binning::Binner;
use super::model::logit_of_score;
use crate::error::same_length;
use crate::loss::Loss;
use crate::{Error, Result};

/// What a boosted fit minimises: `sum_i w_i loss(F(x_i) + offsets, y_i)` over sums F of trees.
#[derive(Debug, Clone, Copy)]
pub struct BoostProblem<'a> {
    /// Bins of N rows.
    pub features: &'a BinnedMatrix,
    /// Where these bins come from.
    pub binner: &'a Binner,
    /// Class code of each row, below `classes`.
    pub labels: &'a [u32],
    /// `w_i`: row weight times class weight, finite, not negative, at least one positive; their scale is of no effect.
    pub weights: &'a [f32],
    /// Number of classes K.
    pub classes: usize,
    /// Pointwise loss.
    pub loss: Loss,
    /// Added to the logits inside the loss only (logit adjustment), one value a class.
    pub offsets: Option<&'a [f32]>,
    /// Logits to start from instead of base scores, `N x K`: those of another model that this one is to improve on.
    pub start: Option<&'a [f32]>,
}

impl BoostProblem<'_> {
    /// Refuses parts that do not fit each other.
    pub(super) fn check(&self) -> Result<()> {
        let rows = self.features.rows();
        if self.labels.is_empty() {
            return Err(Error::NoRows { file: "the training data".into(), why: String::new() });
        }
        same_length("the features", rows, "the labels", self.labels.len())?;
        same_length("the features", rows, "the weights", self.weights.len())?;
        if let Some(start) = self.start {
            same_length("the logits", rows * self.classes, "the logits to start from", start.len())?;
        }
        if let Some(offsets) = self.offsets {
            same_length("the classes", self.classes, "the offsets", offsets.len())?;
        }
        let unseen = self.labels.iter().filter(|&&label| label as usize >= self.classes);
        let example = unseen.clone().next().map(|label| format!("code {label}"));
        match example {
            Some(example) => Err(Error::UnseenLabels {
                file: "the training data".into(),
                rows: unseen.count() as u64,
                classes: vec![example],
            }),
            None => Ok(()),
        }
    }

    /// The weights divided by their mean.
    pub(super) fn weights_of_mean_one(&self) -> Result<Vec<f32>> {
        let weights = self.weights;
        let bad = |place: String, detail: &str| Error::BadWeight { place, detail: detail.into() };
        if let Some(row) = weights.iter().position(|&w| !(w >= 0.0 && w.is_finite())) {
            return Err(bad(format!("row {}", row + 1), "a weight has to be finite and not negative"));
        }
        let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / weights.len() as f64;
        if mean == 0.0 {
            return Err(bad("the training data".into(), "all weights are 0"));
        }
        Ok(weights.iter().map(|&w| (f64::from(w) / mean) as f32).collect())
    }

    /// Offsets of the scores, one an output, where there are offsets.
    pub(super) fn score_offsets(&self) -> Option<Vec<f32>> {
        self.offsets.map(|offsets| match self.classes {
            2 => vec![offsets[1] - offsets[0]],
            _ => offsets.to_vec(),
        })
    }

    /// Scores, one an output, of `N x K` logits.
    pub(super) fn scores_of(&self, logits: &[f32]) -> Vec<f32> {
        match self.classes {
            2 => {
                let factor = logit_of_score(&self.loss);
                logits.chunks_exact(2).map(|z| (z[1] - z[0]) / (2.0 * factor)).collect()
            }
            _ => logits.to_vec(),
        }
    }
}
