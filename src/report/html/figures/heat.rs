//! The validation metric over the grid of l2 and weighting, from the trials the model file records.

use super::super::Report;
use super::super::plot::FULL;
use super::super::svg::{Anchor, Svg};
use super::{Figure, many};
use crate::data::paths::natural_order;
use crate::metrics::Metric;
use crate::report::format::{score, short};
use crate::report::train::TrialSummary;

/// Steps of the colour scale.
pub const LEVELS: usize = 9;
/// Values of l2 and schemes that fit side by side.
const MAX_COLUMNS: usize = 24;
const MAX_ROWS: usize = 20;

/// The figure, of the first run; left out where fewer than two weightings or two values of l2 were tried.
pub fn figure(report: &Report) -> Option<Figure> {
    let run = report.runs.first()?;
    let trials = run.trials();
    let metric = shown_metric(run.metric());
    let mut schemes: Vec<&str> = Vec::new();
    let mut l2: Vec<f64> = Vec::new();
    for trial in trials.iter().filter(|trial| trial.l2.is_finite()) {
        if !schemes.contains(&trial.scheme.as_str()) {
            schemes.push(&trial.scheme);
        }
        if !l2.contains(&trial.l2) {
            l2.push(trial.l2);
        }
    }
    l2.sort_by(f64::total_cmp);
    schemes.sort_by(|a, b| natural_order(a, b));
    if schemes.len() < 2 || l2.len() < 2 || l2.len() > MAX_COLUMNS || schemes.len() > MAX_ROWS {
        return None;
    }
    // The search may come back to a setting; what it found last counts.
    let cell = |scheme: &str, l2: f64| {
        trials
            .iter()
            .rev()
            .find(|trial| trial.scheme == scheme && trial.l2 == l2)
            .map(|trial| value_of(metric, trial))
    };
    // From the worst to the best. Shades go by rank: a few hopeless trials would leave one shade for all others.
    let mut values: Vec<f64> =
        trials.iter().map(|trial| value_of(metric, trial)).filter(|v| v.is_finite()).collect();
    values.sort_by(|a, b| if metric.higher_is_better() { a.total_cmp(b) } else { b.total_cmp(a) });
    values.dedup();
    let better = *values.last()?;
    let best = trials.iter().find(|trial| value_of(metric, trial) == better)?;

    let mut grid = Grid::new(&schemes, &l2);
    for (row, scheme) in schemes.iter().enumerate() {
        for (column, &l2) in l2.iter().enumerate() {
            let Some(value) = cell(scheme, l2) else { continue };
            let rank = values.iter().position(|v| *v == value).unwrap_or(0);
            let share = rank as f64 / (values.len() - 1).max(1) as f64;
            let chosen = best.scheme == *scheme && best.l2 == l2;
            grid.cell(
                row,
                column,
                value,
                share,
                chosen,
                &format!("{scheme}, l2 {}: {} {}", short(l2), metric, score(value)),
            );
        }
    }
    let heading = "The search over l2 and weights";
    let finding = format!(
        "Of {}, {} with l2 {} has the best {metric} on the validation rows, {}. Shades go by rank.",
        many(trials.len(), "trial", "trials"),
        best.scheme,
        short(best.l2),
        score(better)
    );
    let description =
        format!("A grid of {} weightings by {} values of l2. {finding}", schemes.len(), l2.len());
    let body = grid.svg.finish("heat-svg", heading, &description);
    Some(Figure {
        id: "heat",
        heading: heading.into(),
        finding,
        legend: Vec::new(),
        body: format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{heading}\"><div \
             class=\"floor\">{body}</div></div>"
        ),
        wide: true,
    })
}

/// The metric, where trials record it; else macro recall.
fn shown_metric(metric: Metric) -> Metric {
    use Metric::*;
    match metric {
        Top1 | MacroRecall | LogLoss | Many | Medium | Few => metric,
        _ => MacroRecall,
    }
}

fn value_of(metric: Metric, trial: &TrialSummary) -> f64 {
    let band = |at: usize| trial.valid.bands.get(at).copied().unwrap_or(f64::NAN);
    match metric {
        Metric::Top1 => trial.valid.top1,
        Metric::LogLoss => trial.valid.log_loss,
        Metric::Many => band(0),
        Metric::Medium => band(1),
        Metric::Few => band(2),
        _ => trial.valid.macro_recall,
    }
}

/// The step of the colour scale for a share between 0 and 1; 0 for what is not a number.
pub fn level(share: f64) -> usize {
    ((share.clamp(0.0, 1.0) * LEVELS as f64) as usize).min(LEVELS - 1)
}

struct Grid {
    svg: Svg,
    left: f64,
    width: f64,
}

impl Grid {
    const ROW: f64 = 34.0;
    const TOP: f64 = 8.0;

    fn new(schemes: &[&str], l2: &[f64]) -> Self {
        let left = 190.0;
        let width = (FULL - left - 4.0) / l2.len() as f64;
        let bottom = Self::TOP + Self::ROW * schemes.len() as f64;
        let mut svg = Svg::new(FULL, bottom + 50.0);
        svg.open("axis");
        for (row, scheme) in schemes.iter().enumerate() {
            let y = Self::TOP + Self::ROW * (row as f64 + 0.5) + 5.0;
            svg.text((left - 10.0, y), Anchor::End, "", &super::super::escape::cut(scheme, 24));
        }
        for (column, l2) in l2.iter().enumerate() {
            svg.text((left + width * (column as f64 + 0.5), bottom + 20.0), Anchor::Middle, "", &short(*l2));
        }
        svg.text((FULL - 4.0, bottom + 42.0), Anchor::End, "title", "l2");
        svg.close();
        Grid { svg, left, width }
    }

    fn cell(&mut self, row: usize, column: usize, value: f64, share: f64, best: bool, tip: &str) {
        let place = (self.left + self.width * column as f64, Self::TOP + Self::ROW * row as f64);
        let level = level(share);
        let size = (self.width - 2.0, Self::ROW - 2.0);
        self.svg.rect(place, size, &format!("h{level}{}", if best { " best" } else { "" }), Some(tip));
        if self.width >= 44.0 && value.is_finite() {
            let middle = (place.0 + size.0 / 2.0, place.1 + size.1 / 2.0 + 5.0);
            self.svg.text(middle, Anchor::Middle, &format!("on{level}"), &score(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_cover_the_scale() {
        assert_eq!([0.0, 0.5, 0.999, 1.0, 7.0, -1.0, f64::NAN].map(level), [0, 4, 8, 8, 8, 0, 0]);
    }
}
