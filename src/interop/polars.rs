//! Fits on columns of a [polars](https://docs.rs/polars-core) `DataFrame`, and predictions as one.
//!
//! [`fit`] takes the label column, the [`Columns`] that are features and, if wanted, a column of row weights; [`Model`]
//! finds its columns by name in other frames and gives back a column of labels and one of probabilities for each class.
//! [`features`], [`labels`] and [`weights`] are its parts, for [`crate::compare`] and for more elaborate fits.

use polars_core::error::PolarsError;
use polars_core::frame::DataFrame;
use polars_core::frame::column::Column;
use polars_core::prelude::{DataType, NamedFrom};
use polars_core::series::Series;

use crate::estimator::{Estimator, Features, Fitted, Request};
use crate::labels::whole_number;
use crate::matrix::Matrix;
use crate::weighting::Prior;
use crate::{Error, Result};

/// What messages call the frame.
const FRAME: &str = "frame";

impl From<PolarsError> for Error {
    fn from(error: PolarsError) -> Self {
        Error::bad_value(FRAME, "", error.to_string(), "mend what polars says of it")
    }
}

/// A label of a frame, whose type it keeps. Numbers are in numeric order, text in byte order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Label {
    /// Of a column of booleans.
    Bool(bool),
    /// Of whole numbers, also where they are stored as floats.
    Int(i64),
    /// Of strings or categories.
    Text(String),
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Label::Bool(label) => label.fmt(f),
            Label::Int(label) => label.fmt(f),
            Label::Text(label) => label.fmt(f),
        }
    }
}

/// Columns that are features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Columns<'c> {
    /// These, in this order: numbers or booleans, or one column of lists of numbers, all of one length.
    Named(&'c [&'c str]),
    /// All numbers and booleans whose names begin so, in the order of the frame.
    Prefixed(&'c str),
    /// All numbers and booleans but these, in the order of the frame.
    NumericBut(&'c [&'c str]),
}

impl Columns<'_> {
    /// The names they stand for in `frame`, without those that have the role of `others`.
    ///
    /// # Errors
    /// [`Error::ColumnMissing`], also for a column excluded that is not there; [`Error::NoFeatures`]; [`Error::BadValue`] for
    /// a column named as a feature that is one of `others`.
    pub fn names(&self, frame: &DataFrame, others: &[&str]) -> Result<Vec<String>> {
        let numeric =
            |column: &&Column| is_number(column.dtype()) && !others.contains(&column.name().as_str());
        let of = |keep: &dyn Fn(&str) -> bool| -> Vec<String> {
            let columns = frame.columns().iter().filter(numeric);
            columns.map(|column| column.name().to_string()).filter(|name| keep(name)).collect()
        };
        let names = match self {
            Columns::Named(names) => {
                if let Some(name) = names.iter().find(|name| others.contains(name)) {
                    let why = "is the label or the weight";
                    return Err(Error::bad_value("features", *name, why, "leave it out of the features"));
                }
                names.iter().map(|name| (*name).to_owned()).collect()
            }
            Columns::Prefixed(prefix) => of(&|name| name.starts_with(prefix)),
            Columns::NumericBut(but) => {
                but.iter().try_for_each(|name| column(frame, name, "features").map(drop))?;
                of(&|name| !but.contains(&name))
            }
        };
        if names.is_empty() { Err(Error::NoFeatures { file: FRAME.into() }) } else { Ok(names) }
    }
}

fn is_number(kind: &DataType) -> bool {
    kind.is_primitive_numeric() || kind.is_bool()
}

fn column<'f>(frame: &'f DataFrame, name: &str, role: &'static str) -> Result<&'f Column> {
    frame.column(name).map_err(|_| Error::ColumnMissing {
        file: FRAME.into(),
        role,
        wanted: name.into(),
        columns: frame.columns().iter().map(|column| column.name().to_string()).collect(),
    })
}

fn unsupported(column: &Column, role: &'static str) -> Error {
    Error::UnsupportedType {
        file: FRAME.into(),
        column: column.name().to_string(),
        kind: column.dtype().to_string(),
        role,
    }
}

/// Values of the columns `names`, row-major; a null is NaN, which trees take as missing and linear fits refuse.
///
/// # Errors
/// [`Error::ColumnMissing`]; [`Error::UnsupportedType`] for columns that are neither numbers nor booleans, and for lists beside
/// other columns; [`Error::RaggedVector`] for lists of several lengths.
pub fn features(frame: &DataFrame, names: &[impl AsRef<str>]) -> Result<Matrix<'static>> {
    if let [name] = names {
        let only = column(frame, name.as_ref(), "features")?;
        if only.dtype().is_list() || only.dtype().is_array() {
            return vectors(only);
        }
    }
    let (rows, cols) = (frame.height(), names.len());
    let mut values = vec![0.0; rows * cols];
    for (at, name) in names.iter().enumerate() {
        let column = column(frame, name.as_ref(), "features")?;
        if !is_number(column.dtype()) {
            return Err(unsupported(column, "features"));
        }
        let narrow = column.as_materialized_series().cast(&DataType::Float32)?;
        let places = values.iter_mut().skip(at).step_by(cols);
        places.zip(narrow.f32()?.iter()).for_each(|(place, value)| *place = value.unwrap_or(f32::NAN));
    }
    Ok(Matrix::from_f32(values, cols))
}

/// The lists of a column side by side.
fn vectors(column: &Column) -> Result<Matrix<'static>> {
    let series = column.as_materialized_series();
    if !series.dtype().inner_dtype().is_some_and(is_number) {
        return Err(unsupported(column, "features"));
    }
    let lists = series.cast(&DataType::List(Box::new(DataType::Float32)))?;
    let lists = lists.list()?;
    let ragged = |row: usize, expected: usize, found: usize| Error::RaggedVector {
        file: FRAME.into(),
        column: column.name().to_string(),
        row: row as u64 + 1,
        expected,
        found,
    };
    let mut lengths = lists.downcast_iter().flat_map(|chunk| chunk.offsets().lengths());
    let width = lengths.next().unwrap_or(0);
    if let Some(row) = lists.is_null().iter().position(|is_null| is_null == Some(true)) {
        return Err(ragged(row, width, 0));
    }
    if let Some((row, found)) = lengths.enumerate().find(|(_, length)| *length != width) {
        return Err(ragged(row + 1, width, found));
    }
    if width == 0 {
        return Err(Error::NoFeatures { file: FRAME.into() });
    }
    let inner = lists.get_inner();
    let mut values = Vec::with_capacity(lists.len() * width);
    let mut before = 0;
    for chunk in lists.downcast_iter() {
        // A frame that was sliced keeps the values of the rows outside.
        let first = *chunk.offsets().first();
        let part = inner.slice(before + first, (chunk.offsets().last() - first) as usize);
        values.extend(part.f32()?.iter().map(|value| value.unwrap_or(f32::NAN)));
        before += chunk.values().len() as i64;
    }
    Ok(Matrix::from_f32(values, width))
}

/// The labels of a column.
///
/// # Errors
/// [`Error::ColumnMissing`], [`Error::NullLabels`], [`Error::FractionalLabels`]; [`Error::UnsupportedType`] for lists, dates and
/// the like.
pub fn labels(frame: &DataFrame, name: &str) -> Result<Vec<Label>> {
    let column = column(frame, name, "label")?;
    let (series, kind) = (column.as_materialized_series(), column.dtype());
    if let Some(first) = series.is_null().iter().position(|is_null| is_null == Some(true)) {
        return Err(Error::NullLabels {
            file: FRAME.into(),
            count: series.null_count() as u64,
            rows: series.len() as u64,
            first_row: first as u64 + 1,
        });
    }
    if kind.is_bool() {
        Ok(series.bool()?.iter().flatten().map(Label::Bool).collect())
    } else if kind.is_integer() {
        let wide = series.strict_cast(&DataType::Int64)?;
        Ok(wide.i64()?.iter().flatten().map(Label::Int).collect())
    } else if kind.is_float() {
        let wide = series.cast(&DataType::Float64)?;
        let whole = |(row, value): (usize, f64)| match whole_number(value) {
            Some(label) => Ok(Label::Int(label)),
            // Beyond 64 bits.
            None if value.fract() == 0.0 => Err(unsupported(column, "label")),
            None => Err(Error::FractionalLabels {
                file: FRAME.into(),
                column: name.into(),
                example: value,
                row: row as u64 + 1,
            }),
        };
        wide.f64()?.iter().flatten().enumerate().map(whole).collect()
    } else if kind.is_string() || kind.is_categorical() {
        let text = series.cast(&DataType::String)?;
        Ok(text.str()?.iter().flatten().map(|label| Label::Text(label.to_owned())).collect())
    } else {
        Err(unsupported(column, "label"))
    }
}

/// Row weights of a column.
///
/// # Errors
/// [`Error::ColumnMissing`], [`Error::UnsupportedType`]; [`Error::BadWeight`] for weights that are not positive and finite.
pub fn weights(frame: &DataFrame, name: &str) -> Result<Vec<f64>> {
    let column = column(frame, name, "weights")?;
    if !column.dtype().is_primitive_numeric() {
        return Err(unsupported(column, "weights"));
    }
    let wide = column.as_materialized_series().cast(&DataType::Float64)?;
    let weight = |(row, value): (usize, Option<f64>)| {
        value.filter(|weight| *weight > 0.0 && weight.is_finite()).ok_or_else(|| Error::BadWeight {
            place: format!("{FRAME}, row {}, column {name}", row + 1),
            detail: value.map_or("a weight is missing".into(), |weight| format!("weight {weight}")),
        })
    };
    wide.f64()?.iter().enumerate().map(weight).collect()
}

/// A classifier and the columns it reads.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Model {
    /// The classifier itself.
    pub fitted: Fitted<Label>,
    /// Names of its features; one name of a column of lists.
    pub columns: Vec<String>,
}

/// Fits `estimator` to rows of `frame`.
///
/// # Errors
/// Those of [`Columns::names`], [`features`], [`labels`], [`weights`] and of the fit.
pub fn fit(
    estimator: &impl Estimator,
    frame: &DataFrame,
    label: &str,
    columns: Columns<'_>,
    weight: Option<&str>,
) -> Result<Model> {
    let others: Vec<&str> = std::iter::once(label).chain(weight).collect();
    let columns = columns.names(frame, &others)?;
    let row_weights = weight.map(|weight| weights(frame, weight)).transpose()?;
    let request = Request { sample_weight: row_weights.as_deref(), ..Request::default() };
    let fitted = estimator.fit_with(&features(frame, &columns)?, &labels(frame, label)?, request)?;
    Ok(Model { fitted, columns })
}

impl Model {
    /// Predictions under a prior: `prediction`, of the type of the labels, and `p_CLASS` (f32) for every class.
    ///
    /// # Errors
    /// Those of [`features`] and of [`Fitted::predict_proba_under`].
    pub fn predict(&self, frame: &DataFrame, prior: &Prior) -> Result<DataFrame> {
        let rows = features(frame, &self.columns)?;
        predictions(&self.fitted, &rows, prior)
    }
}

/// Predictions for rows that come from anywhere, as [`Model::predict`] gives them.
///
/// # Errors
/// Those of [`Fitted::predict_proba_under`].
pub fn predictions(fitted: &Fitted<Label>, x: &impl Features, prior: &Prior) -> Result<DataFrame> {
    let (decided, probabilities) = fitted.decided_under(x, prior)?;
    let classes = fitted.classes();
    let best = fitted.names_of(&decided);
    let mut columns = Vec::with_capacity(1 + classes.len());
    columns.push(label_column("prediction", &best).into());
    for (class, name) in classes.iter().enumerate() {
        let own: Vec<f32> = probabilities.iter().skip(class).step_by(classes.len()).copied().collect();
        columns.push(Series::new(format!("p_{name}").into(), own).into());
    }
    Ok(DataFrame::new(best.len(), columns)?)
}

/// Labels as a column: of their type where they have one, else of text.
fn label_column(name: &str, labels: &[Label]) -> Series {
    let bools = labels.iter().map(|label| if let Label::Bool(label) = label { Some(*label) } else { None });
    let numbers = labels.iter().map(|label| if let Label::Int(label) = label { Some(*label) } else { None });
    if let Some(bools) = bools.collect::<Option<Vec<bool>>>() {
        Series::new(name.into(), bools)
    } else if let Some(numbers) = numbers.collect::<Option<Vec<i64>>>() {
        Series::new(name.into(), numbers)
    } else {
        let text: Vec<String> = labels.iter().map(Label::to_string).collect();
        Series::new(name.into(), text)
    }
}
