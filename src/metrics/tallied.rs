//! Metrics of rows that are added one by one, each known by its label, its prediction and one loss: no probabilities
//! are kept, so a resampling can score a data set thousands of times.

use super::Metric;
use super::bands::{bands, place_of};
use super::recall::{self, ClassTally, mean_of_defined};

/// Sums over rows from which a metric follows.
#[derive(Debug, Clone)]
pub(crate) struct Tallied {
    classes: Vec<ClassTally>,
    /// Weight of the rows whose label is no class.
    unseen: f64,
}

impl Tallied {
    /// No rows of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Tallied { classes: vec![ClassTally::default(); classes], unseen: 0.0 }
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.classes.fill(ClassTally::default());
        self.unseen = 0.0;
    }

    /// Adds a row. `loss` is the log-loss or the Brier score, whichever the metric is the mean of. Predictions that are
    /// no class are wrong.
    pub fn add(&mut self, label: u32, predicted: u32, weight: f64, loss: f64) {
        if let Some(class) = self.classes.get_mut(predicted as usize) {
            class.predicted += weight;
        }
        match self.classes.get_mut(label as usize) {
            Some(class) => class.add(weight, loss, label == predicted),
            None => self.unseen += weight,
        }
    }

    /// Standard error of macro recall.
    pub fn macro_recall_error(&self) -> f64 {
        recall::macro_recall_error(&self.classes)
    }

    /// The value of `metric` with the bands cut by the training rows of each class; NaN where undefined, `None` for a
    /// metric that needs more than labels, predictions and a loss.
    pub fn value(&self, metric: Metric, train_rows: &[u64]) -> Option<f64> {
        let classes = &self.classes;
        let sum = |f: fn(&ClassTally) -> f64| classes.iter().map(f).sum::<f64>();
        let known = || sum(|t| t.truth);
        let band = |place: usize| {
            bands(classes, train_rows, known() + self.unseen, &|_| f64::NAN)
                .get(place)
                .map_or(f64::NAN, |band| band.recall)
        };
        Some(match metric {
            Metric::Top1 => sum(|t| t.hits) / (known() + self.unseen),
            Metric::MacroRecall => mean_of_defined(classes.iter().map(ClassTally::recall)),
            Metric::MacroF1 => mean_of_defined(classes.iter().map(ClassTally::f1)),
            Metric::WorstClass => recall::worst_class(classes).map_or(f64::NAN, |(_, recall)| recall),
            Metric::WorstDecile => recall::worst_decile(classes),
            Metric::GMean => recall::geometric_mean_recall(classes),
            Metric::Mcc => recall::matthews_correlation(classes, self.unseen),
            Metric::Many => band(0),
            Metric::Medium => band(1),
            Metric::Few => band(2),
            Metric::LogLoss | Metric::Brier => sum(|t| t.log_loss) / known(),
            Metric::BalancedLogLoss => mean_of_defined(classes.iter().map(|t| t.log_loss / t.truth)),
            Metric::Top5 | Metric::Auprc | Metric::Ece | Metric::ClasswiseEce => return None,
        })
    }
}

impl Metric {
    /// Whether labels, predictions and one loss a row give its value.
    pub(crate) fn is_tallied(self) -> bool {
        Tallied::new(0).value(self, &[]).is_some()
    }

    /// How much the score of one class of `rows` scored and `train_rows` training rows counts in this metric, up to a
    /// common factor. Exact for means over rows or classes; for the metrics built on recalls in another way, the
    /// weight that a mean over classes (F1, worst classes, geometric mean) or over rows (MCC) gives.
    pub(crate) fn class_share(self, rows: usize, train_rows: u64) -> f64 {
        let in_band = |place| if place_of(train_rows) == place { 1.0 } else { 0.0 };
        match self {
            Metric::Top1 | Metric::Mcc | Metric::LogLoss | Metric::Brier => rows as f64,
            Metric::Many => in_band(0),
            Metric::Medium => in_band(1),
            Metric::Few => in_band(2),
            _ => 1.0,
        }
    }
}
