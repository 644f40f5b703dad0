//! Fits of one tree for all classes, through the trainer.

use super::tests::{Made, bytes, fit, mean_loss};
use super::*;
use crate::boost::binning::BinningOptions;
use crate::boost::gradient::Curvature;
use crate::boost::many::ManyClasses;
use crate::boost::options::{Lanes, Trees};
use crate::boost::sketch::directions;
use crate::loss::Loss;
use crate::matrix::Matrix;
use crate::simd::PaddedRows;
use crate::stop::Stop;

fn options() -> BoostOptions {
    BoostOptions {
        max_leaves: 12,
        min_rows: 5,
        learning_rate: 0.1,
        trees: Trees::Vector(Lanes::Eight),
        ..Default::default()
    }
}

const LOSSES: [Loss; 4] =
    [Loss::Softmax, Loss::Sigmoid, Loss::Focal { gamma: 2.0 }, Loss::SoftmaxFocal { gamma: 1.0 }];

#[test]
fn every_loss_falls_and_raw_rows_score_as_training_rows_do() {
    let made = Made::random(1500, 12, 1);
    for loss in LOSSES {
        for curvature in [Curvature::Newton, Curvature::Absolute] {
            let options = BoostOptions { curvature: Some(curvature), ..options() };
            let trainer = made.fit(loss, &options, 20);
            let (logits, base) = (trainer.logits(), trainer.model().base.repeat(1500));
            let (before, after) = (mean_loss(&made, loss, &base), mean_loss(&made, loss, &logits));
            assert!(after < 0.9 * before, "{loss:?} {curvature:?}: {before} to {after}");
            assert_eq!(trainer.model().logits(&made.matrix).unwrap(), logits);
            assert!(trainer.model().is_sound());
            assert_eq!((trainer.model().rounds(), trainer.model().trees.len()), (20, 20));
        }
    }
}

#[test]
fn threads_leave_the_model_as_it_is() {
    let made = Made::random(9000, 30, 2);
    for options in
        [options(), BoostOptions { row_sample: 0.5, column_sample: 0.5, max_leaves: 40, ..options() }]
    {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bytes(made.fit(Loss::Softmax, &options, 4).model()))
        };
        let one = run(1);
        assert!([2, 3, 8].into_iter().all(|threads| run(threads) == one));
    }
}

#[test]
fn leaf_values_are_newton_steps_of_the_f64_sums() {
    let made = Made::random(900, 9, 5);
    let weights: Vec<f32> = (0..900).map(|row| [2.0, 0.5, 0.0, 1.5][row % 4]).collect();
    let made = made.with_weights(weights);
    for loss in LOSSES {
        let mut trainer = made.fit(loss, &options(), 3);
        let z = trainer.logits();
        trainer.round();
        let boosted = trainer.model().trees.last().unwrap();
        let leaves = boosted.tree.leaves();
        let (mut g_sums, mut h_sums) = (vec![0.0; leaves * 9], vec![0.0; leaves * 9]);
        let mean = made.weights.iter().map(|&w| f64::from(w)).sum::<f64>() / 900.0;
        let (mut g, mut h) = (vec![0.0; 9], vec![0.0; 9]);
        for row in 0..900 {
            let scores: Vec<f64> = z[row * 9..][..9].iter().map(|&z| f64::from(z)).collect();
            loss.row_f64(&scores, made.labels[row] as usize, &mut g, &mut h);
            let leaf = boosted.tree.leaf(|feature| made.binned.bin(row, feature));
            for class in 0..9 {
                let gradient = f64::from(made.weights[row]) / mean * g[class];
                g_sums[leaf * 9 + class] += gradient;
                h_sums[leaf * 9 + class] += gradient.abs();
            }
        }
        // The l2 of a leaf is one average row, which any leaf whose sums are not small gives away.
        let l2 = |at: usize| -g_sums[at] * 0.1 / f64::from(boosted.values[at]) - h_sums[at];
        let sure: Vec<usize> = (0..leaves * 9).filter(|&at| g_sums[at].abs() > 0.2 * h_sums[at]).collect();
        let unit = l2(*sure.iter().min_by(|a, b| h_sums[**a].total_cmp(&h_sums[**b])).unwrap());
        assert!(unit > 0.0, "{loss:?}");
        for at in 0..leaves * 9 {
            let wanted = -0.1 * g_sums[at] / (h_sums[at] + unit);
            let found = f64::from(boosted.values[at]);
            assert!((found - wanted).abs() < 2e-4 * (0.05 + wanted.abs()), "{loss:?}: {found} {wanted}");
        }
    }
}

#[test]
fn scales_of_weights_are_of_no_effect() {
    let made = Made::random(700, 10, 3);
    let weights: Vec<f32> = (0..700).map(|row| [1.0, 4.0, 0.5][row % 3]).collect();
    let made = made.with_weights(weights.clone());
    let one = bytes(made.fit(Loss::Softmax, &options(), 5).model());
    let made = made.with_weights(weights.iter().map(|w| w * 1024.0).collect());
    assert_eq!(bytes(made.fit(Loss::Softmax, &options(), 5).model()), one);
}

#[test]
fn numbers_of_classes_permute_the_outputs() {
    let (rows, classes) = (400, 24);
    let made = Made::random(rows, classes, 7);
    let permuted = |class: usize| (class * 7 + 3) % classes;
    let weights = vec![1.0; rows];
    let labels: Vec<u32> = made.labels.iter().map(|&label| permuted(label as usize) as u32).collect();
    let drawn = directions(1, 1, classes, 7);
    let mut turned = PaddedRows::filled(7, classes, 0.0);
    for direction in 0..7 {
        (0..classes).for_each(|c| turned.row_mut(direction)[permuted(c)] = drawn.row(direction)[c]);
    }
    let run = |labels: &[u32], directions: &PaddedRows| {
        let (loss, never) = ((Loss::Softmax, Curvature::Newton), Stop::default());
        let mut many = ManyClasses::new(loss, classes, labels, &weights, (Kernels::best(), &never));
        let mut sketch = vec![0.0; rows * 7];
        let loss = many.sketch(directions, &mut sketch);
        (loss, sketch, many.sums(&(0..rows as u32).filter(|row| row % 3 == 0).collect::<Vec<_>>()))
    };
    let (first, second) = (run(&made.labels, &drawn), run(&labels, &turned));
    assert!((first.0 - second.0).abs() < 1e-9 * first.0);
    assert!(first.1.iter().zip(&second.1).all(|(a, b)| (a - b).abs() < 1e-6));
    for class in 0..classes {
        let (a, b) = (&first.2, &second.2);
        assert!((a.gradient[class] - b.gradient[permuted(class)]).abs() < 1e-4);
        assert!((a.hessian[class] - b.hessian[permuted(class)]).abs() < 1e-4);
    }
}

#[test]
fn a_fit_goes_on_where_it_was_left_and_forgets_rounds() {
    let made = Made::random(800, 11, 4);
    let offsets: Vec<f32> = (0..11).map(|class| class as f32 / 7.0 - 0.6).collect();
    let problem = BoostProblem { offsets: Some(&offsets), ..made.problem(Loss::Softmax) };
    let whole = fit(problem, &options(), 9);
    let part = fit(problem, &options(), 4).into_model();
    let mut resumed = Trainer::resume(problem, &options(), Kernels::best(), part).unwrap();
    (0..5).for_each(|_| {
        resumed.round();
    });
    assert_eq!(bytes(resumed.model()), bytes(whole.model()));
    let mut cut = fit(problem, &options(), 12);
    cut.truncate(9);
    assert_eq!(bytes(cut.model()), bytes(whole.model()));
    let logits = whole.model().logits(&made.matrix).unwrap();
    assert!(logits.iter().zip(whole.logits()).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn validation_rows_and_samples_score_as_the_model_says() {
    let (made, other) = (Made::random(600, 8, 6), Made::random(90, 8, 66));
    let binned = made.binner.bin(&other.matrix).unwrap();
    let options = BoostOptions { row_sample: 0.4, trees: Trees::Auto, ..options() };
    let mut trainer = made.fit(Loss::Softmax, &options, 3);
    let index = trainer.add_validation(&binned, None).unwrap();
    trainer.round();
    assert_eq!(trainer.validation_logits(index).unwrap(), trainer.model().logits(&other.matrix).unwrap());
    assert_eq!(trainer.logits(), trainer.model().logits(&made.matrix).unwrap());
}

#[test]
fn few_rows_many_classes_and_empty_ones_leave_numbers_finite() {
    for rows in 1..=40 {
        for classes in [3, 1000] {
            let mut rng = CounterRng::new(rows as u64, 0);
            let values =
                (0..rows * 3).map(|_| if rng.below(5) == 0 { f32::NAN } else { rng.below(4) as f32 });
            let matrix = Matrix::from_f32(values.collect(), 3);
            let labels: Vec<u32> = (0..rows).map(|_| rng.below(classes) as u32).collect();
            let made = Made::of(matrix, labels, classes, &BinningOptions::default());
            let weights = (0..rows).map(|row| if row % 5 == 1 { 0.0 } else { 1.0 }).collect();
            let made = made.with_weights(weights);
            let loss = LOSSES[rows % 4];
            for lanes in [Lanes::Four, Lanes::Sixteen] {
                let options = BoostOptions {
                    min_rows: 1,
                    l2: Some(0.0),
                    curvature: Some(if rows % 2 == 0 { Curvature::Newton } else { Curvature::Absolute }),
                    trees: Trees::Vector(lanes),
                    ..options()
                };
                let trainer = made.fit(loss, &options, 4);
                assert!(trainer.logits().iter().all(|z| z.is_finite()), "{rows} rows, {classes} classes");
            }
        }
    }
}

#[test]
fn many_classes_share_trees_and_few_do_not_unless_told() {
    assert_eq!([3, 7, 8].map(|k| Trees::Auto.lanes(k)), [None, None, Some(Lanes::Eight)]);
    assert_eq!([2, 3].map(|k| Trees::Vector(Lanes::Four).lanes(k)), [None, Some(Lanes::Four)]);
    assert_eq!(Trees::PerClass.lanes(1000), None);
    let usual = BoostOptions::default();
    assert_eq!([5, 50].map(|k| usual.curvature(k)), [Curvature::Newton, Curvature::Absolute]);
}
