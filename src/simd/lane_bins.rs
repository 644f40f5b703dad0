//! Histograms whose slots are some i32 side by side: the sketch of a row and its weight.
//!
//! Loops over lanes are written out plainly; compiled for an instruction set, the compiler makes one vector
//! operation of each. They are exact or round each operation by itself, so that all instruction sets give the same bytes.

use super::Kernels;
use super::memory::prefetch;
use super::table::Table;

/// Slots of a histogram, one for each value of a byte.
const BINS: usize = 256;
/// Features whose bins a row has side by side.
const BLOCK: usize = 16;
/// Rows that are passed over for some features before the same rows are for the next: they stay in the second-level
/// cache, and the histograms of those features mostly in the first.
const CHUNK: usize = 4096;
/// Bins whose squared lengths are formed side by side.
const TILE: usize = 16;
/// All lanes of so many bins, of the widest ones.
const WIDE: usize = TILE * 16;
/// Rows that are fetched ahead.
const AHEAD: usize = 16;

/// A slot of a histogram, or what a row adds to it.
pub trait LaneBin: Copy + Default + Send + Sync + std::fmt::Debug + PartialEq + sealed::Kernel {
    /// Number of lanes.
    const LANES: usize;
    /// The lanes.
    fn lanes(&self) -> &[i32];
    /// The lanes, for writing.
    fn lanes_mut(&mut self) -> &mut [i32];
    /// Lane-wise sum; histograms are scaled so that none overflows.
    fn plus(self, other: Self) -> Self;
    /// Lane-wise difference.
    fn minus(self, other: Self) -> Self;
}

/// Where [`Kernels::best_prefix`] looks for a cut. Numbers are integers of the lanes.
#[derive(Debug, Clone)]
pub struct PrefixSearch<'a, B> {
    /// Histogram of a feature.
    pub bins: &'a [B; BINS],
    /// Bins after which there may be a cut, passed over one after the other.
    pub order: std::ops::RangeInclusive<u8>,
    /// What lies left of the first of them.
    pub start: B,
    /// Sum over all rows of the leaf.
    pub total: B,
    /// Number of lanes of the sketch, the first ones; the weight follows.
    pub directions: usize,
    /// Lane that counts rows, the weight lane or another.
    pub count_lane: usize,
    /// Smallest and largest count of the left side.
    pub counts: (i32, i32),
    /// Least weight of either side, at least 1.
    pub least_weight: i32,
    /// Added to the weights.
    pub l2: f32,
}

/// How [`accumulate`] is called.
pub(super) type Accumulate<B> = unsafe fn(&[[u8; BLOCK]], &[u32], &[B], &mut [[B; BINS]]);

mod sealed {
    use super::{Accumulate, PrefixSearch, Table};

    /// The functions of a table for a type of bin.
    pub trait Kernel: Sized {
        #[allow(private_interfaces)] // sealed: named by `Kernels` alone
        fn accumulate(table: &Table) -> Accumulate<Self>;
        #[allow(private_interfaces)]
        fn best_prefix(table: &Table) -> unsafe fn(PrefixSearch<'_, Self>) -> Option<(u8, f32)>;
    }
}

macro_rules! lane_bin {
    ($name:ident, $lanes:literal, $align:literal, $accumulate:ident, $best_prefix:ident) => {
        #[doc = concat!("Bin of ", stringify!($lanes), " lanes.")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C, align($align))]
        pub struct $name([i32; $lanes]);

        impl LaneBin for $name {
            const LANES: usize = $lanes;
            #[inline(always)]
            fn lanes(&self) -> &[i32] {
                &self.0
            }
            #[inline(always)]
            fn lanes_mut(&mut self) -> &mut [i32] {
                &mut self.0
            }
            #[inline(always)]
            fn plus(mut self, other: Self) -> Self {
                for lane in 0..$lanes {
                    self.0[lane] = self.0[lane].wrapping_add(other.0[lane]);
                }
                self
            }
            #[inline(always)]
            fn minus(mut self, other: Self) -> Self {
                for lane in 0..$lanes {
                    self.0[lane] = self.0[lane].wrapping_sub(other.0[lane]);
                }
                self
            }
        }

        impl sealed::Kernel for $name {
            #[allow(private_interfaces)]
            fn accumulate(table: &Table) -> Accumulate<Self> {
                table.$accumulate
            }
            #[allow(private_interfaces)]
            fn best_prefix(table: &Table) -> unsafe fn(PrefixSearch<'_, Self>) -> Option<(u8, f32)> {
                table.$best_prefix
            }
        }
    };
}

// A bin never straddles two cache lines.
lane_bin!(Lanes4, 4, 16, accumulate4, best_prefix4);
lane_bin!(Lanes8, 8, 32, accumulate8, best_prefix8);
lane_bin!(Lanes16, 16, 64, accumulate16, best_prefix16);

impl Kernels {
    /// Adds `values` of the listed rows to the histograms of the first features of a block: `bins` has the bins of each
    /// row, `histograms` one entry a feature, at most 16.
    ///
    /// # Panics
    /// Where a row is out of range or there are too many histograms.
    pub fn accumulate_lanes<B: LaneBin>(
        &self,
        bins: &[[u8; BLOCK]],
        rows: &[u32],
        values: &[B],
        histograms: &mut [[B; BINS]],
    ) {
        let known = bins.len().min(values.len());
        assert!(!rows.iter().any(|&row| row as usize >= known), "row out of range");
        assert!(histograms.len() <= BLOCK, "{} features in a block", histograms.len());
        // SAFETY: rows checked; the table's instruction set is available.
        unsafe { B::accumulate(&self.0)(bins, rows, values, histograms) }
    }

    /// The bin after which a cut has the largest `|S_l|^2 / (W_l + l2) + |S_r|^2 / (W_r + l2)`, the first of equals,
    /// with that number; `None` where the limits allow no cut.
    ///
    /// # Panics
    /// Where the lanes named are not there.
    pub fn best_prefix<B: LaneBin>(&self, search: PrefixSearch<'_, B>) -> Option<(u8, f32)> {
        assert!(search.directions < B::LANES && search.count_lane < B::LANES, "lanes out of range");
        // SAFETY: the table's instruction set is available; all else is checked where it is done.
        unsafe { B::best_prefix(&self.0)(search) }
    }
}

/// See [`Kernels::accumulate_lanes`]; `GROUP` features at a time.
///
/// # Safety
/// Rows must be in range; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn accumulate<B: LaneBin, const GROUP: usize>(
    bins: &[[u8; BLOCK]],
    rows: &[u32],
    values: &[B],
    histograms: &mut [[B; BINS]],
) {
    for rows in rows.chunks(CHUNK) {
        let mut first = 0;
        let mut groups = histograms.chunks_exact_mut(GROUP);
        for group in &mut groups {
            // A fixed number of features lets the compiler unroll the loop over them.
            if let Ok(group) = <&mut [[B; BINS]; GROUP]>::try_from(group) {
                // SAFETY: handed on from the caller.
                unsafe { accumulate_group(bins, rows, values, first, group) };
            }
            first += GROUP;
        }
        // SAFETY: handed on from the caller.
        unsafe { accumulate_group(bins, rows, values, first, groups.into_remainder()) };
    }
}

/// # Safety
/// Rows must be in range.
#[inline(always)]
unsafe fn accumulate_group<B: LaneBin>(
    bins: &[[u8; BLOCK]],
    rows: &[u32],
    values: &[B],
    first: usize,
    group: &mut [[B; BINS]],
) {
    if group.is_empty() {
        return;
    }
    for (index, &row) in rows.iter().enumerate() {
        if let Some(&ahead) = rows.get(index + AHEAD) {
            prefetch(bins, ahead as usize);
            prefetch(values, ahead as usize);
        }
        // SAFETY: rows are in range by contract.
        let (row_bins, value) =
            unsafe { (bins.get_unchecked(row as usize), *values.get_unchecked(row as usize)) };
        for (histogram, &bin) in group.iter_mut().zip(&row_bins[first..]) {
            let slot = &mut histogram[usize::from(bin)];
            *slot = slot.plus(value);
        }
    }
}

/// See [`Kernels::best_prefix`].
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn best_prefix<B: LaneBin, const LANES: usize>(
    search: PrefixSearch<'_, B>,
) -> Option<(u8, f32)> {
    let (first, last) = (usize::from(*search.order.start()), usize::from(*search.order.end()));
    let (d, total_weight) = (search.directions, search.total.lanes()[search.directions]);
    // Arrays of all lanes of the bins one after the other, so that each step is a plain loop, which the compiler takes a
    // vector at a time: totals and a mask of the directions are repeated for every bin.
    let (mut totals, mut mask) = ([0i32; WIDE], [0.0f32; WIDE]);
    let (totals, mask) = (&mut totals[..TILE * LANES], &mut mask[..TILE * LANES]);
    for (totals, mask) in totals.chunks_exact_mut(LANES).zip(mask.chunks_exact_mut(LANES)) {
        totals.copy_from_slice(search.total.lanes());
        mask[..d].fill(1.0);
    }
    let mut left = search.start;
    let mut tile = [[0; LANES]; TILE];
    let mut best: Option<(u8, f32)> = None;
    let mut from = first;
    while from <= last {
        let count = TILE.min(last + 1 - from);
        for (sum, bin) in tile.iter_mut().zip(&search.bins[from..from + count]) {
            left = left.plus(*bin);
            sum.copy_from_slice(left.lanes());
        }
        let (mut near, mut far) = ([0.0f32; WIDE], [0.0f32; WIDE]);
        let numbers = tile.as_flattened().iter().zip(totals.iter().zip(mask.iter()));
        for ((near, far), (&sum, (&total, &mask))) in near.iter_mut().zip(&mut far).zip(numbers) {
            let (value, rest) = (sum as f32, total.wrapping_sub(sum) as f32);
            *near = value * value * mask;
            *far = rest * rest * mask;
        }
        let (near, far) = (bin_sums::<LANES>(near), bin_sums::<LANES>(far));
        let (weights, counts) = (column(&tile, d), column(&tile, search.count_lane));
        let mut gains = [f32::NEG_INFINITY; TILE];
        for at in 0..TILE {
            let (weight, rest) = (weights[at], total_weight.wrapping_sub(weights[at]));
            let gain = near[at] / (weight as f32 + search.l2) + far[at] / (rest as f32 + search.l2);
            let allowed = (counts[at] >= search.counts.0)
                & (counts[at] <= search.counts.1)
                & (weight >= search.least_weight)
                & (rest >= search.least_weight);
            gains[at] = if allowed { gain } else { f32::NEG_INFINITY };
        }
        let bar = best.map_or(f32::NEG_INFINITY, |best| best.1);
        let mut any = false;
        for gain in &gains[..count] {
            any |= *gain > bar;
        }
        if any {
            for (bin, &gain) in (from..).zip(&gains[..count]) {
                if gain > best.map_or(f32::NEG_INFINITY, |best| best.1) {
                    best = Some((bin as u8, gain));
                }
            }
        }
        from += count;
    }
    best
}

/// The sum of the lanes of each bin, neighbours first.
#[inline(always)]
fn bin_sums<const LANES: usize>(mut lanes: [f32; WIDE]) -> [f32; WIDE] {
    let mut count = TILE * LANES;
    let mut rounds = LANES;
    while rounds > 1 {
        let mut halves = [0.0f32; WIDE];
        for (half, pair) in halves.iter_mut().zip(lanes[..count].chunks_exact(2)) {
            *half = pair[0] + pair[1];
        }
        lanes = halves;
        (count, rounds) = (count / 2, rounds / 2);
    }
    lanes
}

/// One lane of sixteen sums.
#[inline(always)]
fn column<const LANES: usize>(tile: &[[i32; LANES]; TILE], lane: usize) -> [i32; TILE] {
    let mut column = [0; TILE];
    for at in 0..TILE {
        column[at] = tile[at][lane];
    }
    column
}
