//! Where features come from.

use half::f16;

use crate::matrix::{MatRef, Matrix};
use crate::{Error, Result};

/// Rows of features.
pub trait Features {
    /// As a matrix, which is lent where the values have its form.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] where the values do not fill whole rows.
    fn matrix(&self) -> Result<Matrix<'_>>;
}

impl Features for Matrix<'_> {
    fn matrix(&self) -> Result<Matrix<'_>> {
        Ok(self.reborrow())
    }
}

/// Row-major values, and their number a row; they stay where they are.
impl Features for (&[f32], usize) {
    fn matrix(&self) -> Result<Matrix<'_>> {
        check_whole(self.0.len(), self.1)?;
        Ok(Matrix::lent(MatRef::F32(self.0), self.1))
    }
}

/// Row-major values in half precision, and their number a row.
impl Features for (&[f16], usize) {
    fn matrix(&self) -> Result<Matrix<'_>> {
        check_whole(self.0.len(), self.1)?;
        Ok(Matrix::lent(MatRef::F16(self.0), self.1))
    }
}

/// Row-major values, and their number a row; narrowed to f32.
impl Features for (&[f64], usize) {
    fn matrix(&self) -> Result<Matrix<'_>> {
        check_whole(self.0.len(), self.1)?;
        Ok(Matrix::from_f32(self.0.iter().map(|&value| value as f32).collect(), self.1))
    }
}

fn check_whole(values: usize, cols: usize) -> Result<()> {
    if cols == 0 || !values.is_multiple_of(cols) {
        return Err(Error::LengthMismatch {
            left: "values".into(),
            left_rows: values as u64,
            right: "whole rows of values".into(),
            right_rows: (values / cols.max(1) * cols) as u64,
        });
    }
    Ok(())
}
