//! What a training run says: its settings, its trials, its scores, where the model is.

use std::ops::ControlFlow;
use std::time::Instant;

use super::interrupt::Interrupt;
use super::plan::TrainPlan;
use super::talk::Talk;
use crate::labels::LabelMap;
use crate::linear::fit::{Optimizer, Progress};
use crate::linear::search::{SearchWatch, Trial, WeightedSample};
use crate::metrics::Evaluation;
use crate::model_file::ModelMetadata;
use crate::report::calibration::natural_name;
use crate::report::format::{bytes, seconds, short, thousands};
use crate::report::text;
use crate::report::train::{FitSummary, TestScores, TrialSummary};
use crate::simd::Kernels;
use crate::weighting::conditions::is_tilted;
use crate::weighting::{Resampling, Scheme, WeightSummary};

pub(super) fn announce(plan: &TrainPlan, talk: &Talk, kernels: &Kernels) {
    let threads = rayon::current_num_threads();
    talk.line(&format!(
        "cbfit {}  {}/{}  seed {}  {} thread{}  {}",
        env!("CARGO_PKG_VERSION"),
        if plan.boost.is_some() { "boost" } else { "linear" },
        plan.loss.name(),
        plan.seed,
        threads,
        if threads == 1 { "" } else { "s" },
        kernels.isa().name()
    ));
}

/// Says how the model does on the test rows, uncalibrated and calibrated.
pub(super) fn say_test(talk: &Talk, test: &TestScores, metadata: &ModelMetadata) {
    let labels = &metadata.label_map;
    say_scores(talk, "Test", &test.trained, labels, "as trained");
    let (log_loss, ece) = (test.natural_log_loss, test.natural_ece);
    talk.phase("", &format!("probabilities with --prior natural: log-loss {log_loss:.4}   ECE {ece:.4}"));
    if let Some(calibrated) = &test.calibrated {
        let map = metadata.calibration.as_ref().map(|map| natural_name(Some(map.method())));
        let with_offsets = if metadata.offsets.is_some() { ", labels by offsets" } else { "" };
        let name = format!("{}{with_offsets}", map.unwrap_or("as trained".into()));
        say_scores(talk, "", calibrated, labels, &name);
    }
}

/// Says what probabilities mean by default.
pub(super) fn say_tilt(talk: &Talk, metadata: &ModelMetadata) {
    if let Some(map) = &metadata.calibration {
        let method = map.method().name();
        talk.phase(
            "Note",
            &format!("predict and eval give calibrated natural probabilities ({method}) by default"),
        );
    } else if is_tilted(&metadata.class_weights, metadata.logit_adjust, &metadata.logit_link) {
        let tilted = "probabilities are tilted towards the rare classes";
        talk.phase("Note", &format!("{tilted}; predict and eval take --prior natural to put them right"));
    }
}

/// Says where the model is, and what to do next.
pub(super) fn say_saved(talk: &Talk, out: &str, size: u64, took: f64, cut_short: bool) {
    let (size, took) = (bytes(size), seconds(took));
    talk.phase("Saved", &format!("{out} ({size}) after {took}   next: cbfit eval {out} DATA"));
    if cut_short {
        talk.phase("Stopped", "interrupted: this is the best model so far, not fitted to the end");
    }
}

pub(super) fn resample_text(resampling: Resampling, weighted: &WeightedSample<'_>, rows: usize) -> String {
    let (drawn, rows) = (thousands(weighted.rows() as u64), thousands(rows as u64));
    format!("{}   {drawn} of {rows} rows drawn, each weighs as often as it was", resampling.name())
}

pub(super) fn closed_form_text(rows: usize, refitted: bool) -> String {
    let which = if refitted { "training and validation rows together: " } else { "" };
    format!("{which}{} rows, in closed form", thousands(rows as u64))
}

pub(super) fn fitted_text(fit: &FitSummary, optimizer: &Optimizer) -> String {
    let (unit, reached) = match optimizer {
        Optimizer::Lbfgs { .. } if fit.converged => ("iterations", ""),
        Optimizer::Lbfgs { .. } => ("iterations", ", NOT converged"),
        // Minibatches end by their epochs, not by a tolerance.
        Optimizer::Minibatch { .. } => ("epochs", ""),
    };
    format!(
        "{}{} rows, {} {unit}; {}{reached}",
        if fit.refitted { "training and validation rows together: " } else { "" },
        thousands(fit.rows as u64),
        fit.steps,
        text::certificate_text(&fit.certificate),
    )
}

pub(super) fn say_weights(talk: &Talk, summary: &WeightSummary, rows: usize) {
    for (number, line) in text::weight_lines(summary, rows as u64).iter().enumerate() {
        talk.phase(if number == 0 { "Weights" } else { "" }, line);
    }
}

pub(super) fn say_scores(talk: &Talk, name: &str, scores: &Evaluation, labels: &LabelMap, prior: &str) {
    for (number, line) in text::evaluation_lines(scores, labels, prior).iter().enumerate() {
        talk.phase(if number == 0 { name } else { "" }, line);
    }
}

pub(super) fn solver_text(optimizer: &Optimizer) -> String {
    match optimizer {
        Optimizer::Lbfgs { tolerance, max_iterations, .. } => {
            format!(
                "lbfgs   to a certified gap of {}, at most {max_iterations} iterations",
                short(*tolerance)
            )
        }
        Optimizer::Minibatch { rule, epochs, batch, rate, schedule, patience, .. } => format!(
            "{}   {epochs} epochs, batch {}, rate {}, {} schedule, patience {patience}",
            rule.name(),
            batch.map_or("by the rows".into(), |batch| batch.to_string()),
            rate.map_or("from the features".into(), short),
            schedule.name()
        ),
    }
}

/// Prints the trials of a search and keeps their summaries.
pub(super) struct Trials<'t> {
    pub(super) talk: &'t mut Talk,
    interrupt: &'t Interrupt,
    current: String,
    begun: Instant,
    pub(super) summaries: Vec<TrialSummary>,
}

impl<'t> Trials<'t> {
    pub(super) fn new(talk: &'t mut Talk, interrupt: &'t Interrupt) -> Self {
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

pub(super) fn progress_text(what: &str, progress: &Progress, begun: &Instant) -> String {
    format!(
        "{what}: step {} of at most {}, J {:.5}{}, {}",
        progress.step,
        progress.steps,
        progress.objective,
        if progress.on_sample { " on a sample" } else { "" },
        seconds(begun.elapsed().as_secs_f64())
    )
}
