//! Reading that goes on after an error: the option that it is about is relaxed, and the files are read again.

use super::check_findings::Findings;
use crate::data::dataset::{Dataset, read_training};
use crate::data::dataset_reader::DatasetReader;
use crate::data::encode::FeatureEncoder;
use crate::data::missing::Missing;
use crate::data::options::{ReadOptions, Unlabeled};
use crate::data::roles::LabelNeed;
use crate::labels::LabelMap;
use crate::{Error, Result};

/// Most errors looked for in one data set: each takes another reading.
const MOST_READINGS: usize = 32;

/// Files to be read, and how.
pub struct Request<'a> {
    /// Paths without patterns.
    pub files: Vec<String>,
    /// How they are read.
    pub options: ReadOptions,
    /// The features and the classes that they have to have; those found in them where `None`.
    pub bound: Option<(FeatureEncoder, &'a LabelMap, LabelNeed)>,
}

impl Request<'_> {
    /// Reads as often as errors can be passed over, and notes all of them; `None` where the last could not.
    pub fn read(mut self, findings: &mut Findings) -> Option<Dataset> {
        for _ in 0..MOST_READINGS {
            let error = match self.read_once() {
                Ok(data) => return Some(data),
                Err(error) => error,
            };
            let goes_on = self.relax(&error);
            findings.error(&error);
            if !goes_on {
                return None;
            }
        }
        None
    }

    fn read_once(&self) -> Result<Dataset> {
        match &self.bound {
            None => read_training(&self.files, &self.options),
            Some((encoder, labels, need)) => {
                DatasetReader::open(&self.files, &self.options, encoder, labels, *need)?.read_all()
            }
        }
    }

    /// Makes the next reading pass over `error`; `false` where nothing does.
    fn relax(&mut self, error: &Error) -> bool {
        let options = &mut self.options;
        match error {
            Error::NotFinite { kind: "missing", .. } => match &mut self.bound {
                None => std::mem::replace(&mut options.missing, Missing::Keep) != Missing::Keep,
                Some((encoder, ..)) => {
                    std::mem::replace(&mut encoder.missing, Missing::Keep) != Missing::Keep
                }
            },
            Error::NullLabels { .. } => {
                std::mem::replace(&mut options.unlabeled, Unlabeled::Drop) != Unlabeled::Drop
            }
            Error::ClassNamesShort { .. } => options.class_names.take().is_some(),
            Error::BadWeight { .. } => self.forget_weights(),
            Error::BadSplit { .. } => self.forget_split(),
            Error::ColumnMissing { role, .. }
            | Error::UnsupportedType { role: role @ ("weight" | "split" | "id" | "label"), .. } => {
                match *role {
                    "weight" => options.weight_col.take().is_some(),
                    "split" => options.split_col.take().is_some(),
                    "id" => options.id_col.take().is_some(),
                    "label" => options.label.take().is_some(),
                    _ => false,
                }
            }
            Error::LabelAmbiguous { candidates, .. } => {
                options.label = candidates.first().cloned();
                options.label.is_some()
            }
            Error::FeaturesAmbiguous { candidates, .. } => {
                let first = candidates.first().filter(|name| can_be_selected(name));
                options.features.is_none()
                    && first.inspect(|name| options.features = Some((*name).clone())).is_some()
            }
            Error::NotFinite { column, .. }
            | Error::TooManyLevels { column, .. }
            | Error::RaggedVector { column, .. }
            | Error::UnsupportedType { column, .. } => self.leave_out(column),
            Error::NoRows { file, .. }
            | Error::Damaged { file, .. }
            | Error::WrongFormat { file, .. }
            | Error::RefusedFormat { file, .. }
            | Error::UnsupportedFormat { file, .. }
            | Error::CsvSyntax { file, .. }
            | Error::DuplicateColumns { file, .. }
            | Error::FilesDiffer { file, .. }
            | Error::NotFound { path: file, .. }
            | Error::Io { path: file, .. } => self.leave_file(file),
            _ => false,
        }
    }

    /// A column that is no row weight any more must not become a feature.
    fn forget_weights(&mut self) -> bool {
        let column = self.options.weight_col.take();
        column.is_some_and(|column| self.bound.is_some() || self.leave_out(&column))
    }

    fn forget_split(&mut self) -> bool {
        let column = self.options.split_col.take();
        column.is_some_and(|column| self.bound.is_some() || self.leave_out(&column))
    }

    /// Takes a column out of the features, where they are not those of a model and it can be named.
    fn leave_out(&mut self, column: &str) -> bool {
        if self.bound.is_some() || !can_be_selected(column) {
            return false;
        }
        let term = format!("!{column}");
        match &mut self.options.features {
            None => self.options.features = Some(term),
            Some(selector) if selector.split(',').any(|known| known == term) => return false,
            Some(selector) => *selector += &format!(",{term}"),
        }
        true
    }

    /// Goes on with the other files.
    fn leave_file(&mut self, file: &str) -> bool {
        let before = self.files.len();
        self.files.retain(|known| known != file);
        self.files.len() < before && !self.files.is_empty()
    }
}

/// Whether a term of `--features` can stand for the column of this name; values of vectors have names of their own.
fn can_be_selected(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(',')
        && name.trim() == name
        && !name.starts_with('!')
        && !name.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(files: &[&str]) -> Request<'static> {
        let files = files.iter().map(|&file| file.to_owned()).collect();
        Request { files, options: ReadOptions::default(), bound: None }
    }

    #[test]
    fn an_error_is_passed_over_once() {
        let mut request = request(&["a.csv", "b.csv"]);
        let missing = Error::NotFinite {
            file: "a.csv".into(),
            kind: "missing",
            count: 1,
            cells: 2,
            row: 1,
            column: "x".into(),
        };
        let file = |file: &str| Error::Damaged { file: file.into(), detail: String::new() };
        let levels = |column: &str| Error::TooManyLevels {
            file: "a.csv".into(),
            column: column.into(),
            levels: 2,
            limit: 1,
        };
        for (error, expected) in [
            (missing, [true, false]),
            (levels("x"), [true, false]),
            (levels("y"), [true, false]),
            (levels("a,b"), [false, false]),
            (file("a.csv"), [true, false]),
            (file("b.csv"), [false, false]),
        ] {
            assert_eq!([request.relax(&error), request.relax(&error)], expected, "{error}");
        }
        assert_eq!(request.options.features.as_deref(), Some("!x,!y"));
    }
}
