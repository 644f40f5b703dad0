//! Runs that are killed or interrupted go on from their checkpoint and give the bytes of a run without a break.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cbfit::checkpoint::file;
use cbfit::rng::CounterRng;
use common::cli::{Folder, Run, TRAIN};

/// Runs of many fits, of which between them every solver, both kinds of trees, a linear start and folds are part.
const MANY_FITS: [&str; 6] = [
    "--loss softmax --optimizer lbfgs --calibrate temperature",
    "--loss sigmoid --optimizer lbfgs --beta 0.99 --tolerance 1e-7",
    "--optimizer adamw --epochs 40 --patience 3 --beta 0.99",
    "--learner boost --trees per-class --beta 0.99 --rounds 25 --calibrate prior --folds 3",
    "--learner boost --beta 0.9 --metric log_loss --rounds 40 --row-sample 0.8 --column-sample 0.5",
    "--learner boost --init linear --beta 0.9 --metric log_loss --rounds 25 --loss sigmoid",
];

fn start(folder: &Folder, line: &str) -> Child {
    folder.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for(folder: &Folder, name: &str, child: &mut Child) {
    while !folder.path(name).exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended without {name}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn signal(name: &str, child: &Child) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// The model of `line`, and the seconds that it takes.
fn whole(folder: &Folder, line: &str) -> (Vec<u8>, f64) {
    let begun = Instant::now();
    folder.ok(&format!("{line} --checkpoint-every never -o whole.cbfit"));
    let seconds = begun.elapsed().as_secs_f64();
    let model = folder.read("whole.cbfit");
    std::fs::remove_file(folder.path("whole.cbfit")).unwrap();
    (model, seconds)
}

/// Kills runs of all settings at work at `kills` moments drawn, each up to three times in a row, and has the last one end.
/// Returns how often a run went on from a checkpoint.
fn kill_at_random(kills: usize) -> usize {
    let folder = Folder::new();
    let wholes = MANY_FITS.map(|setting| {
        let line = format!("--train {TRAIN} {setting}");
        let (model, seconds) = whole(&folder, &line);
        (line, model, seconds)
    });
    let mut rng = CounterRng::new(6, 0);
    let mut done = 0;
    let mut resumed = 0;
    for (line, model, seconds) in wholes.iter().cycle() {
        let line = format!("{line} --checkpoint-every 1ms --resume -o m.cbfit");
        let in_a_row = 1 + (3.0 * rng.next_f64()) as usize;
        for _ in 0..in_a_row.min(kills - done) {
            let mut child = start(&folder, &line);
            std::thread::sleep(Duration::from_secs_f64(seconds * rng.next_f64()));
            // The run may have been quicker than it was alone: then it is no kill.
            done += usize::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
            // A file is whole, whenever it appears.
            if folder.path("m.cbfit").exists() {
                assert!(folder.read("m.cbfit") == *model, "{line}: kill {done} left half a model");
            }
            if folder.path("m.cbfit.checkpoint").exists() {
                file::read(folder.path("m.cbfit.checkpoint").to_str().unwrap())
                    .unwrap_or_else(|error| panic!("{line}: kill {done}: {error}"));
            }
        }
        let last = folder.ok(&line);
        resumed += usize::from(last.stderr.contains(" Resumed  "));
        assert!(folder.read("m.cbfit") == *model, "{line}: another model after kill {done}");
        assert_eq!(folder.names(), ["m.cbfit"], "{line}: kill {done}");
        std::fs::remove_file(folder.path("m.cbfit")).unwrap();
        if done == kills {
            return resumed;
        }
    }
    resumed
}

#[test]
fn killed_runs_end_as_if_they_had_not_been() {
    kill_at_random(12);
}

#[test]
#[ignore = "minutes"]
fn two_hundred_killed_runs_end_as_if_they_had_not_been() {
    let resumed = kill_at_random(200);
    println!("200 kills, no torn file, all models equal; {resumed} last runs went on from a checkpoint");
    assert!(resumed > 20);
}

/// The digits so often that a single fit takes a while.
fn enlarged(folder: &Folder, times: usize) {
    let text = common::cli::digits_csv();
    let (header, rows) = text.split_once('\n').unwrap();
    let mut large = format!("{header},copy\n");
    for copy in 0..times {
        rows.lines().for_each(|row| large += &format!("{row},{}\n", copy as f32 * 0.37));
    }
    folder.write("large.csv", large);
}

/// A run that is one fit alone is interrupted in it, twice, and goes on from the midst of it.
#[test]
fn an_interrupted_fit_goes_on_from_where_it_was() {
    let folder = Folder::new();
    enlarged(&folder, 6);
    let given = "--train large.csv --valid-fraction 0 --beta 0.99";
    for (fit, sig, status) in [
        ("--l2 1e-4 --loss sigmoid --optimizer lbfgs --tolerance 1e-12", "-INT", 130),
        ("--l2 1e-2 --optimizer lbfgs --tolerance 1e-12 --decay both", "-TERM", 143),
        ("--l2 1e-3 --optimizer nesterov --epochs 250", "-INT", 130),
        ("--l2 1e-3 --optimizer adamw --epochs 250 --loss focal", "-TERM", 143),
        ("--learner boost --trees vector --rounds 150", "-INT", 130),
        ("--learner boost --trees per-class --rounds 40 --row-sample 0.7", "-TERM", 143),
    ] {
        let line = format!("{given} {fit}");
        let model = whole(&folder, &line).0;
        let line = format!("{line} --checkpoint-every 1ms --resume -o m.cbfit");
        // The second time, the checkpoint is there already; who has the lock listens to signals.
        for sign in ["m.cbfit.checkpoint", "m.cbfit.lock"] {
            let mut child = start(&folder, &line);
            wait_for(&folder, sign, &mut child);
            signal(sig, &child);
            assert_eq!(child.wait().unwrap().code(), Some(status), "{line}");
            // What is reached so far is saved as well.
            folder.ok("inspect m.cbfit");
            assert_eq!(folder.names(), ["large.csv", "m.cbfit", "m.cbfit.checkpoint"]);
        }
        let run = folder.ok(&line);
        assert!(run.stderr.contains("after 0 finished fits, amid the next"), "{line}\n{}", run.stderr);
        assert!(folder.read("m.cbfit") == model, "{line}: another model");
        std::fs::remove_file(folder.path("m.cbfit")).unwrap();
    }
}

/// A checkpoint of `line` in the folder, and the line that goes on from it.
fn with_checkpoint(folder: &Folder, line: &str) -> String {
    let line = format!("{line} --checkpoint-every 1ms -o m.cbfit");
    let mut child = start(folder, &line);
    wait_for(folder, "m.cbfit.checkpoint", &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    format!("{line} --resume")
}

#[test]
fn a_checkpoint_of_other_data_or_settings_is_refused() {
    let folder = Folder::new();
    let line = with_checkpoint(&folder, &format!("--train {TRAIN} --loss softmax"));
    let before = folder.read("m.cbfit.checkpoint");
    for (flags, words) in [
        ("--seed 3", &["seed 0, not 3"][..]),
        ("--weighting sqrt --no-refit", &["schemes", "refit true, not false", "weighting chosen, not given"]),
        ("--max-weight 9 --metric mcc", &["max_weight none, not 9", "metric macro_recall, not mcc"]),
        ("--optimizer lbfgs --tolerance 1e-5", &["optimizer lbfgs tolerance 0.001, not"]),
        ("--learner boost", &["boost rounds not set, not 500", "optimizer lbfgs"]),
        ("--valid-fraction 0.2", &["data held out share 0.1, not share 0.2"]),
        ("--calibrate prior", &["calibrate method not set, not prior"]),
    ] {
        let line = line.replace("--loss softmax", &format!("--loss softmax {flags}"));
        folder.fails(&line, "E0505", &[&["m.cbfit.checkpoint"], words].concat(), "--resume");
    }
    let changed = common::cli::digits_csv().replacen(",0.0,", ",1.5,", 1).replacen(",0,", ",1,", 1);
    folder.write("changed.csv", changed);
    folder.fails(&line.replace(TRAIN, "changed.csv"), "E0505", &["data fingerprint"], "--resume");
    let other = Run::of("", folder.command(&line).env("CBFIT_ISA", "scalar").output().unwrap());
    other.expect_failure("E0505", &["instruction set", "not scalar"], "--resume");
    assert!(folder.read("m.cbfit.checkpoint") == before, "a refused run has touched the checkpoint");
    // Where the files are, the number of threads and what is told do not matter.
    folder.ok(&format!("{line} --threads 1 --quiet"));
    assert!(!folder.path("m.cbfit.checkpoint").exists());
}

#[test]
fn what_there_is_to_go_on_from_is_said() {
    let folder = Folder::new();
    let line = format!("--train {TRAIN} {}", common::cli::QUICK);
    let run = folder.ok(&format!("{line} -o new.cbfit --resume"));
    assert!(
        run.stderr.contains("there is no new.cbfit.checkpoint: training from the start"),
        "{}",
        run.stderr
    );
    let line = with_checkpoint(&folder, &format!("--train {TRAIN}"));
    let run = folder.ok(&line.replace(" --resume", ""));
    assert!(run.stderr.contains("m.cbfit.checkpoint is of an earlier run"), "{}", run.stderr);
    folder.fails(&format!("--train {TRAIN} --checkpoint-every soon"), "E0208", &["soon"], "60s");
    folder.fails(
        &format!("--train {TRAIN} --checkpoint-every 0 --resume"),
        "E0208",
        &["--resume"],
        "one of them",
    );
    folder.fails(&format!("--train {TRAIN} --resume -o /dev/null"), "E0208", &["/dev/null"], "--resume");
    folder.ok(&format!("--train {TRAIN} {} -o /dev/null", common::cli::QUICK));
}

/// Damage is found, and content that is no state of this run, though its checksums hold, ends in an error at worst.
#[test]
fn damaged_and_hostile_checkpoints_end_in_an_error() {
    for setting in
        ["--optimizer lbfgs", "--optimizer adamw --epochs 30", "--learner boost --beta 0.9 --rounds 30"]
    {
        let folder = Folder::new();
        let line = with_checkpoint(&folder, &format!("--train {TRAIN} {setting}"));
        let path = folder.path("m.cbfit.checkpoint");
        let shown = path.to_str().unwrap();
        let good = folder.read("m.cbfit.checkpoint");
        let sections = file::read(shown).unwrap().unwrap();
        let mut rng = CounterRng::new(9, setting.len() as u64);
        let mut below = |bound: usize| (rng.next_f64() * bound as f64) as usize;
        for _ in 0..4 {
            let mut flipped = good.clone();
            let at = below(good.len());
            flipped[at] ^= 1 << below(8);
            folder.write("m.cbfit.checkpoint", flipped);
            folder.fails(&line, "E0504", &["m.cbfit.checkpoint"], "--resume");
            folder.write("m.cbfit.checkpoint", &good[..below(good.len())]);
            folder.fails(&line, "E0504", &["m.cbfit.checkpoint"], "--resume");
        }
        for number in 0..12 {
            let mut forged = sections.clone();
            let part = &mut forged[1 + number % 2];
            // Counts and tags stand at the beginning, numbers everywhere.
            let at = if number % 3 == 0 { below(part.len()) } else { below(part.len().min(200)) };
            match number % 4 {
                0 => part.truncate(at),
                1 => part[at..].iter_mut().take(8).for_each(|byte| *byte = 0xff),
                2 => part[at] ^= 1 << below(8),
                _ => part.insert(at, 7),
            }
            file::write(shown, [&[&forged[0]], &[&forged[1]], &[&forged[2]]]).unwrap();
            let run = folder.run(&line);
            let ends_well = run.status == Some(0) || run.stderr.contains("error[E");
            assert!(ends_well, "{setting}, {number}: {:?}\n{}", run.status, run.stderr);
        }
    }
}
