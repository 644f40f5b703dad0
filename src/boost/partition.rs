//! Rows of a leaf, parted into those of its two children.

use rayon::prelude::*;

use super::binned::{BINS, BLOCK_FEATURES};
use crate::simd::Kernels;

/// Rows from which on threads share the work.
const PARALLEL_ROWS: usize = 1 << 15;

/// Puts the rows whose bin in `slot` is among `goes_left` before the others and returns their number; both keep their
/// order. `scratch` has the length of `rows`.
pub(super) fn partition(
    kernels: &Kernels,
    bins: &[[u8; BLOCK_FEATURES]],
    slot: usize,
    goes_left: &[bool; BINS],
    rows: &mut [u32],
    scratch: &mut [u32],
) -> usize {
    let threads = rayon::current_num_threads();
    if rows.len() < PARALLEL_ROWS || threads == 1 {
        let left = kernels.part_rows(bins, slot, goes_left, rows, scratch);
        let right = rows.len() - left;
        rows[left..].copy_from_slice(&scratch[..right]);
        return left;
    }
    let size = rows.len().div_ceil(threads);
    let chunks = rows.par_chunks_mut(size).zip(scratch.par_chunks_mut(size));
    let lefts: Vec<usize> =
        chunks.map(|(rows, scratch)| kernels.part_rows(bins, slot, goes_left, rows, scratch)).collect();
    // Left rows close up, then right ones come from the scratch.
    let mut kept = lefts[0];
    for (chunk, &left) in lefts.iter().enumerate().skip(1) {
        rows.copy_within(chunk * size..chunk * size + left, kept);
        kept += left;
    }
    let mut rest = &mut rows[kept..];
    let mut copies = Vec::with_capacity(lefts.len());
    for (scratch, left) in scratch.chunks(size).zip(lefts) {
        let (own, others) = rest.split_at_mut(scratch.len() - left);
        copies.push((own, scratch));
        rest = others;
    }
    copies.into_par_iter().for_each(|(to, scratch)| to.copy_from_slice(&scratch[..to.len()]));
    kept
}

/// Merges two ascending runs, of which the second starts at `middle`, into one: what undoes a partition.
pub(super) fn merge(rows: &mut [u32], middle: usize, scratch: &mut [u32]) {
    let scratch = &mut scratch[..middle];
    scratch.copy_from_slice(&rows[..middle]);
    let (mut first, mut second, mut to) = (0, middle, 0);
    while first < middle {
        let from_second = second < rows.len() && rows[second] < scratch[first];
        rows[to] = if from_second { rows[second] } else { scratch[first] };
        first += usize::from(!from_second);
        second += usize::from(from_second);
        to += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    #[test]
    fn both_sides_keep_their_order_on_any_number_of_threads() {
        let mut rng = CounterRng::new(1, 0);
        let mut bins = vec![[0u8; BLOCK_FEATURES]; 200_000];
        bins.iter_mut().for_each(|bins| bins[5] = rng.below(256) as u8);
        let mut goes_left = [false; BINS];
        goes_left.iter_mut().for_each(|left| *left = rng.below(3) == 0);
        for count in [0, 1, 7, 100, 200_000] {
            let all: Vec<u32> = (0..count as u32).collect();
            let is_left = |row: &u32| goes_left[usize::from(bins[*row as usize][5])];
            let (left, right): (Vec<u32>, Vec<u32>) = all.iter().partition(|row| is_left(row));
            for threads in [1, 2, 3, 8] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let (mut rows, mut scratch) = (all.clone(), vec![0; all.len()]);
                let kept = pool
                    .install(|| partition(Kernels::best(), &bins, 5, &goes_left, &mut rows, &mut scratch));
                assert_eq!((&rows[..kept], &rows[kept..]), (&left[..], &right[..]));
                merge(&mut rows, kept, &mut scratch);
                assert_eq!(rows, all);
            }
        }
    }
}
