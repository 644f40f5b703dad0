//! Rows of a feature matrix as f32 blocks, the form in which kernels take them.

use crate::matrix::{Dtype, MatRef, Matrix, RowBuffer, SparseRef, SparseRows};
use crate::simd::Kernels;
use crate::stop::Stop;

/// All rows of a matrix, or a chosen list of them, without a copy of the matrix.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    matrix: &'a Matrix<'a>,
    index: Option<&'a [usize]>,
}

impl<'a> Rows<'a> {
    /// Every row of `matrix`.
    pub fn all(matrix: &'a Matrix<'a>) -> Self {
        Rows { matrix, index: None }
    }

    /// The rows `index` (each below `matrix.rows()`), in that order.
    pub fn chosen(matrix: &'a Matrix<'a>, index: &'a [usize]) -> Self {
        Rows { matrix, index: Some(index) }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.index.map_or(self.matrix.rows(), <[usize]>::len)
    }

    /// Whether it is every row of the matrix, in its order.
    pub fn is_whole(&self) -> bool {
        self.index.is_none()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of features D.
    pub fn features(&self) -> usize {
        self.matrix.cols()
    }

    /// Whether only values other than 0 are stored.
    pub fn is_sparse(&self) -> bool {
        self.matrix.dtype() == Dtype::Sparse
    }

    /// Stored values a row, on average over the matrix.
    pub fn entries_a_row(&self) -> f64 {
        self.matrix.stored() as f64 / self.matrix.rows().max(1) as f64
    }

    /// The matrix that this is a view of.
    pub fn matrix(&self) -> &'a Matrix<'a> {
        self.matrix
    }

    /// What breaks off work on these rows.
    pub(crate) fn stop(&self) -> &'a Stop {
        self.matrix.stop()
    }

    /// Whether work on these rows was broken off: what was computed of them since is worth nothing.
    pub(crate) fn is_stopped(&self) -> bool {
        self.matrix.is_stopped()
    }

    /// The row of the matrix at `position` of this view.
    pub fn matrix_row(&self, position: usize) -> usize {
        self.index.map_or(position, |index| index[position])
    }

    /// The values at `position` of this view, as they are stored: borrowed where they are in memory, else read into
    /// `buffer`.
    pub fn values<'b>(&self, position: usize, buffer: &'b mut RowBuffer) -> MatRef<'b>
    where
        'a: 'b,
    {
        let row = self.matrix_row(position);
        self.matrix.row_range(row, row + 1, buffer)
    }

    /// Calls `visit` with the place in `positions` and the values, as they are stored, of each of these rows.
    pub fn visit(&self, positions: impl IntoIterator<Item = usize>, visit: impl FnMut(usize, MatRef<'_>)) {
        self.matrix.visit_rows(positions.into_iter().map(|position| self.matrix_row(position)), visit);
    }

    /// Rows `start..end` of this view minus `centre` (D values), as `(end - start) x D` f32 values: borrowed where they
    /// lie so in memory, otherwise gathered, widened and centred in `buffer`.
    pub fn block<'b>(
        &self,
        kernels: &Kernels,
        centre: Option<&[f32]>,
        start: usize,
        end: usize,
        buffer: &'b mut Vec<f32>,
    ) -> &'b [f32]
    where
        'a: 'b,
    {
        if centre.is_none()
            && self.index.is_none()
            && let Some(MatRef::F32(values)) = self.matrix.rows_in_memory(start, end)
        {
            return values;
        }
        buffer.resize((end - start) * self.features(), 0.0);
        self.copy_block(kernels, centre, start, buffer);
        buffer
    }

    /// Rows `start..end` of a sparse view, borrowed where they lie together, else gathered in `buffer`.
    pub fn sparse_block<'b>(&self, start: usize, end: usize, buffer: &'b mut SparseRows) -> SparseRef<'b>
    where
        'a: 'b,
    {
        if self.index.is_none()
            && let Some(MatRef::Sparse(rows)) = self.matrix.rows_in_memory(start, end)
        {
            return rows;
        }
        self.gather_sparse(start..end, buffer)
    }

    /// The rows of a sparse view at `positions`, in that order, in `buffer`.
    pub fn gather_sparse<'b>(
        &self,
        positions: impl Iterator<Item = usize>,
        buffer: &'b mut SparseRows,
    ) -> SparseRef<'b> {
        buffer.clear();
        self.visit(positions, |_, row| {
            if let MatRef::Sparse(row) = row {
                buffer.append(row);
            }
        });
        buffer.range(0, buffer.rows())
    }

    /// The rows from `start` on minus `centre` (D values) into `out`, as many as it has room for.
    pub fn copy_block(&self, kernels: &Kernels, centre: Option<&[f32]>, start: usize, out: &mut [f32]) {
        let rows = out.len() / self.features().max(1);
        self.copy_rows(kernels, centre, start..start + rows, out);
    }

    /// The rows at `positions` of this view minus `centre` (D values), in that order, as `positions.len() x D` f32 values
    /// in `out`.
    pub fn gather_into(
        &self,
        kernels: &Kernels,
        centre: Option<&[f32]>,
        positions: &[usize],
        out: &mut [f32],
    ) {
        self.copy_rows(kernels, centre, positions.iter().copied(), out);
    }

    /// As [`Rows::visit`], of dense rows minus `centre` as f32 values, each written to `row` (D values).
    pub fn visit_wide(
        &self,
        kernels: &Kernels,
        centre: Option<&[f32]>,
        positions: impl IntoIterator<Item = usize>,
        row: &mut [f32],
        mut visit: impl FnMut(usize, &[f32]),
    ) {
        self.visit(positions, |at, values| {
            copy_row(kernels, centre, values, row);
            visit(at, row);
        });
    }

    fn copy_rows(
        &self,
        kernels: &Kernels,
        centre: Option<&[f32]>,
        positions: impl Iterator<Item = usize>,
        out: &mut [f32],
    ) {
        let mut out = out.chunks_exact_mut(self.features().max(1));
        self.visit(positions, |_, values| {
            if let Some(out) = out.next() {
                copy_row(kernels, centre, values, out);
            }
        });
    }
}

fn copy_row(kernels: &Kernels, centre: Option<&[f32]>, values: MatRef<'_>, out: &mut [f32]) {
    match values {
        MatRef::F32(values) => match centre {
            Some(centre) => kernels.minus(values, centre, out),
            None => out.copy_from_slice(values),
        },
        MatRef::F16(values) => match centre {
            Some(centre) => kernels.widen_f16_minus(values, centre, out),
            None => kernels.widen_f16(values, out),
        },
        MatRef::Bf16(values) => {
            kernels.widen_bf16(values, out);
            if let Some(centre) = centre {
                kernels.axpy(-1.0, centre, out);
            }
        }
        MatRef::Sparse(row) => {
            match centre {
                Some(centre) => out.iter_mut().zip(centre).for_each(|(out, centre)| *out = -centre),
                None => out.fill(0.0),
            }
            let (columns, values) = row.entries();
            columns.iter().zip(values).for_each(|(&column, value)| out[column as usize] += value);
        }
    }
}
