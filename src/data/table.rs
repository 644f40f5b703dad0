//! What a file reader hands on: named columns, appended block by block to typed buffers.

use std::collections::HashMap;

use crate::Result;
use crate::matrix::{Dtype, Matrix};

/// What a column holds, as far as its role in training depends on it.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldKind {
    /// Whole numbers of any width.
    Int,
    /// Scalars f16, f32 or f64.
    Float,
    /// true / false.
    Bool,
    /// Strings, dictionary-encoded or not.
    Text,
    /// One vector of numbers a row; `len` is `None` until the first row of a variable-length list is read.
    Vector {
        /// Numbers in each vector; of sparse ones the least that holds all entries of the file.
        len: Option<usize>,
        /// Width the values are kept in: f16 stays f16, sparse stays sparse, everything else becomes f32.
        dtype: Dtype,
    },
    /// A type no role can use (nested, binary, timestamps ...), by its name in the file.
    Other(String),
}

/// A column of a file before it has a role.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Name in the file; readers of files without names give `"0"`, `"1"`, ...
    pub name: String,
    /// What it holds.
    pub kind: FieldKind,
    /// Names of the classes 0, 1, ... where the file carries them (Hugging Face `ClassLabel`).
    pub class_names: Option<Vec<String>>,
}

/// Code of a missing value in a [`TextColumn`].
pub const NULL_TEXT: u32 = u32::MAX;

/// Strings stored once each: row `r` is `levels[codes[r]]`, or missing where the code is [`NULL_TEXT`].
#[derive(Debug, Clone, Default)]
pub struct TextColumn {
    levels: Vec<String>,
    codes: Vec<u32>,
    index: HashMap<String, u32>,
}

impl TextColumn {
    /// Appends one value.
    pub fn push(&mut self, value: Option<&str>) {
        let code = match value {
            None => NULL_TEXT,
            Some(text) => self.intern(text),
        };
        self.codes.push(code);
    }

    /// The code of `text`, new or known, for readers of dictionary-encoded columns.
    pub fn intern(&mut self, text: &str) -> u32 {
        if let Some(&code) = self.index.get(text) {
            return code;
        }
        let code = self.levels.len() as u32;
        self.levels.push(text.to_owned());
        self.index.insert(text.to_owned(), code);
        code
    }

    /// Appends a code that [`TextColumn::intern`] gave, or [`NULL_TEXT`].
    pub fn push_code(&mut self, code: u32) {
        self.codes.push(code);
    }

    /// Distinct strings in order of first appearance.
    pub fn levels(&self) -> &[String] {
        &self.levels
    }

    /// One code a row.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The string of a row, `None` where it is missing.
    pub fn get(&self, row: usize) -> Option<&str> {
        self.levels.get(self.codes[row] as usize).map(String::as_str)
    }
}

/// Rows of one column, appended to by [`TableReader::append_block`].
#[derive(Debug, Clone)]
pub enum ColumnBuffer {
    /// Whole numbers; rows listed in `nulls` (ascending) are missing and hold 0.
    Int {
        /// One value a row.
        values: Vec<i64>,
        /// Rows without a value, ascending.
        nulls: Vec<usize>,
    },
    /// Scalars; missing = NaN.
    Float(Vec<f64>),
    /// true / false; rows listed in `nulls` (ascending) are missing and hold `false`.
    Bool {
        /// One value a row.
        values: Vec<bool>,
        /// Rows without a value, ascending.
        nulls: Vec<usize>,
    },
    /// Strings.
    Text(TextColumn),
    /// One vector a row; a null vector or element is NaN.
    Vector(Matrix<'static>),
}

impl ColumnBuffer {
    /// What the column holds.
    pub fn kind(&self) -> FieldKind {
        match self {
            ColumnBuffer::Int { .. } => FieldKind::Int,
            ColumnBuffer::Float(_) => FieldKind::Float,
            ColumnBuffer::Bool { .. } => FieldKind::Bool,
            ColumnBuffer::Text(_) => FieldKind::Text,
            ColumnBuffer::Vector(matrix) => {
                FieldKind::Vector { len: Some(matrix.cols()), dtype: matrix.dtype() }
            }
        }
    }

    /// Number of rows held.
    pub fn rows(&self) -> usize {
        match self {
            ColumnBuffer::Int { values, .. } => values.len(),
            ColumnBuffer::Float(values) => values.len(),
            ColumnBuffer::Bool { values, .. } => values.len(),
            ColumnBuffer::Text(text) => text.codes.len(),
            ColumnBuffer::Vector(matrix) => matrix.rows(),
        }
    }
}

/// A file as a stream of blocks of rows.
pub trait TableReader {
    /// Name of the source for messages (the path as the user wrote it, or `<stdin>`).
    fn source(&self) -> &str;

    /// All columns of the file.
    fn fields(&self) -> &[Field];

    /// Number of rows where the file states it (for allocation hints and progress; never trusted unchecked).
    fn row_count(&self) -> Option<u64>;

    /// Appends the next block of rows of the columns `columns` (indices into [`TableReader::fields`]) to `into`
    /// (one buffer a column; made by [`new_buffer`] or left from the block before). Returns the number of rows
    /// appended, 0 at the end of the file. A block is a row group, a record batch or some 10^4 rows of text.
    fn append_block(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<usize>;

    /// Whether every value of a column can be written back as the file spells it. Only text formats lose something:
    /// `007` becomes the number 7.
    fn keeps_spelling(&self, _column: usize) -> bool {
        true
    }

    /// Asks for a column as text, as the file spells it, before the first block is read. Text formats make its kind
    /// [`FieldKind::Text`] and return `true`; typed formats cannot.
    fn read_as_text(&mut self, _column: usize) -> bool {
        false
    }
}

/// An empty buffer for a column of this kind; `None` for [`FieldKind::Other`].
/// A vector of unknown length starts with 0 columns and is replaced by the reader when it knows.
pub fn new_buffer(kind: &FieldKind) -> Option<ColumnBuffer> {
    Some(match kind {
        FieldKind::Int => ColumnBuffer::Int { values: Vec::new(), nulls: Vec::new() },
        FieldKind::Float => ColumnBuffer::Float(Vec::new()),
        FieldKind::Bool => ColumnBuffer::Bool { values: Vec::new(), nulls: Vec::new() },
        FieldKind::Text => ColumnBuffer::Text(TextColumn::default()),
        FieldKind::Vector { len, dtype } => ColumnBuffer::Vector(Matrix::empty(*dtype, len.unwrap_or(0))),
        FieldKind::Other(_) => return None,
    })
}
