//! Parquet files as a matrix and labels.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests may panic like the tests themselves.

use std::collections::BTreeMap;

use cbfit::data::format::{OpenOptions, open_table};
use cbfit::data::table::{ColumnBuffer, FieldKind, new_buffer};
use cbfit::matrix::Matrix;

/// Features (the vector column, or all others side by side) and labels of a Parquet file.
pub fn read(path: &str) -> (Matrix<'static>, Vec<u32>) {
    let mut table = open_table(path, &OpenOptions::default()).unwrap();
    let all: Vec<usize> = (0..table.fields().len()).collect();
    let label_at = table.fields().iter().position(|f| f.name == "label").unwrap();
    let kinds: Vec<FieldKind> = table.fields().iter().map(|f| f.kind.clone()).collect();
    let mut buffers: Vec<ColumnBuffer> = kinds.iter().map(|kind| new_buffer(kind).unwrap()).collect();
    while table.append_block(&all, &mut buffers).unwrap() > 0 {}
    let labels = match buffers.remove(label_at) {
        ColumnBuffer::Int { values, .. } => codes(values),
        ColumnBuffer::Text(text) => {
            codes((0..text.codes().len()).map(|row| text.get(row).unwrap().to_owned()).collect())
        }
        other => panic!("labels are {other:?}"),
    };
    if let Some(ColumnBuffer::Vector(features)) = buffers.first() {
        return (features.clone(), labels);
    }
    let columns: Vec<Vec<f32>> = buffers.iter().map(numbers).collect();
    let values = (0..labels.len()).flat_map(|row| columns.iter().map(move |c| c[row])).collect();
    (Matrix::from_f32(values, columns.len()), labels)
}

/// The place of each label among the distinct ones.
pub fn codes<T: Ord + Clone>(labels: Vec<T>) -> Vec<u32> {
    let mut order: BTreeMap<T, u32> = labels.iter().map(|label| (label.clone(), 0)).collect();
    for (code, value) in order.values_mut().enumerate() {
        *value = code as u32;
    }
    labels.iter().map(|label| order[label]).collect()
}

fn numbers(column: &ColumnBuffer) -> Vec<f32> {
    match column {
        ColumnBuffer::Int { values, .. } => values.iter().map(|&v| v as f32).collect(),
        ColumnBuffer::Float(values) => values.iter().map(|&v| v as f32).collect(),
        ColumnBuffer::Bool { values, .. } => values.iter().map(|&v| f32::from(u8::from(v))).collect(),
        other => panic!("feature column {other:?}"),
    }
}
