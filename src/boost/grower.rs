//! Growing one tree: the leaf whose cut gains most is cut next, until leaves or gains run out.
//!
//! Of two children the one with fewer rows gets its histogram from the rows, the other by taking that from the
//! parent's. Where threads are idle, the next best leaves are worked on ahead of their turn: what a leaf becomes does not depend
//! on other leaves, so the tree is the same; leaves that never have their turn get their rows back in order.

use rayon::prelude::*;

use super::binned::{BINS, BinnedMatrix};
use super::clock::{Clock, Phase};
use super::histogram::{Histogram, Pool, build, subtract};
use super::partition::{merge, partition};
use super::statistics::{Bin, Cut, FeatureHistogram, LeafTotals, Limits, Side, Statistics};
use super::tree::{Child, Node, Test, Tree};
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
    /// Threads that have no other tree to grow.
    pub threads: usize,
    /// Threshold of a feature at a bin.
    pub threshold: &'a (dyn Fn(usize, u8) -> f32 + Sync),
    pub clock: &'a Clock,
    pub kernels: &'static Kernels,
}

/// A leaf of a finished tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GrownLeaf<B> {
    /// Where its rows start and end in [`Grown::rows`], among which they ascend.
    pub start: usize,
    pub end: usize,
    /// Sum over its rows.
    pub sum: B,
}

/// A finished tree with the rows of its leaves.
#[derive(Debug)]
pub(super) struct Grown<B> {
    pub tree: Tree,
    /// The rows it was grown on, leaf by leaf.
    pub rows: Vec<u32>,
    /// By the index of the leaf.
    pub leaves: Vec<GrownLeaf<B>>,
}

/// A leaf of a tree that is being grown.
struct Leaf<B> {
    start: usize,
    totals: LeafTotals<B>,
    depth: usize,
    /// Best cut with its feature.
    cut: Option<(usize, Cut<B>)>,
    histogram: Option<Histogram<B>>,
    /// Inner node that leads here, and from which side.
    parent: Option<(usize, usize)>,
    /// What its cut makes of it, where that was worked out.
    children: Option<Box<[Leaf<B>; 2]>>,
}

impl<B> Leaf<B> {
    fn rows(&self) -> usize {
        self.totals.rows as usize
    }

    fn gain(&self) -> f64 {
        self.cut.as_ref().map_or(0.0, |(_, cut)| cut.gain)
    }
}

/// A leaf whose children are worked out, with what only it may write to.
struct Task<'r, B> {
    at: usize,
    histogram: Option<Histogram<B>>,
    rows: &'r mut [u32],
    scratch: &'r mut [u32],
}

impl<S: Statistics> Grower<'_, S> {
    /// Grows a tree on `rows`, which ascend.
    pub(super) fn grow(&self, mut rows: Vec<u32>, pool: &Pool<S::Bin>) -> Grown<S::Bin> {
        let mut scratch = vec![0; rows.len()];
        let mut tree = Tree::default();
        let sum = self.statistics.total(&rows);
        let mut root = Leaf {
            start: 0,
            totals: LeafTotals { sum, rows: rows.len() as u32 },
            depth: 0,
            cut: None,
            histogram: None,
            parent: None,
            children: None,
        };
        if self.shape.max_leaves > 1 && self.can_be_cut(&root) {
            let histogram = self.histogram(&rows, pool);
            self.seek(&mut root, histogram, pool);
        }
        let mut leaves = vec![root];
        while leaves.len() < self.shape.max_leaves && !self.matrix.is_stopped() {
            let Some(best) = best_of(&leaves, |_| true) else { break };
            if leaves[best].children.is_none() {
                let open = self.shape.max_leaves - leaves.len();
                self.work_out(&mut leaves, open, &mut rows, &mut scratch, pool);
            }
            commit(self, &mut leaves, best, &mut tree);
        }
        for leaf in leaves.iter_mut().filter(|leaf| leaf.children.is_some()) {
            let Some(children) = leaf.children.take() else { continue };
            let range = leaf.start..leaf.start + leaf.rows();
            merge(&mut rows[range.clone()], children[0].rows(), &mut scratch[range]);
            children.into_iter().for_each(|child| pool.give_back(child.histogram));
        }
        let leaves = leaves
            .into_iter()
            .map(|leaf| {
                let end = leaf.start + leaf.rows();
                pool.give_back(leaf.histogram);
                GrownLeaf { start: leaf.start, end, sum: leaf.totals.sum }
            })
            .collect();
        Grown { tree, rows, leaves }
    }

    /// Works out the children of the best leaves that have none yet: as many as there are threads, but not so many that
    /// much would be in vain.
    fn work_out(
        &self,
        leaves: &mut [Leaf<S::Bin>],
        open: usize,
        rows: &mut [u32],
        scratch: &mut [u32],
        pool: &Pool<S::Bin>,
    ) {
        let many = self.threads.min(open.div_ceil(2)).max(1);
        let mut chosen: Vec<usize> = Vec::new();
        while chosen.len() < many {
            let Some(next) = best_of(leaves, |at| leaves[at].children.is_none() && !chosen.contains(&at))
            else {
                break;
            };
            chosen.push(next);
        }
        // The last cut leaves nothing to be sought in its children.
        let seek = open > 1;
        chosen.sort_unstable_by_key(|&at| leaves[at].start);
        let mut tasks = Vec::with_capacity(chosen.len());
        let (mut rows, mut scratch, mut offset) = (rows, scratch, 0);
        for at in chosen {
            let leaf = &mut leaves[at];
            let (skip, count) = (leaf.start - offset, leaf.rows());
            let (own, rest) = std::mem::take(&mut rows)[skip..].split_at_mut(count);
            let (own_scratch, rest_scratch) = std::mem::take(&mut scratch)[skip..].split_at_mut(count);
            (rows, scratch, offset) = (rest, rest_scratch, leaf.start + count);
            tasks.push(Task { at, histogram: leaf.histogram.take(), rows: own, scratch: own_scratch });
        }
        let seen = &*leaves;
        let work = |task: Task<'_, S::Bin>| {
            let Task { at, histogram, rows, scratch } = task;
            (at, self.children(&seen[at], histogram, rows, scratch, seek, pool))
        };
        let done: Vec<_> = match tasks.len() {
            1 => tasks.into_iter().map(work).collect(),
            _ => tasks.into_par_iter().map(work).collect(),
        };
        for (at, children) in done {
            leaves[at].children = children.map(Box::new);
        }
    }

    /// The two children of a leaf; `rows` are its rows, `histogram` its histogram where that was kept.
    fn children(
        &self,
        leaf: &Leaf<S::Bin>,
        histogram: Option<Histogram<S::Bin>>,
        rows: &mut [u32],
        scratch: &mut [u32],
        seek: bool,
        pool: &Pool<S::Bin>,
    ) -> Option<[Leaf<S::Bin>; 2]> {
        let (feature, cut) = leaf.cut.as_ref()?;
        let (block, place) = self.matrix.place(*feature);
        let goes_left = place.codes_among(&cut.left_bins(), self.matrix.features()[*feature].values);
        let left_rows = self.clock.time(Phase::Partition, || {
            partition(self.kernels, &block.bins, place.slot(), &goes_left, rows, scratch)
        });
        let child = |start: usize, sum: S::Bin, rows: usize| Leaf {
            start,
            totals: LeafTotals { sum, rows: rows as u32 },
            depth: leaf.depth + 1,
            cut: None,
            histogram: None,
            parent: None,
            children: None,
        };
        let (left_sum, right_rows) = (cut.left_sum, rows.len() - left_rows);
        debug_assert!(left_rows.min(right_rows) >= self.limits.min_rows as usize);
        let mut left = child(leaf.start, left_sum, left_rows);
        let mut right = child(leaf.start + left_rows, leaf.totals.sum.minus(left_sum), right_rows);
        let (left_open, right_open) = (seek && self.can_be_cut(&left), seek && self.can_be_cut(&right));
        let left_is_small = left_rows <= right_rows;
        let (small_rows, large_rows) = match left_is_small {
            true => rows.split_at(left_rows),
            false => {
                let (left, right) = rows.split_at(left_rows);
                (right, left)
            }
        };
        let (small, large) = if left_is_small { (&mut left, &mut right) } else { (&mut right, &mut left) };
        let (small_open, large_open) =
            if left_is_small { (left_open, right_open) } else { (right_open, left_open) };
        match (small_open || large_open, histogram) {
            (false, histogram) => pool.give_back(histogram),
            (true, Some(mut parent)) => {
                let mut built = self.histogram(small_rows, pool);
                if large_open {
                    self.clock.time(Phase::Histogram, || subtract(&mut parent, &mut built, self.matrix));
                    self.seek(large, parent, pool);
                } else {
                    pool.give_back(Some(parent));
                }
                if small_open { self.seek(small, built, pool) } else { pool.give_back(Some(built)) }
            }
            (true, None) => {
                for (open, child, rows) in [(small_open, small, small_rows), (large_open, large, large_rows)]
                {
                    if open {
                        let built = self.histogram(rows, pool);
                        self.seek(child, built, pool);
                    }
                }
            }
        }
        Some([left, right])
    }

    /// Whether limits of depth and rows leave a cut possible.
    fn can_be_cut(&self, leaf: &Leaf<S::Bin>) -> bool {
        leaf.depth < self.shape.max_depth && leaf.totals.rows / 2 >= self.limits.min_rows
    }

    fn histogram(&self, rows: &[u32], pool: &Pool<S::Bin>) -> Histogram<S::Bin> {
        self.clock.time(Phase::Histogram, || build(self.statistics, self.matrix, self.usable, rows, pool))
    }

    /// Finds the best cut of a leaf, the lowest feature of equals, and leaves it its histogram where there is one to be
    /// cut and room to keep it.
    fn seek(&self, leaf: &mut Leaf<S::Bin>, histogram: Histogram<S::Bin>, pool: &Pool<S::Bin>) {
        /// Features from which on threads share the search.
        const PARALLEL_FEATURES: usize = 64;
        // What lacks rows would give cuts that part others than they say.
        if self.matrix.is_stopped() {
            return pool.give_back(Some(histogram));
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
            leaf.histogram = Some(histogram);
        } else {
            pool.give_back(Some(histogram));
        }
    }
}

/// The leaf with the largest gain that `admit` lets in, the first of equals.
fn best_of<B>(leaves: &[Leaf<B>], admit: impl Fn(usize) -> bool) -> Option<usize> {
    let candidates = (0..leaves.len()).filter(|&at| leaves[at].gain() > 0.0 && admit(at));
    candidates.reduce(|best, at| if leaves[at].gain() > leaves[best].gain() { at } else { best })
}

/// Makes the leaf `at` an inner node: its first child takes its place, the second is a new leaf.
fn commit<S: Statistics>(grower: &Grower<'_, S>, leaves: &mut Vec<Leaf<S::Bin>>, at: usize, tree: &mut Tree) {
    let leaf = &mut leaves[at];
    let (Some(children), Some((feature, cut))) = (leaf.children.take(), leaf.cut.take()) else { return };
    let node = tree.nodes.len();
    if let Some((parent, side)) = leaf.parent {
        tree.nodes[parent].children[side] = Child::Node(node as u32);
    }
    let test = match cut.left {
        Side::UpTo(bin) => Test::UpTo { bin, threshold: (grower.threshold)(feature, bin) },
        Side::Among(set) => Test::Among(set),
    };
    let cover = leaf.totals.rows;
    let [mut left, mut right] = *children;
    left.parent = Some((node, 0));
    right.parent = Some((node, 1));
    let sides = [Child::Leaf(at as u32), Child::Leaf(leaves.len() as u32)];
    tree.nodes.push(Node {
        feature: feature as u32,
        test,
        missing_left: cut.missing_left,
        children: sides,
        gain: cut.gain as f32,
        cover,
        left_cover: left.totals.rows,
    });
    leaves[at] = left;
    leaves.push(right);
}
