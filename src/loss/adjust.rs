//! Offsets added to the logits inside a loss.

use crate::labels::ClassCounts;

/// `tau * log pi_c` for every class, `pi_c` its share of the (weighted) rows: the offsets of logit-adjusted training
/// (Menon et al. 2021; Ren et al. 2020), or, subtracted, of post-hoc adjustment.
///
/// An empty class counts as half the smallest class that has rows: minus infinity would stop every loss in
/// training, and make the empty class win every row when subtracted. Without any rows all offsets are 0.
pub fn logit_adjustment(counts: &ClassCounts, tau: f64) -> Vec<f32> {
    let total: f64 = counts.weighted.iter().sum();
    let Some((smallest, _)) = counts.extremes() else {
        return vec![0.0; counts.classes()];
    };
    let share = |&n: &f64| if n > 0.0 { n / total } else { smallest / 2.0 / total };
    counts.weighted.iter().map(|n| (tau * share(n).ln()) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_logs_of_shares() {
        let offsets = logit_adjustment(&ClassCounts::from_rows(vec![6, 2]), 2.0);
        assert_eq!(offsets, [(2.0 * 0.75f64.ln()) as f32, (2.0 * 0.25f64.ln()) as f32]);
    }

    #[test]
    fn an_empty_class_gets_half_the_smallest_share() {
        let offsets = logit_adjustment(&ClassCounts::from_rows(vec![6, 0, 2]), 1.0);
        assert_eq!(offsets[1], 0.125f64.ln() as f32);
        assert_eq!(logit_adjustment(&ClassCounts::from_rows(vec![0, 0]), 1.0), [0.0, 0.0]);
    }
}
