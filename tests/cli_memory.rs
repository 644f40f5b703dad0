//! The sets of files of a run share one memory limit, and every command that has a limit says what cannot stay within it.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use cbfit::rng::CounterRng;
use common::cli::{Folder, Run};
use common::vectors::{clouds, npy};

/// 16,000 rows of 40 f32, 2.6 MB: one such set is within half of 6 MB, two are not.
const SHARED_LIMIT: &str = "--memory-limit 6M";

fn spills(run: &Run) -> usize {
    run.stderr.lines().filter(|line| line.trim_start().starts_with("Spill ")).count()
}

/// Runs `line` with all rows in memory, then within `limit` with one set of them on disk: it writes the same `file`.
fn assert_same_from_disk(folder: &Folder, line: &str, file: &str, limit: &str) {
    assert_eq!(spills(&folder.ok(line)), 0);
    let whole = folder.read(file);
    let run = folder.ok(&format!("{line} --memory-limit {limit}"));
    assert_eq!(spills(&run), 1, "{}", run.stderr);
    assert!(folder.read(file) == whole);
}

fn short_clouds() -> Folder {
    let folder = Folder::new();
    clouds(&folder, 16_000, 40);
    folder
}

#[test]
fn files_of_train_valid_and_test_share_the_limit() {
    let folder = short_clouds();
    let held = "--valid x.npy --valid-label-file y.npy --test x.npy --test-label-file y.npy";
    for learner in ["--l2 0.1 --beta 0.99", "--learner boost --rounds 3 --weighting sqrt"] {
        let line = format!("--train x.npy --label-file y.npy {held} {learner} -o m.cbfit");
        assert_eq!(spills(&folder.ok(&line)), 0);
        let whole = folder.read("m.cbfit");
        let limited = folder.ok(&format!("{line} {SHARED_LIMIT}"));
        assert_eq!(spills(&limited), 2, "{}", limited.stderr);
        assert!(folder.read("m.cbfit") == whole, "{line}");
    }
}

#[test]
fn what_is_compared_and_asked_about_shares_the_limit() {
    let folder = short_clouds();
    let compare = "compare x.npy --label-file y.npy --test x.npy --test-label-file y.npy --schemes sqrt --folds 2 --l2 0.1 --quiet --json";
    let whole = folder.ok(compare).json();
    let limited = folder.ok(&format!("{compare} --memory-limit 9M")).json();
    assert_eq!(whole["candidates"], limited["candidates"]);
    // Each learner reads the rows in its own way.
    let both = "compare x.npy --label-file y.npy --learners linear,boost --rounds 2 --schemes sqrt --folds 2 --l2 0.1";
    let run = folder.ok(&format!("{both} --memory-limit 12M"));
    assert_eq!(spills(&run), 1, "{}", run.stderr);

    folder.ok("--train x.npy --label-file y.npy --l2 0.1 --beta 0.99 --valid-fraction 0 -o m.cbfit");
    let influence =
        "influence m.cbfit --train x.npy --valid x.npy --label-file y.npy --valid-label-file y.npy --json";
    let whole = folder.ok(influence);
    let limited = folder.ok(&format!("{influence} {SHARED_LIMIT}"));
    assert_eq!((spills(&whole), spills(&limited)), (0, 1), "{}", limited.stderr);
    assert!(whole.stdout == limited.stdout);
}

#[test]
fn rows_that_grow_are_held_against_the_limit_as_they_will_be() {
    let folder = Folder::new();
    let (rows, columns) = (16_000, 40);
    let mut rng = CounterRng::new(5, 0);
    let labels: Vec<u32> = (0..rows as u32).map(|row| [0, 0, 0, 1, 2][row as usize % 5]).collect();
    let values = (0..rows * columns).map(|at| {
        let corner = f32::from(u8::from(at % columns % 3 == labels[at / columns] as usize));
        half::f16::from_f32(rng.next_f64() as f32 + 0.4 * corner)
    });
    let shape = format!("{rows}, {columns}");
    folder.write("x.npy", npy("<f2", &shape, values.flat_map(half::f16::to_le_bytes)));
    folder
        .write("y.npy", npy("<u4", &format!("{rows},"), labels.iter().flat_map(|label| label.to_le_bytes())));
    // 1.3 MB of f16 are within half of 4 MB; 2.6 MB of f32 are not.
    for (scale, spilled) in [("none", 0), ("standard", 1)] {
        let line =
            format!("--train x.npy --label-file y.npy --l2 0.1 --beta 0.99 --scale {scale} -o m.cbfit");
        folder.ok(&line);
        let whole = folder.read("m.cbfit");
        let run = folder.ok(&format!("{line} --memory-limit 4M"));
        assert_eq!(spills(&run), spilled, "{}", run.stderr);
        assert!(folder.read("m.cbfit") == whole, "--scale {scale}");
        let eval = "eval m.cbfit x.npy --label-file y.npy --json";
        let whole = folder.ok(eval).stdout;
        let run = folder.ok(&format!("{eval} --memory-limit 4M"));
        assert_eq!(spills(&run), spilled, "{}", run.stderr);
        assert!(run.stdout == whole);
    }

    // Five numbers are 0.3 MB, with the levels of a word 0.9 MB.
    let mut table = "a,b,c,d,e,word,label\n".to_owned();
    for (row, label) in labels.iter().enumerate() {
        let mut number = || format!("{:.3}", rng.next_f64());
        table += &format!("{},{},{},{},{},", number(), number(), number(), number(), number());
        table += &format!("w{},c{label}\n", (row * 7919 + *label as usize) % 15);
    }
    folder.write("t.csv", table);
    let line = "--train t.csv --l2 0.1 --beta 0.99 -o t.cbfit";
    assert_same_from_disk(&folder, line, "t.cbfit", "1700K");
}

#[test]
fn every_command_says_what_its_limit_cannot_hold() {
    let folder = Folder::new();
    clouds(&folder, 60_000, 2);
    let data = "x.npy --label-file y.npy";
    folder.ok(&format!("--train {data} --l2 0.1 --beta 0.9 --valid-fraction 0 -o m.cbfit"));
    let refused = |line: &str, what: &str, mend: &str| {
        folder.fails(line, "E0802", &[what], &format!("raise --memory-limit, or {mend}"));
    };
    let rows = "60,000 rows without their features";
    refused(&format!("--train {data} --l2 1 --beta 0.9 --memory-limit 1M"), rows, "take fewer rows");
    let scores = "the scores of 60,000 rows and 6 classes";
    refused(&format!("eval m.cbfit {data} --memory-limit 6M"), scores, "take fewer rows");
    refused("predict m.cbfit x.npy --prior em -o p.csv --memory-limit 2M", scores, "take fewer rows");
    refused(&format!("report m.cbfit {data} --memory-limit 6M"), scores, "take fewer rows");
    refused(&format!("tune {data} --trials 1 --memory-limit 1M"), rows, "take fewer rows");
    let said = "candidates say of 60,000 rows";
    refused(&format!("tune {data} --trials 4 --memory-limit 9M"), said, "take fewer rows, candidates");
    refused(&format!("compare {data} --repeats 3 --memory-limit 9M"), said, "take fewer rows, candidates");
    let influence = format!("influence m.cbfit --train {data} --valid x.npy --valid-label-file y.npy");
    refused(&format!("{influence} --memory-limit 2M"), rows, "take fewer rows");

    let (classes, columns) = (1_000, 300);
    let values = (0..2 * classes * columns).map(|at| (at % 97) as f32);
    folder.write(
        "x.npy",
        npy("<f4", &format!("{}, {columns}", 2 * classes), values.flat_map(f32::to_le_bytes)),
    );
    let labels = (0..2 * classes as u32).map(|row| row / 2);
    folder.write("y.npy", npy("<u4", &format!("{},", 2 * classes), labels.flat_map(u32::to_le_bytes)));
    folder.ok(&format!("--train {data} --head ncm:euclidean --valid-fraction 0 -o m.cbfit"));
    refused("predict m.cbfit x.npy -o p.csv --memory-limit 1M", "the model (1.2 MB)", "fit a smaller model");
    assert!(!folder.names().contains(&"p.csv".to_owned()));
}

/// Three sets of 26 MB each are more than the limit; their features stay on disk as far as half of it is too little.
#[test]
#[cfg(target_os = "linux")]
fn a_run_over_three_files_stays_within_its_limit() {
    let folder = Folder::new();
    clouds(&folder, 25_000, 256);
    let line = "--train x.npy --label-file y.npy --valid x.npy --valid-label-file y.npy --test x.npy \
        --test-label-file y.npy --l2 0.1 --beta 0.99 --epochs 3 --optimizer lbfgs --threads 2 -o m.cbfit";
    let limit = 60;
    let peak = folder.peak_kb(&format!("{line} --memory-limit {limit}M"));
    assert!(peak * 1024 <= limit * 1_000_000, "{peak} kB with a limit of {limit} MB");
    assert!(folder.peak_kb(line) * 1024 > 75_000_000);
}

/// A tenth of a gap in vectors makes the linear start fill a copy of them, which then has to have room as well.
#[test]
fn filled_copies_of_vectors_are_held_against_the_limit() {
    let folder = short_clouds();
    let whole = folder.read("x.npy");
    let mut gaps = whole.clone();
    let last = gaps.len() - 4;
    gaps[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let line = "--train x.npy --label-file y.npy --valid-fraction 0 --learner boost --init linear:0.1 --rounds 2 \
        --weighting sqrt -o m.cbfit";
    for (values, spilled) in [(&whole, 0), (&gaps, 1)] {
        folder.write("x.npy", values);
        folder.ok(line);
        let model = folder.read("m.cbfit");
        // 2.6 MB of rows are within half of 8 MB, twice as many are not.
        let run = folder.ok(&format!("{line} --memory-limit 8M"));
        assert_eq!(spills(&run), spilled, "{}", run.stderr);
        assert!(folder.read("m.cbfit") == model);
    }
}

#[test]
fn a_report_reads_rows_from_disk_and_draws_the_same_page() {
    let folder = short_clouds();
    folder.ok("--train x.npy --label-file y.npy --l2 0.1 --beta 0.99 --valid-fraction 0 -o m.cbfit -q");
    let line = "report m.cbfit x.npy --label-file y.npy --against m.cbfit -o r.html";
    assert_same_from_disk(&folder, line, "r.html", "4M");
    let alone = "report --compare c.json -o r.html";
    for flag in ["--memory-limit 1G", "--spill-dir ."] {
        let name = flag.split(' ').next().unwrap();
        folder.fails(&format!("{alone} {flag}"), "E0201", &[name, "a comparison alone"], "leave it out");
    }
}

#[test]
fn a_limit_below_an_idle_process_is_warned_of_by_every_command() {
    let folder = short_clouds();
    let data = "x.npy --label-file y.npy";
    let train = format!("--train {data} --l2 0.1 --beta 0.99 --valid-fraction 0 -o m.cbfit");
    let warned = |run: &Run| run.stderr.matches("W15").count();
    assert_eq!(warned(&folder.ok(&train)), 0);
    assert_eq!(warned(&folder.ok(&format!("{train} --memory-limit 16M"))), 0);
    for line in [
        train.as_str(),
        "predict m.cbfit x.npy -o p.csv",
        &format!("eval m.cbfit {data}"),
        &format!("report m.cbfit {data} --against m.cbfit -o r.html"),
        &format!("tune {data} --trials 1"),
        &format!("compare {data} --schemes none,sqrt --l2 0.1"),
        &format!("influence m.cbfit --train {data} --valid x.npy --valid-label-file y.npy"),
    ] {
        assert_eq!(warned(&folder.run(&format!("{line} --memory-limit 15M"))), 1, "{line}");
    }
}
