//! Heads and losses of the linear learner against scikit-learn and SciPy (tests/golden/heads.json), and against each other.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may panic like the tests themselves.

mod common;

use std::ops::ControlFlow;

use cbfit::data::dataset::read_training;
use cbfit::data::options::ReadOptions;
use cbfit::labels::ClassCounts;
use cbfit::linear::fit::Optimizer;
use cbfit::linear::heads::{
    Builder, ClassMeans, Head, Lda, LdaPrior, Setting, Shrinkage, lda, lws, tau_norm,
};
use cbfit::linear::model::LinearModel;
use cbfit::linear::objective::Objective;
use cbfit::linear::problem::Decay;
use cbfit::linear::rows::Rows;
use cbfit::linear::search::{Recipe, Sample, Validation, WeightedSample};
use cbfit::linear::solver::Fit;
use cbfit::linear::solver::lbfgs::{LbfgsOptions, minimise};
use cbfit::linear::solver::memory::Memory;
use cbfit::loss::Loss;
use cbfit::matrix::{Matrix, SparseRows, Storage};
use cbfit::metrics::Metric;
use cbfit::simd::Kernels;
use cbfit::weighting::{Prior, Resampling, Scheme};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/heads.json")).unwrap()
}

/// Pixels / 16 and labels.
fn digits(part: &str) -> (Matrix<'static>, Vec<u32>) {
    let path = common::repo(&format!("data/digits_lt_{part}.parquet"));
    let set = read_training(&[path], &ReadOptions::default()).unwrap();
    let cols = set.features.cols();
    let rows = set.features.rows();
    let values = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
    let values = values.map(|(row, col)| set.features.get(row, col) / 16.0).collect();
    (Matrix::from_f32(values, cols), set.labels.unwrap())
}

fn sample<'a>(features: &'a Matrix<'a>, labels: &'a [u32]) -> Sample<'a> {
    Sample { rows: Rows::all(features), labels, row_weights: None, classes: 10 }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Logits of the first rows, less their mean over classes.
fn centred_logits(model: &LinearModel, features: &Matrix, rows: usize) -> Vec<Vec<f64>> {
    let logits = model.logits(features, Kernels::best());
    let row = |z: &[f32]| {
        let mean = z.iter().map(|&z| f64::from(z)).sum::<f64>() / z.len() as f64;
        z.iter().map(|&z| f64::from(z) - mean).collect()
    };
    logits.chunks(model.classes()).take(rows).map(row).collect()
}

fn largest_difference(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn recipe() -> Recipe {
    Recipe {
        loss: Loss::Softmax,
        logit_adjust: 0.0,
        vs_gamma: 0.0,
        ldam: 0.0,
        resampling: None,
        decay: Decay::Weights,
        max_weight: None,
        optimizer: Optimizer::Lbfgs { tolerance: 5e-7, max_iterations: 3000, certified: true },
    }
}

fn minimum(weighted: &WeightedSample<'_>, recipe: &Recipe, l2: f64) -> Fit {
    let problem = weighted.problem(recipe, l2);
    let mut objective = Objective::new(problem, Kernels::best());
    let options = LbfgsOptions { tolerance: 5e-7, max_iterations: 3000, certified: true };
    let mut watch = |_: &_| ControlFlow::Continue(());
    minimise(&mut objective, &mut Memory::default(), &problem.start(), &options, &mut watch).unwrap()
}

#[test]
fn discriminant_analysis_is_that_of_scikit_learn() {
    let ((features, labels), (test, _)) = (digits("train"), digits("test"));
    let twice: Vec<f64> = (0..labels.len()).map(|row| 1.0 + (row % 2) as f64).collect();
    for case in golden()["lda"].as_array().unwrap() {
        let shrinkage = case["shrinkage"].as_f64().map_or(Shrinkage::LedoitWolf, Shrinkage::Given);
        let mut sample = sample(&features, &labels);
        let prior = match case["prior"].as_str().unwrap() {
            "natural" => LdaPrior::Natural,
            "uniform" => LdaPrior::Uniform,
            _ => {
                sample.row_weights = Some(&twice);
                LdaPrior::Uniform
            }
        };
        let model = lda(&sample, shrinkage, &prior, Kernels::best()).unwrap();
        let expected: Vec<Vec<f64>> = case["logits"].as_array().unwrap().iter().map(numbers).collect();
        let difference = largest_difference(&centred_logits(&model, &test, 5), &expected);
        println!("{} {}: {difference:.1e}", case["prior"], case["shrinkage"]);
        assert!(difference < 1e-4, "{} {}: {difference}", case["prior"], case["shrinkage"]);
    }
}

#[test]
fn a_covariance_without_full_rank_needs_shrinkage() {
    let (features, labels) = digits("train");
    let analysis = Lda::new(sample(&features, &labels), &LdaPrior::Uniform, Kernels::best()).unwrap();
    for (share, word) in [(0.0, "singular"), (1.5, "outside"), (f64::NAN, "outside")] {
        let error = analysis.model(Shrinkage::Given(share)).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    let wide = Matrix::from_f32(vec![0.0; 2 * 5000], 5000);
    let rows = Sample { rows: Rows::all(&wide), labels: &[0, 1], row_weights: None, classes: 2 };
    assert_eq!(Lda::new(rows, &LdaPrior::Uniform, Kernels::best()).unwrap_err().code(), "E0801");
    for shares in [vec![1.0; 9], vec![0.0; 10], vec![f64::NAN; 10]] {
        let prior = LdaPrior::Given(shares);
        assert_eq!(
            Lda::new(sample(&features, &labels), &prior, Kernels::best()).unwrap_err().code(),
            "E0321"
        );
    }
}

#[test]
fn nearest_means_decide_as_in_scikit_learn_and_full_shrinkage_is_the_same() {
    let (features, labels) = digits("train");
    let decisions = |model: &LinearModel| -> Vec<f64> {
        let logits = model.logits(&features, Kernels::best());
        let best = |z: &[f32]| (0..z.len()).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap() as f64;
        logits.chunks(10).map(best).collect()
    };
    let means = ClassMeans::of(&sample(&features, &labels));
    let nearest = means.nearest_mean();
    assert_eq!(decisions(&nearest), numbers(&golden()["ncm"]));
    let full =
        lda(&sample(&features, &labels), Shrinkage::Given(1.0), &LdaPrior::Uniform, Kernels::best()).unwrap();
    let logits = |model| centred_logits(model, &features, 50);
    assert!(largest_difference(&logits(&nearest), &logits(&full)) < 1e-3);

    // The angle to a mean: logits over the length of the row are cosines.
    let direction = means.nearest_direction();
    let logits = direction.logits(&features, Kernels::best());
    let (row, class) = (7, 3);
    let x: Vec<f64> = (0..64).map(|col| f64::from(features.get(row, col))).collect();
    let length = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let along: f64 = x.iter().zip(means.mean(class)).map(|(x, m)| x * m).sum();
    let cosine = along / length(&x) / length(means.mean(class));
    assert!((f64::from(logits[row * 10 + class]) / length(&x) - cosine).abs() < 1e-5);
}

#[test]
fn scales_are_those_of_scipy() {
    let golden = &golden()["lws"];
    let (features, labels) = digits("train");
    let narrow = |values: &Value| numbers(values).into_iter().map(|v| v as f32).collect();
    let (weight, bias) = (narrow(&golden["weight"]), narrow(&golden["bias"]));
    let model = LinearModel { weight, bias, features: 64, loss: Loss::Sigmoid };
    for (ridge, expected) in golden["scales"].as_object().unwrap() {
        let scaled =
            lws(&model, &sample(&features, &labels), ridge.parse().unwrap(), Kernels::best()).unwrap();
        assert_eq!((&scaled.bias, scaled.loss), (&model.bias, Loss::Softmax));
        for (class, expected) in numbers(expected).into_iter().enumerate() {
            let (before, after) = (model.weights_of(class), scaled.weights_of(class));
            let at = (0..64).max_by(|&a, &b| before[a].abs().total_cmp(&before[b].abs())).unwrap();
            let scale = f64::from(after[at]) / f64::from(before[at]);
            assert!(
                (scale / expected - 1.0).abs() < 1e-5,
                "ridge {ridge}, class {class}: {scale}, not {expected}"
            );
        }
    }
}

#[test]
fn losses_with_factors_and_margins_reach_the_optimum_of_scipy() {
    let (features, labels) = digits("train");
    for case in golden()["optima"].as_array().unwrap() {
        let recipe = Recipe {
            loss: if case["loss"] == "softmax" { Loss::Softmax } else { Loss::Sigmoid },
            vs_gamma: case["vs_gamma"].as_f64().unwrap(),
            logit_adjust: case["logit_adjust"].as_f64().unwrap(),
            ldam: case["ldam"].as_f64().unwrap(),
            ..recipe()
        };
        let weighted = WeightedSample::new(sample(&features, &labels), &Scheme::None, &recipe).unwrap();
        let fit = minimum(&weighted, &recipe, case["l2"].as_f64().unwrap());
        let optimum = case["objective"].as_f64().unwrap();
        let (relative, bound) =
            (fit.certificate.objective / optimum - 1.0, fit.certificate.relative_gap.unwrap());
        println!("{case}: {relative:.1e} above the optimum, certified {bound:.1e}");
        assert!(relative.abs() <= 1e-6, "{case}: {relative:e} away");
        assert!(bound >= relative - 1e-7 && bound < 1e-5, "{case}: certified {bound:e}");
    }
}

#[test]
fn a_focal_loss_takes_no_margin() {
    let (features, labels) = digits("train");
    let recipe = Recipe { loss: Loss::Focal { gamma: 1.0 }, ldam: 1.0, ..recipe() };
    let refused = WeightedSample::new(sample(&features, &labels), &Scheme::None, &recipe).unwrap_err();
    assert_eq!(refused.code(), "E0208");
}

/// Mean negative log probability of the labels.
fn log_loss(probabilities: &[f32], labels: &[u32]) -> f64 {
    let of_row = |(p, &label): (&[f32], &u32)| -f64::from(p[label as usize]).max(1e-30).ln();
    probabilities.chunks(10).zip(labels).map(of_row).sum::<f64>() / labels.len() as f64
}

/// Mean absolute difference of probabilities.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / a.len() as f64
}

#[test]
fn the_natural_prior_brings_resampled_fits_back_to_the_unweighted_one() {
    let ((features, labels), (test, _)) = (digits("train"), digits("test"));
    let under = |recipe: &Recipe, l2: f64, prior: &Prior| {
        let weighted = WeightedSample::new(sample(&features, &labels), &Scheme::None, recipe).unwrap();
        let fit = minimum(&weighted, recipe, l2);
        weighted
            .classifier(&fit.theta, recipe)
            .probabilities(Rows::all(&test), prior, Kernels::best())
            .unwrap()
    };
    let plain = under(&recipe(), 1e-2, &Prior::Natural);
    for resampling in [Resampling::Over, Resampling::Balanced] {
        let resampled = Recipe { resampling: Some((resampling, 1)), ..recipe() };
        let natural = distance(&under(&resampled, 1e-2, &Prior::Natural), &plain);
        let trained = distance(&under(&resampled, 1e-2, &Prior::AsTrained), &plain);
        println!("{}: {natural:.4} natural, {trained:.4} as trained", resampling.name());
        assert!(natural < 0.6 * trained, "{}: {natural} against {trained}", resampling.name());
    }
}

#[test]
fn vector_scaling_has_the_posterior_of_the_plain_fit_where_l2_vanishes() {
    let (features, labels) = common::long_tail(4, 5, 2000, 3);
    let rows = Rows::all(&features);
    let sample = Sample { rows, labels: &labels, row_weights: None, classes: 4 };
    let under = |recipe: &Recipe, prior: &Prior| {
        let weighted = WeightedSample::new(sample, &Scheme::None, recipe).unwrap();
        let fit = minimum(&weighted, recipe, 1e-7);
        weighted.classifier(&fit.theta, recipe).probabilities(rows, prior, Kernels::best()).unwrap()
    };
    let plain = under(&recipe(), &Prior::AsTrained);
    let scaled = Recipe { vs_gamma: 0.3, logit_adjust: 0.5, ..recipe() };
    let natural = distance(&under(&scaled, &Prior::Natural), &plain);
    let trained = distance(&under(&scaled, &Prior::AsTrained), &plain);
    println!("{natural:.1e} natural, {trained:.1e} as trained");
    assert!(natural < 0.02 * trained, "{natural} against {trained}");
}

#[test]
fn a_resampled_fit_is_the_fit_of_the_rows_repeated() {
    let (features, labels) = digits("train");
    let resampled = Recipe { resampling: Some((Resampling::Balanced, 3)), ..recipe() };
    let weighted = WeightedSample::new(sample(&features, &labels), &Scheme::None, &resampled).unwrap();
    assert!(weighted.rows() < labels.len());
    assert_eq!(weighted.counts, ClassCounts::of(&labels, None, 10), "counts are those before the draws");
    let times = Resampling::Balanced.multiplicities(&labels, 10, 3);
    let index: Vec<usize> =
        (0..labels.len()).flat_map(|row| std::iter::repeat_n(row, times[row] as usize)).collect();
    let repeated_labels: Vec<u32> = index.iter().map(|&row| labels[row]).collect();
    let repeated = Sample { rows: Rows::chosen(&features, &index), ..sample(&features, &repeated_labels) };
    let plain = WeightedSample::new(repeated, &Scheme::None, &recipe()).unwrap();
    let objective = |weighted: &WeightedSample<'_>| minimum(weighted, &recipe(), 1e-3).certificate.objective;
    assert!((objective(&weighted) / objective(&plain) - 1.0).abs() < 2e-6);
    // What the classes weigh in all: their resampled over their original share.
    let drawn = plain.counts.weighted.iter().map(|n| n / index.len() as f64);
    let before = weighted.counts.weighted.iter().map(|n| n / labels.len() as f64);
    for ((alpha, drawn), before) in weighted.class_weights.alpha.iter().zip(drawn).zip(before) {
        assert!((alpha * before / drawn - 1.0).abs() < 1e-12);
    }
}

#[test]
fn every_head_chooses_its_setting_and_keeps_the_way_to_the_natural_posterior() {
    let ((features, labels), (test, test_labels)) = (digits("train"), digits("test"));
    let recipe = recipe();
    let weighted = WeightedSample::new(sample(&features, &labels), &Scheme::None, &recipe).unwrap();
    let base = weighted.classifier(&minimum(&weighted, &recipe, 1e-2).theta, &recipe);
    let plain = base.probabilities(Rows::all(&test), &Prior::Natural, Kernels::best()).unwrap();
    let validation = Validation {
        rows: Rows::all(&test),
        labels: &test_labels,
        metric: Metric::parse("macro_recall").unwrap(),
    };
    let recall =
        |classifier: &_| validation.evaluate(classifier, Kernels::best(), false).unwrap().macro_recall;
    let builder = Builder::new(&weighted, Some(&base), Kernels::best());
    for head in [Head::TauNorm, Head::Lws, Head::Ncm, Head::Lda] {
        let chosen = builder.choose(&head.settings(), &validation).unwrap();
        println!("{}:{} {:.3}", head.name(), chosen.setting, chosen.evaluation.macro_recall);
        assert!(head.settings().contains(&chosen.setting));
        assert_eq!(chosen.evaluation.macro_recall, recall(&chosen.classifier));
        let natural = |rows| chosen.classifier.probabilities(rows, &Prior::Natural, Kernels::best()).unwrap();
        match head {
            Head::TauNorm => {
                assert!(distance(&natural(Rows::all(&test)), &plain) < 1e-5, "the posterior of the fit")
            }
            _ => {
                // Training rows have the natural proportions.
                let all = Rows::all(&features);
                let trained =
                    chosen.classifier.probabilities(all, &Prior::AsTrained, Kernels::best()).unwrap();
                let (natural, trained) = (log_loss(&natural(all), &labels), log_loss(&trained, &labels));
                // Unweighted discriminant analysis has the natural prior from the start.
                let is_better = if head == Head::Lda { natural == trained } else { natural < trained };
                assert!(is_better, "{}: {natural} against {trained} as trained", head.name());
            }
        }
    }
    assert!(recall(&builder.build(Setting::Ridge(1e-3)).unwrap()) > recall(&base));
    let alone = Builder::new(&weighted, None, Kernels::best());
    assert_eq!(alone.build(Setting::Tau(0.5)).unwrap_err().code(), "E0208");
}

#[test]
fn sparse_rows_and_any_number_of_threads_give_the_same_heads() {
    let (features, labels) = digits("train");
    let mut sparse = SparseRows::default();
    for row in 0..features.rows() {
        let entries = (0..64u32).map(|col| (col, features.get(row, col as usize))).filter(|(_, x)| *x != 0.0);
        let (columns, values): (Vec<u32>, Vec<f32>) = entries.unzip();
        sparse.push(&columns, &values);
    }
    let sparse = Matrix::from_storage(Storage::Sparse(sparse), 64);
    let recipe = recipe();
    let heads = |features: &Matrix, threads: usize| -> Vec<LinearModel> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let sample = sample(features, &labels);
            let kernels = Kernels::best();
            let weighted = WeightedSample::new(sample, &Scheme::None, &recipe).unwrap();
            let base = weighted.classifier(&minimum(&weighted, &recipe, 1e-1).theta, &recipe).model;
            let means = ClassMeans::of(&sample);
            let analysis = |shrinkage| lda(&sample, shrinkage, &LdaPrior::Uniform, kernels).unwrap();
            vec![
                tau_norm(&base, 0.5),
                lws(&base, &sample, 1e-2, kernels).unwrap(),
                means.nearest_mean(),
                means.nearest_direction(),
                analysis(Shrinkage::LedoitWolf),
                analysis(Shrinkage::Given(0.1)),
            ]
        })
    };
    let dense = heads(&features, 1);
    assert_eq!(dense, heads(&features, 3));
    for (number, (dense, sparse)) in dense.iter().zip(heads(&sparse, 2)).enumerate() {
        let logits = |model: &LinearModel| centred_logits(model, &features, 100);
        let difference = largest_difference(&logits(dense), &logits(&sparse));
        assert!(difference < 2e-3, "head {number}: {difference}");
    }
}
