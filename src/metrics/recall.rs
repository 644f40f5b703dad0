//! Scores of hard predictions by class, and the means over classes built on them.

use super::Scored;
use super::rows::RowScore;

/// What predictions got right and wrong about one class, in sums of row weights.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct ClassTally {
    /// Rows of this class.
    pub rows: u64,
    /// Weight of the rows of this class.
    pub truth: f64,
    /// Sum of the squared weights of these rows.
    pub truth_squares: f64,
    /// Weight of the rows predicted as this class.
    pub predicted: f64,
    /// Weight of the rows that are both.
    pub hits: f64,
    /// Weighted sum of the log-loss of the rows of this class.
    pub log_loss: f64,
}

impl ClassTally {
    /// Adds a row of this class.
    pub fn add(&mut self, weight: f64, log_loss: f64, hit: bool) {
        self.rows += 1;
        self.truth += weight;
        self.truth_squares += weight * weight;
        self.log_loss += weight * log_loss;
        if hit {
            self.hits += weight;
        }
    }

    pub fn is_present(&self) -> bool {
        self.rows > 0
    }

    /// NaN for a class without rows.
    pub fn recall(&self) -> f64 {
        self.hits / self.truth
    }

    /// NaN for a class that was never predicted.
    pub fn precision(&self) -> f64 {
        self.hits / self.predicted
    }

    /// NaN for a class that neither occurs nor was predicted.
    pub fn f1(&self) -> f64 {
        2.0 * self.hits / (self.truth + self.predicted)
    }

    /// Rows of equal weight that would give the same variance (Kish); the number of rows where weights are equal.
    pub fn effective_rows(&self) -> f64 {
        self.truth * (self.truth / self.truth_squares)
    }
}

/// Tallies of all classes, and the weight of the rows whose label is unseen.
pub(super) fn tally(scored: &Scored<'_>, scores: &[RowScore]) -> (Vec<ClassTally>, f64) {
    let mut tallies = vec![ClassTally::default(); scored.classes];
    let mut unseen = 0.0;
    for (row, score) in scores.iter().enumerate() {
        let weight = scored.weight(row);
        tallies[score.predicted as usize].predicted += weight;
        match scored.label(row) {
            None => unseen += weight,
            Some(y) => tallies[y].add(weight, score.log_loss, score.predicted as usize == y),
        }
    }
    (tallies, unseen)
}

/// Mean of the numbers that are not NaN; NaN where there are none.
pub(super) fn mean_of_defined(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.filter(|v| !v.is_nan()).fold((0.0, 0u64), |(sum, n), v| (sum + v, n + 1));
    sum / n as f64
}

/// Standard error of the mean recall over the classes present, `sqrt(sum_c r_c (1 - r_c) / m_c) / C`.
pub(super) fn macro_recall_error(tallies: &[ClassTally]) -> f64 {
    let present = || tallies.iter().filter(|t| t.is_present());
    let variance: f64 = present().map(|t| t.recall() * (1.0 - t.recall()) / t.effective_rows()).sum();
    variance.sqrt() / present().count() as f64
}

/// The class of lowest recall among those present (of equal ones the first), with its recall.
pub(super) fn worst_class(tallies: &[ClassTally]) -> Option<(usize, f64)> {
    let recalls = tallies.iter().enumerate().filter(|(_, t)| t.is_present()).map(|(c, t)| (c, t.recall()));
    recalls.reduce(|worst, next| if next.1 < worst.1 { next } else { worst })
}

/// Mean recall of the lowest tenth of the classes present, rounded up to whole classes; NaN without classes.
pub(super) fn worst_decile(tallies: &[ClassTally]) -> f64 {
    let mut recalls: Vec<f64> = tallies.iter().filter(|t| t.is_present()).map(ClassTally::recall).collect();
    recalls.sort_by(f64::total_cmp);
    recalls.truncate(recalls.len().div_ceil(10));
    mean_of_defined(recalls.into_iter())
}

/// Geometric mean of the recalls of the classes present: 0 as soon as one class is never found.
pub(super) fn geometric_mean_recall(tallies: &[ClassTally]) -> f64 {
    let logs = tallies.iter().filter(|t| t.is_present()).map(|t| t.recall().ln());
    mean_of_defined(logs).exp()
}

/// Multiclass Matthews correlation (Gorodkin 2004); unseen labels are one more class that is never predicted.
/// 0 where all rows have one label or one prediction.
pub(super) fn matthews_correlation(tallies: &[ClassTally], unseen: f64) -> f64 {
    // Counted, because the differences below leave rounding errors of weights where they should leave 0.
    let labels = tallies.iter().filter(|t| t.is_present()).count() + usize::from(unseen > 0.0);
    let predictions = tallies.iter().filter(|t| t.predicted > 0.0).count();
    if labels < 2 || predictions < 2 {
        return 0.0;
    }
    let sum = |f: &dyn Fn(&ClassTally) -> f64| tallies.iter().map(f).sum::<f64>();
    let total = sum(&|t| t.truth) + unseen;
    let covariance = sum(&|t| t.hits) * total - sum(&|t| t.truth * t.predicted);
    let truth_variance = sum(&|t| t.truth * (total - t.truth)) + unseen * (total - unseen);
    let predicted_variance = sum(&|t| t.predicted * (total - t.predicted));
    covariance / (truth_variance.sqrt() * predicted_variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(rows: u64, predicted: f64, hits: f64) -> ClassTally {
        let truth = rows as f64;
        ClassTally { rows, truth, truth_squares: truth, predicted, hits, log_loss: 0.0 }
    }

    #[test]
    fn absent_classes_take_no_part() {
        let tallies = [class(4, 3.0, 3.0), class(0, 2.0, 0.0), class(2, 1.0, 1.0), class(0, 0.0, 0.0)];
        assert_eq!(mean_of_defined(tallies.iter().map(ClassTally::recall)), 0.625);
        // The class that was only predicted has F1 0; the one that is nowhere has none.
        let f1 = (2.0 * 3.0 / 7.0 + 0.0 + 2.0 / 3.0) / 3.0;
        assert!((mean_of_defined(tallies.iter().map(ClassTally::f1)) - f1).abs() < 1e-15);
        assert_eq!(worst_class(&tallies), Some((2, 0.5)));
        assert_eq!(worst_decile(&tallies), 0.5);
        assert!((geometric_mean_recall(&tallies) - 0.375f64.sqrt()).abs() < 1e-15);
        let error = (0.75 * 0.25 / 4.0 + 0.5 * 0.5 / 2.0f64).sqrt() / 2.0;
        assert!((macro_recall_error(&tallies) - error).abs() < 1e-15);
    }

    #[test]
    fn nothing_present_is_undefined_not_zero() {
        let tallies = [class(0, 1.0, 0.0)];
        assert!(worst_class(&tallies).is_none());
        for value in [worst_decile(&tallies), geometric_mean_recall(&tallies), macro_recall_error(&tallies)] {
            assert!(value.is_nan());
        }
    }

    #[test]
    fn a_class_never_found_brings_the_geometric_mean_to_zero() {
        assert_eq!(geometric_mean_recall(&[class(5, 5.0, 5.0), class(2, 0.0, 0.0)]), 0.0);
    }

    #[test]
    fn one_label_or_one_prediction_has_no_correlation() {
        assert_eq!(matthews_correlation(&[class(3, 2.0, 2.0), class(0, 1.0, 0.0)], 0.0), 0.0);
        assert_eq!(matthews_correlation(&[class(2, 3.0, 2.0), class(1, 0.0, 0.0)], 0.0), 0.0);
        assert!((matthews_correlation(&[class(2, 2.0, 2.0), class(1, 1.0, 1.0)], 0.0) - 1.0).abs() < 1e-15);
        // Weights that do not add up to the same float in two orders.
        let uneven = ClassTally { truth: 1.0 - 1e-14, ..class(3, 1.0, 0.5) };
        assert_eq!(matthews_correlation(&[uneven], 0.1), 0.0);
    }
}
