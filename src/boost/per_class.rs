//! Rounds of one tree a class; two classes share one.

use rayon::prelude::*;

use super::clock::{Clock, Phase};
use super::gradient::{Derivatives, Pointwise};
use super::growth::Grown;
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
    pub(super) derivatives: Derivatives,
    /// One for each tree that is grown at a time.
    statistics: Vec<Scalar>,
    pool: Pool<PackedSum>,
    /// Mean weighted Hessian of a row at the start, by output: the unit "average row".
    pub(super) average_rows: Vec<f64>,
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
            stop: problem.features.stop().clone(),
        };
        ClassFit {
            problem,
            pointwise,
            counts: ClassCounts::of(problem.labels, None, problem.classes),
            scores: Vec::new(),
            derivatives: Derivatives::default(),
            statistics: Vec::new(),
            pool: Pool::new(problem.features.slots(), options.histogram_bytes),
            average_rows: Vec::new(),
            kernels,
        }
    }

    /// The tree of `output`, grown on `statistics` while `threads` threads have no other tree to grow.
    fn grow_one(
        &self,
        output: usize,
        statistics: &mut Scalar,
        threads: usize,
        plan: &Plan<'_>,
    ) -> (Grown<PackedSum>, leaves::Bounds, Vec<f32>) {
        let derivatives = &self.derivatives;
        plan.clock.time(Phase::Gradient, || statistics.set(derivatives, output));
        let unit = self.average_rows[output];
        let step = plan.step(unit);
        let min_rows = self.min_rows(output, plan.options.min_rows);
        let limits = plan.limits(min_rows, unit, step.max_delta_step);
        let threshold = |feature: usize, bin: u8| plan.binner.features()[feature].threshold(bin);
        let usable = (plan.usable)(output);
        let grower = plan.grower(&*statistics, &usable, limits, threads, &threshold);
        let grown = grower.grow(plan.chosen_rows(), &self.pool);
        plan.clock.time(Phase::Leaf, || {
            let bounds = leaves::Bounds::new(&grown, derivatives.rows());
            let values = leaves::values(&grown, &bounds, derivatives, output, &step);
            (grown, bounds, values)
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

    /// As many trees at a time as there are threads: they have nothing to wait for from each other, where the threads of
    /// one tree do.
    fn grow(&mut self, plan: &Plan<'_>) -> Vec<BoostedTree> {
        let outputs = self.pointwise.outputs;
        let threads = rayon::current_num_threads();
        let mut statistics = std::mem::take(&mut self.statistics);
        statistics.resize_with(threads.min(outputs), || Scalar::new(self.kernels));
        let mut trees = Vec::with_capacity(outputs);
        let wanted =
            (0..outputs).step_by(statistics.len().max(1)).take_while(|_| !plan.features.is_stopped());
        for first in wanted {
            let many = statistics.len().min(outputs - first);
            let grown: Vec<_> = statistics[..many]
                .par_iter_mut()
                .enumerate()
                .map(|(at, statistics)| self.grow_one(first + at, statistics, threads / many, plan))
                .collect();
            for (output, (grown, bounds, values)) in (first..).zip(grown) {
                trees.push(plan.clock.time(Phase::Leaf, || {
                    if plan.rows.is_none() {
                        leaves::add(&grown, &bounds, &values, &mut self.scores, outputs, output);
                    }
                    let boosted =
                        BoostedTree { tree: grown.tree, output: Output::One(output as u32), values };
                    if plan.rows.is_some() {
                        add_binned(&[boosted.scored()], plan.features, &mut self.scores, outputs);
                    }
                    boosted
                }));
            }
        }
        self.statistics = statistics;
        trees
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
