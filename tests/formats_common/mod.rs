//! Reads whole files for the tests of formats and writes columns as text.
#![allow(dead_code)] // Every test file uses a part.

use std::path::Path;

use cbfit::Result;
use cbfit::data::format::{OpenOptions, open_table};
use cbfit::data::table::{ColumnBuffer, Field, TableReader, new_buffer};

pub fn golden(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/formats")
        .join(name)
        .to_string_lossy()
        .into_owned()
}

/// A file read to its end or for some blocks.
#[derive(Debug)]
pub struct Table {
    /// Fields as they are after reading.
    pub fields: Vec<Field>,
    pub columns: Vec<ColumnBuffer>,
    /// Rows of the first block.
    pub block_rows: usize,
    pub rows: usize,
    pub stated_rows: Option<u64>,
}

impl Table {
    pub fn lines(&self) -> Vec<String> {
        let line = |(field, column): (&Field, &ColumnBuffer)| {
            format!("{}: {}", field.name, cells(column).join(", "))
        };
        self.fields.iter().zip(&self.columns).map(line).collect()
    }
}

pub fn read(path: &str, max_blocks: usize) -> Result<Table> {
    let reader = open_table(path, &OpenOptions::default())?;
    let all = (0..reader.fields().len()).collect();
    read_blocks(reader, all, max_blocks)
}

pub fn read_all(reader: Box<dyn TableReader>) -> Result<Table> {
    let all = (0..reader.fields().len()).collect();
    read_blocks(reader, all, usize::MAX)
}

pub fn read_columns(path: &str, names: &[&str], max_blocks: usize) -> Result<Table> {
    let reader = open_table(path, &OpenOptions::default())?;
    let position = |name: &&str| reader.fields().iter().position(|field| field.name == *name);
    let indices = names.iter().filter_map(position).collect();
    read_blocks(reader, indices, max_blocks)
}

/// Reads some columns, whose buffers must come out of equal length after every block.
fn read_blocks(mut reader: Box<dyn TableReader>, indices: Vec<usize>, max_blocks: usize) -> Result<Table> {
    let empty =
        |&index: &usize| new_buffer(&reader.fields()[index].kind).unwrap_or(ColumnBuffer::Float(Vec::new()));
    let mut columns: Vec<ColumnBuffer> = indices.iter().map(empty).collect();
    let (mut rows, mut block_rows) = (0, 0);
    for block in 0..max_blocks {
        let appended = reader.append_block(&indices, &mut columns)?;
        if block == 0 {
            block_rows = appended;
        }
        if appended == 0 {
            break;
        }
        rows += appended;
        for (column, &index) in columns.iter().zip(&indices) {
            assert_eq!(column.rows(), rows, "{}: column {index}", reader.source());
        }
    }
    let fields = indices.iter().map(|&index| reader.fields()[index].clone()).collect();
    Ok(Table { fields, columns, block_rows, rows, stated_rows: reader.row_count() })
}

fn cells(column: &ColumnBuffer) -> Vec<String> {
    let row = |row: usize| match column {
        ColumnBuffer::Int { nulls, .. } | ColumnBuffer::Bool { nulls, .. } if nulls.contains(&row) => {
            "-".into()
        }
        ColumnBuffer::Int { values, .. } => values[row].to_string(),
        ColumnBuffer::Bool { values, .. } => values[row].to_string(),
        ColumnBuffer::Float(values) => values[row].to_string(),
        ColumnBuffer::Text(text) => text.get(row).unwrap_or("-").to_owned(),
        ColumnBuffer::Vector(matrix) => {
            let values: Vec<String> =
                (0..matrix.cols()).map(|col| matrix.get(row, col).to_string()).collect();
            format!("[{}]", values.join(" "))
        }
    };
    (0..column.rows()).map(row).collect()
}
