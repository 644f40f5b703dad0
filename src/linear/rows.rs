//! Rows of a feature matrix as f32 blocks, the form in which kernels take them.

use crate::matrix::{MatRef, Matrix, Storage};
use crate::simd::Kernels;

/// All rows of a matrix, or a chosen list of them, without a copy of the matrix.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    matrix: &'a Matrix,
    index: Option<&'a [usize]>,
}

impl<'a> Rows<'a> {
    /// Every row of `matrix`.
    pub fn all(matrix: &'a Matrix) -> Self {
        Rows { matrix, index: None }
    }

    /// The rows `index` (each below `matrix.rows()`), in that order.
    pub fn chosen(matrix: &'a Matrix, index: &'a [usize]) -> Self {
        Rows { matrix, index: Some(index) }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.index.map_or(self.matrix.rows(), <[usize]>::len)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of features D.
    pub fn features(&self) -> usize {
        self.matrix.cols()
    }

    /// Rows `start..end` of this view as `(end - start) x D` f32 values: borrowed where they lie so in memory,
    /// otherwise gathered and widened into `buffer`.
    pub fn block<'b>(
        &self,
        kernels: &Kernels,
        start: usize,
        end: usize,
        buffer: &'b mut Vec<f32>,
    ) -> &'b [f32]
    where
        'a: 'b,
    {
        match self.index {
            None => match self.matrix.row_range(start, end) {
                MatRef::F32(values) => values,
                narrow => {
                    buffer.resize((end - start) * self.features(), 0.0);
                    widen(kernels, narrow, buffer);
                    buffer
                }
            },
            Some(index) => {
                self.gather(kernels, &index[start..end], buffer);
                buffer
            }
        }
    }

    /// The rows at `positions` of this view, in that order, as `positions.len() x D` f32 values in `out`.
    pub fn gather_into(&self, kernels: &Kernels, positions: &[usize], out: &mut [f32]) {
        for (&position, row) in positions.iter().zip(out.chunks_exact_mut(self.features())) {
            self.copy_row(kernels, self.index.map_or(position, |index| index[position]), row);
        }
    }

    fn gather(&self, kernels: &Kernels, matrix_rows: &[usize], buffer: &mut Vec<f32>) {
        let features = self.features();
        buffer.resize(matrix_rows.len() * features, 0.0);
        for (&row, out) in matrix_rows.iter().zip(buffer.chunks_exact_mut(features)) {
            self.copy_row(kernels, row, out);
        }
    }

    fn copy_row(&self, kernels: &Kernels, row: usize, out: &mut [f32]) {
        match self.matrix.row_range(row, row + 1) {
            MatRef::F32(values) => out.copy_from_slice(values),
            narrow => widen(kernels, narrow, out),
        }
    }

    /// Whether the values are stored as f32.
    pub fn is_f32(&self) -> bool {
        matches!(self.matrix.storage(), Storage::F32(_))
    }
}

fn widen(kernels: &Kernels, values: MatRef<'_>, out: &mut [f32]) {
    match values {
        MatRef::F32(values) => out.copy_from_slice(values),
        MatRef::F16(values) => kernels.widen_f16(values, out),
        MatRef::Bf16(values) => kernels.widen_bf16(values, out),
    }
}
