//! The best cut of a numeric feature from its histogram of packed sums.
//!
//! Sums and comparisons are whole numbers or single f64 operations, which every instruction set rounds alike: the cut
//! found is the same everywhere. The code is plain, and made vectors of by the compiler for each instruction set.

use super::packed::{PACKED_BINS, PACKED_ROWS, PackedSum};

/// What is asked of a scan. Gradients, Hessians and scores are in fixed-point units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CutSearch {
    /// Number of value bins.
    pub values: usize,
    /// What rows without a value sum to, where they go left; else zero.
    pub missing_left: PackedSum,
    /// Sum over all rows of the leaf.
    pub total: PackedSum,
    /// Rows of the leaf.
    pub rows: u32,
    /// Fewest rows of a side.
    pub min_rows: u32,
    /// Hessian that only `min_rows` rows or more can have.
    pub certain_hessian: f64,
    /// Least Hessian of a side, positive.
    pub min_hessian: f64,
    /// Added to the Hessian of a side.
    pub l2: f64,
    /// Largest `|gradient / hessian|` of a side, infinite for no limit.
    pub max_step: f64,
}

/// The best cut of a feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoundCut {
    /// Score of both sides: `G_L^2 / (H_L + l2) + G_R^2 / (H_R + l2)`, or what a limited step leaves of it.
    pub score: f64,
    /// Last bin of the left side.
    pub bin: usize,
    /// Sum over the left side.
    pub left: PackedSum,
}

/// [`super::Kernels::best_cut`], with arrays of about the size that the feature needs: clearing those of 256 bins would
/// take longer than a search among a few.
///
/// # Safety
/// None; `unsafe` only to stand in a table with its neighbours.
#[inline(always)]
pub(super) unsafe fn best_cut(bins: &[PackedSum; PACKED_BINS], search: &CutSearch) -> Option<FoundCut> {
    match search.values {
        ..8 => scan::<8>(bins, search),
        8..32 => scan::<32>(bins, search),
        32..128 => scan::<128>(bins, search),
        _ => scan::<PACKED_BINS>(bins, search),
    }
}

/// The search among fewer than `ROOM` value bins; `ROOM` is a power of two.
#[inline(always)]
fn scan<const ROOM: usize>(bins: &[PackedSum; PACKED_BINS], search: &CutSearch) -> Option<FoundCut> {
    let values = search.values.min(ROOM - 1);
    let mut left = [PackedSum::ZERO; ROOM];
    let mut scores = [REFUSED; ROOM];
    let mut sum = search.missing_left;
    if search.rows < PACKED_ROWS {
        // A cut behind an empty bin is that behind the bin before it: few rows leave few cuts to be scored. Missing
        // values alone may go left, behind the first bin.
        let mut bin_of = [0u8; ROOM];
        let mut cuts = 0;
        for (&own, bin) in bins[1..=values].iter().zip(1u8..) {
            sum = sum.plus(own);
            // Both are written over unless they count.
            left[cuts % ROOM] = sum;
            bin_of[cuts % ROOM] = bin;
            cuts += usize::from((own != PackedSum::ZERO) | (bin == 1));
        }
        let used = cuts.next_multiple_of(STRIDE).min(ROOM);
        scores[..used].iter_mut().zip(&left[..used]).for_each(|(score, &left)| {
            *score = allowed_score(left, left.rows(), search.rows, search);
        });
        let (score, at) = highest(&scores[..used])?;
        return Some(FoundCut { score, bin: usize::from(bin_of[at]), left: left[at] });
    }
    // Rows of single bins are added up apart: where one has more than fit its bits, the sum is too small, never too
    // large.
    let used = (values + 1).next_multiple_of(STRIDE).min(ROOM);
    let mut left_rows = [0u32; ROOM];
    let mut rows = search.missing_left.rows();
    for bin in 1..=values {
        sum = sum.plus(bins[bin]);
        rows += bins[bin].rows();
        left[bin] = sum;
        left_rows[bin] = rows;
    }
    let missing_right = if search.missing_left == PackedSum::ZERO { bins[0].rows() } else { 0 };
    let sides = left[..used].iter().zip(&left_rows[..used]);
    scores[..used].iter_mut().zip(sides).for_each(|(score, (&left, &left_rows))| {
        *score = allowed_score(left, left_rows, rows + missing_right, search);
    });
    let (score, bin) = highest(&scores[..used])?;
    Some(FoundCut { score, bin, left: left[bin] })
}

/// The highest score and its place, the first of equals; `None` where all are refused. There are whole strides.
#[inline(always)]
fn highest(scores: &[f64]) -> Option<(f64, usize)> {
    let mut best = [REFUSED; STRIDE];
    for scores in scores.chunks_exact(STRIDE) {
        best.iter_mut()
            .zip(scores)
            .for_each(|(best, &score)| *best = if score > *best { score } else { *best });
    }
    let best = best.into_iter().fold(REFUSED, |best, score| if score > best { score } else { best });
    let at = scores.iter().position(|&score| score == best)?;
    (best > REFUSED).then_some((best, at))
}

/// Score of a cut that breaks a limit: below every other.
const REFUSED: f64 = -1.0;

/// Scores are compared in so many lanes.
const STRIDE: usize = 8;

/// Score of a cut, [`REFUSED`] where a side falls below a limit.
#[inline(always)]
fn allowed_score(left: PackedSum, left_rows: u32, all_rows: u32, search: &CutSearch) -> f64 {
    let (gl, hl) = (f64::from(left.gradient()), f64::from(left.hessian()));
    let (gr, hr) = (f64::from(search.total.gradient()) - gl, f64::from(search.total.hessian()) - hl);
    let enough = |hessian: f64, rows: u32| {
        (hessian >= search.min_hessian) & ((rows >= search.min_rows) | (hessian >= search.certain_hessian))
    };
    let allowed = enough(hl, left_rows) & enough(hr, all_rows.wrapping_sub(left_rows));
    let score = cut_score((gl, hl + search.l2), (gr, hr + search.l2), search.max_step);
    if allowed { score } else { REFUSED }
}

/// Sum of the [`leaf_score`] of both sides of a cut, each a gradient and a Hessian. One division serves both, over their
/// common denominator; whichever side is called left, the sum is the same to the bit.
#[inline]
pub fn cut_score((gl, hl): (f64, f64), (gr, hr): (f64, f64), max_step: f64) -> f64 {
    (reach(gl, hl, max_step) * hr + reach(gr, hr, max_step) * hl) / (hl * hr)
}

/// `-(2 G v + H v^2) H` at the best `v` with `|v| <= max_step`: `G^2` where that limit is far, else what it leaves.
#[inline(always)]
fn reach(gradient: f64, hessian: f64, max_step: f64) -> f64 {
    let (full, most) = (gradient.abs(), max_step * hessian);
    let taken = if most < full { most } else { full };
    taken * (2.0 * full - taken)
}

/// Score of a leaf: `G^2 / H`, or what steps of at most `max_step` leave of it.
#[inline]
pub fn leaf_score(gradient: f64, hessian: f64, max_step: f64) -> f64 {
    reach(gradient, hessian, max_step) / hessian
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;
    use crate::simd::{Isa, Kernels};

    /// The same search, cut by cut.
    fn plain(
        bins: &[PackedSum; PACKED_BINS],
        rows: &[u32],
        search: &CutSearch,
        missing: bool,
    ) -> Option<FoundCut> {
        let mut best: Option<FoundCut> = None;
        for cut in 1..=search.values {
            let is_left = |bin: usize| if bin == 0 { missing } else { bin <= cut };
            let side = |left: bool| {
                (0..=search.values).filter(|&bin| is_left(bin) == left).fold(
                    (0.0, 0.0, 0, PackedSum::ZERO),
                    |(g, h, n, sum), bin| {
                        let (own, rows) = (bins[bin], n + rows[bin]);
                        (g + f64::from(own.gradient()), h + f64::from(own.hessian()), rows, sum.plus(own))
                    },
                )
            };
            let (left, right) = (side(true), side(false));
            if [left, right].iter().any(|&(_, h, n, _)| n < search.min_rows || h < search.min_hessian) {
                continue;
            }
            let (hl, hr) = (left.1 + search.l2, right.1 + search.l2);
            let limit = search.max_step;
            let score = (reach(left.0, hl, limit) * hr + reach(right.0, hr, limit) * hl) / (hl * hr);
            let apart = leaf_score(left.0, hl, limit) + leaf_score(right.0, hr, limit);
            assert!((score - apart).abs() <= 1e-9 * apart);
            if best.is_none_or(|best| score > best.score) {
                best = Some(FoundCut { score, bin: cut, left: left.3 });
            }
        }
        best
    }

    #[test]
    fn every_instruction_set_finds_the_cut_of_the_plain_search() {
        let mut rng = CounterRng::new(1, 0);
        let mut found = 0;
        for round in 0..400 {
            let values = 1 + rng.below(254);
            let (mut bins, mut rows) = ([PackedSum::ZERO; PACKED_BINS], [0u32; PACKED_BINS]);
            let with_missing = round % 3 == 0;
            for bin in usize::from(!with_missing)..=values {
                for _ in 0..rng.below(if round % 5 == 0 { 30 } else { 4 }) {
                    let row = PackedSum::of_row(rng.below(2001) as i64 - 1000, rng.below(500) as u64);
                    bins[bin] = bins[bin].plus(row);
                    rows[bin] += 1;
                }
            }
            let total = bins.iter().fold(PackedSum::ZERO, |sum, &bin| sum.plus(bin));
            for missing in [false, true] {
                let search = CutSearch {
                    values,
                    missing_left: if missing { bins[0] } else { PackedSum::ZERO },
                    total,
                    rows: rows.iter().sum(),
                    min_rows: 1 + rng.below(30) as u32,
                    certain_hessian: f64::INFINITY,
                    min_hessian: 1.0 + rng.below(900) as f64,
                    l2: [0.0, 300.0][rng.below(2)],
                    max_step: [f64::INFINITY, 0.5][rng.below(2)],
                };
                let wanted = plain(&bins, &rows, &search, missing);
                found += usize::from(wanted.is_some());
                for kernels in Isa::ALL.into_iter().filter_map(Kernels::for_isa) {
                    assert_eq!(kernels.best_cut(&bins, &search), wanted, "{kernels:?} {search:?}");
                }
            }
        }
        assert!(found > 200);
    }

    #[test]
    fn rows_that_wrap_around_are_never_counted_too_many() {
        // 1,030 rows count as 6; their Hessian vouches for them where it can.
        let mut bins = [PackedSum::ZERO; PACKED_BINS];
        for bin in [1, 2] {
            for _ in 0..1030 {
                bins[bin] = bins[bin].plus(PackedSum::of_row(bin as i64 * 4 - 6, 3));
            }
        }
        let search = CutSearch {
            values: 2,
            missing_left: PackedSum::ZERO,
            total: bins[1].plus(bins[2]),
            rows: 2060,
            min_rows: 20,
            certain_hessian: 20.0 * 3.0,
            min_hessian: 1.0,
            l2: 0.0,
            max_step: f64::INFINITY,
        };
        assert_eq!(Kernels::best().best_cut(&bins, &search).map(|found| found.bin), Some(1));
        let uncertain = CutSearch { certain_hessian: 1e6, ..search };
        assert_eq!(Kernels::best().best_cut(&bins, &uncertain), None);
    }
}
