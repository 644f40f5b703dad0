//! Appends vectors of one length to a matrix, whatever file format they come from.

use half::f16;

use crate::matrix::{Matrix, Storage};
use crate::{Error, Result};

/// Values a null row may expand to in all, however small the file: null rows cost a file nothing.
const MAX_NULL_VALUES: usize = 1 << 26;

/// A width vector columns are read in.
pub(crate) trait Element: Copy {
    /// A missing element.
    const NAN: Self;
    /// The values of a matrix of this width, which is left empty.
    fn take(matrix: &mut Matrix) -> Option<Vec<Self>>;
    /// The values as storage of a matrix.
    fn store(values: Vec<Self>) -> Storage<'static>;
}

impl Element for f32 {
    const NAN: Self = f32::NAN;
    fn take(matrix: &mut Matrix) -> Option<Vec<Self>> {
        match matrix.storage_mut() {
            Storage::F32(values) => Some(std::mem::take(values)),
            _ => None,
        }
    }
    fn store(values: Vec<Self>) -> Storage<'static> {
        Storage::F32(values)
    }
}

impl Element for f16 {
    const NAN: Self = f16::NAN;
    fn take(matrix: &mut Matrix) -> Option<Vec<Self>> {
        match matrix.storage_mut() {
            Storage::F16(values) => Some(std::mem::take(values)),
            _ => None,
        }
    }
    fn store(values: Vec<Self>) -> Storage<'static> {
        Storage::F16(values)
    }
}

/// What is known of a vector column between two blocks.
#[derive(Debug, Clone, Default)]
pub(crate) struct VectorState {
    /// Numbers in each vector, once the first one was seen.
    pub(crate) len: Option<usize>,
    /// Null rows before the first vector: they become NaN rows when its length is known.
    pub(crate) leading_nulls: usize,
}

/// Rows being appended to the matrix of one vector column.
pub(crate) struct VectorRows<'a, T> {
    file: &'a str,
    column: &'a str,
    /// Elements; those of a row stand here before [`VectorRows::close_row`] counts it.
    pub(crate) values: Vec<T>,
    state: &'a mut VectorState,
    rows_before: u64,
    rows: usize,
    null_values: usize,
}

impl<'a, T: Element> VectorRows<'a, T> {
    /// Continues `matrix`; `rows_before` rows of the file were read before this block.
    pub(crate) fn start(
        file: &'a str,
        column: &'a str,
        matrix: &mut Matrix,
        state: &'a mut VectorState,
        rows_before: u64,
    ) -> Result<Self> {
        let Some(values) = T::take(matrix) else {
            return Err(unusable(file, column, format!("vectors kept as {}", matrix.dtype().name())));
        };
        Ok(VectorRows { file, column, values, state, rows_before, rows: 0, null_values: 0 })
    }

    /// Number of elements of a vector, once known.
    pub(crate) fn len(&self) -> Option<usize> {
        self.state.len
    }

    /// Rows closed so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Ends a row of `found` elements; the first row sets the length of all.
    #[inline]
    pub(crate) fn close_row(&mut self, found: usize) -> Result<()> {
        self.rows += 1;
        if self.state.len == Some(found) { Ok(()) } else { self.settle_length(found) }
    }

    #[cold]
    fn settle_length(&mut self, found: usize) -> Result<()> {
        if let Some(expected) = self.state.len {
            return Err(Error::RaggedVector {
                file: self.file.to_owned(),
                column: self.column.to_owned(),
                row: self.rows_before + self.rows as u64,
                expected,
                found,
            });
        }
        if found == 0 {
            return Err(unusable(self.file, self.column, "vectors of length 0".into()));
        }
        self.state.len = Some(found);
        let leading = std::mem::take(&mut self.state.leading_nulls);
        let missing = self.claim_nulls(leading, found)?;
        self.values.splice(0..0, std::iter::repeat_n(T::NAN, missing));
        Ok(())
    }

    /// Appends a row without a vector: NaN throughout.
    pub(crate) fn null_row(&mut self) -> Result<()> {
        self.rows += 1;
        match self.state.len {
            None => self.state.leading_nulls += 1,
            Some(len) => {
                self.claim_nulls(1, len)?;
                self.values.extend(std::iter::repeat_n(T::NAN, len));
            }
        }
        Ok(())
    }

    fn claim_nulls(&mut self, rows: usize, len: usize) -> Result<usize> {
        let added = rows.saturating_mul(len);
        self.null_values = self.null_values.saturating_add(added);
        if self.null_values > MAX_NULL_VALUES.max(self.values.len()) {
            return Err(Error::TooLarge {
                what: format!("{}: column {:?}, mostly null vectors,", self.file, self.column),
                need: (self.null_values as u64).saturating_mul(size_of::<T>() as u64),
                limit: (MAX_NULL_VALUES * size_of::<T>()) as u64,
            });
        }
        Ok(added)
    }

    /// Puts the rows into `matrix`; it stays empty while no vector was seen.
    pub(crate) fn finish(self, matrix: &mut Matrix) {
        if let Some(len) = self.state.len {
            *matrix = Matrix::from_storage(T::store(self.values), len);
        }
    }
}

/// A column that cannot be read as numbers of a vector.
pub(crate) fn unusable(file: &str, column: &str, kind: String) -> Error {
    Error::UnsupportedType { file: file.to_owned(), column: column.to_owned(), kind, role: "features" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Dtype;

    #[test]
    fn null_rows_before_the_first_vector_become_nan_rows_of_its_length() {
        let mut matrix = Matrix::empty(Dtype::F32, 0);
        let mut state = VectorState::default();
        let mut rows = VectorRows::<f32>::start("f", "v", &mut matrix, &mut state, 0).unwrap();
        rows.null_row().unwrap();
        rows.values.extend([1.0, 2.0]);
        rows.close_row(2).unwrap();
        rows.null_row().unwrap();
        let ragged = rows.close_row(3).unwrap_err();
        assert!(matches!(ragged, Error::RaggedVector { row: 4, expected: 2, found: 3, .. }), "{ragged}");
        rows.finish(&mut matrix);
        assert_eq!((matrix.rows(), matrix.cols()), (3, 2));
        assert!(matrix.get(0, 1).is_nan() && matrix.get(1, 1) == 2.0 && matrix.get(2, 0).is_nan());
    }

    #[test]
    fn null_rows_cannot_fill_the_memory() {
        let mut matrix = Matrix::empty(Dtype::F32, 0);
        let mut state = VectorState { len: None, leading_nulls: 1 << 20 };
        let mut rows = VectorRows::<f32>::start("f", "v", &mut matrix, &mut state, 0).unwrap();
        rows.values.extend([0.0; 1000]);
        assert_eq!(rows.close_row(1000).unwrap_err().code(), "E0801");
    }
}
