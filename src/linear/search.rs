//! Choosing l2 and the class weighting on validation rows, along warm-started paths.

use std::ops::ControlFlow;

use super::fit::{Optimizer, Progress, fit};
use super::model::LinearModel;
use super::objective::Objective;
use super::problem::{Decay, Problem};
use super::rows::Rows;
use super::solver::Fit;
use crate::Result;
use crate::labels::ClassCounts;
use crate::loss::{Loss, logit_adjustment};
use crate::metrics::{Evaluation, Metric, evaluate, evaluate_quick};
use crate::simd::Kernels;
use crate::weighting::prior::{Prior, PriorCorrection, training_shares};
use crate::weighting::{ClassWeights, Normalisation, Scheme};

/// Rows to fit on, with their labels and weights in the order of the rows.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// N rows of D features.
    pub rows: Rows<'a>,
    /// Class code of each row, below `classes`.
    pub labels: &'a [u32],
    /// Weight of each row; `None`: all 1.
    pub row_weights: Option<&'a [f64]>,
    /// Number of classes C, each with at least one row.
    pub classes: usize,
}

/// What is fitted, apart from the weighting scheme and l2.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Pointwise loss.
    pub loss: Loss,
    /// tau of the logit adjustment inside the loss; 0 for none.
    pub logit_adjust: f64,
    /// What the penalty falls on.
    pub decay: Decay,
    /// Largest class weight where the mean over rows is 1.
    pub max_weight: Option<f64>,
    /// How each fit is solved.
    pub optimizer: Optimizer,
}

/// A sample under one weighting scheme: counts, class weights, row weights and logit offsets of exactly these rows.
#[derive(Debug, Clone)]
pub struct WeightedSample<'a> {
    /// The rows.
    pub sample: Sample<'a>,
    /// Rows of each class.
    pub counts: ClassCounts,
    /// Class weights with mean row weight 1.
    pub class_weights: ClassWeights,
    row_weights: Vec<f32>,
    offsets: Option<Vec<f32>>,
}

impl<'a> WeightedSample<'a> {
    /// Counts the rows and weighs them by `scheme`.
    ///
    /// # Errors
    /// Those of [`ClassWeights::new`].
    pub fn new(sample: Sample<'a>, scheme: &Scheme, recipe: &Recipe) -> Result<Self> {
        let counts = ClassCounts::of(sample.labels, sample.row_weights, sample.classes);
        let class_weights = ClassWeights::new(scheme, &counts, Normalisation::Samples, recipe.max_weight)?;
        let row_weights = class_weights.row_weights(sample.labels, sample.row_weights);
        let offsets = (recipe.logit_adjust != 0.0).then(|| logit_adjustment(&counts, recipe.logit_adjust));
        Ok(WeightedSample { sample, counts, class_weights, row_weights, offsets })
    }

    /// The objective of these rows.
    pub fn problem(&self, recipe: &Recipe, l2: f64) -> Problem<'_> {
        Problem {
            rows: self.sample.rows,
            labels: self.sample.labels,
            weights: &self.row_weights,
            classes: self.sample.classes,
            loss: recipe.loss,
            offsets: self.offsets.as_deref(),
            l2,
            decay: recipe.decay,
        }
    }
}

/// Validation rows and the metric that chooses.
#[derive(Debug, Clone, Copy)]
pub struct Validation<'a> {
    /// Rows of D features.
    pub rows: Rows<'a>,
    /// Class codes; [`crate::labels::UNSEEN`] counts as wrong.
    pub labels: &'a [u32],
    /// Chooses among the trials.
    pub metric: Metric,
}

impl Validation<'_> {
    /// Scores parameters (`C x D` weights, then C biases) with probabilities as trained. Without `full`, the scores
    /// that sort all rows for each class are left out unless the metric is one of them.
    ///
    /// # Errors
    /// Those of [`evaluate`].
    pub fn evaluate(
        &self,
        theta: &[f32],
        loss: Loss,
        counts: &ClassCounts,
        kernels: &Kernels,
        full: bool,
    ) -> Result<Evaluation> {
        let model = model_of(theta, self.rows.features(), loss);
        let mut probabilities = model.logits_of(self.rows, kernels);
        let level = vec![1.0; counts.classes()];
        PriorCorrection::new(loss, &level, &training_shares(counts), 0.0, &Prior::AsTrained)?
            .posteriors_in_place(&mut probabilities);
        if full || self.metric.needs_curves() {
            evaluate(&probabilities, self.labels, counts, None)
        } else {
            evaluate_quick(&probabilities, self.labels, counts, None)
        }
    }

    /// The metric with its sign turned so that more is better; NaN counts as worst.
    fn score(&self, evaluation: &Evaluation) -> f64 {
        let value = self.metric.value(evaluation);
        match (value.is_nan(), self.metric.higher_is_better()) {
            (true, _) => f64::NEG_INFINITY,
            (_, true) => value,
            (_, false) => -value,
        }
    }
}

/// The model of parameters over raw features (`C x D` weights, then C biases).
pub fn model_of(theta: &[f32], features: usize, loss: Loss) -> LinearModel {
    let classes = theta.len() / (features + 1);
    let (weight, bias) = theta.split_at(classes * features);
    LinearModel { weight: weight.to_vec(), bias: bias.to_vec(), features, loss }
}

/// A scheme and an l2 that were tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Weighting scheme.
    pub scheme: Scheme,
    /// Strength of the penalty.
    pub l2: f64,
    /// Scores on the validation rows.
    pub valid: Evaluation,
    /// The choosing metric, signed so that more is better.
    pub score: f64,
    /// The fit, its parameters included.
    pub fit: Fit,
}

/// Follows a search.
pub trait SearchWatch {
    /// A trial is about to be fitted.
    fn begin(&mut self, scheme: &Scheme, l2: f64);
    /// An epoch or iteration of the current trial is done; `Break` ends the search with the best so far.
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()>;
    /// A trial is done; `best` where it leads.
    fn trial(&mut self, trial: &Trial, best: bool);
}

/// Which settings are tried.
#[derive(Debug, Clone)]
pub struct Grid {
    /// Weighting schemes; the first gets the whole path of l2, the others the l2 around the best.
    pub schemes: Vec<Scheme>,
    /// A given l2, or `None` for the automatic path.
    pub l2: Option<f64>,
}

/// A path ends after this many values of l2 in a row that did not improve on its best.
const PATIENCE: usize = 3;

/// l2 from strong to weak: 1 and 3 times powers of ten, over five decades below a hundredth of the total variance of
/// the features (on embeddings and standardised tables the best value lay 3 to 6 decades below it).
pub fn l2_path(total_variance: f64) -> Vec<f64> {
    const DECADES: i32 = 5;
    let scale = if total_variance > 0.0 && total_variance.is_finite() { total_variance } else { 1.0 };
    let top = scale.log10().floor() as i32 - 2;
    let mut path = Vec::new();
    for decade in 0..=DECADES {
        for mantissa in [3.0, 1.0] {
            path.push(format!("{mantissa}e{}", top - decade).parse().unwrap_or(f64::MIN_POSITIVE));
        }
    }
    path
}

/// The values of a path next to `l2`, and `l2` itself, strong to weak.
fn neighbours(path: &[f64], l2: f64) -> Vec<f64> {
    let at = path.iter().position(|&value| value == l2).unwrap_or(0);
    path[at.saturating_sub(1)..(at + 2).min(path.len())].to_vec()
}

/// Tries the settings of `grid` on `sample` and returns the best trial by the metric of `validation`, among equals
/// the stronger penalty and the earlier scheme; `None` where the grid holds no scheme. When `watch` breaks, the best
/// so far is returned.
///
/// # Errors
/// Those of the weighting, and [`crate::Error::Diverged`] of a fit.
pub fn search(
    sample: Sample<'_>,
    recipe: &Recipe,
    grid: &Grid,
    validation: &Validation<'_>,
    kernels: &'static Kernels,
    watch: &mut dyn SearchWatch,
) -> Result<Option<Trial>> {
    let mut search = Search { recipe, validation, kernels, watch, best: None, stopped: false };
    let mut around = None;
    for scheme in &grid.schemes {
        let weighted = WeightedSample::new(sample, scheme, recipe)?;
        let mut objective = Objective::new(weighted.problem(recipe, 0.0), kernels);
        let path = match (grid.l2, &around) {
            (Some(l2), _) => vec![l2],
            (None, Some(around)) => Vec::clone(around),
            (None, None) => l2_path(objective.moments().total_variance()),
        };
        search.run_path(&weighted, &mut objective, &path)?;
        if search.stopped {
            break;
        }
        if let (None, Some(best)) = (&around, &search.best) {
            around = Some(neighbours(&path, best.l2));
        }
    }
    Ok(search.best)
}

struct Search<'s> {
    recipe: &'s Recipe,
    validation: &'s Validation<'s>,
    kernels: &'static Kernels,
    watch: &'s mut dyn SearchWatch,
    best: Option<Trial>,
    stopped: bool,
}

impl Search<'_> {
    fn run_path(
        &mut self,
        weighted: &WeightedSample<'_>,
        objective: &mut Objective<'_>,
        path: &[f64],
    ) -> Result<()> {
        let mut start = match &self.best {
            Some(best) => best.fit.theta.clone(),
            None => objective.problem().start(),
        };
        let (mut leader, mut waited) = (f64::NEG_INFINITY, 0);
        for &l2 in path {
            let trial = self.run_trial(weighted, objective, &start, l2)?;
            start.clone_from(&trial.fit.theta);
            waited = if trial.score > leader { 0 } else { waited + 1 };
            leader = leader.max(trial.score);
            let best = self.best.as_ref().is_none_or(|best| trial.score > best.score);
            self.watch.trial(&trial, best);
            if best {
                self.best = Some(trial);
            }
            if self.stopped || waited >= PATIENCE {
                break;
            }
        }
        Ok(())
    }

    fn run_trial(
        &mut self,
        weighted: &WeightedSample<'_>,
        objective: &mut Objective<'_>,
        start: &[f32],
        l2: f64,
    ) -> Result<Trial> {
        let scheme = &weighted.class_weights.scheme;
        self.watch.begin(scheme, l2);
        objective.set_l2(l2);
        let (loss, counts) = (self.recipe.loss, &weighted.counts);
        let evaluate = |theta: &[f32]| self.validation.evaluate(theta, loss, counts, self.kernels, false);
        // An epoch that cannot be scored (a logit that is not finite) is the worst; the fit itself reports it.
        let mut score = |theta: &[f32]| match evaluate(theta) {
            Ok(evaluation) => self.validation.score(&evaluation),
            Err(_) => f64::NEG_INFINITY,
        };
        let (watch, stopped) = (&mut *self.watch, &mut self.stopped);
        let fit = fit(objective, start, &self.recipe.optimizer, Some(&mut score), &mut |progress| {
            let flow = watch.progress(progress);
            *stopped |= flow.is_break();
            flow
        })?;
        let valid = evaluate(&fit.theta)?;
        Ok(Trial { scheme: scheme.clone(), l2, score: self.validation.score(&valid), valid, fit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l2_falls_over_five_decades_below_the_variance() {
        let path = l2_path(512.0);
        assert_eq!(path[..4], [3.0, 1.0, 0.3, 0.1]);
        assert_eq!(path.len(), 12);
        assert_eq!(path[11], 1e-5);
        assert!(l2_path(0.0).iter().all(|l2| *l2 > 0.0));
    }

    #[test]
    fn neighbours_stop_at_the_ends() {
        let path = [1.0, 0.3, 0.1];
        assert_eq!(neighbours(&path, 1.0), [1.0, 0.3]);
        assert_eq!(neighbours(&path, 0.3), path);
        assert_eq!(neighbours(&path, 0.1), [0.3, 0.1]);
    }
}
