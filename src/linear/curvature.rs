//! Second derivatives of the loss: in the biases, and along the diagonal at a sample of rows.

use std::ops::Range;

use rayon::prelude::*;

use super::pass::{Pass, ranges};
use super::products::BlockBuffer;
use crate::loss::Loss;

/// Rows of one block of the Hessian of the biases, and how many sums are taken side by side.
const HESSIAN_BLOCK: usize = 256;
const HESSIAN_PARTIALS: usize = 8;
/// Probabilities of a row from which it couples its classes in [`LeadingHessian`]. A row has at most 32 of them.
const LEADING: f32 = 1.0 / 32.0;
/// Rows of a block where classes are too many for more.
const LEADING_BLOCK: usize = 64;

/// Hessian of the summed loss in the biases for many classes: `diagonal - sum_i w_i p_i p_i'` with only the largest
/// probabilities of each row in `p_i`. Leaving out the others adds curvature, so it stays positive semidefinite.
#[derive(Debug, Default)]
pub(super) struct LeadingHessian {
    pub(super) diagonal: Vec<f64>,
    /// For each row, where its entries end.
    ends: Vec<usize>,
    /// Class and `sqrt(w_i) p_ic`.
    entries: Vec<(u32, f32)>,
}

impl LeadingHessian {
    /// `product = H v`.
    pub(super) fn multiply(&self, v: &[f64], product: &mut [f64]) {
        for ((product, &v), &diagonal) in product.iter_mut().zip(v).zip(&self.diagonal) {
            *product = diagonal * v;
        }
        let mut start = 0;
        for &end in &self.ends {
            let entries = &self.entries[start..end];
            let along: f64 = entries.iter().map(|&(class, p)| f64::from(p) * v[class as usize]).sum();
            entries.iter().for_each(|&(class, p)| product[class as usize] -= along * f64::from(p));
            start = end;
        }
    }

    fn append(&mut self, part: LeadingHessian) {
        let before = self.entries.len();
        self.diagonal.resize(part.diagonal.len(), 0.0);
        self.diagonal.iter_mut().zip(&part.diagonal).for_each(|(sum, part)| *sum += part);
        self.ends.extend(part.ends.iter().map(|end| before + end));
        self.entries.extend(part.entries);
    }
}

impl Pass<'_> {
    /// Hessian of the summed loss in the biases, `C x C` row-major, of a convex loss.
    pub(super) fn bias_hessian(&self) -> Vec<f64> {
        let (problem, classes) = (self.problem, self.problem.classes);
        let coupled = problem.loss == Loss::Softmax;
        let parts = self.partials(|range| {
            let mut diagonal = vec![0.0f64; classes];
            let mut products = vec![0.0f32; if coupled { classes * classes } else { 0 }];
            let (mut x, mut weighted, mut p) = (BlockBuffer::default(), Vec::new(), Vec::new());
            for rows in ranges(range, HESSIAN_BLOCK) {
                if problem.rows.is_stopped() {
                    break;
                }
                self.weighted_probabilities(&mut x, rows.clone(), &mut weighted);
                p.clear();
                for (weighted, &weight) in weighted.chunks_exact(classes).zip(&problem.weights[rows]) {
                    p.extend(weighted.iter().map(|&wp| wp / weight.max(f32::MIN_POSITIVE)));
                    let p = &p[p.len() - classes..];
                    for ((sum, &p), &wp) in diagonal.iter_mut().zip(p).zip(weighted) {
                        *sum += f64::from(wp) * if coupled { 1.0 } else { 1.0 - f64::from(p) };
                    }
                }
                if coupled {
                    self.kernels.accumulate_gradient(&weighted, classes, classes, &p, classes, &mut products);
                }
            }
            (diagonal, products)
        });
        let mut hessian = vec![0.0; classes * classes];
        for (diagonal, products) in parts {
            for (sum, product) in hessian.iter_mut().zip(products) {
                *sum -= f64::from(product);
            }
            for (class, sum) in diagonal.into_iter().enumerate() {
                hessian[class * classes + class] += sum;
            }
        }
        hessian
    }

    /// [`Pass::bias_hessian`] in memory for the diagonal and a few entries a row.
    pub(super) fn leading_bias_hessian(&self) -> LeadingHessian {
        let (problem, classes) = (self.problem, self.problem.classes);
        let coupled = problem.loss == Loss::Softmax;
        let parts = self.partials(|range| {
            let mut part = LeadingHessian { diagonal: vec![0.0; classes], ..LeadingHessian::default() };
            let (mut x, mut weighted) = (BlockBuffer::default(), Vec::new());
            for rows in ranges(range, LEADING_BLOCK) {
                if problem.rows.is_stopped() {
                    break;
                }
                self.weighted_probabilities(&mut x, rows.clone(), &mut weighted);
                for (weighted, &weight) in weighted.chunks_exact(classes).zip(&problem.weights[rows]) {
                    let weight = weight.max(f32::MIN_POSITIVE);
                    let root = weight.sqrt();
                    for ((class, &wp), sum) in (0..).zip(weighted).zip(&mut part.diagonal) {
                        let p = wp / weight;
                        *sum += f64::from(wp) * if coupled { 1.0 } else { 1.0 - f64::from(p) };
                        if coupled && p >= LEADING {
                            part.entries.push((class, root * p));
                        }
                    }
                    part.ends.push(part.entries.len());
                }
            }
            part
        });
        let mut hessian = LeadingHessian::default();
        parts.into_iter().for_each(|part| hessian.append(part));
        hessian
    }

    /// What `sum` gives for each of a few parts of the rows, cut by the number of rows alone.
    pub(super) fn partials<T: Send>(&self, sum: impl Fn(Range<usize>) -> T + Send + Sync) -> Vec<T> {
        let rows = self.problem.rows.len();
        let part = rows.div_ceil(HESSIAN_PARTIALS).next_multiple_of(HESSIAN_BLOCK);
        let parts: Vec<Range<usize>> = ranges(0..rows, part).collect();
        parts.into_par_iter().map(sum).collect()
    }

    /// `w_i p_ic` of a block of rows, `rows x C`.
    fn weighted_probabilities(&self, x: &mut BlockBuffer, rows: Range<usize>, weighted: &mut Vec<f32>) {
        let (problem, classes) = (self.problem, self.problem.classes);
        let x = x.load(&problem.rows, self.centre, rows.clone(), self.arithmetic);
        weighted.resize(rows.len() * classes, 0.0);
        self.residuals(x, rows.start, weighted);
        // The residual is weight * (p - onehot).
        for (weighted, row) in weighted.chunks_exact_mut(classes).zip(rows) {
            weighted[problem.labels[row] as usize] += problem.weights[row];
        }
    }

    /// Diagonal curvature of the loss at the rows `positions` under `weights`: summed over classes for each row, and
    /// over rows for each class. What is concave counts as flat.
    pub(super) fn curvatures(&self, positions: &[usize], weights: &[f32]) -> (Vec<f32>, Vec<f64>) {
        const ROWS: usize = 64;
        let (problem, classes) = (self.problem, self.problem.classes);
        let blocks: Vec<(Vec<f32>, Vec<f64>)> = positions
            .par_chunks(ROWS)
            .zip(weights.par_chunks(ROWS))
            .map(|(positions, weights)| {
                if problem.rows.is_stopped() {
                    return (vec![0.0; positions.len()], vec![0.0; classes]);
                }
                let mut buffer = BlockBuffer::default();
                let mut z = vec![0.0; positions.len() * classes];
                let x = buffer.gather(&problem.rows, self.centre, positions, self.arithmetic);
                x.logits(self.weights, self.bias, &mut z);
                let mut by_class = vec![0.0; classes];
                let (mut gradient, mut hessian) = (vec![0.0; classes], vec![0.0; classes]);
                let mut by_row = Vec::with_capacity(positions.len());
                for ((z, &position), &weight) in z.chunks_exact(classes).zip(positions).zip(weights) {
                    let mut z: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
                    let label = problem.labels[position] as usize;
                    z[label] -= problem.margins.map_or(0.0, |margins| f64::from(margins[label]));
                    problem.loss.row_f64(&z, label, &mut gradient, &mut hessian);
                    let mut total = 0.0;
                    for (sum, &curvature) in by_class.iter_mut().zip(&hessian) {
                        let curvature = f64::from(weight) * curvature.max(0.0);
                        *sum += curvature;
                        total += curvature;
                    }
                    by_row.push(total as f32);
                }
                (by_row, by_class)
            })
            .collect();
        let mut by_class = vec![0.0; classes];
        let mut by_row = Vec::with_capacity(positions.len());
        for (rows, sums) in blocks {
            by_row.extend(rows);
            by_class.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        (by_row, by_class)
    }
}
