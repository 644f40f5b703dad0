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
/// Rows that one task projects.
const PROJECTED: usize = 1024;
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
pub fn standardised(features: &Matrix) -> Matrix<'static> {
    if features.is_in_file() {
        let scales = column_scales(features);
        let mut scaled = features.reborrow().into_owned();
        scaled.edit_in_file(|block| *block = rescaled(block, &scales));
        return scaled;
    }
    rescaled(features, &column_scales(features))
}

/// Mean of the known values of each column, and what brings them to deviation 1.
fn column_scales(features: &Matrix) -> Vec<(f64, f64)> {
    let columns = features.cols();
    let sums = |add: &mut dyn FnMut(usize, f64)| {
        let mut row_values = vec![0.0f32; columns];
        features.visit_rows(0..features.rows(), |_, row| {
            // Values that are not stored are 0, and known.
            row_values.fill(0.0);
            row.for_each_entry(|column, x| row_values[column] = x);
            let known = row_values.iter().enumerate().filter(|(_, x)| !x.is_nan());
            known.for_each(|(column, &x)| add(column, f64::from(x)));
        });
    };
    let mut means = vec![(0.0f64, 0u64); columns];
    sums(&mut |column, x| means[column] = (means[column].0 + x, means[column].1 + 1));
    let means: Vec<(f64, f64)> =
        means.into_iter().map(|(sum, count)| (sum / count.max(1) as f64, count.max(1) as f64)).collect();
    let mut squares = vec![0.0f64; columns];
    sums(&mut |column, x| squares[column] += (x - means[column].0).powi(2));
    let scale = |(&(mean, count), square): (&(f64, f64), f64)| {
        let variance = square / count;
        (mean, if variance > 0.0 { variance.sqrt().recip() } else { 0.0 })
    };
    means.iter().zip(squares).map(scale).collect()
}

fn rescaled(features: &Matrix, scales: &[(f64, f64)]) -> Matrix<'static> {
    let columns = features.cols();
    let mut values = vec![0.0; features.rows() * columns];
    values.par_chunks_mut((PROJECTED * columns).max(1)).enumerate().for_each(|(chunk, out)| {
        let start = chunk * PROJECTED;
        let mut rows = out.chunks_exact_mut(columns.max(1));
        features.visit_rows(start..start + rows.len(), |_, row| {
            let Some(out) = rows.next() else { return };
            // Values that are not stored are 0.
            out.fill(0.0);
            row.for_each_entry(|column, x| out[column] = x);
            for (out, (mean, scale)) in out.iter_mut().zip(scales) {
                let x = f64::from(*out);
                *out = if x.is_nan() { 0.0 } else { ((x - mean) * scale) as f32 };
            }
        });
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
            rows.visit(start..(start + CHUNK).min(n), |_, row| {
                row.for_each_entry(|feature, x| {
                    sums[feature] += f64::from(x);
                    squares += f64::from(x) * f64::from(x);
                });
            });
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
    let mut projected = vec![(0, 0.0); rows.len()];
    projected.par_chunks_mut(PROJECTED).enumerate().for_each(|(chunk, projected)| {
        let start = chunk * PROJECTED;
        rows.visit(start..start + projected.len(), |at, row| {
            let mut sums = [0.0; SIGNS + 1];
            row.for_each_entry(|feature, x| add(&mut sums, feature, f64::from(x)));
            let bits = (0..SIGNS).filter(|&at| sums[at] > cut[at]).fold(0, |bits, at| bits | 1 << at);
            projected[at] = (bits, sums[SIGNS]);
        });
    });
    projected
}

fn squared_distance(rows: &Rows<'_>, a: usize, b: usize) -> f64 {
    let mut difference = vec![0.0; rows.features()];
    let mut sign = 1.0;
    rows.visit([a, b], |_, row| {
        row.for_each_entry(|feature, x| difference[feature] += sign * f64::from(x));
        sign = -1.0;
    });
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
