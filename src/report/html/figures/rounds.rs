//! The learning curve of boosting: the deciding metric on the validation rows, round by round.

use super::super::Report;
use super::super::plot::{Across, HALF, Plot};
use super::super::scale::Scale;
use super::super::svg::SERIES;
use super::{Figure, Key, MAX_MARKS, Sample, many};
use crate::metrics::Metric;
use crate::report::format::score;

/// The figure, of the first run; left out where no rounds were scored.
pub fn figure(report: &Report) -> Option<Figure> {
    let run = report.runs.first()?;
    let trials = run.boost_trials();
    let metric = run.metric();
    let sign = if metric.higher_is_better() { 1.0 } else { -1.0 };
    let last_best = trials.iter().rposition(|trial| trial.best)?;
    let best = &trials[last_best];
    if best.scores.metric.len() < 2 {
        return None;
    }
    // The one that was kept, and the first of the others.
    let others = (0..trials.len()).filter(|&at| at != last_best).take(SERIES - 1);
    let mut shown: Vec<usize> = others.chain([last_best]).collect();
    shown.sort_unstable();
    let rounds = shown.iter().map(|&at| trials[at].scores.metric.len()).max().unwrap_or(1);
    let values = shown.iter().flat_map(|&at| trials[at].scores.metric.iter().map(|value| sign * value));
    let x = Scale::linear(0.0, rounds as f64);
    let titles = ("round", metric.name());
    let mut plot = Plot::new((HALF, 340.0), x, Scale::around(values), Across::Values, titles);
    let mut legend = Vec::new();
    for (series, trial) in shown.iter().map(|&at| &trials[at]).enumerate() {
        let step = trial.scores.metric.len().div_ceil(MAX_MARKS / SERIES).max(1);
        let point = |round: usize| (round as f64, sign * trial.scores.metric[round - 1]);
        let points: Vec<(f64, f64)> = (1..=trial.scores.metric.len()).step_by(step).map(point).collect();
        plot.line(series, &points);
        if (1..=trial.scores.metric.len()).contains(&trial.rounds) {
            let kept = point(trial.rounds);
            let tip = format!(
                "{}: {} rounds kept, {} {}",
                trial.scheme,
                trial.rounds,
                metric.name(),
                score(kept.1)
            );
            plot.marks(series, 5.0, [(kept, tip)].into_iter());
        }
        legend.push(Key::new(Sample::Both(series), format!("{}, mark: rounds kept", trial.scheme)));
    }
    let left_out = trials.len() - shown.len();
    let more = if left_out > 0 {
        format!(" {} more are not drawn.", many(left_out, "weighting", "weightings"))
    } else {
        String::new()
    };
    let finding = format!(
        "{} keeps {} of {}: {}.{more}",
        best.scheme,
        many(best.rounds, "round", "rounds"),
        many(best.made, "round", "rounds"),
        why(metric)
    );
    let heading = "Validation score, round by round";
    let body = plot.svg.finish("rounds-svg", heading, &finding);
    Some(Figure { id: "rounds", heading: heading.into(), finding, legend, body, wide: false })
}

/// Why the rounds kept are those.
fn why(metric: Metric) -> String {
    let average = format!("the {} of the validation rows, averaged over three rounds,", metric.name());
    if metric == Metric::MacroRecall {
        format!("the lowest balanced log-loss while {average} is within its noise of the best")
    } else {
        format!("{average} is best there")
    }
}
