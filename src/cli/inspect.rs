//! `cbfit inspect`: what a data file or a model holds.

use std::io::Read;

use serde_json::{Value, json};

use super::args::InspectArgs;
use super::inspect_trees::TreeFacts;
use super::row_facts::{ColumnKind, column_kinds, duplicate_rows, norms, spread_of};
use super::shared::{no_effect, read_options, refuse_data_flags};
use super::{print_json, print_text, with_threads};
use crate::data::dataset::Dataset;
use crate::data::dataset::read_training;
use crate::data::encode::InputColumn;
use crate::data::missing::Missing;
use crate::data::options::ReadOptions;
use crate::labels::ClassCounts;
use crate::model::Learner;
use crate::model_file::{self, ModelMetadata};
use crate::report::calibration::natural_name;
use crate::report::format::{bytes, score, short, thousands};
use crate::report::text;
use crate::weighting::summary::spread;
use crate::{Error, Result};

/// Runs the command.
///
/// # Errors
/// Those of reading the model or the data.
pub fn run(args: InspectArgs) -> Result<u8> {
    if args.run.quiet {
        let help = "leave it out".into();
        return Err(Error::NoEffect { flag: "--quiet".into(), with: "inspect".into(), help });
    }
    if looks_like_a_model(&args.input) {
        refuse_data_flags(&args.file, &args.labels, &args.columns, "a model")?;
        return inspect_model(&args);
    }
    no_effect(args.importance.is_some(), "--importance", "data", "it is of models of trees")?;
    // Inspecting is for finding trouble, so missing values are counted rather than refused.
    let options = ReadOptions {
        features: args.columns.features.clone(),
        id_col: args.columns.id_col.clone(),
        missing: Missing::Zero,
        ..read_options(&args.file, &args.labels)?
    };
    with_threads(&args.run, || {
        let data = read_training(std::slice::from_ref(&args.input), &options)?;
        let facts = Facts::of(&data);
        if args.run.json {
            print_json(&facts.json(&data))?;
        } else {
            print_text(&facts.text(&data))?;
        }
        Ok(0)
    })
}

fn inspect_model(args: &InspectArgs) -> Result<u8> {
    let (metadata, features) = model_file::read_metadata(&args.input)?;
    let trees = match metadata.learner {
        Learner::Linear => {
            let help = "cbfit export MODEL --to csv has the weights";
            no_effect(args.importance.is_some(), "--importance", "a linear model", help)?;
            None
        }
        Learner::Boost => {
            let saved = model_file::load(&args.input)?;
            saved.model.trees().map(|trees| TreeFacts::of(trees, &metadata, args)).transpose()?
        }
    };
    if args.run.json {
        let mut value =
            json!({ "schema": "cbfit.inspect-model/1", "features": features, "metadata": metadata });
        if let Some(trees) = &trees {
            value["trees"] = trees.json();
        }
        print_json(&value)?;
    } else {
        print_text(&model_text(&metadata, features, trees.as_ref()))?;
    }
    Ok(0)
}

/// A safetensors header starts with its length and an opening brace.
fn looks_like_a_model(path: &str) -> bool {
    let mut head = [0u8; 9];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    path.ends_with(".cbfit") || (read.is_ok() && head[8] == b'{')
}

fn model_text(metadata: &ModelMetadata, features: usize, trees: Option<&TreeFacts>) -> String {
    let mut lines = vec![
        format!(
            "cbfit model, format {}, written by cbfit {}",
            metadata.format_version, metadata.cbfit_version
        ),
        format!(
            "Model     {}/{}, {} classes x {features} features",
            learner_text(metadata),
            metadata.loss.name(),
            metadata.label_map.classes()
        ),
        format!("Labels    {}", text::labels_line(&metadata.counts)),
        format!(
            "Weights   {}{}   max/min {}",
            metadata.weighting.scheme,
            metadata.weighting.beta.as_ref().map_or(String::new(), |beta| format!(" {beta}")),
            short(spread(&metadata.class_weights))
        ),
        format!("Columns   {}", columns_text(metadata)),
        format!("Config    {}", metadata.config),
    ];
    match (trees, &metadata.certificate) {
        (Some(trees), _) => lines.extend(trees.lines()),
        (None, Value::Null) => lines.push("Fitted    in closed form".to_owned()),
        (None, certificate) => lines.push(format!("Fitted    {certificate}")),
    }
    lines.push(format!("Data      {}", metadata.data_fingerprint));
    if let Some(map) = &metadata.calibration {
        lines.push(format!("Calib     {}", natural_name(Some(map.method()))));
    }
    if let Some(offsets) = &metadata.offsets {
        lines.push(format!("Labels by offsets fitted for {}", offsets.metric.name()));
    }
    for part in ["valid", "test"] {
        let scores = &metadata.metrics[part];
        if let Some(recall) = scores["macro_recall"].as_f64() {
            let top1 = scores["top1"].as_f64().unwrap_or(f64::NAN);
            lines.push(format!("Scores    {part}: macro recall {}   top-1 {}", score(recall), score(top1)));
        }
    }
    lines.join("\n") + "\n"
}

fn learner_text(metadata: &ModelMetadata) -> String {
    match (metadata.learner, metadata.linear_start) {
        (Learner::Linear, _) => "linear".into(),
        (Learner::Boost, None) => "boost".into(),
        (Learner::Boost, Some(start)) => format!("boost from linear (l2 {})", short(start.l2)),
    }
}

fn columns_text(metadata: &ModelMetadata) -> String {
    const SHOWN: usize = 6;
    let inputs = &metadata.encoder.inputs;
    let shown = |input: &InputColumn| match input {
        InputColumn::Codes { name, levels } => format!("{name} ({} levels)", levels.len()),
        _ => format!("{} ({})", input.name(), input.width()),
    };
    let shown: Vec<String> = inputs.iter().take(SHOWN).map(shown).collect();
    let more =
        if inputs.len() > SHOWN { format!(" and {} more", inputs.len() - SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// What the rows of a data set tell without a model.
struct Facts {
    counts: ClassCounts,
    gini: f64,
    duplicate_rows: u64,
    constant_features: usize,
    norms: [f64; 3],
}

impl Facts {
    fn of(data: &Dataset) -> Self {
        let counts = data.counts(None);
        Facts {
            gini: gini(&counts.rows),
            counts,
            duplicate_rows: duplicate_rows(&data.features),
            constant_features: column_kinds(&data.features)
                .into_iter()
                .filter(|&kind| kind == ColumnKind::Constant)
                .count(),
            norms: spread_of(norms(&data.features)),
        }
    }

    fn text(&self, data: &Dataset) -> String {
        let matrix = &data.features;
        let mut lines = vec![
            format!(
                "Data      {}   {} rows x {}   {} in memory   fingerprint {}",
                data.source.name,
                thousands(data.source.rows),
                text::columns_text(matrix),
                bytes(matrix.bytes()),
                data.source.fingerprint
            ),
            format!("Labels    {}   Gini {}", text::labels_line(&self.counts), score(self.gini)),
            format!(
                "Rows      {} exact duplicates of an earlier row   norm min {} median {} max {}",
                thousands(self.duplicate_rows),
                short(self.norms[0]),
                short(self.norms[1]),
                short(self.norms[2])
            ),
            format!("Features  {} constant", thousands(self.constant_features as u64)),
        ];
        lines.extend(data.notes.iter().map(|note| format!("Note      {note}")));
        lines.push(String::new());
        lines.extend(self.histogram(data));
        lines.join("\n") + "\n"
    }

    /// The largest and the smallest classes with bars.
    fn histogram(&self, data: &Dataset) -> Vec<String> {
        const EACH: usize = 10;
        let mut order: Vec<usize> = (0..self.counts.rows.len()).collect();
        order.sort_by_key(|&class| (std::cmp::Reverse(self.counts.rows[class]), class));
        let largest = self.counts.rows.iter().copied().max().unwrap_or(1).max(1);
        let line = |&class: &usize| {
            let n = self.counts.rows[class];
            let bar = "#".repeat((40.0 * n as f64 / largest as f64).ceil() as usize);
            format!("{:>10}  {:<24} {bar}", thousands(n), text::printable(&data.label_map.names[class]))
        };
        if order.len() <= 2 * EACH {
            return order.iter().map(line).collect();
        }
        let mut lines: Vec<String> = order[..EACH].iter().map(line).collect();
        lines.push(format!("{:>10}  {} more classes", "...", order.len() - 2 * EACH));
        lines.extend(order[order.len() - EACH..].iter().map(line));
        lines
    }

    fn json(&self, data: &Dataset) -> Value {
        json!({
            "schema": "cbfit.inspect-data/1",
            "source": data.source.name,
            "rows": data.source.rows,
            "features": data.features.cols(),
            "dtype": data.features.dtype().name(),
            "bytes": data.features.bytes(),
            "stored_values": data.features.stored(),
            "fingerprint": data.source.fingerprint,
            "label_column": data.label_column,
            "classes": data.label_map.names,
            "counts": self.counts.rows,
            "imbalance_factor": self.counts.imbalance_factor(),
            "gini": self.gini,
            "duplicate_rows": self.duplicate_rows,
            "constant_features": self.constant_features,
            "norm": { "min": self.norms[0], "median": self.norms[1], "max": self.norms[2] },
            "columns": data.encoder,
            "notes": data.notes,
        })
    }
}

/// Gini coefficient of the class counts: 0 for balanced classes, towards 1 where one class holds all rows.
fn gini(rows: &[u64]) -> f64 {
    let mut sorted: Vec<u64> = rows.to_vec();
    sorted.sort_unstable();
    let (n, total) = (sorted.len() as f64, sorted.iter().sum::<u64>() as f64);
    let weighted: f64 = sorted.iter().enumerate().map(|(rank, &rows)| (rank + 1) as f64 * rows as f64).sum();
    2.0 * weighted / (n * total) - (n + 1.0) / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gini_is_zero_for_balance_and_high_for_a_tail() {
        assert!(gini(&[5, 5, 5]).abs() < 1e-12);
        assert!((gini(&[0, 0, 9]) - 2.0 / 3.0).abs() < 1e-12);
    }
}
