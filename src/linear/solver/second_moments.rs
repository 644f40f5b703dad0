//! Second moments of the features under row weights, in the form that a shape affords, and solves with them.
//!
//! Up to some thousand features: the matrix of the products of each two. More of them, dense: through the products of rows,
//! `(k X^T X + l I)^-1 = (I - X^T (X X^T + l/k I)^-1 X) / l`. More of them, sparse: the products of those that vary most,
//! and of the others the variance alone.

use rayon::prelude::*;

use super::factor::InverseFactor;
use crate::checkpoint::codec::Stored;
use crate::linear::gram::{sparse_covariance, weighted_covariance};
use crate::linear::objective::Objective;
use crate::linear::rows::Rows;
use crate::simd::{Kernels, PackedWeights};
use crate::stop::Stop;

/// Feature count up to which the matrix of all their products is factored.
pub(super) const MOST_FEATURES: usize = 4096;
/// Features of many sparse ones whose products are taken.
const SOME_FEATURES: usize = 2048;
/// Rows that stand for all in the row form.
const MOST_ROWS: usize = 2048;

/// What second moments are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The products of all features.
    OfFeatures {
        /// Rows that they are summed over.
        rows: usize,
        /// Number of features D.
        features: usize,
    },
    /// The products of the features that vary most, and the variance of the others.
    OfSomeFeatures {
        /// Rows that the products are summed over.
        rows: usize,
        /// Number of features with products.
        features: usize,
    },
    /// The products of some rows.
    OfRows {
        /// Number of them.
        rows: usize,
    },
}

impl Form {
    /// The form for these rows.
    pub fn of(rows: &Rows<'_>) -> Self {
        let features = rows.features();
        let sampled = |features: usize| rows.len().min((16 * features).max(8192));
        if features <= MOST_FEATURES {
            Form::OfFeatures { rows: sampled(features), features }
        } else if rows.is_sparse() {
            Form::OfSomeFeatures { rows: sampled(SOME_FEATURES), features: SOME_FEATURES }
        } else {
            Form::OfRows { rows: rows.len().min(MOST_ROWS) }
        }
    }

    /// Rows at most that it is made from.
    pub(super) fn rows(self) -> usize {
        let (Form::OfFeatures { rows, .. } | Form::OfSomeFeatures { rows, .. } | Form::OfRows { rows }) =
            self;
        rows
    }

    /// Size of the matrix that is factored.
    pub(super) fn size(self) -> usize {
        match self {
            Form::OfFeatures { features, .. } | Form::OfSomeFeatures { features, .. } => features,
            Form::OfRows { rows } => rows,
        }
    }
}

#[derive(Debug)]
pub(super) enum SecondMoments {
    /// `D x D`, upper triangle.
    Features(Vec<f32>),
    /// The chosen features, ascending; the products of each two of them, upper triangle; the variance of every feature.
    SomeFeatures { chosen: Vec<usize>, products: Vec<f32>, variance: Vec<f64> },
    /// Centred rows times the root of their weight, and the products of each two.
    Rows { rows: Vec<f32>, packed: Box<PackedWeights>, products: Vec<f32> },
}

/// Without what [`SecondMoments::make_ready`] makes of it.
impl Stored for SecondMoments {
    fn store(&self, out: &mut Vec<u8>) {
        match self {
            SecondMoments::Features(products) => {
                out.push(0);
                products.store(out);
            }
            SecondMoments::SomeFeatures { chosen, products, variance } => {
                out.push(1);
                chosen.store(out);
                products.store(out);
                variance.store(out);
            }
            SecondMoments::Rows { rows, products, .. } => {
                out.push(2);
                rows.store(out);
                products.store(out);
            }
        }
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        Some(match u8::load(from)? {
            0 => SecondMoments::Features(Stored::load(from)?),
            1 => SecondMoments::SomeFeatures {
                chosen: Stored::load(from)?,
                products: Stored::load(from)?,
                variance: Stored::load(from)?,
            },
            2 => SecondMoments::Rows {
                rows: Stored::load(from)?,
                products: Stored::load(from)?,
                packed: Box::default(),
            },
            _ => return None,
        })
    }
}

impl SecondMoments {
    /// Whether all sizes are those of moments of so many features.
    pub(super) fn fits(&self, features: usize) -> bool {
        let is_square = |size: usize| size.checked_mul(size) == Some(self.products().len());
        match self {
            SecondMoments::Features(_) => is_square(features),
            SecondMoments::SomeFeatures { chosen, variance, .. } => {
                let is_ascending = chosen.is_sorted_by(|a, b| a < b);
                let is_within = is_ascending && chosen.last().is_none_or(|&last| last < features);
                is_within && is_square(chosen.len()) && variance.len() == features
            }
            SecondMoments::Rows { rows, products, .. } => {
                let size = products.len().isqrt();
                is_square(size) && size.checked_mul(features) == Some(rows.len())
            }
        }
    }

    /// Lays out again what was stored.
    pub(super) fn make_ready(&mut self, kernels: &Kernels) {
        if let SecondMoments::Rows { rows, packed, products } = self
            && packed.classes() == 0
        {
            let size = products.len().isqrt();
            kernels.pack_weights(rows, size, rows.len() / size.max(1), packed);
        }
    }

    /// Those of the rows at `positions` under `weights` of sum 1, and their mean, in the coordinates of the objective.
    pub(super) fn of(objective: &Objective<'_>, positions: &[usize], weights: &[f32]) -> (Self, Vec<f32>) {
        let (rows, centre) = (&objective.problem().rows, objective.centre());
        match Form::of(rows) {
            Form::OfFeatures { features, .. } if rows.is_sparse() => {
                let all: Vec<usize> = (0..features).collect();
                let (products, mean) = sparse_covariance(rows, &all, positions, weights);
                (SecondMoments::Features(products), mean)
            }
            Form::OfFeatures { .. } => {
                let (products, mean) =
                    weighted_covariance(rows, centre, positions, weights, objective.kernels());
                (SecondMoments::Features(products), mean)
            }
            Form::OfSomeFeatures { features, .. } => {
                let variance = objective.moments().variance.clone();
                let chosen = largest(&variance, features);
                let (products, mean) = sparse_covariance(rows, &chosen, positions, weights);
                (SecondMoments::SomeFeatures { chosen, products, variance }, mean)
            }
            Form::OfRows { .. } => SecondMoments::of_rows(objective, positions, weights),
        }
    }

    pub(super) fn of_rows(
        objective: &Objective<'_>,
        positions: &[usize],
        weights: &[f32],
    ) -> (Self, Vec<f32>) {
        let (problem, kernels) = (objective.problem(), objective.kernels());
        let features = problem.rows.features();
        let size = positions.len();
        let mut rows = vec![0.0; size * features];
        problem.rows.gather_into(kernels, objective.centre(), positions, &mut rows);
        let mut mean = vec![0.0; features];
        kernels.accumulate_gradient(weights, 1, 1, &rows, features, &mut mean);
        for (row, &weight) in rows.chunks_exact_mut(features).zip(weights) {
            kernels.axpy(-1.0, &mean, row);
            let root = weight.max(0.0).sqrt();
            row.iter_mut().for_each(|x| *x *= root);
        }
        let mut packed = Box::<PackedWeights>::default();
        kernels.pack_weights(&rows, size, features, &mut packed);
        let mut products = vec![0.0; size * size];
        multiply(&rows, features, &packed, &mut products, (kernels, problem.rows.stop()));
        (SecondMoments::Rows { rows, packed, products }, mean)
    }

    fn products(&self) -> &[f32] {
        match self {
            SecondMoments::Features(products)
            | SecondMoments::SomeFeatures { products, .. }
            | SecondMoments::Rows { products, .. } => products,
        }
    }

    /// Variance of a feature, on average over `features`.
    pub(super) fn mean_variance(&self, features: usize) -> f64 {
        let total = match self {
            SecondMoments::SomeFeatures { variance, .. } => variance.iter().sum(),
            _ => {
                let size = self.products().len().isqrt();
                (0..size).map(|i| f64::from(self.products()[i * size + i])).sum::<f64>()
            }
        };
        total / features.max(1) as f64
    }

    /// Factors `curvature` times the moments plus `ridge` on the diagonal; `None` where f32 does not resolve it, and where
    /// `stop` is set.
    pub(super) fn factor(
        &self,
        curvature: f64,
        ridge: f64,
        kernels: &'static Kernels,
        stop: &Stop,
    ) -> Option<InverseFactor> {
        let size = self.products().len().isqrt();
        // In the row form the curvature is divided out: (k X^T X + l I) = k (X^T X + l/k I).
        let (scale, diagonal) = match self {
            SecondMoments::Features(_) | SecondMoments::SomeFeatures { .. } => (curvature, ridge),
            SecondMoments::Rows { .. } => (1.0, ridge / curvature),
        };
        let mut matrix: Vec<f32> = self.products().iter().map(|&m| (scale * f64::from(m)) as f32).collect();
        for i in 0..size {
            matrix[i * size + i] += diagonal as f32;
        }
        InverseFactor::new(matrix, size, kernels, stop)
    }

    /// Replaces each row of `gradient` (any number x D) by what [`SecondMoments::factor`] has factored, inverted, times it.
    pub(super) fn solve(
        &self,
        factor: &InverseFactor,
        curvature: f64,
        ridge: f64,
        gradient: &mut [f32],
        kernels: &Kernels,
    ) {
        match self {
            SecondMoments::Features(_) => factor.solve(gradient),
            SecondMoments::SomeFeatures { chosen, variance, .. } => {
                let mut solved = Vec::new();
                let rows = gradient.chunks_exact(variance.len());
                rows.for_each(|row| solved.extend(chosen.iter().map(|&feature| row[feature])));
                factor.solve(&mut solved);
                let rows =
                    gradient.par_chunks_exact_mut(variance.len()).zip(solved.par_chunks_exact(chosen.len()));
                rows.for_each(|(row, solved)| {
                    for (g, variance) in row.iter_mut().zip(variance) {
                        *g = (f64::from(*g) / (curvature * variance + ridge)) as f32;
                    }
                    chosen.iter().zip(solved).for_each(|(&feature, &solved)| row[feature] = solved);
                });
            }
            SecondMoments::Rows { rows, packed, products } => {
                let size = products.len().isqrt();
                let features = rows.len() / size.max(1);
                let classes = gradient.len() / features.max(1);
                let mut along = vec![0.0; classes * size];
                multiply(gradient, features, packed, &mut along, (kernels, factor.stop()));
                factor.solve(&mut along);
                let mut by_row = vec![0.0; along.len()];
                for (class, values) in along.chunks_exact(size).enumerate() {
                    for (row, &value) in values.iter().enumerate() {
                        by_row[row * classes + class] = -value;
                    }
                }
                kernels.accumulate_gradient(&by_row, classes, classes, rows, features, gradient);
                gradient.iter_mut().for_each(|g| *g = (f64::from(*g) / ridge) as f32);
            }
        }
    }
}

/// The places of the `most` largest values, ascending; among equals the first.
fn largest(values: &[f64], most: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    places.truncate(most);
    places.sort_unstable();
    places
}

/// `z = x W^T` in parallel over rows of x.
pub(in crate::linear) fn multiply(
    x: &[f32],
    features: usize,
    packed: &PackedWeights,
    z: &mut [f32],
    (kernels, stop): (&Kernels, &Stop),
) {
    const ROWS: usize = 64;
    let bias = vec![0.0; packed.classes()];
    z.par_chunks_mut(ROWS * bias.len())
        .zip(x.par_chunks(ROWS * features))
        .filter(|_| !stop.is_set())
        .for_each(|(z, x)| kernels.logits(x, features, packed, &bias, z, bias.len()));
}
