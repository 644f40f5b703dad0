use super::*;
use crate::boost::binning::{Binner, BinningOptions};
use crate::matrix::Matrix;
use crate::matrix::SparseRows;
use crate::rng::CounterRng;

const COLS: usize = 30;

/// Two numeric columns, eight of a one-hot code, one of which may be NaN, four that say whether a number falls in a
/// quarter, and sixteen of rare counts that may meet; the class hangs on some of each kind.
pub(in crate::boost) fn rows_with_codes(rows: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut rng = CounterRng::new(seed, 0);
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let mut row = [0.0f32; COLS];
        row[0] = rng.next_f64() as f32;
        row[1] = (rng.next_f64() * 5.0) as f32;
        let code = rng.below(9);
        if code < 8 {
            row[2 + code] = if code == 7 && rng.below(3) == 0 { f32::NAN } else { 1.0 };
        }
        let quarter = rng.below(4);
        row[10 + quarter] = 1.0 + rng.below(3) as f32;
        for value in &mut row[14..] {
            if rng.below(40) == 0 {
                *value = rng.below(6) as f32 - 2.0;
            }
        }
        let signal =
            row[0] + [0.0, 0.8][usize::from(code == 3 || code == 7)] + 0.4 * quarter as f32 + row[20] / 4.0;
        labels.push((signal > 1.0) as u32 + u32::from(signal > 1.6));
        values.extend(row);
    }
    (values, labels)
}

fn sparse(values: &[f32]) -> Matrix<'static> {
    let mut rows = SparseRows::default();
    for row in values.chunks(COLS) {
        let stored = row.iter().enumerate().filter(|(_, x)| **x != 0.0);
        let (columns, stored): (Vec<u32>, Vec<f32>) = stored.map(|(c, &x)| (c as u32, x)).unzip();
        rows.push(&columns, &stored);
    }
    Matrix::from_storage(Storage::Sparse(rows), COLS)
}

#[test]
fn exclusive_columns_share_slots_and_keep_their_bins() {
    for rows in [1, 63, 64, 3000] {
        let (values, labels) = rows_with_codes(rows, 5);
        let options = BinningOptions { categorical: vec![12, 25], ..BinningOptions::default() };
        let dense = Matrix::from_f32(values.clone(), COLS);
        let binner = Binner::fit(&dense, &labels, &options).unwrap();
        for matrix in [dense, sparse(&values)] {
            let binned = binner.bin(&matrix).unwrap();
            for (at, feature) in binner.features().iter().enumerate() {
                let mut column = vec![9; rows];
                binned.copy_bins(at, 0, &mut column);
                for (row, bin) in column.into_iter().enumerate() {
                    assert_eq!(bin, feature.bin(matrix.get(row, feature.column as usize)), "{at} {row}");
                    assert_eq!(bin, binned.bin(row, at));
                }
            }
            // Two numeric columns, the eight of the code, the four quarters; some of the rare ones meet.
            let slots = binned.slots();
            assert!(rows < 3000 || (slots > 4 && slots <= 20), "{slots}");
        }
    }
}

#[test]
fn columns_that_meet_once_are_kept_apart() {
    let rows = 5000;
    // The only row where both are there is far from those that are looked at first.
    let column = |row: usize, of: usize| f32::from(row % 10 == of || row == 3377);
    let values: Vec<f32> =
        (0..rows).flat_map(|row| [column(row, 2), column(row, 4), column(row, 6)]).collect();
    let apart: Vec<f32> = (0..rows).flat_map(|row| [2, 4, 6].map(|of| f32::from(row % 10 == of))).collect();
    for (values, slots) in [(values, 3), (apart, 1)] {
        let matrix = Matrix::from_f32(values, 3);
        let binner = Binner::fit(&matrix, &vec![0; rows], &BinningOptions::default()).unwrap();
        assert_eq!(binner.bin(&matrix).unwrap().slots(), slots);
    }
}

#[test]
fn a_slot_holds_no_more_codes_than_a_byte() {
    let (rows, cols) = (6000, 5);
    let mut rng = CounterRng::new(3, 0);
    let values: Vec<f32> = (0..rows)
        .flat_map(|row| {
            let value = rng.below(5000) as f32;
            (0..cols).map(move |col| if row % cols == col { value + 1.0 } else { 0.0 })
        })
        .collect();
    let matrix = Matrix::from_f32(values, cols);
    let options = BinningOptions { max_bins: 120, ..BinningOptions::default() };
    let binner = Binner::fit(&matrix, &vec![0; rows], &options).unwrap();
    let binned = binner.bin(&matrix).unwrap();
    assert_eq!(binned.slots(), 3);
    assert!(binned.blocks()[0].codes.iter().all(|&codes| codes <= BINS));
    for row in 0..rows {
        for (at, feature) in binner.features().iter().enumerate() {
            assert_eq!(binned.bin(row, at), feature.bin(matrix.get(row, at)));
        }
    }
}
