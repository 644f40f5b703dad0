//! A grid of settings in smartcore's cross-validation: `cargo run --example smartcore --features smartcore`

mod digits;

use cbfit::interop::smartcore::Classifier;
use cbfit::{Linear, Weighting};
use smartcore::api::SupervisedEstimator;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::model_selection::{KFold, cross_validate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (values, y) = digits::digits();
    let x = DenseMatrix::new(y.len(), 64, values, false)?;
    let score = |truth: &Vec<u32>, found: &Vec<u32>| digits::macro_recall(truth, found);
    let folds = KFold::default().with_n_splits(5);
    for l2 in [1e-3, 1e-2, 1e-1] {
        for (name, weighting) in [("none", Weighting::none()), ("0.99", Weighting::effective(0.99)?)] {
            let linear = Linear::sigmoid().l2(l2).weighting(weighting);
            let empty: Classifier<Linear, f32, u32> =
                SupervisedEstimator::<DenseMatrix<f32>, Vec<u32>, Linear>::new();
            let scores = cross_validate(empty, &x, &y, linear, &folds, &score)?;
            println!("l2 {l2:<6} beta {name:5} macro recall {:.3}", scores.mean_test_score());
        }
    }
    Ok(())
}
