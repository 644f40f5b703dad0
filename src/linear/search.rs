//! Choosing l2 and the class weighting on validation rows, along warm-started paths.

use std::ops::ControlFlow;

use super::classifier::Classifier;
use super::fit::{Optimizer, Progress};
use super::objective::Objective;
use super::path::{PATIENCE, PathStart, l2_path, neighbours};
use super::rows::Rows;
use super::series::FitSeries;
use super::solver::Fit;
pub use super::weighted::{Recipe, Sample, WeightedSample, model_of};
use crate::metrics::{Evaluation, Metric, Standing, evaluate, evaluate_quick};
use crate::simd::Kernels;
use crate::weighting::Scheme;
use crate::weighting::prior::Prior;
use crate::{Error, Result};

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
    /// Scores a classifier with probabilities as trained. Without `full`, the scores that sort all rows for each class are
    /// left out unless the metric is one of them.
    ///
    /// # Errors
    /// Those of [`evaluate`].
    pub fn evaluate(
        &self,
        classifier: &Classifier,
        kernels: &'static Kernels,
        full: bool,
    ) -> Result<Evaluation> {
        let probabilities = classifier.probabilities(self.rows, &Prior::AsTrained, kernels)?;
        if full || self.metric.needs_curves() {
            evaluate(&probabilities, self.labels, &classifier.conditions.counts, None)
        } else {
            evaluate_quick(&probabilities, self.labels, &classifier.conditions.counts, None)
        }
    }

    /// Mean log-loss over classes with probabilities put under the uniform prior: a smooth measure of balanced
    /// performance that means the same for every loss and weighting. Infinite where it cannot be had.
    pub fn balanced_log_loss(&self, classifier: &Classifier, kernels: &'static Kernels) -> f64 {
        let scored =
            classifier.probabilities(self.rows, &Prior::Uniform, kernels).and_then(|probabilities| {
                evaluate_quick(&probabilities, self.labels, &classifier.conditions.counts, None)
            });
        scored.map_or(f64::INFINITY, |scores| scores.balanced_log_loss)
    }

    /// How a trial stands.
    pub fn standing(&self, evaluation: &Evaluation, balanced_log_loss: f64) -> Standing {
        Standing::of(self.metric, evaluation, balanced_log_loss)
    }
}

/// The trials that may still be chosen: those within the noise of the highest metric, the best few of them.
#[derive(Default)]
struct Contenders {
    trials: Vec<Trial>,
}

impl Contenders {
    /// Parameters of so many trials are kept.
    const KEPT: usize = 3;

    fn add(&mut self, trial: Trial) {
        self.trials.push(trial);
        let standings: Vec<Standing> = self.trials.iter().map(|trial| trial.standing).collect();
        if let Some(top) = Standing::highest(&standings).map(|place| standings[place]) {
            self.trials.retain(|t| t.standing.is_level_with(&top));
        }
        // Stable, so that among equals the earlier trial, with the stronger penalty, stays ahead.
        self.trials.sort_by(|a, b| a.standing.balanced_log_loss.total_cmp(&b.standing.balanced_log_loss));
        self.trials.truncate(Self::KEPT);
    }

    fn best(&self) -> Option<&Trial> {
        self.trials.first()
    }
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
    /// How it stands among the others.
    pub standing: Standing,
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

/// Tries the settings of `grid` on `sample` and returns the best trial: the highest metric of `validation`, where macro
/// recall is within half a standard error of the highest the lowest balanced log-loss, among equals the stronger penalty.
/// `fits` can serve the last fit, too.
/// `None` where the grid holds no scheme. When `watch` breaks, the best so far is returned, and so it is where the rows are
/// stopped: of the trials that were scored by then, `None` without one.
///
/// # Errors
/// Those of the weighting, [`Error::Diverged`] of a fit, and [`Error::BadValue`] where the metric is undefined on the
/// validation rows.
pub fn search(
    sample: Sample<'_>,
    recipe: &Recipe,
    grid: &Grid,
    validation: &Validation<'_>,
    kernels: &'static Kernels,
    fits: &mut FitSeries<'_>,
    watch: &mut dyn SearchWatch,
) -> Result<Option<Trial>> {
    let contenders = Contenders::default();
    let mut search = Search { recipe, validation, kernels, watch, fits, contenders, stopped: false };
    let mut around = None;
    for scheme in &grid.schemes {
        let weighted = WeightedSample::new(sample, scheme, recipe)?;
        let mut objective = Objective::new(weighted.problem(recipe, 0.0), kernels);
        if objective.is_stopped() {
            break;
        }
        let path = match (grid.l2, &around) {
            (Some(l2), _) => vec![l2],
            (None, Some(around)) => Vec::clone(around),
            (None, None) => l2_path(objective.moments().total_variance()),
        };
        search.run_path(&weighted, &mut objective, &path)?;
        if search.stopped {
            break;
        }
        if let (None, Some(best)) = (&around, search.contenders.best()) {
            around = Some(neighbours(&path, best.l2));
        }
    }
    let best = search.contenders.trials.into_iter().next();
    match &best {
        Some(trial) if trial.standing.metric == f64::NEG_INFINITY => Err(Error::bad_value(
            "--metric",
            validation.metric.name(),
            "is undefined on the validation rows",
            "choose another metric, such as macro_recall, or other validation rows",
        )),
        _ => Ok(best),
    }
}

struct Search<'s, 'j> {
    recipe: &'s Recipe,
    validation: &'s Validation<'s>,
    kernels: &'static Kernels,
    watch: &'s mut dyn SearchWatch,
    /// One for all schemes: they weigh the same rows.
    fits: &'s mut FitSeries<'j>,
    contenders: Contenders,
    stopped: bool,
}

impl Search<'_, '_> {
    fn run_path(
        &mut self,
        weighted: &WeightedSample<'_>,
        objective: &mut Objective<'_>,
        path: &[f64],
    ) -> Result<()> {
        let cold = objective.problem().start();
        // Epochs of minibatches only count from a cold start; L-BFGS goes on from its neighbours on the path.
        let is_minibatch = matches!(self.recipe.optimizer, Optimizer::Minibatch { .. });
        let mut start = PathStart::new(match self.contenders.best() {
            Some(best) if !is_minibatch => best.fit.theta.clone(),
            _ => cold,
        });
        let (mut metric, mut waited) = (f64::NEG_INFINITY, 0);
        for &l2 in path {
            let Some(trial) = self.run_trial(weighted, objective, &start.at(l2), l2)? else {
                self.stopped = true;
                break;
            };
            if !is_minibatch {
                start.pass(l2, trial.fit.theta.clone());
            }
            self.contenders.add(trial.clone());
            let best = self.contenders.best().is_some_and(|b| b.l2 == l2 && b.scheme == trial.scheme);
            waited = if best || trial.standing.metric >= metric { 0 } else { waited + 1 };
            metric = metric.max(trial.standing.metric);
            self.watch.trial(&trial, best);
            if self.stopped || waited >= PATIENCE {
                break;
            }
        }
        Ok(())
    }

    /// `None` where the rows are stopped before it is scored.
    fn run_trial(
        &mut self,
        weighted: &WeightedSample<'_>,
        objective: &mut Objective<'_>,
        start: &[f32],
        l2: f64,
    ) -> Result<Option<Trial>> {
        let scheme = &weighted.class_weights.scheme;
        self.watch.begin(scheme, l2);
        objective.set_l2(l2);
        let (validation, recipe, kernels) = (self.validation, self.recipe, self.kernels);
        let loss = |theta: &[f32]| validation.balanced_log_loss(&weighted.classifier(theta, recipe), kernels);
        let mut score = |theta: &[f32]| -loss(theta);
        let (watch, stopped) = (&mut *self.watch, &mut self.stopped);
        let fit = self.fits.fit(objective, start, &recipe.optimizer, Some(&mut score), &mut |progress| {
            let flow = watch.progress(progress);
            *stopped |= flow.is_break();
            flow
        })?;
        let is_stopped = || objective.is_stopped() || validation.rows.is_stopped();
        if is_stopped() {
            return Ok(None);
        }
        let valid = validation.evaluate(&weighted.classifier(&fit.theta, recipe), kernels, false);
        if is_stopped() {
            return Ok(None);
        }
        let valid = valid?;
        let standing = validation.standing(&valid, loss(&fit.theta));
        if is_stopped() {
            return Ok(None);
        }
        Ok(Some(Trial { scheme: scheme.clone(), l2, standing, valid, fit }))
    }
}
