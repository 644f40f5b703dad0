//! How rows and features are laid out decides about time, never about trees or scores.

use super::tests::{Made, bytes, fit};
use super::*;
use crate::boost::binning::BinningOptions;
use crate::boost::bundles::tests::rows_with_codes;
use crate::boost::model::BoostedTree;
use crate::boost::options::{Lanes, Trees};
use crate::loss::Loss;
use crate::matrix::Matrix;

fn options() -> BoostOptions {
    BoostOptions { max_leaves: 15, min_rows: 3, ..Default::default() }
}

#[test]
fn bundles_change_no_tree() {
    let (values, labels) = rows_with_codes(3000, 8);
    let width = values.len() / labels.len();
    let binning = BinningOptions { categorical: vec![12, 25], ..Default::default() };
    let made = Made::of(Matrix::from_f32(values, width), labels, 3, &binning);
    let apart = made.binned.without_bundles();
    assert!(made.binned.slots() < apart.slots());
    for trees in [Trees::PerClass, Trees::Vector(Lanes::Eight)] {
        for (row_sample, column_sample) in [(1.0, 1.0), (0.7, 0.5)] {
            let options = BoostOptions { trees, row_sample, column_sample, ..options() };
            let problem = made.problem(Loss::Softmax);
            let bundled = fit(problem, &options, 6);
            let wanted = fit(BoostProblem { features: &apart, ..problem }, &options, 6);
            assert_eq!(bytes(bundled.model()), bytes(wanted.model()));
            assert_eq!(bundled.logits(), wanted.logits());
            let shared = |tree: &BoostedTree| tree.tree.nodes.iter().any(|node| node.feature >= 2);
            assert!(bundled.model().trees.iter().any(shared));
        }
    }
}

#[test]
fn rows_score_the_same_in_any_company() {
    let made = Made::random(1300, 3, 21);
    for (trees, max_leaves) in
        [(Trees::PerClass, 31), (Trees::PerClass, 400), (Trees::Vector(Lanes::Four), 31)]
    {
        let options = BoostOptions { trees, max_leaves, min_rows: 1, ..options() };
        let trainer = made.fit(Loss::Softmax, &options, 3);
        let model = trainer.model();
        let all = model.logits(&made.matrix).unwrap();
        for count in [1, 16, 17, 64, 65, 512, 513, 1299] {
            let some = made.matrix.select_rows(&(0..count).collect::<Vec<_>>());
            assert_eq!(model.logits(&some).unwrap(), all[..3 * count]);
        }
    }
}
