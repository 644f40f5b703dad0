//! Rows that exceed the memory limit stay on disk, and every answer is that of rows in memory, to the last byte.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use std::time::Duration;

use cbfit::rng::CounterRng;
use common::cli::{Folder, Run};
use common::vectors::{clouds, npy};

const ROWS: usize = 16_000;
const COLUMNS: usize = 40;
/// Half of it is less than the features take, 2.6 MB, and what boosting keeps of the rows besides fits.
const LIMIT: &str = "--memory-limit 3M";

/// The same with numbers, gaps and words.
fn table(folder: &Folder) {
    let mut rng = CounterRng::new(4, 0);
    let mut text = (0..30).map(|column| format!("n{column},")).collect::<String>() + "word,label\n";
    for row in 0..16_000 {
        let class = [0, 0, 0, 1, 0, 2][row * 7919 % 6];
        for column in 0..30 {
            if (row * 31 + column * 17) % 997 > 0 {
                text += &format!("{:.4}", rng.next_f64() + if column % 3 == class { 0.3 } else { 0.0 });
            }
            text.push(',');
        }
        text += &format!("w{},c{class}\n", (rng.next_f64() * 4.0) as usize + class);
    }
    folder.write("t.csv", text);
}

fn run(folder: &Folder, line: &str, streamed: bool) -> Run {
    let run = folder.ok(line);
    let says = run.stderr.lines().any(|line| line.trim_start().starts_with("Spill "));
    assert_eq!(says, streamed, "cbfit {line}\n{}", run.stderr);
    run
}

/// The bytes of the model that `line` trains.
fn model(folder: &Folder, line: &str, streamed: bool) -> Vec<u8> {
    run(folder, &format!("{line} -o m.cbfit"), streamed);
    folder.read("m.cbfit")
}

fn same_models(folder: &Folder, data: &str, settings: &[&str]) {
    for setting in settings {
        let line = format!("--train {data} {setting}");
        let whole = model(folder, &line, false);
        for threads in [1, 2, 3] {
            let streamed = model(folder, &format!("{line} {LIMIT} --threads {threads}"), true);
            assert!(streamed == whole, "{line}: another model where rows stay on disk, {threads} threads");
        }
    }
}

#[test]
fn linear_models_of_vectors_are_the_same_bytes() {
    let folder = Folder::new();
    clouds(&folder, ROWS, COLUMNS);
    same_models(
        &folder,
        "x.npy --label-file y.npy",
        &[
            "",
            "--loss sigmoid --scale standard",
            "--valid-fraction 0 --l2 0.1 --beta 0.99 --decay both",
            "--optimizer sgd --epochs 2 --l2 0.1 --beta 0.99",
            "--head lws --l2 0.1 --scale l2",
            "--head lda",
            "--l2 0.1 --beta 0.99 --calibrate vector --folds 2",
        ],
    );
}

#[test]
fn boosted_models_of_vectors_are_the_same_bytes() {
    let folder = Folder::new();
    clouds(&folder, ROWS, COLUMNS);
    let short = "--learner boost --rounds 4 --weighting sqrt";
    same_models(
        &folder,
        "x.npy --label-file y.npy",
        &[
            short,
            &format!("{short} --init linear"),
            &format!("{short} --valid-fraction 0 --calibrate prior --folds 2"),
        ],
    );
}

#[test]
fn models_of_tables_with_gaps_and_words_are_the_same_bytes() {
    let folder = Folder::new();
    table(&folder);
    same_models(
        &folder,
        "t.csv",
        &[
            "--missing mean --weighting sqrt",
            "--missing zero --scale none --valid-fraction 0 --l2 0.1 --beta 0.99",
            "--learner boost --rounds 4 --weighting sqrt",
            "--learner boost --rounds 4 --weighting sqrt --init linear",
        ],
    );
}

#[test]
fn predictions_and_scores_are_the_same_bytes() {
    let folder = Folder::new();
    clouds(&folder, ROWS, COLUMNS);
    for learner in ["--l2 0.1 --beta 0.99", "--learner boost --rounds 3 --weighting sqrt"] {
        folder.ok(&format!("--train x.npy --label-file y.npy {learner} -o m.cbfit"));
        for out in ["p.csv", "p.npy", "p.parquet"] {
            for prior in ["natural", "em"] {
                let line = format!("predict m.cbfit x.npy --proba --prior {prior} -o {out}");
                run(&folder, &line, false);
                let whole = folder.read(out);
                // Only the estimate of a prior needs all rows at once.
                run(&folder, &format!("{line} {LIMIT} --threads 3"), prior == "em");
                assert!(folder.read(out) == whole, "{line}");
            }
        }
        let line = "eval m.cbfit x.npy --label-file y.npy --json";
        let whole = run(&folder, line, false).stdout;
        assert!(run(&folder, &format!("{line} {LIMIT}"), true).stdout == whole, "{line} {learner}");
    }
}

#[test]
fn comparisons_and_influences_are_the_same() {
    let folder = Folder::new();
    clouds(&folder, ROWS, COLUMNS);
    let compare = "compare x.npy --label-file y.npy --schemes sqrt --folds 2 --repeats 1 --l2 0.1 --json";
    let whole = folder.ok(compare).json();
    let streamed = run(&folder, &format!("{compare} {LIMIT}"), true).json();
    assert_eq!(without_times(whole), without_times(streamed));

    folder.ok("--train x.npy --label-file y.npy --l2 0.1 --weighting sqrt --valid-fraction 0 -o m.cbfit");
    let influence =
        "influence m.cbfit --train x.npy --valid x.npy --label-file y.npy --valid-label-file y.npy --json";
    let whole = folder.ok(influence).stdout;
    assert!(run(&folder, &format!("{influence} {LIMIT}"), true).stdout == whole);
}

/// A report without what depends on the clock.
fn without_times(mut report: serde_json::Value) -> serde_json::Value {
    fn drop(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.retain(|name, _| !name.contains("seconds"));
                fields.values_mut().for_each(drop);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(drop),
            _ => {}
        }
    }
    drop(&mut report);
    report
}

#[test]
fn nothing_is_left_in_the_folder_of_the_rows() {
    let folder = Folder::new();
    clouds(&folder, ROWS, COLUMNS);
    std::fs::create_dir(folder.path("spill")).unwrap();
    let line =
        format!("--train x.npy --label-file y.npy --l2 0.1 --beta 0.99 {LIMIT} --spill-dir spill -o m.cbfit");
    assert!(run(&folder, &line, true).stderr.contains("rows stay on disk in spill"));
    for wait in (0..20).map(|at| 8 * at) {
        let mut killed = folder.command(&line).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert_eq!(std::fs::read_dir(folder.path("spill")).unwrap().count(), 0, "killed after {wait} ms");
    }
    folder.fails(
        &line.replace("--spill-dir spill", "--spill-dir nowhere"),
        "E0208",
        &["--spill-dir", "nowhere"],
        "folder",
    );
    folder.fails(&line.replace("3M", "3Q"), "E0208", &["--memory-limit", "3Q"], "512M");
    folder.fails(&line.replace("3M", "101%"), "E0208", &["--memory-limit"], "80%");
}

#[test]
fn what_cannot_stay_on_disk_is_refused_before_the_work() {
    let folder = Folder::new();
    let classes = 20_000;
    let values = (0..2 * classes * 8).map(|at| (at % 97) as f32);
    folder.write("x.npy", npy("<f4", &format!("{}, 8", 2 * classes), values.flat_map(f32::to_le_bytes)));
    let labels = (0..2 * classes as u32).map(|row| row / 2);
    folder.write("y.npy", npy("<u4", &format!("{},", 2 * classes), labels.flat_map(u32::to_le_bytes)));
    let many =
        "--train x.npy --label-file y.npy --valid-fraction 0 --l2 1 --beta 0.9 --memory-limit 8M -o m.cbfit";
    folder.fails(
        many,
        "E0802",
        &["a model of 20,000 classes", "8.0 MB"],
        "raise --memory-limit, or take fewer classes",
    );

    let mut sparse = String::new();
    for row in 0..60_000 {
        sparse += &format!("{} {}:1 {}:2 {}:3\n", row % 2, row % 50 + 1, row % 50 + 60, row % 50 + 120);
    }
    folder.write("s.svm", sparse);
    let line = "--train s.svm --memory-limit 1M -o m.cbfit";
    folder.fails(line, "E0802", &["s.svm", "sparse rows", "1.0 MB"], "raise --memory-limit");
    assert!(!folder.names().contains(&"m.cbfit".to_owned()));
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_stays_within_its_limit() {
    let folder = Folder::new();
    // 102 MB.
    clouds(&folder, 100_000, 256);
    let train = "--train x.npy --label-file y.npy --l2 0.1 --beta 0.99 --epochs 3 --optimizer lbfgs -o m.cbfit --threads 2";
    let within = |line: &str, limit: u64| {
        let peak = folder.peak_kb(&format!("{line} --memory-limit {limit}M"));
        assert!(peak * 1024 <= limit * 1_000_000, "{line}: {peak} kB with a limit of {limit} MB");
    };
    within(train, 32);
    within("predict m.cbfit x.npy -o p.csv --threads 2", 32);
    // All scores are held at once, and what ranks them.
    let eval = "eval m.cbfit x.npy --label-file y.npy --threads 2";
    within(eval, 50);
    let too_little = format!("{eval} --memory-limit 10M");
    folder.fails(&too_little, "E0802", &["the scores of 100,000 rows", "10.0 MB"], "fewer rows");
    // Bins take a byte a value, twice while training and validation rows are parted.
    within(
        "--train x.npy --label-file y.npy --learner boost --rounds 2 --weighting sqrt -o b.cbfit --threads 2",
        90,
    );
    assert!(folder.peak_kb(train) > 100_000);
}

/// 1 GB of features, a limit of a tenth; of what holds scores or bins of all rows, more. Run with
/// `--release -- --ignored --nocapture`.
#[test]
#[ignore = "writes two gigabytes and prints figures"]
#[cfg(target_os = "linux")]
fn a_limit_of_a_tenth_of_the_data() {
    let folder = Folder::new();
    clouds(&folder, 1_000_000, 256);
    for (what, line, limit) in [
        ("lbfgs", "--train x.npy --label-file y.npy --l2 0.1 --beta 0.99 -o m.cbfit --threads 2", 102),
        ("predict", "predict m.cbfit x.npy -o p.csv --threads 2", 102),
        ("eval", "eval m.cbfit x.npy --label-file y.npy --threads 2", 150),
        (
            "boost",
            "--train x.npy --label-file y.npy --learner boost --rounds 5 --weighting sqrt -o b.cbfit --threads 2",
            800,
        ),
        // Code for development takes 10 MB more than that of a release, which peaked at 98 MB: see `--release` above.
        ("search", "--train x.npy --label-file y.npy -o s.cbfit --threads 2", 102),
    ] {
        let timed = |line: &str| {
            let begun = std::time::Instant::now();
            let peak = folder.peak_kb(line);
            (peak as f64 * 1024e-6, begun.elapsed().as_secs_f64())
        };
        let (whole, in_memory) = timed(line);
        let (peak, streamed) = timed(&format!("{line} --memory-limit {limit}M"));
        println!(
            "{what}: in memory {whole:.0} MB, {in_memory:.1} s; streamed {peak:.1} MB of {limit} MB, {streamed:.1} s ({:.2} x)",
            streamed / in_memory
        );
        assert!(peak <= f64::from(limit), "{what}: {peak:.1} MB with a limit of {limit} MB");
    }
}
