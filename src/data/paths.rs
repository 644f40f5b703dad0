//! From what a user writes after `--train` to a list of files: a file, a pattern, a folder or `-`.

use std::cmp::Ordering;
use std::fs;
use std::path::Path;

use super::format::Format;
use crate::error::nearest;
use crate::{Error, Result};

/// Most names suggested in place of a missing file.
const SUGGESTED: usize = 3;

/// The files `path` stands for, in natural order (`part_2` before `part_10`):
/// - `-` is standard input and stays as it is,
/// - a file is itself, even if its name looks like a pattern,
/// - a pattern with `*`, `?` or `[` is every file it matches, hidden ones left out,
/// - a folder is every data file directly in it, hidden ones left out; of `format` where that is given, else all of
///   one format.
///
/// # Errors
/// [`Error::NotFound`] with names that come near, [`Error::NoRows`] for a folder without data files,
/// [`Error::WrongFormat`] for a folder of several formats, [`Error::Io`].
pub fn expand(path: &str, format: Option<Format>) -> Result<Vec<String>> {
    if path == "-" {
        return Ok(vec![path.to_owned()]);
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => files_of_folder(path, format),
        Ok(_) => Ok(vec![path.to_owned()]),
        Err(_) if path.contains(['*', '?', '[']) => files_of_pattern(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::NotFound { path: path.to_owned(), near: near_names(path) })
        }
        Err(error) => Err(Error::io(path, "read", error)),
    }
}

fn files_of_pattern(pattern: &str) -> Result<Vec<String>> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    let matches = glob::glob_with(pattern, options).map_err(|error| {
        Error::bad_value("the pattern", pattern, error.to_string(), "quote it, or name the files one by one")
    })?;
    let mut files = Vec::new();
    for found in matches {
        let found = found.map_err(|error| {
            let path = error.path().display().to_string();
            Error::io(path, "read", error.into())
        })?;
        if !found.is_dir() {
            files.push(found.to_string_lossy().into_owned());
        }
    }
    if files.is_empty() {
        return Err(Error::NotFound { path: pattern.to_owned(), near: Vec::new() });
    }
    files.sort_by(|a, b| natural_order(a, b));
    Ok(files)
}

fn files_of_folder(folder: &str, format: Option<Format>) -> Result<Vec<String>> {
    let names = names_in(Path::new(folder)).map_err(|error| Error::io(folder, "read", error))?;
    let mut files: Vec<(Format, String)> = Vec::new();
    for name in names.into_iter().filter(|name| !name.starts_with('.')) {
        let file = Path::new(folder).join(&name);
        if let Some(found) = Format::of_name(&name)
            && format.is_none_or(|wanted| wanted == found)
            && !file.is_dir()
        {
            files.push((found, file.to_string_lossy().into_owned()));
        }
    }
    let Some((first, _)) = files.first() else {
        let kind =
            format.map_or_else(|| "data files".to_owned(), |format| format!("{} files", format.name()));
        return Err(Error::NoRows { file: folder.to_owned(), why: format!(": no {kind} in this folder") });
    };
    if let Some((other, name)) = files.iter().find(|(found, _)| found != first) {
        return Err(Error::WrongFormat {
            file: folder.to_owned(),
            expected: "a folder of one format".into(),
            found: format!("{} is {}, {name} is {}", files[0].1, first.name(), other.name()),
        });
    }
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

/// Names in a folder in natural order; names that are no Unicode are written with replacement characters.
fn names_in(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_by(|a, b| natural_order(a, b));
    Ok(names)
}

/// Files in the folder of `path` whose names come near, written as the user could write them.
pub(crate) fn near_names(path: &str) -> Vec<String> {
    let path = Path::new(path);
    let Some(wanted) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let parent = path.parent().unwrap_or(Path::new(""));
    let folder = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let mut names = names_in(folder).unwrap_or_default();
    let mut near = Vec::new();
    while let Some(name) = nearest(wanted, &names).map(str::to_owned) {
        names.retain(|other| *other != name);
        near.push(parent.join(name).to_string_lossy().into_owned());
        if near.len() == SUGGESTED {
            break;
        }
    }
    near
}

/// Compares runs of digits by value and all else by character, with the plain order to break ties.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(x), Some(y)) = (left.chars().next(), right.chars().next()) {
        let ordering = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (x, y) = (digits(&mut left), digits(&mut right));
            // Without leading zeros the longer number is the larger one.
            x.len().cmp(&y.len()).then(x.cmp(y))
        } else {
            left = &left[x.len_utf8()..];
            right = &right[y.len_utf8()..];
            x.cmp(&y)
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Takes the leading digits off, without leading zeros.
fn digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        folder
    }

    fn expanded(folder: &tempfile::TempDir, tail: &str, format: Option<Format>) -> Result<Vec<String>> {
        let path = folder.path().join(tail);
        let prefix = format!("{}/", folder.path().display());
        let files = expand(&path.to_string_lossy(), format)?;
        Ok(files.iter().map(|file| file.strip_prefix(&prefix).unwrap_or(file).to_owned()).collect())
    }

    #[test]
    fn numbers_in_names_count_by_value() {
        let mut names = ["b1", "a10", "a2", "a02", "a", "a2b", "ä1"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["a", "a02", "a2", "a2b", "a10", "b1", "ä1"]);
    }

    proptest::proptest! {
        #[test]
        fn natural_order_is_an_order(a in "[a0-9]{0,5}", b in "[a0-9]{0,5}", c in "[a0-9]{0,5}") {
            proptest::prop_assert_eq!(natural_order(&a, &b), natural_order(&b, &a).reverse());
            proptest::prop_assert_eq!(natural_order(&a, &b).is_eq(), a == b);
            let mut names = [&a, &b, &c];
            names.sort_by(|x, y| natural_order(x, y));
            proptest::prop_assert!(natural_order(names[0], names[2]).is_le());
        }
    }

    #[test]
    fn a_pattern_is_its_files_and_a_folder_its_data_files() {
        let names = ["e_10.npy", "e_2.npy", ".hidden.npy", "notes.md", "e_1.npy"];
        let folder = folder(&names);
        fs::create_dir(folder.path().join("sub.npy")).unwrap();
        assert_eq!(expanded(&folder, "e_*.npy", None).unwrap(), ["e_1.npy", "e_2.npy", "e_10.npy"]);
        assert_eq!(expanded(&folder, "*", None).unwrap().len(), 4);
        assert_eq!(expanded(&folder, "", None).unwrap(), ["e_1.npy", "e_2.npy", "e_10.npy"]);
        assert_eq!(expand("-", None).unwrap(), ["-"]);
    }

    #[test]
    fn a_file_named_like_a_pattern_is_itself() {
        let folder = folder(&["a[1].csv", "a1.csv"]);
        assert_eq!(expanded(&folder, "a[1].csv", None).unwrap(), ["a[1].csv"]);
    }

    #[test]
    fn two_formats_in_a_folder_need_a_choice() {
        let folder = folder(&["a.parquet", "b.csv"]);
        let error = expanded(&folder, "", None).unwrap_err();
        assert!(error.to_string().contains("b.csv is CSV"), "{error}");
        assert_eq!(expanded(&folder, "", Some(Format::Csv)).unwrap(), ["b.csv"]);
        assert_eq!(expanded(&folder, "", Some(Format::Npy)).unwrap_err().code(), "E0301");
    }

    #[test]
    fn a_missing_file_brings_near_names() {
        let folder = folder(&["train.parquet", "test.parquet", "readme"]);
        let error = expanded(&folder, "trian.parquet", None).unwrap_err();
        assert_eq!(error.code(), "E0401");
        assert!(error.help().ends_with("train.parquet?"), "{}", error.help());
        assert!(!error.to_string().contains("readme"), "{error}");
        assert_eq!(expanded(&folder, "*.csv", None).unwrap_err().code(), "E0401");
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(expanded(&empty, "", None).unwrap_err().code(), "E0301");
    }
}
