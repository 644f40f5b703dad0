//! Calibration, decisions by costs and offsets, and out-of-fold rows, through the binary.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use cbfit::model_file;
use cbfit::rng::CounterRng;
use common::cli::{Folder, QUICK, TRAIN, cell, csv, number};

/// Rows of two overlapping classes, no (90 %) and yes, as CSV with an id, and one row of a third class where asked for.
fn two_classes(rows: usize, seed: u64, with_single: bool) -> String {
    let mut rng = CounterRng::new(seed, 0);
    let mut text = "id,x1,x2,label\n".to_owned();
    for row in 0..rows {
        let yes = rng.next_f64() < 0.1;
        let shift = if yes { 0.8 } else { 0.0 };
        let (x1, x2) = (3.0 * rng.next_f64() + shift, 3.0 * rng.next_f64() + shift);
        text += &format!("r{row},{x1:.4},{x2:.4},{}\n", if yes { "yes" } else { "no" });
    }
    if with_single {
        text += "single,9,9,rare\n";
    }
    text
}

const FIT: &str = "--valid-fraction 0 --l2 1e-3 --weighting inverse";

/// Probabilities of all classes and labels, as `predict` writes them.
fn predicted(folder: &Folder, line: &str) -> (Vec<Vec<f64>>, Vec<String>) {
    let run = folder.ok(line);
    let (header, rows) = csv(run.text());
    let first = header.iter().position(|name| name.starts_with("p_")).unwrap();
    let label = header.iter().position(|name| name == "prediction").unwrap();
    let of_row = |row: &Vec<String>| (first..row.len()).map(|at| cell(row, at)).collect();
    (rows.iter().map(of_row).collect(), rows.iter().map(|row| row[label].clone()).collect())
}

fn assert_close(found: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() <= tolerance, "{found} against {expected}");
    }
}

#[test]
fn a_calibrated_model_predicts_under_the_natural_prior_and_says_so() {
    let folder = Folder::new();
    folder.write("train.csv", two_classes(900, 1, false)).write("held.csv", two_classes(600, 2, false));
    folder.ok(&format!("--train train.csv {FIT} -o plain.cbfit"));
    let run =
        folder.ok(&format!("--train train.csv --test held.csv {FIT} --calibrate vector -o m.cbfit --json"));
    let report = run.json();
    let scores = report["calibration"]["scores"].as_array().unwrap();
    let names: Vec<&str> = scores.iter().map(|score| score["probabilities"].as_str().unwrap()).collect();
    assert_eq!(names, ["as trained", "natural prior", "natural prior, vector"]);
    let loss = |at: usize| scores[at]["log_loss"].as_f64().unwrap();
    assert!(loss(1) < 0.7 * loss(0) && loss(2) < loss(1) + 0.01, "{} {} {}", loss(0), loss(1), loss(2));
    assert_eq!((number(&report, "/calibration/rows"), number(&report, "/calibration/folds")), (900.0, 5.0));
    assert!(
        run.stderr.contains("cross-fitted") && run.stderr.contains("natural prior, vector"),
        "{}",
        run.stderr
    );
    assert!(number(&report, "/test/calibrated/log_loss") < 0.7 * number(&report, "/test/trained/log_loss"));

    // By default natural, and said; as trained is untouched; uniform is one factor away.
    let by_itself = folder.ok("predict m.cbfit held.csv --proba");
    assert!(by_itself.stderr.contains("calibrated (vector)"), "{}", by_itself.stderr);
    let (natural, _) = predicted(&folder, "predict m.cbfit held.csv --proba --prior natural");
    assert_eq!(predicted(&folder, "predict m.cbfit held.csv --proba").0, natural);
    for prior in ["trained", "as-trained"] {
        let trained = predicted(&folder, &format!("predict m.cbfit held.csv --proba --prior {prior}"));
        assert_eq!(trained, predicted(&folder, "predict plain.cbfit held.csv --proba"));
    }
    let saved = model_file::load(folder.path("m.cbfit")).unwrap();
    assert_eq!(saved.metadata.format_version, 2);
    assert_eq!(model_file::load(folder.path("plain.cbfit")).unwrap().metadata.format_version, 1);
    let counts = &saved.metadata.counts.weighted;
    let expected: Vec<Vec<f64>> = natural
        .iter()
        .map(|p| {
            let joint: Vec<f64> = p.iter().zip(counts).map(|(p, n)| p / n).collect();
            let sum: f64 = joint.iter().sum();
            joint.iter().map(|j| j / sum).collect()
        })
        .collect();
    let (uniform, _) = predicted(&folder, "predict m.cbfit held.csv --proba --prior uniform");
    assert_close(&uniform, &expected, 1e-5);
    let eval = folder.json("eval m.cbfit held.csv");
    assert_eq!(eval["prior"], "natural");
    assert_eq!(eval["scores"], report["test"]["calibrated"]);
    let shown = folder.ok("inspect m.cbfit");
    assert!(shown.text().contains("vector"), "{}", shown.text());
}

#[test]
fn temperature_and_prior_work_for_every_loss() {
    let folder = Folder::new();
    folder.write("train.csv", two_classes(400, 3, false));
    for loss in ["sigmoid", "focal", "softmax-focal"] {
        for method in ["prior", "temperature"] {
            let line =
                format!("--train train.csv {FIT} --loss {loss} --calibrate {method} --folds 3 -o m.cbfit");
            let report = folder.json(&line);
            let scores = report["calibration"]["scores"].as_array().unwrap();
            let last = scores.last().unwrap()["log_loss"].as_f64().unwrap();
            assert!(last < 0.8 * scores[0]["log_loss"].as_f64().unwrap(), "{loss} {method}: {last}");
            assert_eq!(scores.len(), if method == "prior" { 2 } else { 3 });
        }
    }
}

#[test]
fn out_of_fold_rows_are_those_of_the_training_file() {
    let folder = Folder::new();
    folder.write("train.csv", two_classes(120, 4, true));
    let line = format!("--train train.csv {FIT} --calibrate temperature");
    let run = folder.ok(&format!("{line} --oof oof.csv -o m.cbfit"));
    assert!(run.stderr.contains("1 rows of classes of one row left out"), "{}", run.stderr);
    let text = String::from_utf8(folder.read("oof.csv")).unwrap();
    let (header, rows) = csv(&text);
    assert_eq!(header, ["id", "row", "label", "prediction", "probability", "p_no", "p_rare", "p_yes"]);
    assert_eq!(rows.len(), 121);
    let train = String::from_utf8(folder.read("train.csv")).unwrap();
    let (_, given) = csv(&train);
    for (at, (row, given)) in rows.iter().zip(&given).enumerate() {
        assert_eq!((&row[0], &row[1], &row[2]), (&given[0], &at.to_string(), &given[3]));
        if row[2] == "rare" {
            assert!(row[3..].iter().all(String::is_empty), "{row:?}");
        } else {
            let p: Vec<f64> = (5..8).map(|at| cell(row, at)).collect();
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-5);
            let top = p.iter().copied().fold(0.0, f64::max);
            assert_eq!(cell(row, 4), top);
        }
    }
    // The model fitted on all rows has seen them; out of fold they are another matter.
    let (fitted, _) = predicted(&folder, "predict m.cbfit train.csv --proba");
    assert!(fitted[..120].iter().zip(&rows).any(|(p, row)| (p[0] - cell(row, 5)).abs() > 1e-4));
    folder.ok(&format!("{line} --oof oof.npy -o m.cbfit"));
    folder.ok(&format!("{line} --oof oof.jsonl -o m.cbfit"));
    folder.ok(&format!("{line} --oof oof.parquet -o m.cbfit"));
    assert_eq!(String::from_utf8(folder.read("oof.jsonl")).unwrap().lines().count(), 121);
    assert_eq!(folder.read("oof.npy").len() % 64, (121 * 3 * 4) % 64);
}

#[test]
fn threads_change_no_byte_of_a_calibrated_model() {
    let folder = Folder::new();
    let on = |threads: usize| {
        let flags = "--calibrate vector --offsets macro_f1 --oof oof.csv";
        folder.ok(&format!("--train {TRAIN} {QUICK} {flags} --threads {threads} -o m.cbfit"));
        (folder.read("m.cbfit"), folder.read("oof.csv"))
    };
    assert!(on(1) == on(3));
}

#[test]
fn costs_decide_labels_and_eval_says_what_they_saved() {
    let folder = Folder::new();
    folder.write("train.csv", two_classes(900, 5, false)).write("held.csv", two_classes(900, 6, false));
    folder.write("costs.csv", "true,yes,no\nyes,0,9\nno,1,0\n");
    folder.ok(&format!("--train train.csv {FIT} --calibrate temperature -o m.cbfit"));
    let (p, labels) = predicted(&folder, "predict m.cbfit held.csv --proba --costs costs.csv");
    for (p, label) in p.iter().zip(&labels).filter(|(p, _)| (p[1] - 0.1).abs() > 1e-6) {
        assert_eq!(label, if p[1] > 0.1 { "yes" } else { "no" }, "{p:?}");
    }
    assert!(labels.iter().any(|label| label == "yes") && labels.iter().any(|label| label == "no"));
    let report = folder.json("eval m.cbfit held.csv --costs costs.csv");
    assert!((number(&report, "/costs/threshold") - 0.1).abs() < 1e-12);
    assert!(number(&report, "/costs/mean") < number(&report, "/costs/mean_of_most_probable"));
    let shown = folder.ok("eval m.cbfit held.csv --costs costs.csv");
    assert!(shown.text().contains("yes is predicted above p* = 0.1000"), "{}", shown.text());
    // Recall is that of the decisions.
    let held = String::from_utf8(folder.read("held.csv")).unwrap();
    let (_, given) = csv(&held);
    let right = given.iter().zip(&labels).filter(|(row, label)| row[3] == **label).count();
    assert!((number(&report, "/scores/top1") - right as f64 / 900.0).abs() < 1e-12);
    folder.write("zero_one.csv", "true,no,yes\nno,0,1\nyes,1,0\n");
    let plain = folder.json("eval m.cbfit held.csv");
    let same = folder.json("eval m.cbfit held.csv --costs zero_one.csv");
    assert_eq!(same["scores"], plain["scores"]);
    assert!((number(&same, "/costs/mean") - (1.0 - number(&plain, "/scores/top1"))).abs() < 1e-12);
}

#[test]
fn cost_files_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    folder.write("train.csv", two_classes(100, 7, false));
    folder.ok(&format!("--train train.csv {FIT} -o m.cbfit"));
    for (text, code, word) in [
        ("true,yes\nyes,0\nno,1\n", "E0324", "lacking classes: no"),
        ("true,yes,no\nyes,0,1\n", "E0324", "rows: lacking classes: no"),
        ("true,yes,no,maybe\nyes,0,1,1\nno,1,0,1\n", "E0324", "unknown classes: maybe"),
        ("true,yes,no\nyes,0,inf\nno,1,0\n", "E0324", "no finite number"),
        ("true,yes,no\nyes,0\nno,1,0\n", "E0314", "2 fields where the header has 3"),
    ] {
        folder.write("costs.csv", text);
        for command in ["predict", "eval"] {
            let line = format!("{command} m.cbfit train.csv --costs costs.csv");
            folder.run(&line).expect_failure(code, &[word], "");
        }
    }
    folder.fails("eval m.cbfit train.csv --costs none.csv", "E0401", &["none.csv"], "");
}

#[test]
fn offsets_decide_labels_and_leave_probabilities_alone() {
    let folder = Folder::new();
    folder.write("train.csv", two_classes(1500, 9, false)).write("held.csv", two_classes(900, 10, false));
    let fit = "--train train.csv --valid-fraction 0 --l2 1e-3 --weighting none";
    folder.ok(&format!("{fit} -o plain.cbfit"));
    let report = folder.json(&format!("{fit} --offsets macro_recall --test held.csv -o m.cbfit"));
    let of = |name: &str| number(&report, &format!("/calibration/offsets/{name}"));
    assert!(of("tau_alone").max(of("offsets")) > of("most_probable") + 0.1, "{report}");
    let (plain, plain_labels) = predicted(&folder, "predict plain.cbfit held.csv --proba");
    let (p, labels) = predicted(&folder, "predict m.cbfit held.csv --proba");
    assert_eq!(p, plain);
    assert_ne!(labels, plain_labels);
    // Whatever the prior of the probabilities, the labels are those of the offsets.
    assert_eq!(predicted(&folder, "predict m.cbfit held.csv --proba --prior uniform").1, labels);
    let recall =
        |model: &str| number(&folder.json(&format!("eval {model} held.csv")), "/scores/macro_recall");
    assert!(recall("m.cbfit") > recall("plain.cbfit") + 0.1);
    let eval = folder.ok("eval m.cbfit held.csv --json");
    assert!(eval.stderr.contains("offsets of the model, fitted for macro_recall"), "{}", eval.stderr);
    assert_eq!(eval.json()["scores"], report["test"]["calibrated"]);
    assert!(eval.json()["scores"]["bands"][0]["ece"].is_number());
}

#[test]
fn a_rule_of_decision_is_kept_only_where_it_pays_out_of_fold() {
    let folder = Folder::new();
    for metric in ["macro_recall", "macro_f1"] {
        let fit = "--valid-fraction 0 --l2 1e-2 --weighting none --tolerance 0.05 --optimizer lbfgs";
        let report = folder.json(&format!("--train {TRAIN} {fit} --offsets {metric} -o m.cbfit"));
        let rules = &report["calibration"]["offsets"];
        let best = ["most_probable", "tau_alone", "offsets"]
            .map(|rule| (rules[rule].as_f64().unwrap(), rule))
            .into_iter()
            .reduce(|best, next| if next.0 > best.0 { next } else { best })
            .unwrap();
        assert_eq!(rules["kept"], best.1, "{rules}");
        let saved = model_file::load(folder.path("m.cbfit")).unwrap().metadata;
        assert_eq!(saved.offsets.is_some(), best.1 != "most_probable");
    }
}

#[test]
fn flags_that_cannot_act_are_refused() {
    let folder = Folder::new();
    folder.write("train.csv", two_classes(60, 8, false));
    let refused = |flags: &str, code: &str, word: &str| {
        folder.run(&format!("--train train.csv {FIT} {flags} -o m.cbfit")).expect_failure(code, &[word], "");
    };
    refused("--folds 5", "E0201", "--folds has no effect");
    refused("--calibrate none --folds 5", "E0201", "--folds has no effect");
    refused("--calibrate prior --folds 1", "E0208", "--folds");
    refused("--oof oof.xlsx", "E0208", "--oof");
    refused("--oof -", "E0208", "--oof");
    refused("--oof train.csv", "E0208", "input of the same run");
    folder.write("clash.csv", two_classes(60, 8, false).replacen("id,", "row,", 1));
    let line = format!("--train clash.csv --id-col row {FIT} --oof oof.csv -o m.cbfit");
    folder.run(&line).expect_failure("E0312", &["row"], "");
    assert_eq!(folder.names(), ["clash.csv", "train.csv"]);
}
