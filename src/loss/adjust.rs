//! What a loss does to the logits by class: offsets, factors and margins.

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

/// `Delta_c = (n_c / n_max)^gamma` for every class, the factors of its logit in vector scaling (Kini et al. 2021), from
/// the (weighted) rows. The loss of `Delta_c z_c + iota_c` in `w_c` is that of `z'_c + iota_c` in `w'_c = Delta_c w_c`
/// under a penalty of `l2 / Delta_c^2`, so it is fitted as the latter. An empty class counts as half the smallest.
pub fn vector_scaling(counts: &ClassCounts, gamma: f64) -> Vec<f64> {
    let Some((smallest, largest)) = counts.extremes() else {
        return vec![1.0; counts.classes()];
    };
    let rows = |&n: &f64| if n > 0.0 { n } else { smallest / 2.0 };
    counts.weighted.iter().map(|n| (rows(n) / largest).powf(gamma)).collect()
}

/// Margins `m_c` proportional to `n_c^(-1/4)` with `largest` for the smallest class (LDAM, Cao et al. 2019), taken from
/// the logit of the true class inside the loss.
///
/// A margin is in units of logits. The paper states it for cosines, .5 at most, which it multiplies by a scale of 30
/// together with the logits: 15 logits. A linear head has no fixed length, its l2 decides how large logits get, so that a
/// margin acts relative to the logits that its l2 allows: where they are separable and l2 goes to 0, the lengths of the
/// weights outgrow any margin, and where l2 is strong one of 15 drowns everything else. About a logit is a start.
pub fn ldam_margins(counts: &ClassCounts, largest: f64) -> Vec<f64> {
    let smallest = counts.extremes().map_or(1.0, |(smallest, _)| smallest);
    let margin = |&n: &f64| largest * (smallest / n.max(smallest)).powf(0.25);
    counts.weighted.iter().map(margin).collect()
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
    #[test]
    fn factors_and_margins_follow_the_counts() {
        let counts = ClassCounts::from_rows(vec![160, 10, 0]);
        assert_eq!(vector_scaling(&counts, 0.5), [1.0, 0.25, (5.0f64 / 160.0).sqrt()]);
        assert_eq!(vector_scaling(&counts, 0.0), [1.0; 3]);
        assert_eq!(ldam_margins(&counts, 0.8), [0.4, 0.8, 0.8]);
    }
}
