//! Boosted fits of one fold: all treatments share the bins of its rows, and a fit of many rounds is read at every step of
//! the path it passes.

use std::ops::ControlFlow;

use super::fold_fits::{Fits, Next, Part, Run};
use super::kept::KeptFits;
use super::readings::Reader;
use super::strength::Strength;
use super::treatment::Treatment;
use crate::Result;
use crate::boost::binned::BinnedMatrix;
use crate::boost::binning::{Binner, BinningOptions};
use crate::boost::options::BoostOptions;
use crate::boost::trainer::{BoostProblem, Trainer};
use crate::linear::heads::Setting;
use crate::linear::rows::Rows;
use crate::linear::weighted::WeightedSample;
use crate::loss::Loss;

/// What all boosted fits have in common.
#[derive(Debug, Clone)]
pub struct BoostSettings {
    /// The rounds of all fits; `None`: a path, of which the first fold finds the part that matters.
    pub rounds: Option<usize>,
    /// Settings of each fit.
    pub options: BoostOptions,
    /// Settings of the bins, categorical columns included.
    pub binning: BinningOptions,
}

/// Rounds that a search tries: each half as many again as the one before, which is finer than the score of a fold.
const PATH: [usize; 11] = [10, 15, 22, 33, 50, 75, 110, 165, 250, 375, 500];

/// Rows of a fold as bins.
pub struct FoldBins {
    /// How they are made, by the rows to fit.
    pub binner: Binner,
    /// Rows to fit.
    pub fitted: BinnedMatrix,
    /// Rows to read.
    pub held: Option<BinnedMatrix>,
}

impl FoldBins {
    /// Bins made by the rows `fitted` with their `labels`, of these and of the rows `held`.
    ///
    /// # Errors
    /// Those of [`Binner::fit_on`] and [`Binner::bin`].
    pub fn new(
        fitted: Rows<'_>,
        labels: &[u32],
        held: Option<Rows<'_>>,
        options: &BinningOptions,
    ) -> Result<Self> {
        let binner = Binner::fit_on(fitted.matrix(), &matrix_rows(fitted), labels, options)?;
        FoldBins::by(binner, fitted, held)
    }

    /// The bins of `binner`.
    ///
    /// # Errors
    /// Those of [`Binner::bin`].
    pub fn by(binner: Binner, fitted: Rows<'_>, held: Option<Rows<'_>>) -> Result<Self> {
        let matrix = fitted.matrix();
        let all = binner.bin(matrix)?;
        let of_held = |held: Rows<'_>| match std::ptr::eq(held.matrix(), matrix) {
            true => Ok(all.chosen(&matrix_rows(held))),
            false => binner.bin(held.matrix()).map(|bins| bins.chosen(&matrix_rows(held))),
        };
        let held = held.map(of_held).transpose()?;
        Ok(FoldBins { fitted: all.chosen(&matrix_rows(fitted)), held, binner })
    }

    /// What a fit of `weighted`, whose rows are the fitted ones, minimises, from the logits `start` where there are any.
    pub fn problem<'t>(
        &'t self,
        weighted: &'t WeightedSample<'_>,
        loss: Loss,
        start: Option<&'t [f32]>,
    ) -> BoostProblem<'t> {
        BoostProblem {
            features: &self.fitted,
            binner: &self.binner,
            labels: weighted.sample.labels,
            weights: weighted.row_weights(),
            classes: weighted.sample.classes,
            loss,
            offsets: weighted.offsets(),
            start,
        }
    }
}

fn matrix_rows(rows: Rows<'_>) -> Vec<usize> {
    (0..rows.len()).map(|at| rows.matrix_row(at)).collect()
}

/// The boosted fits of a fold.
pub(super) struct BoostFits<'p> {
    part: Part<'p>,
    bins: FoldBins,
    /// Logits of the held-out rows.
    kept: KeptFits,
}

impl<'p> BoostFits<'p> {
    pub(super) fn new(part: Part<'p>, settings: &BoostSettings) -> Result<Self> {
        let fitted = part.train;
        let bins = FoldBins::new(fitted.sample().rows, &fitted.labels, Some(part.held), &settings.binning)?;
        Ok(BoostFits { part, bins, kept: KeptFits::default() })
    }
}

impl Fits for BoostFits<'_> {
    fn walk(
        &mut self,
        treatment: &Treatment,
        _: &[Option<Setting>],
        run: &mut Run<'_>,
        next: &mut Next<'_>,
    ) -> Result<ControlFlow<()>> {
        let settings = run.settings;
        let recipe = treatment.recipe(&settings.linear, settings.max_weight, settings.seed);
        let weighted = WeightedSample::new(self.part.train.sample(), &treatment.scheme, &recipe)?;
        let conditions = weighted.conditions(&recipe);
        let taus = settings.taus_of(treatment);
        let path = PATH.map(Strength::Rounds);
        let mut fit: Option<Fit<'_>> = None;
        let mut wanted = next(&path, &[]);
        while let Some((strength, rounds)) = wanted.and_then(|wanted| Some((wanted, wanted.rounds()?))) {
            let logits = match self.kept.find(treatment, strength) {
                Some(logits) => logits.to_vec(),
                None => {
                    // A fit does not go back: what it passed was kept, or has to be made again.
                    let mut going = match fit.take().filter(|fit| fit.rounds <= rounds) {
                        Some(fit) => fit,
                        None => Fit::new(&self.bins, &weighted, treatment, run)?,
                    };
                    run.watch.begin(treatment, strength);
                    let stops = PATH.into_iter().filter(|&stop| stop < rounds).chain([rounds]);
                    for stop in stops {
                        if going.rounds < stop && going.advance(stop, run).is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                        if going.rounds == stop {
                            self.kept.keep(treatment, Strength::Rounds(stop), &going.logits());
                        }
                    }
                    let logits = going.logits();
                    fit = Some(going);
                    logits
                }
            };
            wanted = next(&path, &[(Reader::new(&conditions, settings.prior_of(treatment), taus)?, logits)]);
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// A boosted fit on its way.
struct Fit<'f> {
    trainer: Trainer<'f>,
    held: usize,
    rounds: usize,
}

impl<'f> Fit<'f> {
    fn new(
        bins: &'f FoldBins,
        weighted: &'f WeightedSample<'_>,
        treatment: &Treatment,
        run: &mut Run<'_>,
    ) -> Result<Self> {
        let problem = bins.problem(weighted, treatment.loss, None);
        let mut trainer = Trainer::new(problem, &run.settings.boost.options, run.kernels)?;
        let held = match &bins.held {
            Some(held) => trainer.add_validation(held, None)?,
            None => usize::MAX,
        };
        run.work.fits += 1;
        Ok(Fit { trainer, held, rounds: 0 })
    }

    fn advance(&mut self, to: usize, run: &mut Run<'_>) -> ControlFlow<()> {
        while self.rounds < to {
            if self.trainer.whole_round().is_none() {
                return ControlFlow::Break(());
            }
            self.rounds += 1;
            run.work.passes += 1;
            run.watch.progress(self.rounds)?;
        }
        ControlFlow::Continue(())
    }

    fn logits(&self) -> Vec<f32> {
        self.trainer.validation_logits(self.held).unwrap_or_default()
    }
}
