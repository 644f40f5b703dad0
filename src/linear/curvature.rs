//! Second derivatives of the loss: in the biases, and along the diagonal at a sample of rows.

use rayon::prelude::*;

use super::pass::Pass;
use super::products::BlockBuffer;
use crate::loss::Loss;

/// Rows of one block of the Hessian of the biases, and how many sums are taken side by side.
const HESSIAN_BLOCK: usize = 256;
const HESSIAN_PARTIALS: usize = 8;

impl Pass<'_> {
    /// Hessian of the summed loss in the biases, `C x C` row-major, of a convex loss.
    pub(super) fn bias_hessian(&self) -> Vec<f64> {
        let (problem, classes) = (self.problem, self.problem.classes);
        let coupled = problem.loss == Loss::Softmax;
        let rows = problem.rows.len();
        let partial_rows = rows.div_ceil(HESSIAN_PARTIALS).next_multiple_of(HESSIAN_BLOCK);
        let partials: Vec<(Vec<f64>, Vec<f32>)> = (0..rows.div_ceil(partial_rows))
            .into_par_iter()
            .map(|partial| {
                let first = partial * partial_rows;
                let mut diagonal = vec![0.0f64; classes];
                let mut products = vec![0.0f32; if coupled { classes * classes } else { 0 }];
                let (mut x, mut p, mut weighted) = (BlockBuffer::default(), Vec::new(), Vec::new());
                for start in (first..(first + partial_rows).min(rows)).step_by(HESSIAN_BLOCK) {
                    let end = (start + HESSIAN_BLOCK).min(first + partial_rows).min(rows);
                    let x = x.load(&problem.rows, self.centre, start..end, self.arithmetic);
                    p.resize((end - start) * classes, 0.0);
                    self.residuals(x, start, &mut p);
                    weighted.clear();
                    for (p, row) in p.chunks_exact_mut(classes).zip(start..end) {
                        let weight = problem.weights[row];
                        // The residual is weight * (p - onehot).
                        p[problem.labels[row] as usize] += weight;
                        weighted.extend_from_slice(p);
                        p.iter_mut().for_each(|p| *p /= weight.max(f32::MIN_POSITIVE));
                        for ((sum, &p), &wp) in
                            diagonal.iter_mut().zip(p.iter()).zip(&weighted[weighted.len() - classes..])
                        {
                            *sum += f64::from(wp) * if coupled { 1.0 } else { 1.0 - f64::from(p) };
                        }
                    }
                    if coupled {
                        self.kernels.accumulate_gradient(
                            &weighted,
                            classes,
                            classes,
                            &p,
                            classes,
                            &mut products,
                        );
                    }
                }
                (diagonal, products)
            })
            .collect();
        let mut hessian = vec![0.0; classes * classes];
        for (diagonal, products) in partials {
            for (sum, product) in hessian.iter_mut().zip(products) {
                *sum -= f64::from(product);
            }
            for (class, sum) in diagonal.into_iter().enumerate() {
                hessian[class * classes + class] += sum;
            }
        }
        hessian
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
                let mut buffer = BlockBuffer::default();
                let mut z = vec![0.0; positions.len() * classes];
                let x = buffer.gather(&problem.rows, self.centre, positions, self.arithmetic);
                x.logits(self.weights, self.bias, &mut z);
                let mut by_class = vec![0.0; classes];
                let (mut gradient, mut hessian) = (vec![0.0; classes], vec![0.0; classes]);
                let mut by_row = Vec::with_capacity(positions.len());
                for ((z, &position), &weight) in z.chunks_exact(classes).zip(positions).zip(weights) {
                    let z: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
                    let label = problem.labels[position] as usize;
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
