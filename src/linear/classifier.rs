//! A linear model with all that its probabilities depend on.

use super::model::LinearModel;
use super::rows::Rows;
use crate::Result;
use crate::simd::Kernels;
use crate::weighting::FitConditions;
use crate::weighting::prior::Prior;

/// A model, and how its logits hang together with the posterior.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// The linear functions.
    pub model: LinearModel,
    /// What they were fitted under.
    pub conditions: FitConditions,
}

impl Classifier {
    /// Probabilities of `rows` under `prior`: `rows.len() x C`, row-major.
    ///
    /// # Errors
    /// Those of [`FitConditions::correction`].
    pub fn probabilities(
        &self,
        rows: Rows<'_>,
        prior: &Prior,
        kernels: &'static Kernels,
    ) -> Result<Vec<f32>> {
        let mut values = self.model.logits_of(rows, kernels);
        self.conditions.correction(prior)?.posteriors_in_place(&mut values);
        Ok(values)
    }
}
