//! Fits of several treatments over the same folds and the same values of l2, each read on the rows held out.
//!
//! What can be shared is: the metric of the solver goes from fit to fit, each fit of a path of l2 starts from its
//! neighbour, and one pass over the held-out rows serves every way of reading them. Starts never cross folds: one that
//! saw the held-out rows would carry something of them over.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::folds::Folds;
use super::readings::{Decision, Reader, Readings};
use super::treatment::Treatment;
use crate::Result;
use crate::labels::ClassCounts;
use crate::linear::fit::{Optimizer, Progress, fit};
use crate::linear::objective::Objective;
use crate::linear::problem::Decay;
use crate::linear::rows::Rows;
use crate::linear::search::{PATIENCE, Recipe, Sample, WeightedSample, l2_path, model_of};
use crate::linear::solver::metric::Preconditioner;
use crate::matrix::Matrix;
use crate::metrics::{Metric, Standing};
use crate::simd::Kernels;

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
    /// A given l2, or `None` for a grid found on the first fold.
    pub l2: Option<f64>,
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
}

/// Held-out readings of every treatment at every l2.
#[derive(Debug)]
pub struct FoldTable {
    /// The grid, strong to weak.
    pub l2: Vec<f64>,
    /// `[treatment][l2][repeat]`.
    pub readings: Vec<Vec<Vec<Readings>>>,
    /// Fits made.
    pub fits: usize,
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

/// Fits all `treatments` over all `folds`, one a repeat. `None` where the watch stopped it.
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
    let mut l2: Vec<f64> = settings.l2.into_iter().collect();
    let mut readings: Vec<Vec<Vec<Readings>>> = Vec::new();
    let repeats = folds.len();
    for (repeat, folds) in folds.iter().enumerate() {
        for fold in 0..folds.folds() {
            let (train, held) = folds.split(fold);
            if held.is_empty() {
                continue;
            }
            walker.watch.fold(repeat, fold);
            let features = (data.features)(&train);
            let train = Fitted::new(&data, &features, &train);
            let part = Part {
                train: &train,
                held: Rows::chosen(&features, &held),
                held_labels: &held.iter().map(|&row| data.labels[row]).collect::<Vec<u32>>(),
            };
            if l2.is_empty() {
                let Some(grid) = walker.find_grid(&part, treatments)? else { return Ok(None) };
                l2 = grid;
            }
            if readings.is_empty() {
                let column = |taus| vec![Readings::new(data.labels.len(), taus); repeats];
                readings = treatments.iter().map(|t| vec![column(settings.taus_of(t).len()); l2.len()]).collect();
            }
            for (treatment, readings) in treatments.iter().zip(&mut readings) {
                let taus = settings.taus_of(treatment);
                let flow = walker.walk(&part, treatment, &mut l2, taus, &mut |at, reader, logits| {
                    reader.read(logits, part.held_labels, &held, &mut readings[at][repeat]);
                    ControlFlow::Continue(())
                })?;
                if flow.is_break() {
                    return Ok(None);
                }
            }
        }
    }
    Ok(Some(FoldTable { l2, readings, fits: walker.fits }))
}

/// Fits `treatment` at `l2` to all rows of `data` and reads it on the rows `held`, whose labels are `held_labels`. `None`
/// where the watch stopped it.
///
/// # Errors
/// Those of the weighting and of the fit.
pub fn fit_and_read(
    data: FoldData<'_>,
    held: Rows<'_>,
    held_labels: &[u32],
    treatment: &Treatment,
    l2: f64,
    settings: &FitSettings,
    kernels: &'static Kernels,
    watch: &mut dyn FoldWatch,
) -> Result<Option<Readings>> {
    let all: Vec<usize> = (0..data.labels.len()).collect();
    let features = (data.features)(&all);
    let train = Fitted::new(&data, &features, &all);
    let part = Part { train: &train, held, held_labels };
    let taus = settings.taus_of(treatment);
    let mut readings = Readings::new(held.len(), taus.len());
    let places: Vec<usize> = (0..held.len()).collect();
    let mut walker = Walker::new(settings, kernels, watch);
    let flow = walker.walk(&part, treatment, &mut vec![l2], taus, &mut |_, reader, logits| {
        reader.read(logits, held_labels, &places, &mut readings);
        ControlFlow::Continue(())
    })?;
    Ok((!flow.is_break()).then_some(readings))
}

impl FitSettings {
    /// Strengths of the adjustment that fits of `treatment` are read with.
    pub fn taus_of(&self, treatment: &Treatment) -> &[f64] {
        if treatment.is_plain() { &self.taus } else { &[] }
    }
}

/// Rows to fit, gathered.
struct Fitted<'p> {
    features: &'p Matrix,
    rows: &'p [usize],
    labels: Vec<u32>,
    weights: Option<Vec<f64>>,
    classes: usize,
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
struct Part<'p> {
    train: &'p Fitted<'p>,
    held: Rows<'p>,
    held_labels: &'p [u32],
}

/// Called with the place of the l2 on the path and the logits of the held-out rows; `Break` ends the path.
type Seen<'s> = dyn FnMut(usize, &Reader<'_>, &[f32]) -> ControlFlow<()> + 's;

struct Walker<'f> {
    settings: &'f FitSettings,
    kernels: &'static Kernels,
    /// One for all: the metric of other weights, or of most of the rows, still serves.
    preconditioner: Preconditioner,
    watch: &'f mut dyn FoldWatch,
    fits: usize,
}

impl<'f> Walker<'f> {
    fn new(settings: &'f FitSettings, kernels: &'static Kernels, watch: &'f mut dyn FoldWatch) -> Self {
        Walker { settings, kernels, preconditioner: Preconditioner::default(), watch, fits: 0 }
    }

    /// Every treatment walks the automatic path from strong to weak, with patience. The grid reaches from one value above
    /// the strongest choice to one below the weakest, so that every treatment gets the same values and none is cut off.
    fn find_grid(&mut self, part: &Part<'_>, treatments: &[Treatment]) -> Result<Option<Vec<f64>>> {
        let metric = self.settings.metric;
        let train_rows = ClassCounts::of(&part.train.labels, None, part.train.classes).rows;
        let places: Vec<usize> = (0..part.held.len()).collect();
        let mut ends: Option<(usize, usize)> = None;
        let mut path = Vec::new();
        for treatment in treatments {
            let mut standings: Vec<Standing> = Vec::new();
            let mut waited = 0;
            let flow = self.walk(part, treatment, &mut path, &[], &mut |_, reader, logits| {
                let mut readings = Readings::new(places.len(), 0);
                reader.read(logits, part.held_labels, &places, &mut readings);
                let rows = places.iter().copied();
                let standing =
                    readings.standing(Decision::Trained, rows, part.held_labels, &train_rows, metric);
                let highest = standings.iter().map(|s| s.metric).fold(f64::NEG_INFINITY, f64::max);
                standings.push(standing);
                let leads = Standing::choose(&standings) == Some(standings.len() - 1);
                waited = if leads || standing.metric >= highest { 0 } else { waited + 1 };
                if waited >= PATIENCE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if flow.is_break() {
                return Ok(None);
            }
            if let Some(chosen) = Standing::choose(&standings) {
                let (strong, weak) = ends.unwrap_or((chosen, chosen));
                ends = Some((strong.min(chosen), weak.max(chosen)));
            }
        }
        let (strong, weak) = ends.unwrap_or((0, 0));
        Ok(Some(path[strong.saturating_sub(1)..(weak + 2).min(path.len())].to_vec()))
    }

    /// Fits `treatment` along `path` (the automatic one where it is empty). `Break` only where the watch asked for it.
    fn walk(
        &mut self,
        part: &Part<'_>,
        treatment: &Treatment,
        path: &mut Vec<f64>,
        taus: &[f64],
        seen: &mut Seen<'_>,
    ) -> Result<ControlFlow<()>> {
        let recipe = Recipe {
            loss: treatment.loss,
            logit_adjust: treatment.logit_adjust,
            decay: self.settings.decay,
            max_weight: self.settings.max_weight,
            optimizer: self.settings.optimizer,
        };
        let weighted = WeightedSample::new(part.train.sample(), &treatment.scheme, &recipe)?;
        let reader = Reader::new(&weighted, &recipe, taus)?;
        let mut objective = Objective::new(weighted.problem(&recipe, 0.0), self.kernels);
        if path.is_empty() {
            *path = l2_path(objective.moments().total_variance());
        }
        // Epochs of minibatches only count from a cold start.
        let is_minibatch = matches!(recipe.optimizer, Optimizer::Minibatch { .. });
        let mut start = objective.problem().start();
        for (at, &l2) in path.iter().enumerate() {
            self.watch.begin(treatment, l2);
            objective.set_l2(l2);
            let mut stopped = false;
            let watch = &mut *self.watch;
            let fitted = fit(
                &mut objective,
                &mut self.preconditioner,
                &start,
                &recipe.optimizer,
                None,
                &mut |progress| {
                    let flow = watch.progress(progress);
                    stopped |= flow.is_break();
                    flow
                },
            )?;
            if stopped {
                return Ok(ControlFlow::Break(()));
            }
            self.fits += 1;
            let model = model_of(&fitted.theta, part.held.features(), recipe.loss);
            let logits = model.logits_of(part.held, self.kernels);
            if seen(at, &reader, &logits).is_break() {
                break;
            }
            if !is_minibatch {
                start = fitted.theta;
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
