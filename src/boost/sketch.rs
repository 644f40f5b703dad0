//! What a vector tree is grown on: residuals of all classes projected onto a few random directions, as integers.
//!
//! The gain of a cut for all classes is a sum of squared lengths of residual sums. Random directions keep lengths on
//! average (Johnson and Lindenstrauss 1984), so some seven numbers a row stand for K of them, and histograms do not grow with
//! the number of classes (Iosipoi and Vakhrushev 2022, SketchBoost). Directions are drawn anew for every tree, so that
//! what one of them does not see the next does.

use rayon::prelude::*;

use super::binned::{BINS, FeatureBlock, FeatureInfo, MISSING};
use super::category_order::ordered_categories;
use super::statistics::{Bin, Cut, FeatureHistogram, LeafTotals, Limits, Side, Statistics};
use crate::rng::CounterRng;
use crate::simd::{Kernels, LaneBin, PaddedRows, PrefixSearch};

/// Rows whose sums are taken before they are added to others.
pub(super) const CHUNK: usize = 512;

/// Largest integer of one row: beyond 2^22 the rounding below would fail, and nothing is gained from 2^20 on.
const LARGEST: f64 = (1u64 << 20) as f64;

/// `1.5 * 2^23`: adding it rounds to whole numbers of up to 2^22, with the number in the low bits.
const ROUNDER: f32 = 12_582_912.0;

impl<B: LaneBin> Bin for B {
    fn plus(self, other: Self) -> Self {
        LaneBin::plus(self, other)
    }
    fn minus(self, other: Self) -> Self {
        LaneBin::minus(self, other)
    }
}

/// `directions x classes` numbers of mean 0 and variance 1 / directions for round `round`, padded as the scores are.
///
/// Each is a sum of eight uniform numbers, nearly gaussian and without logarithms or cosines, whose last bits differ
/// between systems. Those of a class do not depend on the number of classes.
pub(super) fn directions(seed: u64, round: u64, classes: usize, directions: usize) -> PaddedRows {
    let mut rng = CounterRng::new(seed, round);
    let mut drawn = PaddedRows::filled(directions, classes, 0.0);
    let stride = drawn.stride();
    // A uniform whole number below 2^16 has the variance (2^32 - 1) / 12.
    let scale = 1.0 / (8.0 * f64::from(u32::MAX) / 12.0 * directions as f64).sqrt();
    for class in 0..classes {
        for direction in 0..directions {
            let mut doubled = -8 * 0xFFFF;
            for bits in [rng.next_u64(), rng.next_u64()] {
                doubled += (0..4).map(|part| 2 * (bits >> (16 * part) & 0xFFFF) as i64).sum::<i64>();
            }
            drawn.values_mut()[direction * stride + class] = (doubled as f64 / 2.0 * scale) as f32;
        }
    }
    drawn
}

/// The factor that makes integers of numbers of this largest magnitude and of this sum of magnitudes over `rows` rows, so
/// that no sum of them leaves i32, their rounding included.
fn integer_scale(largest: f64, sum: f64, rows: usize) -> f64 {
    if largest <= 0.0 {
        return 1.0;
    }
    // Half a unit a row of rounding, and the relative error of the product in f32.
    let room = (f64::from(i32::MAX) - rows as f64) * (1.0 - 1e-6);
    (LARGEST / largest).min(room / sum)
}

#[inline]
fn rounded(value: f32) -> i32 {
    ((value + ROUNDER).to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32)
}

/// Where the number of rows of a bin is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    /// All rows have the same weight, which this integer stands for.
    Weight(i32),
    /// In the last lane.
    Lane,
}

/// Integer rows for histograms: directions, weight, and the number 1 where weights differ.
#[derive(Debug)]
pub(super) struct SketchRows<B> {
    rows: Vec<B>,
    directions: usize,
    count: Count,
    scale: f64,
    weight_scale: f64,
    kernels: &'static Kernels,
}

impl<B: LaneBin> SketchRows<B> {
    /// Rows with their weights (of mean 1) and no sketch yet. Where weights differ one lane counts rows, and there is a
    /// direction less.
    pub(super) fn new(weights: &[f32], kernels: &'static Kernels) -> Self {
        let largest = f64::from(weights.iter().copied().fold(0.0, f32::max));
        let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let weight_scale = integer_scale(largest, sum, weights.len());
        let integer = |weight: f32| rounded((f64::from(weight) * weight_scale) as f32);
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let (directions, count) = match weights.first().map(|&weight| integer(weight)) {
            Some(one) if equal && one > 0 => (B::LANES - 1, Count::Weight(one)),
            _ => (B::LANES - 2, Count::Lane),
        };
        let row = |&weight: &f32| {
            let mut row = B::default();
            row.lanes_mut()[B::LANES - 1] = 1;
            row.lanes_mut()[directions] = integer(weight);
            row
        };
        let rows = weights.iter().map(row).collect();
        SketchRows { rows, directions, count, scale: 1.0, weight_scale, kernels }
    }

    /// Number of directions d.
    pub(super) fn directions(&self) -> usize {
        self.directions
    }

    /// Takes the sketch (rows x directions) of a round over.
    pub(super) fn set(&mut self, sketch: &[f32]) {
        let d = self.directions;
        let magnitudes: Vec<(f32, [f64; 16])> = sketch
            .par_chunks(CHUNK * d)
            .map(|rows| {
                let (mut largest, mut sums) = (0.0f32, [0.0; 16]);
                for row in rows.chunks_exact(d) {
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += f64::from(value.abs());
                        largest = largest.max(value.abs());
                    }
                }
                (largest, sums)
            })
            .collect();
        let mut sums = [0.0; 16];
        for (_, part) in &magnitudes {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        let largest = magnitudes.iter().map(|part| part.0).fold(0.0, f32::max);
        let sum = sums.into_iter().fold(0.0, f64::max);
        self.scale = integer_scale(f64::from(largest), sum, self.rows.len());
        let scale = self.scale as f32;
        self.rows.par_chunks_mut(CHUNK).zip(sketch.par_chunks(CHUNK * d)).for_each(|(rows, sketch)| {
            for (row, sketch) in rows.iter_mut().zip(sketch.chunks_exact(d)) {
                for (lane, &value) in row.lanes_mut().iter_mut().zip(sketch) {
                    *lane = rounded(value * scale);
                }
            }
        });
    }

    /// The lane that tells the number of rows of a sum, and what one row has there.
    fn count_lane(&self) -> (usize, i64) {
        match self.count {
            Count::Weight(row) => (self.directions, i64::from(row)),
            Count::Lane => (B::LANES - 1, 1),
        }
    }

    /// Squared length of a sum's sketch, exact but for f64.
    fn squared(&self, sum: &B) -> f64 {
        sum.lanes()[..self.directions].iter().map(|&lane| f64::from(lane) * f64::from(lane)).sum()
    }

    /// The best cut among those after each of `order` bins, passed over from `start` on; the first of equals.
    fn best_prefix(&self, search: &Search<'_, B>, start: B, order: (u8, u8)) -> Option<(u8, f64)> {
        let (first, last) = order;
        if first > last {
            return None;
        }
        let Search { bins, leaf, limits } = *search;
        let least_weight = (limits.min_weight * self.weight_scale).ceil().clamp(1.0, f64::from(i32::MAX));
        let (count_lane, row) = self.count_lane();
        let fewest = i64::from(limits.min_rows) * row;
        let most = i64::from(leaf.rows) * row - fewest;
        // All counts of a leaf are within i32, so that limits beyond it allow nothing as they are, clamped.
        let clamped = |count: i64| count.clamp(-1, i64::from(i32::MAX)) as i32;
        let best = self.kernels.best_prefix(PrefixSearch {
            bins,
            order: first..=last,
            start,
            total: leaf.sum,
            directions: self.directions,
            count_lane,
            counts: (clamped(fewest), clamped(most)),
            least_weight: least_weight as i32,
            l2: (limits.l2 * self.weight_scale) as f32,
        });
        best.map(|(bin, gain)| (bin, f64::from(gain)))
    }

    /// The cut that sends `left_sum` left, where it gains enough; its gain is that of half the squared residual sums.
    fn cut(&self, search: &Search<'_, B>, left: Side, missing_left: bool, left_sum: B) -> Option<Cut<B>> {
        let total = search.leaf.sum;
        let l2 = search.limits.l2 * self.weight_scale;
        let score = |sum: &B| self.squared(sum) / (f64::from(sum.lanes()[self.directions]) + l2);
        let gain = score(&left_sum) + score(&LaneBin::minus(total, left_sum)) - score(&total);
        let gain = 0.5 * gain * self.weight_scale / (self.scale * self.scale);
        (gain > search.limits.min_gain).then_some(Cut { gain, left, missing_left, left_sum })
    }

    /// The best cut of ordered bins, missing values on either side.
    fn best_threshold(&self, search: &Search<'_, B>, values: u8) -> Option<Cut<B>> {
        let missing = search.bins[usize::from(MISSING)];
        let none = missing == B::default();
        // Without missing values a cut behind the last bin leaves nothing on the right; with them they are alone there.
        let right = self.best_prefix(search, B::default(), (1, if none { values - 1 } else { values }));
        let left = if none { None } else { self.best_prefix(search, missing, (1, values - 1)) };
        let (bin, missing_left) = match (right, left) {
            (Some(right), Some(left)) if left.1 > right.1 => (left.0, true),
            (None, Some(left)) => (left.0, true),
            (Some(right), _) => (right.0, false),
            (None, None) => return None,
        };
        let from = if missing_left { missing } else { B::default() };
        let left_sum = search.bins[1..=usize::from(bin)].iter().copied().fold(from, LaneBin::plus);
        // Missing values that this leaf did not have follow the greater weight.
        let greater = |sum: B| {
            i64::from(sum.lanes()[self.directions]) * 2 > i64::from(search.leaf.sum.lanes()[self.directions])
        };
        let missing_left = if none { greater(left_sum) } else { missing_left };
        self.cut(search, Side::UpTo(bin), missing_left, left_sum)
    }

    /// The best cut of categories in the order of their means along the direction in which these differ most.
    fn best_categories(&self, search: &Search<'_, B>, values: u8) -> Option<Cut<B>> {
        let smoothing = search.limits.category_smoothing * self.weight_scale;
        let order = ordered_categories(search.bins, values, self.directions, smoothing);
        let mut sorted = [B::default(); BINS];
        for (place, &bin) in sorted[1..].iter_mut().zip(&order) {
            *place = search.bins[usize::from(bin)];
        }
        let ordered = Search { bins: &sorted, ..*search };
        let last = (order.len() as u8).saturating_sub(1);
        let (place, _) = self.best_prefix(&ordered, B::default(), (1, last))?;
        let (mut set, mut left_sum) = ([0; BINS / 64], B::default());
        for &bin in &order[..usize::from(place)] {
            set[usize::from(bin) / 64] |= 1u64 << (bin % 64);
            left_sum = LaneBin::plus(left_sum, search.bins[usize::from(bin)]);
        }
        self.cut(search, Side::Among(set), set[0] & 1 == 1, left_sum)
    }
}

/// One feature of one leaf.
#[derive(Clone, Copy)]
struct Search<'a, B> {
    bins: &'a FeatureHistogram<B>,
    leaf: &'a LeafTotals<B>,
    limits: &'a Limits,
}

impl<B: LaneBin> Statistics for SketchRows<B> {
    type Bin = B;

    fn accumulate(&self, block: &FeatureBlock, rows: &[u32], histogram: &mut [FeatureHistogram<B>]) {
        self.kernels.accumulate_lanes(&block.bins, rows, &self.rows, histogram);
    }

    fn total(&self, rows: &[u32]) -> B {
        rows.iter().fold(B::default(), |sum, &row| LaneBin::plus(sum, self.rows[row as usize]))
    }

    fn too_few(&self, rows: B, _leaf: &LeafTotals<B>, limits: &Limits) -> bool {
        let (lane, row) = self.count_lane();
        i64::from(rows.lanes()[lane]) < i64::from(limits.min_rows) * row
    }

    fn best_cut(
        &self,
        bins: &FeatureHistogram<B>,
        feature: &FeatureInfo,
        leaf: &LeafTotals<B>,
        limits: &Limits,
    ) -> Option<Cut<B>> {
        let search = Search { bins, leaf, limits };
        if feature.categorical {
            self.best_categories(&search, feature.values)
        } else {
            self.best_threshold(&search, feature.values)
        }
    }
}

#[cfg(test)]
#[path = "sketch_tests.rs"]
mod tests;
