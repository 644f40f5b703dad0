//! Flags of the commands that fit over folds.

use clap::Args;

use super::boost::{BoostArgs, LearnerArg};
use super::shared::{
    ColumnArgs, FileArgs, LabelArgs, LossArg, MemoryArgs, MissingArg, PriorArgs, ProgressArg, RunArgs,
    ScaleArg,
};

/// Flags of the commands that fit over folds.
#[derive(Debug, Clone, Args)]
pub struct FoldArgs {
    /// Files, globs or folders; - is stdin
    #[arg(required = true)]
    pub data: Vec<String>,
    /// Learners, each with every loss and treatment
    #[arg(long, value_name = "LEARNER,..", value_enum, value_delimiter = ',', default_values = ["linear"], help_heading = "Learner")]
    pub learners: Vec<LearnerArg>,
    /// Losses, each with every treatment
    #[arg(long, value_name = "LOSS,..", value_enum, value_delimiter = ',', default_values = ["softmax"], help_heading = "Learner")]
    pub losses: Vec<LossArg>,
    /// Focusing exponents of the focal losses, each with every treatment [1]
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "GAMMA,..",
        value_delimiter = ',',
        help_heading = "Learner"
    )]
    pub gamma: Vec<f64>,
    /// Strength of the l2 penalty of linear fits [chosen for each treatment]
    #[arg(long, allow_negative_numbers = true, value_name = "L2", help_heading = "Learner")]
    pub l2: Option<String>,
    /// Largest class weight, where the mean over rows is 1
    #[arg(long, allow_negative_numbers = true, value_name = "W", help_heading = "Imbalance")]
    pub max_weight: Option<f64>,
    /// Metric that decides: macro_recall, macro_f1, top1, worst_class, g_mean, mcc, log_loss, ...
    #[arg(long, value_name = "METRIC", default_value = "macro_recall", help_heading = "Learner")]
    pub metric: String,
    /// Prior that decisions and losses are under.
    #[command(flatten)]
    pub prior: PriorArgs,
    /// Folds of the cross-validation
    #[arg(long, value_name = "K", default_value_t = 5, help_heading = "Learner")]
    pub folds: usize,
    /// Repeats of it with other folds
    #[arg(long, value_name = "R", default_value_t = 1, help_heading = "Learner")]
    pub repeats: usize,
    /// Learning rate of boosting [0.1]
    #[arg(long, allow_negative_numbers = true, value_name = "RATE", help_heading = "Boosting")]
    pub lr: Option<f64>,
    /// Flags of boosting.
    #[command(flatten)]
    pub boost: BoostArgs,
    /// How files are read.
    #[command(flatten)]
    pub file: FileArgs,
    /// Where labels are.
    #[command(flatten)]
    pub labels: LabelArgs,
    /// Which columns are features.
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Missing feature values
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, help_heading = "Data")]
    pub missing: MissingArg,
    /// Scale of the features
    #[arg(long, value_name = "HOW", value_enum, default_value_t, help_heading = "Data")]
    pub scale: ScaleArg,
    /// Key of every random choice
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 0, help_heading = "Run")]
    pub seed: u64,
    /// Progress on stderr
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, help_heading = "Run")]
    pub progress: ProgressArg,
    /// How much memory rows may take.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Flags of `compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// Data and folds.
    #[command(flatten)]
    pub folds: FoldArgs,
    /// Treatments: none, sqrt, inverse, effective:BETA, ratio:R, logit-adjust:TAU [these, effective at each beta that
    /// makes a difference], vs:GAMMA, ldam:MARGIN, balanced-sampling, over-sampling, under-sampling, tau-norm, lws, ncm,
    /// lda; none comes in any case, and once more adjusted after training
    #[arg(long, value_name = "SCHEME,..", value_delimiter = ',', help_heading = "Imbalance")]
    pub schemes: Vec<String>,
    /// Score every candidate, fitted on all rows, on these files as well; they decide nothing
    #[arg(long, value_name = "PATH", num_args = 1.., help_heading = "Data")]
    pub test: Vec<String>,
    /// Labels of --test in a file of their own
    #[arg(long, value_name = "FILE", help_heading = "Data", requires = "test")]
    pub test_label_file: Option<String>,
    /// Write the comparison as JSON, for cbfit report --compare
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub out: Option<String>,
}

/// Flags of `tune`.
#[derive(Debug, Clone, Args)]
pub struct TuneArgs {
    /// Data and folds.
    #[command(flatten)]
    pub folds: FoldArgs,
    /// Combinations of loss and weighting to try at most, each at several l2
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub trials: Option<usize>,
    /// Begin no further combination after this many seconds
    #[arg(long, allow_negative_numbers = true, value_name = "SECONDS", help_heading = "Run")]
    pub time_limit: Option<f64>,
}
