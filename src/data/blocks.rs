//! Blocks of rows with every role apart: features still as columns, labels, weights, ids and parts as values.

use std::fs;

use super::columns::{append_rows, numbers, retain_vectors};
use super::files::{Blocks, FileSet};
use super::finite::Origin;
use super::labels_read::{LabelColumn, Labels, read_class_names};
use super::options::{ReadOptions, Unlabeled};
use super::roles::{LabelNeed, Roles};
use super::split::{Part, parse_parts};
use super::table::{ColumnBuffer, FieldKind, new_buffer};
use crate::{Error, Result};

/// Labels in a file of their own, and how far they are used up.
struct LabelFile {
    name: String,
    labels: Labels,
    used: usize,
}

/// Where in the buffers of a block the roles lie; features come first.
struct Slots {
    label: Option<usize>,
    weight: Option<usize>,
    id: Option<usize>,
    split: Option<usize>,
}

/// A block of rows.
pub(super) struct Block {
    pub(super) file: usize,
    pub(super) first_row: u64,
    /// Places of the kept rows, where rows without a label were dropped.
    pub(super) kept: Option<Vec<usize>>,
    /// One buffer a feature column; none for a vector column that stays with the reader.
    pub(super) features: Vec<ColumnBuffer>,
    pub(super) labels: Option<Labels>,
    pub(super) weights: Option<Vec<f64>>,
    pub(super) ids: Option<ColumnBuffer>,
    pub(super) parts: Option<Vec<Part>>,
    /// Rows of the block before any was dropped.
    pub(super) rows: usize,
}

/// Reads the columns of a data set by role.
pub(super) struct BlockReader {
    blocks: Blocks,
    features: usize,
    slots: Slots,
    label_file: Option<LabelFile>,
    class_names: Option<(String, Vec<String>)>,
    unlabeled: Unlabeled,
    columns: Vec<String>,
    /// The only vector column, gathered over all blocks.
    vectors: Option<ColumnBuffer>,
    rows: usize,
}

impl BlockReader {
    /// `features` are the feature columns and the kinds to read them in; `gather` keeps the first of them, a vector
    /// column, in one buffer over all blocks.
    pub(super) fn new(
        set: FileSet,
        roles: &Roles,
        features: Vec<(usize, FieldKind)>,
        options: &ReadOptions,
        need: LabelNeed,
        gather: bool,
    ) -> Result<Self> {
        let mut wanted = features;
        let count = wanted.len();
        let mut slot = |column: Option<usize>, kind: fn(&FileSet, usize) -> FieldKind| {
            column.map(|column| {
                wanted.push((column, kind(&set, column)));
                wanted.len() - 1
            })
        };
        let own_kind = |set: &FileSet, column: usize| set.fields()[column].kind.clone();
        let slots = Slots {
            label: slot(roles.label, FileSet::spelled_kind),
            weight: slot(roles.weight, own_kind),
            id: slot(roles.id, FileSet::spelled_kind),
            split: slot(roles.split, own_kind),
        };
        let label_file = match &options.label_file {
            Some(spec) if need != LabelNeed::Ignored => {
                Some(LabelFile::read(spec, options, set.follows_text_options(options))?)
            }
            _ => None,
        };
        let class_names = match (&options.class_names, roles.label) {
            (Some(path), Some(column)) if need != LabelNeed::Ignored => {
                if set.fields()[column].kind == FieldKind::Text {
                    return Err(class_names_without_effect());
                }
                Some((path.clone(), read_class_names(path)?))
            }
            _ => None,
        };
        let vectors = if gather { wanted.first().and_then(|(_, kind)| new_buffer(kind)) } else { None };
        let columns = wanted.iter().map(|(column, _)| set.fields()[*column].name.clone()).collect();
        Ok(BlockReader {
            blocks: set.read(wanted),
            features: count,
            slots,
            label_file,
            class_names,
            unlabeled: options.unlabeled,
            columns,
            vectors,
            rows: 0,
        })
    }

    /// The files read.
    pub(super) fn set(&self) -> &FileSet {
        self.blocks.set()
    }

    /// The vector column gathered so far.
    pub(super) fn vectors(&self) -> Option<&ColumnBuffer> {
        self.vectors.as_ref()
    }

    /// The vector column gathered so far, whose rows may be taken.
    pub(super) fn vectors_mut(&mut self) -> Option<&mut ColumnBuffer> {
        self.vectors.as_mut()
    }

    /// Takes the vector column gathered so far.
    pub(super) fn take_vectors(&mut self) -> Option<ColumnBuffer> {
        self.vectors.take()
    }

    /// The next block. Its labels are appended to `labels`, if given, instead of being handed out in the block.
    pub(super) fn next_block(&mut self, gathered: Option<&mut Labels>) -> Result<Option<Block>> {
        let mut buffers = self.blocks.new_buffers()?;
        let vector_rows = self.vectors.as_ref().map(ColumnBuffer::rows);
        if let Some(vectors) = self.vectors.take() {
            buffers[0] = vectors;
        }
        let found = self.blocks.append_next(&mut buffers)?;
        let Some(found) = found else {
            self.vectors = vector_rows.and_then(|_| buffers.into_iter().next());
            self.check_label_count()?;
            return Ok(None);
        };
        self.rows += found.rows;
        let mut own = Labels::default();
        let gathers = gathered.is_some();
        let labels = gathered.unwrap_or(&mut own);
        let start = labels.rows();
        let labelled = self.read_labels(labels, &buffers, found.file, found.first_row)?;
        let keep = if labelled && self.unlabeled == Unlabeled::Drop {
            Some(labels.labelled_from(start)).filter(|keep| keep.contains(&false))
        } else {
            None
        };
        let kept = keep.as_deref().map(|keep| (0..keep.len()).filter(|&row| keep[row]).collect::<Vec<_>>());
        if let Some(keep) = &keep {
            drop_rows(&mut buffers, keep, vector_rows);
        }
        let file = self.blocks.set().source(found.file).to_owned();
        let origin = Origin { file: &file, first_row: found.first_row, kept: kept.as_deref() };
        let weights = self
            .slots
            .weight
            .map(|at| check_weights(&origin, &self.columns[at], &buffers[at]))
            .transpose()?;
        let parts =
            self.slots.split.map(|at| parse_parts(&origin, &self.columns[at], &buffers[at])).transpose()?;
        let ids =
            self.slots.id.map(|at| std::mem::replace(&mut buffers[at], ColumnBuffer::Float(Vec::new())));
        buffers.truncate(self.features);
        if vector_rows.is_some() && !buffers.is_empty() {
            self.vectors = Some(buffers.swap_remove(0));
        }
        Ok(Some(Block {
            file: found.file,
            first_row: found.first_row,
            kept,
            features: buffers,
            labels: (labelled && !gathers).then_some(own),
            weights,
            ids,
            parts,
            rows: found.rows,
        }))
    }

    /// Name of the id column.
    pub(super) fn id_name(&self) -> Option<&str> {
        self.slots.id.map(|at| self.columns[at].as_str())
    }

    /// Appends the labels of a block; `false` where there are none to read.
    fn read_labels(
        &mut self,
        labels: &mut Labels,
        buffers: &[ColumnBuffer],
        file: usize,
        first_row: u64,
    ) -> Result<bool> {
        if let Some(source) = &mut self.label_file {
            if self.rows > source.labels.rows() {
                return self.drain_and_compare().map(|()| false);
            }
            labels.push_rows_of(&source.labels, source.used, self.rows);
            source.used = self.rows;
            return Ok(true);
        }
        let Some(slot) = self.slots.label else { return Ok(false) };
        let set = self.blocks.set();
        let column = LabelColumn {
            file: set.source(file),
            column: &self.columns[slot],
            class_names: match &self.class_names {
                Some((path, names)) => Some((path.as_str(), names.as_slice())),
                None => {
                    set.class_names(file, self.blocks.column(slot)).map(|names| (set.source(file), names))
                }
            },
        };
        labels.push(&column, first_row, &buffers[slot])?;
        Ok(true)
    }

    /// Counts the rows left, so that the message on too few labels can state both numbers.
    fn drain_and_compare(&mut self) -> Result<()> {
        loop {
            let mut buffers = self.blocks.new_buffers()?;
            match self.blocks.append_next(&mut buffers)? {
                Some(found) => self.rows += found.rows,
                None => return self.check_label_count(),
            }
        }
    }

    fn check_label_count(&self) -> Result<()> {
        match &self.label_file {
            Some(source) if source.labels.rows() != self.rows => Err(Error::LengthMismatch {
                left: self.blocks.set().name(),
                left_rows: self.rows as u64,
                right: source.name.clone(),
                right_rows: source.labels.rows() as u64,
            }),
            _ => Ok(()),
        }
    }
}

fn class_names_without_effect() -> Error {
    Error::NoEffect {
        flag: "--class-names".into(),
        with: "a label column of text".into(),
        help: "leave --class-names out; the labels are names already".into(),
    }
}

impl LabelFile {
    /// Reads `labels.npy`, or one column as `meta_*.parquet:column`. Separator and header of `options` hold for a file
    /// of text; another one is read without them if the features follow them.
    fn read(spec: &str, options: &ReadOptions, features_follow: bool) -> Result<Self> {
        let (path, column) = match spec.rsplit_once(':') {
            Some((path, column)) if fs::metadata(spec).is_err() && !column.contains(['/', '\\']) => {
                (path, Some(column.to_owned()))
            }
            _ => (spec, None),
        };
        // The format of the features need not be that of the labels.
        let own = ReadOptions {
            label: column,
            unlabeled: options.unlabeled,
            delimiter: options.delimiter,
            has_header: options.has_header,
            ..ReadOptions::default()
        };
        let set = match FileSet::open(&[path.to_owned()], &own) {
            Err(Error::NoEffect { .. }) if features_follow => {
                FileSet::open(&[path.to_owned()], &own.without_text_options())?
            }
            set => set?,
        };
        let label = match set.fields() {
            [_] if own.label.is_none() => Some(0),
            fields => Roles::find(&set.name(), fields, &own, LabelNeed::Required)?.label,
        };
        let class_names = match &options.class_names {
            Some(_) if label.is_some_and(|column| set.fields()[column].kind == FieldKind::Text) => {
                return Err(class_names_without_effect());
            }
            Some(path) => Some((path.clone(), read_class_names(path)?)),
            None => None,
        };
        let roles = Roles { label, ..Roles::default() };
        let mut reader = BlockReader::new(set, &roles, Vec::new(), &own, LabelNeed::Required, false)?;
        reader.class_names = class_names;
        let mut labels = Labels::default();
        let name = reader.set().name();
        // Unlabelled rows must keep their places here: it is the data set that drops them.
        reader.unlabeled = Unlabeled::Error;
        while reader.next_block(Some(&mut labels))?.is_some() {}
        labels.check(options.unlabeled == Unlabeled::Drop)?;
        Ok(LabelFile { name, labels, used: 0 })
    }
}

/// Drops the rows that `keep` does not mark; of the first buffer only those from row `vector_rows` on are in question.
fn drop_rows(buffers: &mut [ColumnBuffer], keep: &[bool], vector_rows: Option<usize>) {
    for (at, buffer) in buffers.iter_mut().enumerate() {
        let start = if at == 0 { vector_rows.unwrap_or(0) } else { 0 };
        match buffer {
            ColumnBuffer::Vector(matrix) => retain_vectors(matrix, start, keep),
            scalars => {
                let mut kept = match scalars {
                    ColumnBuffer::Int { .. } => new_buffer(&FieldKind::Int),
                    ColumnBuffer::Bool { .. } => new_buffer(&FieldKind::Bool),
                    ColumnBuffer::Text(_) => new_buffer(&FieldKind::Text),
                    ColumnBuffer::Float(_) | ColumnBuffer::Vector(_) => None,
                }
                .unwrap_or(ColumnBuffer::Float(Vec::new()));
                append_rows(&mut kept, scalars, Some(keep));
                *scalars = kept;
            }
        }
    }
}

fn check_weights(origin: &Origin<'_>, column: &str, values: &ColumnBuffer) -> Result<Vec<f64>> {
    let values_read = numbers(values);
    let weights: Vec<f64> = (0..values.rows()).map(|row| values_read.get(row)).collect();
    match weights.iter().position(|weight| !(weight.is_finite() && *weight > 0.0)) {
        None => Ok(weights),
        Some(row) => Err(Error::BadWeight {
            place: format!("{}, row {}", origin.file, origin.row(row)),
            detail: match weights[row] {
                weight if weight.is_nan() => format!("no row weight in column {column:?}"),
                weight => format!("row weight {weight} in column {column:?}"),
            },
        }),
    }
}
