//! Equal rows as one row of their summed weight: the same objective in fewer rows.
//!
//! Tables repeat rows (of KDD Cup 1999, 71 %); embeddings do not. A sample tells the two apart before every row is read.

use rayon::prelude::*;

use super::rows::Rows;
use crate::matrix::{MatRef, RowBuffer};

/// Share of the rows that merging must save to be done.
const LEAST_SAVING: f64 = 0.2;
/// Rows up to which all are hashed at once; beyond, two samples of about so many come first.
const SAMPLED: usize = 4096;
/// Rows that one task hashes.
const HASHED: usize = 1024;
/// Values of a row that decide whether it belongs to the second sample.
const PROBES: usize = 8;
const MULTIPLIERS: [u64; 4] =
    [0x9E37_79B9_7F4A_7C15, 0xD6E8_FEB8_6659_FD93, 0xA076_1D64_78BD_642F, 0xE703_7ED1_A0B4_28DB];

/// Rows that differ in features or label, in the order of their first occurrence.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// Rows of the matrix, for [`Rows::chosen`].
    pub index: Vec<usize>,
    /// Class code of each.
    pub labels: Vec<u32>,
    /// Weight of each: the sum over the rows that it stands for.
    pub weights: Vec<f32>,
}

/// Merges rows whose features (bit for bit) and label are the same; `labels` and `weights` have one value a row. `None`
/// where fewer than a fifth of the rows would go, or they are stopped. The result does not depend on the number of threads.
pub fn equal_rows(rows: &Rows<'_>, labels: &[u32], weights: &[f32]) -> Option<Merged> {
    if rows.features() == 0 || !promises_savings(rows, labels) {
        return None;
    }
    let positions: Vec<usize> = (0..rows.len()).collect();
    let (hashes, firsts) =
        (hashed(rows, labels, &positions), |run: &[(u64, usize)]| first_of(rows, labels, run));
    let runs: Vec<&[(u64, usize)]> = hashes.chunk_by(|a, b| a.0 == b.0).collect();
    let found: Vec<Vec<(usize, usize)>> = runs.into_par_iter().map(firsts).collect();
    let mut first = positions;
    found.into_iter().flatten().for_each(|(position, of)| first[position] = of);

    let kept = first.iter().enumerate().filter(|(position, first)| position == *first).count();
    if rows.is_stopped() || !is_worth(kept, rows.len()) {
        return None;
    }
    let mut place = vec![0; rows.len()];
    let (mut index, mut kept_labels, mut sums) =
        (Vec::with_capacity(kept), Vec::with_capacity(kept), Vec::<f64>::with_capacity(kept));
    for (position, &first) in first.iter().enumerate() {
        let weight = f64::from(weights[position]);
        if first == position {
            place[position] = index.len();
            index.push(rows.matrix_row(position));
            kept_labels.push(labels[position]);
            sums.push(weight);
        } else {
            sums[place[first]] += weight;
        }
    }
    Some(Merged { index, labels: kept_labels, weights: sums.into_iter().map(|sum| sum as f32).collect() })
}

fn is_worth(distinct: usize, rows: usize) -> bool {
    distinct as f64 <= (1.0 - LEAST_SAVING) * rows as f64
}

/// Whether a sample repeats rows. One at equal distances meets the rows that are repeated most; one of all rows that a
/// few of their values choose holds every copy of the rows it holds, and so meets the many that are repeated seldom.
fn promises_savings(rows: &Rows<'_>, labels: &[u32]) -> bool {
    if rows.len() <= SAMPLED {
        return true;
    }
    let repeats = |positions: &[usize]| {
        let distinct = hashed(rows, labels, positions).chunk_by(|a, b| a.0 == b.0).count();
        // Half of what is asked for in the end: a sample errs.
        positions.is_empty() || distinct as f64 <= (1.0 - 0.5 * LEAST_SAVING) * positions.len() as f64
    };
    let stride = rows.len().div_ceil(SAMPLED);
    if repeats(&(0..rows.len()).step_by(stride).collect::<Vec<_>>()) {
        return true;
    }
    let limit = u64::MAX / stride as u64;
    let starts: Vec<usize> = (0..rows.len()).step_by(HASHED).collect();
    let chosen = starts.into_par_iter().flat_map_iter(|start| {
        let mut chosen = Vec::new();
        if rows.is_stopped() {
            return chosen;
        }
        rows.visit(start..(start + HASHED).min(rows.len()), |at, row| {
            if probe(row) <= limit {
                chosen.push(start + at);
            }
        });
        chosen
    });
    repeats(&chosen.collect::<Vec<usize>>())
}

/// Hash and position of rows, ascending.
fn hashed(rows: &Rows<'_>, labels: &[u32], positions: &[usize]) -> Vec<(u64, usize)> {
    let of_some = |some: &[usize]| {
        let mut hashes = Vec::with_capacity(some.len());
        if rows.is_stopped() {
            return hashes;
        }
        rows.visit(some.iter().copied(), |at, row| hashes.push((hash_row(row, labels[some[at]]), some[at])));
        hashes
    };
    let mut hashes: Vec<(u64, usize)> = positions.par_chunks(HASHED).flat_map_iter(of_some).collect();
    hashes.par_sort_unstable();
    hashes
}

/// Of rows with one hash, in ascending order, those that equal an earlier one, each with the first such row.
fn first_of(rows: &Rows<'_>, labels: &[u32], run: &[(u64, usize)]) -> Vec<(usize, usize)> {
    let mut firsts: Vec<usize> = Vec::with_capacity(1);
    let mut equal = Vec::with_capacity(run.len() - 1);
    if run.len() == 1 {
        return equal;
    }
    let (mut of_first, mut of_position) = (RowBuffer::default(), RowBuffer::default());
    for &(_, position) in run {
        let values = rows.values(position, &mut of_position);
        let mut is_same = |&first: &usize| {
            labels[first] == labels[position] && same_bits(rows.values(first, &mut of_first), values)
        };
        match firsts.iter().copied().find(&mut is_same) {
            Some(first) => equal.push((position, first)),
            None => firsts.push(position),
        }
    }
    equal
}

fn same_bits(a: MatRef<'_>, b: MatRef<'_>) -> bool {
    match (a, b) {
        (MatRef::F32(a), MatRef::F32(b)) => a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()),
        (MatRef::F16(a), MatRef::F16(b)) => a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()),
        (MatRef::Bf16(a), MatRef::Bf16(b)) => a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()),
        (MatRef::Sparse(a), MatRef::Sparse(b)) => {
            let (a, b) = (a.entries(), b.entries());
            a.0 == b.0 && a.1.iter().zip(b.1).all(|(a, b)| a.to_bits() == b.to_bits())
        }
        _ => false,
    }
}

fn hash_row(row: MatRef<'_>, label: u32) -> u64 {
    match row {
        MatRef::F32(row) => hash_bits(row, label, |x| x.to_bits()),
        MatRef::F16(row) => hash_bits(row, label, |x| u32::from(x.to_bits())),
        MatRef::Bf16(row) => hash_bits(row, label, |x| u32::from(x.to_bits())),
        MatRef::Sparse(row) => {
            let (columns, values) = row.entries();
            let columns = hash_bits(columns, label, |column| column);
            hash_bits(values, label, |x| x.to_bits()) ^ columns.rotate_left(32)
        }
    }
}

/// Multiplies into 128 bits and folds the halves, so that high bits of the values reach low bits of the hash.
fn fold(hash: u64, word: u64, multiplier: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(multiplier);
    (product as u64) ^ (product >> 64) as u64
}

/// Four chains side by side, two values a step each: one chain would wait for its multiplications.
fn hash_bits<T: Copy>(row: &[T], label: u32, bits: impl Fn(T) -> u32) -> u64 {
    let word = |pair: &[T]| pair.iter().fold(0, |word, &x| (word << 32) | u64::from(bits(x)));
    let mut chains = MULTIPLIERS;
    let mut blocks = row.chunks_exact(8);
    for block in &mut blocks {
        for ((chain, pair), multiplier) in chains.iter_mut().zip(block.chunks_exact(2)).zip(MULTIPLIERS) {
            *chain = fold(*chain, word(pair), multiplier);
        }
    }
    for ((chain, pair), multiplier) in chains.iter_mut().zip(blocks.remainder().chunks(2)).zip(MULTIPLIERS) {
        *chain = fold(*chain, word(pair), multiplier);
    }
    chains.into_iter().fold(u64::from(label), |hash, chain| fold(hash.rotate_left(23), chain, MULTIPLIERS[0]))
}

/// A hash of a few values spread over the row.
fn probe(row: MatRef<'_>) -> u64 {
    fn some<T: Copy>(row: &[T]) -> Vec<T> {
        row.iter().copied().step_by(row.len().div_ceil(PROBES).max(1)).collect()
    }
    let hash = match row {
        MatRef::F32(row) => hash_row(MatRef::F32(&some(row)), 0),
        MatRef::F16(row) => hash_row(MatRef::F16(&some(row)), 0),
        MatRef::Bf16(row) => hash_row(MatRef::Bf16(&some(row)), 0),
        MatRef::Sparse(_) => hash_row(row, 0),
    };
    crate::rng::mix(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Matrix, Storage};
    use crate::rng::CounterRng;

    /// `rows` rows of 9 features that repeat `distinct` patterns in a random order, labels by the pattern.
    fn repeated(rows: usize, distinct: usize) -> (Matrix<'static>, Vec<u32>, Vec<f32>) {
        let mut rng = CounterRng::new(7, 1);
        let patterns: Vec<usize> = (0..rows).map(|_| (rng.next_f64() * distinct as f64) as usize).collect();
        let value = |pattern: usize, col: usize| ((pattern * 31 + col * 17) % 1009 + pattern) as f32;
        let values = patterns.iter().flat_map(|&p| (0..9).map(move |col| value(p, col))).collect();
        let labels = patterns.iter().map(|&p| (p % 3) as u32).collect();
        (Matrix::from_f32(values, 9), labels, (0..rows).map(|row| 0.5 + (row % 5) as f32).collect())
    }

    #[test]
    fn first_occurrences_stay_in_order_with_all_the_weight() {
        let values = vec![1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, -0.0, 0.0, 0.0, 0.0];
        let features = Matrix::from_f32(values, 2);
        let weights = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
        let merged = equal_rows(&Rows::all(&features), &[0, 1, 0, 1, 1, 0, 0], &weights).unwrap();
        // Row 3 has another label than row 0, and -0 is not the bits of 0.
        assert_eq!(merged.index, [0, 1, 3, 5, 6]);
        assert_eq!(merged.labels, [0, 1, 1, 0, 0]);
        assert_eq!(merged.weights, [5.0, 18.0, 8.0, 32.0, 64.0]);
        let index = [4, 1, 2, 0];
        let merged = equal_rows(&Rows::chosen(&features, &index), &[1, 1, 0, 0], &weights[..4]).unwrap();
        assert_eq!((merged.index, merged.weights), (vec![4, 2], vec![3.0, 12.0]));
    }

    #[test]
    fn large_samples_are_recognised_and_threads_change_nothing() {
        for (rows, distinct) in [(20_000, 300), (20_000, 12_000)] {
            let (features, labels, weights) = repeated(rows, distinct);
            let merge = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| equal_rows(&Rows::all(&features), &labels, &weights)).unwrap()
            };
            let merged = merge(1);
            let mut seen = std::collections::HashSet::new();
            let key = |row: usize| (0..9).map(|col| features.get(row, col).to_bits()).collect::<Vec<_>>();
            let expected: Vec<usize> = (0..rows).filter(|&row| seen.insert(key(row))).collect();
            assert_eq!(merged.index, expected);
            let total = |weights: &[f32]| weights.iter().map(|&w| f64::from(w)).sum::<f64>();
            assert_eq!(total(&merged.weights), total(&weights));
            assert_eq!((merge(2), merge(3)), (merged.clone(), merged));
        }
    }

    #[test]
    fn rows_that_hardly_repeat_are_left_alone() {
        let mut rng = CounterRng::new(3, 1);
        let mut values: Vec<f32> = (0..4 * 6000).map(|_| rng.next_f64() as f32).collect();
        values.copy_within(0..4 * 500, 4 * 3000);
        let features = Matrix::from_f32(values, 4);
        let rows = Rows::all(&features);
        assert_eq!(equal_rows(&rows, &vec![0; 6000], &vec![1.0; 6000]), None);
        assert_eq!(equal_rows(&Rows::all(&Matrix::from_f32(Vec::new(), 0)), &[], &[]), None);
    }

    #[test]
    fn rows_of_one_hash_are_compared() {
        let half = |values: &[f32]| Storage::F16(values.iter().map(|&v| half::f16::from_f32(v)).collect());
        let features = Matrix::from_storage(half(&[1.0, 2.0, 1.0, 3.0, 2.0]), 1);
        let run: Vec<(u64, usize)> = (0..5).map(|position| (9, position)).collect();
        assert_eq!(first_of(&Rows::all(&features), &[0; 5], &run), [(2, 0), (4, 1)]);
    }
}
