//! From logits to probabilities under a prior, through a calibration where there is one.

use rayon::prelude::*;

use super::Calibration;
use crate::Result;
use crate::weighting::FitConditions;
use crate::weighting::prior::{
    Prior, PriorCorrection, exponentiate, normalise_logs, rows_of_task, training_shares,
};

/// Turns logits into probabilities under one prior.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    correction: PriorCorrection,
    /// The map, and what takes its natural posterior to the prior: `log rho_c - log pi_c`, minus infinity for share 0.
    calibrated: Option<(Calibration, Vec<f64>)>,
}

impl Posterior {
    /// For a model of a fit under `conditions`. `calibration` acts under every prior but [`Prior::AsTrained`], which stays what
    /// the loss fitted.
    ///
    /// # Errors
    /// Those of [`FitConditions::correction`].
    pub fn new(conditions: &FitConditions, prior: &Prior, calibration: Option<&Calibration>) -> Result<Self> {
        // Also where it is not used: it checks the prior.
        let direct = conditions.correction(prior)?;
        let Some(map) = calibration.filter(|map| **map != Calibration::Prior && *prior != Prior::AsTrained)
        else {
            return Ok(Posterior { correction: direct, calibrated: None });
        };
        let pi = training_shares(&conditions.counts);
        let from_natural = |c: usize| match prior {
            Prior::AsTrained | Prior::Natural => 0.0,
            Prior::Uniform => -pi[c].ln(),
            Prior::Given(rho) => rho[c].ln() - pi[c].ln(),
        };
        let offset = (0..pi.len()).map(|c| if pi[c] > 0.0 { from_natural(c) } else { 0.0 }).collect();
        let natural = conditions.correction(&Prior::Natural)?;
        Ok(Posterior { correction: natural, calibrated: Some((map.clone(), offset)) })
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        self.correction.classes()
    }

    /// From logits to the prior, or to the natural prior where a calibration follows.
    pub fn correction(&self) -> &PriorCorrection {
        &self.correction
    }

    /// The map of the natural log posterior, and what is added afterwards for the prior.
    pub fn calibrated(&self) -> Option<(&Calibration, &[f64])> {
        self.calibrated.as_ref().map(|(map, offset)| (map, &offset[..]))
    }

    /// Log probabilities of one row: `logits` and `out` of length C; minus infinity for probability 0.
    pub fn log_posterior(&self, logits: &[f64], out: &mut [f64]) {
        self.correction.log_posterior(logits, out);
        if let Some((map, offset)) = &self.calibrated {
            map.map(out);
            out.iter_mut().zip(offset).for_each(|(log, offset)| *log += offset);
            normalise_logs(out);
        }
    }

    /// Probabilities of many rows: `logits` row-major `rows x C`, replaced in place. Rows are independent, so the
    /// result is the same on any number of threads.
    pub fn posteriors_in_place(&self, logits: &mut [f32]) {
        if self.calibrated.is_none() {
            return self.correction.posteriors_in_place(logits);
        }
        let classes = self.classes().max(1);
        let buffers = || (vec![0.0; classes], vec![0.0; classes]);
        let rows = logits.par_chunks_exact_mut(classes).with_min_len(rows_of_task(classes));
        rows.for_each_init(buffers, |(row, out), values| {
            widen(values, row);
            self.log_posterior(row, out);
            exponentiate(out);
            values.iter_mut().zip(out.iter()).for_each(|(narrow, wide)| *narrow = *wide as f32);
        });
    }

    /// Log probabilities of many rows, `rows x C`, of `logits` of the same shape.
    pub fn log_posteriors(&self, logits: &[f32]) -> Vec<f64> {
        let classes = self.classes().max(1);
        let mut logs = vec![0.0; logits.len()];
        logs.par_chunks_exact_mut(classes)
            .zip(logits.par_chunks_exact(classes))
            .with_min_len(rows_of_task(classes))
            .for_each_init(
                || vec![0.0; classes],
                |row, (out, logits)| {
                    widen(logits, row);
                    self.log_posterior(row, out);
                },
            );
        logs
    }
}

fn widen(narrow: &[f32], wide: &mut [f64]) {
    wide.iter_mut().zip(narrow).for_each(|(wide, narrow)| *wide = f64::from(*narrow));
}
