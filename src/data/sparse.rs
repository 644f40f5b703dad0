//! Sparse rows out of dense ones and back, and the columns and values they are kept without.

use rayon::prelude::*;

use crate::matrix::{MatRef, Matrix, SparseRows, Storage};

/// Rows made sparse on their own; their parts are joined in the order of the rows, so threads do not matter.
const CHUNK: usize = 1024;

/// A row being put together: entries in ascending columns, zeros left out.
#[derive(Debug, Default)]
pub(super) struct RowBuilder {
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl RowBuilder {
    /// Adds an entry behind the others; 0 is none.
    #[inline]
    pub(super) fn add(&mut self, column: usize, value: f32) {
        if value != 0.0 {
            self.columns.push(column as u32);
            self.values.push(value);
        }
    }

    /// Adds the values of a one-row view, the first of them in column `offset`.
    pub(super) fn add_row(&mut self, offset: usize, row: MatRef<'_>) {
        row.for_each_entry(|col, x| self.add(offset + col, x));
    }

    /// Appends the row to `rows` and starts the next one.
    pub(super) fn finish(&mut self, rows: &mut SparseRows) {
        rows.push(&self.columns, &self.values);
        self.columns.clear();
        self.values.clear();
    }
}

/// `rows` sparse rows, each put together by `fill`.
pub(super) fn build_rows(rows: usize, fill: impl Fn(usize, &mut RowBuilder) + Sync) -> SparseRows {
    let chunk = |chunk: usize| {
        let (mut part, mut builder) = (SparseRows::default(), RowBuilder::default());
        for row in chunk * CHUNK..rows.min((chunk + 1) * CHUNK) {
            fill(row, &mut builder);
            builder.finish(&mut part);
        }
        part
    };
    let parts: Vec<SparseRows> = (0..rows.div_ceil(CHUNK)).into_par_iter().map(chunk).collect();
    let mut all = SparseRows::default();
    parts.iter().for_each(|part| all.append(part.range(0, part.rows())));
    all
}

/// Makes a matrix sparse.
pub(super) fn make_sparse(matrix: &mut Matrix) {
    if matrix.sparse().is_some() {
        return;
    }
    let rows = build_rows(matrix.rows(), |row, builder| {
        matrix.visit_rows([row], |_, values| builder.add_row(0, values));
    });
    *matrix = Matrix::from_storage(Storage::Sparse(rows), matrix.cols());
}

/// The values of sparse rows with their zeros, row after row.
pub(super) fn dense_values(rows: &SparseRows, cols: usize) -> Vec<f32> {
    let mut values = vec![0.0; rows.rows() * cols];
    values.par_chunks_mut(cols.max(1)).enumerate().for_each(|(row, out)| {
        let (columns, entries) = rows.range(row, row + 1).entries();
        columns.iter().zip(entries).for_each(|(&column, &x)| out[column as usize] = x);
    });
    values
}

/// Makes a sparse matrix `cols` columns wide. Returns the number of entries that lay beyond them and are gone.
pub(super) fn cut_columns(matrix: &mut Matrix, cols: usize) -> u64 {
    let Storage::Sparse(rows) = matrix.storage_mut() else { return 0 };
    let mut rows = std::mem::take(rows);
    let mut dropped = 0;
    if rows.width() > cols {
        let before = rows.entries();
        rows = build_rows(rows.rows(), |row, builder| {
            let (columns, values) = rows.range(row, row + 1).entries();
            let end = columns.partition_point(|&column| (column as usize) < cols);
            columns[..end].iter().zip(values).for_each(|(&column, &x)| builder.add(column as usize, x));
        });
        dropped = (before - rows.entries()) as u64;
    }
    *matrix = Matrix::from_storage(Storage::Sparse(rows), cols);
    dropped
}

/// The same rows, every entry in its place except those of 0.
pub(super) fn without_zeros(rows: &SparseRows) -> SparseRows {
    build_rows(rows.rows(), |row, builder| builder.add_row(0, MatRef::Sparse(rows.range(row, row + 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_rows_become_sparse_and_dense_again() {
        let values: Vec<f32> = (0..3 * 3000).map(|i| if i % 5 == 0 { i as f32 } else { 0.0 }).collect();
        let dense = Matrix::from_f32(values.clone(), 3);
        let mut sparse = dense.clone();
        make_sparse(&mut sparse);
        assert_eq!((sparse.rows(), sparse.stored()), (3000, 1799));
        let Storage::Sparse(rows) = sparse.storage() else { panic!() };
        assert_eq!(dense_values(rows, 3), values);
    }

    #[test]
    fn columns_are_cut_and_counted() {
        let mut matrix = Matrix::from_f32(vec![1.0, f32::NAN, 3.0, 0.0, 0.0, 4.0], 3);
        make_sparse(&mut matrix);
        assert_eq!((cut_columns(&mut matrix, 5), matrix.cols(), matrix.stored()), (0, 5, 4));
        assert_eq!((cut_columns(&mut matrix, 2), matrix.cols(), matrix.stored()), (2, 2, 2));
        assert!(matrix.get(0, 1).is_nan());
    }
}
