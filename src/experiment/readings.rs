//! What the fits of one setting say about rows they were not fitted on, kept small: a few numbers a row instead of C
//! logits.

use rayon::prelude::*;

use crate::Result;
use crate::linear::search::{Recipe, WeightedSample};
use crate::weighting::{Prior, PriorCorrection, training_shares};

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
    /// Most probable class as trained; of equal ones the first.
    pub decided: u32,
    /// Most probable class under the natural prior.
    pub natural: u32,
    /// `-log p_y` as trained.
    pub trained_loss: f32,
    /// `-log p_y` under the natural prior.
    pub natural_loss: f32,
    /// `-log p_y` under the uniform prior.
    pub uniform_loss: f32,
    /// Largest probability under the natural prior.
    pub natural_confidence: f32,
}

/// Turns logits of one fit into readings.
pub struct Reader<'t> {
    trained: PriorCorrection,
    natural: PriorCorrection,
    uniform: PriorCorrection,
    log_shares: Vec<f64>,
    taus: &'t [f64],
}

impl<'t> Reader<'t> {
    /// For the fits of `weighted`; `taus` are the strengths of adjustment to decide by.
    ///
    /// # Errors
    /// Those of [`PriorCorrection::new`].
    pub fn new(weighted: &WeightedSample<'_>, recipe: &Recipe, taus: &'t [f64]) -> Result<Self> {
        let shares = training_shares(&weighted.counts);
        let alpha = &weighted.class_weights.alpha;
        let under =
            |prior: &Prior| PriorCorrection::new(recipe.loss, alpha, &shares, recipe.logit_adjust, prior);
        Ok(Reader {
            trained: under(&Prior::AsTrained)?,
            natural: under(&Prior::Natural)?,
            uniform: under(&Prior::Uniform)?,
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
        self.trained.posterior(logits, p);
        reading.decided = largest(p.iter().copied());
        reading.trained_loss = loss_of(p[label]);
        self.uniform.posterior(logits, p);
        reading.uniform_loss = loss_of(p[label]);
        self.natural.posterior(logits, p);
        reading.natural = largest(p.iter().copied());
        reading.natural_loss = loss_of(p[label]);
        reading.natural_confidence = p[reading.natural as usize] as f32;
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

/// As [`crate::metrics`] counts it: probabilities that underflow in f32 cost as much as the smallest normal one.
fn loss_of(p: f64) -> f32 {
    -(p.clamp(f64::from(f32::MIN_POSITIVE), 1.0).ln() as f32)
}

impl Readings {
    /// Room for `rows` rows and the decisions of so many taus.
    pub fn new(rows: usize, taus: usize) -> Self {
        Readings { rows: vec![Reading::default(); rows], adjusted: vec![vec![0; rows]; taus] }
    }
}
