//! Maps from a fitted model's posterior to what rows it was not fitted on say: probabilities that hold, and decisions
//! that serve a metric or a cost.
//!
//! Every loss ties its logits to probabilities in its own way (see [`crate::weighting::prior`]), and for one-vs-rest and
//! focal losses a scale on the raw logits would not be a temperature. All maps here act on the log posterior l under the
//! natural prior, which [`PriorCorrection`](crate::weighting::prior::PriorCorrection) gives for every loss, and end in a
//! softmax: `softmax(a_c l_c + b_c)`. From the calibrated natural posterior every other prior rho is one factor
//! `rho_c / pi_c` away.

pub mod costs;
pub mod decisions;
mod minimise;
pub mod offsets;
mod posterior;
mod temperature;
mod vector;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};
pub use posterior::Posterior;

/// Which map is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The closed-form correction to the natural prior alone; nothing is fitted.
    Prior,
    /// One positive scale for all classes (Guo et al., ICML 2017).
    Temperature,
    /// A scale and an offset for each class.
    Vector,
}

impl Method {
    /// `prior`, `temperature` or `vector`.
    pub fn name(self) -> &'static str {
        match self {
            Method::Prior => "prior",
            Method::Temperature => "temperature",
            Method::Vector => "vector",
        }
    }
}

/// A fitted map of log posteriors under the natural prior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Calibration {
    /// The posterior as it is.
    Prior,
    /// `softmax(scale * l)`; the temperature is `1 / scale`.
    Temperature {
        /// Positive.
        scale: f64,
    },
    /// `softmax(scale_c * l_c + offset_c)`.
    Vector {
        /// C scales.
        scale: Vec<f64>,
        /// C offsets.
        offset: Vec<f64>,
    },
}

impl Calibration {
    /// Fits the map of `method` to `held`: the least log-loss there, with the ridge that [`Method::Vector`] has.
    pub fn fit(method: Method, held: &HeldOut<'_>) -> Self {
        match method {
            Method::Prior => Calibration::Prior,
            Method::Temperature => Calibration::Temperature { scale: temperature::fit(held) },
            Method::Vector => vector::fit(held),
        }
    }

    /// The method that fits such a map.
    pub fn method(&self) -> Method {
        match self {
            Calibration::Prior => Method::Prior,
            Calibration::Temperature { .. } => Method::Temperature,
            Calibration::Vector { .. } => Method::Vector,
        }
    }

    /// Maps the log posterior of one row (C values, minus infinity for probability 0), up to a constant of the row.
    pub fn map(&self, log_posterior: &mut [f64]) {
        match self {
            Calibration::Prior => {}
            Calibration::Temperature { scale } => log_posterior.iter_mut().for_each(|l| *l *= scale),
            Calibration::Vector { scale, offset } => {
                for ((l, scale), offset) in log_posterior.iter_mut().zip(scale).zip(offset) {
                    // A scale of 0 or below would lift classes that have no probability.
                    *l = if *l == f64::NEG_INFINITY { *l } else { scale * *l + offset };
                }
            }
        }
    }

    /// The first thing wrong with a map for `classes` classes that was read from a file, in words.
    pub fn fault(&self, classes: usize) -> Option<String> {
        let is_bad = |values: &[f64]| values.len() != classes || values.iter().any(|v| !v.is_finite());
        match self {
            Calibration::Temperature { scale } if !(scale.is_finite() && *scale > 0.0) => {
                Some(format!("its calibration has scale {scale}"))
            }
            Calibration::Vector { scale, offset } if is_bad(scale) || is_bad(offset) => {
                Some(format!("its calibration is not {classes} finite scales and offsets"))
            }
            _ => None,
        }
    }
}

/// Log posteriors under the natural prior of rows the model was not fitted on, with their labels.
#[derive(Debug, Clone, Copy)]
pub struct HeldOut<'a> {
    log_posterior: &'a [f64],
    labels: &'a [u32],
    row_weights: Option<&'a [f64]>,
    classes: usize,
}

impl<'a> HeldOut<'a> {
    /// Rows x C log probabilities (minus infinity where a class has none), class codes below C, and positive row weights.
    ///
    /// # Errors
    /// [`Error::NoRows`], [`Error::LengthMismatch`], and [`Error::BadProbabilities`] where a log probability is not a
    /// number or that of a row's own class is not finite.
    pub fn new(
        log_posterior: &'a [f64],
        labels: &'a [u32],
        row_weights: Option<&'a [f64]>,
        classes: usize,
    ) -> Result<Self> {
        if labels.is_empty() || classes == 0 {
            let why = " held out to fit a calibration on".into();
            return Err(Error::NoRows { file: "the data".into(), why });
        }
        let rows = labels.len();
        let mismatch = |left: &str, left_rows: usize| Error::LengthMismatch {
            left: left.into(),
            left_rows: left_rows as u64,
            right: "labels".into(),
            right_rows: rows as u64,
        };
        if rows.checked_mul(classes) != Some(log_posterior.len()) {
            return Err(mismatch("log probabilities", log_posterior.len() / classes));
        }
        if let Some(weights) = row_weights.filter(|weights| weights.len() != rows) {
            return Err(mismatch("row weights", weights.len()));
        }
        let usable = |(row, &label): (&[f64], &u32)| {
            row.get(label as usize).is_some_and(|own| own.is_finite())
                && row.iter().all(|l| !l.is_nan() && *l < f64::INFINITY)
        };
        let is_bad = |at: &usize| !usable((&log_posterior[at * classes..(at + 1) * classes], &labels[*at]));
        let mut bad = (0..rows).filter(is_bad);
        match bad.next() {
            None => Ok(HeldOut { log_posterior, labels, row_weights, classes }),
            Some(first) => Err(Error::BadProbabilities {
                count: 1 + bad.count() as u64,
                rows: rows as u64,
                first_row: first as u64 + 1,
            }),
        }
    }

    fn weight(&self, row: usize) -> f64 {
        self.row_weights.map_or(1.0, |weights| weights[row])
    }

    fn total_weight(&self) -> f64 {
        self.row_weights.map_or(self.labels.len() as f64, |weights| weights.iter().sum())
    }

    /// Rows of equal weight that would say as much (Kish): no scale of the weights changes it.
    fn effective_rows(&self) -> f64 {
        let squares = self.row_weights.map_or(self.labels.len() as f64, |w| w.iter().map(|w| w * w).sum());
        self.total_weight().powi(2) / squares
    }

    /// Sums over rows what `add` makes of a row (its number, its C log probabilities, room for C values), `length`
    /// values in all. Chunks are fixed and added in their order, so that the number of threads does not show.
    fn sum(&self, length: usize, add: impl Fn(usize, &[f64], &mut [f64], &mut [f64]) + Sync) -> Vec<f64> {
        use rayon::prelude::*;
        const CHUNK_ROWS: usize = 256;
        let chunks: Vec<Vec<f64>> = self
            .log_posterior
            .par_chunks(CHUNK_ROWS * self.classes)
            .enumerate()
            .map(|(chunk, values)| {
                let (mut sums, mut room) = (vec![0.0; length], vec![0.0; self.classes]);
                for (row, log_posterior) in values.chunks_exact(self.classes).enumerate() {
                    add(chunk * CHUNK_ROWS + row, log_posterior, &mut room, &mut sums);
                }
                sums
            })
            .collect();
        let mut total = vec![0.0; length];
        for chunk in chunks {
            total.iter_mut().zip(chunk).for_each(|(total, part)| *total += part);
        }
        total
    }
}

#[cfg(test)]
mod tests;
