//! Linear discriminant analysis with shrinkage (Fisher 1936; Wang et al. 2024 for pretrained features), in closed form.
//!
//! `w_c = S^-1 mu_c` and `b_c = log prior_c - mu_c' S^-1 mu_c / 2` with `S = sum_c prior_c S_c`, the covariances of the
//! classes under their prior, as in scikit-learn: a natural prior pools them by rows, a uniform one weighs all classes
//! alike. Either way the softmax of the logits is the posterior under that prior.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::ledoit_wolf::{ShrunkClass, shrink};
use super::means::{ClassMeans, positions_by_class};
use crate::linear::gram::weighted_products;
use crate::linear::model::LinearModel;
use crate::linear::products::Arithmetic;
use crate::linear::search::Sample;
use crate::linear::solver::factor::InverseFactor;
use crate::simd::Kernels;
use crate::stop::Stop;
use crate::{Error, Result};

/// Features at most: 64 MiB a covariance.
pub const MOST_FEATURES: usize = 4096;

/// How much of the covariance gives way to a diagonal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shrinkage {
    /// By the formula of Ledoit & Wolf 2004, for each class by itself: `shrinkage="auto"` of scikit-learn.
    LedoitWolf,
    /// `(1 - s) S + s tr(S)/D I` with this s, 0 to 1.
    Given(f64),
}

/// Class frequencies that the posterior is stated for, and that weigh the covariances of the classes.
#[derive(Debug, Clone, PartialEq)]
pub enum LdaPrior {
    /// The (weighted) shares of the rows.
    Natural,
    /// All classes alike.
    Uniform,
    /// One positive number a class; only their ratios count.
    Given(Vec<f64>),
}

impl LdaPrior {
    /// Shares of sum 1.
    fn shares(&self, means: &ClassMeans) -> Result<Vec<f64>> {
        let raw = match self {
            LdaPrior::Natural => means.weights.clone(),
            LdaPrior::Uniform => vec![1.0; means.classes()],
            LdaPrior::Given(shares) => shares.clone(),
        };
        let bad =
            |detail: String| Error::BadPrior { place: "prior of the discriminant analysis".into(), detail };
        if raw.len() != means.classes() {
            return Err(bad(format!("{} shares for {} classes", raw.len(), means.classes())));
        }
        let total: f64 = raw.iter().sum();
        match raw.iter().position(|share| !(*share > 0.0 && total.is_finite())) {
            Some(class) => Err(bad(format!("class {class} (by code) has share {}", raw[class]))),
            None => Ok(raw.iter().map(|share| share / total).collect()),
        }
    }
}

/// `lda` of one shrinkage; [`Lda`] serves several.
///
/// # Errors
/// Those of [`Lda::new`] and [`Lda::model`].
pub fn lda(
    sample: &Sample<'_>,
    shrinkage: Shrinkage,
    prior: &LdaPrior,
    kernels: &'static Kernels,
) -> Result<LinearModel> {
    Lda::new(*sample, prior, kernels)?.model(shrinkage)
}

/// Means and covariances of the classes of a sample, from which a model of any shrinkage follows.
#[derive(Debug)]
pub struct Lda<'a> {
    sample: Sample<'a>,
    kernels: &'static Kernels,
    means: ClassMeans,
    by_class: Vec<Vec<usize>>,
    prior: Vec<f64>,
    /// The pooled covariance without shrinkage, once a given strength asks for it; upper triangle.
    pooled: OnceLock<Vec<f32>>,
}

impl<'a> Lda<'a> {
    /// Takes the means of the classes. Sparse rows are widened block by block.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above [`MOST_FEATURES`] features; [`Error::BadPrior`] for shares that are no prior.
    pub fn new(sample: Sample<'a>, prior: &LdaPrior, kernels: &'static Kernels) -> Result<Self> {
        let features = sample.rows.features();
        if features > MOST_FEATURES {
            let bytes = |features: usize| (features as u64).saturating_mul(features as u64).saturating_mul(4);
            return Err(Error::TooLarge {
                what: format!("the covariance of {features} features (discriminant analysis)"),
                need: bytes(features),
                limit: bytes(MOST_FEATURES),
            });
        }
        let means = ClassMeans::of(&sample);
        let prior = prior.shares(&means)?;
        let by_class = positions_by_class(sample.labels, sample.classes);
        // A covariance that shrinkage hardly touches needs the digits that split floats lack.
        let kernels = kernels.in_f32();
        Ok(Lda { sample, kernels, means, by_class, prior, pooled: OnceLock::new() })
    }

    /// The model of a shrinkage: one Cholesky factor. Weights are those of means relative to their centre, which moves the
    /// logits of a row by one number for all classes.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a shrinkage outside [0, 1], and where it leaves the covariance singular.
    pub fn model(&self, shrinkage: Shrinkage) -> Result<LinearModel> {
        let features = self.sample.rows.features();
        let covariance = match shrinkage {
            Shrinkage::LedoitWolf => self.by_ledoit_wolf(),
            Shrinkage::Given(share) if (0.0..=1.0).contains(&share) => self.by_share(share),
            Shrinkage::Given(share) => {
                return Err(refused(share.to_string(), "is outside [0, 1]"));
            }
        };
        let never = Stop::default();
        let Some(factor) = InverseFactor::new(covariance.clone(), features, self.kernels, &never) else {
            let shown = match shrinkage {
                Shrinkage::LedoitWolf => "auto".to_owned(),
                Shrinkage::Given(share) => share.to_string(),
            };
            return Err(refused(shown, "leaves the covariance of the classes singular"));
        };
        let centre = self.means.centre(&self.prior);
        let offsets: Vec<f64> = (0..self.means.classes())
            .flat_map(|class| self.means.mean(class).iter().zip(&centre).map(|(m, c)| m - c))
            .collect();
        let weights = solve(&factor, mirrored(covariance, features), &offsets, features);
        Ok(self.means.model(|class| {
            let (from, to) = (class * features, (class + 1) * features);
            let (w, offset) = (&weights[from..to], &offsets[from..to]);
            let along = |v: &[f64]| w.iter().zip(v).map(|(w, v)| w * v).sum::<f64>();
            (w.to_vec(), self.prior[class].ln() - 0.5 * along(offset) - along(&centre))
        }))
    }

    fn by_share(&self, share: f64) -> Vec<f32> {
        let features = self.sample.rows.features();
        let pooled = self.pooled.get_or_init(|| self.pooled(&vec![1.0; self.means.classes()]));
        let trace: f64 = (0..features).map(|i| f64::from(pooled[i * features + i])).sum();
        let mut covariance: Vec<f32> =
            pooled.iter().map(|&s| ((1.0 - share) * f64::from(s)) as f32).collect();
        for i in 0..features {
            let own = &mut covariance[i * features + i];
            *own = (f64::from(*own) + share * trace / features as f64) as f32;
        }
        covariance
    }

    fn by_ledoit_wolf(&self) -> Vec<f32> {
        let features = self.sample.rows.features();
        let shrunk: Vec<ShrunkClass> = self
            .by_class
            .par_iter()
            .enumerate()
            .map(|(class, positions)| {
                let weights: Vec<f64> = positions.iter().map(|&at| self.sample.row_weight(at)).collect();
                shrink(&self.sample.rows, positions, &weights, self.means.mean(class), self.kernels)
            })
            .collect();
        let kept: Vec<f64> = shrunk.iter().map(|class| 1.0 - class.share).collect();
        let mut covariance = self.pooled(&kept);
        for i in 0..features {
            let added: f64 =
                shrunk.iter().zip(&self.prior).map(|(class, prior)| prior * class.diagonal[i]).sum();
            let own = &mut covariance[i * features + i];
            *own = (f64::from(*own) + added) as f32;
        }
        covariance
    }

    /// `sum_c prior_c kept_c S_c`, upper triangle: one pass over rows minus the means of their classes.
    fn pooled(&self, kept: &[f64]) -> Vec<f32> {
        let Sample { rows, labels, .. } = self.sample;
        let features = rows.features();
        let means: Vec<f32> = self.means.means.iter().map(|&m| m as f32).collect();
        let load = |positions: &[usize], x: &mut [f32]| {
            rows.gather_into(self.kernels, None, positions, x);
            for (row, &position) in x.chunks_exact_mut(features.max(1)).zip(positions) {
                let mean = &means[labels[position] as usize * features..][..features];
                self.kernels.axpy(-1.0, mean, row);
            }
        };
        let positions: Vec<usize> = (0..rows.len()).collect();
        let weight = |&position: &usize| {
            let class = labels[position] as usize;
            let share = self.sample.row_weight(position) / self.means.weights[class];
            (self.prior[class] * kept[class] * share) as f32
        };
        let weights: Vec<f32> = positions.iter().map(weight).collect();
        let arithmetic = Arithmetic::of_dense(self.kernels, features);
        weighted_products(features, (&positions, &weights), arithmetic, &Stop::default(), load).0
    }
}

fn refused(value: String, why: &str) -> Error {
    Error::bad_value(
        "shrinkage",
        value,
        why,
        "give a share from 0 to 1; 0.1 and more always leave a full rank",
    )
}

/// The whole of a symmetric matrix given by its upper triangle.
fn mirrored(mut matrix: Vec<f32>, size: usize) -> Vec<f32> {
    for i in 0..size {
        for j in 0..i {
            matrix[i * size + j] = matrix[j * size + i];
        }
    }
    matrix
}

/// `matrix^-1` times each row of `right`. The factor is of f32: its error is taken back twice with residuals in f64
/// (iterative refinement, Wilkinson 1963).
fn solve(factor: &InverseFactor, matrix: Vec<f32>, right: &[f64], size: usize) -> Vec<f64> {
    const REFINEMENTS: usize = 2;
    let mut solution = vec![0.0; right.len()];
    let mut residual: Vec<f32> = right.iter().map(|&r| r as f32).collect();
    for round in 0..=REFINEMENTS {
        factor.solve(&mut residual);
        solution.iter_mut().zip(&residual).for_each(|(x, &step)| *x += f64::from(step));
        if round == REFINEMENTS {
            break;
        }
        let rows = residual.par_chunks_mut(size).zip(right.par_chunks(size)).zip(solution.par_chunks(size));
        rows.for_each(|((residual, right), solution)| {
            for ((r, right), row) in residual.iter_mut().zip(right).zip(matrix.chunks_exact(size)) {
                let product: f64 = row.iter().zip(solution).map(|(&a, x)| f64::from(a) * x).sum();
                *r = (right - product) as f32;
            }
        });
    }
    solution
}
