//! NumPy `.npy` files, versions 1 to 3: a 1-D array is one scalar column `"0"`, a 2-D array one vector column
//! `"features"`.

use std::fs::File;
use std::io::{ErrorKind, Read, stdin};

use half::f16;

use super::npy_header::{Element, Header};
use super::table::{ColumnBuffer, Field, TableReader};
use super::vectors::unusable;
use crate::matrix::{Matrix, Storage};
use crate::positioned::{Number, grow, read_numbers_at};
use crate::{Error, Result};

/// Rows of a block, fewer where their bytes would pass [`BLOCK_BYTES`].
const BLOCK_ROWS: u64 = 1 << 14;
const BLOCK_BYTES: u64 = 64 << 20;
/// Bytes converted at a time: they stay in the first-level cache between reading and converting.
const PIECE: usize = 1 << 14;

/// Reads a `.npy` array; one block is some 10^4 rows, the whole array where it is stored column by column.
pub struct NpyReader {
    path: String,
    input: Box<dyn Read + Send>,
    /// The same file, where its elements can be read into the matrix as they are.
    direct: Option<File>,
    header: Header,
    fields: [Field; 1],
    rows_left: u64,
    block_bytes: u64,
}

impl NpyReader {
    /// Opens `path` (`-` is standard input) and reads the header.
    ///
    /// # Errors
    /// [`Error::RefusedFormat`] for arrays of Python objects, [`Error::UnsupportedFormat`] for element types and
    /// shapes that are no table, [`Error::Damaged`] where header and file contradict each other.
    pub fn open(path: &str) -> Result<Self> {
        if path == "-" {
            return Self::new("<stdin>", Box::new(stdin()), None);
        }
        let io = |source| Error::io(path, "read", source);
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let direct = file.try_clone().ok();
        let mut reader = Self::new(path, Box::new(file), Some(bytes))?;
        reader.direct = direct.filter(|_| reader.header.is_native());
        Ok(reader)
    }

    /// Reads from `input`, which has `bytes` bytes where that is known.
    fn new(path: &str, mut input: Box<dyn Read + Send>, bytes: Option<u64>) -> Result<Self> {
        let header = Header::read(path, &mut input)?;
        let needed = header.data_bytes().ok_or_else(|| damaged(path, "a shape beyond 2^64 bytes".into()))?;
        if let Some(held) = bytes.map(|bytes| bytes.saturating_sub(header.length))
            && held != needed
        {
            return Err(damaged(
                path,
                format!("its header asks for {needed} bytes of data, it holds {held}"),
            ));
        }
        let name = if header.is_matrix { "features" } else { "0" };
        let fields = [Field { name: name.into(), kind: header.kind(), class_names: None }];
        Ok(NpyReader {
            path: path.to_owned(),
            input,
            direct: None,
            rows_left: header.rows,
            header,
            fields,
            block_bytes: BLOCK_BYTES,
        })
    }

    /// The same with blocks of at most so many bytes, where they are given and fewer than usual.
    #[must_use]
    pub fn with_block_bytes(mut self, bytes: Option<u64>) -> Self {
        self.block_bytes = bytes.map_or(BLOCK_BYTES, |bytes| bytes.min(BLOCK_BYTES));
        self
    }

    fn append(&mut self, rows: u64, buffer: &mut ColumnBuffer) -> Result<()> {
        let header = self.header;
        let done = (header.rows - self.rows_left).saturating_mul(header.cols);
        let values = rows.checked_mul(header.cols).and_then(|values| usize::try_from(values).ok());
        let left = values.ok_or_else(|| damaged(&self.path, "more values than memory can address".into()))?;
        let direct = self.direct.as_ref().map(|file| (file, header.data_start(done)));
        // Room for all rows is made once: whoever takes them block by block needs none.
        let ahead =
            if self.rows_left == header.rows { self.rows_left.saturating_mul(header.cols) } else { 0 };
        let expected = usize::try_from(ahead).unwrap_or(left);
        let mut source = Values { path: &self.path, input: &mut self.input, direct, header, left, expected };
        match buffer {
            ColumnBuffer::Vector(matrix) if header.is_matrix => {
                let cols = header.cols as usize;
                let mut storage = Storage::F32(Vec::new());
                std::mem::swap(&mut storage, matrix.storage_mut());
                match &mut storage {
                    Storage::F16(values) if header.element == Element::F2 => source.append_halves(values)?,
                    Storage::F32(values) if header.element != Element::F2 => source.append_singles(values)?,
                    _ => return Err(unusable(&self.path, "features", "another width".into())),
                }
                *matrix = Matrix::from_storage(storage, cols);
                Ok(())
            }
            ColumnBuffer::Int { values, .. } if !header.is_matrix => source.append_ints(values),
            ColumnBuffer::Float(values) if !header.is_matrix => source.append_doubles(values),
            ColumnBuffer::Bool { values, .. } if !header.is_matrix => {
                source.numbers(values, |[byte]| byte != 0)
            }
            ColumnBuffer::Text(text) if !header.is_matrix => source.strings(|string| text.push(Some(string))),
            _ => Err(unusable(&self.path, &self.fields[0].name, "another buffer".into())),
        }
    }
}

impl TableReader for NpyReader {
    fn source(&self) -> &str {
        &self.path
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn row_count(&self) -> Option<u64> {
        Some(self.header.rows)
    }

    fn append_block(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<usize> {
        let row_bytes = self.header.cols.saturating_mul(self.header.element.width() as u64);
        let rows = if self.header.by_column {
            u64::MAX
        } else {
            BLOCK_ROWS.min((self.block_bytes / row_bytes).max(1))
        };
        let rows = rows.min(self.rows_left);
        match (columns, into) {
            ([], _) | (_, []) => {}
            (_, [buffer, ..]) => self.append(rows, buffer)?,
        }
        self.rows_left -= rows;
        Ok(rows as usize)
    }
}

/// Elements still to be read from a file.
struct Values<'a> {
    path: &'a str,
    input: &'a mut dyn Read,
    /// The file to read on all threads, and the first byte of these elements.
    direct: Option<(&'a File, u64)>,
    header: Header,
    left: usize,
    /// Those and the ones of later blocks.
    expected: usize,
}

impl Values<'_> {
    /// Hands on the bytes of all elements in pieces of whole elements, little-endian.
    fn pieces(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let width = self.header.element.width();
        let at_once = (PIECE / width).max(1);
        let mut bytes = vec![0; at_once.min(self.left) * width];
        while self.left > 0 {
            let count = at_once.min(self.left);
            let piece = &mut bytes[..count * width];
            self.input.read_exact(piece).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => damaged(self.path, format!("{} elements are missing", self.left)),
                _ => Error::io(self.path, "read", error),
            })?;
            if self.header.big_endian {
                let unit = if let Element::Unicode(_) = self.header.element { 4 } else { width };
                piece.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
            }
            each(piece)?;
            self.left -= count;
        }
        Ok(())
    }

    /// Appends elements of `N` bytes.
    fn numbers<const N: usize, T: Copy>(
        &mut self,
        into: &mut Vec<T>,
        convert: impl Fn([u8; N]) -> T,
    ) -> Result<()> {
        let (start, by_column) = (into.len(), self.header.by_column);
        // A length from a pipe is only a claim.
        into.reserve(self.left.min(BLOCK_BYTES as usize / N));
        self.pieces(|piece| {
            into.extend(piece.as_chunks::<N>().0.iter().map(|&bytes| convert(bytes)));
            Ok(())
        })?;
        if by_column {
            let by_row = transposed(&into[start..], self.header.rows as usize);
            into.truncate(start);
            into.extend(by_row);
        }
        Ok(())
    }

    /// Appends elements that are stored as they are kept; `false` where they cannot be read so.
    fn append_native<T: Number>(&mut self, into: &mut Vec<T>) -> Result<bool> {
        let Some((file, from)) = self.direct else { return Ok(false) };
        let start = into.len();
        // As many bytes as the file was found to have.
        if grow(into, self.left, self.expected).is_none() {
            return Ok(false);
        }
        read_numbers_at(file, &mut into[start..], from).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => damaged(self.path, "it became shorter while it was read".into()),
            _ => Error::io(self.path, "read", error),
        })?;
        Ok(true)
    }

    fn append_halves(&mut self, into: &mut Vec<f16>) -> Result<()> {
        if self.append_native(into)? {
            return Ok(());
        }
        self.numbers(into, f16::from_le_bytes)
    }

    fn append_singles(&mut self, into: &mut Vec<f32>) -> Result<()> {
        if self.append_native(into)? {
            return Ok(());
        }
        match self.header.element {
            Element::F4 => self.numbers(into, f32::from_le_bytes),
            Element::F8 => self.numbers(into, |bytes| f64::from_le_bytes(bytes) as f32),
            Element::I1 => self.numbers(into, |bytes| f32::from(i8::from_le_bytes(bytes))),
            Element::I2 => self.numbers(into, |bytes| f32::from(i16::from_le_bytes(bytes))),
            Element::I4 => self.numbers(into, |bytes| i32::from_le_bytes(bytes) as f32),
            Element::I8 => self.numbers(into, |bytes| i64::from_le_bytes(bytes) as f32),
            Element::U1 => self.numbers(into, |[byte]| f32::from(byte)),
            Element::U2 => self.numbers(into, |bytes| f32::from(u16::from_le_bytes(bytes))),
            Element::U4 => self.numbers(into, |bytes| u32::from_le_bytes(bytes) as f32),
            Element::U8 => self.numbers(into, |bytes| u64::from_le_bytes(bytes) as f32),
            Element::Bool => self.numbers(into, |[byte]| f32::from(u8::from(byte != 0))),
            _ => Err(unusable(self.path, "features", "not numeric".into())),
        }
    }

    fn append_doubles(&mut self, into: &mut Vec<f64>) -> Result<()> {
        match self.header.element {
            Element::F2 => self.numbers(into, |bytes| f16::from_le_bytes(bytes).to_f64()),
            Element::F4 => self.numbers(into, |bytes| f64::from(f32::from_le_bytes(bytes))),
            Element::F8 => self.numbers(into, f64::from_le_bytes),
            _ => Err(unusable(self.path, "0", "no float".into())),
        }
    }

    fn append_ints(&mut self, into: &mut Vec<i64>) -> Result<()> {
        let first = into.len();
        match self.header.element {
            Element::I1 => self.numbers(into, |bytes| i64::from(i8::from_le_bytes(bytes))),
            Element::I2 => self.numbers(into, |bytes| i64::from(i16::from_le_bytes(bytes))),
            Element::I4 => self.numbers(into, |bytes| i64::from(i32::from_le_bytes(bytes))),
            Element::I8 => self.numbers(into, i64::from_le_bytes),
            Element::U1 => self.numbers(into, |[byte]| i64::from(byte)),
            Element::U2 => self.numbers(into, |bytes| i64::from(u16::from_le_bytes(bytes))),
            Element::U4 => self.numbers(into, |bytes| i64::from(u32::from_le_bytes(bytes))),
            Element::U8 => {
                self.numbers(into, |bytes| u64::from_le_bytes(bytes) as i64)?;
                match into[first..].iter().find(|&&value| value < 0) {
                    None => Ok(()),
                    Some(&value) => Err(Error::UnsupportedType {
                        file: self.path.to_owned(),
                        column: "0".into(),
                        kind: format!("u64 with {}, beyond {}", value as u64, i64::MAX),
                        role: "a column of integers",
                    }),
                }
            }
            _ => Err(unusable(self.path, "0", "no integer".into())),
        }
    }

    fn strings(&mut self, mut each: impl FnMut(&str)) -> Result<()> {
        let (path, element) = (self.path, self.header.element);
        self.pieces(|piece| {
            for cell in piece.chunks_exact(element.width()) {
                let text = if let Element::Unicode(_) = element { utf32(cell) } else { ascii(cell) };
                each(&text.ok_or_else(|| damaged(path, "text that is not Unicode".into()))?);
            }
            Ok(())
        })
    }
}

/// NumPy pads text with zeros, which are no part of it.
fn utf32(cell: &[u8]) -> Option<String> {
    let (codes, _) = cell.as_chunks::<4>();
    let used = codes.iter().rposition(|&code| code != [0; 4]).map_or(0, |last| last + 1);
    codes[..used].iter().map(|&code| char::from_u32(u32::from_le_bytes(code))).collect()
}

fn ascii(cell: &[u8]) -> Option<String> {
    let used = cell.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    std::str::from_utf8(&cell[..used]).ok().map(str::to_owned)
}

/// Row-major copy of a column-major matrix, in tiles that fit the first-level cache.
fn transposed<T: Copy>(values: &[T], rows: usize) -> Vec<T> {
    const TILE: usize = 32;
    let Some(&filler) = values.first() else { return Vec::new() };
    let cols = values.len() / rows;
    let mut out = vec![filler; values.len()];
    for row_tile in (0..rows).step_by(TILE) {
        for col_tile in (0..cols).step_by(TILE) {
            for row in row_tile..(row_tile + TILE).min(rows) {
                for col in col_tile..(col_tile + TILE).min(cols) {
                    out[row * cols + col] = values[col * rows + row];
                }
            }
        }
    }
    out
}

fn damaged(path: &str, detail: String) -> Error {
    Error::Damaged { file: path.to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_rows_across_tiles() {
        let (rows, cols) = (70, 33);
        let by_column: Vec<usize> =
            (0..cols).flat_map(|col| (0..rows).map(move |row| row * 100 + col)).collect();
        let by_row: Vec<usize> =
            (0..rows).flat_map(|row| (0..cols).map(move |col| row * 100 + col)).collect();
        assert_eq!(transposed(&by_column, rows), by_row);
        assert!(transposed::<u8>(&[], 0).is_empty());
    }

    #[test]
    fn a_pipe_that_claims_more_than_it_sends_is_damaged() {
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1000), }";
        bytes.extend(format!("{dictionary:<117}\n").bytes());
        bytes.extend([0; 40]);
        let mut reader = NpyReader::new("<stdin>", Box::new(std::io::Cursor::new(bytes)), None).unwrap();
        let mut into = [super::super::table::new_buffer(&reader.fields[0].kind).unwrap()];
        assert_eq!(reader.append_block(&[0], &mut into).unwrap_err().code(), "E0302");
    }
}
