//! The page: head with its policy, what a reader sees first, sections of figures, the table of classes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use super::escape::markup;
use super::figures::{self, Figure, many, signed};
use super::{Report, Run, table};
use crate::loss::Loss;
use crate::metrics::Evaluation;
use crate::report::format::{score, short, thousands};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The report as one HTML file. Equal reports give equal bytes.
pub fn render(report: &Report) -> String {
    let sections = sections(report);
    let title = title(report);
    let (style, script) = (unix_lines(STYLE), unix_lines(SCRIPT));
    let navigation: String = sections
        .iter()
        .map(|section| format!("<li><a href=\"#{}\">{}</a></li>", section.id, section.heading))
        .collect();
    let body: String = sections.iter().map(Section::html).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"generator\" content=\"cbfit {}\">\n<title>{} \u{b7} cbfit report</title>\n\
         <style>{style}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the content</a>\n\
         <header class=\"top\"><p class=\"brand\">cbfit <span>report</span></p>\
         <nav aria-label=\"Sections\"><ul>{navigation}</ul></nav>\
         <button type=\"button\" id=\"theme\" hidden>Theme: auto</button></header>\n<main \
         id=\"main\">\n{}\n{body}</main>\n\
         <footer><p>Written by cbfit {}. One file, no network: everything in it is drawn from the data above.</p></footer>\n\
         <div id=\"tip\" hidden></div>\n<script>{script}</script>\n</body>\n</html>\n",
        policy(&style, &script),
        env!("CARGO_PKG_VERSION"),
        markup(&title),
        hero(report, &title),
        env!("CARGO_PKG_VERSION"),
    )
}

/// Parsers of HTML read a line feed for each line end, and hashes are taken of what they read.
fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// Nothing may be loaded, and nothing runs or styles but the two texts of this file.
fn policy(style: &str, script: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", BASE64.encode(Sha256::digest(text.as_bytes())));
    format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash(style),
        hash(script)
    )
}

fn title(report: &Report) -> String {
    match (report.runs.first(), &report.comparison) {
        (Some(run), _) => run.name.clone(),
        (None, Some(comparison)) => format!("Schemes compared on {}", comparison.source),
        (None, None) => "Empty report".into(),
    }
}

/// Figures under one heading, and HTML below them.
struct Section {
    id: &'static str,
    heading: &'static str,
    /// The run its figures are of, where there are several.
    of: Option<String>,
    figures: Vec<Figure>,
    below: String,
}

fn sections(report: &Report) -> Vec<Section> {
    let of = |id, heading, figures: Vec<Option<Figure>>| Section {
        id,
        heading,
        of: None,
        figures: figures.into_iter().flatten().collect(),
        below: String::new(),
    };
    use figures::*;
    let classes = Section {
        below: table::section(report).unwrap_or_default(),
        ..of("every-class", "Every class", Vec::new())
    };
    let scores = vec![
        recall::figure(report),
        bands::figure(report),
        reliability::figure(report),
        movers::figure(report),
    ];
    let all = [
        of("schemes", "Schemes compared", vec![compare::figure(report)]),
        of("scores", "Scores", scores),
        of(
            "mistakes",
            "Mistakes",
            vec![shares::predicted(report), shares::norms(report), confusion::figure(report)],
        ),
        of("data", "Data and weights", vec![labels::figure(report), weights::figure(report)]),
        of(
            "search",
            "The search",
            vec![path::scores(report), path::losses(report), rounds::figure(report), heat::figure(report)],
        ),
        classes,
    ];
    let first = report.runs.first().filter(|_| report.runs.len() > 1).map(|run| run.name.clone());
    let of_first = |section: Section| match section.id {
        "mistakes" | "data" | "search" => Section { of: first.clone(), ..section },
        _ => section,
    };
    all.into_iter()
        .map(of_first)
        .filter(|section| !section.figures.is_empty() || !section.below.is_empty())
        .collect()
}

impl Section {
    fn html(&self) -> String {
        let mut cards = String::new();
        let mut halves = 0;
        for (place, figure) in self.figures.iter().enumerate() {
            // A narrow figure without a neighbour of its kind takes the row, its text beside it.
            let next_is_half = self.figures.get(place + 1).is_some_and(|next| !next.wide);
            let lone = !figure.wide && halves % 2 == 0 && !next_is_half;
            halves = if figure.wide || lone { 0 } else { halves + 1 };
            cards += &card(figure, lone);
        }
        let of = self.of.as_ref().map_or(String::new(), |name| format!(" of {}", markup(name)));
        format!(
            "<section id=\"{0}\" aria-labelledby=\"{0}-h\">\n<h2 id=\"{0}-h\">{1}{of}</h2>\n<div \
             class=\"cards\">{cards}</div>{2}\n</section>\n",
            self.id, self.heading, self.below
        )
    }
}

fn card(figure: &Figure, lone: bool) -> String {
    let class = match (figure.wide, lone) {
        (true, _) => "card wide",
        (false, true) => "card wide lone",
        (false, false) => "card",
    };
    let legend: String = figure.legend.iter().map(figures::Key::html).collect();
    let legend = if legend.is_empty() { legend } else { format!("<ul class=\"legend\">{legend}</ul>") };
    // A wide drawing keeps its width on a narrow screen and scrolls.
    let body = if figure.wide && figure.body.starts_with("<svg") {
        format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><div \
             class=\"floor\">{}</div></div>",
            markup(&figure.heading),
            figure.body
        )
    } else {
        figure.body.clone()
    };
    format!(
        "<figure class=\"{class}\" id=\"{}\"><figcaption><h3>{}</h3><p>{}</p>{legend}</figcaption><div \
         class=\"plot\">{body}</div></figure>\n",
        figure.id,
        markup(&figure.heading),
        markup(&figure.finding)
    )
}

fn hero(report: &Report, title: &str) -> String {
    let (eyebrow, lede) = match (report.runs.first(), &report.comparison) {
        (Some(run), _) => (format!("A model scored on {}", report.data), lede(report, run)),
        (None, Some(comparison)) => ("Comparison".into(), comparison.verdict.sentence.clone()),
        (None, None) => (String::new(), String::new()),
    };
    let details = report
        .runs
        .first()
        .map_or(String::new(), |run| tiles(report, run) + &runs(report) + &facts(report, run));
    format!(
        "<div class=\"hero\"><p class=\"eyebrow\">{}</p><h1>{}</h1><p class=\"lede\">{}</p>{details}</div>",
        markup(&eyebrow),
        markup(title),
        markup(&lede)
    )
}

fn lede(report: &Report, run: &Run) -> String {
    let scores = &run.scores;
    let chance = 1.0 / scores.classes.max(1) as f64;
    let mut text = format!(
        "Mean recall over {} is {} (standard error {}); a guess would reach {}.",
        many(scores.classes_present, "class", "classes"),
        score(scores.macro_recall),
        score(scores.macro_recall_error),
        short(chance)
    );
    if let Some(second) = report.runs.get(1) {
        let difference = scores.macro_recall - second.scores.macro_recall;
        text += &match difference {
            d if d > 0.0 => format!(" That is {} above {}.", score(d), second.name),
            d if d < 0.0 => format!(" That is {} below {}.", score(-d), second.name),
            _ => format!(" That is the same as {}.", second.name),
        };
    }
    if scores.unseen_rows > 0 {
        text += &format!(
            " {} are of classes the model does not know; they count as wrong.",
            many(scores.unseen_rows as usize, "row", "rows")
        );
    }
    text
}

/// A number of the head of the page: name, value, what to add.
type Tile = (&'static str, fn(&Evaluation) -> f64, fn(&Evaluation) -> String);

const TILES: [Tile; 6] = [
    ("Macro recall", |e| e.macro_recall, |e| format!("\u{b1} {}", score(e.macro_recall_error))),
    ("Top-1 accuracy", |e| e.top1, |e| format!("of {} rows", thousands(e.rows))),
    ("Worst tenth", |e| e.worst_decile_recall, |_| "mean recall".into()),
    ("Macro F1", |e| e.macro_f1, |_| String::new()),
    ("Log-loss", |e| e.log_loss, |_| "nats, lower is better".into()),
    ("Calibration error", |e| e.ece, |_| "lower is better".into()),
];

fn tiles(report: &Report, run: &Run) -> String {
    let tile = |(name, value, note): &Tile| {
        let mut text = note(&run.scores);
        if let Some(second) = report.runs.get(1) {
            text = format!("{} against {}", signed(value(&run.scores) - value(&second.scores)), second.name);
        }
        format!(
            "<div><dt>{name}</dt><dd><strong>{}</strong> <span>{}</span></dd></div>",
            score(value(&run.scores)),
            markup(&text)
        )
    };
    format!("<dl class=\"tiles\">{}</dl>", TILES.iter().map(tile).collect::<String>())
}

/// The runs side by side, where there are several.
fn runs(report: &Report) -> String {
    if report.runs.len() < 2 {
        return String::new();
    }
    let head: String =
        TILES.iter().map(|(name, ..)| format!("<th scope=\"col\" class=\"n\">{name}</th>")).collect();
    let row = |run: &Run| {
        let cells: String = TILES
            .iter()
            .map(|(_, value, _)| format!("<td class=\"n\">{}</td>", score(value(&run.scores))))
            .collect();
        let weighting = markup(&run.weighting());
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}, {weighting}</td>{cells}</tr>",
            markup(&run.name),
            loss_text(run)
        )
    };
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Runs\"><table><caption \
         class=\"unseen\">Runs side by side</caption>\
         <thead><tr><th scope=\"col\">Run</th><th scope=\"col\">Loss and \
         weights</th>{head}</tr></thead><tbody>{}</tbody></table></div>",
        report.runs.iter().map(row).collect::<String>()
    )
}

fn loss_text(run: &Run) -> String {
    match run.metadata.loss {
        loss @ (Loss::Focal { gamma } | Loss::SoftmaxFocal { gamma }) => {
            format!("{}, gamma {}", loss.name(), short(gamma))
        }
        loss => loss.name().into(),
    }
}

/// How the first model came about.
fn facts(report: &Report, run: &Run) -> String {
    let metadata = &run.metadata;
    let rows: u64 = metadata.counts.rows.iter().sum();
    let setting = |name: &str| metadata.config.get(name).filter(|value| !value.is_null());
    let mut facts = vec![
        ("Loss", loss_text(run)),
        ("Class weights", run.weighting()),
        ("Training rows", thousands(rows)),
        ("Classes", thousands(metadata.label_map.classes() as u64)),
        ("Imbalance", short(metadata.counts.imbalance_factor())),
        ("Features", thousands(metadata.encoder.width() as u64)),
        ("Probabilities", report.prior.clone()),
    ];
    if metadata.logit_adjust != 0.0 {
        facts.push(("Logit adjustment", short(metadata.logit_adjust)));
    }
    if let Some(l2) = setting("l2").and_then(|value| value.as_f64()) {
        facts.push(("l2", short(l2)));
    }
    if let Some(seed) = setting("seed") {
        facts.push(("Seed", seed.to_string()));
    }
    if let Some(gap) = metadata.certificate.get("relative_gap").and_then(|value| value.as_f64()) {
        facts.push(("Above the optimum", format!("at most {} % (certified)", short(100.0 * gap))));
    }
    facts.push(("Fingerprint of the training data", metadata.data_fingerprint.clone()));
    facts.push(("Model written by", format!("cbfit {}", metadata.cbfit_version)));
    let items: String =
        facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", markup(value))).collect();
    format!("<details><summary>How this model came about</summary><dl class=\"facts\">{items}</dl></details>")
}
