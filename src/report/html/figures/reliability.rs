//! Reliability: how often predictions come true against how probable they are said to be, before and after the prior
//! correction.

use super::super::plot::{Across, HALF, Plot};
use super::super::scale::Scale;
use super::super::{Report, Run};
use super::{Figure, Key, Sample};
use crate::metrics::Reliability;
use crate::report::format::score;
use crate::weighting::training_shares;

/// Share of the rows from which another mix of classes is spoken of.
const NOTABLE_SHIFT: f64 = 0.1;

/// The figure, of the first run.
pub fn figure(report: &Report) -> Option<Figure> {
    let run = report.runs.first()?;
    if run.trained.bins.is_empty() {
        return None;
    }
    let unit = Scale::linear(0.0, 1.0);
    let titles = ("probability of the predicted class", "share that is right");
    let mut plot = Plot::new((HALF, 390.0), unit, unit, Across::Values, titles);
    let diagonal = [plot.at((0.0, 0.0)), plot.at((1.0, 1.0))];
    plot.svg.line(diagonal[0], diagonal[1], "line none");
    // Where the correction does nothing, two equal curves would say less than one.
    let same = run.trained == run.natural;
    let curves = [(0, "as trained", &run.trained), (1, "natural prior", &run.natural)];
    for (series, name, curve) in curves.iter().take(if same { 1 } else { 2 }) {
        draw(&mut plot, *series, name, curve);
    }
    let heading = "Whether probabilities come true";
    let finding = if same {
        format!(
            "The calibration error of {} is {}; the weights do not tilt its probabilities.",
            run.name,
            score(run.trained.ece)
        )
    } else {
        format!(
            "The calibration error of {} is {} as trained and {} once the weights are taken out of the \
             probabilities (--prior natural).",
            run.name,
            score(run.trained.ece),
            score(run.natural.ece)
        )
    };
    let finding = format!("{finding}{}", by_band(report, run));
    let moved = shift(run);
    let finding = match moved > NOTABLE_SHIFT && !same {
        false => finding,
        true => format!(
            "{finding} But the mix of classes differs from that of the training rows in {} % of the rows \
             scored: their prior is that of --prior em or of a file.",
            (100.0 * moved).round()
        ),
    };
    let mut legend: Vec<Key> = curves
        .iter()
        .take(if same { 1 } else { 2 })
        .map(|(series, name, curve)| {
            Key::new(Sample::Both(*series), format!("{name}, ECE {}", score(curve.ece)))
        })
        .collect();
    legend.push(Key::new(Sample::Plain("line none"), "right as often as said"));
    Some(Figure {
        id: "reliability",
        heading: heading.into(),
        body: plot.svg.finish(
            "reliability-svg",
            heading,
            &format!(
                "Share of right predictions in bins of equal mass against their mean probability. {finding}"
            ),
        ),
        finding,
        legend,
        wide: false,
    })
}

/// The calibration error by the band of the predicted class, where there are several bands.
fn by_band(report: &Report, run: &Run) -> String {
    let known: Vec<_> = run.scores.bands.iter().filter(|band| !band.ece.is_nan()).collect();
    if known.len() < 2 {
        return String::new();
    }
    let errors: Vec<String> = known.iter().map(|band| format!("{} {}", band.name, score(band.ece))).collect();
    format!(
        " Where the predicted class is one of many, medium or few rows, {}: {}.",
        report.prior,
        errors.join(", ")
    )
}

/// Half the sum of the differences between the shares of the training rows and of the rows scored.
fn shift(run: &Run) -> f64 {
    let shares = training_shares(&run.metadata.counts);
    let differences =
        run.scores.per_class.iter().zip(&shares).map(|(class, share)| (class.true_share - share).abs());
    0.5 * differences.sum::<f64>()
}

fn draw(plot: &mut Plot, series: usize, name: &str, curve: &Reliability) {
    let points: Vec<(f64, f64)> = curve.bins.iter().map(|bin| (bin.confidence, bin.accuracy)).collect();
    plot.line(series, &points);
    let marks = curve.bins.iter().map(|bin| {
        let tip = format!(
            "{name}: said {}, right {}, {} % of the rows",
            score(bin.confidence),
            score(bin.accuracy),
            (100.0 * bin.mass).round()
        );
        ((bin.confidence, bin.accuracy), tip)
    });
    plot.marks(series, 4.5, marks);
}
