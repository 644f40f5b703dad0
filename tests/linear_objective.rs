//! The objective, its gradient and the certificate of linear fits.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may panic like the tests themselves.

mod common;

use std::ops::ControlFlow;

use cbfit::linear::certificate::certify;
use cbfit::linear::merge::equal_rows;
use cbfit::linear::objective::Objective;
use cbfit::linear::problem::{Decay, Problem};
use cbfit::linear::rows::Rows;
use cbfit::linear::solver::lbfgs::{LbfgsOptions, minimise};
use cbfit::linear::solver::memory::Memory;
use cbfit::loss::Loss;
use cbfit::matrix::Matrix;
use cbfit::rng::CounterRng;
use cbfit::simd::Kernels;

const LOSSES: [Loss; 4] =
    [Loss::Softmax, Loss::Sigmoid, Loss::Focal { gamma: 1.0 }, Loss::SoftmaxFocal { gamma: 2.0 }];

fn problem<'a>(
    features: &'a Matrix<'a>,
    labels: &'a [u32],
    weights: &'a [f32],
    classes: usize,
    loss: Loss,
) -> Problem<'a> {
    Problem::new(Rows::all(features), labels, weights, classes, loss, 1e-2)
}

/// Weights that differ from row to row and class to class.
fn uneven_weights(labels: &[u32]) -> Vec<f32> {
    labels.iter().enumerate().map(|(row, &label)| 0.5 + label as f32 + (row % 3) as f32).collect()
}

fn random_theta(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = CounterRng::new(seed, 1);
    (0..len).map(|_| (rng.next_f64() - 0.5) as f32).collect()
}

#[test]
fn gradient_is_the_derivative_of_the_objective() {
    let (features, labels) = common::long_tail(4, 6, 300, 1);
    let weights = uneven_weights(&labels);
    let offsets = Some(&[0.3, -0.2, 0.0, -1.0][..]);
    let margins = Some(&[0.0, 0.3, 0.7, 1.5][..]);
    let l2_factors = Some(&[1.0, 3.0, 0.5, 20.0][..]);
    for loss in LOSSES {
        for decay in [Decay::Weights, Decay::Both, Decay::Bias, Decay::None] {
            let plain = problem(&features, &labels, &weights, 4, loss);
            let problem = Problem { decay, offsets, margins, l2_factors, ..plain };
            let mut objective = Objective::new(problem, Kernels::best());
            let theta = random_theta(problem.parameters(), 3);
            let mut gradient = vec![0.0; theta.len()];
            objective.evaluate(&theta, &mut gradient);
            let mut scratch = gradient.clone();
            for at in [0, 5, 11, 23, 24, 27] {
                let h = 0.02f32;
                let mut shifted = |by: f32| {
                    let mut theta = theta.clone();
                    theta[at] += by;
                    objective.evaluate(&theta, &mut scratch).objective()
                };
                // Fourth-order central difference: error h^4, so that h can be wide against f32 noise.
                let slope = (8.0 * (shifted(h) - shifted(-h)) - shifted(2.0 * h) + shifted(-2.0 * h))
                    / (12.0 * f64::from(h));
                let found = f64::from(gradient[at]);
                assert!(
                    (slope - found).abs() < 2e-5 * (1.0 + found.abs()),
                    "{loss:?} {decay:?} parameter {at}: {found} against {slope}"
                );
            }
        }
    }
}

#[test]
fn an_integer_row_weight_is_the_row_repeated() {
    let (features, labels) = common::long_tail(3, 5, 200, 2);
    let weights: Vec<f32> = (0..labels.len()).map(|row| (row % 4) as f32).collect();
    let repeated: Vec<usize> =
        (0..labels.len()).flat_map(|row| std::iter::repeat_n(row, weights[row] as usize)).collect();
    let repeated_labels: Vec<u32> = repeated.iter().map(|&row| labels[row]).collect();
    let ones = vec![1.0; repeated.len()];
    for loss in LOSSES {
        let weighted = problem(&features, &labels, &weights, 3, loss);
        let plain = Problem {
            rows: Rows::chosen(&features, &repeated),
            ..problem(&features, &repeated_labels, &ones, 3, loss)
        };
        let theta = random_theta(weighted.parameters(), 5);
        let evaluate = |problem| {
            let mut gradient = vec![0.0; theta.len()];
            let value = Objective::new(problem, Kernels::best()).evaluate(&theta, &mut gradient);
            (value.objective(), gradient)
        };
        let ((value, gradient), (plain_value, plain_gradient)) = (evaluate(weighted), evaluate(plain));
        assert!((value / plain_value - 1.0).abs() < 1e-6, "{loss:?}: {value} against {plain_value}");
        for (a, b) in gradient.iter().zip(&plain_gradient) {
            assert!((a - b).abs() < 1e-6, "{loss:?}: {a} against {b}");
        }
    }
}

#[test]
fn the_scale_of_the_weights_changes_nothing() {
    let (features, labels) = common::long_tail(3, 5, 200, 2);
    let weights = uneven_weights(&labels);
    let scaled: Vec<f32> = weights.iter().map(|w| w * 1024.0).collect();
    for loss in LOSSES {
        let fit = |weights: &[f32]| {
            let mut objective =
                Objective::new(problem(&features, &labels, weights, 3, loss), Kernels::best());
            let start = objective.problem().start();
            let options = LbfgsOptions { tolerance: 1e-6, max_iterations: 200, certified: true };
            minimise(&mut objective, &mut Memory::default(), &start, &options, &mut |_| {
                ControlFlow::Continue(())
            })
            .unwrap()
        };
        // A power of two scales without rounding.
        assert_eq!(fit(&weights).theta, fit(&scaled).theta, "{loss:?}");
    }
}

#[test]
fn half_precision_rows_give_the_objective_of_their_widened_copy() {
    let (features, labels) = common::long_tail(3, 37, 900, 4);
    let cbfit::matrix::Storage::F32(values) = features.storage() else { panic!("made as f32") };
    let narrow: Vec<half::f16> = values.iter().map(|&v| half::f16::from_f32(v)).collect();
    let wide = Matrix::from_f32(narrow.iter().map(|v| v.to_f32()).collect(), 37);
    let narrow = Matrix::from_storage(cbfit::matrix::Storage::F16(narrow), 37);
    let weights = uneven_weights(&labels);
    let evaluate = |features: &Matrix| {
        let problem = problem(features, &labels, &weights, 3, Loss::Softmax);
        let theta = random_theta(problem.parameters(), 6);
        let mut gradient = vec![0.0; theta.len()];
        let value = Objective::new(problem, Kernels::best()).evaluate(&theta, &mut gradient);
        (value.objective(), gradient)
    };
    assert_eq!(evaluate(&narrow), evaluate(&wide));
}

#[test]
fn the_certified_gap_is_never_below_the_true_one() {
    let (features, labels) = common::long_tail(5, 8, 400, 7);
    let weights = uneven_weights(&labels);
    let offsets = [0.1, -0.4, -0.9, -1.2, -1.5];
    let margins = [0.5, 0.7, 0.9, 1.5, 2.0];
    let l2_factors = [1.0, 2.0, 4.0, 0.5, 30.0];
    for loss in [Loss::Softmax, Loss::Sigmoid] {
        let plain = Problem { l2: 1e-3, ..problem(&features, &labels, &weights, 5, loss) };
        let problems = [
            plain,
            Problem { offsets: Some(&offsets), ..plain },
            Problem { decay: Decay::Both, ..plain },
            Problem { margins: Some(&margins), ..plain },
            Problem { l2_factors: Some(&l2_factors), ..plain },
            Problem { decay: Decay::Both, margins: Some(&margins), l2_factors: Some(&l2_factors), ..plain },
        ];
        for (case, problem) in problems.into_iter().enumerate() {
            let mut objective = Objective::new(problem, Kernels::best());
            let start = problem.start();
            let exact = LbfgsOptions { tolerance: 1e-7, max_iterations: 3000, certified: true };
            let best = minimise(&mut objective, &mut Memory::default(), &start, &exact, &mut |_| {
                ControlFlow::Continue(())
            })
            .unwrap();
            let optimum = best.certificate.objective;
            assert!(best.certificate.relative_gap.unwrap() < 1e-5, "{loss:?} case {case}: {best:?}");
            let mut bounds = Vec::new();
            for iterations in [0, 1, 3, 10, 30] {
                let options = LbfgsOptions { tolerance: 0.0, max_iterations: iterations, certified: true };
                let fit = minimise(&mut objective, &mut Memory::default(), &start, &options, &mut |_| {
                    ControlFlow::Continue(())
                })
                .unwrap();
                let truth = (fit.certificate.objective - optimum) / fit.certificate.objective;
                let bound = fit.certificate.relative_gap.unwrap();
                assert!(bound >= truth - 1e-6, "{loss:?} case {case} after {iterations}: {bound} < {truth}");
                bounds.push(bound);
            }
            assert!(bounds[4] < 0.1 * bounds[0], "the bound does not tighten: {bounds:?}");
        }
    }
}

#[test]
fn no_gap_is_claimed_where_none_is_known() {
    let (features, labels) = common::long_tail(3, 4, 100, 8);
    let weights = uneven_weights(&labels);
    let gap = |loss, decay| {
        let problem = Problem { decay, ..problem(&features, &labels, &weights, 3, loss) };
        let mut objective = Objective::new(problem, Kernels::best());
        let theta = problem.start();
        let mut gradient = vec![0.0; theta.len()];
        let value = objective.evaluate(&theta, &mut gradient);
        certify(&objective, &theta, value, &gradient).relative_gap
    };
    assert!(gap(Loss::Softmax, Decay::Weights).is_some());
    assert!(gap(Loss::Softmax, Decay::None).is_none());
    assert!(gap(Loss::Focal { gamma: 2.0 }, Decay::Weights).is_none());
}

#[test]
fn merged_rows_have_the_objective_and_the_optimum_of_all_rows() {
    let (features, _) = common::long_tail(3, 5, 200, 2);
    let index: Vec<usize> = (0..900).map(|row| row * row % 151).collect();
    let rows = Rows::chosen(&features, &index);
    let labels: Vec<u32> = index.iter().map(|row| (row % 3) as u32).collect();
    let weights = uneven_weights(&labels);
    let merged = equal_rows(&rows, &labels, &weights).unwrap();
    assert!(merged.index.len() <= 151);
    for loss in LOSSES {
        let all = Problem { rows, ..problem(&features, &labels, &weights, 3, loss) };
        let few = Problem {
            rows: Rows::chosen(&features, &merged.index),
            ..problem(&features, &merged.labels, &merged.weights, 3, loss)
        };
        let theta = random_theta(all.parameters(), 5);
        let solve = |problem: Problem<'_>| {
            let mut gradient = vec![0.0; theta.len()];
            let mut objective = Objective::new(problem, Kernels::best());
            let value = objective.evaluate(&theta, &mut gradient).objective();
            let options = LbfgsOptions { tolerance: 1e-6, max_iterations: 300, certified: true };
            let mut memory = Memory::default();
            let fit = minimise(&mut objective, &mut memory, &problem.start(), &options, &mut |_| {
                ControlFlow::Continue(())
            })
            .unwrap();
            (value, gradient, fit)
        };
        let ((value, gradient, fit), (merged_value, merged_gradient, merged_fit)) = (solve(all), solve(few));
        assert!((value / merged_value - 1.0).abs() < 1e-6, "{loss:?}: {value} against {merged_value}");
        let (optimum, merged_optimum) = (fit.certificate.objective, merged_fit.certificate.objective);
        assert!(
            (optimum / merged_optimum - 1.0).abs() < 2e-6,
            "{loss:?}: {optimum} against {merged_optimum}"
        );
        for (a, b) in gradient.iter().zip(&merged_gradient) {
            assert!((a - b).abs() < 1e-6, "{loss:?}: gradient {a} against {b}");
        }
        if loss.is_convex() {
            for (a, b) in fit.theta.iter().zip(&merged_fit.theta) {
                assert!((a - b).abs() < 2e-2, "{loss:?}: {a} against {b}");
            }
        }
    }
}

/// J without penalty and the gradient of class `class` at feature `feature`, in f64, of softmax over all rows.
fn softmax_reference(problem: &Problem<'_>, x: &Matrix, theta: &[f32], place: (usize, usize)) -> (f64, f64) {
    let (classes, features) = (problem.classes, x.cols());
    let (mut loss, mut slope, mut total) = (0.0, 0.0, 0.0);
    for (row, (&label, &weight)) in problem.labels.iter().zip(problem.weights).enumerate() {
        let logits: Vec<f64> = (0..classes)
            .map(|c| {
                let w = &theta[c * features..][..features];
                let terms = w.iter().enumerate().map(|(j, &w)| f64::from(w) * f64::from(x.get(row, j)));
                terms.sum::<f64>() + f64::from(theta[classes * features + c])
            })
            .collect();
        let log_sum = logits.iter().map(|z| z.exp()).sum::<f64>().ln();
        let weight = f64::from(weight);
        loss += weight * (log_sum - logits[label as usize]);
        let probability = (logits[place.0] - log_sum).exp();
        let hit = if label as usize == place.0 { 1.0 } else { 0.0 };
        slope += weight * (probability - hit) * f64::from(x.get(row, place.1));
        total += weight;
    }
    (loss / total, slope / total)
}

#[test]
fn many_parameters_have_the_objective_and_gradient_of_few() {
    // Above 2^18 parameters the gradient is summed by class, below by segments of rows.
    for (classes, features) in [(300, 900), (40, 33)] {
        let (x, labels) = common::long_tail(classes, features, 3, 5);
        let weights = uneven_weights(&labels);
        let decay = Decay::Both; // no centring: parameters are those of the features as they are
        let problem = Problem { decay, l2: 0.0, ..problem(&x, &labels, &weights, classes, Loss::Softmax) };
        let theta: Vec<f32> = random_theta(problem.parameters(), 9).iter().map(|w| 0.1 * w).collect();
        let mut objective = Objective::new(problem, Kernels::best());
        let mut gradient = vec![0.0; theta.len()];
        let mut in_f32 = gradient.clone();
        let value = objective.evaluate(&theta, &mut gradient).objective();
        let value_in_f32 = objective.evaluate_in_f32(&theta, &mut in_f32).objective();
        for place in [(0, 0), (7, 31), (classes - 1, features - 1)] {
            let (loss, slope) = softmax_reference(&problem, &x, &theta, place);
            assert!((value - loss).abs() < 2e-6 * loss && (value_in_f32 - loss).abs() < 2e-6 * loss);
            let at = place.0 * features + place.1;
            let scale = gradient.iter().fold(0.0f32, |most, g| most.max(g.abs()));
            for found in [gradient[at], in_f32[at]] {
                assert!(
                    (f64::from(found) - slope).abs() < 2e-5 * f64::from(scale),
                    "{found} against {slope}"
                );
            }
        }
    }
}
