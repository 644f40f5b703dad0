//! A linear model with all that its probabilities depend on.

use super::model::LinearModel;
use super::rows::Rows;
use crate::Result;
use crate::labels::ClassCounts;
use crate::simd::Kernels;
use crate::weighting::LogitLink;
use crate::weighting::prior::{Prior, PriorCorrection, training_shares};

/// A model, and how its logits hang together with the posterior.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// The linear functions and the loss that they are the logits of.
    pub model: LinearModel,
    /// Rows of each class fitted on.
    pub counts: ClassCounts,
    /// What each class weighed in the fit, relative to its rows.
    pub alpha: Vec<f64>,
    /// tau of the logit adjustment inside the loss.
    pub logit_adjust: f64,
    /// What else the loss saw in place of the logits.
    pub link: LogitLink,
}

impl Classifier {
    /// The way from logits to probabilities under `prior`.
    ///
    /// # Errors
    /// Those of [`PriorCorrection::new`].
    pub fn correction(&self, prior: &Prior) -> Result<PriorCorrection> {
        let shares = training_shares(&self.counts);
        let loss = self.model.loss;
        Ok(PriorCorrection::new(loss, &self.alpha, &shares, self.logit_adjust, prior)?
            .through(&self.link, prior))
    }

    /// Probabilities of `rows` under `prior`: `rows.len() x C`, row-major.
    ///
    /// # Errors
    /// Those of [`Classifier::correction`].
    pub fn probabilities(
        &self,
        rows: Rows<'_>,
        prior: &Prior,
        kernels: &'static Kernels,
    ) -> Result<Vec<f32>> {
        let mut values = self.model.logits_of(rows, kernels);
        self.correction(prior)?.posteriors_in_place(&mut values);
        Ok(values)
    }
}

/// Whether probabilities as trained are others than under the natural prior, with class weights `alpha`, tau of the logit
/// adjustment and what else the loss did to the logits.
pub fn is_tilted(alpha: &[f64], logit_adjust: f64, link: &LogitLink) -> bool {
    /// Weights within this ratio count as equal.
    const EQUAL_RATIO: f64 = 1.01;
    let present = || alpha.iter().copied().filter(|&alpha| alpha > 0.0);
    let (most, least) = (present().fold(0.0, f64::max), present().fold(f64::INFINITY, f64::min));
    most > EQUAL_RATIO * least || logit_adjust != 0.0 || !link.is_identity()
}
