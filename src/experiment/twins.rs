//! Rows that are all but equal to another one: where one is trained on and the other held out, scores are too good.
//!
//! Rows are hashed by the signs of random projections (Charikar 2002), and compared with their neighbours of the same
//! signs. A pair is missed where a projection falls on both sides of the cut, so several tables are drawn; what is
//! reported are pairs that were measured.

use rayon::prelude::*;

use crate::linear::rows::Rows;
use crate::matrix::Matrix;
use crate::rng::CounterRng;

/// Distance of twins in shares of the root mean square distance of a row from the mean.
const NEAR: f64 = 0.01;
const TABLES: u64 = 3;
const SIGNS: usize = 16;
/// Neighbours within a bucket, in the order of one more projection, that a row is compared with.
const NEIGHBOURS: usize = 16;

/// Rows with a near twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Twins {
    /// Rows that have one.
    pub rows: u64,
    /// Rows that have one with another label.
    pub conflicting: u64,
}

/// Counts the rows of `features` with a near twin for which `counts(row, twin)` holds. `labels` has one label a row.
pub fn find_twins(
    features: &Matrix,
    labels: &[u32],
    seed: u64,
    counts: impl Fn(usize, usize) -> bool + Sync,
) -> Twins {
    let rows = Rows::all(features);
    let n = rows.len();
    if n < 2 || features.cols() == 0 {
        return Twins::default();
    }
    let (mean, spread) = centre(&rows);
    let near = (NEAR * NEAR) * spread;
    let mut has_twin = vec![0u8; n];
    for table in 0..TABLES {
        let projected = project(&rows, &mean, seed, table);
        let mut order: Vec<usize> = (0..n).collect();
        order.par_sort_by(|&a, &b| {
            let (a_at, b_at) = (&projected[a], &projected[b]);
            a_at.0.cmp(&b_at.0).then(a_at.1.total_cmp(&b_at.1)).then(a.cmp(&b))
        });
        let found: Vec<(usize, usize)> = (0..n)
            .into_par_iter()
            .flat_map_iter(|place| {
                let row = order[place];
                let neighbours = order[place + 1..].iter().take(NEIGHBOURS).copied();
                let same_bucket = neighbours.take_while({
                    let projected = &projected;
                    move |&other| projected[other].0 == projected[row].0
                });
                let (rows, counts) = (&rows, &counts);
                same_bucket
                    .filter(move |&other| counts(row, other) && squared_distance(rows, row, other) <= near)
                    .map(move |other| (row, other))
            })
            .collect();
        for (a, b) in found {
            let kind = if labels[a] == labels[b] { 1 } else { 2 };
            has_twin[a] = has_twin[a].max(kind);
            has_twin[b] = has_twin[b].max(kind);
        }
    }
    Twins {
        rows: has_twin.iter().filter(|&&kind| kind > 0).count() as u64,
        conflicting: has_twin.iter().filter(|&&kind| kind > 1).count() as u64,
    }
}

/// Columns brought to mean 0 and deviation 1, missing values to 0: the features of trees come in units of their own, and
/// [`find_twins`] measures distances.
pub fn standardised(features: &Matrix) -> Matrix {
    let (n, columns) = (features.rows(), features.cols());
    let scales: Vec<(f64, f64)> = (0..columns)
        .into_par_iter()
        .map(|column| {
            let known = || (0..n).map(|row| f64::from(features.get(row, column))).filter(|x| !x.is_nan());
            let count = known().count().max(1) as f64;
            let mean = known().sum::<f64>() / count;
            let variance = known().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            (mean, if variance > 0.0 { variance.sqrt().recip() } else { 0.0 })
        })
        .collect();
    let mut values = vec![0.0; n * columns];
    values.par_chunks_exact_mut(columns.max(1)).enumerate().for_each(|(row, out)| {
        for (column, (out, (mean, scale))) in out.iter_mut().zip(&scales).enumerate() {
            let x = f64::from(features.get(row, column));
            *out = if x.is_nan() { 0.0 } else { ((x - mean) * scale) as f32 };
        }
    });
    Matrix::from_f32(values, columns)
}

/// Mean of the rows and their mean squared distance from it.
fn centre(rows: &Rows<'_>) -> (Vec<f64>, f64) {
    const CHUNK: usize = 4096;
    let (n, features) = (rows.len(), rows.features());
    let starts: Vec<usize> = (0..n).step_by(CHUNK).collect();
    let parts: Vec<(Vec<f64>, f64)> = starts
        .into_par_iter()
        .map(|start| {
            let (mut sums, mut squares) = (vec![0.0; features], 0.0);
            for row in start..(start + CHUNK).min(n) {
                rows.values(row).for_each_entry(|feature, x| {
                    sums[feature] += f64::from(x);
                    squares += f64::from(x) * f64::from(x);
                });
            }
            (sums, squares)
        })
        .collect();
    let (mut mean, mut squares) = (vec![0.0; features], 0.0);
    for (sums, part) in parts {
        mean.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum / n as f64);
        squares += part / n as f64;
    }
    let spread = squares - mean.iter().map(|m| m * m).sum::<f64>();
    (mean, spread.max(0.0))
}

/// For each row the signs of its projections, and one more projection.
fn project(rows: &Rows<'_>, mean: &[f64], seed: u64, table: u64) -> Vec<(u16, f64)> {
    // A sign for each feature and projection: 17 bits of one number a feature.
    let signs: Vec<u64> = (0..mean.len() as u64)
        .map(|feature| CounterRng::new(seed, (table << 48) | feature).next_u64())
        .collect();
    let add = |sums: &mut [f64; SIGNS + 1], feature: usize, x: f64| {
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum += if signs[feature] >> at & 1 == 1 { x } else { -x };
        }
    };
    let mut cut = [0.0; SIGNS + 1];
    mean.iter().enumerate().for_each(|(feature, &m)| add(&mut cut, feature, m));
    (0..rows.len())
        .into_par_iter()
        .map(|row| {
            let mut sums = [0.0; SIGNS + 1];
            rows.values(row).for_each_entry(|feature, x| add(&mut sums, feature, f64::from(x)));
            let bits = (0..SIGNS).filter(|&at| sums[at] > cut[at]).fold(0, |bits, at| bits | 1 << at);
            (bits, sums[SIGNS])
        })
        .collect()
}

fn squared_distance(rows: &Rows<'_>, a: usize, b: usize) -> f64 {
    let mut difference = vec![0.0; rows.features()];
    rows.values(a).for_each_entry(|feature, x| difference[feature] += f64::from(x));
    rows.values(b).for_each_entry(|feature, x| difference[feature] -= f64::from(x));
    difference.iter().map(|d| d * d).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rows: usize, cols: usize) -> Vec<f32> {
        let mut rng = CounterRng::new(4, 0);
        (0..rows * cols).map(|_| rng.next_f64() as f32 - 0.3).collect()
    }

    #[test]
    fn planted_twins_are_found_and_no_others() {
        let (rows, cols) = (600, 20);
        let mut values = random(rows, cols);
        // Rows 0..40 come again as 560..600, every second a little moved, every fourth with another label.
        for twin in 0..40 {
            for col in 0..cols {
                let moved = if twin % 2 == 0 { 0.0 } else { 0.001 * (col as f32 / cols as f32 - 0.5) };
                values[(560 + twin) * cols + col] = values[twin * cols + col] + moved;
            }
        }
        let labels: Vec<u32> =
            (0..rows as u32).map(|row| if row >= 560 && row % 4 == 0 { 1 } else { 0 }).collect();
        let features = Matrix::from_f32(values, cols);
        let twins = find_twins(&features, &labels, 0, |_, _| true);
        assert_eq!(twins, Twins { rows: 80, conflicting: 20 });
        // Pairs that do not count are left out.
        assert_eq!(
            find_twins(&features, &labels, 0, |a, b| a.min(b) >= 20),
            Twins { rows: 40, conflicting: 10 }
        );
        let alone = Matrix::from_f32(random(500, cols), cols);
        assert_eq!(find_twins(&alone, &vec![0; 500], 0, |_, _| true), Twins::default());
    }

    #[test]
    fn equal_rows_and_single_rows_are_no_trouble() {
        let equal = Matrix::from_f32(vec![1.0; 300], 3);
        assert_eq!(find_twins(&equal, &[0; 100], 0, |_, _| true).rows, 100);
        assert_eq!(find_twins(&Matrix::from_f32(vec![1.0; 3], 3), &[0], 0, |_, _| true), Twins::default());
    }
}
