//! The structure of a tree: inner nodes in arrays. What its leaves say is kept elsewhere, as a number or a row a leaf.

use serde::{Deserialize, Serialize};

use super::binned::{BINS, MISSING};

/// Set of bins, bit `b % 64` of word `b / 64` for bin b.
pub type BinSet = [u64; BINS / 64];

/// Where a node leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Child {
    /// Inner node of this index, larger than that of its parent.
    Node(u32),
    /// Leaf of this index.
    Leaf(u32),
}

/// Rows that an inner node sends to its first child; the others go to the second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Test {
    /// Values up to a threshold.
    UpTo {
        /// Last value bin that goes left.
        bin: u8,
        /// Largest value that goes left: `x <= threshold` where the bin of x is at most `bin`.
        threshold: f32,
    },
    /// Categories whose bins are in the set; bit 0, of missing values, agrees with [`Node::missing_left`].
    Among(BinSet),
}

/// An inner node.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Index of the feature among those of the binned matrix.
    pub feature: u32,
    /// Which values go left.
    pub test: Test,
    /// Whether missing values (and categories that training never saw) go left.
    pub missing_left: bool,
    /// Left and right.
    pub children: [Child; 2],
    /// Loss that the cut took away in training, in the unit of the mean weighted row.
    pub gain: f32,
    /// Training rows that met the node.
    pub cover: u32,
    /// Those of them that went left, at least 1 and fewer than all: what a leaf met is known by its parent.
    pub left_cover: u32,
}

impl Node {
    /// Training rows that went to the left (0) or the right child (1).
    pub fn side_cover(&self, side: usize) -> u32 {
        if side == 0 { self.left_cover } else { self.cover - self.left_cover }
    }

    /// Whether rows with `bin` go left.
    pub fn goes_left(&self, bin: u8) -> bool {
        match self.test {
            _ if bin == MISSING => self.missing_left,
            Test::UpTo { bin: last, .. } => bin <= last,
            Test::Among(set) => set[usize::from(bin) / 64] >> (bin % 64) & 1 == 1,
        }
    }
}

/// Inner nodes, the root first; without any, the tree is its leaf 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tree {
    /// Inner nodes, parents before children.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// Number of leaves, one more than inner nodes.
    pub fn leaves(&self) -> usize {
        self.nodes.len() + 1
    }

    /// Where a row starts its walk.
    pub fn root(&self) -> Child {
        if self.nodes.is_empty() { Child::Leaf(0) } else { Child::Node(0) }
    }

    /// The leaf of a row whose bins are given by feature.
    #[inline]
    pub fn leaf(&self, bin: impl Fn(usize) -> u8) -> usize {
        let mut at = self.root();
        loop {
            match at {
                Child::Leaf(leaf) => return leaf as usize,
                Child::Node(node) => {
                    let node = &self.nodes[node as usize];
                    at = node.children[usize::from(!node.goes_left(bin(node.feature as usize)))];
                }
            }
        }
    }

    /// Whether every node but the root and every leaf is led to once, children come after their parents, and have the
    /// rows that their parents sent them.
    pub fn is_sound(&self) -> bool {
        let mut seen = vec![false; self.nodes.len() + self.leaves()];
        for (at, node) in self.nodes.iter().enumerate() {
            if !(1..node.cover).contains(&node.left_cover) {
                return false;
            }
            for (side, child) in node.children.into_iter().enumerate() {
                let place = match child {
                    Child::Node(child) if child as usize <= at => return false,
                    Child::Node(child) => match self.nodes.get(child as usize) {
                        Some(node_of_child) if node_of_child.cover == node.side_cover(side) => child as usize,
                        _ => return false,
                    },
                    Child::Leaf(leaf) => self.nodes.len() + leaf as usize,
                };
                match seen.get_mut(place) {
                    Some(seen) if !*seen => *seen = true,
                    _ => return false,
                }
            }
        }
        true // as many places as children, none led to twice: all are reached
    }
}
