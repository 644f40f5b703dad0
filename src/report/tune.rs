//! What a search for a setting reports.

use serde::Serialize;

use super::format::{score, seconds, short};
use crate::Result;
use crate::data::dataset::Dataset;
use crate::experiment::folds::Folds;
use crate::experiment::tune::{Scored, Tuned};
use crate::labels::ClassCounts;
use crate::metrics::Metric;

/// A search. `schema` names the layout.
#[derive(Debug, Clone, Serialize)]
pub struct TuneReport {
    /// `cbfit.tune/1`.
    pub schema: &'static str,
    /// Version of cbfit.
    pub cbfit: &'static str,
    /// Name of the data.
    pub source: String,
    /// Rows.
    pub rows: u64,
    /// Folds of each repeat.
    pub folds: usize,
    /// Repeats.
    pub repeats: usize,
    /// Name of the metric optimised.
    pub metric: String,
    /// Whether larger values of it are better.
    pub higher_is_better: bool,
    /// Every setting tried, in order.
    pub trials: Vec<TuneTrial>,
    /// Place of the chosen one.
    pub best: usize,
    /// The metric of a choice made for each fold on the others: what to expect on new rows.
    pub expected: f64,
    /// Fits made.
    pub fits: usize,
    /// Whether the budget or an interrupt ended the search.
    pub is_cut_short: bool,
    /// The command line that trains the chosen setting.
    pub command: String,
    /// What `predict` and `eval` take as `--prior` for it, where that is not the default.
    pub prior: Option<String>,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// One setting.
#[derive(Debug, Clone, Serialize)]
pub struct TuneTrial {
    /// Loss with its gamma, and weighting.
    pub treatment: String,
    /// Strength of the penalty.
    pub l2: f64,
    /// Strength of the adjustment after training.
    pub tau: Option<f64>,
    /// The metric over all out-of-fold rows.
    pub value: f64,
    /// Mean log-loss over classes under the uniform prior, which decides within the noise of the metric.
    pub balanced_log_loss: f64,
}

/// A finished search, ready to be described.
pub struct Tuning<'a> {
    /// The search.
    pub tuned: &'a Tuned,
    /// Labels of all rows.
    pub labels: &'a [u32],
    /// Rows of each class.
    pub counts: &'a ClassCounts,
    /// One a repeat.
    pub folds: &'a [Folds],
    /// The metric optimised.
    pub metric: Metric,
    /// The data.
    pub main: &'a Dataset,
    /// The data as the user named them.
    pub paths: &'a [String],
    /// Wall time in seconds.
    pub seconds: f64,
}

impl Tuning<'_> {
    /// The report.
    ///
    /// # Errors
    /// Those of the score.
    pub fn report(&self) -> Result<TuneReport> {
        let Tuned { treatments, scored, best, honest, fits, is_cut_short } = self.tuned;
        let sign = if self.metric.higher_is_better() { 1.0 } else { -1.0 };
        let trial = |scored: &Scored| {
            let treatment = &treatments[scored.setting.treatment];
            TuneTrial {
                treatment: format!("{} {treatment}", loss_text(treatment)),
                l2: scored.l2,
                tau: scored.tau,
                value: sign * scored.standing.metric,
                balanced_log_loss: scored.standing.balanced_log_loss,
            }
        };
        let mut expected = 0.0;
        for (folds, outcomes) in self.folds.iter().zip(&honest.outcomes) {
            let labels: Vec<u32> = folds.scored().iter().map(|&row| self.labels[row]).collect();
            expected += outcomes.value(&labels, self.counts, self.metric)? / self.folds.len() as f64;
        }
        let chosen = &scored[*best];
        let flags = treatments[chosen.setting.treatment].flags(None);
        Ok(TuneReport {
            schema: "cbfit.tune/1",
            cbfit: env!("CARGO_PKG_VERSION"),
            source: self.main.source.name.clone(),
            rows: self.labels.len() as u64,
            folds: self.folds.first().map_or(0, Folds::folds),
            repeats: self.folds.len(),
            metric: self.metric.name().into(),
            higher_is_better: self.metric.higher_is_better(),
            trials: scored.iter().map(trial).collect(),
            best: *best,
            expected,
            fits: *fits,
            is_cut_short: *is_cut_short,
            command: format!("cbfit --train {} {flags} --l2 {}", self.paths.join(" "), short(chosen.l2)),
            prior: chosen.tau.map(|tau| format!("tau={tau}")),
            seconds: self.seconds,
        })
    }
}

fn loss_text(treatment: &crate::experiment::treatment::Treatment) -> String {
    match treatment.loss.gamma() {
        0.0 => treatment.loss.name().into(),
        gamma => format!("{} {gamma}", treatment.loss.name()),
    }
}

/// A heat map of the metric by treatment and l2 (of several taus the best), and the choice, a line each.
pub fn tune_lines(report: &TuneReport) -> Vec<String> {
    let mut l2: Vec<f64> = report.trials.iter().map(|trial| trial.l2).collect();
    l2.sort_by(|a, b| b.total_cmp(a));
    l2.dedup();
    let mut names: Vec<String> = Vec::new();
    for trial in &report.trials {
        let name = name_of(trial);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let columns: String = l2.iter().map(|&l2| format!(" {:>7}", short(l2))).collect();
    let mut lines = vec![format!(" {:width$}  l2{columns}", report.metric)];
    let chosen = report.trials.get(report.best);
    let sign = if report.higher_is_better { 1.0 } else { -1.0 };
    for name in &names {
        let cells = l2.iter().map(|&at| {
            let here = report.trials.iter().filter(|trial| trial.l2 == at && name_of(trial) == *name);
            let best = here.reduce(|a, b| if sign * b.value > sign * a.value { b } else { a });
            let mark = if best.is_some_and(|b| chosen.is_some_and(|c| c.l2 == b.l2 && name_of(c) == *name)) {
                ">"
            } else {
                " "
            };
            let shown = best.map_or(String::new(), |best| score(best.value));
            format!(" {:>7}", if shown.is_empty() { shown } else { format!("{mark}{shown}") })
        });
        lines.push(format!(" {name:width$}    {}", cells.collect::<String>()));
    }
    if let Some(chosen) = chosen {
        let tau = chosen.tau.map_or(String::new(), |tau| format!(" tau {tau}"));
        lines.push(format!(
            " best: {}  l2 {}{tau}   {} {}, to be expected on new rows {}   {} fits, {}{}",
            chosen.treatment,
            short(chosen.l2),
            report.metric,
            score(chosen.value),
            score(report.expected),
            report.fits,
            seconds(report.seconds),
            if report.is_cut_short { ", ended by the budget" } else { "" }
        ));
    }
    lines.push(format!(" next: {}", report.command));
    if let Some(prior) = &report.prior {
        lines.push(format!("       then predict and eval with --prior {prior}"));
    }
    lines
}

fn name_of(trial: &TuneTrial) -> String {
    trial.treatment.clone()
}
