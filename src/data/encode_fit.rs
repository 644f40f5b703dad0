//! Fitting a [`FeatureEncoder`] while the training rows are read.

use std::ops::Range;

use super::columns::{append_rows, numbers};
use super::encode::{FeatureEncoder, InputColumn, MOST_CODES, level_places};
use super::encode_fill::{Source, append_filled};
use super::files::kind_name;
use super::finite::{Origin, ValueCheck};
use super::missing::Missing;
use super::options::Categories;
use super::table::{ColumnBuffer, Field, FieldKind, NULL_TEXT, TextColumn};
use crate::matrix::{Dtype, FileRowsWriter, Matrix, Storage};
use crate::memory::MemoryLimit;
use crate::{Error, Result};

/// Most values a text column may have.
const MOST_LEVELS: usize = 10_000;
/// Bytes of features that are made in memory at a time on their way to a file.
const BLOCK_BYTES: usize = 1 << 20;

enum FitColumn {
    Numeric { name: String },
    Text { name: String, values: ColumnBuffer },
    Vector { name: String },
}

/// Numbers and vectors are put into one matrix row by row as they come; text is kept as codes until all of its levels
/// are known. Without text columns that matrix is the feature matrix.
pub(super) struct EncoderFit {
    columns: Vec<FitColumn>,
    missing: Missing,
    categories: Categories,
    check: ValueCheck,
    dense: Matrix<'static>,
    /// Columns of `dense` that each input column takes.
    lengths: Vec<usize>,
}

/// What training needs of its columns.
pub(super) struct Fitted {
    /// Without means: which rows they are taken over is known after a split.
    pub(super) encoder: FeatureEncoder,
    /// With NaN where a value is missing.
    pub(super) features: Matrix<'static>,
    /// Number of missing values, text included.
    pub(super) missing: u64,
    pub(super) notes: Vec<String>,
}

impl EncoderFit {
    /// For the columns `fields`.
    ///
    /// # Errors
    /// [`Error::UnsupportedType`] for kinds that cannot be features.
    pub(super) fn new(
        file: &str,
        fields: &[&Field],
        missing: Missing,
        categories: Categories,
    ) -> Result<Self> {
        let column = |field: &&Field| {
            let name = field.name.clone();
            Ok(match &field.kind {
                FieldKind::Int | FieldKind::Float | FieldKind::Bool => FitColumn::Numeric { name },
                FieldKind::Text => {
                    FitColumn::Text { name, values: ColumnBuffer::Text(TextColumn::default()) }
                }
                FieldKind::Vector { .. } => FitColumn::Vector { name },
                FieldKind::Other(_) => {
                    let (file, kind) = (file.to_owned(), kind_name(&field.kind));
                    return Err(Error::UnsupportedType { file, column: name, kind, role: "a feature" });
                }
            })
        };
        Ok(EncoderFit {
            columns: fields.iter().map(column).collect::<Result<_>>()?,
            missing,
            categories,
            check: ValueCheck::default(),
            dense: Matrix::empty(Dtype::F32, 0),
            lengths: Vec::new(),
        })
    }

    /// Whether the features are one vector column, which then stays in the buffer it is read into.
    pub(super) fn is_one_vector(&self) -> bool {
        matches!(self.columns[..], [FitColumn::Vector { .. }])
    }

    /// Looks at rows `start..` of the only vector column.
    pub(super) fn push_vectors(&mut self, origin: &Origin<'_>, features: &Matrix, start: usize) {
        if let [FitColumn::Vector { name }] = &self.columns[..] {
            self.check.scan(origin, features, start, |at| format!("{name}[{at}]"));
        }
    }

    /// Takes in a block of rows, one buffer a column.
    pub(super) fn push(&mut self, origin: &Origin<'_>, block: &[ColumnBuffer]) -> Result<()> {
        let lengths: Vec<usize> = self.columns.iter().zip(block).map(dense_length).collect();
        if self.lengths.is_empty() {
            self.dense = Matrix::empty(Dtype::F32, lengths.iter().sum());
            self.lengths = lengths;
        } else if let Some(at) = (0..lengths.len()).find(|&at| lengths[at] != self.lengths[at]) {
            return Err(Error::FilesDiffer {
                file: origin.file.to_owned(),
                what: format!("vectors of {} values; they have {}", self.lengths[at], lengths[at]),
            });
        }
        let mut sources = Vec::new();
        for (column, buffer) in self.columns.iter_mut().zip(block) {
            match (column, buffer) {
                (FitColumn::Text { name, values }, buffer) => {
                    append_rows(values, buffer, None);
                    let missing = (0..buffer.rows())
                        .filter(|&row| matches!(buffer, ColumnBuffer::Text(text) if text.get(row).is_none()));
                    self.check.add_text(origin, name, buffer.rows(), missing);
                    check_levels(origin.file, name, values)?;
                }
                (_, ColumnBuffer::Vector(matrix)) => sources.push(Source::Vector(matrix)),
                (_, buffer) => sources.push(Source::Numbers(numbers(buffer))),
            }
        }
        if !sources.is_empty() {
            let start = self.dense.rows();
            append_filled(&mut self.dense, block.first().map_or(0, ColumnBuffer::rows), &sources)?;
            let names = dense_names(&self.columns, &self.lengths);
            self.check.scan(origin, &self.dense, start, names);
        }
        Ok(())
    }

    /// The numbers and vectors of the rows pushed, which may be taken.
    pub(super) fn dense_rows(&mut self) -> &mut Matrix<'static> {
        &mut self.dense
    }

    /// Takes the numbers and vectors of the rows pushed.
    pub(super) fn take_dense(&mut self) -> Matrix<'static> {
        std::mem::replace(&mut self.dense, Matrix::empty(Dtype::F32, 0))
    }

    /// The encoder, and the features of the rows pushed with [`EncoderFit::push`].
    #[cfg(test)]
    fn finish(mut self) -> Result<Fitted> {
        let dense = self.take_dense();
        self.finish_with(dense, None)
    }

    /// The encoder, and the features of the rows pushed, whose numbers and vectors are `dense`. Dense features that exceed
    /// `limit` are made in a file.
    pub(super) fn finish_with(self, dense: Matrix<'static>, limit: Option<&MemoryLimit>) -> Result<Fitted> {
        self.check.result(self.missing == Missing::Error)?;
        let mut notes = Vec::new();
        let vector_length = if self.is_one_vector() { Some(dense.cols()) } else { None };
        let mut inputs = Vec::with_capacity(self.columns.len());
        let mut texts: Vec<TextColumn> = Vec::new();
        // Missing values of text by what becomes of them: 0 in features of levels, NaN in one of codes.
        let (mut missing_levels, mut missing_codes) = (0, 0);
        for (at, column) in self.columns.into_iter().enumerate() {
            inputs.push(match column {
                FitColumn::Numeric { name } => InputColumn::Numeric { name, mean: None },
                FitColumn::Text { name, values } => {
                    let ColumnBuffer::Text(values) = values else { continue };
                    let absent = values.codes().iter().filter(|&&code| code == NULL_TEXT).count() as u64;
                    let input = text_input(name, &values, self.categories, &mut notes);
                    match input {
                        InputColumn::Codes { .. } => missing_codes += absent,
                        _ => missing_levels += absent,
                    }
                    texts.push(values);
                    input
                }
                FitColumn::Vector { name } => {
                    let len = vector_length.or(self.lengths.get(at).copied()).unwrap_or(0);
                    InputColumn::Vector { name, len, means: None }
                }
            });
        }
        let kept = match self.missing {
            Missing::Keep => self.check.missing().saturating_sub(missing_levels),
            Missing::Error | Missing::Mean | Missing::Zero => missing_codes,
        };
        let filled = self.check.missing().saturating_sub(kept);
        if filled > 0 {
            let mean = self.missing == Missing::Mean;
            let with = if mean { "the mean of the training rows" } else { "zero" };
            notes.push(format!("{filled} missing feature values filled with {with}"));
        }
        if kept > 0 {
            notes.push(format!("{kept} missing feature values stay missing"));
        }
        let encoder = FeatureEncoder { inputs, missing: self.missing };
        if encoder.is_sparse() {
            let (values, width) = (encoder.most_values(), encoder.width());
            notes.push(format!("features kept sparse: at most {values} of {width} values a row"));
        }
        let features = if texts.is_empty() { dense } else { insert_texts(&encoder, dense, &texts, limit)? };
        Ok(Fitted { encoder, features, missing: self.check.missing(), notes })
    }
}

/// How the text column `values` becomes features; a note says so where codes were asked for and cannot be.
fn text_input(
    name: String,
    values: &TextColumn,
    categories: Categories,
    notes: &mut Vec<String>,
) -> InputColumn {
    let mut levels = values.levels().to_vec();
    levels.sort_unstable();
    match categories {
        Categories::Codes if levels.len() <= MOST_CODES => return InputColumn::Codes { name, levels },
        Categories::Codes => notes.push(format!(
            "text column {name:?} has {} levels, codes hold at most {MOST_CODES}: it has one feature a level",
            levels.len()
        )),
        Categories::OneHot => {}
    }
    InputColumn::OneHot { name, levels }
}

/// Columns that a block's column takes in the dense matrix.
fn dense_length((column, buffer): (&FitColumn, &ColumnBuffer)) -> usize {
    match (column, buffer) {
        (FitColumn::Text { .. }, _) => 0,
        (_, ColumnBuffer::Vector(matrix)) => matrix.cols(),
        _ => 1,
    }
}

/// The name of a column of the dense matrix.
fn dense_names<'a>(columns: &'a [FitColumn], lengths: &'a [usize]) -> impl Fn(usize) -> String + 'a {
    move |mut at| {
        for (column, &length) in columns.iter().zip(lengths) {
            if at < length {
                return match column {
                    FitColumn::Vector { name } => format!("{name}[{at}]"),
                    FitColumn::Numeric { name } | FitColumn::Text { name, .. } => name.clone(),
                };
            }
            at -= length;
        }
        at.to_string()
    }
}

fn check_levels(file: &str, column: &str, values: &ColumnBuffer) -> Result<()> {
    match values {
        ColumnBuffer::Text(text) if text.levels().len() > MOST_LEVELS => Err(Error::TooManyLevels {
            file: file.to_owned(),
            column: column.to_owned(),
            levels: text.levels().len(),
            limit: MOST_LEVELS,
        }),
        _ => Ok(()),
    }
}

/// The dense columns and the features of the text columns in the order of the encoder's features.
fn insert_texts(
    encoder: &FeatureEncoder,
    dense: Matrix<'static>,
    texts: &[TextColumn],
    limit: Option<&MemoryLimit>,
) -> Result<Matrix<'static>> {
    let rows = texts.first().map_or(0, |text| text.codes().len());
    let row_bytes = encoder.width() * Dtype::F32.width();
    let folder = match (dense.storage(), limit) {
        _ if encoder.is_sparse() => None,
        (Storage::File(file), _) => Some(file.folder()),
        (_, Some(limit)) if (rows * row_bytes) as u64 > limit.for_rows() => Some(limit.folder.as_path()),
        _ => None,
    };
    let Some(folder) = folder else {
        let dense = match dense.is_in_file() {
            // What is not text is little where rows are sparse.
            true => dense.select_rows(&(0..rows).collect::<Vec<_>>()),
            false => dense,
        };
        return encoder.features(rows, &sources_of(encoder, &dense, texts, 0..rows));
    };
    let mut writer = FileRowsWriter::create(folder, Dtype::F32, encoder.width(), rows as u64)?;
    let step = (BLOCK_BYTES / row_bytes.max(1)).max(1);
    for start in (0..rows).step_by(step) {
        let end = (start + step).min(rows);
        let block = dense.select_rows(&(start..end).collect::<Vec<_>>());
        writer.append(&encoder.features(end - start, &sources_of(encoder, &block, texts, start..end))?)?;
    }
    dense.check()?;
    Ok(writer.finish())
}

/// Where the features of the rows `range` come from; `dense` are those of numbers and vectors, in memory.
fn sources_of<'a>(
    encoder: &FeatureEncoder,
    dense: &'a Matrix<'a>,
    texts: &'a [TextColumn],
    range: Range<usize>,
) -> Vec<Source<'a>> {
    let mut texts = texts.iter();
    let mut sources = Vec::with_capacity(encoder.inputs.len());
    let mut taken = 0;
    for input in &encoder.inputs {
        match input.levels() {
            Some(levels) => {
                sources.extend(texts.next().map(|text| {
                    let places = level_places(levels, text);
                    Source::of_text(input, &text.codes()[range.clone()], places)
                }));
            }
            None => {
                sources.push(Source::Columns { matrix: dense, start: taken, width: input.width() });
                taken += input.width();
            }
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::super::encode_fill::column_means;
    use super::*;

    const ORIGIN: Origin<'_> = Origin { file: "t", first_row: 0, kept: None };

    fn field(name: &str, kind: FieldKind) -> Field {
        Field { name: name.into(), kind, class_names: None }
    }

    fn text(values: &[Option<&str>]) -> ColumnBuffer {
        let mut column = TextColumn::default();
        values.iter().for_each(|value| column.push(*value));
        ColumnBuffer::Text(column)
    }

    fn mixed() -> (Vec<Field>, Vec<ColumnBuffer>) {
        let vector = FieldKind::Vector { len: Some(2), dtype: Dtype::F16 };
        let fields = vec![
            field("c", FieldKind::Text),
            field("n", FieldKind::Int),
            field("v", vector),
            field("d", FieldKind::Text),
        ];
        let half = [1.0, 2.0, 3.0, f32::NAN].map(half::f16::from_f32).to_vec();
        let block = vec![
            text(&[Some("b"), Some("a")]),
            ColumnBuffer::Int { values: vec![4, 0], nulls: vec![1] },
            ColumnBuffer::Vector(Matrix::from_storage(crate::matrix::Storage::F16(half), 2)),
            text(&[None, Some("z")]),
        ];
        (fields, block)
    }

    #[test]
    fn training_and_encoding_agree() {
        let (fields, block) = mixed();
        let mut fit =
            EncoderFit::new("t", &fields.iter().collect::<Vec<_>>(), Missing::Mean, Categories::OneHot)
                .unwrap();
        fit.push(&ORIGIN, &block).unwrap();
        fit.push(&ORIGIN, &block).unwrap();
        let mut fitted = fit.finish().unwrap();
        assert_eq!(fitted.notes, ["6 missing feature values filled with the mean of the training rows"]);
        let means = column_means(&fitted.features, &[0, 1, 2, 3], None);
        fitted.encoder.set_means(means.into_iter());
        fitted.encoder.fill_missing(&mut fitted.features);
        let row_0 = [0.0, 1.0, 4.0, 1.0, 2.0, 0.0];
        let row_1 = [1.0, 0.0, 4.0, 3.0, 2.0, 1.0];
        let expected = [row_0, row_1, row_0, row_1].concat();
        assert_eq!(fitted.features, Matrix::from_f32(expected, 6));
        let mut again = fitted.encoder.encode(&ORIGIN, block).unwrap();
        fitted.encoder.fill_missing(&mut again.features);
        assert_eq!(again.features, fitted.features.select_rows(&[0, 1]));
    }

    #[test]
    fn missing_values_are_counted_over_all_columns() {
        let (fields, block) = mixed();
        let mut fit =
            EncoderFit::new("t", &fields.iter().collect::<Vec<_>>(), Missing::Error, Categories::OneHot)
                .unwrap();
        fit.push(&ORIGIN, &block).unwrap();
        let error = fit.finish().err().unwrap();
        assert_eq!(error.to_string(), "t: 3 missing feature values (30.00 %), first in row 1, column d");
    }

    #[test]
    fn means_are_those_of_the_rows_given_and_weighed() {
        let features = Matrix::from_f32(vec![1.0, f32::NAN, 4.0, f32::NAN, 1000.0, 7.0], 2);
        assert_eq!(column_means(&features, &[0, 1], None), [2.5, 0.0]);
        assert_eq!(column_means(&features, &[0, 1], Some(&[1e300, 2e300, 1.0])), [3.0, 0.0]);
        assert_eq!(column_means(&features, &[], None), [0.0, 0.0]);
        let values = vec![1.0, f32::NAN, 0.0, f32::NAN, 1000.0, 7.0, f32::NAN, 1.0];
        let dense = Matrix::from_f32(values, 2);
        let mut sparse = dense.clone();
        super::super::sparse::make_sparse(&mut sparse);
        for (rows, weights) in [(&[0, 1][..], None), (&[0, 1, 3], Some(&[0.1, 0.2, 1.0, 0.3][..]))] {
            assert_eq!(column_means(&sparse, rows, weights), column_means(&dense, rows, weights));
        }
    }

    #[test]
    fn text_of_many_levels_makes_sparse_rows_in_training_and_later() {
        let names: Vec<String> = (0..40).map(|i| format!("l{i}")).collect();
        let column = text(&names.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>());
        let numbers =
            ColumnBuffer::Float((0..40).map(|i| if i == 3 { f64::NAN } else { f64::from(i % 3) }).collect());
        let (c, n) = (field("c", FieldKind::Text), field("n", FieldKind::Float));
        let block = vec![column, numbers];
        let mut fit = EncoderFit::new("t", &[&c, &n], Missing::Zero, Categories::OneHot).unwrap();
        fit.push(&ORIGIN, &block).unwrap();
        let fitted = fit.finish().unwrap();
        assert_eq!(fitted.notes[1], "features kept sparse: at most 2 of 41 values a row");
        // One level and at most one number a row; 13 of the numbers are 0, one is missing.
        assert_eq!((fitted.features.dtype(), fitted.features.stored()), (Dtype::Sparse, 40 + 27));
        let again = fitted.encoder.encode(&ORIGIN, block).unwrap();
        assert_eq!(again.features.stored(), fitted.features.stored());
        let same = |row: usize, col: usize| {
            let (a, b) = (again.features.get(row, col), fitted.features.get(row, col));
            a == b || (a.is_nan() && b.is_nan())
        };
        assert!((0..40).all(|row| (0..41).all(|col| same(row, col))));
        let mut filled = again.features;
        fitted.encoder.fill_missing(&mut filled);
        assert_eq!((filled.stored(), filled.get(3, 40), filled.get(4, 40)), (40 + 26, 0.0, 1.0));
    }

    #[test]
    fn too_many_levels_stop_early() {
        let names: Vec<String> = (0..=MOST_LEVELS).map(|i| i.to_string()).collect();
        let column = text(&names.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>());
        let fields = [field("c", FieldKind::Text)];
        let mut fit = EncoderFit::new("t", &[&fields[0]], Missing::Error, Categories::OneHot).unwrap();
        assert_eq!(fit.push(&ORIGIN, &[column]).unwrap_err().code(), "E0313");
    }
}
