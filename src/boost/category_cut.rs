//! The best cut of a categorical feature from its histogram of packed sums.
//!
//! Categories are sorted by gradient over Hessian and cut once, which for a convex loss finds the best of all subsets
//! (Fisher 1958). The Hessian is smoothed, so that categories of few rows stand in the middle instead of at the ends.
//! Missing values are one more category; where a leaf has none, they (and categories that training never saw) follow
//! the heavier side.

use super::binned::{BINS, FeatureInfo, MISSING};
use super::scalar::Units;
use super::statistics::{Cut, LeafTotals, Limits, Side};
use crate::simd::{PackedSum, cut_score};

/// [`super::statistics::Statistics::best_cut`] of a categorical feature; `smoothing` and `certain_hessian` are in
/// fixed-point units.
pub(super) fn best(
    bins: &[PackedSum; BINS],
    feature: &FeatureInfo,
    leaf: &LeafTotals<PackedSum>,
    limits: &Limits,
    units: &Units,
    smoothing: f64,
    certain_hessian: f64,
) -> Option<Cut<PackedSum>> {
    let mut order: Vec<(f64, u8)> = (0..=feature.values)
        .filter(|&bin| bins[usize::from(bin)] != PackedSum::ZERO)
        .map(|bin| {
            let sum = bins[usize::from(bin)];
            (f64::from(sum.gradient()) / (f64::from(sum.hessian()) + smoothing).max(1.0), bin)
        })
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    // As with numeric cuts: rows of single bins are added up apart, so that they are never counted too many.
    let all_rows: u32 = order.iter().map(|&(_, bin)| bins[usize::from(bin)].rows()).sum();
    let enough = |sum: PackedSum, rows: u32| {
        let hessian = f64::from(sum.hessian());
        hessian >= units.min_hessian && (rows >= limits.min_rows || hessian >= certain_hessian)
    };
    let (mut left, mut left_rows) = (PackedSum::ZERO, 0);
    let mut best: Option<(f64, usize, PackedSum)> = None;
    for (place, &(_, bin)) in order.iter().enumerate() {
        left = left.plus(bins[usize::from(bin)]);
        left_rows += bins[usize::from(bin)].rows();
        let right = leaf.sum.minus(left);
        if !enough(left, left_rows) || !enough(right, all_rows - left_rows) {
            continue;
        }
        let side = |sum: PackedSum| (f64::from(sum.gradient()), f64::from(sum.hessian()) + units.l2);
        let score = cut_score(side(left), side(right), units.max_step);
        if best.is_none_or(|(best, ..)| score > best) {
            best = Some((score, place, left));
        }
    }
    let (score, last, left_sum) = best?;
    let gain = units.gain(score, limits)?;
    let mut set = [0u64; BINS / 64];
    for &(_, bin) in &order[..=last] {
        set[usize::from(bin) / 64] |= 1 << (bin % 64);
    }
    let heavier_left = left_sum.hessian() > leaf.sum.minus(left_sum).hessian();
    let missing = bins[usize::from(MISSING)] != PackedSum::ZERO;
    if !missing && heavier_left {
        set[0] |= 1;
    }
    Some(Cut { gain, left: Side::Among(set), missing_left: set[0] & 1 == 1, left_sum })
}
