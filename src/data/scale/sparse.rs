//! Standard deviations of sparse columns, at the cost of their entries.

use crate::matrix::SparseRef;
use crate::stop::Stop;

/// Rows whose entries are taken together.
const BLOCK: usize = 4096;

/// Columns over the rows fitted to.
pub(super) struct Columns {
    /// Population standard deviation, 1 where the column is constant.
    pub(super) deviation: Vec<f32>,
    /// Number of constant columns.
    pub(super) constant: usize,
}

/// What the entries of one column add up to.
#[derive(Clone, Copy, Default)]
struct Column {
    sum: f64,
    squares: f64,
    /// Weight and number of the rows that have an entry.
    weight: f64,
    entries: usize,
    first: f32,
    varies: bool,
}

/// The deviations of `cols` columns over `rows`, in two passes in f64; values without an entry are 0. One thread takes all
/// entries: parts of every column for each thread could outgrow the entries by far.
pub(super) fn deviations(
    all: SparseRef<'_>,
    cols: usize,
    rows: &[usize],
    row_weights: Option<&[f64]>,
    stop: &Stop,
) -> Columns {
    // Relative to the largest, so that products with the values stay in range.
    let largest = row_weights.map_or(1.0, |w| rows.iter().fold(0.0, |largest, &row| w[row].max(largest)));
    let weight = |row: usize| row_weights.map_or(1.0, |w| w[row] / largest);
    let mut columns = vec![Column::default(); cols];
    let mut total = 0.0;
    for &row in rows.chunks(BLOCK).take_while(|_| !stop.is_set()).flatten() {
        let weight = weight(row);
        // In the order of the weights of a column without zeros, so that the two are equal to the last bit.
        total += weight;
        let (at, values) = all.row(row);
        for (&at, &x) in at.iter().zip(values) {
            let column = &mut columns[at as usize];
            if column.entries == 0 {
                column.first = x;
            }
            column.sum += weight * f64::from(x);
            column.weight += weight;
            column.entries += 1;
            column.varies |= x != column.first;
        }
    }
    for column in &mut columns {
        // From here on the mean.
        column.sum = if total > 0.0 { column.sum / total } else { 0.0 };
        let lacks_some = column.entries < rows.len();
        column.varies |= lacks_some && column.entries > 0 && column.first != 0.0;
        if lacks_some {
            column.squares = (total - column.weight).max(0.0) * column.sum * column.sum;
        }
    }
    for &row in rows.chunks(BLOCK).take_while(|_| !stop.is_set()).flatten() {
        let weight = weight(row);
        let (at, values) = all.row(row);
        for (&at, &x) in at.iter().zip(values) {
            let column = &mut columns[at as usize];
            column.squares += weight * (f64::from(x) - column.sum).powi(2);
        }
    }
    let deviation = |column: &Column| {
        let deviation = (column.squares / total).sqrt() as f32;
        if column.varies && deviation > 0.0 { Some(deviation) } else { None }
    };
    Columns {
        deviation: columns.iter().map(|column| deviation(column).unwrap_or(1.0)).collect(),
        constant: columns.iter().filter(|column| deviation(column).is_none()).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sparse::make_sparse;
    use super::super::{Scale, Scaler};
    use crate::matrix::{Dtype, Matrix};
    use proptest::prelude::*;

    const COLS: usize = 7;

    /// Mostly zeros; column 0 is constant, column 1 has no zeros, column 2 no values.
    fn rows_of(cells: &[(bool, f32)]) -> Matrix<'static> {
        let value = |(at, &(present, x)): (usize, &(bool, f32))| match at % COLS {
            0 => 2.5,
            1 => x + 200.0,
            2 => 0.0,
            _ => f32::from(u8::from(present)) * x,
        };
        let whole = cells.len() / COLS * COLS;
        Matrix::from_f32(cells[..whole].iter().enumerate().map(value).collect(), COLS)
    }

    proptest! {
        #[test]
        fn sparse_and_dense_rows_have_the_same_deviations(
            cells in prop::collection::vec((prop::bool::weighted(0.3), -50f32..50.0), 3 * COLS..40 * COLS),
            weighted in any::<bool>(),
        ) {
            let dense = rows_of(&cells);
            let mut rows = dense.clone();
            make_sparse(&mut rows);
            let chosen: Vec<usize> = (1..dense.rows()).collect();
            let weights: Vec<f64> = (0..dense.rows()).map(|row| 1.0 + (row % 3) as f64).collect();
            let weights = weighted.then_some(&weights[..]);
            let (mut expected, constant) = Scaler::fit(Scale::Standard, &dense, &chosen, weights);
            let (scaler, constant_sparse) = Scaler::fit(Scale::Standard, &rows, &chosen, weights);
            prop_assert_eq!(constant, constant_sparse);
            prop_assert!(scaler.fits(COLS) && scaler.mean.iter().all(|&mean| mean == 0.0));
            for (a, b) in scaler.deviation.iter().zip(&expected.deviation) {
                prop_assert!((a / b - 1.0).abs() < 1e-5, "{} {}", a, b);
            }
            expected.mean = vec![0.0; COLS];
            expected.deviation = scaler.deviation.clone();
            for (own, scaler) in [(&scaler, &expected), (&Scaler::fit(Scale::L2, &rows, &[], None).0, &Scaler::fit(Scale::L2, &dense, &[], None).0)] {
                let (mut dense, mut rows) = (dense.clone(), rows.clone());
                own.apply(&mut rows);
                scaler.apply(&mut dense);
                prop_assert_eq!(rows.dtype(), Dtype::Sparse);
                for row in 0..dense.rows() {
                    for col in 0..COLS {
                        prop_assert_eq!(rows.get(row, col), dense.get(row, col));
                    }
                }
            }
        }
    }

    #[test]
    fn rows_without_entries_have_constant_columns() {
        let mut rows = Matrix::from_f32(vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0], 2);
        make_sparse(&mut rows);
        let (scaler, constant) = Scaler::fit(Scale::Standard, &rows, &[1, 2], None);
        assert_eq!((scaler.deviation.as_slice(), constant), (&[1.0, 1.0][..], 2));
    }
}
