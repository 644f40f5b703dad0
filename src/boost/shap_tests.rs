use super::*;
use crate::boost::binning::{Binner, BinningOptions};
use crate::boost::options::{BoostOptions, Lanes, Trees};
use crate::boost::trainer::{BoostProblem, Trainer};
use crate::boost::tree::Node;
use crate::loss::Loss;
use crate::rng::CounterRng;
use crate::simd::Kernels;

const COLS: usize = 6;

/// Rows with gaps whose class hangs on three of six columns; column 2 is categorical, column 4 is constant.
fn table(rows: usize, classes: usize) -> (Matrix<'static>, Vec<u32>) {
    let mut rng = CounterRng::new(5, 0);
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let mut row = [0.0f32; COLS];
        for (col, value) in row.iter_mut().enumerate() {
            *value = match col {
                2 => rng.below(7) as f32,
                4 => 1.0,
                _ if rng.below(9) == 0 => f32::NAN,
                _ => (rng.next_f64() * 4.0) as f32,
            };
        }
        let known = |x: f32| if x.is_nan() { 2.5 } else { x };
        let signal =
            known(row[0]) * known(row[1]) + if row[2] % 3.0 == 0.0 { 4.0 } else { 0.0 } + known(row[5]);
        labels.push(((signal / 24.0).clamp(0.0, 0.999) * classes as f32) as u32);
        values.extend(row);
    }
    (Matrix::from_f32(values, COLS), labels)
}

fn model(classes: usize, loss: Loss, options: BoostOptions, rounds: usize) -> (BoostModel, Matrix<'static>) {
    let (matrix, labels) = table(900, classes);
    let binning = BinningOptions { categorical: vec![2], ..Default::default() };
    let binner = Binner::fit(&matrix, &labels, &binning).unwrap();
    let features = binner.bin(&matrix).unwrap();
    let problem = BoostProblem {
        features: &features,
        binner: &binner,
        labels: &labels,
        weights: &[1.0; 900],
        classes,
        loss,
        offsets: None,
        start: None,
    };
    let mut trainer = Trainer::new(problem, &options, Kernels::best()).unwrap();
    while trainer.round().number < rounds {}
    (trainer.into_model(), matrix)
}

fn models() -> Vec<(BoostModel, Matrix<'static>)> {
    let plain = BoostOptions { min_rows: 3, ..BoostOptions::default() };
    let vector = BoostOptions { trees: Trees::Vector(Lanes::Four), max_leaves: 12, ..plain.clone() };
    let deep = BoostOptions { max_leaves: 200, min_rows: 1, row_sample: 0.6, ..plain.clone() };
    vec![
        model(2, Loss::Softmax, plain.clone(), 8),
        model(2, Loss::Sigmoid, deep, 3),
        model(3, Loss::Softmax, plain.clone(), 3),
        model(4, Loss::Sigmoid, vector, 4),
        model(3, Loss::Softmax, BoostOptions { max_leaves: 2, ..plain }, 2),
    ]
}

/// Mean value of output `output` of a tree where only the features of `known` are known.
fn conditional(
    boosted: &BoostedTree,
    at: Child,
    bins: &[u8],
    known: u32,
    outputs: usize,
    output: usize,
) -> f64 {
    let node: &Node = match at {
        Child::Leaf(leaf) => {
            return match boosted.output {
                Output::One(own) if own as usize != output => 0.0,
                Output::One(_) => f64::from(boosted.values[leaf as usize]),
                Output::All => f64::from(boosted.values[leaf as usize * outputs + output]),
            };
        }
        Child::Node(node) => &boosted.tree.nodes[node as usize],
    };
    let below = |side: usize| conditional(boosted, node.children[side], bins, known, outputs, output);
    if known >> node.feature & 1 == 1 {
        return below(usize::from(!node.goes_left(bins[node.feature as usize])));
    }
    let share = |side: usize| f64::from(node.side_cover(side)) / f64::from(node.cover);
    share(0) * below(0) + share(1) * below(1)
}

#[test]
fn they_are_the_shapley_values_of_all_coalitions() {
    for (model, matrix) in models() {
        let explainer = Explainer::new(&model).unwrap();
        let (outputs, features) = (model.outputs(), model.binner.features().len());
        assert_eq!(features, 5, "the constant column is left out");
        let every: Vec<u32> = (0..outputs as u32).collect();
        let rows: Vec<usize> = (0..12).map(|row| row * 70).collect();
        let chosen = matrix.select_rows(&rows);
        let found = explainer.contributions(&chosen, Explained::Outputs(&every)).unwrap();
        let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
        for (row, found) in found.chunks_exact(outputs * (COLS + 1)).enumerate() {
            let mut bins = vec![0; features];
            model.binner.bin_row(|column| chosen.get(row, column), &mut bins);
            for (output, found) in found.chunks_exact(COLS + 1).enumerate() {
                let worth: Vec<f64> = (0..1u32 << features)
                    .map(|known| {
                        let of =
                            |t: &BoostedTree| conditional(t, t.tree.root(), &bins, known, outputs, output);
                        f64::from(model.base[output]) + model.trees.iter().map(of).sum::<f64>()
                    })
                    .collect();
                for (feature, info) in model.binner.features().iter().enumerate() {
                    let without = (0..1u32 << features).filter(|known| known >> feature & 1 == 0);
                    let shapley: f64 = without
                        .map(|known| {
                            let (n, size) = (features as u32, known.count_ones());
                            let weight = factorial(size) * factorial(n - 1 - size) / factorial(n);
                            weight * (worth[(known | 1 << feature) as usize] - worth[known as usize])
                        })
                        .sum();
                    let found = f64::from(found[info.column as usize]);
                    assert!(
                        (found - shapley).abs() < 1e-6,
                        "row {row}, feature {feature}: {found}, {shapley}"
                    );
                }
                assert_eq!(found[4], 0.0, "a column without a test does nothing");
                assert!((f64::from(found[COLS]) - worth[0]).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn contributions_add_up_to_the_scores() {
    for (model, matrix) in models() {
        let explainer = Explainer::new(&model).unwrap();
        let (outputs, classes) = (model.outputs(), model.classes as u32);
        let logits = model.logits(&matrix).unwrap();
        for class in 0..classes {
            let (output, sign) = explainer.output_of(class);
            let found = explainer.contributions(&matrix, Explained::Outputs(&[output])).unwrap();
            for (row, found) in found.chunks_exact(COLS + 1).enumerate() {
                let score: f32 = sign * found.iter().sum::<f32>();
                let logits = &logits[row * classes as usize..][..classes as usize];
                let wanted = match (outputs, model.loss) {
                    (1, Loss::Softmax) => logits[class as usize] - logits[1 - class as usize],
                    _ => logits[class as usize],
                };
                assert!((score - wanted).abs() < 1e-4, "row {row}, class {class}: {score}, {wanted}");
            }
        }
    }
}

#[test]
fn outputs_can_be_chosen_row_by_row() {
    for (model, matrix) in models() {
        let explainer = Explainer::new(&model).unwrap();
        let outputs = model.outputs();
        let every: Vec<u32> = (0..outputs as u32).collect();
        let all = explainer.contributions(&matrix, Explained::Outputs(&every)).unwrap();
        let own: Vec<u32> = (0..matrix.rows()).map(|row| (row * 7 % outputs) as u32).collect();
        let found = explainer.contributions(&matrix, Explained::OfRow(&own)).unwrap();
        for (row, found) in found.chunks_exact(COLS + 1).enumerate() {
            let wanted = &all[(row * outputs + own[row] as usize) * (COLS + 1)..][..COLS + 1];
            assert_eq!(found, wanted, "row {row}");
        }
    }
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    let (model, matrix) = models().remove(3);
    let explainer = Explainer::new(&model).unwrap();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| explainer.contributions(&matrix, Explained::Outputs(&[3, 0])).unwrap());
        found.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
    };
    let one = with(1);
    assert!([2, 3, 8].into_iter().all(|threads| with(threads) == one));
}

#[test]
fn what_cannot_be_explained_is_said() {
    let (model, matrix) = models().remove(2);
    let explainer = Explainer::new(&model).unwrap();
    let code = |matrix: &Matrix, of| explainer.contributions(matrix, of).unwrap_err().code();
    assert_eq!(code(&matrix, Explained::Outputs(&[3])), "E0208");
    assert_eq!(code(&matrix, Explained::OfRow(&[0; 7])), "E0315");
    assert_eq!(code(&Matrix::from_f32(vec![0.0; 10], 5), Explained::Outputs(&[0])), "E0503");
    assert!(explainer.contributions(&matrix, Explained::Outputs(&[])).unwrap().is_empty());
}

#[test]
fn a_path_of_too_many_features_is_refused() {
    // One chain: every node tests a feature of its own.
    let length = 9_000u32;
    let nodes = (0..length).map(|at| Node {
        feature: at,
        test: crate::boost::tree::Test::UpTo { bin: 1, threshold: 0.0 },
        missing_left: false,
        children: [Child::Leaf(at), if at + 1 < length { Child::Node(at + 1) } else { Child::Leaf(length) }],
        gain: 1.0,
        cover: 1 + length - at,
        left_cover: 1,
    });
    let (mut model, _) = models().remove(0);
    let tree = Tree { nodes: nodes.collect() };
    assert!(tree.is_sound());
    model.trees = vec![BoostedTree { values: vec![0.0; tree.leaves()], tree, output: Output::One(0) }];
    assert_eq!(Explainer::new(&model).unwrap_err().code(), "E0801");
}
