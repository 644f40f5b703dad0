//! Bringing features to one scale, fitted on training rows and kept in the model.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::matrix::{MatRef, Matrix, Storage};

/// How features are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// As they are.
    None,
    /// Each row divided by its Euclidean norm.
    L2,
    /// Each feature to mean 0 and standard deviation 1.
    Standard,
}

/// A fitted scaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Scaler {
    /// Leaves features as they are.
    None,
    /// Divides each row by its norm; a row of zeros stays.
    L2,
    /// Subtracts `mean` and divides by `deviation`, D values each.
    Standard {
        /// Mean of each feature over the training rows.
        mean: Vec<f32>,
        /// Population standard deviation (divisor n) of each feature; 1 where a feature is constant.
        deviation: Vec<f32>,
    },
}

/// Deviations below this share of the mean's size are rounding, not spread.
const CONSTANT: f64 = 1e-7;

impl Scaler {
    /// Fits `scale` on the rows `rows` of `features`. Returns the scaler and the number of constant features.
    pub fn fit(scale: Scale, features: &Matrix, rows: &[usize]) -> (Self, usize) {
        match scale {
            Scale::None => (Scaler::None, 0),
            Scale::L2 => (Scaler::L2, 0),
            Scale::Standard => standard(features, rows),
        }
    }

    /// Number of features it was fitted for, where it depends on them.
    pub fn features(&self) -> Option<usize> {
        match self {
            Scaler::Standard { mean, deviation } => Some(mean.len().max(deviation.len())),
            _ => None,
        }
    }

    /// Scales all rows in place; f16 and bf16 values are widened to f32 first.
    pub fn apply(&self, features: &mut Matrix) {
        if *self == Scaler::None || features.cols() == 0 {
            return;
        }
        let cols = features.cols();
        widen(features);
        let Storage::F32(values) = features.storage_mut() else { return };
        match self {
            Scaler::None => {}
            Scaler::L2 => values.par_chunks_exact_mut(cols).with_min_len(256).for_each(|row| {
                let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
                if norm > 0.0 {
                    row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
                }
            }),
            Scaler::Standard { mean, deviation } => {
                values.par_chunks_exact_mut(cols).with_min_len(256).for_each(|row| {
                    for ((x, m), s) in row.iter_mut().zip(mean).zip(deviation) {
                        *x = (*x - m) / s;
                    }
                });
            }
        }
    }
}

fn standard(features: &Matrix, rows: &[usize]) -> (Scaler, usize) {
    // Welford's update in f64: no cancellation where the mean is far from zero.
    let cols = features.cols();
    let mut mean = vec![0.0f64; cols];
    let mut squares = vec![0.0f64; cols];
    for (seen, &row) in rows.iter().enumerate() {
        let weight = 1.0 / (seen + 1) as f64;
        let mut add = |col: usize, value: f32| {
            let value = f64::from(value);
            let delta = value - mean[col];
            mean[col] += delta * weight;
            squares[col] += delta * (value - mean[col]);
        };
        match features.row_range(row, row + 1) {
            MatRef::F32(values) => values.iter().enumerate().for_each(|(col, v)| add(col, *v)),
            MatRef::F16(values) => values.iter().enumerate().for_each(|(col, v)| add(col, v.to_f32())),
            MatRef::Bf16(values) => values.iter().enumerate().for_each(|(col, v)| add(col, v.to_f32())),
        }
    }
    let mut constant = 0;
    let n = rows.len().max(1) as f64;
    let deviation = squares
        .iter()
        .zip(&mean)
        .map(|(s, m)| {
            let deviation = (s / n).sqrt();
            // Not only zero: f32 could not carry anything smaller.
            if deviation <= CONSTANT * m.abs() || deviation < f64::from(f32::MIN_POSITIVE) {
                constant += 1;
                1.0
            } else {
                deviation as f32
            }
        })
        .collect();
    (Scaler::Standard { mean: mean.iter().map(|&m| m as f32).collect(), deviation }, constant)
}

fn widen(features: &mut Matrix) {
    let cols = features.cols();
    let values = match features.storage() {
        Storage::F32(_) => return,
        Storage::F16(values) => values.iter().map(|v| v.to_f32()).collect(),
        Storage::Bf16(values) => values.iter().map(|v| v.to_f32()).collect(),
    };
    *features = Matrix::from_f32(values, cols);
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    fn values(matrix: &Matrix) -> Vec<f32> {
        (0..matrix.rows()).flat_map(|r| (0..matrix.cols()).map(move |c| matrix.get(r, c))).collect()
    }

    #[test]
    fn standard_uses_the_training_rows_alone() {
        let mut features = Matrix::from_f32(vec![1.0, 7.0, 3.0, 7.0, 100.0, 8.0], 2);
        let (scaler, constant) = Scaler::fit(Scale::Standard, &features, &[0, 1]);
        assert_eq!(constant, 1);
        scaler.apply(&mut features);
        assert_eq!(values(&features), [-1.0, 0.0, 1.0, 0.0, 98.0, 1.0]);
    }

    #[test]
    fn a_large_mean_does_not_drown_the_deviation() {
        let features = Matrix::from_f32(vec![1e6 - 1.0, 1e6 + 1.0], 1);
        let (scaler, constant) = Scaler::fit(Scale::Standard, &features, &[0, 1]);
        assert_eq!((scaler, constant), (Scaler::Standard { mean: vec![1e6], deviation: vec![1.0] }, 0));
    }

    #[test]
    fn rows_get_length_one_and_half_precision_is_widened() {
        let narrow = [3.0, 4.0, 0.0, 0.0].map(f16::from_f32).to_vec();
        let mut features = Matrix::from_storage(Storage::F16(narrow), 2);
        Scaler::L2.apply(&mut features);
        assert_eq!(values(&features), [0.6, 0.8, 0.0, 0.0]);
        Scaler::None.apply(&mut features);
        assert_eq!(features.rows(), 2);
    }
}
