//! A start for many rows: the optimum of some of them, found at a fraction of the cost.
//!
//! Far from the optimum a tenth of the rows shows the way as well as all of them (growing samples: Byrd, Chin, Nocedal
//! and Wu 2012). Samples are stratified, and the weights of a class are scaled to what the whole class weighs.

use super::objective::Objective;
use super::problem::Problem;
use super::rows::Rows;
use super::solver::Monitor;
use super::solver::lbfgs::{LbfgsOptions, minimise};
use super::solver::metric::Preconditioner;
use crate::Result;

/// Factor between the sizes of the samples.
const GROWTH: usize = 8;
/// Rows of the smallest sample, and how many of them a class keeps if it has them.
const FEWEST_ROWS: usize = 16_384;
const FEWEST_OF_CLASS: usize = 8;
/// Relative gap at which a larger sample takes over.
const TOLERANCE: f64 = 0.03;

/// What the stages found.
pub(super) struct Staged {
    /// Over the features as they are, `C x D + C`.
    pub(super) theta: Vec<f32>,
    /// Their cost in passes over all rows.
    pub(super) passes: f64,
}

/// Fits samples of the rows of `objective`, small to large, each from the optimum of the one before. `None` where the rows
/// are too few, or `start` is the optimum of something already.
///
/// # Errors
/// Those of [`minimise`].
pub(super) fn fit_samples(
    objective: &Objective<'_>,
    preconditioner: &mut Preconditioner,
    start: &[f32],
    max_iterations: usize,
    monitor: &mut Monitor<'_>,
) -> Result<Option<Staged>> {
    let problem = objective.problem();
    let rows = problem.rows.len();
    let sizes = sizes(rows);
    if sizes.is_empty() || start != problem.start() {
        return Ok(None);
    }
    let mut staged = Staged { theta: start.to_vec(), passes: 0.0 };
    for size in sizes {
        let sample = Sample::of(problem, size);
        let share = sample.index.len() as f64 / rows as f64;
        let mut part = Objective::new(sample.problem(problem), objective.kernels());
        let options = LbfgsOptions { tolerance: TOLERANCE, max_iterations, certified: false };
        let fit = minimise(&mut part, preconditioner, &staged.theta, &options, monitor)?;
        staged.theta = fit.theta;
        staged.passes += share * fit.passes as f64;
    }
    Ok(Some(staged))
}

/// Sizes of the samples of so many rows, small to large.
pub(super) fn sizes(rows: usize) -> Vec<usize> {
    let smaller = |&size: &usize| (size >= GROWTH * FEWEST_ROWS).then_some(size / GROWTH);
    let mut sizes: Vec<usize> = std::iter::successors(Some(rows), smaller).skip(1).collect();
    sizes.reverse();
    sizes
}

/// Some rows of a problem.
struct Sample<'a> {
    rows: Rows<'a>,
    index: Vec<usize>,
    labels: Vec<u32>,
    weights: Vec<f32>,
}

impl<'a> Sample<'a> {
    /// About `size` rows, evenly spaced within each class.
    fn of(problem: &Problem<'a>, size: usize) -> Self {
        let mut counts = vec![0usize; problem.classes];
        for &label in problem.labels {
            counts[label as usize] += 1;
        }
        let rows = problem.labels.len();
        let taken: Vec<usize> =
            counts.iter().map(|&n| (n * size).div_ceil(rows.max(1)).max(FEWEST_OF_CLASS).min(n)).collect();
        let mut seen = vec![0usize; problem.classes];
        let mut positions = Vec::with_capacity(size);
        for (position, &label) in problem.labels.iter().enumerate() {
            let class = label as usize;
            let (before, after) = (seen[class] * taken[class], (seen[class] + 1) * taken[class]);
            seen[class] += 1;
            if before / counts[class] < after / counts[class] {
                positions.push(position);
            }
        }
        let scale = |class: usize| counts[class] as f64 / taken[class] as f64;
        let labels: Vec<u32> = positions.iter().map(|&at| problem.labels[at]).collect();
        let weights = positions
            .iter()
            .zip(&labels)
            .map(|(&at, &label)| (f64::from(problem.weights[at]) * scale(label as usize)) as f32)
            .collect();
        let index = positions.iter().map(|&position| problem.rows.matrix_row(position)).collect();
        Sample { rows: problem.rows, index, labels, weights }
    }

    fn problem<'s>(&'s self, whole: &Problem<'s>) -> Problem<'s>
    where
        'a: 's,
    {
        let rows = Rows::chosen(self.rows.matrix(), &self.index);
        Problem { rows, labels: &self.labels, weights: &self.weights, ..*whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::problem::Decay;
    use crate::loss::Loss;
    use crate::matrix::Matrix;

    #[test]
    fn samples_grow_eightfold_up_to_the_rows() {
        assert!(sizes(100_000).is_empty());
        assert_eq!(sizes(1_281_167), [20_018, 160_145]);
    }

    #[test]
    fn a_sample_keeps_rare_classes_and_the_weight_of_each() {
        let labels: Vec<u32> = (0..1000).map(|row| if row % 100 == 0 { 1 } else { 0 }).collect();
        let weights = vec![0.5; 1000];
        let matrix = Matrix::from_f32(vec![0.0; 1000], 1);
        let rows = Rows::all(&matrix);
        let (loss, decay) = (Loss::Softmax, Decay::Weights);
        let whole = Problem {
            rows,
            labels: &labels,
            weights: &weights,
            classes: 2,
            loss,
            offsets: None,
            margins: None,
            l2_factors: None,
            l2: 0.1,
            decay,
        };
        let sample = Sample::of(&whole, 100);
        let of_class = |class| sample.labels.iter().filter(|&&label| label == class).count();
        assert_eq!((of_class(0), of_class(1)), (99, FEWEST_OF_CLASS));
        let weight = |class| {
            let of_class = sample.labels.iter().zip(&sample.weights).filter(|(label, _)| **label == class);
            of_class.map(|(_, &weight)| weight).sum::<f32>()
        };
        assert!((weight(0) - 495.0).abs() < 1e-3 && (weight(1) - 5.0).abs() < 1e-3);
        assert!(sample.index.is_sorted());
    }
}
