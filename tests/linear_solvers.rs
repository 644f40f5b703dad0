//! Solvers: they reach the optimum, and threads change nothing.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may panic like the tests themselves.

mod common;

use std::ops::ControlFlow;

use cbfit::labels::ClassCounts;
use cbfit::linear::fit::{Optimizer, fit};
use cbfit::linear::objective::Objective;
use cbfit::linear::problem::Problem;
use cbfit::linear::rows::Rows;
use cbfit::linear::solver::Fit;
use cbfit::linear::solver::memory::Memory;
use cbfit::linear::solver::minibatch::Rule;
use cbfit::linear::solver::schedule::Schedule;
use cbfit::loss::Loss;
use cbfit::matrix::Matrix;
use cbfit::simd::Kernels;
use cbfit::weighting::{ClassWeights, Normalisation, Scheme};

const LBFGS: Optimizer = Optimizer::Lbfgs { tolerance: 1e-6, max_iterations: 1000, certified: true };

fn minibatch(rule: Rule, epochs: usize) -> Optimizer {
    Optimizer::Minibatch {
        rule,
        epochs,
        batch: Some(96),
        rate: None,
        schedule: Schedule::Cosine,
        patience: 5,
        seed: 3,
    }
}

const SGD: Rule = Rule::Sgd { momentum: 0.9, nesterov: false };
const NESTEROV: Rule = Rule::Sgd { momentum: 0.9, nesterov: true };

struct Data {
    features: Matrix<'static>,
    labels: Vec<u32>,
    weights: Vec<f32>,
    classes: usize,
}

impl Data {
    fn new(classes: usize, features: usize, most: usize) -> Self {
        let (features, labels) = common::long_tail(classes, features, most, 11);
        let weights = labels.iter().map(|&label| 1.0 + label as f32).collect();
        Data { features, labels, weights, classes }
    }

    fn problem(&self, loss: Loss, l2: f64) -> Problem<'_> {
        Problem::new(Rows::all(&self.features), &self.labels, &self.weights, self.classes, loss, l2)
    }

    fn fit(&self, loss: Loss, l2: f64, optimizer: &Optimizer) -> Fit {
        let problem = self.problem(loss, l2);
        let mut objective = Objective::new(problem, Kernels::best());
        fit(&mut objective, &mut Memory::default(), &problem.start(), optimizer, None, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap()
    }
}

#[test]
fn minibatches_come_near_the_optimum_for_every_loss_and_rule() {
    let data = Data::new(4, 10, 2000);
    let losses =
        [Loss::Softmax, Loss::Sigmoid, Loss::Focal { gamma: 0.5 }, Loss::SoftmaxFocal { gamma: 1.0 }];
    for loss in losses {
        let optimum = data.fit(loss, 1e-2, &LBFGS).certificate.objective;
        for rule in [SGD, NESTEROV, Rule::AdamW] {
            let reached = data.fit(loss, 1e-2, &minibatch(rule, 30)).certificate.objective;
            let gap = reached / optimum - 1.0;
            assert!((-1e-6..5e-3).contains(&gap), "{loss:?} {rule:?}: relative gap {gap:e}");
        }
    }
}

#[test]
fn lbfgs_meets_its_tolerance_and_says_so() {
    let data = Data::new(5, 12, 1000);
    for loss in [Loss::Softmax, Loss::Sigmoid] {
        let fit = data.fit(loss, 1e-3, &LBFGS);
        assert!(fit.converged && fit.certificate.relative_gap.unwrap() <= 1e-6, "{loss:?}: {fit:?}");
        let cut =
            data.fit(loss, 1e-3, &Optimizer::Lbfgs { tolerance: 1e-6, max_iterations: 2, certified: true });
        assert!(!cut.converged && cut.certificate.relative_gap.unwrap() > 1e-6);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    // Enough rows for several segments and tasks, enough classes for several tiles, and more than 2^18 parameters.
    for data in [Data::new(4, 9, 3000), Data::new(70, 5, 1500), Data::new(300, 900, 3)] {
        for optimizer in [LBFGS, minibatch(SGD, 3), minibatch(Rule::AdamW, 3)] {
            let optimizer = match optimizer {
                Optimizer::Lbfgs { tolerance, .. } => {
                    Optimizer::Lbfgs { tolerance, max_iterations: 15, certified: true }
                }
                other => other,
            };
            let on_threads = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| data.fit(Loss::Softmax, 1e-3, &optimizer).theta)
            };
            let bits = |theta: Vec<f32>| theta.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let one = bits(on_threads(1));
            for threads in [2, 3, 7] {
                assert_eq!(bits(on_threads(threads)), one, "{optimizer:?} on {threads} threads");
            }
        }
    }
}

#[test]
fn the_best_epoch_is_kept_and_patience_ends_the_fit() {
    let data = Data::new(3, 6, 400);
    let problem = data.problem(Loss::Softmax, 1e-3);
    let mut objective = Objective::new(problem, Kernels::best());
    let mut seen: Vec<Vec<f32>> = Vec::new();
    // Best at the second epoch, worse ever after.
    let mut score = |theta: &[f32]| {
        seen.push(theta.to_vec());
        -(seen.len() as f64 - 2.0).abs()
    };
    let optimizer = minibatch(SGD, 50);
    let fit = fit(
        &mut objective,
        &mut Memory::default(),
        &problem.start(),
        &optimizer,
        Some(&mut score),
        &mut |_| ControlFlow::Continue(()),
    )
    .unwrap();
    assert_eq!(seen.len(), 2 + 5);
    assert_eq!(fit.theta, seen[1]);
    assert_eq!(fit.steps, 2);
}

/// A known wrong port divides each batch by its own weight sum: then a batch of light rows moves the parameters as
/// far as a batch of heavy ones. Batches of one row show it: feature 0 belongs to heavy rows, feature 1 to light ones.
#[test]
fn a_batch_pulls_in_proportion_to_its_weights() {
    let features = Matrix::from_f32(vec![1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0], 2);
    let weights = [1.9, 1.9, 0.1, 0.1];
    let problem = Problem::new(Rows::all(&features), &[0, 1, 0, 1], &weights, 2, Loss::Softmax, 0.0);
    let optimizer = Optimizer::Minibatch {
        rule: Rule::Sgd { momentum: 0.0, nesterov: false },
        epochs: 1,
        batch: Some(1),
        rate: Some(1e-3),
        schedule: Schedule::Constant,
        patience: 1,
        seed: 0,
    };
    let mut objective = Objective::new(problem, Kernels::best());
    let fit = fit(&mut objective, &mut Memory::default(), &problem.start(), &optimizer, None, &mut |_| {
        ControlFlow::Continue(())
    });
    let theta = fit.unwrap().theta;
    let pull = f64::from(theta[0] / theta[1]);
    assert!((pull / 19.0 - 1.0).abs() < 1e-2, "heavy rows pull {pull} times as much, not 19 times");
    // Two heavy rows, each half the gradient, over the mean weight 1.
    assert!((f64::from(theta[0]) / (2.0 * 1.9 * 0.5 * 1e-3) - 1.0).abs() < 1e-2, "{theta:?}");
}

/// A known wrong port counts the classes of each batch: a class the batch lacks then weighs 1/0, and the others change
/// from batch to batch. Here weights come from all rows, and batches without a class stay finite.
#[test]
fn batches_that_lack_a_class_use_the_weights_of_all_rows() {
    let (features, labels) = common::long_tail(3, 4, 60, 5);
    let inverse = |labels: &[u32]| {
        let counts = ClassCounts::of(labels, None, 3);
        ClassWeights::new(&Scheme::Inverse, &counts, Normalisation::Samples, None).unwrap()
    };
    let of_all = inverse(&labels);
    let of_batch = inverse(&labels[..8]);
    assert!(labels[..8].iter().all(|&label| label == 0), "the first rows lack two classes");
    assert_eq!(of_batch.alpha[1..], [0.0, 0.0]);
    assert!(of_all.alpha[2] > 5.0 * of_all.alpha[0] && (of_batch.alpha[0] - of_all.alpha[0]).abs() > 0.1);

    let weights = of_all.row_weights(&labels, None);
    let data = Data { features, labels, weights, classes: 3 };
    let optimizer = Optimizer::Minibatch {
        rule: SGD,
        epochs: 40,
        batch: Some(4),
        rate: Some(0.02),
        schedule: Schedule::Cosine,
        patience: 5,
        seed: 1,
    };
    let optimum = data.fit(Loss::Sigmoid, 1e-2, &LBFGS).certificate.objective;
    let reached = data.fit(Loss::Sigmoid, 1e-2, &optimizer).certificate.objective;
    assert!(reached / optimum - 1.0 < 0.02, "batches of four reach {reached}, the optimum is {optimum}");
}

#[test]
fn a_large_fit_starts_on_samples_and_ends_at_the_same_optimum() {
    let data = Data::new(3, 4, 120_000);
    assert!(data.labels.len() > 1 << 17);
    let problem = data.problem(Loss::Softmax, 1e-3);
    let run = |start: &[f32]| {
        let mut objective = Objective::new(problem, Kernels::best());
        let mut steps = Vec::new();
        let fitted = fit(&mut objective, &mut Memory::default(), start, &LBFGS, None, &mut |progress| {
            steps.push(progress.on_sample);
            ControlFlow::Continue(())
        });
        (fitted.unwrap(), steps)
    };
    let (staged, steps) = run(&problem.start());
    assert!(steps[0] && steps.is_sorted_by(|a, b| a >= b), "samples first: {steps:?}");
    let mut elsewhere = problem.start();
    elsewhere[0] = 0.1;
    let (direct, steps) = run(&elsewhere);
    assert!(steps.iter().all(|on_sample| !on_sample), "a start that is no cold one is kept");
    let (a, b) = (staged.certificate.objective, direct.certificate.objective);
    assert!(staged.converged && direct.converged && (a - b).abs() < 2e-6 * a, "{a} against {b}");
}

/// Above 1,024 classes the biases are balanced without their whole Hessian.
#[test]
fn fits_of_many_classes_are_certified() {
    let data = Data::new(1100, 12, 40);
    for (loss, l2) in [(Loss::Softmax, 1e-3), (Loss::Sigmoid, 1e-2)] {
        let optimizer = Optimizer::Lbfgs { tolerance: 1e-3, max_iterations: 500, certified: true };
        let fit = data.fit(loss, l2, &optimizer);
        let gap = fit.certificate.relative_gap;
        assert!(
            fit.converged && gap.is_some_and(|gap| gap <= 1e-3),
            "{loss:?}: {gap:?}, {} steps",
            fit.steps
        );
    }
}

/// More classes than pieces, slabs and their tasks of the usual sizes are made for.
#[test]
fn very_many_classes_are_fitted_the_same_on_any_number_of_threads() {
    let (classes, rows, columns) = (33_000, 600, 2);
    let value = |at: usize| ((at * 7919) % 1009) as f32 / 1009.0 - 0.5;
    let features = Matrix::from_f32((0..rows * columns).map(value).collect(), columns);
    // Most classes have no row here: those that have one take as long as a larger test may.
    let labels: Vec<u32> = (0..rows).map(|row| (row * 55) as u32).collect();
    let data = Data { features, labels, weights: vec![1.0; rows], classes };
    let optimizer = Optimizer::Minibatch {
        rule: SGD,
        epochs: 1,
        batch: Some(600),
        rate: None,
        schedule: Schedule::Cosine,
        patience: 5,
        seed: 3,
    };
    let fits = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| data.fit(Loss::Softmax, 1e-3, &optimizer))
    });
    assert!(fits[0].theta == fits[1].theta && fits[0].certificate == fits[1].certificate);
    // The bias of a class without a row falls, and the sum of all residuals is 0.
    let bias = &fits[0].theta[classes * columns..];
    assert!(bias[1] < 0.0 && bias[0] > 0.0, "{} {}", bias[0], bias[1]);
    assert!(bias.iter().map(|&b| f64::from(b)).sum::<f64>().abs() < 1e-2);
}
