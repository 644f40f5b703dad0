//! `cbfit train --learner boost`: read, split, weigh, bin, boost until validation rows gain no more, boost all rows, test,
//! save.

use std::ops::ControlFlow;
use std::time::Instant;

use serde_json::json;

use super::interrupt::Interrupt;
use super::kernels;
use super::plan::{TrainPlan, WeightingPlan};
use super::plan_boost::BoostPlan;
use super::talk::Talk;
use super::train::{
    open, recipe, say_saved, say_scores, say_test, say_tilt, say_weights, scheme_of_ratio, schemes,
};
use super::train_calibrate::CrossFitting;
use super::train_data::{HeldPart, OwnedSample, TrainData};
use super::train_save::{Fitted, saved_model, scores_record, test_scores};
use crate::Result;
use crate::boost::binning::BinningOptions;
use crate::boost::fit::{Outcome, Score, Stopping, fit};
use crate::boost::model::BoostModel;
use crate::boost::trainer::{Round, Trainer};
use crate::experiment::boost_fits::FoldBins;
use crate::experiment::crossfit::Estimator;
use crate::labels::ClassCounts;
use crate::linear::search::{Recipe, WeightedSample};
use crate::metrics::{Evaluation, Metric, Standing, evaluate, evaluate_quick};
use crate::model::Model;
use crate::model_file;
use crate::report::format::{seconds, thousands};
use crate::report::text;
use crate::report::train::{BoostSummary, BoostTrial, BriefScores, Chosen, ModelSummary, TrainReport};
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
    let data = open(plan, talk, kernels)?;
    let counts = data.main.counts(Some(&data.train));
    let learner = Boosting { plan, boost, data: &data, recipe: recipe(plan, &data), kernels, interrupt };
    let searched = data.train_sample();
    let (mut best, trials) = learner.choose(&searched, schemes(plan, &data, &counts)?, talk)?;
    if trials.len() > 1 {
        talk.phase("Chosen", &format!("{}  by {}", best.scheme, plan.metric.name()));
    }
    if let Some(valid) = &best.valid {
        let prior = format!("as trained, {} rows held out", thousands(valid.rows));
        say_scores(talk, "Valid", valid, &data.main.label_map, &prior);
    }
    let refit = plan.refit && data.has_rows_to_add() && !interrupt.is_set();
    let sample = if refit { data.all_sample() } else { searched };
    if refit {
        if let WeightingPlan::Ratio(ratio) = plan.weighting {
            // The ratio asked for is that of the rows the model is fitted on.
            best.scheme = scheme_of_ratio(ratio, &data.main.counts(Some(sample.rows())))?;
        }
        let stopping = Stopping { rounds: best.outcome.rounds, patience: usize::MAX };
        let bins = learner.bins(&sample, None)?;
        best.model = learner.boost(&sample, &bins, &best.scheme, None, stopping, talk)?.model;
    }
    let weighted = WeightedSample::new(sample.view(), &best.scheme, &learner.recipe)?;
    let weights = sample.weight_summary(&weighted);
    say_weights(talk, &weights, sample.labels.len());
    let summary = BoostSummary::of(&best.model, sample.labels.len(), refit, trials);
    talk.phase("Fitted", &text::boost_line(&summary));

    let mut saved = saved_model(
        &data,
        Fitted {
            model: Model::Boost(best.model),
            scheme: &best.scheme,
            conditions: weighted.conditions(&learner.recipe),
            config: json!({
                "options": boost.options,
                "rounds": summary.rounds,
                "patience": boost.stopping.patience,
                "max_bins": boost.binning.max_bins,
                "max_weight": plan.max_weight,
                "metric": plan.metric.name(),
                "refit": plan.refit,
                "seed": plan.seed,
            }),
            certificate: json!(null),
            history: json!(summary.trials),
        },
    );
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
    let size = model_file::save(&plan.out, &saved)?;
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
            l2: None,
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
}

/// A boosted model.
struct Candidate {
    scheme: Scheme,
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
        let bins = self.bins(sample, valid.as_ref())?;
        let mut done: Vec<Candidate> = Vec::new();
        let mut trials: Vec<BoostTrial> = Vec::new();
        for scheme in schemes {
            let begun = Instant::now();
            let candidate = self.boost(sample, &bins, &scheme, valid.as_ref(), self.boost.stopping, talk)?;
            if let Some(scores) = &candidate.valid {
                let standings: Vec<Standing> =
                    done.iter().chain([&candidate]).map(|candidate| candidate.standing).collect();
                let trial = BoostTrial {
                    scheme: scheme.to_string(),
                    rounds: candidate.outcome.rounds,
                    made: candidate.outcome.made,
                    scores: candidate.outcome.scores.clone(),
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

    /// Bins made by the rows of `sample`, of these and of the rows `valid`: the same under every weighting.
    fn bins(&self, sample: &OwnedSample<'_>, valid: Option<&HeldPart<'_>>) -> Result<FoldBins> {
        FoldBins::new(sample.view().rows, &sample.labels, valid.map(|part| part.rows), &self.binning())
    }

    /// Boosts `sample` under `scheme`, as long as the rows `valid` gain where there are any.
    fn boost(
        &self,
        sample: &OwnedSample<'_>,
        bins: &FoldBins,
        scheme: &Scheme,
        valid: Option<&HeldPart<'_>>,
        stopping: Stopping,
        talk: &mut Talk,
    ) -> Result<Candidate> {
        let weighted = WeightedSample::new(sample.view(), scheme, &self.recipe)?;
        let mut trainer = bins.trainer(&weighted, self.plan.loss, &self.boost.options, self.kernels)?;
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
        let index = bins.held.as_ref().map(|held| trainer.add_validation(held, None)).transpose()?;
        let mut score = index.map(|index| {
            move |trainer: &Trainer<'_>| {
                evaluated(trainer, index, trained, false)
                    .map_or(f64::NAN, |scores| signed(self.plan.metric, &scores))
            }
        });
        let begun = Instant::now();
        let mut watch = |round: &Round, score: Option<f64>| {
            let took = seconds(begun.elapsed().as_secs_f64());
            let score =
                score.map_or(String::new(), |s| format!(", {} {:.4}", self.plan.metric.name(), s.abs()));
            talk.progress(&format!(
                "{scheme}: round {} of at most {}, loss {:.4}{score}, {took}",
                round.number, stopping.rounds, round.loss
            ));
            if self.interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let outcome =
            fit(&mut trainer, stopping, score.as_mut().map(|score| score as &mut Score<'_>), &mut watch);
        talk.clear_progress();
        let valid = index.map(|index| evaluated(&trainer, index, trained, true)).transpose()?;
        let balanced = index.map(|index| evaluated(&trainer, index, uniform, false)).transpose()?;
        let standing = match (&valid, &balanced) {
            (Some(valid), Some(balanced)) => {
                Standing::of(self.plan.metric, valid, balanced.balanced_log_loss)
            }
            _ => Standing::new(self.plan.metric, 0.0, 0.0, 0.0),
        };
        Ok(Candidate { scheme: scheme.clone(), model: trainer.into_model(), outcome, valid, standing })
    }
}

/// Larger is better.
fn signed(metric: Metric, scores: &Evaluation) -> f64 {
    if metric.higher_is_better() { metric.value(scores) } else { -metric.value(scores) }
}
