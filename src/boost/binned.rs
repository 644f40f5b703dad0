//! Features as bytes, laid out for histograms.
//!
//! Sixteen features share a block, in which a row is sixteen bytes side by side: one load brings all bins of a row, and
//! the histograms of a block stay in the first-level cache (16 features x 256 bins x 8 bytes are 32 KiB).

use rayon::prelude::*;

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
    /// Whether training rows lack the value, so that a cut has to choose a side for them.
    pub missing: bool,
}

impl FeatureInfo {
    /// The slots of a histogram that rows can be in; the others are never touched.
    pub(super) fn used<'b, B>(&self, bins: &'b mut [B; BINS]) -> &'b mut [B] {
        &mut bins[..=usize::from(self.values)]
    }
}

/// Bins of up to sixteen features.
#[derive(Debug, Clone)]
pub struct FeatureBlock {
    /// Index of the first feature; the others follow it.
    pub(super) first: usize,
    /// Number of features, 1..=16.
    pub(super) features: usize,
    /// One entry a row; slots beyond the features are 0.
    pub(super) bins: Vec<[u8; BLOCK_FEATURES]>,
}

/// Feature values as bins: `rows` x `features().len()` bytes in blocks of sixteen features.
#[derive(Debug, Clone)]
pub struct BinnedMatrix {
    rows: usize,
    features: Vec<FeatureInfo>,
    blocks: Vec<FeatureBlock>,
}

impl BinnedMatrix {
    /// A matrix of `rows` rows whose blocks are those of [`BinnedMatrix::layout`], filled.
    pub(super) fn new(rows: usize, features: Vec<FeatureInfo>, blocks: Vec<FeatureBlock>) -> Self {
        debug_assert_eq!(blocks.iter().map(|block| block.features).sum::<usize>(), features.len());
        debug_assert!(blocks.iter().all(|block| block.bins.len() == rows));
        BinnedMatrix { rows, features, blocks }
    }

    /// First feature and number of features of each block: as few blocks as there can be, of nearly equal width, so
    /// that threads have equal work.
    pub(super) fn layout(features: usize) -> Vec<(usize, usize)> {
        let blocks = features.div_ceil(BLOCK_FEATURES);
        let start = |block: usize| block * features / blocks;
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

    /// The blocks, in the order of their features.
    pub(super) fn blocks(&self) -> &[FeatureBlock] {
        &self.blocks
    }

    /// Block and slot of a feature.
    pub(super) fn place(&self, feature: usize) -> (&FeatureBlock, usize) {
        let at = self.blocks.partition_point(|block| block.first <= feature) - 1;
        let block = &self.blocks[at];
        (block, feature - block.first)
    }

    /// Bin of a row in a feature.
    pub fn bin(&self, row: usize, feature: usize) -> u8 {
        let (block, slot) = self.place(feature);
        block.bins[row][slot]
    }

    /// Bins of rows from `start` on, `stride` (at least the number of features) bytes a row, as many as `out` has room for.
    pub(super) fn copy_rows(&self, start: usize, stride: usize, out: &mut [u8]) {
        for (offset, out) in out.chunks_exact_mut(stride).enumerate() {
            for block in &self.blocks {
                let bins = &block.bins[start + offset][..block.features];
                out[block.first..block.first + block.features].copy_from_slice(bins);
            }
        }
    }

    /// The rows `rows` (each below [`BinnedMatrix::rows`]), in that order.
    pub fn chosen(&self, rows: &[usize]) -> Self {
        let chosen = |block: &FeatureBlock| FeatureBlock {
            bins: rows.iter().map(|&row| block.bins[row]).collect(),
            ..*block
        };
        BinnedMatrix {
            rows: rows.len(),
            features: self.features.clone(),
            blocks: self.blocks.par_iter().map(chosen).collect(),
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
        let features = columns
            .iter()
            .enumerate()
            .map(|(column, bins)| FeatureInfo {
                column: column as u32,
                values: bins.iter().copied().max().unwrap_or(1).max(1),
                categorical: false,
                missing: bins.contains(&MISSING),
            })
            .collect();
        let blocks = Self::layout(columns.len())
            .into_iter()
            .map(|(first, features)| {
                let mut bins = vec![[0; BLOCK_FEATURES]; rows];
                for slot in 0..features {
                    bins.iter_mut().zip(&columns[first + slot]).for_each(|(row, &bin)| row[slot] = bin);
                }
                FeatureBlock { first, features, bins }
            })
            .collect();
        Self::new(rows, features, blocks)
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
