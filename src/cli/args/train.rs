//! Flags of training.

use clap::{Args, ValueEnum};

use super::boost::{BoostArgs, GoingOnArgs, LearnerArg};
use super::shared::{
    ColumnArgs, FileArgs, LabelArgs, LossArg, MemoryArgs, MissingArg, ProgressArg, RunArgs, ScaleArg,
};

/// Class weighting schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WeightingArg {
    /// All classes weigh 1
    None,
    /// 1 / count
    Inverse,
    /// 1 / sqrt(count)
    Sqrt,
    /// 1 / effective number of samples
    Effective,
}

/// Resampling of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ResampleArg {
    /// As many draws as rows, classes in turn
    Balanced,
    /// Every class up to the rows of the largest
    Over,
    /// Every class down to the rows of the smallest
    Under,
}

/// Optimizers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OptimizerArg {
    /// lbfgs, or sgd where a pass is long
    #[default]
    Auto,
    /// Full batch, ends with a certificate
    Lbfgs,
    /// Minibatches with momentum
    Sgd,
    /// Minibatches with Nesterov's momentum
    Nesterov,
    /// Minibatches with AdamW
    Adamw,
}

/// Learning rate schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScheduleArg {
    /// Half a cosine to zero
    Cosine,
    /// A tenth after 80 %, a hundredth after 90 % of the steps
    Step,
    /// No decay
    Constant,
}

/// What the l2 penalty falls on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DecayArg {
    /// Weights, not the bias
    #[default]
    Weights,
    /// Weights and bias
    Both,
    /// Only the bias
    Bias,
    /// Nothing
    None,
}

/// How probabilities are calibrated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CalibrateArg {
    /// As the loss fits them
    #[default]
    None,
    /// Undo the class weights in closed form
    Prior,
    /// The same, then one temperature
    Temperature,
    /// The same, then a scale and an offset for each class
    Vector,
}

/// Metrics that decision offsets are fitted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum OffsetsArg {
    /// Mean recall over classes
    MacroRecall,
    /// Mean F1 over classes
    MacroF1,
}

/// Flags of training.
#[derive(Debug, Clone, Default, Args)]
pub struct TrainArgs {
    /// Files, globs or folders to train on; - is stdin
    #[arg(long, value_name = "PATH", num_args = 1.., required = true, help_heading = "Data")]
    pub train: Vec<String>,
    /// Validate on these files instead of a part of the training rows
    #[arg(long, value_name = "PATH", num_args = 1.., help_heading = "Data")]
    pub valid: Vec<String>,
    /// Share of each class held out for validation [0.1]; 0 holds out nothing
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "SHARE",
        help_heading = "Data",
        conflicts_with = "valid"
    )]
    pub valid_fraction: Option<f64>,
    /// Labels of --valid in a file of their own
    #[arg(long, value_name = "FILE", help_heading = "Data", requires = "valid")]
    pub valid_label_file: Option<String>,
    /// Score the finished model on these files
    #[arg(long, value_name = "PATH", num_args = 1.., help_heading = "Data")]
    pub test: Vec<String>,
    /// Labels of --test in a file of their own
    #[arg(long, value_name = "FILE", help_heading = "Data", requires = "test")]
    pub test_label_file: Option<String>,
    /// Column that says train, valid or test for each row
    #[arg(long, value_name = "COLUMN", help_heading = "Data", conflicts_with_all = ["valid", "valid_fraction"])]
    pub split_col: Option<String>,
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

    /// Class weights [effective]
    #[arg(long, value_name = "SCHEME", value_enum, help_heading = "Imbalance")]
    pub weighting: Option<WeightingArg>,
    /// beta of the effective number: 0.9999, 1-1e-7 or N=10000 [chosen on the validation rows]
    #[arg(long, allow_negative_numbers = true, value_name = "BETA", help_heading = "Imbalance")]
    pub beta: Option<String>,
    /// Choose beta so that the rarest class weighs RATIO times the most frequent one
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "RATIO",
        help_heading = "Imbalance",
        conflicts_with = "beta"
    )]
    pub ratio: Option<f64>,
    /// Class weights from a file of lines class,weight
    #[arg(long, value_name = "FILE", help_heading = "Imbalance", conflicts_with_all = ["weighting", "beta", "ratio"])]
    pub weights: Option<String>,
    /// Largest class weight, where the mean over rows is 1
    #[arg(long, allow_negative_numbers = true, value_name = "W", help_heading = "Imbalance")]
    pub max_weight: Option<f64>,
    /// Add TAU log(share of the class) to the logits in the loss
    #[arg(long, allow_negative_numbers = true, value_name = "TAU", help_heading = "Imbalance")]
    pub logit_adjust: Option<f64>,
    /// Multiply the logit of a class by (its rows / those of the largest)^G in the loss: vector scaling
    #[arg(long, allow_negative_numbers = true, value_name = "G", help_heading = "Imbalance")]
    pub vs_gamma: Option<f64>,
    /// Take a margin from the logit of the true class in the loss, MARGIN for the smallest class, less for larger ones
    #[arg(long, allow_negative_numbers = true, value_name = "MARGIN", help_heading = "Imbalance")]
    pub ldam: Option<f64>,
    /// Fit on rows drawn again instead of weighted ones; a row drawn k times counts k times
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        help_heading = "Imbalance",
        conflicts_with_all = ["weighting", "beta", "ratio", "weights", "max_weight"]
    )]
    pub resample: Option<ResampleArg>,

    /// Make probabilities hold under the natural prior, by rows out of fold
    #[arg(long, value_name = "HOW", value_enum, default_value_t, help_heading = "Calibration")]
    pub calibrate: CalibrateArg,
    /// Decide labels by class offsets that raise this metric, where that pays out of fold; probabilities stay
    #[arg(long, value_name = "METRIC", value_enum, help_heading = "Calibration")]
    pub offsets: Option<OffsetsArg>,
    /// Write out-of-fold probabilities of the training rows: .parquet, .csv, .npy or .jsonl
    #[arg(long, value_name = "FILE", help_heading = "Calibration")]
    pub oof: Option<String>,
    /// Folds of --calibrate, --offsets and --oof [5]
    #[arg(long, value_name = "K", help_heading = "Calibration")]
    pub folds: Option<usize>,

    /// Learner
    #[arg(long, value_name = "NAME", value_enum, default_value_t, help_heading = "Learner")]
    pub learner: LearnerArg,
    /// linear, tau-norm, lws, ncm (nearest class mean) or lda (discriminant analysis), with its setting as in lda:0.3
    /// [linear; a setting is chosen on the validation rows]
    #[arg(long, value_name = "HEAD[:SETTING]", help_heading = "Learner")]
    pub head: Option<String>,
    /// Loss
    #[arg(long, value_name = "LOSS", value_enum, default_value_t, help_heading = "Learner")]
    pub loss: LossArg,
    /// Focusing exponent of the focal losses [1]
    #[arg(long, allow_negative_numbers = true, value_name = "GAMMA", help_heading = "Learner")]
    pub gamma: Option<f64>,
    /// Strength of the l2 penalty [chosen on the validation rows; for the leaves of trees 16 average rows, 1 with
    /// trees for all classes]
    #[arg(long, allow_negative_numbers = true, value_name = "L2", help_heading = "Learner")]
    pub l2: Option<String>,
    /// What the penalty falls on
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, help_heading = "Learner")]
    pub decay: DecayArg,
    /// Metric by which l2, beta and rounds are chosen: macro_recall, macro_f1, top1, worst_class, g_mean, mcc, log_loss, ...
    /// [macro_recall]
    #[arg(long, value_name = "METRIC", help_heading = "Learner")]
    pub metric: Option<String>,
    /// Keep the model fitted without the validation rows
    #[arg(long, help_heading = "Learner")]
    pub no_refit: bool,
    /// Optimizer
    #[arg(long, value_name = "NAME", value_enum, default_value_t, help_heading = "Learner")]
    pub optimizer: OptimizerArg,
    /// Passes of a minibatch optimizer [20], iterations of lbfgs [1000, a fifth of them while it searches]
    #[arg(long, value_name = "N", help_heading = "Learner")]
    pub epochs: Option<usize>,
    /// Relative gap of the objective at which lbfgs stops [1e-3, ten times that while it searches]
    #[arg(long, allow_negative_numbers = true, value_name = "GAP", help_heading = "Learner")]
    pub tolerance: Option<f64>,
    /// Rows a step of a minibatch optimizer [32 to 1024, by the number of rows]
    #[arg(long, value_name = "ROWS", help_heading = "Learner")]
    pub batch: Option<usize>,
    /// Learning rate of a minibatch optimizer [from the scale of the features], of boosting [0.1]
    #[arg(long, allow_negative_numbers = true, value_name = "RATE", help_heading = "Learner")]
    pub lr: Option<f64>,
    /// Momentum of sgd and nesterov [0.9]
    #[arg(long, allow_negative_numbers = true, value_name = "M", help_heading = "Learner")]
    pub momentum: Option<f64>,
    /// Schedule of the learning rate [cosine]
    #[arg(long, value_name = "NAME", value_enum, help_heading = "Learner")]
    pub schedule: Option<ScheduleArg>,
    /// Epochs without a lower balanced log-loss of the validation rows before a minibatch fit stops [5], rounds without a
    /// better --metric before boosting stops [30]; macro recall is noisy, so for it rounds without a lower balanced
    /// log-loss as well
    #[arg(long, value_name = "N", help_heading = "Learner")]
    pub patience: Option<usize>,

    /// Flags of boosting.
    #[command(flatten)]
    pub boost: BoostArgs,
    /// Where boosting goes on.
    #[command(flatten)]
    pub going_on: GoingOnArgs,

    /// Model file [name of the training file with .cbfit]
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub out: Option<String>,
    /// Go on from OUT.checkpoint, which a run that was killed or interrupted has left, with the same data and flags: the
    /// model is that of a run without a break. Starts afresh where there is none
    #[arg(long, help_heading = "Run")]
    pub resume: bool,
    /// Time between two checkpoints, such as 60s, 5m or never [60s]; a signal writes one as well
    #[arg(long, value_name = "TIME", help_heading = "Run")]
    pub checkpoint_every: Option<String>,
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
