//! Measures that need the rows in the order of one class's probability: average precision and class-wise ECE.

use rayon::prelude::*;

use super::Scored;
use super::calibration::EqualMassBins;

/// Columns gathered at once: 16 f32 make one cache line of a row.
const BLOCK_CLASSES: usize = 16;

/// What one sorted pass over a class gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ClassCurve {
    /// Average precision `sum_k (R_k - R_{k-1}) P_k` over distinct thresholds; NaN for a class without rows. Rows of
    /// unseen labels are negatives.
    pub average_precision: f64,
    /// Calibration error of this class's probability over the rows with known labels.
    pub calibration_error: f64,
}

/// Curves of all classes in class order. Classes are independent, so the number of threads does not show.
pub(super) fn class_curves(scored: &Scored<'_>, class_weight: &[f64], known_weight: f64) -> Vec<ClassCurve> {
    let starts: Vec<usize> = (0..scored.classes).step_by(BLOCK_CLASSES).collect();
    let blocks: Vec<Vec<ClassCurve>> = starts
        .par_iter()
        .map(|&start| {
            let width = BLOCK_CLASSES.min(scored.classes - start);
            let mut order = vec![0; scored.labels.len()];
            let columns = gather_keys(scored, start, width);
            columns
                .iter()
                .enumerate()
                .map(|(column, keys)| {
                    sort_descending(keys, &mut order);
                    curve(scored, start + column, &order, class_weight[start + column], known_weight)
                })
                .collect()
        })
        .collect();
    blocks.concat()
}

/// Bits of the probabilities of `width` classes, one vector a class. The bits of floats of at least 0 sort as the
/// floats do.
fn gather_keys(scored: &Scored<'_>, start: usize, width: usize) -> Vec<Vec<u32>> {
    let mut columns = vec![Vec::with_capacity(scored.labels.len()); width];
    for row in scored.probabilities.chunks_exact(scored.classes) {
        for (column, p) in columns.iter_mut().zip(&row[start..start + width]) {
            // + 0.0 turns a negative zero into zero.
            column.push((p + 0.0).to_bits());
        }
    }
    columns
}

/// Rows from the highest key down as `(!key) << 32 | row`: equal keys in row order.
fn sort_descending(keys: &[u32], order: &mut [u64]) {
    for (row, (slot, key)) in order.iter_mut().zip(keys).enumerate() {
        *slot = u64::from(!key) << 32 | row as u64;
    }
    order.sort_unstable();
}

fn curve(scored: &Scored<'_>, class: usize, order: &[u64], positives: f64, known: f64) -> ClassCurve {
    let mut bins = EqualMassBins::new(known);
    let (mut found, mut retrieved, mut area) = (0.0, 0.0, 0.0);
    for equal in order.chunk_by(|a, b| a >> 32 == b >> 32) {
        let (mut hits, mut known, mut all) = (0.0, 0.0, 0.0);
        for &entry in equal {
            let row = (entry & u64::from(u32::MAX)) as usize;
            let weight = scored.weight(row);
            all += weight;
            if let Some(y) = scored.label(row) {
                known += weight;
                if y == class {
                    hits += weight;
                }
            }
        }
        found += hits;
        retrieved += all;
        area += hits * (found / retrieved);
        if known > 0.0 {
            let probability = f32::from_bits(!((equal[0] >> 32) as u32));
            bins.add(f64::from(probability), known, hits);
        }
    }
    ClassCurve { average_precision: area / positives, calibration_error: bins.error() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::UNSEEN;

    fn curves(p: &[f32], labels: &[u32], classes: usize) -> Vec<ClassCurve> {
        let scored = Scored::new(p, labels, None, classes).unwrap();
        let known = labels.iter().filter(|&&y| (y as usize) < classes).count() as f64;
        let weights: Vec<f64> =
            (0..classes).map(|c| labels.iter().filter(|&&y| y as usize == c).count() as f64).collect();
        class_curves(&scored, &weights, known)
    }

    #[test]
    fn ties_share_one_threshold() {
        // Class 0 in order: .8 (hit), .5 (hit and miss together), .1 (miss).
        let p = [0.8, 0.2, 0.5, 0.5, 0.5, 0.5, 0.1, 0.9];
        let seen = curves(&p, &[0, 0, 1, 1], 2);
        assert!((seen[0].average_precision - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-15);
    }

    #[test]
    fn unseen_rows_are_negatives_of_every_class_and_no_part_of_calibration() {
        let p = [1.0, 0.0, 0.6, 0.4, 0.0, 1.0];
        let seen = curves(&p, &[UNSEEN, 0, 1], 2);
        assert_eq!(seen[0].average_precision, 0.5);
        assert_eq!(seen[1].average_precision, 1.0);
        assert!((seen[0].calibration_error - 0.2).abs() < 1e-7);
    }

    #[test]
    fn a_class_without_rows_has_no_average_precision() {
        assert!(curves(&[0.5, 0.5], &[0], 2)[1].average_precision.is_nan());
    }
}
