//! Boosting that starts from something: linear functions, an earlier model, the rounds before an interrupt.
#![allow(clippy::unwrap_used)] // Helpers outside test functions.

mod common;

#[cfg(unix)]
use common::cli::Run;
use common::cli::{Folder, TEST, TRAIN, number};

/// Probabilities of the test rows, as CSV.
fn probabilities(folder: &Folder, model: &str) -> String {
    folder.ok(&format!("predict {model} {TEST} --proba")).text().to_owned()
}

/// Starts `line`, sends SIGINT once stderr has said `phase`, and returns how it ended.
#[cfg(unix)]
fn interrupted(folder: &Folder, line: &str, phase: &str) -> Run {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    let mut child = folder.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(phase) {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    stderr.read_to_string(&mut said).unwrap();
    let mut run = Run::of(line, child.wait_with_output().unwrap());
    run.stderr = said;
    run
}

#[cfg(unix)]
#[test]
fn an_interrupt_of_the_last_fit_keeps_the_model_of_the_search() {
    let folder = Folder::new();
    for init in ["weighted", "linear:0.01"] {
        // Enough rounds that the fit of all rows, which has as many, is still at work when the signal comes.
        let line = format!(
            "--train {TRAIN} --learner boost --trees per-class --beta 0.99 --lr 0.01 --rounds 400 --patience 400 \
             --metric log_loss --init {init} --json"
        );
        let run = interrupted(&folder, &format!("{line} -o cut.cbfit"), "\n   Valid");
        run.expect_status(130);
        assert!(run.stderr.contains("the model of the training rows is kept"), "{}", run.stderr);
        let report = run.json();
        assert_eq!(report["boost"]["refitted"], false);
        assert_eq!(report["boost"]["rows"], report["split"]["train_rows"]);
        assert_eq!(report["boost"]["rounds"], report["boost"]["trials"][0]["rounds"]);
        folder.ok(&format!("{line} --no-refit -o whole.cbfit"));
        assert_eq!(probabilities(&folder, "cut.cbfit"), probabilities(&folder, "whole.cbfit"), "{init}");
    }
}

/// A number from 0 to 1 that depends on nothing but the row and the key.
fn draw(row: usize, key: u64) -> f64 {
    let mixed = (row as u64 * 8 + key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 40) as f64 / f64::from(1 << 24)
}

/// A table whose label is a linear function of two numbers and a text column, and noise, but for a corner where it is
/// another; with gaps.
fn table(rows: usize, first: usize) -> String {
    let mut text = String::from("a,b,colour,label\n");
    for row in first..first + rows {
        let (a, b) = (10.0 * draw(row, 0), 10.0 * draw(row, 1));
        let (colour, shift) = [("red", 0.0), ("green", 3.0), ("blue", -3.0)][(3.0 * draw(row, 2)) as usize];
        let label = match a - b + shift + 4.0 * (draw(row, 3) - 0.5) {
            _ if a > 7.0 && b > 7.0 => "odd",
            line if line > 0.0 => "above",
            _ => "below",
        };
        let cell = |key, x: f64| if draw(row, key) < 0.03 { String::new() } else { format!("{x:.3}") };
        text += &format!("{},{},{colour},{label}\n", cell(4, a), cell(5, b));
    }
    text
}

#[test]
fn trees_on_linear_functions_are_saved_scored_and_described() {
    let folder = Folder::new();
    folder.write("train.csv", table(1200, 0)).write("test.csv", table(600, 1200));
    let line =
        "--train train.csv --test test.csv --label label --learner boost --beta 0.99 --metric log_loss";
    let plain = folder.json(&format!("{line} --rounds 60 -o plain.cbfit"));
    let linear = "--train train.csv --test test.csv --label label --missing mean --beta 0.99 -o linear.cbfit";
    let linear = folder.json(linear);
    for loss in ["softmax", "sigmoid", "focal"] {
        let report = folder.json(&format!("{line} --rounds 60 --init linear --loss {loss} -o m.cbfit"));
        let recall = number(&report, "/test/trained/macro_recall");
        let scored = folder.json("eval m.cbfit test.csv --label label");
        assert_eq!(number(&scored, "/scores/macro_recall"), recall, "{loss}");
        let natural = folder.json("eval m.cbfit test.csv --label label --prior natural");
        let log_loss = number(&natural, "/scores/log_loss");
        assert!((log_loss - number(&report, "/test/natural_log_loss")).abs() < 1e-6, "{loss}");
        if loss == "softmax" {
            // What neither has alone: the line as it is, and the exception to it.
            let of = |report| number(report, "/test/trained/log_loss");
            assert!(of(&report) < of(&plain) && of(&report) < of(&linear), "{} {}", of(&report), of(&plain));
        }
        let model = folder.json("inspect m.cbfit");
        assert_eq!(model["metadata"]["format_version"], 4);
        assert!(number(&model, "/metadata/linear_start/l2") > 0.0);
    }
    assert!(folder.ok("inspect m.cbfit").text().contains("boost from linear"));
    folder.ok("report m.cbfit test.csv --label label -o r.html");
    // A colour that training never met, and gaps in both numbers.
    folder.write("new.csv", "a,b,colour\n,,violet\n9.5,0.5,red\n");
    assert!(folder.ok("predict m.cbfit new.csv").text().lines().nth(2).unwrap().starts_with("above"));
}

#[test]
fn two_classes_and_an_adjusted_loss_start_where_they_should() {
    let folder = Folder::new();
    let two = |text: String| text.replace(",odd\n", ",below\n");
    folder.write("train.csv", two(table(900, 0))).write("test.csv", two(table(400, 900)));
    for flags in ["--loss sigmoid", "--loss softmax", "--weighting none --logit-adjust 1"] {
        let weighting = if flags.contains("weighting") { "" } else { "--beta 0.9" };
        let line = format!(
            "--train train.csv --test test.csv --label label --learner boost {flags} {weighting} --metric log_loss \
             --init linear -o m.cbfit"
        );
        let report = folder.json(&line);
        // The score after the first round is near that of the last, which a start at a constant is far from.
        let scores = common::cli::numbers(&report["boost"]["trials"][0]["scores"]);
        assert!(scores[0] > -0.3, "{flags}: {scores:?}");
        let log_loss = number(&report, "/test/trained/log_loss");
        assert!(log_loss < 0.3, "{flags}: {log_loss}");
    }
}

#[test]
fn the_bytes_are_those_of_one_thread() {
    let folder = Folder::new();
    folder.write("train.csv", table(700, 0));
    for line in [
        format!("--train {TRAIN} --learner boost --beta 0.99 --rounds 6 --init linear -o m.cbfit"),
        "--train train.csv --label label --learner boost --beta 0.9 --rounds 9 --init linear -o m.cbfit"
            .into(),
    ] {
        folder.ok(&format!("{line} --threads 1"));
        let first = folder.read("m.cbfit");
        for threads in [2, 3] {
            folder.ok(&format!("{line} --threads {threads}"));
            assert_eq!(folder.read("m.cbfit"), first, "{line} on {threads} threads");
        }
    }
}

#[test]
fn starts_that_cannot_be_are_refused() {
    let folder = Folder::new();
    let line = format!("--train {TRAIN} --learner boost --beta 0.9");
    folder.fails(
        &format!("{line} --valid-fraction 0 --init linear"),
        "E0208",
        &["--init", "l2"],
        "linear:1e-3",
    );
    for init in ["lineal", "linear:", "linear:-1", "linear:x", "paper:1"] {
        folder.fails(&format!("{line} --init {init}"), "E0208", &["--init", init], "linear:L2");
    }
    folder.fails(&format!("--train {TRAIN} --init linear"), "E0201", &["--init"], "--learner boost");
    folder.fails(&format!("--train {TRAIN} --init-model m"), "E0201", &["--init-model"], "--learner boost");
    folder.fails(&format!("{line} --init-model none.cbfit"), "E0401", &["none.cbfit"], "path");
    folder.ok(&format!("--train {TRAIN} {} -o linear.cbfit", common::cli::QUICK));
    folder.fails(
        &format!("{line} --init-model linear.cbfit"),
        "E0208",
        &["linear.cbfit", "no trees"],
        "boost",
    );
}

#[test]
fn rounds_in_two_runs_are_those_of_one() {
    let folder = Folder::new();
    folder.write("train.csv", table(900, 0));
    for flags in [
        format!("--train {TRAIN} --beta 0.99 --row-sample 0.7"),
        format!("--train {TRAIN} --beta 0.99 --trees per-class --loss sigmoid --column-sample 0.5"),
        "--train train.csv --label label --beta 0.9 --init linear:0.001".into(),
    ] {
        let line = format!("{flags} --learner boost --valid-fraction 0 -o");
        folder.ok(&format!("{line} whole.cbfit --rounds 14"));
        folder.ok(&format!("{line} part.cbfit --rounds 6"));
        let report = folder.json(&format!("{line} both.cbfit --rounds 8 --init-model part.cbfit"));
        assert_eq!(number(&report, "/boost/rounds"), 14.0);
        assert_eq!(folder.read("both.cbfit"), folder.read("whole.cbfit"), "{flags}");
        // What is left out is taken from the model.
        let loss = if flags.contains("sigmoid") { "--loss sigmoid" } else { "" };
        let data: Vec<&str> = flags.split(" --beta").collect();
        let short = format!(
            "{} {loss} --learner boost --valid-fraction 0 --rounds 8 --init-model part.cbfit",
            data[0]
        );
        folder.ok(&format!("{short} -o short.cbfit"));
        assert_eq!(folder.read("short.cbfit"), folder.read("whole.cbfit"), "{flags}");
    }
}

#[test]
fn other_settings_classes_and_columns_are_named() {
    let folder = Folder::new();
    folder.write("train.csv", table(600, 0));
    let line = "--train train.csv --label label --learner boost --valid-fraction 0";
    folder.ok(&format!("{line} --beta 0.9 --rounds 3 --max-leaves 7 -o m.cbfit"));
    let on = format!("{line} --init-model m.cbfit --rounds 2");
    for (flags, words) in [
        ("--max-leaves 9", &["--max-leaves 7, not 9"][..]),
        ("--loss sigmoid --max-bins 16", &["--loss softmax, not sigmoid", "--max-bins 254, not 16"]),
        ("--beta 0.99", &["effective 0.9, not effective 0.99"]),
        ("--weighting inverse", &["not inverse"]),
        ("--logit-adjust 1 --max-depth 3", &["--logit-adjust", "--max-depth at its default, not 3"]),
        ("--trees vector --row-sample 0.5", &["--trees per-class, not vector", "--row-sample 1, not 0.5"]),
        ("--init zero", &["--init weighted, not zero"]),
        ("--seed 4", &["--seed 0, not 4"]),
        ("--hessian abs", &["--hessian"]),
    ] {
        folder.fails(&format!("{on} {flags}"), "E0208", words, "settings of the model");
    }
    folder.fails(&format!("{on} --features a"), "E0201", &["--features"], "columns");
    folder.ok(&format!("{on} --lr 0.02 -o slow.cbfit"));

    let with = |from: &str, to: &str| table(600, 0).replace(from, to);
    folder.write("column.csv", with("a,b,colour", "a,c,colour"));
    folder.fails(&on.replace("train.csv", "column.csv"), "E0503", &["missing: b"], "columns");
    folder.write("class.csv", with(",odd\n", ",even\n"));
    folder.fails(&on.replace("train.csv", "class.csv"), "E0503", &["even"], "columns");
    folder.write("fewer.csv", with(",odd\n", ",below\n"));
    folder.fails(&on.replace("train.csv", "fewer.csv"), "E0503", &["odd", "no training row"], "columns");
}

#[test]
fn other_rows_go_on_with_the_bins_and_scores_of_the_model() {
    let folder = Folder::new();
    folder
        .write("train.csv", table(600, 0))
        .write("more.csv", table(900, 600))
        .write("test.csv", table(400, 1500));
    for init in ["weighted", "linear"] {
        let line = format!(
            "--label label --learner boost --beta 0.9 --lr 0.02 --metric log_loss --test test.csv --init {init}"
        );
        let first = folder.json(&format!("--train train.csv {line} --rounds 20 -o m.cbfit"));
        let second =
            folder.json(&format!("--train more.csv {line} --rounds 60 --init-model m.cbfit -o n.cbfit"));
        let (before, after) = (number(&first, "/boost/rounds"), number(&second, "/boost/rounds"));
        assert!(after > before, "{init}: {before} {after}");
        let of = |report| number(report, "/test/trained/log_loss");
        assert!(of(&second) < of(&first), "{init}: {} {}", of(&first), of(&second));
        let model = folder.json("inspect n.cbfit");
        assert_eq!(number(&model, "/metadata/config/lineage/0/rounds"), before);
        // It goes on once more, and from the same rows only where those held out were held out before.
        let again = format!("--train more.csv {line} --init-model n.cbfit --rounds 5");
        folder.fails(&again, "E0208", &["n.cbfit", "all of these rows"], "--valid-fraction 0");
        folder.ok(&format!("--train train.csv {line} --init-model n.cbfit --rounds 5 -o o.cbfit"));
    }
}
