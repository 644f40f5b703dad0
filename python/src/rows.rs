//! Features from Python: dense rows where they lie, sparse rows in a copy.

use cbfit::estimator::Features;
use cbfit::matrix::{SparseRows, Storage};
use cbfit::{Matrix, Result};
use half::f16;
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What Python hands over.
pub enum Given<'py> {
    /// A float32 array in C order.
    Single(PyReadonlyArray2<'py, f32>),
    /// The same in float16.
    Half(PyReadonlyArray2<'py, f16>),
    /// A copy of compressed sparse rows.
    Sparse(Matrix<'static>),
}

/// The same without the interpreter.
pub enum Rows<'a> {
    Single((&'a [f32], usize)),
    Half((&'a [f16], usize)),
    Sparse(&'a Matrix<'static>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Given<'py> {
    type Error = PyErr;

    /// Takes an array, or `(indptr, indices, data, columns)` of compressed sparse rows with ascending columns.
    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        type Parts<'py> =
            (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, f32>, usize);
        if let Ok(single) = given.extract::<PyReadonlyArray2<'py, f32>>() {
            return Ok(Given::Single(single));
        }
        if let Ok(half) = given.extract::<PyReadonlyArray2<'py, f16>>() {
            return Ok(Given::Half(half));
        }
        let (starts, columns, values, width): Parts<'py> = given.extract()?;
        sparse(starts.as_slice()?, columns.as_slice()?, values.as_slice()?, width).map(Given::Sparse)
    }
}

impl Given<'_> {
    /// The rows to work on.
    ///
    /// # Errors
    /// `ValueError` for an array in another order.
    pub fn rows(&self) -> PyResult<Rows<'_>> {
        Ok(match self {
            Given::Single(array) => Rows::Single((array.as_slice()?, array.shape()[1])),
            Given::Half(array) => Rows::Half((array.as_slice()?, array.shape()[1])),
            Given::Sparse(matrix) => Rows::Sparse(matrix),
        })
    }
}

impl Features for Rows<'_> {
    fn matrix(&self) -> Result<Matrix<'_>> {
        match self {
            Rows::Single(values) => values.matrix(),
            Rows::Half(values) => values.matrix(),
            Rows::Sparse(matrix) => matrix.matrix(),
        }
    }
}

fn sparse(starts: &[i64], columns: &[i64], values: &[f32], width: usize) -> PyResult<Matrix<'static>> {
    let refuse = |why: &str| Err(PyValueError::new_err(format!("sparse X: {why}")));
    if columns.len() != values.len() {
        return refuse("indices and data differ in length");
    }
    let mut rows = SparseRows::default();
    let mut own: Vec<u32> = Vec::new();
    for pair in starts.windows(2) {
        let range = usize::try_from(pair[0]).ok().zip(usize::try_from(pair[1]).ok());
        let Some((start, end)) = range.filter(|(start, end)| start <= end && *end <= columns.len()) else {
            return refuse("indptr does not ascend within the entries");
        };
        own.clear();
        for &column in &columns[start..end] {
            match u32::try_from(column) {
                Ok(column) if (column as usize) < width => own.push(column),
                _ => return refuse("an index lies outside of the columns"),
            }
        }
        if !own.is_sorted_by(|a, b| a < b) {
            return refuse("indices of a row do not ascend");
        }
        rows.push(&own, &values[start..end]);
    }
    Ok(Matrix::from_storage(Storage::Sparse(rows), width))
}
