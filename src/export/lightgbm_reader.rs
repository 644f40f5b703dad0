//! Reads LightGBM's text, as far as [`super::lightgbm`] writes it, and predicts by LightGBM's rules: what an export is
//! checked with. Everything a model needs is found through the sizes in the head, as LightGBM finds it.

use std::collections::HashMap;

use super::lightgbm::{CATEGORICAL, DEFAULT_LEFT, MISSING_NAN};

/// Trees read back.
#[derive(Debug)]
pub struct LightgbmTrees {
    /// Scores a row.
    pub outputs: usize,
    /// Objective as it stands in the head.
    pub objective: String,
    trees: Vec<ReadTree>,
}

#[derive(Debug)]
struct ReadTree {
    split_feature: Vec<usize>,
    threshold: Vec<f64>,
    decision_type: Vec<u8>,
    children: [Vec<i64>; 2],
    leaf_value: Vec<f64>,
    cat_boundaries: Vec<usize>,
    cat_threshold: Vec<u32>,
}

type Lines<'t> = HashMap<&'t str, &'t str>;

impl LightgbmTrees {
    /// Reads `text`.
    ///
    /// # Errors
    /// The first thing that LightGBM would stumble over, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (head, body) = text.split_once("\n\n").ok_or("it has no end of the head")?;
        let head = key_values(head);
        let outputs: usize = one(&head, "num_tree_per_iteration")?;
        let columns: usize = one::<usize>(&head, "max_feature_idx")? + 1;
        for name in ["feature_names", "feature_infos"] {
            let found = value(&head, name)?.split(' ').count();
            if found != columns {
                return Err(format!("{found} {name} for {columns} columns"));
            }
        }
        let mut rest = body;
        let mut trees = Vec::new();
        for (index, size) in list::<usize>(&head, "tree_sizes")?.into_iter().enumerate() {
            let (own, others) = rest.split_at_checked(size).ok_or("tree_sizes go beyond the text")?;
            let own =
                own.strip_prefix(&format!("Tree={index}\n")).ok_or("tree_sizes miss the start of a tree")?;
            trees.push(ReadTree::parse(own, columns)?);
            rest = others;
        }
        if !rest.starts_with("end of trees\n") {
            return Err("tree_sizes miss the end of the trees".into());
        }
        if outputs == 0 || trees.len() % outputs != 0 {
            return Err(format!("{} trees are no iterations of {outputs}", trees.len()));
        }
        Ok(LightgbmTrees { outputs, objective: value(&head, "objective")?.to_owned(), trees })
    }

    /// Number of trees.
    pub fn tree_count(&self) -> usize {
        self.trees.len()
    }

    /// Raw scores of a row of features, added to `scores` (one an output).
    pub fn add_scores(&self, row: &[f64], scores: &mut [f64]) {
        for (index, tree) in self.trees.iter().enumerate() {
            scores[index % self.outputs] += tree.leaf_value[tree.leaf(row)];
        }
    }
}

impl ReadTree {
    fn parse(text: &str, columns: usize) -> Result<Self, String> {
        let lines = key_values(text);
        let leaves: usize = one(&lines, "num_leaves")?;
        let categorical: usize = one(&lines, "num_cat")?;
        let leaf_value: Vec<f64> = list(&lines, "leaf_value")?;
        let mut tree = ReadTree {
            split_feature: Vec::new(),
            threshold: Vec::new(),
            decision_type: Vec::new(),
            children: Default::default(),
            leaf_value,
            cat_boundaries: Vec::new(),
            cat_threshold: Vec::new(),
        };
        if leaves > 1 {
            tree.split_feature = list(&lines, "split_feature")?;
            tree.threshold = list(&lines, "threshold")?;
            tree.decision_type = list(&lines, "decision_type")?;
            tree.children = [list(&lines, "left_child")?, list(&lines, "right_child")?];
        }
        if categorical > 0 {
            tree.cat_boundaries = list(&lines, "cat_boundaries")?;
            tree.cat_threshold = list(&lines, "cat_threshold")?;
        }
        tree.check(leaves, categorical, columns)?;
        Ok(tree)
    }

    /// Whether every walk ends in a leaf.
    fn check(&self, leaves: usize, categorical: usize, columns: usize) -> Result<(), String> {
        let inner = leaves.saturating_sub(1);
        let lengths = [
            self.split_feature.len(),
            self.threshold.len(),
            self.decision_type.len(),
            self.children[0].len(),
            self.children[1].len(),
        ];
        if leaves == 0 || self.leaf_value.len() != leaves || lengths.iter().any(|&length| length != inner) {
            return Err(format!("a tree of {leaves} leaves has lists of other lengths"));
        }
        if self.split_feature.iter().any(|&column| column >= columns) {
            return Err("a test of a column that is not there".into());
        }
        let descends = |at: usize, child: i64| match usize::try_from(child) {
            Ok(node) => node > at && node < inner,
            Err(_) => ((-1 - child) as usize) < leaves,
        };
        let sides = self.children.iter().flat_map(|side| side.iter().enumerate());
        if !sides.into_iter().all(|(at, &child)| descends(at, child)) {
            return Err("children out of order".into());
        }
        let bounds = &self.cat_boundaries;
        let sets = categorical == 0
            || (bounds.len() == categorical + 1
                && bounds.is_sorted()
                && bounds.last() == Some(&self.cat_threshold.len()));
        let mut tests = self.decision_type.iter().zip(&self.threshold);
        if !sets || tests.any(|(kind, &set)| kind & CATEGORICAL != 0 && set as usize >= categorical) {
            return Err("a categorical test without its set".into());
        }
        Ok(())
    }

    fn leaf(&self, row: &[f64]) -> usize {
        let mut at = if self.split_feature.is_empty() { -1 } else { 0 };
        while let Ok(node) = usize::try_from(at) {
            let left = self.goes_left(node, row[self.split_feature[node]]);
            at = self.children[usize::from(!left)][node];
        }
        (-1 - at) as usize
    }

    fn goes_left(&self, node: usize, value: f64) -> bool {
        let kind = self.decision_type[node];
        if kind & CATEGORICAL != 0 {
            let set = self.threshold[node] as usize;
            let words = &self.cat_threshold[self.cat_boundaries[set]..self.cat_boundaries[set + 1]];
            // As a C cast does: towards 0.
            let code = value as i64;
            return !value.is_nan()
                && code >= 0
                && words.get(code as usize / 32).is_some_and(|word| word >> (code % 32) & 1 == 1);
        }
        match (value.is_nan(), kind & MISSING_NAN != 0) {
            (true, true) => kind & DEFAULT_LEFT != 0,
            (true, false) => 0.0 <= self.threshold[node],
            (false, _) => value <= self.threshold[node],
        }
    }
}

fn key_values(text: &str) -> Lines<'_> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

fn value<'t>(lines: &Lines<'t>, name: &str) -> Result<&'t str, String> {
    lines.get(name).copied().ok_or_else(|| format!("it has no {name}"))
}

fn list<T: std::str::FromStr>(lines: &Lines<'_>, name: &str) -> Result<Vec<T>, String> {
    let words = value(lines, name)?.split_whitespace();
    words.map(|word| word.parse().map_err(|_| format!("{name} holds {word:?}"))).collect()
}

fn one<T: std::str::FromStr>(lines: &Lines<'_>, name: &str) -> Result<T, String> {
    list(lines, name)?.into_iter().next().ok_or_else(|| format!("{name} is empty"))
}
