//! A boosted fit, round by round; when to stop is up to the caller.

use super::binned::BinnedMatrix;
use super::clock::{Clock, Phase};
use super::model::{BoostModel, BoostedTree, outputs};
use super::options::BoostOptions;
use super::per_class::ClassFit;
use super::predictor::add_binned;
pub use super::problem::BoostProblem;
use super::rounds::{Plan, Rounds};
use super::sampling::stratified;
use super::start::base_scores;
use super::vector::vector_fit;
use crate::error::same_length;
use crate::labels::ClassCounts;
use crate::rng::CounterRng;
use crate::simd::Kernels;
use crate::{Error, Result};

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
    model: BoostModel,
    rounds: Box<dyn Rounds + 'a>,
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
        problem.check()?;
        let weights = problem.weights_of_mean_one()?;
        let base = match problem.start {
            Some(_) => vec![0.0; outputs(problem.classes)],
            None => {
                let doubles: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
                let totals = ClassCounts::of(problem.labels, Some(&doubles), problem.classes).weighted;
                base_scores(options.init, problem.loss, &totals, problem.score_offsets().as_deref())
            }
        };
        let model = BoostModel {
            loss: problem.loss,
            classes: problem.classes,
            binner: problem.binner.clone(),
            base,
            trees: Vec::new(),
        };
        let mut rounds: Box<dyn Rounds + 'a> = match options.trees.lanes(problem.classes) {
            Some(lanes) => vector_fit(problem, options, &weights, lanes, kernels),
            None => Box::new(ClassFit::new(problem, options, weights, kernels)),
        };
        let clock = Clock::default();
        if !problem.features.is_stopped() {
            rounds.restart(&model);
            rounds.derive(0, &clock);
            rounds.measure();
        }
        Ok(Trainer {
            problem,
            options: options.clone(),
            kernels,
            model,
            rounds,
            validation: Vec::new(),
            clock,
        })
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
        let start = start.map(|logits| self.problem.scores_of(logits));
        let mut validation = Validation { features, start, scores: Vec::new() };
        validation.rescore(&self.model);
        self.validation.push(validation);
        Ok(self.validation.len() - 1)
    }

    /// Grows the trees of one round, one an output.
    pub fn round(&mut self) -> Round {
        let made = self.model.rounds();
        self.whole_round().unwrap_or(Round { number: made, loss: f64::NAN, leaves: 0 })
    }

    /// [`Trainer::round`]; `None` where the rows are stopped by its end. The model is then that of the rounds before, and
    /// no more is to be had: scores and derivatives may be those of parts of the rows.
    pub(crate) fn whole_round(&mut self) -> Option<Round> {
        // On a thread of the pool: from outside, each of the many short parallel loops would wait for one to wake.
        rayon::scope(|_| self.round_within())
    }

    fn round_within(&mut self) -> Option<Round> {
        if self.problem.features.is_stopped() {
            return None;
        }
        let outputs = self.model.outputs();
        let number = self.model.rounds() + 1;
        let loss = self.rounds.derive(number, &self.clock);
        let rows = self.sampled_rows(number);
        let (features, share, seed) =
            (self.problem.features.features().len(), self.options.column_sample, self.options.seed);
        let usable = |output: usize| {
            sampled_features(features, share, CounterRng::new(!seed, (number * outputs + output) as u64))
        };
        let plan = Plan {
            features: self.problem.features,
            binner: self.problem.binner,
            options: &self.options,
            classes: self.problem.classes,
            usable: &usable,
            rows: rows.as_deref(),
            clock: &self.clock,
            kernels: self.kernels,
        };
        let trees = self.rounds.grow(&plan);
        for tree in &trees {
            for validation in &mut self.validation {
                add_binned(&[tree.scored()], validation.features, &mut validation.scores, outputs);
            }
        }
        let scored_along = self.validation.iter().map(|validation| validation.features);
        if [self.problem.features].into_iter().chain(scored_along).any(BinnedMatrix::is_stopped) {
            return None;
        }
        let leaves = trees.iter().map(|tree| tree.tree.leaves()).sum();
        self.model.trees.extend(trees);
        Some(Round { number, loss: loss / self.problem.labels.len() as f64, leaves })
    }

    /// Forgets all rounds after the first `rounds`.
    pub fn truncate(&mut self, rounds: usize) {
        if rounds < self.model.rounds() {
            self.model.truncate(rounds);
            self.rescore();
        }
    }

    /// Takes `trees`, which [`BoostModel::admits`], for those of rounds made.
    pub fn extend(&mut self, trees: Vec<BoostedTree>) {
        if !trees.is_empty() {
            self.model.trees.extend(trees);
            self.rescore();
        }
    }

    /// Rounds that `trees` are those of.
    pub fn rounds_of(&self, trees: &[BoostedTree]) -> usize {
        self.model.round_ends(trees).count()
    }

    /// Whether there are logits before the next round that say more than a constant.
    pub fn starts_from_a_model(&self) -> bool {
        self.problem.start.is_some() || self.model.rounds() > 0
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
        self.rounds.logits(&self.model)
    }

    /// Logits of validation rows, as [`Trainer::logits`]; `None` for an index that was not given out.
    pub fn validation_logits(&self, index: usize) -> Option<Vec<f32>> {
        Some(self.model.logits_of(self.validation.get(index)?.scores.clone()))
    }

    /// Fewest rows of a leaf in trees of `output`: what the options say, but no more than half of the rows of its class
    /// (of the smaller one, of two), or the class could never have a leaf to itself. Leaves of trees for all classes say
    /// something of each, and keep what the options say.
    pub fn min_rows(&self, output: usize) -> usize {
        self.rounds.min_rows(output, self.options.min_rows)
    }

    /// Seconds spent on a phase so far, summed over threads.
    pub fn seconds(&self, phase: Phase) -> f64 {
        self.clock.seconds(phase)
    }

    fn sampled_rows(&self, round: usize) -> Option<Vec<u32>> {
        let share = self.options.row_sample;
        (share < 1.0).then(|| {
            let wanted = |n: usize| ((n as f64 * share).round() as usize).max(1);
            stratified(self.problem.labels, wanted, CounterRng::new(self.options.seed, round as u64))
        })
    }

    /// Scores anew from the trees there are.
    fn rescore(&mut self) {
        if self.problem.features.is_stopped() {
            return;
        }
        self.rounds.restart(&self.model);
        for validation in &mut self.validation {
            validation.rescore(&self.model);
        }
    }
}

/// Which of the features a tree may use: `share` of them, drawn.
fn sampled_features(features: usize, share: f64, mut rng: CounterRng) -> Vec<bool> {
    let mut usable = vec![true; features];
    if share < 1.0 && features > 0 {
        let kept = ((features as f64 * share).ceil() as usize).clamp(1, features);
        let mut order: Vec<usize> = (0..features).collect();
        rng.shuffle(&mut order);
        order[kept..].iter().for_each(|&feature| usable[feature] = false);
    }
    usable
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "layout_tests.rs"]
mod layout_tests;

#[cfg(test)]
#[path = "vector_tests.rs"]
mod vector_tests;
