//! Parts of a data set by seed.

use cbfit::rng::CounterRng;

use crate::raw_rows::Rows;

/// Rows to fit, to choose by, and to report.
pub struct Parts {
    pub fit: Rows,
    pub valid: Rows,
    pub held: Rows,
}

/// A fifth of each class is to choose by and a fifth to report.
const SHARE: f64 = 0.2;

/// Rows of each class that a draw keeps, where the class has them.
const KEPT: usize = 50;

/// Stream of the draws; the class is added.
const STREAM: u64 = 0x5EED_0000;

impl Parts {
    /// About `cap` rows drawn by `seed`: the same share of every class, but no class below [`KEPT`] rows.
    pub fn draw(all: &Rows, cap: usize, seed: u64) -> Parts {
        let share = (cap as f64 / all.labels.len() as f64).min(1.0);
        let mut by_class = vec![Vec::new(); all.classes];
        all.labels.iter().enumerate().for_each(|(row, &label)| by_class[label as usize].push(row));
        let (mut fit, mut valid, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for (class, mut rows) in by_class.into_iter().enumerate() {
            CounterRng::new(seed, STREAM + class as u64).shuffle(&mut rows);
            let wanted = ((rows.len() as f64 * share).round() as usize).max(KEPT.min(rows.len()));
            let part = ((wanted as f64 * SHARE).round() as usize).max(1);
            valid.extend_from_slice(&rows[..part]);
            held.extend_from_slice(&rows[part..2 * part]);
            fit.extend_from_slice(&rows[2 * part..wanted]);
        }
        let select = |mut rows: Vec<usize>| {
            rows.sort_unstable();
            let labels = rows.iter().map(|&row| all.labels[row]).collect();
            Rows { features: all.features.select_rows(&rows), labels, classes: all.classes }
        };
        Parts { fit: select(fit), valid: select(valid), held: select(held) }
    }
}
