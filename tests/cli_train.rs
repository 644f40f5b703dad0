//! Training from the command line: every loss, optimizer and weighting, every way to hold out rows, every format.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use common::cli::{Folder, QUICK, Run, TEST, TRAIN, cell, csv, digits_csv, number};
use serde_json::Value;

/// Recall by guessing is 0.1 on the ten classes of the test rows.
fn test_recall(report: &Value) -> f64 {
    number(report, "/test/trained/macro_recall")
}

fn objective(report: &Value) -> f64 {
    number(report, "/fit/certificate/objective")
}

fn assert_close(a: f64, b: f64, tolerance: f64, what: &str) {
    assert!((a - b).abs() <= tolerance * a.abs().max(b.abs()), "{what}: {a} and {b}");
}

#[test]
fn every_loss_and_optimizer_learns_the_digits() {
    let folder = Folder::new();
    let optimizers = [
        ("auto", "", 0.85),
        ("lbfgs", "", 0.85),
        ("sgd", "--batch 32 --epochs 40", 0.65),
        ("nesterov", "--batch 32 --epochs 40", 0.65),
        ("adamw", "--batch 32 --epochs 40", 0.65),
    ];
    for (optimizer, flags, least) in optimizers {
        for loss in ["softmax", "sigmoid", "focal", "softmax-focal"] {
            let line = format!("--train {TRAIN} --test {TEST} --optimizer {optimizer} {flags} --loss {loss}");
            let report = folder.json(&line);
            let recall = test_recall(&report);
            assert!(recall >= least, "{line}: {recall}");
            let steps = number(&report, "/fit/steps");
            assert!(steps >= 1.0 && (flags.is_empty() || steps <= 40.0), "{line}: {steps} steps");
            // What the model file holds is what was tested.
            let eval = folder.json(&format!("eval digits_lt_train.cbfit {TEST}"));
            assert_eq!(number(&eval, "/scores/macro_recall"), recall, "{line}");
        }
    }
}

#[test]
fn weights_reach_the_tail_and_are_reported() {
    let folder = Folder::new();
    let (_, rows) = csv(folder.ok(&format!("weights {TRAIN} --as csv")).text());
    let inverse: String = rows.iter().map(|row| format!("{},{}\n", row[0], 1.0 / cell(row, 1))).collect();
    folder.write("inverse.csv", format!("class,weight\n{inverse}"));
    let train = |flags: &str| {
        folder.json(&format!("--train {TRAIN} --test {TEST} --valid-fraction 0 --l2 1 {flags} -o m.cbfit"))
    };
    let imbalance = 145.0 / 7.0;
    let cases = [
        ("--weighting none", "none", 1.0),
        ("--weighting inverse", "inverse", imbalance),
        ("--weighting sqrt", "sqrt", f64::sqrt(imbalance)),
        ("--beta 0.99", "effective 0.99", (1.0 - 0.99f64.powi(145)) / (1.0 - 0.99f64.powi(7))),
        ("--beta N=100", "effective 0.99", (1.0 - 0.99f64.powi(145)) / (1.0 - 0.99f64.powi(7))),
        ("--ratio 5", "effective 0.9", 5.0),
        ("--weights inverse.csv", "custom", imbalance),
        ("--weighting inverse --max-weight 3", "inverse", 3.0 / ((490.0 - 3.0 * 31.0) / 7.0 / 145.0)),
    ];
    for (flags, scheme, ratio) in cases {
        let report = train(flags);
        let found = report["weighting"]["scheme"].as_str().unwrap();
        assert!(found.starts_with(scheme), "{flags}: {found}");
        assert_close(number(&report, "/weighting/max_min_ratio"), ratio, 1e-6, flags);
    }
    let refitted = folder.json(&format!("--train {TRAIN} --ratio 5 --l2 1 -o m.cbfit"));
    assert_eq!(refitted["fit"]["refitted"], true);
    assert_close(number(&refitted, "/weighting/max_min_ratio"), 5.0, 1e-6, "the ratio holds after the refit");
    let few = |report: &Value| number(report, "/test/trained/bands/2/recall");
    let (none, inverse) = (train("--weighting none"), train("--weighting inverse"));
    assert!(few(&inverse) > few(&none) + 0.1, "{} and {}", few(&inverse), few(&none));
    assert_close(objective(&inverse), objective(&train("--weights inverse.csv")), 1e-6, "inverse as a file");
    let adjusted = train("--weighting none --logit-adjust 1");
    assert!(few(&adjusted) > few(&none) + 0.1, "{} and {}", few(&adjusted), few(&none));
}

#[test]
fn held_out_rows_come_from_a_share_a_file_or_a_column() {
    let folder = Folder::new();
    let text = digits_csv();
    let (header, rows) = text.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let (first, rest) = rows.split_at(350);
    let (valid, test) = rest.split_at(100);
    let join = |rows: &[&str]| format!("{header}\n{}\n", rows.join("\n"));
    folder.write("train.csv", join(first)).write("valid.csv", join(valid)).write("test.csv", join(test));
    let mut parts = format!("part,{header}\n");
    for (rows, part) in [(valid, "val"), (first, "train"), (test, "test")] {
        rows.iter().for_each(|row| parts += &format!("{part},{row}\n"));
    }
    folder.write("parts.csv", parts);

    let files = folder.json("--train train.csv --valid valid.csv --test test.csv -o a.cbfit");
    let column = folder.json("--train parts.csv --split-col part --no-refit -o b.cbfit");
    for report in [&files, &column] {
        let rows =
            ["train_rows", "valid_rows", "test_rows"].map(|part| report["split"][part].as_u64().unwrap());
        assert_eq!(rows, [350, 100, 40]);
        assert_eq!(
            (report["fit"]["rows"].as_u64(), report["fit"]["refitted"].as_bool()),
            (Some(350), Some(false))
        );
    }
    assert_eq!(files["chosen"], column["chosen"]);
    assert_close(objective(&files), objective(&column), 1e-9, "the same rows");
    assert_eq!(files["test"]["trained"], column["test"]["trained"]);
    let refitted = folder.json("--train parts.csv --split-col part -o c.cbfit");
    assert_eq!(
        (refitted["fit"]["rows"].as_u64(), refitted["valid"]["rows"].as_u64()),
        (Some(450), Some(100))
    );

    let share = folder.json(&format!("--train {TRAIN} --valid-fraction 0.2 --no-refit -o d.cbfit"));
    assert_eq!((share["split"]["valid_rows"].as_u64(), share["fit"]["rows"].as_u64()), (Some(99), Some(391)));
    let none = folder.json(&format!("--train {TRAIN} {QUICK} -o e.cbfit"));
    assert_eq!((none["split"]["valid_rows"].as_u64(), none["fit"]["rows"].as_u64()), (Some(0), Some(490)));
    assert!(
        none["valid"].is_null() && none["test"].is_null() && none["trials"].as_array().unwrap().is_empty()
    );
}

#[test]
fn json_is_one_object_and_quiet_is_silent() {
    let folder = Folder::new();
    let run = folder.ok(&format!("--train {TRAIN} --test {TEST} --json --quiet"));
    assert_eq!(run.stderr, "");
    let report = run.json();
    let keys: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "cbfit",
        "chosen",
        "data",
        "fit",
        "isa",
        "model",
        "schema",
        "seconds",
        "split",
        "test",
        "trials",
        "valid",
        "weighting",
    ];
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!((&report["schema"], &report["data"]["rows"]), (&"cbfit.train/1".into(), &490.into()));
    assert!(report["trials"].as_array().unwrap().len() > 3 && report["fit"]["converged"] == true);
    assert!(number(&report, "/fit/certificate/relative_gap") <= 1e-3);
    assert_eq!(report["model"]["bytes"], folder.read("digits_lt_train.cbfit").len());
    let plain = folder.ok(&format!("--train {TRAIN} {QUICK} -q"));
    assert_eq!((plain.text(), plain.stderr.as_str()), ("", ""));
    let told = folder.ok(&format!("train --train {TRAIN} --test {TEST}"));
    assert_eq!(told.text(), "", "what a run says goes to stderr");
    for word in
        ["Read", "Labels", "Weights", "Split", "macro", "many", "medium", "few", "Saved", "--prior natural"]
    {
        assert!(told.stderr.contains(word), "{word} is not in {}", told.stderr);
    }
}

#[test]
fn the_same_rows_give_the_same_model_in_every_format() {
    let folder = Folder::new();
    let text = digits_csv();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    folder.write("digits.csv.gz", gz.finish().unwrap()).write("digits.tsv", text.replace(',', "\t"));
    let npy = "data/digits_lt_train_features.npy --label-file data/digits_lt_train_labels.npy";
    let mut models = Vec::new();
    let mut fingerprints = Vec::new();
    for source in [TRAIN, "data/digits_lt_train.csv", npy, "digits.csv.gz", "digits.tsv", "-"] {
        let line = format!("--train {source} {QUICK} --scale none -o m.cbfit --json");
        let mut command = folder.command(&line);
        if source == "-" {
            command.stdin(std::fs::File::open(common::repo("data/digits_lt_train.csv")).unwrap());
        }
        let run = Run::of(&line, command.output().unwrap());
        run.expect_status(0);
        fingerprints.push(run.json()["data"]["fingerprint"].clone());
        let model = folder.read("m.cbfit");
        models.push(model[model.len() - 4 * (10 * 64 + 10)..].to_vec());
    }
    assert!(fingerprints.iter().all(|print| print == &fingerprints[0]), "{fingerprints:?}");
    assert!(models.iter().all(|weights| weights == &models[0]), "weights differ between formats");
}

#[test]
fn scaling_makes_units_of_measurement_irrelevant() {
    let folder = Folder::new();
    let (header, rows) = csv(&digits_csv());
    let mut eightfold = header.join(",") + "\n";
    for row in rows {
        let pixels: Vec<String> =
            row[1..].iter().map(|x| (8.0 * x.parse::<f64>().unwrap()).to_string()).collect();
        eightfold += &format!("{},{}\n", row[0], pixels.join(","));
    }
    folder.write("eightfold.csv", eightfold);
    let fitted = |file: &str, scale: &str| {
        let flags = "--valid-fraction 0 --l2 0.01 --beta 0.99 -o m.cbfit";
        objective(&folder.json(&format!("--train {file} --scale {scale} {flags}")))
    };
    for scale in ["l2", "standard", "auto"] {
        let (one, eight) = (fitted("data/digits_lt_train.csv", scale), fitted("eightfold.csv", scale));
        assert_close(one, eight, 1e-5, scale);
    }
    let (one, eight) = (fitted("data/digits_lt_train.csv", "none"), fitted("eightfold.csv", "none"));
    assert!(eight < 0.9 * one, "the penalty bites less on larger features: {one} and {eight}");
}

#[test]
fn a_row_weight_of_k_is_the_row_k_times() {
    let folder = Folder::new();
    let (header, rows) = csv(&digits_csv());
    let mut weighted = format!("k,{}\n", header.join(","));
    let mut repeated = header.join(",") + "\n";
    for (number, row) in rows.iter().enumerate() {
        let (k, row) = (1 + number % 4, row.join(","));
        weighted += &format!("{k},{row}\n");
        (0..k).for_each(|_| repeated += &format!("{row}\n"));
    }
    folder.write("weighted.csv", weighted).write("repeated.csv", repeated);
    for flags in ["--beta 0.99", "--weighting inverse --loss focal", "--weighting none --loss sigmoid"] {
        let fit = |source: &str| {
            let same = "--scale none --valid-fraction 0 --l2 1 --optimizer lbfgs --tolerance 1e-7 -o m.cbfit";
            folder.json(&format!("--train {source} {same} {flags}"))
        };
        let (weighted, repeated) = (fit("weighted.csv --weight-col k"), fit("repeated.csv"));
        assert_close(objective(&weighted), objective(&repeated), 1e-6, flags);
        for number_of in ["/weighting/total_weight", "/weighting/max_min_ratio"] {
            let (a, b) = (number(&weighted, number_of), number(&repeated, number_of));
            assert_close(a, b, 1e-9, number_of);
        }
    }
}

#[test]
fn text_columns_are_one_hot_and_unknown_levels_are_none_of_them() {
    let folder = Folder::new();
    let mut rows = String::from("name,colour,size,label\n");
    for row in 0..60 {
        let colour = ["red", "green", "blue"][row % 3];
        rows += &format!("n{row},{colour},{},{}\n", row % 5, if row % 3 == 1 { "fruit" } else { "stone" });
    }
    folder.write("train.csv", rows).write("new.csv", "size,colour\n2,green\n2,blue\n2,mauve\n");
    let flags = "--features !name --scale none --valid-fraction 0 --l2 0.001 --weighting none -o m.cbfit";
    folder.ok(&format!("--train train.csv {flags}"));
    let run = folder.ok("predict m.cbfit new.csv --proba -o p.csv");
    assert!(
        run.stderr.contains("1 values are of text levels or feature indices unseen in training"),
        "{}",
        run.stderr
    );
    let (header, rows) = csv(std::str::from_utf8(&folder.read("p.csv")).unwrap());
    assert_eq!(header, ["prediction", "probability", "p_fruit", "p_stone"]);
    assert_eq!((rows[0][0].as_str(), rows[1][0].as_str()), ("fruit", "stone"));
    let fruit: Vec<f64> = rows.iter().map(|row| cell(row, 2)).collect();
    assert!(fruit[0] > 0.9 && fruit[1] < 0.1 && fruit[2] > fruit[1] && fruit[2] < fruit[0], "{fruit:?}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_the_model_and_exits_with_130() {
    let slow = "--optimizer sgd --schedule constant --batch 1 --epochs 30000";
    let cases = [
        ("INT", 130, format!("{slow} {QUICK}")),
        ("TERM", 143, format!("{slow} {QUICK}")),
        ("INT", 130, format!("{slow} --l2 1 --beta 0.99 --patience 30000")),
    ];
    for (signal, status, flags) in cases {
        let folder = Folder::new();
        let line = format!("--train {TRAIN} {flags} -o m.cbfit --json");
        let mut child = folder.command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("Weights") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
        }
        let kill = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        stderr.read_to_string(&mut said).unwrap();
        let run = Run::of(&line, child.wait_with_output().unwrap());
        assert_eq!(run.status, Some(status), "{said}");
        assert!(said.contains("interrupted"), "{said}");
        assert!(number(&run.json(), "/fit/steps") < 30000.0);
        let recall = number(&folder.json(&format!("eval m.cbfit {TEST}")), "/scores/macro_recall");
        assert!(recall > 0.1, "{recall}");
    }
}
