//! svmlight / libsvm files, `label index:value index:value ...` a line: columns `label` and `features`, the latter sparse.
//!
//! Indices are taken as they stand: a base of 0 or 1 guessed for each file could differ between training and test files
//! and shift all features unseen. In files that count from 1, feature 0 is never present. As for delimited text, a first
//! pass makes the columns final when the file is opened: it finds the largest index and whether all labels are whole.

use std::io::Read;

use rayon::prelude::*;

use super::input::Input;
use super::svmlight_lines::{BadLine, Lines, Parsed, Scanned, parse, pieces, scan};
use super::table::{ColumnBuffer, Field, FieldKind, TableReader};
use super::vectors::unusable;
use crate::matrix::{Dtype, Storage};
use crate::{Error, Result};

const LABEL: usize = 0;
const FEATURES: usize = 1;

/// An open svmlight file whose label kind and vector length are known.
pub struct SvmlightReader {
    input: Input,
    fields: [Field; 2],
    rows: u64,
    len: usize,
    lines: Option<Lines<Box<dyn Read>>>,
    /// Lines read so far, for messages.
    line: u64,
}

/// Opens `path` (`-` is standard input), unpacks gzip and zstd, and looks for the largest index.
///
/// # Errors
/// [`Error::NoRows`], [`Error::Damaged`], [`Error::NotFound`], [`Error::Io`]. Lines that cannot be read are found when
/// their block is: [`Error::CsvSyntax`].
pub fn open(path: &str) -> Result<SvmlightReader> {
    SvmlightReader::scan(Input::open(path)?)
}

/// As [`open`], over bytes already in memory; `name` stands for them in messages.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(name: &str, bytes: Vec<u8>) -> Result<SvmlightReader> {
    SvmlightReader::scan(Input::Memory { name: name.into(), bytes: bytes.into() })
}

impl SvmlightReader {
    fn scan(input: Input) -> Result<Self> {
        let mut lines = Lines::new(input.text()?);
        let mut all = Scanned::default();
        while let Some(block) = lines.next_block().map_err(|e| input.read_error(e))? {
            let found: Vec<Scanned> = pieces(block).par_iter().map(|piece| scan(piece)).collect();
            found.into_iter().for_each(|piece| all.add(piece));
        }
        if all.rows == 0 {
            let why = if all.lines > 0 { " (only comments and empty lines)" } else { "" };
            return Err(Error::NoRows { file: input.name().into(), why: why.into() });
        }
        let field = |name: &str, kind| Field { name: name.into(), kind, class_names: None };
        let label = if all.has_fractions { FieldKind::Float } else { FieldKind::Int };
        let features = FieldKind::Vector { len: Some(all.len), dtype: Dtype::Sparse };
        let fields = [field("label", label), field("features", features)];
        Ok(SvmlightReader { input, fields, rows: all.rows, len: all.len, lines: None, line: 0 })
    }

    fn bad_line(&self, BadLine { line, detail }: BadLine) -> Error {
        Error::CsvSyntax { file: self.input.name().into(), line: self.line + line, detail }
    }

    /// Appends the columns of one parsed piece.
    fn append(&self, columns: &[usize], into: &mut [ColumnBuffer], parsed: &Parsed) -> Result<()> {
        let changed =
            || self.bad_line(BadLine { line: 1, detail: "the file changed while it was read".into() });
        if parsed.rows.width() > self.len {
            return Err(changed());
        }
        for (&column, buffer) in columns.iter().zip(into) {
            match (column, buffer) {
                (LABEL, ColumnBuffer::Float(values)) => values.extend(&parsed.labels),
                (LABEL, ColumnBuffer::Int { values, .. }) => {
                    for &label in &parsed.labels {
                        values.push(whole(label).ok_or_else(changed)?);
                    }
                }
                (FEATURES, ColumnBuffer::Vector(matrix)) if matrix.cols() >= self.len => {
                    let Storage::Sparse(rows) = matrix.storage_mut() else {
                        return Err(unusable(self.input.name(), "features", "sparse vectors".into()));
                    };
                    rows.append(parsed.rows.range(0, parsed.rows.rows()));
                }
                _ => {
                    return Err(unusable(
                        self.input.name(),
                        &self.fields[column].name,
                        "another buffer".into(),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The whole number that a label is.
fn whole(label: f64) -> Option<i64> {
    (!Scanned::is_fraction(label)).then_some(label as i64)
}

impl TableReader for SvmlightReader {
    fn source(&self) -> &str {
        self.input.name()
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn row_count(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn append_block(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<usize> {
        let mut lines = match self.lines.take() {
            Some(lines) => lines,
            None => Lines::new(self.input.text()?),
        };
        let with_features = columns.contains(&FEATURES);
        let mut rows = 0;
        // A block may be of comments alone; 0 rows would end the file.
        while rows == 0
            && let Some(block) = lines.next_block().map_err(|e| self.input.read_error(e))?
        {
            let parsed: Vec<_> = pieces(block).par_iter().map(|piece| parse(piece, with_features)).collect();
            // In the order of the pieces: of several bad lines it is the first that is told.
            for piece in parsed {
                let piece = piece.map_err(|bad| self.bad_line(bad))?;
                self.append(columns, into, &piece)?;
                rows += piece.labels.len();
                self.line += piece.lines;
            }
        }
        self.lines = Some(lines);
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::new_buffer;
    use super::*;
    use crate::matrix::Matrix;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<(ColumnBuffer, Matrix<'static>)> {
        let mut reader = open_bytes("t.svm", bytes.to_vec())?;
        let mut buffers: Vec<ColumnBuffer> =
            reader.fields().iter().map(|f| new_buffer(&f.kind).unwrap()).collect();
        while reader.append_block(&[LABEL, FEATURES], &mut buffers)? > 0 {}
        assert_eq!(reader.row_count(), Some(buffers[LABEL].rows() as u64));
        let Some(ColumnBuffer::Vector(matrix)) = buffers.pop() else { panic!() };
        Ok((buffers.remove(0), matrix))
    }

    fn fail(text: &str) -> String {
        read(text.as_bytes()).err().unwrap().to_string()
    }

    #[test]
    fn lines_become_labels_and_sparse_rows() {
        let text = "\u{feff}# a comment 9:9\n+1 qid:7 0:1.5\t3:-2 # 8:1\r\n\n-1\n2.0 4:0 2:1e1 1:.5";
        let (labels, matrix) = read(text.as_bytes()).unwrap();
        let ColumnBuffer::Int { values, .. } = labels else { panic!("{labels:?}") };
        assert_eq!(values, [1, -1, 2]);
        let values: Vec<f32> = (0..15).map(|at| matrix.get(at / 5, at % 5)).collect();
        let expected = [1.5, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 10.0, 0.0, 0.0];
        assert_eq!((values.as_slice(), matrix.cols(), matrix.stored()), (&expected[..], 5, 4));
        let (fractions, _) = read(b"1 1:1\n0.5 1:1\n").unwrap();
        assert!(matches!(fractions, ColumnBuffer::Float(values) if values == [1.0, 0.5]));
    }

    #[test]
    fn bad_lines_are_named_with_the_token() {
        let expected = [
            ("1 1:1\n#\n2 5:1 x:2\n", "t.svm, line 3: \"x:2\" is no feature index:value"),
            ("1 1\n", "t.svm, line 1: \"1\" is no feature index:value"),
            ("1 3:\n", "t.svm, line 1: \"3:\" is no feature index:value"),
            ("1 -1:2\n", "t.svm, line 1: \"-1:2\" is no feature index:value"),
            ("1 2:1 1:1 2:3\n", "t.svm, line 1: feature index 2 occurs twice"),
            (
                "1:2 2:3\n",
                "t.svm, line 1: \"1:2\" stands where a label is expected; write 0 in rows without one",
            ),
            ("cat 2:3\n", "t.svm, line 1: \"cat\" is no number and cannot be a label"),
            ("nan 2:3\n", "t.svm, line 1: \"nan\" is no number and cannot be a label"),
            ("1 2:3\n1,5 2:3\n", "t.svm, line 2: several labels (\"1,5\"); cbfit reads one a row"),
        ];
        for (text, message) in expected {
            assert_eq!(fail(text), message);
        }
        for index in ["16777216", "4294967295", "99999999999999999999999"] {
            let message = fail(&format!("1 {index}:1\n"));
            assert!(message.contains(index) && message.contains("16777215"), "{message}");
        }
        let long = fail(&format!("1 {}\n", "9".repeat(1 << 20)));
        assert!(long.len() < 200, "{}", long.len());
    }

    #[test]
    fn numbers_beyond_f32_and_missing_ones_are_left_to_the_check_of_values() {
        let (_, matrix) = read(b"1 1:nan 2:1e999 3:1e-999\n").unwrap();
        assert!(matrix.get(0, 1).is_nan() && matrix.get(0, 2).is_infinite() && matrix.stored() == 2);
    }

    #[test]
    fn files_without_rows_and_without_features() {
        assert_eq!(fail("# 1 1:1\n\n"), "t.svm: 0 rows (only comments and empty lines)");
        assert_eq!(fail(""), "t.svm: 0 rows");
        assert_eq!(read(b"1\n2\n").unwrap().1.cols(), 0);
    }

    #[test]
    fn blocks_and_pieces_do_not_show() {
        // Comments of several blocks, a line longer than one, and rows enough for several.
        let mut text = String::from("#\n").repeat(40_000);
        let wide: Vec<String> = (0..300_000).map(|i| format!("{i}:1")).collect();
        text += &format!("7 {}\n", wide.join(" "));
        (0..40_000).for_each(|i| text += &format!("{} {}:{}\n", i % 3, i, i + 1));
        let (labels, matrix) = read(text.as_bytes()).unwrap();
        let ColumnBuffer::Int { values, .. } = labels else { panic!() };
        assert_eq!((values.len(), values[0], values[40_000]), (40_001, 7, 39_999 % 3));
        assert_eq!((matrix.stored(), matrix.cols()), (340_000, 300_000));
        assert_eq!([matrix.get(0, 299_999), matrix.get(40_000, 39_999)], [1.0, 40_000.0]);
        text += "1 5\n";
        assert_eq!(fail(&text), "t.svm, line 80002: \"5\" is no feature index:value");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9:. #\t\nq,naife]{0,80}") {
            let _ = read(text.as_bytes());
        }

        #[test]
        fn rows_come_back_as_written(
            rows in prop::collection::vec(
                (-3i64..4, prop::collection::btree_map(0u32..50, -1e6f32..1e6, 0..9), any::<bool>()), 1..40
            ),
        ) {
            let mut text = String::new();
            for (label, row, reversed) in &rows {
                let mut cells: Vec<String> = row.iter().map(|(index, value)| format!("{index}:{value}")).collect();
                if *reversed {
                    cells.reverse();
                }
                text += &format!("{label} {}\n", cells.join(" "));
            }
            let (_, matrix) = read(text.as_bytes()).unwrap();
            for (at, (_, row, _)) in rows.iter().enumerate() {
                for (&index, &value) in row {
                    prop_assert_eq!(matrix.get(at, index as usize), value);
                }
            }
        }
    }
}
