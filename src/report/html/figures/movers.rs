//! The classes whose recall differs most between two runs.

use super::super::Report;
use super::super::escape::{markup, shown};
use super::super::svg::Svg;
use super::{Figure, many, signed};
use crate::report::format::{score, thousands};

/// Classes listed in each direction.
const LISTED: usize = 8;
/// Length of the longest bar.
const BAR: f64 = 120.0;

/// Recall of one class under two runs.
struct Pair<'a> {
    name: &'a str,
    train_rows: u64,
    first: f64,
    second: f64,
}

impl Pair<'_> {
    fn gain(&self) -> f64 {
        self.first - self.second
    }
}

/// The figure: the first two runs, or the recommended candidate of a comparison against its baseline.
pub fn figure(report: &Report) -> Option<Figure> {
    let (names, pairs) = match (report.runs.as_slice(), &report.comparison) {
        ([first, second, ..], _) => {
            let recalls = first.scores.per_class.iter().zip(&second.scores.per_class);
            let pairs = recalls.zip(&first.labels().names).map(|((a, b), name)| Pair {
                name,
                train_rows: a.train_rows,
                first: a.recall,
                second: b.recall,
            });
            ([first.name.as_str(), second.name.as_str()], pairs.collect::<Vec<_>>())
        }
        ([], Some(comparison)) => {
            let baseline = comparison.candidates.first()?;
            let recommended = comparison.candidates.get(comparison.verdict.recommended)?;
            let classes = comparison.class_names.iter().zip(&comparison.class_rows);
            let recalls = recommended.class_recall.iter().zip(&baseline.class_recall);
            let pairs = classes.zip(recalls).map(|((name, &train_rows), (&first, &second))| Pair {
                name,
                train_rows,
                first,
                second,
            });
            ([recommended.name.as_str(), baseline.name.as_str()], pairs.collect())
        }
        _ => return None,
    };
    let mut moved: Vec<&Pair<'_>> = pairs.iter().filter(|pair| pair.gain().abs() > 1e-12).collect();
    if moved.is_empty() {
        return None;
    }
    // Stable: classes that move alike stay in class order.
    moved.sort_by(|a, b| b.gain().total_cmp(&a.gain()));
    let (up, down) = moved.split_at(moved.partition_point(|pair| pair.gain() > 0.0));
    let longest = moved.iter().fold(0.0, |longest: f64, pair| longest.max(pair.gain().abs()));
    let gains: Vec<_> = up.iter().take(LISTED).copied().collect();
    let losses: Vec<_> = down.iter().rev().take(LISTED).copied().collect();
    let body = format!(
        "<div class=\"pair\">{}{}</div>",
        list(&format!("Better under {}", names[0]), &gains, longest, "up"),
        list(&format!("Worse under {}", names[0]), &losses, longest, "down")
    );
    let finding = format!(
        "Against {}, {} better and {} worse under {}.",
        names[1],
        many(up.len(), "class does", "classes do"),
        many(down.len(), "class does", "classes do"),
        names[0]
    );
    Some(Figure {
        id: "movers",
        heading: "The classes that move most".into(),
        finding,
        legend: Vec::new(),
        body,
        wide: true,
    })
}

fn list(caption: &str, pairs: &[&Pair<'_>], longest: f64, direction: &str) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let rows: String = pairs
        .iter()
        .map(|pair| {
            let mut svg = Svg::new(BAR, 14.0);
            svg.rect((0.0, 2.0), (BAR * pair.gain().abs() / longest, 10.0), direction, None);
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{} \u{2192} {}</td>\
                 <td class=\"n\">{}</td><td class=\"bar\">{}</td></tr>",
                markup(&shown(pair.name)),
                thousands(pair.train_rows),
                score(pair.second),
                score(pair.first),
                signed(pair.gain()),
                svg.ornament("bar")
            )
        })
        .collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption>\
         <thead><tr><th scope=\"col\">Class</th><th scope=\"col\" class=\"n\">Training rows</th>\
         <th scope=\"col\" class=\"n\">Recall</th><th scope=\"col\" class=\"n\" \
         colspan=\"2\">Difference</th></tr></thead>\
         <tbody>{rows}</tbody></table></div>",
        markup(caption)
    )
}
