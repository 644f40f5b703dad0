//! Fits of several treatments over the same folds and along the same paths, each read on the rows held out.
//!
//! What can be shared is shared within a fold by the fits of a learner: [`linear_fits`](super::linear_fits) and
//! [`boost_fits`](super::boost_fits) say what. Nothing crosses folds: a start that saw the held-out rows would carry
//! something of them over.

use std::ops::ControlFlow;

use super::boost_fits::{BoostFits, BoostSettings};
use super::folds::Folds;
use super::linear_fits::{LinearFits, LinearSettings};
use super::pilot::Pilot;
use super::readings::{Reader, Readings};
use super::strength::Strength;
use super::treatment::Treatment;
use crate::Result;
use crate::linear::heads::Setting;
use crate::linear::rows::Rows;
use crate::linear::weighted::Sample;
use crate::matrix::Matrix;
use crate::metrics::Metric;
use crate::model::Learner;
use crate::simd::Kernels;
use crate::weighting::Prior;

/// Features of all rows as a learner takes them, scaled and filled by what the given rows know.
pub type Features<'a> = dyn Fn(Learner, &[usize]) -> Matrix<'a> + 'a;

/// Labelled rows whose features may depend on which of them are trained on.
#[derive(Clone, Copy)]
pub struct FoldData<'a> {
    /// Class code of each of the N rows, below `classes`.
    pub labels: &'a [u32],
    /// Weight of each row; `None`: all 1.
    pub row_weights: Option<&'a [f64]>,
    /// Number of classes C.
    pub classes: usize,
    /// N rows of D features, D by learner.
    pub features: &'a Features<'a>,
}

/// What all fits have in common.
#[derive(Debug, Clone)]
pub struct FitSettings {
    /// Those of linear fits.
    pub linear: LinearSettings,
    /// Those of boosted fits.
    pub boost: BoostSettings,
    /// A strength that did well, to look for the best one from there.
    pub near: Option<Strength>,
    /// Prior that decisions and losses are under; [`Prior::AsTrained`]: natural for fits adjusted after training.
    pub prior: Prior,
    /// Strengths of the adjustment after training.
    pub taus: Vec<f64>,
    /// Largest class weight where the mean over rows is 1.
    pub max_weight: Option<f64>,
    /// The metric that finds the part of a path that the folds choose from.
    pub metric: Metric,
    /// Key of resampling.
    pub seed: u64,
}

/// What a treatment leaves open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// How much the fit may bend.
    pub strength: Strength,
    /// What the head leaves open.
    pub head: Option<Setting>,
}

/// Held-out readings of every treatment at the strengths around its best.
#[derive(Debug)]
pub struct FoldTable {
    /// Levels of each treatment, stiff ones first.
    pub levels: Vec<Vec<Level>>,
    /// `[treatment][level][repeat]`.
    pub readings: Vec<Vec<Vec<Readings>>>,
    /// Folds that every treatment was read on, one number a repeat: fewer than asked for where the watch ended the fits.
    pub finished: Vec<usize>,
    /// What they took.
    pub work: Work,
}

/// What fits take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Fits made.
    pub fits: usize,
    /// Passes of linear fits over the rows of a fold, and rounds of boosted ones.
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
    /// A fit begins, or a boosted one goes on, to `strength`.
    fn begin(&mut self, treatment: &Treatment, strength: Strength);
    /// So many epochs, iterations or rounds are done; `Break` ends everything.
    fn progress(&mut self, step: usize) -> ControlFlow<()>;
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
    let mut tables: Vec<TreatmentTable> = treatments.iter().map(TreatmentTable::new).collect();
    let mut finished = vec![0; folds.len()];
    let mut work = Work::default();
    'folds: for (repeat, folds_of_repeat) in folds.iter().enumerate() {
        for fold in 0..folds_of_repeat.folds() {
            let (train, held) = folds_of_repeat.split(fold);
            watch.fold(repeat, fold);
            for learner in [Learner::Linear, Learner::Boost] {
                let mut run = Run { settings, kernels, watch: &mut *watch, work: &mut work };
                let own = treatments.iter().zip(&mut tables).filter(|(t, _)| t.learner == learner).collect();
                let place = Place { learner, train: &train, held: &held, repeat, repeats: folds.len() };
                if fit_fold(&data, &place, own, &mut run)?.is_break() {
                    break 'folds;
                }
            }
            finished[repeat] += 1;
        }
    }
    if finished.first().is_some_and(|&done| done < FEWEST_FOLDS) {
        return Ok(None);
    }
    let levels = tables.iter().map(TreatmentTable::levels).collect();
    let readings = tables.into_iter().map(|table| table.readings).collect();
    Ok(Some(FoldTable { levels, readings, finished, work }))
}

/// One fold for one learner.
struct Place<'p> {
    learner: Learner,
    train: &'p [usize],
    held: &'p [usize],
    repeat: usize,
    repeats: usize,
}

/// Fits the treatments of a learner to the rows of a fold and reads them on the rows held out.
fn fit_fold(
    data: &FoldData<'_>,
    place: &Place<'_>,
    mut own: Vec<(&Treatment, &mut TreatmentTable)>,
    run: &mut Run<'_>,
) -> Result<ControlFlow<()>> {
    if own.is_empty() || place.held.is_empty() {
        return Ok(ControlFlow::Continue(()));
    }
    let held_labels: Vec<u32> = place.held.iter().map(|&row| data.labels[row]).collect();
    let features = (data.features)(place.learner, place.train);
    let fitted = Fitted::new(data, &features, place.train);
    let part = Part { train: &fitted, held: Rows::chosen(&features, place.held), held_labels: &held_labels };
    let mut fits = fits_of(place.learner, part, run)?;
    let mut near = run.settings.near;
    // All paths are found before anything is read: the fits of the search are those of the table.
    for (treatment, table) in own.iter_mut().filter(|(_, table)| table.path.is_empty()) {
        let Some(path) = find_path(fits.as_mut(), &part, treatment, run, &mut near)? else {
            return Ok(ControlFlow::Break(()));
        };
        table.open(path, data.labels.len(), place.repeats, run.settings.taus_of(treatment).len());
    }
    for (treatment, table) in own {
        let TreatmentTable { path, heads, readings } = table;
        let mut done = 0;
        let flow = fits.walk(treatment, heads, run, &mut |_, fitted| {
            for (variant, (reader, logits)) in fitted.iter().enumerate() {
                let level = done * heads.len() + variant;
                reader.read(logits, &held_labels, place.held, &mut readings[level][place.repeat]);
            }
            done += usize::from(!fitted.is_empty());
            path.get(done).copied()
        })?;
        if flow.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    // What was read may be of fits, or of held-out rows, that were broken off.
    Ok(if features.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}

/// What the folds gather about one treatment.
struct TreatmentTable {
    /// Strengths, stiff ones first; empty until the first fold has found them.
    path: Vec<Strength>,
    /// What its head may be set to; one `None` where it leaves nothing open.
    heads: Vec<Option<Setting>>,
    /// `[level][repeat]`.
    readings: Vec<Vec<Readings>>,
}

impl TreatmentTable {
    fn new(treatment: &Treatment) -> Self {
        TreatmentTable { path: Vec::new(), heads: head_settings(treatment), readings: Vec::new() }
    }

    fn open(&mut self, path: Vec<Strength>, rows: usize, repeats: usize, taus: usize) {
        self.readings = vec![vec![Readings::new(rows, taus); repeats]; path.len() * self.heads.len()];
        self.path = path;
    }

    fn levels(&self) -> Vec<Level> {
        let of = |&strength: &Strength| self.heads.iter().map(move |&head| Level { strength, head });
        self.path.iter().flat_map(of).collect()
    }
}

fn head_settings(treatment: &Treatment) -> Vec<Option<Setting>> {
    let settings = treatment.head.settings();
    if settings.is_empty() { vec![None] } else { settings.into_iter().map(Some).collect() }
}

/// The strengths given, or the three around the best on this fold, which the next treatment looks for its own from.
fn find_path(
    fits: &mut dyn Fits,
    part: &Part<'_>,
    treatment: &Treatment,
    run: &mut Run<'_>,
    near: &mut Option<Strength>,
) -> Result<Option<Vec<Strength>>> {
    if !treatment.head.is_fitted() {
        return Ok(Some(vec![Strength::Closed]));
    }
    if let Some(given) = run.settings.given_strength(treatment.learner) {
        return Ok(Some(vec![given]));
    }
    let taus = run.settings.taus_of(treatment).len();
    let mut pilot = Pilot::new(part, run.settings.metric, taus, *near);
    let heads = &head_settings(treatment)[..1];
    let flow = fits.walk(treatment, heads, run, &mut |path, fitted| {
        pilot.next(path, fitted.first().map(|(reader, logits)| (reader, &logits[..])))
    })?;
    if flow.is_break() {
        return Ok(None);
    }
    let (best, around) = pilot.found();
    *near = Some(best);
    Ok(Some(around))
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
    let features = (data.features)(treatment.learner, &all);
    let train = Fitted::new(&data, &features, &all);
    let part = Part { train: &train, held: held.rows, held_labels: held.labels };
    let taus = settings.taus_of(treatment);
    let mut readings = Readings::new(held.labels.len(), taus.len());
    let places: Vec<usize> = (0..held.labels.len()).collect();
    let mut work = Work::default();
    let mut run = Run { settings, kernels, watch, work: &mut work };
    let mut fits = fits_of(treatment.learner, part, &run)?;
    let flow = fits.walk(treatment, &[level.head], &mut run, &mut |_, fitted| match fitted {
        [] => Some(level.strength),
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

    /// The prior that decisions and losses of `treatment` are under.
    pub(super) fn prior_of(&self, treatment: &Treatment) -> &Prior {
        match &self.prior {
            Prior::AsTrained if treatment.is_adjusted => &Prior::Natural,
            prior => prior,
        }
    }

    /// The strength that all fits of a learner have, where one was given.
    fn given_strength(&self, learner: Learner) -> Option<Strength> {
        match learner {
            Learner::Linear => self.linear.l2.map(Strength::L2),
            Learner::Boost => self.boost.rounds.map(Strength::Rounds),
        }
    }
}

/// Rows to fit, gathered.
pub(super) struct Fitted<'p> {
    pub(super) features: &'p Matrix<'p>,
    pub(super) rows: &'p [usize],
    pub(super) labels: Vec<u32>,
    weights: Option<Vec<f64>>,
    pub(super) classes: usize,
}

impl<'p> Fitted<'p> {
    fn new(data: &FoldData<'_>, features: &'p Matrix<'p>, rows: &'p [usize]) -> Self {
        Fitted {
            features,
            rows,
            labels: rows.iter().map(|&row| data.labels[row]).collect(),
            weights: data.row_weights.map(|w| rows.iter().map(|&row| w[row]).collect()),
            classes: data.classes,
        }
    }

    pub(super) fn sample(&self) -> Sample<'_> {
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

/// What goes along with every fit.
pub(super) struct Run<'r> {
    pub(super) settings: &'r FitSettings,
    pub(super) kernels: &'static Kernels,
    pub(super) watch: &'r mut dyn FoldWatch,
    pub(super) work: &'r mut Work,
}

/// Says which strength is fitted next, `None` to end: asked with the whole path of the treatment and, for each setting of
/// the head, the logits that the last fit gives the held-out rows; with none of them before the first fit.
pub(super) type Next<'n> = dyn FnMut(&[Strength], &[(Reader<'_>, Vec<f32>)]) -> Option<Strength> + 'n;

/// The fits of one learner on one part of the rows, and what they share.
pub(super) trait Fits {
    /// Fits `treatment` at one strength after the other, and reads each fit with every one of `heads`. `Break` only where
    /// the watch asked for it.
    fn walk(
        &mut self,
        treatment: &Treatment,
        heads: &[Option<Setting>],
        run: &mut Run<'_>,
        next: &mut Next<'_>,
    ) -> Result<ControlFlow<()>>;
}

fn fits_of<'p>(learner: Learner, part: Part<'p>, run: &Run<'_>) -> Result<Box<dyn Fits + 'p>> {
    Ok(match learner {
        Learner::Linear => Box::new(LinearFits::new(part)),
        Learner::Boost => Box::new(BoostFits::new(part, &run.settings.boost)?),
    })
}
