//! `cbfit influence`: planted label noise, what it refuses, and what it says of other rows.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use cbfit::model_file;
use common::cli::{Folder, QUICK, TEST, TRAIN, cell, csv, digits_csv};

/// Every twentieth row from the 8th on gets the next digit as its label.
const STEP: usize = 20;
const FIRST: usize = 7;

/// A folder with four fifths of the digits, one label in twenty wrong (`noisy.csv`), a model `m.cbfit` of them, and the
/// other fifth as it is (`valid.csv`).
fn noisy() -> Folder {
    let folder = Folder::new();
    let clean = digits_csv();
    let (header, rows) = csv(&clean);
    let label = header.iter().position(|name| name == "label").unwrap();
    let (valid, train): (Vec<_>, Vec<_>) = rows.into_iter().enumerate().partition(|(at, _)| at % 5 == 4);
    let write = |name: &str, rows: Vec<Vec<String>>| {
        let lines = std::iter::once(header.join(",")).chain(rows.iter().map(|row| row.join(",")));
        folder.write(name, lines.collect::<Vec<_>>().join("\n") + "\n");
    };
    write("valid.csv", valid.into_iter().map(|(_, row)| row).collect());
    let noisy = train.into_iter().enumerate().map(|(at, (_, mut row))| {
        if at % STEP == FIRST {
            row[label] = ((row[label].parse::<u32>().unwrap() + 1) % 10).to_string();
        }
        row
    });
    write("noisy.csv", noisy.collect());
    // Without class weights: with them rows of rare classes lead, wrong or not, for they weigh the most.
    folder.ok("--train noisy.csv --valid-fraction 0 --l2 0.1 --weighting none -o m.cbfit");
    folder
}

#[test]
fn planted_wrong_labels_lead_the_harmful_rows_and_the_self_influence() {
    let folder = noisy();
    let run = folder.ok("influence m.cbfit --train noisy.csv --valid valid.csv --self -o rows.csv");
    assert!(run.stderr.contains("these are the rows of the model"), "{}", run.stderr);
    assert!(run.text().contains("Harmful") && run.text().contains("Helpful"));
    let written = folder.read("rows.csv");
    let (header, rows) = csv(std::str::from_utf8(&written).unwrap());
    assert_eq!(header, ["row", "label", "fitted", "influence", "own_loss", "margin", "self_influence"]);
    let planted = rows.len() / STEP;
    for column in [3, 6] {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|&a, &b| cell(&rows[b], column).total_cmp(&cell(&rows[a], column)));
        let found = order[..planted].iter().filter(|&&row| row % STEP == FIRST).count();
        println!("{}: {found} of {planted}", header[column]);
        assert!(found * 2 > planted, "{}: {found} of {planted}", header[column]);
    }
}

#[test]
fn both_files_hold_the_same_and_threads_do_not_matter() {
    let folder = noisy();
    let line = "influence m.cbfit --train noisy.csv --valid valid.csv --class 9 8 -q";
    folder.ok(&format!("{line} -o one.csv --threads 1"));
    folder.ok(&format!("{line} -o two.csv --threads 3"));
    folder.ok(&format!("{line} -o rows.parquet"));
    assert_eq!(folder.read("one.csv"), folder.read("two.csv"));
    let described = folder.json("inspect rows.parquet --label label");
    assert!(described.to_string().contains("own_loss"), "{described}");
    let report = folder.json("influence m.cbfit --train noisy.csv --valid valid.csv --class 9 --top 3");
    let influences: Vec<f64> =
        report["harmful"].as_array().unwrap().iter().map(|row| row["influence"].as_f64().unwrap()).collect();
    assert_eq!(influences.len(), 3);
    assert!(influences.is_sorted_by(|a, b| a >= b) && influences[2] > 0.0);
    assert_eq!(report["same_data"], true);
}

#[test]
fn rows_of_another_fit_are_told() {
    let folder = noisy();
    let run = folder.ok("influence m.cbfit --train valid.csv --valid valid.csv");
    assert!(run.stderr.contains("NOT the rows"), "{}", run.stderr);
    // A fit of a part of its files: the fingerprint is theirs, the minimum is not.
    folder
        .ok(&format!("--train {TRAIN} --l2 1e-4 --beta 0.99 --valid-fraction 0.3 --no-refit -o part.cbfit"));
    let run = folder.ok(&format!("influence part.cbfit --train {TRAIN} --valid {TEST}"));
    assert!(run.stderr.contains("it was fitted on a part"), "{}", run.stderr);
}

#[test]
fn what_it_is_not_for_is_refused() {
    let folder = noisy();
    let rest = "--train noisy.csv --valid valid.csv";
    folder.fails(&format!("influence m.cbfit {rest} --class 77"), "E0208", &["77", "no class"], "mean 7");
    folder.fails(&format!("influence m.cbfit {rest} -o rows.npy"), "E0208", &["rows.npy"], ".parquet");
    folder.fails(&format!("influence m.cbfit {rest} -o noisy.csv"), "E0208", &["an input"], "another");
    folder.write("narrow.csv", "a,label\n1,2\n3,4\n");
    let run = folder.run("influence m.cbfit --train narrow.csv --valid valid.csv");
    assert!(run.status != Some(0) && run.stderr.contains("narrow.csv"), "{}", run.stderr);

    folder.ok(&format!("--train noisy.csv {QUICK} --loss softmax-focal -o focal.cbfit"));
    folder.fails(
        &format!("influence focal.cbfit {rest}"),
        "E0208",
        &["softmax-focal", "not convex"],
        "softmax",
    );

    let mut saved = model_file::load(folder.path("m.cbfit")).unwrap();
    saved.metadata.config = serde_json::json!({ "decay": "weights" });
    model_file::save(folder.path("old.cbfit"), &saved).unwrap();
    folder.fails(&format!("influence old.cbfit {rest}"), "E0208", &["old.cbfit", "l2"], "fit the model");
}
