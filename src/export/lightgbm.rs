//! Boosted trees as LightGBM's text, `version=v4`.
//!
//! - **Trees.** A round of K trees of one output is an iteration of K trees; two classes have one tree. A tree for all
//!   classes becomes K trees of its structure, one for each column of its leaf values: the same numbers, K times the text.
//! - **Thresholds.** LightGBM compares `x <= t` in f64 where cbfit has rounded x to f32 first. It is given the largest f64
//!   that rounds to a number up to ours, so that both decide alike on any f64.
//! - **Missing values.** Every numeric test is of missing type NaN with its own default side. LightGBM sends missing,
//!   negative and unknown categories right, always: where ours go left, the sides are swapped and the set is the other one.
//! - **Base scores** and a shift of the logits go into the leaves of the first iteration, as LightGBM's own do.
//! - **Categories** of text columns are listed as `pandas_categorical`: a DataFrame whose columns of that kind are of
//!   pandas' category type is mapped to the codes by name.
//! - **Probabilities** are those as trained. Of one-vs-rest losses LightGBM gives each sigmoid, cbfit divides by their sum.

use std::fmt::Write as _;

use super::odd_code;
use crate::boost::binning::{BinnedFeature, Values};
use crate::boost::dump::codes_in;
use crate::boost::model::{BoostModel, BoostedTree, Output};
use crate::boost::names::Names;
use crate::boost::tree::{Child, Node, Test};
use crate::loss::Loss;
use crate::{Error, Result};

/// Code of a categorical test among the bits of a decision.
pub(super) const CATEGORICAL: u8 = 1;
/// Missing values go left.
pub(super) const DEFAULT_LEFT: u8 = 2;
/// Missing values are NaN, not 0.
pub(super) const MISSING_NAN: u8 = 2 << 2;

/// What LightGBM takes for a threshold above every number.
const HIGHEST: f64 = 1e300;

/// A model on its way to LightGBM.
#[derive(Debug)]
pub struct LightgbmText<'m> {
    model: &'m BoostModel,
    names: &'m Names,
    /// Added to each score: the base and what is asked for.
    start: Vec<f64>,
    /// For each output, the trees that add to it in their order.
    trees: Vec<Vec<&'m BoostedTree>>,
}

impl<'m> LightgbmText<'m> {
    /// Prepares `model`; `shift` is added to the logits, one a class (of two classes their difference counts).
    ///
    /// # Errors
    /// [`Error::BadValue`] for categories whose codes are no whole numbers from 0 to 65,535 and where `shift` has another
    /// length or is not finite.
    pub fn new(model: &'m BoostModel, names: &'m Names, shift: &[f64]) -> Result<Self> {
        let refuse = |value: String, why: &str| {
            Err(Error::bad_value("--to", "lightgbm", format!("{value} {why}"), "take --to json"))
        };
        if shift.len() != model.classes || shift.iter().any(|shift| !shift.is_finite()) {
            return refuse(format!("{} shifts", shift.len()), "are not a finite one for every class");
        }
        for feature in model.binner.features() {
            let Values::Categorical(codes) = &feature.values else { continue };
            // Sets of codes are written as bits from 0 on.
            if let Some(code) = odd_code(codes) {
                let name = names.column(feature.column);
                return refuse(format!("category {code} of {name}"), "is no whole number from 0 to 65535");
            }
        }
        let shift = if model.classes == 2 { vec![shift[1] - shift[0]] } else { shift.to_vec() };
        let start = model.base.iter().zip(&shift).map(|(&base, shift)| f64::from(base) + shift).collect();
        let serves = |output: usize| {
            move |tree: &&BoostedTree| match tree.output {
                Output::One(own) => own as usize == output,
                Output::All => true,
            }
        };
        let trees =
            (0..model.outputs()).map(|output| model.trees.iter().filter(serves(output)).collect()).collect();
        Ok(LightgbmText { model, names, start, trees })
    }

    /// Trees of an iteration times iterations: at least one iteration, which holds the base scores.
    pub fn tree_count(&self) -> usize {
        self.iterations() * self.trees.len()
    }

    fn iterations(&self) -> usize {
        self.trees.iter().map(Vec::len).max().unwrap_or(0).max(1)
    }

    /// The objective by LightGBM's name, as it stands in the file.
    pub fn objective(&self) -> String {
        let classes = self.model.classes;
        match self.model.loss {
            _ if classes == 2 => "binary sigmoid:1".into(),
            Loss::Softmax | Loss::SoftmaxFocal { .. } => format!("multiclass num_class:{classes}"),
            Loss::Sigmoid | Loss::Focal { .. } => format!("multiclassova num_class:{classes} sigmoid:1"),
        }
    }

    /// The file. It is built in memory: its head lists the lengths of the trees that follow.
    pub fn render(&self) -> String {
        let mut body = String::new();
        let mut sizes = Vec::with_capacity(self.tree_count());
        for iteration in 0..self.iterations() {
            for (output, trees) in self.trees.iter().enumerate() {
                let start = body.len();
                let added = if iteration == 0 { self.start[output] } else { 0.0 };
                self.push_tree(&mut body, sizes.len(), trees.get(iteration).copied(), output, added);
                sizes.push((body.len() - start).to_string());
            }
        }
        let outputs = self.trees.len();
        let mut text = format!(
            "tree\nversion=v4\nnum_class={outputs}\nnum_tree_per_iteration={outputs}\nlabel_index=0\n\
             max_feature_idx={}\nobjective={}\nfeature_names={}\nfeature_infos={}\ntree_sizes={}\n\n",
            self.model.binner.columns().saturating_sub(1),
            self.objective(),
            plain_names(self.names, self.model.binner.columns()).join(" "),
            self.feature_infos().join(" "),
            sizes.join(" ")
        );
        text.push_str(&body);
        let categories: Vec<&Vec<String>> = self.names.levels.iter().flatten().collect();
        // Lists of strings always become JSON.
        let categories = serde_json::to_string(&categories).unwrap_or_else(|_| "[]".into());
        text +=
            &format!("end of trees\n\nparameters:\nend of parameters\n\npandas_categorical:{categories}\n");
        text
    }

    /// Range or categories of each column; `none` where no tree can use it.
    fn feature_infos(&self) -> Vec<String> {
        let mut infos = vec!["none".to_owned(); self.model.binner.columns()];
        for feature in self.model.binner.features() {
            infos[feature.column as usize] = match &feature.values {
                Values::Numeric(_) => "[-inf:inf]".into(),
                Values::Categorical(codes) => codes.iter().map(f32::to_string).collect::<Vec<_>>().join(":"),
            };
        }
        infos
    }

    /// Appends tree `index`: what `boosted` adds to `output`, and `added` in every leaf. Without a tree, that alone.
    fn push_tree(
        &self,
        text: &mut String,
        index: usize,
        boosted: Option<&BoostedTree>,
        output: usize,
        added: f64,
    ) {
        let mut line = |name: &str, values: &[String]| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}={}", values.join(" "));
        };
        line("Tree", &[index.to_string()]);
        let (nodes, values): (&[Node], Vec<f64>) = match boosted {
            None => (&[], vec![added]),
            Some(boosted) => {
                let (width, at) = match boosted.output {
                    Output::One(_) => (1, 0),
                    Output::All => (self.trees.len(), output),
                };
                let own = boosted.values.iter().skip(at).step_by(width);
                (&boosted.tree.nodes, own.map(|&value| f64::from(value) + added).collect())
            }
        };
        let features = self.model.binner.features();
        let written: Vec<Written> =
            nodes.iter().map(|node| Written::of(node, &features[node.feature as usize])).collect();
        let sets: Vec<&[u32]> = written.iter().filter_map(|node| node.set.as_deref()).collect();
        line("num_leaves", &[values.len().to_string()]);
        line("num_cat", &[sets.len().to_string()]);
        if !nodes.is_empty() {
            let columns = nodes.iter().map(|node| features[node.feature as usize].column.to_string());
            line("split_feature", &columns.collect::<Vec<_>>());
            line("split_gain", &texts(nodes, |node| node.gain.to_string()));
            let mut set = 0;
            let thresholds = written.iter().map(|node| match node.set {
                None => number(node.threshold),
                Some(_) => {
                    set += 1;
                    (set - 1).to_string()
                }
            });
            line("threshold", &thresholds.collect::<Vec<_>>());
            line("decision_type", &texts(&written, |node| node.decision.to_string()));
            line("left_child", &texts(&written, |node| child_text(node.children[0])));
            line("right_child", &texts(&written, |node| child_text(node.children[1])));
        }
        line("leaf_value", &texts(&values, |&value| number(value)));
        if !nodes.is_empty() {
            let (inner, counts) = averages(nodes, &values);
            line("leaf_count", &texts(&counts, u32::to_string));
            line("internal_value", &texts(&inner, |&value| number(value)));
            line("internal_count", &texts(nodes, |node| node.cover.to_string()));
        }
        if !sets.is_empty() {
            let mut end = 0;
            let ends = sets.iter().map(|set| {
                end += set.len();
                end.to_string()
            });
            line("cat_boundaries", &std::iter::once("0".to_owned()).chain(ends).collect::<Vec<_>>());
            line("cat_threshold", &texts(&sets.concat(), u32::to_string));
        }
        line("is_linear", &["0".into()]);
        line("shrinkage", &["1".into()]);
        text.push_str("\n\n");
    }
}

fn texts<T>(values: &[T], text: impl Fn(&T) -> String) -> Vec<String> {
    values.iter().map(text).collect()
}

/// A test as LightGBM has it.
struct Written {
    threshold: f64,
    /// Codes that go left, 32 a word.
    set: Option<Vec<u32>>,
    decision: u8,
    children: [Child; 2],
}

impl Written {
    fn of(node: &Node, feature: &BinnedFeature) -> Self {
        match (node.test, &feature.values) {
            (Test::UpTo { threshold, .. }, _) => Written {
                threshold: last_rounding_to(threshold),
                set: None,
                decision: MISSING_NAN | if node.missing_left { DEFAULT_LEFT } else { 0 },
                children: node.children,
            },
            (Test::Among(set), Values::Numeric(codes) | Values::Categorical(codes)) => {
                let [left, right] = node.children;
                let (set, children) = match node.missing_left {
                    true => (set.map(|word| !word), [right, left]),
                    false => (set, [left, right]),
                };
                let decision = CATEGORICAL | MISSING_NAN;
                Written { threshold: 0.0, set: Some(bits(codes_in(set, codes))), decision, children }
            }
        }
    }
}

fn bits(codes: impl Iterator<Item = f32>) -> Vec<u32> {
    let mut words = vec![0u32];
    for code in codes.map(|code| code as usize) {
        if words.len() <= code / 32 {
            words.resize(code / 32 + 1, 0);
        }
        words[code / 32] |= 1 << (code % 32);
    }
    words
}

/// Inner nodes from 0 on, leaves from -1 down.
fn child_text(child: Child) -> String {
    match child {
        Child::Node(node) => node.to_string(),
        Child::Leaf(leaf) => (-1 - i64::from(leaf)).to_string(),
    }
}

/// Mean value of the training rows of each inner node, and the number of rows of each leaf.
fn averages(nodes: &[Node], values: &[f64]) -> (Vec<f64>, Vec<u32>) {
    let mut inner = vec![0.0; nodes.len()];
    let mut counts = vec![0; values.len()];
    // Children come after their parents.
    for (at, node) in nodes.iter().enumerate().rev() {
        let sums = node.children.into_iter().enumerate().map(|(side, child)| {
            let rows = node.side_cover(side);
            f64::from(rows)
                * match child {
                    Child::Node(node) => inner[node as usize],
                    Child::Leaf(leaf) => {
                        counts[leaf as usize] = rows;
                        values[leaf as usize]
                    }
                }
        });
        inner[at] = sums.sum::<f64>() / f64::from(node.cover);
    }
    (inner, counts)
}

/// The largest f64 that f32 rounds to a number up to `threshold`: half way to the next f32 where a tie goes to
/// `threshold`, whose last bit is then 0, else the f64 below that.
pub(super) fn last_rounding_to(threshold: f32) -> f64 {
    if threshold == f32::INFINITY {
        return HIGHEST;
    }
    let (here, next) = (f64::from(threshold), threshold.next_up());
    // Above the largest f32 ties go to infinity.
    let next = if next == f32::INFINITY { 2f64.powi(128) } else { f64::from(next) };
    let middle = here / 2.0 + next / 2.0;
    if threshold.to_bits() & 1 == 0 { middle } else { middle.next_down() }
}

/// The shortest text that reads back as the same f64.
fn number(value: f64) -> String {
    if value == 0.0 || (1e-5..1e16).contains(&value.abs()) { value.to_string() } else { format!("{value:e}") }
}

/// Names that LightGBM takes: without spaces and the characters of JSON, each one once.
fn plain_names(names: &Names, columns: usize) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    (0..columns as u32)
        .map(|column| {
            let odd = |c: char| c.is_whitespace() || c.is_control() || "[]{}\",:".contains(c);
            let plain = names.column(column).replace(odd, "_");
            let plain = if plain.is_empty() { format!("Column_{column}") } else { plain };
            let mut name = plain.clone();
            let mut again = 1;
            while !seen.insert(name.clone()) {
                again += 1;
                name = format!("{plain}_{again}");
            }
            name
        })
        .collect()
}

#[cfg(test)]
#[path = "lightgbm_tests.rs"]
mod tests;
