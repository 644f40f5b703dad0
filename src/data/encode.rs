//! From columns to the feature matrix, the same way for training and for every later file.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::columns::{append_rows, numbers};
use super::encode_fill::{Source, append_filled, sparse_rows};
use super::finite::{Origin, ValueCheck};
use super::missing::Missing;
use super::sparse::{cut_columns, without_zeros};
use super::table::{ColumnBuffer, TextColumn};
use crate::matrix::{Dtype, Matrix, Storage};
use crate::{Error, Result};

/// Features are kept sparse where a row has at most one value in this many. A sparse value takes twice the bytes of a
/// dense one and several times its time, so that a few zeros are cheaper kept. To be tuned by measurement.
const SPARSE_FROM: usize = 8;

/// Most levels of a text column that becomes codes: the learner of codes keeps a value in one byte, which holds 0 for a
/// missing value, 1 to 254 for levels, and leaves 255 free.
pub const MOST_CODES: usize = 254;

/// Whether rows of `width` features, of which at most `most` are not 0, are kept sparse.
pub fn keeps_sparse(most: usize, width: usize) -> bool {
    most.saturating_mul(SPARSE_FROM) <= width
}

/// How one input column becomes features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum InputColumn {
    /// A number, or true/false as 1/0: one feature.
    Numeric {
        /// Name of the column.
        name: String,
        /// Its mean over the training rows, where missing values are filled with means.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mean: Option<f32>,
    },
    /// Text: one feature a level, 1 in rows of that level. Missing and unknown levels are 0 everywhere.
    OneHot {
        /// Name of the column.
        name: String,
        /// Values met in training, in byte order.
        levels: Vec<String>,
    },
    /// Text: one feature, the place of the level among `levels`. Missing and unknown levels are NaN.
    Codes {
        /// Name of the column.
        name: String,
        /// Values met in training, in byte order, at most [`MOST_CODES`].
        levels: Vec<String>,
    },
    /// A vector: its values.
    Vector {
        /// Name of the column.
        name: String,
        /// Number of values.
        len: usize,
        /// Their means over the training rows, where missing values are filled with means.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        means: Option<Vec<f32>>,
    },
}

impl InputColumn {
    /// Name of the column.
    pub fn name(&self) -> &str {
        match self {
            InputColumn::Numeric { name, .. }
            | InputColumn::OneHot { name, .. }
            | InputColumn::Codes { name, .. }
            | InputColumn::Vector { name, .. } => name,
        }
    }

    /// Values that training met, of a text column.
    pub fn levels(&self) -> Option<&[String]> {
        match self {
            InputColumn::OneHot { levels, .. } | InputColumn::Codes { levels, .. } => Some(levels),
            InputColumn::Numeric { .. } | InputColumn::Vector { .. } => None,
        }
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        match self {
            InputColumn::Numeric { .. } | InputColumn::Codes { .. } => 1,
            InputColumn::OneHot { levels, .. } => levels.len(),
            InputColumn::Vector { len, .. } => *len,
        }
    }

    /// Name of feature `at` of this column.
    fn feature_name(&self, at: usize) -> String {
        match self {
            InputColumn::Numeric { name, .. } | InputColumn::Codes { name, .. } => name.clone(),
            InputColumn::OneHot { name, levels } => {
                format!("{name}={}", levels.get(at).map_or("", String::as_str))
            }
            InputColumn::Vector { name, .. } => format!("{name}[{at}]"),
        }
    }

    /// What takes the place of a missing value of feature `at`.
    fn fill(&self, at: usize) -> f32 {
        match self {
            InputColumn::Numeric { mean, .. } => mean.unwrap_or(0.0),
            InputColumn::OneHot { .. } => 0.0,
            InputColumn::Codes { .. } => f32::NAN,
            InputColumn::Vector { means, .. } => {
                means.as_ref().and_then(|m| m.get(at)).copied().unwrap_or(0.0)
            }
        }
    }
}

/// The way from the columns of a file to features; fitted once, stored in the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureEncoder {
    /// Input columns in the order of their features.
    pub inputs: Vec<InputColumn>,
    /// What is done about missing values.
    pub missing: Missing,
}

/// Features of a block of rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Encoded {
    /// One row a row; f16, bf16 and sparse vectors keep their width where they are the only input. Missing values are
    /// NaN.
    pub(super) features: Matrix<'static>,
    /// Number of missing values, text included.
    pub(super) missing: u64,
    /// Cells of text columns with a value that training never met, and values of sparse vectors beyond their length in
    /// training.
    pub(super) unseen_levels: u64,
}

impl FeatureEncoder {
    /// Of rows that are vectors of `len` numbers, called `features` as in an `.npy` file.
    pub fn of_vector(len: usize, missing: Missing) -> Self {
        let name = "features".into();
        FeatureEncoder { inputs: vec![InputColumn::Vector { name, len, means: None }], missing }
    }

    /// The same features, each of them a column of numbers of its own with the name given here.
    pub(crate) fn with_columns(&self, names: Vec<String>) -> Self {
        let is_mean = self.missing == Missing::Mean;
        let columns = names.into_iter().zip(self.fills());
        let number = |(name, fill)| InputColumn::Numeric { name, mean: is_mean.then_some(fill) };
        FeatureEncoder { inputs: columns.map(number).collect(), missing: self.missing }
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.inputs.iter().map(InputColumn::width).sum()
    }

    /// Most values that are not 0 in the features of one row, as far as the kinds of the columns tell.
    pub fn most_values(&self) -> usize {
        let values = |input: &InputColumn| match input {
            InputColumn::Numeric { .. } | InputColumn::OneHot { .. } | InputColumn::Codes { .. } => 1,
            InputColumn::Vector { len, .. } => *len,
        };
        self.inputs.iter().map(values).sum()
    }

    /// Whether the features of a table are kept as sparse rows. It depends on the columns and their levels alone, so that
    /// training and every later file agree. A single vector column stays as its file has it.
    pub fn is_sparse(&self) -> bool {
        keeps_sparse(self.most_values(), self.width())
    }

    /// For every feature that holds codes their number: the feature is 0, 1, ... below it, or NaN, and the codes have no
    /// order. `None` for features that are numbers.
    pub fn categories(&self) -> Vec<Option<usize>> {
        let of_features = |input: &InputColumn| match input {
            InputColumn::Codes { levels, .. } => vec![Some(levels.len())],
            _ => vec![None; input.width()],
        };
        self.inputs.iter().flat_map(of_features).collect()
    }

    /// Names of the features in order: `x`, `color=red`, `embedding[3]`.
    pub fn feature_names(&self) -> impl Iterator<Item = String> + '_ {
        self.inputs.iter().flat_map(|input| (0..input.width()).map(|at| input.feature_name(at)))
    }

    /// The input column of a feature, and its place in that column.
    fn locate(&self, feature: usize) -> Option<(&InputColumn, usize)> {
        let mut left = feature;
        for input in &self.inputs {
            if left < input.width() {
                return Some((input, left));
            }
            left -= input.width();
        }
        None
    }

    fn feature_name(&self, feature: usize) -> String {
        self.locate(feature).map_or_else(|| feature.to_string(), |(input, at)| input.feature_name(at))
    }

    fn column_of(&self, feature: usize) -> String {
        match self.locate(feature) {
            Some((input @ InputColumn::OneHot { .. }, _)) => input.name().to_owned(),
            _ => self.feature_name(feature),
        }
    }

    /// Encodes a block: one buffer for each input column, in their order. A single vector column goes through as it
    /// is, without a copy. Missing values are left to [`FeatureEncoder::fill_missing`].
    ///
    /// # Errors
    /// [`Error::FeatureMismatch`] for vectors of another length and text where numbers are due,
    /// [`Error::NotFinite`] for missing values that nothing fills and for infinite values.
    pub(super) fn encode(&self, origin: &Origin<'_>, mut columns: Vec<ColumnBuffer>) -> Result<Encoded> {
        self.check_columns(origin, &columns)?;
        if let ([InputColumn::Vector { .. }], Some(ColumnBuffer::Vector(_))) =
            (&self.inputs[..], columns.first())
            && let Some(ColumnBuffer::Vector(mut features)) = columns.pop()
        {
            let unseen_levels = cut_columns(&mut features, self.width());
            let mut check = ValueCheck::default();
            check.scan(origin, &features, 0, |feature| self.column_of(feature));
            check.result(self.missing == Missing::Error)?;
            return Ok(Encoded { features, missing: check.missing(), unseen_levels });
        }
        let codes = self.categories().iter().map(Option::is_some).collect();
        let mut check = ValueCheck::past_codes(codes);
        let texts: Vec<Option<TextColumn>> = self.inputs.iter().zip(&columns).map(text_of).collect();
        for ((input, text), rows) in
            self.inputs.iter().zip(&texts).zip(columns.iter().map(ColumnBuffer::rows))
        {
            if let Some(text) = text {
                let missing = (0..rows).filter(|&row| text.get(row).is_none());
                check.add_text(origin, input.name(), rows, missing);
            }
        }
        let rows = columns.first().map_or(0, ColumnBuffer::rows);
        let mut unseen_levels = 0;
        for (input, column) in self.inputs.iter().zip(&mut columns) {
            if let ColumnBuffer::Vector(matrix) = column {
                unseen_levels += cut_columns(matrix, input.width());
            }
        }
        let mut sources = Vec::with_capacity(columns.len());
        for ((input, column), text) in self.inputs.iter().zip(&columns).zip(&texts) {
            sources.push(match (input.levels(), text, column) {
                (Some(levels), Some(text), _) => {
                    let places = level_places(levels, text);
                    unseen_levels += unseen_cells(&places, text);
                    Source::of_text(input, text.codes(), places)
                }
                (_, _, ColumnBuffer::Vector(matrix)) => Source::Vector(matrix),
                _ => Source::Numbers(numbers(column)),
            });
        }
        let features = self.features(rows, &sources)?;
        check.scan(origin, &features, 0, |feature| self.column_of(feature));
        check.result(self.missing == Missing::Error)?;
        Ok(Encoded { features, missing: check.missing(), unseen_levels })
    }

    /// The features of `rows` rows, sparse or not as [`FeatureEncoder::is_sparse`] says.
    pub(super) fn features(&self, rows: usize, sources: &[Source<'_>]) -> Result<Matrix<'static>> {
        let width = self.width();
        if self.is_sparse() {
            return Ok(Matrix::from_storage(Storage::Sparse(sparse_rows(rows, sources)), width));
        }
        let mut features = Matrix::empty(Dtype::F32, width);
        append_filled(&mut features, rows, sources)?;
        Ok(features)
    }

    fn check_columns(&self, origin: &Origin<'_>, columns: &[ColumnBuffer]) -> Result<()> {
        let mismatch = |detail: String| Err(Error::FeatureMismatch { file: origin.file.to_owned(), detail });
        for (input, column) in self.inputs.iter().zip(columns) {
            let name = input.name();
            match (input, column) {
                (InputColumn::Vector { len, .. }, ColumnBuffer::Vector(matrix))
                    if matrix.cols() != *len && matrix.dtype() != Dtype::Sparse =>
                {
                    let found = matrix.cols();
                    return mismatch(format!(
                        "vectors of column {name:?} have {found} values, the model needs {len}"
                    ));
                }
                (InputColumn::Numeric { .. }, ColumnBuffer::Text(text)) => {
                    let word = (0..column.rows()).find_map(|row| {
                        text.get(row).filter(|word| word.parse::<f64>().is_err()).map(|word| (row, word))
                    });
                    let example = word.map_or(String::new(), |(row, word)| {
                        format!(", {word:?} in row {}", origin.row(row))
                    });
                    return mismatch(format!("column {name:?} holds text{example}, the model needs numbers"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sets the means that missing values are filled with, one a feature.
    pub(crate) fn set_means(&mut self, mut of_features: impl Iterator<Item = f32>) {
        for input in &mut self.inputs {
            let own: Vec<f32> = of_features.by_ref().take(input.width()).collect();
            match input {
                InputColumn::Numeric { mean, .. } => *mean = own.first().copied(),
                InputColumn::OneHot { .. } | InputColumn::Codes { .. } => {}
                InputColumn::Vector { means, .. } => *means = Some(own),
            }
        }
    }

    /// What takes the place of a missing value, one number a feature.
    pub fn fills(&self) -> Vec<f32> {
        self.inputs.iter().flat_map(|input| (0..input.width()).map(|at| input.fill(at))).collect()
    }

    /// Puts fill values in the place of missing ones, unless these are kept.
    pub(crate) fn fill_missing(&self, features: &mut Matrix) {
        if self.missing == Missing::Keep {
            return;
        }
        if features.edit_in_file(|block| self.fill_missing(block)) {
            return;
        }
        fn fill<T: Copy + Send>(
            values: &mut [T],
            fills: &[f32],
            missing: impl Fn(T) -> bool + Sync,
            narrow: impl Fn(f32) -> T + Sync,
        ) {
            values.par_chunks_mut(fills.len().max(1)).for_each(|row| {
                for (value, &fill) in row.iter_mut().zip(fills) {
                    if missing(*value) {
                        *value = narrow(fill);
                    }
                }
            });
        }
        let fills = self.fills();
        match features.storage_mut() {
            Storage::F32(values) => fill(values, &fills, f32::is_nan, |x| x),
            Storage::F16(values) => fill(values, &fills, half::f16::is_nan, half::f16::from_f32),
            Storage::Bf16(values) => fill(values, &fills, half::bf16::is_nan, half::bf16::from_f32),
            Storage::Sparse(rows) => {
                let (columns, values) = rows.entries_mut();
                let mut zeros = false;
                for (value, &column) in values.iter_mut().zip(columns) {
                    if value.is_nan() {
                        *value = fills[column as usize];
                        zeros |= *value == 0.0;
                    }
                }
                if zeros {
                    *rows = without_zeros(rows);
                }
            }
            // What was lent is a copy by now.
            Storage::File(_) | Storage::Lent(_) => {}
        }
    }
}

/// The text of a column that was text in training; numbers are spelled out, as they are where a test file happens to hold
/// numbers only.
fn text_of((input, column): (&InputColumn, &ColumnBuffer)) -> Option<TextColumn> {
    input.levels()?;
    let mut text = ColumnBuffer::Text(TextColumn::default());
    append_rows(&mut text, column, None);
    if let ColumnBuffer::Text(text) = text { Some(text) } else { None }
}

/// For each level of `text` its place among `levels`.
pub(super) fn level_places(levels: &[String], text: &TextColumn) -> Vec<Option<usize>> {
    let index: HashMap<&str, usize> = levels.iter().enumerate().map(|(at, l)| (l.as_str(), at)).collect();
    text.levels().iter().map(|level| index.get(level.as_str()).copied()).collect()
}

fn unseen_cells(places: &[Option<usize>], text: &TextColumn) -> u64 {
    let unseen = |code: &&u32| places.get(**code as usize).is_some_and(Option::is_none);
    text.codes().iter().filter(unseen).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::SparseRows;

    fn text(values: &[Option<&str>]) -> ColumnBuffer {
        let mut column = TextColumn::default();
        values.iter().for_each(|value| column.push(*value));
        ColumnBuffer::Text(column)
    }

    fn encoder(missing: Missing) -> FeatureEncoder {
        let inputs = vec![
            InputColumn::Numeric { name: "n".into(), mean: Some(0.5) },
            InputColumn::OneHot { name: "c".into(), levels: vec!["1".into(), "red".into()] },
            InputColumn::Vector { name: "v".into(), len: 2, means: None },
        ];
        FeatureEncoder { inputs, missing }
    }

    fn vectors(values: &[f32], cols: usize) -> ColumnBuffer {
        ColumnBuffer::Vector(Matrix::from_f32(values.to_vec(), cols))
    }

    const ORIGIN: Origin<'_> = Origin { file: "t", first_row: 0, kept: None };

    fn filled(encoder: &FeatureEncoder, columns: Vec<ColumnBuffer>) -> Matrix<'static> {
        let mut features = encoder.encode(&ORIGIN, columns).unwrap().features;
        encoder.fill_missing(&mut features);
        features
    }

    #[test]
    fn every_kind_of_column_becomes_features() {
        let columns = vec![
            ColumnBuffer::Bool { values: vec![true, false], nulls: vec![1] },
            text(&[Some("red"), Some("blue")]),
            vectors(&[7.0, 8.0, 9.0, f32::NAN], 2),
        ];
        let encoded = encoder(Missing::Mean).encode(&ORIGIN, columns.clone()).unwrap();
        assert_eq!((encoded.unseen_levels, encoded.missing), (1, 2));
        assert!(encoded.features.get(1, 0).is_nan());
        let expected = vec![1.0, 0.0, 1.0, 7.0, 8.0, 0.5, 0.0, 0.0, 9.0, 0.0];
        assert_eq!(filled(&encoder(Missing::Mean), columns.clone()), Matrix::from_f32(expected, 5));
        let error = encoder(Missing::Error).encode(&ORIGIN, columns).unwrap_err();
        assert_eq!(error.to_string(), "t: 2 missing feature values (16.67 %), first in row 2, column n");
        let names: Vec<String> = encoder(Missing::Error).feature_names().collect();
        assert_eq!(names, ["n", "c=1", "c=red", "v[0]", "v[1]"]);
    }

    #[test]
    fn numbers_match_levels_by_their_spelling() {
        let columns = vec![
            ColumnBuffer::Float(vec![0.0]),
            ColumnBuffer::Int { values: vec![1], nulls: vec![] },
            vectors(&[0.0, 0.0], 2),
        ];
        let encoded = encoder(Missing::Error).encode(&ORIGIN, columns).unwrap();
        assert_eq!(encoded.features.get(0, 1), 1.0);
    }

    #[test]
    fn beyond_f32_is_infinite_and_words_are_no_numbers() {
        let rest = [text(&[Some("red")]), vectors(&[0.0, 0.0], 2)];
        let with = |first: ColumnBuffer| [vec![first], rest.to_vec()].concat();
        let huge = encoder(Missing::Zero).encode(&ORIGIN, with(ColumnBuffer::Float(vec![1e39])));
        assert!(huge.unwrap_err().to_string().contains("1 infinite"));
        let word = encoder(Missing::Zero).encode(&ORIGIN, with(text(&[Some("many")]))).unwrap_err();
        assert!(word.to_string().contains("\"many\" in row 1"), "{word}");
    }

    #[test]
    fn a_lone_f16_vector_keeps_its_width_and_memory() {
        let inputs = vec![InputColumn::Vector { name: "v".into(), len: 2, means: Some(vec![0.0, 0.25]) }];
        let encoder = FeatureEncoder { inputs, missing: Missing::Mean };
        let values = vec![half::f16::ONE, half::f16::NAN];
        let place = values.as_ptr();
        let column = ColumnBuffer::Vector(Matrix::from_storage(Storage::F16(values), 2));
        let features = filled(&encoder, vec![column]);
        let Storage::F16(values) = features.storage() else { panic!() };
        assert_eq!((values[1].to_f32(), values.as_ptr()), (0.25, place));
        let short = encoder.encode(&ORIGIN, vec![vectors(&[1.0], 1)]).unwrap_err();
        assert!(short.to_string().contains("have 1 values, the model needs 2"));
    }

    #[test]
    fn sparse_vectors_may_be_shorter_or_longer_than_in_training() {
        let inputs = vec![InputColumn::Vector { name: "v".into(), len: 3, means: None }];
        let encoder = FeatureEncoder { inputs, missing: Missing::Error };
        let sparse = |columns: &[u32], cols| {
            let mut rows = SparseRows::default();
            rows.push(columns, &vec![1.0; columns.len()]);
            vec![ColumnBuffer::Vector(Matrix::from_storage(Storage::Sparse(rows), cols))]
        };
        let short = encoder.encode(&ORIGIN, sparse(&[0], 1)).unwrap();
        assert_eq!((short.features.cols(), short.unseen_levels), (3, 0));
        let long = encoder.encode(&ORIGIN, sparse(&[1, 3, 9], 10)).unwrap();
        assert_eq!((long.features.cols(), long.features.stored(), long.unseen_levels), (3, 1, 2));
    }

    #[test]
    fn an_encoder_survives_json() {
        let encoder = encoder(Missing::Mean);
        let text = serde_json::to_string(&encoder).unwrap();
        assert_eq!(serde_json::from_str::<FeatureEncoder>(&text).unwrap(), encoder);
    }
}
