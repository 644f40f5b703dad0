//! cbfit in linfa's cross-validation: `cargo run --example linfa --features linfa`

mod digits;

use cbfit::interop::linfa::Params;
use cbfit::{Linear, Weighting};
use digits::macro_recall;
use linfa::prelude::*;
use ndarray::Array2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (values, labels) = digits::digits();
    let x = Array2::from_shape_vec((labels.len(), 64), values)?;
    let mut dataset = Dataset::new(x, labels.iter().map(|&label| label as usize).collect());
    // Class weights come from the labels of each training fold.
    let weightings =
        [("none", Weighting::none()), ("inverse", Weighting::inverse()), ("sqrt", Weighting::sqrt())];
    let linear = |weighting: &Weighting| Params::new(Linear::softmax().l2(1e-2).weighting(weighting.clone()));
    let models: Vec<_> = weightings.iter().map(|(_, weighting)| linear(weighting)).collect();
    let scores = dataset.cross_validate_single(5, &models, |found, truth| Ok(macro_recall(truth, found)))?;
    weightings
        .iter()
        .zip(&scores)
        .for_each(|((name, _), score)| println!("{name:8} macro recall {score:.3}"));
    Ok(())
}
