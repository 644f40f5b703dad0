//! Statistics of trees with a number a leaf: fixed-point gradient and Hessian in one word a row.

use rayon::prelude::*;

use super::binned::{BINS, FeatureBlock, FeatureInfo};
use super::category_cut;
use super::columns::{chunk_rows, chunks};
use super::gradient::Derivatives;
use super::statistics::{Bin, Cut, FeatureHistogram, LeafTotals, Limits, Side, Statistics};
use crate::simd::{
    CutSearch, DerivativeSums, FoundCut, Kernels, PACKED_ROWS, PackedSum, accumulate_packed, leaf_score,
};

impl Bin for PackedSum {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        PackedSum::plus(self, other)
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        PackedSum::minus(self, other)
    }
}

/// Gradients and Hessians of all rows, as they are and as words.
#[derive(Debug)]
pub(super) struct Scalar<'a> {
    words: Vec<PackedSum>,
    /// Rows that each row stands for; empty where that is one.
    counts: &'a [u32],
    /// Factors of gradient and Hessian in the words.
    scales: (f64, f64),
    /// Largest fixed-point Hessian of a row.
    largest_hessian: f64,
    kernels: &'static Kernels,
}

impl<'a> Scalar<'a> {
    /// The derivatives for output `output` of a tree to be grown, written over `words`. Each row stands for so many as
    /// `counts` says, for one where it is empty.
    pub(super) fn new(
        mut words: Vec<PackedSum>,
        derivatives: &Derivatives,
        output: usize,
        counts: &'a [u32],
        kernels: &'static Kernels,
    ) -> Self {
        let rows = derivatives.rows();
        let sums = chunks(rows).map_init(Vec::new, |buffer, rows| {
            let (g, h) = derivatives.of(&rows, output, buffer);
            let sums = kernels.derivative_sums(g, h);
            match counts.get(rows) {
                Some(counts) => DerivativeSums { largest: largest_of_one(h, counts), ..sums },
                None => sums,
            }
        });
        let mut all = DerivativeSums::default();
        for sums in sums.collect::<Vec<_>>() {
            all.magnitudes += sums.magnitudes;
            all.hessians += sums.hessians;
            all.largest = all.largest.max(sums.largest);
        }
        let scales = PackedSum::scales(all.magnitudes, all.hessians, rows);
        words.resize(rows, PackedSum::ZERO);
        let chunks = words.par_chunks_mut(chunk_rows(rows)).zip(chunks(rows));
        chunks.for_each_init(Vec::new, |buffer, (words, rows)| {
            let (g, h) = derivatives.of(&rows, output, buffer);
            kernels.pack_rows(g, h, scales, words);
            if let Some(counts) = counts.get(rows) {
                let others = |count: u32| PackedSum::of_rows(count - 1);
                words.iter_mut().zip(counts).for_each(|(word, &count)| *word = word.plus(others(count)));
            }
        });
        let largest = f64::from(all.largest) * scales.1;
        // Rows that stand for several are rounded once: what one of them has there may lie between whole numbers.
        let largest_hessian = if counts.is_empty() { largest.round_ties_even() } else { largest + 0.5 };
        Scalar { words, counts, scales, largest_hessian, kernels }
    }

    /// The words, to be written over.
    pub(super) fn into_words(self) -> Vec<PackedSum> {
        self.words
    }

    fn units(&self, leaf: &LeafTotals<PackedSum>, limits: &Limits) -> Units {
        let (gradient, hessian) = self.scales;
        let l2 = limits.l2 * hessian;
        let (g, h) = (f64::from(leaf.sum.gradient()), f64::from(leaf.sum.hessian()));
        let limited = limits.max_delta_step > 0.0;
        let max_step = if limited { limits.max_delta_step * gradient / hessian } else { f64::INFINITY };
        let parent = leaf_score(g, h + l2, max_step);
        Units {
            l2,
            max_step,
            min_hessian: (limits.min_weight * hessian).max(1.0),
            parent,
            // Half of a score is the loss taken away; it is in units of gradient^2 / Hessian.
            gain: hessian / (gradient * gradient) / 2.0,
        }
    }
}

/// Limits in the fixed-point units of the words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    pub(super) l2: f64,
    pub(super) max_step: f64,
    pub(super) min_hessian: f64,
    /// Score of the leaf without a cut.
    pub(super) parent: f64,
    /// What makes a gain of a difference of scores.
    gain: f64,
}

impl Units {
    /// Gain of a cut with `score`, `None` where it is rounding or too small.
    pub(super) fn gain(&self, score: f64, limits: &Limits) -> Option<f64> {
        /// A cut between equal rows gains nothing, of which rounding may leave a trace.
        const ROUNDING: f64 = 1e-10;
        let difference = score - self.parent;
        let gain = difference * self.gain;
        (difference > ROUNDING * self.parent && gain > limits.min_gain && gain.is_finite()).then_some(gain)
    }
}

/// Largest Hessian of one of the rows that rows with these Hessians stand for.
fn largest_of_one(hessians: &[f32], counts: &[u32]) -> f32 {
    hessians.iter().zip(counts).fold(0.0, |largest, (&hessian, &count)| largest.max(hessian / count as f32))
}

impl Statistics for Scalar<'_> {
    type Bin = PackedSum;

    fn accumulate(&self, block: &FeatureBlock, rows: &[u32], histogram: &mut [FeatureHistogram<PackedSum>]) {
        accumulate_packed(&block.bins, &self.words, rows, histogram);
    }

    fn total(&self, rows: &[u32]) -> PackedSum {
        if rows.len() == self.words.len() {
            return self.words.iter().fold(PackedSum::ZERO, |sum, &word| sum.plus(word));
        }
        rows.iter().fold(PackedSum::ZERO, |sum, &row| sum.plus(self.words[row as usize]))
    }

    fn count(&self, rows: &[u32]) -> u32 {
        match self.counts {
            [] => rows.len() as u32,
            counts => rows.iter().map(|&row| counts[row as usize]).sum(),
        }
    }

    fn too_few(&self, rows: PackedSum, leaf: &LeafTotals<PackedSum>, limits: &Limits) -> bool {
        // Above, rows are counted up to multiples only.
        leaf.rows < PACKED_ROWS && rows.rows() < limits.min_rows
    }

    fn best_cut(
        &self,
        bins: &[PackedSum; BINS],
        feature: &FeatureInfo,
        leaf: &LeafTotals<PackedSum>,
        limits: &Limits,
    ) -> Option<Cut<PackedSum>> {
        let units = self.units(leaf, limits);
        let certain_hessian = f64::from(limits.min_rows) * self.largest_hessian;
        if feature.categorical {
            let smoothing = limits.category_smoothing * self.scales.1;
            return category_cut::best(bins, feature, leaf, limits, &units, smoothing, certain_hessian);
        }
        let mut search = CutSearch {
            values: usize::from(feature.values),
            missing_left: PackedSum::ZERO,
            total: leaf.sum,
            rows: leaf.rows,
            min_rows: limits.min_rows,
            certain_hessian,
            min_hessian: units.min_hessian,
            l2: units.l2,
            max_step: units.max_step,
        };
        let missing = bins[0];
        let mut best = self.kernels.best_cut(bins, &search).map(|found| (found, false));
        if missing != PackedSum::ZERO {
            search.missing_left = missing;
            // Missing values go right where both sides are as good.
            best = match (best, self.kernels.best_cut(bins, &search)) {
                (None, found) => found.map(|found| (found, true)),
                (Some((right, _)), Some(left)) if left.score > right.score => Some((left, true)),
                (best, _) => best,
            };
        }
        let (FoundCut { score, bin, left: left_sum }, missing_left) = best?;
        let gain = units.gain(score, limits)?;
        // Without rows to learn from, missing values follow the heavier side.
        let missing_left = match missing == PackedSum::ZERO {
            true => left_sum.hessian() > leaf.sum.minus(left_sum).hessian(),
            false => missing_left,
        };
        Some(Cut { gain, left: Side::UpTo(bin as u8), missing_left, left_sum })
    }
}
