//! From the logits of a weighted fit back to probabilities under a prior of the user's choice.
//!
//! At the population optimum of a loss weighted by `alpha`, the model has learnt the tilted posterior
//! `q_c = alpha_c eta_c / sum_j alpha_j eta_j` of the true posterior eta. Training with logit adjustment puts
//! `u = z + tau log pi` in place of the raw logits z into the loss, so it is u that is tied to q:
//!
//! | loss | tie at the optimum |
//! |---|---|
//! | softmax | `q = softmax(u)` |
//! | sigmoid | `q_c = sigma(u_c)`: the weight of the row multiplies all C terms, so each is a binary fit to q_c |
//! | focal | `q_c = h(p) / (h(p) + h(1-p))`, `p = sigma(u_c)` |
//! | softmax focal | `q_c` proportional to `h(p_c)`, `p = softmax(u)` |
//!
//! with the focal link `h(v) = v / ((1-v)^g - g (1-v)^(g-1) v log v)`, which sets the derivative of the expected
//! loss to zero. Then `eta_c` is proportional to `q_c / alpha_c`, and a prior rho multiplies it by `rho_c / pi_c`.
//! All of it is done on logarithms: logits of 1e4 stay finite.

use rayon::prelude::*;

use super::link::LogitLink;
use crate::labels::ClassCounts;
use crate::loss::Loss;
use crate::{Error, Result};

/// Class frequencies that probabilities are stated for.
#[derive(Debug, Clone, PartialEq)]
pub enum Prior {
    /// No correction: the probabilities the loss fitted, tilted by the class weights.
    AsTrained,
    /// The training shares.
    Natural,
    /// All classes equally frequent: the argmax maximises balanced accuracy.
    Uniform,
    /// Given shares, one a class in code order; only their ratios count. A class of share 0 gets probability 0.
    Given(Vec<f64>),
}

impl Prior {
    /// `as-trained`, `natural`, `uniform` or `given`.
    pub fn name(&self) -> &'static str {
        match self {
            Prior::AsTrained => "as-trained",
            Prior::Natural => "natural",
            Prior::Uniform => "uniform",
            Prior::Given(_) => "given",
        }
    }
}

/// Share of each class in the (weighted) counts; sums to 1. All zero where there are no rows.
pub fn training_shares(counts: &ClassCounts) -> Vec<f64> {
    let total: f64 = counts.weighted.iter().sum();
    let scale = if total > 0.0 { 1.0 / total } else { 0.0 };
    counts.weighted.iter().map(|n| n * scale).collect()
}

/// Turns logits into probabilities under one prior. Classes without training rows get probability 0.
#[derive(Debug, Clone, PartialEq)]
pub struct PriorCorrection {
    link: Link,
    /// What else the loss saw in place of the logits.
    logits: LogitLink,
    /// Added to the logits: `tau log pi`.
    shift: Vec<f64>,
    /// Added to log q: `-log alpha + log rho - log pi`; minus infinity for a class of probability 0.
    offset: Vec<f64>,
    /// Classes with training rows: the others have no part in the link either.
    active: Vec<bool>,
}

/// How log q follows from the adjusted logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Link {
    /// Their softmax.
    Softmax,
    /// A sigmoid of each.
    Sigmoid,
    /// The focal link of each sigmoid, with this gamma.
    Focal(f64),
    /// The focal link of each value of the softmax, with this gamma.
    SoftmaxFocal(f64),
}

/// What a correction does, for those who write it down elsewhere: `log q + offset` up to a constant of the row, where q
/// follows by `link` from the adjusted logits `scale z + shift`. Lists have C values, or none where they change
/// nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula<'a> {
    /// From adjusted logits to log q.
    pub link: Link,
    /// Factors of the logits, or none.
    pub scale: &'a [f64],
    /// Added to them.
    pub shift: Vec<f64>,
    /// Margins of LDAM in the link, or none.
    pub margins: &'a [f64],
    /// Added to log q; minus infinity for a class of probability 0.
    pub offset: &'a [f64],
}

impl PriorCorrection {
    /// Correction for a model fitted with `loss`, class weights `alpha` (any scale; 0 = class without rows), training
    /// shares `pi` and logit adjustment `tau` (0 = none), so that probabilities hold under `prior`.
    ///
    /// Lengths of `alpha` and `pi` are the C of the model. [`Error::BadPrior`] where a given prior is not one finite
    /// share of at least 0 for every class with training rows, and where no class is left.
    pub fn new(loss: Loss, alpha: &[f64], pi: &[f64], tau: f64, prior: &Prior) -> Result<Self> {
        let classes = pi.len();
        let bad = |detail: String| Error::BadPrior { place: format!("prior {}", prior.name()), detail };
        if alpha.len() != classes {
            return Err(bad(format!("{} class weights for {classes} classes", alpha.len())));
        }
        if let Prior::Given(rho) = prior
            && rho.len() != classes
        {
            return Err(bad(format!("{} shares for {classes} classes", rho.len())));
        }
        let active: Vec<bool> = pi.iter().zip(alpha).map(|(pi, alpha)| *pi > 0.0 && *alpha > 0.0).collect();
        let mut shift = vec![0.0; classes];
        let mut offset = vec![f64::NEG_INFINITY; classes];
        for c in (0..classes).filter(|&c| active[c]) {
            let untilt = -alpha[c].ln();
            offset[c] = match prior {
                Prior::AsTrained => 0.0,
                Prior::Natural => untilt,
                Prior::Uniform => untilt - pi[c].ln(),
                Prior::Given(rho) => untilt + rho[c].ln() - pi[c].ln(),
            };
            let is_excluded = matches!(prior, Prior::Given(rho) if rho[c] == 0.0);
            if !offset[c].is_finite() && !is_excluded {
                return Err(bad(match prior {
                    Prior::Given(rho) => format!("class {c} (by code) has share {}", rho[c]),
                    _ => format!("class {c} (by code) has weight {} and training share {}", alpha[c], pi[c]),
                }));
            }
            if tau != 0.0 && *prior != Prior::AsTrained {
                shift[c] = tau * pi[c].ln();
            }
        }
        if !active.contains(&true) {
            return Err(bad("no class has training rows".into()));
        }
        if !offset.iter().any(|o| o.is_finite()) {
            return Err(bad("every class with training rows has share 0".into()));
        }
        let as_trained = *prior == Prior::AsTrained;
        let link = match loss {
            Loss::Softmax => Link::Softmax,
            Loss::Sigmoid => Link::Sigmoid,
            Loss::Focal { .. } if as_trained => Link::Sigmoid,
            Loss::SoftmaxFocal { .. } if as_trained => Link::Softmax,
            Loss::Focal { gamma } => Link::Focal(gamma),
            Loss::SoftmaxFocal { gamma } => Link::SoftmaxFocal(gamma),
        };
        Ok(PriorCorrection { link, logits: LogitLink::default(), shift, offset, active })
    }

    /// The same for a model whose logits are tied to the posterior through `logits`, whose lists fit the C of the model.
    /// Probabilities as trained stay what they are: the softmax (or sigmoids) of the model's own logits. Margins are known
    /// to be undone for the softmax and sigmoid losses only.
    pub fn through(mut self, logits: &LogitLink, prior: &Prior) -> Self {
        if *prior != Prior::AsTrained {
            self.logits = logits.clone();
        }
        self
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        self.offset.len()
    }

    /// What this does.
    pub fn formula(&self) -> Formula<'_> {
        let mut shift = self.shift.clone();
        shift.iter_mut().zip(&self.logits.shift).for_each(|(shift, more)| *shift += more);
        let (scale, margins) = (&self.logits.scale, &self.logits.margins);
        Formula { link: self.link, scale, shift, margins, offset: &self.offset }
    }

    /// Probabilities of one row: `logits` and `out` of length C; `out` sums to 1.
    pub fn posterior(&self, logits: &[f64], out: &mut [f64]) {
        self.log_joint(logits, out);
        exponentiate(out);
    }

    /// Logarithms of the probabilities of one row, which keep their digits where probabilities underflow: `logits` and
    /// `out` of length C; minus infinity for classes of probability 0.
    pub fn log_posterior(&self, logits: &[f64], out: &mut [f64]) {
        self.log_joint(logits, out);
        normalise_logs(out);
    }

    /// Log probabilities up to a constant of the row.
    fn log_joint(&self, logits: &[f64], out: &mut [f64]) {
        for ((u, z), shift) in out.iter_mut().zip(logits).zip(&self.shift) {
            *u = z + shift;
        }
        out.iter_mut()
            .zip(logits)
            .zip(&self.logits.scale)
            .for_each(|((u, z), scale)| *u += (scale - 1.0) * z);
        out.iter_mut().zip(&self.logits.shift).for_each(|(u, shift)| *u += shift);
        self.log_tilted(out);
        for (log_q, offset) in out.iter_mut().zip(&self.offset) {
            *log_q = if *offset == f64::NEG_INFINITY { *offset } else { *log_q + offset };
        }
    }

    /// Probabilities of many rows: `logits` row-major `rows x C`, replaced in place. Rows are independent, so the
    /// result is the same on any number of threads.
    pub fn posteriors_in_place(&self, logits: &mut [f32]) {
        let classes = self.classes().max(1);
        let buffers = || (vec![0.0; classes], vec![0.0; classes]);
        let rows = logits.par_chunks_exact_mut(classes).with_min_len(rows_of_task(classes));
        rows.for_each_init(buffers, |(row, out), values| {
            for (wide, narrow) in row.iter_mut().zip(values.iter()) {
                *wide = f64::from(*narrow);
            }
            self.posterior(row, out);
            for (narrow, wide) in values.iter_mut().zip(out.iter()) {
                *narrow = *wide as f32;
            }
        });
    }

    /// Replaces adjusted logits u by log q, up to a constant of the row.
    fn log_tilted(&self, u: &mut [f64]) {
        match self.link {
            Link::Softmax if self.logits.margins.is_empty() => {}
            Link::Softmax => {
                let top = u.iter().zip(&self.active).filter(|(_, active)| **active).map(|(u, _)| *u);
                let top = top.fold(f64::NEG_INFINITY, f64::max);
                let seen = u.iter().zip(&self.active).filter(|(_, active)| **active);
                let log_total = top + seen.map(|(u, _)| (u - top).exp()).sum::<f64>().ln();
                u.iter_mut().for_each(|u| *u -= log_total);
                self.logits.undo_softmax_margins(u);
            }
            Link::Sigmoid if self.logits.margins.is_empty() => u.iter_mut().for_each(|u| *u = -softplus(-*u)),
            // eta sigma(m - u) = (1 - eta) sigma(u): the margin moves the term of the true class only.
            Link::Sigmoid => u.iter_mut().zip(&self.logits.margins).for_each(|(u, margin)| {
                let (this, rest) = (-softplus(-*u), -softplus(*u - margin));
                *u = this - log_add(this, rest);
            }),
            Link::Focal(gamma) => u.iter_mut().for_each(|u| {
                let (this, rest) = (log_focal_link(*u, gamma), log_focal_link(-*u, gamma));
                *u = this - log_add(this, rest);
            }),
            // One class alone has probability 1 whatever its logit.
            Link::SoftmaxFocal(_) if self.active.iter().filter(|active| **active).count() < 2 => u.fill(0.0),
            Link::SoftmaxFocal(gamma) => self.log_softmax_focal(u, gamma),
        }
    }

    /// `log h(softmax(u)_c)` for each class with training rows. h needs `1 - p` exactly where p is near 1, which is
    /// possible for the largest logit only: its log odds are taken against the sum of all others.
    fn log_softmax_focal(&self, u: &mut [f64], gamma: f64) {
        let active = |c: &usize| self.active[*c];
        let largest = |skipped: Option<usize>| {
            let others = (0..u.len()).filter(active).filter(|c| Some(*c) != skipped);
            others.reduce(|best, c| if u[c] > u[best] { c } else { best })
        };
        let Some(top) = largest(None) else { return };
        let Some(second) = largest(Some(top)) else { return };
        let (u_top, u_second) = (u[top], u[second]);
        let others = (0..u.len()).filter(active).filter(|c| *c != top);
        let log_others = u_second + others.map(|c| (u[c] - u_second).exp()).sum::<f64>().ln();
        let top_odds = u_top - log_others;
        let log_total = u_top + softplus(-top_odds);
        for (c, u) in u.iter_mut().enumerate() {
            let log_p = *u - log_total;
            let odds = if c == top { top_odds } else { log_p - (-log_p.exp()).ln_1p() };
            *u = log_focal_link(odds, gamma);
        }
    }
}

/// `log h(sigma(u))` of the focal link.
fn log_focal_link(u: f64, gamma: f64) -> f64 {
    let log_v = -softplus(-u);
    if gamma == 0.0 {
        return log_v;
    }
    let log_rest = -softplus(u);
    // (1-v)^g - g (1-v)^(g-1) v log v = (1-v)^(g-1) * [(1-v) + g v (-log v)]
    let bracket = log_add(log_rest, gamma.ln() + log_v + log_softplus(-u));
    log_v - (gamma - 1.0) * log_rest - bracket
}

fn softplus(u: f64) -> f64 {
    u.max(0.0) + (-u.abs()).exp().ln_1p()
}

/// `log softplus(u)`; below -37 softplus(u) is exp(u) to the last bit, and underflows long before its logarithm.
fn log_softplus(u: f64) -> f64 {
    if u < -37.0 { u } else { softplus(u).ln() }
}

/// `log(exp(a) + exp(b))`.
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// Shifts logarithms of shares so that the shares sum to 1. At least one of `logs` is finite.
pub(crate) fn normalise_logs(logs: &mut [f64]) {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total = top + logs.iter().map(|log| (log - top).exp()).sum::<f64>().ln();
    logs.iter_mut().for_each(|log| *log -= total);
}

/// Rows of so many classes that are worth a task of their own.
pub(crate) fn rows_of_task(classes: usize) -> usize {
    const VALUES: usize = 1 << 16;
    (VALUES / classes.max(1)).clamp(1, 64)
}

/// Replaces logarithms by probabilities that sum to 1.
pub(crate) fn exponentiate(logs: &mut [f64]) {
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for value in logs.iter_mut() {
        *value = (*value - top).exp();
        sum += *value;
    }
    for value in logs.iter_mut() {
        *value /= sum;
    }
}

#[cfg(test)]
mod tests;
