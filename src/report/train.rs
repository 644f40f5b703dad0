//! What a training run reports: one object, the source of the printed lines, of `--json` and of the model's record.

use serde::{Deserialize, Serialize};

use super::calibration::CalibrationReport;
use crate::boost::model::{BoostModel, Importance};
use crate::labels::ClassCounts;
use crate::linear::certificate::Certificate;
use crate::linear::search::Trial;
use crate::linear::solver::Fit;
use crate::metrics::{Evaluation, Standing};
use crate::weighting::WeightSummary;

/// A training run. `schema` names the layout.
#[derive(Debug, Clone, Serialize)]
pub struct TrainReport {
    /// `cbfit.train/1`.
    pub schema: &'static str,
    /// Version of cbfit.
    pub cbfit: &'static str,
    /// Instruction set of the kernels.
    pub isa: &'static str,
    /// The data read.
    pub data: DataSummary,
    /// Rows by part.
    pub split: SplitSummary,
    /// Settings tried, in order.
    pub trials: Vec<TrialSummary>,
    /// The settings of the model.
    pub chosen: Chosen,
    /// Weights in force in the final fit.
    pub weighting: WeightSummary,
    /// The final fit; `None` for a closed form.
    pub fit: Option<FitSummary>,
    /// The trees, of a boosted model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boost: Option<BoostSummary>,
    /// Scores of the chosen trial on the validation rows, before any refit.
    pub valid: Option<Evaluation>,
    /// Calibration, offsets and out-of-fold rows, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationReport>,
    /// Scores of the saved model on the test rows.
    pub test: Option<TestScores>,
    /// The model file.
    pub model: ModelSummary,
    /// Wall time of the run.
    pub seconds: f64,
}

/// The training data.
#[derive(Debug, Clone, Serialize)]
pub struct DataSummary {
    /// Name of the source.
    pub source: String,
    /// Rows.
    pub rows: u64,
    /// Features D.
    pub features: usize,
    /// Width of the stored values.
    pub dtype: &'static str,
    /// Classes C.
    pub classes: usize,
    /// Identifies values and labels, whatever the format.
    pub fingerprint: String,
    /// Largest count over smallest.
    pub imbalance_factor: f64,
    /// Rows without a label that were left out.
    pub dropped_unlabeled: u64,
    /// Choices made unasked.
    pub notes: Vec<String>,
}

/// Rows by part.
#[derive(Debug, Clone, Serialize)]
pub struct SplitSummary {
    /// Rows of the search.
    pub train_rows: usize,
    /// Rows that chose.
    pub valid_rows: usize,
    /// Rows of the test.
    pub test_rows: usize,
    /// Names of the classes too small to give a validation row.
    pub kept_classes: Vec<String>,
}

/// One setting that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialSummary {
    /// Weighting scheme with its beta.
    pub scheme: String,
    /// Strength of the penalty.
    pub l2: f64,
    /// J on the rows fitted.
    #[serde(deserialize_with = "super::nulls::number")]
    pub objective: f64,
    /// Bound on the relative gap of J, where one exists.
    pub relative_gap: Option<f64>,
    /// Epochs or iterations.
    pub steps: usize,
    /// Passes over the rows.
    pub passes: usize,
    /// Validation scores.
    pub valid: BriefScores,
    /// Whether it led when it was done.
    pub best: bool,
}

/// The scores a table line has room for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BriefScores {
    /// Accuracy.
    #[serde(deserialize_with = "super::nulls::number")]
    pub top1: f64,
    /// Mean recall over classes.
    #[serde(deserialize_with = "super::nulls::number")]
    pub macro_recall: f64,
    /// Mean negative log probability, as trained.
    #[serde(deserialize_with = "super::nulls::number")]
    pub log_loss: f64,
    /// Recall of the bands many, medium and few; NaN where a band is empty.
    #[serde(deserialize_with = "super::nulls::list")]
    pub bands: Vec<f64>,
}

impl BriefScores {
    /// Takes them from an evaluation.
    pub fn of(evaluation: &Evaluation) -> Self {
        BriefScores {
            top1: evaluation.top1,
            macro_recall: evaluation.macro_recall,
            log_loss: evaluation.log_loss,
            bands: evaluation.bands.iter().map(|band| band.recall).collect(),
        }
    }
}

impl TrialSummary {
    /// Summary of a trial.
    pub fn of(trial: &Trial, best: bool) -> Self {
        TrialSummary {
            scheme: trial.scheme.to_string(),
            l2: trial.l2,
            objective: trial.fit.certificate.objective,
            relative_gap: trial.fit.certificate.relative_gap,
            steps: trial.fit.steps,
            passes: trial.fit.passes,
            valid: BriefScores::of(&trial.valid),
            best,
        }
    }
}

/// Settings of the model.
#[derive(Debug, Clone, Serialize)]
pub struct Chosen {
    /// Weighting scheme with its beta.
    pub scheme: String,
    /// Strength of the penalty; `None` for a closed form.
    pub l2: Option<f64>,
    /// How the linear functions came about.
    pub head: &'static str,
    /// What the head leaves open, as its flag takes it.
    pub head_setting: Option<String>,
    /// Metric that chose among the trials; `None` where nothing was chosen.
    pub metric: Option<&'static str>,
}

/// The final fit.
#[derive(Debug, Clone, Serialize)]
pub struct FitSummary {
    /// Rows fitted.
    pub rows: usize,
    /// Whether these are training and validation rows together.
    pub refitted: bool,
    /// Epochs or iterations.
    pub steps: usize,
    /// Passes over the rows.
    pub passes: usize,
    /// Whether the tolerance was met.
    pub converged: bool,
    /// Objective, gradient norm, gap.
    pub certificate: Certificate,
}

impl FitSummary {
    /// Summary of a fit of `rows` rows.
    pub fn of(fit: &Fit, rows: usize, refitted: bool) -> Self {
        FitSummary {
            rows,
            refitted,
            steps: fit.steps,
            passes: fit.passes,
            converged: fit.converged,
            certificate: fit.certificate,
        }
    }
}

/// A boosted model.
#[derive(Debug, Clone, Serialize)]
pub struct BoostSummary {
    /// Rows boosted.
    pub rows: usize,
    /// Whether these are training and validation rows together.
    pub refitted: bool,
    /// Rounds kept.
    pub rounds: usize,
    /// Trees.
    pub trees: usize,
    /// Leaves of all trees.
    pub leaves: usize,
    /// Features that trees cut.
    pub used_features: usize,
    /// Schemes tried, in order.
    pub trials: Vec<BoostTrial>,
}

/// One weighting that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoostTrial {
    /// Weighting scheme with its beta.
    pub scheme: String,
    /// Rounds kept.
    pub rounds: usize,
    /// Rounds made.
    pub made: usize,
    /// How the validation rows stood after each round made.
    #[serde(flatten)]
    pub scores: RoundScores,
    /// Validation scores.
    pub valid: BriefScores,
    /// Whether it led when it was done.
    pub best: bool,
}

/// How rows held out stood, round by round: [`Standing`]s, measure by measure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundScores {
    /// The deciding metric, larger is better.
    #[serde(rename = "scores", deserialize_with = "super::nulls::list")]
    pub metric: Vec<f64>,
    /// Differences of the metric that are noise.
    #[serde(rename = "score_noise", default, deserialize_with = "super::nulls::list")]
    pub noise: Vec<f64>,
    /// Mean log-loss over classes under the uniform prior.
    #[serde(rename = "balanced_log_loss", default, deserialize_with = "super::nulls::list")]
    pub balanced_log_loss: Vec<f64>,
}

impl RoundScores {
    /// Those of `standings`, one a round.
    pub fn of(standings: &[Standing]) -> Self {
        let each = |measure: fn(&Standing) -> f64| standings.iter().map(measure).collect();
        RoundScores {
            metric: each(|standing| standing.metric),
            noise: each(|standing| standing.noise),
            balanced_log_loss: each(|standing| standing.balanced_log_loss),
        }
    }

    /// The standings again; fewer than rounds where a measure was not recorded.
    pub fn standings(&self) -> Vec<Standing> {
        let measures = self.metric.iter().zip(&self.noise).zip(&self.balanced_log_loss);
        let standing = |((&metric, &noise), &balanced_log_loss): ((&f64, &f64), &f64)| Standing {
            metric: if metric.is_nan() { f64::NEG_INFINITY } else { metric },
            noise,
            balanced_log_loss: if balanced_log_loss.is_nan() { f64::INFINITY } else { balanced_log_loss },
        };
        measures.map(standing).collect()
    }
}

impl BoostSummary {
    /// Summary of `model`, boosted on `rows` rows.
    pub fn of(model: &BoostModel, rows: usize, refitted: bool, trials: Vec<BoostTrial>) -> Self {
        let splits = model.importances(Importance::Splits, None);
        BoostSummary {
            rows,
            refitted,
            rounds: model.rounds(),
            trees: model.trees.len(),
            leaves: model.trees.iter().map(|tree| tree.tree.leaves()).sum(),
            used_features: splits.iter().filter(|&&splits| splits > 0.0).count(),
            trials,
        }
    }
}

/// Scores on the test rows.
#[derive(Debug, Clone, Serialize)]
pub struct TestScores {
    /// All scores, with probabilities as trained.
    pub trained: Evaluation,
    /// Log-loss of the same model with its probabilities put under the natural prior in closed form, uncalibrated.
    pub natural_log_loss: f64,
    /// Calibration error under the natural prior.
    pub natural_ece: f64,
    /// All scores as predict and eval give them by themselves, where the model is calibrated or has offsets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibrated: Option<Evaluation>,
}

/// The model file.
#[derive(Debug, Clone, Serialize)]
pub struct ModelSummary {
    /// Where it was written.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// Smallest, median and largest count of the classes with rows, and how many classes lie in the bands many (> 100),
/// medium (20 to 100) and few (< 20).
pub fn count_spread(counts: &ClassCounts) -> ([u64; 3], [usize; 3]) {
    let mut rows: Vec<u64> = counts.rows.iter().copied().filter(|&n| n > 0).collect();
    rows.sort_unstable();
    let at = |index: usize| rows.get(index).copied().unwrap_or(0);
    let within = |range: std::ops::RangeInclusive<u64>| rows.iter().filter(|n| range.contains(n)).count();
    let spread = [at(0), at(rows.len() / 2), at(rows.len().saturating_sub(1))];
    (spread, [within(101..=u64::MAX), within(20..=100), within(0..=19)])
}
