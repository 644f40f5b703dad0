//! Weighted covariance of rows: the second moments that a metric for the weights is made of.

use rayon::prelude::*;

use super::products::Arithmetic;
use super::rows::Rows;
use crate::simd::{Kernels, Precision, TileKernels, TileRows, TileScratch};
use crate::stop::Stop;

/// Rows read together.
const BLOCK_ROWS: usize = 256; // the depth of one sweep of the product
/// Bytes that partial matrices may take together; fixed, so that sums do not depend on the number of threads.
const PARTIAL_BYTES: usize = 16 << 20;
const MAX_PARTIALS: usize = 16;

/// Covariance `D x D` (row-major, only the upper triangle is to be read) and mean of the rows at `positions` minus
/// `centre`, under `weights` of sum 1. Sums in f32, so `centre` should be near the mean; of products in bf16 where these are
/// faster, which leaves the passes of a fit in this metric as they are.
pub fn weighted_covariance(
    rows: &Rows<'_>,
    centre: Option<&[f32]>,
    positions: &[usize],
    weights: &[f32],
    kernels: &'static Kernels,
) -> (Vec<f32>, Vec<f32>) {
    let features = rows.features();
    let load = |positions: &[usize], x: &mut [f32]| rows.gather_into(kernels, centre, positions, x);
    let arithmetic = Arithmetic::coarse_of_dense(kernels, features);
    let (mut gram, mean) = weighted_products(features, (positions, weights), arithmetic, rows.stop(), load);
    gram.par_chunks_exact_mut(features.max(1))
        .zip(mean.par_iter())
        .for_each(|(row, &m)| kernels.axpy(-m, &mean, row));
    (gram, mean)
}

/// `sum_r weights[r] x_r x_r'` (`features x features`, upper triangle) and `sum_r weights[r] x_r` over rows that `load`
/// writes for some of the `positions`, `features` values each. Sums in f32.
pub(super) fn weighted_products(
    features: usize,
    (positions, weights): (&[usize], &[f32]),
    arithmetic: Arithmetic,
    stop: &Stop,
    load: impl Fn(&[usize], &mut [f32]) + Sync,
) -> (Vec<f32>, Vec<f32>) {
    let (area, kernels) = (features * features, arithmetic.kernels());
    let partial_rows = positions.len().div_ceil(partials(positions.len(), area)).max(1);
    let sums: Vec<(Vec<f32>, Vec<f32>)> = positions
        .par_chunks(partial_rows)
        .zip(weights.par_chunks(partial_rows))
        .map(|(positions, weights)| {
            let (mut sum, mut mean) = (vec![0.0; area], vec![0.0; features]);
            let mut x = vec![0.0; BLOCK_ROWS * features];
            let mut product = GramProduct::new(arithmetic);
            for (positions, weights) in positions.chunks(BLOCK_ROWS).zip(weights.chunks(BLOCK_ROWS)) {
                if stop.is_set() {
                    break;
                }
                let x = &mut x[..positions.len() * features];
                load(positions, x);
                kernels.accumulate_gradient(weights, 1, 1, x, features, &mut mean);
                product.accumulate(x, features, weights, &mut sum);
            }
            (sum, mean)
        })
        .collect();
    let mut sums = sums.into_iter();
    let (mut gram, mut mean) = sums.next().unwrap_or_else(|| (vec![0.0; area], vec![0.0; features]));
    for (sum, part) in sums {
        gram.par_chunks_mut(1 << 16)
            .zip(sum.par_chunks(1 << 16))
            .for_each(|(gram, sum)| kernels.axpy(1.0, sum, gram));
        kernels.axpy(1.0, &part, &mut mean);
    }
    (gram, mean)
}

/// As [`weighted_covariance`] of the features `chosen` (ascending) of sparse rows; the mean is that of all features.
pub fn sparse_covariance(
    rows: &Rows<'_>,
    chosen: &[usize],
    positions: &[usize],
    weights: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    const LEFT_OUT: usize = usize::MAX;
    let (features, size) = (rows.features(), chosen.len());
    let mut place = vec![LEFT_OUT; features];
    chosen.iter().enumerate().for_each(|(at, &feature)| place[feature] = at);
    let part_rows = positions.len().div_ceil(partials(positions.len(), size * size)).max(1);
    let sums: Vec<(Vec<f32>, Vec<f64>)> = positions
        .par_chunks(part_rows)
        .zip(weights.par_chunks(part_rows))
        .map(|(positions, weights)| {
            let (mut sum, mut mean) = (vec![0.0f32; size * size], vec![0.0f64; features]);
            let mut entries: Vec<(usize, f32)> = Vec::new();
            for (positions, weights) in positions.chunks(BLOCK_ROWS).zip(weights.chunks(BLOCK_ROWS)) {
                if rows.is_stopped() {
                    break;
                }
                rows.visit(positions.iter().copied(), |at, row| {
                    let weight = weights[at];
                    entries.clear();
                    row.for_each_entry(|feature, x| {
                        mean[feature] += f64::from(weight) * f64::from(x);
                        if place[feature] != LEFT_OUT {
                            entries.push((place[feature], x));
                        }
                    });
                    for (at, &(i, x)) in entries.iter().enumerate() {
                        let row = &mut sum[i * size..][..size];
                        let weighted = weight * x;
                        entries[at..].iter().for_each(|&(j, x)| row[j] += weighted * x);
                    }
                });
            }
            (sum, mean)
        })
        .collect();
    let mut sums = sums.into_iter();
    let (mut gram, mut mean) = sums.next().unwrap_or_else(|| (vec![0.0; size * size], vec![0.0; features]));
    for (sum, part) in sums {
        gram.par_iter_mut().zip(&sum).for_each(|(gram, sum)| *gram += sum);
        mean.iter_mut().zip(&part).for_each(|(mean, part)| *mean += part);
    }
    gram.par_chunks_exact_mut(size.max(1)).zip(chosen).for_each(|(row, &i)| {
        for (value, &j) in row.iter_mut().zip(chosen) {
            *value = (f64::from(*value) - mean[i] * mean[j]) as f32;
        }
    });
    (gram, mean.into_iter().map(|mean| mean as f32).collect())
}

/// Parts that `rows` rows are summed in, each a matrix of `area` values.
fn partials(rows: usize, area: usize) -> usize {
    let affordable = (PARTIAL_BYTES / (area * size_of::<f32>()).max(1)).clamp(2, MAX_PARTIALS);
    rows.div_ceil(BLOCK_ROWS).clamp(1, affordable)
}

/// The product of rows with themselves.
pub(super) enum GramProduct {
    Single { kernels: &'static Kernels, weighted: Vec<f32> },
    Tiles { tiles: &'static TileKernels, precision: Precision, rows: TileRows, scratch: TileScratch },
}

impl GramProduct {
    fn new(arithmetic: Arithmetic) -> Self {
        match arithmetic {
            Arithmetic::Tiles(_, tiles, precision) => {
                GramProduct::Tiles { tiles, precision, rows: TileRows::new(), scratch: TileScratch::new() }
            }
            _ => GramProduct::single(arithmetic.kernels()),
        }
    }

    /// In f32.
    pub(super) fn single(kernels: &'static Kernels) -> Self {
        GramProduct::Single { kernels, weighted: Vec::new() }
    }

    /// Adds `sum_r weights[r] x_r x_r'` to the upper triangle of `sum`.
    pub(super) fn accumulate(&mut self, x: &[f32], features: usize, weights: &[f32], sum: &mut [f32]) {
        match self {
            GramProduct::Single { kernels, weighted } => {
                weighted.clear();
                weighted.resize(x.len(), 0.0);
                let rows = weighted.chunks_exact_mut(features.max(1)).zip(x.chunks_exact(features.max(1)));
                for ((weighted, x), &weight) in rows.zip(weights) {
                    kernels.axpy(weight, x, weighted);
                }
                kernels.accumulate_gram(weighted, x, features, sum);
            }
            GramProduct::Tiles { tiles, precision, rows, scratch } => {
                tiles.prepare_rows(x, features, *precision, rows);
                tiles.accumulate_gram(weights, x, rows, sum, scratch);
            }
        }
    }
}
