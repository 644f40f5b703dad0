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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_adjustment_and_link_tilt_probabilities() {
        let plain = LogitLink::default();
        assert!(!is_tilted(&[2.0, 0.0, 2.0], 0.0, &plain), "a class without rows has no weight");
        assert!(!is_tilted(&[1.0, 1.01], 0.0, &plain));
        assert!(is_tilted(&[1.0, 1.02], 0.0, &plain));
        assert!(is_tilted(&[1.0, 1.0], -1.0, &plain));
        assert!(is_tilted(&[1.0, 1.0], 0.0, &LogitLink { margins: vec![0.0, 0.1], ..plain }));
    }

    #[test]
    fn the_correction_takes_all_that_the_loss_did_into_account() {
        let conditions = FitConditions {
            loss: Loss::Softmax,
            counts: ClassCounts::from_rows(vec![30, 10]),
            alpha: vec![0.5, 2.5],
            logit_adjust: 1.0,
            link: LogitLink { shift: vec![0.0, 2.0], ..LogitLink::default() },
        };
        let mut found = [0.0; 2];
        conditions.correction(&Prior::Natural).unwrap().posterior(&[1.0, -0.5], &mut found);
        // The loss saw z + shift + log pi; what it fits is proportional to alpha times the posterior.
        let raw = [(1.0f64).exp() * 0.75 / 0.5, (1.5f64).exp() * 0.25 / 2.5];
        let expected = raw[0] / (raw[0] + raw[1]);
        assert!(
            (found[0] - expected).abs() < 1e-12 && (found[1] - 1.0 + expected).abs() < 1e-12,
            "{found:?}"
        );
    }
}
