//! A comparison of schemes: differences from the baseline with their intervals, the scores, the verdict.

use super::super::Report;
use super::super::escape::markup;
use super::super::scale::Scale;
use super::super::svg::{Anchor, Svg};
use super::{Figure, many, signed};
use crate::report::compare::{CandidateReport, CompareReport, Difference};
use crate::report::format::{score, short, thousands};

/// Width of the forest plot beside the table.
const FOREST: f64 = 300.0;

/// The figure.
pub fn figure(report: &Report) -> Option<Figure> {
    let comparison = report.comparison.as_ref()?;
    let differences = comparison.candidates.iter().filter_map(|candidate| candidate.against_baseline);
    let ends = differences.flat_map(|d| [d.low, d.high, d.value]).chain([0.0]);
    let axis = Scale::around(ends).onto(8.0, FOREST - 8.0);
    let baseline = comparison.candidates.first()?;
    let metric = markup(&comparison.metric);
    let better = if comparison.higher_is_better { "higher" } else { "lower" };
    let gains = Rows {
        label: "Differences from the baseline",
        head: format!(
            "<th scope=\"col\" class=\"n\">{metric}, {better} is better</th>\
             <th scope=\"col\" class=\"forest\">Gain over {} with its 95 % interval{}</th>\
             <th scope=\"col\" class=\"n\">Gain</th><th scope=\"col\" class=\"n\">p, Holm</th>\
             <th scope=\"col\" class=\"n\">p over folds</th>",
            markup(&baseline.name),
            axis_drawing(axis)
        ),
    };
    let scores = Rows { label: "Scores of the candidates", head: score_head(comparison) };
    let table = gains.table(comparison, |candidate, chosen| gain_cells(candidate, axis, chosen))
        + &scores.table(comparison, |candidate, _| score_cells(comparison, candidate));
    let heading =
        format!("{} on {}", many(comparison.candidates.len(), "candidate", "candidates"), comparison.source);
    let finding = format!(
        "{} rows in {} folds, {}; every setting was chosen without the fold it is scored on. {} fits.",
        thousands(comparison.rows),
        comparison.folds,
        many(comparison.repeats, "repeat", "repeats"),
        thousands(comparison.fits as u64)
    );
    Some(Figure {
        id: "comparison",
        heading,
        finding,
        legend: Vec::new(),
        body: verdict(comparison) + &table + &flags(comparison),
        wide: true,
    })
}

fn verdict(comparison: &CompareReport) -> String {
    let mut html = format!("<p class=\"verdict\">{}</p>", markup(&comparison.verdict.sentence));
    if !comparison.verdict.command.is_empty() {
        html += &format!("<pre tabindex=\"0\"><code>{}</code></pre>", markup(&comparison.verdict.command));
    }
    let unscored = comparison.unscored_classes;
    let singles = (unscored > 0).then(|| {
        let classes = many(unscored, "class has", "classes have");
        format!("{classes} one row: trained on in every fold, never scored.")
    });
    let warnings: Vec<&String> = comparison.warnings.iter().chain(&singles).collect();
    if !warnings.is_empty() {
        let items: String = warnings.iter().map(|text| format!("<li>{}</li>", markup(text))).collect();
        html += &format!("<div class=\"warnings\"><h4>What to keep in mind</h4><ul>{items}</ul></div>");
    }
    html
}

/// A table with a row for each candidate.
struct Rows {
    label: &'static str,
    /// Its head after the name of the candidate.
    head: String,
}

impl Rows {
    fn table(&self, comparison: &CompareReport, cells: impl Fn(&CandidateReport, bool) -> String) -> String {
        let verdict = &comparison.verdict;
        let mut rows = String::new();
        for (place, candidate) in comparison.candidates.iter().enumerate() {
            let chosen = place == verdict.recommended;
            let marks =
                [(place == 0, "baseline"), (chosen, "recommended"), (place == verdict.best, "best value")];
            let badges: String = marks
                .iter()
                .filter(|mark| mark.0)
                .map(|(_, text)| format!(" <span class=\"badge\">{text}</span>"))
                .collect();
            rows += &format!(
                "<tr{}><th scope=\"row\">{}, {}{badges}</th>{}</tr>",
                if chosen { " class=\"chosen\"" } else { "" },
                markup(&candidate.name),
                markup(&candidate.loss),
                cells(candidate, chosen)
            );
        }
        format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table class=\"compare\">\
             <caption class=\"unseen\">{0}</caption><thead><tr><th scope=\"col\">Candidate</th>{1}</tr></thead>\
             <tbody>{rows}</tbody></table></div>",
            self.label, self.head
        )
    }
}

fn numbers(cells: &[String]) -> String {
    cells.iter().map(|cell| format!("<td class=\"n\">{cell}</td>")).collect()
}

fn gain_cells(candidate: &CandidateReport, axis: Scale, chosen: bool) -> String {
    let difference = candidate.against_baseline;
    let value = format!(
        "{} <span class=\"range\">\u{b1} {} between folds</span>",
        score(candidate.value),
        score(candidate.fold_sd)
    );
    let gain = difference.map_or("-".into(), |d| {
        format!("{} <span class=\"range\">{} to {}</span>", signed(d.value), signed(d.low), signed(d.high))
    });
    let p = |of: fn(&Difference) -> f64| difference.map_or("-".into(), |d| p_text(of(&d)));
    numbers(&[value])
        + &format!("<td class=\"forest\">{}</td>", interval(difference, axis, chosen))
        + &numbers(&[gain, p(|d| d.p_holm), p(|d| d.p_folds)])
}

fn has_test(comparison: &CompareReport) -> bool {
    comparison.candidates.iter().any(|candidate| candidate.test.is_some())
}

fn score_head(comparison: &CompareReport) -> String {
    let names = [
        "Top-1",
        "Macro recall",
        "Many",
        "Medium",
        "Few",
        "Log-loss, natural prior",
        "ECE, natural prior",
        "Weights max/min",
    ];
    let test = has_test(comparison).then(|| format!("{} on test rows", comparison.metric));
    let names = names.into_iter().map(String::from).chain(test);
    names.map(|name| format!("<th scope=\"col\" class=\"n\">{}</th>", markup(&name))).collect()
}

fn score_cells(comparison: &CompareReport, candidate: &CandidateReport) -> String {
    let band = |at: usize| score(candidate.scores.bands.get(at).copied().unwrap_or(f64::NAN));
    let mut cells = vec![
        score(candidate.scores.top1),
        score(candidate.scores.macro_recall),
        band(0),
        band(1),
        band(2),
        score(candidate.natural_log_loss),
        score(candidate.natural_ece),
        short(candidate.weight_ratio),
    ];
    if has_test(comparison) {
        cells.push(candidate.test.map_or("-".into(), |test| {
            format!("{} \u{b1} {}", score(test.value), score(test.standard_error))
        }));
    }
    numbers(&cells)
}

/// A p-value as far as it can be read.
fn p_text(p: f64) -> String {
    match p {
        p if p.is_nan() => "-".into(),
        p if p < 0.001 => "< 0.001".into(),
        p => format!("{p:.3}"),
    }
}

fn axis_drawing(axis: Scale) -> String {
    let mut svg = Svg::new(FOREST, 22.0);
    svg.open("axis");
    for (value, text) in axis.ticks(4) {
        svg.line((axis.at(value), 17.0), (axis.at(value), 22.0), "tick");
        svg.text((axis.at(value), 13.0), Anchor::Middle, "", &text);
    }
    svg.close();
    svg.ornament("forest")
}

/// The interval as a line with the difference as a mark; the text of the row says the same.
fn interval(difference: Option<Difference>, axis: Scale, chosen: bool) -> String {
    let mut svg = Svg::new(FOREST, 30.0);
    for (value, _) in axis.ticks(4) {
        svg.line((axis.at(value), 0.0), (axis.at(value), 30.0), "grid");
    }
    svg.line((axis.at(0.0), 0.0), (axis.at(0.0), 30.0), "base");
    let series = usize::from(chosen);
    svg.open(&format!("mark s{series}"));
    match difference {
        None => svg.mark(3, (axis.at(0.0), 15.0), 4.0, None),
        Some(d) => {
            svg.line((axis.at(d.low), 15.0), (axis.at(d.high), 15.0), "w");
            for end in [d.low, d.high] {
                svg.line((axis.at(end), 11.0), (axis.at(end), 19.0), "w");
            }
            svg.mark(series, (axis.at(d.value), 15.0), 5.0, None);
        }
    }
    svg.close();
    svg.ornament("forest")
}

fn flags(comparison: &CompareReport) -> String {
    let range = |values: &[f64]| {
        let (low, high) =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        match values {
            [] => String::new(),
            _ if low == high => short(low),
            _ => format!("{} to {}", short(low), short(high)),
        }
    };
    let items: String = comparison
        .candidates
        .iter()
        .map(|candidate| {
            let tau = range(&candidate.tau);
            let tau = if tau.is_empty() { tau } else { format!(", tau {tau}") };
            let rounds: Vec<f64> = candidate.rounds.iter().map(|&rounds| rounds as f64).collect();
            let (unit, chosen) = if rounds.is_empty() { ("l2", &candidate.l2) } else { ("rounds", &rounds) };
            format!(
                "<dt>{}, {}</dt><dd><code>{}</code>; {unit} over the folds {}{tau}</dd>",
                markup(&candidate.name),
                markup(&candidate.loss),
                markup(&candidate.flags),
                range(chosen)
            )
        })
        .collect();
    format!(
        "<details><summary>Settings of each candidate</summary><dl class=\"facts\">{items}</dl></details>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_not_printed_as_zero() {
        assert_eq!(
            [0.0, 0.0004, 0.0312, 1.0, f64::NAN].map(p_text),
            ["< 0.001", "< 0.001", "0.031", "1.000", "-"]
        );
    }
}
