use super::*;
use crate::boost::binning::{Binner, BinningOptions};
use crate::boost::columns;
use crate::boost::gradient::Curvature;
use crate::boost::model::Importance;
use crate::boost::reference::{Reference, matches};
use crate::boost::start::Init;
use crate::loss::Loss;
use crate::matrix::Matrix;
use rayon::iter::ParallelIterator;

/// A data set with its bins.
pub(super) struct Made {
    pub(super) matrix: Matrix<'static>,
    pub(super) binner: Binner,
    pub(super) binned: BinnedMatrix,
    pub(super) labels: Vec<u32>,
    pub(super) weights: Vec<f32>,
    pub(super) classes: usize,
}

impl Made {
    pub(super) fn of(
        matrix: Matrix<'static>,
        labels: Vec<u32>,
        classes: usize,
        options: &BinningOptions,
    ) -> Self {
        let binner = Binner::fit(&matrix, &labels, options).unwrap();
        let binned = binner.bin(&matrix).unwrap();
        let weights = vec![1.0; labels.len()];
        Made { matrix, binner, binned, labels, weights, classes }
    }

    /// Rows whose class hangs on the features; column 2 is categorical, some values are missing.
    pub(super) fn random(rows: usize, classes: usize, seed: u64) -> Self {
        const COLS: usize = 19;
        let mut rng = CounterRng::new(seed, 0);
        let mut values = Vec::with_capacity(rows * COLS);
        let mut labels = Vec::with_capacity(rows);
        for _ in 0..rows {
            let row: Vec<f32> = (0..COLS)
                .map(|col| match col {
                    2 => rng.below(12) as f32,
                    _ if rng.below(8) == 0 => f32::NAN,
                    _ => (rng.next_f64() * 20.0 - 10.0) as f32,
                })
                .collect();
            let known = |col: usize| if row[col].is_nan() { 3.0 } else { row[col] };
            let signal = known(0) * known(5) / 10.0 + known(17) + if row[2] % 3.0 == 0.0 { 5.0 } else { 0.0 };
            let class = ((signal + 20.0) / 40.0 + (rng.next_f64() as f32 - 0.5) / 4.0).clamp(0.0, 0.999);
            labels.push((class.powi(2) * classes as f32) as u32);
            values.extend(row);
        }
        let options = BinningOptions { categorical: vec![2], max_bins: 60, ..Default::default() };
        Self::of(Matrix::from_f32(values, COLS), labels, classes, &options)
    }

    pub(super) fn problem(&self, loss: Loss) -> BoostProblem<'_> {
        BoostProblem {
            features: &self.binned,
            binner: &self.binner,
            labels: &self.labels,
            weights: &self.weights,
            classes: self.classes,
            loss,
            offsets: None,
            start: None,
        }
    }

    pub(super) fn fit(&self, loss: Loss, options: &BoostOptions, rounds: usize) -> Trainer<'_> {
        fit(self.problem(loss), options, rounds)
    }

    pub(super) fn with_weights(self, weights: Vec<f32>) -> Self {
        Made { weights, ..self }
    }
}

pub(super) fn fit<'a>(problem: BoostProblem<'a>, options: &BoostOptions, rounds: usize) -> Trainer<'a> {
    let mut trainer = Trainer::new(problem, options, Kernels::best()).unwrap();
    (0..rounds).for_each(|_| {
        trainer.round();
    });
    trainer
}

fn options() -> BoostOptions {
    BoostOptions { max_leaves: 15, min_rows: 5, ..Default::default() }
}

const LOSSES: [Loss; 4] =
    [Loss::Softmax, Loss::Sigmoid, Loss::Focal { gamma: 2.0 }, Loss::SoftmaxFocal { gamma: 1.0 }];

pub(super) fn bytes(model: &BoostModel) -> String {
    serde_json::to_string(model).unwrap()
}

pub(super) fn mean_loss(made: &Made, loss: Loss, logits: &[f32]) -> f64 {
    let (mut g, mut h) = (vec![0.0; made.classes], vec![0.0; made.classes]);
    let rows = logits.chunks(made.classes).zip(&made.labels);
    let losses = rows.map(|(z, &label)| {
        let z: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
        loss.row_f64(&z, label as usize, &mut g, &mut h)
    });
    losses.sum::<f64>() / made.labels.len() as f64
}

#[test]
fn every_loss_falls_and_raw_rows_score_as_bins_do() {
    for classes in [2, 5] {
        let made = Made::random(1500, classes, 1);
        for loss in LOSSES {
            for curvature in [Curvature::Newton, Curvature::Absolute] {
                let options = BoostOptions { curvature: Some(curvature), ..options() };
                let trainer = made.fit(loss, &options, 15);
                let logits = trainer.logits();
                let before =
                    mean_loss(&made, loss, &trainer.model().logits_of(trainer.model().base.repeat(1500)));
                let after = mean_loss(&made, loss, &logits);
                assert!(after < 0.8 * before, "{loss:?} {curvature:?}: {before} to {after}");
                assert_eq!(trainer.model().logits(&made.matrix).unwrap(), logits);
                assert!(trainer.model().is_sound());
            }
        }
    }
}

#[test]
fn trees_are_those_of_the_plain_reference_to_the_last_bit() {
    let variants = [
        options(),
        BoostOptions {
            l2: Some(0.0),
            max_delta_step: Some(0.0),
            min_child_weight: 0.0,
            min_rows: 1,
            ..options()
        },
        BoostOptions { max_leaves: 30, max_depth: Some(4), min_gain: 0.3, ..options() },
        BoostOptions { curvature: Some(Curvature::Absolute), category_smoothing: 0.0, ..options() },
    ];
    let mut trees = 0;
    for (classes, rows) in [(2, 700), (4, 900), (2, 20_000)] {
        let made = Made::random(rows, classes, 13);
        for (loss, options) in [Loss::Softmax, Loss::Sigmoid, Loss::Focal { gamma: 2.0 }]
            .into_iter()
            .flat_map(|loss| variants.iter().map(move |options| (loss, options)))
            .take(if rows > 1000 { 1 } else { usize::MAX })
        {
            let mut trainer = made.fit(loss, options, 0);
            // Goes through the same rounds, and shows its derivatives.
            let mut open = ClassFit::new(made.problem(loss), options, vec![1.0; rows], Kernels::best());
            open.restart(trainer.model());
            open.derive(0, &Clock::default());
            open.measure();
            for _ in 0..if rows > 1000 { 2 } else { 5 } {
                let before = trainer.model().trees.len();
                open.restart(trainer.model());
                open.derive(0, &Clock::default());
                trainer.round();
                for (output, boosted) in trainer.model.trees[before..].iter().enumerate() {
                    let (mut gradients, mut hessians) = (Vec::new(), Vec::new());
                    for chunk in columns::chunks(rows).collect::<Vec<_>>() {
                        let mut buffer = Vec::new();
                        let (g, h) = open.derivatives.of(&chunk, output, &mut buffer);
                        gradients.extend_from_slice(g);
                        hessians.extend_from_slice(h);
                    }
                    let reference = Reference {
                        matrix: &made.binned,
                        options,
                        gradients,
                        hessians,
                        unit: open.average_row,
                        min_rows: trainer.min_rows(output),
                    };
                    let (tree, values) = reference.tree();
                    assert!(
                        matches(&boosted.tree, &tree),
                        "{loss:?} {options:?} {:#?} {tree:#?}",
                        boosted.tree
                    );
                    assert_eq!(boosted.values, values, "{loss:?} {options:?}");
                    trees += usize::from(tree.nodes.len() > 3);
                }
            }
        }
    }
    assert!(trees > 200, "{trees}");
}

#[test]
fn threads_leave_the_model_as_it_is() {
    for (classes, rows) in [(2, 40_000), (4, 3000)] {
        let made = Made::random(rows, classes, 2);
        let options = BoostOptions { max_leaves: 40, row_sample: 0.7, column_sample: 0.6, ..options() };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let binner = Binner::fit(
                    &made.matrix,
                    &made.labels,
                    &BinningOptions { categorical: vec![2], max_bins: 60, ..Default::default() },
                );
                assert_eq!(binner.unwrap(), made.binner);
                let sampled = bytes(made.fit(Loss::Softmax, &options, 4).model());
                let whole = BoostOptions { row_sample: 1.0, ..options.clone() };
                sampled + &bytes(made.fit(Loss::Softmax, &whole, 4).model())
            })
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert!(run(threads) == one, "{threads} threads");
        }
    }
}

#[test]
fn instruction_sets_differ_in_rounding_alone() {
    let made = Made::random(2000, 3, 14);
    let run = |kernels: &'static Kernels| {
        let mut trainer = Trainer::new(made.problem(Loss::Softmax), &options(), kernels).unwrap();
        trainer.round();
        trainer.logits()
    };
    let wanted = run(Kernels::best());
    for kernels in crate::simd::Isa::ALL.into_iter().filter_map(Kernels::for_isa) {
        // One round: later ones may part where gains are as good as equal.
        assert!(run(kernels).iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{kernels:?}");
    }
}

#[test]
fn a_small_memory_for_histograms_changes_nothing() {
    let made = Made::random(2000, 2, 3);
    let small = BoostOptions { histogram_bytes: 200_000, ..options() };
    let none = BoostOptions { histogram_bytes: 0, ..options() };
    let wanted = bytes(made.fit(Loss::Softmax, &options(), 5).model());
    assert_eq!(bytes(made.fit(Loss::Softmax, &small, 5).model()), wanted);
    assert_eq!(bytes(made.fit(Loss::Softmax, &none, 5).model()), wanted);
}

#[test]
fn the_scale_of_weights_changes_nothing() {
    let mut rng = CounterRng::new(4, 0);
    let weights: Vec<f32> = (0..1000).map(|_| 0.5 + rng.below(4) as f32).collect();
    for loss in LOSSES {
        let made = Made::random(1000, 3, 4).with_weights(weights.clone());
        let wanted = bytes(made.fit(loss, &options(), 4).model());
        let made = made.with_weights(weights.iter().map(|w| w * 1024.0).collect());
        assert_eq!(bytes(made.fit(loss, &options(), 4).model()), wanted);
    }
}

#[test]
fn an_integer_weight_is_that_many_rows() {
    let made = Made::random(600, 2, 5);
    let times: Vec<usize> = (0..600).map(|row| 1 + row % 3).collect();
    let index: Vec<usize> = (0..600).flat_map(|row| std::iter::repeat_n(row, times[row])).collect();
    let repeated = Made {
        matrix: made.matrix.select_rows(&index),
        binned: made.binner.bin(&made.matrix.select_rows(&index)).unwrap(),
        binner: made.binner.clone(),
        labels: index.iter().map(|&row| made.labels[row]).collect(),
        weights: vec![1.0; index.len()],
        classes: 2,
    };
    let made = made.with_weights(times.iter().map(|&n| n as f32).collect());
    // Without what is counted in rows or average rows: of these there are more where rows are repeated.
    let options = BoostOptions {
        min_rows: 1,
        min_child_weight: 0.0,
        l2: Some(0.0),
        category_smoothing: 0.0,
        ..options()
    };
    // Rows that start apart have no equal gains, between which the rounding of weights would choose.
    let mut rng = CounterRng::new(5, 1);
    let start: Vec<f32> = (0..1200).map(|_| rng.next_f64() as f32).collect();
    let start_repeated: Vec<f32> =
        index.iter().flat_map(|&row| [start[2 * row], start[2 * row + 1]]).collect();
    for loss in LOSSES {
        let weighted = fit(BoostProblem { start: Some(&start), ..made.problem(loss) }, &options, 3);
        let plain = fit(BoostProblem { start: Some(&start_repeated), ..repeated.problem(loss) }, &options, 3);
        let logits = |trainer: Trainer<'_>| trainer.into_model().logits(&made.matrix).unwrap();
        let (a, b) = (logits(weighted), logits(plain));
        // Words of fixed point round a row of weight 3 once, three rows three times.
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4), "{loss:?}");
    }
}

#[test]
fn other_codes_for_the_classes_permute_the_logits() {
    let made = Made::random(1200, 4, 6);
    let code = [2u32, 0, 3, 1];
    let labels = made.labels.iter().map(|&label| code[label as usize]).collect();
    for loss in LOSSES {
        let logits = made.fit(loss, &options(), 4).logits();
        let mut renamed = Made::random(1200, 4, 6);
        renamed.labels = Vec::clone(&labels);
        let permuted = renamed.fit(loss, &options(), 4).logits();
        for (a, b) in logits.chunks(4).zip(permuted.chunks(4)) {
            // Sums over classes come in another order.
            assert!(
                (0..4).all(|class| (a[class] - b[code[class] as usize]).abs() < 1e-3),
                "{loss:?} {a:?} {b:?}"
            );
        }
    }
}

#[test]
fn swapping_two_classes_turns_the_score() {
    let made = Made::random(1000, 2, 7);
    for loss in LOSSES {
        let logits = made.fit(loss, &options(), 5).logits();
        let mut swapped = Made::random(1000, 2, 7);
        swapped.labels.iter_mut().for_each(|label| *label = 1 - *label);
        let turned = swapped.fit(loss, &options(), 5).logits();
        assert!(logits.chunks(2).zip(turned.chunks(2)).all(|(a, b)| (a[0] - b[1]).abs() < 1e-4), "{loss:?}");
    }
}

#[test]
fn missing_values_go_where_training_sent_them() {
    // Missing says class 1, the only hint there is.
    let values = (0..400).map(|row| if row % 4 == 0 { f32::NAN } else { (row % 7) as f32 }).collect();
    let labels = (0..400).map(|row| u32::from(row % 4 == 0)).collect();
    let made = Made::of(Matrix::from_f32(values, 1), labels, 2, &BinningOptions::default());
    let model = made.fit(Loss::Softmax, &options(), 10).into_model();
    let logits = model.logits(&Matrix::from_f32(vec![f32::NAN, 3.0, 100.0, -5.0], 1)).unwrap();
    assert!(logits[1] > 0.3 && [3, 5, 7].iter().all(|&at| logits[at] < -0.9), "{logits:?}");
    let gains = model.importances(Importance::Gain, None);
    assert!(gains[0] > 0.0);
    assert_eq!(model.importances(Importance::Splits, Some(0)).len(), 1);
}

#[test]
fn tiny_and_degenerate_data_train_without_panic_or_nan() {
    let cases: Vec<(usize, usize, u8)> = (1..=40)
        .flat_map(|rows| [(rows, 2, 0), (rows, 3, 0), (rows, 1, 0)])
        .chain([
            (30, 2, 1), // constant columns
            (30, 2, 2), // all missing
            (30, 4, 3), // one row a class beside one of many
            (30, 5, 4), // all rows in one of five classes
        ])
        .collect();
    for (rows, classes, kind) in cases {
        let mut rng = CounterRng::new(rows as u64, classes as u64);
        let value = |rng: &mut CounterRng| match kind {
            1 => 1.0,
            2 => f32::NAN,
            _ => rng.below(9) as f32,
        };
        let values = (0..rows * 3).map(|_| value(&mut rng)).collect();
        let labels = (0..rows)
            .map(|row| match kind {
                3 => {
                    if row < classes - 1 {
                        row as u32 + 1
                    } else {
                        0
                    }
                }
                4 => 0,
                _ => rng.below(classes) as u32,
            })
            .collect();
        let made = Made::of(Matrix::from_f32(values, 3), labels, classes, &BinningOptions::default());
        for loss in LOSSES {
            let options = BoostOptions { min_rows: 1, l2: Some(0.0), min_child_weight: 0.0, ..options() };
            let logits = made.fit(loss, &options, 5).logits();
            assert_eq!(logits.len(), rows * classes);
            assert!(logits.iter().all(|z| z.is_finite()), "{rows} rows, {classes} classes, {kind}: {loss:?}");
        }
    }
}

#[test]
fn no_leaf_has_fewer_rows_than_allowed() {
    let made = Made::random(3000, 2, 8);
    let options =
        BoostOptions { min_rows: 37, min_child_weight: 0.0, l2: Some(0.0), max_leaves: 60, ..options() };
    let model = made.fit(Loss::Softmax, &options, 8).into_model();
    let mut smallest = usize::MAX;
    for boosted in &model.trees {
        let mut rows = vec![0; boosted.tree.leaves()];
        for row in 0..3000 {
            rows[boosted.tree.leaf(|feature| made.binned.bin(row, feature))] += 1;
        }
        smallest = smallest.min(rows.into_iter().min().unwrap());
    }
    assert!((37..60).contains(&smallest), "{smallest}");
    let depth = BoostOptions { max_depth: Some(2), ..options };
    assert!(made.fit(Loss::Softmax, &depth, 2).model().trees.iter().all(|tree| tree.values.len() <= 4));
}

#[test]
fn a_fit_resumes_truncates_and_validates_alike() {
    let made = Made::random(900, 3, 9);
    let straight = made.fit(Loss::Softmax, &options(), 8);
    let mut trainer = made.fit(Loss::Softmax, &options(), 5);
    let index = trainer.add_validation(&made.binned, None).unwrap();
    let at_five = trainer.logits();
    assert_eq!(trainer.validation_logits(index).unwrap(), at_five);
    (0..3).for_each(|_| {
        trainer.round();
    });
    assert_eq!(trainer.model(), straight.model());
    assert_eq!(trainer.validation_logits(index).unwrap(), straight.logits());
    trainer.truncate(5);
    assert_eq!((trainer.logits(), trainer.validation_logits(index).unwrap()), (at_five.clone(), at_five));
    let model = trainer.into_model();
    let mut resumed =
        Trainer::resume(made.problem(Loss::Softmax), &options(), Kernels::best(), model).unwrap();
    (0..3).for_each(|_| {
        resumed.round();
    });
    assert_eq!(resumed.model(), straight.model());
    assert_eq!(
        trainer_error(&made, |p| BoostProblem { loss: Loss::Sigmoid, ..p }, straight.into_model()),
        "E0503"
    );
}

fn trainer_error<'a>(
    made: &'a Made,
    change: impl FnOnce(BoostProblem<'a>) -> BoostProblem<'a>,
    model: BoostModel,
) -> &'static str {
    Trainer::resume(change(made.problem(Loss::Softmax)), &options(), Kernels::best(), model)
        .unwrap_err()
        .code()
}

#[test]
fn boosting_starts_from_the_logits_of_another_model() {
    for classes in [2, 3] {
        let made = Made::random(900, classes, 10);
        let first = made.fit(Loss::Softmax, &options(), 6).into_model();
        let start = first.logits(&made.matrix).unwrap();
        let problem = BoostProblem { start: Some(&start), ..made.problem(Loss::Softmax) };
        let mut trainer = fit(problem, &options(), 2);
        let index = trainer.add_validation(&made.binned, Some(&start)).unwrap();
        let at_two = trainer.logits();
        (0..4).for_each(|_| {
            trainer.round();
        });
        assert_eq!(trainer.validation_logits(index).unwrap(), trainer.logits());
        trainer.truncate(2);
        assert_eq!((trainer.validation_logits(index).unwrap(), trainer.logits()), (at_two.clone(), at_two));
        (0..4).for_each(|_| {
            trainer.round();
        });
        let (before, after) =
            (mean_loss(&made, Loss::Softmax, &start), mean_loss(&made, Loss::Softmax, &trainer.logits()));
        assert!(after < before, "{before} {after}");
        let onto = trainer.model().logits_onto(&made.matrix, &start).unwrap();
        for (a, b) in onto.chunks(classes).zip(trainer.logits().chunks(classes)) {
            assert!((0..classes).all(|c| ((a[c] - a[0]) - (b[c] - b[0])).abs() < 1e-4));
        }
    }
}

#[test]
fn offsets_of_adjusted_training_are_taken_back() {
    // Without features to tell rows apart, adjusted scores are the balanced posterior: log shares less offsets.
    let labels: Vec<u32> = (0..100).map(|row| u32::from(row % 10 == 0)).collect();
    let values = (0..100).map(|row| (row % 2) as f32).collect();
    let made = Made::of(Matrix::from_f32(values, 1), labels, 2, &BinningOptions::default());
    let offsets = [0.9f32.ln(), 0.1f32.ln()];
    let problem = BoostProblem { offsets: Some(&offsets), ..made.problem(Loss::Softmax) };
    let options = BoostOptions { min_rows: 50, init: Init::Zero, ..options() };
    let trainer = fit(problem, &options, 0);
    assert_eq!(trainer.model().base, [0.0]);
    let weighted = fit(problem, &BoostOptions { init: Init::Weighted, ..options }, 0);
    assert!(weighted.model().base[0].abs() < 1e-6);
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let made = Made::random(50, 2, 11);
    let code = |problem: BoostProblem<'_>, options: &BoostOptions| {
        Trainer::new(problem, options, Kernels::best()).unwrap_err().code()
    };
    let problem = made.problem(Loss::Softmax);
    assert_eq!(code(BoostProblem { labels: &made.labels[1..], ..problem }, &options()), "E0315");
    assert_eq!(code(BoostProblem { weights: &made.weights[1..], ..problem }, &options()), "E0315");
    assert_eq!(code(BoostProblem { start: Some(&[0.0]), ..problem }, &options()), "E0315");
    assert_eq!(code(BoostProblem { offsets: Some(&[0.0]), ..problem }, &options()), "E0315");
    assert_eq!(code(BoostProblem { classes: 1, ..problem }, &options()), "E0308");
    assert_eq!(code(BoostProblem { weights: &[0.0; 50], ..problem }, &options()), "E0316");
    assert_eq!(code(BoostProblem { weights: &[f32::NAN; 50], ..problem }, &options()), "E0316");
    assert_eq!(code(problem, &BoostOptions { learning_rate: 0.0, ..options() }), "E0208");
    assert_eq!(code(problem, &BoostOptions { max_leaves: 1, ..options() }), "E0208");
}

#[test]
fn the_limit_of_rows_shrinks_with_the_rarest_class() {
    let mut made = Made::random(200, 3, 12);
    made.labels = (0..200).map(|row| if row < 6 { 2 } else { row % 2 }).collect();
    let trainer = made.fit(Loss::Softmax, &BoostOptions::default(), 0);
    assert_eq!([trainer.min_rows(0), trainer.min_rows(2)], [20, 3]);
}
