//! Recall of each class in the order of training rows, with its running mean; runs are laid over each other.

use super::super::escape::{cut, shown};
use super::super::plot::{Across, FULL, Plot};
use super::super::scale::Scale;
use super::super::svg::{Anchor, SERIES, slant_height};
use super::super::{Report, Run};
use super::{Figure, Key, MAX_MARKS, Sample, by_count, many, mean, neighbours};
use crate::metrics::ClassScore;
use crate::report::format::{score, thousands};

/// Classes whose names fit below the axis.
const NAMED: usize = 24;
/// Classes whose intervals are drawn.
const WITH_INTERVALS: usize = 60;

/// The figure.
pub fn figure(report: &Report) -> Option<Figure> {
    let first = report.runs.first()?;
    let order: Vec<usize> = by_count(&first.metadata.counts.rows)
        .into_iter()
        .filter(|&class| !first.scores.per_class[class].recall.is_nan())
        .collect();
    if order.is_empty() {
        return None;
    }
    let named = order.len() <= NAMED;
    let label = |class: usize| cut(&first.labels().names[class], 14);
    let longest = order.iter().take(NAMED).map(|&class| label(class).chars().count()).max().unwrap_or(0);
    let across = if named { Across::Names(slant_height(longest)) } else { Across::Values };
    let x = Scale::linear(0.5, order.len() as f64 + 0.5);
    let title =
        if named { "classes by training rows, most first" } else { "rank of the class by training rows" };
    let height = if named { 376.0 + slant_height(longest) } else { 390.0 };
    let mut plot = Plot::new((FULL, height), x, Scale::linear(0.0, 1.0), across, (title, "recall"));
    draw_bands(&mut plot, first, &order);
    if named {
        let (_, bottom) = plot.ends();
        for (rank, &class) in order.iter().enumerate() {
            let x = plot.x.at(rank as f64 + 1.0);
            plot.svg.slanted((x + 4.0, bottom + 18.0), &label(class));
        }
    }
    let group_marks = MAX_MARKS / report.runs.len();
    for (series, run) in report.runs.iter().enumerate() {
        draw_run(&mut plot, series, run, &order, group_marks, report.runs.len());
    }
    let finding = finding(first, &order);
    let heading = "Recall from the head to the tail";
    let body = plot.svg.finish(
        "recall-svg",
        heading,
        &format!(
            "Recall of {} in the order of their training rows. {finding}",
            many(order.len(), "class", "classes")
        ),
    );
    let mut legend: Vec<Key> = report
        .runs
        .iter()
        .enumerate()
        .map(|(series, run)| Key::new(Sample::Both(series), &run.name))
        .collect();
    let line = format!("running mean over {} classes", window(order.len()));
    legend.push(Key::new(Sample::Line(0), line));
    let each = order.len().div_ceil(group_marks);
    if each > 1 {
        legend.push(Key::new(Sample::Mark(0), format!("mean of {each} neighbouring classes")));
    }
    Some(Figure { id: "recall", heading: heading.into(), finding, legend, body, wide: true })
}

fn finding(run: &Run, order: &[usize]) -> String {
    let third = order.len().div_ceil(3);
    let over = |classes: &[usize]| mean(classes.iter().map(|&class| run.scores.per_class[class].recall));
    let (head, tail) = (over(&order[..third]), over(&order[order.len() - third..]));
    format!(
        "The third of the classes with most rows has a mean recall of {}, the third with fewest {}.",
        score(head),
        score(tail)
    )
}

/// Classes in one window of the running mean: odd, a fifteenth of all, at least 3.
fn window(classes: usize) -> usize {
    (classes / 15).max(3) | 1
}

fn draw_bands(plot: &mut Plot, run: &Run, order: &[usize]) {
    let rows = |class: &usize| run.metadata.counts.rows[*class];
    let many_end = order.partition_point(|class| rows(class) > 100);
    let medium_end = order.partition_point(|class| rows(class) >= 20);
    let (top, bottom) = plot.ends();
    let edges = [0, many_end, medium_end, order.len()];
    for (band, edge) in edges.windows(2).enumerate() {
        let (x0, x1) = (plot.x.at(edge[0] as f64 + 0.5), plot.x.at(edge[1] as f64 + 0.5));
        if edge[1] > edge[0] {
            plot.svg.rect((x0, top), (x1 - x0, bottom - top), &format!("band b{band}"), None);
            if x1 - x0 > 60.0 {
                let text = format!("{} rows", ["> 100", "20\u{2013}100", "< 20"][band]);
                plot.svg.text((x0 + 6.0, top - 6.0), Anchor::Start, "note", &text);
            }
        }
    }
}

fn draw_run(plot: &mut Plot, series: usize, run: &Run, order: &[usize], most: usize, runs: usize) {
    let recalls: Vec<f64> = order.iter().map(|&class| run.scores.per_class[class].recall).collect();
    // Neighbouring runs would hide each other's marks and intervals.
    let shift = if order.len() <= WITH_INTERVALS {
        (series as f64 - (runs as f64 - 1.0) / 2.0) * (0.5 / runs as f64)
    } else {
        0.0
    };
    if order.len() <= WITH_INTERVALS {
        plot.svg.open(&format!("whisker s{}", series % SERIES));
        for (rank, &class) in order.iter().enumerate() {
            let ClassScore { recall_low, recall_high, .. } = run.scores.per_class[class];
            if recall_low.is_finite() && recall_high.is_finite() {
                let x = rank as f64 + 1.0 + shift;
                plot.svg.line(plot.at((x, recall_low)), plot.at((x, recall_high)), "w");
            }
        }
        plot.svg.close();
    }
    let ranks: Vec<usize> = (0..order.len()).collect();
    let marks = neighbours(&ranks, most).map(|group| {
        let x = mean(group.iter().map(|&rank| rank as f64 + 1.0)) + shift;
        let recall = mean(group.iter().map(|&rank| recalls[rank]));
        ((x, recall), tip(run, order, group, recall))
    });
    let radius = if order.len() <= WITH_INTERVALS { 5.0 } else { 2.8 };
    plot.marks(series, radius, marks);
    plot.line(series, &running_mean(&recalls, window(order.len()), most));
}

fn tip(run: &Run, order: &[usize], group: &[usize], recall: f64) -> String {
    let names = &run.labels().names;
    let rows = |rank: usize| thousands(run.metadata.counts.rows[order[rank]]);
    match group {
        [rank] => {
            let class = &run.scores.per_class[order[*rank]];
            format!(
                "{}: recall {} ({}\u{2013}{}), {} training rows, {}",
                shown(&names[order[*rank]]),
                score(recall),
                score(class.recall_low),
                score(class.recall_high),
                rows(*rank),
                cut(&run.name, 24)
            )
        }
        [first, .., last] => format!(
            "ranks {}\u{2013}{}, {}\u{2013}{} training rows: mean recall {}",
            thousands(*first as u64 + 1),
            thousands(*last as u64 + 1),
            rows(*last),
            rows(*first),
            score(recall)
        ),
        [] => String::new(),
    }
}

/// Mean over `window` neighbours (those that exist, at the ends) at no more than about `most` ranks from 1.
fn running_mean(values: &[f64], window: usize, most: usize) -> Vec<(f64, f64)> {
    // Prefix sums: 10^5 classes with windows of thousands would be slow otherwise.
    let mut sums = vec![(0.0, 0.0)];
    for value in values {
        let (sum, n) = sums.last().copied().unwrap_or_default();
        sums.push(if value.is_nan() { (sum, n) } else { (sum + value, n + 1.0) });
    }
    let step = values.len().div_ceil(most.max(1)).max(1);
    (0..values.len())
        .filter(|rank| rank % step == 0 || *rank + 1 == values.len())
        .map(|rank| {
            let reach = window / 2;
            let (start, end) = (rank.saturating_sub(reach), (rank + reach + 1).min(values.len()));
            let ((before, n0), (after, n1)) = (sums[start], sums[end]);
            (rank as f64 + 1.0, (after - before) / (n1 - n0))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_mean_takes_the_neighbours_there_are() {
        let found = running_mean(&[0.0, 0.3, 0.6, 0.9, 0.0], 3, 100);
        let expected = [0.15, 0.3, 0.6, 0.5, 0.45];
        for ((x, y), (rank, expected)) in found.iter().zip(expected.iter().enumerate()) {
            assert_eq!(*x, rank as f64 + 1.0);
            assert!((y - expected).abs() < 1e-12, "{found:?}");
        }
        assert_eq!(running_mean(&[0.5; 100_000], 6667, 500).len(), 501);
        assert!(running_mean(&[f64::NAN], 3, 10)[0].1.is_nan());
    }

    #[test]
    fn windows_are_odd() {
        assert_eq!([10, 151, 1203].map(window), [3, 11, 81]);
    }
}
