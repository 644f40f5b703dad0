//! Flags of boosting.

use clap::{Args, ValueEnum};

/// Flags of a boosted fit that goes on from something.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct GoingOnArgs {
    /// Go on from this model of --learner boost: --rounds more, with its bins, columns and settings; of these only --lr may
    /// differ
    #[arg(long, value_name = "MODEL", alias = "input-model", help_heading = "Boosting")]
    pub init_model: Option<String>,
}

/// Learners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LearnerArg {
    /// Linear functions of the features
    #[default]
    Linear,
    /// Gradient boosted trees
    Boost,
}

/// What trees a round of boosting has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TreesArg {
    /// One a class
    PerClass,
    /// One for all classes
    Vector,
}

/// What stands for the second derivative of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HessianArg {
    /// p (1 - p)
    Newton,
    /// |p - y|
    Abs,
}

/// Flags of boosting; `train` has --lr, --l2 and --patience besides, which serve it, too.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct BoostArgs {
    /// Rounds at most [500 while validation rows improve, 100 without them; over folds as many as do best, up to 500]
    #[arg(long, value_name = "N", help_heading = "Boosting")]
    pub rounds: Option<usize>,
    /// Leaves of a tree at most [31]
    #[arg(long, value_name = "N", help_heading = "Boosting")]
    pub max_leaves: Option<usize>,
    /// Cuts between root and leaf at most [no limit]
    #[arg(long, value_name = "N", help_heading = "Boosting")]
    pub max_depth: Option<usize>,
    /// Rows of a leaf at least; half the rows of a class that has fewer than twice as many [20]
    #[arg(long, value_name = "N", help_heading = "Boosting")]
    pub min_rows: Option<usize>,
    /// Hessian of a leaf at least, in average rows [0.1]
    #[arg(long, allow_negative_numbers = true, value_name = "H", help_heading = "Boosting")]
    pub min_child_weight: Option<f64>,
    /// Value of a leaf at most, before the learning rate; 0 for no limit [4 with --hessian newton]
    #[arg(long, allow_negative_numbers = true, value_name = "V", help_heading = "Boosting")]
    pub max_delta_step: Option<f64>,
    /// Trees of a round [vector from 8 classes on]
    #[arg(long, value_name = "WHICH", value_enum, help_heading = "Boosting")]
    pub trees: Option<TreesArg>,
    /// Random directions of the residuals that a tree for all classes is grown on: 3, 7 or 15 [7]
    #[arg(long, value_name = "N", help_heading = "Boosting")]
    pub directions: Option<usize>,
    /// Second derivative [newton; abs for trees for all classes]
    #[arg(long, value_name = "WHICH", value_enum, help_heading = "Boosting")]
    pub hessian: Option<HessianArg>,
    /// Share of the rows of each class that a round is grown on [1]
    #[arg(long, allow_negative_numbers = true, value_name = "SHARE", help_heading = "Boosting")]
    pub row_sample: Option<f64>,
    /// Share of the features that a tree may use [1]
    #[arg(long, allow_negative_numbers = true, value_name = "SHARE", help_heading = "Boosting")]
    pub column_sample: Option<f64>,
    /// Bins of a feature at most, 2 to 254 [254]
    #[arg(long, value_name = "N", help_heading = "Boosting")]
    pub max_bins: Option<usize>,
    /// Where scores start: weighted (the constant of least loss), paper, zero, or linear, a linear model fitted first, with
    /// its l2 as in linear:1e-3 [weighted; that l2 is chosen on the validation rows]
    #[arg(long, value_name = "WHERE[:L2]", help_heading = "Boosting")]
    pub init: Option<String>,
}
