//! Reading data for a model that exists: validation, evaluation, prediction.

use super::blocks::BlockReader;
use super::columns::{append_vectors, common_dtype};
use super::dataset::{Dataset, Extras, Source};
use super::encode::FeatureEncoder;
use super::files::FileSet;
use super::fingerprint::Fingerprint;
use super::finite::Origin;
use super::kept::KeptRows;
use super::options::{ReadOptions, Unlabeled};
use super::roles::{LabelNeed, Roles};
use super::scale::widen;
use super::sparse::make_sparse;
use crate::labels::LabelMap;
use crate::matrix::Dtype;
use crate::memory::MemoryLimit;
use crate::{Error, Result};

/// Hands out the rows of files block by block, encoded as in training.
pub struct DatasetReader {
    reader: BlockReader,
    encoder: FeatureEncoder,
    label_map: LabelMap,
    label_column: Option<String>,
    unlabeled: Unlabeled,
    fingerprint: Fingerprint,
    name: String,
    files: usize,
    bytes: u64,
    memory: Option<MemoryLimit>,
    /// Rows that the files say they have.
    expected: Option<u64>,
}

impl DatasetReader {
    /// Opens files and finds the columns that `encoder` was fitted to. `options.features`, `options.missing`
    /// and `options.categories` play no part: the encoder holds them.
    ///
    /// # Errors
    /// Those of the readers; [`Error::FeatureMismatch`]; where labels are required, [`Error::NoLabelColumn`] and
    /// [`Error::LabelAmbiguous`].
    pub fn open(
        paths: &[String],
        options: &ReadOptions,
        encoder: &FeatureEncoder,
        label_map: &LabelMap,
        labels: LabelNeed,
    ) -> Result<Self> {
        let set = FileSet::open(paths, options)?;
        let name = set.name();
        let (files, bytes, expected) = (set.files(), set.bytes(), set.row_count());
        let mut roles = Roles::find(&name, set.fields(), options, labels)?;
        // Where a feature has a usual name of ids, it stays a feature.
        if options.id_col.is_none()
            && roles.id.is_some_and(|id| encoder.inputs.iter().any(|i| i.name() == set.fields()[id].name))
        {
            roles.id = None;
        }
        let label_column = roles.label.map(|column| set.fields()[column].name.clone());
        let taken: Vec<usize> =
            [roles.label, roles.weight, roles.id, roles.split].into_iter().flatten().collect();
        let wanted = encoder.bind(&name, set.fields(), &taken)?;
        let reader = BlockReader::new(set, &roles, wanted, options, labels, false)?;
        Ok(DatasetReader {
            reader,
            encoder: encoder.clone(),
            label_map: label_map.clone(),
            label_column,
            unlabeled: options.unlabeled,
            fingerprint: Fingerprint::new(),
            name,
            files,
            bytes,
            memory: options.memory.clone(),
            expected,
        })
    }

    /// The next block of rows, `None` after the last. A block is what the format stores together, for example a row
    /// group of Parquet.
    ///
    /// # Errors
    /// Those of the readers and of the encoder, [`Error::NullLabels`], [`Error::BadWeight`], [`Error::BadSplit`],
    /// [`Error::LengthMismatch`].
    pub fn next_block(&mut self) -> Result<Option<Dataset>> {
        loop {
            let Some(block) = self.reader.next_block(None)? else { return Ok(None) };
            let file = self.reader.set().source(block.file);
            let origin = Origin { file, first_row: block.first_row, kept: block.kept.as_deref() };
            if block.kept.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            let mut encoded = self.encoder.encode(&origin, block.features)?;
            let kept = block.kept.as_ref().map_or(block.rows, Vec::len);
            let (mut hashes, mut codes, mut unseen) = (None, None, Vec::new());
            if let Some(labels) = block.labels {
                labels.check(self.unlabeled == Unlabeled::Drop)?;
                hashes = Some(labels.name_hashes());
                let (found, unknown) = labels.into_codes_of(&self.label_map);
                (codes, unseen) = (Some(found), unknown);
            }
            self.fingerprint.add(&encoded.features, hashes.as_deref());
            if encoded.missing > 0 {
                self.encoder.fill_missing(&mut encoded.features);
            }
            return Ok(Some(Dataset {
                features: encoded.features,
                labels: codes,
                label_map: self.label_map.clone(),
                label_column: self.label_column.clone(),
                unseen,
                row_weights: block.weights,
                ids: self.reader.id_name().map(str::to_owned).zip(block.ids),
                parts: block.parts,
                encoder: self.encoder.clone(),
                source: Source {
                    name: self.name.clone(),
                    files: self.files,
                    bytes: self.bytes,
                    rows: kept as u64,
                    fingerprint: self.fingerprint.hex(),
                },
                notes: Vec::new(),
                dropped_unlabeled: (block.rows - kept) as u64,
                unseen_levels: encoded.unseen_levels,
            }));
        }
    }

    /// All rows; dense ones that exceed the memory limit of the options stay on disk.
    ///
    /// # Errors
    /// As [`DatasetReader::next_block`], and [`Error::NoRows`].
    pub fn read_all(mut self) -> Result<Dataset> {
        let Some(mut all) = self.next_block()? else {
            return Err(Error::NoRows { file: self.name, why: String::new() });
        };
        let mut extras = Extras {
            weights: all.row_weights.take(),
            ids: all.ids.take().map(|(_, ids)| ids),
            parts: all.parts.take(),
        };
        let mut kept = KeptRows::new(self.memory.as_ref(), self.expected);
        kept.settle(&all.source.name, &mut all.features)?;
        while let Some(block) = self.next_block()? {
            // Files of one set may hold their vectors in different widths.
            match common_dtype(all.features.dtype(), block.features.dtype()) {
                Dtype::Sparse => make_sparse(&mut all.features),
                dtype if dtype != all.features.dtype() => widen(&mut all.features),
                _ => {}
            }
            append_vectors(&mut all.features, &block.features, None);
            kept.settle(&all.source.name, &mut all.features)?;
            if let (Some(labels), Some(more)) = (&mut all.labels, block.labels) {
                labels.extend(more);
            }
            extras.append(block.row_weights, block.ids.map(|(_, ids)| ids), block.parts);
            all.unseen.extend(block.unseen);
            all.source.rows += block.source.rows;
            all.source.fingerprint = block.source.fingerprint;
            all.dropped_unlabeled += block.dropped_unlabeled;
            all.unseen_levels += block.unseen_levels;
        }
        all.features = kept.finish(&all.source.name, all.features)?;
        all.unseen.sort_unstable();
        all.unseen.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        (all.row_weights, all.parts) = (extras.weights, extras.parts);
        all.ids = self.reader.id_name().map(str::to_owned).zip(extras.ids);
        Ok(all)
    }
}
