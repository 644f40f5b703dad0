//! Reports as lines of text.

use std::borrow::Cow;

use super::calibration::fine;
use super::format::{score, seconds, short, thousands};
use super::html::escape::turns_direction;
use super::train::{BoostSummary, BoostTrial, TrialSummary, count_spread};
use crate::labels::{ClassCounts, LabelMap};
use crate::linear::certificate::Certificate;
use crate::linear::route::Route;
use crate::linear::solver::second_moments::Form;
use crate::matrix::{Dtype, Matrix};
use crate::metrics::Evaluation;
use crate::weighting::WeightSummary;

/// The way of a full-batch fit of `given` rows, in one line.
pub fn route_line(route: &Route, given: usize) -> String {
    let count = |n: usize| thousands(n as u64);
    let mut line = format!("{} on {}; metric from ", route.products, route.isa.name());
    line += &match route.metric {
        Form::OfFeatures { rows, features } => {
            format!("the products of {} features over {} rows", count(features), count(rows))
        }
        Form::OfSomeFeatures { rows, features } => {
            format!("the products of the {} most varied features over {} rows", count(features), count(rows))
        }
        Form::OfRows { rows } => format!("the products of {} rows", count(rows)),
    };
    if let Some(parameters) = route.hessian {
        line += &format!(", later from the Hessian of {} parameters", count(parameters));
    }
    if route.rows < given {
        line += &format!("; {} of {} rows are distinct", count(route.rows), count(given));
    }
    if !route.samples.is_empty() {
        let sizes: Vec<String> = route.samples.iter().map(|&size| count(size)).collect();
        line += &format!("; starts on {} rows", sizes.join(", then "));
    }
    line
}

/// Columns of a matrix and how it is stored: `64 f16`, or `47,236 sparse f32, 75.6 entries a row`.
pub fn columns_text(matrix: &Matrix) -> String {
    let mut text = format!("{} {}", thousands(matrix.cols() as u64), matrix.dtype().name());
    if matrix.dtype() == Dtype::Sparse {
        let mean = matrix.stored() as f64 / matrix.rows().max(1) as f64;
        text += &format!(", {} entries a row", short((10.0 * mean).round() / 10.0));
    }
    text
}

/// Counts of the classes in one line.
pub fn labels_line(counts: &ClassCounts) -> String {
    let ([min, median, max], [many, medium, few]) = count_spread(counts);
    format!(
        "{} classes   max {}  median {}  min {}  imbalance {}   many(>100) {}  medium {}  few(<20) {}",
        thousands(counts.rows.iter().filter(|&&n| n > 0).count() as u64),
        thousands(max),
        thousands(median),
        thousands(min),
        short(counts.imbalance_factor()),
        thousands(many as u64),
        thousands(medium as u64),
        thousands(few as u64),
    )
}

/// The weights in force, and what is worth knowing about them, a line each.
pub fn weight_lines(summary: &WeightSummary, rows: u64) -> Vec<String> {
    let mut lines = vec![format!(
        "{}   max/min {} (inverse {}, sqrt {})   effective sample {} of {} rows   scale {} per row, {} per class",
        summary.scheme,
        short(summary.max_min_ratio),
        short(summary.inverse_ratio),
        short(summary.sqrt_ratio),
        thousands(summary.kish_effective_size.round() as u64),
        thousands(rows),
        short(summary.samples_factor),
        short(summary.classes_factor),
    )];
    if summary.does_nothing && summary.inverse_ratio > 1.01 {
        lines.push("all weights are within 1 %: this equals --weighting none on these counts".into());
    }
    if summary.saturated {
        let milder =
            summary.suggestion.map_or(String::new(), |beta| format!("; --beta {beta} would be milder"));
        lines.push(format!("within 5 % of inverse frequency for every class{milder}"));
    }
    if summary.capped > 0 {
        lines.push(format!("{} classes are held at --max-weight", thousands(summary.capped as u64)));
    }
    lines
}

/// Head of the table of trials.
pub fn trial_header() -> String {
    format!(
        "  {:<22} {:>8} {:>9} {:>9} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>8}",
        "weighting", "l2", "J", "log-loss", "top1", "macro", "many", "medium", "few", "steps", "time"
    )
}

/// One line of the table of trials.
pub fn trial_line(trial: &TrialSummary, seconds: f64) -> String {
    let band = |at: usize| score(trial.valid.bands.get(at).copied().unwrap_or(f64::NAN));
    format!(
        "  {:<22} {:>8} {:>9.4} {:>9.4} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7.1}s{}",
        trial.scheme,
        short(trial.l2),
        trial.objective,
        trial.valid.log_loss,
        score(trial.valid.top1),
        score(trial.valid.macro_recall),
        band(0),
        band(1),
        band(2),
        trial.steps,
        seconds,
        if trial.best { "  best" } else { "" },
    )
}

/// One weighting that boosting tried, in one line.
pub fn boost_trial_line(trial: &BoostTrial, took: f64) -> String {
    format!(
        "{:<24} {:>4} of {:>4} rounds   macro recall {}   top-1 {}   log-loss {}   {}{}",
        trial.scheme,
        trial.rounds,
        trial.made,
        score(trial.valid.macro_recall),
        score(trial.valid.top1),
        fine(trial.valid.log_loss),
        seconds(took),
        if trial.best { "  *" } else { "" }
    )
}

/// A boosted model in one line.
pub fn boost_line(summary: &BoostSummary) -> String {
    let count = |n: usize| thousands(n as u64);
    format!(
        "{}{} rows, {} rounds: {} trees with {} leaves, cutting {} features",
        if summary.refitted { "training and validation rows together: " } else { "" },
        count(summary.rows),
        count(summary.rounds),
        count(summary.trees),
        count(summary.leaves),
        count(summary.used_features)
    )
}

/// How near the fit came to the optimum.
pub fn certificate_text(certificate: &Certificate) -> String {
    let gap = match certificate.relative_gap {
        Some(gap) => format!("at most {} above the optimum (certified)", percent(gap)),
        None => "no bound on the gap (non-convex or unpenalised)".into(),
    };
    format!("J {:.6}, {gap}, gradient norm {}", certificate.objective, short(certificate.gradient_norm))
}

fn percent(share: f64) -> String {
    format!("{} %", short(100.0 * share))
}

/// The scores of an evaluation as aligned lines. `prior` names what its probabilities are stated for.
pub fn evaluation_lines(evaluation: &Evaluation, labels: &LabelMap, prior: &str) -> Vec<String> {
    let e = evaluation;
    let mut lines = vec![
        format!(
            "macro recall {} +- {}{}   top-1 {}   top-5 {}   macro F1 {}   G-mean {}   MCC {}",
            score(e.macro_recall),
            score(e.macro_recall_error),
            if e.classes_present < e.classes {
                format!(
                    " over {} of {} classes",
                    thousands(e.classes_present as u64),
                    thousands(e.classes as u64)
                )
            } else {
                String::new()
            },
            score(e.top1),
            score(e.top5),
            score(e.macro_f1),
            score(e.g_mean),
            score(e.mcc)
        ),
        format!(
            "{}   worst class {}{}   worst tenth {}",
            bands_text(e),
            score(e.worst_class_recall),
            e.worst_class
                .and_then(|class| labels.names.get(class))
                .map_or(String::new(), |name| format!(" ({})", printable(name))),
            score(e.worst_decile_recall)
        ),
        format!(
            "probabilities {prior}: log-loss {:.4}   Brier {:.4}   ECE {:.4}   class-wise ECE {:.4}   AUPRC {}",
            e.log_loss,
            e.brier,
            e.ece,
            e.classwise_ece,
            score(e.auprc)
        ),
    ];
    if e.bands.iter().any(|band| !band.ece.is_nan()) {
        let bands = e.bands.iter().map(|band| format!("{} {}", band.name, fine(band.ece)));
        let bands = bands.collect::<Vec<_>>().join("   ");
        lines.push(format!("ECE where the most probable class is {bands}"));
    }
    if e.unseen_rows > 0 {
        lines.push(format!(
            "{} of {} rows are of classes the model does not know; they count as wrong",
            thousands(e.unseen_rows),
            thousands(e.rows)
        ));
    }
    lines
}

fn bands_text(evaluation: &Evaluation) -> String {
    let text = |bands: &[crate::metrics::Band]| {
        bands
            .iter()
            .map(|band| format!("{} {} ({})", band.name, score(band.recall), band.present))
            .collect::<Vec<_>>()
            .join("  ")
    };
    match &evaluation.terciles {
        None => format!("recall {}", text(&evaluation.bands)),
        Some(terciles) => format!("recall {}   by third: {}", text(&evaluation.bands), text(terciles)),
    }
}

/// Longest name that is printed, in characters; files may hold names of 64 kB.
const NAME_CHARS: usize = 200;

/// A name from a file as it may go to a terminal: what steers it is escaped, what is too long is cut.
pub fn printable(name: &str) -> Cow<'_, str> {
    one_line(name, NAME_CHARS)
}

/// Lines with names from files in them as they may go to a terminal.
pub fn plain(lines: &str) -> Cow<'_, str> {
    escaped(lines, |c| c != '\n' && steers(c))
}

/// One line of at most `chars` characters of `text`, as it may go to a terminal.
pub fn one_line(text: &str, chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars) {
        None => escaped(text, steers),
        Some((end, _)) => Cow::Owned(format!("{}\u{2026}", escaped(&text[..end], steers))),
    }
}

/// Control characters, and marks that turn the direction of the text around them.
fn steers(c: char) -> bool {
    c.is_control() || turns_direction(c)
}

fn escaped(text: &str, which: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&which) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if which(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("L\u{f6}we"), "L\u{f6}we");
        assert_eq!(printable("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
        assert_eq!(printable("a\u{202e}b\u{9b}\0"), "a\\u{202e}b\\u{9b}\\u{0}");
        assert_eq!(plain("a\r\nb\u{7f}"), "a\\r\nb\\u{7f}");
        assert_eq!(printable(&"\u{e4}".repeat(60_000)).chars().count(), NAME_CHARS + 1);
    }
}
