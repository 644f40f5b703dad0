//! What the probabilities of a fit depend on besides its logits.

use serde::{Deserialize, Serialize};

use super::link::LogitLink;
use super::prior::{Prior, PriorCorrection, training_shares};
use crate::Result;
use crate::labels::ClassCounts;
use crate::loss::Loss;

/// How the logits of a fit hang together with the posterior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitConditions {
    /// The loss that they minimise.
    pub loss: Loss,
    /// Rows of each class fitted on.
    pub counts: ClassCounts,
    /// What each class weighed in the fit, relative to its rows.
    pub alpha: Vec<f64>,
    /// tau of the logit adjustment inside the loss.
    pub logit_adjust: f64,
    /// What else the loss saw in place of the logits.
    pub link: LogitLink,
}

impl FitConditions {
    /// The way from logits to probabilities under `prior`.
    ///
    /// # Errors
    /// Those of [`PriorCorrection::new`].
    pub fn correction(&self, prior: &Prior) -> Result<PriorCorrection> {
        let shares = training_shares(&self.counts);
        Ok(PriorCorrection::new(self.loss, &self.alpha, &shares, self.logit_adjust, prior)?
            .through(&self.link, prior))
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
