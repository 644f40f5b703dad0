//! What the fits of one setting say about rows they were not fitted on, kept small: a few numbers a row instead of C
//! logits.

use rayon::prelude::*;

use super::outcomes::Outcomes;
use crate::Result;
use crate::metrics::{Metric, Standing, Tallied};
use crate::weighting::{FitConditions, Prior, PriorCorrection, training_shares};

/// Rows of one task.
const CHUNK_ROWS: usize = 256;

/// One setting read on N rows; rows that no fold holds out keep [`Reading::default`].
#[derive(Debug, Clone)]
pub struct Readings {
    /// One a row.
    pub rows: Vec<Reading>,
    /// For each tau, the class decided for after the adjustment, one a row.
    pub adjusted: Vec<Vec<u32>>,
}

/// What one row was said to be.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    /// Most probable class under the prior of the readings; of equal ones the first.
    pub decided: u32,
    /// Most probable class under the natural prior.
    pub natural: u32,
    /// `-log p_y` under the prior of the readings.
    pub loss: f32,
    /// `sum_c (p_c - [c = y])^2` under the same.
    pub brier: f32,
    /// `-log p_y` under the natural prior.
    pub natural_loss: f32,
    /// `-log p_y` under the uniform prior.
    pub uniform_loss: f32,
    /// Largest probability under the natural prior.
    pub natural_confidence: f32,
}

/// How a class is decided for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The most probable one under the prior of the readings.
    MostProbable,
    /// By the natural log posterior minus `tau log pi`, tau the one at this place.
    Adjusted(usize),
}

/// Turns logits of one fit into readings.
pub struct Reader<'t> {
    decided: PriorCorrection,
    natural: PriorCorrection,
    uniform: PriorCorrection,
    log_shares: Vec<f64>,
    taus: &'t [f64],
}

impl<'t> Reader<'t> {
    /// For the logits of a fit under `conditions`, whose decisions and losses are those under `prior`; `taus` are the
    /// strengths of adjustment to decide by as well.
    ///
    /// # Errors
    /// Those of [`FitConditions::correction`].
    pub fn new(conditions: &FitConditions, prior: &Prior, taus: &'t [f64]) -> Result<Self> {
        let shares = training_shares(&conditions.counts);
        Ok(Reader {
            decided: conditions.correction(prior)?,
            natural: conditions.correction(&Prior::Natural)?,
            uniform: conditions.correction(&Prior::Uniform)?,
            log_shares: shares.iter().map(|share| share.ln()).collect(),
            taus,
        })
    }

    /// Reads `logits` (`rows.len() x C`), whose labels are `labels`, into the places `rows` of `readings`.
    pub fn read(&self, logits: &[f32], labels: &[u32], rows: &[usize], readings: &mut Readings) {
        let classes = self.log_shares.len().max(1);
        let read: Vec<(Reading, Vec<u32>)> = logits
            .par_chunks(CHUNK_ROWS * classes)
            .zip(labels.par_chunks(CHUNK_ROWS))
            .flat_map_iter(|(logits, labels)| {
                let mut buffers = Buffers::new(classes);
                logits
                    .chunks_exact(classes)
                    .zip(labels)
                    .map(move |(z, &label)| self.read_row(z, label as usize, &mut buffers))
            })
            .collect();
        for (&row, (reading, adjusted)) in rows.iter().zip(read) {
            readings.rows[row] = reading;
            for (decisions, decision) in readings.adjusted.iter_mut().zip(adjusted) {
                decisions[row] = decision;
            }
        }
    }

    fn read_row(&self, z: &[f32], label: usize, buffers: &mut Buffers) -> (Reading, Vec<u32>) {
        let Buffers { logits, p } = buffers;
        logits.iter_mut().zip(z).for_each(|(wide, &z)| *wide = f64::from(z));
        let mut reading = Reading::default();
        self.decided.posterior(logits, p);
        reading.decided = largest(p.iter().copied());
        (reading.loss, reading.brier) = losses(p, label);
        self.uniform.posterior(logits, p);
        reading.uniform_loss = losses(p, label).0;
        self.natural.posterior(logits, p);
        reading.natural = largest(p.iter().copied());
        reading.natural_loss = losses(p, label).0;
        reading.natural_confidence = p.get(reading.natural as usize).map_or(0.0, |&p| p as f32);
        if !self.taus.is_empty() {
            p.iter_mut().for_each(|p| *p = p.max(f64::MIN_POSITIVE).ln());
        }
        let adjusted = |&tau: &f64| {
            let shifted = p.iter().zip(&self.log_shares);
            largest(
                shifted.map(|(log_p, share)| if share.is_finite() { log_p - tau * share } else { *log_p }),
            )
        };
        (reading, self.taus.iter().map(adjusted).collect())
    }
}

struct Buffers {
    logits: Vec<f64>,
    p: Vec<f64>,
}

impl Buffers {
    fn new(classes: usize) -> Self {
        Buffers { logits: vec![0.0; classes], p: vec![0.0; classes] }
    }
}

/// Place of the largest value, of equal ones the first.
fn largest(values: impl Iterator<Item = f64>) -> u32 {
    let mut best = (0, f64::NEG_INFINITY);
    for (place, value) in (0..).zip(values) {
        if value > best.1 {
            best = (place, value);
        }
    }
    best.0
}

/// `-log p_y` and the Brier score, as [`crate::metrics`] counts them: a probability that underflows in f32 costs as much as
/// the smallest normal one. NaN for a label that is no class.
fn losses(p: &[f64], label: usize) -> (f32, f32) {
    let Some(&p_label) = p.get(label) else { return (f32::NAN, f32::NAN) };
    let squares: f64 = p.iter().map(|p| p * p).sum();
    let log_loss = -p_label.clamp(f64::from(f32::MIN_POSITIVE), 1.0).ln();
    (log_loss as f32, (squares - 2.0 * p_label + 1.0) as f32)
}

impl Readings {
    /// Room for `rows` rows and the decisions of so many taus.
    pub fn new(rows: usize, taus: usize) -> Self {
        Readings { rows: vec![Reading::default(); rows], adjusted: vec![vec![0; rows]; taus] }
    }

    /// The class decided for.
    pub fn predicted(&self, decision: Decision, row: usize) -> u32 {
        match decision {
            Decision::MostProbable => self.rows[row].decided,
            Decision::Adjusted(tau) => self.adjusted[tau][row],
        }
    }

    /// Prediction, log-loss and Brier score of a row.
    pub fn outcome(&self, decision: Decision, row: usize) -> (u32, f64, f64) {
        let Reading { loss, brier, .. } = self.rows[row];
        (self.predicted(decision, row), f64::from(loss), f64::from(brier))
    }

    /// What is decided about all rows.
    pub fn outcomes(&self, decision: Decision) -> Outcomes {
        Outcomes::of_rows((0..self.rows.len()).map(|row| self.outcome(decision, row)))
    }

    /// How the decisions about `rows` stand by `metric`; `labels` are those of all rows, `train_rows` the training rows of
    /// each class. A metric that outcomes do not give is undefined.
    pub fn standing(
        &self,
        decision: Decision,
        rows: impl Iterator<Item = usize>,
        labels: &[u32],
        train_rows: &[u64],
        metric: Metric,
    ) -> Standing {
        let mut scored = Tallied::new(train_rows.len());
        let mut uniform = Tallied::new(train_rows.len());
        for row in rows {
            let (predicted, log_loss, brier) = self.outcome(decision, row);
            let loss = if metric == Metric::Brier { brier } else { log_loss };
            scored.add(labels[row], predicted, 1.0, loss);
            uniform.add(labels[row], predicted, 1.0, f64::from(self.rows[row].uniform_loss));
        }
        let value = |tallied: &Tallied, metric| tallied.value(metric, train_rows).unwrap_or(f64::NAN);
        let balanced = value(&uniform, Metric::BalancedLogLoss);
        Standing::new(metric, value(&scored, metric), scored.macro_recall_error(), balanced)
    }
}
