//! Predictions as a file: Parquet, CSV, TSV, JSON lines or npy, written block by block.
//!
//! Columns: the id (if there is one), `prediction` in the type the labels had, `probability` of that class,
//! `prediction_2`, `probability_2` and so on up to `top_k`, then on request the probabilities of all classes. These are
//! columns `p_<class>` in CSV, TSV and JSON lines, one fixed-size list `probabilities` in Parquet, and in npy (which has
//! no columns) the rows x C matrix in place of the labels. Last come further numbers of the rows, where the schema names
//! some.
//!
//! Predictions of the training rows themselves (out-of-fold ones) have two more columns before `prediction`: `row`, the
//! number of the row from 0, and `label`, the true class. Where a row has no such prediction its cells are missing: empty
//! in CSV, null in Parquet and JSON lines, NaN in npy.

mod delimited;
mod jsonl;
mod npy;
mod parquet;
mod sink;

use std::collections::HashMap;
use std::path::Path;

use crate::data::table::{ColumnBuffer, FieldKind};
use crate::labels::{LabelKind, LabelMap, UNSEEN};
use crate::{Error, Result};
pub use delimited::guard_formula;
use sink::Sink;

/// File format of predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionFormat {
    /// Columns, zstd.
    Parquet,
    /// Comma-separated with a header. Text that a spreadsheet would run as a formula is written with a `'` before it.
    Csv,
    /// The same with tabs.
    Tsv,
    /// A numpy array without ids: labels (one a row), or the matrix of probabilities.
    Npy,
    /// One JSON object a row.
    Jsonl,
}

impl PredictionFormat {
    const NAMES: [(&str, PredictionFormat); 5] = [
        ("parquet", PredictionFormat::Parquet),
        ("csv", PredictionFormat::Csv),
        ("tsv", PredictionFormat::Tsv),
        ("npy", PredictionFormat::Npy),
        ("jsonl", PredictionFormat::Jsonl),
    ];

    /// The format a path's extension stands for; CSV for `-` (standard output). Else [`Error::BadValue`].
    pub fn of_path(path: &str) -> Result<Self> {
        let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
        match extension {
            None if path == "-" => Ok(PredictionFormat::Csv),
            None => Err(unknown_format(path, "has no extension to tell the format")),
            Some(name) => {
                Self::named(name).ok_or_else(|| unknown_format(path, "has an extension that names no format"))
            }
        }
    }

    fn named(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        Self::NAMES.iter().find(|(known, _)| *known == lower).map(|(_, format)| *format)
    }
}

fn unknown_format(path: &str, why: &str) -> Error {
    let names: Vec<&str> = PredictionFormat::NAMES.iter().map(|(name, _)| *name).collect();
    Error::bad_value("--out", path, why, format!("predictions are written as {}", names.join(", ")))
}

/// What a file of predictions contains.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionSchema {
    /// Name and kind of the column copied from the data, if any.
    pub id: Option<(String, FieldKind)>,
    /// The C classes.
    pub labels: LabelMap,
    /// Number of ranked classes a row, 1 to C.
    pub top_k: usize,
    /// Whether the probabilities of all classes are written.
    pub full_probabilities: bool,
    /// Whether rows come with their number and true class, and may lack a prediction.
    pub with_truth: bool,
    /// Names of the columns of further numbers, which come last.
    pub extra: Vec<String>,
}

/// Predictions of some consecutive rows.
#[derive(Debug, Clone, Copy)]
pub struct PredictionBlock<'a> {
    /// One id a row, present if and only if the schema has an id.
    pub ids: Option<&'a ColumnBuffer>,
    /// Number and true class of the rows, present if and only if the schema has the truth.
    pub truth: Option<Truth<'a>>,
    /// Code of the predicted class, one a row; the first rank whatever the probabilities say. With the truth,
    /// [`UNSEEN`] stands for no prediction.
    pub predicted: &'a [u32],
    /// Rows x C, row-major.
    pub probabilities: &'a [f32],
}

/// Where rows stand in the training data, and their true classes.
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    /// Number of the first row, from 0; the others follow it.
    pub first_row: u64,
    /// Class codes; [`UNSEEN`] for a label that is no class of the model.
    pub labels: &'a [u32],
}

/// Writes predictions to a file, which appears at [`PredictionWriter::finish`], or to standard output.
pub struct PredictionWriter {
    encoder: Box<dyn Encode>,
    id_kind: Option<FieldKind>,
    with_truth: bool,
    classes: usize,
    top_k: usize,
    extra: usize,
    rows: u64,
}

/// One file format.
trait Encode {
    fn write(&mut self, block: &RankedBlock<'_>) -> Result<()>;
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A [`PredictionBlock`] with its ranks.
struct RankedBlock<'a> {
    ids: Option<&'a ColumnBuffer>,
    truth: Option<Truth<'a>>,
    /// Rows x top_k codes; [`UNSEEN`] in rows without a prediction.
    ranked: Vec<u32>,
    probabilities: &'a [f32],
    /// Rows x columns of further numbers.
    extra: &'a [f32],
    classes: usize,
    top_k: usize,
}

impl PredictionWriter {
    /// Opens `path` (`-` = standard output) for predictions.
    ///
    /// Fails with [`Error::BadValue`] (`top_k` outside 1..=C, npy on standard output), [`Error::NoEffect`] (id,
    /// `top_k` or further numbers with npy, which has no columns), [`Error::UnsupportedType`] (an id that is a vector),
    /// [`Error::DuplicateColumns`] (an id or further numbers called like another column), [`Error::Io`].
    pub fn create(path: &str, format: PredictionFormat, schema: &PredictionSchema) -> Result<Self> {
        let classes = schema.labels.classes();
        if !(1..=classes).contains(&schema.top_k) {
            return Err(Error::bad_value(
                "--top-k",
                schema.top_k.to_string(),
                format!("the model has {classes} classes"),
                format!("choose 1 to {classes}"),
            ));
        }
        if let Some((column, FieldKind::Vector { .. } | FieldKind::Other(_))) = &schema.id {
            return Err(Error::UnsupportedType {
                file: path.into(),
                column: column.clone(),
                kind: "vector".into(),
                role: "an id",
            });
        }
        check_names(path, schema)?;
        let encoder: Box<dyn Encode> = match format {
            PredictionFormat::Parquet => Box::new(parquet::ParquetEncoder::new(Sink::create(path)?, schema)?),
            PredictionFormat::Csv => Box::new(delimited::DelimitedEncoder::new(path, ',', schema)?),
            PredictionFormat::Tsv => Box::new(delimited::DelimitedEncoder::new(path, '\t', schema)?),
            PredictionFormat::Npy => Box::new(npy::NpyEncoder::new(path, schema)?),
            PredictionFormat::Jsonl => Box::new(jsonl::JsonlEncoder::new(path, schema)?),
        };
        let id_kind = schema.id.as_ref().map(|(_, kind)| kind.clone());
        let with_truth = schema.with_truth;
        let (top_k, extra) = (schema.top_k, schema.extra.len());
        Ok(PredictionWriter { encoder, id_kind, with_truth, classes, top_k, extra, rows: 0 })
    }

    /// Appends rows that have no further numbers. Fails with [`Error::Io`].
    ///
    /// # Panics
    /// Where the parts of the block differ in their number of rows or from the schema.
    pub fn write_block(&mut self, block: &PredictionBlock<'_>) -> Result<()> {
        self.write_block_with(block, &[])
    }

    /// Appends rows with their further numbers (rows x columns of the schema). Fails with [`Error::Io`].
    ///
    /// # Panics
    /// As [`PredictionWriter::write_block`].
    pub fn write_block_with(&mut self, block: &PredictionBlock<'_>, extra: &[f32]) -> Result<()> {
        let rows = block.predicted.len();
        assert_eq!(extra.len(), rows * self.extra, "further numbers of a block");
        assert_eq!(block.probabilities.len(), rows * self.classes, "probabilities of a block");
        assert_eq!(block.ids.map(ColumnBuffer::rows), self.id_kind.as_ref().map(|_| rows), "ids of a block");
        if let (Some(ids), Some(kind)) = (block.ids, &self.id_kind) {
            assert!(holds(ids, kind), "ids of a block are no {kind:?}");
        }
        let labels = block.truth.map(|truth| truth.labels.len());
        assert_eq!(labels, self.with_truth.then_some(rows), "labels of a block");
        let mut ranked = Vec::with_capacity(rows * self.top_k);
        for (row, &predicted) in block.predicted.iter().enumerate() {
            if self.with_truth && predicted == UNSEEN {
                ranked.extend(std::iter::repeat_n(UNSEEN, self.top_k));
                continue;
            }
            let probabilities = &block.probabilities[row * self.classes..(row + 1) * self.classes];
            rank(predicted, probabilities, self.top_k, &mut ranked);
        }
        self.rows += rows as u64;
        self.encoder.write(&RankedBlock {
            ids: block.ids,
            truth: block.truth,
            ranked,
            probabilities: block.probabilities,
            extra,
            classes: self.classes,
            top_k: self.top_k,
        })
    }

    /// Completes the file and moves it into place; returns the number of rows. Fails with [`Error::Io`].
    pub fn finish(self) -> Result<u64> {
        self.encoder.finish()?;
        Ok(self.rows)
    }
}

fn holds(ids: &ColumnBuffer, kind: &FieldKind) -> bool {
    matches!(
        (ids, kind),
        (ColumnBuffer::Int { .. }, FieldKind::Int)
            | (ColumnBuffer::Float(_), FieldKind::Float)
            | (ColumnBuffer::Bool { .. }, FieldKind::Bool)
            | (ColumnBuffer::Text(_), FieldKind::Text)
    )
}

/// Appends `top_k` codes: the predicted class, then the others by falling probability, equal ones by code.
fn rank(predicted: u32, probabilities: &[f32], top_k: usize, ranked: &mut Vec<u32>) {
    assert!((predicted as usize) < probabilities.len(), "predicted code {predicted} is no class");
    ranked.push(predicted);
    if top_k == 1 {
        return;
    }
    let mut others: Vec<u32> = (0..probabilities.len() as u32).filter(|&code| code != predicted).collect();
    let order =
        |a: &u32, b: &u32| probabilities[*b as usize].total_cmp(&probabilities[*a as usize]).then(a.cmp(b));
    if top_k - 1 < others.len() {
        others.select_nth_unstable_by(top_k - 2, order);
        others.truncate(top_k - 1);
    }
    others.sort_unstable_by(order);
    ranked.extend(others);
}

impl RankedBlock<'_> {
    fn rows(&self) -> usize {
        self.ranked.len() / self.top_k
    }

    /// Codes and probabilities of the ranked classes of a row; `None` for each rank of a row without a prediction.
    fn ranks(&self, row: usize) -> impl Iterator<Item = Option<(usize, f32)>> {
        let of_row = self.row_probabilities(row);
        let codes = &self.ranked[row * self.top_k..(row + 1) * self.top_k];
        codes.iter().map(move |&code| of_row.get(code as usize).map(|&p| (code as usize, p)))
    }

    fn is_missing(&self, row: usize) -> bool {
        self.ranked[row * self.top_k] == UNSEEN
    }

    /// Number and true class of a row, where the schema has them.
    fn truth_of(&self, row: usize) -> Option<(u64, Option<usize>)> {
        let truth = self.truth?;
        let code = truth.labels[row] as usize;
        Some((truth.first_row + row as u64, (code < self.classes).then_some(code)))
    }

    fn row_extra(&self, row: usize) -> &[f32] {
        let width = self.extra.len() / self.rows().max(1);
        &self.extra[row * width..(row + 1) * width]
    }

    fn row_probabilities(&self, row: usize) -> &[f32] {
        &self.probabilities[row * self.classes..(row + 1) * self.classes]
    }
}

/// The classes in the type the labels had. Names that do not fit their kind leave all classes text.
enum ClassValues {
    Int(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

impl ClassValues {
    fn of(labels: &LabelMap) -> Self {
        let parsed = match labels.kind {
            LabelKind::Int => parse_all(&labels.names).map(ClassValues::Int),
            LabelKind::Bool => parse_all(&labels.names).map(ClassValues::Bool),
            LabelKind::Text => None,
        };
        parsed.unwrap_or_else(|| ClassValues::Text(labels.names.clone()))
    }
}

fn parse_all<T: std::str::FromStr>(names: &[String]) -> Option<Vec<T>> {
    names.iter().map(|name| name.parse().ok()).collect()
}

/// Names of the columns `prediction`, `probability`, `prediction_2`, ... in order.
fn rank_names(top_k: usize) -> impl Iterator<Item = String> {
    (1..=top_k).flat_map(|rank| {
        let suffix = if rank == 1 { String::new() } else { format!("_{rank}") };
        [format!("prediction{suffix}"), format!("probability{suffix}")]
    })
}

/// Names of the columns of the truth.
fn truth_names(schema: &PredictionSchema) -> Vec<String> {
    let names: &[&str] = if schema.with_truth { &["row", "label"] } else { &[] };
    names.iter().map(|name| name.to_string()).collect()
}

/// Names of the columns of a text format.
fn text_names(schema: &PredictionSchema) -> Vec<String> {
    let id = schema.id.iter().map(|(name, _)| name.clone()).chain(truth_names(schema));
    let classes = if schema.full_probabilities { schema.labels.names.as_slice() } else { &[] };
    let probabilities = classes.iter().map(|name| format!("p_{name}"));
    id.chain(rank_names(schema.top_k)).chain(probabilities).chain(schema.extra.iter().cloned()).collect()
}

fn check_names(path: &str, schema: &PredictionSchema) -> Result<()> {
    // `probabilities` is the name of the list in Parquet; one rule for all formats is easier to remember.
    let names: Vec<String> = text_names(schema).into_iter().chain(["probabilities".to_owned()]).collect();
    let mut positions: HashMap<&str, Vec<usize>> = HashMap::new();
    for (position, name) in names.iter().enumerate() {
        positions.entry(name).or_default().push(position);
    }
    // Class names differ from each other, so that nothing else can collide.
    let suspects = schema.id.iter().map(|(name, _)| name).chain(&schema.extra);
    for name in suspects {
        match positions.remove(name.as_str()) {
            Some(positions) if positions.len() > 1 => {
                return Err(Error::DuplicateColumns { file: path.into(), name: name.clone(), positions });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Appends the shortest text that reads back as the same f32.
fn push_f32(line: &mut String, value: f32) {
    use std::fmt::Write as _;
    // `Display` writes out every zero of 1e-30. Writing to a String cannot fail.
    let _ =
        if value != 0.0 && value.abs() < 1e-4 { write!(line, "{value:e}") } else { write!(line, "{value}") };
}

#[cfg(test)]
mod tests;
