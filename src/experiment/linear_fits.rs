//! Linear fits of one fold: along a path each starts from its neighbours, the first of a path from the same end of the
//! treatment before, and the solver's memory follows a path.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::fold_fits::{Fits, Next, Part, Run};
use super::kept::KeptFits;
use super::readings::Reader;
use super::strength::Strength;
use super::treatment::Treatment;
use crate::linear::classifier::Classifier;
use crate::linear::fit::{Optimizer, fit};
use crate::linear::heads::{Builder, Setting};
use crate::linear::objective::Objective;
use crate::linear::path::{PathStart, l2_path};
use crate::linear::problem::Decay;
use crate::linear::solver::memory::Memory;
use crate::linear::weighted::WeightedSample;
use crate::loss::Loss;
use crate::simd::Kernels;
use crate::weighting::Prior;
use crate::{Error, Result};

/// What all linear fits have in common.
#[derive(Debug, Clone, Copy)]
pub struct LinearSettings {
    /// The l2 of all fits; `None`: a path, of which the first fold finds the part that matters.
    pub l2: Option<f64>,
    /// How each fit is solved.
    pub optimizer: Optimizer,
    /// What the penalty falls on.
    pub decay: Decay,
}

/// The linear fits of a fold.
pub(super) struct LinearFits<'p> {
    part: Part<'p>,
    /// The first fit of the last treatment, at the stiff end of its path, and its loss.
    stiff: Option<(Loss, Vec<f32>)>,
    kept: KeptFits,
}

impl<'p> LinearFits<'p> {
    pub(super) fn new(part: Part<'p>) -> Self {
        LinearFits { part, stiff: None, kept: KeptFits::default() }
    }

    /// The minimum at the l2 of `objective`, kept for whoever asks again; `None` where the watch stopped it.
    fn fit(
        &mut self,
        treatment: &Treatment,
        strength: Strength,
        objective: &mut Objective<'_>,
        memory: &mut Memory,
        start: &[f32],
        run: &mut Run<'_>,
    ) -> Result<Option<Vec<f32>>> {
        run.watch.begin(treatment, strength);
        let mut stopped = false;
        let optimizer = &run.settings.linear.optimizer;
        let fitted = fit(objective, memory, start, optimizer, None, &mut |progress| {
            let flow = run.watch.progress(progress.step);
            stopped |= flow.is_break();
            flow
        })?;
        if stopped || objective.is_stopped() {
            return Ok(None);
        }
        run.work.fits += 1;
        run.work.passes += fitted.passes;
        self.kept.keep(treatment, strength, &fitted.theta);
        Ok(Some(fitted.theta))
    }

    /// Readers and logits of the held-out rows for each setting of the head.
    fn read<'t>(
        &self,
        weighted: &WeightedSample<'_>,
        base: Option<&Classifier>,
        heads: &[Option<Setting>],
        (prior, taus): (&Prior, &'t [f64]),
        kernels: &'static Kernels,
    ) -> Result<Vec<(Reader<'t>, Vec<f32>)>> {
        let builder = Builder::new(weighted, base, kernels);
        let classifier = |head: &Option<Setting>| match (head, base) {
            (Some(setting), _) => builder.build(*setting).map(Cow::Owned),
            (None, Some(base)) => Ok(Cow::Borrowed(base)),
            (None, None) => Err(Error::bad_value("--head", "", "leaves nothing to fit", "name another head")),
        };
        let read = |head: &Option<Setting>| {
            let classifier = classifier(head)?;
            let logits = classifier.model.logits_of(self.part.held, kernels);
            Ok((Reader::new(&classifier.conditions, prior, taus)?, logits))
        };
        heads.iter().map(read).collect()
    }
}

impl Fits for LinearFits<'_> {
    fn walk(
        &mut self,
        treatment: &Treatment,
        heads: &[Option<Setting>],
        run: &mut Run<'_>,
        next: &mut Next<'_>,
    ) -> Result<ControlFlow<()>> {
        let settings = run.settings;
        let recipe = treatment.recipe(&settings.linear, settings.max_weight, settings.seed);
        let weighted = WeightedSample::new(self.part.train.sample(), &treatment.scheme, &recipe)?;
        let reading = (settings.prior_of(treatment), settings.taus_of(treatment));
        if !treatment.head.is_fitted() {
            run.work.fits += 1;
            next(&[Strength::Closed], &self.read(&weighted, None, heads, reading, run.kernels)?);
            return Ok(ControlFlow::Continue(()));
        }
        let mut objective = Objective::new(weighted.problem(&recipe, 0.0), run.kernels);
        let path: Vec<Strength> =
            l2_path(objective.moments().total_variance()).into_iter().map(Strength::L2).collect();
        // Epochs of minibatches only count from a cold start.
        let is_minibatch = matches!(recipe.optimizer, Optimizer::Minibatch { .. });
        // It follows the fits of one path; under other weights its metric would start from where it began.
        let mut memory = Memory::default();
        let mut start = PathStart::new(match self.stiff.take() {
            Some((loss, theta)) if loss == recipe.loss && !is_minibatch => theta,
            _ => objective.problem().start(),
        });
        let mut wanted = next(&path, &[]);
        while let Some((strength, l2)) = wanted.and_then(|strength| Some((strength, strength.l2()?))) {
            let theta = match self.kept.find(treatment, strength) {
                Some(theta) => theta.to_vec(),
                None => {
                    objective.set_l2(l2);
                    match self.fit(treatment, strength, &mut objective, &mut memory, &start.at(l2), run)? {
                        Some(theta) => theta,
                        None => return Ok(ControlFlow::Break(())),
                    }
                }
            };
            let base = weighted.classifier(&theta, &recipe);
            let read = self.read(&weighted, Some(&base), heads, reading, run.kernels)?;
            wanted = next(&path, &read);
            if self.stiff.is_none() {
                self.stiff = Some((recipe.loss, theta.clone()));
            }
            if !is_minibatch {
                start.pass(l2, theta);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
