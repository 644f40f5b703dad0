//! A metric with one second-moment matrix `S` of the features for all classes: `curvature_c S + l2 I` for class c.
//!
//! The bound of Boehning 1992 has this form. Classes of similar curvature share one Cholesky factor: a metric that is
//! wrong by a factor of two costs L-BFGS next to nothing. What `S` is made of for a shape, [`super::second_moments`] says.

use super::factor::InverseFactor;
use super::metric::Curvature;
use super::second_moments::SecondMoments;
use crate::checkpoint::codec::{Stored, store_fields};
use crate::linear::objective::Objective;
use crate::simd::Kernels;
use crate::stop::Stop;

/// Classes whose curvatures lie within this ratio share a factor.
const LEVEL_RATIO: f64 = 4.0;
/// Levels at most; beyond, the ratio widens.
const MOST_LEVELS: usize = 6;
/// A metric for one l2.
#[derive(Debug)]
pub(super) struct ClassMetric {
    features: usize,
    /// Mean of the features under the weights of the second moments: where the bias is free of the weights.
    mean: Vec<f32>,
    bias_inverse: Vec<f32>,
    /// Factor of l2 by class.
    factors: Vec<f64>,
    levels: Vec<Level>,
    moments: SecondMoments,
}
store_fields!(ClassMetric { features, mean, bias_inverse, factors, levels, moments });

#[derive(Debug)]
struct Level {
    classes: Vec<usize>,
    curvature: f64,
    /// Added to the diagonal, l2 included.
    ridge: f64,
    factor: Option<InverseFactor>,
}

/// Without what [`ClassMetric::set_l2`] makes of it.
impl Stored for Level {
    fn store(&self, out: &mut Vec<u8>) {
        self.classes.store(out);
        self.curvature.store(out);
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        let (classes, curvature) = Stored::load(from)?;
        Some(Level { classes, curvature, ridge: 0.0, factor: None })
    }
}

impl ClassMetric {
    /// Whether all sizes are those of a metric of so many classes and features.
    pub(super) fn fits(&self, classes: usize, features: usize) -> bool {
        let mut places: Vec<usize> =
            self.levels.iter().flat_map(|level| level.classes.iter().copied()).collect();
        places.sort_unstable();
        places.iter().copied().eq(0..classes)
            && (self.bias_inverse.len(), self.factors.len()) == (classes, classes)
            && (self.features, self.mean.len()) == (features, features)
            && self.moments.fits(features)
    }

    /// The metric of `curvature`; [`ClassMetric::set_l2`] makes it ready.
    pub(super) fn new(objective: &Objective<'_>, curvature: &Curvature) -> Self {
        let features = objective.problem().rows.features();
        let (moments, mean) = SecondMoments::of(objective, &curvature.positions, &curvature.weights);
        let mut metric = ClassMetric {
            features,
            mean,
            bias_inverse: Vec::new(),
            factors: Vec::new(),
            levels: Vec::new(),
            moments,
        };
        metric.set_classes(&curvature.classes, objective);
        metric
    }

    /// Number of factors.
    pub(super) fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Curvatures of the classes; the penalty on their biases is that of the objective.
    pub(super) fn set_classes(&mut self, curvatures: &[f64], objective: &Objective<'_>) {
        let (problem, on_bias) = (objective.problem(), objective.decays().1);
        self.factors = (0..curvatures.len()).map(|class| problem.l2_factor(class)).collect();
        let with_factors = || curvatures.iter().zip(&self.factors);
        self.bias_inverse = with_factors().map(|(c, f)| (1.0 / (c + on_bias * f)) as f32).collect();
        // curvature S + l2 f I = f (curvature/f S + l2 I): the factor comes back when the level is solved.
        self.levels = levels(&with_factors().map(|(c, f)| c / f).collect::<Vec<f64>>());
    }

    /// Factors the metric for the penalty `l2` on the weights.
    pub(super) fn set_l2(&mut self, l2: f64, kernels: &'static Kernels, stop: &Stop) {
        self.moments.make_ready(kernels);
        let moments = &self.moments;
        for level in &mut self.levels {
            level.factor = None;
            // f32 resolves about seven digits below the mean variance; what does not factor gets a stronger ridge.
            let mut floor = 1e-6 * level.curvature * moments.mean_variance(self.features);
            while level.factor.is_none() && floor.is_finite() && !stop.is_set() {
                level.ridge = l2 + floor;
                level.factor = moments.factor(level.curvature, level.ridge, kernels, stop);
                floor = (10.0 * floor).max(1e-30);
            }
        }
    }

    /// Replaces a gradient (`C x D` weights, then C biases) by the inverse metric times it.
    pub(super) fn solve(&self, gradient: &mut [f32], kernels: &Kernels) {
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
            self.moments.solve(factor, level.curvature, level.ridge, &mut rows, kernels);
            for (&class, row) in level.classes.iter().zip(rows.chunks_exact(features.max(1))) {
                let inverse = 1.0 / self.factors[class];
                let own = &mut weight[class * features..][..features];
                own.iter_mut().zip(row).for_each(|(w, &solved)| *w = (inverse * f64::from(solved)) as f32);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::problem::Problem;
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
        let problem = Problem::new(Rows::all(&matrix), &labels, &weights, 2, Loss::Softmax, l2);
        let objective = Objective::new(problem, Kernels::best());
        let start = Curvature::at_start(&objective);
        let mut centred = vec![0.0; rows * features];
        problem.rows.copy_block(objective.kernels(), objective.centre(), 0, &mut centred);
        let by_features = ClassMetric::new(&objective, &start);
        let (moments, mean) = SecondMoments::of_rows(&objective, &start.positions, &start.weights);
        let mut by_rows = ClassMetric {
            features,
            mean,
            bias_inverse: Vec::new(),
            factors: Vec::new(),
            levels: Vec::new(),
            moments,
        };
        by_rows.set_classes(&start.classes, &objective);
        for mut metric in [by_features, by_rows] {
            metric.set_l2(l2, objective.kernels(), &Stop::default());
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
