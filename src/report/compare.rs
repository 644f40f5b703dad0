//! What a comparison reports: one object, the source of the printed table, of `--json` and of the HTML report.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::format::{score, short};
use super::train::BriefScores;
use crate::Result;
use crate::data::dataset::Dataset;
use crate::experiment::bootstrap::Replicates;
use crate::experiment::compare::{Comparison, FoldedGap, Question, Setting};
use crate::experiment::fold_fits::FoldTable;
use crate::experiment::readings::Decision;
use crate::experiment::strength::Strength;
use crate::experiment::verdict::{best as best_of, find};
use crate::metrics::Metric;
use crate::model::Learner;
use crate::weighting::summary::spread;
use crate::weighting::{ClassWeights, Normalisation};

/// A comparison of candidates on the same folds. `schema` names the layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompareReport {
    /// `cbfit.compare/1`.
    pub schema: String,
    /// Version of cbfit.
    pub cbfit: String,
    /// Name of the data.
    pub source: String,
    /// Rows compared on.
    pub rows: u64,
    /// Names of the C classes.
    pub class_names: Vec<String>,
    /// Rows of each class.
    pub class_rows: Vec<u64>,
    /// Classes of one row: always trained on, never scored.
    pub unscored_classes: usize,
    /// Folds of each repeat.
    pub folds: usize,
    /// Repeats of the folds with other draws.
    pub repeats: usize,
    /// Name of the metric that decides.
    pub metric: String,
    /// Whether larger values of it are better.
    pub higher_is_better: bool,
    /// Prior that decisions and losses are under, where one was asked for.
    #[serde(default)]
    pub prior: Option<String>,
    /// What was compared, in the order of the table. The first is the baseline.
    pub candidates: Vec<CandidateReport>,
    /// The finding.
    pub verdict: Verdict,
    /// What the data make doubtful, a sentence with its number each.
    pub warnings: Vec<String>,
    /// Fits made.
    pub fits: usize,
    /// Passes of linear fits over the rows of a fold, and rounds of boosted ones.
    pub passes: usize,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// One way to treat the imbalance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateReport {
    /// Unique name: `none`, `effective .999`, `none + adjust`.
    pub name: String,
    /// Loss of the fits.
    pub loss: String,
    /// Settings that reproduce it, as flags of `train`.
    pub flags: String,
    /// What `predict` and `eval` take as `--prior` to decide as the candidate does, where that is not the default.
    pub prior: Option<String>,
    /// Largest class weight over the smallest.
    pub weight_ratio: f64,
    /// What fits it: `linear` or `boost`.
    #[serde(default)]
    pub learner: Learner,
    /// l2 of each fold and repeat, chosen on the other folds; empty where the learner has none.
    pub l2: Vec<f64>,
    /// Rounds of each fold and repeat, chosen on the other folds; empty where the learner has none.
    #[serde(default)]
    pub rounds: Vec<usize>,
    /// Strength of the adjustment after training of each fold and repeat, where the candidate has one.
    pub tau: Vec<f64>,
    /// Scores over all out-of-fold rows, means over repeats; probabilities as the candidate decides by them.
    pub scores: BriefScores,
    /// Log-loss with the probabilities put under the natural prior.
    #[serde(deserialize_with = "super::nulls::number")]
    pub natural_log_loss: f64,
    /// Calibration error (15 bins of equal mass) under the natural prior.
    #[serde(deserialize_with = "super::nulls::number")]
    pub natural_ece: f64,
    /// The deciding metric over all out-of-fold rows, mean over repeats.
    #[serde(deserialize_with = "super::nulls::number")]
    pub value: f64,
    /// Standard deviation of the metric over folds and repeats.
    #[serde(deserialize_with = "super::nulls::number")]
    pub fold_sd: f64,
    /// Difference from the baseline; `None` for the baseline.
    pub against_baseline: Option<Difference>,
    /// Difference from the candidate with the best value; `None` for that one.
    pub against_best: Option<Difference>,
    /// Out-of-fold recall of each class; NaN (null) where unscored.
    #[serde(deserialize_with = "super::nulls::list")]
    pub class_recall: Vec<f64>,
    /// The metric on test rows, where some were given.
    pub test: Option<TestValue>,
}

/// A paired difference of the deciding metric, positive where the candidate is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Over all out-of-fold rows.
    pub value: f64,
    /// Lower end of its 95 % interval, from a paired bootstrap stratified by class.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p-value that belongs to the interval.
    pub p: f64,
    /// The p-value after Holm's correction over the candidates.
    pub p_holm: f64,
    /// Two-sided p-value of the corrected resampled t-test over folds (Nadeau & Bengio 2003).
    #[serde(deserialize_with = "super::nulls::number")]
    pub p_folds: f64,
}

/// The metric on test rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TestValue {
    /// The deciding metric.
    pub value: f64,
    /// Its standard error, from the bootstrap.
    pub standard_error: f64,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Place of the recommended candidate.
    pub recommended: usize,
    /// Place of the candidate with the best value.
    pub best: usize,
    /// The finding in one or two sentences.
    pub sentence: String,
    /// The command line that trains the recommended candidate.
    pub command: String,
}

/// A finished comparison, ready to be described.
pub struct Described<'a> {
    /// What was asked.
    pub question: &'a Question<'a>,
    /// What the folds say.
    pub comparison: &'a Comparison,
    /// Their fits.
    pub table: &'a FoldTable,
    /// Strengths of the adjustment after training.
    pub taus: &'a [f64],
    /// The data.
    pub main: &'a Dataset,
    /// The data as the user named them.
    pub paths: &'a [String],
    /// Cap of the class weights.
    pub max_weight: Option<f64>,
    /// Prior that was asked for, as `predict` takes it.
    pub prior: Option<&'a str>,
    /// Flags of boosting that all boosted fits have in common, each after a space.
    pub boost_flags: &'a str,
    /// The candidates on test rows, where there are any.
    pub test: Option<Replicates>,
    /// Warnings about the data.
    pub warnings: Vec<String>,
    /// Wall time in seconds.
    pub seconds: f64,
}

impl Described<'_> {
    /// The whole report.
    ///
    /// # Errors
    /// Those of the weighting and of the scores.
    pub fn report(self) -> Result<CompareReport> {
        let (question, comparison) = (self.question, self.comparison);
        let (standpoints, from_baseline) = comparison.standpoints(question);
        let best = best_of(&standpoints).unwrap_or(0);
        let from_best = comparison.gaps_from(question, best);
        let finding = find(&standpoints, question.metric);
        let candidates = (0..standpoints.len())
            .map(|at| self.candidate(at, &standpoints[at].name, from_baseline[at], from_best[at]))
            .collect::<Result<Vec<CandidateReport>>>()?;
        let recommended = finding.as_ref().map_or(0, |finding| finding.recommended);
        let folds = question.folds.first();
        Ok(CompareReport {
            schema: "cbfit.compare/1".into(),
            cbfit: env!("CARGO_PKG_VERSION").into(),
            // Reports are passed on; folders are nobody's business.
            source: self.main.source.name.rsplit(['/', '\\']).next().unwrap_or_default().into(),
            rows: question.labels.len() as u64,
            class_names: self.main.label_map.names.clone(),
            class_rows: question.counts.rows.clone(),
            unscored_classes: folds.map_or(0, |folds| folds.kept_classes().len()),
            folds: folds.map_or(0, |folds| folds.folds()),
            repeats: question.folds.len(),
            metric: question.metric.name().into(),
            higher_is_better: question.metric.higher_is_better(),
            prior: self.prior.map(str::to_owned),
            verdict: Verdict {
                recommended,
                best,
                sentence: finding.map_or(String::new(), |finding| finding.sentence),
                command: candidates.get(recommended).map_or(String::new(), |c| self.command(c)),
            },
            candidates,
            warnings: self.warnings,
            fits: self.table.work.fits,
            passes: self.table.work.passes,
            seconds: self.seconds,
        })
    }

    fn candidate(
        &self,
        at: usize,
        name: &str,
        from_baseline: Option<FoldedGap>,
        from_best: Option<FoldedGap>,
    ) -> Result<CandidateReport> {
        let (question, comparison) = (self.question, self.comparison);
        let compared = &comparison.candidates[at];
        let treatment = &question.candidates[at];
        let score = |metric| comparison.score(question, at, metric);
        let scheme = &treatment.scheme;
        let weights = ClassWeights::new(scheme, question.counts, Normalisation::Samples, self.max_weight)?;
        let level = |setting: &Setting| self.table.levels[setting.treatment][setting.level];
        let tau = |setting: &Setting| match setting.decision {
            Decision::Adjusted(place) => self.taus.get(place).copied(),
            Decision::MostProbable => None,
        };
        let chosen = level(&compared.final_setting);
        let common = if treatment.learner == Learner::Boost { self.boost_flags } else { "" };
        let flags = format!("{}{common}{}", treatment.flags(chosen.head), chosen.strength.flag());
        let strengths = || compared.settings.iter().map(|setting| level(setting).strength);
        Ok(CandidateReport {
            name: name.into(),
            loss: treatment.loss.name().into(),
            flags,
            prior: tau(&compared.final_setting)
                .map(|tau| format!("tau={tau}"))
                .or(self.prior.map(str::to_owned)),
            weight_ratio: spread(&weights.alpha),
            learner: treatment.learner,
            l2: strengths().filter_map(Strength::l2).collect(),
            rounds: strengths().filter_map(Strength::rounds).collect(),
            tau: compared.settings.iter().filter_map(tau).collect(),
            scores: BriefScores {
                top1: score(Metric::Top1)?,
                macro_recall: score(Metric::MacroRecall)?,
                log_loss: score(Metric::LogLoss)?,
                bands: vec![score(Metric::Many)?, score(Metric::Medium)?, score(Metric::Few)?],
            },
            natural_log_loss: compared.natural_log_loss,
            natural_ece: compared.natural_ece,
            value: comparison.replicates.values()[at],
            fold_sd: compared.fold_sd,
            against_baseline: from_baseline.map(difference),
            against_best: from_best.map(difference),
            class_recall: compared.class_recall.clone(),
            test: self
                .test
                .as_ref()
                .map(|test| TestValue { value: test.values()[at], standard_error: test.standard_error(at) }),
        })
    }

    fn command(&self, candidate: &CandidateReport) -> String {
        let train = format!("cbfit --train {} {}", self.paths.join(" "), candidate.flags);
        match &candidate.prior {
            None => train,
            Some(prior) => format!("{train}   then predict and eval with --prior {prior}"),
        }
    }
}

fn difference(folded: FoldedGap) -> Difference {
    let FoldedGap { gap, p, p_folds } = folded;
    Difference { value: gap.value, low: gap.low, high: gap.high, p, p_holm: gap.p_holm, p_folds }
}

/// The report as a table with its verdict, a line each.
pub fn table_lines(report: &CompareReport) -> Vec<String> {
    let width = report.candidates.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(9);
    let bands = ["many", "medium", "few"];
    let shown: Vec<usize> =
        (0..3).filter(|&band| report.candidates.iter().any(|c| !c.scores.bands[band].is_nan())).collect();
    let is_extra = !["macro_recall", "top1"].contains(&report.metric.as_str());
    let has_test = report.candidates.iter().any(|c| c.test.is_some());
    let has = |learner| report.candidates.iter().any(|c| c.learner == learner);
    let strength = match (has(Learner::Linear), has(Learner::Boost)) {
        (true, true) => "l2/rounds",
        (false, true) => "rounds",
        _ => "l2",
    };
    let room = strength.len().max(7);
    let mut header = format!(" {:width$}  {:>7}  {strength:>room$}", "candidate", "w ratio");
    if is_extra {
        header += &format!("  {:>12}", report.metric);
    }
    header += &format!("  {:>12} {:>6}", "macro_recall", "top1");
    shown.iter().for_each(|&band| header += &format!(" {:>6}", bands[band]));
    header += &format!("  {:>8} {:>6}   {}", "logloss*", "ECE*", "difference from the first (95 %)");
    if has_test {
        header += &format!("   test {}", report.metric);
    }
    let mut lines = vec![header];
    for (at, c) in report.candidates.iter().enumerate() {
        let mark = match at {
            _ if at == report.verdict.recommended => '>',
            _ if at == report.verdict.best => '*',
            _ => ' ',
        };
        let rounds = middle(&c.rounds).map(Strength::Rounds);
        let strength = rounds.or(middle(&c.l2).map(Strength::L2)).unwrap_or(Strength::Closed);
        let mut line = format!("{mark}{:width$}  {:>7}  {strength:>room$}", c.name, short(c.weight_ratio));
        if is_extra {
            line += &format!("  {:>12}", score(c.value));
        }
        line += &format!("  {:>12} {:>6}", score(c.scores.macro_recall), score(c.scores.top1));
        shown.iter().for_each(|&band| line += &format!(" {:>6}", score(c.scores.bands[band])));
        line += &format!("  {:>8} {:>6}", score(c.natural_log_loss), score(c.natural_ece));
        line += &match &c.against_baseline {
            None => format!("   {:31}", "-"),
            Some(d) => {
                let p = if d.p_holm < 0.001 { "p<.001".into() } else { format!("p={:.3}", d.p_holm) };
                format!("   {:+.3} ({:+.3} to {:+.3}) {p:7}", d.value, d.low, d.high)
            }
        };
        if let Some(test) = &c.test {
            line += &format!("   {:.3} +-{:.3}", test.value, test.standard_error);
        }
        lines.push(line.trim_end().into());
    }
    lines.push(format!(
        " > recommended  * best   scores of rows held out by {} folds{}; settings of each fold chosen on the others; p after Holm",
        report.folds,
        if report.repeats > 1 { format!(" x {} repeats", report.repeats) } else { String::new() }
    ));
    lines.push(" * log-loss and ECE under the natural prior".into());
    if let Some(prior) = &report.prior {
        lines.push(format!(" decisions and the other losses under the prior {prior}"));
    }
    lines.extend(report.warnings.iter().map(|warning| format!(" warning: {warning}")));
    lines.push(format!(" verdict: {}", report.verdict.sentence));
    lines.push(format!(" next: {}", report.verdict.command));
    lines
}

/// The middle one of sorted values.
fn middle<T: Copy + PartialOrd>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    sorted.get(sorted.len() / 2).copied()
}
