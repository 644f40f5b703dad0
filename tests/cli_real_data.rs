//! Runs on real data sets, where they are present: a wide long-tailed set of image features, a table with text columns
//! whose test file has classes of its own, and natural proportions to hold probabilities against.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use common::cli::{Folder, Run, number};
use serde_json::Value;

/// The folder and the paths of some shared files, as words for a command line; `None` where one is absent.
fn shared<const N: usize>(names: [&str; N]) -> Option<(Folder, [String; N])> {
    let mut paths = [const { String::new() }; N];
    for (path, name) in paths.iter_mut().zip(names) {
        *path = common::shared(name)?.canonicalize().unwrap().to_str().unwrap().to_owned();
    }
    Some((Folder::new(), paths))
}

fn score(report: &Value, name: &str) -> f64 {
    number(report, &format!("/scores/{name}"))
}

#[test]
fn image_features_reach_their_recall_under_every_loss() {
    let names = ["cifar10_lt100_mobilenet_train.parquet", "cifar10_mobilenet_test.parquet"];
    let Some((folder, [train, test])) = shared(names) else { return };
    // Ten balanced test classes, of which guessing recalls 0.1. The first run is the one without any flag.
    let whole = folder.json(&format!("--train {train} --test {test} -o m.cbfit"));
    let recall = number(&whole, "/test/trained/macro_recall");
    assert!(recall >= 0.72, "softmax: {recall}");
    assert_eq!((&whole["data"]["rows"], &whole["data"]["dtype"]), (&12_406.into(), &"f16".into()));
    assert!(number(&whole, "/fit/certificate/relative_gap") <= 1e-3);
    for loss in ["sigmoid", "focal", "softmax-focal"] {
        let line = format!("--train {train} --test {test} --loss {loss} --beta 0.9999 -o m.cbfit");
        let recall = number(&folder.json(&line), "/test/trained/macro_recall");
        assert!(recall >= 0.72, "{loss}: {recall}");
    }
}

#[test]
fn classes_of_the_test_file_alone_are_named_and_count_as_wrong() {
    let names = ["kdd99_10pct_train.parquet", "kdd99_corrected_test.parquet"];
    let Some((folder, [train, test])) = shared(names) else { return };
    let flags = "--label label --valid-fraction 0 --l2 1e-4 --beta 0.99 --optimizer lbfgs --epochs 25";
    let report = folder.json(&format!("--train {train} {flags} -o m.cbfit"));
    assert_eq!((&report["data"]["rows"], &report["data"]["classes"]), (&494_021.into(), &23.into()));
    let notes = report["data"]["notes"].to_string();
    assert!(notes.contains("label5"), "another form of the label must not be a feature: {notes}");

    let line = format!("eval m.cbfit {test} --label label");
    let run = folder.ok(&format!("{line} --json"));
    assert!(
        run.stderr.contains("17 classes unseen in training") && run.stderr.contains("wrong"),
        "{}",
        run.stderr
    );
    let wrong = run.json();
    assert_eq!((&wrong["rows"], wrong["unseen"].as_array().unwrap().len()), (&311_029.into(), 17));
    let unseen = number(&wrong, "/scores/unseen_rows");
    assert!(wrong["unseen"].to_string().contains("mscan"), "{}", wrong["unseen"]);
    assert!(score(&wrong, "top1") > 0.85, "{}", score(&wrong, "top1"));
    let ignored = folder.json(&format!("{line} --unseen ignore"));
    assert_eq!(score(&ignored, "rows"), 311_029.0 - unseen);
    let right = |report: &Value| score(report, "top1") * score(report, "rows");
    assert!((right(&wrong) - right(&ignored)).abs() < 0.5, "no unseen row can be right");
    folder.fails(&format!("{line} --unseen error"), "E0308", &["17 classes"], "--unseen ignore");
}

/// A quarter of the rows of a data set held out by row number, so that both parts have its natural proportions.
fn split_by_row_number(folder: &Folder, source: &str) {
    let set = cbfit::data::dataset::read_training(
        &[source.to_owned()],
        &cbfit::data::options::ReadOptions::default(),
    )
    .unwrap();
    let labels = set.labels.unwrap();
    let mut rows: [String; 2] = std::array::from_fn(|_| {
        let columns: Vec<String> = (0..set.features.cols()).map(|column| format!("x{column}")).collect();
        format!("{},label\n", columns.join(","))
    });
    for (row, &label) in labels.iter().enumerate() {
        let part = &mut rows[usize::from(row % 4 == 0)];
        (0..set.features.cols()).for_each(|column| *part += &format!("{},", set.features.get(row, column)));
        *part += &format!("{}\n", set.label_map.names[label as usize]);
    }
    folder.write("fit.csv", &rows[0]).write("held.csv", &rows[1]);
}

#[test]
fn the_natural_prior_mends_probabilities_on_natural_proportions() {
    let Some((folder, [source])) = shared(["covertype_20k.parquet"]) else { return };
    split_by_row_number(&folder, &source);
    for loss in ["softmax", "sigmoid", "focal", "softmax-focal"] {
        let line = format!("--train fit.csv --loss {loss} --valid-fraction 0 --l2 1e-5 --weighting inverse");
        folder.ok(&format!("{line} --optimizer lbfgs --tolerance 0.01 -o m.cbfit"));
        let under = |prior: &str| folder.json(&format!("eval m.cbfit held.csv --prior {prior}"));
        let (trained, natural) = (under("trained"), under("natural"));
        for metric in ["log_loss", "ece", "brier"] {
            let (before, after) = (score(&trained, metric), score(&natural, metric));
            assert!(
                after < 0.9 * before,
                "{loss} {metric}: {before} as trained, {after} under the natural prior"
            );
        }
        assert!(score(&trained, "macro_recall") > score(&natural, "macro_recall"), "{loss}");
    }
}

#[test]
fn calibrations_lower_the_loss_of_rows_they_never_saw() {
    let Some((folder, [source])) = shared(["covertype_20k.parquet"]) else { return };
    split_by_row_number(&folder, &source);
    for method in ["temperature", "vector"] {
        let line = format!("--train fit.csv --test held.csv --calibrate {method} --folds 3 -o m.cbfit");
        let fit = "--valid-fraction 0 --l2 1e-5 --weighting inverse --optimizer lbfgs --tolerance 0.01";
        let report = folder.json(&format!("{line} {fit}"));
        let of = |at: usize, name: &str| number(&report, &format!("/calibration/scores/{at}/{name}"));
        let test = |name: &str| number(&report, &format!("/test/{name}"));
        assert!(of(1, "log_loss") < 0.8 * of(0, "log_loss"), "{method}: the prior alone");
        for name in ["log_loss", "ece", "brier"] {
            assert!(of(2, name) < of(1, name), "{method} {name}: {} and {}", of(1, name), of(2, name));
        }
        assert!(test("calibrated/log_loss") < test("natural_log_loss"), "{method}");
        assert!(test("calibrated/ece") < test("natural_ece"), "{method}");
    }
}

#[test]
fn official_splits_of_tables_and_texts_are_learnt() {
    let sets = [
        (["shuttle_train.parquet", "shuttle_test.parquet"], 7, 0.6),
        (["clinc150imb_minilm_train.parquet", "clinc150_minilm_test.parquet"], 151, 0.85),
        (["adult_train.parquet", "adult_test.parquet"], 2, 0.75),
    ];
    for (names, classes, least) in sets {
        let Some((folder, [train, test])) = shared(names) else { return };
        let line = format!("--train {train} --l2 1e-4 --beta 0.999 -o m.cbfit --json");
        let run: Run = folder.ok(&line);
        assert_eq!(run.json()["data"]["classes"], classes);
        let recall = score(&folder.json(&format!("eval m.cbfit {test}")), "macro_recall");
        assert!(recall >= least, "{}: {recall}", names[0]);
    }
}
