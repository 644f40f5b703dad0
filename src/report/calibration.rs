//! What a calibration changed: scores of probabilities before and after, on rows no map was fitted on.

use serde::Serialize;

use crate::calibrate::{Calibration, Method};
use crate::experiment::calibrated::{Rule, Rules};
use crate::metrics::Evaluation;
use crate::report::format::{score, short, thousands};

/// Scores of one set of probabilities.
#[derive(Debug, Clone, Serialize)]
pub struct ProbabilityScores {
    /// What was done to them: `as trained`, `natural prior`, or `natural prior, <method>`.
    pub probabilities: String,
    /// Mean negative log probability.
    pub log_loss: f64,
    /// Calibration error of the most probable class.
    pub ece: f64,
    /// Mean over classes of the calibration error of the class's probability.
    pub classwise_ece: f64,
    /// Calibration error where the most probable class is many, medium and few; NaN where there are no such rows.
    pub band_ece: Vec<f64>,
    /// Brier score, 0 to 2.
    pub brier: f64,
}

impl ProbabilityScores {
    /// Takes them from an evaluation.
    pub fn of(probabilities: impl Into<String>, evaluation: &Evaluation) -> Self {
        ProbabilityScores {
            probabilities: probabilities.into(),
            log_loss: evaluation.log_loss,
            ece: evaluation.ece,
            classwise_ece: evaluation.classwise_ece,
            band_ece: evaluation.bands.iter().map(|band| band.ece).collect(),
            brier: evaluation.brier,
        }
    }

    fn line(&self) -> String {
        let bands: Vec<String> = self.band_ece.iter().map(|error| fine(*error)).collect();
        format!(
            "{:<27} log-loss {:.4}   Brier {:.4}   ECE {:.4}   class-wise {:.4}   many/medium/few {}",
            self.probabilities,
            self.log_loss,
            self.brier,
            self.ece,
            self.classwise_ece,
            bands.join(" / ")
        )
    }
}

/// A calibration as training reports it. Every score is cross-fitted: no row is scored by a model, a map or offsets that
/// saw it.
#[derive(Debug, Clone, Serialize)]
pub struct CalibrationReport {
    /// Number of folds.
    pub folds: usize,
    /// Out-of-fold rows.
    pub rows: usize,
    /// Rows of classes of one row, which no fold can hold out.
    pub left_out: usize,
    /// The map of the model.
    pub calibration: Option<Calibration>,
    /// As trained, under the natural prior, and calibrated where a map was fitted.
    pub scores: Vec<ProbabilityScores>,
    /// What the rules of decision are worth, where offsets were asked for.
    pub offsets: Option<Rules>,
}

impl CalibrationReport {
    /// The report as lines.
    pub fn lines(&self) -> Vec<String> {
        let left_out = match self.left_out {
            0 => String::new(),
            rows => format!("   {} rows of classes of one row left out", thousands(rows as u64)),
        };
        let (rows, folds) = (thousands(self.rows as u64), self.folds);
        let mut lines = vec![format!("{rows} rows out of fold, {folds} folds{left_out}; all cross-fitted:")];
        lines.extend(self.scores.iter().map(ProbabilityScores::line));
        if let Some(map) = self.calibration.as_ref().and_then(map_text) {
            lines.push(map);
        }
        if let Some(offsets) = &self.offsets {
            lines.push(format!(
                "{} of the most probable class {}   of tau alone {}   of offsets {}   kept: {}",
                offsets.metric.name(),
                score(offsets.most_probable),
                score(offsets.tau_alone),
                score(offsets.offsets),
                match offsets.kept {
                    Rule::MostProbable => "the most probable class".to_owned(),
                    Rule::TauAlone => format!("tau {} alone", short(offsets.tau)),
                    Rule::Offsets => "offsets".to_owned(),
                }
            ));
        }
        lines
    }
}

/// What the parameters of a map are; `None` where it has none.
fn map_text(map: &Calibration) -> Option<String> {
    let range = |values: &[f64]| {
        let (low, high) =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        format!("{} to {}", short(low), short(high))
    };
    match map {
        Calibration::Prior => None,
        Calibration::Temperature { scale } => Some(format!("temperature {}", short(1.0 / scale))),
        Calibration::Vector { scale, offset } => {
            Some(format!("scales {}   offsets {}", range(scale), range(offset)))
        }
    }
}

/// Name of probabilities under the natural prior, after `method` where one was applied.
pub fn natural_name(method: Option<Method>) -> String {
    match method {
        None | Some(Method::Prior) => "natural prior".into(),
        Some(method) => format!("natural prior, {}", method.name()),
    }
}

/// Four decimals; `-` where the value does not exist.
pub fn fine(value: f64) -> String {
    if value.is_nan() { "-".into() } else { format!("{value:.4}") }
}
