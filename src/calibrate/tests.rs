//! Maps against scipy, for every loss, and on rows that have no right answer.

use proptest::prelude::*;

use super::*;
use crate::labels::ClassCounts;
use crate::loss::Loss;
use crate::rng::CounterRng;
use crate::weighting::prior::{Prior, PriorCorrection};
use crate::weighting::{FitConditions, LogitLink};

fn floats(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "{what}: {found} against {expected}");
    }
}

/// Rows x C log probabilities of a model that is too sure of itself, with labels.
fn overconfident(rows: usize, classes: usize, seed: u64) -> (Vec<f64>, Vec<u32>) {
    let mut rng = CounterRng::new(seed, 0);
    let (mut logs, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let label = rng.below(classes * classes).isqrt();
        let mut row: Vec<f64> = (0..classes).map(|_| 6.0 * rng.next_f64()).collect();
        row[label] += 3.0;
        crate::weighting::prior::normalise_logs(&mut row);
        logs.extend(row);
        labels.push(label as u32);
    }
    (logs, labels)
}

#[test]
fn maps_are_those_of_scipy() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/golden/calibration.json")).unwrap();
    for problem in golden.as_array().unwrap() {
        let name = problem["name"].as_str().unwrap();
        let logs = floats(&problem["log_posterior"]);
        let labels: Vec<u32> = floats(&problem["labels"]).iter().map(|&y| y as u32).collect();
        let weights = problem["row_weights"].is_array().then(|| floats(&problem["row_weights"]));
        let classes = problem["classes"].as_u64().unwrap() as usize;
        let held = HeldOut::new(&logs, &labels, weights.as_deref(), classes).unwrap();
        let shared = problem["scale"].as_f64().unwrap();
        let Calibration::Temperature { scale } = Calibration::fit(Method::Temperature, &held) else {
            panic!("{name}: no temperature")
        };
        assert_close(&[scale], &[shared], 1e-11, name);
        let Calibration::Vector { scale, offset } = Calibration::fit(Method::Vector, &held) else {
            panic!("{name}: no vector")
        };
        assert_close(&scale, &floats(&problem["scales"]), 1e-8, name);
        assert_close(&offset, &floats(&problem["offsets"]), 1e-8, name);
        let silent = (0..classes).filter(|&class| !labels.contains(&(class as u32)));
        silent.for_each(|class| assert_eq!((scale[class], offset[class]), (shared_of(&held), 0.0), "{name}"));
    }
}

fn shared_of(held: &HeldOut<'_>) -> f64 {
    temperature::fit(held)
}

#[test]
fn a_temperature_is_found_again_for_every_loss() {
    // Logits that are the optimum of a weighted loss for a posterior eta; the labels are drawn from eta^(1/2): the
    // right scale on the natural posterior is a half whatever the loss did to its logits.
    let (alpha, pi) = ([0.4, 1.5, 4.0], [0.7, 0.2, 0.1]);
    let mut rng = CounterRng::new(8, 0);
    let mut etas = Vec::new();
    let mut labels = Vec::new();
    for _ in 0..4000 {
        let mut eta: Vec<f64> = pi.iter().map(|pi: &f64| pi.ln() + 3.0 * rng.next_f64()).collect();
        crate::weighting::prior::normalise_logs(&mut eta);
        let mut root: Vec<f64> = eta.iter().map(|l| 0.5 * l).collect();
        crate::weighting::prior::exponentiate(&mut root);
        let mut left = rng.next_f64();
        let drawn = root.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        labels.push(drawn.unwrap_or(2) as u32);
        etas.push(eta);
    }
    let scale_of = |loss: Loss, logits: &dyn Fn(&[f64]) -> Vec<f64>| {
        let correction = PriorCorrection::new(loss, &alpha, &pi, 0.0, &Prior::Natural).unwrap();
        let mut logs = Vec::new();
        let mut out = [0.0; 3];
        for eta in &etas {
            correction.log_posterior(&logits(eta), &mut out);
            logs.extend(out);
        }
        temperature::fit(&HeldOut::new(&logs, &labels, None, 3).unwrap())
    };
    let tilted = |eta: &[f64]| {
        let mut q: Vec<f64> = eta.iter().zip(&alpha).map(|(l, a)| l + a.ln()).collect();
        crate::weighting::prior::normalise_logs(&mut q);
        q
    };
    let softmax = scale_of(Loss::Softmax, &tilted);
    assert!((softmax - 0.5).abs() < 0.05, "{softmax}");
    let log_odds = |eta: &[f64]| tilted(eta).iter().map(|l| l - (-l.exp()).ln_1p()).collect::<Vec<f64>>();
    assert!((scale_of(Loss::Sigmoid, &log_odds) - softmax).abs() < 1e-9);
    assert!((scale_of(Loss::Focal { gamma: 0.0 }, &log_odds) - softmax).abs() < 1e-9);
    assert!((scale_of(Loss::SoftmaxFocal { gamma: 0.0 }, &tilted) - softmax).abs() < 1e-9);
}

#[test]
fn rows_that_are_all_right_stop_at_a_bound() {
    let logs = [0.9f64.ln(), 0.1f64.ln(), 0.2f64.ln(), 0.8f64.ln()];
    let right = HeldOut::new(&logs, &[0, 1], None, 2).unwrap();
    assert!((temperature::fit(&right) - 100.0).abs() < 1e-6);
    let wrong = HeldOut::new(&logs, &[1, 0], None, 2).unwrap();
    assert!((temperature::fit(&wrong) - 0.01).abs() < 1e-6);
    for held in [right, wrong] {
        let map = Calibration::fit(Method::Vector, &held);
        assert_eq!(map.fault(2), None, "{map:?}");
    }
}

#[test]
fn classes_of_probability_zero_stay_at_zero() {
    let low = f64::NEG_INFINITY;
    let logs = [0.7f64.ln(), 0.3f64.ln(), low, 0.4f64.ln(), 0.6f64.ln(), low, 0.6f64.ln(), 0.4f64.ln(), low];
    let held = HeldOut::new(&logs, &[0, 1, 1], None, 3).unwrap();
    for method in [Method::Prior, Method::Temperature, Method::Vector] {
        let mut row = logs[..3].to_vec();
        let map = Calibration::fit(method, &held);
        assert_eq!((map.method(), map.fault(3)), (method, None));
        map.map(&mut row);
        assert_eq!(row[2], low, "{method:?}");
        assert!(row[..2].iter().all(|l| l.is_finite()));
    }
}

#[test]
fn bad_rows_are_refused() {
    let code = |logs: &[f64], labels: &[u32], weights: Option<&[f64]>| {
        HeldOut::new(logs, labels, weights, 2).unwrap_err().code()
    };
    assert_eq!(code(&[], &[], None), "E0301");
    assert_eq!(code(&[0.0; 3], &[0], None), "E0315");
    assert_eq!(code(&[-1.0; 2], &[0], Some(&[1.0; 2])), "E0315");
    assert_eq!(code(&[-1.0; 2], &[2], None), "E0323");
    assert_eq!(code(&[f64::NEG_INFINITY, 0.0], &[0], None), "E0323");
    assert_eq!(code(&[-1.0, f64::NAN], &[0], None), "E0323");
}

#[test]
fn every_thread_count_gives_the_same_bytes() {
    let (logs, labels) = overconfident(3_000, 7, 4);
    let held = HeldOut::new(&logs, &labels, None, 7).unwrap();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Calibration::fit(Method::Vector, &held))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn priors_are_one_factor_away_from_the_calibrated_natural_posterior() {
    let (alpha, pi) = ([0.5, 1.0, 2.0], [0.6, 0.3, 0.1]);
    let map = Calibration::Vector { scale: vec![0.5, 0.6, 0.4], offset: vec![0.1, -0.2, 0.0] };
    let conditions = FitConditions {
        loss: Loss::Sigmoid,
        counts: ClassCounts::from_rows(vec![6, 3, 1]),
        alpha: alpha.into(),
        logit_adjust: 0.5,
        link: LogitLink::default(),
    };
    let under = |prior: &Prior, map: Option<&Calibration>| {
        let posterior = Posterior::new(&conditions, prior, map).unwrap();
        let mut p = [0.3f32, -1.0, 0.4];
        posterior.posteriors_in_place(&mut p);
        let logs = posterior.log_posteriors(&[0.3, -1.0, 0.4]);
        assert_close(&logs.iter().map(|l| l.exp()).collect::<Vec<_>>(), &p.map(f64::from), 1e-6, "logs");
        p.map(f64::from)
    };
    let plain = under(&Prior::Natural, None);
    let mut expected: Vec<f64> = plain.iter().map(|p| p.ln()).collect();
    map.map(&mut expected);
    crate::weighting::prior::exponentiate(&mut expected);
    let natural = under(&Prior::Natural, Some(&map));
    assert_close(&natural, &expected, 1e-6, "natural");
    let rho = [0.2, 0.0, 0.8];
    for (prior, factor) in [
        (Prior::Uniform, [1.0 / pi[0], 1.0 / pi[1], 1.0 / pi[2]]),
        (Prior::Given(rho.into()), [rho[0] / pi[0], 0.0, rho[2] / pi[2]]),
    ] {
        let joint: Vec<f64> = natural.iter().zip(factor).map(|(p, f)| p * f).collect();
        let sum: f64 = joint.iter().sum();
        let expected: Vec<f64> = joint.iter().map(|j| j / sum).collect();
        assert_close(&under(&prior, Some(&map)), &expected, 1e-6, prior.name());
    }
    assert_eq!(under(&Prior::AsTrained, Some(&map)), under(&Prior::AsTrained, None));
    assert_eq!(under(&Prior::Natural, Some(&Calibration::Prior)), plain);
}

proptest! {
    #[test]
    fn no_map_is_worse_than_none_where_it_was_fitted(
        rows in 2usize..60, classes in 2usize..6, seed in any::<u64>(),
    ) {
        let (logs, labels) = overconfident(rows, classes, seed);
        let weights: Vec<f64> = (0..rows).map(|row| 0.5 + (row % 4) as f64).collect();
        let held = HeldOut::new(&logs, &labels, Some(&weights), classes).unwrap();
        let loss = |map: &Calibration| -> f64 {
            let of = |row: usize| {
                let mut l = logs[row * classes..(row + 1) * classes].to_vec();
                map.map(&mut l);
                crate::weighting::prior::normalise_logs(&mut l);
                -weights[row] * l[labels[row] as usize]
            };
            (0..rows).map(of).sum()
        };
        let temperature = loss(&Calibration::fit(Method::Temperature, &held));
        let tolerance = 1e-9 * rows as f64;
        prop_assert!(temperature <= loss(&Calibration::Prior) + tolerance);
        // The ridge only pulls towards the temperature, so it cannot lead above it.
        prop_assert!(loss(&Calibration::fit(Method::Vector, &held)) <= temperature + tolerance);
    }

    #[test]
    fn an_integer_row_weight_equals_repeated_rows(seed in any::<u64>()) {
        let (logs, labels) = overconfident(30, 3, seed);
        let times: Vec<f64> = (0..30).map(|row| (row % 3 + 1) as f64).collect();
        let repeated: Vec<usize> = (0..30).flat_map(|r| std::iter::repeat_n(r, r % 3 + 1)).collect();
        let many: Vec<f64> = repeated.iter().flat_map(|&r| logs[r * 3..(r + 1) * 3].to_vec()).collect();
        let many_labels: Vec<u32> = repeated.iter().map(|&r| labels[r]).collect();
        let weighted = temperature::fit(&HeldOut::new(&logs, &labels, Some(&times), 3).unwrap());
        let plain = temperature::fit(&HeldOut::new(&many, &many_labels, None, 3).unwrap());
        prop_assert!((weighted - plain).abs() < 1e-9 * plain, "{} {}", weighted, plain);
    }
}
