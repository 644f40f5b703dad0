//! Counting missing and infinite feature values, with the place of the first.

use half::{bf16, f16};
use rayon::prelude::*;

use crate::matrix::{MatRef, Matrix, RowBuffer, SparseRef};
use crate::{Error, Result};

/// Values looked at by one thread at a time.
const CHUNK: usize = 1 << 16;

/// Values of the rows that are checked together.
const CHECKED: usize = 1 << 24;

/// Refuses infinite values, and missing ones where these are an error; of rows that are stopped, only those seen by then.
/// Columns go by their numbers. Returns how many values are missing.
///
/// # Errors
/// [`Error::NotFinite`].
pub(crate) fn check_finite(features: &Matrix, missing_is_error: bool) -> Result<u64> {
    let (mut check, mut buffer) = (ValueCheck::default(), RowBuffer::default());
    let most = CHECKED / (features.stored() / features.rows().max(1)).max(1) + 1;
    let pieces = |(start, end): (usize, usize)| {
        (start..end).step_by(most).map(move |first| (first, (first + most).min(end)))
    };
    for (start, end) in features.blocks().flat_map(pieces) {
        if features.is_stopped() {
            break;
        }
        let origin = Origin { file: "features", first_row: start as u64, kept: None };
        let block = features.row_range(start, end, &mut buffer);
        check.scan_block(&origin, block, features.cols(), |column| column.to_string());
    }
    check.result(missing_is_error)?;
    Ok(check.missing())
}

/// Where rows of a block come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) file: &'a str,
    /// Rows of the file before the block.
    pub(super) first_row: u64,
    /// Places in the block of the rows that were kept, where some were dropped.
    pub(super) kept: Option<&'a [usize]>,
}

impl Origin<'_> {
    /// The number of a kept row in its file, from 1.
    pub(super) fn row(&self, row: usize) -> u64 {
        self.first_row + self.kept.map_or(row, |kept| kept[row]) as u64 + 1
    }
}

#[derive(Debug, Default)]
struct Tally {
    count: u64,
    first: Option<(String, u64, String)>,
}

impl Tally {
    fn add(&mut self, origin: &Origin<'_>, row: usize, column: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(|| (origin.file.to_owned(), origin.row(row), column()));
    }

    fn error(&self, kind: &'static str, cells: u64) -> Result<()> {
        match &self.first {
            None => Ok(()),
            Some((file, row, column)) => Err(Error::NotFinite {
                file: file.clone(),
                kind,
                count: self.count,
                cells,
                row: *row,
                column: column.clone(),
            }),
        }
    }
}

/// Missing and infinite values seen so far.
#[derive(Debug, Default)]
pub(super) struct ValueCheck {
    cells: u64,
    missing: Tally,
    infinite: Tally,
    /// Which columns of a scan hold codes; none where it is shorter.
    codes: Vec<bool>,
}

impl ValueCheck {
    /// A check that looks past columns of codes: their NaN is an unknown level as well as a missing one, so that
    /// [`ValueCheck::add_text`] has to count what is missing.
    pub(super) fn past_codes(codes: Vec<bool>) -> Self {
        ValueCheck { codes, ..ValueCheck::default() }
    }

    /// Looks at rows `start..` of `features`; `name` gives the name of a column.
    pub(super) fn scan(
        &mut self,
        origin: &Origin<'_>,
        features: &Matrix,
        start: usize,
        name: impl Fn(usize) -> String,
    ) {
        let mut buffer = RowBuffer::default();
        let block = features.row_range(start, features.rows(), &mut buffer);
        self.scan_block(origin, block, features.cols(), name);
    }

    fn scan_block(
        &mut self,
        origin: &Origin<'_>,
        block: MatRef<'_>,
        cols: usize,
        name: impl Fn(usize) -> String,
    ) {
        match block {
            MatRef::F32(values) => self.scan_values(origin, values, cols, name),
            MatRef::F16(values) => self.scan_values(origin, values, cols, name),
            MatRef::Bf16(values) => self.scan_values(origin, values, cols, name),
            MatRef::Sparse(rows) => self.scan_sparse(origin, rows, cols, name),
        }
    }

    /// As [`ValueCheck::scan`], over rows of `cols` values.
    pub(super) fn scan_values<T: FloatBits>(
        &mut self,
        origin: &Origin<'_>,
        values: &[T],
        cols: usize,
        name: impl Fn(usize) -> String,
    ) {
        self.count_cells(values.len() / cols.max(1), cols);
        if !values.par_chunks(CHUNK).any(has_special) {
            return;
        }
        for (row, values) in values.chunks_exact(cols.max(1)).enumerate() {
            if !has_special(values) {
                continue;
            }
            for (col, value) in values.iter().enumerate().filter(|(_, value)| value.is_special()) {
                self.add(*value, origin, row, col, &name);
            }
        }
    }

    /// Values without an entry are 0 and count as cells.
    fn scan_sparse(
        &mut self,
        origin: &Origin<'_>,
        rows: SparseRef<'_>,
        cols: usize,
        name: impl Fn(usize) -> String,
    ) {
        self.count_cells(rows.rows(), cols);
        if !rows.entries().1.par_chunks(CHUNK).any(has_special) {
            return;
        }
        for (row, (columns, values)) in rows.iter().enumerate() {
            for (&col, value) in columns.iter().zip(values).filter(|(_, value)| value.is_special()) {
                self.add(*value, origin, row, col as usize, &name);
            }
        }
    }

    fn count_cells(&mut self, rows: usize, cols: usize) {
        let codes = self.codes.iter().filter(|&&is_code| is_code).count();
        let cols = cols.saturating_sub(codes);
        self.cells = self.cells.saturating_add((rows as u64).saturating_mul(cols as u64));
    }

    fn add<T: FloatBits>(
        &mut self,
        special: T,
        origin: &Origin<'_>,
        row: usize,
        col: usize,
        name: impl Fn(usize) -> String,
    ) {
        if self.codes.get(col) == Some(&true) {
            return;
        }
        let tally = if special.is_missing() { &mut self.missing } else { &mut self.infinite };
        tally.add(origin, row, || name(col));
    }

    /// Counts cells of a text column, some of which are missing.
    pub(super) fn add_text(
        &mut self,
        origin: &Origin<'_>,
        column: &str,
        cells: usize,
        missing: impl Iterator<Item = usize>,
    ) {
        self.cells += cells as u64;
        missing.for_each(|row| self.missing.add(origin, row, || column.to_owned()));
    }

    /// Number of missing values.
    pub(super) fn missing(&self) -> u64 {
        self.missing.count
    }

    /// Fails for missing values where these are an error, and for infinite ones always.
    pub(super) fn result(&self, missing_is_error: bool) -> Result<()> {
        if missing_is_error {
            self.missing.error("missing", self.cells)?;
        }
        self.infinite.error("infinite", self.cells)
    }
}

/// Without branches, so that the usual block is checked at the speed of memory.
fn has_special<T: FloatBits>(values: &[T]) -> bool {
    values.iter().fold(false, |any, x| any | x.is_special())
}

/// What the bits of a stored float tell.
pub(super) trait FloatBits: Copy + Sync {
    /// NaN or infinite.
    fn is_special(&self) -> bool;
    /// NaN.
    fn is_missing(&self) -> bool;
}

impl FloatBits for f32 {
    fn is_special(&self) -> bool {
        self.to_bits() & 0x7f80_0000 == 0x7f80_0000
    }
    fn is_missing(&self) -> bool {
        self.is_nan()
    }
}

impl FloatBits for f16 {
    fn is_special(&self) -> bool {
        self.to_bits() & 0x7c00 == 0x7c00
    }
    fn is_missing(&self) -> bool {
        self.is_nan()
    }
}

impl FloatBits for bf16 {
    fn is_special(&self) -> bool {
        self.to_bits() & 0x7f80 == 0x7f80
    }
    fn is_missing(&self) -> bool {
        self.is_nan()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Storage;

    #[test]
    fn the_first_value_of_each_sort_is_placed() {
        let half = [1.0, f32::NAN, 2.0, f32::NEG_INFINITY, f32::NAN, 3.0].map(f16::from_f32).to_vec();
        let matrix = Matrix::from_storage(Storage::F16(half), 2);
        let mut check = ValueCheck::default();
        let kept = [0, 4, 5];
        let origin = Origin { file: "t", first_row: 10, kept: Some(&kept) };
        check.scan(&origin, &matrix, 0, |col| format!("v[{col}]"));
        let missing = check.result(true).unwrap_err().to_string();
        assert_eq!(missing, "t: 2 missing feature values (33.33 %), first in row 11, column v[1]");
        let infinite = check.result(false).unwrap_err().to_string();
        assert_eq!(infinite, "t: 1 infinite feature values (16.67 %), first in row 15, column v[1]");
    }

    #[test]
    fn codes_are_looked_past() {
        let dense = Matrix::from_f32(vec![f32::NAN, 1.0, 0.0, f32::NAN], 2);
        let mut sparse = dense.clone();
        super::super::sparse::make_sparse(&mut sparse);
        let origin = Origin { file: "t", first_row: 0, kept: None };
        for matrix in [&dense, &sparse] {
            let mut check = ValueCheck::past_codes(vec![true, false]);
            check.scan(&origin, matrix, 0, |col| format!("v[{col}]"));
            check.add_text(&origin, "c", 2, [1].into_iter());
            let missing = check.result(true).unwrap_err().to_string();
            assert_eq!(missing, "t: 2 missing feature values (50.00 %), first in row 2, column v[1]");
        }
    }

    #[test]
    fn sparse_rows_are_counted_with_their_zeros() {
        let mut rows = crate::matrix::SparseRows::default();
        rows.push(&[0], &[f32::NAN]);
        rows.push(&[], &[]);
        rows.push(&[1, 7], &[1.0, f32::INFINITY]);
        let matrix = Matrix::from_storage(Storage::Sparse(rows), 10);
        let mut check = ValueCheck::default();
        let origin = Origin { file: "t", first_row: 10, kept: None };
        check.scan(&origin, &matrix, 1, |col| format!("v[{col}]"));
        assert_eq!(check.missing(), 0);
        let infinite = check.result(true).unwrap_err().to_string();
        assert_eq!(infinite, "t: 1 infinite feature values (5.00 %), first in row 12, column v[7]");
    }
}
