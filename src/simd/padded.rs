//! Rows of f32 that start at cache lines and are padded to whole ones.

use super::lines::Lines;
use super::memory::prefer_large_pages;

/// Floats of a cache line; rows are padded to a multiple of it.
pub(super) const LINE: usize = 16;

/// `rows x columns` values, each row padded to a multiple of 16 values, so that kernels need no masks and no load
/// straddles two cache lines.
#[derive(Debug, Clone, Default)]
pub struct PaddedRows {
    lines: Lines,
    rows: usize,
    columns: usize,
}

impl PaddedRows {
    /// All values, padding included, are `value`.
    pub fn filled(rows: usize, columns: usize, value: f32) -> Self {
        let stride = columns.div_ceil(LINE) * LINE;
        let mut lines = Lines::default();
        prefer_large_pages(lines.reserve(rows * stride));
        lines.resize(rows * stride);
        if value != 0.0 {
            lines.values_mut().fill(value);
        }
        PaddedRows { lines, rows, columns }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a row without its padding.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Distance between rows, a multiple of 16.
    pub fn stride(&self) -> usize {
        self.columns.div_ceil(LINE) * LINE
    }

    /// All values, rows x stride.
    pub fn values(&self) -> &[f32] {
        self.lines.values()
    }

    /// All values, rows x stride, for writing.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.lines.values_mut()
    }

    /// One row without its padding.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.stride()..][..self.columns]
    }

    /// One row without its padding, for writing.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let (stride, columns) = (self.stride(), self.columns);
        &mut self.values_mut()[row * stride..][..columns]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_start_at_cache_lines_and_keep_their_padding() {
        let mut rows = PaddedRows::filled(3, 17, -2.0);
        assert_eq!((rows.rows(), rows.columns(), rows.stride()), (3, 17, 32));
        assert_eq!(rows.values().as_ptr().align_offset(64), 0);
        rows.row_mut(1).fill(5.0);
        assert_eq!(rows.row(1), [5.0; 17]);
        assert_eq!(rows.values()[32 + 17..64], [-2.0; 15]);
        assert!(PaddedRows::filled(0, 4, 1.0).values().is_empty());
    }
}
