//! Rounds of one tree a class; two classes share one.

use super::clock::{Clock, Phase};
use super::gradient::{Derivatives, Pointwise};
use super::histogram::Pool;
use super::leaves;
use super::model::{BoostModel, BoostedTree, Output, outputs};
use super::options::BoostOptions;
use super::predictor::add_binned;
use super::problem::BoostProblem;
use super::rounds::{Plan, Rounds};
use super::scalar::Scalar;
use crate::labels::ClassCounts;
use crate::simd::{Kernels, PackedSum};

/// A fit of trees whose leaves have one value.
#[derive(Debug)]
pub(super) struct ClassFit<'a> {
    problem: BoostProblem<'a>,
    pointwise: Pointwise<'a>,
    counts: ClassCounts,
    /// Scores of the training rows, `N x outputs`.
    scores: Vec<f32>,
    derivatives: Derivatives,
    statistics: Scalar,
    pool: Pool<PackedSum>,
    /// Mean weighted Hessian of a row at the start, by output: the unit "average row".
    average_rows: Vec<f64>,
    kernels: &'static Kernels,
}

impl<'a> ClassFit<'a> {
    /// A fit of rows with these weights, of mean one, that has no scores yet.
    pub(super) fn new(
        problem: BoostProblem<'a>,
        options: &BoostOptions,
        weights: Vec<f32>,
        kernels: &'static Kernels,
    ) -> Self {
        let pointwise = Pointwise {
            loss: problem.loss,
            classes: problem.classes,
            outputs: outputs(problem.classes),
            labels: problem.labels,
            weights,
            offsets: problem.score_offsets(),
            curvature: options.curvature(problem.classes),
        };
        ClassFit {
            problem,
            pointwise,
            counts: ClassCounts::of(problem.labels, None, problem.classes),
            scores: Vec::new(),
            derivatives: Derivatives::default(),
            statistics: Scalar::new(kernels),
            pool: Pool::new(problem.features.features().len(), options.histogram_bytes),
            average_rows: Vec::new(),
            kernels,
        }
    }

    /// One tree for `output`, which the scores then include.
    fn grow_one(&mut self, output: usize, plan: &Plan<'_>) -> BoostedTree {
        let usable = (plan.usable)(output);
        let (statistics, derivatives) = (&mut self.statistics, &self.derivatives);
        plan.clock.time(Phase::Gradient, || statistics.set(derivatives, output));
        let unit = self.average_rows[output];
        let step = plan.step(unit);
        let min_rows = self.min_rows(output, plan.options.min_rows);
        let limits = plan.limits(min_rows, unit, step.max_delta_step);
        let threshold = |feature: usize, bin: u8| plan.binner.features()[feature].threshold(bin);
        let grower = plan.grower(&self.statistics, &usable, limits, &threshold);
        let grown = grower.grow(plan.chosen_rows(), &self.pool);
        let outputs = self.pointwise.outputs;
        plan.clock.time(Phase::Leaf, || {
            let bounds = leaves::Bounds::new(&grown, derivatives.rows());
            let values = leaves::values(&grown, &bounds, derivatives, output, &step);
            if plan.rows.is_none() {
                leaves::add(&grown, &bounds, &values, &mut self.scores, outputs, output);
            }
            let boosted = BoostedTree { tree: grown.tree, output: Output::One(output as u32), values };
            if plan.rows.is_some() {
                add_binned(&[boosted.scored()], plan.features, &mut self.scores, outputs);
            }
            boosted
        })
    }
}

impl Rounds for ClassFit<'_> {
    fn restart(&mut self, model: &BoostModel) {
        self.scores = match self.problem.start {
            Some(logits) => self.problem.scores_of(logits),
            None => model.base.repeat(self.problem.labels.len()),
        };
        model.add_to(self.problem.features, &mut self.scores);
    }

    fn derive(&mut self, _round: usize, clock: &Clock) -> f64 {
        let (scores, to) = (&self.scores, &mut self.derivatives);
        clock.time(Phase::Gradient, || self.pointwise.derive(self.kernels, scores, to))
    }

    fn measure(&mut self) {
        self.average_rows = self.derivatives.mean_hessians();
    }

    fn grow(&mut self, plan: &Plan<'_>) -> Vec<BoostedTree> {
        (0..self.pointwise.outputs).map(|output| self.grow_one(output, plan)).collect()
    }

    fn logits(&self, model: &BoostModel) -> Vec<f32> {
        model.logits_of(self.scores.clone())
    }

    /// No more than half of the rows of the class (of the smaller one, of two), or it could never have a leaf to itself.
    fn min_rows(&self, output: usize, wanted: usize) -> usize {
        let rows = &self.counts.rows;
        let class_rows = if self.problem.classes == 2 { rows[0].min(rows[1]) } else { rows[output] };
        // A class without rows has nothing to be kept from.
        let half = if class_rows == 0 { usize::MAX } else { (class_rows as usize / 2).max(1) };
        wanted.min(half)
    }
}
