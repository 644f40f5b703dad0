//! Expected calibration error over bins of equal mass.

use super::Scored;
use super::rows::{self, RowScore};
use crate::Result;
use serde::Serialize;

/// Number of bins.
pub(super) const BINS: usize = 15;

/// Bins that each take a fifteenth of the row weight. Values arrive from the highest down, equal values together: a
/// group of equal values is never split, it goes whole to the bin of its middle, so that no order of rows shows.
pub(super) struct EqualMassBins {
    total: f64,
    taken: f64,
    /// Weighted sum of (outcome - probability) by bin.
    gaps: [f64; BINS],
    /// Weight by bin.
    mass: [f64; BINS],
    /// Weight of the outcomes that came true by bin.
    came_true: [f64; BINS],
}

/// Rows of one bin of probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Share of the row weight in it.
    pub mass: f64,
    /// Mean probability of the predicted class.
    pub confidence: f64,
    /// Share of the rows whose predicted class is right.
    pub accuracy: f64,
}

/// How often predictions come true against how often their probabilities say so (DeGroot & Fienberg 1983).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// The bins that hold rows, from the highest probability down: at most 15, of equal mass.
    pub bins: Vec<ReliabilityBin>,
    /// The calibration error over these bins: `ece` of an [`Evaluation`](super::Evaluation).
    pub ece: f64,
}

impl EqualMassBins {
    /// Bins for rows of this total weight.
    pub fn new(total: f64) -> Self {
        EqualMassBins { total, taken: 0.0, gaps: [0.0; BINS], mass: [0.0; BINS], came_true: [0.0; BINS] }
    }

    /// Adds rows of one probability: their weight and the weight of those whose outcome came true.
    pub fn add(&mut self, probability: f64, weight: f64, came_true: f64) {
        let middle = self.taken + 0.5 * weight;
        let bin = ((BINS as f64 * middle / self.total) as usize).min(BINS - 1);
        self.gaps[bin] += came_true - probability * weight;
        self.mass[bin] += weight;
        self.came_true[bin] += came_true;
        self.taken += weight;
    }

    /// `sum_b (mass_b / total) |share that came true - mean probability|`; NaN without rows.
    pub fn error(&self) -> f64 {
        self.gaps.iter().map(|gap| gap.abs()).sum::<f64>() / self.total
    }
}

/// Reliability of the most probable class over the rows with a known label; arguments and errors as those of
/// [`evaluate`](super::evaluate), `classes` is C.
pub fn reliability(
    probabilities: &[f32],
    labels: &[u32],
    row_weights: Option<&[f64]>,
    classes: usize,
) -> Result<Reliability> {
    let scored = Scored::new(probabilities, labels, row_weights, classes)?;
    let (scores, _) = rows::score_rows(&scored);
    let found = top_label_bins(&scored, &scores, &|_| true);
    let bins = (0..BINS).filter(|&bin| found.mass[bin] > 0.0).map(|bin| {
        let (mass, came_true) = (found.mass[bin], found.came_true[bin]);
        ReliabilityBin {
            mass: mass / found.total,
            // The gap is what came true less the sum of the probabilities.
            confidence: (came_true - found.gaps[bin]) / mass,
            accuracy: came_true / mass,
        }
    });
    Ok(Reliability { bins: bins.collect(), ece: found.error() })
}

/// ECE of the most probable class (Guo et al. 2017, with equal-mass bins) over the rows with a known label whose most
/// probable class `takes_part`; NaN where there are none. To choose rows by that class leaves probabilities that hold
/// their error of 0; to choose them by the true class would not.
pub(super) fn top_label_error(
    scored: &Scored<'_>,
    scores: &[RowScore],
    takes_part: &dyn Fn(usize) -> bool,
) -> f64 {
    top_label_bins(scored, scores, takes_part).error()
}

fn top_label_bins(
    scored: &Scored<'_>,
    scores: &[RowScore],
    takes_part: &dyn Fn(usize) -> bool,
) -> EqualMassBins {
    let chosen = scores.iter().enumerate().filter(|(_, score)| takes_part(score.top as usize));
    let known = chosen.filter_map(|(row, score)| {
        let right = scored.label(row)? == score.top as usize;
        Some((score.confidence, right, scored.weight(row)))
    });
    bins_of(known.collect())
}

/// ECE of rows with a confidence, whether the prediction was right, and a weight.
pub(crate) fn calibration_error(rows: Vec<(f64, bool, f64)>) -> f64 {
    bins_of(rows).error()
}

fn bins_of(mut rows: Vec<(f64, bool, f64)>) -> EqualMassBins {
    rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.total_cmp(&a.2)));
    let mut bins = EqualMassBins::new(rows.iter().map(|row| row.2).sum());
    for equal in rows.chunk_by(|a, b| a.0 == b.0) {
        let weight = equal.iter().map(|row| row.2).sum();
        let came_true = equal.iter().filter(|row| row.1).map(|row| row.2).sum();
        bins.add(equal[0].0, weight, came_true);
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{ClassCounts, UNSEEN};

    #[test]
    fn the_bins_of_a_diagram_make_up_the_error_of_the_evaluation() {
        let (mut p, mut labels) = (Vec::new(), Vec::new());
        for row in 0..200u32 {
            let high = 0.5 + (row * 37 % 200) as f32 / 400.0;
            p.extend([high, 1.0 - high]);
            labels.push(if row == 9 { UNSEEN } else { u32::from(row % 3 == 0) });
        }
        let found = reliability(&p, &labels, None, 2).unwrap();
        let counts = ClassCounts::from_rows(vec![100, 100]);
        let expected = super::super::evaluate_quick(&p, &labels, &counts, None).unwrap().ece;
        assert_eq!(found.ece.to_bits(), expected.to_bits());
        assert_eq!(found.bins.len(), BINS);
        let sum = |f: &dyn Fn(&ReliabilityBin) -> f64| found.bins.iter().map(f).sum::<f64>();
        assert!((sum(&|bin| bin.mass) - 1.0).abs() < 1e-12);
        assert!((sum(&|bin| bin.mass * (bin.accuracy - bin.confidence).abs()) - expected).abs() < 1e-12);
        assert!(found.bins.windows(2).all(|pair| pair[0].confidence > pair[1].confidence));
        // 199 known rows, of which 66 multiples of three are of class 1.
        assert!((sum(&|bin| bin.mass * bin.accuracy) - 133.0 / 199.0).abs() < 1e-12);
    }

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

    #[test]
    fn rows_fall_into_bins_by_their_own_middle() {
        // Middles 0.5, 7.5 and 14.5 of 15: the first, the eighth and the last bin.
        let mut bins = EqualMassBins::new(15.0);
        bins.add(1.0, 1.0, 1.0);
        bins.add(0.5, 13.0, 13.0);
        bins.add(0.1, 1.0, 0.0);
        let taken: Vec<usize> = (0..BINS).filter(|&bin| bins.mass[bin] > 0.0).collect();
        assert_eq!(taken, [0, 7, 14]);
        assert!((bins.gaps[7] - 6.5).abs() < 1e-12);
        let error = calibration_error(vec![(0.9, true, 1.0), (0.3, false, 3.0)]);
        assert!((error - (0.1 + 0.9) / 4.0).abs() < 1e-12, "{error}");
    }
}
