//! cbfit's learners in the cross-validation of linfa and smartcore.

use cbfit::interop::{linfa as in_linfa, smartcore as in_smartcore};
use cbfit::{Boost, Linear, Prior, Weighting};
use linfa::prelude::*;
use linfa::traits::FitWith;
use ndarray::{Array1, Array2, Axis};
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::model_selection::{KFold, cross_validate};

/// 300 rows of class 0 around one point, 40 of class 1 around another, mixed.
fn rows() -> (Array2<f64>, Array1<usize>) {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 31) - 0.5
    };
    let y = Array1::from_shape_fn(340, |row| usize::from(row % 17 < 2));
    let x = Array2::from_shape_fn((340, 3), |(row, col)| {
        let mean = if y[row] == 1 && col < 2 { 0.7 } else { 0.0 };
        mean + next() + next()
    });
    (x, y)
}

fn balanced_accuracy(truth: &[usize], found: &[usize]) -> f64 {
    let recall = |class| {
        let own = truth.iter().zip(found).filter(|(t, _)| **t == class);
        own.clone().filter(|(t, f)| t == f).count() as f64 / own.count() as f64
    };
    (recall(0) + recall(1)) / 2.0
}

#[test]
fn linfa_validates_across_folds() {
    let (x, y) = rows();
    let plain = in_linfa::Params::new(Linear::softmax().l2(1e-3));
    let balanced = in_linfa::Params::new(Linear::softmax().l2(1e-3).weighting(Weighting::inverse()));
    let mut dataset = Dataset::new(x, y);
    let scores = dataset
        .cross_validate_single(5, &[plain, balanced], |found, truth| {
            let (found, truth): (Vec<usize>, Vec<usize>) = (found.to_vec(), truth.to_vec());
            Ok(balanced_accuracy(&truth, &found))
        })
        .unwrap_or_else(|error: cbfit::Error| unreachable!("{error}"));
    assert!(scores[1] > scores[0] + 0.05 && scores[1] > 0.75, "{scores}");
}

#[test]
fn linfa_weights_starts_and_probabilities() {
    let (x, y) = rows();
    let params = in_linfa::Params::new(Linear::softmax().l2(1e-2).tolerance(1e-8));
    let balanced =
        in_linfa::with_class_weights(Dataset::new(x.clone(), y.clone()), &Weighting::inverse()).unwrap();
    let sum = |class: usize| -> f32 {
        y.iter().zip(balanced.weights().unwrap()).filter(|(label, _)| **label == class).map(|(_, w)| w).sum()
    };
    assert!((sum(0) - sum(1)).abs() < 1e-3 * sum(0), "{} {}", sum(0), sum(1));
    // Weights of the dataset do what class weights of the fit do.
    let by_dataset = params.fit(&balanced).unwrap();
    let own = Linear::softmax().l2(1e-2).tolerance(1e-8).weighting(Weighting::inverse());
    let by_fit = in_linfa::Params::new(own).fit(&Dataset::new(x.clone(), y.clone())).unwrap();
    let p =
        |model: &in_linfa::Model<usize>| model.predict_probabilities(x.view(), &Prior::AsTrained).unwrap();
    let (a, b) = (p(&by_dataset), p(&by_fit));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3));
    assert!(a.sum_axis(Axis(1)).iter().all(|sum| (sum - 1.0).abs() < 1e-5));
    let again = params.fit_with(Some(by_dataset.clone()), &balanced).unwrap();
    assert!(again.0.report().steps <= 1, "{:?}", again.0.report());
    let found = by_dataset.predict(&x);
    assert!(balanced_accuracy(y.as_slice().unwrap(), found.as_slice().unwrap()) > 0.75);
    let refused = in_linfa::Params::new(Linear::softmax().l2(-1.0)).fit(&balanced);
    assert_eq!(refused.unwrap_err().code(), "E0208");
    let trees = in_linfa::Params::new(Boost::softmax().rounds(5)).fit(&balanced).unwrap();
    assert_eq!(trees.predict(&x).len(), 340);
}

#[test]
fn smartcore_validates_across_folds() {
    let (x, y) = rows();
    let wide: Vec<Vec<f64>> = x.rows().into_iter().map(|row| row.to_vec()).collect();
    let x = DenseMatrix::from_2d_vec(&wide).unwrap();
    let y: Vec<i32> = y.iter().map(|&label| label as i32).collect();
    let score = |truth: &Vec<i32>, found: &Vec<i32>| {
        let wide = |labels: &[i32]| labels.iter().map(|&label| label as usize).collect::<Vec<_>>();
        balanced_accuracy(&wide(truth), &wide(found))
    };
    let folds = KFold::default().with_n_splits(4);
    let mean = |weighting: Weighting| {
        let parameters = Linear::sigmoid().l2(1e-3).weighting(weighting);
        let empty = <in_smartcore::Classifier<Linear, f64, i32> as smartcore::api::SupervisedEstimator<
            DenseMatrix<f64>,
            Vec<i32>,
            Linear,
        >>::new();
        cross_validate(empty, &x, &y, parameters, &folds, &score).unwrap().mean_test_score()
    };
    let (plain, balanced) = (mean(Weighting::none()), mean(Weighting::effective(0.999).unwrap()));
    assert!(balanced > plain + 0.05 && balanced > 0.75, "{plain} {balanced}");
}
