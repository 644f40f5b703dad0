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
            return check_sparse(limit, file, rows.bytes());
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
                widened(writer, limit, expected / row_bytes.max(1))?
            }
            Some(writer) => writer,
            None => {
                let expected = expected / row_bytes.max(1);
                FileRowsWriter::create(&limit.folder, rows.dtype(), rows.cols(), expected)?
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

/// Takes dense rows in memory to a file where they, and the `more` bytes that are to be made of them, exceed what rows may
/// take. Sparse ones are refused there: `file` is what they are called.
pub(super) fn make_room(
    limit: Option<&MemoryLimit>,
    file: &str,
    rows: &mut Matrix<'static>,
    more: u64,
) -> Result<()> {
    let Some(limit) = limit.filter(|_| !rows.is_in_file()) else { return Ok(()) };
    let need = rows.bytes().saturating_add(more);
    if rows.dtype() == Dtype::Sparse {
        return check_sparse(limit, file, need);
    }
    if need > limit.for_rows() {
        let count = rows.rows() as u64;
        let mut writer = FileRowsWriter::create(&limit.folder, rows.dtype(), rows.cols(), count)?;
        writer.append(rows)?;
        *rows = writer.finish();
    }
    Ok(())
}

fn check_sparse(limit: &MemoryLimit, file: &str, need: u64) -> Result<()> {
    let help = "raise --memory-limit: sparse rows stay in memory; or select fewer with --features";
    limit.check(format!("{file}: its sparse rows"), need.saturating_add(limit.held), help)
}

/// The rows so far in f32, in a file for `rows` of them.
fn widened(writer: FileRowsWriter, limit: &MemoryLimit, rows: u64) -> Result<FileRowsWriter> {
    let narrow = writer.finish();
    let rows = rows.max(narrow.rows() as u64);
    let mut wide = FileRowsWriter::create(&limit.folder, Dtype::F32, narrow.cols(), rows)?;
    for (start, end) in narrow.blocks() {
        wide.append(&narrow.select_rows(&(start..end).collect::<Vec<_>>()))?;
    }
    narrow.check()?;
    Ok(wide)
}
