//! Runs the binary in a folder of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)] // Helpers of tests.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Training rows, test rows and a fit of them that takes milliseconds.
pub const TRAIN: &str = "data/digits_lt_train.parquet";
pub const TEST: &str = "data/digits_lt_test.parquet";
pub const QUICK: &str = "--valid-fraction 0 --l2 1 --beta 0.99";

/// The working folder of some runs, removed with the value.
pub struct Folder(tempfile::TempDir);

/// How a run ended.
pub struct Run {
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    what: String,
}

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A command with `line` as its arguments, split at spaces. Words that start with `data/` or `golden/` become
    /// files of the repository; everything else is relative to the folder.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cbfit"));
        command.current_dir(self.0.path()).args(line.split_whitespace().map(place)).env_remove("CBFIT_ISA");
        command.stdin(Stdio::null());
        command
    }

    /// The largest number of kilobytes that the process was seen to hold until it ended.
    #[cfg(target_os = "linux")]
    pub fn peak_kb(&self, line: &str) -> u64 {
        let mut child = self.command(line).stderr(Stdio::null()).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        while child.try_wait().unwrap().is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let field = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = field.and_then(|field| field.split_whitespace().next()?.parse().ok());
            peak = peak.max(kilobytes.unwrap_or(0));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(child.wait().unwrap().success(), "cbfit {line}");
        peak
    }

    /// Runs `line` to its end, whatever that is.
    pub fn run(&self, line: &str) -> Run {
        Run::of(line, self.command(line).output().unwrap())
    }

    /// Runs `line`, which must succeed.
    pub fn ok(&self, line: &str) -> Run {
        let run = self.run(line);
        run.expect_status(0);
        run
    }

    /// Runs `line` with `--json` and returns the one object on stdout.
    pub fn json(&self, line: &str) -> Value {
        self.ok(&format!("{line} --json")).json()
    }

    /// Runs `line`, which must fail with `code`, say all of `words` and name `remedy` in the help line.
    pub fn fails(&self, line: &str, code: &str, words: &[&str], remedy: &str) {
        self.run(line).expect_failure(code, words, remedy);
    }
}

impl Run {
    pub fn of(what: &str, output: Output) -> Run {
        Run {
            status: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
            what: what.to_owned(),
        }
    }

    pub fn expect_status(&self, status: i32) {
        assert_eq!(self.status, Some(status), "cbfit {}\n{}", self.what, self.stderr);
    }

    /// Exit status and code agree, the message says all of `words`, the help line names `remedy`.
    pub fn expect_failure(&self, code: &str, words: &[&str], remedy: &str) {
        let status: i32 = code[1..3].parse().unwrap();
        self.expect_status(status);
        let message = self.stderr.lines().find(|line| line.starts_with("error[")).unwrap_or("no error line");
        let help =
            self.stderr.lines().find_map(|line| line.strip_prefix(" help: ")).unwrap_or("no help line");
        assert!(message.starts_with(&format!("error[{code}]: ")), "cbfit {}\n{}", self.what, self.stderr);
        for word in words {
            assert!(message.contains(word), "cbfit {}\n{word:?} is not in: {message}", self.what);
        }
        assert!(help.contains(remedy), "cbfit {}\n{remedy:?} is not in: {help}", self.what);
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The one JSON object that stdout is.
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("cbfit {}: {error}\n{}", self.what, self.text()));
        assert!(value.is_object(), "cbfit {}", self.what);
        value
    }
}

fn place(word: &str) -> String {
    match word.split_once('/') {
        Some(("data", _)) => super::repo(word),
        Some(("golden", name)) => super::repo(&format!("tests/golden/formats/{name}")),
        _ => word.to_owned(),
    }
}

/// The number under a path such as `/fit/certificate/objective`.
pub fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {pointer}"))
}

/// Numbers of a JSON array.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Header and rows of a CSV text without quotes.
pub fn csv(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut rows =
        text.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"').to_owned()).collect());
    (rows.next().unwrap(), rows.collect())
}

/// A cell of a CSV row as a number.
pub fn cell(row: &[String], at: usize) -> f64 {
    row[at].parse().unwrap_or_else(|_| panic!("{:?} is no number", row[at]))
}

/// A whole file of the repository's data as text.
pub fn digits_csv() -> String {
    std::fs::read_to_string(Path::new(&super::repo("data/digits_lt_train.csv"))).unwrap()
}
