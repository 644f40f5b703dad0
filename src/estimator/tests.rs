use std::ops::ControlFlow;

use super::*;
use crate::data::scale::Scale;
use crate::labels::{LabelKind, LabelMap};
use crate::matrix::{MatRef, Matrix, SparseRows, Storage};
use crate::model::Learner;
use crate::model_file::{load, save};
use crate::rng::CounterRng;
use crate::weighting::{ClassWeights, Prior};

/// Rows around the means of three classes of 400, 60 and 12 rows.
pub(super) fn rows(seed: u64) -> (Vec<f32>, Vec<&'static str>) {
    let mut rng = CounterRng::new(seed, 0);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for (at, (name, count)) in [("common", 400), ("rare", 60), ("rarest", 12)].into_iter().enumerate() {
        for _ in 0..count {
            for feature in 0..4 {
                let noise: f64 = (0..4).map(|_| rng.next_f64() - 0.5).sum();
                x.push((noise + if feature == at { 1.2 } else { 0.0 }) as f32);
            }
            y.push(name);
        }
    }
    (x, y)
}

fn macro_recall(truth: &[&str], found: &[&str]) -> f64 {
    let of = |class: &str| {
        let own: Vec<bool> =
            truth.iter().zip(found).filter(|(t, _)| **t == class).map(|(t, f)| t == f).collect();
        own.iter().filter(|hit| **hit).count() as f64 / own.len() as f64
    };
    ["common", "rare", "rarest"].into_iter().map(of).sum::<f64>() / 3.0
}

#[test]
fn linear_fits_know_their_classes_and_weights() {
    let ((x, y), (other_x, other_y)) = (rows(1), rows(2));
    let (x, other) = ((&x[..], 4), (&other_x[..], 4));
    let plain = Linear::softmax().l2(1e-3).fit(&x, &y).unwrap();
    assert_eq!(plain.classes(), ["common", "rare", "rarest"]);
    assert!(plain.report().converged && plain.report().relative_gap.is_some_and(|gap| gap <= 1e-3));
    let weighting = Weighting::effective(0.999).unwrap();
    let balanced = Linear::softmax().weighting(weighting).l2(1e-3).fit(&x, &y).unwrap();
    let expected = ClassWeights::effective(&[400, 60, 12], 0.999).unwrap();
    assert_eq!(balanced.class_weights(), expected.alpha);
    let recall = |model: &Fitted<&'static str>| macro_recall(&other_y, &model.predict(&other).unwrap());
    assert!(recall(&balanced) > recall(&plain) + 0.05, "{} {}", recall(&balanced), recall(&plain));
    // The prior undone, weighting changes little.
    let natural = balanced.predict_proba_under(&other, &Prior::Natural).unwrap();
    let own = plain.predict_proba(&other).unwrap();
    let mean = natural.iter().zip(&own).map(|(a, b)| (a - b).abs()).sum::<f32>() / own.len() as f32;
    assert!(mean < 0.05, "{mean}");
    let uniform = macro_recall(&other_y, &plain.predict_under(&other, &Prior::Uniform).unwrap());
    assert!(uniform > recall(&plain) + 0.05, "{uniform}");
}

#[test]
fn l2_is_chosen_and_models_travel() {
    let (x, y) = rows(1);
    let model = Linear::sigmoid().weighting(Weighting::Ratio(5.0)).fit(&(&x[..], 4), &y).unwrap();
    assert!(model.report().l2 > 0.0);
    let text = serde_json::to_string(&model).unwrap();
    let names: Fitted<String> = serde_json::from_str(&text).unwrap();
    assert_eq!(names.predict_proba(&(&x[..], 4)).unwrap(), model.predict_proba(&(&x[..], 4)).unwrap());
    fn travels<T: Send + Sync>(_: &T) {}
    travels(&model);
    let recipe: Linear = serde_json::from_str(&serde_json::to_string(&Linear::focal(2.0)).unwrap()).unwrap();
    assert_eq!(recipe, Linear::focal(2.0));
}

#[test]
fn coefficients_are_over_the_features_as_given() {
    let (mut x, y) = rows(3);
    x.iter_mut().skip(1).step_by(4).for_each(|x| *x = 1000.0 + 50.0 * *x);
    let model = Linear::softmax().standardize(true).l2(1e-3).fit(&(&x[..], 4), &y).unwrap();
    let (weight, bias) = model.coefficients().unwrap();
    let logits = model.decision_function(&(&x[..], 4)).unwrap();
    for (row, logits) in x.chunks(4).zip(logits.chunks(3)) {
        for class in 0..3 {
            let own: f64 =
                weight[class * 4..][..4].iter().zip(row).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            assert!((own as f32 + bias[class] - logits[class]).abs() < 2e-3);
        }
    }
}

#[test]
fn sample_weights_count_as_rows_and_f64_as_f32() {
    let (x, y) = rows(4);
    let fit = |x: &[f32], y: &[&'static str], weights: Option<&[f64]>| {
        let request = Request { sample_weight: weights, ..Request::default() };
        // Twice 1e-7 of J over l2 bounds the square of the distance in weights: less than 2e-3.
        Linear::softmax().l2(0.1).tolerance(1e-7).fit_with(&(x, 4), y, request).unwrap()
    };
    let (twice_x, twice_y) = ([&x[..], &x[..40]].concat(), [&y[..], &y[..10]].concat());
    let weights: Vec<f64> = (0..y.len()).map(|row| if row < 10 { 2.0 } else { 1.0 }).collect();
    let (a, b) = (fit(&twice_x, &twice_y, None), fit(&x, &y, Some(&weights)));
    let (a, b) = (a.decision_function(&(&x[..], 4)).unwrap(), b.decision_function(&(&x[..], 4)).unwrap());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-2));
    let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let model = Linear::softmax().l2(1e-2).fit(&(&wide[..], 4), &y).unwrap();
    assert_eq!(model, Linear::softmax().l2(1e-2).fit(&(&x[..], 4), &y).unwrap());
}

#[test]
fn boosted_fits_take_gaps_and_go_on() {
    let (mut x, y) = rows(5);
    x[17] = f32::NAN;
    let x = Matrix::from_f32(x, 4);
    let boost = Boost::softmax().weighting(Weighting::inverse()).min_rows(5).learning_rate(0.3);
    let whole = boost.clone().rounds(12).fit(&x, &y).unwrap();
    let half = boost.clone().rounds(6).fit(&x, &y).unwrap();
    let request = Request { warm_start: Some(&half), ..Request::default() };
    assert_eq!(boost.rounds(6).fit_with(&x, &y, request).unwrap().trees(), whole.trees());
    assert!(macro_recall(&y, &whole.predict(&x).unwrap()) > 0.9);
    let text = serde_json::to_string(&whole).unwrap();
    let back: Fitted<String> = serde_json::from_str(&text).unwrap();
    assert_eq!(back.predict_proba(&x).unwrap(), whole.predict_proba(&x).unwrap());
}

#[test]
fn a_watch_and_a_switch_end_a_fit() {
    let (x, y) = rows(6);
    let x = (&x[..], 4);
    let mut seen = Vec::new();
    let mut watch = |step: &Step| {
        seen.push(step.done);
        if step.done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let request = Request { watch: Some(&mut watch), ..Request::default() };
    let model = Boost::softmax().rounds(50).fit_with(&x, &y, request).unwrap();
    assert_eq!((model.report().steps, model.report().converged), (3, false));
    assert_eq!(seen, [1, 2, 3]);
    let cancel = Cancel::new();
    cancel.clone().cancel();
    let request = Request { cancel: Some(&cancel), ..Request::default() };
    let model = Linear::softmax().l2(1e-6).tolerance(1e-9).fit_with(&x, &y, request).unwrap();
    assert!(!model.report().converged && model.report().steps <= 1);
}

#[test]
fn a_linear_fit_starts_where_another_ended() {
    let (x, y) = rows(7);
    let x = (&x[..], 4);
    let linear = Linear::softmax().l2(1e-3);
    let first = linear.fit(&x, &y).unwrap();
    let request = Request { warm_start: Some(&first), ..Request::default() };
    assert_eq!(linear.fit_with(&x, &y, request).unwrap().report().steps, 0);
    let request = Request { warm_start: Some(&first), ..Request::default() };
    let refused = Linear::sigmoid().l2(1e-3).fit_with(&x, &y, request).unwrap_err();
    assert_eq!(refused.code(), "E0503");
}

#[test]
fn what_cannot_be_is_refused() {
    let (x, y) = rows(8);
    let good = (&x[..], 4);
    let code = |result: Result<Fitted<&'static str>>| result.unwrap_err().code();
    assert_eq!(code(Linear::softmax().l2(-1.0).fit(&good, &y)), "E0208");
    assert_eq!(code(Linear::softmax().tolerance(f64::NAN).fit(&good, &y)), "E0208");
    assert_eq!(code(Linear::focal(-1.0).fit(&good, &y)), "E0208");
    assert_eq!(code(Linear::softmax().fit(&(&x[..], 5), &y)), "E0315");
    assert_eq!(code(Linear::softmax().fit(&good, &y[1..])), "E0315");
    assert_eq!(code(Linear::softmax().fit(&good, &vec!["one"; y.len()])), "E0307");
    assert_eq!(code(Boost::softmax().rounds(0).fit(&good, &y)), "E0208");
    let mut gap = x.clone();
    gap[3] = f32::NAN;
    assert_eq!(code(Linear::softmax().fit(&(&gap[..], 4), &y)), "E0310");
    gap[3] = f32::INFINITY;
    assert_eq!(code(Boost::softmax().fit(&(&gap[..], 4), &y)), "E0310");
    let request = || Request { sample_weight: Some(&[0.0; 472]), ..Request::default() };
    assert_eq!(code(Linear::softmax().fit_with(&good, &y, request())), "E0208");
    let model = Linear::softmax().l2(1e-2).fit(&good, &y).unwrap();
    assert_eq!(model.predict(&(&x[..], 2)).unwrap_err().code(), "E0503");
}

#[test]
fn model_files_come_back() {
    let (x, y) = rows(10);
    let x = Matrix::from_f32(x, 4);
    let folder = tempfile::tempdir().unwrap();
    let labels =
        LabelMap { kind: LabelKind::Text, names: ["common", "rare", "rarest"].map(String::from).to_vec() };
    let linear =
        Linear::focal(1.0).weighting(Weighting::sqrt()).standardize(true).l2(1e-3).fit(&x, &y).unwrap();
    let trees = Boost::softmax().rounds(4).fit(&x, &y).unwrap();
    for (model, columns) in [(linear, None), (trees, Some(["a", "b", "c", "d"].map(String::from).to_vec()))] {
        let path = folder.path().join("m.cbfit");
        save(&path, &model.to_saved(labels.clone(), columns).unwrap()).unwrap();
        let back = Fitted::from_saved(load(&path).unwrap()).unwrap();
        assert_eq!(back.predict_proba(&x).unwrap(), model.predict_proba(&x).unwrap());
        assert_eq!((back.report(), back.class_weights()), (model.report(), model.class_weights()));
        assert_eq!(model.to_saved(labels.clone(), Some(Vec::new())).unwrap_err().code(), "E0315");
    }
    // No weights over the features scale rows to length 1, as a model of the command line may.
    let plain = Linear::softmax().l2(1e-3).fit(&x, &y).unwrap();
    let mut saved = plain.to_saved(labels, None).unwrap();
    saved.scaler.scale = Scale::L2;
    assert!(plain.coefficients().is_some() && Fitted::from_saved(saved).unwrap().coefficients().is_none());
}

#[test]
fn features_stay_where_they_are() {
    let (x, y) = rows(11);
    let lent = (&x[..], 4);
    let Storage::Lent(MatRef::F32(seen)) = lent.matrix().unwrap().storage().clone() else { panic!("a copy") };
    assert_eq!(seen.as_ptr(), x.as_ptr());
    let half: Vec<half::f16> = x.iter().map(|&x| half::f16::from_f32(x)).collect();
    let wide: Vec<f32> = half.iter().map(|x| x.to_f32()).collect();
    for linear in [Linear::softmax().l2(1e-2), Linear::softmax().l2(1e-2).standardize(true)] {
        let own = linear.fit(&Matrix::from_f32(x.clone(), 4), &y).unwrap();
        assert_eq!(linear.fit(&lent, &y).unwrap(), own);
        let of_half = linear.fit(&(&half[..], 4), &y).unwrap();
        assert_eq!(of_half.predict(&(&half[..], 4)).unwrap(), of_half.predict(&(&wide[..], 4)).unwrap());
    }
    let boost = Boost::softmax().rounds(3);
    assert_eq!(boost.fit(&lent, &y).unwrap(), boost.fit(&Matrix::from_f32(x.clone(), 4), &y).unwrap());
    assert_eq!(boost.fit(&(&half[..], 4), &y).unwrap(), boost.fit(&(&wide[..], 4), &y).unwrap());
    let mut sparse = SparseRows::default();
    x.chunks(4).for_each(|row| sparse.push(&[0, 1, 2, 3], row));
    let lent = Matrix::lent(MatRef::Sparse(sparse.range(0, y.len())), 4);
    assert_eq!(boost.fit(&lent, &y).unwrap(), boost.fit(&Matrix::from_f32(x.clone(), 4), &y).unwrap());
    let linear = Linear::softmax().l2(1e-2);
    let owned = Matrix::from_storage(Storage::Sparse(sparse.clone()), 4);
    assert_eq!(linear.fit(&lent, &y).unwrap(), linear.fit(&owned, &y).unwrap());
}

#[test]
fn classes_are_renamed_in_their_order() {
    let (x, y) = rows(11);
    let model = Linear::softmax().l2(1e-2).fit(&(&x[..], 4), &y).unwrap();
    let numbers = model.clone().with_classes(vec![3, 5, 8]).unwrap();
    let found = numbers.predict(&(&x[..], 4)).unwrap();
    let named = model.predict(&(&x[..], 4)).unwrap();
    assert!(found.iter().zip(named).all(|(&n, name)| (n == 3) == (name == "common")));
    assert_eq!(model.clone().with_classes(vec![3, 5]).unwrap_err().code(), "E0315");
    assert_eq!(model.with_classes(vec![3, 8, 5]).unwrap_err().code(), "E0208");
}

#[test]
fn a_comparison_gives_a_verdict() {
    let (x, y) = rows(9);
    let contest = Contest {
        learners: vec![Learner::Linear, Learner::Boost],
        weightings: Some(vec![Weighting::inverse()]),
        folds: 3,
        ..Contest::default()
    };
    let found = compare(&(&x[..], 4), &y, &contest, &Cancel::new()).unwrap().unwrap();
    let names: Vec<&str> = found.candidates.iter().map(|candidate| candidate.name.as_str()).collect();
    assert_eq!(names[..3], ["linear none", "linear none + adjust", "linear inverse"]);
    assert_eq!(names.len(), 6);
    assert!(found.candidates[2].value > found.candidates[0].value && !found.verdict.is_empty());
    assert!(found.candidates[2].difference.is_some_and(|[value, low, high]| low <= value && value <= high));
    let cancel = Cancel::new();
    cancel.cancel();
    assert_eq!(compare(&(&x[..], 4), &y, &contest, &cancel).unwrap(), None);
}
