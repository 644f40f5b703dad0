//! Influence of training rows as a file: CSV or Parquet, one line a row.

use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::predictions::guard_formula;
use crate::data::table::ColumnBuffer;
use crate::output::AtomicFile;
use crate::{Error, Result};

/// File format of a table of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsFormat {
    /// Comma-separated with a header; text that a spreadsheet would run has a `'` before it.
    Csv,
    /// Columns, zstd.
    Parquet,
}

impl RowsFormat {
    /// The format of a path's extension, or [`Error::BadValue`].
    pub fn of_path(path: &str) -> Result<Self> {
        let lower = path.to_ascii_lowercase();
        match lower.rsplit_once('.') {
            Some((_, "csv")) => Ok(RowsFormat::Csv),
            Some((_, "parquet")) => Ok(RowsFormat::Parquet),
            _ => {
                let why = "has no extension that names a format of rows";
                Err(Error::bad_value("--out", path, why, "end it in .csv or .parquet"))
            }
        }
    }
}

/// What is known of each of N training rows.
#[derive(Debug, Clone, Default)]
pub struct InfluenceRows {
    /// Ids as text; empty where a row has none. `None` without an id column.
    pub ids: Option<Vec<String>>,
    /// Class names of the labels.
    pub labels: Vec<String>,
    /// Class names of the largest logits.
    pub fitted: Vec<String>,
    /// By how much the mean validation loss would fall without the row.
    pub influence: Vec<f64>,
    /// Loss of the row under the model.
    pub own_loss: Vec<f64>,
    /// Logit of the label less the largest other one.
    pub margin: Vec<f64>,
    /// By how much the row's own loss would rise without it, where asked for.
    pub self_influence: Option<Vec<f64>>,
}

impl InfluenceRows {
    /// Writes all rows to `path`, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &str, format: RowsFormat) -> Result<()> {
        match format {
            RowsFormat::Csv => self.write_csv(path),
            RowsFormat::Parquet => self.write_parquet(path),
        }
    }

    fn numbers(&self) -> Vec<(&'static str, &[f64])> {
        let mut numbers = vec![
            ("influence", &self.influence[..]),
            ("own_loss", &self.own_loss[..]),
            ("margin", &self.margin[..]),
        ];
        numbers.extend(self.self_influence.as_deref().map(|values| ("self_influence", values)));
        numbers
    }

    fn texts(&self) -> Vec<(&'static str, &[String])> {
        let mut texts: Vec<(&'static str, &[String])> = Vec::new();
        texts.extend(self.ids.as_deref().map(|ids| ("id", ids)));
        texts.extend([("label", &self.labels[..]), ("fitted", &self.fitted[..])]);
        texts
    }

    fn write_csv(&self, path: &str) -> Result<()> {
        let failed = |error: csv::Error| Error::io(path, "write", std::io::Error::other(error));
        let mut writer = csv::Writer::from_writer(AtomicFile::create(path)?);
        let (texts, numbers) = (self.texts(), self.numbers());
        let names = texts.iter().map(|(name, _)| *name).chain(numbers.iter().map(|(name, _)| *name));
        writer.write_record(std::iter::once("row").chain(names)).map_err(failed)?;
        for row in 0..self.labels.len() {
            let mut record = vec![row.to_string()];
            record.extend(texts.iter().map(|(_, values)| guard_formula(&values[row]).into_owned()));
            record.extend(numbers.iter().map(|(_, values)| values[row].to_string()));
            writer.write_record(&record).map_err(failed)?;
        }
        writer.into_inner().map_err(|error| Error::io(path, "write", error.into_error()))?.commit()
    }

    fn write_parquet(&self, path: &str) -> Result<()> {
        let failed = |error: ParquetError| Error::io(path, "write", std::io::Error::other(error));
        let mut schema = "message rows { required int64 row;".to_owned();
        for (name, _) in self.texts() {
            schema += &format!(" required binary {name} (UTF8);");
        }
        for (name, _) in self.numbers() {
            schema += &format!(" required double {name};");
        }
        let schema = parse_message_type(&(schema + " }")).map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("cbfit ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let file = AtomicFile::create(path)?;
        let mut writer =
            SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
        self.write_group(&mut writer).map_err(failed)?;
        writer.into_inner().map_err(failed)?.commit()
    }

    fn write_group(
        &self,
        writer: &mut SerializedFileWriter<AtomicFile>,
    ) -> std::result::Result<(), ParquetError> {
        let mut group = writer.next_row_group()?;
        let rows: Vec<i64> = (0..self.labels.len() as i64).collect();
        write_column::<Int64Type>(&mut group, &rows)?;
        for (_, texts) in self.texts() {
            let cells: Vec<ByteArray> = texts.iter().map(|text| text.as_str().into()).collect();
            write_column::<ByteArrayType>(&mut group, &cells)?;
        }
        for (_, numbers) in self.numbers() {
            write_column::<DoubleType>(&mut group, numbers)?;
        }
        group.close().map(|_| ())
    }
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, AtomicFile>,
    values: &[T::T],
) -> std::result::Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

/// Ids as text, one a row; empty where one is missing.
pub fn id_texts(ids: &ColumnBuffer) -> Vec<String> {
    let text = |row: usize| match ids {
        ColumnBuffer::Int { values, nulls } if nulls.binary_search(&row).is_err() => values[row].to_string(),
        ColumnBuffer::Bool { values, nulls } if nulls.binary_search(&row).is_err() => values[row].to_string(),
        ColumnBuffer::Float(values) if !values[row].is_nan() => values[row].to_string(),
        ColumnBuffer::Text(text) => text.get(row).unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    (0..ids.rows()).map(text).collect()
}
