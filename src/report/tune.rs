//! What a search for a setting reports.

use serde::Serialize;

use super::format::{score, seconds};
use crate::Result;
use crate::data::dataset::Dataset;
use crate::experiment::folds::Folds;
use crate::experiment::strength::Strength;
use crate::experiment::treatment::Treatment;
use crate::experiment::tune::{Scored, Tuned};
use crate::labels::ClassCounts;
use crate::metrics::Metric;
use crate::model::Learner;

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
    /// Learner where there are several, loss with its gamma, and weighting.
    pub treatment: String,
    /// Strength of the penalty, of a linear fit.
    pub l2: Option<f64>,
    /// Rounds, of a boosted fit.
    pub rounds: Option<usize>,
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
    /// Prior that was asked for, as `predict` takes it.
    pub prior: Option<&'a str>,
    /// Flags of boosting that all boosted fits have in common, each after a space.
    pub boost_flags: &'a str,
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
                treatment: name_of(treatment, treatments),
                l2: scored.strength.l2(),
                rounds: scored.strength.rounds(),
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
        let treatment = &treatments[chosen.setting.treatment];
        let common = if treatment.learner == Learner::Boost { self.boost_flags } else { "" };
        let flags = format!("{}{common}{}", treatment.flags(None), chosen.strength.flag());
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
            command: format!("cbfit --train {} {flags}", self.paths.join(" ")),
            prior: chosen.tau.map(|tau| format!("tau={tau}")).or(self.prior.map(str::to_owned)),
            seconds: self.seconds,
        })
    }
}

fn name_of(treatment: &Treatment, all: &[Treatment]) -> String {
    let several = all.iter().any(|other| other.learner != all[0].learner);
    let learner = if several { format!("{} ", treatment.learner) } else { String::new() };
    match treatment.loss.gamma() {
        0.0 => format!("{learner}{} {treatment}", treatment.loss.name()),
        gamma => format!("{learner}{} {gamma} {treatment}", treatment.loss.name()),
    }
}

impl TuneTrial {
    fn strength(&self) -> Strength {
        let l2 = self.l2.map_or(Strength::Closed, Strength::L2);
        self.rounds.map_or(l2, Strength::Rounds)
    }
}

/// Heat maps of the metric by treatment and strength (of several taus the best), one for l2 and one for rounds, and the
/// choice, a line each.
pub fn tune_lines(report: &TuneReport) -> Vec<String> {
    let mut lines = Vec::new();
    let (boosted, linear): (Vec<&TuneTrial>, Vec<&TuneTrial>) =
        report.trials.iter().partition(|trial| trial.rounds.is_some());
    for (unit, trials) in [("l2", linear), ("rounds", boosted)] {
        if !trials.is_empty() {
            lines.extend(heat_map(report, unit, &trials));
        }
    }
    if let Some(chosen) = report.trials.get(report.best) {
        let unit = if chosen.rounds.is_some() { "rounds" } else { "l2" };
        let tau = chosen.tau.map_or(String::new(), |tau| format!(" tau {tau}"));
        lines.push(format!(
            " best: {}  {unit} {}{tau}   {} {}, to be expected on new rows {}   {} fits, {}{}",
            chosen.treatment,
            chosen.strength(),
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

fn heat_map(report: &TuneReport, unit: &str, trials: &[&TuneTrial]) -> Vec<String> {
    let mut strengths: Vec<Strength> = trials.iter().map(|trial| trial.strength()).collect();
    strengths.sort_by(|a, b| {
        let flexible = |strength: &Strength| (strength.l2().map(|l2| -l2), strength.rounds());
        flexible(a).partial_cmp(&flexible(b)).unwrap_or(std::cmp::Ordering::Equal)
    });
    strengths.dedup();
    let mut names: Vec<&str> = Vec::new();
    for trial in trials {
        if !names.contains(&trial.treatment.as_str()) {
            names.push(&trial.treatment);
        }
    }
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(report.metric.len());
    let columns: String = strengths.iter().map(|strength| format!(" {:>7}", strength.to_string())).collect();
    let mut lines = vec![format!(" {:width$}  {unit}{columns}", report.metric)];
    let chosen = report.trials.get(report.best);
    let sign = if report.higher_is_better { 1.0 } else { -1.0 };
    let indent = " ".repeat(unit.len() + 2);
    for name in names {
        let cells = strengths.iter().map(|&at| {
            let here = trials.iter().filter(|trial| trial.strength() == at && trial.treatment == name);
            let best = here.reduce(|a, b| if sign * b.value > sign * a.value { b } else { a });
            let is_chosen = chosen.is_some_and(|c| c.strength() == at && c.treatment == name);
            let mark = if is_chosen { ">" } else { "" };
            let shown = best.map_or(String::new(), |best| format!("{mark}{}", score(best.value)));
            format!(" {shown:>7}")
        });
        lines.push(format!(" {name:width$}{indent}{}", cells.collect::<String>()));
    }
    lines
}
