//! What a candidate's probabilities say about the labels, row by row: a few bytes a row instead of C probabilities.

use crate::labels::ClassCounts;
use crate::metrics::{Metric, RowScore, Tallied, row_scores};
use crate::{Error, Result};

/// Predictions of one candidate and, where it gave probabilities, the losses of its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcomes {
    predicted: Vec<u32>,
    log_loss: Vec<f64>,
    brier: Vec<f64>,
}

impl Outcomes {
    /// Outcomes of `probabilities` (row-major, rows x `classes`) against `labels` (codes; those at or above `classes`
    /// are unseen: their losses are NaN).
    ///
    /// # Errors
    /// Those of [`evaluate`](crate::metrics::evaluate): [`Error::NoRows`], [`Error::LengthMismatch`],
    /// [`Error::BadProbabilities`].
    pub fn of(probabilities: &[f32], labels: &[u32], classes: usize) -> Result<Self> {
        let scores = row_scores(probabilities, labels, classes)?;
        let losses = |f: fn(&RowScore) -> f64| scores.iter().map(f).collect();
        Ok(Outcomes {
            predicted: scores.iter().map(|s| s.predicted).collect(),
            log_loss: losses(|s| s.log_loss),
            brier: losses(|s| s.brier),
        })
    }

    /// Outcomes of a head that decides without probabilities: all losses are NaN.
    pub fn of_predictions(predicted: Vec<u32>) -> Self {
        let unknown = vec![f64::NAN; predicted.len()];
        Outcomes { log_loss: unknown.clone(), brier: unknown, predicted }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.predicted.len()
    }

    /// Most probable class of each row, of equal ones the first.
    pub fn predicted(&self) -> &[u32] {
        &self.predicted
    }

    /// `-log p_y` of each row in nats.
    pub fn log_loss(&self) -> &[f64] {
        &self.log_loss
    }

    /// `sum_c (p_c - [c = y])^2` of each row.
    pub fn brier(&self) -> &[f64] {
        &self.brier
    }

    /// The row losses that `metric` is a mean of; `None` for a metric of predictions alone.
    pub(super) fn losses(&self, metric: Metric) -> Option<&[f64]> {
        match metric {
            Metric::LogLoss | Metric::BalancedLogLoss => Some(&self.log_loss),
            Metric::Brier => Some(&self.brier),
            _ => None,
        }
    }

    /// The value of `metric` on these rows; NaN where undefined. `train_counts` gives the classes and their bands.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a metric that needs all probabilities; [`Error::LengthMismatch`] for labels of another
    /// number of rows.
    pub fn value(&self, labels: &[u32], train_counts: &ClassCounts, metric: Metric) -> Result<f64> {
        self.check_rows(labels)?;
        let mut tallied = Tallied::new(train_counts.classes());
        let losses = self.losses(metric);
        for (row, (&label, &predicted)) in labels.iter().zip(&self.predicted).enumerate() {
            tallied.add(label, predicted, 1.0, losses.map_or(f64::NAN, |losses| losses[row]));
        }
        tallied.value(metric, &train_counts.rows).ok_or_else(|| needs_probabilities(metric))
    }

    pub(super) fn check_rows(&self, labels: &[u32]) -> Result<()> {
        if self.rows() == labels.len() {
            return Ok(());
        }
        Err(Error::LengthMismatch {
            left: "predictions".into(),
            left_rows: self.rows() as u64,
            right: "labels".into(),
            right_rows: labels.len() as u64,
        })
    }
}

/// The error for a metric that outcomes do not give.
pub(super) fn needs_probabilities(metric: Metric) -> Error {
    let works = |name: &&str| Metric::parse(name).is_ok_and(Metric::is_tallied);
    let names: Vec<&str> = Metric::names().filter(works).collect();
    let why = "needs the probabilities of all classes, and a comparison keeps predictions and losses only";
    Error::bad_value("metric", metric.name(), why, format!("metrics that work are {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::UNSEEN;
    use crate::metrics::evaluate;
    use crate::rng::CounterRng;

    fn problem(rows: usize, classes: usize) -> (Vec<f32>, Vec<u32>) {
        let mut rng = CounterRng::new(3, 0);
        let mut p = Vec::new();
        let mut labels = Vec::new();
        for _ in 0..rows {
            let raw: Vec<f64> = (0..classes).map(|_| rng.below(9) as f64 + 0.5).collect();
            let sum: f64 = raw.iter().sum();
            p.extend(raw.iter().map(|v| (v / sum) as f32));
            let label = rng.below(classes + 1);
            labels.push(if label == classes { UNSEEN } else { label as u32 });
        }
        (p, labels)
    }

    #[test]
    fn every_value_is_that_of_the_evaluation() {
        let (p, labels) = problem(700, 11);
        let counts = ClassCounts::from_rows((0..11).map(|c| 3 + c * 17).collect());
        let outcomes = Outcomes::of(&p, &labels, 11).unwrap();
        let whole = evaluate(&p, &labels, &counts, None).unwrap();
        let mut refused = Vec::new();
        for metric in Metric::names().map(|name| Metric::parse(name).unwrap()) {
            match outcomes.value(&labels, &counts, metric) {
                Ok(value) => assert!((value - metric.value(&whole)).abs() < 1e-12, "{metric}: {value}"),
                Err(error) => {
                    assert_eq!(error.code(), "E0208");
                    assert!(error.help().contains("macro_recall") && !error.help().contains(metric.name()));
                    refused.push(metric);
                }
            }
        }
        assert_eq!(refused, [Metric::Top5, Metric::Auprc, Metric::Ece, Metric::ClasswiseEce]);
    }

    #[test]
    fn predictions_alone_have_no_loss() {
        let labels = [0, 1, 1, UNSEEN];
        let outcomes = Outcomes::of_predictions(vec![0, 1, 0, 9]);
        let counts = ClassCounts::from_rows(vec![5, 5]);
        assert_eq!(outcomes.value(&labels, &counts, Metric::Top1).unwrap(), 0.5);
        assert_eq!(outcomes.value(&labels, &counts, Metric::MacroRecall).unwrap(), 0.75);
        assert!(outcomes.value(&labels, &counts, Metric::Brier).unwrap().is_nan());
        assert!(outcomes.value(&labels, &counts, Metric::Many).unwrap().is_nan());
        assert_eq!(outcomes.value(&labels[..2], &counts, Metric::Top1).unwrap_err().code(), "E0315");
    }
}
