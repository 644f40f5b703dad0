//! Gradient, Hessian and number of rows in one word, and histograms of such words.
//!
//! From the top: 10 bits for the number of rows (which wraps around), 28 for the signed sum of fixed-point gradients, 26
//! for that of Hessians. One addition adds all three, one subtraction takes a child from its parent; the scales see to
//! it that neither sum leaves its bits ([`PackedSum::scales`]).

use super::memory::prefetch;

/// Bins of a feature in a histogram.
pub const PACKED_BINS: usize = 256;

/// Features side by side in a row of bins.
pub const PACKED_FEATURES: usize = 16;

const GRADIENT_BITS: u32 = 28;
const HESSIAN_BITS: u32 = 26;
const COUNT_SHIFT: u32 = GRADIENT_BITS + HESSIAN_BITS;
/// Added to a word before it is taken apart: gradients are then not negative, and borrow nothing from the rows.
const BIAS: u64 = 1 << (COUNT_SHIFT - 1);
const GRADIENT_MASK: u64 = (1 << GRADIENT_BITS) - 1;

/// Rows beyond which the number of rows of a sum is only known up to multiples of this.
pub const PACKED_ROWS: u32 = 1 << (64 - COUNT_SHIFT);

/// A sum over rows of fixed-point gradient and Hessian, and the number of rows modulo [`PACKED_ROWS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct PackedSum(pub(super) u64);

impl PackedSum {
    /// The sum over no rows.
    pub const ZERO: PackedSum = PackedSum(0);

    /// Factors of gradients and of Hessians with which no sum over `rows` rows can overflow, rounding included. They are
    /// as large as the sum of magnitudes allows, so that precision grows as a fit converges. 0 where all are 0.
    pub fn scales(sum_of_magnitudes: f64, sum_of_hessians: f64, rows: usize) -> (f64, f64) {
        let scale = |bits: u32, sum: f64| {
            let room = (1u64 << bits) as f64 - rows as f64 - 1.0;
            if sum > 0.0 && sum.is_finite() { (room / sum).max(0.0) } else { 0.0 }
        };
        (scale(GRADIENT_BITS - 1, sum_of_magnitudes), scale(HESSIAN_BITS, sum_of_hessians))
    }

    /// One row.
    #[inline(always)]
    pub fn of_row(gradient: i64, hessian: u64) -> Self {
        PackedSum((1u64 << COUNT_SHIFT).wrapping_add((gradient as u64) << HESSIAN_BITS).wrapping_add(hessian))
    }

    /// So many rows without gradient and Hessian.
    #[inline(always)]
    pub fn of_rows(count: u32) -> Self {
        PackedSum(u64::from(count) << COUNT_SHIFT)
    }

    /// The sum over the rows of both.
    #[inline(always)]
    pub fn plus(self, other: Self) -> Self {
        PackedSum(self.0.wrapping_add(other.0))
    }

    /// The sum over the rows of `self` without those of `other`.
    #[inline(always)]
    pub fn minus(self, other: Self) -> Self {
        PackedSum(self.0.wrapping_sub(other.0))
    }

    /// Fixed-point gradient.
    #[inline(always)]
    pub fn gradient(self) -> i32 {
        ((self.0.wrapping_add(BIAS) >> HESSIAN_BITS) & GRADIENT_MASK) as i32 - (1 << (GRADIENT_BITS - 1))
    }

    /// Fixed-point Hessian.
    #[inline(always)]
    pub fn hessian(self) -> i32 {
        (self.0 & ((1 << HESSIAN_BITS) - 1)) as i32
    }

    /// Number of rows modulo [`PACKED_ROWS`].
    #[inline(always)]
    pub fn rows(self) -> u32 {
        (self.0.wrapping_add(BIAS) >> COUNT_SHIFT) as u32
    }
}

/// [`super::Kernels::pack_rows`].
///
/// # Safety
/// None; `unsafe` only to stand in a table with its neighbours.
#[inline(always)]
pub(super) unsafe fn pack_rows(
    gradients: &[f32],
    hessians: &[f32],
    scales: (f64, f64),
    words: &mut [PackedSum],
) {
    /// 1.5 * 2^52: its sum with a smaller number holds that number, rounded, in the low bits.
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    let round = |x: f64| ((x + ROUNDER).to_bits()).wrapping_sub(ROUNDER.to_bits());
    for ((word, &g), &h) in words.iter_mut().zip(gradients).zip(hessians) {
        let gradient = round(f64::from(g) * scales.0) as i64;
        *word = PackedSum::of_row(gradient, round(f64::from(h) * scales.1));
    }
}

/// Rows ahead whose bins and words are asked for: so far that memory has answered when their turn comes.
const AHEAD: usize = 24;

/// Adds the words of `rows` to the histograms of the features in the first slots of `bins`, one histogram each.
///
/// # Panics
/// Where a row lies beyond `bins` or `words`, or there are more than sixteen histograms.
pub fn accumulate_packed(
    bins: &[[u8; PACKED_FEATURES]],
    words: &[PackedSum],
    rows: &[u32],
    histograms: &mut [[PackedSum; PACKED_BINS]],
) {
    /// Widths for which the loop over the features is unrolled.
    macro_rules! unrolled {
        ($($width:literal)*) => {
            match histograms.len() {
                0 => {}
                $($width => accumulate::<$width>(bins, words, rows, histograms),)*
                wide => assert!(wide <= PACKED_FEATURES, "{wide} histograms for a block"),
            }
        };
    }
    unrolled!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
}

fn accumulate<const WIDTH: usize>(
    bins: &[[u8; PACKED_FEATURES]],
    words: &[PackedSum],
    rows: &[u32],
    histograms: &mut [[PackedSum; PACKED_BINS]],
) {
    let Some((histograms, [])) = histograms.split_first_chunk_mut::<WIDTH>() else { return };
    let mut add = |row: u32| {
        let (bins, word) = (&bins[row as usize], words[row as usize]);
        for (histogram, &bin) in histograms.iter_mut().zip(bins) {
            let slot = &mut histogram[usize::from(bin)];
            *slot = slot.plus(word);
        }
    };
    let near = rows.len().saturating_sub(AHEAD);
    for (&row, &ahead) in rows[..near].iter().zip(&rows[AHEAD.min(rows.len())..]) {
        prefetch(bins, ahead as usize);
        prefetch(words, ahead as usize);
        add(row);
    }
    rows[near..].iter().for_each(|&row| add(row));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    #[test]
    fn sums_come_apart_again() {
        let mut rng = CounterRng::new(1, 0);
        let (mut sum, mut gradient, mut hessian) = (PackedSum::ZERO, 0i64, 0u64);
        for rows in 1..=3000u32 {
            let (g, h) = (rng.below(80_000) as i64 - 45_000, rng.below(20_000) as u64);
            let before = sum;
            sum = sum.plus(PackedSum::of_row(g, h));
            (gradient, hessian) = (gradient + g, hessian + h);
            assert_eq!((i64::from(sum.gradient()), sum.hessian() as u64), (gradient, hessian));
            assert_eq!(sum.rows(), rows % PACKED_ROWS);
            assert_eq!(sum.minus(PackedSum::of_row(g, h)), before);
        }
    }

    #[test]
    fn scales_leave_no_sum_beyond_its_bits() {
        for (rows, largest) in [(1usize, 1.0f32), (3, 1e-30), (1000, 80.0), (70_000, 0.3)] {
            for sign in [1.0, -1.0] {
                let gradients = vec![sign * largest; rows];
                let hessians = vec![largest / 3.0; rows];
                let total = f64::from(largest) * rows as f64;
                let scales = PackedSum::scales(total, f64::from(largest / 3.0) * rows as f64, rows);
                let mut words = vec![PackedSum::ZERO; rows];
                crate::simd::Kernels::best().pack_rows(&gradients, &hessians, scales, &mut words);
                let sum = words.iter().fold(PackedSum::ZERO, |sum, &word| sum.plus(word));
                assert_eq!(sum.rows() as usize, rows % PACKED_ROWS as usize);
                let wanted = f64::from(sign) * total * scales.0;
                assert!((f64::from(sum.gradient()) - wanted).abs() <= rows as f64, "{rows} {largest}");
                assert!(f64::from(sum.hessian()) > 0.99 * (1 << HESSIAN_BITS) as f64 - 2.0 * rows as f64);
            }
        }
        assert_eq!(PackedSum::scales(0.0, f64::NAN, 5), (0.0, 0.0));
    }

    #[test]
    fn histograms_are_sums_by_bin() {
        let mut rng = CounterRng::new(2, 0);
        let count = 500;
        let mut bins = vec![[0u8; 16]; count];
        bins.iter_mut().flatten().for_each(|bin| *bin = rng.below(256) as u8);
        let words: Vec<PackedSum> = (0..count).map(|i| PackedSum::of_row(i as i64 - 200, i as u64)).collect();
        for width in 0..=16 {
            for rows in [0, 1, 23, 24, 25, 100] {
                let rows: Vec<u32> = (0..rows).map(|i| i * 4 + 1).collect();
                let mut found = vec![[PackedSum::of_row(1, 1); 256]; width];
                let mut wanted = found.clone();
                accumulate_packed(&bins, &words, &rows, &mut found);
                for &row in &rows {
                    for (feature, histogram) in wanted.iter_mut().enumerate() {
                        let slot = &mut histogram[usize::from(bins[row as usize][feature])];
                        *slot = slot.plus(words[row as usize]);
                    }
                }
                assert!(found == wanted, "{width} features");
            }
        }
    }
}
