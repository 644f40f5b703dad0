//! Fits of a fold that are asked for more than once: by the table after the search for its grid, and by treatments that
//! differ in how they are read alone.

use super::treatment::Treatment;
use crate::linear::heads::Head;

/// Parameters kept at most, over all fits: 256 MiB. Beyond, a fit is made again.
const MOST_VALUES: usize = 1 << 26;

/// Parameters of the fits of one fold.
#[derive(Debug, Default)]
pub(super) struct KeptFits {
    fits: Vec<(Treatment, f64, Vec<f32>)>,
    values: usize,
}

impl KeptFits {
    /// Forgets all of them: on other rows they are others.
    pub(super) fn clear(&mut self) {
        *self = KeptFits::default();
    }

    /// The parameters that `treatment` was fitted to at `l2`.
    pub(super) fn find(&self, treatment: &Treatment, l2: f64) -> Option<&[f32]> {
        let fitted = as_fitted(treatment);
        let same = self.fits.iter().find(|(other, at, _)| *at == l2 && *other == fitted);
        same.map(|(.., theta)| theta.as_slice())
    }

    /// Keeps the parameters that `treatment` was fitted to at `l2`.
    pub(super) fn keep(&mut self, treatment: &Treatment, l2: f64, theta: &[f32]) {
        if self.values + theta.len() <= MOST_VALUES {
            self.values += theta.len();
            self.fits.push((as_fitted(treatment), l2, theta.to_vec()));
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
    use crate::weighting::Scheme;

    #[test]
    fn treatments_that_are_read_in_another_way_share_their_fits() {
        let mut kept = KeptFits::default();
        kept.keep(&Treatment::plain(Loss::Softmax), 0.1, &[1.0, 2.0]);
        assert_eq!(kept.find(&Treatment::adjusted(Loss::Softmax), 0.1), Some(&[1.0, 2.0][..]));
        assert_eq!(kept.find(&Treatment::adjusted(Loss::Softmax), 0.2), None);
        assert_eq!(kept.find(&Treatment::weighted(Loss::Softmax, Scheme::Inverse), 0.1), None);
        assert_eq!(kept.find(&Treatment::plain(Loss::Sigmoid), 0.1), None);
        kept.clear();
        assert_eq!(kept.find(&Treatment::plain(Loss::Softmax), 0.1), None);
    }
}
