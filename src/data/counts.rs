//! Class counts and class weights from small files.

use super::blocks::BlockReader;
use super::csv::{self, CsvOptions, CsvReader};
use super::files::FileSet;
use super::label_counts::read_label_counts;
use super::labels_read::{LabelColumn, Labels};
use super::options::ReadOptions;
use super::roles::{LabelNeed, Roles};
use super::table::{ColumnBuffer, FieldKind, TableReader, new_buffer};
use crate::labels::{ClassCounts, LabelMap, UNSEEN};
use crate::{Error, Result};

const CLASS_NAMES: [&str; 6] = ["class", "label", "name", "category", "class_id", "category_id"];
const COUNT_NAMES: [&str; 6] = ["count", "counts", "n", "rows", "images", "image_count"];
/// Beyond this a whole number in a float column is not exact.
const MOST_ROWS: f64 = 9_007_199_254_740_992.0;

/// Rows by class from `path`: a counts file (two columns class and count, with or without a header; more columns are
/// passed over where the header names these two), else a data file, of which only the labels are read.
///
/// # Errors
/// [`Error::BadCounts`] for counts that are not whole numbers from 0, for classes listed twice and where all counts are
/// 0; for data files those of [`super::dataset::read_training`], except [`Error::OneClass`].
pub fn read_counts(path: &str, options: &ReadOptions) -> Result<(LabelMap, ClassCounts)> {
    let paths = [path.to_owned()];
    if options.label.is_none() && options.label_file.is_none() && options.weight_col.is_none() {
        let set = FileSet::open(&paths, options)?;
        let names: Vec<String> = set.fields().iter().map(|field| field.name.to_lowercase()).collect();
        let numeric = |column: usize| matches!(set.fields()[column].kind, FieldKind::Int | FieldKind::Float);
        if let Some((class, count)) = named_pair(&names, &CLASS_NAMES, &COUNT_NAMES) {
            return read_pairs(set, class, count, path);
        }
        let two_numbers = names.len() == 2 && numeric(1);
        if two_numbers && (!options.has_header || names[1].parse::<u64>().is_ok()) {
            let set = FileSet::open(&paths, &ReadOptions { has_header: false, ..options.clone() })?;
            return read_pairs(set, 0, 1, path);
        }
    }
    read_label_counts(&paths, options)
}

/// Places of the two columns of a class list: the only ones of their names.
fn named_pair(names: &[String], first: &[&str], second: &[&str]) -> Option<(usize, usize)> {
    let usual = |known: &[&str]| known.iter().find_map(|name| names.iter().position(|n| n == name));
    usual(first).zip(usual(second))
}

fn read_pairs(set: FileSet, class: usize, count: usize, path: &str) -> Result<(LabelMap, ClassCounts)> {
    let bad = |row: u64, detail: String| Error::BadCounts { place: format!("{path}, row {row}"), detail };
    let classes = Roles { label: Some(class), ..Roles::default() };
    let kind = set.fields()[count].kind.clone();
    if !matches!(kind, FieldKind::Int | FieldKind::Float) {
        let place = format!("{path}, column {:?}", set.fields()[count].name);
        return Err(Error::BadCounts { place, detail: "counts must be whole numbers".into() });
    }
    let options = ReadOptions::default();
    let mut reader =
        BlockReader::new(set, &classes, vec![(count, kind)], &options, LabelNeed::Required, false)?;
    let (mut labels, mut rows) = (Labels::default(), Vec::new());
    while let Some(block) = reader.next_block(Some(&mut labels))? {
        let Some(column) = block.features.first() else { break };
        let values = super::columns::numbers(column);
        for row in 0..column.rows() {
            let value = values.get(row);
            if !(value >= 0.0 && value.fract() == 0.0 && value < MOST_ROWS) {
                return Err(bad(
                    rows.len() as u64 + 1,
                    format!("count {value} is not a whole number from 0"),
                ));
            }
            rows.push(value as u64);
        }
    }
    labels.check(false)?;
    let (map, codes) = labels.into_classes();
    let mut by_class = vec![None; map.classes()];
    for (row, (&code, &count)) in codes.iter().zip(&rows).enumerate() {
        if by_class[code as usize].replace(count).is_some() {
            return Err(bad(row as u64 + 1, format!("class {:?} is listed twice", map.names[code as usize])));
        }
    }
    let by_class: Vec<u64> = by_class.into_iter().flatten().collect();
    if by_class.iter().all(|&rows| rows == 0) {
        return Err(Error::BadCounts { place: path.to_owned(), detail: "all counts are 0".into() });
    }
    Ok((map, ClassCounts::from_rows(by_class)))
}

/// One weight for every class of `map`, from a file with lines class,weight and an optional header.
///
/// # Errors
/// [`Error::BadWeight`] listing the classes without a weight, unknown classes, classes listed twice, and weights that
/// are not finite and positive; those of [`csv::open`].
pub fn read_class_weights(path: &str, map: &LabelMap) -> Result<Vec<f64>> {
    let complaint = |detail| Error::BadWeight { place: path.to_owned(), detail };
    read_class_values(path, map, "weight", &["weight", "w"], complaint)
}

/// Class shares from a file of lines class,share, in the order of `map`; only their ratios count.
///
/// # Errors
/// [`Error::BadPrior`] where a class of `map` lacks a share or has two, is unknown, or a share is not finite and
/// positive; [`Error::CsvSyntax`], [`Error::NotFound`].
pub fn read_prior(path: &str, map: &LabelMap) -> Result<Vec<f64>> {
    let complaint = |detail| Error::BadPrior { place: path.to_owned(), detail };
    read_class_values(path, map, "share", &["share", "prior", "probability", "count"], complaint)
}

fn read_class_values(
    path: &str,
    map: &LabelMap,
    what: &str,
    value_names: &[&str],
    bad: impl Fn(String) -> Error,
) -> Result<Vec<f64>> {
    let mut reader = open_class_list(path)?;
    if reader.fields().len() < 2 {
        return Err(bad(format!("lines need two fields, class and {what}")));
    }
    let names: Vec<String> = reader.fields().iter().map(|field| field.name.to_lowercase()).collect();
    let (class, weight) = named_pair(&names, &CLASS_NAMES, value_names).unwrap_or((0, 1));
    if reader.fields()[weight].kind == FieldKind::Text {
        return Err(bad(format!(
            "column {:?} holds text where every line needs a {what}",
            reader.fields()[weight].name
        )));
    }
    reader.read_as_text(class);
    let kinds = [FieldKind::Text, FieldKind::Float];
    let mut buffers: Vec<ColumnBuffer> = kinds.iter().filter_map(new_buffer).collect();
    while reader.append_block(&[class, weight], &mut buffers)? > 0 {}
    let [class_column, ColumnBuffer::Float(values)] = &buffers[..] else { return Ok(Vec::new()) };

    let mut labels = Labels::default();
    labels.push(&LabelColumn { file: path, column: &names[class], class_names: None }, 0, class_column)?;
    labels.check(false)?;
    let (codes, unknown) = labels.into_codes_of(map);
    let unknown: Vec<String> = unknown.into_iter().map(|(name, _)| name).collect();
    let mut weights = vec![None; map.classes()];
    let (mut wrong, mut twice) = (Vec::new(), Vec::new());
    for (&code, &value) in codes.iter().zip(values).filter(|(code, _)| **code != UNSEEN) {
        let name = &map.names[code as usize];
        if !(value.is_finite() && value > 0.0) {
            wrong.push(format!("{name} ({value})"));
        }
        if weights[code as usize].replace(value).is_some() {
            twice.push(name.clone());
        }
    }
    let lacking: Vec<String> =
        map.names.iter().zip(&weights).filter(|(_, w)| w.is_none()).map(|(name, _)| name.clone()).collect();
    let complaints = [
        (format!("no {what} for"), lacking),
        ("unknown classes".into(), unknown),
        ("not finite and positive".into(), wrong),
        ("listed twice".into(), twice),
    ];
    let complaints: Vec<String> = complaints
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}: {}", super::roles::listed(names.iter().map(String::as_str))))
        .collect();
    if complaints.is_empty() {
        Ok(weights.into_iter().flatten().collect())
    } else {
        Err(bad(complaints.join("; ")))
    }
}

/// A class list, whose first line is a header unless its second field is a number.
fn open_class_list(path: &str) -> Result<CsvReader> {
    let open = |has_header| csv::open(path, &CsvOptions { delimiter: None, has_header });
    match open(true) {
        Ok(reader) if reader.fields().get(1).is_some_and(|field| field.name.parse::<f64>().is_ok()) => {
            open(false)
        }
        // One line alone, or one that repeats itself, may be all there is.
        Err(Error::NoRows { .. } | Error::DuplicateColumns { .. }) => open(false),
        reader => reader,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LabelKind;
    use std::path::Path;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Folder(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, text: &str) -> String {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        }
    }

    fn counts(text: &str) -> Result<(Vec<String>, Vec<u64>)> {
        let folder = Folder::new();
        let path = folder.write("c.csv", text);
        read_counts(&path, &ReadOptions::default()).map(|(map, counts)| (map.names, counts.rows))
    }

    #[test]
    fn counts_files_with_and_without_a_header() {
        let expected = (vec!["a".to_string(), "b".to_string()], vec![3, 5]);
        for text in
            ["class,count\nb,5\na,3\n", "b,5\na,3\n", "count,x,label\n5,7,b\n3,7,a\n", "label;n\na;3\nb;5\n"]
        {
            assert_eq!(counts(text).unwrap(), expected, "{text}");
        }
        let (names, rows) = counts("class,count\n10,1\n9,0\n").unwrap();
        assert_eq!((names, rows), (vec!["9".into(), "10".into()], vec![0, 1]));
    }

    #[test]
    fn any_other_file_has_its_labels_counted() {
        let (names, rows) = counts("x,label\n1,b\n2,a\n3,b\n").unwrap();
        assert_eq!((names, rows), (vec!["a".into(), "b".into()], vec![1, 2]));
        let folder = Folder::new();
        let (data, labels) = (folder.write("x.csv", "x\n1\n2\n3\n"), folder.write("y.csv", "y\n7\n7\n8\n"));
        let options = ReadOptions { label_file: Some(labels), ..ReadOptions::default() };
        let (map, counts) = read_counts(&data, &options).unwrap();
        assert_eq!((map.kind, counts.rows), (LabelKind::Int, vec![2, 1]));
    }

    #[test]
    fn counts_that_cannot_be() {
        for text in [
            "class,count\na,-1\n",
            "class,count\na,1.5\n",
            "class,count\na,1\na,2\n",
            "class,count\na,0\nb,0\n",
            "class,count\na,many\n",
            "class,count\na,\n",
        ] {
            assert_eq!(counts(text).unwrap_err().code(), "E0317", "{text}");
        }
    }

    #[test]
    fn weights_are_matched_by_name_and_complaints_list_classes() {
        let map = LabelMap { kind: LabelKind::Int, names: ["3", "7", "9"].map(String::from).into() };
        let folder = Folder::new();
        let weights = |text: &str| read_class_weights(&folder.write("w.csv", text), &map);
        assert_eq!(weights("class,weight\n9,0.5\n3,2\n7,1\n").unwrap(), [2.0, 1.0, 0.5]);
        assert_eq!(weights("9,0.5\n3,2\n7,1\n").unwrap(), [2.0, 1.0, 0.5]);
        let error = weights("class,weight\n3,0\n3,1\n9,nan\n8,1\n").unwrap_err();
        let detail =
            "no weight for: 7; unknown classes: 8; not finite and positive: 3 (0), 9 (NaN); listed twice: 3";
        assert!(error.to_string().ends_with(detail), "{error}");
        assert_eq!(weights("class\n3\n").unwrap_err().code(), "E0316");
    }

    #[test]
    fn a_prior_file_gives_every_class_a_positive_share() {
        let map = LabelMap { kind: LabelKind::Text, names: ["a", "b"].map(String::from).into() };
        let folder = Folder::new();
        let prior = |text: &str| read_prior(&folder.write("p.csv", text), &map);
        assert_eq!(prior("class,share\nb,0.25\na,3\n").unwrap(), [3.0, 0.25]);
        for text in ["a,0\nb,1\n", "a,-1\nb,1\n", "a,1\n"] {
            assert_eq!(prior(text).unwrap_err().code(), "E0321", "{text}");
        }
    }

    #[test]
    fn published_counts() {
        let shared = std::env::var("CBFIT_SHARED_DATA")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into());
        let folder = Path::new(&shared).join("counts");
        if !folder.is_dir() {
            println!("skipped: no folder {}", folder.display());
            return;
        }
        for (file, classes, largest, smallest) in [
            ("cifar10_lt_if100.csv", 10, 5000, 50),
            ("cifar100_lt_if100_formula.csv", 100, 500, 5),
            ("inat2017_supercategory_train.csv", 13, 214_295, 308),
            ("lvis_v1_image_count.csv", 1203, 1977, 1),
            ("places_lt_train.csv", 365, 4980, 5),
        ] {
            let path = folder.join(file);
            let (map, counts) = read_counts(path.to_str().unwrap(), &ReadOptions::default()).unwrap();
            let found = (counts.rows.iter().max().copied(), counts.rows.iter().min().copied());
            assert_eq!((map.classes(), found), (classes, (Some(largest), Some(smallest))), "{file}");
        }
    }
}
