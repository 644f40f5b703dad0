//! The trials in the order they were made: validation scores, and the objective with the log-loss.

use super::super::Report;
use super::super::plot::{Across, HALF, Plot};
use super::super::scale::Scale;
use super::{Figure, Key, MAX_MARKS, Sample, many};
use crate::report::format::{score, short};
use crate::report::train::TrialSummary;

/// A line of one of the two figures: its name and its value in a trial.
type Line = (&'static str, fn(&TrialSummary) -> f64);

const SCORES: [Line; 5] = [
    ("macro recall", |trial| trial.valid.macro_recall),
    ("top-1", |trial| trial.valid.top1),
    ("many", |trial| band(trial, 0)),
    ("medium", |trial| band(trial, 1)),
    ("few", |trial| band(trial, 2)),
];

const LOSSES: [Line; 2] = [
    ("validation log-loss, as trained", |trial| trial.valid.log_loss),
    ("objective J on the rows fitted", |trial| trial.objective),
];

fn band(trial: &TrialSummary, at: usize) -> f64 {
    trial.valid.bands.get(at).copied().unwrap_or(f64::NAN)
}

/// Scores along the trials, of the first run; left out with fewer than two trials.
pub fn scores(report: &Report) -> Option<Figure> {
    let trials = report.runs.first()?.trials();
    let last_best = trials.iter().rposition(|trial| trial.best);
    let finding = match last_best {
        Some(place) => format!(
            "The leader changed {}; the last one, trial {}, is {} with l2 {}.",
            match trials.iter().filter(|trial| trial.best).count() {
                2 => "once".to_owned(),
                n => format!("{} times", n.saturating_sub(1)),
            },
            place + 1,
            trials[place].scheme,
            short(trials[place].l2)
        ),
        None => format!("{} were scored on the validation rows.", many(trials.len(), "trial", "trials")),
    };
    draw(&trials, &SCORES, ("path", "Validation scores, trial by trial", "score"), finding)
}

/// Objective and log-loss along the trials, of the first run; left out with fewer than two trials.
pub fn losses(report: &Report) -> Option<Figure> {
    let trials = report.runs.first()?.trials();
    let lowest = trials.iter().min_by(|a, b| a.valid.log_loss.total_cmp(&b.valid.log_loss))?;
    let finding = format!(
        "The lowest log-loss on the validation rows is {}, with l2 {}. J on the fitted rows falls with l2 \
         even where the validation rows no longer gain.",
        score(lowest.valid.log_loss),
        short(lowest.l2)
    );
    draw(&trials, &LOSSES, ("losses", "Losses, trial by trial", "nats"), finding)
}

fn draw(
    trials: &[TrialSummary],
    lines: &[Line],
    (id, heading, unit): (&'static str, &str, &str),
    finding: String,
) -> Option<Figure> {
    if trials.len() < 2 {
        return None;
    }
    let values = trials.iter().flat_map(|trial| lines.iter().map(move |line| (line.1)(trial)));
    let x = Scale::linear(0.5, trials.len() as f64 + 0.5);
    let mut plot = Plot::new((HALF, 340.0), x, Scale::around(values), Across::Values, ("trial", unit));
    let mut legend = Vec::new();
    for (series, (name, value)) in lines.iter().enumerate() {
        let points: Vec<(f64, f64)> =
            trials.iter().enumerate().map(|(place, trial)| (place as f64 + 1.0, value(trial))).collect();
        if points.iter().all(|point| point.1.is_nan()) {
            continue;
        }
        plot.line(series, &points);
        if trials.len() * lines.len() <= MAX_MARKS {
            let marks = points.iter().zip(trials).map(|(&point, trial)| {
                let tip = format!(
                    "trial {}, {} with l2 {}: {name} {}{}",
                    point.0,
                    trial.scheme,
                    short(trial.l2),
                    score(point.1),
                    if trial.best { ", led when it was done" } else { "" }
                );
                (point, tip)
            });
            plot.marks(series, 3.4, marks);
        }
        legend.push(Key::new(Sample::Both(series), *name));
    }
    let body = plot.svg.finish(&format!("{id}-svg"), heading, &finding);
    Some(Figure { id, heading: heading.into(), finding, legend, body, wide: false })
}
