//! What a comparison reports: one object, the source of the printed table, of `--json` and of the HTML report.

use serde::{Deserialize, Serialize};

use super::train::BriefScores;

/// A comparison of candidates on the same folds. `schema` names the layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompareReport {
    /// `cbfit.compare/1`.
    pub schema: String,
    /// Version of cbfit.
    pub cbfit: String,
    /// Name of the data.
    pub source: String,
    /// Rows compared on.
    pub rows: u64,
    /// Names of the C classes.
    pub class_names: Vec<String>,
    /// Rows of each class.
    pub class_rows: Vec<u64>,
    /// Classes of one row: always trained on, never scored.
    pub unscored_classes: usize,
    /// Folds of each repeat.
    pub folds: usize,
    /// Repeats of the folds with other draws.
    pub repeats: usize,
    /// Name of the metric that decides.
    pub metric: String,
    /// Whether larger values of it are better.
    pub higher_is_better: bool,
    /// What was compared, in the order of the table. The first is the baseline.
    pub candidates: Vec<CandidateReport>,
    /// The finding.
    pub verdict: Verdict,
    /// What the data make doubtful, a sentence with its number each.
    pub warnings: Vec<String>,
    /// Fits made.
    pub fits: usize,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// One way to treat the imbalance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateReport {
    /// Unique name: `none`, `effective .999`, `none + adjust`.
    pub name: String,
    /// Loss of the fits.
    pub loss: String,
    /// Settings that reproduce it, as flags of `train`.
    pub flags: String,
    /// Largest class weight over the smallest.
    pub weight_ratio: f64,
    /// l2 of each fold and repeat, chosen on the other folds.
    pub l2: Vec<f64>,
    /// Strength of the adjustment after training of each fold and repeat, where the candidate has one.
    pub tau: Vec<f64>,
    /// Scores over all out-of-fold rows, means over repeats; probabilities as the candidate decides by them.
    pub scores: BriefScores,
    /// Log-loss with the probabilities put under the natural prior.
    #[serde(deserialize_with = "super::nulls::number")]
    pub natural_log_loss: f64,
    /// Calibration error (15 bins of equal mass) under the natural prior.
    #[serde(deserialize_with = "super::nulls::number")]
    pub natural_ece: f64,
    /// The deciding metric over all out-of-fold rows, mean over repeats.
    #[serde(deserialize_with = "super::nulls::number")]
    pub value: f64,
    /// Standard deviation of the metric over folds and repeats.
    #[serde(deserialize_with = "super::nulls::number")]
    pub fold_sd: f64,
    /// Difference from the baseline; `None` for the baseline.
    pub against_baseline: Option<Difference>,
    /// Difference from the candidate with the best value; `None` for that one.
    pub against_best: Option<Difference>,
    /// Out-of-fold recall of each class; NaN (null) where unscored.
    #[serde(deserialize_with = "super::nulls::list")]
    pub class_recall: Vec<f64>,
    /// The metric on test rows, where some were given.
    pub test: Option<TestValue>,
}

/// A paired difference of the deciding metric, positive where the candidate is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Over all out-of-fold rows.
    pub value: f64,
    /// Lower end of its 95 % interval, from a paired bootstrap stratified by class.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p-value that belongs to the interval.
    pub p: f64,
    /// The p-value after Holm's correction over the candidates.
    pub p_holm: f64,
    /// Two-sided p-value of the corrected resampled t-test over folds (Nadeau & Bengio 2003).
    #[serde(deserialize_with = "super::nulls::number")]
    pub p_folds: f64,
}

/// The metric on test rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TestValue {
    /// The deciding metric.
    pub value: f64,
    /// Its standard error, from the bootstrap.
    pub standard_error: f64,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Place of the recommended candidate.
    pub recommended: usize,
    /// Place of the candidate with the best value.
    pub best: usize,
    /// The finding in one or two sentences.
    pub sentence: String,
    /// The command line that trains the recommended candidate.
    pub command: String,
}
