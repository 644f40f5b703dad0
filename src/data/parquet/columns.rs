//! One column chunk, decoded onto the end of its buffer.

use ::parquet::column::page::PageReader;
use ::parquet::column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader};
use ::parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use ::parquet::schema::types::ColumnDescPtr;
use half::f16;

use super::half::HalfPages;
use super::lists::{ListShape, RowGrouper};
use super::pages::CheckedPages;
use super::schema::{Leaf, Source};
use crate::data::table::ColumnBuffer;
use crate::data::vectors::{Element, VectorRows, VectorState, unusable};
use crate::matrix::Matrix;
use crate::{Error, Result};

/// Levels decoded at a time: some 10^4 keep them and their values within the second-level cache.
const LEVELS_AT_ONCE: usize = 1 << 15;

/// A column chunk about to be read.
pub(crate) struct ChunkReader<'a> {
    file: &'a str,
    column: &'a str,
    source: Source,
    descriptor: ColumnDescPtr,
    pages: Box<dyn PageReader>,
    rows: usize,
    /// Levels in the chunk; [`super::pages::check_headers`] has seen pages for all of them.
    levels: usize,
    rows_before: u64,
}

impl<'a> ChunkReader<'a> {
    pub(crate) fn new(
        file: &'a str,
        column: &'a str,
        source: Source,
        descriptor: ColumnDescPtr,
        pages: Box<dyn PageReader>,
        rows: usize,
        levels: usize,
    ) -> Self {
        let pages =
            Box::new(CheckedPages::new(pages, descriptor.max_rep_level(), descriptor.max_def_level()));
        ChunkReader { file, column, source, descriptor, pages, rows, levels, rows_before: 0 }
    }

    /// Tells how many rows of the file come before, for messages.
    pub(crate) fn after(self, rows_before: u64) -> Self {
        ChunkReader { rows_before, ..self }
    }

    /// Appends all rows of the chunk to `buffer`, which must be of the column's kind.
    pub(crate) fn append(self, buffer: &mut ColumnBuffer, state: &mut VectorState) -> Result<()> {
        match (self.source.list, buffer) {
            (Some(shape), ColumnBuffer::Vector(matrix)) => self.append_vectors(shape, matrix, state),
            (None, buffer) => self.append_scalars(buffer),
            _ => Err(unusable(self.file, self.column, "a list".into())),
        }
    }

    fn append_vectors(self, shape: ListShape, matrix: &mut Matrix, state: &mut VectorState) -> Result<()> {
        match self.source.form {
            Leaf::Half => self.append_half_vectors(shape, matrix, state),
            Leaf::Float => self.append_float_vectors(shape, matrix, state),
            Leaf::Double => {
                self.append_other_vectors::<DoubleType>(shape, matrix, state, |&value| value as f32)
            }
            Leaf::Bool => self
                .append_other_vectors::<BoolType>(shape, matrix, state, |&value| f32::from(u8::from(value))),
            Leaf::Int32 => {
                self.append_other_vectors::<Int32Type>(shape, matrix, state, |&value| value as f32)
            }
            Leaf::UInt32 => {
                self.append_other_vectors::<Int32Type>(shape, matrix, state, |&value| value as u32 as f32)
            }
            Leaf::Int64 => {
                self.append_other_vectors::<Int64Type>(shape, matrix, state, |&value| value as f32)
            }
            Leaf::UInt64 => {
                self.append_other_vectors::<Int64Type>(shape, matrix, state, |&value| value as u64 as f32)
            }
            Leaf::Text { .. } => Err(unusable(self.file, self.column, "a list of text".into())),
        }
    }

    fn append_half_vectors(
        self,
        shape: ListShape,
        matrix: &mut Matrix,
        state: &mut VectorState,
    ) -> Result<()> {
        let mut rows = VectorRows::<f16>::start(self.file, self.column, matrix, state, self.rows_before)?;
        rows.values.reserve(self.levels);
        let mut grouper = RowGrouper::new(shape);
        let (mut rep, mut def) = (Vec::new(), Vec::new());
        let mut pages = HalfPages::new(self.pages, self.descriptor.max_rep_level(), shape.max_def);
        loop {
            let start = rows.values.len();
            let read = pages.next(&mut rows.values, &mut rep, &mut def);
            if read.map_err(|error| damaged(self.file, self.column, error))?.is_none() {
                break;
            }
            grouper.take(&mut rows, start, &rep, &def)?;
        }
        grouper.finish(&mut rows)?;
        finish_vectors(self.file, self.column, rows, self.rows, matrix)
    }

    fn append_float_vectors(
        self,
        shape: ListShape,
        matrix: &mut Matrix,
        state: &mut VectorState,
    ) -> Result<()> {
        let mut rows = VectorRows::<f32>::start(self.file, self.column, matrix, state, self.rows_before)?;
        rows.values.reserve(self.levels);
        let mut lists = ListReader::<FloatType>::new(self, shape);
        loop {
            let start = rows.values.len();
            if !lists.read(rows.len(), &mut rows.values)? {
                break;
            }
            lists.grouper.take(&mut rows, start, &lists.rep, &lists.def)?;
        }
        lists.finish(rows, matrix)
    }

    /// Vectors that are kept in another width than the file's.
    fn append_other_vectors<D: DataType>(
        self,
        shape: ListShape,
        matrix: &mut Matrix,
        state: &mut VectorState,
        convert: impl Fn(&D::T) -> f32,
    ) -> Result<()> {
        let mut rows = VectorRows::<f32>::start(self.file, self.column, matrix, state, self.rows_before)?;
        rows.values.reserve(self.levels);
        let mut lists = ListReader::<D>::new(self, shape);
        let mut chunk = Vec::new();
        loop {
            chunk.clear();
            if !lists.read(rows.len(), &mut chunk)? {
                break;
            }
            let start = rows.values.len();
            rows.values.extend(chunk.iter().map(&convert));
            lists.grouper.take(&mut rows, start, &lists.rep, &lists.def)?;
        }
        lists.finish(rows, matrix)
    }

    fn append_scalars(self, buffer: &mut ColumnBuffer) -> Result<()> {
        let (file, column, rows_before) = (self.file, self.column, self.rows_before);
        match (self.source.form, buffer) {
            (Leaf::Bool, ColumnBuffer::Bool { values, nulls }) => self.for_each::<BoolType>(|value| {
                if value.is_none() {
                    nulls.push(values.len());
                }
                values.push(value.copied().unwrap_or(false));
                Ok(())
            }),
            (Leaf::Int32, ColumnBuffer::Int { values, nulls }) => {
                self.for_each::<Int32Type>(|value| push_int(values, nulls, value.map(|&v| i64::from(v))))
            }
            (Leaf::UInt32, ColumnBuffer::Int { values, nulls }) => self
                .for_each::<Int32Type>(|value| push_int(values, nulls, value.map(|&v| i64::from(v as u32)))),
            (Leaf::Int64, ColumnBuffer::Int { values, nulls }) => {
                self.for_each::<Int64Type>(|value| push_int(values, nulls, value.copied()))
            }
            (Leaf::UInt64, ColumnBuffer::Int { values, nulls }) => {
                let first = values.len();
                self.for_each::<Int64Type>(|value| match value {
                    Some(&bits) if bits < 0 => {
                        let row = rows_before + (values.len() - first) as u64 + 1;
                        Err(too_large_integer(file, column, bits as u64, row))
                    }
                    other => push_int(values, nulls, other.copied()),
                })
            }
            (Leaf::Float, ColumnBuffer::Float(values)) => self.for_each::<FloatType>(|value| {
                values.push(value.map_or(f64::NAN, |&v| f64::from(v)));
                Ok(())
            }),
            (Leaf::Double, ColumnBuffer::Float(values)) => self.for_each::<DoubleType>(|value| {
                values.push(value.copied().unwrap_or(f64::NAN));
                Ok(())
            }),
            (Leaf::Half, ColumnBuffer::Float(values)) => self.append_half_scalars(values),
            (Leaf::Text { declared }, ColumnBuffer::Text(text)) => self.for_each::<ByteArrayType>(|value| {
                match value.map(|bytes| std::str::from_utf8(bytes.data())).transpose() {
                    Ok(value) => {
                        text.push(value);
                        Ok(())
                    }
                    Err(error) if declared => {
                        Err(damaged(file, column, format!("text that is not UTF-8: {error}")))
                    }
                    Err(_) => Err(unusable(file, column, "binary".into())),
                }
            }),
            _ => Err(unusable(file, column, "another buffer".into())),
        }
    }

    fn append_half_scalars(self, values: &mut Vec<f64>) -> Result<()> {
        let (mut present, mut rep, mut def) = (Vec::new(), Vec::new(), Vec::new());
        let max_def = self.source.max_def;
        let mut pages = HalfPages::new(self.pages, 0, max_def);
        let mut rows = 0;
        let damage = |error| damaged(self.file, self.column, error);
        while let Some(count) = pages.next(&mut present, &mut rep, &mut def).map_err(damage)? {
            rows += count;
            let mut next = present.drain(..).map(f64::from);
            if max_def == 0 {
                values.extend(next);
            } else {
                let spread = |&level: &i16| if level == max_def { next.next() } else { None };
                values.extend(def.iter().map(spread).map(|value| value.unwrap_or(f64::NAN)));
            }
        }
        check_rows(self.file, self.column, rows, self.rows)
    }

    /// Hands every row of a scalar column to `each`, `None` where it is null.
    fn for_each<D: DataType>(self, mut each: impl FnMut(Option<&D::T>) -> Result<()>) -> Result<()> {
        let max_def = self.source.max_def;
        let mut reader: ColumnReaderImpl<D> =
            get_typed_column_reader(get_column_reader(self.descriptor, self.pages));
        let (mut values, mut def) = (Vec::new(), Vec::new());
        let mut rows = 0;
        loop {
            values.clear();
            def.clear();
            let read = reader.read_records(LEVELS_AT_ONCE, Some(&mut def), None, &mut values);
            let (records, _, _) = read.map_err(|error| damaged(self.file, self.column, error.to_string()))?;
            if records == 0 {
                return check_rows(self.file, self.column, rows, self.rows);
            }
            rows += records;
            if max_def == 0 {
                values.iter().try_for_each(|value| each(Some(value)))?;
                continue;
            }
            let mut present = values.iter();
            def.iter().try_for_each(|&level| each(if level == max_def { present.next() } else { None }))?;
        }
    }
}

/// Whole lists of one column chunk with their levels.
struct ListReader<'a, D: DataType> {
    file: &'a str,
    column: &'a str,
    rows: usize,
    reader: ColumnReaderImpl<D>,
    grouper: RowGrouper,
    rep: Vec<i16>,
    def: Vec<i16>,
}

impl<'a, D: DataType> ListReader<'a, D> {
    fn new(chunk: ChunkReader<'a>, shape: ListShape) -> Self {
        let reader = get_typed_column_reader(get_column_reader(chunk.descriptor, chunk.pages));
        let grouper = RowGrouper::new(shape);
        let ChunkReader { file, column, rows, .. } = chunk;
        ListReader { file, column, rows, reader, grouper, rep: Vec::new(), def: Vec::new() }
    }

    /// Appends the present values of the next lists (one while their length is unknown); false at the end.
    fn read(&mut self, len: Option<usize>, values: &mut Vec<D::T>) -> Result<bool> {
        self.rep.clear();
        self.def.clear();
        let records = len.map_or(1, |len| (LEVELS_AT_ONCE / len).max(1));
        let read = self.reader.read_records(records, Some(&mut self.def), Some(&mut self.rep), values);
        let (_, _, levels) = read.map_err(|error| damaged(self.file, self.column, error.to_string()))?;
        Ok(levels > 0)
    }

    fn finish<T: Element>(self, mut rows: VectorRows<'a, T>, matrix: &mut Matrix) -> Result<()> {
        self.grouper.finish(&mut rows)?;
        finish_vectors(self.file, self.column, rows, self.rows, matrix)
    }
}

fn finish_vectors<T: Element>(
    file: &str,
    column: &str,
    rows: VectorRows<'_, T>,
    expected: usize,
    matrix: &mut Matrix,
) -> Result<()> {
    check_rows(file, column, rows.rows(), expected)?;
    rows.finish(matrix);
    Ok(())
}

fn check_rows(file: &str, column: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(damaged(file, column, format!("{found} rows where its row group has {expected}")))
}

fn push_int(values: &mut Vec<i64>, nulls: &mut Vec<usize>, value: Option<i64>) -> Result<()> {
    if value.is_none() {
        nulls.push(values.len());
    }
    values.push(value.unwrap_or(0));
    Ok(())
}

fn too_large_integer(file: &str, column: &str, value: u64, row: u64) -> Error {
    let kind = format!("u64 with {value} in row {row}, beyond {}", i64::MAX);
    Error::UnsupportedType {
        file: file.to_owned(),
        column: column.to_owned(),
        kind,
        role: "a column of integers",
    }
}

fn damaged(file: &str, column: &str, detail: String) -> Error {
    Error::Damaged { file: file.to_owned(), detail: format!("column {column:?}: {detail}") }
}
