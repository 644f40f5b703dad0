//! `cbfit train`: read, split, weigh, search, fit on all rows, test, save.

use std::ops::ControlFlow;
use std::time::Instant;

use super::args::TrainArgs;
use super::interrupt::Interrupt;
use super::keeping::Deciding;
use super::lock::Lock;
use super::plan::{TrainPlan, WeightingPlan};
use super::plan_head::HeadPlan;
use super::shared::say_scant;
use super::talk::Talk;
use super::train_calibrate::{self, CrossFitting};
use super::train_data::{OwnedSample, TrainData};
use super::train_memory::hold_memory;
use super::train_save::{Fitted, saved_model, scores_record, test_scores};
use super::train_talk::{
    Trials, announce, closed_form_text, fitted_text, progress_text, resample_text, say_saved, say_scores,
    say_test, say_tilt, say_weights, solver_text,
};
use super::{kernels, print_json, train_boost, with_threads};
use crate::Result;
use crate::data::counts::read_class_weights;
use crate::experiment::crossfit::{Estimator, LinearEstimator};
use crate::labels::ClassCounts;
use crate::linear::fit::Optimizer;
use crate::linear::heads::{Builder, Setting};
use crate::linear::objective::Objective;
use crate::linear::route::Route;
use crate::linear::search::{Grid, Recipe, Sample, Trial, Validation, WeightedSample, search};
use crate::linear::series::FitSeries;
use crate::linear::solver::Fit;
use crate::metrics::Evaluation;
use crate::model_file;
use crate::report::format::{short, thousands};
use crate::report::text;
use crate::report::train::{Chosen, FitSummary, ModelSummary, TrainReport};
use crate::simd::Kernels;
use crate::weighting::{Beta, Scheme, distinct_betas};

/// Runs the command.
///
/// # Errors
/// Everything that keeps a model from being trained and saved.
pub fn run(args: TrainArgs) -> Result<u8> {
    let run_args = args.run.clone();
    let plan = TrainPlan::new(args)?;
    let interrupt = Interrupt::listen();
    let _lock = Lock::take(&plan.out)?;
    let mut talk = Talk::new(run_args.quiet, plan.progress);
    with_threads(&run_args, || {
        let report = match &plan.boost {
            Some(boost) => train_boost::train(&plan, boost, &mut talk, &interrupt)?,
            None => train(&plan, &mut talk, &interrupt)?,
        };
        if run_args.json {
            print_json(&report)?;
        }
        Ok(if interrupt.is_set() { interrupt.exit_status() } else { 0 })
    })
}

fn train(plan: &TrainPlan, talk: &mut Talk, interrupt: &Interrupt) -> Result<TrainReport> {
    let started = Instant::now();
    let kernels = kernels()?;
    let mut data = open(plan, talk, kernels)?;
    let counts = data.main.counts(Some(&data.train));
    let schemes = schemes(plan, &data, &counts)?;
    let several_schemes = schemes.len() > 1;
    let recipe = recipe(plan, &data);
    hold_memory(plan, &mut data, &recipe.optimizer, talk)?;
    let deciding = Deciding { plan, data: &data, recipe: &recipe, schemes: &schemes, kernels };
    let journal = deciding.journal(talk, interrupt)?;
    let is_fitted = plan.head.head.is_fitted();
    if is_fitted {
        talk.phase("Solver", &solver_text(&recipe.optimizer));
    }
    let searched = data.train_sample();
    if let Some(scheme) = schemes.first() {
        let weighted = WeightedSample::new(searched.view(), scheme, &recipe)?;
        if is_fitted && matches!(recipe.optimizer, Optimizer::Lbfgs { .. }) {
            let problem = weighted.problem(&recipe, 0.0);
            talk.phase("", &text::route_line(&Route::of(&problem, kernels), weighted.rows()));
        }
        if let Some(resampling) = plan.resampling {
            talk.phase("Resample", &resample_text(resampling, &weighted, searched.labels.len()));
        }
        if !several_schemes {
            say_weights(talk, &searched.weight_summary(&weighted), searched.labels.len());
        }
    }
    if plan.logit_adjust != 0.0
        && (plan.weighting != WeightingPlan::Scheme(Scheme::None) || plan.resampling.is_some())
    {
        talk.phase("Note", "class weights and --logit-adjust both correct for the imbalance here");
    }

    let mut trials = Trials::new(talk, interrupt);
    let mut fits = FitSeries::new(journal.as_ref());
    let mut best = choose(&deciding, &searched, &mut fits, &mut trials)?;
    let trials = trials.summaries;
    let refit = plan.refit && data.has_rows_to_add() && !interrupt.is_set();
    let sample = if refit {
        drop(searched); // all rows take as much again
        data.all_sample()
    } else {
        searched
    };
    if let WeightingPlan::Ratio(ratio) = plan.weighting {
        // The ratio asked for is that of the rows the model is fitted on.
        best.scheme = Scheme::with_ratio(ratio, &data.main.counts(Some(sample.rows())))?;
    }
    let weighted = WeightedSample::new(sample.view(), &best.scheme, &recipe)?;
    let mut summary = sample.weight_summary(&weighted);
    if trials.len() > 1 {
        let l2 = short(best.l2.unwrap_or(0.0));
        talk.phase("Chosen", &format!("{}  l2 {l2}  by {}", best.scheme, plan.metric.name()));
    }
    if let Some(setting) = best.head {
        let how = if plan.head.is_open() { format!("  by {}", plan.metric.name()) } else { String::new() };
        talk.phase("Head", &format!("{}:{setting}{how}", plan.head.head.name()));
    }
    if several_schemes {
        // A milder beta was among those tried.
        summary.suggestion = None;
        say_weights(talk, &summary, sample.labels.len());
    }
    let labels = &data.main.label_map;
    if let Some(valid) = &best.evaluation {
        let prior = format!("as trained, {} rows held out", thousands(valid.rows));
        say_scores(talk, "Valid", valid, labels, &prior);
    }

    let last = FinalFit { weighted: &weighted, best: &best, recipe: &recipe, refit, kernels };
    let finished = is_fitted.then(|| last.run(&mut fits, talk, interrupt)).transpose()?;
    let fit = finished.as_ref().map(|finished| FitSummary::of(finished, weighted.rows(), refit));
    match &fit {
        Some(fit) => talk.phase("Fitted", &fitted_text(fit, &recipe.optimizer)),
        None => talk.phase("Fitted", &closed_form_text(sample.labels.len(), refit)),
    }
    let base = finished.as_ref().map(|finished| weighted.classifier(&finished.theta, &recipe));
    let builder = Builder::new(&weighted, base.as_ref(), kernels);
    let classifier = best.head.map_or_else(|| builder.base().cloned(), |setting| builder.build(setting))?;

    let fitted = Fitted::linear(plan, classifier, &recipe, &best, finished.as_ref(), &trials);
    let mut saved = saved_model(&data, fitted);
    // What comes after the fit may be cut short without making the model another.
    let cut_short = interrupt.is_set();
    let calibration = match &plan.calibration {
        None => None,
        Some(wanted) => {
            let last_epoch = best.fit.as_ref().map(|found| found.steps);
            let crossed = CrossFitting {
                plan: wanted,
                seed: plan.seed,
                data: &data,
                sample: &sample,
                scheme: &best.scheme,
                estimator: Estimator::Linear(LinearEstimator { l2: best.l2, head: best.head, last_epoch }),
                recipe: &recipe,
                journal: journal.as_ref(),
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
    saved.metadata.metrics = scores_record(best.evaluation.as_ref(), test.as_ref());
    data.check()?;
    let size = model_file::save(&plan.out, &saved)?;
    if let Some(journal) = journal {
        journal.close();
    }
    let took = started.elapsed().as_secs_f64();
    say_saved(talk, &plan.out, size, took, cut_short);
    let chosen = Chosen {
        scheme: best.scheme.to_string(),
        l2: best.l2,
        head: plan.head.head.name(),
        head_setting: best.head.map(|setting| setting.to_string()),
        metric: (trials.len() > 1 || plan.head.is_open()).then(|| plan.metric.name()),
    };
    Ok(TrainReport {
        schema: "cbfit.train/1",
        cbfit: env!("CARGO_PKG_VERSION"),
        isa: kernels.isa().name(),
        data: data.summary(&counts),
        split: data.split_summary(),
        trials,
        chosen,
        weighting: summary,
        fit,
        boost: None,
        valid: best.evaluation,
        calibration,
        test,
        model: ModelSummary { path: plan.out.clone(), bytes: size },
        seconds: took,
    })
}

/// Begins a run: its first line, its rows. What it could not write is found before the work, not after it.
pub(super) fn open(plan: &TrainPlan, talk: &mut Talk, kernels: &Kernels) -> Result<TrainData> {
    announce(plan, talk, kernels);
    say_scant(talk, plan.read.memory.as_ref());
    let data = TrainData::read(plan, talk)?;
    if let Some(path) = plan.calibration.as_ref().and_then(|wanted| wanted.oof.as_ref()) {
        // An id may clash with its columns.
        drop(train_calibrate::open(path, &data)?);
    }
    Ok(data)
}

/// The settings to fit in the end, and where to start.
pub(super) struct Best {
    pub scheme: Scheme,
    /// `None` for a closed form.
    pub l2: Option<f64>,
    pub fit: Option<Fit>,
    /// The setting of the head, where it has one.
    pub head: Option<Setting>,
    pub evaluation: Option<Evaluation>,
}

fn choose(
    deciding: &Deciding<'_>,
    sample: &OwnedSample<'_>,
    fits: &mut FitSeries<'_>,
    watch: &mut Trials<'_>,
) -> Result<Best> {
    let Deciding { plan, data, recipe, schemes, kernels } = *deciding;
    let Some(part) = data.valid_part() else {
        // The plan has seen to it that scheme and l2 are given where nothing validates.
        let scheme = schemes.first().cloned().unwrap_or(Scheme::None);
        let l2 = plan.head.head.is_fitted().then(|| plan.l2.unwrap_or(0.0));
        return Ok(Best { scheme, l2, fit: None, head: plan.head.setting, evaluation: None });
    };
    let validation = part.validation(plan.metric);
    if !plan.head.head.is_fitted() {
        return choose_closed_form(plan, sample.view(), schemes, recipe, &validation, kernels);
    }
    let grid = Grid { schemes: schemes.to_vec(), l2: plan.l2 };
    let loose = Recipe { optimizer: recipe.optimizer.for_choosing(), ..*recipe };
    watch.talk.line(&text::trial_header());
    let best = search(sample.view(), &loose, &grid, &validation, kernels, fits, watch)?;
    watch.talk.clear_progress();
    let Some(Trial { scheme, l2, fit, .. }) = best else {
        let head = head_settings(plan).and_then(|settings| settings.first().copied());
        return Ok(Best { scheme: Scheme::None, l2: None, fit: None, head, evaluation: None });
    };
    let weighted = WeightedSample::new(sample.view(), &scheme, recipe)?;
    let base = weighted.classifier(&fit.theta, recipe);
    let (head, evaluation) = match head_settings(plan) {
        Some(settings) => {
            let chosen = Builder::new(&weighted, Some(&base), kernels).choose(&settings, &validation)?;
            (Some(chosen.setting), chosen.evaluation)
        }
        None => (None, validation.evaluate(&base, kernels, true)?),
    };
    Ok(Best { scheme, l2: Some(l2), fit: Some(fit), head, evaluation: Some(evaluation) })
}

/// The settings to choose the head from; `None` where it has none.
fn head_settings(plan: &TrainPlan) -> Option<Vec<Setting>> {
    let HeadPlan { head, setting } = plan.head;
    let settings = setting.map_or_else(|| head.settings(), |setting| vec![setting]);
    (!settings.is_empty()).then_some(settings)
}

/// The best setting of a head without a loss, over all schemes.
fn choose_closed_form(
    plan: &TrainPlan,
    sample: Sample<'_>,
    schemes: &[Scheme],
    recipe: &Recipe,
    validation: &Validation<'_>,
    kernels: &'static Kernels,
) -> Result<Best> {
    let settings = head_settings(plan).unwrap_or_default();
    let mut best = Best { scheme: Scheme::None, l2: None, fit: None, head: None, evaluation: None };
    let signed = |evaluation: &Evaluation| validation.standing(evaluation, 0.0).metric;
    for scheme in schemes {
        let weighted = WeightedSample::new(sample, scheme, recipe)?;
        let chosen = Builder::new(&weighted, None, kernels).choose(&settings, validation)?;
        if best.evaluation.as_ref().is_none_or(|so_far| signed(&chosen.evaluation) > signed(so_far)) {
            (best.scheme, best.head, best.evaluation) =
                (scheme.clone(), Some(chosen.setting), Some(chosen.evaluation));
        }
    }
    Ok(best)
}

/// The fit of the chosen setting on all its rows.
struct FinalFit<'f> {
    weighted: &'f WeightedSample<'f>,
    best: &'f Best,
    recipe: &'f Recipe,
    /// Whether rows are fitted that the search held out.
    refit: bool,
    kernels: &'static Kernels,
}

impl FinalFit<'_> {
    fn run(&self, fits: &mut FitSeries<'_>, talk: &mut Talk, interrupt: &Interrupt) -> Result<Fit> {
        let is_minibatch = matches!(self.recipe.optimizer, Optimizer::Minibatch { .. });
        if let Some(found) = &self.best.fit
            && !self.refit
            && (is_minibatch || interrupt.is_set())
        {
            // Minibatches have kept their best epoch: fitting on would undo the early stop.
            return Ok(found.clone());
        }
        let l2 = self.best.l2.unwrap_or(0.0);
        let mut objective = Objective::new(self.weighted.problem(self.recipe, l2), self.kernels);
        let start = match &self.best.fit {
            Some(found) if !is_minibatch => found.theta.clone(),
            _ => objective.problem().start(),
        };
        // The best epoch of the trial, which had the same cold start and the same schedule.
        let last_epoch = self.best.fit.as_ref().filter(|_| is_minibatch).map(|found| found.steps);
        let begun = Instant::now();
        let fitted = fits.fit(&mut objective, &start, &self.recipe.optimizer, None, &mut |progress| {
            talk.progress(&progress_text("final fit", progress, &begun));
            let enough = last_epoch.is_some_and(|last| progress.step >= last);
            if enough || interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        talk.clear_progress();
        fitted
    }
}

pub(super) fn recipe(plan: &TrainPlan, data: &TrainData) -> Recipe {
    Recipe {
        loss: plan.loss,
        logit_adjust: plan.logit_adjust,
        vs_gamma: plan.vs_gamma,
        ldam: plan.ldam,
        resampling: plan.resampling.map(|resampling| (resampling, plan.seed)),
        decay: plan.decay,
        max_weight: plan.max_weight,
        optimizer: plan.optimizer.of_rows(
            &data.main.features,
            data.train.len(),
            data.main.label_map.classes(),
        ),
    }
}

/// Schemes to try, the one with the whole l2 path first.
pub(super) fn schemes(plan: &TrainPlan, data: &TrainData, counts: &ClassCounts) -> Result<Vec<Scheme>> {
    let (n_min, n_max) = counts.extremes().unwrap_or((0.0, 0.0));
    Ok(match &plan.weighting {
        WeightingPlan::Scheme(scheme) => vec![scheme.clone()],
        WeightingPlan::File(path) => vec![Scheme::Custom(read_class_weights(path, &data.main.label_map)?)],
        WeightingPlan::Ratio(ratio) => vec![Scheme::with_ratio(*ratio, counts)?],
        WeightingPlan::ChooseBeta => {
            let mut betas = distinct_betas(n_max, n_min)?;
            // The middle one, by the ratio of weights, searches l2 for all.
            betas.sort_by(|a, b| {
                let from_middle =
                    |beta: &Beta| (beta.weight_ratio(n_max, n_min).ln() - 0.5 * (n_max / n_min).ln()).abs();
                from_middle(a).total_cmp(&from_middle(b))
            });
            betas.into_iter().map(Scheme::Effective).collect()
        }
    })
}
