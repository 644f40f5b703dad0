//! A metric with one second-moment matrix `S` of the features for all classes: `curvature_c S + l2 I` for class c, and
//! once a fit has settled, for each class `h x x'` of its hard rows besides, with the curvature of the others in
//! `curvature_c`.
//!
//! The bound of Boehning 1992 has the first form. Classes of similar curvature share one Cholesky factor: a metric that is
//! wrong by a factor of two costs L-BFGS next to nothing. What `S` is made of for a shape, [`super::second_moments`] says.

use rayon::prelude::*;

use super::correction::Correction;
use super::factor::InverseFactor;
use super::metric::Curvature;
use super::second_moments::SecondMoments;
use crate::checkpoint::codec::{Stored, store_fields};
use crate::linear::hard_rows::HardRows;
use crate::linear::objective::Objective;
use crate::simd::Kernels;

/// Classes whose curvatures lie within this ratio share a factor.
const LEVEL_RATIO: f64 = 4.0;
/// Levels at most; beyond, the ratio widens.
const MOST_LEVELS: usize = 6;
/// Factors made for an l2 serve down to one that is so many times weaker, a decade and its rounding: on clinc150imb,
/// banking77 and cifar10_lt100 paths take as many passes, and of 1,024 features and 10 classes a factor costs as much as five of them.
const WEAKEST_SERVED: f64 = 11.0;
/// Values (32 MiB) that factors may hold between two fits, where predictions want the room.
const MOST_AT_REST: usize = 1 << 23;
/// Classes whose hard rows are whitened together, and rows that are gathered by one task.
const CORRECTED_TOGETHER: usize = 64;
const GATHERED: usize = 64;

/// A metric for one l2 and those a little weaker.
#[derive(Debug)]
pub(super) struct ClassMetric {
    features: usize,
    /// What the factors are made for, or to be made again.
    l2: Option<f64>,
    /// Mean of the features under the weights of the second moments: where the bias is free of the weights.
    mean: Vec<f32>,
    bias_inverse: Vec<f32>,
    /// Factor of l2 by class.
    factors: Vec<f64>,
    levels: Vec<Level>,
    moments: SecondMoments,
    hard: HardRows,
}
store_fields!(ClassMetric { features, l2, mean, bias_inverse, factors, levels, moments, hard });

#[derive(Debug, Default)]
struct Level {
    classes: Vec<usize>,
    curvature: f64,
    /// Added to the diagonal, l2 included.
    ridge: f64,
    factor: Option<InverseFactor>,
    /// By class of the level, where there are hard rows.
    corrections: Vec<Correction>,
}

impl Level {
    fn forget_factor(&mut self) {
        (self.factor, self.corrections) = (None, Vec::new());
    }

    /// Values of the factor and the corrections.
    fn values(&self) -> usize {
        let factor = self.factor.as_ref().map_or(0, |factor| factor.size() * factor.size());
        factor + self.corrections.iter().map(Correction::values).sum::<usize>()
    }
}

/// Without what [`ClassMetric::set_l2`] makes of it.
impl Stored for Level {
    fn store(&self, out: &mut Vec<u8>) {
        self.classes.store(out);
        self.curvature.store(out);
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        let (classes, curvature) = Stored::load(from)?;
        Some(Level { classes, curvature, ..Level::default() })
    }
}

impl ClassMetric {
    /// Whether all sizes are those of a metric of so many classes, features, and rows, `hard_rows` of each class at most.
    pub(super) fn fits(&self, classes: usize, features: usize, rows: usize, hard_rows: usize) -> bool {
        let mut places: Vec<usize> =
            self.levels.iter().flat_map(|level| level.classes.iter().copied()).collect();
        places.sort_unstable();
        places.iter().copied().eq(0..classes)
            && (self.bias_inverse.len(), self.factors.len()) == (classes, classes)
            && (self.features, self.mean.len()) == (features, features)
            && self.moments.fits(features)
            && self.hard.fits(classes, rows, hard_rows)
            && (self.hard.is_empty() || matches!(self.moments, SecondMoments::Features(_)))
    }

    /// The metric of `curvature`; [`ClassMetric::set_l2`] makes it ready.
    pub(super) fn new(objective: &Objective<'_>, curvature: &Curvature) -> Self {
        let features = objective.problem().rows.features();
        let (moments, mean) = SecondMoments::of(objective, &curvature.positions, &curvature.weights);
        let mut metric = ClassMetric {
            features,
            l2: None,
            mean,
            bias_inverse: Vec::new(),
            factors: Vec::new(),
            levels: Vec::new(),
            moments,
            hard: HardRows::default(),
        };
        metric.set_classes(&curvature.classes, objective);
        metric
    }

    /// Lets go of factors that are large.
    pub(super) fn rest(&mut self) {
        let values: usize = self.levels.iter().map(Level::values).sum();
        if values > MOST_AT_REST {
            self.levels.iter_mut().for_each(Level::forget_factor);
            self.l2 = None;
        }
    }

    /// Number of factors.
    pub(super) fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Takes the curvature of the classes at `theta`, that of their `most` hard rows where it lies, and `kept` of each
    /// besides.
    pub(super) fn take_hard_rows(
        &mut self,
        objective: &Objective<'_>,
        theta: &[f32],
        most: usize,
        kept: &[f64],
    ) {
        // What was factored makes room.
        self.levels = Vec::new();
        let (hard, left) = objective.hard_rows(theta, most);
        let curvatures: Vec<f64> = left.iter().zip(kept).map(|(left, kept)| left + kept).collect();
        self.set_classes(&curvatures, objective);
        self.hard = hard;
    }

    /// Curvatures of the classes, without hard rows; the penalty on their biases is that of the objective.
    pub(super) fn set_classes(&mut self, curvatures: &[f64], objective: &Objective<'_>) {
        let (problem, on_bias) = (objective.problem(), objective.decays().1);
        self.factors = (0..curvatures.len()).map(|class| problem.l2_factor(class)).collect();
        let with_factors = || curvatures.iter().zip(&self.factors);
        self.bias_inverse = with_factors().map(|(c, f)| (1.0 / (c + on_bias * f)) as f32).collect();
        // curvature S + l2 f I = f (curvature/f S + l2 I): the factor comes back when the level is solved.
        self.levels = levels(&with_factors().map(|(c, f)| c / f).collect::<Vec<f64>>());
        self.hard = HardRows::default();
        self.l2 = None;
    }

    /// Factors the metric for the penalty of the objective on the weights, or one a little stronger.
    pub(super) fn set_l2(&mut self, objective: &Objective<'_>) {
        let (now, kernels, stop) =
            (objective.decays().0, objective.kernels(), objective.problem().rows.stop());
        let l2 = self.l2.filter(|&l2| now <= l2 && l2 <= WEAKEST_SERVED * now).unwrap_or(now);
        if self.l2 == Some(l2) && self.levels.iter().all(|level| level.factor.is_some()) {
            return;
        }
        self.l2 = Some(l2);
        self.moments.make_ready(kernels);
        let mut levels = std::mem::take(&mut self.levels);
        for level in &mut levels {
            level.forget_factor();
            // f32 resolves about seven digits below the mean variance; what does not factor gets a stronger ridge.
            let mut floor = 1e-6 * level.curvature * self.moments.mean_variance(self.features);
            while level.factor.is_none() && floor.is_finite() && !stop.is_set() {
                level.ridge = l2 + floor;
                level.factor = self.moments.factor(level.curvature, level.ridge, kernels, stop);
                floor = (10.0 * floor).max(1e-30);
            }
            level.corrections = match &level.factor {
                Some(factor) => self.corrections(&level.classes, factor, objective),
                None => Vec::new(),
            };
        }
        self.levels = levels;
    }

    /// What the hard rows of `classes` add to the metric of `factor`.
    fn corrections(
        &self,
        classes: &[usize],
        factor: &InverseFactor,
        objective: &Objective<'_>,
    ) -> Vec<Correction> {
        let (kernels, features, rows) =
            (objective.kernels(), self.features.max(1), &objective.problem().rows);
        if self.hard.is_empty() {
            return Vec::new();
        }
        let mut corrections = Vec::with_capacity(classes.len());
        for classes in classes.chunks(CORRECTED_TOGETHER) {
            let positions: Vec<usize> =
                classes.iter().flat_map(|&class| self.hard.of(class)).map(|&(row, _)| row).collect();
            let mut whitened = vec![0.0; positions.len() * features];
            let parts = whitened.par_chunks_mut(GATHERED * features).zip(positions.par_chunks(GATHERED));
            parts.for_each(|(values, positions)| {
                rows.gather_into(kernels, objective.centre(), positions, values);
                values.chunks_exact_mut(features).for_each(|row| kernels.axpy(-1.0, &self.mean, row));
            });
            factor.whiten(&mut whitened);
            let mut rest = &mut whitened[..];
            let mut of_classes = Vec::with_capacity(classes.len());
            for &class in classes {
                let (own, others) = rest.split_at_mut(self.hard.of(class).len() * features);
                of_classes.push((class, own));
                rest = others;
            }
            corrections.par_extend(of_classes.into_par_iter().map(|(class, weights)| {
                let hard = self.hard.of(class);
                let in_weights = 1.0 / self.factors[class];
                let in_bias = f64::from(self.bias_inverse[class]);
                for (row, &(_, h)) in weights.chunks_exact_mut(features).zip(hard) {
                    let root = (f64::from(h) * in_weights).sqrt() as f32;
                    row.iter_mut().for_each(|x| *x *= root);
                }
                let biases = hard.iter().map(|&(_, h)| (f64::from(h) * in_bias).sqrt() as f32).collect();
                Correction::new(weights.to_vec(), biases, features, kernels)
            }));
        }
        corrections
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
            *bias *= inverse.sqrt();
        }
        let mut rows = Vec::new();
        for level in &self.levels {
            let Some(factor) = &level.factor else { continue };
            rows.clear();
            for &class in &level.classes {
                rows.extend_from_slice(&weight[class * features..][..features]);
            }
            if level.corrections.is_empty() {
                self.moments.solve(factor, level.curvature, level.ridge, &mut rows, kernels);
            } else {
                let mut biases: Vec<f32> = level.classes.iter().map(|&class| bias[class]).collect();
                factor.whiten(&mut rows);
                rows.par_chunks_exact_mut(features.max(1))
                    .zip(&mut biases)
                    .zip(&level.corrections)
                    .zip(&level.classes)
                    .for_each(|(((row, bias), correction), &class)| {
                        let root = self.factors[class].sqrt() as f32;
                        *bias *= root;
                        correction.apply(row, bias, kernels);
                        *bias /= root;
                    });
                factor.solve_whitened(&mut rows);
                level.classes.iter().zip(biases).for_each(|(&class, corrected)| bias[class] = corrected);
            }
            for (&class, row) in level.classes.iter().zip(rows.chunks_exact(features.max(1))) {
                let inverse = 1.0 / self.factors[class];
                let own = &mut weight[class * features..][..features];
                own.iter_mut().zip(row).for_each(|(w, &solved)| *w = (inverse * f64::from(solved)) as f32);
            }
        }
        for ((row, bias), &inverse) in weight.chunks_exact(features.max(1)).zip(bias).zip(&self.bias_inverse)
        {
            *bias = *bias * inverse.sqrt() - kernels.dot(row, &self.mean) as f32;
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
            _ => levels.push(Level { classes: vec![class], ..Level::default() }),
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
    use crate::checkpoint::codec::{bytes_of, value_of};
    use crate::linear::problem::{Decay, Problem};
    use crate::linear::rows::Rows;
    use crate::loss::Loss;
    use crate::matrix::Matrix;
    use crate::rng::CounterRng;

    const ROWS: usize = 60;
    const FEATURES: usize = 7;
    const L2: f64 = 0.05;

    fn made(seed: u64) -> (Matrix<'static>, Vec<u32>, Vec<f32>) {
        let mut rng = CounterRng::new(seed, 0);
        let x = (0..ROWS * FEATURES).map(|_| rng.next_f64() as f32 * 2.0 - 0.7).collect();
        (Matrix::from_f32(x, FEATURES), (0..ROWS as u32).map(|row| row % 2).collect(), vec![1.0; ROWS])
    }

    /// What the metric of `class` inverts, times its part of `solved`, summed row by row in f64 in the given coordinates.
    fn applied(x: &[f32], metric: &ClassMetric, class: usize, solved: &[f32]) -> Vec<f64> {
        let (classes, factor) = (metric.factors.len(), metric.factors[class]);
        let level = metric.levels.iter().find(|level| level.classes.contains(&class)).unwrap();
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&v| f64::from(v)).collect() };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (w, mean) = (wide(&solved[class * FEATURES..][..FEATURES]), wide(&metric.mean));
        let b = f64::from(solved[classes * FEATURES + class]);
        let mut result: Vec<f64> = w.iter().map(|w| L2 * factor * w).collect();
        result.push(0.0);
        let mut add = |x: &[f64], on_bias: f64, push: f64| {
            result.iter_mut().zip(x).for_each(|(r, x)| *r += push * x);
            result[FEATURES] += push * on_bias;
        };
        for x in x.chunks_exact(FEATURES).map(wide) {
            let centred: Vec<f64> = x.iter().zip(&mean).map(|(x, mean)| x - mean).collect();
            add(&centred, 0.0, level.curvature * factor / ROWS as f64 * dot(&centred, &w));
        }
        // Where the bias is free of the weights it has a curvature of its own.
        add(&mean, 1.0, (dot(&mean, &w) + b) / f64::from(metric.bias_inverse[class]));
        for &(row, h) in metric.hard.of(class) {
            let x = wide(&x[row * FEATURES..][..FEATURES]);
            add(&x, 1.0, f64::from(h) * (dot(&x, &w) + b));
        }
        result
    }

    /// Checks `metric` of the rows `x` in the coordinates of `objective`.
    fn assert_inverse(metric: &mut ClassMetric, objective: &Objective<'_>, x: &[f32]) {
        metric.set_l2(objective);
        let classes = metric.factors.len();
        let gradient: Vec<f32> = (0..classes * (FEATURES + 1)).map(|i| ((i * 7 % 5) as f32) - 2.0).collect();
        let mut solved = gradient.clone();
        metric.solve(&mut solved, objective.kernels());
        for class in 0..classes {
            let mut given = gradient[class * FEATURES..][..FEATURES].to_vec();
            given.push(gradient[classes * FEATURES + class]);
            for (back, given) in applied(x, metric, class, &solved).iter().zip(given) {
                let given = f64::from(given);
                assert!((back - given).abs() < 1e-3 * (1.0 + given.abs()), "{back} against {given}");
            }
        }
    }

    #[test]
    fn the_metric_is_inverted_in_both_forms_and_with_hard_rows() {
        let (matrix, labels, weights) = made(4);
        let l2_factors = Some(&[1.0, 3.0][..]);
        let problem = Problem {
            l2_factors,
            decay: Decay::Both,
            ..Problem::new(Rows::all(&matrix), &labels, &weights, 2, Loss::Softmax, L2)
        };
        let objective = Objective::new(problem, Kernels::best());
        let start = Curvature::at_start(&objective);
        let mut centred = vec![0.0; ROWS * FEATURES];
        problem.rows.copy_block(objective.kernels(), objective.centre(), 0, &mut centred);
        let mut by_features = ClassMetric::new(&objective, &start);
        assert_inverse(&mut by_features, &objective, &centred);
        let (moments, mean) = SecondMoments::of_rows(&objective, &start.positions, &start.weights);
        let mut by_rows = ClassMetric {
            features: FEATURES,
            l2: None,
            mean,
            bias_inverse: Vec::new(),
            factors: Vec::new(),
            levels: Vec::new(),
            moments,
            hard: HardRows::default(),
        };
        by_rows.set_classes(&start.classes, &objective);
        assert_inverse(&mut by_rows, &objective, &centred);
        // Softmax of two classes: both are in doubt about the same rows.
        let theta: Vec<f32> = (0..2 * (FEATURES + 1)).map(|i| (i % 3) as f32 - 1.0).collect();
        by_features.take_hard_rows(&objective, &theta, 9, &[1e-3, 1e-3]);
        assert!((0..2).all(|class| by_features.hard.of(class).len() == 9));
        assert_inverse(&mut by_features, &objective, &centred);
    }

    /// What a resumed fit makes of a stored metric is what the fit had.
    #[test]
    fn factors_serve_a_weaker_penalty_and_are_made_again_alike() {
        let (matrix, labels, weights) = made(5);
        let problem = Problem::new(Rows::all(&matrix), &labels, &weights, 2, Loss::Softmax, L2);
        let mut objective = Objective::new(problem, Kernels::best());
        let mut metric = ClassMetric::new(&objective, &Curvature::at_start(&objective));
        metric.take_hard_rows(&objective, &vec![0.3; problem.parameters()], 4, &[1e-3, 1e-3]);
        let gradient: Vec<f32> = (0..problem.parameters()).map(|i| (i * 7 % 5) as f32 - 2.0).collect();
        let mut solved_at = |l2: f64, metric: &mut ClassMetric| {
            objective.set_l2(l2);
            metric.set_l2(&objective);
            let mut solved = gradient.clone();
            metric.solve(&mut solved, objective.kernels());
            solved
        };
        let first = solved_at(L2, &mut metric);
        assert_eq!(solved_at(L2 / 10.0, &mut metric), first);
        let mut stored = value_of::<ClassMetric>(&bytes_of(&metric)).unwrap();
        assert_eq!(solved_at(L2 / 10.0, &mut stored), first);
        assert_ne!(solved_at(L2 / 30.0, &mut metric), first);
        assert_ne!(solved_at(2.0 * L2, &mut stored), first);
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
