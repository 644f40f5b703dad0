//! The metric L-BFGS starts from: a model of the Hessian that is inverted exactly.
//!
//! For class c it is `curvature_c S + l2 I` with one second-moment matrix `S` of the features for all classes (the
//! bound of Boehning 1992 has this form). Classes of similar curvature share one Cholesky factor: a metric that is
//! wrong by a factor of two costs L-BFGS next to nothing. Many more features than a matrix of their products can hold
//! are treated through rows instead: `(k X^T X + l I)^-1 = (I - X^T (X X^T + l/k I)^-1 X) / l`.

use super::factor::InverseFactor;
use crate::linear::gram::weighted_covariance;
use crate::linear::objective::Objective;
use crate::simd::{Kernels, PackedWeights};

/// Feature count up to which the matrix of their second moments is factored.
const MOST_FEATURES: usize = 4096;
/// Rows that stand for all in the row form.
const MOST_ROWS: usize = 2048;
/// Classes whose curvatures lie within this ratio share a factor.
const LEVEL_RATIO: f64 = 4.0;
/// Levels at most; beyond, the ratio widens.
const MOST_LEVELS: usize = 6;
/// Curvature of a class relative to that of a constant classifier. Between .1 and 1 the number of iterations hardly
/// changes on embeddings.
const START_SCALE: f64 = 0.3;
/// Share of the curvature at the start that is kept when the metric is renewed: where rows are saturated now, the next
/// step may bring them back.
const KEPT: f64 = 0.1;

/// What a metric is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A matrix of the products of all features.
    OfFeatures {
        /// Rows that it is summed over.
        rows: usize,
        /// Number of features D.
        features: usize,
    },
    /// A matrix of the products of some rows.
    OfRows {
        /// Number of them.
        rows: usize,
    },
}

/// The form of a metric for a shape.
pub fn form(rows: usize, features: usize) -> Form {
    if features > MOST_FEATURES {
        Form::OfRows { rows: rows.min(MOST_ROWS) }
    } else {
        Form::OfFeatures { rows: rows.min((16 * features).max(8192)), features }
    }
}

/// Second moments of the features and curvatures of the classes; what a metric is made of for any l2.
#[derive(Debug)]
struct Curvature {
    /// Row weights of the second moments, sum 1, for the rows at `positions`.
    weights: Vec<f32>,
    positions: Vec<usize>,
    /// Curvature of each class.
    classes: Vec<f64>,
}

impl Curvature {
    /// Before anything is known of the fit: all rows by their weight, classes by their share `p (1 - p)`.
    fn at_start(objective: &Objective<'_>) -> Self {
        let (positions, weights) = sample(objective);
        Curvature { weights, positions, classes: class_curvatures(objective) }
    }

    /// At the parameters `theta` (coordinates of the objective), with a part of the curvature at the start.
    fn at(objective: &Objective<'_>, theta: &[f32], start: &Curvature) -> Self {
        let (positions, row_weights) = (&start.positions, &start.weights);
        let (rows, mut classes) = objective.curvatures(theta, positions, row_weights);
        let kept: Vec<f64> = start.classes.iter().map(|c| KEPT * c).collect();
        let kept_total: f64 = kept.iter().sum();
        let total = rows.iter().map(|&r| f64::from(r)).sum::<f64>() + kept_total;
        let weights = rows
            .iter()
            .zip(row_weights)
            .map(|(&row, &weight)| ((f64::from(row) + kept_total * f64::from(weight)) / total) as f32)
            .collect();
        classes.iter_mut().zip(kept).for_each(|(class, kept)| *class += kept);
        Curvature { weights, positions: positions.clone(), classes }
    }
}

/// Curvature of each class where a constant classifier stands, scaled.
fn class_curvatures(objective: &Objective<'_>) -> Vec<f64> {
    let scale = START_SCALE * objective.problem().loss.relative_curvature();
    objective.moments().class_share.iter().map(|p| scale * (p * (1.0 - p)).max(1e-12)).collect()
}

/// Rows that the second moments are taken from, with weights of sum 1: all, or where they are many every so-manieth of
/// the total weight.
fn sample(objective: &Objective<'_>) -> (Vec<usize>, Vec<f32>) {
    let problem = objective.problem();
    let (rows, features) = (problem.rows.len(), problem.rows.features());
    let total = objective.moments().total_weight;
    let (Form::OfFeatures { rows: most, .. } | Form::OfRows { rows: most }) = form(rows, features);
    if rows <= most {
        let weights = problem.weights.iter().map(|&w| (f64::from(w) / total) as f32).collect();
        return ((0..rows).collect(), weights);
    }
    let mut positions = Vec::with_capacity(most);
    let mut passed = 0.0;
    for (row, &weight) in problem.weights.iter().enumerate() {
        passed += f64::from(weight);
        while positions.len() < most && passed * most as f64 > (positions.len() as f64 + 0.5) * total {
            positions.push(row);
        }
    }
    let weights = vec![1.0 / positions.len() as f32; positions.len()];
    (positions, weights)
}

/// Passes that a metric serves at least: before, the fit has not settled which rows are hard.
const LIFETIME: usize = 10;
/// Factor between the lifetimes of the metrics of one fit.
const LONGER_LIFE: usize = 4;

/// The metric of a fit, kept for the next fit over the same rows or most of them.
#[derive(Debug, Default)]
pub struct Preconditioner {
    class_share: Vec<f64>,
    rows: usize,
    start: Option<Curvature>,
    metric: Option<Metric>,
    /// Passes made in this metric, and how many it is to serve.
    passes: usize,
    lifetime: usize,
}

impl Preconditioner {
    /// Makes the metric ready for the objective and its l2, the first time from the curvature at `theta` (coordinates of
    /// the objective).
    pub fn prepare(&mut self, objective: &Objective<'_>, theta: &[f32]) {
        let rows = objective.problem().rows.len();
        if self.start.is_none() || rows != self.rows || self.class_share != objective.moments().class_share {
            self.rows = rows;
            self.class_share.clone_from(&objective.moments().class_share);
            let start = Curvature::at_start(objective);
            // The metric of other weights, or of most of the rows, still serves; the curvatures of the classes do not.
            if let Some(metric) = &mut self.metric {
                metric.set_classes(&start.classes, objective.decays().1);
            }
            self.start = Some(start);
        }
        self.lifetime = self.passes_a_renewal_costs(objective).max(LIFETIME);
        match &mut self.metric {
            Some(metric) => metric.set_l2(objective.decays().0, objective.kernels()),
            None => self.renew(objective, theta),
        }
    }

    /// Counts `passes` made in this metric and says whether they have paid for another.
    pub fn is_worn_out_by(&mut self, passes: usize) -> bool {
        self.passes += passes;
        self.passes >= self.lifetime
    }

    /// Renews the metric from the curvature at `theta` (coordinates of the objective).
    pub fn renew(&mut self, objective: &Objective<'_>, theta: &[f32]) {
        let Some(start) = &self.start else { return };
        let is_start = theta[..theta.len() - objective.problem().classes].iter().all(|&w| w == 0.0);
        let mut metric = if is_start {
            Metric::new(objective, start)
        } else {
            self.lifetime *= LONGER_LIFE;
            Metric::new(objective, &Curvature::at(objective, theta, start))
        };
        metric.set_l2(objective.decays().0, objective.kernels());
        self.metric = Some(metric);
        self.passes = 0;
    }

    /// What [`Preconditioner::renew`] costs in passes over the rows, by their floating-point operations.
    fn passes_a_renewal_costs(&self, objective: &Objective<'_>) -> usize {
        let problem = objective.problem();
        let (features, classes) = (problem.rows.features() as f64, problem.classes as f64);
        let sampled = self.start.as_ref().map_or(0, |start| start.positions.len()) as f64;
        let size = if features <= MOST_FEATURES as f64 { features } else { sampled };
        let levels = self.metric.as_ref().map_or(1, |metric| metric.levels.len()) as f64;
        let renewal = 2.0 * sampled * features * (size + classes) + levels * size.powi(3);
        let pass = 4.0 * problem.rows.len() as f64 * features * classes;
        (renewal / pass.max(1.0)).ceil() as usize
    }

    /// Replaces a gradient (`C x D` weights, then C biases) by the inverse metric times it.
    pub fn solve(&self, gradient: &mut [f32], kernels: &Kernels) {
        if let Some(metric) = &self.metric {
            metric.solve(gradient, kernels);
        }
    }
}

/// A metric for one l2.
#[derive(Debug)]
struct Metric {
    features: usize,
    /// Mean of the features under the weights of the second moments: where the bias is free of the weights.
    mean: Vec<f32>,
    bias_inverse: Vec<f32>,
    levels: Vec<Level>,
    moments: SecondMoments,
}

#[derive(Debug)]
struct Level {
    classes: Vec<usize>,
    curvature: f64,
    /// Added to the diagonal, l2 included.
    ridge: f64,
    factor: Option<InverseFactor>,
}

#[derive(Debug)]
enum SecondMoments {
    /// `D x D`, upper triangle.
    OfFeatures(Vec<f32>),
    /// Centred rows times the root of their weight, and the products of each two.
    OfRows { rows: Vec<f32>, packed: Box<PackedWeights>, products: Vec<f32> },
}

impl Metric {
    /// The metric of `curvature`; [`Metric::set_l2`] makes it ready.
    fn new(objective: &Objective<'_>, curvature: &Curvature) -> Self {
        let (problem, kernels) = (objective.problem(), objective.kernels());
        let features = problem.rows.features();
        let (positions, weights) = (&curvature.positions, &curvature.weights);
        let (moments, mean) = if features <= MOST_FEATURES {
            let centre = objective.centre();
            let (covariance, mean) = weighted_covariance(&problem.rows, centre, positions, weights, kernels);
            (SecondMoments::OfFeatures(covariance), mean)
        } else {
            SecondMoments::of_rows(objective, curvature)
        };
        let mut metric = Metric { features, mean, bias_inverse: Vec::new(), levels: Vec::new(), moments };
        metric.set_classes(&curvature.classes, objective.decays().1);
        metric
    }

    fn set_classes(&mut self, curvatures: &[f64], on_bias: f64) {
        self.bias_inverse = curvatures.iter().map(|c| (1.0 / (c + on_bias)) as f32).collect();
        self.levels = levels(curvatures);
    }

    /// Factors the metric for the penalty `l2` on the weights.
    fn set_l2(&mut self, l2: f64, kernels: &Kernels) {
        let moments = &self.moments;
        for level in &mut self.levels {
            level.factor = None;
            // f32 resolves about seven digits below the mean variance; what does not factor gets a stronger ridge.
            let mut floor = 1e-6 * level.curvature * moments.mean_variance(self.features);
            while level.factor.is_none() && floor.is_finite() {
                level.ridge = l2 + floor;
                level.factor = moments.factor(level.curvature, level.ridge, kernels);
                floor = (10.0 * floor).max(1e-30);
            }
        }
    }

    /// Replaces a gradient (`C x D` weights, then C biases) by the inverse metric times it.
    fn solve(&self, gradient: &mut [f32], kernels: &Kernels) {
        let features = self.features;
        let (weight, bias) = gradient.split_at_mut(self.bias_inverse.len() * features);
        // In the coordinates b' = b + W mean, weights and bias are free of each other.
        for ((row, bias), &inverse) in
            weight.chunks_exact_mut(features.max(1)).zip(bias.iter_mut()).zip(&self.bias_inverse)
        {
            kernels.axpy(-*bias, &self.mean, row);
            *bias *= inverse;
        }
        let mut rows = Vec::new();
        for level in &self.levels {
            let Some(factor) = &level.factor else { continue };
            rows.clear();
            for &class in &level.classes {
                rows.extend_from_slice(&weight[class * features..][..features]);
            }
            self.moments.solve(factor, level.ridge, &mut rows, kernels);
            for (&class, row) in level.classes.iter().zip(rows.chunks_exact(features.max(1))) {
                weight[class * features..][..features].copy_from_slice(row);
            }
        }
        for (row, bias) in weight.chunks_exact(features.max(1)).zip(bias) {
            *bias -= kernels.dot(row, &self.mean) as f32;
        }
    }
}

/// Classes in groups of similar curvature.
fn levels(curvatures: &[f64]) -> Vec<Level> {
    let mut order: Vec<usize> = (0..curvatures.len()).collect();
    order.sort_by(|&a, &b| curvatures[b].total_cmp(&curvatures[a]));
    let (Some(&first), Some(&last)) = (order.first(), order.last()) else { return Vec::new() };
    let spread = curvatures[first] / curvatures[last];
    let ratio = LEVEL_RATIO.max(spread.powf(1.0 / MOST_LEVELS as f64) * (1.0 + 1e-9));
    let mut levels: Vec<Level> = Vec::new();
    for class in order {
        match levels.last_mut() {
            Some(level) if curvatures[class] * ratio >= curvatures[level.classes[0]] => {
                level.classes.push(class);
            }
            _ => levels.push(Level { classes: vec![class], curvature: 0.0, ridge: 0.0, factor: None }),
        }
    }
    for level in &mut levels {
        let ends = curvatures[level.classes[0]] * curvatures[level.classes[level.classes.len() - 1]];
        level.curvature = ends.sqrt();
    }
    levels
}

impl SecondMoments {
    /// The row form, and the mean of the rows in the coordinates of the objective.
    fn of_rows(objective: &Objective<'_>, curvature: &Curvature) -> (Self, Vec<f32>) {
        let (problem, kernels) = (objective.problem(), objective.kernels());
        let features = problem.rows.features();
        let size = curvature.positions.len();
        let mut rows = vec![0.0; size * features];
        problem.rows.gather_into(kernels, objective.centre(), &curvature.positions, &mut rows);
        let mut mean = vec![0.0; features];
        kernels.accumulate_gradient(&curvature.weights, 1, 1, &rows, features, &mut mean);
        for (row, &weight) in rows.chunks_exact_mut(features).zip(&curvature.weights) {
            kernels.axpy(-1.0, &mean, row);
            let root = weight.max(0.0).sqrt();
            row.iter_mut().for_each(|x| *x *= root);
        }
        let mut packed = Box::<PackedWeights>::default();
        kernels.pack_weights(&rows, size, features, &mut packed);
        let mut products = vec![0.0; size * size];
        multiply(&rows, features, &packed, &mut products, kernels);
        (SecondMoments::OfRows { rows, packed, products }, mean)
    }

    fn matrix(&self) -> &[f32] {
        match self {
            SecondMoments::OfFeatures(matrix) => matrix,
            SecondMoments::OfRows { products, .. } => products,
        }
    }

    fn mean_variance(&self, features: usize) -> f64 {
        let size = self.matrix().len().isqrt();
        let trace: f64 = (0..size).map(|i| f64::from(self.matrix()[i * size + i])).sum();
        trace / features.max(1) as f64
    }

    fn factor(&self, curvature: f64, ridge: f64, kernels: &Kernels) -> Option<InverseFactor> {
        let size = self.matrix().len().isqrt();
        // In the row form the curvature is divided out: (k X^T X + l I) = k (X^T X + l/k I).
        let (scale, diagonal) = match self {
            SecondMoments::OfFeatures(_) => (curvature, ridge),
            SecondMoments::OfRows { .. } => (1.0, ridge / curvature),
        };
        let mut matrix: Vec<f32> = self.matrix().iter().map(|&m| (scale * f64::from(m)) as f32).collect();
        for i in 0..size {
            matrix[i * size + i] += diagonal as f32;
        }
        InverseFactor::new(matrix, size, kernels)
    }

    fn solve(&self, factor: &InverseFactor, ridge: f64, gradient: &mut [f32], kernels: &Kernels) {
        let SecondMoments::OfRows { rows, packed, products } = self else {
            return factor.solve(gradient, kernels);
        };
        let size = products.len().isqrt();
        let features = rows.len() / size.max(1);
        let classes = gradient.len() / features.max(1);
        let mut along = vec![0.0; classes * size];
        multiply(gradient, features, packed, &mut along, kernels);
        factor.solve(&mut along, kernels);
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

/// `z = x W^T` in parallel over rows of x.
fn multiply(x: &[f32], features: usize, packed: &PackedWeights, z: &mut [f32], kernels: &Kernels) {
    use rayon::prelude::*;
    const ROWS: usize = 64;
    let bias = vec![0.0; packed.classes()];
    z.par_chunks_mut(ROWS * bias.len())
        .zip(x.par_chunks(ROWS * features))
        .for_each(|(z, x)| kernels.logits(x, features, packed, &bias, z, bias.len()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::problem::{Decay, Problem};
    use crate::linear::rows::Rows;
    use crate::loss::Loss;
    use crate::matrix::Matrix;
    use crate::rng::CounterRng;

    /// `(curvature (S w + mean b) + l2 w, curvature (mean . w + b))` with second moments S in the given coordinates: what
    /// the metric inverts, summed row by row in f64.
    fn applied(x: &[f32], features: usize, curvature: f64, l2: f64, vector: &[f64]) -> Vec<f64> {
        let rows = x.len() / features;
        let mut result: Vec<f64> = vector[..features].iter().map(|w| l2 * w).collect();
        result.push(0.0);
        for x in x.chunks_exact(features) {
            let along: f64 =
                x.iter().zip(vector).map(|(&x, w)| f64::from(x) * w).sum::<f64>() + vector[features];
            let push = curvature * along / rows as f64;
            result.iter_mut().zip(x).for_each(|(r, &x)| *r += push * f64::from(x));
            result[features] += push;
        }
        result
    }

    #[test]
    fn the_metric_is_inverted_in_both_forms() {
        let (rows, features, l2) = (60, 7, 0.05);
        let mut rng = CounterRng::new(4, 0);
        let x: Vec<f32> = (0..rows * features).map(|_| rng.next_f64() as f32 * 2.0 - 0.7).collect();
        let labels: Vec<u32> = (0..rows as u32).map(|row| row % 2).collect();
        let weights = vec![1.0; rows];
        let matrix = Matrix::from_f32(x, features);
        let problem = Problem {
            rows: Rows::all(&matrix),
            labels: &labels,
            weights: &weights,
            classes: 2,
            loss: Loss::Softmax,
            offsets: None,
            l2,
            decay: Decay::Weights,
        };
        let objective = Objective::new(problem, Kernels::best());
        let start = Curvature::at_start(&objective);
        let mut centred = vec![0.0; rows * features];
        problem.rows.copy_block(objective.kernels(), objective.centre(), 0, &mut centred);
        let by_features = Metric::new(&objective, &start);
        let (moments, mean) = SecondMoments::of_rows(&objective, &start);
        let mut by_rows = Metric { features, mean, bias_inverse: Vec::new(), levels: Vec::new(), moments };
        by_rows.set_classes(&start.classes, 0.0);
        for mut metric in [by_features, by_rows] {
            metric.set_l2(l2, objective.kernels());
            let gradient: Vec<f32> = (0..2 * (features + 1)).map(|i| ((i * 7 % 5) as f32) - 2.0).collect();
            let mut solved = gradient.clone();
            metric.solve(&mut solved, objective.kernels());
            for class in 0..2 {
                let of_class = |v: &[f32]| {
                    let mut own: Vec<f64> =
                        v[class * features..][..features].iter().map(|&w| f64::from(w)).collect();
                    own.push(f64::from(v[2 * features + class]));
                    own
                };
                let back = applied(&centred, features, start.classes[class], l2, &of_class(&solved));
                for (back, given) in back.iter().zip(of_class(&gradient)) {
                    assert!((back - given).abs() < 1e-3 * (1.0 + given.abs()), "{back} against {given}");
                }
            }
        }
    }

    #[test]
    fn classes_of_like_curvature_share_a_level() {
        let found = levels(&[1.0, 0.5, 0.01, 0.3]);
        let classes: Vec<&[usize]> = found.iter().map(|level| &level.classes[..]).collect();
        assert_eq!(classes, [&[0, 1, 3][..], &[2]]);
        let spread: Vec<f64> = (0..100).map(|i| 0.7f64.powi(i)).collect();
        assert!(levels(&spread).len() <= MOST_LEVELS + 1);
    }
}
