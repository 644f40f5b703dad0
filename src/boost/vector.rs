//! Rounds of one tree whose leaves have a value for every class.

use rayon::prelude::*;

use super::clock::{Clock, Phase};
use super::histogram::Pool;
use super::leaves::Step;
use super::many::ManyClasses;
use super::model::{BoostModel, BoostedTree, Output};
use super::options::{BoostOptions, Lanes};
use super::predictor::leaves_of;
use super::problem::BoostProblem;
use super::rounds::{Plan, Rounds};
use super::sketch::{SketchRows, directions};
use crate::simd::{Kernels, LaneBin, Lanes4, Lanes8, Lanes16};

/// A fit of vector trees, whose scores are those inside the loss.
#[derive(Debug)]
struct VectorFit<'a, B> {
    problem: BoostProblem<'a>,
    many: ManyClasses,
    statistics: SketchRows<B>,
    /// Residuals along the directions, rows x directions.
    sketch: Vec<f32>,
    pool: Pool<B>,
    average_row: f64,
    /// Key of the directions.
    seed: u64,
}

/// A fit of rows with these weights, of mean one, that has no scores yet, grown on sketches of so many lanes.
pub(super) fn vector_fit<'a>(
    problem: BoostProblem<'a>,
    options: &BoostOptions,
    weights: &[f32],
    lanes: Lanes,
    kernels: &'static Kernels,
) -> Box<dyn Rounds + 'a> {
    match lanes {
        Lanes::Four => Box::new(VectorFit::<Lanes4>::new(problem, options, weights, kernels)),
        Lanes::Eight => Box::new(VectorFit::<Lanes8>::new(problem, options, weights, kernels)),
        Lanes::Sixteen => Box::new(VectorFit::<Lanes16>::new(problem, options, weights, kernels)),
    }
}

impl<'a, B: LaneBin> VectorFit<'a, B> {
    fn new(
        problem: BoostProblem<'a>,
        options: &BoostOptions,
        weights: &[f32],
        kernels: &'static Kernels,
    ) -> Self {
        let statistics = SketchRows::<B>::new(weights, kernels);
        let loss = (problem.loss, options.curvature(problem.classes));
        VectorFit {
            problem,
            many: ManyClasses::new(
                loss,
                problem.classes,
                problem.labels,
                weights,
                (kernels, problem.features.stop()),
            ),
            sketch: vec![0.0; problem.labels.len() * statistics.directions()],
            statistics,
            pool: Pool::new(problem.features.slots(), options.histogram_bytes),
            average_row: 1.0,
            seed: options.seed,
        }
    }
}

impl<B: LaneBin> Rounds for VectorFit<'_, B> {
    fn restart(&mut self, model: &BoostModel) {
        let (problem, classes) = (&self.problem, self.problem.classes);
        let first = |row: usize, scores: &mut [f32]| {
            match problem.start {
                Some(logits) => scores.copy_from_slice(&logits[row * classes..][..classes]),
                None => scores.copy_from_slice(&model.base),
            }
            if let Some(offsets) = problem.offsets {
                scores.iter_mut().zip(offsets).for_each(|(score, offset)| *score += offset);
            }
        };
        if model.trees.is_empty() {
            return self.many.start(&first);
        }
        // Trees are added to what the fit had added them to, in the same order: it goes on with the same bits.
        let mut scores = vec![0.0; problem.labels.len() * classes];
        scores.chunks_exact_mut(classes).enumerate().for_each(|(row, scores)| first(row, scores));
        model.add_to(problem.features, &mut scores);
        self.many.start(&|row, to| to.copy_from_slice(&scores[row * classes..][..classes]));
    }

    fn derive(&mut self, round: usize, clock: &Clock) -> f64 {
        clock.time(Phase::Gradient, || {
            let (classes, lanes) = (self.problem.classes, self.statistics.directions());
            let directions = directions(self.seed, round as u64, classes, lanes);
            let loss = self.many.sketch(&directions, &mut self.sketch);
            self.statistics.set(&self.sketch);
            loss
        })
    }

    fn measure(&mut self) {
        self.average_row = self.many.mean_hessian();
    }

    fn grow(&mut self, plan: &Plan<'_>) -> Vec<BoostedTree> {
        let usable = (plan.usable)(0);
        // A row of mean weight counts as one, whatever its Hessian: sketches have a weight and no Hessian.
        let limits = plan.limits(self.min_rows(0, plan.options.min_rows), 1.0, 0.0);
        let threshold = |feature: usize, bin: u8| plan.binner.features()[feature].threshold(bin);
        let grower = plan.grower(&self.statistics, &usable, limits, &threshold);
        let grown = grower.grow(plan.chosen_rows(), &self.pool);
        let tree = plan.clock.time(Phase::Leaf, || {
            let leaves: Vec<&[u32]> =
                grown.leaves.iter().map(|leaf| &grown.rows[leaf.start..leaf.end]).collect();
            let step: Step = plan.step(self.average_row);
            let values = self.many.leaves(&leaves, &step);
            let leaf_of = if plan.rows.is_some() {
                leaves_of(&grown.tree, plan.features)
            } else {
                let mut leaf_of = vec![0; self.problem.labels.len()];
                for (leaf, rows) in leaves.iter().enumerate() {
                    rows.iter().for_each(|&row| leaf_of[row as usize] = leaf as u32);
                }
                leaf_of
            };
            let kept = (0..values.rows()).flat_map(|leaf| values.row(leaf)).copied().collect();
            self.many.add_later(leaf_of, values);
            BoostedTree { tree: grown.tree, output: Output::All, values: kept }
        });
        vec![tree]
    }

    fn logits(&self, _model: &BoostModel) -> Vec<f32> {
        let classes = self.problem.classes;
        let mut logits = vec![0.0; self.problem.labels.len() * classes];
        logits.par_chunks_mut(classes).enumerate().for_each(|(row, logits)| {
            self.many.scores_of(row, logits);
            if let Some(offsets) = self.problem.offsets {
                logits.iter_mut().zip(offsets).for_each(|(logit, offset)| *logit -= offset);
            }
        });
        logits
    }

    /// Leaves of trees for all classes say something of each, and keep what is wanted.
    fn min_rows(&self, _output: usize, wanted: usize) -> usize {
        wanted
    }
}
