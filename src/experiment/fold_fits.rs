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
    let empty = || treatments.iter().map(|_| Vec::new()).collect();
    let mut fits = FoldFits {
        data,
        repeats: folds.len(),
        treatments,
        settings,
        kernels,
        preconditioner: Preconditioner::default(),
        watch,
        table: FoldTable { l2: settings.l2.into_iter().collect(), readings: empty(), fits: 0 },
    };
    for (repeat, folds) in folds.iter().enumerate() {
        for fold in 0..folds.folds() {
            let (train, held) = folds.split(fold);
            if held.is_empty() {
                continue;
            }
            fits.watch.fold(repeat, fold);
            let features = (data.features)(&train);
            let part = Part::new(&data, &features, &train, &held);
            let stopped = match fits.table.l2.is_empty() {
                true => fits.find_grid(&part)?.is_break(),
                false => false,
            };
            if stopped || fits.fit_grid(&part, repeat)?.is_break() {
                return Ok(None);
            }
        }
    }
    Ok(Some(fits.table))
}

/// One fold: rows to fit and rows to read.
struct Part<'p> {
    features: &'p Matrix,
    train: &'p [usize],
    train_labels: Vec<u32>,
    train_weights: Option<Vec<f64>>,
    held: &'p [usize],
    held_labels: Vec<u32>,
    classes: usize,
}

impl<'p> Part<'p> {
    fn new(data: &FoldData<'_>, features: &'p Matrix, train: &'p [usize], held: &'p [usize]) -> Self {
        let labels = |rows: &[usize]| rows.iter().map(|&row| data.labels[row]).collect();
        Part {
            features,
            train,
            train_labels: labels(train),
            train_weights: data.row_weights.map(|w| train.iter().map(|&row| w[row]).collect()),
            held,
            held_labels: labels(held),
            classes: data.classes,
        }
    }

    fn sample(&self) -> Sample<'_> {
        Sample {
            rows: Rows::chosen(self.features, self.train),
            labels: &self.train_labels,
            row_weights: self.train_weights.as_deref(),
            classes: self.classes,
        }
    }
}

struct FoldFits<'f> {
    data: FoldData<'f>,
    repeats: usize,
    treatments: &'f [Treatment],
    settings: &'f FitSettings,
    kernels: &'static Kernels,
    /// One for all: the metric of other weights, or of most of the rows, still serves.
    preconditioner: Preconditioner,
    watch: &'f mut dyn FoldWatch,
    table: FoldTable,
}

/// Called with the place of the l2 on the path and the readings of the held-out rows; `Break` ends the path.
type Seen<'s> = dyn FnMut(&mut FoldTable, usize, &Reader<'_>, &[f32]) -> ControlFlow<()> + 's;

impl FoldFits<'_> {
    /// Every treatment walks the automatic path from strong to weak on this fold, with patience. The grid reaches from one
    /// value above the strongest choice to one below the weakest, so that every treatment gets the same values and none
    /// is cut off.
    fn find_grid(&mut self, part: &Part<'_>) -> Result<ControlFlow<()>> {
        let metric = self.settings.metric;
        let mut ends: Option<(usize, usize)> = None;
        let mut path = Vec::new();
        for treatment in self.treatments {
            let mut standings: Vec<Standing> = Vec::new();
            let mut waited = 0;
            let mut counts: Option<ClassCounts> = None;
            let flow = self.walk(part, treatment, &mut path, &[], &mut |_, _, reader, logits| {
                let mut readings = Readings::new(part.held.len(), 0);
                let rows: Vec<usize> = (0..part.held.len()).collect();
                reader.read(logits, &part.held_labels, &rows, &mut readings);
                let counts =
                    counts.get_or_insert_with(|| ClassCounts::of(&part.train_labels, None, part.classes));
                let standing = readings.standing(Decision::Trained, &rows, &part.held_labels, counts, metric);
                let highest = standings.iter().map(|s| s.metric).fold(f64::NEG_INFINITY, f64::max);
                standings.push(standing);
                let leads = Standing::choose(&standings) == Some(standings.len() - 1);
                waited = if leads || standing.metric >= highest { 0 } else { waited + 1 };
                if waited >= PATIENCE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if flow.is_break() {
                return Ok(flow);
            }
            if let Some(chosen) = Standing::choose(&standings) {
                let (strong, weak) = ends.unwrap_or((chosen, chosen));
                ends = Some((strong.min(chosen), weak.max(chosen)));
            }
        }
        let (strong, weak) = ends.unwrap_or((0, 0));
        self.table.l2 = path[strong.saturating_sub(1)..(weak + 2).min(path.len())].to_vec();
        Ok(ControlFlow::Continue(()))
    }

    /// Every treatment is fitted at every l2 of the grid.
    fn fit_grid(&mut self, part: &Part<'_>, repeat: usize) -> Result<ControlFlow<()>> {
        let mut grid = self.table.l2.clone();
        let (rows, repeats) = (self.data.labels.len(), self.repeats);
        for (place, treatment) in self.treatments.iter().enumerate() {
            let taus = if treatment.is_plain() { self.settings.taus.as_slice() } else { &[] };
            if self.table.readings[place].is_empty() {
                let column = || (0..repeats).map(|_| Readings::new(rows, taus.len())).collect();
                self.table.readings[place] = grid.iter().map(|_| column()).collect();
            }
            let flow = self.walk(part, treatment, &mut grid, taus, &mut |table, at, reader, logits| {
                let readings = &mut table.readings[place][at][repeat];
                reader.read(logits, &part.held_labels, part.held, readings);
                ControlFlow::Continue(())
            })?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
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
        let weighted = WeightedSample::new(part.sample(), &treatment.scheme, &recipe)?;
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
            self.table.fits += 1;
            let model = model_of(&fitted.theta, part.features.cols(), recipe.loss);
            let logits = model.logits_of(Rows::chosen(part.features, part.held), self.kernels);
            if seen(&mut self.table, at, &reader, &logits).is_break() {
                break;
            }
            if !is_minibatch {
                start = fitted.theta;
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
