//! Settings of a boosted fit.

use serde::{Deserialize, Serialize};

use super::gradient::Curvature;
use super::start::Init;
use crate::{Error, Result};

/// What trees a round has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trees {
    /// One for all classes from eight classes on, else one a class.
    Auto,
    /// One a class; two classes share one.
    PerClass,
    /// One whose leaves have a value for every class; two classes share one as it is.
    Vector(Lanes),
}

/// Integers of a row from which vector trees are grown: random directions of the residuals, and the weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lanes {
    /// 3 directions.
    Four,
    /// 7 directions.
    Eight,
    /// 15 directions.
    Sixteen,
}

impl Trees {
    /// Fewest classes for which a tree for all is the default.
    const MANY: usize = 8;

    /// Lanes of the sketches for `classes` classes, `None` for a tree a class.
    pub fn lanes(self, classes: usize) -> Option<Lanes> {
        match self {
            Trees::Vector(lanes) if classes > 2 => Some(lanes),
            Trees::Auto if classes >= Trees::MANY => Some(Lanes::Eight),
            _ => None,
        }
    }
}

/// Settings of a boosted fit. Weights are scaled to mean one before they meet these, and Hessians are measured in that of
/// an average row at the start, the mean over rows and classes: no setting changes its meaning with the scale of weights,
/// their scheme or the number of classes, and the leaves of all classes are held back alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoostOptions {
    /// Share of each step that is taken, in (0, 1]. The default of 0.1 holds for either curvature: on the real data sets of
    /// `docs/boosting.md`, 0.3 was worse with vector trees, even of [`Curvature::Absolute`] steps, which are never longer
    /// than 1.
    pub learning_rate: f64,
    /// Most leaves of a tree, at least 2.
    pub max_leaves: usize,
    /// Most cuts between the root and a leaf; `None`: no limit.
    pub max_depth: Option<usize>,
    /// Fewest training rows of a leaf, at least 1; for a class of fewer than twice as many rows, half of its rows.
    pub min_rows: usize,
    /// Least Hessian of a leaf, in average rows.
    pub min_child_weight: f64,
    /// Added to the Hessian of a leaf, in average rows; `None`: 16, and 1 for vector trees. On the real data sets of
    /// `docs/boosting.md` 16 is better than 1 with trees a class in both log-losses, and no other with vector trees.
    pub l2: Option<f64>,
    /// Loss that a cut must take away, in rows of mean weight.
    pub min_gain: f64,
    /// Largest value of a leaf before the learning rate, 0 for no limit; `None`: 4 with Newton steps, whose length has no
    /// bound where the Hessian vanishes, else no limit.
    pub max_delta_step: Option<f64>,
    /// Average rows that are added to the Hessian of a category when categories are sorted.
    pub category_smoothing: f64,
    /// What stands for the second derivative; `None`: [`Curvature::Newton`], and [`Curvature::Absolute`] for vector trees.
    pub curvature: Option<Curvature>,
    /// What trees a round has.
    pub trees: Trees,
    /// Where scores start.
    pub init: Init,
    /// Share of the rows of each class that each round is grown on, in (0, 1].
    pub row_sample: f64,
    /// Share of the features that each tree may use, in (0, 1].
    pub column_sample: f64,
    /// Key of the draws.
    pub seed: u64,
    /// Bytes of histograms that the leaves of a tree may keep.
    pub histogram_bytes: usize,
}

impl Default for BoostOptions {
    fn default() -> Self {
        BoostOptions {
            learning_rate: 0.1,
            max_leaves: 31,
            max_depth: None,
            min_rows: 20,
            min_child_weight: 0.1,
            l2: None,
            min_gain: 0.0,
            max_delta_step: None,
            category_smoothing: 10.0,
            curvature: None,
            trees: Trees::Auto,
            init: Init::Weighted,
            row_sample: 1.0,
            column_sample: 1.0,
            seed: 0,
            histogram_bytes: 1 << 29,
        }
    }
}

impl BoostOptions {
    /// What stands for the second derivative with `classes` classes.
    pub fn curvature(&self, classes: usize) -> Curvature {
        let vector = self.trees.lanes(classes).is_some();
        self.curvature.unwrap_or(if vector { Curvature::Absolute } else { Curvature::Newton })
    }

    /// Added to the Hessian of a leaf with `classes` classes, in average rows.
    pub fn l2(&self, classes: usize) -> f64 {
        let vector = self.trees.lanes(classes).is_some();
        self.l2.unwrap_or(if vector { 1.0 } else { 16.0 })
    }

    /// Refuses settings out of their range.
    ///
    /// # Errors
    /// [`Error::BadValue`].
    pub fn check(&self) -> Result<()> {
        let share = |value: f64| value > 0.0 && value <= 1.0;
        let amount = |value: f64| value >= 0.0 && value.is_finite();
        let checks = [
            ("--lr", self.learning_rate, share(self.learning_rate), "above 0, at most 1"),
            ("--max-leaves", self.max_leaves as f64, self.max_leaves >= 2, "at least 2"),
            (
                "--max-depth",
                self.max_depth.map_or(1.0, |d| d as f64),
                self.max_depth != Some(0),
                "at least 1",
            ),
            ("--min-rows", self.min_rows as f64, self.min_rows >= 1, "at least 1"),
            ("--min-child-weight", self.min_child_weight, amount(self.min_child_weight), "not negative"),
            ("--l2", self.l2.unwrap_or(0.0), self.l2.is_none_or(amount), "not negative"),
            ("--min-gain", self.min_gain, amount(self.min_gain), "not negative"),
            (
                "--max-delta-step",
                self.max_delta_step.unwrap_or(0.0),
                self.max_delta_step.is_none_or(amount),
                "not negative",
            ),
            ("--cat-smooth", self.category_smoothing, amount(self.category_smoothing), "not negative"),
            ("--row-sample", self.row_sample, share(self.row_sample), "above 0, at most 1"),
            ("--column-sample", self.column_sample, share(self.column_sample), "above 0, at most 1"),
        ];
        match checks.into_iter().find(|(_, _, good, _)| !good) {
            Some((flag, value, _, range)) => Err(Error::bad_value(
                flag,
                value.to_string(),
                "out of range",
                format!("it has to be {range}"),
            )),
            None => Ok(()),
        }
    }
}
