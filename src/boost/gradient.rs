//! First and second derivatives of the loss in the scores, for all rows.
//!
//! Gradients are the residuals of [`Loss::residuals`], the ones the linear learner walks down. For cross entropies the
//! Hessian follows from the residual, so it is never stored; focal losses have theirs from [`Loss::row_f64`].

use rayon::prelude::*;

use crate::loss::Loss;
pub use crate::simd::Curvature;
use crate::simd::{Kernels, ScoreRows};
use crate::stop::Stop;

/// Rows that one task derives and whose f64 sums are formed at once: fixed, so that sums are the same on any number of
/// threads.
pub(super) const CHUNK: usize = 1 << 14;

/// The loss of a boosted problem: what its derivatives depend on beside the scores.
#[derive(Debug, Clone)]
pub(super) struct Pointwise<'a> {
    pub loss: Loss,
    pub classes: usize,
    /// Scores a row: 1 for two classes, else one a class.
    pub outputs: usize,
    pub labels: &'a [u32],
    /// One weight a row, of mean one.
    pub weights: Vec<f32>,
    /// Added to the scores inside the loss, one an output.
    pub offsets: Option<Vec<f32>>,
    pub curvature: Curvature,
    pub stop: Stop,
}

/// Derivatives of all rows, in chunks of rows; in a chunk, output after output.
#[derive(Debug, Default)]
pub(super) struct Derivatives {
    rows: usize,
    outputs: usize,
    gradients: Vec<f32>,
    /// Hessians in the same places; empty where they follow from gradient and weight.
    hessians: Vec<f32>,
    /// Weights, where Hessians follow from them.
    weights: Vec<f32>,
    /// How.
    rule: Rule,
}

/// How a Hessian follows from gradient and weight.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Rule {
    /// `factor w q (1 - q)` with `q = |g| / w`, the probability of what did not happen.
    Variance { factor: f32 },
    /// `|g|`.
    #[default]
    Magnitude,
    /// It does not.
    Stored,
}

/// 1 for the second of two classes, -1 for the first.
fn sign(label: u32) -> f32 {
    if label == 1 { 1.0 } else { -1.0 }
}

impl Pointwise<'_> {
    fn rule(&self) -> Rule {
        match self.curvature {
            Curvature::Absolute => Rule::Magnitude,
            Curvature::Newton if self.loss.gamma() != 0.0 => Rule::Stored,
            Curvature::Newton => {
                let softmax = matches!(self.loss, Loss::Softmax | Loss::SoftmaxFocal { .. });
                let factor = match self.outputs > 1 && softmax {
                    true => self.classes as f32 / (self.classes - 1) as f32,
                    false => 1.0,
                };
                Rule::Variance { factor }
            }
        }
    }

    /// Derivatives at `scores` (rows x outputs) into `to`; returns the sum of weight x loss.
    pub(super) fn derive(&self, kernels: &Kernels, scores: &[f32], to: &mut Derivatives) -> f64 {
        let (rows, outputs) = (self.labels.len(), self.outputs);
        to.rows = rows;
        to.outputs = outputs;
        to.rule = self.rule();
        to.gradients.resize(rows * outputs, 0.0);
        let stored = to.rule == Rule::Stored;
        to.hessians.resize(if stored { rows * outputs } else { 0 }, 0.0);
        if let Rule::Variance { .. } = to.rule
            && to.weights.is_empty()
        {
            to.weights.extend_from_slice(&self.weights);
        }
        let size = CHUNK * outputs;
        let chunk = |start: usize, gradients: &mut [f32], hessians: &mut [f32]| {
            if self.stop.is_set() {
                return 0.0;
            }
            let (begin, count) = (start * CHUNK, gradients.len() / outputs);
            let labels = &self.labels[begin..begin + count];
            let weights = &self.weights[begin..begin + count];
            let scores = &scores[begin * outputs..(begin + count) * outputs];
            if stored {
                self.derive_exactly(scores, labels, weights, gradients, hessians)
            } else if outputs == 1 && self.classes == 2 {
                self.derive_binary(kernels, scores, labels, weights, gradients)
            } else {
                self.derive_classes(kernels, scores, labels, weights, gradients)
            }
        };
        let losses: Vec<f64> = match stored {
            true => (to.gradients.par_chunks_mut(size).zip(to.hessians.par_chunks_mut(size)).enumerate())
                .map(|(at, (g, h))| chunk(at, g, h))
                .collect(),
            false => {
                to.gradients.par_chunks_mut(size).enumerate().map(|(at, g)| chunk(at, g, &mut [])).collect()
            }
        };
        losses.into_iter().sum()
    }

    /// Two classes with one score F of the second: the loss of `F` for its rows and of `-F` for the others is one term
    /// of the one-vs-rest losses, and the softmax losses of two classes are the same term.
    fn derive_binary(
        &self,
        kernels: &Kernels,
        scores: &[f32],
        labels: &[u32],
        weights: &[f32],
        gradients: &mut [f32],
    ) -> f64 {
        let offset = self.offsets.as_ref().map_or(0.0, |offsets| offsets[0]);
        let mut signs = [0.0f32; BLOCK];
        let mut loss = 0.0;
        let rows = gradients.chunks_mut(BLOCK).zip(labels.chunks(BLOCK)).zip(scores.chunks(BLOCK));
        for (((gradients, labels), scores), weights) in rows.zip(weights.chunks(BLOCK)) {
            let signs = &mut signs[..labels.len()];
            signs.iter_mut().zip(labels).for_each(|(to, &label)| *to = sign(label));
            let rows = ScoreRows { scores, offset, signs, weights, gradients };
            loss += kernels.single_score_rows(rows, self.loss.gamma());
        }
        loss
    }

    /// The one-vs-rest loss that two classes with one score come to.
    fn term(&self) -> Loss {
        match self.loss.gamma() {
            0.0 => Loss::Sigmoid,
            gamma => Loss::Focal { gamma },
        }
    }

    fn derive_classes(
        &self,
        kernels: &Kernels,
        scores: &[f32],
        labels: &[u32],
        weights: &[f32],
        gradients: &mut [f32],
    ) -> f64 {
        let (outputs, count) = (self.outputs, labels.len());
        let mut z = Vec::with_capacity(BLOCK * outputs);
        let mut loss = 0.0;
        for start in (0..count).step_by(BLOCK) {
            if self.stop.is_set() {
                break;
            }
            let end = (start + BLOCK).min(count);
            z.clear();
            z.extend_from_slice(&scores[start * outputs..end * outputs]);
            if let Some(offsets) = &self.offsets {
                for row in z.chunks_exact_mut(outputs) {
                    row.iter_mut().zip(offsets).for_each(|(z, offset)| *z += offset);
                }
            }
            let (labels, weights) = (&labels[start..end], &weights[start..end]);
            loss += self.loss.residuals(kernels, &mut z, outputs, outputs, labels, weights);
            for (output, gradients) in gradients.chunks_exact_mut(count).enumerate() {
                let residuals = z[output..].iter().step_by(outputs);
                gradients[start..end].iter_mut().zip(residuals).for_each(|(to, &residual)| *to = residual);
            }
        }
        loss
    }

    /// Gradient and Hessian in f64, row by row; the Hessian is kept from falling to where the loss is concave or flat.
    fn derive_exactly(
        &self,
        scores: &[f32],
        labels: &[u32],
        weights: &[f32],
        gradients: &mut [f32],
        hessians: &mut [f32],
    ) -> f64 {
        let (outputs, count) = (self.outputs, labels.len());
        let binary = outputs == 1 && self.classes == 2;
        let (term, factor) = if binary { (self.term(), 1.0) } else { (self.loss, self.softmax_factor()) };
        let offset = |output: usize| self.offsets.as_ref().map_or(0.0, |offsets| f64::from(offsets[output]));
        let (mut z, mut g, mut h) = (vec![0.0; outputs], vec![0.0; outputs], vec![0.0; outputs]);
        let mut loss = 0.0;
        for (row, (&label, &weight)) in labels.iter().zip(weights).enumerate() {
            if row.is_multiple_of(BLOCK) && self.stop.is_set() {
                break;
            }
            let sign = if binary { f64::from(sign(label)) } else { 1.0 };
            for (output, z) in z.iter_mut().enumerate() {
                *z = sign * (f64::from(scores[row * outputs + output]) + offset(output));
            }
            let weight = f64::from(weight);
            if weight > 0.0 {
                loss += weight * term.row_f64(&z, if binary { 0 } else { label as usize }, &mut g, &mut h);
            } else {
                g.fill(0.0);
                h.fill(0.0);
            }
            for output in 0..outputs {
                let at = output * count + row;
                gradients[at] = (sign * weight * g[output]) as f32;
                hessians[at] = (weight * floored(factor * h[output], g[output], z[output])) as f32;
            }
        }
        loss
    }

    fn softmax_factor(&self) -> f64 {
        match self.loss {
            Loss::Softmax | Loss::SoftmaxFocal { .. } if self.classes > 1 => {
                self.classes as f64 / (self.classes - 1) as f64
            }
            _ => 1.0,
        }
    }
}

/// A curvature of at least what takes a step of `|z| + 1` a hundred times as far: less says nothing about where the
/// minimum is.
fn floored(hessian: f64, gradient: f64, z: f64) -> f64 {
    const FLOOR: f64 = 1e-2;
    hessian.max(FLOOR * gradient.abs() / z.abs().max(1.0))
}

/// Rows whose scores stay in the cache from copy to transposition.
const BLOCK: usize = 256;

impl Derivatives {
    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Mean Hessian of a row, by output.
    pub(super) fn mean_hessians(&self) -> Vec<f64> {
        let mean = |output: usize| {
            let chunks = (0..self.rows.div_ceil(CHUNK)).into_par_iter();
            let sums = chunks.map_init(Vec::new, |buffer, chunk| {
                self.chunk(chunk, output, buffer).1.iter().map(|&h| f64::from(h)).sum::<f64>()
            });
            sums.collect::<Vec<f64>>().into_iter().sum::<f64>() / self.rows.max(1) as f64
        };
        (0..self.outputs).map(mean).collect()
    }

    /// Gradients and Hessians of a chunk for one output; `buffer` may hold the latter.
    pub(super) fn chunk<'a>(
        &'a self,
        chunk: usize,
        output: usize,
        buffer: &'a mut Vec<f32>,
    ) -> (&'a [f32], &'a [f32]) {
        let (start, count) = (chunk * CHUNK, CHUNK.min(self.rows - chunk * CHUNK));
        let range = start * self.outputs + output * count..start * self.outputs + (output + 1) * count;
        let gradients = &self.gradients[range.clone()];
        if self.rule == Rule::Stored {
            return (gradients, &self.hessians[range]);
        }
        buffer.clear();
        match self.rule {
            Rule::Variance { factor } => {
                let weights = &self.weights[start..start + count];
                buffer.extend(gradients.iter().zip(weights).map(|(&g, &w)| variance(g, w, factor)));
            }
            Rule::Magnitude | Rule::Stored => buffer.extend(gradients.iter().map(|g| g.abs())),
        }
        (gradients, buffer)
    }
}

/// `factor w q (1 - q)` with `q = |g| / w`; 0 for a row without weight.
#[inline(always)]
fn variance(gradient: f32, weight: f32, factor: f32) -> f32 {
    let q = gradient.abs() / weight;
    let hessian = factor * gradient.abs() * (1.0 - q);
    // Rounding may leave q a little above one; a weight of zero makes it NaN.
    if hessian > 0.0 { hessian } else { 0.0 }
}

#[cfg(test)]
#[path = "gradient_tests.rs"]
mod tests;
