//! A number that tells two data sets apart: of feature values and class names in row order, whatever the format, the
//! width the values were stored in, what missing values are filled with, or the number of threads. Only whether rows are
//! sparse counts besides. Not proof against intent.

use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::matrix::{MatRef, Matrix, RowBuffer};
use crate::rng::mix;

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
/// Where the hash of a sparse row starts: a row without entries is not that of no values.
const SPARSE_ROW: u64 = 0x2545_F491_4F6C_DD1D;
/// Stands for the class name of rows without a label.
pub(super) const UNLABELLED: u64 = 0x5851_F42D_4C95_7F2D;

/// Hash of a string.
pub(super) fn hash_text(text: &str) -> u64 {
    text.bytes().fold(mix(text.len() as u64), |hash, byte| mix(hash ^ u64::from(byte)))
}

/// The running hash of all rows so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    /// Of no rows.
    pub(super) fn new() -> Self {
        Fingerprint(MULTIPLIER)
    }

    /// Takes in rows, each with the hash of its class name where there are labels.
    pub(super) fn add(&mut self, features: &Matrix, names: Option<&[u64]>) {
        let mut buffer = RowBuffer::default();
        for (start, end) in features.blocks() {
            let hashes = row_hashes(features.row_range(start, end, &mut buffer), features.cols().max(1));
            for (row, hash) in (start..end).zip(hashes) {
                let name = names.and_then(|names| names.get(row)).copied().unwrap_or(UNLABELLED);
                self.0 = mix(self.0.rotate_left(23) ^ mix(hash ^ name.rotate_left(32)));
            }
        }
    }

    /// 16 hexadecimal digits.
    pub(super) fn hex(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// One hash a row; rows of equal values have equal hashes, also across widths, except that sparse rows do not hash as
/// dense ones do: their hash costs their entries alone.
fn row_hashes(rows: MatRef<'_>, cols: usize) -> Vec<u64> {
    match rows {
        MatRef::F32(values) => values.par_chunks(cols).map(|row| hash_row(row, |x| x)).collect(),
        MatRef::F16(values) => {
            // Widened a row at a time: a single value costs a look at what the machine can do.
            let hash = |wide: &mut Vec<f32>, row: &[half::f16]| {
                wide.resize(row.len(), 0.0);
                row.convert_to_f32_slice(wide);
                hash_row(wide, |x| x)
            };
            values.par_chunks(cols).map_init(Vec::new, hash).collect()
        }
        MatRef::Bf16(values) => {
            values.par_chunks(cols).map(|row| hash_row(row, half::bf16::to_f32)).collect()
        }
        MatRef::Sparse(rows) => {
            (0..rows.rows()).into_par_iter().map(|row| hash_entries(rows.row(row))).collect()
        }
    }
}

fn hash_row<T: Copy>(row: &[T], widen: impl Fn(T) -> f32) -> u64 {
    // Four chains side by side: a single one would wait for its multiplications.
    let (groups, rest) = row.as_chunks::<8>();
    let mut chains = [row.len() as u64, 1, 2, 3];
    for group in groups {
        let bits = group.map(|value| canonical_bits(widen(value)));
        for (chain, pair) in chains.iter_mut().zip(bits.as_chunks::<2>().0) {
            *chain = advance(*chain, u64::from(pair[0]) << 32 | u64::from(pair[1]));
        }
    }
    let rest = rest.iter().map(|&value| u64::from(canonical_bits(widen(value))));
    chains.into_iter().chain(rest).fold(0, advance)
}

/// The width does not count: it is the largest column of the file, or of the block, that the row stands in. Zeros do not
/// either, stored or not.
fn hash_entries((columns, values): (&[u32], &[f32])) -> u64 {
    let entries = columns.iter().zip(values).filter(|&(_, &value)| value != 0.0);
    entries.fold(SPARSE_ROW, |hash, (&column, &value)| {
        advance(hash, u64::from(column) << 32 | u64::from(canonical_bits(value)))
    })
}

/// -0 counts as 0, and missing values come as NaN of any sign and payload. Without branches, for many values at once.
fn canonical_bits(value: f32) -> u32 {
    const SIGN: u32 = 1 << 31;
    let bits = value.to_bits();
    let bits = if bits == SIGN { 0 } else { bits };
    if bits & !SIGN > f32::INFINITY.to_bits() { f32::NAN.to_bits() } else { bits }
}

fn advance(hash: u64, word: u64) -> u64 {
    ((hash ^ word).wrapping_mul(MULTIPLIER)).rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Storage;

    fn of(values: &[f32], cols: usize, names: &[&str]) -> String {
        let mut fingerprint = Fingerprint::new();
        let hashes: Vec<u64> = names.iter().map(|name| hash_text(name)).collect();
        fingerprint.add(&Matrix::from_f32(values.to_vec(), cols), Some(&hashes));
        fingerprint.hex()
    }

    #[test]
    fn values_order_shape_and_labels_count() {
        let base = of(&[1.0, 2.0, 3.0, 4.0], 2, &["a", "b"]);
        assert_eq!(base.len(), 16);
        assert_ne!(base, of(&[1.0, 2.0, 3.0, 5.0], 2, &["a", "b"]));
        assert_ne!(base, of(&[3.0, 4.0, 1.0, 2.0], 2, &["a", "b"]));
        assert_ne!(base, of(&[1.0, 2.0, 3.0, 4.0], 2, &["b", "a"]));
        assert_ne!(base, of(&[1.0, 2.0, 3.0, 4.0], 1, &["a", "b"]));
        assert_ne!(base, of(&[2.0, 1.0, 3.0, 4.0], 2, &["a", "b"]));
    }

    #[test]
    fn width_and_blocks_do_not_count() {
        let half = [f32::NAN, 2.0, -0.0].map(half::f16::from_f32).to_vec();
        let mut wide = Fingerprint::new();
        wide.add(&Matrix::from_f32(vec![-f32::NAN, 2.0, 0.0], 1), None);
        let mut narrow = Fingerprint::new();
        let half = Matrix::from_storage(Storage::F16(half), 1);
        narrow.add(&half.select_rows(&[0, 1]), None);
        narrow.add(&half.select_rows(&[2]), None);
        assert_eq!(wide, narrow);
    }

    #[test]
    fn sparse_rows_count_by_value_and_column() {
        use crate::matrix::SparseRows;
        let of = |rows: &[(&[u32], &[f32])], cols| {
            let mut all = SparseRows::default();
            rows.iter().for_each(|(columns, values)| all.push(columns, values));
            let mut fingerprint = Fingerprint::new();
            fingerprint.add(&Matrix::from_storage(Storage::Sparse(all), cols), None);
            fingerprint
        };
        let base = of(&[(&[0, 3], &[1.0, 2.0]), (&[], &[])], 4);
        assert_eq!(base, of(&[(&[0, 3], &[1.0, 2.0]), (&[5], &[-0.0])], 9));
        assert_ne!(base, of(&[(&[0, 2], &[1.0, 2.0]), (&[], &[])], 4));
        assert_ne!(base, of(&[(&[0, 3], &[1.0, 3.0]), (&[], &[])], 4));
        assert_ne!(base, of(&[(&[], &[]), (&[0, 3], &[1.0, 2.0])], 4));
        assert_ne!(base, of(&[(&[0, 3], &[1.0, 2.0])], 4));
    }
}
