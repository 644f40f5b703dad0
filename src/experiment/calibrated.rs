//! A calibration and decision offsets fitted on out-of-fold rows, and what they are worth on rows they did not see.

use super::crossfit::OutOfFold;
use crate::Result;
use crate::calibrate::offsets::{OffsetMetric, Offsets, decide};
use crate::calibrate::{Calibration, HeldOut, Method};
use crate::weighting::prior::{Prior, normalise_logs};

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
    /// For the model, fitted on all out-of-fold rows under the calibration.
    pub offsets: Option<Offsets>,
    /// Cross-fitted log posteriors, rows x C: under the natural prior, calibrated where a method was given.
    pub log_posterior: Vec<f64>,
    /// Cross-fitted decisions by the offsets; of the most probable class where there are none.
    pub decisions: Vec<u32>,
    /// Cross-fitted decisions of the best tau alone; those of the most probable class without offsets.
    pub tau_decisions: Vec<u32>,
}

/// Fits what is asked for on the rows of all folds but one, applies it to that one, and at last fits it on all.
///
/// # Errors
/// Those of [`OutOfFold::log_posteriors`] and [`HeldOut::new`].
pub fn cross_calibrate(
    oof: &OutOfFold,
    rows: &ScoredRows<'_>,
    method: Option<Method>,
    metric: Option<OffsetMetric>,
) -> Result<Calibrated> {
    let classes = rows.log_shares.len();
    let natural = oof.log_posteriors(&Prior::Natural)?;
    let fold_of: Vec<Option<usize>> =
        oof.folds.scored().into_iter().map(|row| oof.folds.fold_of(row)).collect();
    let mut log_posterior = natural.clone();
    let no_offsets = vec![0.0; classes];
    let mut decisions = vec![0; fold_of.len()];
    let mut tau_decisions = vec![0; fold_of.len()];
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
        let by_offsets = decide(&part, maps.offsets.as_ref().map_or(&no_offsets, |found| &found.offset));
        let by_tau = decide(&part, &maps.tau_offsets(rows.log_shares));
        for (place, &at) in held.iter().enumerate() {
            log_posterior[at * classes..(at + 1) * classes]
                .copy_from_slice(&part[place * classes..(place + 1) * classes]);
            decisions[at] = by_offsets[place];
            tau_decisions[at] = by_tau[place];
        }
    }
    let all: Vec<usize> = (0..fold_of.len()).collect();
    let maps = Maps::fit(&Gathered::of(&natural, rows, &all), rows.log_shares, method, metric)?;
    Ok(Calibrated {
        calibration: maps.calibration,
        offsets: maps.offsets,
        log_posterior,
        decisions,
        tau_decisions,
    })
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

    fn tau_offsets(&self, log_shares: &[f64]) -> Vec<f64> {
        let tau = self.offsets.as_ref().map_or(0.0, |offsets| offsets.tau);
        log_shares.iter().map(|log| if log.is_finite() { -tau * log } else { 0.0 }).collect()
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
