//! What rows tell by themselves: which are equal, which columns say nothing, how long they are.

use std::collections::HashMap;

use crate::matrix::{MatRef, Matrix};

/// The values of a row that are not 0, missing ones among them, with their columns.
pub fn row_entries<'m>(matrix: &'m Matrix<'m>, row: usize) -> impl Iterator<Item = (usize, f32)> + 'm {
    let (dense, (columns, values)) = match matrix.rows_in_memory(row, row + 1) {
        Some(MatRef::Sparse(row)) => (0, row.entries()),
        _ => (matrix.cols(), Default::default()),
    };
    let dense = (0..dense).map(move |col| (col, matrix.get(row, col)));
    let sparse = columns.iter().zip(values).map(|(&col, &x)| (col as usize, x));
    dense.chain(sparse).filter(|&(_, x)| x != 0.0)
}

/// Row `a` of one matrix against row `b` of another, however they are stored; missing values are equal.
pub fn equal_rows((a_of, a): (&Matrix, usize), (b_of, b): (&Matrix, usize)) -> bool {
    let bits = |(col, x): (usize, f32)| (col, x.to_bits());
    row_entries(a_of, a).map(bits).eq(row_entries(b_of, b).map(bits))
}

/// The rows of a matrix by what they hold.
pub struct RowIndex<'a> {
    matrix: &'a Matrix<'a>,
    first: HashMap<u64, usize>,
}

impl<'a> RowIndex<'a> {
    /// An index of `rows` of `matrix`; of equal ones it knows the first.
    pub fn new(matrix: &'a Matrix<'a>, rows: impl Iterator<Item = usize>) -> Self {
        let mut first = HashMap::new();
        for row in rows {
            first.entry(hash(matrix, row)).or_insert(row);
        }
        RowIndex { matrix, first }
    }

    /// The first row that is equal to row `row` of `other`.
    pub fn find(&self, other: &Matrix, row: usize) -> Option<usize> {
        let first = self.first.get(&hash(other, row)).copied()?;
        // Equal hashes are compared: what is said of rows must not rest on chance.
        equal_rows((self.matrix, first), (other, row)).then_some(first)
    }
}

fn hash(matrix: &Matrix, row: usize) -> u64 {
    row_entries(matrix, row).fold(0u64, |hash, (col, value)| {
        let word = (col as u64) << 32 | u64::from(value.to_bits());
        (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    })
}

/// Rows equal to an earlier one.
pub fn duplicate_rows(matrix: &Matrix) -> u64 {
    let index = RowIndex::new(matrix, 0..matrix.rows());
    (0..matrix.rows()).filter(|&row| index.find(matrix, row).is_some_and(|first| first < row)).count() as u64
}

/// What the values of a column have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// At least two different ones.
    Varied,
    /// All that are not missing are the same.
    Constant,
    /// All are missing.
    Missing,
}

/// What every column holds, at the cost of the values that are not 0.
pub fn column_kinds(matrix: &Matrix) -> Vec<ColumnKind> {
    #[derive(Clone, Default)]
    struct Seen {
        first: Option<f32>,
        others: usize,
        missing: usize,
        differs: bool,
    }
    let mut seen = vec![Seen::default(); matrix.cols()];
    for row in 0..matrix.rows() {
        for (col, x) in row_entries(matrix, row) {
            let seen = &mut seen[col];
            if x.is_nan() {
                seen.missing += 1;
            } else {
                seen.others += 1;
                seen.differs |= *seen.first.get_or_insert(x) != x;
            }
        }
    }
    let kind = |seen: Seen| {
        let zeros = matrix.rows() - seen.others - seen.missing;
        match (zeros, seen.others) {
            (0, 0) => ColumnKind::Missing,
            (_, 0) => ColumnKind::Constant,
            (0, _) if !seen.differs => ColumnKind::Constant,
            _ => ColumnKind::Varied,
        }
    };
    seen.into_iter().map(kind).collect()
}

/// Euclidean norm of every row, in the order of the rows; missing values count 0.
pub fn norms(matrix: &Matrix) -> Vec<f64> {
    let square = |(_, x): (usize, f32)| if x.is_nan() { 0.0 } else { f64::from(x) * f64::from(x) };
    (0..matrix.rows()).map(|row| row_entries(matrix, row).map(square).sum::<f64>().sqrt()).collect()
}

/// Smallest, median and largest of `values`, NaN where there are none.
pub fn spread_of(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    [at(0), at(values.len() / 2), at(values.len().saturating_sub(1))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{SparseRows, Storage};

    #[test]
    fn sparse_rows_tell_the_same_as_dense_ones() {
        let values = [0.0, 1.0, 2.0, 0.0, 0.0, 1.0, 2.0, 0.0, 3.0, 1.0, -0.0, 0.0];
        let dense = Matrix::from_f32(values.to_vec(), 4);
        let mut rows = SparseRows::default();
        rows.push(&[1, 2], &[1.0, 2.0]);
        rows.push(&[1, 2], &[1.0, 2.0]);
        rows.push(&[0, 1], &[3.0, 1.0]);
        let sparse = Matrix::from_storage(Storage::Sparse(rows), 4);
        for matrix in [&dense, &sparse] {
            use ColumnKind::{Constant, Varied};
            assert_eq!(duplicate_rows(matrix), 1);
            assert_eq!(column_kinds(matrix), [Varied, Constant, Varied, Constant]);
            assert_eq!(spread_of(norms(matrix)), [5f64.sqrt(), 5f64.sqrt(), 10f64.sqrt()]);
            let index = RowIndex::new(&sparse, 1..3);
            assert_eq!(
                (0..3).map(|row| index.find(matrix, row)).collect::<Vec<_>>(),
                [Some(1), Some(1), Some(2)]
            );
        }
    }

    #[test]
    fn duplicates_are_rows_equal_to_an_earlier_one() {
        let matrix = Matrix::from_f32(vec![1.0, 2.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0], 2);
        assert_eq!(duplicate_rows(&matrix), 2);
    }

    #[test]
    fn missing_values_are_equal_and_make_no_column_varied() {
        let nan = f32::NAN;
        let matrix = Matrix::from_f32(vec![nan, 3.0, nan, nan, nan, 0.0, nan, 3.0, nan], 3);
        assert_eq!(duplicate_rows(&matrix), 1);
        assert_eq!(column_kinds(&matrix), [ColumnKind::Missing, ColumnKind::Constant, ColumnKind::Constant]);
        assert_eq!(norms(&matrix), [3.0, 0.0, 3.0]);
    }
}
