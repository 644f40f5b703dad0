//! The label distribution: classes by rank against their training rows, both logarithmic.

use super::super::Report;
use super::super::escape::{cut, shown};
use super::super::plot::{Across, HALF, Plot};
use super::super::scale::Scale;
use super::super::svg::Anchor;
use super::{Figure, by_count, many};
use crate::labels::ClassCounts;
use crate::report::format::{short, thousands};
use crate::report::train::count_spread;

/// Marks at most: a long tail is a line, and its marks need not be told apart.
const MARKS: usize = 160;

/// The figure; of the model's training rows, or of the rows of a comparison.
pub fn figure(report: &Report) -> Option<Figure> {
    let (names, rows) = match (report.runs.first(), &report.comparison) {
        (Some(run), _) => (&run.labels().names, &run.metadata.counts.rows),
        (None, Some(comparison)) => (&comparison.class_names, &comparison.class_rows),
        (None, None) => return None,
    };
    let order: Vec<usize> = by_count(rows).into_iter().filter(|&class| rows[class] > 0).collect();
    let (&first, &last) = (order.first()?, order.last()?);
    let counts = ClassCounts::from_rows(rows.clone());
    let ([_, median, _], bands) = count_spread(&counts);

    let x = Scale::log(0.9, order.len() as f64 * 1.15);
    let y = Scale::log(rows[last] as f64 / 1.6, rows[first] as f64 * 1.6);
    let mut plot = Plot::new((HALF, 350.0), x, y, Across::Values, ("rank of the class", "training rows"));
    draw_bands(&mut plot, bands);
    let points: Vec<(f64, f64)> =
        order.iter().enumerate().map(|(rank, &class)| ((rank + 1) as f64, rows[class] as f64)).collect();
    let kept = spread_ranks(order.len());
    plot.line(0, &kept.iter().map(|&rank| points[rank]).collect::<Vec<_>>());
    let marks = kept.iter().map(|&rank| {
        let class = order[rank];
        let name = names.get(class).map_or(String::new(), |name| shown(name));
        (points[rank], format!("{name}: {} rows, rank {}", thousands(rows[class]), rank + 1))
    });
    plot.marks(0, 3.4, marks);
    let label = |class: usize| names.get(class).map_or(String::new(), |name| cut(name, 22));
    let ((x0, y0), (x1, y1)) = (plot.at(points[0]), plot.at(points[order.len() - 1]));
    plot.svg.text((x0 + 10.0, y0 - 5.0), Anchor::Start, "note", &label(first));
    plot.svg.text((x1 - 8.0, y1 + 14.0), Anchor::End, "note", &label(last));

    let finding = format!(
        "The largest class has {} rows, the median {}, the smallest {}: an imbalance of {}.",
        thousands(rows[first]),
        thousands(median),
        thousands(rows[last]),
        short(counts.imbalance_factor())
    );
    let description = format!(
        "{} by rank. {finding} {} with more than 100 rows, {} with 20 to 100, {} with fewer than 20.",
        many(order.len(), "class", "classes"),
        bands[0],
        bands[1],
        bands[2]
    );
    let heading = "How long the tail is";
    Some(Figure {
        id: "labels",
        heading: heading.into(),
        finding,
        legend: Vec::new(),
        body: plot.svg.finish("labels-svg", heading, &description),
        wide: false,
    })
}

fn draw_bands(plot: &mut Plot, classes: [usize; 3]) {
    let (left, right) = plot.sides();
    let (low, high) = plot.y.domain();
    let limits: [(f64, f64); 3] = [(100.5, f64::INFINITY), (19.5, 100.5), (0.0, 19.5)];
    for (band, (bottom, top)) in limits.into_iter().enumerate() {
        let (y0, y1) = (plot.y.at(top.min(high)), plot.y.at(bottom.max(low)));
        if y1 - y0 < 1.0 {
            continue;
        }
        plot.svg.rect((left, y0), (right - left, y1 - y0), &format!("band b{band}"), None);
        if y1 - y0 > 18.0 {
            let name = ["many", "medium", "few"][band];
            let text = format!("{name} \u{b7} {}", many(classes[band], "class", "classes"));
            // The curve falls from the upper left to the lower right.
            match y0 <= plot.ends().0 {
                true => plot.svg.text((right - 8.0, y0 + 16.0), Anchor::End, "note", &text),
                false => plot.svg.text((left + 8.0, y1 - 7.0), Anchor::Start, "note", &text),
            }
        }
    }
}

/// Ranks from 0, evenly spread on a logarithmic axis, the first and the last among them.
fn spread_ranks(classes: usize) -> Vec<usize> {
    let last = classes.saturating_sub(1);
    let mut ranks: Vec<usize> = (0..MARKS)
        .map(|step| ((classes as f64).powf(step as f64 / (MARKS - 1) as f64) - 1.0).round() as usize)
        .map(|rank| rank.min(last))
        .collect();
    ranks.dedup();
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_spread_over_all_classes() {
        assert_eq!(spread_ranks(1), [0]);
        assert_eq!(spread_ranks(7), [0, 1, 2, 3, 4, 5, 6]);
        let ranks = spread_ranks(100_000);
        assert!(ranks.len() <= MARKS && ranks.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((ranks[0], ranks[ranks.len() - 1]), (0, 99_999));
    }
}
