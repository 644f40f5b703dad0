//! Trees where many fits are made over folds: compared, tuned, calibrated, predicted out of fold.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use cbfit::rng::CounterRng;
use common::cli::{Folder, TEST, TRAIN, csv, number};
use serde_json::Value;

/// Rows whose label a colour and a number tell only together, one number in ten missing.
fn table(rows: usize, seed: u64) -> String {
    let mut rng = CounterRng::new(seed, 0);
    let mut text = "number,colour,label\n".to_owned();
    for row in 0..rows {
        let (x, noise) = (rng.next_f64(), rng.next_f64() < 0.03);
        let colour = ["red", "green", "blue"][rng.below(3)];
        let band = if colour == "blue" { 0.3..0.6 } else { 0.8..0.9 };
        let rare = band.contains(&x) != noise;
        let number = if row % 10 == 0 { String::new() } else { format!("{x:.4}") };
        text += &format!("{number},{colour},{}\n", if rare { "rare" } else { "usual" });
    }
    text
}

fn names(report: &Value) -> Vec<&str> {
    report["candidates"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect()
}

#[test]
fn trees_and_linear_functions_are_compared_on_the_same_folds() {
    let folder = Folder::new();
    folder.write("train.csv", table(900, 1)).write("test.csv", table(600, 2));
    let line = "compare train.csv --missing mean --learners linear,boost --schemes inverse,lda --folds 3 \
                --max-leaves 6 --test test.csv";
    let report = folder.json(&format!("{line} -o c.json"));
    let all = ["linear none", "linear none + adjust", "linear inverse", "linear lda, inverse"];
    assert_eq!(names(&report)[..4], all);
    assert_eq!(names(&report)[4..], ["boost none", "boost none + adjust", "boost inverse"]);
    let candidates = report["candidates"].as_array().unwrap();
    let (linear, boosted) = (&candidates[2], &candidates[6]);
    let (none, some) = (&linear["rounds"], &boosted["rounds"]);
    assert_eq!((none.as_array().unwrap().len(), some.as_array().unwrap().len()), (0, 3));
    assert_eq!((linear["learner"].as_str(), boosted["learner"].as_str()), (Some("linear"), Some("boost")));
    // No line tells these rows apart; the test rows say what the folds say.
    let value = |candidate: &Value| (number(candidate, "/value"), number(candidate, "/test/value"));
    assert!(value(boosted).0 > value(linear).0 + 0.1, "{linear} {boosted}");
    assert!((value(boosted).0 - value(boosted).1).abs() < 0.06, "{boosted}");
    let sentence = report["verdict"]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("boost ") && sentence.contains("than that of linear none"), "{sentence}");

    // The command to paste gives the model that was scored on the test rows.
    let flags = boosted["flags"].as_str().unwrap();
    assert!(
        flags.starts_with("--learner boost --loss softmax --weighting inverse --max-leaves 6 --rounds "),
        "{flags}"
    );
    folder.ok(&format!("--train train.csv {flags} -o m.cbfit"));
    let eval = folder.json("eval m.cbfit test.csv");
    assert_eq!(number(&eval, "/scores/macro_recall"), value(boosted).1);

    let again = folder.json(&format!("{line} --threads 1"));
    for key in ["candidates", "verdict", "warnings"] {
        assert_eq!(again[key], report[key], "{key} on one thread");
    }
    let run = folder.ok(&format!("{line} --threads 3"));
    let header = run.text().lines().find(|line| line.starts_with(" candidate")).unwrap();
    assert!(header.contains(" l2/rounds "), "{header}");
    folder.ok("report m.cbfit test.csv --compare c.json -o r.html");
    let page = String::from_utf8(folder.read("r.html")).unwrap();
    assert!(page.contains("rounds over the folds"), "no rounds in the report");
}

#[test]
fn rounds_are_tuned_without_the_test_rows() {
    let folder = Folder::new();
    let report = folder.json(&format!("tune {TRAIN} --learners boost --max-leaves 4 --folds 3 --trials 2"));
    let trials = report["trials"].as_array().unwrap();
    assert!(trials.len() > 2 && trials.iter().all(|trial| trial["l2"].is_null()), "{report}");
    let best = &trials[number(&report, "/best") as usize];
    let command = report["command"].as_str().unwrap();
    let wanted = format!("--rounds {} --valid-fraction 0", best["rounds"]);
    assert!(command.contains("--learner boost") && command.ends_with(&wanted), "{command}");
    folder.ok(&format!("{} -o m.cbfit", command.strip_prefix("cbfit ").unwrap()));
    let text = folder.ok(&format!("tune {TRAIN} --learners linear,boost --rounds 5 --folds 3 --trials 3"));
    // Learners take turns: two of them have been tried.
    assert!(text.text().contains("  rounds       5"), "{}", text.text());
    assert!(text.text().contains(" linear softmax none + adjust"), "{}", text.text());
}

#[test]
fn trees_are_calibrated_on_rows_out_of_fold() {
    let folder = Folder::new();
    let line = format!(
        "--train {TRAIN} --test {TEST} --learner boost --weighting inverse --rounds 60 --valid-fraction 0"
    );
    let report =
        folder.json(&format!("{line} --calibrate temperature --offsets macro_recall --oof o.csv -o m.cbfit"));
    let scores = report["calibration"]["scores"].as_array().unwrap();
    let losses: Vec<f64> = scores.iter().map(|score| number(score, "/log_loss")).collect();
    assert!(losses[2] < losses[1], "{losses:?}");
    let eval = folder.json(&format!("eval m.cbfit {TEST}"));
    let calibrated = number(&report, "/test/calibrated/log_loss");
    assert!((number(&eval, "/scores/log_loss") - calibrated).abs() < 1e-6);
    let rows = folder.read("o.csv");
    let (header, rows) = csv(std::str::from_utf8(&rows).unwrap());
    assert_eq!(header[..4], ["row", "label", "prediction", "probability"]);
    // Out of fold most rows are right, but not all of them, as they would be where a model sees its own rows.
    let right = rows.iter().filter(|row| row[1] == row[2]).count() as f64 / rows.len() as f64;
    assert!((0.75..0.999).contains(&right), "{right}");
    folder.ok(&format!("{line} --oof one.csv --threads 1 -o a.cbfit"));
    folder.ok(&format!("{line} --oof two.csv --threads 3 -o b.cbfit"));
    assert_eq!(folder.read("one.csv"), folder.read("two.csv"));
}

#[test]
fn flags_without_effect_are_refused() {
    let folder = Folder::new();
    folder.write("train.csv", table(60, 1));
    for (flags, flag, remedy) in [
        ("--max-leaves 4", "--max-leaves", "--learners boost"),
        ("--lr 0.1", "--lr", "--learners boost"),
        ("--learners boost --l2 1", "--l2", "--learners linear"),
        ("--learners boost --scale standard", "--scale", "--learners linear"),
        ("--learners boost --missing mean", "--missing", "--learners linear"),
    ] {
        folder.fails(&format!("compare train.csv {flags}"), "E0201", &[flag, "has no effect"], remedy);
    }
    folder.fails("compare - --learners boost,linear", "E0201", &["--learners linear,boost"], "give a file");
    let line = "compare train.csv --learners boost";
    folder.fails(
        &format!("{line} --schemes lda"),
        "E0208",
        &["linear functions, not for trees"],
        "leave it out",
    );
    folder.fails(&format!("{line} --rounds 0"), "E0208", &["--rounds"], "from 1");
}
