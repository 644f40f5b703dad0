//! A cost matrix from a CSV file: predicted classes in the header, the true class in the first column.

use std::collections::HashMap;

use csv::{ReaderBuilder, StringRecord};

use crate::labels::LabelMap;
use crate::{Error, Result};

/// Most bytes of a name in a message.
const SHOWN: usize = 60;

/// C x C costs in the order of `map`, row-major by true class, from `path`. Classes may stand in any order; what stands
/// in the first cell of the header does not matter.
///
/// # Errors
/// [`Error::BadCosts`] naming the classes that are lacking, unknown or listed twice, or the first cell that is no finite
/// number; [`Error::CsvSyntax`] for lines of another length; [`Error::NotFound`], [`Error::Io`].
pub fn read_costs(path: &str, map: &LabelMap) -> Result<Vec<f64>> {
    let bad = |detail: String| Error::BadCosts { place: path.to_owned(), detail };
    let file = std::fs::File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { path: path.into(), near: Vec::new() },
        _ => Error::io(path, "read", source),
    })?;
    let mut reader = ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(file);
    let index = map.index();
    let mut record = StringRecord::new();
    if !next_record(&mut reader, &mut record, path)? {
        return Err(Error::NoRows { file: path.into(), why: String::new() });
    }
    let predicted =
        codes(record.iter().skip(1), &index, map).map_err(|why| bad(format!("columns: {why}")))?;
    // Rows are held until all are there: memory grows with the file, not with what a header claims.
    let (mut truths, mut rows) = (Vec::new(), Vec::new());
    while next_record(&mut reader, &mut record, path)? {
        let name = record.get(0).unwrap_or_default().to_owned();
        let mut costs = Vec::with_capacity(predicted.len());
        for (cell, &column) in record.iter().skip(1).zip(&predicted) {
            match cell.parse::<f64>() {
                Ok(cost) if cost.is_finite() => costs.push(cost),
                _ => {
                    return Err(bad(format!(
                        "the cost of predicting {} where {} is true is {:?}, which is no finite number",
                        shown(&map.names[column as usize]),
                        shown(&name),
                        shown(cell)
                    )));
                }
            }
        }
        truths.push(name);
        rows.push(costs);
        if rows.len() > map.classes() {
            break;
        }
    }
    let truths =
        codes(truths.iter().map(String::as_str), &index, map).map_err(|why| bad(format!("rows: {why}")))?;
    let classes = map.classes();
    let mut costs = vec![0.0; classes * classes];
    for (row, truth) in rows.iter().zip(truths) {
        for (cost, &column) in row.iter().zip(&predicted) {
            costs[truth as usize * classes + column as usize] = *cost;
        }
    }
    Ok(costs)
}

fn next_record(
    reader: &mut csv::Reader<std::fs::File>,
    record: &mut StringRecord,
    path: &str,
) -> Result<bool> {
    reader.read_record(record).map_err(|error| {
        let line = error.position().map_or(0, csv::Position::line);
        match error.into_kind() {
            csv::ErrorKind::Io(source) => Error::io(path, "read", source),
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => Error::CsvSyntax {
                file: path.into(),
                line,
                detail: format!("{len} fields where the header has {expected_len}"),
            },
            _ => Error::CsvSyntax { file: path.into(), line, detail: "is not UTF-8 text".into() },
        }
    })
}

/// Codes of `names`, which have to be all classes of `map` once each; else what is wrong, in words.
fn codes<'n>(
    names: impl Iterator<Item = &'n str>,
    index: &HashMap<&str, u32>,
    map: &LabelMap,
) -> Result<Vec<u32>, String> {
    let mut seen = vec![false; map.classes()];
    let mut codes = Vec::new();
    let (mut unknown, mut twice) = (Vec::new(), Vec::new());
    for name in names {
        match index.get(name) {
            None => unknown.push(shown(name)),
            Some(&code) if std::mem::replace(&mut seen[code as usize], true) => twice.push(shown(name)),
            Some(&code) => codes.push(code),
        }
    }
    let lacking: Vec<&str> =
        map.names.iter().zip(&seen).filter(|(_, seen)| !**seen).map(|(name, _)| shown(name)).collect();
    let complaints: Vec<String> =
        [("lacking classes", lacking), ("unknown classes", unknown), ("listed twice", twice)]
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", super::roles::listed(names.into_iter())))
            .collect();
    if complaints.is_empty() { Ok(codes) } else { Err(complaints.join("; ")) }
}

fn shown(name: &str) -> &str {
    let end = (0..=SHOWN.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LabelKind;

    fn read(text: &str) -> Result<Vec<f64>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("costs.csv");
        std::fs::write(&path, text).unwrap();
        let map = LabelMap { kind: LabelKind::Text, names: ["a", "b", "c"].map(String::from).into() };
        read_costs(path.to_str().unwrap(), &map)
    }

    #[test]
    fn classes_stand_in_any_order() {
        let sorted = read("true,a,b,c\na,0,1,2\nb,3,-1,5\nc,6,7,0.5\n").unwrap();
        assert_eq!(sorted, [0.0, 1.0, 2.0, 3.0, -1.0, 5.0, 6.0, 7.0, 0.5]);
        assert_eq!(read(",c,a,b\nb, 5 ,3,-1\nc,.5,6,7\na,2,0,1\n").unwrap(), sorted);
    }

    #[test]
    fn incomplete_and_hostile_files_name_what_is_wrong() {
        let long = "x".repeat(10_000);
        let cases = [
            ("true,a,b\na,0,1\nb,1,0\n", "columns: lacking classes: c"),
            ("true,a,b,c\na,0,1,1\nb,1,0,1\n", "rows: lacking classes: c"),
            ("true,a,b,c\na,0,1,1\nb,1,0,1\nb,1,0,1\nc,1,1,0\n", "rows: listed twice: b"),
            ("true,a,b,d\na,0,1,1\n", "columns: lacking classes: c; unknown classes: d"),
            ("true,a,b,c\na,0,nan,1\n", "predicting b where a is true is \"nan\""),
            ("true,a,b,c\na,0,1,\n", "predicting c where a is true is \"\""),
            ("true,a,b,c\na,0,1,inf\n", "no finite number"),
            (long.as_str(), "lacking classes: a, b, c"),
        ];
        for (text, expected) in cases {
            let error = read(text).unwrap_err();
            assert_eq!(error.code(), "E0324");
            assert!(error.to_string().contains(expected), "{error} instead of {expected}");
            assert!(error.to_string().len() < 300);
        }
        assert_eq!(read("true,a,b,c\na,0,1\n").unwrap_err().code(), "E0314");
        assert_eq!(read("").unwrap_err().code(), "E0301");
    }
}
