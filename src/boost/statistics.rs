//! What a tree is grown on: sums over rows that histograms hold, and the best cut they allow.

use super::binned::{BINS, FeatureBlock, FeatureInfo};

/// Histogram of one feature, indexed by bin.
pub(super) type FeatureHistogram<B> = [B; BINS];

/// One slot of a histogram: a sum over rows that adds in any order and subtracts exactly, so that integers it is.
pub(super) trait Bin: Copy + Default + Send + Sync + std::fmt::Debug + PartialEq {
    /// The sum over the rows of both.
    fn plus(self, other: Self) -> Self;
    /// The sum over the rows of `self` that are not among those of `other`.
    fn minus(self, other: Self) -> Self;
}

/// Per-row numbers that a tree is fitted to, and the search for cuts in their histograms.
pub(super) trait Statistics: Sync {
    /// Sum over rows.
    type Bin: Bin;

    /// Adds `rows` to the histograms of the features of `block`, of which `histogram` has one each. `rows` ascend.
    fn accumulate(&self, block: &FeatureBlock, rows: &[u32], histogram: &mut [FeatureHistogram<Self::Bin>]);

    /// Sum over `rows`, for the root.
    fn total(&self, rows: &[u32]) -> Self::Bin;

    /// How many rows of the fit `rows` stand for.
    fn count(&self, rows: &[u32]) -> u32 {
        rows.len() as u32
    }

    /// Whether rows of this sum are for certain fewer than `limits` ask of a side of a cut of `leaf`.
    fn too_few(&self, rows: Self::Bin, leaf: &LeafTotals<Self::Bin>, limits: &Limits) -> bool;

    /// The best cut of a leaf in one feature, the lowest bin of equals; `None` where no cut keeps the limits or gains.
    ///
    /// Both sides must hold `limits.min_rows` rows for certain: where the bins leave the number of rows open the cut is
    /// not allowed.
    fn best_cut(
        &self,
        bins: &FeatureHistogram<Self::Bin>,
        feature: &FeatureInfo,
        leaf: &LeafTotals<Self::Bin>,
        limits: &Limits,
    ) -> Option<Cut<Self::Bin>>;
}

/// A leaf whose cut is sought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LeafTotals<B> {
    /// Sum over its rows.
    pub sum: B,
    /// Its rows.
    pub rows: u32,
}

/// What a cut has to keep. Units are those of the statistics: the caller has scaled what is given in average rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    /// Fewest rows of a leaf, at least 1.
    pub min_rows: u32,
    /// Least Hessian (weight, with vector leaves) of a leaf.
    pub min_weight: f64,
    /// Added to the Hessian (weight) of a leaf.
    pub l2: f64,
    /// Gain that a cut has to exceed, at least 0.
    pub min_gain: f64,
    /// Largest value of a leaf before the learning rate, 0 for no limit.
    pub max_delta_step: f64,
    /// Hessian (weight) added to that of a category when categories are sorted.
    pub category_smoothing: f64,
}

/// Which rows go left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Value bins up to this one.
    UpTo(u8),
    /// Value bins (categories) in the set: bit `b % 64` of word `b / 64` for bin b. Bit 0 says what `missing_left` says.
    Among([u64; BINS / 64]),
}

/// A cut of a leaf in one feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cut<B> {
    /// Loss that it takes away, positive.
    pub gain: f64,
    /// Value bins that go left.
    pub left: Side,
    /// Whether missing values go left.
    pub missing_left: bool,
    /// Sum over the rows that go left.
    pub left_sum: B,
}

impl<B> Cut<B> {
    /// Which bins go left.
    pub(super) fn left_bins(&self) -> [bool; BINS] {
        let mut left = match self.left {
            Side::UpTo(last) => {
                let mut left = [false; BINS];
                left[..=usize::from(last)].fill(true);
                left
            }
            Side::Among(set) => std::array::from_fn(|bin| set[bin / 64] >> (bin % 64) & 1 == 1),
        };
        left[usize::from(super::binned::MISSING)] = self.missing_left;
        left
    }
}
