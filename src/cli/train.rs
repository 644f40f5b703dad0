//! `cbfit train`: read, split, weigh, search, fit on all rows, test, save.

use std::ops::ControlFlow;
use std::time::Instant;

use super::args::TrainArgs;
use super::interrupt::Interrupt;
use super::plan::{OptimizerPlan, TrainPlan, WeightingPlan};
use super::talk::Talk;
use super::train_data::TrainData;
use super::train_save::{saved_model, test_scores};
use super::{kernels, print_json, with_threads};
use crate::data::counts::read_class_weights;
use crate::labels::ClassCounts;
use crate::linear::fit::{Optimizer, Progress, fit, suits_lbfgs};
use crate::linear::objective::Objective;
use crate::linear::search::{Grid, Recipe, SearchWatch, Trial, WeightedSample, search};
use crate::linear::solver::Fit;
use crate::metrics::Evaluation;
use crate::model_file;
use crate::output::AtomicFile;
use crate::report::format::{bytes, seconds, short, thousands};
use crate::report::text;
use crate::report::train::{Chosen, FitSummary, ModelSummary, TrainReport, TrialSummary};
use crate::simd::Kernels;
use crate::weighting::{Beta, Scheme, WeightSummary};
use crate::{Error, Result};

/// Runs the command.
///
/// # Errors
/// Everything that keeps a model from being trained and saved.
pub fn run(args: TrainArgs) -> Result<u8> {
    let run_args = args.run.clone();
    let plan = TrainPlan::new(args)?;
    let interrupt = Interrupt::listen();
    let mut talk = Talk::new(run_args.quiet, plan.progress);
    with_threads(&run_args, || {
        let report = train(&plan, &mut talk, &interrupt)?;
        if run_args.json {
            print_json(&report)?;
        }
        Ok(if interrupt.is_set() { interrupt.exit_status() } else { 0 })
    })
}

fn train(plan: &TrainPlan, talk: &mut Talk, interrupt: &Interrupt) -> Result<TrainReport> {
    let started = Instant::now();
    let kernels = kernels()?;
    AtomicFile::check(&plan.out)?;
    let threads = rayon::current_num_threads();
    talk.line(&format!(
        "cbfit {}  linear/{}  seed {}  {} thread{}  {}",
        env!("CARGO_PKG_VERSION"),
        plan.loss.name(),
        plan.seed,
        threads,
        if threads == 1 { "" } else { "s" },
        kernels.isa().name()
    ));
    let data = TrainData::read(plan, talk)?;
    let counts = data.main.counts(Some(&data.train));
    let schemes = schemes(plan, &data, &counts)?;
    let recipe = recipe(plan, &data);
    talk.phase("Solver", &solver_text(&recipe.optimizer));
    if let [scheme] = &schemes[..] {
        let sample = data.train_sample();
        let weighted = WeightedSample::new(sample.view(), scheme, &recipe)?;
        say_weights(talk, &weighted, sample.row_weights.as_deref());
    }

    let mut trials = Trials::new(talk, interrupt);
    let best = choose(plan, &data, schemes, &recipe, kernels, &mut trials)?;
    let trials = trials.summaries;
    let interrupted = interrupt.is_set();
    let refit = plan.refit && data.has_rows_to_add() && !interrupted;
    let sample = if refit { data.all_sample() } else { data.train_sample() };
    let weighted = WeightedSample::new(sample.view(), &best.scheme, &recipe)?;
    if trials.len() > 1 {
        talk.phase("Chosen", &format!("{}  l2 {}  by {}", best.scheme, short(best.l2), plan.metric.name()));
        say_weights(talk, &weighted, sample.row_weights.as_deref());
    }
    let summary = WeightSummary::new(&weighted.class_weights, &weighted.counts, sample.labels_and_weights());

    let finished = finish(plan, &weighted, &best, &recipe, refit, kernels, talk, interrupt)?;
    let chosen = Chosen {
        scheme: best.scheme.to_string(),
        l2: best.l2,
        metric: (trials.len() > 1).then(|| plan.metric.name()),
    };
    let fit = FitSummary::of(&finished, sample.labels.len(), refit);
    talk.phase(
        "Fitted",
        &format!(
            "{}{} rows, {} {}; {}",
            if refit { "training and validation rows together: " } else { "" },
            thousands(fit.rows as u64),
            fit.steps,
            if matches!(recipe.optimizer, Optimizer::Lbfgs { .. }) { "iterations" } else { "epochs" },
            text::certificate_text(&fit.certificate, fit.converged)
        ),
    );

    let mut saved = saved_model(plan, &data, &weighted, &recipe, &best, &finished, &trials);
    let labels = &saved.metadata.label_map;
    if let Some(valid) = &best.evaluation {
        say_scores(
            talk,
            "Valid",
            valid,
            labels,
            &format!("as trained, {} rows held out", thousands(valid.rows)),
        );
    }
    let test = test_scores(&data, &saved, kernels)?;
    if let Some(test) = &test {
        say_scores(talk, "Test", &test.trained, labels, "as trained");
        talk.phase(
            "",
            &format!(
                "probabilities with --prior natural: log-loss {:.4}   ECE {:.4}",
                test.natural_log_loss, test.natural_ece
            ),
        );
    }
    if !summary.does_nothing || plan.logit_adjust != 0.0 {
        talk.phase(
            "Note",
            "probabilities are tilted by the weights; predict and eval take --prior natural to put them right",
        );
    }
    saved.record_scores(best.evaluation.as_ref(), test.as_ref());
    let size = model_file::save(&plan.out, &saved)?;
    let took = started.elapsed().as_secs_f64();
    talk.phase(
        "Saved",
        &format!(
            "{} ({}) after {}   next: cbfit eval {} DATA",
            plan.out,
            bytes(size),
            seconds(took),
            plan.out
        ),
    );
    if interrupt.is_set() {
        let what = if interrupted { "without a final fit" } else { "its final fit was cut short" };
        talk.phase("Stopped", &format!("interrupted: this is the best model so far, {what}"));
    }
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
        valid: best.evaluation,
        test,
        model: ModelSummary { path: plan.out.clone(), bytes: size },
        seconds: took,
    })
}

/// The settings to fit in the end, and where to start.
pub(super) struct Best {
    pub scheme: Scheme,
    pub l2: f64,
    pub fit: Option<Fit>,
    pub evaluation: Option<Evaluation>,
}

fn choose(
    plan: &TrainPlan,
    data: &TrainData,
    schemes: Vec<Scheme>,
    recipe: &Recipe,
    kernels: &'static Kernels,
    watch: &mut Trials<'_>,
) -> Result<Best> {
    let Some(part) = data.valid_part() else {
        // The plan has seen to it that scheme and l2 are given where nothing validates.
        let scheme = schemes.into_iter().next().unwrap_or(Scheme::None);
        return Ok(Best { scheme, l2: plan.l2.unwrap_or(0.0), fit: None, evaluation: None });
    };
    let validation = part.validation(plan.metric);
    let sample = data.train_sample();
    let grid = Grid { schemes, l2: plan.l2 };
    let loose = Recipe { optimizer: search_optimizer(&recipe.optimizer), ..*recipe };
    watch.talk.line(&text::trial_header());
    let best = search(sample.view(), &loose, &grid, &validation, kernels, watch)?;
    watch.talk.clear_progress();
    let Some(Trial { scheme, l2, fit, .. }) = best else {
        return Ok(Best { scheme: Scheme::None, l2: 0.0, fit: None, evaluation: None });
    };
    let counts = ClassCounts::of(&sample.labels, sample.row_weights.as_deref(), sample.classes);
    let evaluation = validation.evaluate(&fit.theta, recipe.loss, &counts, kernels, true)?;
    Ok(Best { scheme, l2, fit: Some(fit), evaluation: Some(evaluation) })
}

/// A tenth of the final precision is enough to tell settings apart.
fn search_optimizer(optimizer: &Optimizer) -> Optimizer {
    match *optimizer {
        Optimizer::Lbfgs { tolerance, max_iterations } => {
            Optimizer::Lbfgs { tolerance: 10.0 * tolerance, max_iterations }
        }
        minibatch => minibatch,
    }
}

#[allow(clippy::too_many_arguments)] // The final fit is where all strands of the run meet.
fn finish(
    plan: &TrainPlan,
    weighted: &WeightedSample<'_>,
    best: &Best,
    recipe: &Recipe,
    refit_more_rows: bool,
    kernels: &'static Kernels,
    talk: &mut Talk,
    interrupt: &Interrupt,
) -> Result<Fit> {
    let is_minibatch = matches!(recipe.optimizer, Optimizer::Minibatch { .. });
    if let Some(found) = &best.fit
        && !refit_more_rows
        && (is_minibatch || interrupt.is_set())
    {
        // Minibatches keep their best epoch: fitting on would undo the early stop.
        return Ok(found.clone());
    }
    let mut objective = Objective::new(weighted.problem(recipe, best.l2), kernels);
    let start = match &best.fit {
        Some(found) if !is_minibatch => found.theta.clone(),
        _ => objective.problem().start(),
    };
    let last_epoch = best.fit.as_ref().filter(|_| is_minibatch).map(|found| found.steps);
    let begun = Instant::now();
    let fitted = fit(&mut objective, &start, &recipe.optimizer, None, &mut |progress| {
        talk.progress(&progress_text("final fit", progress, &begun));
        let enough = last_epoch.is_some_and(|last| progress.step >= last);
        if enough || interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    talk.clear_progress();
    let fitted = fitted?;
    if !fitted.certificate.objective.is_finite() {
        return Err(Error::Diverged {
            value: fitted.certificate.objective,
            place: "the final fit".into(),
            lr: plan.optimizer_rate(),
        });
    }
    Ok(fitted)
}

fn say_weights(talk: &Talk, weighted: &WeightedSample<'_>, row_weights: Option<&[f64]>) {
    let rows = row_weights.map(|weights| (weighted.sample.labels, weights));
    let summary = WeightSummary::new(&weighted.class_weights, &weighted.counts, rows);
    for (number, line) in text::weight_lines(&summary, weighted.sample.labels.len() as u64).iter().enumerate()
    {
        talk.phase(if number == 0 { "Weights" } else { "" }, line);
    }
}

fn say_scores(talk: &Talk, name: &str, scores: &Evaluation, labels: &crate::labels::LabelMap, prior: &str) {
    for (number, line) in text::evaluation_lines(scores, labels, prior).iter().enumerate() {
        talk.phase(if number == 0 { name } else { "" }, line);
    }
}

fn recipe(plan: &TrainPlan, data: &TrainData) -> Recipe {
    let optimizer = match plan.optimizer {
        OptimizerPlan::Given(optimizer) => optimizer,
        OptimizerPlan::Auto { lbfgs, minibatch } => {
            let (rows, classes) = (data.train.len(), data.main.label_map.classes());
            if suits_lbfgs(rows, data.main.features.cols(), classes) { lbfgs } else { minibatch }
        }
    };
    Recipe {
        loss: plan.loss,
        logit_adjust: plan.logit_adjust,
        decay: plan.decay,
        max_weight: plan.max_weight,
        optimizer,
    }
}

fn solver_text(optimizer: &Optimizer) -> String {
    match optimizer {
        Optimizer::Lbfgs { tolerance, max_iterations } => {
            format!(
                "lbfgs   to a certified gap of {}, at most {max_iterations} iterations",
                short(*tolerance)
            )
        }
        Optimizer::Minibatch { rule, epochs, batch, rate, schedule, patience, .. } => format!(
            "{}   {epochs} epochs, batch {batch}, rate {}, {} schedule, patience {patience}",
            rule.name(),
            rate.map_or("from the features".into(), short),
            schedule.name()
        ),
    }
}

/// Schemes to try, the one with the whole l2 path first.
fn schemes(plan: &TrainPlan, data: &TrainData, counts: &ClassCounts) -> Result<Vec<Scheme>> {
    let extremes = || {
        let present = || counts.weighted.iter().copied().filter(|&n| n > 0.0);
        (present().fold(0.0, f64::max), present().fold(f64::INFINITY, f64::min))
    };
    Ok(match &plan.weighting {
        WeightingPlan::Scheme(scheme) => vec![scheme.clone()],
        WeightingPlan::File(path) => vec![Scheme::Custom(read_class_weights(path, &data.main.label_map)?)],
        WeightingPlan::Ratio(ratio) => {
            let (n_max, n_min) = extremes();
            vec![Scheme::Effective(Beta::for_ratio(*ratio, n_max, n_min)?)]
        }
        WeightingPlan::ChooseBeta => {
            let (n_max, n_min) = extremes();
            let mut betas = distinct_betas(n_max, n_min)?;
            // The middle one, by the ratio of weights, searches l2 for all.
            betas.sort_by(|a, b| {
                let from_middle =
                    |beta: &Beta| (ratio(*beta, n_max, n_min).ln() - 0.5 * (n_max / n_min).ln()).abs();
                from_middle(a).total_cmp(&from_middle(b))
            });
            betas.into_iter().map(Scheme::Effective).collect()
        }
    })
}

fn ratio(beta: Beta, n_max: f64, n_min: f64) -> f64 {
    beta.effective_number(n_max) / beta.effective_number(n_min)
}

/// .9, .99, ... as far as their weights differ by 5 % on these counts.
fn distinct_betas(n_max: f64, n_min: f64) -> Result<Vec<Beta>> {
    let mut betas: Vec<Beta> = Vec::new();
    for digits in 1..=6 {
        let beta = Beta::from_eps(10f64.powi(-digits))?;
        if betas.last().is_none_or(|last| ratio(beta, n_max, n_min) > 1.05 * ratio(*last, n_max, n_min)) {
            betas.push(beta);
        }
    }
    // Where the first weighs all classes alike, it only stands for no weighting.
    if betas.len() > 1 && ratio(betas[0], n_max, n_min) < 1.01 {
        betas.remove(0);
    }
    Ok(betas)
}

/// Prints the trials of a search and keeps their summaries.
struct Trials<'t> {
    talk: &'t mut Talk,
    interrupt: &'t Interrupt,
    current: String,
    begun: Instant,
    summaries: Vec<TrialSummary>,
}

impl<'t> Trials<'t> {
    fn new(talk: &'t mut Talk, interrupt: &'t Interrupt) -> Self {
        Trials { talk, interrupt, current: String::new(), begun: Instant::now(), summaries: Vec::new() }
    }
}

impl SearchWatch for Trials<'_> {
    fn begin(&mut self, scheme: &Scheme, l2: f64) {
        self.current = format!("{scheme}  l2 {}", short(l2));
        self.begun = Instant::now();
    }

    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.talk.progress(&progress_text(&self.current, progress, &self.begun));
        if self.interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn trial(&mut self, trial: &Trial, best: bool) {
        let summary = TrialSummary::of(trial, best);
        self.talk.line(&text::trial_line(&summary, self.begun.elapsed().as_secs_f64()));
        self.summaries.push(summary);
    }
}

fn progress_text(what: &str, progress: &Progress, begun: &Instant) -> String {
    format!(
        "{what}: step {} of at most {}, J {:.5}, {}",
        progress.step,
        progress.steps,
        progress.objective,
        seconds(begun.elapsed().as_secs_f64())
    )
}

impl TrainPlan {
    fn optimizer_rate(&self) -> String {
        match self.optimizer {
            OptimizerPlan::Given(Optimizer::Minibatch { rate: Some(rate), .. }) => short(rate),
            _ => "chosen by cbfit".into(),
        }
    }
}
