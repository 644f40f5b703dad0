//! The table of all classes: the first rows as HTML, all of them as data that the script sorts, filters and saves.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::Report;
use super::escape::{json, markup, shown};
use super::figures::{by_count, many, signed};
use crate::report::format::{score, thousands};

/// Rows written as HTML: what is read without the script, and printed.
const WRITTEN: usize = 100;
/// Classes from which the data are compressed: a page of 10^5 would take 7 MB otherwise.
const PLAIN_CLASSES: usize = 500;
/// Bytes of compressed data at most, so that no set of names makes a page of more than 1.5 MB.
const MAX_PACKED: usize = 1_150_000;
/// Columns that are never left out: training rows, rows and the recall of the first run.
const MIN_COLUMNS: usize = 3;

/// Values of all classes, shares and differences in thousandths.
#[derive(Debug, Clone, Serialize)]
struct Column {
    label: String,
    kind: Kind,
    values: Vec<Option<i64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Count,
    Share,
    Signed,
}

/// The table in the order of training rows, most first.
#[derive(Debug, Clone, Serialize)]
struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
}

/// The table and its data as HTML; `None` without a run.
pub fn section(report: &Report) -> Option<String> {
    let mut table = Table::of(report)?;
    let classes = table.names.len();
    let data = table.data();
    let mut notes = String::new();
    if table.names.len() < classes {
        notes += &format!(
            " Only the {} most frequent classes are in this file.",
            thousands(table.names.len() as u64)
        );
    }
    if data.shortened {
        notes += " Columns were left out to keep the file small; cbfit eval --by-class writes them all.";
    }
    let written = table.names.len().min(WRITTEN);
    let head: String = table.columns.iter().enumerate().map(|(at, column)| header(at, column)).collect();
    let rows: String = (0..written).map(|row| table.row(row)).collect();
    Some(format!(
        "<div class=\"controls\" hidden id=\"controls\">\
         <label>Find a class <input type=\"search\" id=\"find\" autocomplete=\"off\" \
         spellcheck=\"false\"></label>\
         <label>Training rows <select id=\"band\"><option value=\"\">all</option><option \
         value=\"0\">many, over 100</option>\
         <option value=\"1\">medium, 20 to 100</option><option value=\"2\">few, under \
         20</option></select></label>\
         <button type=\"button\" id=\"save\">Save as CSV</button></div>\
         <p id=\"status\" role=\"status\" class=\"muted\">{} of {}, by training rows.{notes}</p>\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of classes\"><table \
         id=\"table\">\
         <caption class=\"unseen\">Scores of every class</caption>\
         <thead><tr><th scope=\"col\" aria-sort=\"none\"><button type=\"button\" \
         data-column=\"-1\">Class</button></th>{head}</tr></thead>\
         <tbody>{rows}</tbody></table></div>\
         <p class=\"controls\" hidden id=\"more-row\"><button type=\"button\" id=\"more\">Show \
         more</button></p>{}",
        thousands(written as u64),
        many(classes, "class", "classes"),
        data.html
    ))
}

fn header(at: usize, column: &Column) -> String {
    let sorted = if at == 0 { "descending" } else { "none" };
    format!(
        "<th scope=\"col\" class=\"n\" aria-sort=\"{sorted}\"><button type=\"button\" \
         data-column=\"{at}\">{}</button></th>",
        markup(&column.label)
    )
}

/// The data as an element of the page.
struct Data {
    html: String,
    /// Whether columns were left out.
    shortened: bool,
}

impl Table {
    fn of(report: &Report) -> Option<Table> {
        let first = report.runs.first()?;
        let order = by_count(&first.metadata.counts.rows);
        let classes =
            |f: &dyn Fn(usize) -> Option<i64>| order.iter().map(|&class| f(class)).collect::<Vec<_>>();
        let share = |label: String, f: &dyn Fn(usize) -> f64| Column {
            label,
            kind: Kind::Share,
            values: classes(&|class| thousandths(f(class))),
        };
        let count = |label: &str, f: &dyn Fn(usize) -> i64| Column {
            label: label.into(),
            kind: Kind::Count,
            values: classes(&|class| Some(f(class))),
        };
        let scores = &first.scores.per_class;
        let mut columns = vec![
            count("Training rows", &|class| first.metadata.counts.rows[class] as i64),
            count("Rows", &|class| scores[class].rows as i64),
        ];
        for run in &report.runs {
            let label =
                if report.runs.len() == 1 { "Recall".into() } else { format!("Recall, {}", run.name) };
            columns.push(share(label, &|class| run.scores.per_class[class].recall));
        }
        if let [_, second] = report.runs.as_slice() {
            let difference = |class: usize| scores[class].recall - second.scores.per_class[class].recall;
            columns.push(Column { kind: Kind::Signed, ..share("Difference".into(), &difference) });
        }
        let of_first = |label: &str| match report.runs.len() {
            1 => label.to_owned(),
            _ => format!("{label}, {}", first.name),
        };
        columns.push(share(of_first("Precision"), &|class| scores[class].precision));
        columns.push(share(of_first("F1"), &|class| scores[class].f1));
        let rows = first.scores.rows as f64;
        columns.push(count(&of_first("Predicted rows"), &|class| {
            (scores[class].predicted_share * rows).round() as i64
        }));
        let names = order.iter().map(|&class| shown(&first.labels().names[class])).collect();
        Some(Table { names, columns })
    }

    fn row(&self, row: usize) -> String {
        let cells: String = self
            .columns
            .iter()
            .map(|column| format!("<td class=\"n\">{}</td>", text(column.kind, column.values[row])))
            .collect();
        format!("<tr><th scope=\"row\">{}</th>{cells}</tr>", markup(&self.names[row]))
    }

    /// The data element. Where they would be too large, the last columns are left out, then the rarest classes.
    fn data(&mut self) -> Data {
        if self.names.len() <= PLAIN_CLASSES {
            let html = format!("<script type=\"application/json\" id=\"classes\">{}</script>", json(self));
            return Data { html, shortened: false };
        }
        let mut shortened = false;
        let mut packed = self.packed();
        while packed.len() > MAX_PACKED {
            if self.columns.len() > MIN_COLUMNS {
                self.columns.pop();
                shortened = true;
            } else {
                self.keep(self.names.len() * 3 / 4);
            }
            packed = self.packed();
        }
        let html = format!("<script type=\"text/plain\" id=\"classes\" data-form=\"gzip\">{packed}</script>");
        Data { html, shortened }
    }

    fn keep(&mut self, classes: usize) {
        self.names.truncate(classes);
        self.columns.iter_mut().for_each(|column| column.values.truncate(classes));
    }

    fn packed(&self) -> String {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing into memory does not fail.
        let _ = encoder.write_all(json(self).as_bytes());
        BASE64.encode(encoder.finish().unwrap_or_default())
    }
}

fn thousandths(value: f64) -> Option<i64> {
    value.is_finite().then(|| (1000.0 * value).round() as i64)
}

fn text(kind: Kind, value: Option<i64>) -> String {
    match (kind, value) {
        (_, None) => "-".into(),
        (Kind::Count, Some(n)) => thousands(n.unsigned_abs()),
        (Kind::Share, Some(n)) => score(n as f64 / 1000.0),
        (Kind::Signed, Some(n)) => signed(n as f64 / 1000.0),
    }
}
