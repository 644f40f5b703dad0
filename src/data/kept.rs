//! Rows of features that stay while a source is read: in memory as long as they fit, then in a file.

use crate::matrix::{Dtype, FileRowsWriter, Matrix};
use crate::memory::MemoryLimit;
use crate::{Error, Result};

/// Where rows go that are kept.
#[derive(Debug, Default)]
pub(super) struct KeptRows {
    limit: Option<MemoryLimit>,
    /// Rows that the source says it has.
    expected: Option<u64>,
    file: Option<FileRowsWriter>,
}

impl KeptRows {
    /// For a source of `expected` rows, where it says so.
    pub(super) fn new(limit: Option<&MemoryLimit>, expected: Option<u64>) -> Self {
        KeptRows { limit: limit.cloned(), expected, file: None }
    }

    /// Takes the rows in memory to the file if they are too many; `rows` is then empty.
    pub(super) fn settle(&mut self, file: &str, rows: &mut Matrix) -> Result<()> {
        let Some(limit) = &self.limit else { return Ok(()) };
        if rows.dtype() == Dtype::Sparse {
            let help = "raise --memory-limit: sparse rows stay in memory; or select fewer with --features";
            return limit.check(format!("{file}: its sparse rows"), rows.bytes(), help);
        }
        let held = rows.rows() as u64;
        if held == 0 {
            return Ok(());
        }
        // A source that says how many rows it has need not fill the memory first.
        let row_bytes = rows.bytes() / held;
        let expected = self.expected.unwrap_or(0).saturating_mul(row_bytes).max(rows.bytes());
        let is_first = self.file.is_none();
        if is_first && expected <= limit.for_rows() {
            return Ok(());
        }
        let writer = match self.file.take() {
            Some(writer) if writer.cols() != rows.cols() => {
                let what = format!("vectors of {} values; it has {}", writer.cols(), rows.cols());
                return Err(Error::FilesDiffer { file: file.to_owned(), what });
            }
            Some(writer) if writer.dtype() != rows.dtype() && writer.dtype() != Dtype::F32 => {
                widened(writer, limit)?
            }
            Some(writer) => writer,
            None => {
                limit.check_disk(expected)?;
                FileRowsWriter::create(&limit.folder, rows.dtype(), rows.cols())?
            }
        };
        let writer = self.file.insert(writer);
        writer.append(rows)?;
        if is_first {
            // Their memory was made for all rows.
            *rows = Matrix::empty(rows.dtype(), rows.cols());
        } else {
            rows.clear();
        }
        Ok(())
    }

    /// All rows, of which `rows` are the last.
    pub(super) fn finish(mut self, file: &str, mut rows: Matrix<'static>) -> Result<Matrix<'static>> {
        if self.file.is_some() {
            self.settle(file, &mut rows)?;
        }
        Ok(self.file.map_or(rows, FileRowsWriter::finish))
    }
}

/// The rows so far in f32.
fn widened(writer: FileRowsWriter, limit: &MemoryLimit) -> Result<FileRowsWriter> {
    let narrow = writer.finish();
    let mut wide = FileRowsWriter::create(&limit.folder, Dtype::F32, narrow.cols())?;
    for (start, end) in narrow.blocks() {
        wide.append(&narrow.select_rows(&(start..end).collect::<Vec<_>>()))?;
    }
    narrow.check()?;
    Ok(wide)
}
