//! Weighted first and second moments of the features: what centring, the metric and the certificate need.

use rayon::prelude::*;

use super::problem::Problem;
use crate::simd::Kernels;

/// Moments of the rows of a [`Problem`] under its weights. Shares and means are relative to the total weight.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Sum of the weights of all rows.
    pub total_weight: f64,
    /// Share of the total weight that lies in each class: C values, sum 1.
    pub class_share: Vec<f64>,
    /// `sum_{i in c} w_i x_i / total_weight`: `C x D`, row-major.
    pub class_sums: Vec<f32>,
    /// Weighted mean of each feature: D values.
    pub mean: Vec<f64>,
    /// Weighted variance of each feature: D values.
    pub variance: Vec<f64>,
}

/// Classes are summed in this many groups at most; fixed, so that sums do not depend on the number of threads.
const GROUPS: usize = 64;
/// Rows of a class read together.
const READ_ROWS: usize = 4096;

impl Moments {
    /// One pass over the rows, in parallel over classes.
    pub fn of(problem: &Problem<'_>, kernels: &Kernels) -> Self {
        let (classes, features) = (problem.classes, problem.rows.features());
        let by_class = rows_by_class(problem.labels, classes);
        let total_weight = problem.total_weight();
        let mut class_sums = vec![0.0f32; classes * features];
        let group = classes.div_ceil(GROUPS);

        let partial: Vec<Partial> = class_sums
            .par_chunks_mut((group * features).max(1))
            .zip(by_class.par_chunks(group))
            .map(|(sums, classes)| {
                let mut partial = Partial::new(features);
                let mut row = vec![0.0; features];
                for (sums, rows) in sums.chunks_exact_mut(features.max(1)).zip(classes) {
                    partial.add_class(problem, kernels, rows, total_weight, &mut row, sums);
                }
                partial
            })
            .collect();

        let mut mean = vec![0.0; features];
        let mut square = vec![0.0; features];
        let mut class_share = Vec::with_capacity(classes);
        for part in &partial {
            class_share.extend_from_slice(&part.class_share);
            for (j, (sum, sum_sq)) in part.sum.iter().zip(&part.square).enumerate() {
                mean[j] += sum / total_weight;
                square[j] += sum_sq / total_weight;
            }
        }
        let variance = mean.iter().zip(&square).map(|(m, s)| (s - m * m).max(0.0)).collect();
        Moments { total_weight, class_share, class_sums, mean, variance }
    }

    /// Moves the origin of the features to `centre` (D values).
    pub fn recentre(&mut self, centre: &[f32]) {
        for (sums, share) in self.class_sums.chunks_exact_mut(centre.len().max(1)).zip(&self.class_share) {
            for (sum, &c) in sums.iter_mut().zip(centre) {
                *sum = (f64::from(*sum) - share * f64::from(c)) as f32;
            }
        }
        for (mean, &c) in self.mean.iter_mut().zip(centre) {
            *mean -= f64::from(c);
        }
    }

    /// Sum of the variances: the trace of the weighted covariance, the natural scale of l2.
    pub fn total_variance(&self) -> f64 {
        self.variance.iter().sum()
    }
}

struct Partial {
    sum: Vec<f64>,
    square: Vec<f64>,
    class_share: Vec<f64>,
}

impl Partial {
    fn new(features: usize) -> Self {
        Partial { sum: vec![0.0; features], square: vec![0.0; features], class_share: Vec::new() }
    }

    fn add_class(
        &mut self,
        problem: &Problem<'_>,
        kernels: &Kernels,
        rows: &[usize],
        total_weight: f64,
        x: &mut [f32],
        class_sums: &mut [f32],
    ) {
        let mut class_sum = vec![0.0f64; x.len()];
        let mut class_weight = 0.0;
        for rows in rows.chunks(READ_ROWS) {
            if problem.rows.is_stopped() {
                break;
            }
            let weight_of = |at: usize| f64::from(problem.weights[rows[at]]);
            if problem.rows.is_sparse() {
                problem.rows.visit(rows.iter().copied(), |at, values| {
                    let weight = weight_of(at);
                    class_weight += weight;
                    values.for_each_entry(|feature, value| {
                        let value = f64::from(value);
                        class_sum[feature] += weight * value;
                        self.square[feature] += weight * value * value;
                    });
                });
            } else {
                problem.rows.visit_wide(kernels, None, rows.iter().copied(), x, |at, x| {
                    let weight = weight_of(at);
                    class_weight += weight;
                    for ((sum, square), &value) in class_sum.iter_mut().zip(&mut self.square).zip(x) {
                        let value = f64::from(value);
                        *sum += weight * value;
                        *square += weight * value * value;
                    }
                });
            }
        }
        self.class_share.push(class_weight / total_weight);
        for ((out, total), sum) in class_sums.iter_mut().zip(&mut self.sum).zip(&class_sum) {
            *out = (sum / total_weight) as f32;
            *total += sum;
        }
    }
}

fn rows_by_class(labels: &[u32], classes: usize) -> Vec<Vec<usize>> {
    let mut counts = vec![0usize; classes];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    let mut by_class: Vec<Vec<usize>> = counts.into_iter().map(Vec::with_capacity).collect();
    for (row, &label) in labels.iter().enumerate() {
        by_class[label as usize].push(row);
    }
    by_class
}
