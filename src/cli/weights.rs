//! `cbfit weights`: class weights under every scheme, for use in any training.

use serde_json::json;

use super::args::{NormArg, TableFormat, WeightsArgs};
use super::shared::read_options;
use super::{print, print_json, print_text};
use crate::data::counts::read_counts;
use crate::labels::{ClassCounts, LabelMap};
use crate::report::format::{short, thousands};
use crate::report::predictions::guard_formula;
use crate::report::text;
use crate::weighting::{Beta, ClassWeights, Normalisation, Scheme, WeightSummary};
use crate::{Error, Result};

struct Table {
    labels: LabelMap,
    counts: ClassCounts,
    betas: Vec<Beta>,
    /// One a scheme: none, inverse, sqrt, then one a beta.
    weights: Vec<ClassWeights>,
}

/// Runs the command.
///
/// # Errors
/// Those of the counts and of the betas.
pub fn run(args: WeightsArgs) -> Result<u8> {
    let mut betas = args.beta.iter().map(|text| Beta::parse(text)).collect::<Result<Vec<_>>>()?;
    let options = read_options(&args.file, &args.labels)?;
    let (labels, counts) = read_counts(&args.input, &options)?;
    if let Some(ratio) = args.ratio {
        let (n_min, n_max) = counts.extremes().unwrap_or((0.0, 0.0));
        betas.push(Beta::for_ratio(ratio, n_max, n_min)?);
    }
    let normalisation = match args.norm {
        NormArg::Samples => Normalisation::Samples,
        NormArg::Classes => Normalisation::Classes,
        NormArg::None => Normalisation::None,
    };
    let schemes = [Scheme::None, Scheme::Inverse, Scheme::Sqrt].into_iter();
    let weights = schemes
        .chain(betas.iter().map(|beta| Scheme::Effective(*beta)))
        .map(|scheme| ClassWeights::new(&scheme, &counts, normalisation, None))
        .collect::<Result<Vec<_>>>()?;
    let table = Table { labels, counts, betas, weights };
    match args.form {
        TableFormat::Table => print_text(&table.aligned())?,
        TableFormat::Csv => print(&table.csv()?)?,
        TableFormat::Json => print_json(&table.json(normalisation))?,
    }
    Ok(0)
}

impl Table {
    fn header(&self) -> Vec<String> {
        let mut header = vec!["class".to_string(), "count".into()];
        header.extend(self.betas.iter().map(|beta| format!("E_n({beta})")));
        header.extend(self.weights.iter().map(|weights| match &weights.scheme {
            Scheme::Effective(beta) => format!("w_cb({beta})"),
            scheme => format!("w_{}", scheme.name()),
        }));
        header
    }

    fn row(&self, class: usize, name: &str, number: impl Fn(f64) -> String) -> Vec<String> {
        let n = self.counts.weighted[class];
        let mut row = vec![name.to_owned(), number(n)];
        row.extend(self.betas.iter().map(|beta| number(beta.effective_number(n))));
        row.extend(self.weights.iter().map(|weights| number(weights.alpha[class])));
        row
    }

    fn aligned(&self) -> String {
        let mut rows = vec![self.header()];
        let names = self.labels.names.iter().map(|name| text::printable(name)).enumerate();
        rows.extend(names.map(|(class, name)| self.row(class, &name, short)));
        let columns = rows[0].len();
        let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let first = &row[0];
            text += &format!("{first:<width$}", width = widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                text += &format!("  {cell:>width$}");
            }
            text.push('\n');
        }
        text += &format!("\n{}\n", text::labels_line(&self.counts));
        let rows: u64 = self.counts.rows.iter().sum();
        for weights in &self.weights[1..] {
            let summary = WeightSummary::new(weights, &self.counts, None);
            let mut note = String::new();
            if summary.does_nothing {
                note += "   equals none";
            } else if summary.saturated {
                note += "   within 5 % of inverse";
            }
            text += &format!(
                "{:<18} max/min {:>8}   effective sample {} of {} rows{note}\n",
                summary.scheme,
                short(summary.max_min_ratio),
                thousands(summary.kish_effective_size.round() as u64),
                thousands(rows)
            );
        }
        text
    }

    fn csv(&self) -> Result<String> {
        let failed = |error: csv::Error| Error::io("<stdout>", "write", std::io::Error::other(error));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.header()).map_err(failed)?;
        for (class, name) in self.labels.names.iter().enumerate() {
            let row = self.row(class, &guard_formula(name), |value| value.to_string());
            writer.write_record(row).map_err(failed)?;
        }
        let bytes =
            writer.into_inner().map_err(|error| Error::io("<stdout>", "write", error.into_error()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn json(&self, normalisation: Normalisation) -> serde_json::Value {
        let schemes: Vec<serde_json::Value> = self
            .weights
            .iter()
            .map(|weights| {
                let beta = match &weights.scheme {
                    Scheme::Effective(beta) => Some(*beta),
                    _ => None,
                };
                json!({
                    "scheme": weights.scheme.name(),
                    "beta": beta.map(|beta| beta.to_string()),
                    "effective_number": beta.map(|beta| {
                        self.counts.weighted.iter().map(|&n| beta.effective_number(n)).collect::<Vec<f64>>()
                    }),
                    "weights": weights.alpha,
                    "summary": WeightSummary::new(weights, &self.counts, None),
                })
            })
            .collect();
        json!({
            "schema": "cbfit.weights/1",
            "normalisation": normalisation.name(),
            "classes": self.labels.names,
            "counts": self.counts.weighted,
            "schemes": schemes,
        })
    }
}
