//! Rounds of one tree a class; two classes share one.

use std::sync::Mutex;

use rayon::prelude::*;

use super::clock::{Clock, Phase};
use super::columns::Columns;
use super::distinct::DistinctRows;
use super::gradient::{Curvature, Derivatives, Pointwise};
use super::histogram::Pool;
use super::leaves;
use super::model::{BoostModel, BoostedTree, Output, outputs};
use super::options::BoostOptions;
use super::predictor::leaves_of;
use super::problem::BoostProblem;
use super::rounds::{Plan, Rounds};
use super::scalar::Scalar;
use crate::labels::ClassCounts;
use crate::simd::{Kernels, PackedSum};

/// A fit of trees whose leaves have one value.
#[derive(Debug)]
pub(super) struct ClassFit<'a> {
    problem: BoostProblem<'a>,
    /// What trees are grown on.
    rows: DistinctRows<'a>,
    counts: ClassCounts,
    offsets: Option<Vec<f32>>,
    curvature: Curvature,
    /// Scores of the rows.
    scores: Columns,
    pub(super) derivatives: Derivatives,
    /// Memory for statistics of trees to come.
    spare: Mutex<Vec<Vec<PackedSum>>>,
    pool: Pool<PackedSum>,
    /// Mean weighted Hessian of a row and output at the start: the unit "average row". It is that of all outputs, for limits
    /// in it say how far a leaf may be trusted, and no class is to be trusted more because it is rare.
    pub(super) average_row: f64,
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
        let (features, labels) = (problem.features, problem.labels);
        // A sample of rows, and rows that start from logits of their own, are what they are.
        let rows = match problem.start {
            None if options.row_sample >= 1.0 => DistinctRows::of(features, labels, weights),
            _ => DistinctRows::all(features, labels, weights),
        };
        ClassFit {
            problem,
            rows,
            counts: ClassCounts::of(labels, None, problem.classes),
            offsets: problem.score_offsets(),
            curvature: options.curvature(problem.classes),
            scores: Columns::default(),
            derivatives: Derivatives::new(kernels),
            spare: Mutex::default(),
            pool: Pool::new(features.slots(), options.histogram_bytes),
            average_row: 1.0,
            kernels,
        }
    }

    fn outputs(&self) -> usize {
        outputs(self.problem.classes)
    }

    fn pointwise(&self) -> Pointwise<'_> {
        Pointwise {
            loss: self.problem.loss,
            classes: self.problem.classes,
            outputs: self.outputs(),
            labels: &self.rows.labels,
            weights: &self.rows.weights,
            offsets: self.offsets.as_deref(),
            curvature: self.curvature,
            stop: self.rows.features.stop(),
        }
    }

    /// The tree of `output`, whose scores, given chunk by chunk, take it up.
    fn grow_one(&self, output: usize, scores: &mut [&mut [f32]], plan: &Plan<'_>) -> BoostedTree {
        let derivatives = &self.derivatives;
        let words = self.spare.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default();
        let statistics = plan.clock.time(Phase::Gradient, || {
            Scalar::new(words, derivatives, output, &self.rows.counts, self.kernels)
        });
        let unit = self.average_row;
        let step = plan.step(unit);
        let min_rows = self.min_rows(output, plan.options.min_rows);
        let limits = plan.limits(min_rows, unit, step.max_delta_step);
        let threshold = |feature: usize, bin: u8| plan.binner.features()[feature].threshold(bin);
        let usable = (plan.usable)(output);
        let grown =
            plan.grower(&statistics, &usable, limits, &threshold).grow(plan.chosen_rows(), &self.pool);
        if let Ok(mut spare) = self.spare.lock() {
            spare.push(statistics.into_words());
        }
        plan.clock.time(Phase::Leaf, || {
            let bounds = leaves::Bounds::new(&grown, derivatives.rows());
            let values = leaves::values(&grown, &bounds, derivatives, output, &step);
            if plan.rows.is_none() {
                leaves::add(&grown, &bounds, &values, scores);
            } else {
                let leaf_of = leaves_of(&grown.tree, plan.features);
                let scores = scores.iter_mut().flat_map(|chunk| chunk.iter_mut());
                scores.zip(leaf_of).for_each(|(score, leaf)| *score += values[leaf as usize]);
            }
            BoostedTree { tree: grown.tree, output: Output::One(output as u32), values }
        })
    }
}

impl Rounds for ClassFit<'_> {
    fn restart(&mut self, model: &BoostModel) {
        let mut scores = match self.problem.start {
            Some(logits) => self.problem.scores_of(logits),
            None => model.base.repeat(self.rows.labels.len()),
        };
        model.add_to(&self.rows.features, &mut scores);
        self.scores = Columns::from_rows(&scores, self.outputs());
    }

    fn derive(&mut self, _round: usize, clock: &Clock) -> f64 {
        let mut derivatives = std::mem::replace(&mut self.derivatives, Derivatives::new(self.kernels));
        let loss = clock.time(Phase::Gradient, || self.pointwise().derive(&self.scores, &mut derivatives));
        self.derivatives = derivatives;
        loss
    }

    fn measure(&mut self) {
        let mut sums = self.derivatives.hessian_sums();
        // Whatever the order of the classes, they add up alike.
        sums.sort_by(f64::total_cmp);
        self.average_row = sums.iter().sum::<f64>() / (self.problem.labels.len() * sums.len()).max(1) as f64;
    }

    /// Trees have nothing to wait for from each other, so that a thread takes one at a time; threads that have none left help
    /// with those of others.
    fn grow(&mut self, plan: &Plan<'_>) -> Vec<BoostedTree> {
        let mut scores = std::mem::take(&mut self.scores);
        let plan = Plan { features: &self.rows.features, ..*plan };
        let columns = scores.by_output().into_par_iter().enumerate().with_max_len(1);
        let trees = columns
            .filter(|_| !plan.features.is_stopped())
            .map(|(output, mut scores)| self.grow_one(output, &mut scores, &plan))
            .collect();
        self.scores = scores;
        trees
    }

    fn logits(&self, model: &BoostModel) -> Vec<f32> {
        model.logits_of(self.rows.spread(self.scores.to_rows(), self.outputs()))
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
