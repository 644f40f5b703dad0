//! What rows that could be read make doubtful.

use super::check_findings::{Findings, some_of};
use super::row_facts::{ColumnKind, RowIndex, column_kinds, equal_rows, norms, spread_of};
use crate::data::dataset::Dataset;
use crate::data::encode::InputColumn;
use crate::data::split::Part;
use crate::experiment::twins::{find_twins, standardised};
use crate::labels::UNSEEN;
use crate::matrix::{Dtype, Matrix};
use crate::report::format::{short, thousands};
use crate::report::text::printable;

/// Rows of the largest class for one of the smallest from which on imbalance is extreme.
const EXTREME_IMBALANCE: f64 = 1000.0;
/// Longest vector against the median, and the median against the shortest, from which on norms are far apart.
const FAR_APART: f64 = 100.0;
/// Numbers in memory beyond which features are not standardised to look for near duplicates.
const MOST_STANDARDISED: usize = 1 << 28;

/// Warnings about the labels of `data`.
pub fn about_labels(data: &Dataset, findings: &mut Findings) {
    let (file, names) = (data.source.name.as_str(), &data.label_map.names);
    if data.labels.is_none() {
        return;
    }
    let counts = data.counts(None);
    let alone =
        || names.iter().zip(&counts.rows).filter(|(_, rows)| **rows == 1).map(|(name, _)| name.as_str());
    findings.warn("W01", file, alone().count() as u64, || {
        format!("{} classes have one row: {}", thousands(alone().count() as u64), some_of(alone()))
    });
    let factor = counts.imbalance_factor();
    findings.warn("W08", file, u64::from(factor >= EXTREME_IMBALANCE), || {
        format!("the largest class has {} times the rows of the smallest", short(factor))
    });
    about_unseen(data, "training", findings);
}

/// Warnings about classes of `data` that `knows` them not, and about values that became no feature.
pub fn about_unseen(data: &Dataset, knows: &str, findings: &mut Findings) {
    let file = data.source.name.as_str();
    let rows: u64 = data.unseen.iter().map(|(_, rows)| rows).sum();
    findings.warn("W12", file, rows, || {
        let names = some_of(data.unseen.iter().map(|(name, _)| name.as_str()));
        let classes = thousands(data.unseen.len() as u64);
        format!("{} rows are of {classes} classes unseen in {knows}: {names}", thousands(rows))
    });
    findings.warn("W14", file, data.unseen_levels, || {
        format!(
            "{} values are of text levels or feature indices unseen in {knows}",
            thousands(data.unseen_levels)
        )
    });
}

/// Warnings about the columns of `data` and their number.
pub fn about_columns(data: &Dataset, findings: &mut Findings) {
    let (file, kinds) = (data.source.name.as_str(), column_kinds(&data.features));
    for (code, wanted, what) in [
        ("W02", ColumnKind::Constant, "features are the same in all rows"),
        ("W03", ColumnKind::Missing, "features have no value in any row"),
    ] {
        let of_kind: Vec<String> = data
            .encoder
            .feature_names()
            .zip(&kinds)
            .filter(|(_, kind)| **kind == wanted)
            .map(|(name, _)| name)
            .collect();
        findings.warn(code, file, of_kind.len() as u64, || {
            let count = thousands(of_kind.len() as u64);
            format!("{count} {what}: {}", some_of(of_kind.iter().map(String::as_str)))
        });
    }
    let (rows, columns) = (data.features.rows() as u64, data.features.cols() as u64);
    findings.warn("W09", file, u64::from(rows < columns), || {
        format!("{} rows are fewer than {} features", thousands(rows), thousands(columns))
    });
}

/// Warnings about rows that are zero, equal to others, or of odd length.
pub fn about_rows(data: &Dataset, seed: u64, findings: &mut Findings) {
    let (file, features) = (data.source.name.as_str(), &data.features);
    let lengths = norms(features);
    let zeros: Vec<usize> = (0..lengths.len()).filter(|&row| lengths[row] == 0.0).collect();
    findings.warn("W04", file, zeros.len() as u64, || {
        format!("{} rows are all 0, first row {}", thousands(zeros.len() as u64), zeros[0] + 1)
    });
    if let [InputColumn::Vector { .. }] = data.encoder.inputs[..] {
        let [least, median, most] = spread_of(lengths.into_iter().filter(|&length| length > 0.0).collect());
        let far = most > FAR_APART * median || median > FAR_APART * least;
        findings.warn("W10", file, u64::from(far), || {
            let of = |value: f64| short(value);
            format!("norms of the vectors are {} to {}, their median {}", of(least), of(most), of(median))
        });
    }
    about_equal_rows(data, findings);
    about_near_rows(data, seed, findings);
}

fn about_equal_rows(data: &Dataset, findings: &mut Findings) {
    let (file, features) = (data.source.name.as_str(), &data.features);
    let index = RowIndex::new(features, 0..features.rows());
    let label = |row: usize| data.labels.as_ref().and_then(|labels| labels.get(row));
    let (mut equal, mut conflicting, mut first, mut first_conflict) = (0, 0, None, None);
    for row in 0..features.rows() {
        let Some(twin) = index.find(features, row).filter(|&twin| twin < row) else { continue };
        equal += 1;
        first.get_or_insert((row, twin));
        if label(row) != label(twin) {
            conflicting += 1;
            first_conflict.get_or_insert((row, twin));
        }
    }
    let pair = |pair: Option<(usize, usize)>| pair.map_or((0, 0), |(row, twin)| (row + 1, twin + 1));
    findings.warn("W05", file, equal, || {
        let (row, twin) = pair(first);
        format!("{} rows are equal to an earlier one, first row {row} to row {twin}", thousands(equal))
    });
    findings.warn("W06", file, conflicting, || {
        let (row, twin) = pair(first_conflict);
        let name = |row: usize| {
            let code = label(row - 1).copied().unwrap_or(UNSEEN);
            data.label_map.names.get(code as usize).map_or("an unknown class".into(), |name| printable(name))
        };
        format!(
            "{} rows are equal to a row with another label, first row {row} ({}) to row {twin} ({})",
            thousands(conflicting),
            name(row),
            name(twin)
        )
    });
}

/// Rows that are all but equal: vectors by their distance, columns after they were brought to one scale.
fn about_near_rows(data: &Dataset, seed: u64, findings: &mut Findings) {
    let features = &data.features;
    let (Some(labels), true) = (&data.labels, data.encoder.categories().iter().all(Option::is_none)) else {
        return;
    };
    let cells = features.rows().saturating_mul(features.cols());
    let is_vector = matches!(data.encoder.inputs[..], [InputColumn::Vector { .. }]);
    let scaled: Matrix;
    let compared = match (is_vector, features.dtype()) {
        (true, _) => features,
        (false, Dtype::Sparse) => return,
        (false, _) if cells > MOST_STANDARDISED => return,
        (false, _) => {
            scaled = standardised(features);
            &scaled
        }
    };
    let differ = |a: usize, b: usize| !equal_rows((features, a), (features, b));
    let twins = find_twins(compared, labels, seed, differ);
    findings.warn("W07", &data.source.name, twins.rows, || {
        let (rows, conflicting) = (thousands(twins.rows), thousands(twins.conflicting));
        format!(
            "{rows} rows are all but equal to another one, {conflicting} of them to one with another label"
        )
    });
}

/// Warnings about rows that are held out and trained on: those of `held` in `data`, where it is given, else those that
/// the split column sets apart.
pub fn about_leaks(data: &Dataset, held: Option<&Dataset>, findings: &mut Findings) {
    let features = &data.features;
    let is_train =
        |row: &usize| data.parts.as_ref().is_none_or(|parts| parts.get(*row) == Some(&Part::Train));
    let index = RowIndex::new(features, (0..features.rows()).filter(is_train));
    let (file, rows, other) = match held {
        Some(held) => (&held.source.name, (0..held.features.rows()).collect::<Vec<_>>(), &held.features),
        None => (&data.source.name, (0..features.rows()).filter(|row| !is_train(row)).collect(), features),
    };
    let leaks: Vec<(usize, usize)> =
        rows.into_iter().filter_map(|row| index.find(other, row).map(|twin| (row, twin))).collect();
    findings.warn("W11", file, leaks.len() as u64, || {
        let (row, twin) = leaks[0];
        format!(
            "{} held-out rows are equal to a training row, first row {} to row {} of {}",
            thousands(leaks.len() as u64),
            row + 1,
            twin + 1,
            data.source.name
        )
    });
}
