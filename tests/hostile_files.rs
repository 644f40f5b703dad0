//! Damaged files of every sort that cbfit reads: each is read or refused within its time and its memory, and nothing
//! panics.
//!
//! `CBFIT_HOSTILE_SECONDS=600 cargo test --release --test hostile_files -- --ignored --nocapture` goes on for ten minutes;
//! `CBFIT_HOSTILE_FROM=N CBFIT_HOSTILE_FILES=1` repeats file N.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod formats_common;
mod hostile_common;

use std::time::Duration;

use hostile_common::seeds::{Use, gzip, zstd};
use hostile_common::{Bench, Figures, memory::Counting, watch};

#[global_allocator]
static MEMORY: Counting = Counting;

/// What the longest row that is read takes, with a mark for each of its fields, while its buffers grow; a small packed
/// file may hold one.
const LONGEST_ROW: usize = 600 << 20;

/// Files of the test command.
const FILES: u64 = 6_000;

/// A folder in memory where there is one: every file is written, and read once.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn expect_none(figures: &Figures) {
    let all = figures.findings.join("\n");
    assert!(figures.findings.is_empty(), "{} findings:\n{all}", figures.findings.len());
}

// The only tests of this file: memory is counted for the whole process.
#[test]
fn damaged_files_are_read_or_refused() {
    let folder = scratch();
    let bench = Bench::new(folder.path());
    watch();
    let mut figures = bench.run(0, FILES, Duration::MAX);
    assert!(
        figures.tried.values().map(|(tried, _)| tried).sum::<u64>() == FILES && figures.tried.len() == 12
    );
    // Damage that is never noticed, or always, would test nothing.
    for (read_as, (tried, refused)) in &figures.tried {
        assert!((1..*tried).contains(refused), "{read_as:?}: {refused} of {tried} refused");
    }
    for (at, (name, bytes, read_as)) in (FILES..).zip(made_to_harm()) {
        bench.try_file(at, (name, &bytes, read_as), LONGEST_ROW, &mut figures);
    }
    expect_none(&figures);
}

#[test]
#[ignore = "as long as it is told to: see the head of this file"]
fn damaged_files_for_a_long_time() {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let folder = scratch().keep();
    println!("files are in {}", folder.display());
    let bench = Bench::new(&folder);
    watch();
    let (from, files) = (number("CBFIT_HOSTILE_FROM", FILES), number("CBFIT_HOSTILE_FILES", u64::MAX));
    let mut all = Figures::default();
    let begun = std::time::Instant::now();
    let (limit, mut at) = (Duration::from_secs(number("CBFIT_HOSTILE_SECONDS", 600)), from);
    // In parts, so that a process that ends has said how far it came.
    while at - from < files && begun.elapsed() < limit {
        let part = bench.run(at, (files - (at - from)).min(10_000), limit.saturating_sub(begun.elapsed()));
        let tried: u64 = part.tried.values().map(|(tried, _)| tried).sum();
        at += tried;
        for (read_as, (tried, refused)) in part.tried {
            let sum = all.tried.entry(read_as).or_default();
            *sum = (sum.0 + tried, sum.1 + refused);
        }
        part.findings.iter().for_each(|finding| println!("{finding}"));
        all.findings.extend(part.findings);
        all.worst_ratio = all.worst_ratio.max(part.worst_ratio);
        all.peak = all.peak.max(part.peak);
        all.slowest = all.slowest.max(part.slowest);
        println!(
            "{} files, {} findings, {:.0} s",
            at - from,
            all.findings.len(),
            begun.elapsed().as_secs_f64()
        );
    }
    println!(
        "{:?}\npeak {} bytes, at worst {:.0} for each byte beyond 64 MB, slowest {:.2} s",
        all.tried, all.peak, all.worst_ratio, all.slowest
    );
    expect_none(&all);
}

/// Small files that ask for much, and files nested deeply.
fn made_to_harm() -> Vec<(&'static str, Vec<u8>, Use)> {
    let zeros = vec![0u8; 150 << 20];
    let line = [b"a,label\n1,".as_slice(), &vec![b'x'; 150 << 20]].concat();
    let pairs = [b"1 1:1 ".as_slice(), &b"2:1 ".repeat(30 << 20)].concat();
    let deep = b"[".repeat(1 << 20);
    let json = |text: &[u8]| [&(text.len() as u64).to_le_bytes(), text].concat();
    let nested = format!("{{\"__metadata__\":{{\"cbfit\":\"{}\"}}}}", "[".repeat(100_000));
    let npy = |shape: &str| {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\0".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), &[0; 64]]
            .concat()
    };
    let mut thrift = b"PAR1".to_vec();
    thrift.extend([0x1c].repeat(1 << 20)); // structures within structures
    thrift.extend((1u32 << 20).to_le_bytes());
    thrift.extend(b"PAR1");
    vec![
        ("line.csv.gz", gzip(&line), Use::Table),
        ("line.csv.zst", zstd(&line), Use::Table),
        ("line.svm.gz", gzip(&pairs), Use::Table),
        ("zeros.csv.gz", gzip(&zeros), Use::Table),
        ("names.txt.gz", gzip(&vec![b'x'; 150 << 20]), Use::ClassNames),
        ("weights.csv.gz", gzip(&line), Use::Weights),
        ("counts.csv.gz", gzip(&line), Use::Counts),
        ("commas.csv.gz", gzip(&vec![b','; 100 << 20]), Use::Table),
        ("deep.cbfit", json(&deep), Use::Model),
        ("nested.cbfit", json(nested.as_bytes()), Use::Model),
        ("long.npy", npy("(9223372036854775807,)"), Use::Table),
        ("wide.npy", npy("(4611686018427387904, 4)"), Use::Table),
        ("none.npy", npy("(0, 9223372036854775807)"), Use::Table),
        ("rows.npy", npy("(9223372036854775807, 0)"), Use::Table),
        ("deep.npy", npy(&"(".repeat(60_000)), Use::Table),
        ("nested.parquet", thrift, Use::Table),
    ]
}
