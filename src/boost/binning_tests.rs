use super::*;
use crate::matrix::{Dtype, SparseRows};
use half::f16;

fn matrix(columns: &[&[f32]]) -> Matrix<'static> {
    let rows = columns[0].len();
    let values = (0..rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
    Matrix::from_f32(values, columns.len())
}

fn random(rows: usize, cols: usize, seed: u64) -> Vec<f32> {
    let mut rng = CounterRng::new(seed, 0);
    let mut value = || match rng.below(10) {
        0 => f32::NAN,
        1..=3 => 0.0,
        _ => ((rng.next_f64() - 0.5) * 100.0) as f32,
    };
    (0..rows * cols).map(|_| value()).collect()
}

#[test]
fn raw_comparison_and_bin_comparison_agree() {
    let rows = 3000;
    let matrix = Matrix::from_f32(random(rows, 20, 1), 20);
    let binner = Binner::fit(&matrix, &vec![0; rows], &BinningOptions { max_bins: 40, ..Default::default() });
    let binner = binner.unwrap();
    let binned = binner.bin(&matrix).unwrap();
    assert_eq!(binned.features().len(), 20);
    for (index, feature) in binner.features().iter().enumerate() {
        for row in 0..rows {
            let (value, bin) = (matrix.get(row, feature.column as usize), binned.bin(row, index));
            assert_eq!(bin, feature.bin(value));
            assert_eq!(bin == MISSING, value.is_nan());
            if bin != MISSING {
                for cut in 1..=feature.bins() as u8 {
                    assert_eq!(value <= feature.threshold(cut), bin <= cut, "{value} {cut}");
                }
            }
        }
    }
}

#[test]
fn all_storages_have_the_same_bins() {
    let (rows, cols) = (500, 35);
    // Numbers that half precision holds.
    let values: Vec<f32> = random(rows, cols, 2).iter().map(|&x| f16::from_f32(x).to_f32()).collect();
    let dense = Matrix::from_f32(values.clone(), cols);
    let halves = values.iter().map(|&x| f16::from_f32(x)).collect();
    let half = Matrix::from_storage(Storage::F16(halves), cols);
    let mut rows_of = SparseRows::default();
    for row in values.chunks(cols) {
        let (columns, stored): (Vec<u32>, Vec<f32>) =
            row.iter().enumerate().filter(|(_, x)| **x != 0.0).map(|(c, &x)| (c as u32, x)).unzip();
        rows_of.push(&columns, &stored);
    }
    let sparse = Matrix::from_storage(Storage::Sparse(rows_of), cols);
    assert_eq!(sparse.dtype(), Dtype::Sparse);
    let options = BinningOptions { categorical: vec![3], max_bins: 60, ..Default::default() };
    let labels = vec![0; rows];
    let wanted = Binner::fit(&dense, &labels, &options).unwrap();
    for other in [half, sparse] {
        let binner = Binner::fit(&other, &labels, &options).unwrap();
        assert_eq!(binner.features().len(), wanted.features().len());
        let (a, b) = (wanted.bin(&dense).unwrap(), binner.bin(&other).unwrap());
        assert_eq!(a.features(), b.features());
        assert!((0..rows).all(|row| (0..cols).all(|f| a.bin(row, f) == b.bin(row, f))));
    }
}

#[test]
fn columns_that_do_not_vary_are_left_out() {
    let nan = f32::NAN;
    let matrix = matrix(&[&[1.0, 1.0, 1.0], &[nan, nan, nan], &[2.0, nan, 2.0], &[0.0, 1.0, -0.0]]);
    let binner = Binner::fit(&matrix, &[0, 1, 0], &BinningOptions::default()).unwrap();
    assert_eq!(binner.features().iter().map(|f| f.column).collect::<Vec<_>>(), [2, 3]);
    let binned = binner.bin(&matrix).unwrap();
    assert_eq!([0, 1].map(|f: usize| binned.features()[f].values), [1, 2]);
    assert_eq!((0..3).map(|row| binned.bin(row, 0)).collect::<Vec<_>>(), [1, 0, 1]);
    assert_eq!((0..3).map(|row| binned.bin(row, 1)).collect::<Vec<_>>(), [1, 2, 1]);
}

#[test]
fn unseen_categories_are_missing() {
    let train = matrix(&[&[4.0, 0.0, 7.0, 4.0, 7.0]]);
    let options = BinningOptions { categorical: vec![0], max_bins: 2, ..Default::default() };
    let binner = Binner::fit(&train, &[0; 5], &options).unwrap();
    let binned = binner.bin(&matrix(&[&[4.0, 0.0, 7.0, 5.0, f32::NAN, -0.0]])).unwrap();
    assert_eq!((0..6).map(|row| binned.bin(row, 0)).collect::<Vec<_>>(), [1, 0, 2, 0, 0, 0]);
}

#[test]
fn the_sample_keeps_the_rows_of_small_classes() {
    let labels: Vec<u32> = (0..10_000).map(|row| if row % 250 == 0 { 1 } else { 0 }).collect();
    let rows = sample(&labels, 1000, 7);
    let of = |class: u32| rows.iter().filter(|&&row| labels[row as usize] == class).count();
    assert_eq!((of(0), of(1)), (996, 40));
    assert!(rows.is_sorted_by(|a, b| a < b));
    assert_ne!(rows, sample(&labels, 1000, 8));
    assert_eq!(sample(&labels, 10_000, 7).len(), 10_000);
}

#[test]
fn wrong_requests_are_errors() {
    let matrix = matrix(&[&[1.0, 2.0]]);
    let fit = |labels: &[u32], options: &BinningOptions| Binner::fit(&matrix, labels, options).map(|_| ());
    let options = |max_bins, categorical| BinningOptions { max_bins, categorical, ..Default::default() };
    assert!(matches!(fit(&[0], &options(254, vec![])), Err(Error::LengthMismatch { .. })));
    assert!(matches!(fit(&[0, 1], &options(255, vec![])), Err(Error::BadValue { .. })));
    assert!(matches!(fit(&[0, 1], &options(1, vec![])), Err(Error::BadValue { .. })));
    assert!(matches!(fit(&[0, 1], &options(254, vec![1])), Err(Error::BadValue { .. })));
    let binner = Binner::fit(&matrix, &[0, 1], &BinningOptions::default()).unwrap();
    let wide = Matrix::from_f32(vec![0.0; 4], 2);
    assert!(matches!(binner.bin(&wide), Err(Error::FeatureMismatch { .. })));
}
