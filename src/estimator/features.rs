//! Where features come from.

use std::borrow::Cow;

use crate::matrix::Matrix;
use crate::{Error, Result};

/// Rows of features.
pub trait Features {
    /// As a matrix, borrowed where it is one.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] where the values do not fill whole rows.
    fn matrix(&self) -> Result<Cow<'_, Matrix>>;
}

impl Features for Matrix {
    fn matrix(&self) -> Result<Cow<'_, Matrix>> {
        Ok(Cow::Borrowed(self))
    }
}

/// Row-major values, and their number a row.
impl Features for (&[f32], usize) {
    fn matrix(&self) -> Result<Cow<'_, Matrix>> {
        rows_of(self.0.to_vec(), self.1)
    }
}

/// Row-major values, and their number a row; narrowed to f32.
impl Features for (&[f64], usize) {
    fn matrix(&self) -> Result<Cow<'_, Matrix>> {
        rows_of(self.0.iter().map(|&value| value as f32).collect(), self.1)
    }
}

fn rows_of(values: Vec<f32>, cols: usize) -> Result<Cow<'static, Matrix>> {
    if cols == 0 || !values.len().is_multiple_of(cols) {
        return Err(Error::LengthMismatch {
            left: "values".into(),
            left_rows: values.len() as u64,
            right: "whole rows of values".into(),
            right_rows: (values.len() / cols.max(1) * cols) as u64,
        });
    }
    Ok(Cow::Owned(Matrix::from_f32(values, cols)))
}

/// Refuses infinite values, and missing ones unless they are `taken`.
pub(super) fn check_values(features: &Matrix, missing_taken: bool) -> Result<()> {
    let is_bad = |x: f32| x.is_infinite() || x.is_nan() && !missing_taken;
    let (mut count, mut first) = (0, None);
    features.visit_rows(0..features.rows(), |row, values| {
        values.for_each_entry(|column, value| {
            if is_bad(value) {
                count += 1;
                first.get_or_insert((row, column, value));
            }
        });
    });
    match first {
        None => Ok(()),
        Some((row, column, value)) => Err(Error::NotFinite {
            file: "features".into(),
            kind: if value.is_nan() { "missing" } else { "infinite" },
            count,
            cells: (features.rows() * features.cols()) as u64,
            row: row as u64 + 1,
            column: column.to_string(),
        }),
    }
}
