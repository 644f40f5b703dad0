//! Fits of a fold that are asked for more than once: by the table after the search for its path, and by treatments that
//! differ in how they are read alone.

use super::strength::Strength;
use super::treatment::Treatment;
use crate::linear::heads::Head;

/// Values kept at most, over all fits: 256 MiB. Beyond, a fit is made again.
const MOST_VALUES: usize = 1 << 26;

/// What is worth keeping of the fits of one fold: parameters, or logits of the rows held out.
#[derive(Debug, Default)]
pub(super) struct KeptFits {
    fits: Vec<(Treatment, Strength, Vec<f32>)>,
    values: usize,
}

impl KeptFits {
    /// What was kept of the fit of `treatment` at `strength`.
    pub(super) fn find(&self, treatment: &Treatment, strength: Strength) -> Option<&[f32]> {
        let fitted = as_fitted(treatment);
        let same = self.fits.iter().find(|(other, at, _)| *at == strength && *other == fitted);
        same.map(|(.., values)| values.as_slice())
    }

    /// Keeps `values` of the fit of `treatment` at `strength`, unless it is known or there is no room.
    pub(super) fn keep(&mut self, treatment: &Treatment, strength: Strength, values: &[f32]) {
        if self.values + values.len() <= MOST_VALUES && self.find(treatment, strength).is_none() {
            self.values += values.len();
            self.fits.push((as_fitted(treatment), strength, values.to_vec()));
        }
    }
}

/// `treatment` without what happens after its fit.
fn as_fitted(treatment: &Treatment) -> Treatment {
    Treatment { head: Head::Linear, is_adjusted: false, ..treatment.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Loss;
    use crate::model::Learner;
    use crate::weighting::Scheme;

    #[test]
    fn treatments_that_are_read_in_another_way_share_their_fits() {
        let mut kept = KeptFits::default();
        let plain = Treatment::plain(Loss::Softmax);
        kept.keep(&plain, Strength::L2(0.1), &[1.0, 2.0]);
        let found = |treatment: &Treatment, strength| kept.find(treatment, strength).map(<[f32]>::to_vec);
        assert_eq!(found(&Treatment::adjusted(Loss::Softmax), Strength::L2(0.1)), Some(vec![1.0, 2.0]));
        assert_eq!(found(&Treatment::adjusted(Loss::Softmax), Strength::L2(0.2)), None);
        let others = [
            Treatment::weighted(Loss::Softmax, Scheme::Inverse),
            Treatment::plain(Loss::Sigmoid),
            plain.by(Learner::Boost),
        ];
        assert!(others.iter().all(|other| found(other, Strength::L2(0.1)).is_none()));
    }
}
