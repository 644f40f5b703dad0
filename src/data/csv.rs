//! Delimited text (CSV, TSV, ...): two passes, the first of which finds the kind of every column over the whole file.
//!
//! A kind guessed from the first rows would have to be taken back when row 10^6 holds a word. Scanning all cells once
//! costs about a quarter of the reading time and makes [`TableReader::fields`] final when the file is opened.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::rc::Rc;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use super::csv_scan::{Seen, is_missing, parse_bool, parse_f64, parse_i64, sniff_delimiter};
use super::input::Input;
use super::table::{ColumnBuffer, Field, FieldKind, TableReader};
use crate::model_file::MAX_FEATURES;
use crate::{Error, Result};

/// Bytes looked at to find the separator.
const SNIFFED: u64 = 64 << 10;

/// Longest row. A quote that is never closed, or a packed file of one line, must not take up all memory.
const MOST_ROW_BYTES: u64 = 32 << 20;

/// Columns that may stand beside features.
const MOST_OTHER_COLUMNS: u64 = 1000;

/// How a delimited text file is to be read.
#[derive(Debug, Clone, Copy)]
pub struct CsvOptions {
    /// Separator; found from the first lines where `None`.
    pub delimiter: Option<u8>,
    /// Whether the first line holds the column names; they are `"0"`, `"1"`, ... where it does not.
    pub has_header: bool,
}

/// An open delimited text file whose columns are known.
pub struct CsvReader {
    input: Input,
    delimiter: u8,
    has_header: bool,
    fields: Vec<Field>,
    loses_spelling: Vec<bool>,
    rows: u64,
    records: Option<Records>,
}

/// Rows of a text one after the other.
struct Records {
    reader: Reader<RowLimit>,
    /// Bytes that may be read before the row ends.
    left: Rc<Cell<u64>>,
}

/// Text that ends in an error where a row does not end.
struct RowLimit {
    text: Box<dyn Read>,
    left: Rc<Cell<u64>>,
}

impl Read for RowLimit {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let read = self.text.read(into)?;
        self.left.set(self.left.get().saturating_sub(read as u64));
        Ok(read)
    }
}

/// Opens `path` (`-` is standard input), unpacks gzip and zstd, and scans every cell for the kinds of the columns.
///
/// # Errors
/// [`Error::CsvSyntax`] with the line for rows of another length, an open quote or bytes that are not UTF-8,
/// [`Error::DuplicateColumns`], [`Error::NoRows`], [`Error::Damaged`], [`Error::NotFound`], [`Error::Io`].
pub fn open(path: &str, options: &CsvOptions) -> Result<CsvReader> {
    CsvReader::scan(Input::open(path)?, options)
}

/// As [`open`], over bytes already in memory; `name` stands for them in messages.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(name: &str, bytes: Vec<u8>, options: &CsvOptions) -> Result<CsvReader> {
    CsvReader::scan(Input::Memory { name: name.into(), bytes: bytes.into() }, options)
}

impl CsvReader {
    fn scan(input: Input, options: &CsvOptions) -> Result<Self> {
        let delimiter = match options.delimiter {
            Some(delimiter) => delimiter,
            None => {
                let mut head = Vec::new();
                input.text()?.take(SNIFFED).read_to_end(&mut head).map_err(|e| input.read_error(e))?;
                sniff_delimiter(&head)
            }
        };
        let mut reader = CsvReader {
            input,
            delimiter,
            has_header: options.has_header,
            fields: Vec::new(),
            loses_spelling: Vec::new(),
            rows: 0,
            records: None,
        };
        reader.scan_cells()?;
        Ok(reader)
    }

    /// A reader of records at the start of the file, the header included.
    fn records(&self) -> Result<Records> {
        let left = Rc::new(Cell::new(MOST_ROW_BYTES));
        let reader = ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(false)
            .buffer_capacity(1 << 17)
            .from_reader(RowLimit { text: self.input.text()?, left: Rc::clone(&left) });
        Ok(Records { reader, left })
    }

    fn scan_cells(&mut self) -> Result<()> {
        let mut records = self.records()?;
        let mut record = ByteRecord::new();
        let mut names = None;
        if self.has_header && self.next_record(&mut records, &mut record)? {
            self.check_width(&record)?;
            names = Some(self.header_names(&record)?);
        }
        let mut seen: Vec<Seen> = vec![Seen::default(); names.as_ref().map_or(0, Vec::len)];
        // A record that runs over several lines is fine unless it is the last and its quote was never closed.
        let mut last_lines = (0, 0);
        while self.next_record(&mut records, &mut record)? {
            if seen.is_empty() {
                self.check_width(&record)?;
                seen = vec![Seen::default(); record.len()];
            }
            for (cell, seen) in record.iter().zip(&mut seen) {
                seen.add(trim(cell));
            }
            if std::str::from_utf8(record.as_slice()).is_err() {
                return Err(self.not_utf8(&record));
            }
            self.rows += 1;
            last_lines = (record.position().map_or(0, |p| p.line()), records.reader.position().line());
        }
        if last_lines.1 > last_lines.0 + 1 && record_is_open(&self.input, last_lines.0)? {
            let detail = "a quote opened in this row is never closed".into();
            return Err(Error::CsvSyntax { file: self.input.name().into(), line: last_lines.0, detail });
        }
        if self.rows == 0 {
            let why = if names.is_some() { " (only a header line)" } else { "" };
            return Err(Error::NoRows { file: self.input.name().into(), why: why.into() });
        }
        let names = names.unwrap_or_else(|| (0..seen.len()).map(|i| i.to_string()).collect());
        self.loses_spelling = seen.iter().map(|s| s.loses_spelling()).collect();
        self.fields = names
            .into_iter()
            .zip(seen)
            .map(|(name, seen)| Field { name, kind: seen.kind(), class_names: None })
            .collect();
        Ok(())
    }

    /// A model could not have more columns, and their names alone would take a multiple of the file.
    fn check_width(&self, record: &ByteRecord) -> Result<()> {
        let (need, limit) = (record.len() as u64, MAX_FEATURES as u64 + MOST_OTHER_COLUMNS);
        if need <= limit {
            return Ok(());
        }
        let detail = format!("{need} fields; the limit is {limit}");
        Err(Error::CsvSyntax { file: self.input.name().into(), line: 1, detail })
    }

    fn header_names(&self, header: &ByteRecord) -> Result<Vec<String>> {
        let mut names = Vec::with_capacity(header.len());
        let mut positions: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, cell) in header.iter().enumerate() {
            let text = std::str::from_utf8(trim(cell)).map_err(|_| self.not_utf8(header))?;
            // pandas writes its index under an empty name and reads it back as `Unnamed: 0`.
            let name = if text.is_empty() { format!("Unnamed: {at}") } else { text.to_owned() };
            positions.entry(name.clone()).or_default().push(at + 1);
            names.push(name);
        }
        for name in &names {
            if positions[name].len() > 1 {
                let (file, name) = (self.input.name().into(), name.clone());
                return Err(Error::DuplicateColumns { file, positions: positions[&name].clone(), name });
            }
        }
        Ok(names)
    }

    fn next_record(&self, records: &mut Records, record: &mut ByteRecord) -> Result<bool> {
        records.left.set(MOST_ROW_BYTES);
        let outcome = records.reader.read_byte_record(record);
        outcome.map_err(|error| {
            let file = self.input.name().to_owned();
            match error.into_kind() {
                ErrorKind::Io(_) if records.left.get() == 0 => Error::CsvSyntax {
                    file,
                    line: record.position().map_or(0, |p| p.line()),
                    detail: format!(
                        "a row of more than {MOST_ROW_BYTES} bytes; perhaps a quote is never closed"
                    ),
                },
                ErrorKind::Io(source) => self.input.read_error(source),
                ErrorKind::UnequalLengths { pos, expected_len, len } => Error::CsvSyntax {
                    file,
                    line: pos.map_or(0, |p| p.line()),
                    detail: format!("{len} fields where {expected_len} are expected"),
                },
                other => Error::Damaged { file, detail: format!("{other:?}") },
            }
        })
    }

    fn not_utf8(&self, record: &ByteRecord) -> Error {
        let column = record.iter().position(|cell| std::str::from_utf8(cell).is_err()).map_or(1, |at| at + 1);
        Error::CsvSyntax {
            file: self.input.name().into(),
            line: record.position().map_or(0, |p| p.line()),
            detail: format!("field {column} is not UTF-8 text"),
        }
    }

    /// A cell that the scan found to be of another kind: the file is not the one that was scanned.
    fn changed(&self, record: &ByteRecord) -> Error {
        Error::CsvSyntax {
            file: self.input.name().into(),
            line: record.position().map_or(0, |p| p.line()),
            detail: "the file changed while it was read".into(),
        }
    }

    /// Rows of one block: about a million cells, within 256 and 16,384 rows.
    fn block_rows(&self) -> usize {
        ((1 << 20) / self.fields.len().max(1)).clamp(256, 16_384)
    }
}

impl TableReader for CsvReader {
    fn source(&self) -> &str {
        self.input.name()
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn row_count(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn keeps_spelling(&self, column: usize) -> bool {
        !self.loses_spelling[column]
    }

    fn read_as_text(&mut self, column: usize) -> bool {
        self.fields[column].kind = FieldKind::Text;
        true
    }

    fn append_block(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<usize> {
        let mut record = ByteRecord::new();
        let mut records = match self.records.take() {
            Some(records) => records,
            None => {
                let mut records = self.records()?;
                if self.has_header {
                    self.next_record(&mut records, &mut record)?;
                }
                records
            }
        };
        let mut rows = 0;
        while rows < self.block_rows() && self.next_record(&mut records, &mut record)? {
            for (&column, buffer) in columns.iter().zip(into.iter_mut()) {
                let cell = record.get(column).map(trim).ok_or_else(|| self.changed(&record))?;
                push_cell(buffer, cell).ok_or_else(|| self.changed(&record))?;
            }
            rows += 1;
        }
        self.records = Some(records);
        Ok(rows)
    }
}

/// Appends one cell in the kind of its buffer; `None` where it cannot be of that kind.
fn push_cell(buffer: &mut ColumnBuffer, cell: &[u8]) -> Option<()> {
    let missing = is_missing(cell);
    match buffer {
        ColumnBuffer::Float(values) => values.push(if missing { f64::NAN } else { parse_f64(cell)? }),
        ColumnBuffer::Int { values, nulls } => {
            if missing {
                nulls.push(values.len());
            }
            values.push(if missing { 0 } else { parse_i64(cell)? });
        }
        ColumnBuffer::Bool { values, nulls } => {
            if missing {
                nulls.push(values.len());
            }
            values.push(!missing && parse_bool(cell)?);
        }
        ColumnBuffer::Text(text) => {
            text.push(if missing { None } else { Some(std::str::from_utf8(cell).ok()?) });
        }
        ColumnBuffer::Vector(_) => return None,
    }
    Some(())
}

/// The cell without blanks at its ends (`1, 2` is common; classes that differ in blanks only are not).
fn trim(cell: &[u8]) -> &[u8] {
    match cell {
        [b' ', ..] | [.., b' '] => cell.trim_ascii(),
        _ => cell,
    }
}

/// Whether the record that starts in line `line` and runs to the end of the text has an odd number of quotes.
fn record_is_open(input: &Input, line: u64) -> Result<bool> {
    let (mut at_line, mut quotes) = (1u64, 0u64);
    let mut text = input.text()?;
    let mut chunk = vec![0; 1 << 16];
    loop {
        let length = match text.read(&mut chunk) {
            Ok(0) => return Ok(quotes % 2 == 1),
            Ok(length) => length,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(input.read_error(e)),
        };
        for &byte in &chunk[..length] {
            at_line += u64::from(byte == b'\n');
            quotes += u64::from(byte == b'"' && at_line >= line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::new_buffer;
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const AUTO: CsvOptions = CsvOptions { delimiter: None, has_header: true };

    fn scan(text: &str) -> Result<CsvReader> {
        open_bytes("t.csv", text.as_bytes().to_vec(), &AUTO)
    }

    fn read_all(reader: &mut CsvReader) -> Vec<ColumnBuffer> {
        let columns: Vec<usize> = (0..reader.fields().len()).collect();
        let mut buffers: Vec<ColumnBuffer> =
            reader.fields().iter().map(|f| new_buffer(&f.kind).unwrap()).collect();
        while reader.append_block(&columns, &mut buffers).unwrap() > 0 {}
        buffers
    }

    fn texts(buffer: &ColumnBuffer) -> Vec<Option<&str>> {
        let ColumnBuffer::Text(text) = buffer else { panic!("{buffer:?}") };
        (0..buffer.rows()).map(|row| text.get(row)).collect()
    }

    #[test]
    fn kinds_and_missing_cells() {
        let mut reader = scan("i,f,b,t\n1, 2.5,true,x\n,NA,,?\n-3,1e2,False,\"a,b\"\n").unwrap();
        assert_eq!(reader.row_count(), Some(3));
        let buffers = read_all(&mut reader);
        let ColumnBuffer::Int { values, nulls } = &buffers[0] else { panic!() };
        assert_eq!((values.as_slice(), nulls.as_slice()), (&[1, 0, -3][..], &[1][..]));
        let ColumnBuffer::Float(values) = &buffers[1] else { panic!() };
        assert_eq!((values[0], values[1].is_nan(), values[2]), (2.5, true, 100.0));
        let ColumnBuffer::Bool { values, nulls } = &buffers[2] else { panic!() };
        assert_eq!((values.as_slice(), nulls.as_slice()), (&[true, false, false][..], &[1][..]));
        assert_eq!(texts(&buffers[3]), [Some("x"), None, Some("a,b")]);
    }

    #[test]
    fn a_word_after_many_numbers_keeps_every_spelling() {
        let mut text = String::from("code\n");
        (0..40_000).for_each(|i| text.push_str(&format!("{:05}\n", i)));
        text.push_str("x17\n");
        let mut reader = scan(&text).unwrap();
        let buffers = read_all(&mut reader);
        let texts = texts(&buffers[0]);
        assert_eq!((texts[7], texts[40_000]), (Some("00007"), Some("x17")));
    }

    #[test]
    fn padded_numbers_are_known_and_read_as_text_on_request() {
        let mut reader = scan("a,b\n007,7\n08,8\n").unwrap();
        assert_eq!(reader.fields()[0].kind, FieldKind::Int);
        assert_eq!([reader.keeps_spelling(0), reader.keeps_spelling(1)], [false, true]);
        assert!(reader.read_as_text(0));
        assert_eq!(texts(&read_all(&mut reader)[0]), [Some("007"), Some("08")]);
    }

    #[test]
    fn names_come_from_the_header_or_from_the_position() {
        let reader = scan("\u{feff}label;;x\n1;2;3\n").unwrap();
        let names: Vec<&str> = reader.fields().iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["label", "Unnamed: 1", "x"]);
        let options = CsvOptions { delimiter: None, has_header: false };
        let reader = open_bytes("t", b"5,x\n6,y\n".to_vec(), &options).unwrap();
        assert_eq!((reader.fields()[1].name.as_str(), reader.row_count()), ("1", Some(2)));
    }

    #[test]
    fn broken_text_is_named_by_its_line() {
        let fail = |text: &[u8]| open_bytes("t.csv", text.to_vec(), &AUTO).err().unwrap();
        let ragged = fail(b"a,b\n1,2\n3\n");
        assert_eq!(ragged.to_string(), "t.csv, line 3: 1 fields where 2 are expected");
        let bytes = fail(b"a,b\n1,\xff\n");
        assert_eq!(bytes.to_string(), "t.csv, line 2: field 2 is not UTF-8 text");
        let quote = fail(b"a,b\n1,2\n1,\"x\n3,4\n5,6\n");
        assert_eq!(quote.to_string(), "t.csv, line 3: a quote opened in this row is never closed");
        assert_eq!(fail(b"x,y,x\n1,2,3\n").to_string(), "t.csv: column name \"x\" occurs at positions 1, 3");
        assert_eq!([fail(b"a,b\n").code(), fail(b"").code()], ["E0301", "E0301"]);
        assert!(scan("a,b\n1,\"two\nlines\"\n").is_ok());
        assert!(scan("a\tb\n1\t5\"\n2\t6\n").is_ok());
    }

    #[test]
    fn a_packed_file_is_read_twice_from_its_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv.gz");
        let mut packer =
            flate2::write::GzEncoder::new(std::fs::File::create(&path).unwrap(), flate2::Compression::fast());
        packer.write_all(b"a,b\n1,x\n2,y\n").unwrap();
        packer.finish().unwrap();
        let mut reader = open(path.to_str().unwrap(), &AUTO).unwrap();
        assert_eq!(texts(&read_all(&mut reader)[1]), [Some("x"), Some("y")]);
        assert_eq!(open("no/such.csv", &AUTO).err().unwrap().code(), "E0401");
    }

    proptest! {
        #[test]
        fn text_columns_come_back_as_written(cells in prop::collection::vec("[ -~é\n]{1,12}", 1..40)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["t", "n"]).unwrap();
            // One certain word, so that no draw makes the column numeric.
            for cell in cells.iter().map(String::as_str).chain(["word"]) {
                writer.write_record([cell, "1"]).unwrap();
            }
            let mut reader = open_bytes("t", writer.into_inner().unwrap(), &AUTO).unwrap();
            let buffers = read_all(&mut reader);
            let found = texts(&buffers[0]);
            prop_assert_eq!(found.len(), cells.len() + 1);
            for (cell, found) in cells.iter().zip(found) {
                let trimmed = std::str::from_utf8(trim(cell.as_bytes())).unwrap();
                prop_assert_eq!(found, (!is_missing(trimmed.as_bytes())).then_some(trimmed));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(mut reader) = open_bytes("t", bytes, &AUTO) {
                let rows = reader.row_count().unwrap();
                prop_assert_eq!(read_all(&mut reader)[0].rows() as u64, rows);
            }
        }
    }
}
