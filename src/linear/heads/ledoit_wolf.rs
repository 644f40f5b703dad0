//! The shrinkage of Ledoit & Wolf 2004 for the covariance of one class, as `shrinkage="auto"` of scikit-learn's
//! `LinearDiscriminantAnalysis` takes it: of features scaled to deviation 1, scaled back afterwards.

use crate::linear::gram::weighted_products;
use crate::linear::products::Arithmetic;
use crate::linear::rows::Rows;
use crate::linear::solver::second_moments::multiply;
use crate::simd::{Kernels, PackedWeights};
use crate::stop::Stop;

/// Rows gathered together.
const BLOCK_ROWS: usize = 256;

/// What becomes of the covariance `S_c` of a class: `(1 - share) S_c + diagonal`.
pub(super) struct ShrunkClass {
    /// Share that is replaced, 0 to 1.
    pub(super) share: f64,
    /// What takes its place: D values.
    pub(super) diagonal: Vec<f64>,
}

/// The rows of one class as deviations from their mean, in units of the standard deviation of each feature.
struct Standardised<'a> {
    rows: &'a Rows<'a>,
    kernels: &'static Kernels,
    mean: &'a [f64],
    deviation: Vec<f64>,
}

/// The rows at `positions` under `weights` (the sum takes the place of the number of rows, so that a row of weight k is
/// k rows), of mean `mean`.
pub(super) fn shrink(
    rows: &Rows<'_>,
    positions: &[usize],
    weights: &[f64],
    mean: &[f64],
    kernels: &'static Kernels,
) -> ShrunkClass {
    let features = mean.len();
    let number: f64 = weights.iter().sum();
    let mut standardised = Standardised { rows, kernels, mean, deviation: vec![1.0; features] };
    let mut variance = vec![0.0; features];
    standardised.for_each(positions, weights, |x, weight| {
        variance.iter_mut().zip(x).for_each(|(sum, &x)| *sum += weight * f64::from(x) * f64::from(x));
    });
    for ((deviation, variance), mean) in standardised.deviation.iter_mut().zip(&variance).zip(mean) {
        let variance = variance / number;
        // What rounding leaves of a constant feature is no variance; scikit-learn draws the same line.
        if variance > (number * mean * f64::EPSILON).powi(2) {
            *deviation = variance.sqrt();
        }
    }
    let share_and_scale = standardised.estimate(positions, weights, number);
    let (share, scale) = if features > 1 && number > 0.0 { share_and_scale } else { (0.0, 0.0) };
    let diagonal = standardised.deviation.iter().map(|d| share * scale * d * d).collect();
    ShrunkClass { share, diagonal }
}

impl Standardised<'_> {
    fn load(&self, positions: &[usize], x: &mut [f32]) {
        self.rows.gather_into(self.kernels, None, positions, x);
        for row in x.chunks_exact_mut(self.mean.len().max(1)) {
            for ((x, mean), deviation) in row.iter_mut().zip(self.mean).zip(&self.deviation) {
                *x = ((f64::from(*x) - mean) / deviation) as f32;
            }
        }
    }

    fn for_each(&self, positions: &[usize], weights: &[f64], mut visit: impl FnMut(&[f32], f64)) {
        let features = self.mean.len();
        let mut x = vec![0.0; BLOCK_ROWS.min(positions.len()) * features];
        for (positions, weights) in positions.chunks(BLOCK_ROWS).zip(weights.chunks(BLOCK_ROWS)) {
            let x = &mut x[..positions.len() * features];
            self.load(positions, x);
            x.chunks_exact(features.max(1)).zip(weights).for_each(|(x, &weight)| visit(x, weight));
        }
    }

    /// The share, and the mean variance that the shrunk part has. Lemma 3.2 to 3.4 of the paper.
    fn estimate(&self, positions: &[usize], weights: &[f64], number: f64) -> (f64, f64) {
        let features = self.mean.len() as f64;
        let (mut trace, mut fourth) = (0.0, 0.0);
        self.for_each(positions, weights, |x, weight| {
            let length: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            trace += weight * length / number;
            fourth += weight * length * length / number;
        });
        let squares = self.squared_norm(positions, weights) / (number * number);
        let scale = trace / features;
        let distance = squares - 2.0 * scale * trace + features * scale * scale;
        let error = (fourth - squares) / number;
        let share = if error > 0.0 { (error / distance).min(1.0) } else { 0.0 };
        (if share.is_nan() { 0.0 } else { share }, scale)
    }

    /// `||sum_r w_r x_r x_r'||^2` (Frobenius), through the products of features or of rows, whichever are fewer.
    fn squared_norm(&self, positions: &[usize], weights: &[f64]) -> f64 {
        let features = self.mean.len();
        if positions.len() >= features {
            let weights: Vec<f32> = weights.iter().map(|&w| w as f32).collect();
            let load = |positions: &[usize], x: &mut [f32]| self.load(positions, x);
            let rows = (positions, &weights[..]);
            let arithmetic = Arithmetic::of_dense(self.kernels, features);
            let (gram, _) = weighted_products(features, rows, arithmetic, &Stop::default(), load);
            let square = |x: f32| f64::from(x) * f64::from(x);
            let row = |(i, row): (usize, &[f32])| {
                2.0 * row[i..].iter().map(|&x| square(x)).sum::<f64>() - square(row[i])
            };
            return gram.chunks_exact(features.max(1)).enumerate().map(row).sum();
        }
        let mut x = vec![0.0; positions.len() * features];
        self.load(positions, &mut x);
        for (row, weight) in x.chunks_exact_mut(features).zip(weights) {
            row.iter_mut().for_each(|x| *x = (f64::from(*x) * weight.sqrt()) as f32);
        }
        let mut packed = PackedWeights::default();
        self.kernels.pack_weights(&x, positions.len(), features, &mut packed);
        let mut products = vec![0.0; positions.len() * positions.len()];
        multiply(&x, features, &packed, &mut products, (self.kernels, &Stop::default()));
        products.iter().map(|&p| f64::from(p) * f64::from(p)).sum()
    }
}
