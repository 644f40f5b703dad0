//! Mean recall of the bands many, medium and few, a mark a run: where one run gains and what it pays.

use super::super::plot::{HALF, Plot};
use super::super::scale::Scale;
use super::super::svg::{Anchor, SERIES};
use super::super::{Report, Run};
use super::{Figure, Key, Sample, many, signed};
use crate::metrics::Band;
use crate::report::format::score;

/// Height of a band's row.
const ROW: f64 = 76.0;

/// The figure.
pub fn figure(report: &Report) -> Option<Figure> {
    let first = report.runs.first()?;
    let bands: Vec<Vec<(String, f64)>> = report.runs.iter().map(recalls).collect();
    let kept: Vec<usize> = (0..bands[0].len()).filter(|&band| !bands[0][band].1.is_nan()).collect();
    if kept.is_empty() {
        return None;
    }
    let values = bands.iter().flat_map(|run| kept.iter().map(|&band| run[band].1));
    let height = 84.0 + ROW * kept.len() as f64;
    let y = Scale::linear(0.0, kept.len() as f64);
    let across = Scale::around(values);
    let mut plot = Plot::rows((HALF, height), across, y, "mean recall");
    let (left, right) = plot.sides();
    for (row, &band) in kept.iter().enumerate() {
        let middle = plot.y.at(kept.len() as f64 - row as f64 - 0.5);
        plot.svg.text((left, middle - 17.0), Anchor::Start, "label", &bands[0][band].0);
        plot.svg.line((left, middle), (right, middle), "grid");
        if let Some(other) = bands.get(1) {
            plot.svg.line((plot.x.at(other[band].1), middle), (plot.x.at(bands[0][band].1), middle), "span");
        }
        for (series, run) in bands.iter().enumerate() {
            if run[band].1.is_nan() {
                continue;
            }
            let tip = format!("{}: {} {}", report.runs[series].name, bands[0][band].0, score(run[band].1));
            plot.svg.open(&format!("mark s{}", series % SERIES));
            plot.svg.mark(series, (plot.x.at(run[band].1), middle), 6.5, Some(&tip));
            plot.svg.close();
        }
        plot.svg.text((right, middle + 23.0), Anchor::End, "note", &value_text(&bands, band));
    }
    let finding = finding(first, report.runs.get(1));
    let heading = "Recall by band";
    let legend =
        report.runs.iter().enumerate().map(|(series, run)| Key::new(Sample::Mark(series), &run.name));
    Some(Figure {
        id: "bands",
        heading: heading.into(),
        body: plot.svg.finish(
            "bands-svg",
            heading,
            &format!("Mean recall of the classes of each band. {finding}"),
        ),
        finding,
        legend: if report.runs.len() > 1 { legend.collect() } else { Vec::new() },
        wide: false,
    })
}

/// Name and mean recall of each band; thirds where a band is empty.
fn recalls(run: &Run) -> Vec<(String, f64)> {
    let scores = &run.scores;
    let bands: &[Band] = scores.terciles.as_deref().unwrap_or(&scores.bands);
    let named = |band: &Band| {
        let rows = match (band.min_train_rows, band.max_train_rows) {
            (Some(min), Some(max)) if min == max => format!(", {min} rows each"),
            (Some(min), Some(max)) => format!(", {min} to {max} rows"),
            _ => String::new(),
        };
        (format!("{}: {}{rows}", band.name, many(band.present, "class", "classes")), band.recall)
    };
    let all = (format!("all: {}", many(scores.classes_present, "class", "classes")), scores.macro_recall);
    bands.iter().map(named).chain([all]).collect()
}

fn value_text(bands: &[Vec<(String, f64)>], band: usize) -> String {
    match bands {
        [one] => score(one[band].1),
        [first, second] => format!(
            "{} against {} ({})",
            score(first[band].1),
            score(second[band].1),
            signed(first[band].1 - second[band].1)
        ),
        _ => String::new(),
    }
}

fn finding(first: &Run, second: Option<&Run>) -> String {
    let scores = &first.scores;
    match second {
        None => format!(
            "Mean recall is {} over all classes and {} over the worst tenth of them.",
            score(scores.macro_recall),
            score(scores.worst_decile_recall)
        ),
        Some(second) => format!(
            "From {} to {}, macro recall changes by {} and top-1 accuracy by {}.",
            second.name,
            first.name,
            signed(scores.macro_recall - second.scores.macro_recall),
            signed(scores.top1 - second.scores.top1)
        ),
    }
}
