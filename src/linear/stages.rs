//! A start for many rows: the optimum of some of them, found at a fraction of the cost.
//!
//! Far from the optimum a tenth of the rows shows the way as well as all of them (growing samples: Byrd, Chin, Nocedal
//! and Wu 2012).

use super::objective::Objective;
use super::sample::Sample;
use super::solver::Monitor;
use super::solver::lbfgs::{LbfgsOptions, minimise};
use super::solver::memory::Memory;
use crate::Result;

/// Factor between the sizes of the samples.
const GROWTH: usize = 8;
/// Rows of the smallest sample.
const FEWEST_ROWS: usize = 16_384;
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
    memory: &mut Memory,
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
        if objective.is_stopped() {
            break;
        }
        let sample = Sample::of(problem, size);
        let share = sample.index.len() as f64 / rows as f64;
        let mut part = Objective::new(sample.problem(problem), objective.kernels());
        let options = LbfgsOptions { tolerance: TOLERANCE, max_iterations, certified: false };
        let fit = minimise(&mut part, memory, &staged.theta, &options, monitor)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_grow_eightfold_up_to_the_rows() {
        assert!(sizes(100_000).is_empty());
        assert_eq!(sizes(1_281_167), [20_018, 160_145]);
    }
}
