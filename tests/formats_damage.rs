//! Cut and altered files: always an error or the right data, never a panic, never an allocation by a damaged size.

#![allow(clippy::panic, clippy::unwrap_used)] // Helpers of tests fail by panicking.

mod formats_common;

use std::path::Path;
use std::process::Command;

use cbfit::data::guard::silence_decoder_panics;
use formats_common::read;

/// Files of at most this many bytes are cut at every length and altered at every byte.
const SMALL: usize = 2048;

/// Address space of the process below, in kB: far more than such files need, far less than a damaged size asks for.
const ADDRESS_SPACE: usize = 600_000;

fn small_files() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats");
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .filter(|(_, bytes)| bytes.len() <= SMALL)
        .collect();
    files.sort();
    assert!(files.len() > 60, "only {} golden files", files.len());
    files
}

/// Writes `bytes` to a scratch file of the same name and reads it.
fn lines_of(folder: &Path, name: &str, bytes: &[u8]) -> Option<Vec<String>> {
    let path = folder.join(name);
    // A new file each time: some file systems write an overwritten one to disk at once.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, bytes).unwrap();
    read(&path.to_string_lossy(), usize::MAX).ok().map(|table| table.lines())
}

#[test]
fn a_cut_file_is_an_error_or_a_stream_of_fewer_batches() {
    silence_decoder_panics();
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in small_files() {
        let whole = lines_of(folder.path(), &name, &bytes);
        let is_stream = bytes.starts_with(&[0xff; 4]);
        for length in 0..bytes.len() {
            let Some(cut) = lines_of(folder.path(), &name, &bytes[..length]) else { continue };
            let whole = whole.as_ref().unwrap_or_else(|| panic!("{name} is read only when cut at {length}"));
            assert!(is_stream, "{name} cut at {length} of {} was read: {cut:?}", bytes.len());
            for (cut, whole) in cut.iter().zip(whole) {
                assert!(whole.starts_with(cut.as_str()), "{name} cut at {length}: {cut}");
            }
        }
    }
}

#[test]
fn a_page_that_claims_gigabytes_is_refused_before_it_is_decompressed() {
    // The first page header of the file, which begins behind the mark PAR1, replaced by one of a data page (type 0)
    // with 2^30 uncompressed and 10 compressed bytes.
    let header = [
        0x15, 0, 0x15, 0x80, 0x80, 0x80, 0x80, 0x08, 0x15, 20, 0x2c, 0x15, 2, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0,
    ];
    let mut bytes = std::fs::read(formats_common::golden("codec_zstd.parquet")).unwrap();
    bytes[4..4 + header.len()].copy_from_slice(&header);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let error = read(&file.path().to_string_lossy(), usize::MAX).unwrap_err();
    assert_eq!(error.code(), "E0302");
    assert!(error.to_string().contains("a page of 10 bytes that claims to hold 1073741824"), "{error}");
}

#[test]
fn an_altered_byte_neither_panics_nor_asks_for_much_memory() {
    if !cfg!(target_os = "linux") {
        println!("skipped: needs a shell that limits the address space of a process");
        return;
    }
    let limit = format!(
        "ulimit -v {ADDRESS_SPACE} && exec \"$0\" --ignored --exact alter_every_byte --test-threads=1"
    );
    let child =
        Command::new("sh").arg("-c").arg(limit).arg(std::env::current_exe().unwrap()).output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{}: {said}", child.status);
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "run in a process of limited memory by the test above"]
fn alter_every_byte() {
    silence_decoder_panics();
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in small_files() {
        for position in 0..bytes.len() {
            for pattern in [0xff, 0x40, 0x01] {
                let mut altered = bytes.clone();
                altered[position] ^= pattern;
                // Whatever comes out, it comes back here. The line names the file where the process dies.
                println!("{name}: byte {position} ^ {pattern:#x}");
                lines_of(folder.path(), &name, &altered);
            }
        }
    }
}
