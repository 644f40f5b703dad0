//! JSON lines.

use std::fmt::Write as _;

use serde_json::Value;

use super::sink::Sink;
use super::{ClassValues, Encode, PredictionSchema, RankedBlock, push_f32, text_names};
use crate::Result;
use crate::data::table::ColumnBuffer;

pub struct JsonlEncoder {
    sink: Sink,
    /// `"name":` of every column.
    keys: Vec<String>,
    /// Classes as JSON values.
    cells: Vec<String>,
    full_probabilities: bool,
}

impl JsonlEncoder {
    pub fn new(path: &str, schema: &PredictionSchema) -> Result<Self> {
        let keys = text_names(schema).into_iter().map(|name| format!("{}:", Value::from(name))).collect();
        let cells = match ClassValues::of(&schema.labels) {
            ClassValues::Int(values) => values.iter().map(i64::to_string).collect(),
            ClassValues::Bool(values) => values.iter().map(bool::to_string).collect(),
            ClassValues::Text(names) => names.into_iter().map(|name| Value::from(name).to_string()).collect(),
        };
        let sink = Sink::create(path)?;
        Ok(JsonlEncoder { sink, keys, cells, full_probabilities: schema.full_probabilities })
    }
}

impl Encode for JsonlEncoder {
    fn write(&mut self, block: &RankedBlock<'_>) -> Result<()> {
        let mut line = String::new();
        for row in 0..block.rows() {
            line.clear();
            let mut keys = self.keys.iter();
            let mut key = |line: &mut String| {
                line.push(if line.is_empty() { '{' } else { ',' });
                line.push_str(keys.next().map_or("", String::as_str));
            };
            if let Some(ids) = block.ids {
                key(&mut line);
                push_id(&mut line, ids, row);
            }
            if let Some((number, class)) = block.truth_of(row) {
                key(&mut line);
                let _ = write!(line, "{number}"); // writing to a String cannot fail
                key(&mut line);
                line.push_str(class.map_or("null", |code| &self.cells[code]));
            }
            for predicted in block.ranks(row) {
                key(&mut line);
                line.push_str(predicted.map_or("null", |(code, _)| &self.cells[code]));
                key(&mut line);
                push_number(&mut line, predicted.map_or(f32::NAN, |(_, probability)| probability));
            }
            if self.full_probabilities {
                for &probability in block.row_probabilities(row) {
                    key(&mut line);
                    push_number(&mut line, if block.is_missing(row) { f32::NAN } else { probability });
                }
            }
            for &number in block.row_extra(row) {
                key(&mut line);
                push_number(&mut line, number);
            }
            line.push_str("}\n");
            self.sink.put(line.as_bytes())?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.sink.commit()
    }
}

/// JSON has no NaN.
fn push_number(line: &mut String, value: f32) {
    if value.is_finite() { push_f32(line, value) } else { line.push_str("null") }
}

fn push_id(line: &mut String, ids: &ColumnBuffer, row: usize) {
    let missing = |nulls: &[usize]| nulls.binary_search(&row).is_ok();
    let value = match ids {
        ColumnBuffer::Int { values, nulls } if !missing(nulls) => Value::from(values[row]),
        ColumnBuffer::Bool { values, nulls } if !missing(nulls) => Value::from(values[row]),
        ColumnBuffer::Float(values) => Value::from(values[row]),
        ColumnBuffer::Text(text) => Value::from(text.get(row)),
        _ => Value::Null,
    };
    let _ = write!(line, "{value}"); // writing to a String cannot fail
}
