//! The comparison: every candidate on the same folds, with settings chosen on other folds than those they are scored on,
//! and paired statistics over the rows that all of them were asked about.

use rayon::prelude::*;

use super::bootstrap::{Interval, Replicates, bootstrap};
use super::fold_fits::FoldTable;
use super::folds::Folds;
use super::outcomes::Outcomes;
use super::readings::{Decision, Readings};
use super::stats::{corrected_t, holm, mean_sd};
use super::treatment::Treatment;
use super::verdict::{Gap, Standpoint, best};
use crate::Result;
use crate::labels::ClassCounts;
use crate::metrics::{Metric, Standing, calibration_error};

/// Replicates of the bootstrap, fewer where rows are many: a standard error from 400 is off by 4 %.
fn replicates(rows: usize) -> usize {
    const DRAWS: usize = 100_000_000;
    (DRAWS / rows.max(1)).clamp(400, 2000)
}

/// What is compared and on what.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Class code of each of the N rows.
    pub labels: &'a [u32],
    /// Rows of each class.
    pub counts: &'a ClassCounts,
    /// One a repeat.
    pub folds: &'a [Folds],
    /// The first is the baseline.
    pub candidates: &'a [Treatment],
    /// The metric that decides.
    pub metric: Metric,
    /// Number of strengths of the adjustment after training.
    pub taus: usize,
    /// Key of the bootstrap.
    pub seed: u64,
}

/// A fit and how it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Place of the treatment.
    pub treatment: usize,
    /// Place of its level.
    pub level: usize,
    /// How a class is decided for.
    pub decision: Decision,
}

/// What the folds say of one candidate.
#[derive(Debug)]
pub struct Compared {
    /// Chosen on the other folds, for each fold of each repeat.
    pub settings: Vec<Setting>,
    /// Chosen on all folds: for a fit of all rows.
    pub final_setting: Setting,
    /// Out-of-fold outcomes of the scored rows, one a repeat.
    pub outcomes: Vec<Outcomes>,
    /// The deciding metric over the rows of each fold of each repeat.
    pub fold_values: Vec<f64>,
    /// Standard deviation of these.
    pub fold_sd: f64,
    /// Log-loss under the natural prior.
    pub natural_log_loss: f64,
    /// Calibration error under the natural prior.
    pub natural_ece: f64,
    /// Out-of-fold recall of each class; NaN where unscored.
    pub class_recall: Vec<f64>,
}

/// All candidates with the statistics of their differences.
#[derive(Debug)]
pub struct Comparison {
    /// One a candidate.
    pub candidates: Vec<Compared>,
    /// Rows that were held out by some fold, ascending.
    pub scored: Vec<usize>,
    /// The deciding metric of each candidate, mean over repeats, and its resampled values.
    pub replicates: Replicates,
}

/// A paired difference with the p-value of its folds.
#[derive(Debug, Clone, Copy)]
pub struct FoldedGap {
    /// Of all rows, from the bootstrap.
    pub gap: Gap,
    /// Before Holm's correction.
    pub p: f64,
    /// Of the corrected resampled t-test over folds.
    pub p_folds: f64,
}

/// Chooses the settings of every candidate and compares what they decide.
///
/// # Errors
/// [`crate::Error::BadValue`] for a metric that needs more than predictions and losses.
pub fn compare(question: &Question<'_>, table: &FoldTable) -> Result<Comparison> {
    let scored = question.folds.first().map_or(Vec::new(), Folds::scored);
    let labels: Vec<u32> = scored.iter().map(|&row| question.labels[row]).collect();
    let judge = Judge { question, readings: &table.readings };
    let places = (0..question.candidates.len()).into_par_iter();
    let candidates: Vec<Compared> =
        places.map(|place| judge.compare(&settings_of(place, question, table))).collect();
    let outcomes: Vec<Vec<Outcomes>> = candidates.iter().map(|c| c.outcomes.clone()).collect();
    let drawn = replicates(labels.len());
    let replicates = bootstrap(&outcomes, &labels, question.counts, question.metric, drawn, question.seed)?;
    Ok(Comparison { candidates, scored, replicates })
}

/// What a candidate can choose among, strong l2 first.
fn settings_of(treatment: usize, question: &Question<'_>, table: &FoldTable) -> Vec<Setting> {
    let decisions: Vec<Decision> = match question.candidates[treatment].is_adjusted {
        true => (0..question.taus).map(Decision::Adjusted).collect(),
        false => vec![Decision::MostProbable],
    };
    let each = |level| decisions.iter().map(move |&decision| Setting { treatment, level, decision });
    (0..table.levels[treatment].len()).flat_map(each).collect()
}

/// Chooses among settings and reads what they decide.
pub(super) struct Judge<'j> {
    pub(super) question: &'j Question<'j>,
    /// `[treatment][level][repeat]`.
    pub(super) readings: &'j [Vec<Vec<Readings>>],
}

impl Judge<'_> {
    /// The out-of-fold decisions of a choice among `settings`, made for each fold on the others.
    pub(super) fn compare(&self, settings: &[Setting]) -> Compared {
        let Question { folds, labels, counts, .. } = self.question;
        let mut chosen = Vec::new();
        let mut outcomes = Vec::new();
        let mut fold_values = Vec::new();
        let mut natural = Natural::default();
        let mut recall = vec![(0u64, 0u64); counts.classes()];
        for (repeat, folds) in folds.iter().enumerate() {
            let by_fold: Vec<Setting> = (0..folds.folds())
                .map(|fold| {
                    self.choose(settings, repeat, |row| folds.fold_of(row).is_some_and(|f| f != fold))
                })
                .collect();
            let of_row = |row: usize| folds.fold_of(row).and_then(|fold| by_fold.get(fold)).copied();
            let rows: Vec<(usize, Setting)> =
                (0..labels.len()).filter_map(|row| Some((row, of_row(row)?))).collect();
            outcomes.push(Outcomes::of_rows(rows.iter().map(|&(row, setting)| {
                let readings = self.readings(setting, repeat);
                natural.add(readings, row, labels[row]);
                let (rows, hits) = &mut recall[labels[row] as usize];
                *rows += 1;
                *hits += u64::from(readings.predicted(setting.decision, row) == labels[row]);
                readings.outcome(setting.decision, row)
            })));
            for (fold, setting) in by_fold.iter().enumerate() {
                let held = (0..labels.len()).filter(|&row| folds.fold_of(row) == Some(fold));
                fold_values.push(self.value(*setting, repeat, held));
            }
            chosen.extend(by_fold);
        }
        Compared {
            final_setting: self.choose_over_repeats(settings),
            settings: chosen,
            outcomes,
            fold_sd: mean_sd(&fold_values).1,
            fold_values,
            natural_log_loss: natural.log_loss(),
            natural_ece: natural.calibration_error(),
            class_recall: recall.into_iter().map(|(rows, hits)| hits as f64 / rows as f64).collect(),
        }
    }

    fn readings(&self, setting: Setting, repeat: usize) -> &Readings {
        &self.readings[setting.treatment][setting.level][repeat]
    }

    /// How a setting stands over `rows` of a repeat.
    pub(super) fn standing(
        &self,
        setting: Setting,
        repeat: usize,
        rows: impl Iterator<Item = usize>,
    ) -> Standing {
        let Question { labels, counts, metric, .. } = self.question;
        let readings = self.readings(setting, repeat);
        readings.standing(setting.decision, rows, labels, &counts.rows, *metric)
    }

    fn value(&self, setting: Setting, repeat: usize, rows: impl Iterator<Item = usize>) -> f64 {
        let sign = if self.question.metric.higher_is_better() { 1.0 } else { -1.0 };
        sign * self.standing(setting, repeat, rows).metric
    }

    fn choose(&self, settings: &[Setting], repeat: usize, is_in: impl Fn(usize) -> bool) -> Setting {
        let rows = || (0..self.question.labels.len()).filter(|&row| is_in(row));
        let standings: Vec<Standing> =
            settings.iter().map(|&setting| self.standing(setting, repeat, rows())).collect();
        pick(settings, &standings)
    }

    /// The choice of the first repeat over all its rows: what a fit of all rows takes.
    fn choose_over_repeats(&self, settings: &[Setting]) -> Setting {
        let folds = &self.question.folds[0];
        self.choose(settings, 0, |row| folds.fold_of(row).is_some())
    }
}

/// The fit by [`Standing::choose`]; of its taus, which share their balanced log-loss, the one with the highest metric.
fn pick(settings: &[Setting], standings: &[Standing]) -> Setting {
    let Some(chosen) = Standing::choose(standings) else {
        return Setting { treatment: 0, level: 0, decision: Decision::MostProbable };
    };
    let is_adjusted = |setting: &Setting| setting.decision != Decision::MostProbable;
    let fit = |setting: &Setting| (setting.treatment, setting.level, is_adjusted(setting));
    let same_fit = (0..settings.len()).filter(|&at| fit(&settings[at]) == fit(&settings[chosen]));
    let highest =
        same_fit.reduce(|top, at| if standings[at].metric > standings[top].metric { at } else { top });
    settings[highest.unwrap_or(chosen)]
}

/// Probabilities under the natural prior, over the rows of all repeats.
#[derive(Default)]
struct Natural {
    log_loss: f64,
    rows: Vec<(f64, bool, f64)>,
}

impl Natural {
    fn add(&mut self, readings: &Readings, row: usize, label: u32) {
        let reading = &readings.rows[row];
        self.log_loss += f64::from(reading.natural_loss);
        self.rows.push((f64::from(reading.natural_confidence), reading.natural == label, 1.0));
    }

    fn log_loss(&self) -> f64 {
        self.log_loss / self.rows.len() as f64
    }

    fn calibration_error(self) -> f64 {
        calibration_error(self.rows)
    }
}

impl Comparison {
    /// Differences of every candidate from the one at `other`, which has none itself; Holm's correction is over them.
    /// `train_rows` and `test_rows` are those of a fold.
    pub fn gaps_from(&self, question: &Question<'_>, other: usize) -> Vec<Option<FoldedGap>> {
        let places = 0..self.candidates.len();
        let intervals: Vec<Option<Interval>> =
            places.map(|at| (at != other).then(|| self.replicates.difference(at, other))).collect();
        let p: Vec<f64> = intervals.iter().map(|i| i.map_or(f64::NAN, |i| i.p)).collect();
        let adjusted = holm(&p);
        let folds = question.folds.first().map_or(2, Folds::folds) as f64;
        let (test, train) = (self.scored.len() as f64 / folds, question.labels.len() as f64);
        let of = |(at, interval): (usize, Option<Interval>)| {
            let interval = interval?;
            let (ours, theirs) = (&self.candidates[at].fold_values, &self.candidates[other].fold_values);
            let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
            let p_folds = corrected_t(&differences, train - test, test).p;
            let gap =
                Gap { value: interval.value, low: interval.low, high: interval.high, p_holm: adjusted[at] };
            Some(FoldedGap { gap, p: interval.p, p_folds })
        };
        intervals.into_iter().enumerate().map(of).collect()
    }

    /// What a verdict is drawn from, one a candidate: its name, with learner and loss where these differ, and its distance
    /// from the first and from the best. With them the differences from the first, p-values of folds included.
    pub fn standpoints(&self, question: &Question<'_>) -> (Vec<Standpoint>, Vec<Option<FoldedGap>>) {
        let all = question.candidates;
        let name = |treatment: &Treatment| {
            let named = |differs: bool, name: &str| if differs { format!("{name} ") } else { String::new() };
            let learner = named(all.iter().any(|t| t.learner != all[0].learner), treatment.learner.name());
            let loss = named(all.iter().any(|t| t.loss != all[0].loss), treatment.loss.name());
            format!("{learner}{loss}{treatment}")
        };
        let sign = if question.metric.higher_is_better() { 1.0 } else { -1.0 };
        let named = all.iter().zip(self.replicates.values());
        let mut standpoints: Vec<Standpoint> =
            named.map(|(own, value)| Standpoint::new(name(own), own, sign * value)).collect();
        let from_first = self.gaps_from(question, 0);
        let from_best = self.gaps_from(question, best(&standpoints).unwrap_or(0));
        for (standpoint, (first, best)) in standpoints.iter_mut().zip(from_first.iter().zip(from_best)) {
            standpoint.against_baseline = first.map(|folded| folded.gap);
            standpoint.against_best = best.map(|folded| folded.gap);
        }
        (standpoints, from_first)
    }

    /// Outcomes of the candidates on test rows with these labels, resampled as [`compare`] does.
    ///
    /// # Errors
    /// As of [`compare`].
    pub fn on_test(
        &self,
        question: &Question<'_>,
        outcomes: &[Vec<Outcomes>],
        labels: &[u32],
    ) -> Result<Replicates> {
        let drawn = replicates(labels.len());
        bootstrap(outcomes, labels, question.counts, question.metric, drawn, question.seed)
    }

    /// A metric over all out-of-fold rows, mean over repeats.
    ///
    /// # Errors
    /// As of [`compare`].
    pub fn score(&self, question: &Question<'_>, candidate: usize, metric: Metric) -> Result<f64> {
        let labels: Vec<u32> = self.scored.iter().map(|&row| question.labels[row]).collect();
        let outcomes = &self.candidates[candidate].outcomes;
        let values = outcomes
            .iter()
            .map(|outcomes| outcomes.value(&labels, question.counts, metric))
            .collect::<Result<Vec<f64>>>()?;
        Ok(mean_sd(&values).0)
    }
}
