//! What each training row does to the loss of validation rows: influence functions (Koh and Liang 2017).
//!
//! With J of [`super::problem`] minimal at theta and row i taken out, class weights held, the gradient at theta becomes
//! `-w_i / (W - w_i) (dloss_i + dpenalty)`, W the total weight. One Newton step moves theta by
//! `w_i / (W - w_i) H^-1 (dloss_i + dpenalty)`, and the validation loss, of gradient g, to first order by
//! `w_i / (W - w_i) a'(dloss_i + dpenalty)` with `a = H^-1 g`. The influence of row i is minus that: positive where the
//! row is harmful, as the loss would fall without it. One solve a query, then one pass over the rows.

use std::ops::Range;

use rayon::prelude::*;

use super::conjugate::{Solution, solve};
use super::objective::Objective;
use super::pass::{Pass, Sums, flush_rows, ranges};
use super::problem::{Decay, Problem};
use super::products::{Arithmetic, BlockBuffer, GradientSums, Weights};
use super::rows::Rows;
use super::solver::metric::Preconditioner;
use crate::loss::Loss;
use crate::simd::Kernels;
use crate::{Error, Result};

/// Relative residual of a solve; products in f32 give no more.
const TOLERANCE: f64 = 1e-5;
/// Products with the Hessian a solve may take.
const MOST_PRODUCTS: usize = 500;
/// Rows of a block of the pass over rows.
const BLOCK_ROWS: usize = 64;

/// A fitted problem, ready to be asked.
pub struct Influence<'a> {
    objective: Objective<'a>,
    /// In the coordinates of the objective.
    theta: Vec<f32>,
    preconditioner: Preconditioner,
}

/// How near the parameters are to the minimum of the objective.
#[derive(Debug, Clone, Copy)]
pub struct Stationarity {
    /// Euclidean norm of the gradient of J.
    pub gradient_norm: f64,
    /// `g' H^-1 g / 2` over J: by how much J would fall in a Newton step, relative to J.
    pub relative_gap: f64,
}

/// `a = H^-1 g` of one query, in the coordinates of the objective.
#[derive(Debug, Clone)]
pub struct Direction {
    solution: Solution,
}

impl Direction {
    /// Relative residual of the solve, and the products it took.
    pub fn accuracy(&self) -> (f64, usize) {
        (self.solution.relative_residual, self.solution.iterations)
    }
}

/// How a training row fares under the model that was fitted on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnFit {
    /// Its unweighted loss, logit adjustment included.
    pub loss: f64,
    /// Class of the largest logit, without adjustment.
    pub fitted: u32,
    /// Logit of its label less the largest other one, without adjustment.
    pub margin: f64,
}

impl<'a> Influence<'a> {
    /// At the parameters `theta` (`C x D` weights, then C biases, over the features as they are) of `problem`.
    ///
    /// # Errors
    /// [`Error::BadValue`] where the loss is not convex: its Hessian may have negative curvature, and a stationary point
    /// need not be the one a refit would find.
    pub fn new(mut problem: Problem<'a>, theta: &[f32], kernels: &'static Kernels) -> Result<Self> {
        if !problem.loss.is_convex() {
            let why = "is not convex, and influence functions need the Hessian of a minimum";
            return Err(Error::bad_value(
                "--loss",
                problem.loss.name(),
                why,
                "fit with --loss softmax or sigmoid",
            ));
        }
        problem.loss = without_focus(problem.loss);
        let objective = Objective::new(problem, kernels);
        let mut theta = theta.to_vec();
        objective.enter(&mut theta);
        let preconditioner = Preconditioner::at_optimum(&objective, &theta);
        Ok(Influence { objective, theta, preconditioner })
    }

    /// Whether the parameters are at the minimum of the objective. One solve.
    pub fn stationarity(&mut self) -> Stationarity {
        let mut gradient = vec![0.0; self.theta.len()];
        let value = self.objective.evaluate_in_f32(&self.theta, &mut gradient);
        let gradient: Vec<f64> = gradient.iter().map(|&g| f64::from(g)).collect();
        let newton = self.solved(&gradient);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        Stationarity {
            gradient_norm: dot(&gradient, &gradient).sqrt(),
            relative_gap: 0.5 * dot(&gradient, &newton.x) / value.objective(),
        }
    }

    /// Solves for the weighted mean loss of validation rows. Each has a class code below C in `labels` and a finite weight
    /// in `weights`, at least one positive; the loss is without logit adjustment, as predictions are.
    pub fn query(&self, rows: Rows<'_>, labels: &[u32], weights: &[f32]) -> Direction {
        let trained = self.objective.problem();
        let problem =
            Problem { rows, labels, weights, offsets: None, l2: 0.0, decay: Decay::None, ..*trained };
        let (classes, features) = (problem.classes, rows.features());
        let kernels = self.objective.kernels();
        let arithmetic = Arithmetic::in_f32(kernels, &rows);
        let (weight, bias) = self.theta.split_at(classes * features);
        let mut laid_out = Weights::default();
        laid_out.lay_out(weight, classes, features, arithmetic);
        let centre = self.objective.centre();
        let mut sums = Sums::new(&problem);
        sums.run(&Pass { problem: &problem, kernels, arithmetic, weights: &laid_out, bias, centre });
        let total = problem.total_weight();
        let mut gradient = vec![0.0; weight.len()];
        let of_classes = gradient.chunks_exact_mut(features.max(1)).enumerate();
        of_classes.for_each(|(class, own)| sums.weights_of(class, 0, own));
        gradient.extend((0..classes).map(|class| sums.bias(class)));
        gradient.iter_mut().for_each(|sum| *sum /= total);
        Direction { solution: self.solved(&gradient) }
    }

    /// Influence of each training row on the loss of a query: the mean validation loss with the row less that without
    /// it, to first order. Positive is harmful. Rows of weight 0 have none.
    pub fn of_rows(&self, query: &Direction) -> Vec<f64> {
        let problem = self.objective.problem();
        let direction: Vec<f32> = query.solution.x.iter().map(|&v| v as f32).collect();
        let bias_at = direction.len() - problem.classes;
        let (on_weights, on_bias) = self.objective.decays();
        let penalty: f64 = (query.solution.x.iter().zip(&self.theta).enumerate())
            .map(|(at, (a, &t))| a * f64::from(t) * if at < bias_at { on_weights } else { on_bias })
            .sum();
        let total = self.objective.moments().total_weight;
        let along = self.objective.with_f32_pass(&self.theta, |pass| pass.residuals_along(&direction));
        let weighed = along.into_iter().zip(problem.weights);
        weighed.map(|(along, &weight)| -removed(along + f64::from(weight) * penalty, weight, total)).collect()
    }

    /// `w_i / (W - w_i) dloss_i' M^-1 dloss_i` of each training row, in the metric M of the solves: by how much its own
    /// loss would rise without it, to first order. M is the Hessian (to f32, and up to rows that hardly curve it) with
    /// no more than 4,096 parameters, else for class c `curvature_c S + l2 I` and the curvature of the rows that the class
    /// is in doubt about, which ignores that the others curve each class differently. Costs rows x parameters x features
    /// in the latter case.
    pub fn self_influence(&self) -> Vec<f64> {
        let problem = self.objective.problem();
        let (kernels, features) = (self.objective.kernels(), problem.rows.features());
        let total = self.objective.moments().total_weight;
        let residuals = self.objective.with_f32_pass(&self.theta, |pass| pass.all_residuals());
        let rows = residuals.par_chunks_exact(problem.classes).enumerate();
        rows.map_init(
            || (vec![0.0; features], Vec::new()),
            |(x, gradient), (row, residuals)| {
                let weight = problem.weights[row];
                if weight <= 0.0 {
                    return 0.0;
                }
                problem.rows.gather_into(kernels, self.objective.centre(), &[row], x);
                gradient.clear();
                gradient.resize(self.theta.len(), 0.0);
                let (of_weights, of_biases) = gradient.split_at_mut(problem.classes * features);
                of_biases.copy_from_slice(residuals);
                for (row, &residual) in of_weights.chunks_exact_mut(features.max(1)).zip(residuals) {
                    kernels.axpy(residual, x, row);
                }
                self.preconditioner.solve(gradient, kernels);
                let (of_weights, of_biases) = gradient.split_at(problem.classes * features);
                let mut sum = 0.0;
                for ((row, &bias), &residual) in
                    of_weights.chunks_exact(features.max(1)).zip(of_biases).zip(residuals)
                {
                    sum += f64::from(residual) * (kernels.dot(row, x) + f64::from(bias));
                }
                // Residuals are weighted, and the weight stood in both factors.
                removed(sum / f64::from(weight), weight, total)
            },
        )
        .collect()
    }

    /// Loss, fitted class and margin of each training row.
    pub fn own_fits(&self) -> Vec<OwnFit> {
        let problem = self.objective.problem();
        let logits = self.objective.with_f32_pass(&self.theta, |pass| pass.all_logits());
        let rows = logits.par_chunks_exact(problem.classes).zip(problem.labels);
        rows.map(|(z, &label)| own_fit(problem.loss, z, label as usize, problem.offsets)).collect()
    }

    fn solved(&self, b: &[f64]) -> Solution {
        let product = |v: &[f32]| self.in_range(hessian_product(&self.objective, &self.theta, v));
        let kernels = self.objective.kernels();
        let precondition = |v: &mut [f32]| {
            self.preconditioner.solve(v, kernels);
            let sound = self.in_range(v.iter().map(|&v| f64::from(v)).collect());
            v.iter_mut().zip(sound).for_each(|(v, sound)| *v = sound as f32);
        };
        solve(&self.in_range(b.to_vec()), TOLERANCE, MOST_PRODUCTS, product, precondition)
    }

    /// The softmax does not feel a shift of all undecayed biases, so the Hessian is singular along it: rounding must not
    /// bring that direction in.
    fn in_range(&self, mut v: Vec<f64>) -> Vec<f64> {
        let problem = self.objective.problem();
        if problem.loss == Loss::Softmax && !problem.decay.on_bias() {
            let bias_at = v.len() - problem.classes;
            let bias = &mut v[bias_at..];
            let mean = bias.iter().sum::<f64>() / bias.len() as f64;
            bias.iter_mut().for_each(|b| *b -= mean);
        }
        v
    }
}

/// A weighted change of the loss per `W`, as it is once the row has left the total weight.
fn removed(weighted: f64, weight: f32, total: f64) -> f64 {
    let rest = total - f64::from(weight);
    if rest > 0.0 && weight > 0.0 { weighted / rest } else { 0.0 }
}

/// A focal loss of gamma 0 by its own name.
fn without_focus(loss: Loss) -> Loss {
    match loss {
        Loss::Softmax | Loss::SoftmaxFocal { .. } => Loss::Softmax,
        Loss::Sigmoid | Loss::Focal { .. } => Loss::Sigmoid,
    }
}

/// `z` are logits with the offsets.
fn own_fit(loss: Loss, z: &[f32], label: usize, offsets: Option<&[f32]>) -> OwnFit {
    let adjusted: Vec<f64> = z.iter().map(|&z| f64::from(z)).collect();
    let (mut gradient, mut hessian) = (vec![0.0; z.len()], vec![0.0; z.len()]);
    let loss = loss.row_f64(&adjusted, label, &mut gradient, &mut hessian);
    let plain = |class: usize| adjusted[class] - offsets.map_or(0.0, |offsets| f64::from(offsets[class]));
    let (mut fitted, mut other) = (0, f64::NEG_INFINITY);
    for class in 0..z.len() {
        if plain(class) > plain(fitted) {
            fitted = class;
        }
        if class != label {
            other = other.max(plain(class));
        }
    }
    OwnFit { loss, fitted: fitted as u32, margin: plain(label) - other }
}

/// `H v` of J at `theta` (coordinates of the objective), exact up to f32 products, for a convex loss.
fn hessian_product(objective: &Objective<'_>, theta: &[f32], v: &[f32]) -> Vec<f64> {
    let total = objective.moments().total_weight;
    let (on_weights, on_bias) = objective.decays();
    let bias_at = v.len() - objective.problem().classes;
    let mut product = objective.with_f32_pass(theta, |pass| pass.hessian_product(v));
    for (at, (product, &v)) in product.iter_mut().zip(v).enumerate() {
        let decay = if at < bias_at { on_weights } else { on_bias };
        *product = *product / total + decay * f64::from(v);
    }
    product
}

impl Pass<'_> {
    /// Lays out a vector of parameters as these weights are.
    fn laid_out<'v>(&self, v: &'v [f32]) -> (Weights, &'v [f32]) {
        let (classes, features) = (self.problem.classes, self.problem.rows.features());
        let (weight, bias) = v.split_at(classes * features);
        let mut weights = Weights::default();
        weights.lay_out(weight, classes, features, self.arithmetic);
        (weights, bias)
    }

    /// `sum_i w_i d2loss_i v` with each block's `V x` turned by the curvature of its rows in their logits.
    fn hessian_product(&self, v: &[f32]) -> Vec<f64> {
        let (problem, classes) = (self.problem, self.problem.classes);
        let features = problem.rows.features();
        let (direction, direction_bias) = self.laid_out(v);
        let parts = self.partials(|range| {
            let mut sums = vec![0.0; v.len()];
            let (weight, bias) = sums.split_at_mut(classes * features);
            let (mut buffer, mut recent) = (BlockBuffer::default(), GradientSums::default());
            let (mut z, mut along) = (Vec::new(), Vec::new());
            for rows in ranges(range, flush_rows(problem)) {
                recent.reset(classes, 0..features as u32, self.arithmetic);
                for rows in ranges(rows, BLOCK_ROWS) {
                    let x = buffer.load(&problem.rows, self.centre, rows.clone(), self.arithmetic);
                    z.resize(rows.len() * classes, 0.0);
                    along.resize(rows.len() * classes, 0.0);
                    self.residuals(x, rows.start, &mut z);
                    x.logits(&direction, direction_bias, &mut along);
                    let of_rows = z.chunks_exact(classes).zip(along.chunks_exact_mut(classes));
                    for (row, (residuals, along)) in rows.zip(of_rows) {
                        let (label, weight) = (problem.labels[row] as usize, problem.weights[row]);
                        curve(problem.loss, residuals, label, weight, along);
                    }
                    x.accumulate_gradient(&along, classes, &mut recent);
                    super::pass::add_rows(&along, classes, bias);
                }
                recent.add_to(weight);
            }
            sums
        });
        let mut sums = vec![0.0; v.len()];
        for part in parts {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        if problem.rows.is_sparse() {
            let by_feature = sums[..classes * features].to_vec();
            for (at, sum) in sums[..classes * features].iter_mut().enumerate() {
                *sum = by_feature[at % features * classes + at / features];
            }
        }
        sums
    }

    /// For each row the inner product of the gradient of its weighted loss with `v`.
    fn residuals_along(&self, v: &[f32]) -> Vec<f64> {
        let classes = self.problem.classes;
        let (direction, direction_bias) = self.laid_out(v);
        self.by_blocks(1, |x, rows, out: &mut [f64]| {
            let (mut z, mut along) = (vec![0.0; rows.len() * classes], vec![0.0; rows.len() * classes]);
            self.residuals(x, rows.start, &mut z);
            x.logits(&direction, direction_bias, &mut along);
            for (out, (z, along)) in
                out.iter_mut().zip(z.chunks_exact(classes).zip(along.chunks_exact(classes)))
            {
                *out = z.iter().zip(along).map(|(&r, &u)| f64::from(r) * f64::from(u)).sum();
            }
        })
    }

    /// Weighted residuals of all rows, `rows x C`.
    fn all_residuals(&self) -> Vec<f32> {
        self.by_blocks(self.problem.classes, |x, rows, out: &mut [f32]| {
            self.residuals(x, rows.start, out);
        })
    }

    /// Logits of all rows, offsets included, `rows x C`.
    fn all_logits(&self) -> Vec<f32> {
        self.by_blocks(self.problem.classes, |x, _, out: &mut [f32]| x.logits(self.weights, self.bias, out))
    }

    /// `width` values a row, from `work` on each block of rows.
    fn by_blocks<T: Default + Copy + Send>(
        &self,
        width: usize,
        work: impl Fn(super::products::Block<'_>, Range<usize>, &mut [T]) + Sync,
    ) -> Vec<T> {
        let problem = self.problem;
        let mut values = vec![T::default(); problem.rows.len() * width];
        values.par_chunks_mut(BLOCK_ROWS * width).enumerate().for_each_init(
            BlockBuffer::default,
            |buffer, (block, out)| {
                let start = block * BLOCK_ROWS;
                let rows = start..start + out.len() / width;
                let x = buffer.load(&problem.rows, self.centre, rows.clone(), self.arithmetic);
                work(x, rows, out);
            },
        );
        values
    }
}

/// Replaces `u` by the weighted Hessian of a row's loss in its logits times it. Told from the residuals `w (p - y)`,
/// which keep the small distances `1 - p` that saturated rows are made of.
fn curve(loss: Loss, residuals: &[f32], label: usize, weight: f32, u: &mut [f32]) {
    if weight <= 0.0 {
        return u.fill(0.0);
    }
    if loss == Loss::Softmax {
        // (diag(p) - p p') u does not feel a shift of u: from the label's on, its own large term is exactly 0.
        let shift = u[label];
        let others = residuals.iter().zip(&*u).map(|(&r, &u)| r * (u - shift)).sum::<f32>();
        let mean = others / weight;
        for (class, (u, &residual)) in u.iter_mut().zip(residuals).enumerate() {
            let wp = if class == label { weight + residual } else { residual };
            *u = wp * (*u - shift - mean);
        }
    } else {
        for (u, residual) in u.iter_mut().zip(residuals) {
            let distance = residual.abs() / weight;
            *u *= weight * distance * (1.0 - distance);
        }
    }
}

#[cfg(test)]
mod tests;
