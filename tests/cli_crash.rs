//! What a run leaves behind when something is in its way: another run, a full disk, a signal, a reader that goes away.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::cli::{Folder, QUICK, Run, TEST, TRAIN};

/// A run that would take minutes, once it is at work.
fn at_work(folder: &Folder) -> Child {
    let line = format!(
        "--train {TRAIN} --valid-fraction 0 --l2 1e-3 --beta 0.99 --optimizer sgd --epochs 900000 -o m.cbfit \
         --checkpoint-every 1ms"
    );
    let mut child = folder.command(&line).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while !folder.path("m.cbfit.checkpoint").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

fn signal(name: &str, child: &Child) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn two_runs_do_not_write_one_model() {
    let folder = Folder::new();
    folder.write("m.cbfit", "old");
    let mut child = at_work(&folder);
    let (pid, line) = (format!("process {} since 20", child.id()), format!("--train {TRAIN} {QUICK}"));
    folder.fails(&format!("{line} -o m.cbfit"), "E0403", &["m.cbfit", &pid, "UTC"], "-o");
    // However the name is spelt.
    std::os::unix::fs::symlink(folder.path("m.cbfit"), folder.path("link.cbfit")).unwrap();
    folder.fails(&format!("{line} -o link.cbfit"), "E0403", &["link.cbfit", &pid], "-o");
    folder.fails(&format!("compare {TRAIN} -o m.cbfit"), "E0403", &["m.cbfit", &pid], "-o");
    folder.ok(&format!("{line} -o other.cbfit"));
    assert_eq!(folder.read("m.cbfit"), b"old");
    child.kill().unwrap();
    child.wait().unwrap();
    // The lock of a process that is no more holds nobody up.
    assert!(folder.path("m.cbfit.lock").exists());
    folder.ok(&format!("{line} -o m.cbfit"));
    assert_eq!(folder.names(), ["link.cbfit", "m.cbfit", "other.cbfit"]);
}

#[test]
fn neither_signals_nor_errors_leave_a_lock() {
    let folder = Folder::new();
    for (name, status) in [("-INT", 130), ("-TERM", 143)] {
        let mut child = at_work(&folder);
        signal(name, &child);
        assert_eq!(child.wait().unwrap().code(), Some(status));
        assert_eq!(folder.names(), ["m.cbfit", "m.cbfit.checkpoint"]);
        folder.ok("inspect m.cbfit");
        std::fs::remove_file(folder.path("m.cbfit.checkpoint")).unwrap();
    }
    folder.fails("--train nowhere.csv -o m.cbfit", "E0401", &["nowhere.csv"], "");
    assert_eq!(folder.names(), ["m.cbfit"]);
}

/// Stopped in between, the process has both signals before it does anything.
#[test]
fn the_second_signal_leaves_at_once_and_takes_its_files_along() {
    let folder = Folder::new();
    let mut child = at_work(&folder);
    signal("-STOP", &child);
    signal("-INT", &child);
    signal("-TERM", &child);
    signal("-CONT", &child);
    let status = child.wait().unwrap().code();
    assert!(matches!(status, Some(130 | 143)), "{status:?}");
    let names = folder.names();
    assert!(!names.iter().any(|name| name.ends_with(".lock") || name.ends_with(".tmp")), "{names:?}");
}

/// Runs `line` where no file may grow beyond 512 or 1,024 bytes, as shells count.
fn limited(folder: &Folder, line: &str) -> Run {
    let inner = folder.command(line);
    let mut command = Command::new("sh");
    command.current_dir(inner.get_current_dir().unwrap()).args(["-c", "ulimit -f 1; exec \"$@\"", "sh"]);
    command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    Run::of(line, command.output().unwrap())
}

#[test]
fn a_model_beyond_the_limit_of_a_file_leaves_the_old_one() {
    let folder = Folder::new();
    folder.write("m.cbfit", "old");
    let run = limited(&folder, &format!("--train {TRAIN} {QUICK} -o m.cbfit"));
    run.expect_failure("E0402", &["m.cbfit", "cannot write", "bytes"], "room");
    assert_eq!(folder.read("m.cbfit"), b"old");
    // A checkpoint that cannot be written is no reason to stop.
    let run = limited(&folder, &format!("--train {TRAIN} --checkpoint-every 1ms -o m.cbfit"));
    run.expect_failure("E0402", &["m.cbfit", "cannot write"], "room");
    assert!(run.stderr.contains("no checkpoint: m.cbfit.checkpoint: cannot write"), "{}", run.stderr);
    assert_eq!(folder.read("m.cbfit"), b"old");
    assert_eq!(folder.names(), ["m.cbfit"]);
}

/// A file system of 64 kB, unmounted with the value; `None` where none can be mounted.
struct Small(Folder);

impl Small {
    fn mount() -> Option<Small> {
        let folder = Folder::new();
        let path = folder.path("");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Small(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path("")).status();
    }
}

#[test]
fn a_full_disk_leaves_the_old_model_and_the_message_has_the_bytes() {
    let Some(small) = Small::mount() else {
        return println!("skipped: no file system can be mounted here");
    };
    let folder = &small.0;
    folder.write("m.cbfit", "old").write("filler", vec![7; 52_000]);
    let line = format!("--train {TRAIN} {QUICK} -o m.cbfit");
    folder.write("more", vec![7; 4_000]);
    let run = folder.run(&line);
    run.expect_failure("E0402", &["m.cbfit", "cannot write", "bytes are to be written", "are free"], "room");
    assert_eq!(folder.read("m.cbfit"), b"old");
    assert_eq!(folder.names(), ["filler", "m.cbfit", "more"]);
    std::fs::remove_file(folder.path("filler")).unwrap();
    folder.ok(&line);
}

/// `command` as the user nobody where this one may write everywhere, as root may; `None` where that is not allowed.
fn unprivileged(folder: &Folder, line: &str) -> Option<Run> {
    const NOBODY: u32 = 65_534;
    let inner = folder.command(line);
    // Nobody may look neither into the folder of the sources nor into that of this test.
    let (program, data) = (folder.path("cbfit"), folder.path("train.parquet"));
    std::fs::copy(inner.get_program(), &program).unwrap();
    std::fs::copy(common::repo(TRAIN), data).unwrap();
    for (name, mode) in [("", 0o755), ("cbfit", 0o755), ("train.parquet", 0o644)] {
        std::fs::set_permissions(folder.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::chown(folder.path("shut"), Some(NOBODY), Some(NOBODY)).ok()?;
    let mut command = Command::new(program);
    command.current_dir(folder.path("")).args(line.replace(TRAIN, "train.parquet").split_whitespace());
    command.stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
    Some(Run::of(line, command.output().ok()?))
}

#[test]
fn a_folder_that_cannot_be_written_is_found_before_the_work() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("shut")).unwrap();
    folder.write("shut/m.cbfit", "old");
    std::fs::set_permissions(folder.path("shut"), std::fs::Permissions::from_mode(0o555)).unwrap();
    let may_write = std::fs::write(folder.path("shut/probe"), "").is_ok();
    let line = format!("--train {TRAIN} {QUICK} -o shut/m.cbfit");
    let run = if may_write {
        std::fs::remove_file(folder.path("shut/probe")).unwrap();
        unprivileged(&folder, &line)
    } else {
        Some(folder.run(&line))
    };
    let Some(run) = run else {
        return println!("skipped: this user may write everywhere, and become no other");
    };
    run.expect_failure("E0402", &["shut/m.cbfit", "cannot create"], "writable");
    assert!(!run.stderr.contains("   Read  "), "{}", run.stderr);
    assert_eq!(folder.read("shut/m.cbfit"), b"old");
    assert_eq!(std::fs::read_dir(folder.path("shut")).unwrap().count(), 1);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    folder.ok(&format!("--train {TRAIN} {QUICK} -o m.cbfit"));
    let tests = vec![TEST; 60].join(" ");
    for line in [format!("predict m.cbfit {tests} --proba"), format!("eval m.cbfit {TEST} --json")] {
        let mut command = folder.command(&line);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(!first.is_empty());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
        assert!(!said.contains("error"), "{said}");
    }
}
