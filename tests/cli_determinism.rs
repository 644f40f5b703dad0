//! The same seed and data give the same bytes: on any number of threads, twice in a row; and nearly the same numbers
//! on every instruction set.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use common::cli::{Folder, Run, TEST, TRAIN, cell, csv, number};
use serde_json::Value;

/// Settings that between them run every solver, loss, kind of weight, scale and way to hold out rows.
const SETTINGS: [&str; 8] = [
    "",
    "--optimizer lbfgs --loss sigmoid --scale l2",
    "--optimizer sgd --batch 50 --epochs 8 --loss focal",
    "--optimizer nesterov --batch 7 --epochs 4 --weighting inverse --scale standard",
    "--optimizer adamw --batch 64 --epochs 6 --schedule step --loss softmax-focal",
    "--optimizer sgd --epochs 30 --valid-fraction 0 --l2 0.1 --beta 0.999 --logit-adjust 0.5",
    "--valid data/digits_lt_test.parquet --metric log_loss --weighting sqrt",
    "--no-refit --seed 7 --max-weight 4 --decay both",
];

/// Rows enough for several blocks of work: the digits `times` over, with a feature more that tells copies apart.
fn enlarged(folder: &Folder, times: usize) {
    let text = common::cli::digits_csv();
    let (header, rows) = text.split_once('\n').unwrap();
    let mut large = format!("{header},copy\n");
    for copy in 0..times {
        rows.lines().for_each(|row| large += &format!("{row},{}\n", copy as f32 * 0.37));
    }
    folder.write("large.csv", large);
}

fn model(folder: &Folder, line: &str) -> Vec<u8> {
    folder.ok(&format!("{line} --quiet -o m.cbfit"));
    folder.read("m.cbfit")
}

#[test]
fn the_model_file_is_the_same_on_any_number_of_threads_and_every_time() {
    let folder = Folder::new();
    for setting in SETTINGS {
        let line = format!("--train {TRAIN} {setting}");
        let one = model(&folder, &format!("{line} --threads 1"));
        for threads in [1, 2, 3, 7, 8] {
            let again = model(&folder, &format!("{line} --threads {threads}"));
            assert!(again == one, "{line}: {threads} threads give another model");
        }
    }
}

#[test]
fn many_rows_in_many_blocks_are_summed_in_one_order() {
    let folder = Folder::new();
    enlarged(&folder, 12);
    for setting in ["--optimizer lbfgs", "--optimizer sgd --epochs 3", "--optimizer adamw --epochs 3"] {
        let line = format!("--train large.csv --l2 0.1 --beta 0.999 {setting}");
        let one = model(&folder, &format!("{line} --threads 1"));
        for threads in [2, 3, 8] {
            let again = model(&folder, &format!("{line} --threads {threads}"));
            assert!(again == one, "{line}: {threads} threads give another model");
        }
    }
}

#[test]
fn scores_and_predictions_do_not_depend_on_threads() {
    let folder = Folder::new();
    model(&folder, &format!("--train {TRAIN} --loss focal"));
    for prior in ["trained", "natural", "em"] {
        let on = |threads: usize| {
            let predict = format!("predict m.cbfit {TEST} --proba --prior {prior} --threads {threads}");
            let eval = format!("eval m.cbfit {TEST} --json --prior {prior} --threads {threads}");
            (folder.ok(&predict).stdout, folder.ok(&eval).stdout)
        };
        let one = on(1);
        assert!(on(2) == one && on(7) == one, "--prior {prior}");
    }
}

#[test]
fn another_seed_splits_otherwise() {
    let folder = Folder::new();
    let one = model(&folder, &format!("--train {TRAIN} --no-refit --l2 1 --beta 0.99 --seed 1"));
    let two = model(&folder, &format!("--train {TRAIN} --no-refit --l2 1 --beta 0.99 --seed 2"));
    assert!(one != two);
}

/// A run on one instruction set; `None` where the machine lacks it, which is a usage error.
fn on_isa(folder: &Folder, isa: &str, line: &str) -> Option<Run> {
    let run = Run::of(line, folder.command(line).env("CBFIT_ISA", isa).output().unwrap());
    if run.status == Some(2) {
        run.expect_failure("E0208", &["CBFIT_ISA", isa, "not available"], "scalar");
        println!("skipped: no {isa} here");
        return None;
    }
    run.expect_status(0);
    Some(run)
}

struct OnIsa {
    report: Value,
    probabilities: Vec<Vec<f64>>,
}

#[test]
fn instruction_sets_agree_to_rounding() {
    let folder = Folder::new();
    let settings = [
        "--loss softmax --optimizer lbfgs --tolerance 1e-6",
        "--loss sigmoid --optimizer lbfgs --tolerance 1e-6",
        "--loss focal --optimizer lbfgs --tolerance 1e-6",
        "--loss softmax-focal --optimizer lbfgs --tolerance 1e-6",
        "--optimizer sgd --epochs 10",
        "--optimizer adamw --epochs 10",
    ];
    for setting in settings {
        let line =
            format!("--train {TRAIN} --valid-fraction 0 --l2 0.3 --beta 0.99 {setting} -o m.cbfit --json");
        let run = |isa: &str| -> Option<OnIsa> {
            let report = on_isa(&folder, isa, &line)?.json();
            assert_eq!(report["isa"], isa);
            let predicted = on_isa(&folder, isa, &format!("predict m.cbfit {TEST} --proba"))?;
            let rows = csv(predicted.text()).1;
            let probabilities = rows.iter().map(|row| (2..12).map(|at| cell(row, at)).collect()).collect();
            Some(OnIsa { report, probabilities })
        };
        let scalar = run("scalar").unwrap();
        let objective = |on: &OnIsa| number(&on.report, "/fit/certificate/objective");
        for isa in ["avx2", "avx512", "neon"] {
            let Some(other) = run(isa) else { continue };
            let gap = objective(&other) / objective(&scalar) - 1.0;
            assert!(gap.abs() < 1e-5, "{setting} on {isa}: objective off by {gap:e}");
            for (row, (a, b)) in scalar.probabilities.iter().zip(&other.probabilities).enumerate() {
                let best = |p: &[f64]| (0..10).max_by(|&i, &j| p[i].total_cmp(&p[j])).unwrap();
                let (first, second) = (best(a), best(b));
                let near_tie = (a[first] - a[second]).abs() < 5e-3;
                assert!(first == second || near_tie, "{setting} on {isa}, row {row}: {a:?} and {b:?}");
            }
        }
    }
    for name in ["sse9", "AVX 2", ""] {
        let run = Run::of(
            name,
            folder.command(&format!("--train {TRAIN}")).env("CBFIT_ISA", name).output().unwrap(),
        );
        run.expect_failure("E0208", &["CBFIT_ISA"], "scalar, avx2");
    }
}
