//! `cbfit train --learner boost`: read, split, weigh, bin, boost until validation rows gain no more, boost all rows, test,
//! save.

use std::ops::ControlFlow;
use std::time::Instant;

use super::boost_continue::Continuing;
use super::boost_record::{Made, record};
use super::boost_start::{LinearStarts, StartPlan};
use super::interrupt::Interrupt;
use super::keeping::Deciding;
use super::kernels;
use super::plan::{TrainPlan, WeightingPlan};
use super::plan_boost::BoostPlan;
use super::talk::Talk;
use super::train::{open, recipe, schemes};
use super::train_calibrate::CrossFitting;
use super::train_data::{HeldPart, OwnedSample, TrainData};
use super::train_memory::hold_memory;
use super::train_save::{scores_record, test_scores};
use super::train_talk::{say_saved, say_scores, say_test, say_tilt, say_weights};
use crate::Result;
use crate::boost::binning::BinningOptions;
use crate::boost::fit::{Outcome, Score, Stopping};
use crate::boost::kept::kept_fit;
use crate::boost::model::BoostModel;
use crate::boost::trainer::{Round, Trainer};
use crate::checkpoint::journal::Journal;
use crate::experiment::boost_fits::FoldBins;
use crate::experiment::crossfit::Estimator;
use crate::hybrid::fit::StartFit;
use crate::labels::ClassCounts;
use crate::linear::search::{Recipe, WeightedSample};
use crate::metrics::{Evaluation, Standing, evaluate, evaluate_quick};
use crate::model_file::{self, SavedModel};
use crate::report::format::{seconds, thousands};
use crate::report::text;
use crate::report::train::{
    BoostSummary, BoostTrial, BriefScores, Chosen, ModelSummary, RoundScores, TrainReport,
};
use crate::simd::Kernels;
use crate::weighting::PriorCorrection;
use crate::weighting::Scheme;
use crate::weighting::prior::Prior;

/// Trains by `boost`.
///
/// # Errors
/// Everything that keeps a model from being trained and saved.
pub(super) fn train(
    plan: &TrainPlan,
    boost: &BoostPlan,
    talk: &mut Talk,
    interrupt: &Interrupt,
) -> Result<TrainReport> {
    let started = Instant::now();
    let kernels = kernels()?;
    let mut data = open(plan, talk, kernels)?;
    let counts = data.main.counts(Some(&data.train));
    let recipe = recipe(plan, &data);
    hold_memory(plan, &mut data, &recipe.optimizer, talk)?;
    let earlier = boost.earlier.as_deref();
    let continuing = earlier.map(|earlier| Continuing::new(earlier, plan, &data)).transpose()?;
    let schemes = schemes(plan, &data, &counts)?;
    let deciding = Deciding { plan, data: &data, recipe: &recipe, schemes: &schemes, kernels };
    let kept = deciding.journal(talk, interrupt)?;
    let journal = kept.as_ref();
    let starts = match boost.start {
        StartPlan::Linear(_) => {
            Some(LinearStarts::new(plan, &data, continuing.as_ref(), &recipe, journal, kernels))
        }
        StartPlan::Constant(_) => None,
    };
    let learner =
        Boosting { plan, boost, data: &data, recipe, kernels, interrupt, starts, continuing, journal };
    let searched = data.train_sample();
    let (mut best, trials) = learner.choose(&searched, schemes, talk)?;
    if trials.len() > 1 {
        talk.phase("Chosen", &format!("{}  by {}", best.scheme, plan.metric.name()));
    }
    if let Some(valid) = &best.valid {
        let prior = format!("as trained, {} rows held out", thousands(valid.rows));
        say_scores(talk, "Valid", valid, &data.main.label_map, &prior);
    }
    let mut refit = plan.refit && data.has_rows_to_add();
    let mut sample = searched;
    if refit {
        match learner.refit(&best, talk)? {
            Some((refitted, all)) => {
                (best.model, best.start, best.scheme) = (refitted.model, refitted.start, refitted.scheme);
                sample = all;
            }
            None => {
                refit = false;
                talk.phase(
                    "Stopped",
                    "before the fit of all rows was done: the model of the training rows is kept",
                );
            }
        }
    }
    let weighted = WeightedSample::new(sample.view(), &best.scheme, &learner.recipe)?;
    let weights = sample.weight_summary(&weighted);
    say_weights(talk, &weights, sample.labels.len());
    let summary = BoostSummary::of(&best.model, sample.labels.len(), refit, trials);
    talk.phase("Fitted", &text::boost_line(&summary));

    let mut saved = learner.record(best.model, best.start.as_ref(), &weighted, refit, &summary.trials);
    // What comes after the fit may be cut short without making the model another.
    let cut_short = interrupt.is_set();
    let calibration = match &plan.calibration {
        None => None,
        Some(wanted) => {
            let (rounds, options, binning) = (summary.rounds, &boost.options, &learner.binning());
            let crossed = CrossFitting {
                plan: wanted,
                seed: plan.seed,
                data: &data,
                sample: &sample,
                scheme: &best.scheme,
                estimator: Estimator::Boost { rounds, options, binning },
                recipe: &learner.recipe,
                journal,
                kernels,
            };
            crossed.calibrate(&mut saved, talk, interrupt)?
        }
    };
    let test = test_scores(&data, &saved, kernels)?;
    if let Some(test) = &test {
        say_test(talk, test, &saved.metadata);
    }
    say_tilt(talk, &saved.metadata);
    saved.metadata.metrics = scores_record(best.valid.as_ref(), test.as_ref());
    data.check()?;
    let size = model_file::save(&plan.out, &saved)?;
    drop(learner);
    if let Some(journal) = kept {
        journal.close();
    }
    let took = started.elapsed().as_secs_f64();
    say_saved(talk, &plan.out, size, took, cut_short);
    Ok(TrainReport {
        schema: "cbfit.train/1",
        cbfit: env!("CARGO_PKG_VERSION"),
        isa: kernels.isa().name(),
        data: data.summary(&counts),
        split: data.split_summary(),
        trials: Vec::new(),
        chosen: Chosen {
            scheme: best.scheme.to_string(),
            // Of the linear functions below the trees.
            l2: best.start.map(|start| start.l2),
            head: "boost",
            head_setting: None,
            metric: (summary.trials.len() > 1 || best.valid.is_some()).then(|| plan.metric.name()),
        },
        weighting: weights,
        fit: None,
        boost: Some(summary),
        valid: best.valid,
        calibration,
        test,
        model: ModelSummary { path: plan.out.clone(), bytes: size },
        seconds: took,
    })
}

/// What all fits of a run share.
struct Boosting<'b> {
    plan: &'b TrainPlan,
    boost: &'b BoostPlan,
    data: &'b TrainData,
    recipe: Recipe,
    kernels: &'static Kernels,
    interrupt: &'b Interrupt,
    /// Where trees start from linear functions: the features of these.
    starts: Option<LinearStarts<'b>>,
    continuing: Option<Continuing<'b>>,
    journal: Option<&'b Journal>,
}

/// One fit: how, where it starts, and when it ends.
struct FitPlan<'f> {
    scheme: &'f Scheme,
    /// Rows that score it.
    valid: Option<&'f HeldPart<'f>>,
    /// The linear functions that it starts from.
    start: Option<StartFit>,
    /// The earlier model whose rounds are its first.
    from: Option<&'f Continuing<'f>>,
    stopping: Stopping,
}

/// A boosted model.
struct Candidate {
    scheme: Scheme,
    start: Option<StartFit>,
    model: BoostModel,
    outcome: Outcome,
    valid: Option<Evaluation>,
    standing: Standing,
}

impl Boosting<'_> {
    /// The best of the schemes on the validation rows, and how each did.
    fn choose(
        &self,
        sample: &OwnedSample<'_>,
        schemes: Vec<Scheme>,
        talk: &mut Talk,
    ) -> Result<(Candidate, Vec<BoostTrial>)> {
        let valid = self.data.valid_part();
        if let Some(part) = &valid {
            self.say_thin_classes(&part.labels, talk);
        }
        let from = self.continuing.as_ref();
        let bins = self.bins(sample, valid.as_ref(), from)?;
        // The l2 that is best under the first scheme serves the others: it means the same under every weighting.
        let mut l2 = match self.boost.start {
            StartPlan::Linear(l2) => l2,
            StartPlan::Constant(_) => None,
        };
        let mut done: Vec<Candidate> = Vec::new();
        let mut trials: Vec<BoostTrial> = Vec::new();
        for scheme in schemes {
            let begun = Instant::now();
            let start = self.start(sample, &scheme, valid.as_ref(), l2, talk)?;
            l2 = start.as_ref().map(|start| start.l2);
            let (scheme, valid, stopping) = (&scheme, valid.as_ref(), self.boost.stopping);
            let fit = FitPlan { scheme, valid, start, from, stopping };
            let candidate = self.boost(sample, &bins, fit, talk)?;
            if let Some(scores) = &candidate.valid {
                let standings: Vec<Standing> =
                    done.iter().chain([&candidate]).map(|candidate| candidate.standing).collect();
                let trial = BoostTrial {
                    scheme: scheme.to_string(),
                    rounds: candidate.outcome.rounds,
                    made: candidate.outcome.made,
                    scores: RoundScores::of(&candidate.outcome.scores),
                    valid: BriefScores::of(scores),
                    best: Standing::choose(&standings) == Some(done.len()),
                };
                talk.line(&text::boost_trial_line(&trial, begun.elapsed().as_secs_f64()));
                trials.push(trial);
            }
            done.push(candidate);
            if self.interrupt.is_set() {
                break;
            }
        }
        let standings: Vec<Standing> = done.iter().map(|candidate| candidate.standing).collect();
        let best = Standing::choose(&standings).unwrap_or(0);
        let nothing = || crate::Error::bad_value("--weighting", "", "leaves no scheme to fit", "name one");
        Ok((done.into_iter().nth(best).ok_or_else(nothing)?, trials))
    }

    /// Boosts training and validation rows together, as `best` was boosted. `None` where that is cut short: a few rounds on
    /// all rows are worse than all rounds on most of them.
    fn refit(&self, best: &Candidate, talk: &mut Talk) -> Result<Option<(Candidate, OwnedSample<'_>)>> {
        if self.interrupt.is_set() {
            return Ok(None);
        }
        let sample = self.data.all_sample();
        let scheme = match self.plan.weighting {
            // The ratio asked for is that of the rows the model is fitted on.
            WeightingPlan::Ratio(ratio) => {
                Scheme::with_ratio(ratio, &self.data.main.counts(Some(sample.rows())))?
            }
            _ => best.scheme.clone(),
        };
        let stopping = Stopping { rounds: best.outcome.rounds, patience: usize::MAX };
        let start = self.start(&sample, &scheme, None, best.start.as_ref().map(|start| start.l2), talk)?;
        if self.interrupt.is_set() {
            return Ok(None);
        }
        // Rounds on other data cannot be made again on these.
        let from = self.continuing.as_ref().filter(|continuing| !continuing.is_whole);
        let bins = self.bins(&sample, None, from)?;
        let fit = FitPlan { scheme: &scheme, valid: None, start, from, stopping };
        let refitted = self.boost(&sample, &bins, fit, talk)?;
        // An interrupt after the last round has cut nothing short.
        let is_cut = refitted.outcome.interrupted && refitted.outcome.made < stopping.rounds;
        Ok((!is_cut).then_some((refitted, sample)))
    }

    /// The linear functions that trees start from, fitted to `sample`.
    fn start(
        &self,
        sample: &OwnedSample<'_>,
        scheme: &Scheme,
        valid: Option<&HeldPart<'_>>,
        l2: Option<f64>,
        talk: &mut Talk,
    ) -> Result<Option<StartFit>> {
        let Some(starts) = &self.starts else { return Ok(None) };
        if let Some(earlier) = self.continuing.as_ref().filter(|continuing| !continuing.is_whole) {
            return Ok(starts.fit_of(earlier, sample));
        }
        let valid = valid.map(|part| (part, self.plan.metric));
        starts.fit(sample, scheme, l2, valid, talk, self.interrupt).map(Some)
    }

    /// A model with all that its file says of it.
    fn record(
        &self,
        trees: BoostModel,
        start: Option<&StartFit>,
        weighted: &WeightedSample<'_>,
        refitted: bool,
        trials: &[BoostTrial],
    ) -> SavedModel {
        let start = self.starts.as_ref().zip(start);
        let continuing = self.continuing.as_ref();
        record(
            self.plan,
            self.boost,
            self.data,
            Made { trees, start, recipe: &self.recipe, weighted, refitted, trials, continuing },
        )
    }

    /// Says where the metric that ends a fit hangs on single rows.
    fn say_thin_classes(&self, valid: &[u32], talk: &Talk) {
        const FEW: u64 = 5;
        let rows = ClassCounts::of(valid, None, self.data.main.label_map.classes()).rows;
        let thin = rows.iter().filter(|&&n| n < FEW).count();
        if thin > 0 {
            let (thin, all) = (thousands(thin as u64), thousands(rows.len() as u64));
            let text = format!(
                "{thin} of {all} classes have fewer than {FEW} validation rows: when to stop is uncertain there"
            );
            talk.phase("", &text);
        }
    }

    /// Settings of the bins, the columns of codes included.
    fn binning(&self) -> BinningOptions {
        let categories = self.data.main.encoder.categories();
        let categorical = (0..categories.len()).filter(|&at| categories[at].is_some()).collect();
        BinningOptions { categorical, ..self.boost.binning.clone() }
    }

    /// Bins made by the rows of `sample`, or those of the model `from`, of these rows and of the rows `valid`: the same
    /// under every weighting.
    fn bins(
        &self,
        sample: &OwnedSample<'_>,
        valid: Option<&HeldPart<'_>>,
        from: Option<&Continuing<'_>>,
    ) -> Result<FoldBins> {
        let (rows, held) = (sample.view().rows, valid.map(|part| part.rows));
        match from.and_then(|from| from.earlier.trees()) {
            Some(trees) => FoldBins::by(trees.binner.clone(), rows, held),
            None => FoldBins::new(rows, &sample.labels, held, &self.binning()),
        }
    }

    /// Boosts `sample` as `plan` says, as long as the rows held out gain where there are any.
    fn boost(
        &self,
        sample: &OwnedSample<'_>,
        bins: &FoldBins,
        plan: FitPlan<'_>,
        talk: &mut Talk,
    ) -> Result<Candidate> {
        let FitPlan { scheme, valid, start, from, stopping } = plan;
        let weighted = WeightedSample::new(sample.view(), scheme, &self.recipe)?;
        let start_logits = start.as_ref().map(|start| &start.logits[..]);
        let problem = bins.problem(&weighted, self.plan.loss, start_logits);
        let held_start = self.starts.as_ref().zip(start.as_ref()).zip(valid);
        let held_start = held_start.map(|((starts, start), part)| starts.logits(start, part));
        let mut trainer = match from.and_then(|from| from.earlier.trees()) {
            Some(trees) => Trainer::resume(problem, &self.boost.options, self.kernels, trees.clone())?,
            None => Trainer::new(problem, &self.boost.options, self.kernels)?,
        };
        let conditions = weighted.conditions(&self.recipe);
        let trained = &conditions.correction(&Prior::AsTrained)?;
        let uniform = &conditions.correction(&Prior::Uniform)?;
        let evaluated = |trainer: &Trainer<'_>, index: usize, prior: &PriorCorrection, full: bool| {
            let mut values = trainer.validation_logits(index).unwrap_or_default();
            prior.posteriors_in_place(&mut values);
            let labels = valid.map_or(&[][..], |part| &part.labels);
            if full || self.plan.metric.needs_curves() {
                evaluate(&values, labels, &weighted.counts, None)
            } else {
                evaluate_quick(&values, labels, &weighted.counts, None)
            }
        };
        let index =
            bins.held.as_ref().map(|held| trainer.add_validation(held, held_start.as_deref())).transpose()?;
        let balanced = |trainer: &Trainer<'_>, index: usize| {
            evaluated(trainer, index, uniform, false).map(|scores| scores.balanced_log_loss)
        };
        let standing = |trainer: &Trainer<'_>, index: usize| -> Result<Standing> {
            let valid = evaluated(trainer, index, trained, false)?;
            Ok(Standing::of(self.plan.metric, &valid, balanced(trainer, index)?))
        };
        let unknown = Standing::new(self.plan.metric, f64::NAN, 0.0, f64::NAN);
        let mut score = index.map(|index| {
            let standing = &standing;
            move |trainer: &Trainer<'_>| standing(trainer, index).unwrap_or(unknown)
        });
        let begun = Instant::now();
        let before = from.map_or(&[][..], |from| &from.scores);
        let mut watch = |_: &Trainer<'_>, round: &Round, score: Option<Standing>| {
            let took = seconds(begun.elapsed().as_secs_f64());
            let value =
                |standing: Standing| format!(", {} {:.4}", self.plan.metric.name(), standing.metric.abs());
            let score = score.map_or(String::new(), value);
            talk.progress(&format!(
                "{scheme}: round {} of at most {}, loss {:.4}{score}, {took}",
                round.number, stopping.rounds, round.loss
            ));
            if self.interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let score = score.as_mut().map(|score| score as &mut Score<'_>);
        let outcome = kept_fit(self.journal, &mut trainer, stopping, before, score, &mut watch)?;
        talk.clear_progress();
        let valid = index.map(|index| evaluated(&trainer, index, trained, true)).transpose()?;
        let standing = match (index, &valid) {
            (Some(index), Some(valid)) => Standing::of(self.plan.metric, valid, balanced(&trainer, index)?),
            _ => unknown,
        };
        let model = trainer.into_model();
        Ok(Candidate { scheme: scheme.clone(), start, model, outcome, valid, standing })
    }
}
