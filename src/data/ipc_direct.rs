//! Vectors of one length without nulls, from the body of a record batch in a file straight into the matrix.
//!
//! Such a column is one run of numbers in the file, so it is read to its place by all threads. Everything else of the body
//! is read for the general decoder, which is left what is unusual, and decides on errors.

use std::fs::File;

use arrow_ipc::{Buffer, FieldNode, RecordBatch};
use arrow_schema::{DataType, Schema};
use half::f16;

use super::table::ColumnBuffer;
use super::vectors::{Element, VectorState};
use crate::matrix::Matrix;
use crate::positioned::{Number, grow, read_exact_at, read_numbers_at};

/// The body of a record batch that lies in a file.
pub(super) struct BodyInFile<'a> {
    pub(super) file: &'a File,
    pub(super) file_bytes: u64,
    pub(super) start: u64,
    pub(super) length: usize,
    pub(super) batch: RecordBatch<'a>,
    /// Whether no batch was read before.
    pub(super) is_first: bool,
}

/// Where the numbers of a column of vectors lie.
struct Place {
    /// Index of their buffer.
    buffer: usize,
    start: u64,
    rows: usize,
    len: usize,
}

impl BodyInFile<'_> {
    /// Appends column `column` to `buffer` and returns the index of the buffer read, or leaves `buffer` as it was.
    pub(super) fn append(
        &self,
        schema: &Schema,
        column: usize,
        buffer: &mut ColumnBuffer,
        state: &mut VectorState,
    ) -> Option<usize> {
        let ColumnBuffer::Vector(matrix) = buffer else { return None };
        if cfg!(target_endian = "big") || self.batch.compression().is_some() || state.leading_nulls > 0 {
            return None;
        }
        let item = match schema.field(column).data_type() {
            DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => item,
            _ => return None,
        };
        match item.data_type() {
            DataType::Float32 => self.append_to::<f32>(schema, column, matrix, state),
            DataType::Float16 => self.append_to::<f16>(schema, column, matrix, state),
            _ => None,
        }
    }

    fn append_to<T: Element + Number>(
        &self,
        schema: &Schema,
        column: usize,
        matrix: &mut Matrix,
        state: &mut VectorState,
    ) -> Option<usize> {
        let place = self.place_of(schema, column, size_of::<T>())?;
        let fits = state.len.is_none_or(|known| known == place.len)
            && (matrix.rows() == 0 || matrix.cols() == place.len);
        let mut values = if fits { T::take(matrix)? } else { return None };
        let start = values.len();
        // What follows in the file may be further batches. Room for them is made once: whoever takes batches one by one
        // needs none.
        let ahead = if self.is_first { self.file_bytes.saturating_sub(place.start) } else { 0 };
        let expected = usize::try_from(ahead / size_of::<T>() as u64).unwrap_or(0);
        let outcome = grow(&mut values, place.rows * place.len, expected)
            .and_then(|()| read_numbers_at(self.file, &mut values[start..], place.start).ok());
        if outcome.is_none() {
            values.truncate(start);
        }
        let cols = if outcome.is_some() { place.len } else { matrix.cols() };
        *matrix = Matrix::from_storage(T::store(values), cols);
        outcome.map(|()| {
            state.len = Some(place.len);
            place.buffer
        })
    }

    fn place_of(&self, schema: &Schema, column: usize, width: usize) -> Option<Place> {
        let (mut nodes, mut buffers) = (0, 0);
        for field in &schema.fields()[..column] {
            count_parts(field.data_type(), &mut nodes, &mut buffers)?;
        }
        let rows = usize::try_from(self.batch.length()).ok().filter(|&rows| rows > 0)?;
        let (list, items) = (self.node(nodes)?, self.node(nodes + 1)?);
        let present = list.null_count() == 0 && items.null_count() == 0 && list.length() as usize == rows;
        let count = usize::try_from(items.length()).ok().filter(|_| present)?;
        let len = count.checked_div(rows).filter(|&len| len > 0 && len * rows == count)?;
        let buffer = match schema.field(column).data_type() {
            DataType::FixedSizeList(_, length) => {
                (usize::try_from(*length).ok()? == len).then_some(buffers + 2)?
            }
            DataType::List(_) => {
                self.even_offsets(buffers + 1, rows, len, i32::from_le_bytes)?;
                buffers + 3
            }
            DataType::LargeList(_) => {
                self.even_offsets(buffers + 1, rows, len, i64::from_le_bytes)?;
                buffers + 3
            }
            _ => return None,
        };
        let start = self.range(buffer, count.checked_mul(width)?)?;
        Some(Place { buffer, start, rows, len })
    }

    /// Whether row `r` of a list column begins at element `r * len`.
    fn even_offsets<const N: usize, O: TryInto<usize>>(
        &self,
        buffer: usize,
        rows: usize,
        len: usize,
        number: impl Fn([u8; N]) -> O,
    ) -> Option<()> {
        let size = rows.checked_add(1)?.checked_mul(N)?;
        let start = self.range(buffer, size)?;
        let mut bytes = vec![0; size];
        read_exact_at(self.file, &mut bytes, start).ok()?;
        let mut offsets = bytes.as_chunks::<N>().0.iter().enumerate();
        offsets.all(|(row, &bytes)| number(bytes).try_into().ok() == Some(row * len)).then_some(())
    }

    fn node(&self, at: usize) -> Option<&FieldNode> {
        let nodes = self.batch.nodes()?;
        (at < nodes.len()).then(|| nodes.get(at))
    }

    /// The first byte in the file of a buffer that has at least `size` bytes within the body.
    fn range(&self, at: usize, size: usize) -> Option<u64> {
        let buffers = self.batch.buffers()?;
        let buffer: &Buffer = if at < buffers.len() { buffers.get(at) } else { return None };
        let (offset, length) =
            (usize::try_from(buffer.offset()).ok()?, usize::try_from(buffer.length()).ok()?);
        let inside = size <= length && offset.checked_add(length)? <= self.length;
        inside.then_some(self.start + offset as u64)
    }

    /// The body for the general decoder; bytes of the buffers `taken` stay zero, in memory that is never touched.
    pub(super) fn read_without(&self, taken: &[usize]) -> std::io::Result<Vec<u8>> {
        let mut body = vec![0; self.length];
        // Buffers that overlap come from damage, and could be read without end.
        let claimed = self.batch.buffers().into_iter().flatten();
        let claimed = claimed.fold(0, |sum: i64, buffer| sum.saturating_add(buffer.length().max(0)));
        if taken.is_empty() || claimed as u64 > self.length as u64 {
            read_numbers_at(self.file, &mut body, self.start)?;
            return Ok(body);
        }
        let buffers = self.batch.buffers().into_iter().flatten().enumerate();
        for (_, buffer) in buffers.filter(|(at, _)| !taken.contains(at)) {
            let range = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
            let part = range.and_then(|(offset, length)| body.get_mut(offset..offset.checked_add(length)?));
            // A buffer beyond the body is for the check that follows to report.
            if let Some(part) = part {
                read_numbers_at(self.file, part, self.start + buffer.offset() as u64)?;
            }
        }
        Ok(body)
    }
}

/// Adds the nodes and buffers that a column of this type has; `None` where their number is not told by the type.
fn count_parts(data_type: &DataType, nodes: &mut usize, buffers: &mut usize) -> Option<()> {
    use DataType as D;
    *nodes += 1;
    match data_type {
        D::Null => {}
        D::Utf8 | D::LargeUtf8 | D::Binary | D::LargeBinary => *buffers += 3,
        D::List(item) | D::LargeList(item) | D::Map(item, _) => {
            *buffers += 2;
            count_parts(item.data_type(), nodes, buffers)?;
        }
        D::FixedSizeList(item, _) => {
            *buffers += 1;
            count_parts(item.data_type(), nodes, buffers)?;
        }
        D::Struct(fields) => {
            *buffers += 1;
            fields.iter().try_for_each(|field| count_parts(field.data_type(), nodes, buffers))?;
        }
        D::Utf8View | D::BinaryView | D::ListView(_) | D::LargeListView(_) => return None,
        D::Union(..) | D::RunEndEncoded(..) => return None,
        _ => *buffers += 2,
    }
    Some(())
}
