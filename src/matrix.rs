//! The only matrix type of the core: row-major values with a shape, stored as f32, f16 or bf16.

use half::{bf16, f16};

/// Values of a [`Matrix`] in the width they are kept in memory.
#[derive(Debug, Clone, PartialEq)]
pub enum Storage {
    /// 4 bytes a value.
    F32(Vec<f32>),
    /// IEEE half precision, 2 bytes a value.
    F16(Vec<f16>),
    /// bfloat16, 2 bytes a value.
    Bf16(Vec<bf16>),
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
}

impl Dtype {
    /// `"f32"`, `"f16"` or `"bf16"`.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        }
    }

    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        if self == Dtype::F32 { 4 } else { 2 }
    }
}

/// `rows x cols` values, row-major without gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    storage: Storage,
    cols: usize,
}

/// A borrowed run of rows of a [`Matrix`].
#[derive(Debug, Clone, Copy)]
pub enum MatRef<'a> {
    /// `rows * cols` values.
    F32(&'a [f32]),
    /// `rows * cols` values.
    F16(&'a [f16]),
    /// `rows * cols` values.
    Bf16(&'a [bf16]),
}

impl Matrix {
    /// A matrix over `values` (length a multiple of `cols`; the caller guarantees it).
    pub fn from_f32(values: Vec<f32>, cols: usize) -> Self {
        Self::from_storage(Storage::F32(values), cols)
    }

    /// A matrix over `storage`, whose length must be a multiple of `cols`.
    pub fn from_storage(storage: Storage, cols: usize) -> Self {
        let matrix = Matrix { storage, cols };
        assert!(
            matrix.len().checked_rem(cols).unwrap_or(matrix.len()) == 0,
            "matrix length {} is no multiple of its {cols} columns",
            matrix.len()
        );
        matrix
    }

    /// An empty matrix that rows are appended to.
    pub fn empty(dtype: Dtype, cols: usize) -> Self {
        let storage = match dtype {
            Dtype::F32 => Storage::F32(Vec::new()),
            Dtype::F16 => Storage::F16(Vec::new()),
            Dtype::Bf16 => Storage::Bf16(Vec::new()),
        };
        Matrix { storage, cols }
    }

    fn len(&self) -> usize {
        match &self.storage {
            Storage::F32(v) => v.len(),
            Storage::F16(v) => v.len(),
            Storage::Bf16(v) => v.len(),
        }
    }

    /// Number of rows (0 where there are no columns).
    pub fn rows(&self) -> usize {
        self.len().checked_div(self.cols).unwrap_or(0)
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Width of the stored values.
    pub fn dtype(&self) -> Dtype {
        match self.storage {
            Storage::F32(_) => Dtype::F32,
            Storage::F16(_) => Dtype::F16,
            Storage::Bf16(_) => Dtype::Bf16,
        }
    }

    /// The stored values.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The stored values, for filling; the length must stay a multiple of the columns.
    pub fn storage_mut(&mut self) -> &mut Storage {
        &mut self.storage
    }

    /// Rows `start..end` in their stored width.
    pub fn row_range(&self, start: usize, end: usize) -> MatRef<'_> {
        let range = start * self.cols..end * self.cols;
        match &self.storage {
            Storage::F32(v) => MatRef::F32(&v[range]),
            Storage::F16(v) => MatRef::F16(&v[range]),
            Storage::Bf16(v) => MatRef::Bf16(&v[range]),
        }
    }

    /// One value as f32.
    pub fn get(&self, row: usize, col: usize) -> f32 {
        let at = row * self.cols + col;
        match &self.storage {
            Storage::F32(v) => v[at],
            Storage::F16(v) => v[at].to_f32(),
            Storage::Bf16(v) => v[at].to_f32(),
        }
    }

    /// The rows `indices`, in that order, in the same width.
    pub fn select_rows(&self, indices: &[usize]) -> Matrix {
        fn gather<T: Copy>(values: &[T], cols: usize, indices: &[usize]) -> Vec<T> {
            let mut out = Vec::with_capacity(indices.len() * cols);
            for &row in indices {
                out.extend_from_slice(&values[row * cols..(row + 1) * cols]);
            }
            out
        }
        let storage = match &self.storage {
            Storage::F32(v) => Storage::F32(gather(v, self.cols, indices)),
            Storage::F16(v) => Storage::F16(gather(v, self.cols, indices)),
            Storage::Bf16(v) => Storage::Bf16(gather(v, self.cols, indices)),
        };
        Matrix { storage, cols: self.cols }
    }

    /// Bytes of the stored values.
    pub fn bytes(&self) -> u64 {
        self.len() as u64 * self.dtype().bytes() as u64
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
    fn no_columns_means_no_rows() {
        assert_eq!(Matrix::empty(Dtype::F32, 0).rows(), 0);
    }
}
