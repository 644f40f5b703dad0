//! Labels of any type with gaps: from column values to class codes.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::csv_scan::{parse_bool, parse_i64};
use super::input::Input;
use super::table::{ColumnBuffer, NULL_TEXT};
use crate::labels::{LabelKind, LabelMap, UNSEEN, whole_number};
use crate::model_file::MAX_NAME_BYTES;
use crate::report::text::one_line;
use crate::{Error, Result};

/// Place of a row without a label in [`Labels::codes`].
pub(super) const NO_LABEL: u32 = u32::MAX;

/// Characters of a class name shown where it is too long.
const SHOWN_CHARS: usize = 40;
/// Longest file of class names, unpacked.
const MOST_NAMES_BYTES: u64 = 128 << 20;

/// A label as its file holds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Value {
    Int(i64),
    Bool(bool),
    Text(String),
}

impl Value {
    fn name(&self) -> String {
        match self {
            Value::Int(value) => value.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Text(text) => text.clone(),
        }
    }
}

/// The column labels are read from, as far as messages and class names go.
#[derive(Debug, Clone, Copy)]
pub(super) struct LabelColumn<'a> {
    pub(super) file: &'a str,
    pub(super) column: &'a str,
    /// Names of the classes 0, 1, ..., and the file that gives them.
    pub(super) class_names: Option<(&'a str, &'a [String])>,
}

/// Labels read so far: every row's place in the list of distinct values.
#[derive(Debug, Default)]
pub(super) struct Labels {
    values: Vec<Value>,
    places: HashMap<Value, u32>,
    codes: Vec<u32>,
    missing: u64,
    first_missing: Option<(String, u64)>,
    /// Class-name file, its number of names and the largest label beyond them.
    beyond_names: Option<(String, usize, u64)>,
}

impl Labels {
    /// Appends the rows of `buffer`, which start at row `first_row` of their file. With class names, negative numbers
    /// are missing labels (Hugging Face writes -1).
    pub(super) fn push(
        &mut self,
        from: &LabelColumn<'_>,
        first_row: u64,
        buffer: &ColumnBuffer,
    ) -> Result<()> {
        let start = self.codes.len();
        match buffer {
            ColumnBuffer::Int { values, nulls } => {
                let (mut last, mut absent) = (None, nulls.iter().peekable());
                for (row, &value) in values.iter().enumerate() {
                    let code = match last {
                        _ if absent.next_if_eq(&&row).is_some() => NO_LABEL,
                        Some((known, code)) if known == value => code,
                        _ => {
                            let code = self.int_code(from, value);
                            last = Some((value, code));
                            code
                        }
                    };
                    self.codes.push(code);
                }
            }
            ColumnBuffer::Float(values) => {
                for (row, &value) in values.iter().enumerate() {
                    let code = match whole_number(value) {
                        _ if value.is_nan() => NO_LABEL,
                        Some(value) => self.int_code(from, value),
                        None => return Err(no_class(from, value, first_row + row as u64 + 1)),
                    };
                    self.codes.push(code);
                }
            }
            ColumnBuffer::Bool { values, nulls } => {
                let mut absent = nulls.iter().peekable();
                for (row, &value) in values.iter().enumerate() {
                    let code = match from.class_names {
                        _ if absent.next_if_eq(&&row).is_some() => NO_LABEL,
                        Some(_) => self.int_code(from, i64::from(value)),
                        None => self.intern(Value::Bool(value)),
                    };
                    self.codes.push(code);
                }
            }
            ColumnBuffer::Text(text) => {
                // A level that only missing or dropped rows would use must not become a class.
                let mut known = vec![NO_LABEL; text.levels().len()];
                for &level in text.codes() {
                    let code = match known.get(level as usize) {
                        _ if level == NULL_TEXT => NO_LABEL,
                        Some(&code) if code != NO_LABEL => code,
                        _ => self.intern(Value::Text(text.levels()[level as usize].clone())),
                    };
                    if let Some(known) = known.get_mut(level as usize) {
                        *known = code;
                    }
                    self.codes.push(code);
                }
            }
            ColumnBuffer::Vector(_) => {
                return Err(Error::UnsupportedType {
                    file: from.file.into(),
                    column: from.column.into(),
                    kind: "vectors".into(),
                    role: "label",
                });
            }
        }
        self.note_missing(from.file, first_row, start);
        Ok(())
    }

    fn note_missing(&mut self, file: &str, first_row: u64, start: usize) {
        let missing = self.codes[start..].iter().filter(|&&code| code == NO_LABEL).count() as u64;
        if missing > 0 && self.first_missing.is_none() {
            let row = self.codes[start..].iter().position(|&code| code == NO_LABEL).unwrap_or(0) as u64;
            self.first_missing = Some((file.to_owned(), first_row + row + 1));
        }
        self.missing += missing;
    }

    fn int_code(&mut self, from: &LabelColumn<'_>, value: i64) -> u32 {
        let Some((names_file, names)) = from.class_names else { return self.intern(Value::Int(value)) };
        let Ok(index) = u64::try_from(value) else { return NO_LABEL };
        match usize::try_from(index).ok().and_then(|index| names.get(index)) {
            Some(name) => self.intern(Value::Text(name.clone())),
            None => {
                let largest = self.beyond_names.as_ref().map_or(index, |(.., max)| index.max(*max));
                self.beyond_names = Some((names_file.to_owned(), names.len(), largest));
                NO_LABEL
            }
        }
    }

    fn intern(&mut self, value: Value) -> u32 {
        if let Some(&place) = self.places.get(&value) {
            return place;
        }
        let place = self.values.len() as u32;
        self.values.push(value.clone());
        self.places.insert(value, place);
        place
    }

    /// Rows read.
    pub(super) fn rows(&self) -> usize {
        self.codes.len()
    }

    /// Rows without a label.
    pub(super) fn missing(&self) -> u64 {
        self.missing
    }

    /// Of rows `start..`, those that have a label.
    pub(super) fn labelled_from(&self, start: usize) -> Vec<bool> {
        self.codes[start..].iter().map(|&code| code != NO_LABEL).collect()
    }

    /// Fails where class names run short, and where labels are missing unless these rows are dropped.
    pub(super) fn check(&self, drop_missing: bool) -> Result<()> {
        let long = |value: &&Value| matches!(value, Value::Text(text) if text.len() > MAX_NAME_BYTES);
        if let Some(value) = self.values.iter().find(long) {
            let what = format!("the class name {}", one_line(&value.name(), SHOWN_CHARS));
            return Err(Error::TooLarge {
                what,
                need: value.name().len() as u64,
                limit: MAX_NAME_BYTES as u64,
            });
        }
        if let Some((file, names, max_label)) = &self.beyond_names {
            return Err(Error::ClassNamesShort { file: file.clone(), names: *names, max_label: *max_label });
        }
        match &self.first_missing {
            Some((file, first_row)) if !drop_missing => Err(Error::NullLabels {
                file: file.clone(),
                count: self.missing,
                rows: self.rows() as u64,
                first_row: *first_row,
            }),
            _ => Ok(()),
        }
    }

    /// The classes found, and the code of every labelled row in order.
    pub(super) fn into_classes(self) -> (LabelMap, Vec<u32>) {
        let map = self.label_map();
        let index = map.index();
        let codes: Vec<u32> = self.values.iter().map(|value| index[value.name().as_str()]).collect();
        let rows =
            self.codes.iter().filter(|&&code| code != NO_LABEL).map(|&code| codes[code as usize]).collect();
        drop(index);
        (map, rows)
    }

    /// All classes found, numbers in numeric order, text in byte order.
    fn label_map(&self) -> LabelMap {
        let mut values: Vec<&Value> = self.values.iter().collect();
        let kind = if values.iter().all(|value| matches!(value, Value::Int(_))) {
            LabelKind::Int
        } else if values.iter().all(|value| matches!(value, Value::Bool(_))) {
            LabelKind::Bool
        } else {
            LabelKind::Text
        };
        if kind == LabelKind::Int {
            values.sort_unstable_by_key(|value| if let Value::Int(number) = value { *number } else { 0 });
        }
        let mut names: Vec<String> = values.into_iter().map(Value::name).collect();
        if kind != LabelKind::Int {
            names.sort_unstable();
            names.dedup();
        }
        LabelMap { kind, names }
    }

    /// The code in `map` of every labelled row in order, [`UNSEEN`] for classes it lacks, and those classes with their
    /// rows, by name.
    pub(super) fn into_codes_of(self, map: &LabelMap) -> (Vec<u32>, Vec<(String, u64)>) {
        let index = map.index();
        let codes: Vec<u32> = self.values.iter().map(|value| code_of(value, map.kind, &index)).collect();
        let mut unseen_rows = vec![0u64; codes.len()];
        let mut rows = Vec::with_capacity(self.codes.len());
        for &place in self.codes.iter().filter(|&&code| code != NO_LABEL) {
            let code = codes[place as usize];
            unseen_rows[place as usize] += u64::from(code == UNSEEN);
            rows.push(code);
        }
        let counted = self.values.iter().zip(unseen_rows).filter(|(_, rows)| *rows > 0);
        let mut unseen: Vec<(String, u64)> = counted.map(|(value, rows)| (value.name(), rows)).collect();
        unseen.sort_unstable();
        (rows, unseen)
    }

    /// A hash of the class name of every labelled row, the same for all types and orders of classes.
    pub(super) fn name_hashes(&self) -> Vec<u64> {
        let hashes: Vec<u64> =
            self.values.iter().map(|value| super::fingerprint::hash_text(&value.name())).collect();
        self.codes.iter().filter(|&&code| code != NO_LABEL).map(|&code| hashes[code as usize]).collect()
    }

    /// Appends rows `start..end` of `other`, of which one and the same is given in every call.
    pub(super) fn push_rows_of(&mut self, other: &Labels, start: usize, end: usize) {
        if self.values.is_empty() {
            self.values.clone_from(&other.values);
        }
        let codes = other.codes.get(start..end).unwrap_or_default();
        self.missing += codes.iter().filter(|&&code| code == NO_LABEL).count() as u64;
        self.codes.extend_from_slice(codes);
    }
}

/// By name first; then true/false against 1/0, and numbers against other spellings of them (`01`, `1.0`).
fn code_of(value: &Value, kind: LabelKind, index: &HashMap<&str, u32>) -> u32 {
    let name = value.name();
    let other = || {
        let number = match value {
            Value::Int(number) => Some(*number),
            Value::Bool(truth) => Some(i64::from(*truth)),
            Value::Text(text) => {
                let truth = parse_bool(text.as_bytes()).map(i64::from);
                truth.or_else(|| parse_i64(text.as_bytes())).or_else(|| whole_number(text.parse().ok()?))
            }
        };
        match (kind, number?) {
            (LabelKind::Int, number) => index.get(number.to_string().as_str()),
            (LabelKind::Bool, 0) => index.get("false"),
            (LabelKind::Bool, 1) => index.get("true"),
            _ => None,
        }
    };
    index.get(name.as_str()).or_else(other).copied().unwrap_or(UNSEEN)
}

/// Why a float that stands for no whole number within 64 bits cannot be a label.
fn no_class(from: &LabelColumn<'_>, example: f64, row: u64) -> Error {
    let (file, column) = (from.file.into(), from.column.into());
    if example.fract() == 0.0 {
        let kind = format!("floats with {example} in row {row}, beyond the whole numbers of 64 bits");
        return Error::UnsupportedType { file, column, kind, role: "label; write such labels as text" };
    }
    Error::FractionalLabels { file, column, example, row }
}

/// Reads a file of class names: one a line, for class 0, 1, 2, ...
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`], [`Error::CsvSyntax`] for an empty line between names or a repeated name.
pub(super) fn read_class_names(path: &str) -> Result<Vec<String>> {
    let input = Input::File(path.to_owned());
    let mut text = String::new();
    // Names of as many classes as a model may have take less, unless they are far too long.
    let read = input.text()?.take(MOST_NAMES_BYTES + 1).read_to_string(&mut text);
    read.map_err(|e| input.read_error(e))?;
    if text.len() as u64 > MOST_NAMES_BYTES {
        let what = format!("the file of class names {path}");
        return Err(Error::TooLarge { what, need: text.len() as u64, limit: MOST_NAMES_BYTES });
    }
    let names: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    let mut known = HashSet::new();
    for (name, line) in names.iter().zip(1..) {
        let detail = if name.is_empty() {
            "an empty line where a class name is expected".to_owned()
        } else if !known.insert(name) {
            format!("class name {name:?} stands here for the second time")
        } else {
            continue;
        };
        return Err(Error::CsvSyntax { file: path.to_owned(), line, detail });
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::super::table::TextColumn;
    use super::*;

    fn column<'a>(class_names: Option<&'a [String]>) -> LabelColumn<'a> {
        LabelColumn { file: "t", column: "label", class_names: class_names.map(|names| ("names.txt", names)) }
    }

    fn labels(buffers: &[ColumnBuffer]) -> Labels {
        let mut labels = Labels::default();
        for buffer in buffers {
            labels.push(&column(None), labels.rows() as u64, buffer).unwrap();
        }
        labels
    }

    fn ints(values: &[i64]) -> ColumnBuffer {
        ColumnBuffer::Int { values: values.to_vec(), nulls: vec![] }
    }

    fn text(values: &[Option<&str>]) -> ColumnBuffer {
        let mut column = TextColumn::default();
        values.iter().for_each(|value| column.push(*value));
        ColumnBuffer::Text(column)
    }

    #[test]
    fn numbers_are_in_numeric_order_whatever_their_type() {
        let floats = ColumnBuffer::Float(vec![10.0, -1.0, 9.0]);
        let (map, codes) = labels(&[floats, ints(&[10, 200])]).into_classes();
        assert_eq!(
            map,
            LabelMap { kind: LabelKind::Int, names: ["-1", "9", "10", "200"].map(String::from).into() }
        );
        assert_eq!(codes, [2, 0, 1, 2, 3]);
    }

    #[test]
    fn mixed_types_meet_by_name() {
        let (map, codes) = labels(&[text(&[Some("b"), Some("1")]), ints(&[1])]).into_classes();
        assert_eq!(
            (map.kind, map.names, codes),
            (LabelKind::Text, vec!["1".into(), "b".into()], vec![1, 0, 0])
        );
    }

    #[test]
    fn fractions_are_an_error_and_missing_labels_are_counted() {
        let fraction = Labels::default().push(&column(None), 7, &ColumnBuffer::Float(vec![1.0, 0.5]));
        assert!(fraction.unwrap_err().to_string().contains("(0.5 in row 9)"));
        let long =
            Labels::default().push(&column(None), 0, &ColumnBuffer::Float(vec![1.0, 1e20])).unwrap_err();
        assert_eq!(long.code(), "E0318");
        assert!(long.to_string().contains("100000000000000000000 in row 2, beyond"), "{long}");
        let found = labels(&[text(&[Some("a"), Some("b")]), text(&[None, Some("a"), None])]);
        let error = found.check(false).unwrap_err();
        assert_eq!(error.to_string(), "t: 2 of 5 labels are missing, first in row 3");
        assert!(found.check(true).is_ok());
        assert_eq!(found.into_classes().1, [0, 1, 0]);
        let gap = ColumnBuffer::Int { values: vec![5, 0, 6], nulls: vec![1] };
        assert_eq!(labels(&[gap]).into_classes().0.names, ["5", "6"]);
    }

    #[test]
    fn class_names_replace_numbers() {
        let names = ["cat", "ant"].map(String::from);
        let mut found = Labels::default();
        found.push(&column(Some(&names)), 0, &ints(&[0, 1, -1, 0])).unwrap();
        assert_eq!(found.missing(), 1);
        let (map, codes) = found.into_classes();
        assert_eq!((map.names, codes), (vec!["ant".into(), "cat".into()], vec![1, 0, 1]));
        let mut found = Labels::default();
        found.push(&column(Some(&names)), 0, &ints(&[0, 7, 2])).unwrap();
        let error = found.check(true).unwrap_err();
        assert_eq!(error.to_string(), "names.txt: 2 class names, but labels go up to 7");
    }

    #[test]
    fn classes_are_matched_by_name_across_types() {
        let map =
            |kind, names: &[&str]| LabelMap { kind, names: names.iter().map(|n| (*n).into()).collect() };
        let numbers = map(LabelKind::Int, &["0", "1", "7"]);
        let from_text = labels(&[text(&[Some("7"), Some("1.0"), Some("x"), Some("x"), Some("07")])]);
        assert_eq!(from_text.into_codes_of(&numbers), (vec![2, 1, UNSEEN, UNSEEN, 2], vec![("x".into(), 2)]));
        let truths = map(LabelKind::Bool, &["false", "true"]);
        assert_eq!(labels(&[text(&[Some("True")]), ints(&[0, 2])]).into_codes_of(&truths).0, [1, 0, UNSEEN]);
        let words = map(LabelKind::Text, &["007", "7"]);
        assert_eq!(labels(&[text(&[Some("007")]), ints(&[7])]).into_codes_of(&words).0, [0, 1]);
    }
}
