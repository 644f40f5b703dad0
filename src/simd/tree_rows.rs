//! Many rows going down one tree side by side.
//!
//! Every node is asked about all rows at once, a byte a row: which of those that reach it go left. That takes a few
//! instructions a node for dozens of rows, and neither branches nor loads that wait for each other, where a walk from node
//! to node has both (the idea of RapidScorer, Ye et al. 2018, with rows in the place of its bit vectors of leaves).

#[cfg(any(test, target_arch = "x86_64"))]
use super::Isa;
use super::Kernels;

/// Rows that go down a tree together.
pub const TREE_ROWS: usize = 64;

/// A byte for each of the rows: bins of a feature, or 255 for those that reach a place.
pub type RowBytes = [u8; TREE_ROWS];

/// An inner node.
#[derive(Debug, Clone, Copy)]
pub struct RowNode {
    /// Which column of bins it asks.
    pub column: u32,
    /// Where rows go, left and right: places of inner nodes, then leaves, after its own.
    pub children: [u16; 2],
    /// Which bins go left.
    pub test: RowTest,
}

/// Which bins go left at a node.
#[derive(Debug, Clone, Copy)]
pub enum RowTest {
    /// Those that are at most `limit` once `shift` is taken off, 0 wrapping around to 255.
    UpTo {
        /// Taken off the bin.
        shift: u8,
        /// Largest that goes left.
        limit: u8,
    },
    /// Those that this entry of [`RowTree::sets`] has 255 for; it has 0 for the others.
    Among(u32),
}

/// A tree for many rows.
#[derive(Debug, Default)]
pub struct RowTree {
    /// Inner nodes, parents before children; one less than leaves.
    pub nodes: Vec<RowNode>,
    /// Sets of bins that nodes refer to.
    pub sets: Vec<[u8; 256]>,
}

impl RowTree {
    /// Most leaves that a tree may have.
    pub const MOST_LEAVES: usize = 1 << 12;
}

impl Kernels {
    /// The leaf of each row, whose bins are given column by column; `room` is memory to be used again.
    ///
    /// # Panics
    /// Where nodes name columns, sets or places that are not there.
    pub fn leaves_of_rows(
        &self,
        tree: &RowTree,
        columns: &[RowBytes],
        room: &mut Vec<RowBytes>,
        leaves: &mut [u32; TREE_ROWS],
    ) {
        let places = 2 * tree.nodes.len() + 1;
        room.resize(room.len().max(places), [0; TREE_ROWS]);
        #[cfg(target_arch = "x86_64")]
        {
            if self.isa() >= Isa::Avx512Bf16 {
                // SAFETY: the level has AVX-512 BW.
                return unsafe { x86::wide(tree, columns, room, leaves) };
            }
            if self.isa() >= Isa::Avx2 {
                // SAFETY: the level has AVX2.
                return unsafe { x86::narrow(tree, columns, room, leaves) };
            }
        }
        descend(tree, columns, room, leaves);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{RowBytes, RowTree, TREE_ROWS, descend};

    #[target_feature(enable = "avx512bw")]
    pub(super) fn wide(t: &RowTree, bins: &[RowBytes], room: &mut [RowBytes], leaves: &mut [u32; TREE_ROWS]) {
        descend(t, bins, room, leaves);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn narrow(
        t: &RowTree,
        bins: &[RowBytes],
        room: &mut [RowBytes],
        leaves: &mut [u32; TREE_ROWS],
    ) {
        descend(t, bins, room, leaves);
    }
}

/// See [`Kernels::leaves_of_rows`]; plain loops over 64 bytes, which the compiler makes vectors of.
#[inline(always)]
fn descend(tree: &RowTree, columns: &[RowBytes], reach: &mut [RowBytes], leaves: &mut [u32; TREE_ROWS]) {
    let inner = tree.nodes.len();
    reach[0] = [u8::MAX; TREE_ROWS];
    for (at, node) in tree.nodes.iter().enumerate() {
        let (here, bins) = (reach[at], &columns[node.column as usize]);
        let mut left = [0; TREE_ROWS];
        match node.test {
            RowTest::UpTo { shift, limit } => {
                for (left, bin) in left.iter_mut().zip(bins) {
                    *left = if bin.wrapping_sub(shift) <= limit { u8::MAX } else { 0 };
                }
            }
            RowTest::Among(set) => {
                let set = &tree.sets[set as usize];
                left.iter_mut().zip(bins).for_each(|(left, &bin)| *left = set[usize::from(bin)]);
            }
        }
        let [first, second] = node.children.map(usize::from);
        let (mut to_left, mut to_right) = (here, here);
        to_left.iter_mut().zip(&left).for_each(|(to, left)| *to &= left);
        to_right.iter_mut().zip(&left).for_each(|(to, left)| *to &= !left);
        reach[first] = to_left;
        reach[second] = to_right;
    }
    // Each row reaches one leaf, whose number its bytes then spell.
    let (mut low, mut high) = ([0u8; TREE_ROWS], [0u8; TREE_ROWS]);
    for (leaf, reached) in reach[inner..=2 * inner].iter().enumerate() {
        low.iter_mut().zip(reached).for_each(|(low, reached)| *low |= reached & leaf as u8);
    }
    if inner > usize::from(u8::MAX) {
        for (leaf, reached) in reach[inner..=2 * inner].iter().enumerate() {
            high.iter_mut().zip(reached).for_each(|(high, reached)| *high |= reached & (leaf >> 8) as u8);
        }
    }
    for (leaf, (low, high)) in leaves.iter_mut().zip(low.into_iter().zip(high)) {
        *leaf = u32::from(low) | u32::from(high) << 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    /// A tree of random shape, and the leaf of a row of bins found step by step.
    fn random(rng: &mut CounterRng, leaves: usize, columns: usize) -> RowTree {
        let mut tree = RowTree::default();
        // Nodes are led to from a random open side of an earlier one.
        let mut open: Vec<(usize, usize)> = Vec::new();
        for at in 0..leaves - 1 {
            if at > 0 {
                let (parent, side) = open.swap_remove(rng.below(open.len()));
                tree.nodes[parent].children[side] = at as u16;
            }
            let test = if rng.below(4) == 0 {
                tree.sets.push(std::array::from_fn(|_| 255 * rng.below(2) as u8));
                RowTest::Among(tree.sets.len() as u32 - 1)
            } else {
                RowTest::UpTo { shift: rng.below(2) as u8, limit: rng.below(255) as u8 }
            };
            tree.nodes.push(RowNode { column: rng.below(columns) as u32, children: [0; 2], test });
            open.extend([(at, 0), (at, 1)]);
        }
        for (leaf, (parent, side)) in open.into_iter().enumerate() {
            tree.nodes[parent].children[side] = (leaves - 1 + leaf) as u16;
        }
        tree
    }

    fn walk(tree: &RowTree, bin: impl Fn(usize) -> u8) -> usize {
        let mut at = 0;
        while let Some(node) = tree.nodes.get(at) {
            let bin = bin(node.column as usize);
            let left = match node.test {
                RowTest::UpTo { shift, limit } => bin.wrapping_sub(shift) <= limit,
                RowTest::Among(set) => tree.sets[set as usize][usize::from(bin)] == 255,
            };
            at = usize::from(node.children[usize::from(!left)]);
        }
        at - tree.nodes.len()
    }

    #[test]
    fn every_instruction_set_finds_the_leaves_of_a_walk() {
        let mut rng = CounterRng::new(1, 0);
        let mut room = Vec::new();
        for leaves in [1, 2, 3, 31, 63, 256, 257, 700, RowTree::MOST_LEAVES] {
            let tree = random(&mut rng, leaves, 5);
            let columns: Vec<RowBytes> =
                (0..5).map(|_| std::array::from_fn(|_| rng.below(256) as u8)).collect();
            for kernels in Isa::ALL.into_iter().filter_map(Kernels::for_isa) {
                let mut found = [u32::MAX; TREE_ROWS];
                kernels.leaves_of_rows(&tree, &columns, &mut room, &mut found);
                for (row, &leaf) in found.iter().enumerate() {
                    assert_eq!(leaf as usize, walk(&tree, |column| columns[column][row]));
                }
            }
        }
    }
}
