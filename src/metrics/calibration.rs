//! Expected calibration error over bins of equal mass.

use super::Scored;
use super::rows::RowScore;

/// Number of bins.
pub(super) const BINS: usize = 15;

/// Bins that each take a fifteenth of the row weight. Values arrive from the highest down, equal values together: a
/// group of equal values is never split, it goes whole to the bin of its middle, so that no order of rows shows.
pub(super) struct EqualMassBins {
    total: f64,
    taken: f64,
    /// Weighted sum of (outcome - probability) by bin.
    gaps: [f64; BINS],
}

impl EqualMassBins {
    /// Bins for rows of this total weight.
    pub fn new(total: f64) -> Self {
        EqualMassBins { total, taken: 0.0, gaps: [0.0; BINS] }
    }

    /// Adds rows of one probability: their weight and the weight of those whose outcome came true.
    pub fn add(&mut self, probability: f64, weight: f64, came_true: f64) {
        let middle = self.taken + 0.5 * weight;
        let bin = (BINS as f64 * middle / self.total) as usize;
        self.gaps[bin.min(BINS - 1)] += came_true - probability * weight;
        self.taken += weight;
    }

    /// `sum_b (mass_b / total) |share that came true - mean probability|`; NaN without rows.
    pub fn error(&self) -> f64 {
        self.gaps.iter().map(|gap| gap.abs()).sum::<f64>() / self.total
    }
}

/// ECE of the most probable class (Guo et al. 2017, with equal-mass bins) over the rows with a known label whose most
/// probable class `takes_part`; NaN where there are none. To choose rows by that class leaves probabilities that hold
/// their error of 0; to choose them by the true class would not.
pub(super) fn top_label_error(
    scored: &Scored<'_>,
    scores: &[RowScore],
    takes_part: &dyn Fn(usize) -> bool,
) -> f64 {
    let mut known: Vec<(f64, bool, f64)> = scores
        .iter()
        .enumerate()
        .filter(|(_, score)| takes_part(score.top as usize))
        .filter_map(|(row, score)| {
            let right = scored.label(row)? == score.top as usize;
            Some((score.confidence, right, scored.weight(row)))
        })
        .collect();
    known.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.total_cmp(&a.2)));
    let mut bins = EqualMassBins::new(known.iter().map(|row| row.2).sum());
    for equal in known.chunk_by(|a, b| a.0 == b.0) {
        let weight = equal.iter().map(|row| row.2).sum();
        let came_true = equal.iter().filter(|row| row.1).map(|row| row.2).sum();
        bins.add(equal[0].0, weight, came_true);
    }
    bins.error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_that_come_true_as_often_as_they_say_have_no_error() {
        let mut bins = EqualMassBins::new(8.0);
        bins.add(0.75, 4.0, 3.0);
        bins.add(0.25, 4.0, 1.0);
        assert_eq!(bins.error(), 0.0);
    }

    #[test]
    fn gaps_of_opposite_sign_cancel_inside_a_bin_only() {
        // Sixteen groups of equal weight: the middles of the eighth and ninth are 7.03 and 7.97 of 15.
        let mut bins = EqualMassBins::new(16.0);
        for group in 0..16 {
            let came_true = if group == 8 { 0.0 } else { 1.0 };
            let probability = if group == 7 || group == 8 { 0.5 } else { 1.0 };
            bins.add(probability, 1.0, came_true);
        }
        assert_eq!(bins.error(), 0.0);
        let mut bins = EqualMassBins::new(2.0);
        bins.add(0.5, 1.0, 1.0);
        bins.add(0.4, 1.0, 0.0);
        assert!((bins.error() - 0.45).abs() < 1e-15);
    }
}
