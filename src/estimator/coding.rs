//! Labels of any ordered type as codes.

use crate::error::same_length;
use crate::labels::UNSEEN;
use crate::{Error, Result};

/// The distinct labels of `y`, ascending, and the place of each row's among them.
///
/// # Errors
/// [`Error::NoRows`], and [`Error::OneClass`] where all are equal.
pub(crate) fn coded<L: Ord + Clone>(y: &[L]) -> Result<(Vec<L>, Vec<u32>)> {
    let mut classes = y.to_vec();
    classes.sort_unstable();
    classes.dedup();
    match classes.len() {
        0 => Err(Error::NoRows { file: "y".into(), why: String::new() }),
        1 => Err(Error::OneClass { file: "y".into(), class: "the same".into(), rows: y.len() as u64 }),
        _ => {
            let codes = codes_of(y, &classes);
            Ok((classes, codes))
        }
    }
}

/// The place of each label among `classes`; [`UNSEEN`] for others.
pub(super) fn codes_of<L: Ord>(y: &[L], classes: &[L]) -> Vec<u32> {
    let code = |label: &L| classes.binary_search(label).map_or(UNSEEN, |code| code as u32);
    y.iter().map(code).collect()
}

/// Refuses lists of another length than `rows`, and weights that are not positive and finite.
pub(super) fn check_lengths(rows: usize, labels: usize, weights: Option<&[f64]>) -> Result<()> {
    same_length("features", rows, "labels", labels)?;
    weights.map_or(Ok(()), |weights| same_length("features", rows, "sample weights", weights.len()))?;
    match weights.and_then(|weights| weights.iter().position(|w| !(*w > 0.0 && w.is_finite()))) {
        Some(row) => Err(super::refuse(
            "sample_weight",
            weights.map_or(f64::NAN, |weights| weights[row]),
            "positive and finite in every row",
        )),
        None => Ok(()),
    }
}
