//! The header of a `.npy` file: a Python dictionary literal with element type, order and shape.

use std::io::Read;

use super::table::FieldKind;
use crate::matrix::Dtype;
use crate::{Error, Result};

/// Longest header taken; those of plain arrays have some hundred bytes.
const MAX_HEADER: u32 = 1 << 16;
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Type of an array's elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Element {
    F2,
    F4,
    F8,
    I1,
    I2,
    I4,
    I8,
    U1,
    U2,
    U4,
    U8,
    Bool,
    /// UTF-32 text of at most so many characters.
    Unicode(usize),
    /// Byte strings of at most so many bytes.
    Bytes(usize),
}

impl Element {
    pub(crate) fn width(self) -> usize {
        match self {
            Element::I1 | Element::U1 | Element::Bool => 1,
            Element::F2 | Element::I2 | Element::U2 => 2,
            Element::F4 | Element::I4 | Element::U4 => 4,
            Element::F8 | Element::I8 | Element::U8 => 8,
            Element::Unicode(chars) => chars * 4,
            Element::Bytes(bytes) => bytes,
        }
    }

    fn parse(kind: &str, size: usize) -> Option<Self> {
        Some(match (kind, size) {
            ("f", 2) => Element::F2,
            ("f", 4) => Element::F4,
            ("f", 8) => Element::F8,
            ("i", 1) => Element::I1,
            ("i", 2) => Element::I2,
            ("i", 4) => Element::I4,
            ("i", 8) => Element::I8,
            ("u", 1) => Element::U1,
            ("u", 2) => Element::U2,
            ("u", 4) => Element::U4,
            ("u", 8) => Element::U8,
            ("b", 1) => Element::Bool,
            ("U", 1..=65_536) => Element::Unicode(size),
            ("S", 1..=65_536) => Element::Bytes(size),
            _ => return None,
        })
    }

    fn is_text(self) -> bool {
        matches!(self, Element::Unicode(_) | Element::Bytes(_))
    }
}

/// What a `.npy` file says of its array.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Header {
    pub(crate) element: Element,
    pub(crate) big_endian: bool,
    /// Stored column by column.
    pub(crate) by_column: bool,
    pub(crate) is_matrix: bool,
    pub(crate) rows: u64,
    /// Columns of a matrix, 1 of a 1-D array.
    pub(crate) cols: u64,
    /// Bytes before the data.
    pub(crate) length: u64,
}

impl Header {
    /// Reads magic, version and dictionary from the start of `input`.
    pub(crate) fn read(file: &str, input: &mut impl Read) -> Result<Self> {
        let mut take = |count: u32| -> Result<Vec<u8>> {
            let mut bytes = vec![0; count as usize];
            match input.read_exact(&mut bytes) {
                Ok(()) => Ok(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    Err(damaged(file, "it ends within its header"))
                }
                Err(error) => Err(Error::io(file, "read", error)),
            }
        };
        let start = take(8)?;
        if !start.starts_with(MAGIC) {
            return Err(Error::WrongFormat {
                file: file.to_owned(),
                expected: "a .npy file".into(),
                found: "its first bytes are not \\x93NUMPY".into(),
            });
        }
        let (length, prefix) = match start[6] {
            1 => (take(2)?.iter().rev().fold(0, |n, &byte| n << 8 | u32::from(byte)), 10),
            2 | 3 => (take(4)?.iter().rev().fold(0, |n, &byte| n << 8 | u32::from(byte)), 12),
            version => return Err(damaged(file, &format!("its header names version {version}"))),
        };
        if length > MAX_HEADER {
            return Err(damaged(file, &format!("a header of {length} bytes")));
        }
        let dictionary = take(length)?;
        let dictionary =
            Dictionary::parse(&dictionary).ok_or_else(|| damaged(file, "an unreadable header"))?;
        dictionary.resolve(file, prefix + u64::from(length))
    }

    /// Bytes of all elements; `None` beyond 2^64.
    pub(crate) fn data_bytes(&self) -> Option<u64> {
        self.rows.checked_mul(self.cols)?.checked_mul(self.element.width() as u64)
    }

    /// Whether the rows of the matrix lie in the file as they will in memory.
    pub(crate) fn is_native(&self) -> bool {
        self.is_matrix
            && matches!(self.element, Element::F2 | Element::F4)
            && self.big_endian == cfg!(target_endian = "big")
            && !self.by_column
    }

    /// The byte where the elements behind the first `elements` begin.
    pub(crate) fn data_start(&self, elements: u64) -> u64 {
        self.length.saturating_add(elements.saturating_mul(self.element.width() as u64))
    }

    /// What the only column holds.
    pub(crate) fn kind(&self) -> FieldKind {
        if self.is_matrix {
            let dtype = if self.element == Element::F2 { Dtype::F16 } else { Dtype::F32 };
            return FieldKind::Vector { len: Some(self.cols as usize), dtype };
        }
        match self.element {
            Element::F2 | Element::F4 | Element::F8 => FieldKind::Float,
            Element::Bool => FieldKind::Bool,
            Element::Unicode(_) | Element::Bytes(_) => FieldKind::Text,
            _ => FieldKind::Int,
        }
    }
}

#[derive(Default)]
struct Dictionary {
    descr: Option<String>,
    structured: bool,
    by_column: Option<bool>,
    shape: Option<Vec<u64>>,
}

impl Dictionary {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim_start();
        let mut found = Dictionary::default();
        while !rest.is_empty() {
            let key = quoted(&mut rest)?;
            rest = rest.trim_start().strip_prefix(':')?.trim_start();
            match key {
                "descr" if rest.starts_with('[') => {
                    found.structured = true;
                    // Field lists nest brackets only within their shapes, so the last one ends the list.
                    rest = &rest[rest.rfind(']')? + 1..];
                }
                "descr" => found.descr = Some(quoted(&mut rest)?.to_owned()),
                "fortran_order" => {
                    let (value, tail) = match rest.strip_prefix("True") {
                        Some(tail) => (true, tail),
                        None => (false, rest.strip_prefix("False")?),
                    };
                    (found.by_column, rest) = (Some(value), tail);
                }
                "shape" => {
                    let (inner, tail) = rest.strip_prefix('(')?.split_once(')')?;
                    let lengths = inner.split(',').map(str::trim).filter(|length| !length.is_empty());
                    // Python 2 wrote long integers with an L.
                    let parse = |length: &str| length.strip_suffix('L').unwrap_or(length).parse::<u64>().ok();
                    found.shape = Some(lengths.map(parse).collect::<Option<_>>()?);
                    rest = tail;
                }
                _ => return None,
            }
            rest = rest.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        Some(found)
    }

    fn resolve(self, file: &str, length: u64) -> Result<Header> {
        if self.structured {
            return Err(unsupported(
                file,
                "a .npy file of records",
                "save its fields as arrays of their own",
            ));
        }
        let (Some(descr), Some(by_column), Some(shape)) = (self.descr, self.by_column, self.shape) else {
            return Err(damaged(file, "a header without descr, fortran_order or shape"));
        };
        let (big_endian, kind) = match descr.split_at_checked(1) {
            Some((">", kind)) => (true, kind),
            Some(("<" | "|" | "=", kind)) => (false, kind),
            _ => return Err(damaged(file, &format!("the element type {descr:?}"))),
        };
        if kind.starts_with('O') {
            return Err(Error::RefusedFormat {
                file: file.to_owned(),
                kind: "a NumPy array of Python objects (pickle)".into(),
                recipe: format!(
                    "if you trust it, convert it: python -c \"import sys, numpy as np; \
                     a = np.load(sys.argv[1], allow_pickle=True); np.save('converted.npy', np.array(a.tolist()))\" \
                     {file:?}"
                ),
            });
        }
        let size = kind.get(1..).and_then(|size| size.parse().ok()).unwrap_or(0);
        let element = kind.get(..1).and_then(|letter| Element::parse(letter, size)).ok_or_else(|| {
            let kind =
                if kind == "V2" { "V2 (bfloat16, saved as raw bytes)".into() } else { format!("{descr:?}") };
            unsupported(
                file,
                &format!("a .npy array of type {kind}"),
                "save it as float32: np.save('converted.npy', array.astype('float32'))",
            )
        })?;
        let (is_matrix, rows, cols) = match shape[..] {
            [rows] => (false, rows, 1),
            [rows, cols] if !element.is_text() && cols > 0 => (true, rows, cols),
            _ => {
                let kind = format!("a .npy array of shape {shape:?} and type {descr:?}");
                return Err(unsupported(
                    file,
                    &kind,
                    "save a matrix of one row a sample: array.reshape(len(array), -1)",
                ));
            }
        };
        Ok(Header {
            element,
            big_endian,
            by_column: by_column && is_matrix && cols > 1,
            is_matrix,
            rows,
            cols,
            length,
        })
    }
}

/// Takes a quoted string without escapes off the front.
fn quoted<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let quote = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let (inner, tail) = rest[1..].split_once(quote)?;
    *rest = tail;
    Some(inner)
}

fn damaged(file: &str, detail: &str) -> Error {
    Error::Damaged { file: file.to_owned(), detail: detail.to_owned() }
}

fn unsupported(file: &str, kind: &str, recipe: &str) -> Error {
    Error::UnsupportedFormat { file: file.to_owned(), kind: kind.to_owned(), recipe: recipe.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(dictionary: &str) -> Result<Header> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((dictionary.len() as u16).to_le_bytes());
        bytes.extend(dictionary.as_bytes());
        Header::read("a.npy", &mut &bytes[..])
    }

    #[test]
    fn dictionaries_of_numpy_are_read() {
        let found = header("{'descr': '>f4', 'fortran_order': True, 'shape': (3, 4), }      \n").unwrap();
        assert_eq!((found.element, found.big_endian, found.by_column), (Element::F4, true, true));
        assert_eq!((found.rows, found.cols, found.is_matrix), (3, 4, true));
        let found = header("{\"shape\":(5L,),\"descr\":\"|S3\",\"fortran_order\":False}").unwrap();
        assert_eq!((found.element, found.rows, found.is_matrix), (Element::Bytes(3), 5, false));
    }

    #[test]
    fn what_is_no_table_is_named() {
        let code = |descr: &str, shape: &str| {
            header(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"))
                .unwrap_err()
                .code()
        };
        assert_eq!(code("'|O'", "(3,)"), "E0304");
        assert_eq!(code("'|V2'", "(3, 4)"), "E0322");
        assert_eq!(code("'<c8'", "(3, 4)"), "E0322");
        assert_eq!(code("[('a', '<f4', (2,)), ('b', '<i4')]", "(3,)"), "E0322");
        assert_eq!(code("'<f4'", "()"), "E0322");
        assert_eq!(code("'<f4'", "(2, 3, 4)"), "E0322");
        assert_eq!(code("'<f4'", "(-2, 3)"), "E0302");
        assert_eq!(code("'<f4'", "(99999999999999999999, 3)"), "E0302");
        assert_eq!(header("{'descr': '<f4'").unwrap_err().code(), "E0302");
        assert_eq!(header("{'descr': '<f4', 'shape': (1,)}").unwrap_err().code(), "E0302");
    }
}
