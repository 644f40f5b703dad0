//! The one error type of cbfit: every way in which input, files or training can fail.
//!
//! A code reads `E` + exit status (two digits) + running number, so `E0306` leaves the process with status 3.
//! [`Error::help`] is the sentence that tells how to mend it.

use std::fmt::Write as _;

/// `Result` with cbfit's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where and how often. `Display` gives the cause, [`Error::help`] the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The message above each variant says what its fields mean.
pub enum Error {
    // Usage: the request cannot be carried out as it was written.
    #[error("{flag} has no effect with {with}")]
    NoEffect { flag: String, with: String, help: String },
    #[error("{file}: no column {wanted:?} for the {role}; columns: {}", listed(columns))]
    ColumnMissing { file: String, role: &'static str, wanted: String, columns: Vec<String> },
    #[error(
        "{file}: no label column; none of the usual names (label, labels, target, y, class, ...) is among: {}",
        listed(columns)
    )]
    NoLabelColumn { file: String, columns: Vec<String> },
    #[error("{file}: several columns could be the label: {}", listed(candidates))]
    LabelAmbiguous { file: String, candidates: Vec<String> },
    #[error("{file}: several vector columns: {}", listed(candidates))]
    FeaturesAmbiguous { file: String, candidates: Vec<String> },
    #[error("{file}: no feature columns are left beside label, id, weight and split")]
    NoFeatures { file: String },
    #[error("beta {text:?} {why}")]
    BadBeta { text: String, why: String },
    #[error("{flag} {value:?}: {why}")]
    BadValue { flag: String, value: String, why: String, help: String },

    // Data: the file was read and its content cannot be trained on or scored.
    #[error("{file}: 0 rows{why}")]
    NoRows { file: String, why: String },
    #[error("{file} is cut short or damaged: {detail}")]
    Damaged { file: String, detail: String },
    #[error("{file} is not {expected}: {found}")]
    WrongFormat { file: String, expected: String, found: String },
    #[error("{file} is {kind}; reading it would execute code stored in it")]
    RefusedFormat { file: String, kind: String, recipe: String },
    #[error("{file}: {count} of {rows} labels are missing, first in row {first_row}")]
    NullLabels { file: String, count: u64, rows: u64, first_row: u64 },
    #[error(
        "{file}: label column {column:?} holds fractions ({example} in row {row}); this looks like regression"
    )]
    FractionalLabels { file: String, column: String, example: f64, row: u64 },
    #[error("{file}: only one class, {class:?} ({rows} rows); there is nothing to learn")]
    OneClass { file: String, class: String, rows: u64 },
    #[error("{file}: {rows} rows carry {} that training never saw: {}", plural(classes.len(), "class", "classes"), listed(classes))]
    UnseenLabels { file: String, rows: u64, classes: Vec<String> },
    #[error("{file}: {names} class names, but labels go up to {max_label}")]
    ClassNamesShort { file: String, names: usize, max_label: u64 },
    #[error("{file}: {count} {kind} feature values ({share}), first in row {row}, column {column}", share = percent(*count, *cells))]
    NotFinite { file: String, kind: &'static str, count: u64, cells: u64, row: u64, column: String },
    #[error(
        "{file}: vectors of column {column:?} differ in length: row {row} has {found}, row 1 has {expected}"
    )]
    RaggedVector { file: String, column: String, row: u64, expected: usize, found: usize },
    #[error("{file}: column name {name:?} occurs at positions {}", positions.iter().map(|p| p.to_string()).collect::<Vec<_>>().join(", "))]
    DuplicateColumns { file: String, name: String, positions: Vec<usize> },
    #[error(
        "{file}: text column {column:?} has {levels} different values; one-hot encoding stops at {limit}"
    )]
    TooManyLevels { file: String, column: String, levels: usize, limit: usize },
    #[error("{file}, line {line}: {detail}")]
    CsvSyntax { file: String, line: u64, detail: String },
    #[error("{left} has {left_rows} rows, {right} has {right_rows}")]
    LengthMismatch { left: String, left_rows: u64, right: String, right_rows: u64 },
    #[error("{place}: {detail}")]
    BadWeight { place: String, detail: String },
    #[error("{place}: {detail}")]
    BadCounts { place: String, detail: String },
    #[error("{file}: column {column:?} has type {kind}, which cannot serve as {role}")]
    UnsupportedType { file: String, column: String, kind: String, role: &'static str },
    #[error("{file}: split column {column:?} holds {value:?} in row {row}")]
    BadSplit { file: String, column: String, value: String, row: u64 },
    #[error("{file} lacks {what}")]
    FilesDiffer { file: String, what: String },
    #[error("{place}: {detail}")]
    BadPrior { place: String, detail: String },
    #[error("{file} is {kind}, which cbfit does not read")]
    UnsupportedFormat { file: String, kind: String, recipe: String },
    #[error(
        "the probabilities of {count} of {rows} rows are not finite numbers of at least 0, first in row {first_row}"
    )]
    BadProbabilities { count: u64, rows: u64, first_row: u64 },
    #[error("{place}: {detail}")]
    BadCosts { place: String, detail: String },

    // I/O
    #[error("{path}: no such file{}", near_names(near))]
    NotFound { path: String, near: Vec<String> },
    #[error("{path}: cannot {action}: {source}")]
    Io { path: String, action: &'static str, source: std::io::Error },

    #[error("{path}: another cbfit writes it, {holder}")]
    Locked { path: String, holder: String },

    // Model file
    #[error("{path} is not a usable cbfit model: {why}")]
    BadModel { path: String, why: String },
    #[error("{path} is no cbfit model, it looks like {found}{}", swapped(model))]
    NoModel { path: String, found: String, model: Option<String> },
    #[error("{path} was written by a newer cbfit (format {found}, this one reads up to {supported})")]
    NewerModel { path: String, found: u64, supported: u64 },
    #[error("{file} does not fit the model: {detail}")]
    FeatureMismatch { file: String, detail: String },

    #[error("{path} is not a usable checkpoint: {why}")]
    BadCheckpoint { path: String, why: String },
    #[error("{path} is the checkpoint of another run: {}", differences.join("; "))]
    OtherCheckpoint { path: String, differences: Vec<String> },

    // Training, gate, limits
    #[error("training diverged: the objective became {value} in {place} (learning rate {lr})")]
    Diverged { value: f64, place: String, lr: String },
    #[error("gate not met: {}", failed.join("; "))]
    Gate { failed: Vec<String> },
    #[error("{what} needs {need} bytes; the limit is {limit}")]
    TooLarge { what: String, need: u64, limit: u64 },
    #[error("{what} need {} of memory; --memory-limit allows {}", megabytes(*need), megabytes(*have))]
    OverMemory { what: String, need: u64, have: u64, help: String },
}

impl Error {
    /// Wraps an operating-system error with the path and the attempted action ("read", "write", ...).
    pub fn io(path: impl Into<String>, action: &'static str, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), action, source }
    }

    /// A flag or parameter whose value cannot be used.
    pub fn bad_value(
        flag: impl Into<String>,
        value: impl Into<String>,
        why: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Error::BadValue { flag: flag.into(), value: value.into(), why: why.into(), help: help.into() }
    }

    /// Code of the catalogue, e.g. `"E0306"`; its first two digits are the exit status.
    pub fn code(&self) -> &'static str {
        use Error::*;
        match self {
            NoEffect { .. } => "E0201",
            ColumnMissing { .. } => "E0202",
            NoLabelColumn { .. } => "E0203",
            LabelAmbiguous { .. } => "E0204",
            FeaturesAmbiguous { .. } => "E0205",
            NoFeatures { .. } => "E0206",
            BadBeta { .. } => "E0207",
            BadValue { .. } => "E0208",
            NoRows { .. } => "E0301",
            Damaged { .. } => "E0302",
            WrongFormat { .. } => "E0303",
            RefusedFormat { .. } => "E0304",
            NullLabels { .. } => "E0305",
            FractionalLabels { .. } => "E0306",
            OneClass { .. } => "E0307",
            UnseenLabels { .. } => "E0308",
            ClassNamesShort { .. } => "E0309",
            NotFinite { .. } => "E0310",
            RaggedVector { .. } => "E0311",
            DuplicateColumns { .. } => "E0312",
            TooManyLevels { .. } => "E0313",
            CsvSyntax { .. } => "E0314",
            LengthMismatch { .. } => "E0315",
            BadWeight { .. } => "E0316",
            BadCounts { .. } => "E0317",
            UnsupportedType { .. } => "E0318",
            BadSplit { .. } => "E0319",
            FilesDiffer { .. } => "E0320",
            BadPrior { .. } => "E0321",
            UnsupportedFormat { .. } => "E0322",
            BadProbabilities { .. } => "E0323",
            BadCosts { .. } => "E0324",
            NotFound { .. } => "E0401",
            Io { .. } => "E0402",
            Locked { .. } => "E0403",
            BadModel { .. } => "E0501",
            NewerModel { .. } => "E0502",
            FeatureMismatch { .. } => "E0503",
            BadCheckpoint { .. } => "E0504",
            OtherCheckpoint { .. } => "E0505",
            NoModel { .. } => "E0506",
            Diverged { .. } => "E0601",
            Gate { .. } => "E0701",
            TooLarge { .. } => "E0801",
            OverMemory { .. } => "E0802",
        }
    }

    /// Exit status of the process: 2 usage, 3 data, 4 I/O, 5 model file, 6 training, 7 gate, 8 limit.
    pub fn exit_status(&self) -> u8 {
        self.code().as_bytes()[2] - b'0'
    }

    /// Where it is, as far as that is known: a file, with row, line or column.
    pub fn place(&self) -> Option<String> {
        use Error::*;
        Some(match self {
            NotFinite { file, row, column, .. } => format!("{file}, row {row}, column {column}"),
            NullLabels { file, first_row, .. } => format!("{file}, row {first_row}"),
            FractionalLabels { file, column, row, .. }
            | RaggedVector { file, column, row, .. }
            | BadSplit { file, column, row, .. } => format!("{file}, row {row}, column {column}"),
            CsvSyntax { file, line, .. } => format!("{file}, line {line}"),
            TooManyLevels { file, column, .. } | UnsupportedType { file, column, .. } => {
                format!("{file}, column {column}")
            }
            DuplicateColumns { file, name, .. } => format!("{file}, column {name}"),
            LengthMismatch { left, right, .. } => format!("{left}, {right}"),
            BadWeight { place, .. }
            | BadCounts { place, .. }
            | BadPrior { place, .. }
            | BadCosts { place, .. } => place.clone(),
            ColumnMissing { file, .. }
            | NoLabelColumn { file, .. }
            | LabelAmbiguous { file, .. }
            | FeaturesAmbiguous { file, .. }
            | NoFeatures { file }
            | NoRows { file, .. }
            | Damaged { file, .. }
            | WrongFormat { file, .. }
            | RefusedFormat { file, .. }
            | UnsupportedFormat { file, .. }
            | OneClass { file, .. }
            | UnseenLabels { file, .. }
            | ClassNamesShort { file, .. }
            | FilesDiffer { file, .. }
            | FeatureMismatch { file, .. } => file.clone(),
            NotFound { path, .. }
            | Io { path, .. }
            | BadModel { path, .. }
            | NoModel { path, .. }
            | NewerModel { path, .. } => path.clone(),
            _ => return None,
        })
    }

    /// How often it occurs, where that was counted.
    pub fn count(&self) -> Option<u64> {
        use Error::*;
        match self {
            NotFinite { count, .. } | NullLabels { count, .. } | BadProbabilities { count, .. } => {
                Some(*count)
            }
            UnseenLabels { rows, .. } => Some(*rows),
            DuplicateColumns { positions, .. } => Some(positions.len() as u64),
            TooManyLevels { levels, .. } => Some(*levels as u64),
            _ => None,
        }
    }

    /// How to mend it: a sentence with the flag or command that helps.
    pub fn help(&self) -> String {
        use Error::*;
        match self {
            NoEffect { help, .. } | BadValue { help, .. } | OverMemory { help, .. } => help.clone(),
            ColumnMissing { role, wanted, columns, .. } => match nearest(wanted, columns) {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("name one of the listed columns as the {role}"),
            },
            NoLabelColumn { .. } => "name it with --label COLUMN".into(),
            LabelAmbiguous { candidates, .. } => format!("choose one: --label {}", first(candidates)),
            FeaturesAmbiguous { candidates, .. } => format!("choose one: --features {}", first(candidates)),
            NoFeatures { .. } => "name the feature columns with --features".into(),
            BadBeta { .. } => {
                "beta is in [0, 1): write 0.9999, 1-1e-7 or N=10000; beta = 1 is --weighting inverse".into()
            }
            NoRows { .. } => "check the path and the filters".into(),
            Damaged { .. } => "copy or write the file again".into(),
            WrongFormat { .. } => "name the true format with --format".into(),
            RefusedFormat { recipe, .. } | UnsupportedFormat { recipe, .. } => recipe.clone(),
            NullLabels { .. } => "leave these rows out with --unlabeled drop".into(),
            FractionalLabels { .. } => "name a column of classes with --label".into(),
            OneClass { .. } => "training needs at least two classes".into(),
            UnseenLabels { .. } => {
                "count these rows as wrong (--unseen wrong) or leave them out (--unseen ignore)".into()
            }
            ClassNamesShort { .. } => "give one name a line, for label 0, 1, 2, ...".into(),
            NotFinite { kind: "missing", .. } => {
                "fill them in the data, or train with --missing mean or --missing zero".into()
            }
            NotFinite { .. } => {
                "remove or cap these values before training; features must lie in the range of f32".into()
            }
            RaggedVector { .. } => "all rows need vectors of one length".into(),
            DuplicateColumns { .. } => "rename one of them".into(),
            TooManyLevels { column, .. } => format!("leave it out: --features '!{column}'"),
            CsvSyntax { .. } => {
                "mend the line, or name the separator with --delimiter or the true format with --format"
                    .into()
            }
            LengthMismatch { .. } => "both must describe the same rows in the same order".into(),
            BadWeight { .. } => "weights must be finite and positive, one for every class or row".into(),
            BadCounts { .. } => "a counts file has lines class,count".into(),
            UnsupportedType { .. } => "choose other columns with --label or --features".into(),
            BadSplit { .. } => "values are train, val, valid, validation, dev and test".into(),
            FilesDiffer { .. } => "all files of one data set need the same columns".into(),
            BadPrior { .. } => {
                "a prior file has lines class,share with one positive share for every class".into()
            }
            NotFound { near, .. } => match near.first() {
                Some(name) => format!("did you mean {name}?"),
                None => "check the path".into(),
            },
            BadProbabilities { .. } => {
                "features of these rows, or weights of the model, are too large; see cbfit inspect".into()
            }
            BadCosts { .. } => {
                "a cost file has a header true,CLASS,CLASS,... and a line CLASS,cost,cost,... for every class"
                    .into()
            }
            Io { .. } => "check that the path exists, is writable and the disk has room".into(),
            Locked { .. } => "wait for it, stop it, or give another file with -o".into(),
            BadCheckpoint { .. } => "leave --resume out, which trains from the start, or copy the file again".into(),
            OtherCheckpoint { .. } => {
                "give the data and settings that it was made with, or leave --resume out to train from the start"
                    .into()
            }
            BadModel { .. } => "train the model again, or copy the file again".into(),
            NoModel { model: Some(model), path, .. } => {
                format!("the two look swapped: the model comes before the data, {model} before {path}")
            }
            NoModel { model: None, .. } => {
                "name a file that cbfit train has written; the model comes before the data: cbfit predict MODEL DATA"
                    .into()
            }
            NewerModel { .. } => "update cbfit".into(),
            FeatureMismatch { .. } => {
                "the data needs the columns the model was trained on; see cbfit inspect MODEL".into()
            }
            Diverged { .. } => "lower --lr, or put features on one scale with --scale standard".into(),
            Gate { .. } => "the model does not meet the --min values asked for".into(),
            TooLarge { .. } => "use fewer rows or columns, or f16 features".into(),
        }
    }
}

fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Bytes as `12.3 MB`.
fn megabytes(n: u64) -> String {
    format!("{:.1} MB", n as f64 / 1e6)
}

fn percent(part: u64, whole: u64) -> String {
    let share = 100.0 * part as f64 / whole.max(1) as f64;
    if share < 0.01 { "< 0.01 %".into() } else { format!("{share:.2} %") }
}

/// The first names of a list, with the number of those left out.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

fn near_names(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; in that folder: {}", listed(near)) }
}

fn swapped(model: &Option<String>) -> String {
    model.as_ref().map_or_else(String::new, |model| format!(", and {model} is one"))
}

fn first(names: &[String]) -> &str {
    names.first().map_or("", String::as_str)
}

/// The candidate nearest to `wanted`, where it is within two edits (one of three letters) or a third of its length; ignores
/// case.
pub fn nearest<'a>(wanted: &str, candidates: &'a [String]) -> Option<&'a str> {
    let lower = wanted.to_lowercase();
    candidates
        .iter()
        .map(|name| (edit_distance(&lower, &name.to_lowercase()), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| {
            let few = if wanted.len() <= 3 { 1 } else { 2 };
            *distance <= (wanted.len() / 3).max(few) && *distance < wanted.len()
        })
        .map(|(_, name)| name.as_str())
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(128).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Refuses two parts whose numbers of rows differ.
pub(crate) fn same_length(left: &str, left_rows: usize, right: &str, right_rows: usize) -> Result<()> {
    if left_rows == right_rows {
        return Ok(());
    }
    Err(Error::LengthMismatch {
        left: left.into(),
        left_rows: left_rows as u64,
        right: right.into(),
        right_rows: right_rows as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_status_is_the_first_half_of_the_code() {
        let error = Error::BadBeta { text: "0,9".into(), why: "is not a number".into() };
        assert_eq!((error.code(), error.exit_status()), ("E0207", 2));
        let error = Error::Gate { failed: vec!["macro_recall 0.5 < 0.6".into()] };
        assert_eq!(error.exit_status(), 7);
    }

    #[test]
    fn places_and_counts_are_those_of_the_message() {
        let (file, column) = ("a.csv".to_string(), "x".to_string());
        let error = Error::NotFinite { file, kind: "missing", count: 3, cells: 9, row: 2, column };
        assert_eq!((error.place().as_deref(), error.count()), (Some("a.csv, row 2, column x"), Some(3)));
        let error = Error::Gate { failed: Vec::new() };
        assert_eq!((error.place(), error.count()), (None, None));
    }

    #[test]
    fn nearest_forgives_a_typo_and_no_more() {
        let columns = vec!["label".to_string(), "embedding".to_string()];
        assert_eq!(nearest("lable", &columns), Some("label"));
        assert_eq!(nearest("Embeding", &columns), Some("embedding"));
        assert_eq!(nearest("weight", &columns), None);
        let metrics = vec!["mcc".to_string()];
        assert_eq!((nearest("mc", &metrics), nearest("auc", &metrics)), (Some("mcc"), None));
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let names: Vec<String> = (0..11).map(|i| format!("c{i}")).collect();
        assert!(listed(&names).ends_with("c7 and 3 more"));
    }
}
