//! Histograms of all features over the rows of a leaf, and the memory they are kept in.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::binned::{BINS, BinnedMatrix, FeatureBlock};
use super::statistics::{Bin, FeatureHistogram, Statistics};

/// One histogram a slot of the matrix; [`super::binned::Place::histogram`] takes that of a feature from it.
pub(super) type Histogram<B> = Vec<FeatureHistogram<B>>;

/// Histograms that are not in use, for the next leaves.
#[derive(Debug)]
pub(super) struct Pool<B> {
    slots: usize,
    free: Mutex<Vec<Histogram<B>>>,
    /// Histograms handed out.
    live: AtomicUsize,
    /// Histograms that leaves may keep; beyond, they are built anew when their leaf is cut.
    limit: usize,
}

impl<B: Bin> Pool<B> {
    /// Histograms of `slots` slots each, of which `bytes` may be kept.
    pub(super) fn new(slots: usize, bytes: usize) -> Self {
        let limit = bytes / (slots * size_of::<FeatureHistogram<B>>()).max(1);
        Pool { slots, free: Mutex::new(Vec::new()), live: AtomicUsize::new(0), limit }
    }

    /// Whether a leaf may keep its histogram. Which ones do may depend on threads, what is found in them does not.
    pub(super) fn has_room(&self) -> bool {
        self.live.load(Ordering::Relaxed) <= self.limit
    }

    /// A histogram of sums over no rows, in the codes that the slots have.
    fn take(&self, matrix: &BinnedMatrix) -> Histogram<B> {
        self.live.fetch_add(1, Ordering::Relaxed);
        let free = self.free.lock().ok().and_then(|mut free| free.pop());
        match free {
            Some(mut histogram) => {
                slots(&mut histogram, matrix).for_each(|sums| sums.fill(B::default()));
                histogram
            }
            None => vec![[B::default(); BINS]; self.slots],
        }
    }

    /// Takes a histogram back.
    pub(super) fn give_back(&self, histogram: Option<Histogram<B>>) {
        if let Some(histogram) = histogram {
            self.live.fetch_sub(1, Ordering::Relaxed);
            if let Ok(mut free) = self.free.lock() {
                free.push(histogram);
            }
        }
    }
}

/// The sums of each slot that rows can be in; the others are never touched.
fn slots<'h, B>(
    histogram: &'h mut Histogram<B>,
    matrix: &'h BinnedMatrix,
) -> impl Iterator<Item = &'h mut [B]> {
    let codes = matrix.blocks().iter().flat_map(|block| &block.codes);
    histogram.iter_mut().zip(codes).map(|(sums, &codes)| &mut sums[..codes])
}

/// Additions below which one thread builds a histogram alone: a thread takes longer to wake than to add these.
const ALONE: usize = 1 << 15;

/// Rows that a thread takes at least.
const MIN_ROWS: usize = 1 << 13;

/// Rows that are added to a block without a look at whether they are still wanted.
const UNBROKEN_ROWS: usize = 1 << 18;

/// Histograms of the usable features over `rows`. Sums of integers: however the work is shared, the bytes are the same.
pub(super) fn build<S: Statistics>(
    statistics: &S,
    matrix: &BinnedMatrix,
    usable: &[bool],
    rows: &[u32],
    pool: &Pool<S::Bin>,
) -> Histogram<S::Bin> {
    let mut histogram = pool.take(matrix);
    let blocks: Vec<_> = {
        let mut rest = &mut histogram[..];
        let mut parts = Vec::with_capacity(matrix.blocks().len());
        let wanted = wanted_blocks(matrix, usable);
        for (block, wanted) in matrix.blocks().iter().zip(wanted) {
            let (own, others) = rest.split_at_mut(block.slots());
            rest = others;
            if wanted {
                parts.push((block, own));
            }
        }
        parts
    };
    let accumulate = |block: &FeatureBlock, rows: &[u32], sums: &mut [FeatureHistogram<S::Bin>]| {
        let wanted = rows.chunks(UNBROKEN_ROWS).take_while(|_| !matrix.is_stopped());
        wanted.for_each(|rows| statistics.accumulate(block, rows, sums));
    };
    let threads = rayon::current_num_threads();
    if threads == 1 || rows.len() * matrix.slots() < ALONE {
        blocks.into_iter().for_each(|(block, own)| accumulate(block, rows, own));
        return histogram;
    }
    // Fewer blocks than twice the threads are cut along their rows, or some thread would idle.
    let pieces = (2 * threads).div_ceil(blocks.len().max(1)).min(rows.len() / MIN_ROWS).min(threads).max(1);
    let size = rows.len().div_ceil(pieces).max(1);
    blocks.into_par_iter().for_each(|(block, own)| {
        let Some((first, others)) = rows.split_at_checked(size) else {
            return accumulate(block, rows, own);
        };
        let (partial, ()) = rayon::join(
            || {
                let parts = others.par_chunks(size).map(|rows| {
                    let mut part = vec![[S::Bin::default(); BINS]; block.slots()];
                    accumulate(block, rows, &mut part);
                    part
                });
                parts.collect::<Vec<_>>()
            },
            || accumulate(block, first, own),
        );
        for part in partial {
            for ((own, part), &codes) in own.iter_mut().zip(part).zip(&block.codes) {
                own[..codes].iter_mut().zip(&part[..codes]).for_each(|(own, part)| *own = own.plus(*part));
            }
        }
    });
    histogram
}

/// Whether a block has a feature that may be used.
fn wanted_blocks(matrix: &BinnedMatrix, usable: &[bool]) -> Vec<bool> {
    let mut wanted = vec![false; matrix.blocks().len()];
    for (feature, _) in usable.iter().enumerate().filter(|(_, usable)| **usable) {
        wanted[matrix.place(feature).1.block()] = true;
    }
    wanted
}

/// Takes the sums of a child from those of its parent.
pub(super) fn subtract<B: Bin>(parent: &mut Histogram<B>, child: &Histogram<B>, matrix: &BinnedMatrix) {
    for (parent, child) in slots(parent, matrix).zip(child) {
        parent.iter_mut().zip(child).for_each(|(parent, child)| *parent = parent.minus(*child));
    }
}
