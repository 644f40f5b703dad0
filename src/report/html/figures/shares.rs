//! What the head does to the model: how often classes are predicted against how often they occur, and the norm of the
//! weights, both against training rows.

use super::super::escape::shown;
use super::super::plot::{Across, HALF, Plot};
use super::super::scale::Scale;
use super::super::{Report, Run};
use super::{Figure, Key, MAX_MARKS, Sample, by_count, many, mean, neighbours, signed};
use crate::report::format::{short, thousands};

/// Marks of these two figures.
const MARKS: usize = MAX_MARKS / 2;

/// Predicted over true share of the classes that occur, of the first run; left out with fewer than two of them.
pub fn predicted(report: &Report) -> Option<Figure> {
    let run = report.runs.first()?;
    let occurs =
        |class: &usize| run.scores.per_class[*class].rows > 0 && run.metadata.counts.rows[*class] > 0;
    let order: Vec<usize> = by_count(&run.metadata.counts.rows).into_iter().filter(occurs).collect();
    if order.len() < 2 {
        return None;
    }
    let groups: Vec<Group> = neighbours(&order, MARKS).map(|classes| Group::of(run, classes)).collect();
    let ratio = |group: &Group| group.predicted / group.truth;
    let x = Scale::log_around(groups.iter().map(|group| group.train_rows));
    // Classes that are never predicted lie on the lower edge.
    let y = Scale::log_around(groups.iter().map(ratio).chain([0.9, 1.1]));
    let titles = ("training rows of the class", "times predicted for each time it occurs");
    let mut plot = Plot::new((HALF, 390.0), x, y, Across::Values, titles);
    let (left, right) = plot.sides();
    let even = plot.y.at(1.0);
    plot.svg.line((left, even), (right, even), "line none");
    let marks = groups.iter().map(|group| {
        let tip = format!(
            "{}: {} % of the rows, predicted for {} %, {} training rows",
            group.name,
            short(100.0 * group.truth),
            short(100.0 * group.predicted),
            thousands(group.train_rows.round() as u64)
        );
        ((group.train_rows, ratio(group)), tip)
    });
    plot.marks(0, 3.6, marks);
    let never =
        run.scores.per_class.iter().filter(|class| class.rows > 0 && class.predicted_share == 0.0).count();
    let finding = format!(
        "{} % of the rows would have to change their prediction to give every class its true share. {}",
        short(100.0 * run.scores.share_distance),
        match never {
            0 => "Every class that occurs is predicted at least once.".into(),
            _ =>
                format!("{} never predicted.", many(never, "class that occurs is", "classes that occur are")),
        }
    );
    let description = format!(
        "Predicted share over true share of each class against its training rows, both logarithmic. {finding}"
    );
    let heading = "Who is predicted too often";
    Some(Figure {
        id: "shares",
        heading: heading.into(),
        body: plot.svg.finish("shares-svg", heading, &description),
        finding,
        legend: vec![
            Key::new(Sample::Mark(0), mark_text(&order)),
            Key::new(Sample::Plain("line none"), "as often as it occurs"),
        ],
        wide: false,
    })
}

/// Norm of the weights of each class against its training rows; left out where all counts are equal.
pub fn norms(report: &Report) -> Option<Figure> {
    let run = report.runs.first()?;
    let rows = &run.metadata.counts.rows;
    let order: Vec<usize> = by_count(rows).into_iter().filter(|&class| rows[class] > 0).collect();
    let (&first, &last) = (order.first()?, order.last()?);
    if rows[first] == rows[last] || run.weight_norms.len() != rows.len() {
        return None;
    }
    let groups: Vec<Group> = neighbours(&order, MARKS).map(|classes| Group::of(run, classes)).collect();
    let x = Scale::log_around(groups.iter().map(|group| group.train_rows));
    let y = Scale::around(groups.iter().map(|group| group.norm));
    let mut plot =
        Plot::new((HALF, 390.0), x, y, Across::Values, ("training rows of the class", "norm of its weights"));
    let marks = groups.iter().map(|group| {
        let rows = thousands(group.train_rows.round() as u64);
        (
            (group.train_rows, group.norm),
            format!("{}: {rows} training rows, norm {}", group.name, short(group.norm)),
        )
    });
    plot.marks(0, 3.6, marks);
    let correlation =
        correlation(order.iter().map(|&class| ((rows[class] as f64).ln(), run.weight_norms[class])));
    let finding = format!(
        "The norms correlate by {} with the logarithm of the training rows; a strong positive value is a \
         bias for the head.",
        signed(correlation)
    );
    let heading = "How large the weights of rare classes are";
    Some(Figure {
        id: "norms",
        heading: heading.into(),
        body: plot.svg.finish(
            "norms-svg",
            heading,
            &format!("Norm of the weights against training rows (logarithmic). {finding}"),
        ),
        finding,
        legend: vec![Key::new(Sample::Mark(0), mark_text(&order))],
        wide: false,
    })
}

fn mark_text(order: &[usize]) -> String {
    match order.len().div_ceil(MARKS) {
        1 => "a class".into(),
        each => format!("mean of {each} classes of neighbouring rank"),
    }
}

/// A class, or neighbours by training rows with their means.
struct Group {
    name: String,
    truth: f64,
    predicted: f64,
    train_rows: f64,
    norm: f64,
}

impl Group {
    fn of(run: &Run, classes: &[usize]) -> Self {
        let over = |f: &dyn Fn(usize) -> f64| mean(classes.iter().map(|&class| f(class)));
        let name = match classes {
            [class] => shown(&run.labels().names[*class]),
            _ => format!("{} classes", classes.len()),
        };
        Group {
            name,
            truth: over(&|class| run.scores.per_class[class].true_share),
            predicted: over(&|class| run.scores.per_class[class].predicted_share),
            train_rows: over(&|class| run.metadata.counts.rows[class] as f64),
            norm: over(&|class| run.weight_norms.get(class).copied().unwrap_or(f64::NAN)),
        }
    }
}

/// Pearson's correlation; NaN where one side does not vary.
fn correlation(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let (mx, my) = (mean(points.clone().map(|p| p.0)), mean(points.clone().map(|p| p.1)));
    let sum = |f: &dyn Fn(f64, f64) -> f64| points.clone().map(|(x, y)| f(x - mx, y - my)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_of_known_points() {
        let line = [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)];
        assert!((correlation(line.into_iter()) - 1.0).abs() < 1e-12);
        // numpy.corrcoef([1, 2, 3, 4], [1, 3, 2, 4])[0, 1]
        assert!(
            (correlation([(1.0, 1.0), (2.0, 3.0), (3.0, 2.0), (4.0, 4.0)].into_iter()) - 0.8).abs() < 1e-12
        );
        assert!(correlation([(1.0, 5.0), (2.0, 5.0)].into_iter()).is_nan());
    }
}
