//! Learnable weight scaling (Kang et al. 2020, section 4.2): one scale a class for a model whose weights stay.

use rayon::prelude::*;

use crate::labels::ClassCounts;
use crate::linear::model::LinearModel;
use crate::linear::search::Sample;
use crate::simd::Kernels;
use crate::weighting::{ClassWeights, Normalisation, Scheme};
use crate::{Error, Result};

/// Bytes of logits at most.
const MOST_BYTES: u64 = 4 << 30;
/// Rows whose sums are taken together; fixed, so that they do not depend on the number of threads.
const CHUNK_ROWS: usize = 1024;
/// Newton steps at most, and conjugate gradients of each.
const STEPS: usize = 100;
const INNER_STEPS: usize = 100;

/// `model` with `s_c w_c` for its weights, where s minimises, over the rows of `sample` under classes of equal total
/// weight, the mean cross entropy of the logits `s_c w_c x + b_c` plus `ridge/2 sum_c (s_c - 1)^2`. The ridge (not
/// negative) keeps scales finite where the rows are separable; the paper stops early instead. The softmax of the new
/// logits is a posterior under equal priors, whatever loss and weights `model` was fitted with.
///
/// # Errors
/// [`Error::TooLarge`] where rows times classes need more than 4 GiB of logits, [`Error::Diverged`] where logits are not
/// finite, and those of [`ClassWeights::new`].
pub fn lws(
    model: &LinearModel,
    sample: &Sample<'_>,
    ridge: f64,
    kernels: &'static Kernels,
) -> Result<LinearModel> {
    let need = (sample.rows.len() as u64).saturating_mul(4 * model.classes() as u64);
    if need > MOST_BYTES {
        return Err(Error::TooLarge { what: "the logits of all rows".into(), need, limit: MOST_BYTES });
    }
    let counts = ClassCounts::of(sample.labels, sample.row_weights, sample.classes);
    let balanced = ClassWeights::new(&Scheme::Inverse, &counts, Normalisation::Samples, None)?;
    let unbiased = LinearModel { bias: vec![0.0; model.classes()], ..model.clone() };
    let problem = Scaling {
        logits: unbiased.logits_of(sample.rows, kernels),
        bias: model.bias.iter().map(|&b| f64::from(b)).collect(),
        labels: sample.labels,
        weights: balanced.row_weights(sample.labels, sample.row_weights),
        ridge,
    };
    let scales = problem.minimise()?;
    let mut scaled = model.clone();
    for (row, scale) in scaled.weight.chunks_exact_mut(model.features.max(1)).zip(scales) {
        row.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
    }
    scaled.loss = crate::loss::Loss::Softmax;
    Ok(scaled)
}

/// The convex problem in the scales.
struct Scaling<'a> {
    /// `w_c x_i`, `N x C`.
    logits: Vec<f32>,
    bias: Vec<f64>,
    labels: &'a [u32],
    weights: Vec<f32>,
    ridge: f64,
}

/// Value, gradient and diagonal of the Hessian.
struct Local {
    value: f64,
    gradient: Vec<f64>,
    diagonal: Vec<f64>,
}

impl Scaling<'_> {
    /// Newton's method with conjugate gradients (Steihaug 1983) and backtracking: no `C x C` matrix is needed.
    fn minimise(&self) -> Result<Vec<f64>> {
        let mut scales = vec![1.0; self.bias.len()];
        let mut here = self.local(&scales);
        if !here.value.is_finite() {
            let place = "the scales of the logits".into();
            return Err(Error::Diverged { value: here.value, place, lr: "none: Newton".into() });
        }
        let start = dot(&here.gradient, &here.gradient).sqrt();
        for _ in 0..STEPS {
            let size = dot(&here.gradient, &here.gradient).sqrt();
            if size <= 1e-9 * start.max(1e-9) {
                break;
            }
            let direction = self.direction(&scales, &here, (size / start).sqrt().min(0.1));
            let slope = dot(&direction, &here.gradient);
            let Some((next, local)) = self.step(&scales, &here, &direction, slope) else { break };
            (scales, here) = (next, local);
        }
        Ok(scales)
    }

    /// The first of 1, 1/2, 1/4, ... of `direction` with enough of the promised decrease.
    fn step(&self, scales: &[f64], here: &Local, direction: &[f64], slope: f64) -> Option<(Vec<f64>, Local)> {
        (0..40).map(|halvings| 0.5f64.powi(halvings)).find_map(|length| {
            let next: Vec<f64> = scales.iter().zip(direction).map(|(s, d)| s + length * d).collect();
            let local = self.local(&next);
            (local.value <= here.value + 1e-4 * length * slope).then_some((next, local))
        })
    }

    /// `-H^-1 gradient` to a relative residual of `tolerance`.
    fn direction(&self, scales: &[f64], here: &Local, tolerance: f64) -> Vec<f64> {
        let mut x = vec![0.0; scales.len()];
        let mut residual: Vec<f64> = here.gradient.iter().map(|g| -g).collect();
        let scaled = |r: &[f64]| -> Vec<f64> {
            r.iter().zip(&here.diagonal).map(|(r, d)| if *d > 0.0 { r / d } else { 0.0 }).collect()
        };
        let enough = tolerance * tolerance * dot(&residual, &residual);
        let mut along = scaled(&residual);
        let mut size = dot(&residual, &along);
        for _ in 0..INNER_STEPS {
            let product = self.curve(scales, &along);
            let curvature = dot(&along, &product);
            if curvature.is_nan() || curvature <= 0.0 {
                break;
            }
            let length = size / curvature;
            x.iter_mut().zip(&along).for_each(|(x, d)| *x += length * d);
            residual.iter_mut().zip(&product).for_each(|(r, p)| *r -= length * p);
            if dot(&residual, &residual) <= enough {
                break;
            }
            let next = scaled(&residual);
            let before = std::mem::replace(&mut size, dot(&residual, &next));
            along.iter_mut().zip(next).for_each(|(d, n)| *d = n + size / before * *d);
        }
        x
    }

    fn local(&self, scales: &[f64]) -> Local {
        let classes = scales.len();
        let mut sums = self.sum(2 * classes + 1, scales, |logits, p, loss, label, weight, sums| {
            sums[2 * classes] += weight * loss;
            for (class, (&a, &p)) in logits.iter().zip(p).enumerate() {
                let a = f64::from(a);
                sums[class] += weight * a * (p - f64::from(u8::from(class == label)));
                sums[classes + class] += weight * a * a * p * (1.0 - p);
            }
        });
        let from_one: Vec<f64> = scales.iter().map(|s| s - 1.0).collect();
        let value = sums[2 * classes] + 0.5 * self.ridge * dot(&from_one, &from_one);
        let diagonal = sums[classes..2 * classes].iter().map(|d| d + self.ridge).collect();
        sums.truncate(classes);
        sums.iter_mut().zip(&from_one).for_each(|(g, d)| *g += self.ridge * d);
        Local { value, gradient: sums, diagonal }
    }

    /// The Hessian times `v`.
    fn curve(&self, scales: &[f64], v: &[f64]) -> Vec<f64> {
        let mut product = self.sum(scales.len(), scales, |logits, p, _, _, weight, sums| {
            let moved = || logits.iter().zip(v).map(|(&a, v)| f64::from(a) * v);
            let mean: f64 = moved().zip(p).map(|(m, p)| m * p).sum();
            for ((sum, (&a, p)), moved) in sums.iter_mut().zip(logits.iter().zip(p)).zip(moved()) {
                *sum += weight * f64::from(a) * p * (moved - mean);
            }
        });
        product.iter_mut().zip(v).for_each(|(p, v)| *p += self.ridge * v);
        product
    }

    /// Sums over rows, relative to the total weight: `add` gets logits, probabilities, loss, label and weight of a row.
    fn sum(
        &self,
        length: usize,
        scales: &[f64],
        add: impl Fn(&[f32], &[f64], f64, usize, f64, &mut [f64]) + Sync,
    ) -> Vec<f64> {
        let classes = scales.len();
        let chunks = self.logits.par_chunks(CHUNK_ROWS * classes);
        let rows = self.labels.par_chunks(CHUNK_ROWS).zip(self.weights.par_chunks(CHUNK_ROWS));
        let parts: Vec<Vec<f64>> = chunks
            .zip(rows)
            .map(|(logits, (labels, weights))| {
                let (mut sums, mut p) = (vec![0.0; length], vec![0.0; classes]);
                for ((logits, &label), &weight) in logits.chunks_exact(classes).zip(labels).zip(weights) {
                    let label = label as usize;
                    let loss = softmax(logits, scales, &self.bias, label, &mut p);
                    add(logits, &p, loss, label, f64::from(weight), &mut sums);
                }
                sums
            })
            .collect();
        let total: f64 = self.weights.iter().map(|&w| f64::from(w)).sum();
        let mut sums = vec![0.0; length];
        for part in parts {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part / total);
        }
        sums
    }
}

/// Probabilities of the scaled logits into `p`; returns the cross entropy.
fn softmax(logits: &[f32], scales: &[f64], bias: &[f64], label: usize, p: &mut [f64]) -> f64 {
    let mut peak = f64::NEG_INFINITY;
    for ((p, &a), (s, b)) in p.iter_mut().zip(logits).zip(scales.iter().zip(bias)) {
        *p = s * f64::from(a) + b;
        peak = peak.max(*p);
    }
    let own = p[label] - peak;
    let mut total = 0.0;
    for p in p.iter_mut() {
        *p = (*p - peak).exp();
        total += *p;
    }
    p.iter_mut().for_each(|p| *p /= total);
    total.ln() - own
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
