//! Rows by class of data files, without reading their features.

use super::blocks::BlockReader;
use super::files::FileSet;
use super::labels_read::Labels;
use super::options::{ReadOptions, Unlabeled};
use super::roles::{LabelNeed, Roles};
use super::table::{Field, FieldKind};
use crate::labels::{ClassCounts, LabelMap};
use crate::{Error, Result};

/// The classes of data files and their rows; weighted where `options` name a column of row weights.
///
/// # Errors
/// Those of the readers and of the label column as in [`super::dataset::read_training`], except [`Error::OneClass`].
pub fn read_label_counts(paths: &[String], options: &ReadOptions) -> Result<(LabelMap, ClassCounts)> {
    let set = FileSet::open(paths, options)?;
    let roles = Roles::find(&set.name(), set.fields(), options, LabelNeed::Required)?;
    let roles = Roles { label: roles.label, weight: roles.weight, ..Roles::default() };
    let name = set.name();
    // A label file needs the rows of the data counted, for which one column is read.
    let counted = match roles.label {
        Some(_) => Vec::new(),
        None => {
            let readable = |field: &Field| !matches!(field.kind, FieldKind::Other(_));
            let place = set.fields().iter().position(readable);
            place.map(|column| (column, set.fields()[column].kind.clone())).into_iter().collect()
        }
    };
    let mut reader = BlockReader::new(set, &roles, counted, options, LabelNeed::Required, false)?;
    let (mut labels, mut weights) = (Labels::default(), None);
    while let Some(block) = reader.next_block(Some(&mut labels))? {
        if let Some(block) = block.weights {
            weights.get_or_insert_with(Vec::new).extend(block);
        }
    }
    labels.check(options.unlabeled == Unlabeled::Drop)?;
    let (map, codes) = labels.into_classes();
    if codes.is_empty() {
        return Err(Error::NoRows { file: name, why: String::new() });
    }
    let counts = ClassCounts::of(&codes, weights.as_deref(), map.classes());
    Ok((map, counts))
}
