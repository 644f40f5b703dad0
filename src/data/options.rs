//! What the user said about the data: columns, labels, missing values, text.

use super::format::Format;
use super::missing::Missing;
use crate::memory::MemoryLimit;

/// How text columns become features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Categories {
    /// One feature a level.
    #[default]
    OneHot,
    /// One feature that holds the place of the level, NaN where it is missing or unknown, whatever [`Missing`] says: no
    /// number stands for no level. Columns of more than [`super::encode::MOST_CODES`] levels have one feature a level.
    Codes,
}

/// What is done about rows without a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unlabeled {
    /// They are an error.
    #[default]
    Error,
    /// They are left out.
    Drop,
}

/// How files become a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadOptions {
    /// Label column; found by its usual names where `None`.
    pub label: Option<String>,
    /// Feature columns: names, ranges `a..b`, patterns with `*` and `?`, each excluded by a `!` before it; separated
    /// by commas.
    pub features: Option<String>,
    /// File or pattern with the labels of the rows in order, `labels.npy` or `meta_*.parquet:column`.
    pub label_file: Option<String>,
    /// Column of row weights; none is taken unasked, because weights change the model.
    pub weight_col: Option<String>,
    /// Column that identifies rows in predictions; found by its usual names where `None`.
    pub id_col: Option<String>,
    /// Column that assigns rows to train, valid and test.
    pub split_col: Option<String>,
    /// File with the name of class 0, 1, ... on each line.
    pub class_names: Option<String>,
    /// Format of the files; found from their first bytes where `None`.
    pub format: Option<Format>,
    /// Separator of text files, a label file included; found from the first lines where `None`.
    pub delimiter: Option<u8>,
    /// Whether text files, a label file included, start with a line of column names.
    pub has_header: bool,
    /// Missing feature values.
    pub missing: Missing,
    /// Text columns among the features.
    pub categories: Categories,
    /// Missing labels.
    pub unlabeled: Unlabeled,
    /// How much memory rows may take before they stay on disk; all they need where `None`.
    pub memory: Option<MemoryLimit>,
}

impl ReadOptions {
    /// The same for another set of files, while rows that take `held` bytes in memory stay there.
    #[must_use]
    pub fn beside(mut self, held: u64) -> Self {
        self.memory = self.memory.map(|memory| memory.beside(held));
        self
    }

    /// The same without what only text files can follow.
    pub(super) fn without_text_options(&self) -> Self {
        ReadOptions { delimiter: None, has_header: true, ..self.clone() }
    }
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            label: None,
            features: None,
            label_file: None,
            weight_col: None,
            id_col: None,
            split_col: None,
            class_names: None,
            format: None,
            delimiter: None,
            has_header: true,
            missing: Missing::Error,
            categories: Categories::OneHot,
            unlabeled: Unlabeled::Error,
            memory: None,
        }
    }
}
