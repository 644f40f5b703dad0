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
        logits.par_chunks_exact_mut(classes).with_min_len(64).for_each_init(buffers, |(row, out), values| {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GAMMAS: [f64; 4] = [0.0, 0.5, 1.0, 2.0];

    /// Root of an increasing function.
    fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if f(middle) < 0.0 { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    }

    /// d/du of the focal loss of one binary term (METHODS section 2), `s` = +1 for the true class.
    fn focal_gradient(u: f64, s: f64, gamma: f64) -> f64 {
        let log_p = -softplus(-s * u);
        let (p, q) = (log_p.exp(), (-softplus(s * u)).exp());
        s * q.powf(gamma) * (gamma * p * log_p - q)
    }

    /// Minus the derivative of -(1-v)^g log v.
    fn softmax_focal_slope(v: f64, gamma: f64) -> f64 {
        (1.0 - v).powf(gamma) / v - gamma * (1.0 - v).powf(gamma - 1.0) * v.ln()
    }

    /// Adjusted logits that minimise the expected loss `sum_c weights_c * loss(u, c)`, found from the loss itself.
    fn optimum(loss: Loss, weights: &[f64]) -> Vec<f64> {
        let total: f64 = weights.iter().sum();
        let one_vs_rest = |gamma: f64| {
            let class = |w: &f64| {
                let slope =
                    |u| w * focal_gradient(u, 1.0, gamma) + (total - w) * focal_gradient(u, -1.0, gamma);
                bisect(-60.0, 60.0, slope)
            };
            weights.iter().map(class).collect()
        };
        match loss {
            Loss::Softmax => weights.iter().map(|w| w.ln()).collect(),
            Loss::Sigmoid => one_vs_rest(0.0),
            Loss::Focal { gamma } => one_vs_rest(gamma),
            Loss::SoftmaxFocal { gamma } => {
                // Lagrange: weights_c * slope(p_c) is one number for all classes, and the p add up to 1.
                let shares = |lambda: f64| -> Vec<f64> {
                    let class = |w: &f64| {
                        bisect(-60.0, -1e-12, |log_p| lambda - w * softmax_focal_slope(log_p.exp(), gamma))
                    };
                    weights.iter().map(|w| class(w).exp()).collect()
                };
                let lambda = bisect(-20.0, 20.0, |log| 1.0 - shares(log.exp()).iter().sum::<f64>()).exp();
                shares(lambda).iter().map(|p| p.ln() + 3.0).collect()
            }
        }
    }

    fn losses() -> Vec<Loss> {
        let mut losses = vec![Loss::Softmax, Loss::Sigmoid];
        losses.extend(GAMMAS.map(|gamma| Loss::Focal { gamma }));
        losses.extend(GAMMAS.map(|gamma| Loss::SoftmaxFocal { gamma }));
        losses
    }

    fn corrected(loss: Loss, alpha: &[f64], pi: &[f64], tau: f64, prior: &Prior, logits: &[f64]) -> Vec<f64> {
        let correction = PriorCorrection::new(loss, alpha, pi, tau, prior).unwrap();
        let mut out = vec![0.0; logits.len()];
        correction.posterior(logits, &mut out);
        out
    }

    fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
        let gap = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max);
        assert!(gap <= tolerance, "{what}: {found:?} against {expected:?}");
    }

    const PI: [f64; 5] = [0.6, 0.25, 0.1, 0.04, 0.01];
    const ALPHA: [f64; 5] = [0.1, 0.4, 1.3, 4.0, 20.0];
    const ETAS: [[f64; 5]; 3] =
        [[0.55, 0.25, 0.1, 0.07, 0.03], [0.002, 0.9, 0.05, 0.04, 0.008], [0.2, 0.2, 0.2, 0.2, 0.2]];

    #[test]
    fn a_class_that_em_finds_in_no_row_gets_probability_0() {
        let pi = [0.5, 0.3, 0.2];
        let estimate = crate::weighting::estimate_prior(&[0.6, 0.4, 0.0, 0.1, 0.9, 0.0], &pi).unwrap();
        assert_eq!(estimate.prior[2], 0.0);
        for loss in losses() {
            let alpha = [0.5, 1.0, 2.0];
            let given = Prior::Given(estimate.prior.clone());
            let found = corrected(loss, &alpha, &pi, 0.0, &given, &[0.3, -0.2, 4.0]);
            let natural = corrected(loss, &alpha, &pi, 0.0, &Prior::Natural, &[0.3, -0.2, 4.0]);
            let joint = [0, 1].map(|c| natural[c] * estimate.prior[c] / pi[c]);
            let expected = [joint[0] / (joint[0] + joint[1]), joint[1] / (joint[0] + joint[1]), 0.0];
            assert_close(&found, &expected, 1e-12, loss.name());
        }
    }

    #[test]
    fn the_natural_posterior_is_recovered_from_the_optimum_of_every_weighted_loss() {
        for loss in losses() {
            for tau in [0.0, 1.0, 0.4] {
                for eta in ETAS {
                    let weights: Vec<f64> = ALPHA.iter().zip(&eta).map(|(a, e)| a * e).collect();
                    let adjusted = optimum(loss, &weights);
                    let raw: Vec<f64> = adjusted.iter().zip(&PI).map(|(u, pi)| u - tau * pi.ln()).collect();
                    let natural = corrected(loss, &ALPHA, &PI, tau, &Prior::Natural, &raw);
                    assert_close(&natural, &eta, 1e-9, &format!("{loss:?} tau {tau}"));
                }
            }
        }
    }

    #[test]
    fn the_optima_of_the_test_are_optima() {
        // Central differences of the softmax focal loss itself, so that recovery does not rest on one derivation.
        let value = |u: &[f64], weights: &[f64], gamma: f64| -> f64 {
            let sum: f64 = u.iter().map(|u| u.exp()).sum();
            let p = u.iter().map(|u| u.exp() / sum);
            p.zip(weights).map(|(p, w)| -w * (1.0 - p).powf(gamma) * p.ln()).sum()
        };
        for gamma in GAMMAS {
            let weights = [0.3, 0.5, 0.1, 0.2, 0.05];
            let u = optimum(Loss::SoftmaxFocal { gamma }, &weights);
            for c in 0..u.len() {
                let moved = |step: f64| {
                    let mut u = u.clone();
                    u[c] += step;
                    value(&u, &weights, gamma)
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!(slope.abs() < 1e-8, "gamma {gamma}, class {c}: {slope}");
            }
        }
    }

    #[test]
    fn priors_reweigh_the_natural_posterior() {
        let eta = ETAS[0];
        let logits: Vec<f64> = eta.iter().zip(&ALPHA).map(|(e, a)| (e * a).ln()).collect();
        let under = |prior: &Prior| corrected(Loss::Softmax, &ALPHA, &PI, 0.0, prior, &logits);
        let expected = |rho: &[f64]| {
            let tilted: Vec<f64> = (0..5).map(|c| eta[c] * rho[c] / PI[c]).collect();
            let sum: f64 = tilted.iter().sum();
            tilted.iter().map(|t| t / sum).collect::<Vec<f64>>()
        };
        assert_close(&under(&Prior::Uniform), &expected(&[1.0; 5]), 1e-14, "uniform");
        let rho = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_close(&under(&Prior::Given(rho.into())), &expected(&rho), 1e-14, "given");
        assert_close(&under(&Prior::Given(PI.into())), &eta, 1e-14, "given the training shares");
    }

    #[test]
    fn as_trained_is_the_plain_model() {
        let logits = [1.0, -0.5, 3.0, 0.0, -2.0];
        let softmax = corrected(Loss::Softmax, &ALPHA, &PI, 1.0, &Prior::AsTrained, &logits);
        let sum: f64 = logits.iter().map(|z: &f64| z.exp()).sum();
        assert_close(&softmax, &logits.map(|z| z.exp() / sum), 1e-15, "softmax");
        let sigma = logits.map(|z| 1.0 / (1.0 + (-z).exp()));
        let sum: f64 = sigma.iter().sum();
        let focal = corrected(Loss::Focal { gamma: 2.0 }, &ALPHA, &PI, 0.0, &Prior::AsTrained, &logits);
        assert_close(&focal, &sigma.map(|s| s / sum), 1e-15, "focal");
    }

    #[test]
    fn logits_of_ten_thousand_stay_finite() {
        let logits = [1e4, -1e4, 9_999.0, 0.0, -1e4 + 1.0];
        for loss in losses() {
            for prior in [Prior::AsTrained, Prior::Natural, Prior::Uniform] {
                let p = corrected(loss, &ALPHA, &PI, 0.5, &prior, &logits);
                assert!(p.iter().all(|p| p.is_finite()), "{loss:?} {prior:?}: {p:?}");
                assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                assert!(p[0] > p[1], "{loss:?} {prior:?}: {p:?}");
            }
            // All logits far below zero: sigma underflows, the ratios must not.
            let low = corrected(loss, &[1.0; 2], &[0.5; 2], 0.0, &Prior::AsTrained, &[-1e4, -1e4 + 1.0]);
            assert!((low[1] / low[0] - 1f64.exp()).abs() < 1e-9, "{loss:?}: {low:?}");
        }
    }

    #[test]
    fn classes_without_rows_get_nothing_and_change_nothing() {
        for loss in losses() {
            let full = corrected(loss, &[1.0, 3.0], &[0.7, 0.3], 0.5, &Prior::Natural, &[0.2, -1.0]);
            let gap =
                corrected(loss, &[1.0, 0.0, 3.0], &[0.7, 0.0, 0.3], 0.5, &Prior::Natural, &[0.2, 50.0, -1.0]);
            assert_close(&gap, &[full[0], 0.0, full[1]], 1e-15, &format!("{loss:?}"));
            let alone = corrected(loss, &[1.0, 0.0], &[1.0, 0.0], 0.0, &Prior::Natural, &[-30.0, 9.0]);
            assert_eq!(alone, [1.0, 0.0], "{loss:?}");
        }
    }

    #[test]
    fn log_posteriors_are_logarithms_that_do_not_underflow() {
        for loss in losses() {
            let correction = PriorCorrection::new(loss, &ALPHA, &PI, 0.5, &Prior::Natural).unwrap();
            let mut logs = [0.0; 5];
            let mut p = [0.0; 5];
            for logits in [[0.5, -1.0, 2.0, 0.1, -0.3], [900.0, -900.0, 0.0, 1.0, 2.0]] {
                correction.posterior(&logits, &mut p);
                correction.log_posterior(&logits, &mut logs);
                assert_close(&logs.map(f64::exp), &p, 1e-12, loss.name());
                assert!(logs.iter().all(|log| log.is_finite()), "{loss:?}: {logs:?}");
            }
        }
        let gap =
            PriorCorrection::new(Loss::Softmax, &[1.0, 0.0], &[1.0, 0.0], 0.0, &Prior::Natural).unwrap();
        let mut logs = [0.0; 2];
        gap.log_posterior(&[3.0, 4.0], &mut logs);
        assert_eq!(logs, [0.0, f64::NEG_INFINITY]);
    }

    #[test]
    fn bad_priors_are_refused() {
        let new = |pi: &[f64], prior| PriorCorrection::new(Loss::Softmax, &[1.0, 1.0], pi, 0.0, &prior);
        for rho in [vec![1.0], vec![0.0, 0.0], vec![1.0, -1.0], vec![f64::NAN, 1.0], vec![f64::INFINITY, 1.0]]
        {
            assert_eq!(new(&[0.5, 0.5], Prior::Given(rho)).unwrap_err().code(), "E0321");
        }
        assert_eq!(new(&[0.0, 0.0], Prior::Natural).unwrap_err().code(), "E0321");
        assert_eq!(new(&[1.0], Prior::Natural).unwrap_err().code(), "E0321");
        assert!(new(&[1.0, 0.0], Prior::Given(vec![1.0, 0.0])).is_ok());
    }

    proptest! {
        #[test]
        fn batches_equal_single_rows(
            logits in prop::collection::vec(-50.0..50.0f32, 15), gamma in 0.0..5.0f64, which in 0usize..4,
        ) {
            let loss =
                [Loss::Softmax, Loss::Sigmoid, Loss::Focal { gamma }, Loss::SoftmaxFocal { gamma }][which];
            let correction = PriorCorrection::new(loss, &ALPHA, &PI, 0.3, &Prior::Uniform).unwrap();
            let mut batch = logits.clone();
            correction.posteriors_in_place(&mut batch);
            for (row, found) in logits.chunks(5).zip(batch.chunks(5)) {
                let wide: Vec<f64> = row.iter().map(|&z| f64::from(z)).collect();
                let mut out = vec![0.0; 5];
                correction.posterior(&wide, &mut out);
                prop_assert!((out.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{:?}", out);
                let narrow: Vec<f32> = out.iter().map(|&p| p as f32).collect();
                prop_assert_eq!(found, &narrow[..]);
            }
        }
    }

    #[test]
    fn shares_are_those_of_the_weighted_rows() {
        let counts = |weighted: &[f64]| ClassCounts { rows: vec![1; 3], weighted: weighted.to_vec() };
        assert_eq!(training_shares(&counts(&[3.0, 0.0, 1.0])), [0.75, 0.0, 0.25]);
        assert_eq!(training_shares(&counts(&[0.0; 3])), [0.0; 3]);
    }

    #[test]
    fn a_formula_says_what_is_done() {
        let (pi, prior) = ([0.75, 0.25], Prior::Uniform);
        let plain = PriorCorrection::new(Loss::Focal { gamma: 2.0 }, &[0.5, 4.0], &pi, 1.0, &prior).unwrap();
        let link = LogitLink { scale: vec![1.0, 2.0], shift: vec![0.0, 3.0], margins: vec![0.5, 0.0] };
        let correction = plain.through(&link, &prior);
        let found = correction.formula();
        assert_eq!((correction.classes(), found.link), (2, Link::Focal(2.0)));
        assert_eq!(found.shift, [0.75f64.ln(), 0.25f64.ln() + 3.0]);
        assert_eq!((found.scale, found.margins), (&link.scale[..], &link.margins[..]));
        let offset = found.offset[1] - found.offset[0];
        assert!((offset - (0.125f64.ln() + 3f64.ln())).abs() < 1e-12, "{found:?}");
        let names = [Prior::AsTrained, Prior::Natural, prior, Prior::Given(vec![])].map(|prior| prior.name());
        assert_eq!(names, ["as-trained", "natural", "uniform", "given"]);
    }
}
