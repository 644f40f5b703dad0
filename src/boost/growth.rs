//! A tree while threads grow it: which leaves were worked out, and whose turn it is.
//!
//! The tree is that of one thread: the leaf whose cut gains most is cut next. But what a leaf becomes does not depend on
//! other leaves, so threads that would wait work on leaves ahead of their turn, children of such leaves included, those whose
//! turn is likely to come first. Leaves that never have their turn get their rows back in order.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::Yield;

use super::histogram::{Histogram, Pool};
use super::statistics::{Bin, Cut, LeafTotals, Side};
use super::tree::{Child, Node, Test, Tree};

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
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf<B> {
    /// Where its rows start and end among those of the tree.
    pub start: usize,
    pub end: usize,
    pub totals: LeafTotals<B>,
    /// Cuts between the root and it.
    pub depth: usize,
    /// Best cut with its feature.
    pub cut: Option<(usize, Cut<B>)>,
}

impl<B> Leaf<B> {
    fn gain(&self) -> f64 {
        self.cut.as_ref().map_or(0.0, |(_, cut)| cut.gain)
    }
}

/// What belongs to the thread that works a leaf out.
#[derive(Debug, Default)]
pub(super) struct Held<'r, B> {
    /// Its histogram, where it was kept.
    pub histogram: Option<Histogram<B>>,
    pub rows: &'r mut [u32],
    /// As long as the rows.
    pub scratch: &'r mut [u32],
}

/// A leaf to work out.
#[derive(Debug)]
pub(super) struct Task<'r, B> {
    /// Its index among those of the growth.
    pub at: usize,
    pub leaf: Leaf<B>,
    pub held: Held<'r, B>,
    /// Whether its children may be cut in turn.
    pub seek: bool,
}

/// The children of a leaf; `None` where the rows were stopped.
pub(super) type Children<'r, B> = Option<[(Leaf<B>, Held<'r, B>); 2]>;

/// How far a leaf is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Nobody has worked it out.
    Open,
    /// A thread is at it.
    Taken,
    /// It will have these children when its turn comes.
    Known([usize; 2]),
    /// An inner node of the tree.
    Inner,
}

/// A leaf and its place among the others.
#[derive(Debug)]
struct Entry<'r, B> {
    leaf: Leaf<B>,
    held: Held<'r, B>,
    stage: Stage,
    /// The least gain from the tree down to it: its turn comes no earlier than that of the leaves above it.
    rank: f64,
    /// Inner node that leads here, and from which side.
    parent: Option<(usize, usize)>,
}

#[derive(Debug)]
struct State<'r, B> {
    /// All leaves there were or may be, parents before their children.
    entries: Vec<Entry<'r, B>>,
    /// Entries of the leaves of the tree, by index of the leaf.
    leaves: Vec<usize>,
    tree: Tree,
    max_leaves: usize,
    /// Entries that are taken or known.
    ahead: usize,
    /// Threads at work on this tree.
    workers: usize,
    is_stopped: bool,
}

impl<'r, B: Bin> State<'r, B> {
    fn add(&mut self, (leaf, held): (Leaf<B>, Held<'r, B>), above: f64) -> usize {
        let rank = leaf.gain().min(above);
        self.entries.push(Entry { leaf, held, stage: Stage::Open, rank, parent: None });
        self.entries.len() - 1
    }

    /// Takes what became of a leaf.
    fn put(&mut self, at: usize, children: Children<'r, B>) {
        let Some([left, right]) = children else {
            self.is_stopped = true;
            return;
        };
        let rank = self.entries[at].rank;
        self.entries[at].stage = Stage::Known([self.add(left, rank), self.add(right, rank)]);
    }

    /// Index of the leaf of the tree that gains most, the first of equals; `None` where the tree is finished.
    fn best(&self) -> Option<usize> {
        if self.is_stopped || self.leaves.len() >= self.max_leaves {
            return None;
        }
        let gain = |leaf: usize| self.entries[self.leaves[leaf]].leaf.gain();
        let gaining = (0..self.leaves.len()).filter(|&leaf| gain(leaf) > 0.0);
        gaining.reduce(|best, leaf| if gain(leaf) > gain(best) { leaf } else { best })
    }

    /// Cuts the leaves whose turn it is, as far as their children are known.
    fn cut(&mut self, threshold: impl Fn(usize, u8) -> f32) {
        while let Some(leaf) = self.best() {
            let at = self.leaves[leaf];
            let entry = &mut self.entries[at];
            let (Stage::Known(children), Some((feature, cut))) = (entry.stage, entry.leaf.cut) else {
                return;
            };
            entry.stage = Stage::Inner;
            let node = self.tree.nodes.len();
            if let Some((parent, side)) = entry.parent {
                self.tree.nodes[parent].children[side] = Child::Node(node as u32);
            }
            let test = match cut.left {
                Side::UpTo(bin) => Test::UpTo { bin, threshold: threshold(feature, bin) },
                Side::Among(set) => Test::Among(set),
            };
            self.tree.nodes.push(Node {
                feature: feature as u32,
                test,
                missing_left: cut.missing_left,
                children: [Child::Leaf(leaf as u32), Child::Leaf(self.leaves.len() as u32)],
                gain: cut.gain as f32,
                cover: entry.leaf.totals.rows,
                left_cover: self.entries[children[0]].leaf.totals.rows,
            });
            self.leaves[leaf] = children[0];
            self.leaves.push(children[1]);
            self.ahead -= 1;
            for (side, child) in children.into_iter().enumerate() {
                self.entries[child].parent = Some((node, side));
                self.rank(child, f64::INFINITY);
            }
        }
    }

    /// Ranks an entry and what is known below it anew, `above` being the rank of its parent.
    fn rank(&mut self, at: usize, above: f64) {
        let mut open = vec![(at, above)];
        while let Some((at, above)) = open.pop() {
            let entry = &mut self.entries[at];
            entry.rank = entry.leaf.gain().min(above);
            if let Stage::Known(children) = entry.stage {
                open.extend(children.map(|child| (child, entry.rank)));
            }
        }
    }

    /// The open entry of the highest rank, unless so many leaves are ahead of the tree that it may be in vain.
    fn next_open(&self) -> Option<usize> {
        let best = self.leaves[self.best()?];
        let open = (0..self.entries.len()).filter(|&at| {
            let entry = &self.entries[at];
            entry.stage == Stage::Open && entry.rank > 0.0
        });
        let rank = |at: usize| self.entries[at].rank;
        let first = open.reduce(|first, at| if rank(at) > rank(first) { at } else { first })?;
        (first == best || self.ahead < self.max_leaves - self.leaves.len()).then_some(first)
    }

    fn take(&mut self) -> Option<Task<'r, B>> {
        let at = self.next_open()?;
        // The last cut leaves nothing to be sought in its children.
        let seek = self.max_leaves - self.leaves.len() > 1;
        self.ahead += 1;
        let entry = &mut self.entries[at];
        entry.stage = Stage::Taken;
        Some(Task { at, leaf: entry.leaf, held: std::mem::take(&mut entry.held), seek })
    }
}

/// A tree that several threads grow.
pub(super) struct Growth<'r, B> {
    state: Mutex<State<'r, B>>,
    /// Counts what was put into the state.
    version: AtomicUsize,
    /// Most threads at work.
    threads: usize,
}

impl<'r, B: Bin> Growth<'r, B> {
    /// A tree of one leaf, at which one thread is at work.
    pub(super) fn new(root: (Leaf<B>, Held<'r, B>), max_leaves: usize, threads: usize) -> Self {
        let mut state = State {
            entries: Vec::new(),
            leaves: vec![0],
            tree: Tree::default(),
            max_leaves,
            ahead: 0,
            workers: 1,
            is_stopped: false,
        };
        state.add(root, f64::INFINITY);
        Growth { state: Mutex::new(state), version: AtomicUsize::new(0), threads }
    }

    fn lock(&self) -> MutexGuard<'_, State<'r, B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what became of the leaf `at` that a thread has worked out; `threshold` is that of a feature at a bin.
    pub(super) fn put(&self, at: usize, children: Children<'r, B>, threshold: impl Fn(usize, u8) -> f32) {
        let mut state = self.lock();
        state.put(at, children);
        state.cut(threshold);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The next leaf for a thread to work out, and whether there is one for another thread too, which counts as at work from
    /// now on. `None`: there is nothing to do, and the thread no longer counts.
    pub(super) fn take(&self) -> Option<(Task<'r, B>, bool)> {
        /// Looks for work before a thread leaves: some ten microseconds, less than one takes to wake.
        const PATIENCE: usize = 100;
        let mut state = self.lock();
        loop {
            if let Some(task) = state.take() {
                let another = state.workers < self.threads && state.next_open().is_some();
                state.workers += usize::from(another);
                return Some((task, another));
            }
            let seen = self.version.load(Ordering::Acquire);
            let is_alone = state.workers == 1;
            drop(state);
            let is_same = || self.version.load(Ordering::Acquire) == seen;
            // Meanwhile it helps where another thread shares its work.
            let patient = !is_alone
                && (0..PATIENCE).any(|_| {
                    if rayon::yield_now() != Some(Yield::Executed) {
                        spin_loop();
                    }
                    !is_same()
                });
            state = self.lock();
            if !patient && is_same() {
                state.workers -= 1;
                return None;
            }
        }
    }

    /// The tree, its leaves, and the rows that were parted in vain: where they start, where the second part does and where
    /// they end, those within others first.
    pub(super) fn finish(self, pool: &Pool<B>) -> (Tree, Vec<GrownLeaf<B>>, Vec<[usize; 3]>) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let leaf = |&at: &usize| {
            let leaf = &state.entries[at].leaf;
            GrownLeaf { start: leaf.start, end: leaf.end, sum: leaf.totals.sum }
        };
        let leaves = state.leaves.iter().map(leaf).collect();
        let parted = state.entries.iter().rev().filter_map(|entry| match entry.stage {
            Stage::Known([_, right]) => {
                Some([entry.leaf.start, state.entries[right].leaf.start, entry.leaf.end])
            }
            _ => None,
        });
        let parted = parted.collect();
        state.entries.into_iter().for_each(|entry| pool.give_back(entry.held.histogram));
        (state.tree, leaves, parted)
    }
}
