//! Features that share a byte: exclusive feature bundling (Ke et al. 2017, LightGBM), without any loss.
//!
//! The columns of a one-hot code, or most words of a text, are 0 in most rows, and never different from 0 together. Such
//! features have their bins in one slot ([`Place`]): memory and histograms then cost what one feature costs. Every row
//! is looked at, so that no two features of a bundle differ from their usual bin together: trees are those without
//! bundles, to the last bit.

use rayon::prelude::*;

use super::binned::{BINS, BLOCK_FEATURES, BinnedMatrix, Place};
use super::binning::{BinnedFeature, Values};
use crate::matrix::{FileRows, MatRef, Matrix, RowBuffer, SparseRef, Storage};
use crate::stop::Stop;

/// Rows that are looked at first: features that often differ from their bin of 0 are no candidates.
const SAMPLE: usize = 512;

/// Bundles that a feature is tried in, the newest first.
const TRIED: usize = 64;

/// Where the bins of each feature go.
pub(super) struct Layout {
    /// By feature.
    pub places: Vec<Place>,
    /// First slot of each block, and the number of codes of each of its slots.
    pub blocks: Vec<(usize, Vec<usize>)>,
}

impl Layout {
    /// Slots for the features of `matrix`, in the order of the first feature of each.
    pub(super) fn of(matrix: &Matrix, features: &[BinnedFeature]) -> Self {
        let bundle_of = bundles(matrix, features);
        // Slot, first code and number of codes of each bundle; its first code is 1, or 0 where it has one feature.
        let mut members = vec![0usize; features.len()];
        bundle_of.iter().flatten().for_each(|&bundle| members[bundle] += 1);
        let mut slot_of_bundle: Vec<Option<usize>> = vec![None; features.len()];
        let (mut codes, mut slots): (Vec<usize>, Vec<(usize, usize)>) = (Vec::new(), Vec::new());
        for (feature, bundle) in features.iter().zip(&bundle_of) {
            let values = feature.bins();
            match bundle.filter(|&bundle| members[bundle] > 1) {
                None => {
                    slots.push((codes.len(), 0));
                    codes.push(values + 1);
                }
                Some(bundle) => {
                    let slot = *slot_of_bundle[bundle].get_or_insert_with(|| {
                        codes.push(1);
                        codes.len() - 1
                    });
                    slots.push((slot, codes[slot]));
                    codes[slot] += values;
                }
            }
        }
        let ranges = BinnedMatrix::layout(codes.len());
        let places = (features.iter().zip(slots)).map(|(feature, (slot, first))| {
            let block = ranges.partition_point(|&(start, _)| start <= slot) - 1;
            let within = slot - ranges[block].0;
            match first {
                0 => Place::alone(block, within),
                _ => Place::shared(block, within, first as u8, feature.bin(0.0)),
            }
        });
        let places = places.collect();
        let blocks =
            ranges.iter().map(|&(first, slots)| (first, codes[first..first + slots].to_vec())).collect();
        Layout { places, blocks }
    }
}

/// The bundle of each feature that may share a slot; features of one bundle never differ from their bin of 0 together.
fn bundles(matrix: &Matrix, features: &[BinnedFeature]) -> Vec<Option<usize>> {
    let usual: Vec<Usual> = features.iter().map(Usual::new).collect();
    let differing = differing(matrix, &usual);
    let words = matrix.rows().div_ceil(64);
    let mut open: Vec<Bundle> = Vec::new();
    let mut bundle_of = vec![None; features.len()];
    for (at, rows) in differing.iter().enumerate() {
        if matrix.is_stopped() {
            break;
        }
        let Some(rows) = rows else { continue };
        let codes = features[at].bins();
        let newest = open.len().saturating_sub(TRIED)..open.len();
        let fits = |bundle: &Bundle| bundle.codes + codes <= BINS && !rows.meet(&bundle.rows);
        let found = newest.rev().find(|&bundle| fits(&open[bundle]));
        let bundle = found.unwrap_or_else(|| {
            open.push(Bundle { codes: 1, rows: vec![0; words] });
            open.len() - 1
        });
        open[bundle].codes += codes;
        rows.join(&mut open[bundle].rows);
        bundle_of[at] = Some(bundle);
    }
    bundle_of
}

/// Features that share a slot.
struct Bundle {
    /// Codes taken, that of the usual bins included.
    codes: usize,
    /// Bit a row: whether one of the features differs there from its usual bin.
    rows: Vec<u64>,
}

/// Rows in which a feature has not its usual bin.
enum Rows {
    /// Bit a row.
    Bits(Vec<u64>),
    /// Their numbers.
    List(Vec<u32>),
}

impl Rows {
    /// Whether one of them is marked.
    fn meet(&self, marked: &[u64]) -> bool {
        match self {
            Rows::Bits(bits) => bits.iter().zip(marked).any(|(bits, marked)| bits & marked != 0),
            Rows::List(rows) => rows.iter().any(|&row| marked[row as usize / 64] >> (row % 64) & 1 == 1),
        }
    }

    /// Marks them.
    fn join(&self, marked: &mut [u64]) {
        match self {
            Rows::Bits(bits) => marked.iter_mut().zip(bits).for_each(|(marked, bits)| *marked |= bits),
            Rows::List(rows) => rows.iter().for_each(|&row| marked[row as usize / 64] |= 1 << (row % 64)),
        }
    }
}

/// The bin that a feature has where its value is 0.
struct Usual<'a> {
    feature: &'a BinnedFeature,
    bin: u8,
    /// Numeric values in the bin are above the first and up to the second; there is no limit where the first is NaN.
    limits: (f32, f32),
}

impl<'a> Usual<'a> {
    fn new(feature: &'a BinnedFeature) -> Self {
        let bin = feature.bin(0.0);
        let limits = match &feature.values {
            Values::Numeric(cuts) => {
                let cut = |at: usize| cuts.get(at).copied();
                let low = usize::from(bin).checked_sub(2).and_then(cut);
                (low.unwrap_or(f32::NAN), cut(usize::from(bin) - 1).unwrap_or(f32::INFINITY))
            }
            Values::Categorical(_) => (f32::NAN, f32::INFINITY),
        };
        Usual { feature, bin, limits }
    }

    /// Whether `value` is in another bin.
    #[inline]
    fn lacks(&self, value: f32) -> bool {
        match self.feature.values {
            Values::Numeric(_) => value.is_nan() | (value <= self.limits.0) | (value > self.limits.1),
            Values::Categorical(_) => self.feature.bin(value) != self.bin,
        }
    }
}

/// The rows in which each feature differs from its usual bin; `None` where these are too many for a bundle.
fn differing(matrix: &Matrix, usual: &[Usual<'_>]) -> Vec<Option<Rows>> {
    if let Storage::File(rows) = matrix.storage() {
        return differing_in_file((rows, matrix.stop()), matrix.cols(), usual);
    }
    match matrix.in_memory() {
        Some(MatRef::F32(values)) => differing_dense((values, matrix), usual, |&x| x),
        Some(MatRef::F16(values)) => differing_dense((values, matrix), usual, |x| x.to_f32()),
        Some(MatRef::Bf16(values)) => differing_dense((values, matrix), usual, |x| x.to_f32()),
        Some(MatRef::Sparse(rows)) => differing_sparse(rows, usual, matrix.stop()),
        None => usual.iter().map(|_| None).collect(),
    }
}

/// As [`differing_dense`], in one pass over the sample and one over all rows.
fn differing_in_file(
    (file, stop): (&FileRows, &Stop),
    width: usize,
    usual: &[Usual<'_>],
) -> Vec<Option<Rows>> {
    let rows = file.rows();
    let step = rows.div_ceil(SAMPLE).max(1);
    let (mut counts, mut values) = (vec![0usize; usual.len()], vec![0.0f32; width]);
    file.visit((0..rows).step_by(step), |_, row| {
        row.for_each_entry(|column, x| values[column] = x);
        let lacking = usual.iter().map(|usual| usual.lacks(values[usual.feature.column as usize]));
        counts.iter_mut().zip(lacking).for_each(|(count, lacks)| *count += usize::from(lacks));
    });
    let candidates: Vec<usize> =
        (0..usual.len()).filter(|&at| 2 * counts[at] <= rows.div_ceil(step)).collect();
    let mut found: Vec<Option<Rows>> = (0..usual.len()).map(|_| None).collect();
    if candidates.len() < 2 {
        return found;
    }
    let starts: Vec<usize> = (0..rows).step_by(64).collect();
    let words: Vec<Vec<u64>> = starts
        .into_par_iter()
        .map_init(RowBuffer::default, |buffer, start| {
            if stop.is_set() {
                return vec![0; candidates.len()];
            }
            let end = rows.min(start + 64);
            let block = file.read(start, end, buffer);
            let word = |&at: &usize| {
                let (usual, column) = (&usual[at], usual[at].feature.column as usize);
                (0..end - start).fold(0, |word, row| {
                    let place = row * width + column;
                    let value = match block {
                        MatRef::F32(values) => values[place],
                        MatRef::F16(values) => values[place].to_f32(),
                        MatRef::Bf16(values) => values[place].to_f32(),
                        MatRef::Sparse(_) => 0.0,
                    };
                    word | u64::from(usual.lacks(value)) << row
                })
            };
            candidates.iter().map(word).collect()
        })
        .collect();
    for (place, at) in candidates.into_iter().enumerate() {
        found[at] = Some(Rows::Bits(words.iter().map(|words| words[place]).collect()));
    }
    found
}

fn differing_dense<T: Sync>(
    (values, matrix): (&[T], &Matrix),
    usual: &[Usual<'_>],
    widen: impl Fn(&T) -> f32 + Sync,
) -> Vec<Option<Rows>> {
    let width = matrix.cols();
    let rows = values.len().checked_div(width).unwrap_or(0);
    let lacks = |row: usize, usual: &Usual<'_>| {
        usual.lacks(widen(&values[row * width + usual.feature.column as usize]))
    };
    let step = rows.div_ceil(SAMPLE).max(1);
    let rare = |usual: &Usual<'_>| {
        let differing = (0..rows).step_by(step).filter(|&row| lacks(row, usual)).count();
        2 * differing <= rows.div_ceil(step)
    };
    let candidates: Vec<usize> = (0..usual.len()).filter(|&at| rare(&usual[at])).collect();
    let mut found: Vec<Option<Rows>> = (0..usual.len()).map(|_| None).collect();
    if candidates.len() < 2 {
        return found;
    }
    // As many columns at a time as a cache line holds values.
    let groups = candidates.par_chunks(BLOCK_FEATURES).flat_map_iter(|group| {
        let mut bits: Vec<Vec<u64>> = group.iter().map(|_| Vec::with_capacity(rows.div_ceil(64))).collect();
        for start in (0..rows).step_by(64) {
            if matrix.is_stopped() {
                break;
            }
            let end = rows.min(start + 64);
            for (bits, &at) in bits.iter_mut().zip(group) {
                let mark = |word: u64, row: usize| word | u64::from(lacks(row, &usual[at])) << (row - start);
                bits.push((start..end).fold(0, mark));
            }
        }
        bits
    });
    let groups: Vec<Vec<u64>> = groups.collect();
    for (at, bits) in candidates.into_iter().zip(groups) {
        found[at] = Some(Rows::Bits(bits));
    }
    found
}

fn differing_sparse(rows: SparseRef<'_>, usual: &[Usual<'_>], stop: &Stop) -> Vec<Option<Rows>> {
    let width = usual.last().map_or(0, |usual| usual.feature.column as usize + 1);
    let mut feature_of = vec![None; width];
    usual.iter().enumerate().for_each(|(at, usual)| feature_of[usual.feature.column as usize] = Some(at));
    let mut lists = vec![Vec::new(); usual.len()];
    for (row, (columns, values)) in rows.iter().enumerate() {
        if row.is_multiple_of(SAMPLE) && stop.is_set() {
            break;
        }
        for (&column, &value) in columns.iter().zip(values) {
            if let Some(&Some(at)) = feature_of.get(column as usize)
                && usual[at].lacks(value)
            {
                lists[at].push(row as u32);
            }
        }
    }
    let rare = |rows_of: &Vec<u32>| 2 * rows_of.len() <= rows.rows();
    lists.into_iter().map(|list| rare(&list).then_some(Rows::List(list))).collect()
}

#[cfg(test)]
#[path = "bundles_tests.rs"]
pub(super) mod tests;
