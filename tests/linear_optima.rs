//! The optimum of the objective against scikit-learn's and an independent Newton method: tests/golden/optima.json.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may panic like the tests themselves.

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cbfit::data::scale::{Scale, Scaler};
use cbfit::labels::ClassCounts;
use cbfit::linear::objective::Objective;
use cbfit::linear::problem::Problem;
use cbfit::linear::rows::Rows;
use cbfit::linear::solver::lbfgs::{LbfgsOptions, minimise};
use cbfit::linear::solver::memory::Memory;
use cbfit::loss::Loss;
use cbfit::matrix::{Matrix, Storage};
use cbfit::simd::Kernels;
use cbfit::weighting::{Beta, ClassWeights, Normalisation, Scheme};
use common::table;

fn load(dataset: &str) -> Option<(Matrix<'static>, Vec<u32>)> {
    Some(match dataset {
        "digits_lt_train" => {
            let (mut features, labels) = table::read(&common::repo("data/digits_lt_train.parquet"));
            if let Storage::F32(values) = features.storage_mut() {
                values.iter_mut().for_each(|v| *v /= 16.0);
            }
            (features, labels)
        }
        "covertype_20k" => {
            let (mut features, labels) = table::read(common::shared("covertype_20k.parquet")?.to_str()?);
            let rows: Vec<usize> = (0..labels.len()).collect();
            Scaler::fit(Scale::Standard, &features, &rows, None).0.apply(&mut features);
            (features, labels)
        }
        name => table::read(common::shared(&format!("{name}.parquet"))?.to_str()?),
    })
}

#[test]
fn lbfgs_reaches_the_reference_optimum_of_three_data_sets_under_four_weightings() {
    let golden: Vec<serde_json::Value> = serde_json::from_str(include_str!("golden/optima.json")).unwrap();
    let mut data = BTreeMap::new();
    let mut compared = 0;
    for case in &golden {
        let dataset = case["dataset"].as_str().unwrap();
        let loaded = data.entry(dataset).or_insert_with(|| load(dataset));
        let Some((features, labels)) = loaded else { continue };
        let loss = if case["loss"] == "softmax" { Loss::Softmax } else { Loss::Sigmoid };
        let scheme = match case["scheme"].as_str().unwrap() {
            "none" => Scheme::None,
            "inverse" => Scheme::Inverse,
            "sqrt" => Scheme::Sqrt,
            _ => Scheme::Effective(Beta::parse("0.999").unwrap()),
        };
        let classes = *labels.iter().max().unwrap() as usize + 1;
        let counts = ClassCounts::of(labels, None, classes);
        let weights = ClassWeights::new(&scheme, &counts, Normalisation::Samples, None)
            .unwrap()
            .row_weights(labels, None);
        let problem =
            Problem::new(Rows::all(features), labels, &weights, classes, loss, case["l2"].as_f64().unwrap());
        let mut objective = Objective::new(problem, Kernels::best());
        let options = LbfgsOptions { tolerance: 5e-7, max_iterations: 3000, certified: true };
        let fit = minimise(&mut objective, &mut Memory::default(), &problem.start(), &options, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let optimum = case["objective"].as_f64().unwrap();
        let relative = fit.certificate.objective / optimum - 1.0;
        println!(
            "{dataset} {loss:?} {}: {relative:.1e} above the optimum, certified {:.1e}, {} passes",
            scheme.name(),
            fit.certificate.relative_gap.unwrap(),
            fit.passes
        );
        assert!(relative.abs() <= 1e-6, "{case}: {} is {relative:e} away", fit.certificate.objective);
        assert!(
            fit.certificate.relative_gap.unwrap() >= relative - 1e-7,
            "{case}: certificate below the truth"
        );
        compared += 1;
    }
    assert!(compared >= 8, "at least the data set of the repository is compared");
}
