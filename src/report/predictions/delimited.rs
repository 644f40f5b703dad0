//! CSV and TSV.
//!
//! Spreadsheets run a cell that starts with `=`, `+`, `-`, `@` (of full width as well), a tab or an end of line as a
//! formula, and class names and ids come from strangers. Such a text is written with a `'` before it unless it is a number; the other formats
//! keep it as it is.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::sink::Sink;
use super::{ClassValues, Encode, PredictionSchema, RankedBlock, push_f32, text_names};
use crate::Result;
use crate::data::table::ColumnBuffer;

pub struct DelimitedEncoder {
    sink: Sink,
    delimiter: char,
    /// Class cells as they stand in the file.
    cells: Vec<String>,
    full_probabilities: bool,
}

impl DelimitedEncoder {
    pub fn new(path: &str, delimiter: char, schema: &PredictionSchema) -> Result<Self> {
        let cells = match ClassValues::of(&schema.labels) {
            ClassValues::Int(values) => values.iter().map(i64::to_string).collect(),
            ClassValues::Bool(values) => values.iter().map(bool::to_string).collect(),
            ClassValues::Text(names) => names.iter().map(|name| text_cell(name, delimiter)).collect(),
        };
        let header: Vec<String> = text_names(schema).iter().map(|name| text_cell(name, delimiter)).collect();
        let mut sink = Sink::create(path)?;
        let mut line = header.join(&delimiter.to_string());
        line.push('\n');
        sink.put(line.as_bytes())?;
        Ok(DelimitedEncoder { sink, delimiter, cells, full_probabilities: schema.full_probabilities })
    }
}

impl Encode for DelimitedEncoder {
    fn write(&mut self, block: &RankedBlock<'_>) -> Result<()> {
        let mut line = String::new();
        for row in 0..block.rows() {
            line.clear();
            if let Some(ids) = block.ids {
                push_id(&mut line, ids, row, self.delimiter);
                line.push(self.delimiter);
            }
            if let Some((number, class)) = block.truth_of(row) {
                // Writing to a String cannot fail.
                let _ = write!(line, "{number}{}", self.delimiter);
                line.push_str(class.map_or("", |code| &self.cells[code]));
                line.push(self.delimiter);
            }
            for (rank, predicted) in block.ranks(row).enumerate() {
                if rank > 0 {
                    line.push(self.delimiter);
                }
                line.push_str(predicted.map_or("", |(code, _)| &self.cells[code]));
                line.push(self.delimiter);
                predicted.iter().for_each(|(_, probability)| push_f32(&mut line, *probability));
            }
            if self.full_probabilities {
                for &probability in block.row_probabilities(row) {
                    line.push(self.delimiter);
                    if !block.is_missing(row) {
                        push_f32(&mut line, probability);
                    }
                }
            }
            for &number in block.row_extra(row) {
                line.push(self.delimiter);
                push_f32(&mut line, number);
            }
            line.push('\n');
            self.sink.put(line.as_bytes())?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.sink.commit()
    }
}

/// A missing id is an empty cell.
fn push_id(line: &mut String, ids: &ColumnBuffer, row: usize, delimiter: char) {
    let missing = |nulls: &[usize]| nulls.binary_search(&row).is_ok();
    // Writing to a String cannot fail.
    let _ = match ids {
        ColumnBuffer::Int { values, nulls } if !missing(nulls) => write!(line, "{}", values[row]),
        ColumnBuffer::Bool { values, nulls } if !missing(nulls) => write!(line, "{}", values[row]),
        ColumnBuffer::Float(values) if !values[row].is_nan() => write!(line, "{}", values[row]),
        ColumnBuffer::Text(text) => {
            line.push_str(&text.get(row).map(|id| text_cell(id, delimiter)).unwrap_or_default());
            Ok(())
        }
        _ => Ok(()),
    };
}

/// `text` with a `'` before it where a spreadsheet would run it as a formula. Quoting is left to the writer: a
/// spreadsheet runs a quoted formula as well.
pub fn guard_formula(text: &str) -> Cow<'_, str> {
    const STARTS: [char; 11] =
        ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    let formula = text.starts_with(STARTS) && text.parse::<f64>().is_err();
    if formula { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// `text` as one cell: defused, and quoted where it needs to be.
fn text_cell(text: &str, delimiter: char) -> String {
    let text = guard_formula(text);
    if text.contains([delimiter, '"', '\n', '\r']) || text.trim() != text || text.is_empty() {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.into_owned()
}

#[cfg(test)]
mod tests {
    use super::{guard_formula, text_cell};

    #[test]
    fn only_formulas_are_guarded() {
        for text in ["", "cat", "a=b", "-5", "+.5e3", "'=1", "two\nlines"] {
            assert_eq!(guard_formula(text), text);
        }
        for text in ["=1+1", "+1+1", "-cmd", "@x", "\t=1", "\r=1", "\n=1", "\u{ff1d}1", "-"] {
            assert_eq!(guard_formula(text), format!("'{text}"));
        }
    }

    #[test]
    fn formulas_are_defused_and_numbers_are_not() {
        let cases = [
            ("cat", "cat"),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-5", "-5"),
            ("-5e3", "-5e3"),
            ("-cmd", "'-cmd"),
            ("+a,b", "\"'+a,b\""),
            ("\t=1", "'\t=1"),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("", "\"\""),
        ];
        for (text, cell) in cases {
            assert_eq!(text_cell(text, ','), cell, "{text:?}");
        }
        assert_eq!(text_cell("\t=1", '\t'), "\"'\t=1\"");
        assert_eq!(text_cell("a,b", '\t'), "a,b");
    }
}
