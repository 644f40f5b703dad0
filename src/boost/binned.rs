//! Features as bytes, laid out for histograms.
//!
//! Sixteen features share a block, in which a row is sixteen bytes side by side: one load brings all bins of a row, and
//! the histograms of a block stay in the first-level cache (16 features x 256 bins x 8 bytes are 32 KiB). Features of which
//! at most one differs from its usual bin in any row share a byte (`bundles`).

use rayon::prelude::*;

use super::statistics::{Bin, FeatureHistogram};
use crate::stop::Stop;

/// Slots of a feature in a histogram: bin 0 for missing values, bins 1..=254 for values; 255 is never used.
pub const BINS: usize = 256;

/// Most bins for values that a feature can have.
pub const MAX_VALUE_BINS: usize = 254;

/// Bin of missing values.
pub const MISSING: u8 = 0;

/// Features side by side in a block.
pub const BLOCK_FEATURES: usize = 16;

/// One feature of a [`BinnedMatrix`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureInfo {
    /// Column of the feature matrix that it was made from.
    pub column: u32,
    /// Number of value bins, 1..=254: values have bins `1..=values`.
    pub values: u8,
    /// Whether bins are categories without an order.
    pub categorical: bool,
}

/// Where the bins of a feature stand: in a slot of a block, which exclusive features may share.
///
/// A slot of one feature holds its bins. A shared one holds a code: 0 where all its features have the bin they have in
/// most rows, else the code of the one that has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    block: u32,
    /// Slot within the block.
    slot: u8,
    /// First of the codes of the feature, one for each of its bins but the default one; 0 where the slot is not shared.
    first: u8,
    /// Bin of the rows that have no code of the feature.
    default: u8,
}

impl Place {
    /// A slot that no other feature has.
    pub(super) fn alone(block: usize, slot: usize) -> Self {
        Place { block: block as u32, slot: slot as u8, first: 0, default: MISSING }
    }

    /// A slot in which the codes of the feature start at `first`, at least 1.
    pub(super) fn shared(block: usize, slot: usize, first: u8, default: u8) -> Self {
        Place { block: block as u32, slot: slot as u8, first, default }
    }

    pub(super) fn block(self) -> usize {
        self.block as usize
    }

    pub(super) fn slot(self) -> usize {
        usize::from(self.slot)
    }

    pub(super) fn is_shared(self) -> bool {
        self.first > 0
    }

    /// What a row with `bin` has in the slot; of a shared slot 0, to which other features may add theirs.
    #[inline(always)]
    pub(super) fn code(self, bin: u8) -> u8 {
        match self.first {
            0 => bin,
            _ if bin == self.default => 0,
            first => first + (bin - u8::from(bin > self.default)),
        }
    }

    /// Bin of a row whose slot holds `code`, of a feature with `values` value bins.
    #[inline(always)]
    pub(super) fn bin(self, code: u8, values: u8) -> u8 {
        let own = code.wrapping_sub(self.first);
        match self.first {
            0 => code,
            _ if own >= values => self.default,
            _ => own + u8::from(own >= self.default),
        }
    }

    /// The histogram of a feature with `values` value bins, from that of its slot and the sum over all rows; `room` is for
    /// one that has to be put together. `None` where the rows that have not the default bin are `too_few`, going by their
    /// sum: on one side of any cut there are only some of these.
    pub(super) fn histogram<'h, B: Bin>(
        self,
        slot: &'h FeatureHistogram<B>,
        values: u8,
        total: B,
        too_few: impl Fn(B) -> bool,
        room: &'h mut FeatureHistogram<B>,
    ) -> Option<&'h FeatureHistogram<B>> {
        if self.first == 0 {
            return Some(slot);
        }
        let codes = &slot[usize::from(self.first)..][..usize::from(values)];
        let others = codes.iter().fold(B::default(), |sum, code| sum.plus(*code));
        if too_few(others) {
            return None;
        }
        let default = usize::from(self.default);
        let (below, above) = codes.split_at(default);
        room[..default].copy_from_slice(below);
        room[default + 1..=usize::from(values)].copy_from_slice(above);
        room[default] = total.minus(others);
        Some(room)
    }

    /// Which codes go left where the bins `left` of a feature with `values` value bins do.
    pub(super) fn codes_among(self, left: &[bool; BINS], values: u8) -> [bool; BINS] {
        if self.first == 0 {
            return *left;
        }
        let (first, default, values) =
            (usize::from(self.first), usize::from(self.default), usize::from(values));
        let mut codes = [left[default]; BINS];
        codes[first..first + default].copy_from_slice(&left[..default]);
        codes[first + default..first + values].copy_from_slice(&left[default + 1..=values]);
        codes
    }
}

/// Up to sixteen slots.
#[derive(Debug, Clone)]
pub struct FeatureBlock {
    /// Index of the first slot; the others follow it.
    pub(super) first: usize,
    /// Number of codes of each slot: those of rows are below.
    pub(super) codes: Vec<usize>,
    /// One entry a row; slots beyond those of `codes` are 0.
    pub(super) bins: Vec<[u8; BLOCK_FEATURES]>,
}

impl FeatureBlock {
    /// Number of slots, 1..=16.
    pub(super) fn slots(&self) -> usize {
        self.codes.len()
    }
}

/// Feature values as bins, in blocks of sixteen bytes a row.
#[derive(Debug, Clone)]
pub struct BinnedMatrix {
    rows: usize,
    features: Vec<FeatureInfo>,
    /// By feature.
    places: Vec<Place>,
    blocks: Vec<FeatureBlock>,
    stop: Stop,
}

impl BinnedMatrix {
    /// A matrix of `rows` rows from its filled blocks.
    pub(super) fn new(
        rows: usize,
        features: Vec<FeatureInfo>,
        places: Vec<Place>,
        blocks: Vec<FeatureBlock>,
    ) -> Self {
        debug_assert_eq!(places.len(), features.len());
        debug_assert!(blocks.iter().all(|block| block.bins.len() == rows));
        BinnedMatrix { rows, features, places, blocks, stop: Stop::default() }
    }

    /// The same rows: work on them ends early once `stop` is set.
    pub(crate) fn stopped_by(self, stop: &Stop) -> Self {
        BinnedMatrix { stop: stop.clone(), ..self }
    }

    /// What breaks off work on these rows.
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Whether work on these rows was broken off: what was computed of them since is worth nothing.
    #[inline]
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }

    /// First slot and number of slots of each block: as few blocks as there can be, of nearly equal width, so that
    /// threads have equal work.
    pub(super) fn layout(slots: usize) -> Vec<(usize, usize)> {
        let blocks = slots.div_ceil(BLOCK_FEATURES);
        let start = |block: usize| block * slots / blocks;
        (0..blocks).map(|block| (start(block), start(block + 1) - start(block))).collect()
    }

    /// Number of rows N.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The features, in the order of their columns.
    pub fn features(&self) -> &[FeatureInfo] {
        &self.features
    }

    /// The blocks, in the order of their slots.
    pub(super) fn blocks(&self) -> &[FeatureBlock] {
        &self.blocks
    }

    /// Number of slots of all blocks: histograms that a leaf has.
    pub(super) fn slots(&self) -> usize {
        self.blocks.iter().map(FeatureBlock::slots).sum()
    }

    /// Block and place of a feature.
    pub(super) fn place(&self, feature: usize) -> (&FeatureBlock, Place) {
        let place = self.places[feature];
        (&self.blocks[place.block()], place)
    }

    /// Bin of a row in a feature.
    pub fn bin(&self, row: usize, feature: usize) -> u8 {
        let (block, place) = self.place(feature);
        place.bin(block.bins[row][place.slot()], self.features[feature].values)
    }

    /// Bins of a feature in the rows from `start` on, as many as `out` has room for.
    pub(super) fn copy_bins(&self, feature: usize, start: usize, out: &mut [u8]) {
        let (block, place) = self.place(feature);
        let (slot, values) = (place.slot() % BLOCK_FEATURES, self.features[feature].values);
        for (out, bins) in out.iter_mut().zip(&block.bins[start..]) {
            *out = place.bin(bins[slot], values);
        }
    }

    /// The rows `rows` (each below [`BinnedMatrix::rows`]), in that order.
    pub fn chosen(&self, rows: &[usize]) -> Self {
        let chosen = |block: &FeatureBlock| FeatureBlock {
            bins: rows.iter().map(|&row| block.bins[row]).collect(),
            codes: block.codes.clone(),
            first: block.first,
        };
        BinnedMatrix {
            rows: rows.len(),
            features: self.features.clone(),
            places: self.places.clone(),
            blocks: self.blocks.par_iter().map(chosen).collect(),
            stop: self.stop.clone(),
        }
    }

    /// Bytes of the bins.
    pub fn bytes(&self) -> u64 {
        (self.blocks.len() * self.rows * BLOCK_FEATURES) as u64
    }
}

#[cfg(test)]
impl BinnedMatrix {
    /// A matrix from bins given feature by feature; a feature is numeric, and missing where a bin is 0.
    pub(super) fn from_columns(columns: &[Vec<u8>]) -> Self {
        let rows = columns.first().map_or(0, Vec::len);
        let features: Vec<FeatureInfo> = columns
            .iter()
            .enumerate()
            .map(|(column, bins)| FeatureInfo {
                column: column as u32,
                values: bins.iter().copied().max().unwrap_or(1).max(1),
                categorical: false,
            })
            .collect();
        Self::unshared(rows, features, |feature, row| columns[feature][row])
    }

    /// The same bins with a slot for each feature.
    pub(super) fn without_bundles(&self) -> Self {
        Self::unshared(self.rows, self.features.clone(), |feature, row| self.bin(row, feature))
    }

    fn unshared(rows: usize, features: Vec<FeatureInfo>, bin: impl Fn(usize, usize) -> u8) -> Self {
        let (mut places, mut blocks) = (Vec::new(), Vec::new());
        for (first, slots) in Self::layout(features.len()) {
            places.extend((0..slots).map(|slot| Place::alone(blocks.len(), slot)));
            let codes =
                features[first..first + slots].iter().map(|info| usize::from(info.values) + 1).collect();
            let mut bins = vec![[0; BLOCK_FEATURES]; rows];
            for (row, bins) in bins.iter_mut().enumerate() {
                (0..slots).for_each(|slot| bins[slot] = bin(first + slot, row));
            }
            blocks.push(FeatureBlock { first, codes, bins });
        }
        Self::new(rows, features, places, blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_features_in_order() {
        for features in 0..100 {
            let layout = BinnedMatrix::layout(features);
            assert_eq!(layout.len(), features.div_ceil(BLOCK_FEATURES));
            let mut next = 0;
            for (first, width) in layout {
                assert_eq!(first, next);
                assert!((1..=BLOCK_FEATURES).contains(&width));
                next += width;
            }
            assert_eq!(next, features);
        }
    }

    #[test]
    fn codes_of_a_shared_slot_are_bins_again() {
        for (first, values, default) in [(1, 1, 0), (1, 1, 1), (3, 5, 0), (3, 5, 2), (3, 5, 5), (250, 6, 1)] {
            let place = Place::shared(0, 0, first, default);
            for bin in 0..=values {
                let code = place.code(bin);
                assert_eq!(place.bin(code, values), bin);
                assert_eq!(code == 0, bin == default);
                assert!(code == 0 || (first..=first + (values - 1)).contains(&code));
            }
            let others = (0..=255u8).filter(|code| !(first..=first + (values - 1)).contains(code));
            assert!(others.into_iter().all(|code| place.bin(code, values) == default));
            let left: [bool; BINS] = std::array::from_fn(|bin| bin % 2 == 0);
            let codes = place.codes_among(&left, values);
            for code in 0..=255u8 {
                assert_eq!(codes[usize::from(code)], left[usize::from(place.bin(code, values))]);
            }
        }
    }

    #[test]
    fn bins_are_found_again() {
        let columns: Vec<Vec<u8>> = (0..37).map(|f| (0..5).map(|row| f * 5 + row).collect()).collect();
        let matrix = BinnedMatrix::from_columns(&columns);
        for (feature, bins) in columns.iter().enumerate() {
            for (row, &bin) in bins.iter().enumerate() {
                assert_eq!(matrix.bin(row, feature), bin);
            }
        }
    }
}
