//! Looking up the bins of all rows, into the blocks of a [`super::binned::BinnedMatrix`].

use rayon::prelude::*;

use super::binned::{BLOCK_FEATURES, MISSING, Place};
use super::binning::{BinnedFeature, Values};
use crate::matrix::{FileRows, MatRef, Matrix, RowBuffer, SparseRef, Storage};
use crate::simd::{CutTable, Kernels};
use crate::stop::Stop;

/// The bins of a feature for many look-ups.
pub(super) struct Lookup<'a> {
    feature: &'a BinnedFeature,
    /// Of numeric values.
    cuts: Option<CutTable>,
    kernels: &'static Kernels,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(feature: &'a BinnedFeature) -> Self {
        let cuts = match &feature.values {
            Values::Numeric(cuts) => Some(CutTable::new(cuts)),
            Values::Categorical(_) => None,
        };
        Lookup { feature, cuts, kernels: Kernels::best() }
    }

    /// Column of the matrix.
    pub(super) fn column(&self) -> usize {
        self.feature.column as usize
    }

    /// [`BinnedFeature::bin`] of each value.
    pub(super) fn bins(&self, values: &[f32], bins: &mut [u8]) {
        match &self.cuts {
            Some(cuts) => self.kernels.bins_of_values(cuts, values, bins),
            None => bins.iter_mut().zip(values).for_each(|(bin, &value)| *bin = self.feature.bin(value)),
        }
    }
}

/// A column of the matrix on its way to its slot.
pub(super) struct Column<'a> {
    lookup: Lookup<'a>,
    place: Place,
}

impl<'a> Column<'a> {
    pub(super) fn new(feature: &'a BinnedFeature, place: Place) -> Self {
        Column { lookup: Lookup::new(feature), place }
    }

    /// What a row with `value` has in the slot of the column, or adds to what others that share it have there.
    fn code(&self, value: f32) -> u8 {
        self.place.code(self.lookup.feature.bin(value))
    }

    #[inline]
    fn slot(&self) -> usize {
        self.place.slot() % BLOCK_FEATURES
    }
}

/// Rows that one task bins.
const CHUNK: usize = 4096;

/// Rows that a feature is looked up in before the next one is.
const GROUP: usize = 64;

/// The columns of a block, and its bytes by row, which are 0 so far.
pub(super) type Unfilled<'a> = (Vec<Column<'a>>, &'a mut [[u8; BLOCK_FEATURES]]);

/// A block by its number, and its bytes of some rows.
type OfBlock<'a> = (usize, &'a mut [[u8; BLOCK_FEATURES]]);

/// Bins all rows of all blocks.
pub(super) fn fill(matrix: &Matrix, blocks: Vec<Unfilled<'_>>) {
    match matrix.storage() {
        Storage::File(rows) => fill_from_file((rows, matrix.stop()), matrix.cols(), blocks),
        _ => blocks.into_iter().for_each(|(columns, bins)| match matrix.in_memory() {
            Some(MatRef::F32(values)) => fill_dense((values, matrix), &columns, bins, |&x| x),
            Some(MatRef::F16(values)) => fill_dense((values, matrix), &columns, bins, |x| x.to_f32()),
            Some(MatRef::Bf16(values)) => fill_dense((values, matrix), &columns, bins, |x| x.to_f32()),
            Some(MatRef::Sparse(rows)) => fill_sparse((rows, matrix.stop()), &columns, bins),
            None => {}
        }),
    }
}

/// Goes through the file once for all blocks.
fn fill_from_file((rows, stop): (&FileRows, &Stop), width: usize, blocks: Vec<Unfilled<'_>>) {
    let step = rows.block_rows();
    let mut parts: Vec<Vec<OfBlock<'_>>> = Vec::new();
    parts.resize_with(rows.rows().div_ceil(step), Vec::new);
    let mut columns = Vec::with_capacity(blocks.len());
    for (block, (of_block, bins)) in blocks.into_iter().enumerate() {
        columns.push(of_block);
        bins.chunks_mut(step).zip(&mut parts).for_each(|(bins, part)| part.push((block, bins)));
    }
    parts.into_par_iter().enumerate().for_each_init(RowBuffer::default, |buffer, (at, part)| {
        if stop.is_set() {
            return;
        }
        let start = at * step;
        let values = rows.read(start, (start + step).min(rows.rows()), buffer);
        for (block, bins) in part {
            match values {
                MatRef::F32(values) => fill_rows(values, width, &columns[block], bins, |&x| x),
                MatRef::F16(values) => fill_rows(values, width, &columns[block], bins, |x| x.to_f32()),
                MatRef::Bf16(values) => fill_rows(values, width, &columns[block], bins, |x| x.to_f32()),
                MatRef::Sparse(_) => {}
            }
        }
    });
}

fn fill_dense<T: Sync>(
    (values, matrix): (&[T], &Matrix),
    columns: &[Column<'_>],
    bins: &mut [[u8; BLOCK_FEATURES]],
    widen: impl Fn(&T) -> f32 + Sync,
) {
    let width = matrix.cols();
    let tasks = bins.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK * width));
    tasks
        .filter(|_| !matrix.is_stopped())
        .for_each(|(bins, values)| fill_rows(values, width, columns, bins, &widen));
}

fn fill_rows<T>(
    values: &[T],
    width: usize,
    columns: &[Column<'_>],
    bins: &mut [[u8; BLOCK_FEATURES]],
    widen: impl Fn(&T) -> f32,
) {
    let (mut of_column, mut found) = ([0.0; GROUP], [MISSING; GROUP]);
    for (bins, values) in bins.chunks_mut(GROUP).zip(values.chunks(GROUP * width)) {
        for column in columns {
            let (at, rows) = (column.lookup.column(), bins.len());
            let values = values.chunks_exact(width).map(|row| widen(&row[at]));
            of_column.iter_mut().zip(values).for_each(|(to, value)| *to = value);
            column.lookup.bins(&of_column[..rows], &mut found[..rows]);
            for (bins, &bin) in bins.iter_mut().zip(&found) {
                // Of columns that share a slot at most one has a code other than 0.
                bins[column.slot()] |= column.place.code(bin);
            }
        }
    }
}

fn fill_sparse(
    (all, stop): (SparseRef<'_>, &Stop),
    columns: &[Column<'_>],
    bins: &mut [[u8; BLOCK_FEATURES]],
) {
    let (Some(first), Some(last)) = (columns.first(), columns.last()) else { return };
    let (first, last) = (first.lookup.feature.column, last.lookup.feature.column);
    // What a row without entries has: 0 in shared slots, whose default is the bin of 0.
    let mut absent = [0; BLOCK_FEATURES];
    columns.iter().for_each(|column| absent[column.slot()] |= column.code(0.0));
    bins.par_chunks_mut(CHUNK).enumerate().filter(|_| !stop.is_set()).for_each(|(chunk, bins)| {
        for (offset, bins) in bins.iter_mut().enumerate() {
            *bins = absent;
            let (places, values) = all.row_within(chunk * CHUNK + offset, first..last + 1);
            for (place, &value) in places.iter().zip(values) {
                if let Ok(at) = columns.binary_search_by_key(place, |column| column.lookup.feature.column) {
                    let (slot, code) = (columns[at].slot(), columns[at].code(value));
                    match columns[at].place.is_shared() {
                        true => bins[slot] |= code,
                        false => bins[slot] = code,
                    }
                }
            }
        }
    });
}
