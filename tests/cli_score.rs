//! What comes after training: predictions, scores, priors, class weights, descriptions.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use cbfit::data::dataset::read_training;
use cbfit::data::options::ReadOptions;
use cbfit::matrix::Matrix;
use cbfit::model_file;
use common::cli::{Folder, QUICK, TEST, TRAIN, cell, csv, digits_csv, number, numbers};
use serde_json::Value;

const CLASSES: usize = 10;

/// A folder with a model `m.cbfit` of the digits, trained with `flags`.
fn trained(flags: &str) -> Folder {
    let folder = Folder::new();
    folder.ok(&format!("--train {TRAIN} {flags} -o m.cbfit"));
    folder
}

/// Probabilities of all classes, one row of C a row of the test data, and the predicted classes.
fn probabilities(folder: &Folder, prior: &str, data: &str) -> (Vec<Vec<f64>>, Vec<usize>) {
    let run = folder.ok(&format!("predict m.cbfit {data} --proba --prior {prior}"));
    let (header, rows) = csv(run.text());
    let first = header.iter().position(|name| name == "p_0").unwrap();
    let of_row = |row: &Vec<String>| (first..first + CLASSES).map(|at| cell(row, at)).collect();
    (rows.iter().map(of_row).collect(), rows.iter().map(|row| row[0].parse().unwrap()).collect())
}

fn assert_rows_close(found: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        for (class, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!((a - b).abs() < tolerance, "row {row} class {class}: {a} instead of {b}");
        }
    }
}

/// Each row times one factor a class, made to sum to 1.
fn tilted(rows: &[Vec<f64>], factors: &[f64]) -> Vec<Vec<f64>> {
    let tilt = |row: &Vec<f64>| {
        let scaled: Vec<f64> = row.iter().zip(factors).map(|(p, f)| p * f).collect();
        let sum: f64 = scaled.iter().sum();
        scaled.iter().map(|p| p / sum).collect()
    };
    rows.iter().map(tilt).collect()
}

fn values(matrix: &Matrix) -> Vec<f32> {
    (0..matrix.rows() * matrix.cols()).map(|at| matrix.get(at / matrix.cols(), at % matrix.cols())).collect()
}

#[test]
fn predictions_are_the_same_in_every_format_and_score_as_eval_says() {
    let folder = trained(QUICK);
    let predict = |rest: &str| folder.ok(&format!("predict m.cbfit {TEST} {rest}"));
    let (rows, predicted) = probabilities(&folder, "trained", TEST);
    for (row, &class) in rows.iter().zip(&predicted) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        assert!(row.iter().all(|p| *p <= row[class] && *p >= 0.0));
    }
    let truth = read_training(&[common::repo(TEST)], &ReadOptions::default()).unwrap().labels.unwrap();
    let right = predicted.iter().zip(&truth).filter(|(a, b)| **a == **b as usize).count();
    let scores = folder.json(&format!("eval m.cbfit {TEST}"));
    assert_eq!(number(&scores, "/scores/top1"), right as f64 / 300.0);
    let log_loss: f64 = rows.iter().zip(&truth).map(|(row, &y)| -row[y as usize].ln()).sum::<f64>() / 300.0;
    assert!((number(&scores, "/scores/log_loss") - log_loss).abs() < 1e-5);

    // JSON lines with the first three classes.
    predict("--top-k 3 -o p.jsonl");
    let text = String::from_utf8(folder.read("p.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 300);
    for ((line, row), &class) in lines.iter().zip(&rows).zip(&predicted) {
        assert_eq!(line["prediction"], class);
        let mut sorted = row.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        for (rank, name) in ["probability", "probability_2", "probability_3"].iter().enumerate() {
            assert!((line[name].as_f64().unwrap() - sorted[rank]).abs() < 1e-7, "{line}");
        }
        assert!((row[line["prediction_3"].as_u64().unwrap() as usize] - sorted[2]).abs() < 1e-7);
    }
    // npy: a matrix of f32 after its header, and labels of 8 bytes without --proba.
    predict("--proba -o p.npy");
    let bytes = folder.read("p.npy");
    let body = &bytes[bytes.len() - 300 * CLASSES * 4..];
    let matrix: Vec<Vec<f64>> = body
        .chunks_exact(CLASSES * 4)
        .map(|row| {
            row.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
        })
        .collect();
    assert_rows_close(&matrix, &rows, 1e-7);
    predict("-o labels.npy");
    let bytes = folder.read("labels.npy");
    let labels: Vec<i64> = bytes[bytes.len() - 300 * 8..]
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert!(labels.iter().zip(&predicted).all(|(a, b)| *a as usize == *b));
    // Parquet and CSV files, read back by cbfit itself.
    predict("--proba -o p.parquet");
    predict("--proba -o p.csv");
    let options = |features: &str| ReadOptions {
        label: Some("prediction".into()),
        features: Some(features.into()),
        ..ReadOptions::default()
    };
    let path = |name: &str| [folder.path(name).to_str().unwrap().to_owned()];
    let parquet = read_training(&path("p.parquet"), &options("probabilities")).unwrap();
    let text = read_training(&path("p.csv"), &options("p_*")).unwrap();
    assert_eq!(values(&parquet.features), values(&text.features));
    assert_eq!((&parquet.labels, parquet.rows()), (&text.labels, 300));
    let json = folder.json(&format!("predict m.cbfit {TEST} -o p.csv"));
    assert_eq!((&json["rows"], &json["out"]), (&300.into(), &"p.csv".into()));
}

#[test]
fn ids_travel_with_their_predictions() {
    let folder = Folder::new();
    let text = digits_csv();
    let (header, rows) = text.split_once('\n').unwrap();
    let mut named = format!("uuid,{header}\n");
    rows.lines().enumerate().for_each(|(at, row)| named += &format!("row-{at:04},{row}\n"));
    folder.write("named.csv", named).ok(&format!("--train named.csv {QUICK} -o m.cbfit"));
    let (header, rows) = csv(folder.ok("predict m.cbfit named.csv").text());
    assert_eq!(header, ["uuid", "prediction", "probability"]);
    assert_eq!((rows[0][0].as_str(), rows[489][0].as_str()), ("row-0000", "row-0489"));
}

#[test]
fn the_natural_prior_undoes_the_weights() {
    for flags in ["--weighting inverse", "--beta 0.99", "--weighting sqrt"] {
        let folder = trained(&format!("{flags} --valid-fraction 0 --l2 1"));
        let saved = model_file::load(folder.path("m.cbfit")).unwrap().metadata;
        let (as_trained, _) = probabilities(&folder, "trained", TEST);
        let (natural, _) = probabilities(&folder, "natural", TEST);
        let inverse: Vec<f64> = saved.class_weights.iter().map(|alpha| 1.0 / alpha).collect();
        assert_rows_close(&natural, &tilted(&as_trained, &inverse), 1e-5);
        let shares: Vec<f64> = saved.counts.rows.iter().map(|&n| n as f64).collect();
        let (uniform, _) = probabilities(&folder, "uniform", TEST);
        let level: Vec<f64> = shares.iter().map(|n| 1.0 / n).collect();
        assert_rows_close(&uniform, &tilted(&natural, &level), 1e-5);
        let given: Vec<f64> = (1..=CLASSES).map(|share| share as f64).collect();
        let lines: String = given.iter().enumerate().map(|(c, share)| format!("{c},{share}\n")).collect();
        folder.write("prior.csv", format!("class,share\n{lines}"));
        let (file, _) = probabilities(&folder, "prior.csv", TEST);
        assert_rows_close(&file, &tilted(&uniform, &given), 1e-5);
    }
}

#[test]
fn the_sigmoid_is_normalised_before_its_weights_are_undone() {
    let folder = trained("--loss sigmoid --weighting inverse --valid-fraction 0 --l2 1");
    let alpha = model_file::load(folder.path("m.cbfit")).unwrap().metadata.class_weights;
    let (as_trained, _) = probabilities(&folder, "trained", TEST);
    let (natural, _) = probabilities(&folder, "natural", TEST);
    let inverse: Vec<f64> = alpha.iter().map(|alpha| 1.0 / alpha).collect();
    assert_rows_close(&natural, &tilted(&as_trained, &inverse), 1e-5);
}

#[test]
fn an_unknown_prior_is_found_from_the_rows() {
    // Test rows of which the rare digits 5 to 9 are five times as frequent as the others.
    let folder = trained("--weighting none --valid-fraction 0 --l2 1");
    let test = read_training(&[common::repo(TEST)], &ReadOptions::default()).unwrap();
    let (features, labels) = (values(&test.features), test.labels.unwrap());
    let mut rows = String::from("label");
    (0..64).for_each(|at| rows += &format!(",pixel_{}_{}", at / 8, at % 8));
    rows.push('\n');
    let mut counts = [0.0; CLASSES];
    for (number, (x, &label)) in features.chunks_exact(64).zip(&labels).enumerate() {
        if label >= 5 || number % 5 == 0 {
            counts[label as usize] += 1.0;
            let values: Vec<String> = x.iter().map(f32::to_string).collect();
            rows += &format!("{label},{}\n", values.join(","));
        }
    }
    folder.write("shifted.csv", rows);
    let columns = "--weighting none --valid-fraction 0 --l2 1 --scale none -o m.cbfit";
    folder.ok(&format!("--train data/digits_lt_train.csv {columns}"));
    let total: f64 = counts.iter().sum();
    // Distance of the mean probabilities from the true shares.
    let distance = |prior: &str| {
        let (rows, _) = probabilities(&folder, prior, "shifted.csv");
        let mean = |class: usize| rows.iter().map(|row| row[class]).sum::<f64>() / rows.len() as f64;
        0.5 * (0..CLASSES).map(|class| (mean(class) - counts[class] / total).abs()).sum::<f64>()
    };
    let (natural, em) = (distance("natural"), distance("em"));
    assert!(natural > 0.2 && em < 0.5 * natural, "natural {natural}, em {em}");
    let recall = |prior: &str| {
        number(&folder.json(&format!("eval m.cbfit shifted.csv --prior {prior}")), "/scores/top1")
    };
    assert!(recall("em") > recall("natural"), "{} and {}", recall("em"), recall("natural"));
}

#[test]
fn the_table_by_class_agrees_with_the_json() {
    let folder = trained(QUICK);
    let json = folder.json(&format!("eval m.cbfit {TEST} --by-class classes.csv"));
    let (header, rows) = csv(std::str::from_utf8(&folder.read("classes.csv")).unwrap());
    assert_eq!(header[..4], ["class", "train_rows", "rows", "recall"]);
    let per_class = json["scores"]["per_class"].as_array().unwrap();
    assert_eq!((rows.len(), per_class.len()), (CLASSES, CLASSES));
    for (row, class) in rows.iter().zip(per_class) {
        assert_eq!(json["class_names"][class["class"].as_u64().unwrap() as usize], row[0].as_str());
        for (at, name) in header.iter().enumerate().skip(1) {
            assert_eq!(class[name].as_f64(), row[at].parse().ok(), "{name} of class {}", row[0]);
        }
    }
    let mean = rows.iter().map(|row| cell(row, 3)).sum::<f64>() / CLASSES as f64;
    assert!((number(&json, "/scores/macro_recall") - mean).abs() < 1e-12);
    let shown = folder.ok(&format!("eval m.cbfit {TEST} --prior uniform"));
    assert!(shown.text().contains("under the uniform prior") && shown.text().contains("worst class"));
    assert_eq!(folder.ok(&format!("eval m.cbfit {TEST} --quiet")).text(), "");
}

#[test]
fn class_weights_have_their_textbook_values() {
    let folder = Folder::new();
    folder.write("counts.csv", "class,count\nhead,1000\nbody,100\ntail,10\n");
    let counts = [1000.0, 100.0, 10.0];
    let run = folder.ok("weights counts.csv --beta 0.9,0.999 --norm classes --as csv");
    let (header, rows) = csv(run.text());
    let names = [
        "class",
        "count",
        "E_n(0.9)",
        "E_n(0.999)",
        "w_none",
        "w_inverse",
        "w_sqrt",
        "w_cb(0.9)",
        "w_cb(0.999)",
    ];
    assert_eq!(header, names);
    let order: Vec<usize> =
        rows.iter().map(|row| ["head", "body", "tail"].iter().position(|n| *n == row[0]).unwrap()).collect();
    let effective = |beta: f64, n: f64| (1.0 - beta.powf(n)) / (1.0 - beta);
    let schemes: [&dyn Fn(f64) -> f64; 5] =
        [&|_| 1.0, &|n| 1.0 / n, &|n| 1.0 / n.sqrt(), &|n| 1.0 / effective(0.9, n), &|n| {
            1.0 / effective(0.999, n)
        }];
    let json = folder.ok("weights counts.csv --beta 0.9,0.999 --norm classes --as json").json();
    for (scheme, weight) in schemes.iter().enumerate() {
        let total: f64 = counts.iter().map(|&n| weight(n)).sum();
        let listed = numbers(&json["schemes"][scheme]["weights"]);
        for (row, &class) in order.iter().enumerate() {
            let expected = 3.0 * weight(counts[class]) / total;
            for found in [cell(&rows[row], 4 + scheme), listed[row]] {
                assert!((found / expected - 1.0).abs() < 1e-12, "{} of {:?}", header[4 + scheme], rows[row]);
            }
        }
    }
    assert!(
        (cell(&rows[order.iter().position(|&c| c == 2).unwrap()], 2) - effective(0.9, 10.0)).abs() < 1e-12
    );
    let table = folder.ok("weights counts.csv --beta 0.0001 --ratio 50").text().to_owned();
    assert!(table.contains("equals none") && table.contains("max/min       50"), "{table}");
    let by_rows = folder.ok("weights counts.csv --as json").json();
    assert_eq!(by_rows["normalisation"], "samples");
    let mean: f64 = numbers(&by_rows["schemes"][4]["weights"])
        .iter()
        .zip(numbers(&by_rows["counts"]))
        .map(|(w, n)| w * n)
        .sum();
    assert!((mean - 1110.0).abs() < 1e-9);
    let labels = folder.ok(&format!("weights {TRAIN} --as json")).json();
    assert_eq!(numbers(&labels["counts"]), [145.0, 103.0, 74.0, 53.0, 38.0, 27.0, 19.0, 14.0, 10.0, 7.0]);
}

#[test]
fn published_counts_give_published_ratios() {
    let Some(path) = common::shared("counts/cifar10_lt_if100.csv") else { return };
    let line = format!("weights {} --beta 0.9,0.99,0.999,0.9999 --as json", path.display());
    let json = Folder::new().ok(&line).json();
    // Ratios of LT-CIFAR-10 with imbalance 100, as docs of the method state them.
    for (scheme, expected) in [(1, 100.0), (3, 1.01), (4, 2.5), (5, 20.0), (6, 79.0)] {
        let ratio = number(&json, &format!("/schemes/{scheme}/summary/max_min_ratio"));
        assert!((ratio / expected - 1.0).abs() < 0.02, "{scheme}: {ratio} instead of {expected}");
    }
}

#[test]
fn inspection_describes_data_and_models() {
    let folder = trained(QUICK);
    let data = folder.json(&format!("inspect {TRAIN}"));
    assert_eq!(
        (&data["rows"], &data["features"], &data["label_column"]),
        (&490.into(), &64.into(), &"label".into())
    );
    assert_eq!(numbers(&data["counts"]).iter().sum::<f64>(), 490.0);
    assert!((number(&data, "/imbalance_factor") - 145.0 / 7.0).abs() < 1e-12);
    let text = folder.ok(&format!("inspect {TRAIN}")).text().to_owned();
    for word in ["490 rows x 64 f32", "10 classes", "imbalance 20.7", "Gini", "duplicates", "constant"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let model = folder.json("inspect m.cbfit");
    assert_eq!((&model["features"], &model["metadata"]["weighting"]["beta"]), (&64.into(), &"0.99".into()));
    assert_eq!(model["metadata"]["data_fingerprint"], data["fingerprint"]);
    let text = folder.ok("inspect m.cbfit").text().to_owned();
    for word in ["linear/softmax, 10 classes x 64 features", "effective 0.99", "embedding (64)", "\"l2\":1.0"]
    {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let twice = "x,z,label\n1,2,a\n1,2,a\n,2,b\n4,2,b\n";
    let small = folder.write("small.csv", twice).json("inspect small.csv");
    assert_eq!((&small["duplicate_rows"], &small["constant_features"]), (&1.into(), &1.into()));
    assert!(small["notes"][0].as_str().unwrap().starts_with("1 missing feature value"), "{small}");
}
