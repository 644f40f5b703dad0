//! Scores of predictions against labels.
//!
//! Rows whose label the model does not know (unseen rows) count as wrong wherever predictions are judged: top-1,
//! top-5, precision, F1, MCC, average precision. They have no probability to judge, so log-loss, Brier and
//! calibration leave them out. Means over classes run over the classes that occur in the labels.

mod bands;
mod calibration;
pub mod confusion;
mod curves;
pub mod intervals;
mod recall;
mod rows;
pub mod selection;
pub mod standing;
mod tallied;

use rayon::prelude::*;
use serde::Serialize;

pub use bands::Band;
pub use calibration::{Reliability, ReliabilityBin, reliability};
pub use confusion::{Cell, Confusion};
pub use selection::{Gate, Metric};
pub use standing::Standing;

pub(crate) use calibration::calibration_error;
pub(crate) use rows::RowScore;
pub(crate) use tallied::Tallied;

use crate::labels::ClassCounts;
use crate::{Error, Result};
use recall::{ClassTally, mean_of_defined};

/// Confused pairs kept in an [`Evaluation`].
const CONFUSED_PAIRS: usize = 20;

/// All scores of one set of probabilities. What is undefined is NaN, in JSON null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Rows scored.
    pub rows: u64,
    /// Rows among them whose label the model does not know.
    pub unseen_rows: u64,
    /// Classes of the model.
    pub classes: usize,
    /// Classes that occur in the labels.
    pub classes_present: usize,
    /// Share of rows whose predicted class, the most probable one unless decisions are given, is right.
    pub top1: f64,
    /// Share of rows whose class is the predicted one or among the most probable, five in all; NaN for a model of five classes or fewer.
    pub top5: f64,
    /// Mean recall over the classes present, also called balanced accuracy.
    pub macro_recall: f64,
    /// Standard error of `macro_recall`: `sqrt(sum_c r_c (1 - r_c) / m_c) / C`.
    pub macro_recall_error: f64,
    /// Mean F1 over the classes that occur or were predicted.
    pub macro_f1: f64,
    /// Class of the lowest recall (the first of equal ones).
    pub worst_class: Option<usize>,
    /// Its recall.
    pub worst_class_recall: f64,
    /// Mean recall of the worst tenth of the classes present.
    pub worst_decile_recall: f64,
    /// Geometric mean of the recalls.
    pub g_mean: f64,
    /// Matthews correlation (Gorodkin's multiclass form).
    pub mcc: f64,
    /// Mean of `-log p_y` in nats; a probability below 1.2e-38 counts as that.
    pub log_loss: f64,
    /// Mean over the classes present of the mean log-loss of their rows.
    pub balanced_log_loss: f64,
    /// Mean of `sum_c (p_c - [c = y])^2`, between 0 and 2.
    pub brier: f64,
    /// Expected calibration error of the most probable class, 15 bins of equal mass.
    pub ece: f64,
    /// Mean over all classes of the calibration error of the class's probability (Kull et al. 2019).
    pub classwise_ece: f64,
    /// Mean average precision, one class against the rest, over the classes present.
    pub auprc: f64,
    /// Half the sum of `|predicted share - true share|` over classes: the share of rows the predictions misallot.
    pub share_distance: f64,
    /// Many, medium and few by training count.
    pub bands: Vec<Band>,
    /// Head, middle and tail third of the trained classes, given where one of `bands` has no recall.
    pub terciles: Option<Vec<Band>>,
    /// Scores by class, in class order.
    pub per_class: Vec<ClassScore>,
    /// The wrong predictions that occur most.
    pub most_confused: Vec<Cell>,
}

/// Scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScore {
    /// Code of the class.
    pub class: usize,
    /// Rows in training.
    pub train_rows: u64,
    /// Rows scored.
    pub rows: u64,
    /// NaN for a class without rows.
    pub recall: f64,
    /// Lower end of Wilson's 95 % interval of the recall.
    pub recall_low: f64,
    /// Upper end of it.
    pub recall_high: f64,
    /// NaN for a class never predicted.
    pub precision: f64,
    /// NaN for a class that neither occurs nor was predicted.
    pub f1: f64,
    /// Average precision; NaN for a class without rows.
    pub average_precision: f64,
    /// Calibration error of the probability of this class.
    pub calibration_error: f64,
    /// Mean over its rows of `-log p_y`; NaN for a class without rows.
    pub log_loss: f64,
    /// Share of the rows that are of this class.
    pub true_share: f64,
    /// Share of the rows predicted as this class.
    pub predicted_share: f64,
    /// Mean probability of this class over all rows.
    pub mean_probability: f64,
}

/// Probabilities, labels and row weights of equal length, checked.
pub(crate) struct Scored<'a> {
    probabilities: &'a [f32],
    labels: &'a [u32],
    row_weights: Option<&'a [f64]>,
    classes: usize,
    total_weight: f64,
}

impl<'a> Scored<'a> {
    fn new(
        probabilities: &'a [f32],
        labels: &'a [u32],
        row_weights: Option<&'a [f64]>,
        classes: usize,
    ) -> Result<Self> {
        let rows = labels.len();
        if rows == 0 || classes == 0 {
            return Err(Error::NoRows { file: "evaluation".into(), why: " to score".into() });
        }
        if u32::try_from(rows).is_err() {
            let limit = u64::from(u32::MAX);
            return Err(Error::TooLarge { what: "evaluation of all rows".into(), need: rows as u64, limit });
        }
        let mismatch = |left: &str, left_rows: usize| Error::LengthMismatch {
            left: left.into(),
            left_rows: left_rows as u64,
            right: "labels".into(),
            right_rows: rows as u64,
        };
        if rows.checked_mul(classes) != Some(probabilities.len()) {
            return Err(mismatch("probabilities", probabilities.len() / classes));
        }
        if let Some(weights) = row_weights {
            if weights.len() != rows {
                return Err(mismatch("row weights", weights.len()));
            }
            if let Some(row) = weights.iter().position(|w| !(w.is_finite() && *w > 0.0)) {
                let detail = format!("the weight of row {} is {}", row + 1, weights[row]);
                return Err(Error::BadWeight { place: "row weights".into(), detail });
            }
        }
        check_probabilities(probabilities, classes)?;
        let total_weight = row_weights.map_or(rows as f64, |w| w.iter().sum());
        Ok(Scored { probabilities, labels, row_weights, classes, total_weight })
    }

    fn weight(&self, row: usize) -> f64 {
        self.row_weights.map_or(1.0, |w| w[row])
    }

    /// Puts `decisions` in the place of the most probable classes.
    fn decide(&self, scores: &mut [rows::RowScore], decisions: &[u32]) -> Result<()> {
        if decisions.len() != scores.len() || decisions.iter().any(|&code| code as usize >= self.classes) {
            return Err(Error::LengthMismatch {
                left: "decisions for known classes".into(),
                left_rows: decisions.iter().filter(|&&code| (code as usize) < self.classes).count() as u64,
                right: "labels".into(),
                right_rows: scores.len() as u64,
            });
        }
        let rows = self.probabilities.chunks_exact(self.classes);
        for (row, (score, (p, &decision))) in scores.iter_mut().zip(rows.zip(decisions)).enumerate() {
            rows::decide(score, decision, p, self.label(row));
        }
        Ok(())
    }

    /// Class of a row; `None` for a label the model does not know.
    fn label(&self, row: usize) -> Option<usize> {
        let label = self.labels[row] as usize;
        (label < self.classes).then_some(label)
    }
}

/// Checks that all probabilities (row-major, rows x `classes`) are finite and not negative.
///
/// # Errors
/// [`Error::BadProbabilities`] with the number of bad rows and the first of them, counted from 1 within
/// `probabilities`.
pub fn check_probabilities(probabilities: &[f32], classes: usize) -> Result<()> {
    const TASK_VALUES: usize = 1 << 16;
    let usable = |p: &f32| p.is_finite() && *p >= 0.0;
    if probabilities.par_chunks(TASK_VALUES).all(|part| part.iter().all(usable)) {
        return Ok(());
    }
    let bad_rows = || {
        let rows = probabilities.chunks_exact(classes.max(1)).enumerate();
        rows.filter(|(_, p)| !p.iter().all(usable)).map(|(row, _)| row)
    };
    match bad_rows().next() {
        None => Ok(()),
        Some(row) => Err(Error::BadProbabilities {
            count: bad_rows().count() as u64,
            rows: (probabilities.len() / classes.max(1)) as u64,
            first_row: row as u64 + 1,
        }),
    }
}

/// What each row of `probabilities` (row-major, rows x `classes`) says about its label. Errors as of [`evaluate`].
pub(crate) fn row_scores(probabilities: &[f32], labels: &[u32], classes: usize) -> Result<Vec<RowScore>> {
    Ok(rows::score_rows(&Scored::new(probabilities, labels, None, classes)?).0)
}

/// Scores `probabilities` (row-major, rows x C) against `labels` (codes; those at or above C are unseen).
/// `train_counts` are the C class counts of the training rows; `row_weights`, positive, weigh every score.
///
/// Errors: [`Error::NoRows`], [`Error::LengthMismatch`], [`Error::BadWeight`], [`Error::BadProbabilities`].
pub fn evaluate(
    probabilities: &[f32],
    labels: &[u32],
    train_counts: &ClassCounts,
    row_weights: Option<&[f64]>,
) -> Result<Evaluation> {
    evaluate_with(probabilities, labels, train_counts, row_weights, None, true)
}

/// As [`evaluate`], where `decisions` (a class code a row) are what was predicted instead of the most probable class:
/// recall, precision, F1, MCC, top-1, top-5, shares and confusion are theirs, log-loss, Brier, calibration and average
/// precision those of the probabilities.
///
/// # Errors
/// Those of [`evaluate`]; [`Error::LengthMismatch`] where the number of decisions is another.
pub fn evaluate_decisions(
    probabilities: &[f32],
    labels: &[u32],
    train_counts: &ClassCounts,
    row_weights: Option<&[f64]>,
    decisions: &[u32],
) -> Result<Evaluation> {
    evaluate_with(probabilities, labels, train_counts, row_weights, Some(decisions), true)
}

/// As [`evaluate`] without the measures that sort all rows for each class: `auprc`, `classwise_ece` and their values
/// by class are NaN. For scores taken many times during a fit.
pub fn evaluate_quick(
    probabilities: &[f32],
    labels: &[u32],
    train_counts: &ClassCounts,
    row_weights: Option<&[f64]>,
) -> Result<Evaluation> {
    evaluate_with(probabilities, labels, train_counts, row_weights, None, false)
}

fn evaluate_with(
    probabilities: &[f32],
    labels: &[u32],
    train_counts: &ClassCounts,
    row_weights: Option<&[f64]>,
    decisions: Option<&[u32]>,
    with_curves: bool,
) -> Result<Evaluation> {
    let classes = train_counts.classes();
    let scored = Scored::new(probabilities, labels, row_weights, classes)?;
    let (mut scores, mean_probability) = rows::score_rows(&scored);
    if let Some(decisions) = decisions {
        scored.decide(&mut scores, decisions)?;
    }
    let (tallies, unseen_weight) = recall::tally(&scored, &scores);
    let known_weight: f64 = tallies.iter().map(|t| t.truth).sum();
    let curves = if with_curves {
        let class_weight: Vec<f64> = tallies.iter().map(|t| t.truth).collect();
        curves::class_curves(&scored, &class_weight, known_weight)
    } else {
        vec![curves::ClassCurve { average_precision: f64::NAN, calibration_error: f64::NAN }; classes]
    };
    let per_class: Vec<ClassScore> = (0..classes)
        .map(|class| {
            let train_rows = train_counts.rows[class];
            class_score(class, train_rows, &tallies[class], curves[class], mean_probability[class], &scored)
        })
        .collect();

    let weight_where = |holds: &dyn Fn(&rows::RowScore) -> bool| -> f64 {
        // From 0.0, because an empty `sum` is -0.0, which would be printed.
        scores
            .iter()
            .enumerate()
            .filter(|(_, s)| holds(s))
            .fold(0.0, |sum, (row, _)| sum + scored.weight(row))
    };
    let brier_sum: f64 = (0..scores.len())
        .filter(|&row| scored.label(row).is_some())
        .map(|row| scored.weight(row) * scores[row].brier)
        .sum();
    let predicted: Vec<u32> = scores.iter().map(|s| s.predicted).collect();
    let confusion = Confusion::of(labels, &predicted, row_weights, classes);
    let band_error = |members: &[usize]| {
        let mut is_member = vec![false; classes];
        members.iter().for_each(|&class| is_member[class] = true);
        calibration::top_label_error(&scored, &scores, &|class| is_member[class])
    };
    let (train_rows, total_weight) = (&train_counts.rows, scored.total_weight);
    let by_band = bands::bands(&tallies, train_rows, total_weight, &band_error);
    let band_without_recall = by_band.iter().any(|band| band.recall.is_nan());
    let worst = recall::worst_class(&tallies);
    let misallotted: f64 = per_class.iter().map(|c| (c.predicted_share - c.true_share).abs()).sum();
    Ok(Evaluation {
        rows: labels.len() as u64,
        unseen_rows: labels.len() as u64 - tallies.iter().map(|t| t.rows).sum::<u64>(),
        classes,
        classes_present: tallies.iter().filter(|t| t.is_present()).count(),
        top1: weight_where(&|s| s.before == 0) / scored.total_weight,
        top5: if classes > 5 { weight_where(&|s| s.before < 5) / scored.total_weight } else { f64::NAN },
        macro_recall: mean_of_defined(tallies.iter().map(ClassTally::recall)),
        macro_recall_error: recall::macro_recall_error(&tallies),
        macro_f1: mean_of_defined(tallies.iter().map(ClassTally::f1)),
        worst_class: worst.map(|(class, _)| class),
        worst_class_recall: worst.map_or(f64::NAN, |(_, recall)| recall),
        worst_decile_recall: recall::worst_decile(&tallies),
        g_mean: recall::geometric_mean_recall(&tallies),
        mcc: recall::matthews_correlation(&tallies, unseen_weight),
        log_loss: tallies.iter().map(|t| t.log_loss).sum::<f64>() / known_weight,
        balanced_log_loss: mean_of_defined(per_class.iter().map(|c| c.log_loss)),
        brier: brier_sum / known_weight,
        ece: calibration::top_label_error(&scored, &scores, &|_| true),
        classwise_ece: mean_of_defined(per_class.iter().map(|c| c.calibration_error)),
        auprc: mean_of_defined(per_class.iter().map(|c| c.average_precision)),
        share_distance: 0.5 * (misallotted + unseen_weight / scored.total_weight),
        bands: by_band,
        terciles: band_without_recall
            .then(|| bands::terciles(&tallies, train_rows, total_weight, &band_error)),
        per_class,
        most_confused: confusion.most_confused(CONFUSED_PAIRS),
    })
}

fn class_score(
    class: usize,
    train_rows: u64,
    tally: &ClassTally,
    curve: curves::ClassCurve,
    mean_probability: f64,
    scored: &Scored<'_>,
) -> ClassScore {
    let (recall_low, recall_high) = intervals::wilson_95(tally.recall(), tally.effective_rows());
    ClassScore {
        class,
        train_rows,
        rows: tally.rows,
        recall: tally.recall(),
        recall_low,
        recall_high,
        precision: tally.precision(),
        f1: tally.f1(),
        average_precision: curve.average_precision,
        calibration_error: curve.calibration_error,
        log_loss: tally.log_loss / tally.truth,
        true_share: tally.truth / scored.total_weight,
        predicted_share: tally.predicted / scored.total_weight,
        mean_probability,
    }
}

#[cfg(test)]
mod tests;
