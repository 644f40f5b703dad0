//! Small tables of one number a class: counts, class weights, priors.

use std::collections::HashSet;

use crate::labels::{ClassCounts, LabelKind, LabelMap};
use crate::{Error, Result};

/// One line of such a table.
#[derive(Debug, Clone, PartialEq)]
struct ClassValue {
    class: String,
    value: f64,
    text: String,
    line: u64,
}

const CLASS_COLUMNS: [&str; 5] = ["class", "label", "name", "category", "species"];

/// Reads a CSV table of classes and values. The header names a class column and one of `value_columns`; without a
/// header (the second field of the first line is a number) they are the first two. `None` where the header names no
/// such column: the file is something else.
fn read_table(path: &str, value_columns: &[&str]) -> Result<Option<Vec<ClassValue>>> {
    super::paths::expand(path, None)?; // Names what is near where the file is missing.
    let text = std::fs::read(path).map_err(|error| Error::io(path, "read", error))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_slice());
    let mut rows = Vec::new();
    let (mut class_at, mut value_at, mut seen) = (0, 1, HashSet::new());
    for (number, record) in reader.records().enumerate() {
        let line = number as u64 + 1;
        let syntax = |detail: String| Error::CsvSyntax { file: path.into(), line, detail };
        let record = record.map_err(|error| syntax(error.to_string()))?;
        let field = |at: usize| record.get(at).map(str::trim);
        if number == 0 && field(1).is_none_or(|text| text.parse::<f64>().is_err()) {
            let named = |names: &[&str]| {
                record.iter().position(|f| names.contains(&f.trim().to_ascii_lowercase().as_str()))
            };
            match (named(&CLASS_COLUMNS), named(value_columns)) {
                (Some(class), Some(value)) => (class_at, value_at) = (class, value),
                _ => return Ok(None),
            }
            continue;
        }
        let (Some(class), Some(text)) = (field(class_at), field(value_at)) else {
            return Err(syntax(format!("{} fields where class and value are expected", record.len())));
        };
        let value: f64 = text.parse().map_err(|_| syntax(format!("{text:?} is not a number")))?;
        if !seen.insert(class.to_owned()) {
            return Err(syntax(format!("class {class:?} occurs a second time")));
        }
        rows.push(ClassValue { class: class.into(), value, text: text.into(), line });
    }
    Ok(Some(rows))
}

/// Reads a file of lines class,count (a header may name the columns `class` and `count` among others). `None` where
/// the file has other columns, so that it is data rather than counts.
///
/// # Errors
/// [`Error::CsvSyntax`], [`Error::BadCounts`] for a count that is not a whole number from 0 to 2^53, [`Error::NoRows`],
/// [`Error::NotFound`].
pub fn read_counts_file(path: &str) -> Result<Option<(LabelMap, ClassCounts)>> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    let Some(rows) = read_table(path, &["count", "counts", "n", "rows", "samples"])? else { return Ok(None) };
    if rows.is_empty() {
        return Err(Error::NoRows { file: path.into(), why: " of class and count".into() });
    }
    if let Some(row) =
        rows.iter().find(|row| !(0.0..=LARGEST).contains(&row.value) || row.value.fract() != 0.0)
    {
        return Err(Error::BadCounts {
            place: format!("{path}, line {}", row.line),
            detail: format!("{} is no count of rows of class {:?}", row.text, row.class),
        });
    }
    let counts = ClassCounts::from_rows(rows.iter().map(|row| row.value as u64).collect());
    let kind = if rows.iter().all(|row| row.class.parse::<i64>().is_ok()) {
        LabelKind::Int
    } else {
        LabelKind::Text
    };
    Ok(Some((LabelMap { kind, names: rows.into_iter().map(|row| row.class).collect() }, counts)))
}

/// Reads a file of lines class,weight: one positive weight for every class of `labels`, in its order.
///
/// # Errors
/// [`Error::BadWeight`] for a class that is missing or unknown and for a weight that is not positive and finite.
pub fn read_class_weights(path: &str, labels: &LabelMap) -> Result<Vec<f64>> {
    read_values(path, labels, &["weight", "weights", "w"], |place, detail| Error::BadWeight { place, detail })
}

/// Reads a file of lines class,share: one positive share for every class of `labels`, in its order.
///
/// # Errors
/// [`Error::BadPrior`] for a class that is missing or unknown and for a share that is not positive and finite.
pub fn read_prior(path: &str, labels: &LabelMap) -> Result<Vec<f64>> {
    read_values(path, labels, &["share", "prior", "probability", "p", "count"], |place, detail| {
        Error::BadPrior { place, detail }
    })
}

fn read_values(
    path: &str,
    labels: &LabelMap,
    columns: &[&str],
    complaint: impl Fn(String, String) -> Error,
) -> Result<Vec<f64>> {
    let Some(rows) = read_table(path, columns)? else {
        let detail = format!("the header names no column class and {}", columns.join(" or "));
        return Err(complaint(format!("{path}, line 1"), detail));
    };
    let index = labels.index();
    let mut values = vec![f64::NAN; labels.classes()];
    for row in rows {
        let place = || format!("{path}, line {}", row.line);
        let Some(&code) = index.get(row.class.as_str()) else {
            let near = crate::error::nearest(&row.class, &labels.names);
            let hint = near.map_or(String::new(), |name| format!("; did you mean {name:?}?"));
            return Err(complaint(place(), format!("class {:?} is not in the data{hint}", row.class)));
        };
        if !(row.value.is_finite() && row.value > 0.0) {
            let detail = format!("class {:?} has {}, which is not positive and finite", row.class, row.text);
            return Err(complaint(place(), detail));
        }
        values[code as usize] = row.value;
    }
    let missing: Vec<&str> =
        labels.names.iter().zip(&values).filter(|(_, v)| v.is_nan()).map(|(name, _)| name.as_str()).collect();
    if !missing.is_empty() {
        let shown = missing.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        let more = if missing.len() > 5 { ", ..." } else { "" };
        let detail = format!("{} classes have no line: {shown}{more}", missing.len());
        return Err(complaint(path.into(), detail));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn path(file: &tempfile::NamedTempFile) -> &str {
        file.path().to_str().unwrap()
    }

    fn cats_and_dogs() -> LabelMap {
        LabelMap { kind: LabelKind::Text, names: vec!["cat".into(), "dog".into()] }
    }

    #[test]
    fn counts_come_with_and_without_a_header() {
        for text in ["class,count,name\n3,10,cat\n7,0,dog\n", "3,10\n7,0\n"] {
            let (labels, counts) = read_counts_file(path(&file(text))).unwrap().unwrap();
            assert_eq!((labels.kind, counts.rows), (LabelKind::Int, vec![10, 0]));
            assert_eq!(labels.names, ["3", "7"]);
        }
        assert!(read_counts_file(path(&file("label,x1,x2\n0,1.5,2\n"))).unwrap().is_none());
    }

    #[test]
    fn bad_counts_are_named_with_their_line() {
        for (text, code, says) in [
            ("class,count\na,1.5\n", "E0317", "line 2"),
            ("class,count\na,-1\n", "E0317", "-1"),
            ("class,count\na,1\na,2\n", "E0314", "second time"),
            ("class,count\na,x\n", "E0314", "\"x\""),
            ("class,count\n", "E0301", "0 rows"),
        ] {
            let error = read_counts_file(path(&file(text))).unwrap_err();
            assert_eq!(error.code(), code, "{text}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn weights_are_put_in_class_order_and_checked() {
        let labels = cats_and_dogs();
        let weights = read_class_weights(path(&file("class,weight\ndog,2\ncat,0.5\n")), &labels).unwrap();
        assert_eq!(weights, [0.5, 2.0]);
        for (text, says) in [
            ("class,weight\ndog,2\n", "1 classes have no line: cat"),
            ("class,weight\ndog,2\ncats,1\n", "did you mean \"cat\""),
            ("class,weight\ndog,-2\ncat,1\n", "not positive"),
            ("class,weight\ndog,nan\ncat,1\n", "not positive"),
        ] {
            let error = read_class_weights(path(&file(text)), &labels).unwrap_err();
            assert_eq!(error.code(), "E0316", "{text}");
            assert!(error.to_string().contains(says), "{error}");
        }
        assert_eq!(read_prior(path(&file("cat,0\ndog,1\n")), &labels).unwrap_err().code(), "E0321");
    }
}
