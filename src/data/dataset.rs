//! A data set ready for learning: features, class codes, row weights, and where they came from.

use super::blocks::BlockReader;
use super::columns::append_rows;
use super::encode::FeatureEncoder;
use super::encode_fill::column_means;
use super::encode_fit::EncoderFit;
use super::files::FileSet;
use super::fingerprint::Fingerprint;
use super::finite::Origin;
use super::kept::{KeptRows, make_room};
use super::labels_read::Labels;
use super::missing::Missing;
use super::options::{ReadOptions, Unlabeled};
use super::roles::{LabelNeed, Roles, find_features};
use super::scale::Scaler;
use super::split::Part;
use super::table::{ColumnBuffer, Field};
use crate::labels::{ClassCounts, LabelMap, UNSEEN};
use crate::matrix::Matrix;
use crate::memory::MemoryLimit;
use crate::{Error, Result};

/// Where rows came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The first file as the user named it, and how many more.
    pub name: String,
    /// Number of files.
    pub files: usize,
    /// Bytes of the files; 0 for standard input.
    pub bytes: u64,
    /// Number of rows kept.
    pub rows: u64,
    /// 16 hexadecimal digits that depend on feature values and class names in row order and on whether rows are sparse,
    /// not on the file format, on what missing values are filled with or the number of threads; for a block, on all rows
    /// up to its end.
    pub fingerprint: String,
}

/// Rows ready for learning or scoring.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// One row of features a row. After [`read_training`] with [`Missing::Mean`] missing values are NaN until
    /// [`Dataset::fill_missing`], with [`Missing::Keep`] they stay NaN, and so they do in columns of codes.
    pub features: Matrix<'static>,
    /// Class code of every row, [`crate::labels::UNSEEN`] where the map lacks the class; `None` without labels.
    pub labels: Option<Vec<u32>>,
    /// Classes by code.
    pub label_map: LabelMap,
    /// Name of the label column, where there is one.
    pub label_column: Option<String>,
    /// Classes that the map lacks, by name, with their rows.
    pub unseen: Vec<(String, u64)>,
    /// Finite, positive weights, one a row.
    pub row_weights: Option<Vec<f64>>,
    /// Name and values of the column that identifies rows.
    pub ids: Option<(String, ColumnBuffer)>,
    /// What the split column assigns every row to.
    pub parts: Option<Vec<Part>>,
    /// The way from columns to features.
    pub encoder: FeatureEncoder,
    /// Where the rows came from.
    pub source: Source,
    /// What was chosen unasked, one sentence each.
    pub notes: Vec<String>,
    /// Rows left out because they have no label.
    pub dropped_unlabeled: u64,
    /// Values that training never met: of text columns, whose features are all 0 or whose code is NaN, and of sparse vectors beyond their
    /// length in training, which are left out.
    pub unseen_levels: u64,
}

impl Dataset {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.features.rows()
    }

    /// Rows and weights by class, of all rows or of those given; all 0 without labels.
    pub fn counts(&self, rows: Option<&[usize]>) -> ClassCounts {
        let labels = self.labels.as_deref().unwrap_or_default();
        let (weights, classes) = (self.row_weights.as_deref(), self.label_map.classes());
        match rows {
            None => ClassCounts::of(labels, weights, classes),
            Some(rows) => {
                let labels: Vec<u32> = rows.iter().filter_map(|&row| labels.get(row).copied()).collect();
                let weights = weights.map(|w| rows.iter().map(|&row| w[row]).collect::<Vec<f64>>());
                ClassCounts::of(&labels, weights.as_deref(), classes)
            }
        }
    }

    /// Fills missing values with the mean of their column over `rows`, the training rows, which the encoder keeps for
    /// later files; row weights weigh the means. To be called once after [`read_training`], as soon as it is known
    /// which rows are trained on; does nothing unless means were asked for.
    pub fn fill_missing(&mut self, rows: &[usize]) {
        if self.encoder.missing == Missing::Mean {
            let means = column_means(&self.features, rows, self.row_weights.as_deref());
            self.encoder.set_means(means.into_iter());
            self.encoder.fill_missing(&mut self.features);
        }
    }

    /// Takes the features to disk where they, and the `more` bytes that are to be made of them in memory, exceed `memory`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::OverMemory`] for sparse rows, which stay in memory.
    pub fn make_room(&mut self, memory: Option<&MemoryLimit>, more: u64) -> Result<()> {
        make_room(memory, &self.source.name, &mut self.features, more)
    }

    /// Scales the features, on disk where they exceed `memory` once they are scaled.
    ///
    /// # Errors
    /// Those of [`Dataset::make_room`].
    pub fn scale(&mut self, scaler: &Scaler, memory: Option<&MemoryLimit>) -> Result<()> {
        self.make_room(memory, scaler.growth(&self.features))?;
        scaler.apply(&mut self.features);
        Ok(())
    }

    /// Leaves the map only the classes that occur in `rows`; rows of the others become unseen ones.
    ///
    /// # Errors
    /// [`Error::OneClass`] where only one class is left.
    pub fn keep_classes_of(&mut self, rows: &[usize]) -> Result<()> {
        let counts = self.counts(Some(rows));
        if counts.rows.iter().all(|&n| n > 0) {
            return Ok(());
        }
        let names = std::mem::take(&mut self.label_map.names);
        let mut code_of = Vec::with_capacity(names.len());
        for (name, &n) in names.into_iter().zip(&counts.rows) {
            let kept = n > 0;
            code_of.push(if kept { self.label_map.names.len() as u32 } else { UNSEEN });
            if kept {
                self.label_map.names.push(name);
            }
        }
        for label in self.labels.iter_mut().flatten() {
            *label = code_of.get(*label as usize).copied().unwrap_or(UNSEEN);
        }
        match &self.label_map.names[..] {
            [class] => Err(Error::OneClass {
                file: self.source.name.clone(),
                class: class.clone(),
                rows: rows.len() as u64,
            }),
            _ => Ok(()),
        }
    }

    /// Rows that the split column assigns to `part`, ascending; `None` without a split column.
    pub fn rows_of(&self, part: Part) -> Option<Vec<usize>> {
        let parts = self.parts.as_ref()?;
        Some((0..parts.len()).filter(|&row| parts[row] == part).collect())
    }
}

/// Calls `work` with one after the other of `sets`, whose rows are held at the same time, and what the others leave of
/// `memory`.
///
/// # Errors
/// The first of `work`.
pub fn each_beside(
    memory: Option<&MemoryLimit>,
    mut sets: Vec<&mut Dataset>,
    mut work: impl FnMut(&mut Dataset, Option<&MemoryLimit>) -> Result<()>,
) -> Result<()> {
    for at in 0..sets.len() {
        let others = sets.iter().enumerate().filter(|(other, _)| *other != at);
        let held = others.map(|(_, other)| other.features.bytes_in_memory()).sum();
        let memory = memory.cloned().map(|memory| memory.beside(held));
        work(sets[at], memory.as_ref())?;
    }
    Ok(())
}

/// Reads labelled files, and fits the classes and the encoder to them. Several files are read one after the other.
/// With [`Missing::Mean`] the caller has to call [`Dataset::fill_missing`] next: rows held out must not enter the means.
///
/// # Errors
/// Those of the readers and of the roles; [`Error::OneClass`], [`Error::NullLabels`], [`Error::FractionalLabels`],
/// [`Error::ClassNamesShort`], [`Error::NotFinite`], [`Error::TooManyLevels`], [`Error::BadWeight`],
/// [`Error::BadSplit`], [`Error::FilesDiffer`], [`Error::LengthMismatch`], [`Error::NoRows`],
/// [`Error::NoFeatures`].
pub fn read_training(paths: &[String], options: &ReadOptions) -> Result<Dataset> {
    let set = FileSet::open(paths, options)?;
    let name = set.name();
    let (files, bytes) = (set.files(), set.bytes());
    let roles = Roles::find(&name, set.fields(), options, LabelNeed::Required)?;
    let label_column = roles.label.map(|column| set.fields()[column].name.clone());
    let (columns, mut notes) = find_features(&name, set.fields(), &roles, options.features.as_deref())?;
    let fields: Vec<&Field> = columns.iter().map(|&column| &set.fields()[column]).collect();
    let mut fit = EncoderFit::new(&name, &fields, options.missing, options.categories)?;
    let wanted = columns.iter().zip(&fields).map(|(&column, field)| (column, field.kind.clone())).collect();
    let gather = fit.is_one_vector();
    let memory = options.memory.as_ref();
    let mut kept = KeptRows::new(memory, set.row_count());
    let mut reader = BlockReader::new(set, &roles, wanted, options, LabelNeed::Required, gather)?;

    let mut labels = Labels::default();
    let mut extras = Extras::default();
    loop {
        let start = reader.vectors().map_or(0, ColumnBuffer::rows);
        let Some(mut block) = reader.next_block(Some(&mut labels))? else { break };
        let file = reader.set().source(block.file);
        let origin = Origin { file, first_row: block.first_row, kept: block.kept.as_deref() };
        match reader.vectors() {
            Some(ColumnBuffer::Vector(features)) => fit.push_vectors(&origin, features, start),
            _ => {
                fit.push(&origin, &block.features)?;
                kept.settle(origin.file, fit.dense_rows())?;
            }
        }
        let file = reader.set().source(block.file).to_owned();
        if let Some(ColumnBuffer::Vector(features)) = reader.vectors_mut() {
            kept.settle(&file, features)?;
        }
        extras.append(block.weights.take(), block.ids.take(), block.parts.take());
    }
    labels.check(options.unlabeled == Unlabeled::Drop)?;
    let mut fitted = match reader.take_vectors() {
        Some(ColumnBuffer::Vector(features)) => fit.finish_with(kept.finish(&name, features)?, memory)?,
        _ => {
            let dense = fit.take_dense();
            fit.finish_with(kept.finish(&name, dense)?, memory)?
        }
    };
    make_room(memory, &name, &mut fitted.features, 0)?;
    notes.extend(fitted.notes);
    if fitted.encoder.width() == 0 {
        return Err(Error::NoFeatures { file: name });
    }

    let (hashes, dropped_unlabeled) = (labels.name_hashes(), labels.missing());
    let (label_map, labels) = labels.into_classes();
    if labels.is_empty() {
        let why = if dropped_unlabeled > 0 { " with a label" } else { "" };
        return Err(Error::NoRows { file: name, why: why.into() });
    }
    if let [class] = &label_map.names[..] {
        return Err(Error::OneClass { file: name, class: class.clone(), rows: labels.len() as u64 });
    }
    let mut fingerprint = Fingerprint::new();
    fingerprint.add(&fitted.features, Some(&hashes));
    if fitted.missing > 0 && options.missing == Missing::Zero {
        fitted.encoder.fill_missing(&mut fitted.features);
    }
    fitted.features.check()?;
    let rows = labels.len() as u64;
    Ok(Dataset {
        features: fitted.features,
        labels: Some(labels),
        label_map,
        label_column,
        unseen: Vec::new(),
        row_weights: extras.weights,
        ids: reader.id_name().map(str::to_owned).zip(extras.ids),
        parts: extras.parts,
        encoder: fitted.encoder,
        source: Source { name, files, bytes, rows, fingerprint: fingerprint.hex() },
        notes,
        dropped_unlabeled,
        unseen_levels: 0,
    })
}

/// Weights, ids and parts gathered over blocks.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) weights: Option<Vec<f64>>,
    pub(super) ids: Option<ColumnBuffer>,
    pub(super) parts: Option<Vec<Part>>,
}

impl Extras {
    pub(super) fn append(
        &mut self,
        weights: Option<Vec<f64>>,
        ids: Option<ColumnBuffer>,
        parts: Option<Vec<Part>>,
    ) {
        if let Some(weights) = weights {
            self.weights.get_or_insert_default().extend(weights);
        }
        if let Some(parts) = parts {
            self.parts.get_or_insert_default().extend(parts);
        }
        if let Some(ids) = ids {
            match &mut self.ids {
                Some(known) => {
                    append_rows(known, &ids, None);
                }
                None => self.ids = Some(ids),
            }
        }
    }
}
