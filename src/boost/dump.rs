//! A boosted model as text for people, and as JSON that loses nothing.
//!
//! Both are written tree by tree, so that a large model needs no large string. In JSON `left` and `right` of a node are
//! inner nodes from 0 on, or leaves as `-1 - leaf`, as in LightGBM and its like; a numeric test sends `x <= threshold`
//! left, without a `threshold` every number; a categorical one sends the listed codes left. Missing values
//! and unknown codes go left where `missing_left` says so. Numbers have as many digits as bring back the same f32.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::binned::BINS;
use super::binning::{BinnedFeature, Binner, Values};
use super::model::{BoostModel, BoostedTree, Output};
use super::names::Names;
use super::tree::{BinSet, Child, Node, Test, Tree};
use crate::loss::Loss;

/// Version of the JSON.
const SCHEMA: &str = "cbfit.trees/1";

/// Writes `model` for people: one line a test or leaf, two spaces a level.
///
/// # Errors
/// Those of `out`.
pub fn write_text(model: &BoostModel, names: &Names, out: &mut impl Write) -> io::Result<()> {
    let outputs = model.outputs();
    let classes: Vec<String> = (0..model.classes).map(|class| shown(&names.class(class))).collect();
    writeln!(out, "classes  {}", classes.join(", "))?;
    writeln!(out, "loss     {}", model.loss.name())?;
    match (outputs, classes.get(1)) {
        (1, Some(second)) => writeln!(out, "score    log-odds of {second}")?,
        _ => writeln!(out, "scores   a logit for each class, in their order")?,
    }
    writeln!(out, "base     {}", listed(&model.base))?;
    writeln!(out, "trees    {} in {} rounds", model.trees.len(), model.rounds())?;
    for (at, boosted) in model.trees.iter().enumerate() {
        let to = match boosted.output {
            Output::All => "all classes".into(),
            Output::One(_) if outputs == 1 => "the score".into(),
            Output::One(output) => classes.get(output as usize).cloned().unwrap_or_default(),
        };
        writeln!(out, "\ntree {at}  {} leaves, adds to {to}", boosted.tree.leaves())?;
        write_tree(model, boosted, names, out)?;
    }
    Ok(())
}

/// A line to come.
enum Line {
    /// A node or leaf with its depth and training rows, `None` for a tree without a test.
    At(Child, usize, Option<u32>),
    Else(usize),
}

fn write_tree(
    model: &BoostModel,
    boosted: &BoostedTree,
    names: &Names,
    out: &mut impl Write,
) -> io::Result<()> {
    // A stack of its own, so that no depth is too deep.
    let mut lines = vec![Line::At(boosted.tree.root(), 0, boosted.tree.nodes.first().map(|root| root.cover))];
    while let Some(line) = lines.pop() {
        match line {
            Line::Else(depth) => writeln!(out, "{:1$}else", "", 2 * depth)?,
            Line::At(Child::Leaf(leaf), depth, rows) => {
                let width = boosted.values.len() / boosted.tree.leaves();
                let values = &boosted.values[leaf as usize * width..][..width];
                let rows = rows.map_or(String::new(), |rows| format!("  [{rows} rows]"));
                writeln!(out, "{:1$}{2}{rows}", "", 2 * depth, listed(values))?;
            }
            Line::At(Child::Node(at), depth, _) => {
                let node = &boosted.tree.nodes[at as usize];
                let test = test_text(node, &model.binner.features()[node.feature as usize], names);
                writeln!(out, "{:1$}if {test}  [gain {2}, {3} rows]", "", 2 * depth, node.gain, node.cover)?;
                lines.push(Line::At(node.children[1], depth + 1, Some(node.side_cover(1))));
                lines.push(Line::Else(depth));
                lines.push(Line::At(node.children[0], depth + 1, Some(node.side_cover(0))));
            }
        }
    }
    Ok(())
}

fn test_text(node: &Node, feature: &BinnedFeature, names: &Names) -> String {
    let name = shown(&names.column(feature.column));
    let or_missing = if node.missing_left { " or missing" } else { "" };
    match (node.test, &feature.values) {
        (Test::UpTo { threshold: f32::INFINITY, .. }, _) if !node.missing_left => {
            format!("{name} is not missing")
        }
        (Test::Among(set), Values::Categorical(codes)) => {
            let levels: Vec<String> =
                codes_in(set, codes).map(|code| shown(&names.level(feature.column, code))).collect();
            format!("{name} in {{{}}}{or_missing}", levels.join(", "))
        }
        (Test::UpTo { threshold, .. }, _) => format!("{name} <= {threshold:?}{or_missing}"),
        (Test::Among(_), Values::Numeric(_)) => format!("{name} in {{}}{or_missing}"),
    }
}

/// The codes whose bins are in `set`.
pub fn codes_in(set: BinSet, codes: &[f32]) -> impl Iterator<Item = f32> + '_ {
    let holds = move |bin: usize| bin < BINS && set[bin / 64] >> (bin % 64) & 1 == 1;
    codes.iter().enumerate().filter(move |(place, _)| holds(place + 1)).map(|(_, code)| *code)
}

/// A name as it is where it can be told from its surroundings, else in quotes.
fn shown(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-.[]=<>:/+".contains(c);
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { format!("{name:?}") }
}

fn listed(values: &[f32]) -> String {
    values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join("  ")
}

/// A feature in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureJson {
    column: u32,
    name: String,
    /// Of a numeric feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cuts: Option<Vec<f32>>,
    /// Of a categorical feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codes: Option<Vec<f32>>,
    /// Names of the codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    levels: Option<Vec<String>>,
}

/// A node in JSON, with `bin` or `codes`. The fields lie side by side rather than in an enum: serde reads the numbers of an
/// untagged one through f64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeJson {
    feature: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bin: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    threshold: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codes: Option<Vec<f32>>,
    missing_left: bool,
    left: i64,
    right: i64,
    gain: f32,
    cover: u32,
    left_cover: u32,
}

/// A tree in JSON; `output` is null where it adds to all.
#[derive(Serialize, Deserialize)]
struct TreeJson {
    output: Option<u32>,
    nodes: Vec<NodeJson>,
    values: Vec<f32>,
}

/// The whole document, as it is read.
#[derive(Deserialize)]
struct Document {
    schema: String,
    loss: Loss,
    classes: Vec<String>,
    columns: Vec<String>,
    base: Vec<f32>,
    features: Vec<FeatureJson>,
    trees: Vec<TreeJson>,
}

/// Writes `model` as one JSON object, a line a tree.
///
/// # Errors
/// Those of `out`.
pub fn write_json(model: &BoostModel, names: &Names, out: &mut impl Write) -> io::Result<()> {
    let features = model.binner.features();
    let columns: Vec<String> =
        (0..model.binner.columns() as u32).map(|column| names.column(column)).collect();
    let classes: Vec<String> = (0..model.classes).map(|class| names.class(class)).collect();
    let described: Vec<FeatureJson> = features.iter().map(|feature| feature_json(feature, names)).collect();
    write!(out, "{{\"schema\":\"{SCHEMA}\",\n\"loss\":")?;
    serde_json::to_writer(&mut *out, &model.loss)?;
    out.write_all(b",\n\"classes\":")?;
    serde_json::to_writer(&mut *out, &classes)?;
    out.write_all(b",\n\"columns\":")?;
    serde_json::to_writer(&mut *out, &columns)?;
    out.write_all(b",\n\"base\":")?;
    serde_json::to_writer(&mut *out, &model.base)?;
    out.write_all(b",\n\"features\":")?;
    serde_json::to_writer(&mut *out, &described)?;
    out.write_all(b",\n\"trees\":[")?;
    for (at, boosted) in model.trees.iter().enumerate() {
        out.write_all(if at == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &tree_json(boosted, features))?;
    }
    out.write_all(b"]}\n")
}

fn feature_json(feature: &BinnedFeature, names: &Names) -> FeatureJson {
    let name = names.column(feature.column);
    let plain = FeatureJson { column: feature.column, name, cuts: None, codes: None, levels: None };
    match &feature.values {
        Values::Numeric(cuts) => FeatureJson { cuts: Some(cuts.clone()), ..plain },
        Values::Categorical(codes) => FeatureJson {
            codes: Some(codes.clone()),
            levels: Some(codes.iter().map(|&code| names.level(feature.column, code)).collect()),
            ..plain
        },
    }
}

fn tree_json(boosted: &BoostedTree, features: &[BinnedFeature]) -> TreeJson {
    let child = |child: Child| match child {
        Child::Node(node) => i64::from(node),
        Child::Leaf(leaf) => -1 - i64::from(leaf),
    };
    let nodes = boosted.tree.nodes.iter().map(|node| {
        let (bin, threshold, codes) = match (node.test, &features[node.feature as usize].values) {
            (Test::UpTo { bin, threshold }, _) => {
                (Some(bin), threshold.is_finite().then_some(threshold), None)
            }
            (Test::Among(set), Values::Numeric(codes) | Values::Categorical(codes)) => {
                (None, None, Some(codes_in(set, codes).collect()))
            }
        };
        NodeJson {
            feature: node.feature,
            bin,
            threshold,
            codes,
            missing_left: node.missing_left,
            left: child(node.children[0]),
            right: child(node.children[1]),
            gain: node.gain,
            cover: node.cover,
            left_cover: node.left_cover,
        }
    });
    let output = match boosted.output {
        Output::One(output) => Some(output),
        Output::All => None,
    };
    TreeJson { output, nodes: nodes.collect(), values: boosted.values.clone() }
}

/// Reads what [`write_json`] wrote: the same model, bit for bit.
///
/// # Errors
/// What is wrong, in words.
pub fn read_json(input: impl BufRead) -> Result<BoostModel, String> {
    let document: Document = serde_json::from_reader(input).map_err(|error| error.to_string())?;
    if document.schema != SCHEMA {
        return Err(format!("its schema is {:?}, not {SCHEMA}", document.schema));
    }
    let features: Vec<BinnedFeature> = document
        .features
        .into_iter()
        .map(|feature| {
            let values = match (feature.cuts, feature.codes) {
                (Some(cuts), None) => Values::Numeric(cuts),
                (None, Some(codes)) => Values::Categorical(codes),
                _ => return Err(format!("feature {:?} has not either cuts or codes", feature.name)),
            };
            Ok(BinnedFeature { column: feature.column, values })
        })
        .collect::<Result<_, _>>()?;
    let trees =
        document.trees.into_iter().map(|tree| read_tree(tree, &features)).collect::<Result<_, _>>()?;
    let binner =
        Binner::from_features(document.columns.len(), features).ok_or("its bins contradict themselves")?;
    let model = BoostModel {
        loss: document.loss,
        classes: document.classes.len(),
        binner,
        base: document.base,
        trees,
    };
    if model.is_sound() { Ok(model) } else { Err("its trees contradict themselves".into()) }
}

fn read_tree(tree: TreeJson, features: &[BinnedFeature]) -> Result<BoostedTree, String> {
    let child = |child: i64| {
        let place = if child < 0 { -1 - child } else { child };
        let place = u32::try_from(place).map_err(|_| format!("a child is {child}"))?;
        Ok::<Child, String>(if child < 0 { Child::Leaf(place) } else { Child::Node(place) })
    };
    let nodes = tree.nodes.into_iter().map(|node| {
        let feature =
            features.get(node.feature as usize).ok_or("a node tests a feature that is not there")?;
        let test = match (node.bin, node.codes) {
            (Some(bin), None) => Test::UpTo { bin, threshold: node.threshold.unwrap_or(f32::INFINITY) },
            (None, Some(codes)) => {
                let mut set: BinSet = [u64::from(node.missing_left), 0, 0, 0];
                for bin in codes.into_iter().map(|code| usize::from(feature.bin(code))) {
                    set[bin / 64] |= 1 << (bin % 64);
                }
                Test::Among(set)
            }
            _ => return Err("a node has not either a bin or codes".into()),
        };
        Ok(Node {
            feature: node.feature,
            test,
            missing_left: node.missing_left,
            children: [child(node.left)?, child(node.right)?],
            gain: node.gain,
            cover: node.cover,
            left_cover: node.left_cover,
        })
    });
    let nodes = nodes.collect::<Result<Vec<Node>, String>>()?;
    let output = tree.output.map_or(Output::All, Output::One);
    Ok(BoostedTree { tree: Tree { nodes }, output, values: tree.values })
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
