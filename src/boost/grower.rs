//! Growing one tree: the leaf whose cut gains most is cut next, until leaves or gains run out.
//!
//! Of two children the one with fewer rows gets its histogram from the rows, the other by taking that from the
//! parent's. Which thread works out which leaf is up to [`Growth`].

use rayon::Scope;
use rayon::prelude::*;

use super::binned::{BINS, BinnedMatrix};
use super::clock::{Clock, Phase};
use super::growth::{Children, Grown, Growth, Held, Leaf, Task};
use super::histogram::{Histogram, Pool, build, subtract};
use super::partition::{merge, partition};
use super::statistics::{Bin, Cut, FeatureHistogram, LeafTotals, Limits, Statistics};
use crate::simd::Kernels;

/// How large a tree may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Most leaves, at least 1.
    pub max_leaves: usize,
    /// Most cuts between the root and a leaf.
    pub max_depth: usize,
}

/// What trees are grown from, and by.
pub(super) struct Grower<'a, S> {
    pub statistics: &'a S,
    pub matrix: &'a BinnedMatrix,
    /// Whether a feature may be used, one entry a feature.
    pub usable: &'a [bool],
    pub limits: Limits,
    pub shape: Shape,
    /// Most threads that work on the tree.
    pub threads: usize,
    /// Threshold of a feature at a bin.
    pub threshold: &'a (dyn Fn(usize, u8) -> f32 + Sync),
    pub clock: &'a Clock,
    pub kernels: &'static Kernels,
}

impl<S: Statistics> Grower<'_, S> {
    /// Grows a tree on `rows`, which ascend.
    pub(super) fn grow(&self, mut rows: Vec<u32>, pool: &Pool<S::Bin>) -> Grown<S::Bin> {
        let mut scratch = vec![0; rows.len()];
        let totals = LeafTotals { sum: self.statistics.total(&rows), rows: self.statistics.count(&rows) };
        let mut root = Leaf { start: 0, end: rows.len(), totals, depth: 0, cut: None };
        let mut histogram = None;
        if self.shape.max_leaves > 1 && self.can_be_cut(&root) {
            histogram = self.seek(&mut root, self.histogram(&rows, pool), pool);
        }
        let held = Held { histogram, rows: &mut rows, scratch: &mut scratch };
        let growth = Growth::new((root, held), self.shape.max_leaves, self.threads);
        rayon::scope(|scope| self.work(&growth, pool, scope));
        let (tree, leaves, parted) = growth.finish(pool);
        for [start, middle, end] in parted {
            merge(&mut rows[start..end], middle - start, &mut scratch[start..end]);
        }
        Grown { tree, rows, leaves }
    }

    /// Works out leaves as long as there are any.
    fn work<'s>(&'s self, growth: &'s Growth<'_, S::Bin>, pool: &'s Pool<S::Bin>, scope: &Scope<'s>) {
        while let Some((task, another)) = growth.take() {
            if another {
                scope.spawn(|scope| self.work(growth, pool, scope));
            }
            let at = task.at;
            growth.put(at, self.children(task, pool), self.threshold);
        }
    }

    /// The two children of a leaf.
    fn children<'r>(&self, task: Task<'r, S::Bin>, pool: &Pool<S::Bin>) -> Children<'r, S::Bin> {
        let Task { leaf, held: Held { histogram, rows, scratch }, seek, .. } = task;
        let (feature, cut) = leaf.cut.filter(|_| !self.matrix.is_stopped())?;
        let (block, place) = self.matrix.place(feature);
        let goes_left = place.codes_among(&cut.left_bins(), self.matrix.features()[feature].values);
        let left_rows = self.clock.time(Phase::Partition, || {
            partition(self.kernels, &block.bins, place.slot(), &goes_left, rows, scratch)
        });
        let (of_left, of_right) = rows.split_at_mut(left_rows);
        let middle = leaf.start + left_rows;
        let left_is_small = of_left.len() <= of_right.len();
        let small_count = self.statistics.count(if left_is_small { of_left } else { of_right });
        let large_count = leaf.totals.rows - small_count;
        debug_assert!(small_count.min(large_count) >= self.limits.min_rows);
        let child = |start: usize, end: usize, sum: S::Bin, is_small: bool| {
            let rows = if is_small { small_count } else { large_count };
            Leaf { start, end, totals: LeafTotals { sum, rows }, depth: leaf.depth + 1, cut: None }
        };
        let mut left = child(leaf.start, middle, cut.left_sum, left_is_small);
        let mut right = child(middle, leaf.end, leaf.totals.sum.minus(cut.left_sum), !left_is_small);
        let (small, large, small_rows, large_rows) = match left_is_small {
            true => (&mut left, &mut right, &*of_left, &*of_right),
            false => (&mut right, &mut left, &*of_right, &*of_left),
        };
        let (small_open, large_open) = (seek && self.can_be_cut(small), seek && self.can_be_cut(large));
        let (mut of_small, mut of_large) = (None, None);
        match histogram {
            Some(mut parent) if small_open || large_open => {
                let built = self.histogram(small_rows, pool);
                if large_open {
                    self.clock.time(Phase::Histogram, || subtract(&mut parent, &built, self.matrix));
                }
                let seek = |is_open: bool, leaf: &mut _, histogram| match is_open {
                    true => self.seek(leaf, histogram, pool),
                    false => {
                        pool.give_back(Some(histogram));
                        None
                    }
                };
                (of_large, of_small) =
                    rayon::join(|| seek(large_open, large, parent), || seek(small_open, small, built));
            }
            histogram => {
                pool.give_back(histogram);
                if small_open {
                    of_small = self.seek(small, self.histogram(small_rows, pool), pool);
                }
                if large_open {
                    of_large = self.seek(large, self.histogram(large_rows, pool), pool);
                }
            }
        }
        let (of_small, of_large) = if left_is_small { (of_small, of_large) } else { (of_large, of_small) };
        let (left_scratch, right_scratch) = scratch.split_at_mut(left_rows);
        Some([
            (left, Held { histogram: of_small, rows: of_left, scratch: left_scratch }),
            (right, Held { histogram: of_large, rows: of_right, scratch: right_scratch }),
        ])
    }

    /// Whether limits of depth and rows leave a cut possible.
    fn can_be_cut(&self, leaf: &Leaf<S::Bin>) -> bool {
        leaf.depth < self.shape.max_depth && leaf.totals.rows / 2 >= self.limits.min_rows
    }

    fn histogram(&self, rows: &[u32], pool: &Pool<S::Bin>) -> Histogram<S::Bin> {
        self.clock.time(Phase::Histogram, || build(self.statistics, self.matrix, self.usable, rows, pool))
    }

    /// Finds the best cut of a leaf, the lowest feature of equals. The histogram comes back where there is a cut and room to
    /// keep it.
    fn seek(
        &self,
        leaf: &mut Leaf<S::Bin>,
        histogram: Histogram<S::Bin>,
        pool: &Pool<S::Bin>,
    ) -> Option<Histogram<S::Bin>> {
        /// Features from which on threads share the search.
        const PARALLEL_FEATURES: usize = 32;
        // What lacks rows would give cuts that part others than they say.
        if self.matrix.is_stopped() {
            pool.give_back(Some(histogram));
            return None;
        }
        let features = self.matrix.features();
        let (seen, totals) = (&histogram, &leaf.totals);
        let find = |room: &mut FeatureHistogram<S::Bin>, feature: usize| {
            let ((block, place), info) = (self.matrix.place(feature), &features[feature]);
            let slot = seen.get(block.first + place.slot()).filter(|_| self.usable[feature])?;
            let too_few = |rows| self.statistics.too_few(rows, totals, &self.limits);
            let bins = place.histogram(slot, info.values, totals.sum, too_few, room)?;
            self.statistics.best_cut(bins, info, totals, &self.limits).map(|cut| (feature, cut))
        };
        let better = |best: (usize, Cut<S::Bin>), cut: (usize, Cut<S::Bin>)| {
            let wins = cut.1.gain > best.1.gain || (cut.1.gain == best.1.gain && cut.0 < best.0);
            if wins { cut } else { best }
        };
        leaf.cut = self.clock.time(Phase::Split, || {
            let room = || [S::Bin::default(); BINS];
            if features.len() < PARALLEL_FEATURES {
                let mut room = room();
                (0..features.len()).filter_map(|feature| find(&mut room, feature)).reduce(better)
            } else {
                let features = (0..features.len()).into_par_iter().with_min_len(16);
                features.map_init(room, find).flatten().reduce_with(better)
            }
        });
        if leaf.cut.is_some() && pool.has_room() {
            return Some(histogram);
        }
        pool.give_back(Some(histogram));
        None
    }
}
