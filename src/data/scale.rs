//! Features on one scale: standardised columns or rows of unit length.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::encode::{FeatureEncoder, InputColumn};
use super::missing::Missing;
use super::sparse::dense_values;
use crate::matrix::{Dtype, MatRef, Matrix, Storage};
use crate::{Error, Result};

mod sparse;

/// Rows summed up on their own; sums of chunks are added in the order of the rows, so threads do not matter.
const CHUNK: usize = 4096;
/// Rows scaled together.
const BLOCK: usize = 64;

/// How features are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// As they are.
    None,
    /// Every row divided by its Euclidean norm; a row of zeros stays.
    L2,
    /// Every column to mean 0 and standard deviation 1 over the training rows. Columns of sparse rows keep their mean,
    /// for without it their zeros would be none; the bias takes it up.
    Standard,
}

impl Scale {
    /// The choice of `--scale auto`: none for vectors, dense ones from a network on one scale, sparse ones of words, whose
    /// scale (TF-IDF) says what they are worth; standard for columns, which come in units of their own. None where
    /// [`Scale::choose`] refuses any other.
    pub fn auto(encoder: &FeatureEncoder) -> Scale {
        if no_scale(encoder).is_some() {
            return Scale::None;
        }
        Scale::of_columns(encoder)
    }

    /// The choice of [`Scale::auto`] by the kinds of the columns alone, whatever becomes of text and missing values.
    pub fn of_columns(encoder: &FeatureEncoder) -> Scale {
        let columns = encoder.inputs.iter().any(|input| !matches!(input, InputColumn::Vector { .. }));
        if columns { Scale::Standard } else { Scale::None }
    }

    /// The scale asked for, or that of [`Scale::auto`].
    ///
    /// # Errors
    /// [`Error::BadValue`] for another than none where text is kept as codes, which are no amounts, and where missing
    /// values are kept, which would make the whole row or column missing.
    pub fn choose(asked: Option<Scale>, encoder: &FeatureEncoder) -> Result<Scale> {
        let scale = asked.unwrap_or_else(|| Scale::auto(encoder));
        match (scale, no_scale(encoder)) {
            (Scale::L2 | Scale::Standard, Some(why)) => {
                let name = if scale == Scale::L2 { "l2" } else { "standard" };
                Err(Error::bad_value("--scale", name, why, "leave features as they are: --scale none"))
            }
            _ => Ok(scale),
        }
    }
}

/// Why the features of an encoder must not be scaled, if so.
fn no_scale(encoder: &FeatureEncoder) -> Option<String> {
    let is_codes = |input: &&InputColumn| matches!(input, InputColumn::Codes { .. });
    let mut codes = encoder.inputs.iter().filter(is_codes);
    match codes.next() {
        Some(first) => {
            let (first, more) = (first.name(), codes.count());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Some(format!("would scale the codes of text column {first:?}{more}"))
        }
        None if encoder.missing == Missing::Keep => {
            Some("has no norm or mean of missing values, which are kept".into())
        }
        None => None,
    }
}

/// A fitted scale; part of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    /// How features are scaled.
    pub scale: Scale,
    /// Mean of every column over the training rows, 0 where it stays (sparse rows); empty unless standardising.
    pub mean: Vec<f32>,
    /// Standard deviation of every column, 1 where it is constant; empty unless standardising.
    pub deviation: Vec<f32>,
}

impl Scaler {
    /// The one that leaves features as they are.
    pub fn none() -> Self {
        Scaler { scale: Scale::None, mean: Vec::new(), deviation: Vec::new() }
    }

    /// Fits `scale` to the rows `rows` of `features`: means and population standard deviations in f64, in two passes.
    /// `row_weights`, one positive number for every row of `features`, weigh both, so that a row of weight k counts as k
    /// equal rows; only their ratios matter. Returns the scaler and the number of columns constant over these rows.
    pub fn fit(
        scale: Scale,
        features: &Matrix,
        rows: &[usize],
        row_weights: Option<&[f64]>,
    ) -> (Self, usize) {
        let mut scaler = Scaler { scale, mean: Vec::new(), deviation: Vec::new() };
        let mut constant_columns = 0;
        if scale != Scale::Standard {
            return (scaler, 0);
        }
        if let Some(all) = features.sparse() {
            let columns = sparse::deviations(all, features.cols(), rows, row_weights, features.stop());
            scaler.mean = vec![0.0; features.cols()];
            scaler.deviation = columns.deviation;
            return (scaler, columns.constant);
        }
        let cols = features.cols();
        let zeros = vec![0.0; cols];
        // Relative to the largest, so that products with the values stay in range.
        let largest = row_weights.map_or(1.0, |w| rows.iter().fold(0.0, |largest, &row| w[row].max(largest)));
        let weight = |row: usize| row_weights.map_or(1.0, |w| w[row] / largest);
        let mean = means_of(features, rows, &zeros, weight, |x, _| x);
        let variance = means_of(features, rows, &mean, weight, |x, mean| (x - mean) * (x - mean));
        let constant = is_constant_column(features, rows);
        for col in 0..cols {
            let deviation = variance[col].sqrt() as f32;
            let is_constant = constant[col] || deviation == 0.0;
            constant_columns += usize::from(is_constant);
            scaler.mean.push(mean[col] as f32);
            scaler.deviation.push(if is_constant { 1.0 } else { deviation });
        }
        (scaler, constant_columns)
    }

    /// Scales all rows of `features`; f16 and bf16 become f32 unless nothing is to be done. Sparse rows stay sparse unless
    /// the scaler, fitted to dense rows, moves means. For [`Scale::Standard`] the matrix must have the columns the scaler
    /// was fitted to.
    pub fn apply(&self, features: &mut Matrix) {
        if self.scale == Scale::None || features.is_stopped() {
            return;
        }
        if features.edit_in_file(|block| self.apply(block)) {
            return;
        }
        widen(features);
        if let Storage::Sparse(rows) = features.storage() {
            if self.mean.iter().all(|&mean| mean == 0.0) {
                return self.apply_sparse(features);
            }
            let dense = Matrix::from_f32(dense_values(rows, features.cols()), features.cols());
            *features = dense.stopped_by(features.stop());
        }
        let cols = features.cols().max(1);
        let stop = features.stop().clone();
        let Storage::F32(values) = features.storage_mut() else { return };
        let blocks = values.par_chunks_mut(cols * BLOCK).filter(|_| !stop.is_set());
        blocks.for_each(|rows| rows.chunks_exact_mut(cols).for_each(|row| self.apply_to(row)));
    }

    /// Bytes by which features that this scales grow in memory: values become f32, and sparse rows dense where means move.
    pub fn growth(&self, features: &Matrix) -> u64 {
        let stays_sparse = features.dtype() == Dtype::Sparse && self.mean.iter().all(|&mean| mean == 0.0);
        if self.scale == Scale::None || stays_sparse {
            return 0;
        }
        let wide = (features.rows() * features.cols() * Dtype::F32.width()) as u64;
        wide.saturating_sub(features.bytes())
    }

    fn apply_to(&self, row: &mut [f32]) {
        match self.scale {
            Scale::None => {}
            Scale::L2 => divide_by_norm(row),
            Scale::Standard => {
                for ((x, &mean), &deviation) in row.iter_mut().zip(&self.mean).zip(&self.deviation) {
                    *x = ((f64::from(*x) - f64::from(mean)) / f64::from(deviation)) as f32;
                }
            }
        }
    }

    fn apply_sparse(&self, features: &mut Matrix) {
        let Storage::Sparse(rows) = features.storage_mut() else { return };
        if self.scale == Scale::Standard {
            let (columns, values) = rows.entries_mut();
            columns.par_chunks(CHUNK).zip(values.par_chunks_mut(CHUNK)).for_each(|(columns, values)| {
                for (x, &column) in values.iter_mut().zip(columns) {
                    *x = (f64::from(*x) / f64::from(self.deviation[column as usize])) as f32;
                }
            });
            return;
        }
        let lengths: Vec<usize> = rows.range(0, rows.rows()).iter().map(|(_, values)| values.len()).collect();
        let (_, mut values) = rows.entries_mut();
        for length in lengths {
            let (row, rest) = values.split_at_mut(length);
            divide_by_norm(row);
            values = rest;
        }
    }

    /// Weights (C x D) and biases (C) over features before this scaler, of those over the features that it scales: for
    /// standardised ones `w x' + b` with `x' = (x - mean) / deviation` is `(w / deviation) x + (b - sum of w mean /
    /// deviation)`. Rows of length 1 are no linear function of what they were; theirs stay.
    pub fn unscaled(&self, features: usize, weight: &[f32], bias: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let mut weight: Vec<f64> = weight.iter().map(|&weight| f64::from(weight)).collect();
        let mut bias: Vec<f64> = bias.iter().map(|&bias| f64::from(bias)).collect();
        if self.scale == Scale::Standard {
            for (weights, bias) in weight.chunks_exact_mut(features.max(1)).zip(&mut bias) {
                let scaled = weights.iter_mut().zip(&self.mean).zip(&self.deviation);
                for ((weight, &mean), &deviation) in scaled {
                    *weight /= f64::from(deviation);
                    *bias -= *weight * f64::from(mean);
                }
            }
        }
        (weight, bias)
    }

    /// Whether this can follow an encoder of `features` features: values for each of them where it standardises,
    /// none otherwise, deviations positive.
    pub fn fits(&self, features: usize) -> bool {
        let expected = if self.scale == Scale::Standard { features } else { 0 };
        self.mean.len() == expected
            && self.deviation.len() == expected
            && self.deviation.iter().all(|&deviation| deviation > 0.0)
    }
}

fn divide_by_norm(row: &mut [f32]) {
    let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}

/// Makes a matrix f32, unless it is sparse.
pub(super) fn widen(features: &mut Matrix) {
    if features.dtype() == Dtype::F32 || features.edit_in_file(widen) {
        return;
    }
    let stop = features.stop();
    let wide = match features.in_memory() {
        Some(MatRef::F16(values)) => stop.copied(values, |x| x.to_f32()),
        Some(MatRef::Bf16(values)) => stop.copied(values, |x| x.to_f32()),
        Some(MatRef::F32(_) | MatRef::Sparse(_)) | None => return,
    };
    *features = Matrix::from_f32(wide, features.cols()).stopped_by(stop);
}

/// The weighted mean over `rows` of `term(value, center)` for every column; 0 without rows.
fn means_of(
    features: &Matrix,
    rows: &[usize],
    centers: &[f64],
    weight: impl Fn(usize) -> f64 + Sync,
    term: impl Fn(f64, f64) -> f64 + Sync,
) -> Vec<f64> {
    let sum_chunk = |rows: &[usize]| {
        let mut sums = vec![0.0; centers.len()];
        let mut total = 0.0;
        if features.is_stopped() {
            return (sums, total);
        }
        features.visit_rows(rows.iter().copied(), |at, values| {
            let weight = weight(rows[at]);
            total += weight;
            values.for_each_entry(|col, x| sums[col] += weight * term(f64::from(x), centers[col]));
        });
        (sums, total)
    };
    let partial: Vec<(Vec<f64>, f64)> = rows.par_chunks(CHUNK).map(sum_chunk).collect();
    let (mut sums, mut total) = (vec![0.0; centers.len()], 0.0);
    for (chunk, chunk_total) in partial {
        sums.iter_mut().zip(chunk).for_each(|(sum, part)| *sum += part);
        total += chunk_total;
    }
    if total > 0.0 {
        sums.iter_mut().for_each(|sum| *sum /= total);
    }
    sums
}

fn is_constant_column(features: &Matrix, rows: &[usize]) -> Vec<bool> {
    let mut first = vec![0.0; features.cols()];
    let mut constant = vec![true; features.cols()];
    features.visit_rows(rows.iter().copied().take(1), |_, values| {
        values.for_each_entry(|col, x| first[col] = x);
    });
    for rows in rows.chunks(CHUNK).take_while(|_| !features.is_stopped()) {
        features.visit_rows(rows.iter().copied(), |_, values| {
            values.for_each_entry(|col, x| constant[col] &= x == first[col]);
        });
    }
    constant
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codes_and_kept_missing_values_are_not_scaled() {
        let numeric = InputColumn::Numeric { name: "x".into(), mean: None };
        let codes = |name: &str| InputColumn::Codes { name: name.into(), levels: vec!["a".into()] };
        let of = |inputs: &[InputColumn], missing| FeatureEncoder { inputs: inputs.to_vec(), missing };
        let plain = of(std::slice::from_ref(&numeric), Missing::Mean);
        assert_eq!(Scale::choose(None, &plain).unwrap(), Scale::Standard);
        assert_eq!(Scale::choose(Some(Scale::L2), &plain).unwrap(), Scale::L2);
        let coded = of(&[numeric.clone(), codes("c"), codes("d")], Missing::Zero);
        for (encoder, why) in [
            (coded, r#"--scale "l2": would scale the codes of text column "c" and 1 more"#),
            (
                of(&[numeric], Missing::Keep),
                r#"--scale "l2": has no norm or mean of missing values, which are kept"#,
            ),
        ] {
            assert_eq!(Scale::choose(None, &encoder).unwrap(), Scale::None);
            assert_eq!(Scale::choose(Some(Scale::None), &encoder).unwrap(), Scale::None);
            assert_eq!(Scale::choose(Some(Scale::L2), &encoder).unwrap_err().to_string(), why);
            assert!(Scale::choose(Some(Scale::Standard), &encoder).is_err());
        }
    }

    #[test]
    fn only_the_given_rows_count() {
        let mut features = Matrix::from_f32(vec![1.0, 5.0, 3.0, 5.0, 100.0, 9.0], 2);
        let (scaler, constant) = Scaler::fit(Scale::Standard, &features, &[0, 1], None);
        assert_eq!((scaler.mean.as_slice(), scaler.deviation.as_slice()), (&[2.0, 5.0][..], &[1.0, 1.0][..]));
        assert_eq!(constant, 1);
        scaler.apply(&mut features);
        assert_eq!(features, Matrix::from_f32(vec![-1.0, 0.0, 1.0, 0.0, 98.0, 4.0], 2));
    }

    #[test]
    fn half_precision_widens_and_zero_rows_stay() {
        let half = [3.0, 4.0, 0.0, 0.0].map(half::f16::from_f32).to_vec();
        let mut features = Matrix::from_storage(Storage::F16(half), 2);
        let (untouched, _) = Scaler::fit(Scale::None, &features, &[0], None);
        untouched.apply(&mut features);
        assert_eq!(features.dtype(), Dtype::F16);
        Scaler::fit(Scale::L2, &features, &[0], None).0.apply(&mut features);
        assert_eq!(features, Matrix::from_f32(vec![0.6, 0.8, 0.0, 0.0], 2));
    }

    #[test]
    fn huge_means_and_values_do_not_overflow() {
        let mut features = Matrix::from_f32(vec![3e38, -3e38, 1e-40, 2e-40], 1);
        let (scaler, _) = Scaler::fit(Scale::Standard, &features, &[0, 1], None);
        scaler.apply(&mut features);
        assert_eq!([features.get(0, 0), features.get(1, 0)], [1.0, -1.0]);
    }

    #[test]
    fn means_of_dense_rows_are_moved_in_sparse_ones_too() {
        let mut dense = Matrix::from_f32(vec![1.0, 0.0, 3.0, 0.0, 0.0, 4.0], 2);
        let mut rows = dense.clone();
        super::super::sparse::make_sparse(&mut rows);
        let (scaler, _) = Scaler::fit(Scale::Standard, &dense, &[0, 1, 2], None);
        scaler.apply(&mut rows);
        scaler.apply(&mut dense);
        assert_eq!(rows, dense);
    }

    proptest! {
        #[test]
        fn a_row_of_weight_k_counts_as_k_rows(
            values in prop::collection::vec(-1e3f32..1e3, 8..60),
            times in prop::collection::vec(1usize..60, 30),
            scale in prop::sample::select(vec![1.0, 1e-60, 1e300]),
        ) {
            let rows = values.len() / 2;
            let once = Matrix::from_f32(values[..rows * 2].to_vec(), 2);
            let repeated: Vec<usize> = (1..rows).flat_map(|row| std::iter::repeat_n(row, times[row])).collect();
            let weights: Vec<f64> = times.iter().map(|&k| k as f64 * scale).collect();
            let chosen: Vec<usize> = (1..rows).collect();
            let (weighted, constant) = Scaler::fit(Scale::Standard, &once, &chosen, Some(&weights));
            let (plain, constant_plain) = Scaler::fit(Scale::Standard, &once, &repeated, None);
            prop_assert_eq!(constant, constant_plain);
            for col in 0..2 {
                prop_assert!((weighted.mean[col] - plain.mean[col]).abs() <= 1e-4);
                prop_assert!((weighted.deviation[col] / plain.deviation[col] - 1.0).abs() <= 1e-6);
            }
        }

        #[test]
        fn standardised_columns_have_mean_0_and_deviation_1(
            values in prop::collection::vec(-1e4f32..1e4, 30..300), shift in -1e4f32..1e4,
        ) {
            let rows = values.len() / 3;
            let shifted: Vec<f32> = values[..rows * 3].iter().map(|x| x + shift).collect();
            let mut features = Matrix::from_f32(shifted, 3);
            let all: Vec<usize> = (0..rows).collect();
            let (scaler, _) = Scaler::fit(Scale::Standard, &features, &all, None);
            scaler.apply(&mut features);
            for col in 0..3 {
                let column: Vec<f64> = (0..rows).map(|row| f64::from(features.get(row, col))).collect();
                let mean = column.iter().sum::<f64>() / rows as f64;
                let variance = column.iter().map(|x| x * x).sum::<f64>() / rows as f64;
                prop_assert!(mean.abs() < 1e-5, "{mean}");
                prop_assert!((variance - 1.0).abs() < 1e-5, "{variance}");
            }
        }
    }
}
