//! Trees as tensors, and back.
//!
//! `boost.base` (outputs) holds the scores before the trees, `boost.features` (F x 3) for each feature its column, 1 where
//! it is categorical, and how many of the numbers of `boost.cuts` are its own. A row of `boost.trees` (T x 2) is the output
//! that a tree adds to, [`ALL`] for a tree of all outputs, and its number of inner nodes; `boost.nodes` (N x 8) holds
//! these: feature, both children (from [`LEAF`] on: leaves), flags ([`MISSING_LEFT`], [`AMONG`], the bin from bit 8 on),
//! the bits of the threshold or the row of `boost.sets` (S x 8) that holds the set of bins, the bits of the gain, the
//! training rows that met it and those that went left. `boost.values` holds what leaves add, tree after tree, a leaf of a tree of all outputs a value for each.

use super::container::{NamedTensor, Tensors, Values};
use crate::boost::binning::{BinnedFeature, Binner, Values as Bins};
use crate::boost::model::{BoostModel, BoostedTree, Output};
use crate::boost::tree::{Child, Node, Test, Tree};
use crate::loss::Loss;

/// Output of a tree that adds to all.
const ALL: u32 = u32::MAX;
/// Added to the number of a leaf.
const LEAF: u32 = 1 << 31;
/// Flag of nodes that send missing values left.
const MISSING_LEFT: u32 = 1;
/// Flag of nodes that test for a set of bins.
const AMONG: u32 = 2;
/// Numbers of a node, of a set of bins, of a feature and of a tree.
const NODE: usize = 8;
const SET: usize = 8;
const FEATURE: usize = 3;
const TREE: usize = 2;

/// The tensors of a model.
#[derive(Default)]
pub struct Packed {
    base: Vec<f32>,
    features: Vec<u32>,
    cuts: Vec<f32>,
    trees: Vec<u32>,
    nodes: Vec<u32>,
    sets: Vec<u32>,
    values: Vec<f32>,
}

impl Packed {
    /// The tensors of `model`.
    pub fn of(model: &BoostModel) -> Self {
        let mut packed = Packed { base: model.base.clone(), ..Packed::default() };
        for feature in model.binner.features() {
            let (categorical, cuts) = match &feature.values {
                Bins::Numeric(cuts) => (0, cuts),
                Bins::Categorical(codes) => (1, codes),
            };
            packed.features.extend([feature.column, categorical, cuts.len() as u32]);
            packed.cuts.extend(cuts);
        }
        for tree in &model.trees {
            let output = match tree.output {
                Output::One(output) => output,
                Output::All => ALL,
            };
            packed.trees.extend([output, tree.tree.nodes.len() as u32]);
            tree.tree.nodes.iter().for_each(|node| packed.push(node));
            packed.values.extend(&tree.values);
        }
        packed
    }

    fn push(&mut self, node: &Node) {
        let child = |child: Child| match child {
            Child::Node(node) => node,
            Child::Leaf(leaf) => leaf | LEAF,
        };
        let missing = if node.missing_left { MISSING_LEFT } else { 0 };
        let (flags, test) = match node.test {
            Test::UpTo { bin, threshold } => (missing | u32::from(bin) << 8, threshold.to_bits()),
            Test::Among(set) => {
                let row = (self.sets.len() / SET) as u32;
                self.sets.extend(set.iter().flat_map(|&word| [word as u32, (word >> 32) as u32]));
                (missing | AMONG, row)
            }
        };
        let [left, right] = node.children;
        self.nodes.extend([
            node.feature,
            child(left),
            child(right),
            flags,
            test,
            node.gain.to_bits(),
            node.cover,
            node.left_cover,
        ]);
    }

    /// The tensors by name.
    pub fn tensors(&self) -> Vec<NamedTensor<'_>> {
        let rows = |values: &[u32], width: usize| vec![values.len() / width, width];
        vec![
            floats("boost.base", &self.base),
            NamedTensor {
                name: "boost.features",
                shape: rows(&self.features, FEATURE),
                values: Values::U32(&self.features),
            },
            floats("boost.cuts", &self.cuts),
            NamedTensor {
                name: "boost.trees",
                shape: rows(&self.trees, TREE),
                values: Values::U32(&self.trees),
            },
            NamedTensor {
                name: "boost.nodes",
                shape: rows(&self.nodes, NODE),
                values: Values::U32(&self.nodes),
            },
            NamedTensor { name: "boost.sets", shape: rows(&self.sets, SET), values: Values::U32(&self.sets) },
            floats("boost.values", &self.values),
        ]
    }
}

/// The model of `tensors`, over `columns` features.
///
/// # Errors
/// The first contradiction in words.
pub fn unpack(
    tensors: &mut Tensors,
    loss: Loss,
    classes: usize,
    columns: usize,
) -> Result<BoostModel, String> {
    let Tensors { floats, integers } = tensors;
    let mut take_f32 = |name: &str| floats.remove(name).ok_or_else(|| format!("it has no {name}"));
    let (base, cuts, values) = (take_f32("boost.base")?, take_f32("boost.cuts")?, take_f32("boost.values")?);
    let mut take_u32 = |name: &str| integers.remove(name).ok_or_else(|| format!("it has no {name}"));
    let (features, trees) = (take_u32("boost.features")?, take_u32("boost.trees")?);
    let (nodes, sets) = (take_u32("boost.nodes")?, take_u32("boost.sets")?);
    let binner = binner_of(&features, &cuts, columns)?;
    let mut left = Left { nodes: &nodes, values: &values };
    let trees = trees.as_chunks::<TREE>().0.iter();
    let trees: Vec<BoostedTree> = trees
        .map(|&[output, count]| left.tree(output, count as usize, base.len(), &sets))
        .collect::<Result<_, String>>()?;
    if !(left.nodes.is_empty() && left.values.is_empty()) {
        return Err("it has nodes or values that belong to no tree".into());
    }
    let model = BoostModel { loss, classes, binner, base, trees };
    if model.is_sound() { Ok(model) } else { Err("its trees contradict themselves".into()) }
}

fn binner_of(features: &[u32], cuts: &[f32], columns: usize) -> Result<Binner, String> {
    let mut left = cuts;
    let mut found = Vec::new();
    for &[column, categorical, count] in features.as_chunks::<FEATURE>().0 {
        let (own, others) = left.split_at_checked(count as usize).ok_or("it has too few cuts")?;
        left = others;
        let values = match categorical {
            0 => Bins::Numeric(own.to_vec()),
            1 => Bins::Categorical(own.to_vec()),
            other => return Err(format!("a feature is of kind {other}")),
        };
        found.push(BinnedFeature { column, values });
    }
    if !left.is_empty() {
        return Err("it has cuts that belong to no feature".into());
    }
    Binner::from_features(columns, found).ok_or_else(|| "its bins contradict themselves".into())
}

/// Nodes and values of the trees that are still to come.
struct Left<'a> {
    nodes: &'a [u32],
    values: &'a [f32],
}

impl Left<'_> {
    fn tree(
        &mut self,
        output: u32,
        count: usize,
        outputs: usize,
        sets: &[u32],
    ) -> Result<BoostedTree, String> {
        let length = count.checked_mul(NODE);
        let split = length.and_then(|length| self.nodes.split_at_checked(length));
        let (own, others) = split.ok_or("it has too few nodes")?;
        self.nodes = others;
        let nodes: Vec<Node> =
            own.as_chunks::<NODE>().0.iter().map(|node| node_of(node, sets)).collect::<Result<_, _>>()?;
        let output = if output == ALL { Output::All } else { Output::One(output) };
        let width = if output == Output::All { outputs } else { 1 };
        let wanted = (count + 1).checked_mul(width);
        let (own, others) =
            wanted.and_then(|wanted| self.values.split_at_checked(wanted)).ok_or("it has too few values")?;
        self.values = others;
        Ok(BoostedTree { tree: Tree { nodes }, output, values: own.to_vec() })
    }
}

fn node_of(node: &[u32; NODE], sets: &[u32]) -> Result<Node, String> {
    let &[feature, left, right, flags, test, gain, cover, left_cover] = node;
    let child = |child: u32| if child >= LEAF { Child::Leaf(child - LEAF) } else { Child::Node(child) };
    let test = if flags & AMONG == 0 {
        Test::UpTo { bin: (flags >> 8) as u8, threshold: f32::from_bits(test) }
    } else {
        let set =
            sets.as_chunks::<SET>().0.get(test as usize).ok_or("a node names a set that is not there")?;
        let word = |at: usize| u64::from(set[2 * at]) | u64::from(set[2 * at + 1]) << 32;
        Test::Among([word(0), word(1), word(2), word(3)])
    };
    let missing_left = flags & MISSING_LEFT != 0;
    let children = [child(left), child(right)];
    Ok(Node { feature, test, missing_left, children, gain: f32::from_bits(gain), cover, left_cover })
}

fn floats<'a>(name: &'static str, values: &'a [f32]) -> NamedTensor<'a> {
    NamedTensor { name, shape: vec![values.len()], values: Values::F32(values) }
}
