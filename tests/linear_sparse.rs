//! Sparse rows: the objective, the optimum and the predictions of the dense rows they stand for.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may panic like the tests themselves.

mod common;

use std::ops::ControlFlow;

use cbfit::linear::fit::{Optimizer, fit};
use cbfit::linear::merge::equal_rows;
use cbfit::linear::model::LinearModel;
use cbfit::linear::objective::Objective;
use cbfit::linear::problem::{Decay, Problem};
use cbfit::linear::rows::Rows;
use cbfit::linear::solver::Fit;
use cbfit::linear::solver::memory::Memory;
use cbfit::linear::solver::minibatch::Rule;
use cbfit::linear::solver::schedule::Schedule;
use cbfit::linear::solver::second_moments::Form;
use cbfit::loss::Loss;
use cbfit::matrix::{Matrix, SparseRows, Storage};
use cbfit::rng::CounterRng;
use cbfit::simd::Kernels;

/// One set of rows in both storages. Class c has about `most / (c + 1)` rows; two in three entries of a row are drawn from
/// the features of its class, few features are met much more often than the others.
struct Data {
    sparse: Matrix<'static>,
    dense: Matrix<'static>,
    labels: Vec<u32>,
    weights: Vec<f32>,
    classes: usize,
}

impl Data {
    fn new(classes: usize, features: usize, most: usize, entries: usize) -> Self {
        let mut rng = CounterRng::new(5, features as u64);
        let (mut sparse, mut dense, mut labels) = (SparseRows::default(), Vec::new(), Vec::new());
        for class in 0..classes {
            for _ in 0..(most / (class + 1)).max(2) {
                let mut row = vec![0.0f32; features];
                for entry in 0..entries {
                    let skewed = rng.next_f64().powi(3);
                    let feature = (skewed * features as f64) as usize;
                    let own = if entry % 3 == 0 {
                        feature
                    } else {
                        (feature / classes * classes + class) % features
                    };
                    row[own] = 0.2 + rng.next_f64() as f32;
                }
                let columns: Vec<u32> = (0..features as u32).filter(|&c| row[c as usize] != 0.0).collect();
                let values: Vec<f32> = columns.iter().map(|&c| row[c as usize]).collect();
                sparse.push(&columns, &values);
                dense.extend(row);
                labels.push(class as u32);
            }
        }
        let weights = labels.iter().map(|&label| 1.0 + label as f32).collect();
        let sparse = Matrix::from_storage(Storage::Sparse(sparse), features);
        Data { sparse, dense: Matrix::from_f32(dense, features), labels, weights, classes }
    }

    fn problem<'a>(&'a self, matrix: &'a Matrix<'a>, loss: Loss) -> Problem<'a> {
        Problem::new(Rows::all(matrix), &self.labels, &self.weights, self.classes, loss, 1e-3)
    }

    fn fit(&self, matrix: &Matrix, optimizer: &Optimizer) -> Fit {
        let problem = self.problem(matrix, Loss::Softmax);
        let mut objective = Objective::new(problem, Kernels::best());
        let start = problem.start();
        let mut go_on = |_: &_| ControlFlow::Continue(());
        fit(&mut objective, &mut Memory::default(), &start, optimizer, None, &mut go_on).unwrap()
    }
}

const LBFGS: Optimizer = Optimizer::Lbfgs { tolerance: 1e-5, max_iterations: 500, certified: true };

/// Few parameters and segments; many, summed by slabs.
fn shapes() -> [Data; 2] {
    [Data::new(3, 40, 300, 6), Data::new(150, 2000, 60, 12)]
}

#[test]
fn objective_gradient_and_curvature_are_those_of_the_dense_rows() {
    for data in shapes() {
        for loss in [Loss::Softmax, Loss::Sigmoid, Loss::Focal { gamma: 1.0 }] {
            // With a penalty on the biases dense rows are not centred either, and gradients compare one by one.
            let evaluate = |matrix: &Matrix, index: Option<&[usize]>| {
                let problem = Problem { decay: Decay::Both, ..data.problem(matrix, loss) };
                let rows = index.map_or(problem.rows, |index| Rows::chosen(matrix, index));
                let mut objective = Objective::new(Problem { rows, ..problem }, Kernels::best());
                let mut rng = CounterRng::new(2, 3);
                let theta: Vec<f32> =
                    (0..problem.parameters()).map(|_| 0.4 * (rng.next_f64() as f32 - 0.5)).collect();
                let mut gradient = vec![0.0; theta.len()];
                let value = objective.evaluate(&theta, &mut gradient).objective();
                let positions: Vec<usize> = (0..rows.len()).step_by(3).collect();
                let (by_row, by_class) =
                    objective.curvatures(&theta, &positions, &vec![1.0; positions.len()]);
                (value, gradient, by_row, by_class)
            };
            let (value, gradient, by_row, by_class) = evaluate(&data.dense, None);
            let all: Vec<usize> = (0..data.labels.len()).collect();
            for index in [None, Some(&all[..])] {
                let found = evaluate(&data.sparse, index);
                assert!((found.0 - value).abs() < 1e-6 * value, "{} {value}", found.0);
                let largest = gradient.iter().fold(0.0f32, |most, g| most.max(g.abs()));
                for (found, wanted) in found.1.iter().zip(&gradient) {
                    assert!((found - wanted).abs() <= 1e-5 * largest, "{found} {wanted} of {largest}");
                }
                assert!(found.2.iter().zip(&by_row).all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs() + 1e-7));
                assert!(found.3.iter().zip(&by_class).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs() + 1e-9));
            }
        }
    }
}

#[test]
fn the_optimum_is_that_of_the_dense_rows_and_certified() {
    for data in shapes().iter().chain([&Data::new(4, 5000, 120, 30)]) {
        let (sparse, dense) = (data.fit(&data.sparse, &LBFGS), data.fit(&data.dense, &LBFGS));
        assert!(sparse.converged && sparse.certificate.relative_gap.unwrap() <= 1e-5, "{sparse:?}");
        let (a, b) = (sparse.certificate.objective, dense.certificate.objective);
        assert!((a - b).abs() < 2e-5 * b, "{a} {b}");
        assert!(sparse.passes < 200, "{} passes", sparse.passes);
    }
}

#[test]
fn wide_sparse_rows_have_a_metric_of_some_features() {
    let data = Data::new(4, 5000, 120, 30);
    assert!(matches!(Form::of(&Rows::all(&data.sparse)), Form::OfSomeFeatures { features: 2048, .. }));
    assert!(matches!(Form::of(&Rows::all(&data.dense)), Form::OfRows { .. }));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for data in shapes() {
        let fit = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let optimizer = Optimizer::Lbfgs { tolerance: 1e-2, max_iterations: 20, certified: true };
            pool.install(|| data.fit(&data.sparse, &optimizer).theta)
        };
        let one = fit(1);
        assert!(fit(2) == one && fit(3) == one);
    }
}

#[test]
fn minibatches_come_near_the_optimum() {
    let [data, _] = shapes();
    let optimum = data.fit(&data.dense, &LBFGS).certificate.objective;
    for rule in [Rule::Sgd { momentum: 0.9, nesterov: true }, Rule::AdamW] {
        let optimizer = Optimizer::Minibatch {
            rule,
            epochs: 60,
            batch: Some(32),
            rate: None,
            schedule: Schedule::Cosine,
            patience: 60,
            seed: 1,
        };
        let reached = data.fit(&data.sparse, &optimizer).certificate.objective;
        assert!(reached / optimum - 1.0 < 0.05, "{rule:?} reaches {reached}, the optimum is {optimum}");
    }
}

#[test]
fn logits_and_merged_rows_are_those_of_the_dense_rows() {
    let data = Data::new(3, 40, 300, 2);
    let mut rng = CounterRng::new(1, 1);
    let mut random = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.next_f64() as f32 - 0.5).collect() };
    let model = LinearModel { weight: random(120), bias: random(3), features: 40, loss: Loss::Softmax };
    let (sparse, dense) =
        (model.logits(&data.sparse, Kernels::best()), model.logits(&data.dense, Kernels::best()));
    assert!(sparse.iter().zip(&dense).all(|(a, b)| (a - b).abs() < 1e-6));

    // Every row three times over.
    let index: Vec<usize> = (0..3 * data.labels.len()).map(|at| at % data.labels.len()).collect();
    let labels: Vec<u32> = index.iter().map(|&row| data.labels[row]).collect();
    let weights: Vec<f32> = index.iter().map(|&row| data.weights[row]).collect();
    let merge = |matrix| equal_rows(&Rows::chosen(matrix, &index), &labels, &weights).unwrap();
    assert_eq!(merge(&data.sparse), merge(&data.dense));
}
