//! Rows of a leaf, parted by the bin of one feature.

#[cfg(any(test, target_arch = "x86_64"))]
use super::Isa;
use super::Kernels;
use super::memory::prefetch;
use super::packed::{PACKED_BINS, PACKED_FEATURES};

/// Rows ahead whose bins are asked for.
const AHEAD: usize = 24;

impl Kernels {
    /// Puts the rows whose bin in `slot` is among `goes_left` to the front of `rows` and the others to the front of
    /// `scratch`, which is as long; returns the number of the former. Both keep their order; behind them is anything.
    ///
    /// # Panics
    /// Where the lengths differ, or a row lies beyond `bins`.
    pub fn part_rows(
        &self,
        bins: &[[u8; PACKED_FEATURES]],
        slot: usize,
        goes_left: &[bool; PACKED_BINS],
        rows: &mut [u32],
        scratch: &mut [u32],
    ) -> usize {
        assert!(rows.len() == scratch.len() && slot < PACKED_FEATURES);
        #[cfg(target_arch = "x86_64")]
        if self.isa() >= Isa::Avx512
            && bins.len() <= avx512::MOST_ROWS
            && let Some(run) = run(goes_left)
        {
            // SAFETY: shapes checked; the table's instruction set is available.
            return unsafe { avx512::part(bins, slot, run, goes_left, rows, scratch) };
        }
        let parted = Parted::default();
        part(bins, slot, goes_left, rows, scratch, parted)
    }
}

/// Bins side by side that all go to one side, while all others go to the other: so in numeric cuts, and in those of a
/// feature that shares its slot.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u8,
    last: u8,
    is_left: bool,
}

#[cfg(target_arch = "x86_64")]
fn run(goes_left: &[bool; PACKED_BINS]) -> Option<Run> {
    let of = |is_left: bool| {
        let first = goes_left.iter().position(|&left| left == is_left)?;
        let last = goes_left.iter().rposition(|&left| left == is_left)?;
        let whole = goes_left[first..=last].iter().all(|&left| left == is_left);
        whole.then_some(Run { first: first as u8, last: last as u8, is_left })
    };
    of(true).or_else(|| of(false))
}

/// How far rows have been parted.
#[derive(Debug, Clone, Copy, Default)]
struct Parted {
    /// Rows looked at.
    seen: usize,
    /// Those that go left, in their place.
    left: usize,
}

/// Parts the rows from `from.seen` on: left ones into their place, right ones into the scratch.
fn part(
    bins: &[[u8; PACKED_FEATURES]],
    slot: usize,
    goes_left: &[bool; PACKED_BINS],
    rows: &mut [u32],
    scratch: &mut [u32],
    from: Parted,
) -> usize {
    let slot = slot % PACKED_FEATURES;
    let (mut left, mut right) = (from.left, from.seen - from.left);
    for at in from.seen..rows.len() {
        let row = rows[at];
        if let Some(&ahead) = rows.get(at + AHEAD) {
            prefetch(bins, ahead as usize);
        }
        // Both places are written and one of them moves on: no branch that the processor could mispredict.
        let is_left = goes_left[usize::from(bins[row as usize][slot])];
        rows[left] = row;
        scratch[right] = row;
        left += usize::from(is_left);
        right += usize::from(!is_left);
    }
    left
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{PACKED_BINS, PACKED_FEATURES, Parted, Run};
    use std::arch::x86_64::*;

    /// Rows whose places, in steps of eight bytes, fit a signed index of 32 bits.
    pub(super) const MOST_ROWS: usize = 1 << 30;

    const LANES: usize = 16;

    /// Rows ahead whose bins are asked for.
    const AHEAD: usize = 3 * LANES;

    /// Sixteen rows at a time: their bins are gathered, compared and the rows compressed to either side.
    ///
    /// # Safety
    /// `rows` and `scratch` are equally long, `slot` is below sixteen, there are no more than [`MOST_ROWS`] rows of bins, and
    /// the machine has AVX-512F.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn part(
        bins: &[[u8; PACKED_FEATURES]],
        slot: usize,
        run: Run,
        goes_left: &[bool; PACKED_BINS],
        rows: &mut [u32],
        scratch: &mut [u32],
    ) -> usize {
        let count = _mm512_set1_epi32(bins.len() as i32);
        let first = _mm512_set1_epi32(run.first.into());
        let width = _mm512_set1_epi32((run.last - run.first).into());
        let outside = if run.is_left { 0 } else { u16::MAX };
        let shift = _mm_cvtsi32_si128(8 * (slot % 4) as i32);
        // The four bytes that hold the bin lie within the sixteen of the row.
        let base = bins.as_ptr().cast::<u8>().wrapping_add(slot / 4 * 4);
        let mut to = Parted::default();
        while to.seen + LANES <= rows.len() {
            for ahead in rows[(to.seen + AHEAD).min(rows.len())..].iter().take(LANES) {
                super::prefetch(bins, *ahead as usize);
            }
            // SAFETY: sixteen rows are left, each checked to have bins before these are loaded. Left rows are stored at most
            // where they were read, right ones at most as far on in the scratch.
            unsafe {
                let row = _mm512_loadu_si512(rows.as_ptr().add(to.seen).cast());
                assert!(_mm512_cmplt_epu32_mask(row, count) == u16::MAX, "a row without bins");
                let words = _mm512_i32gather_epi32::<8>(_mm512_slli_epi32::<1>(row), base.cast());
                let bin = _mm512_and_si512(_mm512_srl_epi32(words, shift), _mm512_set1_epi32(0xFF));
                let left = _mm512_cmple_epu32_mask(_mm512_sub_epi32(bin, first), width) ^ outside;
                let right = to.seen - to.left;
                _mm512_storeu_si512(
                    rows.as_mut_ptr().add(to.left).cast(),
                    _mm512_maskz_compress_epi32(left, row),
                );
                _mm512_storeu_si512(
                    scratch.as_mut_ptr().add(right).cast(),
                    _mm512_maskz_compress_epi32(!left, row),
                );
                to.left += left.count_ones() as usize;
            }
            to.seen += LANES;
        }
        super::part(bins, slot, goes_left, rows, scratch, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    #[test]
    fn both_sides_keep_their_order_on_every_instruction_set() {
        let mut rng = CounterRng::new(1, 0);
        let mut bins = vec![[0u8; PACKED_FEATURES]; 3000];
        bins.iter_mut().flatten().for_each(|bin| *bin = rng.below(256) as u8);
        for kernels in Isa::ALL.into_iter().filter_map(Kernels::for_isa) {
            for round in 0..200 {
                let mut goes_left = [false; PACKED_BINS];
                match round % 4 {
                    0 => goes_left.iter_mut().for_each(|left| *left = rng.below(3) == 0),
                    shift => (shift - 1..rng.below(256) + 1).for_each(|bin| goes_left[bin] = true),
                }
                if round % 4 == 3 {
                    goes_left.iter_mut().for_each(|left| *left = !*left);
                }
                let slot = rng.below(PACKED_FEATURES);
                let step = 1 + rng.below(5);
                let all: Vec<u32> =
                    (0..3000).step_by(step).take(rng.below(3000)).map(|row| row as u32).collect();
                let is_left = |row: &&u32| goes_left[usize::from(bins[**row as usize][slot])];
                let (left, right): (Vec<u32>, Vec<u32>) = all.iter().partition(is_left);
                let (mut rows, mut scratch) = (all.clone(), vec![0; all.len()]);
                let kept = kernels.part_rows(&bins, slot, &goes_left, &mut rows, &mut scratch);
                assert_eq!(
                    (&rows[..kept], &scratch[..all.len() - kept]),
                    (&left[..], &right[..]),
                    "{kernels:?}"
                );
            }
        }
    }

    #[test]
    #[should_panic]
    fn a_row_beyond_the_bins_is_refused() {
        let (mut rows, mut scratch) = (vec![5; 32], vec![0; 32]);
        let mut goes_left = [false; PACKED_BINS];
        goes_left[1] = true;
        Kernels::best().part_rows(&[[0; PACKED_FEATURES]; 5], 0, &goes_left, &mut rows, &mut scratch);
    }
}
