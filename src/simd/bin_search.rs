//! Bins of many values of one feature.

#[cfg(any(test, target_arch = "x86_64"))]
use super::Isa;
use super::Kernels;

/// Cuts that are compared with a value at once.
const WIDTH: usize = 16;

/// Ascending cuts, laid out for look-ups in two steps of sixteen comparisons.
#[derive(Debug, Clone)]
pub struct CutTable {
    /// Filled up with infinity, so that there is a whole run for each pivot.
    cuts: Vec<[f32; WIDTH]>,
    /// Last cut of each run.
    pivots: [f32; WIDTH],
}

impl CutTable {
    /// Most cuts that a table can have.
    pub const MOST: usize = u8::MAX as usize - 1;

    /// A table of cuts.
    ///
    /// # Panics
    /// Where there are more than [`CutTable::MOST`].
    pub fn new(cuts: &[f32]) -> Self {
        assert!(cuts.len() <= Self::MOST, "{} cuts", cuts.len());
        // One more than there are cuts: above them all lies infinity, so that no value is beyond the last run.
        let mut runs = vec![[f32::INFINITY; WIDTH]; cuts.len() / WIDTH + 1];
        runs.as_flattened_mut()[..cuts.len()].copy_from_slice(cuts);
        let mut pivots = [f32::INFINITY; WIDTH];
        pivots.iter_mut().zip(&runs).for_each(|(pivot, run)| *pivot = run[WIDTH - 1]);
        CutTable { cuts: runs, pivots }
    }
}

impl Kernels {
    /// For each of the first values the number of cuts below it, plus 1; 0 where the value is NaN.
    pub fn bins_of_values(&self, table: &CutTable, values: &[f32], bins: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        {
            if self.isa() >= Isa::Avx512 {
                // SAFETY: the level has AVX-512 F, and POPCNT with AVX2.
                return unsafe { x86::wide(table, values, bins) };
            }
            if self.isa() >= Isa::Avx2 {
                // SAFETY: the level has AVX2.
                return unsafe { x86::narrow(table, values, bins) };
            }
        }
        search(table, values, bins);
    }
}

/// See [`Kernels::bins_of_values`].
#[inline(always)]
fn search(table: &CutTable, values: &[f32], bins: &mut [u8]) {
    let below = |cuts: &[f32; WIDTH], value: f32| cuts.iter().map(|&cut| u8::from(cut < value)).sum::<u8>();
    for (bin, &value) in bins.iter_mut().zip(values) {
        let run = below(&table.pivots, value);
        // Nothing is above infinity, which the last run ends with.
        let within = table.cuts.get(usize::from(run)).map_or(0, |cuts| below(cuts, value));
        *bin = if value.is_nan() { 0 } else { WIDTH as u8 * run + within + 1 };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CutTable, search};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2")]
    pub(super) fn narrow(table: &CutTable, values: &[f32], bins: &mut [u8]) {
        search(table, values, bins);
    }

    /// Both steps are one comparison of sixteen lanes.
    #[target_feature(enable = "avx512f,popcnt")]
    pub(super) fn wide(table: &CutTable, values: &[f32], bins: &mut [u8]) {
        // SAFETY: sixteen f32.
        let pivots = unsafe { _mm512_loadu_ps(table.pivots.as_ptr()) };
        for (bin, &value) in bins.iter_mut().zip(values) {
            let spread = _mm512_set1_ps(value);
            let run = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(pivots, spread).count_ones();
            let Some(cuts) = table.cuts.get(run as usize) else { continue };
            // SAFETY: sixteen f32.
            let cuts = unsafe { _mm512_loadu_ps(cuts.as_ptr()) };
            let within = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(cuts, spread).count_ones();
            *bin = if value.is_nan() { 0 } else { (16 * run + within + 1) as u8 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    #[test]
    fn every_instruction_set_counts_the_cuts_below() {
        let mut rng = CounterRng::new(1, 0);
        for count in [0, 1, 15, 16, 17, 100, 253, 254, CutTable::MOST] {
            let mut cuts: Vec<f32> = (0..count).map(|_| (rng.next_f64() * 10.0) as f32).collect();
            cuts.sort_by(f32::total_cmp);
            cuts.dedup();
            let table = CutTable::new(&cuts);
            let mut values: Vec<f32> = (0..500).map(|_| (rng.next_f64() * 12.0 - 1.0) as f32).collect();
            values.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0]);
            values.extend(&cuts);
            for kernels in Isa::ALL.into_iter().filter_map(Kernels::for_isa) {
                let mut bins = vec![77; values.len()];
                kernels.bins_of_values(&table, &values, &mut bins);
                for (&bin, &value) in bins.iter().zip(&values) {
                    let below = cuts.iter().filter(|&&cut| cut < value).count();
                    let wanted = if value.is_nan() { 0 } else { below + 1 };
                    assert_eq!(usize::from(bin), wanted, "{value} among {count}");
                }
            }
        }
    }
}
