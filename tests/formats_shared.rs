//! The real data sets beside the project, where they are present: every row and every column is read.

#![allow(clippy::panic, clippy::unwrap_used)] // Helpers of tests fail by panicking.

mod formats_common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use cbfit::data::table::ColumnBuffer;
use cbfit::matrix::Dtype;
use formats_common::{Table, read};

fn shared() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");
    let folder = std::env::var_os("CBFIT_SHARED_DATA").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: no folder {}", folder.display());
        return None;
    }
    Some(folder)
}

fn table(folder: &std::path::Path, name: &str) -> Table {
    let path = folder.join(format!("{name}.parquet"));
    read(&path.to_string_lossy(), usize::MAX).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn column<'a>(table: &'a Table, name: &str) -> &'a ColumnBuffer {
    let at = table
        .fields
        .iter()
        .position(|field| field.name == name)
        .unwrap_or_else(|| panic!("no column {name}"));
    &table.columns[at]
}

fn classes(column: &ColumnBuffer) -> usize {
    match column {
        ColumnBuffer::Text(text) => text.levels().len(),
        ColumnBuffer::Int { values, nulls } => {
            assert!(nulls.is_empty());
            values.iter().collect::<BTreeSet<_>>().len()
        }
        other => panic!("labels are {other:?}"),
    }
}

#[test]
fn embeddings_have_their_rows_width_and_classes() {
    let Some(folder) = shared() else { return };
    for (name, rows, width, classes_in_file, dtype) in [
        ("cifar10_lt100_mobilenet_train", 12_406, 1024, 10, Dtype::F16),
        ("cifar10_mobilenet_test", 10_000, 1024, 10, Dtype::F16),
        ("clinc150imb_minilm_train", 10_625, 384, 151, Dtype::F32),
        ("clinc150_minilm_test", 5_500, 384, 151, Dtype::F32),
        ("banking77_minilm_train", 10_003, 384, 77, Dtype::F16),
        ("banking77_minilm_test", 3_080, 384, 77, Dtype::F16),
    ] {
        let table = table(&folder, name);
        let ColumnBuffer::Vector(matrix) = column(&table, "embedding") else { panic!("{name}: no vectors") };
        assert_eq!((matrix.rows(), matrix.cols(), matrix.dtype()), (rows, width, dtype), "{name}");
        assert_eq!(table.stated_rows, Some(rows as u64), "{name}");
        assert_eq!(classes(column(&table, "label")), classes_in_file, "{name}");
        let finite = (0..rows).all(|row| (0..width).step_by(97).all(|col| matrix.get(row, col).is_finite()));
        assert!(finite, "{name}");
    }
}

#[test]
fn tables_have_their_rows_columns_and_classes() {
    let Some(folder) = shared() else { return };
    for (name, rows, features, classes_in_file) in [
        ("kdd99_10pct_train", 494_021, 41, 23),
        ("kdd99_corrected_test", 311_029, 41, 38),
        ("shuttle_train", 43_500, 9, 7),
        ("shuttle_test", 14_500, 9, 7),
        ("adult_train", 32_561, 14, 2),
        ("adult_test", 16_281, 14, 2),
        ("covertype_20k", 19_851, 54, 7),
        ("cover_binary", 286_048, 10, 2),
        ("creditcard_40pct", 113_922, 29, 2),
        ("poker_hand_train", 25_010, 10, 10),
        ("yeast", 1_484, 8, 10),
        ("ecoli", 336, 7, 8),
        ("glass", 214, 9, 6),
        ("abalone", 4_177, 8, 28),
    ] {
        let table = table(&folder, name);
        let labels = table.fields.iter().filter(|field| field.name.starts_with("label")).count();
        assert_eq!((table.rows, table.columns.len() - labels), (rows, features), "{name}");
        assert_eq!(classes(column(&table, "label")), classes_in_file, "{name}");
    }
}
