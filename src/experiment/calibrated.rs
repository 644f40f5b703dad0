//! A calibration and decision offsets fitted on out-of-fold rows, and what they are worth on rows they did not see.

use serde::Serialize;

use super::crossfit::OutOfFold;
use crate::Result;
use crate::calibrate::offsets::{OffsetMetric, Offsets, decide, value_of};
use crate::calibrate::{Calibration, HeldOut, Method};
use crate::weighting::prior::normalise_logs;

/// The out-of-fold rows: those of [`super::folds::Folds::scored`], in that order.
#[derive(Debug, Clone, Copy)]
pub struct ScoredRows<'a> {
    /// Class codes.
    pub labels: &'a [u32],
    /// Row weights, where rows have them.
    pub row_weights: Option<&'a [f64]>,
    /// Logarithms of the C class shares of all rows fitted on; minus infinity for a class without rows.
    pub log_shares: &'a [f64],
}

/// Maps fitted on all out-of-fold rows, and each row scored by maps fitted on the other folds.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// For the model, fitted on all out-of-fold rows.
    pub calibration: Option<Calibration>,
    /// For the model, fitted on all out-of-fold rows under the calibration: those of the rule that is kept.
    pub offsets: Option<Offsets>,
    /// Cross-fitted log posteriors, rows x C: under the natural prior, calibrated where a method was given.
    pub log_posterior: Vec<f64>,
    /// Cross-fitted decisions by the rule that is kept.
    pub decisions: Vec<u32>,
    /// What the rules are worth, where offsets were asked for.
    pub rules: Option<Rules>,
}

/// Cross-fitted values of the metric that offsets are fitted for, under three rules of decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rules {
    /// The metric.
    pub metric: OffsetMetric,
    /// tau of the fit for the model.
    pub tau: f64,
    /// The most probable class.
    pub most_probable: f64,
    /// The best tau of the logit adjustment alone.
    pub tau_alone: f64,
    /// One offset a class.
    pub offsets: f64,
    /// The rule of the model.
    pub kept: Rule,
}

/// How labels are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // The fields of Rules of the same names say what they are.
pub enum Rule {
    MostProbable,
    TauAlone,
    Offsets,
}

/// Fits what is asked for on the rows of all folds but one, applies it to that one, and at last fits it on all.
///
/// Offsets that are free for each class learn the noise of rare ones, and a tau may, too: the model gets them only where
/// the cross-fitted metric is above that of every simpler rule.
///
/// # Errors
/// Those of [`HeldOut::new`].
pub fn cross_calibrate(
    oof: &OutOfFold,
    rows: &ScoredRows<'_>,
    method: Option<Method>,
    metric: Option<OffsetMetric>,
) -> Result<Calibrated> {
    let classes = rows.log_shares.len();
    let natural = oof.natural_log_posteriors();
    let scored = oof.folds.scored();
    let fold_of: Vec<Option<usize>> = scored.into_iter().map(|row| oof.folds.fold_of(row)).collect();
    let mut log_posterior = natural.clone();
    let mut decisions = Decided::new(fold_of.len());
    for fold in 0..oof.folds.folds() {
        let (held, others): (Vec<usize>, Vec<usize>) =
            (0..fold_of.len()).partition(|&at| fold_of[at] == Some(fold));
        // With few rows a fold may hold all of them, or none.
        if held.is_empty() || others.is_empty() {
            continue;
        }
        let maps = Maps::fit(&Gathered::of(&natural, rows, &others), rows.log_shares, method, metric)?;
        let mut part = gather(&natural, classes, &held);
        apply(maps.calibration.as_ref(), &mut part, classes);
        for (&at, mapped) in held.iter().zip(part.chunks_exact(classes)) {
            log_posterior[at * classes..(at + 1) * classes].copy_from_slice(mapped);
        }
        decisions.put(&held, &part, maps.offsets.as_ref(), rows.log_shares);
    }
    let all: Vec<usize> = (0..fold_of.len()).collect();
    let maps = Maps::fit(&Gathered::of(&natural, rows, &all), rows.log_shares, method, metric)?;
    let rules = maps.offsets.as_ref().map(|found| decisions.rules(rows, found));
    let kept = rules.map_or(Rule::MostProbable, |rules| rules.kept);
    let offsets = match kept {
        Rule::MostProbable => None,
        Rule::TauAlone => maps.offsets.map(|found| found.of_tau_alone(rows.log_shares)),
        Rule::Offsets => maps.offsets,
    };
    let decisions = decisions.of(kept);
    Ok(Calibrated { calibration: maps.calibration, offsets, log_posterior, decisions, rules })
}

/// Cross-fitted decisions under each rule.
struct Decided {
    most_probable: Vec<u32>,
    tau_alone: Vec<u32>,
    offsets: Vec<u32>,
}

impl Decided {
    fn new(rows: usize) -> Self {
        Decided { most_probable: vec![0; rows], tau_alone: vec![0; rows], offsets: vec![0; rows] }
    }

    /// Decides the rows `held` of log posteriors `part`.
    fn put(&mut self, held: &[usize], part: &[f64], found: Option<&Offsets>, log_shares: &[f64]) {
        let mut decide_by = |offset: &[f64], rule: fn(&mut Self) -> &mut Vec<u32>| {
            for (&at, code) in held.iter().zip(decide(part, offset)) {
                rule(self)[at] = code;
            }
        };
        decide_by(&vec![0.0; log_shares.len()], |decided| &mut decided.most_probable);
        if let Some(found) = found {
            decide_by(&found.of_tau_alone(log_shares).offset, |decided| &mut decided.tau_alone);
            decide_by(&found.offset, |decided| &mut decided.offsets);
        }
    }

    fn rules(&self, rows: &ScoredRows<'_>, found: &Offsets) -> Rules {
        let metric = found.metric;
        let value = |predicted: &[u32]| {
            value_of(rows.labels, predicted, rows.row_weights, rows.log_shares.len(), metric)
        };
        let (most_probable, tau_alone) = (value(&self.most_probable), value(&self.tau_alone));
        let offsets = value(&self.offsets);
        let kept = if offsets > most_probable.max(tau_alone) {
            Rule::Offsets
        } else if tau_alone > most_probable {
            Rule::TauAlone
        } else {
            Rule::MostProbable
        };
        Rules { metric, tau: found.tau, most_probable, tau_alone, offsets, kept }
    }

    fn of(self, rule: Rule) -> Vec<u32> {
        match rule {
            Rule::MostProbable => self.most_probable,
            Rule::TauAlone => self.tau_alone,
            Rule::Offsets => self.offsets,
        }
    }
}

struct Maps {
    calibration: Option<Calibration>,
    offsets: Option<Offsets>,
}

impl Maps {
    fn fit(
        rows: &Gathered,
        log_shares: &[f64],
        method: Option<Method>,
        metric: Option<OffsetMetric>,
    ) -> Result<Self> {
        let classes = log_shares.len();
        let weights = rows.row_weights.as_deref();
        let held = HeldOut::new(&rows.log_posterior, &rows.labels, weights, classes)?;
        let calibration = method.map(|method| Calibration::fit(method, &held));
        let offsets = metric.map(|metric| {
            let mut logs = rows.log_posterior.clone();
            apply(calibration.as_ref(), &mut logs, classes);
            Offsets::fit(&logs, &rows.labels, weights, log_shares, metric)
        });
        Ok(Maps { calibration, offsets })
    }
}

/// Some of the scored rows.
struct Gathered {
    log_posterior: Vec<f64>,
    labels: Vec<u32>,
    row_weights: Option<Vec<f64>>,
}

impl Gathered {
    fn of(log_posterior: &[f64], rows: &ScoredRows<'_>, chosen: &[usize]) -> Self {
        Gathered {
            log_posterior: gather(log_posterior, rows.log_shares.len(), chosen),
            labels: chosen.iter().map(|&at| rows.labels[at]).collect(),
            row_weights: rows.row_weights.map(|w| chosen.iter().map(|&at| w[at]).collect()),
        }
    }
}

fn gather(values: &[f64], classes: usize, rows: &[usize]) -> Vec<f64> {
    let mut gathered = Vec::with_capacity(rows.len() * classes);
    rows.iter().for_each(|&row| gathered.extend_from_slice(&values[row * classes..(row + 1) * classes]));
    gathered
}

fn apply(calibration: Option<&Calibration>, log_posterior: &mut [f64], classes: usize) {
    let Some(map) = calibration else { return };
    for row in log_posterior.chunks_exact_mut(classes) {
        map.map(row);
        normalise_logs(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(most_probable: &[u32], tau_alone: &[u32], offsets: &[u32]) -> Rules {
        let decided = Decided {
            most_probable: most_probable.into(),
            tau_alone: tau_alone.into(),
            offsets: offsets.into(),
        };
        let rows = ScoredRows { labels: &[0, 0, 1, 1], row_weights: None, log_shares: &[0.5f64.ln(); 2] };
        let found = Offsets { metric: OffsetMetric::MacroRecall, tau: 1.0, offset: vec![0.0; 2] };
        decided.rules(&rows, &found)
    }

    #[test]
    fn a_rule_is_kept_only_above_every_simpler_one() {
        let (half, better, best) = ([0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]);
        assert_eq!(rules(&half, &better, &best).kept, Rule::Offsets);
        assert_eq!(rules(&half, &better, &better).kept, Rule::TauAlone);
        assert_eq!(rules(&better, &half, &better).kept, Rule::MostProbable);
        let seen = rules(&half, &better, &best);
        assert_eq!((seen.most_probable, seen.tau_alone, seen.offsets), (0.5, 0.75, 1.0));
    }
}
