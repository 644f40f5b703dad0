//! Fits of several treatments over the same folds and the same values of l2, each read on the rows held out.
//!
//! What can be shared is: each fit starts from its neighbour in l2, the first of a path from the same end of the
//! treatment before, the metric of the solver follows a path, and one pass over the held-out rows serves every way of
//! reading them. A fit that is asked for again on the same fold is not made again. Starts never cross folds: one that saw
//! the held-out rows would carry something of them over.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::folds::Folds;
use super::kept::KeptFits;
use super::pilot::Pilot;
use super::readings::{Reader, Readings};
use super::treatment::Treatment;
use crate::linear::classifier::Classifier;
use crate::linear::fit::{Optimizer, Progress, fit};
use crate::linear::heads::{Builder, Setting};
use crate::linear::objective::Objective;
use crate::linear::problem::Decay;
use crate::linear::rows::Rows;
use crate::linear::solver::metric::Preconditioner;
use crate::linear::weighted::{Recipe, Sample, WeightedSample};
use crate::loss::Loss;
use crate::matrix::Matrix;
use crate::metrics::Metric;
use crate::simd::Kernels;
use crate::{Error, Result};

/// Features of all rows, scaled and filled by what the given rows know.
pub type Features<'a> = dyn Fn(&[usize]) -> Cow<'a, Matrix> + 'a;

/// Labelled rows whose features may depend on which of them are trained on.
#[derive(Clone, Copy)]
pub struct FoldData<'a> {
    /// Class code of each of the N rows, below `classes`.
    pub labels: &'a [u32],
    /// Weight of each row; `None`: all 1.
    pub row_weights: Option<&'a [f64]>,
    /// Number of classes C.
    pub classes: usize,
    /// N rows of D features.
    pub features: &'a Features<'a>,
}

/// What all fits have in common.
#[derive(Debug, Clone)]
pub struct FitSettings {
    /// Values of l2, strong to weak; empty for a grid found on the first fold.
    pub l2: Vec<f64>,
    /// An l2 that did well, to look for the best one from there.
    pub near: Option<f64>,
    /// Strengths of the adjustment after training.
    pub taus: Vec<f64>,
    /// How each fit is solved.
    pub optimizer: Optimizer,
    /// What the penalty falls on.
    pub decay: Decay,
    /// Largest class weight where the mean over rows is 1.
    pub max_weight: Option<f64>,
    /// The metric that finds the grid of l2.
    pub metric: Metric,
    /// Key of resampling.
    pub seed: u64,
}

/// What a treatment leaves open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Strength of the penalty; `None` for closed forms.
    pub l2: Option<f64>,
    /// What the head leaves open.
    pub head: Option<Setting>,
}

/// Held-out readings of every treatment at the values of l2 around its best.
#[derive(Debug)]
pub struct FoldTable {
    /// Levels of each treatment, strong l2 first.
    pub levels: Vec<Vec<Level>>,
    /// `[treatment][level][repeat]`.
    pub readings: Vec<Vec<Vec<Readings>>>,
    /// Folds that every treatment was read on, one number a repeat: fewer than asked for where the watch ended the fits.
    pub finished: Vec<usize>,
    /// Fits made.
    pub fits: usize,
    /// Passes over the rows of a fold that they took.
    pub passes: usize,
}

/// Folds that a comparison needs at least: settings are chosen on others than they are scored on.
const FEWEST_FOLDS: usize = 2;

impl FoldTable {
    /// Whether every treatment was read on all folds asked for.
    pub fn is_complete(&self, asked: &[Folds]) -> bool {
        asked.iter().map(Folds::folds).eq(self.finished.iter().copied())
    }

    /// Of the folds asked for those that are finished, with whole repeats after the first one.
    pub fn finished_folds(&self, asked: &[Folds]) -> Vec<Folds> {
        let parts = asked.iter().zip(&self.finished).enumerate();
        let usable = parts.filter(|(repeat, (folds, done))| *repeat == 0 || **done == folds.folds());
        usable.map(|(_, (folds, &done))| folds.clone().first(done)).collect()
    }
}

/// Rows that a fit of others is read on.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// Scaled as the rows fitted.
    pub rows: Rows<'a>,
    /// One a row; codes at or above C are unseen.
    pub labels: &'a [u32],
}

/// Follows the fits.
pub trait FoldWatch {
    /// A fold of a repeat begins.
    fn fold(&mut self, repeat: usize, fold: usize);
    /// A fit begins.
    fn begin(&mut self, treatment: &Treatment, l2: f64);
    /// An epoch or iteration is done; `Break` ends everything.
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()>;
}

/// Fits all `treatments` over all `folds`, one a repeat. Where the watch stops it, what is finished counts, `None` without
/// two folds of the first repeat.
///
/// # Errors
/// Those of the weighting and of the fits.
pub fn fit_folds(
    data: FoldData<'_>,
    folds: &[Folds],
    treatments: &[Treatment],
    settings: &FitSettings,
    kernels: &'static Kernels,
    watch: &mut dyn FoldWatch,
) -> Result<Option<FoldTable>> {
    let mut walker = Walker::new(settings, kernels, watch);
    let mut l2: Vec<Vec<Option<f64>>> = Vec::new();
    let mut readings: Vec<Vec<Vec<Readings>>> = Vec::new();
    let settings_of: Vec<Vec<Option<Setting>>> = treatments.iter().map(head_settings).collect();
    let mut finished = vec![0; folds.len()];
    'folds: for (repeat, folds_of_repeat) in folds.iter().enumerate() {
        for fold in 0..folds_of_repeat.folds() {
            let (train, held) = folds_of_repeat.split(fold);
            if held.is_empty() {
                finished[repeat] += 1;
                continue;
            }
            walker.begin_fold(repeat, fold);
            let features = (data.features)(&train);
            let train = Fitted::new(&data, &features, &train);
            let part = Part {
                train: &train,
                held: Rows::chosen(&features, &held),
                held_labels: &held.iter().map(|&row| data.labels[row]).collect::<Vec<u32>>(),
            };
            if l2.is_empty() {
                let Some(grids) = walker.find_grids(&part, treatments)? else { return Ok(None) };
                l2 = grids;
                for ((treatment, grid), heads) in treatments.iter().zip(&l2).zip(&settings_of) {
                    let column = Readings::new(data.labels.len(), settings.taus_of(treatment).len());
                    readings.push(vec![vec![column; folds.len()]; grid.len() * heads.len()]);
                }
            }
            for (place, treatment) in treatments.iter().enumerate() {
                let heads = &settings_of[place];
                let mut done = 0;
                let flow = walker.walk(&part, treatment, heads, &mut |_, fitted| {
                    for (variant, (reader, logits)) in fitted.iter().enumerate() {
                        let level = done * heads.len() + variant;
                        reader.read(logits, part.held_labels, &held, &mut readings[place][level][repeat]);
                    }
                    done += usize::from(!fitted.is_empty());
                    l2[place].get(done).copied()
                })?;
                if flow.is_break() {
                    break 'folds;
                }
            }
            finished[repeat] += 1;
        }
    }
    if finished.first().is_some_and(|&done| done < FEWEST_FOLDS) {
        return Ok(None);
    }
    let levels = l2.iter().zip(&settings_of).map(|(grid, heads)| {
        grid.iter().flat_map(|&l2| heads.iter().map(move |&head| Level { l2, head })).collect()
    });
    Ok(Some(FoldTable {
        levels: levels.collect(),
        readings,
        finished,
        fits: walker.fits,
        passes: walker.passes,
    }))
}

/// What the head of a treatment may be set to; one `None` where it leaves nothing open.
fn head_settings(treatment: &Treatment) -> Vec<Option<Setting>> {
    let settings = treatment.head.settings();
    if settings.is_empty() { vec![None] } else { settings.into_iter().map(Some).collect() }
}

/// Fits `treatment` at `level` to all rows of `data` and reads it on the rows `held`. `None` where the watch stopped it.
///
/// # Errors
/// Those of the weighting and of the fit.
pub fn fit_and_read(
    data: FoldData<'_>,
    held: Held<'_>,
    treatment: &Treatment,
    level: Level,
    settings: &FitSettings,
    kernels: &'static Kernels,
    watch: &mut dyn FoldWatch,
) -> Result<Option<Readings>> {
    let all: Vec<usize> = (0..data.labels.len()).collect();
    let features = (data.features)(&all);
    let train = Fitted::new(&data, &features, &all);
    let part = Part { train: &train, held: held.rows, held_labels: held.labels };
    let taus = settings.taus_of(treatment);
    let mut readings = Readings::new(held.labels.len(), taus.len());
    let places: Vec<usize> = (0..held.labels.len()).collect();
    let mut walker = Walker::new(settings, kernels, watch);
    let flow = walker.walk(&part, treatment, &[level.head], &mut |_, fitted| match fitted {
        [] => Some(level.l2),
        [(reader, logits), ..] => {
            reader.read(logits, held.labels, &places, &mut readings);
            None
        }
    })?;
    Ok((!flow.is_break()).then_some(readings))
}

impl FitSettings {
    /// Strengths of the adjustment that fits of `treatment` are read with.
    pub fn taus_of(&self, treatment: &Treatment) -> &[f64] {
        if treatment.is_adjusted { &self.taus } else { &[] }
    }
}

/// Rows to fit, gathered.
pub(super) struct Fitted<'p> {
    features: &'p Matrix,
    rows: &'p [usize],
    pub(super) labels: Vec<u32>,
    weights: Option<Vec<f64>>,
    pub(super) classes: usize,
}

impl<'p> Fitted<'p> {
    fn new(data: &FoldData<'_>, features: &'p Matrix, rows: &'p [usize]) -> Self {
        Fitted {
            features,
            rows,
            labels: rows.iter().map(|&row| data.labels[row]).collect(),
            weights: data.row_weights.map(|w| rows.iter().map(|&row| w[row]).collect()),
            classes: data.classes,
        }
    }

    fn sample(&self) -> Sample<'_> {
        Sample {
            rows: Rows::chosen(self.features, self.rows),
            labels: &self.labels,
            row_weights: self.weights.as_deref(),
            classes: self.classes,
        }
    }
}

/// Rows to fit and rows to read.
#[derive(Clone, Copy)]
pub(super) struct Part<'p> {
    pub(super) train: &'p Fitted<'p>,
    pub(super) held: Rows<'p>,
    pub(super) held_labels: &'p [u32],
}

/// Says which l2 is fitted next, `None` to end: asked with the total variance of the features and, for each setting of the
/// head, the logits that the last fit gives the held-out rows; with none of them before the first fit.
type Next<'n> = dyn FnMut(f64, &[(Reader<'_>, Vec<f32>)]) -> Option<Option<f64>> + 'n;

struct Walker<'f> {
    settings: &'f FitSettings,
    kernels: &'static Kernels,
    watch: &'f mut dyn FoldWatch,
    /// The first fit of the last treatment on this fold, at the strong end of its path, and its loss.
    strong: Option<(Loss, Vec<f32>)>,
    /// Those of this fold.
    kept: KeptFits,
    fits: usize,
    passes: usize,
}

impl<'f> Walker<'f> {
    fn new(settings: &'f FitSettings, kernels: &'static Kernels, watch: &'f mut dyn FoldWatch) -> Self {
        Walker { settings, kernels, watch, strong: None, kept: KeptFits::default(), fits: 0, passes: 0 }
    }

    fn begin_fold(&mut self, repeat: usize, fold: usize) {
        self.watch.fold(repeat, fold);
        self.strong = None;
        self.kept.clear();
    }

    /// The given values for all treatments, or for each the three around its best on this fold.
    fn find_grids(
        &mut self,
        part: &Part<'_>,
        treatments: &[Treatment],
    ) -> Result<Option<Vec<Vec<Option<f64>>>>> {
        let given: Vec<Option<f64>> = self.settings.l2.iter().copied().map(Some).collect();
        let mut grids = Vec::new();
        let mut near = self.settings.near;
        for treatment in treatments {
            if !treatment.head.is_fitted() {
                grids.push(vec![None]);
                continue;
            }
            if !given.is_empty() {
                grids.push(given.clone());
                continue;
            }
            let taus = self.settings.taus_of(treatment).len();
            let mut pilot = Pilot::new(part, self.settings.metric, taus, near);
            let heads = &head_settings(treatment)[..1];
            let flow = self.walk(part, treatment, heads, &mut |variance, fitted| {
                pilot.next(variance, fitted.first().map(|(reader, logits)| (reader, &logits[..]))).map(Some)
            })?;
            if flow.is_break() {
                return Ok(None);
            }
            let (best, around) = pilot.found();
            grids.push(around.into_iter().map(Some).collect());
            near = Some(best);
        }
        Ok(Some(grids))
    }

    /// Fits `treatment` at one l2 after the other, and reads each fit with every one of `heads`. `Break` only where the
    /// watch asked for it.
    fn walk(
        &mut self,
        part: &Part<'_>,
        treatment: &Treatment,
        heads: &[Option<Setting>],
        next: &mut Next<'_>,
    ) -> Result<ControlFlow<()>> {
        let recipe = Recipe {
            loss: treatment.loss,
            logit_adjust: treatment.logit_adjust,
            vs_gamma: treatment.vs_gamma,
            ldam: treatment.ldam,
            resampling: treatment.resampling.map(|resampling| (resampling, self.settings.seed)),
            decay: self.settings.decay,
            max_weight: self.settings.max_weight,
            optimizer: self.settings.optimizer,
        };
        let weighted = WeightedSample::new(part.train.sample(), &treatment.scheme, &recipe)?;
        let taus = self.settings.taus_of(treatment);
        if !treatment.head.is_fitted() {
            self.fits += 1;
            let read = self.read(part, &weighted, None, heads, taus)?;
            next(0.0, &read);
            return Ok(ControlFlow::Continue(()));
        }
        let mut objective = Objective::new(weighted.problem(&recipe, 0.0), self.kernels);
        let variance = objective.moments().total_variance();
        // Epochs of minibatches only count from a cold start.
        let is_minibatch = matches!(recipe.optimizer, Optimizer::Minibatch { .. });
        // The metric follows the fits of one path; under other weights it would start from where it began.
        let mut preconditioner = Preconditioner::default();
        let mut start = match self.strong.take() {
            Some((loss, theta)) if loss == recipe.loss && !is_minibatch => theta,
            _ => objective.problem().start(),
        };
        let mut wanted = next(variance, &[]);
        while let Some(Some(l2)) = wanted {
            let theta = match self.kept.find(treatment, l2) {
                Some(theta) => theta.to_vec(),
                None => {
                    objective.set_l2(l2);
                    match self.fit(treatment, l2, &mut objective, &mut preconditioner, &start)? {
                        Some(theta) => theta,
                        None => return Ok(ControlFlow::Break(())),
                    }
                }
            };
            let base = weighted.classifier(&theta, &recipe);
            let read = self.read(part, &weighted, Some(&base), heads, taus)?;
            wanted = next(variance, &read);
            if self.strong.is_none() {
                self.strong = Some((recipe.loss, theta.clone()));
            }
            if !is_minibatch {
                start = theta;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The minimum at the l2 of `objective`, kept for whoever asks again; `None` where the watch stopped it.
    fn fit(
        &mut self,
        treatment: &Treatment,
        l2: f64,
        objective: &mut Objective<'_>,
        preconditioner: &mut Preconditioner,
        start: &[f32],
    ) -> Result<Option<Vec<f32>>> {
        self.watch.begin(treatment, l2);
        let mut stopped = false;
        let watch = &mut *self.watch;
        let optimizer = &self.settings.optimizer;
        let fitted = fit(objective, preconditioner, start, optimizer, None, &mut |progress| {
            let flow = watch.progress(progress);
            stopped |= flow.is_break();
            flow
        })?;
        if stopped {
            return Ok(None);
        }
        self.fits += 1;
        self.passes += fitted.passes;
        self.kept.keep(treatment, l2, &fitted.theta);
        Ok(Some(fitted.theta))
    }

    /// Readers and logits of the held-out rows for each setting of the head.
    fn read<'t>(
        &self,
        part: &Part<'_>,
        weighted: &WeightedSample<'_>,
        base: Option<&Classifier>,
        heads: &[Option<Setting>],
        taus: &'t [f64],
    ) -> Result<Vec<(Reader<'t>, Vec<f32>)>> {
        let builder = Builder::new(weighted, base, self.kernels);
        let classifier = |head: &Option<Setting>| match (head, base) {
            (Some(setting), _) => builder.build(*setting).map(Cow::Owned),
            (None, Some(base)) => Ok(Cow::Borrowed(base)),
            (None, None) => Err(Error::bad_value("--head", "", "leaves nothing to fit", "name another head")),
        };
        let read = |head: &Option<Setting>| {
            let classifier = classifier(head)?;
            let logits = classifier.model.logits_of(part.held, self.kernels);
            Ok((Reader::new(&classifier, taus)?, logits))
        };
        heads.iter().map(read).collect()
    }
}
