//! A boosted fit, round by round; when to stop is up to the caller.

use super::binned::BinnedMatrix;
use super::binning::Binner;
use super::clock::{Clock, Phase};
use super::gradient::{Curvature, Derivatives, Pointwise};
use super::grower::{Grower, Shape};
use super::histogram::Pool;
use super::leaves::{self, Step};
use super::model::{BoostModel, BoostedTree, Output, logit_of_score, outputs};
use super::options::{BoostOptions, Lanes};
use super::predictor::add_binned;
use super::sampling::stratified;
use super::scalar::Scalar;
use super::start::base_scores;
use super::statistics::Limits;
use super::tree::Tree;
use super::vector::{Plan, VectorFit, VectorProblem, VectorRounds};
use crate::labels::ClassCounts;
use crate::loss::Loss;
use crate::rng::CounterRng;
use crate::simd::{Kernels, Lanes4, Lanes8, Lanes16, PackedSum};
use crate::{Error, Result};

/// What a boosted fit minimises: `sum_i w_i loss(F(x_i) + offsets, y_i)` over sums F of trees.
#[derive(Debug, Clone, Copy)]
pub struct BoostProblem<'a> {
    /// Bins of N rows.
    pub features: &'a BinnedMatrix,
    /// Where these bins come from.
    pub binner: &'a Binner,
    /// Class code of each row, below `classes`.
    pub labels: &'a [u32],
    /// `w_i`: row weight times class weight, finite, not negative, at least one positive; their scale is of no effect.
    pub weights: &'a [f32],
    /// Number of classes K.
    pub classes: usize,
    /// Pointwise loss.
    pub loss: Loss,
    /// Added to the logits inside the loss only (logit adjustment), one value a class.
    pub offsets: Option<&'a [f32]>,
    /// Logits to start from instead of base scores, `N x K`: those of another model that this one is to improve on.
    pub start: Option<&'a [f32]>,
}

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Rounds done, this one included.
    pub number: usize,
    /// Weighted mean loss of the training rows before the round.
    pub loss: f64,
    /// Leaves of its trees, one a tree where nothing was gained.
    pub leaves: usize,
}

/// A boosted fit between two rounds.
#[derive(Debug)]
pub struct Trainer<'a> {
    problem: BoostProblem<'a>,
    options: BoostOptions,
    kernels: &'static Kernels,
    /// The weights, of mean one.
    weights: Vec<f32>,
    counts: ClassCounts,
    model: BoostModel,
    /// Where trees are for all classes: the fit of these, in place of scores, derivatives and statistics.
    vectors: Option<Box<dyn VectorRounds>>,
    /// Scores of the training rows, `N x outputs`.
    scores: Vec<f32>,
    derivatives: Derivatives,
    statistics: Scalar,
    pool: Pool<PackedSum>,
    /// Mean weighted Hessian of a row at the start, by output: the unit "average row".
    average_rows: Vec<f64>,
    validation: Vec<Validation<'a>>,
    clock: Clock,
}

/// Rows that are scored along.
#[derive(Debug)]
struct Validation<'a> {
    features: &'a BinnedMatrix,
    /// Scores before any tree, where they are not the base scores.
    start: Option<Vec<f32>>,
    scores: Vec<f32>,
}

impl Validation<'_> {
    /// Scores anew from the trees there are.
    fn rescore(&mut self, model: &BoostModel) {
        self.scores = self.start.clone().unwrap_or_else(|| model.base.repeat(self.features.rows()));
        model.add_to(self.features, &mut self.scores);
    }
}

impl<'a> Trainer<'a> {
    /// A fit before its first round.
    ///
    /// # Errors
    /// [`Error::BadValue`], [`Error::LengthMismatch`], [`Error::NoRows`], [`Error::BadWeight`], or
    /// [`Error::UnseenLabels`] for a label that is no class.
    pub fn new(problem: BoostProblem<'a>, options: &BoostOptions, kernels: &'static Kernels) -> Result<Self> {
        options.check()?;
        check(&problem)?;
        let weights = of_mean_one(problem.weights)?;
        let counts = ClassCounts::of(problem.labels, None, problem.classes);
        let outputs = outputs(problem.classes);
        let offsets = problem.offsets.map(|offsets| inner_offsets(offsets, problem.classes));
        let base = match problem.start {
            Some(_) => vec![0.0; outputs],
            None => {
                let doubles: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
                let totals = ClassCounts::of(problem.labels, Some(&doubles), problem.classes).weighted;
                base_scores(options.init, problem.loss, &totals, offsets.as_deref())
            }
        };
        let model = BoostModel {
            loss: problem.loss,
            classes: problem.classes,
            binner: problem.binner.clone(),
            base,
            trees: Vec::new(),
        };
        let lanes = options.trees.lanes(problem.classes);
        let vectors = lanes.map(|lanes| vector_fit(&problem, options, &weights, lanes, kernels));
        let scores = if vectors.is_none() { start_scores(&problem, &model) } else { Vec::new() };
        let pooled = if vectors.is_none() { problem.features.features().len() } else { 0 };
        let mut trainer = Trainer {
            problem,
            options: options.clone(),
            vectors,
            kernels,
            weights,
            counts,
            model,
            scores,
            derivatives: Derivatives::default(),
            statistics: Scalar::new(kernels),
            pool: Pool::new(pooled, options.histogram_bytes),
            average_rows: Vec::new(),
            validation: Vec::new(),
            clock: Clock::default(),
        };
        trainer.start_vectors();
        trainer.derive(0);
        match &mut trainer.vectors {
            Some(vectors) => vectors.measure(),
            None => trainer.average_rows = trainer.derivatives.mean_hessians(),
        }
        Ok(trainer)
    }

    /// Goes on from the rounds of `model`, which an equal problem with equal bins was fitted to.
    ///
    /// # Errors
    /// Those of [`Trainer::new`]; [`Error::FeatureMismatch`] where the model has other bins, classes or loss.
    pub fn resume(
        problem: BoostProblem<'a>,
        options: &BoostOptions,
        kernels: &'static Kernels,
        model: BoostModel,
    ) -> Result<Self> {
        let same = model.binner == *problem.binner
            && (model.classes, model.loss) == (problem.classes, problem.loss)
            && model.is_sound();
        if !same {
            return Err(Error::FeatureMismatch {
                file: "the training data".into(),
                detail: "other bins, classes or loss than those of the model".into(),
            });
        }
        let mut trainer = Trainer::new(problem, options, kernels)?;
        trainer.model = model;
        trainer.rescore();
        Ok(trainer)
    }

    /// Scores rows with the bins of the problem along with the training rows; `start` is their part of
    /// [`BoostProblem::start`]. Returns the index for [`Trainer::validation_logits`].
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] where `start` does not fit.
    pub fn add_validation(&mut self, features: &'a BinnedMatrix, start: Option<&[f32]>) -> Result<usize> {
        if let Some(start) = start {
            same_length(
                "the validation rows",
                features.rows(),
                "their logits",
                start.len() / self.problem.classes.max(1),
            )?;
        }
        let (classes, loss) = (self.problem.classes, &self.problem.loss);
        let start = start.map(|logits| inner_scores(logits, classes, loss));
        let mut validation = Validation { features, start, scores: Vec::new() };
        validation.rescore(&self.model);
        self.validation.push(validation);
        Ok(self.validation.len() - 1)
    }

    /// Grows the trees of one round, one an output.
    pub fn round(&mut self) -> Round {
        // On a thread of the pool: from outside, each of the many short parallel loops would wait for one to wake.
        rayon::scope(|_| self.round_within())
    }

    fn round_within(&mut self) -> Round {
        let outputs = self.model.outputs();
        let number = self.model.rounds() + 1;
        let loss = self.derive(number);
        let rows = self.sampled_rows(number);
        let mut leaves = 0;
        for output in 0..if self.vectors.is_some() { 1 } else { outputs } {
            let tree = match self.vectors.take() {
                Some(mut vectors) => {
                    let tree = self.grow_vectors(vectors.as_mut(), number, rows.as_deref());
                    self.vectors = Some(vectors);
                    tree
                }
                None => self.grow(output, number, &rows),
            };
            leaves += tree.tree.leaves();
            for validation in &mut self.validation {
                add_binned(&[tree.scored()], validation.features, &mut validation.scores, outputs);
            }
            self.model.trees.push(tree);
        }
        Round { number, loss: loss / self.problem.labels.len() as f64, leaves }
    }

    /// Forgets all rounds after the first `rounds`.
    pub fn truncate(&mut self, rounds: usize) {
        if rounds < self.model.rounds() {
            self.model.truncate(rounds);
            self.rescore();
        }
    }

    /// The model as it is.
    pub fn model(&self) -> &BoostModel {
        &self.model
    }

    /// The model, without the fit.
    pub fn into_model(self) -> BoostModel {
        self.model
    }

    /// Logits of the training rows, `N x K`, the logits that the fit started from included.
    pub fn logits(&self) -> Vec<f32> {
        let Some(vectors) = &self.vectors else { return self.model.logits_of(self.scores.clone()) };
        let mut logits = vectors.scores();
        if let Some(offsets) = self.problem.offsets {
            for row in logits.chunks_exact_mut(self.problem.classes) {
                row.iter_mut().zip(offsets).for_each(|(logit, offset)| *logit -= offset);
            }
        }
        logits
    }

    /// Logits of validation rows, as [`Trainer::logits`]; `None` for an index that was not given out.
    pub fn validation_logits(&self, index: usize) -> Option<Vec<f32>> {
        Some(self.model.logits_of(self.validation.get(index)?.scores.clone()))
    }

    /// Fewest rows of a leaf in trees of `output`: what the options say, but no more than half of the rows of its class
    /// (of the smaller one, of two), or the class could never have a leaf to itself. Leaves of trees for all classes say
    /// something of each, and keep what the options say.
    pub fn min_rows(&self, output: usize) -> usize {
        if self.vectors.is_some() {
            return self.options.min_rows;
        }
        let rows = &self.counts.rows;
        let class_rows = if self.problem.classes == 2 { rows[0].min(rows[1]) } else { rows[output] };
        // A class without rows has nothing to be kept from.
        let half = if class_rows == 0 { usize::MAX } else { (class_rows as usize / 2).max(1) };
        self.options.min_rows.min(half)
    }

    /// Seconds spent on a phase so far, summed over threads.
    pub fn seconds(&self, phase: Phase) -> f64 {
        self.clock.seconds(phase)
    }

    fn derive(&mut self, round: usize) -> f64 {
        if let Some(vectors) = &mut self.vectors {
            return vectors.derive(self.options.seed, round as u64, &self.clock);
        }
        let pointwise = Pointwise {
            loss: self.problem.loss,
            classes: self.problem.classes,
            outputs: self.model.outputs(),
            labels: self.problem.labels,
            weights: &self.weights,
            offsets: self.problem.offsets.map(|offsets| inner_offsets(offsets, self.problem.classes)),
            curvature: self.options.curvature(self.problem.classes),
        };
        let (scores, to) = (&self.scores, &mut self.derivatives);
        self.clock.time(Phase::Gradient, || pointwise.derive(self.kernels, scores, to))
    }

    fn sampled_rows(&self, round: usize) -> Option<Vec<u32>> {
        let share = self.options.row_sample;
        (share < 1.0).then(|| {
            let wanted = |n: usize| ((n as f64 * share).round() as usize).max(1);
            stratified(self.problem.labels, wanted, CounterRng::new(self.options.seed, round as u64))
        })
    }

    fn usable_features(&self, round: usize, output: usize) -> Vec<bool> {
        let features = self.problem.features.features().len();
        let mut usable = vec![true; features];
        if self.options.column_sample < 1.0 && features > 0 {
            let kept = ((features as f64 * self.options.column_sample).ceil() as usize).clamp(1, features);
            let mut order: Vec<usize> = (0..features).collect();
            let stream = (round * self.model.outputs() + output) as u64;
            CounterRng::new(!self.options.seed, stream).shuffle(&mut order);
            order[kept..].iter().for_each(|&feature| usable[feature] = false);
        }
        usable
    }

    /// One tree for `output`, which the scores of the training rows then include.
    fn grow(&mut self, output: usize, round: usize, sample: &Option<Vec<u32>>) -> BoostedTree {
        let outputs = self.model.outputs();
        let usable = self.usable_features(round, output);
        let (statistics, derivatives) = (&mut self.statistics, &self.derivatives);
        self.clock.time(Phase::Gradient, || statistics.set(derivatives, output));
        let unit = self.average_rows[output];
        let step = Step {
            learning_rate: self.options.learning_rate,
            l2: self.options.l2 * unit,
            max_delta_step: self.max_delta_step(),
        };
        let binner = self.problem.binner;
        let grower = Grower {
            statistics: &self.statistics,
            matrix: self.problem.features,
            usable: &usable,
            limits: Limits {
                min_rows: self.min_rows(output) as u32,
                min_weight: self.options.min_child_weight * unit,
                l2: step.l2,
                min_gain: self.options.min_gain,
                max_delta_step: step.max_delta_step,
                category_smoothing: self.options.category_smoothing * unit,
            },
            shape: self.shape(),
            threshold: &|feature, bin| binner.features()[feature].threshold(bin),
            clock: &self.clock,
            kernels: self.kernels,
        };
        let rows = sample.clone().unwrap_or_else(|| (0..self.problem.labels.len() as u32).collect());
        let grown = grower.grow(rows, &self.pool);
        self.clock.time(Phase::Leaf, || {
            let bounds = leaves::Bounds::new(&grown, derivatives.rows());
            let values = leaves::values(&grown, &bounds, derivatives, output, &step);
            if sample.is_none() {
                leaves::add(&grown, &bounds, &values, &mut self.scores, outputs, output);
            }
            let tree: Tree = grown.tree;
            let boosted = BoostedTree { tree, output: Output::One(output as u32), values };
            if sample.is_some() {
                add_binned(&[boosted.scored()], self.problem.features, &mut self.scores, outputs);
            }
            boosted
        })
    }

    /// The one tree of a round for all outputs.
    fn grow_vectors(
        &self,
        vectors: &mut dyn VectorRounds,
        round: usize,
        sample: Option<&[u32]>,
    ) -> BoostedTree {
        let options = &self.options;
        let usable = self.usable_features(round, 0);
        vectors.grow(&Plan {
            features: self.problem.features,
            binner: self.problem.binner,
            usable: &usable,
            rows: sample,
            // A row of mean weight counts as one, whatever its Hessian: sketches have a weight and no Hessian.
            limits: Limits {
                min_rows: options.min_rows as u32,
                min_weight: options.min_child_weight,
                l2: options.l2,
                min_gain: options.min_gain,
                max_delta_step: 0.0,
                category_smoothing: options.category_smoothing,
            },
            shape: self.shape(),
            step: Step {
                learning_rate: options.learning_rate,
                l2: options.l2,
                max_delta_step: self.max_delta_step(),
            },
            clock: &self.clock,
        })
    }

    fn shape(&self) -> Shape {
        let max_depth = self.options.max_depth.unwrap_or(usize::MAX);
        Shape { max_leaves: self.options.max_leaves, max_depth }
    }

    /// Sets the scores of a fit of vector trees to what the model and the start say.
    fn start_vectors(&mut self) {
        let Some(vectors) = &mut self.vectors else { return };
        let (problem, model) = (&self.problem, &self.model);
        let classes = problem.classes;
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
            return vectors.start(&first);
        }
        // Trees are added to what the fit had added them to, in the same order: it goes on with the same bits.
        let mut scores = vec![0.0; problem.labels.len() * classes];
        scores.chunks_exact_mut(classes).enumerate().for_each(|(row, scores)| first(row, scores));
        model.add_to(problem.features, &mut scores);
        vectors.start(&|row, to| to.copy_from_slice(&scores[row * classes..][..classes]));
    }

    fn max_delta_step(&self) -> f64 {
        // In logits: what an answer can be wrong by is then mended in a few rounds, and no leaf of sure rows, whose
        // Hessian has all but vanished, can throw the others off.
        const NEWTON_LIMIT: f64 = 4.0;
        let newton = self.options.curvature(self.problem.classes) == Curvature::Newton;
        self.options.max_delta_step.unwrap_or(if newton { NEWTON_LIMIT } else { 0.0 })
    }

    /// Scores anew from the trees there are.
    fn rescore(&mut self) {
        if self.vectors.is_some() {
            self.start_vectors();
        } else {
            self.scores = start_scores(&self.problem, &self.model);
            self.model.add_to(self.problem.features, &mut self.scores);
        }
        for validation in &mut self.validation {
            validation.rescore(&self.model);
        }
    }
}

fn vector_fit(
    problem: &BoostProblem<'_>,
    options: &BoostOptions,
    weights: &[f32],
    lanes: Lanes,
    kernels: &'static Kernels,
) -> Box<dyn VectorRounds> {
    let problem = VectorProblem {
        loss: problem.loss,
        curvature: options.curvature(problem.classes),
        classes: problem.classes,
        labels: problem.labels,
        weights,
        features: problem.features,
        histogram_bytes: options.histogram_bytes,
        kernels,
    };
    match lanes {
        Lanes::Four => Box::new(VectorFit::<Lanes4>::new(&problem)),
        Lanes::Eight => Box::new(VectorFit::<Lanes8>::new(&problem)),
        Lanes::Sixteen => Box::new(VectorFit::<Lanes16>::new(&problem)),
    }
}

/// Scores of the training rows before any tree.
fn start_scores(problem: &BoostProblem<'_>, model: &BoostModel) -> Vec<f32> {
    match problem.start {
        Some(logits) => inner_scores(logits, problem.classes, &problem.loss),
        None => model.base.repeat(problem.labels.len()),
    }
}

/// Scores, one an output, of `N x K` logits.
fn inner_scores(logits: &[f32], classes: usize, loss: &Loss) -> Vec<f32> {
    match classes {
        2 => {
            let factor = logit_of_score(loss);
            logits.chunks_exact(2).map(|z| (z[1] - z[0]) / (2.0 * factor)).collect()
        }
        _ => logits.to_vec(),
    }
}

/// Offsets of the scores, one an output, from those of the logits.
fn inner_offsets(offsets: &[f32], classes: usize) -> Vec<f32> {
    if classes == 2 { vec![offsets[1] - offsets[0]] } else { offsets.to_vec() }
}

fn same_length(left: &str, left_rows: usize, right: &str, right_rows: usize) -> Result<()> {
    if left_rows == right_rows {
        return Ok(());
    }
    Err(Error::LengthMismatch {
        left: left.into(),
        left_rows: left_rows as u64,
        right: right.into(),
        right_rows: right_rows as u64,
    })
}

fn check(problem: &BoostProblem<'_>) -> Result<()> {
    let rows = problem.features.rows();
    if problem.labels.is_empty() {
        return Err(Error::NoRows { file: "the training data".into(), why: String::new() });
    }
    same_length("the features", rows, "the labels", problem.labels.len())?;
    same_length("the features", rows, "the weights", problem.weights.len())?;
    if let Some(start) = problem.start {
        same_length("the logits", rows * problem.classes, "the logits to start from", start.len())?;
    }
    if let Some(offsets) = problem.offsets {
        same_length("the classes", problem.classes, "the offsets", offsets.len())?;
    }
    let unseen = problem.labels.iter().filter(|&&label| label as usize >= problem.classes);
    let example = unseen.clone().next().map(|label| format!("code {label}"));
    match example {
        Some(example) => Err(Error::UnseenLabels {
            file: "the training data".into(),
            rows: unseen.count() as u64,
            classes: vec![example],
        }),
        None => Ok(()),
    }
}

/// The weights divided by their mean.
fn of_mean_one(weights: &[f32]) -> Result<Vec<f32>> {
    let bad = |place: String, detail: &str| Error::BadWeight { place, detail: detail.into() };
    if let Some(row) = weights.iter().position(|&w| !(w >= 0.0 && w.is_finite())) {
        return Err(bad(format!("row {}", row + 1), "a weight has to be finite and not negative"));
    }
    let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / weights.len() as f64;
    if mean == 0.0 {
        return Err(bad("the training data".into(), "all weights are 0"));
    }
    Ok(weights.iter().map(|&w| (f64::from(w) / mean) as f32).collect())
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "vector_tests.rs"]
mod vector_tests;
