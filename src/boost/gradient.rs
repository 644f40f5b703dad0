//! First and second derivatives of the loss in the scores, for all rows.
//!
//! Gradients are the residuals of [`Loss::residuals`], the ones the linear learner walks down. For cross entropies the
//! Hessian follows from the residual, so it is never stored; focal losses have theirs from [`Loss::row_f64`].

use std::ops::Range;

use rayon::prelude::*;

use super::columns::{Columns, chunks};
use crate::loss::Loss;
pub use crate::simd::Curvature;
use crate::simd::{Kernels, Layout, RowBlock, ScoreRows};
use crate::stop::Stop;

/// The loss of a boosted problem: what its derivatives depend on beside the scores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pointwise<'a> {
    pub loss: Loss,
    pub classes: usize,
    /// Scores a row: 1 for two classes, else one a class.
    pub outputs: usize,
    pub labels: &'a [u32],
    /// One a row.
    pub weights: &'a [f32],
    /// Added to the scores inside the loss, one an output.
    pub offsets: Option<&'a [f32]>,
    pub curvature: Curvature,
    pub stop: &'a Stop,
}

/// Derivatives of all rows.
#[derive(Debug)]
pub(super) struct Derivatives {
    kernels: &'static Kernels,
    gradients: Columns,
    /// Hessians; of no rows where they follow from gradient and weight.
    hessians: Columns,
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

    /// Derivatives at `scores` into `to`; returns the sum of weight x loss.
    pub(super) fn derive(&self, scores: &Columns, to: &mut Derivatives) -> f64 {
        let (rows, kernels) = (self.labels.len(), to.kernels);
        to.rule = self.rule();
        to.gradients.resize(rows, self.outputs);
        if let Rule::Variance { .. } = to.rule
            && to.weights.is_empty()
        {
            to.weights.extend_from_slice(self.weights);
        }
        let losses: Vec<f64> = if to.rule == Rule::Stored {
            to.hessians.resize(rows, self.outputs);
            let chunks = to.gradients.chunks_mut().zip(to.hessians.chunks_mut());
            let derive =
                |((rows, gradients), (_, hessians))| self.derive_exactly(scores, &rows, gradients, hessians);
            chunks.filter(|_| !self.stop.is_set()).map(derive).collect()
        } else {
            let derive = |(rows, gradients)| match self.outputs {
                1 if self.classes == 2 => self.derive_binary(kernels, scores, &rows, gradients),
                _ => self.derive_classes(kernels, scores, &rows, gradients),
            };
            to.gradients.chunks_mut().filter(|_| !self.stop.is_set()).map(derive).collect()
        };
        losses.into_iter().sum()
    }

    /// Two classes with one score F of the second: the loss of `F` for its rows and of `-F` for the others is one term
    /// of the one-vs-rest losses, and the softmax losses of two classes are the same term.
    fn derive_binary(
        &self,
        kernels: &Kernels,
        scores: &Columns,
        rows: &Range<usize>,
        gradients: &mut [f32],
    ) -> f64 {
        let offset = self.offset(0);
        let mut signs = [0.0f32; BLOCK];
        let mut loss = 0.0;
        let (labels, weights) = (&self.labels[rows.clone()], &self.weights[rows.clone()]);
        let blocks =
            gradients.chunks_mut(BLOCK).zip(labels.chunks(BLOCK)).zip(scores.of(rows, 0).chunks(BLOCK));
        for (((gradients, labels), scores), weights) in blocks.zip(weights.chunks(BLOCK)) {
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
        scores: &Columns,
        rows: &Range<usize>,
        gradients: &mut [f32],
    ) -> f64 {
        let mut z = vec![0.0; BLOCK * self.outputs];
        let mut loss = 0.0;
        for start in (0..rows.len()).step_by(BLOCK) {
            if self.stop.is_set() {
                break;
            }
            let block = start..(start + BLOCK).min(rows.len());
            for (output, z) in z.chunks_exact_mut(BLOCK).enumerate() {
                let offset = self.offset(output);
                let scores = &scores.of(rows, output)[block.clone()];
                z.iter_mut().zip(scores).for_each(|(z, score)| *z = score + offset);
            }
            let these = rows.start + block.start..rows.start + block.end;
            let (labels, weights) = (&self.labels[these.clone()], &self.weights[these]);
            let layout = Layout::Classes { stride: BLOCK };
            let of_block = RowBlock { z: &mut z, layout, classes: self.outputs, labels, weights };
            loss += self.loss.residuals(kernels, of_block);
            for (gradients, z) in gradients.chunks_exact_mut(rows.len()).zip(z.chunks_exact(BLOCK)) {
                gradients[block.clone()].copy_from_slice(&z[..block.len()]);
            }
        }
        loss
    }

    /// What is added to the scores of an output inside the loss.
    fn offset(&self, output: usize) -> f32 {
        self.offsets.map_or(0.0, |offsets| offsets[output])
    }

    /// Gradient and Hessian in f64, row by row; the Hessian is kept from falling to where the loss is concave or flat.
    fn derive_exactly(
        &self,
        scores: &Columns,
        rows: &Range<usize>,
        gradients: &mut [f32],
        hessians: &mut [f32],
    ) -> f64 {
        let (outputs, count) = (self.outputs, rows.len());
        let binary = outputs == 1 && self.classes == 2;
        let (term, factor) = if binary { (self.term(), 1.0) } else { (self.loss, self.softmax_factor()) };
        let (mut z, mut g, mut h) = (vec![0.0; outputs], vec![0.0; outputs], vec![0.0; outputs]);
        let mut loss = 0.0;
        for row in 0..count {
            if row.is_multiple_of(BLOCK) && self.stop.is_set() {
                break;
            }
            let (label, weight) = (self.labels[rows.start + row], f64::from(self.weights[rows.start + row]));
            let sign = if binary { f64::from(sign(label)) } else { 1.0 };
            for (output, z) in z.iter_mut().enumerate() {
                *z = sign * (f64::from(scores.of(rows, output)[row]) + f64::from(self.offset(output)));
            }
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

/// Rows whose scores stay in the cache while they become residuals; a multiple of all lanes.
const BLOCK: usize = 256;

impl Derivatives {
    /// Room for derivatives that `kernels` will form.
    pub(super) fn new(kernels: &'static Kernels) -> Self {
        Derivatives {
            kernels,
            gradients: Columns::default(),
            hessians: Columns::default(),
            weights: Vec::new(),
            rule: Rule::default(),
        }
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.gradients.rows()
    }

    /// Sum of the Hessians, by output.
    pub(super) fn hessian_sums(&self) -> Vec<f64> {
        let sum = |output: usize| {
            let sums = chunks(self.rows()).map_init(Vec::new, |buffer, rows| {
                self.of(&rows, output, buffer).1.iter().map(|&h| f64::from(h)).sum::<f64>()
            });
            sums.collect::<Vec<f64>>().into_iter().sum()
        };
        (0..self.gradients.outputs()).map(sum).collect()
    }

    /// Gradients and Hessians of the rows of a chunk for one output; `buffer` may hold the latter.
    pub(super) fn of<'a>(
        &'a self,
        rows: &Range<usize>,
        output: usize,
        buffer: &'a mut Vec<f32>,
    ) -> (&'a [f32], &'a [f32]) {
        let gradients = self.gradients.of(rows, output);
        if self.rule == Rule::Stored {
            return (gradients, self.hessians.of(rows, output));
        }
        match self.rule {
            Rule::Variance { factor } => {
                let weights = &self.weights[rows.clone()];
                buffer.resize(gradients.len(), 0.0);
                self.kernels.variances(gradients, weights, factor, buffer);
            }
            Rule::Magnitude | Rule::Stored => {
                buffer.clear();
                buffer.extend(gradients.iter().map(|g| g.abs()));
            }
        }
        (gradients, buffer)
    }
}

#[cfg(test)]
#[path = "gradient_tests.rs"]
mod tests;
