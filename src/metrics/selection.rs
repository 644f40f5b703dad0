//! One number of an [`Evaluation`], by name: what selection maximises and what gates demand.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Evaluation;
use crate::error::nearest;
use crate::{Error, Result};

/// A score that models are selected or gated by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // The fields of Evaluation of the same names say what they are.
pub enum Metric {
    Top1,
    Top5,
    MacroRecall,
    MacroF1,
    WorstClass,
    WorstDecile,
    GMean,
    Mcc,
    Auprc,
    /// Recall of the classes with more than 100 training rows.
    Many,
    /// Recall of the classes with 20 to 100 training rows.
    Medium,
    /// Recall of the classes with fewer than 20 training rows.
    Few,
    LogLoss,
    BalancedLogLoss,
    Brier,
    Ece,
    ClasswiseEce,
}

/// Every metric with its name, in the order of the help text.
const NAMES: [(Metric, &str); 17] = [
    (Metric::MacroRecall, "macro_recall"),
    (Metric::Top1, "top1"),
    (Metric::Top5, "top5"),
    (Metric::MacroF1, "macro_f1"),
    (Metric::WorstClass, "worst_class"),
    (Metric::WorstDecile, "worst_decile"),
    (Metric::GMean, "g_mean"),
    (Metric::Mcc, "mcc"),
    (Metric::Auprc, "auprc"),
    (Metric::Many, "many"),
    (Metric::Medium, "medium"),
    (Metric::Few, "few"),
    (Metric::LogLoss, "log_loss"),
    (Metric::BalancedLogLoss, "balanced_log_loss"),
    (Metric::Brier, "brier"),
    (Metric::Ece, "ece"),
    (Metric::ClasswiseEce, "classwise_ece"),
];

impl Metric {
    /// Reads a name such as `macro_recall`; also `balanced_accuracy` (the same) and `accuracy` (top1). `-` stands for
    /// `_`. [`Error::BadValue`] for another name.
    pub fn parse(name: &str) -> Result<Metric> {
        let name = name.trim().replace('-', "_");
        let known = NAMES.iter().find(|(_, known)| *known == name).map(|(metric, _)| *metric);
        known
            .or(match name.as_str() {
                "balanced_accuracy" => Some(Metric::MacroRecall),
                "accuracy" => Some(Metric::Top1),
                _ => None,
            })
            .ok_or_else(|| {
                let names: Vec<String> = Metric::names().map(String::from).collect();
                let help = match nearest(&name, &names) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("metrics are {}", names.join(", ")),
                };
                Error::bad_value("metric", name, "is no metric", help)
            })
    }

    /// Names of all metrics.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(_, name)| *name)
    }

    /// Name that [`Metric::parse`] reads.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(metric, _)| *metric == self).map_or("", |(_, name)| name)
    }

    /// Whether larger values are better.
    pub fn higher_is_better(self) -> bool {
        use Metric::*;
        !matches!(self, LogLoss | BalancedLogLoss | Brier | Ece | ClasswiseEce)
    }

    /// Whether [`evaluate`](super::evaluate) is needed; [`evaluate_quick`](super::evaluate_quick) gives all others.
    pub fn needs_curves(self) -> bool {
        matches!(self, Metric::Auprc | Metric::ClasswiseEce)
    }

    /// Its value; NaN where undefined.
    pub fn value(self, evaluation: &Evaluation) -> f64 {
        let band = |place: usize| evaluation.bands.get(place).map_or(f64::NAN, |band| band.recall);
        match self {
            Metric::Top1 => evaluation.top1,
            Metric::Top5 => evaluation.top5,
            Metric::MacroRecall => evaluation.macro_recall,
            Metric::MacroF1 => evaluation.macro_f1,
            Metric::WorstClass => evaluation.worst_class_recall,
            Metric::WorstDecile => evaluation.worst_decile_recall,
            Metric::GMean => evaluation.g_mean,
            Metric::Mcc => evaluation.mcc,
            Metric::Auprc => evaluation.auprc,
            Metric::Many => band(0),
            Metric::Medium => band(1),
            Metric::Few => band(2),
            Metric::LogLoss => evaluation.log_loss,
            Metric::BalancedLogLoss => evaluation.balanced_log_loss,
            Metric::Brier => evaluation.brier,
            Metric::Ece => evaluation.ece,
            Metric::ClasswiseEce => evaluation.classwise_ece,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A value a metric must reach: at least the bound where higher is better, at most the bound where lower is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    /// The metric.
    pub metric: Metric,
    /// The bound, in the metric's own unit.
    pub bound: f64,
}

impl Gate {
    /// Reads `macro_recall=.6` (or `log_loss=1.2`, then an upper bound). [`Error::BadValue`] otherwise.
    pub fn parse(text: &str) -> Result<Gate> {
        let bad = |why: &str| Error::bad_value("--min", text, why, "write a gate as macro_recall=0.6");
        let (name, bound) = text.split_once('=').ok_or_else(|| bad("has no ="))?;
        let metric = Metric::parse(name)?;
        match bound.trim().parse::<f64>() {
            Ok(bound) if bound.is_finite() => Ok(Gate { metric, bound }),
            _ => Err(bad("the bound is not a number")),
        }
    }

    /// Why `evaluation` does not pass, in words; `None` if it passes. An undefined value does not.
    pub fn failure(&self, evaluation: &Evaluation) -> Option<String> {
        let value = self.metric.value(evaluation);
        let (passes, relation) = match self.metric.higher_is_better() {
            true => (value >= self.bound, "below"),
            false => (value <= self.bound, "above"),
        };
        if passes {
            None
        } else if value.is_nan() {
            Some(format!("{} is undefined on these rows", self.metric))
        } else {
            Some(format!("{} {value:.6} is {relation} {}", self.metric, self.bound))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::ClassCounts;
    use crate::metrics::{evaluate, evaluate_quick};

    fn evaluation() -> Evaluation {
        let p = [0.9, 0.1, 0.6, 0.4, 0.3, 0.7, 0.8, 0.2];
        evaluate(&p, &[0, 0, 1, 1], &ClassCounts::from_rows(vec![500, 30]), None).unwrap()
    }

    #[test]
    fn names_round_trip_and_cover_every_metric() {
        for (metric, name) in NAMES {
            assert_eq!(Metric::parse(name).unwrap(), metric);
            assert_eq!(metric.to_string(), name);
            assert_eq!(serde_json::to_string(&metric).unwrap(), format!("\"{name}\""));
        }
        assert_eq!(Metric::parse("balanced-accuracy").unwrap(), Metric::MacroRecall);
        let error = Metric::parse("macro_recal").unwrap_err();
        assert!(error.help().contains("macro_recall?"));
        assert_eq!(Metric::parse("loss").unwrap_err().code(), "E0208");
    }

    #[test]
    fn values_are_those_of_the_evaluation() {
        let evaluation = evaluation();
        assert_eq!(Metric::MacroRecall.value(&evaluation), 0.75);
        assert_eq!(Metric::WorstClass.value(&evaluation), 0.5);
        assert_eq!(Metric::Many.value(&evaluation), 1.0);
        assert!(Metric::Few.value(&evaluation).is_nan());
    }

    #[test]
    fn gates_bound_in_the_direction_of_the_metric() {
        let evaluation = evaluation();
        let failure = |text: &str| Gate::parse(text).unwrap().failure(&evaluation);
        assert_eq!(failure("macro_recall=.75"), None);
        assert_eq!(failure("macro_recall=.8").unwrap(), "macro_recall 0.750000 is below 0.8");
        assert_eq!(failure("log_loss=10"), None);
        assert!(failure("log_loss=0.1").unwrap().contains("above"));
        assert!(failure("few=0").unwrap().contains("undefined"));
        for text in ["macro_recall", "macro_recall=", "macro_recall=nan", "speed=3"] {
            assert_eq!(Gate::parse(text).unwrap_err().code(), "E0208", "{text}");
        }
    }

    #[test]
    fn the_quick_evaluation_gives_every_metric_that_needs_no_curve() {
        let p = [0.9, 0.1, 0.6, 0.4, 0.3, 0.7, 0.8, 0.2];
        let quick = evaluate_quick(&p, &[0, 0, 1, 1], &ClassCounts::from_rows(vec![500, 30]), None).unwrap();
        let full = evaluation();
        for (metric, name) in NAMES {
            let (quick, full) = (metric.value(&quick), metric.value(&full));
            if metric.needs_curves() {
                assert!(quick.is_nan() && !full.is_nan(), "{name}");
            } else {
                assert_eq!(quick.to_bits(), full.to_bits(), "{name}");
            }
        }
    }
}
