//! Trees as ONNX's `TreeEnsembleRegressor` (`ai.onnx.ml` 3), which sums up leaves in f32 as cbfit does. Its own links are
//! left alone: runtimes disagree on some, and the explicit operators after it mean the same everywhere.
//!
//! Sets of categories are no test of that operator. Each set becomes a column of its own, 1 where the row goes right, looked
//! up in a table by the code.

use super::codes::looked_up;
use super::graph::{Graph, ML, floats, integer, integers, text, texts};
use crate::boost::binning::{BinnedFeature, Values};
use crate::boost::dump::codes_in;
use crate::boost::model::{BoostModel, Output};
use crate::boost::tree::{Child, Node, Test};
use crate::export::odd_code;
use crate::loss::Loss;
use crate::{Error, Result};

/// The logits of `model` on the rows called `rows`, of `width` features.
///
/// # Errors
/// [`Error::BadValue`] for categories whose codes are no whole numbers from 0 to 65,535.
pub(super) fn logits(graph: &mut Graph, model: &BoostModel, rows: &str) -> Result<String> {
    let mut sets = Sets::of(model)?;
    let mut nodes = Nodes::default();
    for (number, tree) in model.trees.iter().enumerate() {
        nodes.add(number, tree.tree.nodes.as_slice(), model, &mut sets);
        let (width, first) = match tree.output {
            Output::One(output) => (1, output as usize),
            Output::All => (model.outputs(), 0),
        };
        for (at, &value) in tree.values.iter().enumerate() {
            let leaf = tree.tree.nodes.len() + at / width;
            nodes.add_value(number, leaf, first + at % width, value);
        }
    }
    let rows = sets.columns(graph, rows);
    let mut attributes = nodes.attributes();
    attributes.extend([
        integer("n_targets", model.outputs() as i64),
        floats("base_values", model.base.clone()),
        text("aggregate_function", "SUM"),
        text("post_transform", "NONE"),
    ]);
    let scores = match model.trees.is_empty() {
        false => graph.named_node("TreeEnsembleRegressor", ML, &[&rows], attributes, "scores"),
        // The operator wants a tree.
        true => constant_scores(graph, &rows, &model.base),
    };
    if model.classes != 2 {
        return Ok(scores);
    }
    let signs = match model.loss {
        Loss::Softmax | Loss::SoftmaxFocal { .. } => [-0.5, 0.5],
        Loss::Sigmoid | Loss::Focal { .. } => [-1.0, 1.0],
    };
    let signs = graph.row(&signs);
    Ok(graph.node("Mul", &[&scores, &signs], vec![]))
}

fn constant_scores(graph: &mut Graph, rows: &str, base: &[f32]) -> String {
    let first = graph.integers(vec![0]);
    let column = graph.node("Gather", &[rows, &first], vec![integer("axis", 1)]);
    // Not a number times 0 is none either.
    let missing = graph.node("IsNaN", &[&column], vec![]);
    let zero = graph.float(0.0);
    let zeros = graph.node("Where", &[&missing, &zero, &zero], vec![]);
    let base = graph.floats(&[base.len()], base.to_vec());
    graph.node("Add", &[&zeros, &base], vec![])
}

/// Tests and leaves, in the lists of the operator.
#[derive(Default)]
struct Nodes {
    trees: Vec<i64>,
    ids: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<&'static str>,
    values: Vec<f32>,
    yes: Vec<i64>,
    no: Vec<i64>,
    missing_yes: Vec<i64>,
    target_trees: Vec<i64>,
    target_nodes: Vec<i64>,
    target_ids: Vec<i64>,
    target_weights: Vec<f32>,
}

impl Nodes {
    /// Adds the tests and leaves of a tree; leaves are numbered after the tests.
    fn add(&mut self, tree: usize, nodes: &[Node], model: &BoostModel, sets: &mut Sets<'_>) {
        let place = |child: Child| match child {
            Child::Node(node) => i64::from(node),
            Child::Leaf(leaf) => (nodes.len() + leaf as usize) as i64,
        };
        for (id, node) in nodes.iter().enumerate() {
            let feature = &model.binner.features()[node.feature as usize];
            let (column, value, missing_left) = match node.test {
                // Infinity is above every number that is compared.
                Test::UpTo { threshold, .. } => {
                    (feature.column as usize, threshold.min(f32::MAX), node.missing_left)
                }
                Test::Among(_) => (sets.column_of(node), 0.5, false),
            };
            let [left, right] = node.children.map(place);
            self.push(tree, id, "BRANCH_LEQ", (column, value), (left, right, missing_left));
        }
        for leaf in 0..=nodes.len() {
            self.push(tree, nodes.len() + leaf, "LEAF", (0, 0.0), (0, 0, false));
        }
    }

    fn push(
        &mut self,
        tree: usize,
        id: usize,
        mode: &'static str,
        (column, value): (usize, f32),
        (yes, no, missing_yes): (i64, i64, bool),
    ) {
        self.trees.push(tree as i64);
        self.ids.push(id as i64);
        self.modes.push(mode);
        self.features.push(column as i64);
        self.values.push(value);
        self.yes.push(yes);
        self.no.push(no);
        self.missing_yes.push(i64::from(missing_yes));
    }

    fn add_value(&mut self, tree: usize, leaf: usize, output: usize, value: f32) {
        self.target_trees.push(tree as i64);
        self.target_nodes.push(leaf as i64);
        self.target_ids.push(output as i64);
        self.target_weights.push(value);
    }

    fn attributes(self) -> Vec<super::proto::AttributeProto> {
        vec![
            integers("nodes_treeids", self.trees),
            integers("nodes_nodeids", self.ids),
            integers("nodes_featureids", self.features),
            texts("nodes_modes", self.modes),
            floats("nodes_values", self.values),
            integers("nodes_truenodeids", self.yes),
            integers("nodes_falsenodeids", self.no),
            integers("nodes_missing_value_tracks_true", self.missing_yes),
            integers("target_treeids", self.target_trees),
            integers("target_nodeids", self.target_nodes),
            integers("target_ids", self.target_ids),
            floats("target_weights", self.target_weights),
        ]
    }
}

/// The sets of categories that trees test, as columns after the features.
struct Sets<'m> {
    model: &'m BoostModel,
    /// Of each categorical feature that is tested: its index and the distinct tests.
    tested: Vec<(u32, Vec<Node>)>,
}

impl<'m> Sets<'m> {
    fn of(model: &'m BoostModel) -> Result<Self> {
        let mut tested: Vec<(u32, Vec<Node>)> = Vec::new();
        let all = model.trees.iter().flat_map(|tree| &tree.tree.nodes);
        for node in all.filter(|node| matches!(node.test, Test::Among(_))) {
            let at = tested.iter().position(|(feature, _)| *feature == node.feature);
            let at = at.unwrap_or_else(|| {
                tested.push((node.feature, Vec::new()));
                tested.len() - 1
            });
            if !tested[at].1.iter().any(|known| is_same(known, node)) {
                tested[at].1.push(*node);
            }
        }
        let sets = Sets { model, tested };
        for (feature, _) in &sets.tested {
            // A table is as long as the largest code.
            if let Some(code) = odd_code(codes_of(sets.feature(*feature))) {
                let why = format!("category {code} is no whole number from 0 to 65535");
                return Err(Error::bad_value("--to", "onnx", why, "take --to json"));
            }
        }
        Ok(sets)
    }

    fn feature(&self, feature: u32) -> &'m BinnedFeature {
        &self.model.binner.features()[feature as usize]
    }

    /// The column of the test of `node`.
    fn column_of(&self, node: &Node) -> usize {
        let mut column = self.model.binner.columns();
        for (feature, tests) in &self.tested {
            if *feature == node.feature {
                let known = tests.iter().position(|test| is_same(test, node));
                return column + known.unwrap_or(0);
            }
            column += tests.len();
        }
        column
    }

    /// The rows with the columns of all sets after their features.
    fn columns(&self, graph: &mut Graph, rows: &str) -> String {
        let mut parts = vec![rows.to_owned()];
        for (feature, tests) in &self.tested {
            let feature = self.feature(*feature);
            let codes = codes_of(feature);
            // One after the last code stands for what is missing or unknown.
            let last = codes.iter().fold(0.0, |last: f32, &code| last.max(code)) as usize + 1;
            let mut table = vec![0.0; (last + 1) * tests.len()];
            for (at, test) in tests.iter().enumerate() {
                let Test::Among(set) = test.test else { continue };
                let mut right = vec![!test.missing_left; last + 1];
                codes.iter().for_each(|&code| right[code as usize] = true);
                codes_in(set, codes).for_each(|code| right[code as usize] = false);
                let cells = table.iter_mut().skip(at).step_by(tests.len());
                cells.zip(right).for_each(|(cell, right)| *cell = f32::from(u8::from(right)));
            }
            parts.push(looked_up(graph, rows, feature.column as usize, table, tests.len()));
        }
        if parts.len() == 1 {
            return rows.into();
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        graph.node("Concat", &parts, vec![integer("axis", 1)])
    }
}

fn is_same(a: &Node, b: &Node) -> bool {
    a.test == b.test && a.missing_left == b.missing_left
}

fn codes_of(feature: &BinnedFeature) -> &[f32] {
    match &feature.values {
        Values::Numeric(codes) | Values::Categorical(codes) => codes,
    }
}
