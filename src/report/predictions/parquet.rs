//! Parquet, zstd, one row group for some ten thousand rows.

use std::sync::Arc;

use arrow_schema::{DataType as ArrowType, Field as ArrowField, Schema as ArrowSchema};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::sink::Sink;
use super::{ClassValues, Encode, PredictionSchema, RankedBlock, rank_names, truth_names};
use crate::data::table::{ColumnBuffer, FieldKind};
use crate::{Error, Result};

const GROUP_ROWS: usize = 64 * 1024;
/// Probabilities of many classes and further numbers of a row group stay in memory until it is written.
const GROUP_NUMBERS: usize = 8 << 20;

pub struct ParquetEncoder {
    path: String,
    writer: SerializedFileWriter<Sink>,
    classes: Classes,
    full_probabilities: bool,
    /// The row group being filled, in the order of the schema.
    columns: Vec<Column>,
    rows: usize,
}

/// The classes as cells; copies of a `ByteArray` share its text.
enum Classes {
    Int(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<ByteArray>),
}

/// Cells of one column of a row group, without its missing ones.
enum Cells {
    Int(Vec<i64>),
    Double(Vec<f64>),
    Float(Vec<f32>),
    Bool(Vec<bool>),
    Text(Vec<ByteArray>),
    /// Codes, written as the classes they stand for.
    Class(Vec<u32>),
}

struct Column {
    cells: Cells,
    /// Whether cells may be missing.
    optional: bool,
    /// 1 for a cell that is there, 0 for a missing one; empty where none can be missing.
    definition: Vec<i16>,
    /// 0 for the first element of a list, 1 for the others; empty outside lists.
    repetition: Vec<i16>,
}

impl ParquetEncoder {
    pub fn new(sink: Sink, schema: &PredictionSchema) -> Result<Self> {
        let path = match &sink {
            Sink::File(file) => file.path().to_owned(),
            Sink::Stdout(_) => "standard output".into(),
        };
        let arrow = KeyValue::new("ARROW:schema".to_owned(), Some(arrow_schema(schema)));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("cbfit ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata(Some(vec![arrow]))
            .build();
        let writer = parquet_schema(schema)
            .and_then(|parquet| SerializedFileWriter::new(sink, parquet, Arc::new(properties)))
            .map_err(|error| failed(&path, error))?;
        let classes = match ClassValues::of(&schema.labels) {
            ClassValues::Int(values) => Classes::Int(values),
            ClassValues::Bool(values) => Classes::Bool(values),
            ClassValues::Text(names) => {
                Classes::Text(names.into_iter().map(|name| name.into_bytes().into()).collect())
            }
        };
        let columns = empty_columns(schema);
        let full_probabilities = schema.full_probabilities;
        Ok(ParquetEncoder { path, writer, classes, full_probabilities, columns, rows: 0 })
    }

    fn flush_group(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        write_group(&mut self.writer, &mut self.columns, &self.classes)
            .map_err(|error| failed(&self.path, error))
    }

    fn push_row(&mut self, block: &RankedBlock<'_>, row: usize) {
        let mut columns = self.columns.iter_mut();
        if let Some(ids) = block.ids
            && let Some(column) = columns.next()
        {
            column.push_id(ids, row);
        }
        if let Some((number, class)) = block.truth_of(row) {
            if let Some(Cells::Int(cells)) = columns.next().map(|column| &mut column.cells) {
                cells.push(number as i64);
            }
            columns.next().into_iter().for_each(|column| column.push_class(class));
        }
        for predicted in block.ranks(row) {
            columns.next().into_iter().for_each(|column| column.push_class(predicted.map(|(code, _)| code)));
            columns.next().into_iter().for_each(|column| column.push_float(predicted.map(|(_, p)| p)));
        }
        if self.full_probabilities
            && let Some(list) = columns.next()
        {
            list.push_list((!block.is_missing(row)).then(|| block.row_probabilities(row)));
        }
        for (column, &number) in columns.zip(block.row_extra(row)) {
            column.push_float(Some(number));
        }
        self.rows += 1;
    }
}

impl Encode for ParquetEncoder {
    fn write(&mut self, block: &RankedBlock<'_>) -> Result<()> {
        let classes = if self.full_probabilities { block.classes } else { 0 };
        let extra = block.extra.len() / block.rows().max(1);
        let group_rows = (GROUP_NUMBERS / (classes + extra).max(1)).clamp(1, GROUP_ROWS);
        for row in 0..block.rows() {
            self.push_row(block, row);
            if self.rows >= group_rows {
                self.flush_group()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush_group()?;
        // Writes the footer, too.
        self.writer.into_inner().map_err(|error| failed(&self.path, error))?.commit()
    }
}

impl Column {
    fn new(cells: Cells, optional: bool) -> Self {
        Column { cells, optional, definition: Vec::new(), repetition: Vec::new() }
    }

    fn push_class(&mut self, code: Option<usize>) {
        if let (Cells::Class(cells), Some(code)) = (&mut self.cells, code) {
            cells.push(code as u32);
        }
        self.define(code.is_some());
    }

    fn push_float(&mut self, value: Option<f32>) {
        if let (Cells::Float(cells), Some(value)) = (&mut self.cells, value) {
            cells.push(value);
        }
        self.define(value.is_some());
    }

    fn define(&mut self, is_there: bool) {
        if self.optional {
            self.definition.push(i16::from(is_there));
        }
    }

    fn push_id(&mut self, ids: &ColumnBuffer, row: usize) {
        let present = |nulls: &[usize]| nulls.binary_search(&row).is_err();
        let pushed = match (&mut self.cells, ids) {
            (Cells::Int(cells), ColumnBuffer::Int { values, nulls }) if present(nulls) => {
                cells.push(values[row]);
                true
            }
            (Cells::Bool(cells), ColumnBuffer::Bool { values, nulls }) if present(nulls) => {
                cells.push(values[row]);
                true
            }
            (Cells::Double(cells), ColumnBuffer::Float(values)) if !values[row].is_nan() => {
                cells.push(values[row]);
                true
            }
            (Cells::Text(cells), ColumnBuffer::Text(text)) => match text.get(row) {
                Some(id) => {
                    cells.push(id.into());
                    true
                }
                None => false,
            },
            _ => false,
        };
        self.definition.push(i16::from(pushed));
    }

    fn push_list(&mut self, values: Option<&[f32]>) {
        let Some(values) = values else {
            self.definition.push(0);
            self.repetition.push(0);
            return;
        };
        if let Cells::Float(cells) = &mut self.cells {
            cells.extend_from_slice(values);
        }
        // A list that may be missing is one level deeper.
        self.definition.extend(std::iter::repeat_n(1 + i16::from(self.optional), values.len()));
        self.repetition.extend((0..values.len()).map(|at| i16::from(at > 0)));
    }

    /// Writes the cells and empties the column.
    fn write(
        &mut self,
        writer: &mut SerializedColumnWriter<'_>,
        classes: &Classes,
    ) -> Result<(), ParquetError> {
        let levels = (self.definition.as_slice(), self.repetition.as_slice());
        match (&self.cells, classes) {
            (Cells::Int(cells), _) => put::<Int64Type>(writer, cells, levels),
            (Cells::Double(cells), _) => put::<DoubleType>(writer, cells, levels),
            (Cells::Float(cells), _) => put::<FloatType>(writer, cells, levels),
            (Cells::Bool(cells), _) => put::<BoolType>(writer, cells, levels),
            (Cells::Text(cells), _) => put::<ByteArrayType>(writer, cells, levels),
            (Cells::Class(codes), Classes::Int(values)) => {
                put::<Int64Type>(writer, &look_up(codes, values), levels)
            }
            (Cells::Class(codes), Classes::Bool(values)) => {
                put::<BoolType>(writer, &look_up(codes, values), levels)
            }
            (Cells::Class(codes), Classes::Text(values)) => {
                put::<ByteArrayType>(writer, &look_up(codes, values), levels)
            }
        }?;
        match &mut self.cells {
            Cells::Int(cells) => cells.clear(),
            Cells::Double(cells) => cells.clear(),
            Cells::Float(cells) => cells.clear(),
            Cells::Bool(cells) => cells.clear(),
            Cells::Text(cells) => cells.clear(),
            Cells::Class(cells) => cells.clear(),
        }
        self.definition.clear();
        self.repetition.clear();
        Ok(())
    }
}

fn look_up<T: Clone>(codes: &[u32], values: &[T]) -> Vec<T> {
    codes.iter().map(|&code| values[code as usize].clone()).collect()
}

fn put<T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    cells: &[T::T],
    (definition, repetition): (&[i16], &[i16]),
) -> Result<(), ParquetError> {
    let used = |levels| Some(levels).filter(|levels: &&[i16]| !levels.is_empty());
    writer.typed::<T>().write_batch(cells, used(definition), used(repetition))?;
    Ok(())
}

fn write_group(
    writer: &mut SerializedFileWriter<Sink>,
    columns: &mut [Column],
    classes: &Classes,
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for column in columns {
        if let Some(mut into) = group.next_column()? {
            column.write(&mut into, classes)?;
            into.close()?;
        }
    }
    group.close()?;
    Ok(())
}

fn empty_columns(schema: &PredictionSchema) -> Vec<Column> {
    let id = schema.id.iter().map(|(_, kind)| match kind {
        FieldKind::Int => Cells::Int(Vec::new()),
        FieldKind::Float => Cells::Double(Vec::new()),
        FieldKind::Bool => Cells::Bool(Vec::new()),
        _ => Cells::Text(Vec::new()),
    });
    let id = id.map(|cells| Column::new(cells, true));
    let truth = [Column::new(Cells::Int(Vec::new()), false), Column::new(Cells::Class(Vec::new()), true)];
    let truth = truth.into_iter().take(truth_names(schema).len());
    let ranks = (0..schema.top_k).flat_map(|_| [Cells::Class(Vec::new()), Cells::Float(Vec::new())]);
    let list = schema.full_probabilities.then(|| Cells::Float(Vec::new()));
    let predicted = ranks.chain(list).map(|cells| Column::new(cells, schema.with_truth));
    let extra = schema.extra.iter().map(|_| Column::new(Cells::Float(Vec::new()), false));
    id.chain(truth).chain(predicted).chain(extra).collect()
}

/// Column types as both schemas need them.
#[derive(Clone, Copy)]
enum Kind {
    Int,
    Double,
    Float,
    Bool,
    Text,
}

/// Name, kind and whether cells may be missing, of every column before the list.
fn flat_columns(schema: &PredictionSchema) -> Vec<(String, Kind, bool)> {
    let prediction = match ClassValues::of(&schema.labels) {
        ClassValues::Int(_) => Kind::Int,
        ClassValues::Bool(_) => Kind::Bool,
        ClassValues::Text(_) => Kind::Text,
    };
    let id = schema.id.iter().map(|(name, kind)| {
        let kind = match kind {
            FieldKind::Int => Kind::Int,
            FieldKind::Float => Kind::Double,
            FieldKind::Bool => Kind::Bool,
            _ => Kind::Text,
        };
        (name.clone(), kind, true)
    });
    let truth = truth_names(schema).into_iter().zip([(Kind::Int, false), (prediction, true)]);
    let truth = truth.map(|(name, (kind, optional))| (name, kind, optional));
    let ranks = rank_names(schema.top_k)
        .enumerate()
        .map(|(at, name)| (name, if at % 2 == 0 { prediction } else { Kind::Float }, schema.with_truth));
    id.chain(truth).chain(ranks).collect()
}

fn parquet_schema(schema: &PredictionSchema) -> Result<TypePtr, ParquetError> {
    let primitive = |name: &str, kind: Kind, optional: bool| {
        let (physical, logical) = match kind {
            Kind::Int => (Physical::INT64, None),
            Kind::Double => (Physical::DOUBLE, None),
            Kind::Float => (Physical::FLOAT, None),
            Kind::Bool => (Physical::BOOLEAN, None),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        Type::primitive_type_builder(name, physical)
            .with_logical_type(logical)
            .with_repetition(if optional { Repetition::OPTIONAL } else { Repetition::REQUIRED })
            .build()
            .map(Arc::new)
    };
    let mut fields = Vec::new();
    for (name, kind, optional) in flat_columns(schema) {
        fields.push(primitive(&name, kind, optional)?);
    }
    if schema.full_probabilities {
        let repeated = Type::group_type_builder("list")
            .with_repetition(Repetition::REPEATED)
            .with_fields(vec![primitive("element", Kind::Float, false)?])
            .build()?;
        let list = Type::group_type_builder("probabilities")
            .with_repetition(if schema.with_truth { Repetition::OPTIONAL } else { Repetition::REQUIRED })
            .with_logical_type(Some(LogicalType::List))
            .with_fields(vec![Arc::new(repeated)])
            .build()?;
        fields.push(Arc::new(list));
    }
    for name in &schema.extra {
        fields.push(primitive(name, Kind::Float, false)?);
    }
    Type::group_type_builder("schema").with_fields(fields).build().map(Arc::new)
}

/// Parquet knows no fixed-size list; Arrow readers find that type in the Arrow schema kept beside Parquet's own.
fn arrow_schema(schema: &PredictionSchema) -> String {
    let mut fields: Vec<ArrowField> = flat_columns(schema)
        .into_iter()
        .map(|(name, kind, optional)| {
            let arrow = match kind {
                Kind::Int => ArrowType::Int64,
                Kind::Double => ArrowType::Float64,
                Kind::Float => ArrowType::Float32,
                Kind::Bool => ArrowType::Boolean,
                Kind::Text => ArrowType::Utf8,
            };
            ArrowField::new(name, arrow, optional)
        })
        .collect();
    if schema.full_probabilities {
        let element = Arc::new(ArrowField::new("element", ArrowType::Float32, false));
        let length = i32::try_from(schema.labels.classes()).unwrap_or(i32::MAX);
        fields.push(ArrowField::new(
            "probabilities",
            ArrowType::FixedSizeList(element, length),
            schema.with_truth,
        ));
    }
    fields.extend(schema.extra.iter().map(|name| ArrowField::new(name, ArrowType::Float32, false)));
    let mut dictionaries = arrow_ipc::writer::DictionaryTracker::new(true);
    let message = arrow_ipc::writer::IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
        &ArrowSchema::new(fields),
        &mut dictionaries,
        &arrow_ipc::writer::IpcWriteOptions::default(),
    );
    let message = message.ipc_message;
    let mut framed = vec![0xff; 4];
    framed.extend((message.len() as u32).to_le_bytes());
    framed.extend(message);
    base64(&framed)
}

/// Base64 of RFC 4648 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for position in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * position) & 63) as usize];
            text.push(if position <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn failed(path: &str, error: ParquetError) -> Error {
    let source = match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(source) => *source,
            Err(other) => std::io::Error::other(other),
        },
        other => std::io::Error::other(other),
    };
    Error::io(path, "write", source)
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_pads_as_rfc_4648_shows() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("\u{3ff}", "z78="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
