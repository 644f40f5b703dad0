//! The last step of every prediction: from logits to probabilities under a prior, and to labels by probability, by offsets or
//! by costs.

use rayon::prelude::*;

use super::costs::CostMatrix;
use super::offsets::{Offsets, decide};
use super::{Calibration, Posterior};
use crate::Result;
use crate::weighting::prior::{Prior, rows_of_task};

/// The prior that a model predicts under where none is asked for: natural where it is calibrated, for that is what the
/// calibration was fitted to, else as trained.
pub fn own_prior(calibration: Option<&Calibration>) -> Prior {
    if calibration.is_some() { Prior::Natural } else { Prior::AsTrained }
}

/// How labels are decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Decisions {
    /// The most probable class under the prior of the probabilities.
    MostProbable,
    /// By offsets of the calibrated natural posterior, whatever the prior of the probabilities: they were fitted there.
    Offsets {
        /// The way from logits to it.
        natural: Box<Posterior>,
        /// One a class.
        offset: Vec<f64>,
    },
    /// The class of least expected cost under the prior of the probabilities.
    Costs(CostMatrix),
}

impl Decisions {
    /// By the offsets of a model where it has some, else by probability. `posterior` is its way from logits to
    /// probabilities under a prior.
    ///
    /// # Errors
    /// Those of `posterior`.
    pub fn of_model(
        offsets: Option<&Offsets>,
        posterior: impl FnOnce(&Prior) -> Result<Posterior>,
    ) -> Result<Self> {
        let Some(offsets) = offsets else { return Ok(Decisions::MostProbable) };
        let natural = Box::new(posterior(&Prior::Natural)?);
        Ok(Decisions::Offsets { natural, offset: offsets.offset.clone() })
    }

    /// Replaces `logits` (rows x C) by the probabilities of `posterior` and returns the class decided for in each row.
    pub fn of(&self, posterior: &Posterior, logits: &mut [f32]) -> Vec<u32> {
        let by_offsets = match self {
            Decisions::Offsets { natural, offset } => Some(decide(&natural.log_posteriors(logits), offset)),
            _ => None,
        };
        posterior.posteriors_in_place(logits);
        match (by_offsets, self) {
            (Some(decided), _) => decided,
            (None, Decisions::Costs(costs)) => costs.decide(logits),
            (None, _) => most_probable(logits, posterior.classes()),
        }
    }
}

/// The most probable class of each row of `probabilities` (rows x C), the first among equals.
pub fn most_probable(probabilities: &[f32], classes: usize) -> Vec<u32> {
    let best = |row: &[f32]| (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best });
    let rows = probabilities.par_chunks_exact(classes.max(1)).with_min_len(rows_of_task(classes));
    rows.map(|row| best(row) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::super::offsets::OffsetMetric;
    use super::*;
    use crate::labels::ClassCounts;
    use crate::loss::Loss;
    use crate::weighting::{FitConditions, LogitLink};

    fn posterior(prior: &Prior) -> Result<Posterior> {
        let conditions = FitConditions {
            loss: Loss::Softmax,
            counts: ClassCounts::from_rows(vec![9, 1]),
            alpha: vec![1.0; 2],
            logit_adjust: 0.0,
            link: LogitLink::default(),
        };
        Posterior::new(&conditions, prior, None)
    }

    #[test]
    fn offsets_decide_the_same_under_every_prior() {
        let offset = vec![0.0, 1.0];
        let offsets = Offsets { metric: OffsetMetric::MacroRecall, tau: 0.0, offset };
        let by_offsets = Decisions::of_model(Some(&offsets), posterior).unwrap();
        let by_probability = Decisions::of_model(None, posterior).unwrap();
        assert_eq!(by_probability, Decisions::MostProbable);
        let logits = [2.0f32, 0.5, 1.0, 0.5, 0.0, 0.5];
        let decided = |decisions: &Decisions, prior: &Prior| {
            let mut values = logits.to_vec();
            let decided = decisions.of(&posterior(prior).unwrap(), &mut values);
            assert!(values.chunks(2).all(|row| (row[0] + row[1] - 1.0).abs() < 1e-6));
            decided
        };
        assert_eq!(decided(&by_probability, &Prior::Natural), [0, 0, 1]);
        assert_eq!(decided(&by_probability, &Prior::Uniform), [1, 1, 1]);
        for prior in [Prior::AsTrained, Prior::Natural, Prior::Uniform] {
            assert_eq!(decided(&by_offsets, &prior), [0, 1, 1]);
        }
    }

    #[test]
    fn the_first_among_equals_is_taken() {
        assert_eq!(most_probable(&[0.5, 0.5, 0.2, 0.8], 2), [0, 1]);
        assert!(most_probable(&[], 0).is_empty());
    }
}
