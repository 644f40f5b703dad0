//! Class weight against count under the schemes, all at mean row weight one: the picture of Cui et al. 2019.

use super::super::plot::{Across, HALF, Plot};
use super::super::scale::Scale;
use super::super::svg::Anchor;
use super::super::{Report, Run};
use super::{Figure, Key, Sample};
use crate::labels::ClassCounts;
use crate::report::format::{short, thousands};
use crate::weighting::{Beta, ClassWeights, Normalisation, Scheme};

const BETAS: [&str; 4] = ["0.9", "0.99", "0.999", "0.9999"];
/// Counts at which curves are drawn at most.
const PLACES: usize = 120;
/// Marks of the model's own weights at most.
const MARKS: usize = 60;

/// The figure; left out where all classes are equally frequent, because every scheme is one point then.
pub fn figure(report: &Report) -> Option<Figure> {
    let run = report.runs.first()?;
    let counts = &run.metadata.counts;
    let (smallest, largest) = counts.extremes()?;
    if largest / smallest < 1.01 {
        return None;
    }
    let curves = curves(counts);
    let own = own_weights(run);
    let weights = curves.iter().flat_map(|curve| curve.points.iter()).chain(&own).map(|point| point.1);
    let (x, y) = (Scale::log_around([smallest, largest].into_iter()), Scale::log_around(weights));
    let mut plot =
        Plot::new((HALF, 350.0), x, y, Across::Values, ("training rows of the class", "weight of a row"));
    for curve in &curves {
        let places: Vec<(f64, f64)> = curve.points.iter().map(|&point| plot.at(point)).collect();
        plot.svg.polyline(places.into_iter(), curve.class);
    }
    label_ends(&mut plot, &curves);
    let marks = thinned(&own, MARKS).into_iter().map(|(n, weight)| {
        ((n, weight), format!("{} rows: weight {} in this model", thousands(n as u64), short(weight)))
    });
    plot.marks(1, 3.6, marks);
    let spread = |points: &[(f64, f64)]| {
        let of = |pick: fn(f64, f64) -> f64, start| points.iter().map(|p| p.1).fold(start, pick);
        of(f64::max, f64::NEG_INFINITY) / of(f64::min, f64::INFINITY)
    };
    let finding = format!(
        "This model weighs a row of its rarest class {} times one of its most frequent ({}); inverse \
         frequency would weigh it {} times.",
        short(spread(&own)),
        run.weighting(),
        short(largest / smallest)
    );
    let heading = "What the weights do";
    let mut legend = vec![
        Key::new(Sample::Mark(1), format!("this model, {}", run.weighting())),
        Key::new(Sample::Plain("line effective"), "effective number, at the \u{3b2} written"),
        Key::new(Sample::Plain("line inverse"), "inverse"),
        Key::new(Sample::Plain("line sqrt"), "inverse square root"),
    ];
    legend.push(Key::new(Sample::Plain("line none"), "none"));
    Some(Figure {
        id: "weights",
        heading: heading.into(),
        body: plot.svg.finish(
            "weights-svg",
            heading,
            &format!("Weight against training rows, both logarithmic. {finding}"),
        ),
        finding,
        legend,
        wide: false,
    })
}

/// Count and weight.
type Point = (f64, f64);

struct Curve {
    class: &'static str,
    /// Written at its end where several curves share a class.
    beta: Option<&'static str>,
    /// Count and weight, counts ascending.
    points: Vec<(f64, f64)>,
}

fn curves(counts: &ClassCounts) -> Vec<Curve> {
    let plain = [(Scheme::None, "line none"), (Scheme::Sqrt, "line sqrt"), (Scheme::Inverse, "line inverse")];
    let effective = BETAS
        .iter()
        .filter_map(|text| Some((Scheme::Effective(Beta::parse(text).ok()?), "line effective", Some(*text))));
    plain
        .into_iter()
        .map(|(scheme, class)| (scheme, class, None))
        .chain(effective)
        .filter_map(|(scheme, class, beta)| {
            let weights = ClassWeights::new(&scheme, counts, Normalisation::Samples, None).ok()?;
            Some(Curve { class, beta, points: thinned(&by_count(counts, &weights.alpha), PLACES) })
        })
        .collect()
}

/// Count and weight of the classes with rows, a point for each distinct count, ascending.
fn by_count(counts: &ClassCounts, alpha: &[f64]) -> Vec<(f64, f64)> {
    let present = counts.weighted.iter().zip(alpha).filter(|(n, a)| **n > 0.0 && **a > 0.0);
    let mut points: Vec<(f64, f64)> = present.map(|(&n, &a)| (n, a)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    points.dedup();
    points
}

/// The weights in force, brought to mean row weight one so that they can be held against the schemes.
fn own_weights(run: &Run) -> Vec<(f64, f64)> {
    let counts = &run.metadata.counts;
    let rows: f64 = counts.weighted.iter().sum();
    let total: f64 = counts.weighted.iter().zip(&run.metadata.class_weights).map(|(n, a)| n * a).sum();
    let scaled: Vec<f64> = run.metadata.class_weights.iter().map(|a| a * (rows / total)).collect();
    by_count(counts, &scaled)
}

/// At most about `most` of `points`, evenly spread over the logarithm of their counts, both ends among them.
fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    if points.len() <= most {
        return points.to_vec();
    }
    let step = (last.0 / first.0).ln() / (most - 1) as f64;
    let mut kept = vec![*first];
    for point in points {
        if kept.last().is_some_and(|kept| (point.0 / kept.0).ln() >= step) {
            kept.push(*point);
        }
    }
    if kept.last() != Some(last) {
        kept.push(*last);
    }
    kept
}

/// Writes the betas at that end of their curves where these lie further apart, from the lowest up and pushed apart
/// where they would still overlap.
fn label_ends(plot: &mut Plot, curves: &[Curve]) {
    const LINE: f64 = 14.0;
    type End = fn(&[Point]) -> Option<&Point>;
    let labels = |end: End| {
        let of = |curve: &Curve| {
            let (x, y) = plot.at(*end(&curve.points)?);
            Some((x, y, curve.beta?))
        };
        let mut labels: Vec<(f64, f64, &str)> = curves.iter().filter_map(of).collect();
        labels.sort_by(|a, b| b.1.total_cmp(&a.1));
        labels
    };
    let room = |labels: &[(f64, f64, &str)]| {
        labels.windows(2).map(|pair| (pair[0].1 - pair[1].1).min(LINE)).sum::<f64>()
    };
    let (rare, frequent) = (labels(<[_]>::first), labels(<[_]>::last));
    let (chosen, anchor, shift) = match room(&rare) > room(&frequent) {
        true => (rare, Anchor::Start, 6.0),
        false => (frequent, Anchor::End, -6.0),
    };
    let mut free = f64::INFINITY;
    for (x, y, beta) in chosen {
        let place = (y - 5.0).min(free);
        plot.svg.text((x + shift, place), anchor, "note on-line", beta);
        free = place - LINE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_both_ends_and_the_order() {
        let points: Vec<(f64, f64)> = (1..=5000).map(|n| (f64::from(n), 1.0 / f64::from(n))).collect();
        let kept = thinned(&points, 60);
        assert!(kept.len() <= 61 && kept.len() > 30);
        assert_eq!((kept[0], kept[kept.len() - 1]), (points[0], points[4999]));
        assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(thinned(&points[..3], 60), points[..3]);
        assert!(thinned(&[], 60).is_empty());
    }

    #[test]
    fn curves_are_those_of_the_schemes() {
        let counts = ClassCounts::from_rows(vec![100, 10, 10, 0]);
        let curves = curves(&counts);
        assert_eq!(curves.len(), 3 + BETAS.len());
        let inverse = &curves[2];
        assert_eq!(inverse.points.len(), 2);
        assert!((inverse.points[0].1 / inverse.points[1].1 - 10.0).abs() < 1e-12);
        assert_eq!(curves[0].points, [(10.0, 1.0), (100.0, 1.0)]);
    }
}
