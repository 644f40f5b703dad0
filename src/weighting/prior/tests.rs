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
            let slope = |u| w * focal_gradient(u, 1.0, gamma) + (total - w) * focal_gradient(u, -1.0, gamma);
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
    let gap = PriorCorrection::new(Loss::Softmax, &[1.0, 0.0], &[1.0, 0.0], 0.0, &Prior::Natural).unwrap();
    let mut logs = [0.0; 2];
    gap.log_posterior(&[3.0, 4.0], &mut logs);
    assert_eq!(logs, [0.0, f64::NEG_INFINITY]);
}

#[test]
fn bad_priors_are_refused() {
    let new = |pi: &[f64], prior| PriorCorrection::new(Loss::Softmax, &[1.0, 1.0], pi, 0.0, &prior);
    for rho in [vec![1.0], vec![0.0, 0.0], vec![1.0, -1.0], vec![f64::NAN, 1.0], vec![f64::INFINITY, 1.0]] {
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
