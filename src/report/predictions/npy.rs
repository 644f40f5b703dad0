//! npy: one array, labels or probabilities.

use std::io::{Seek, SeekFrom};

use super::sink::Sink;
use super::{ClassValues, Encode, PredictionSchema, RankedBlock};
use crate::{Error, Result};

pub struct NpyEncoder {
    sink: Sink,
    descr: String,
    /// Bytes of each class where labels are written.
    cells: Option<Vec<Vec<u8>>>,
    classes: usize,
    rows: u64,
}

impl NpyEncoder {
    pub fn new(path: &str, schema: &PredictionSchema) -> Result<Self> {
        let no_effect = |flag: &str| Error::NoEffect {
            flag: flag.into(),
            with: "npy, which has no columns".into(),
            help: "write Parquet, CSV or JSON lines instead".into(),
        };
        if schema.top_k > 1 {
            return Err(no_effect("--top-k"));
        }
        if schema.id.is_some() {
            return Err(no_effect("an id column"));
        }
        if !schema.extra.is_empty() {
            return Err(no_effect("--contrib"));
        }
        if schema.with_truth && !schema.full_probabilities {
            return Err(no_effect("a prediction that may be missing"));
        }
        if path == "-" {
            let why = "npy states its number of rows first and cannot be streamed";
            return Err(Error::bad_value("--out", path, why, "name a file, or use --format csv"));
        }
        let (descr, cells) = if schema.full_probabilities {
            ("<f4".to_owned(), None)
        } else {
            let (descr, cells) = label_cells(ClassValues::of(&schema.labels));
            (descr, Some(cells))
        };
        let classes = schema.labels.classes();
        let mut encoder = NpyEncoder { sink: Sink::create(path)?, descr, cells, classes, rows: 0 };
        // The number of rows is put in at the end; the header has the same length for every number.
        let header = encoder.header();
        encoder.sink.put(&header)?;
        Ok(encoder)
    }

    fn header(&self) -> Vec<u8> {
        const ALIGNMENT: usize = 64;
        const FIXED: usize = 6 + 2 + 2; // magic, version, length
        let of = |rows: u64| {
            let shape = match self.cells {
                Some(_) => format!("({rows},)"),
                None => format!("({rows}, {})", self.classes),
            };
            format!("{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}", self.descr)
        };
        let whole = (FIXED + of(u64::MAX).len() + 1).next_multiple_of(ALIGNMENT);
        let length = (whole - FIXED) as u16; // some 150 bytes
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend(length.to_le_bytes());
        header.extend(of(self.rows).as_bytes());
        header.resize(whole - 1, b' ');
        header.push(b'\n');
        header
    }
}

/// Descr and bytes of the classes. Text is numpy's `<U`: UTF-32, as wide as the longest name.
fn label_cells(values: ClassValues) -> (String, Vec<Vec<u8>>) {
    match values {
        ClassValues::Int(values) => {
            ("<i8".into(), values.iter().map(|value| value.to_le_bytes().to_vec()).collect())
        }
        ClassValues::Bool(values) => ("|b1".into(), values.iter().map(|&value| vec![value.into()]).collect()),
        ClassValues::Text(names) => {
            let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(1);
            let cell = |name: &String| {
                let mut bytes: Vec<u8> = name.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
                bytes.resize(4 * longest, 0);
                bytes
            };
            (format!("<U{longest}"), names.iter().map(cell).collect())
        }
    }
}

impl Encode for NpyEncoder {
    fn write(&mut self, block: &RankedBlock<'_>) -> Result<()> {
        self.rows += block.rows() as u64;
        let mut bytes = Vec::new();
        for row in 0..block.rows() {
            bytes.clear();
            match &self.cells {
                Some(cells) => bytes.extend_from_slice(&cells[block.ranked[row] as usize]),
                None if block.is_missing(row) => {
                    bytes.extend(std::iter::repeat_n(f32::NAN.to_le_bytes(), block.classes).flatten());
                }
                None => bytes.extend(block.row_probabilities(row).iter().flat_map(|p| p.to_le_bytes())),
            }
            self.sink.put(&bytes)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let header = self.header();
        self.sink.seek(SeekFrom::Start(0)).map_err(|source| self.sink.failed(source))?;
        self.sink.put(&header)?;
        self.sink.commit()
    }
}
