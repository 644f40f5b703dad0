//! The only matrix type of the core: row-major values with a shape, stored as f32, f16 or bf16, or sparse, in memory or in
//! a file.

use half::{bf16, f16};

use crate::stop::Stop;

mod file;
mod sparse;

pub use file::{FileRows, FileRowsWriter, RowBuffer};
pub use sparse::{SparseRef, SparseRows};

/// Values of a [`Matrix`] in the width they are kept in memory.
#[derive(Debug, Clone, PartialEq)]
pub enum Storage<'a> {
    /// 4 bytes a value.
    F32(Vec<f32>),
    /// IEEE half precision, 2 bytes a value.
    F16(Vec<f16>),
    /// bfloat16, 2 bytes a value.
    Bf16(Vec<bf16>),
    /// f32 with their columns, 8 bytes a value that is not 0.
    Sparse(SparseRows),
    /// Dense rows in a file: all but blocks of them stay out of memory.
    File(FileRows),
    /// Rows that belong to somebody else.
    Lent(MatRef<'a>),
}

/// Width of the stored values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 32-bit float, zeros left out.
    Sparse,
}

impl Dtype {
    /// `"f32"`, `"f16"`, `"bf16"` or `"sparse f32"`.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::Sparse => "sparse f32",
        }
    }

    /// Bytes of a stored value.
    pub fn width(self) -> usize {
        match self {
            Dtype::F32 | Dtype::Sparse => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }
}

/// `rows x cols` values, row-major without gaps.
#[derive(Debug, Clone)]
pub struct Matrix<'a> {
    storage: Storage<'a>,
    cols: usize,
    stop: Stop,
}

/// By the values: who may break off work on them is none of these.
impl PartialEq for Matrix<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cols == other.cols && self.storage == other.storage
    }
}

/// A borrowed run of rows of a [`Matrix`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MatRef<'a> {
    /// `rows * cols` values.
    F32(&'a [f32]),
    /// `rows * cols` values.
    F16(&'a [f16]),
    /// `rows * cols` values.
    Bf16(&'a [bf16]),
    /// The entries of the rows.
    Sparse(SparseRef<'a>),
}

impl MatRef<'_> {
    /// Number of values, where all are stored.
    fn dense_len(self) -> Option<usize> {
        match self {
            MatRef::F32(values) => Some(values.len()),
            MatRef::F16(values) => Some(values.len()),
            MatRef::Bf16(values) => Some(values.len()),
            MatRef::Sparse(_) => None,
        }
    }

    /// Width of the stored values.
    fn dtype(self) -> Dtype {
        match self {
            MatRef::F32(_) => Dtype::F32,
            MatRef::F16(_) => Dtype::F16,
            MatRef::Bf16(_) => Dtype::Bf16,
            MatRef::Sparse(_) => Dtype::Sparse,
        }
    }

    /// A copy of the rows.
    fn to_storage(self, stop: &Stop) -> Storage<'static> {
        match self {
            MatRef::F32(values) => Storage::F32(stop.copied(values, |&x| x)),
            MatRef::F16(values) => Storage::F16(stop.copied(values, |&x| x)),
            MatRef::Bf16(values) => Storage::Bf16(stop.copied(values, |&x| x)),
            MatRef::Sparse(rows) => {
                let mut copy = SparseRows::default();
                copy.append(rows);
                Storage::Sparse(copy)
            }
        }
    }

    /// Calls `visit` with column and value of everything that is stored of a view of one row.
    #[inline]
    pub fn for_each_entry(self, mut visit: impl FnMut(usize, f32)) {
        match self {
            MatRef::F32(values) => values.iter().enumerate().for_each(|(col, &x)| visit(col, x)),
            MatRef::F16(values) => values.iter().enumerate().for_each(|(col, x)| visit(col, x.to_f32())),
            MatRef::Bf16(values) => values.iter().enumerate().for_each(|(col, x)| visit(col, x.to_f32())),
            MatRef::Sparse(row) => {
                let (columns, values) = row.entries();
                columns.iter().zip(values).for_each(|(&col, &x)| visit(col as usize, x));
            }
        }
    }
}

impl<'a> Matrix<'a> {
    /// A matrix over `values` (length a multiple of `cols`; the caller guarantees it).
    pub fn from_f32(values: Vec<f32>, cols: usize) -> Self {
        Self::from_storage(Storage::F32(values), cols)
    }

    /// A matrix over rows that stay where they are.
    ///
    /// # Panics
    /// Those of [`Matrix::from_storage`].
    pub fn lent(rows: MatRef<'a>, cols: usize) -> Self {
        Self::from_storage(Storage::Lent(rows), cols)
    }

    /// The same rows, copied where they were lent.
    pub fn into_owned(self) -> Matrix<'static> {
        let storage = match self.storage {
            Storage::F32(values) => Storage::F32(values),
            Storage::F16(values) => Storage::F16(values),
            Storage::Bf16(values) => Storage::Bf16(values),
            Storage::Sparse(rows) => Storage::Sparse(rows),
            Storage::File(rows) => Storage::File(rows),
            Storage::Lent(rows) => rows.to_storage(&self.stop),
        };
        Matrix { storage, cols: self.cols, stop: self.stop }
    }

    /// The same rows, borrowed where they are in memory.
    pub fn reborrow(&self) -> Matrix<'_> {
        let storage = match &self.storage {
            Storage::File(file) => Storage::File(file.clone()),
            // A file is the only storage that is not in memory.
            _ => Storage::Lent(self.in_memory().unwrap_or(MatRef::F32(&[]))),
        };
        Matrix { storage, cols: self.cols, stop: self.stop.clone() }
    }

    /// A matrix over `storage`.
    ///
    /// # Panics
    /// Where the length of the storage is no multiple of `cols`, or an entry lies beyond them.
    pub fn from_storage(storage: Storage<'a>, cols: usize) -> Self {
        let matrix = Matrix { storage, cols, stop: Stop::default() };
        match matrix.dense_len() {
            Some(len) => assert!(
                len.checked_rem(cols).unwrap_or(len) == 0,
                "matrix length {len} is no multiple of its {cols} columns"
            ),
            None => assert!(matrix.widest() <= cols, "an entry in column {} of {cols}", matrix.widest()),
        }
        matrix
    }

    /// An empty matrix that rows are appended to.
    pub fn empty(dtype: Dtype, cols: usize) -> Self {
        let storage = match dtype {
            Dtype::F32 => Storage::F32(Vec::new()),
            Dtype::F16 => Storage::F16(Vec::new()),
            Dtype::Bf16 => Storage::Bf16(Vec::new()),
            Dtype::Sparse => Storage::Sparse(SparseRows::default()),
        };
        Matrix { storage, cols, stop: Stop::default() }
    }

    /// Number of values, where all are stored.
    fn dense_len(&self) -> Option<usize> {
        match &self.storage {
            Storage::F32(v) => Some(v.len()),
            Storage::F16(v) => Some(v.len()),
            Storage::Bf16(v) => Some(v.len()),
            Storage::File(rows) => Some(rows.len()),
            Storage::Lent(rows) => rows.dense_len(),
            Storage::Sparse(_) => None,
        }
    }

    fn widest(&self) -> usize {
        self.sparse().map_or(self.cols, SparseRef::width)
    }

    /// The rows where they are stored sparse.
    pub fn sparse(&self) -> Option<SparseRef<'_>> {
        match &self.storage {
            Storage::Sparse(rows) => Some(rows.range(0, rows.rows())),
            Storage::Lent(MatRef::Sparse(rows)) => Some(*rows),
            _ => None,
        }
    }

    /// Number of rows (0 where all values are stored and there are no columns).
    pub fn rows(&self) -> usize {
        match self.sparse() {
            Some(rows) => rows.rows(),
            None => self.dense_len().and_then(|len| len.checked_div(self.cols)).unwrap_or(0),
        }
    }

    /// Number of stored values.
    pub fn stored(&self) -> usize {
        match (self.sparse(), self.dense_len()) {
            (Some(rows), _) => rows.len(),
            (_, len) => len.unwrap_or(0),
        }
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Width of the stored values.
    pub fn dtype(&self) -> Dtype {
        match &self.storage {
            Storage::F32(_) => Dtype::F32,
            Storage::F16(_) => Dtype::F16,
            Storage::Bf16(_) => Dtype::Bf16,
            Storage::Sparse(_) => Dtype::Sparse,
            Storage::File(rows) => rows.dtype(),
            Storage::Lent(rows) => rows.dtype(),
        }
    }

    /// The stored values.
    pub fn storage(&self) -> &Storage<'a> {
        &self.storage
    }

    /// The stored values, for filling; the length must stay a multiple of the columns. Rows that were lent are copied.
    pub fn storage_mut(&mut self) -> &mut Storage<'a> {
        if let Storage::Lent(rows) = &self.storage {
            self.storage = rows.to_storage(&self.stop);
        }
        &mut self.storage
    }

    /// Leaves no rows, and the memory for others.
    pub fn clear(&mut self) {
        match &mut self.storage {
            Storage::F32(v) => v.clear(),
            Storage::F16(v) => v.clear(),
            Storage::Bf16(v) => v.clear(),
            Storage::Sparse(rows) => rows.clear(),
            Storage::File(rows) => self.storage = Matrix::empty(rows.dtype(), self.cols).storage,
            Storage::Lent(rows) => self.storage = Matrix::empty(rows.dtype(), self.cols).storage,
        }
    }

    /// All rows in their stored width, where they are in memory.
    pub fn in_memory(&self) -> Option<MatRef<'_>> {
        self.rows_in_memory(0, self.rows())
    }

    /// Rows `start..end` in their stored width, where they are in memory.
    pub fn rows_in_memory(&self, start: usize, end: usize) -> Option<MatRef<'_>> {
        let range = start * self.cols..end * self.cols;
        Some(match &self.storage {
            Storage::F32(v) => MatRef::F32(&v[range]),
            Storage::F16(v) => MatRef::F16(&v[range]),
            Storage::Bf16(v) => MatRef::Bf16(&v[range]),
            Storage::Sparse(rows) => MatRef::Sparse(rows.range(start, end)),
            Storage::Lent(MatRef::F32(v)) => MatRef::F32(&v[range]),
            Storage::Lent(MatRef::F16(v)) => MatRef::F16(&v[range]),
            Storage::Lent(MatRef::Bf16(v)) => MatRef::Bf16(&v[range]),
            Storage::Lent(MatRef::Sparse(rows)) => MatRef::Sparse(rows.range(start, end)),
            Storage::File(_) => return None,
        })
    }

    /// Rows `start..end` in their stored width: borrowed where they are in memory, else read into `buffer`.
    pub fn row_range<'b>(&'b self, start: usize, end: usize, buffer: &'b mut RowBuffer) -> MatRef<'b> {
        match &self.storage {
            Storage::File(rows) => rows.read(start, end, buffer),
            // A file is the only storage that is not in memory.
            _ => self.rows_in_memory(start, end).unwrap_or(MatRef::F32(&[])),
        }
    }

    /// Calls `visit` with the place in `rows` and the values of each of these rows, in their order.
    #[inline]
    pub fn visit_rows(
        &self,
        rows: impl IntoIterator<Item = usize>,
        mut visit: impl FnMut(usize, MatRef<'_>),
    ) {
        let rows = rows.into_iter();
        match &self.storage {
            Storage::File(file) => file.visit(rows, visit),
            _ => rows.enumerate().for_each(|(place, row)| {
                if let Some(values) = self.rows_in_memory(row, row + 1) {
                    visit(place, values);
                }
            }),
        }
    }

    /// All rows as ranges, each to be held in memory at once: one range where they are there already.
    pub fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let rows = self.rows();
        let step = if let Storage::File(file) = &self.storage { file.block_rows() } else { rows.max(1) };
        (0..rows).step_by(step).map(move |start| (start, (start + step).min(rows)))
    }

    /// Changes rows that lie in a file, block by block, all alike; `false`, and nothing done, where they are in memory.
    /// Copies of them stay as they are. What cannot be written [`Matrix::check`] reports.
    pub fn edit_in_file(&mut self, edit: impl Fn(&mut Matrix)) -> bool {
        if !self.is_in_file() {
            return false;
        }
        let Storage::File(file) = std::mem::replace(&mut self.storage, Storage::F32(Vec::new())) else {
            return false;
        };
        *self = file.edited(edit).stopped_by(&self.stop);
        true
    }

    /// Whether the rows lie in a file.
    pub fn is_in_file(&self) -> bool {
        matches!(self.storage, Storage::File(_))
    }

    /// Whether rows in a file could not be read: what was computed of them since is worth nothing.
    pub fn has_failed(&self) -> bool {
        if let Storage::File(file) = &self.storage { file.has_failed() } else { false }
    }

    /// Fails where rows in a file could not be read. To be asked after every pass, which itself takes such rows as 0.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn check(&self) -> crate::Result<()> {
        if let Storage::File(file) = &self.storage { file.check() } else { Ok(()) }
    }

    /// The same rows: work on them ends early once `stop` is set.
    pub(crate) fn stopped_by(self, stop: &Stop) -> Self {
        Matrix { stop: stop.clone(), ..self }
    }

    /// What breaks off work on these rows.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Whether work on these rows was broken off: what was computed of them since is worth nothing.
    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }

    /// One value as f32.
    pub fn get(&self, row: usize, col: usize) -> f32 {
        let at = row * self.cols + col;
        match &self.storage {
            Storage::F32(v) => v[at],
            Storage::F16(v) => v[at].to_f32(),
            Storage::Bf16(v) => v[at].to_f32(),
            Storage::Sparse(rows) => rows.range(row, row + 1).get(0, col),
            Storage::Lent(MatRef::F32(v)) => v[at],
            Storage::Lent(MatRef::F16(v)) => v[at].to_f32(),
            Storage::Lent(MatRef::Bf16(v)) => v[at].to_f32(),
            Storage::Lent(MatRef::Sparse(rows)) => rows.get(row, col),
            Storage::File(file) => {
                let mut found = 0.0;
                file.visit(std::iter::once(row), |_, values| {
                    values.for_each_entry(|at, x| {
                        if at == col {
                            found = x
                        }
                    });
                });
                found
            }
        }
    }

    /// The rows `indices`, in that order, in the same width, in memory.
    pub fn select_rows(&self, indices: &[usize]) -> Matrix<'static> {
        let room = indices.len() * self.cols;
        let mut storage = match self.dtype() {
            Dtype::F32 => Storage::F32(Vec::with_capacity(room)),
            Dtype::F16 => Storage::F16(Vec::with_capacity(room)),
            Dtype::Bf16 => Storage::Bf16(Vec::with_capacity(room)),
            Dtype::Sparse => Storage::Sparse(SparseRows::default()),
        };
        self.visit_rows(indices.iter().copied(), |_, row| match (&mut storage, row) {
            (Storage::F32(into), MatRef::F32(row)) => into.extend_from_slice(row),
            (Storage::F16(into), MatRef::F16(row)) => into.extend_from_slice(row),
            (Storage::Bf16(into), MatRef::Bf16(row)) => into.extend_from_slice(row),
            (Storage::Sparse(into), MatRef::Sparse(row)) => into.append(row),
            _ => {}
        });
        Matrix { storage, cols: self.cols, stop: self.stop.clone() }
    }

    /// Bytes of the rows in memory, 0 where they lie in a file or belong to somebody else.
    pub fn bytes_in_memory(&self) -> u64 {
        match &self.storage {
            Storage::File(_) | Storage::Lent(_) => 0,
            _ => self.bytes(),
        }
    }

    /// Bytes of the stored values, in memory or not, and of the places of sparse ones.
    pub fn bytes(&self) -> u64 {
        match &self.storage {
            Storage::F32(v) => size_of_val(v.as_slice()) as u64,
            Storage::F16(v) => size_of_val(v.as_slice()) as u64,
            Storage::Bf16(v) => size_of_val(v.as_slice()) as u64,
            Storage::Sparse(rows) => rows.range(0, rows.rows()).bytes(),
            Storage::Lent(MatRef::Sparse(rows)) => rows.bytes(),
            Storage::Lent(rows) => (rows.dense_len().unwrap_or(0) * rows.dtype().width()) as u64,
            Storage::File(rows) => rows.len() as u64 * rows.dtype().width() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_selected_in_order_and_width_is_kept() {
        let storage = Storage::F16((0..6).map(|i| f16::from_f32(i as f32)).collect());
        let picked = Matrix::from_storage(storage, 2).select_rows(&[2, 0]);
        assert_eq!((picked.rows(), picked.dtype()), (2, Dtype::F16));
        assert_eq!([picked.get(0, 0), picked.get(1, 1)], [4.0, 1.0]);
    }

    #[test]
    fn sparse_rows_are_those_of_the_dense_matrix() {
        let mut rows = SparseRows::default();
        rows.push(&[0, 2], &[1.0, 3.0]);
        rows.push(&[], &[]);
        let matrix = Matrix::from_storage(Storage::Sparse(rows), 3);
        assert_eq!((matrix.rows(), matrix.dtype(), matrix.stored()), (2, Dtype::Sparse, 2));
        let picked = matrix.select_rows(&[1, 0]);
        let all: Vec<f32> =
            (0..2).flat_map(|row| (0..3).map(move |col| (row, col))).map(|(r, c)| picked.get(r, c)).collect();
        assert_eq!(all, [0.0, 0.0, 0.0, 1.0, 0.0, 3.0]);
    }

    #[test]
    fn no_columns_means_no_rows() {
        assert_eq!(Matrix::empty(Dtype::F32, 0).rows(), 0);
    }
}
