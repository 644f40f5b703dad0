//! `--features`: a list of columns by name, range, pattern or exclusion.

use super::table::Field;
use crate::{Error, Result};

/// Columns a selector stands for, ascending, and those of them that it spells out.
#[derive(Debug, PartialEq)]
pub(super) struct Selected {
    pub(super) columns: Vec<usize>,
    pub(super) by_name: Vec<usize>,
}

/// Applies `selector` to the columns of `file`. Terms count from left to right; where the first is an exclusion, it
/// takes away from `default`.
pub(super) fn select(selector: &str, file: &str, fields: &[Field], default: &[usize]) -> Result<Selected> {
    let terms: Vec<&str> = selector.split(',').map(str::trim).filter(|term| !term.is_empty()).collect();
    let mut chosen = vec![false; fields.len()];
    if terms.first().is_some_and(|term| term.starts_with('!') && position(fields, term).is_none()) {
        default.iter().for_each(|&column| chosen[column] = true);
    }
    let mut by_name = Vec::new();
    for term in terms {
        if let Some(column) = position(fields, term) {
            chosen[column] = true;
            by_name.push(column);
            continue;
        }
        let (pattern, include) = match term.strip_prefix('!') {
            Some(pattern) => (pattern, false),
            None => (term, true),
        };
        for column in matches(pattern, file, fields)? {
            chosen[column] = include;
        }
    }
    by_name.retain(|&column| chosen[column]);
    let columns = (0..fields.len()).filter(|&column| chosen[column]).collect();
    Ok(Selected { columns, by_name })
}

fn position(fields: &[Field], name: &str) -> Option<usize> {
    fields.iter().position(|field| field.name == name)
}

/// Columns of a name, a range `a..b` (both ends included) or a pattern; at least one.
fn matches(pattern: &str, file: &str, fields: &[Field]) -> Result<Vec<usize>> {
    let absent = |wanted: &str| Error::ColumnMissing {
        file: file.to_owned(),
        role: "features",
        wanted: wanted.to_owned(),
        columns: fields.iter().map(|field| field.name.clone()).collect(),
    };
    if let Some(column) = position(fields, pattern) {
        return Ok(vec![column]);
    }
    if let Some((from, to)) = pattern.split_once("..") {
        let from = position(fields, from).ok_or_else(|| absent(from))?;
        let to = position(fields, to).ok_or_else(|| absent(to))?;
        if from > to {
            return Err(Error::bad_value(
                "--features",
                pattern,
                "the first column stands behind the last one",
                "write the ends of a range in the order of the file",
            ));
        }
        return Ok((from..=to).collect());
    }
    let columns: Vec<usize> = glob::Pattern::new(pattern)
        .map(|glob| (0..fields.len()).filter(|&column| glob.matches(&fields[column].name)).collect())
        .unwrap_or_default();
    if columns.is_empty() { Err(absent(pattern)) } else { Ok(columns) }
}

#[cfg(test)]
mod tests {
    use super::super::table::FieldKind;
    use super::*;

    fn choose(selector: &str) -> Result<Vec<usize>> {
        let names = ["id", "x0", "x1", "x2", "a..b", "!odd"];
        let field = |name: &&str| Field { name: (*name).into(), kind: FieldKind::Float, class_names: None };
        let fields: Vec<Field> = names.iter().map(field).collect();
        select(selector, "t.csv", &fields, &[1, 2, 3]).map(|selected| selected.columns)
    }

    #[test]
    fn names_ranges_patterns_and_exclusions() {
        assert_eq!(choose("x2, id").unwrap(), [0, 3]);
        assert_eq!(choose("x0..x2").unwrap(), [1, 2, 3]);
        assert_eq!(choose("x*,!x1").unwrap(), [1, 3]);
        assert_eq!(choose("!x1").unwrap(), [1, 3]);
        assert_eq!(choose("!x*,id").unwrap(), [0]);
        assert_eq!(choose("a..b,!odd").unwrap(), [4, 5]);
    }

    #[test]
    fn a_term_that_selects_nothing_is_an_error() {
        for selector in ["x9", "y*", "x0..x9", "!z"] {
            assert_eq!(choose(selector).unwrap_err().code(), "E0202", "{selector}");
        }
        assert_eq!(choose("x2..x0").unwrap_err().code(), "E0208");
        assert!(choose("x9").unwrap_err().help().contains("did you mean"));
    }
}
