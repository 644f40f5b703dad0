//! The long-tailed digits of data/, rows of 64 grey values, which digit each shows, and how well that was told.

use std::collections::BTreeMap;

const TRAIN: &str = include_str!("../../data/digits_lt_train.csv");

/// Values row by row, and labels.
pub fn digits() -> (Vec<f32>, Vec<u32>) {
    let rows = TRAIN.lines().skip(1).map(|line| {
        let mut cells = line.split(',').filter_map(|cell| cell.parse::<f32>().ok());
        (cells.next().unwrap_or(f32::NAN) as u32, cells.map(|value| value / 16.0).collect::<Vec<f32>>())
    });
    let (labels, values): (Vec<u32>, Vec<Vec<f32>>) = rows.unzip();
    (values.concat(), labels)
}

/// Share of the right labels of each class that `truth` has, and of these the mean.
pub fn macro_recall<'l, L: Ord + 'l>(
    truth: impl IntoIterator<Item = &'l L>,
    found: impl IntoIterator<Item = &'l L>,
) -> f64 {
    let mut classes: BTreeMap<&L, (f64, f64)> = BTreeMap::new();
    for (truth, found) in truth.into_iter().zip(found) {
        let (right, rows) = classes.entry(truth).or_default();
        *rows += 1.0;
        *right += f64::from(u8::from(truth == found));
    }
    classes.values().map(|(right, rows)| right / rows).sum::<f64>() / classes.len() as f64
}
