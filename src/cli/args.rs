//! The raw command line: one table of flags. [`super::plan`] turns it into what a run does.
#![allow(rustdoc::broken_intra_doc_links)] // Brackets in help texts are defaults, not links.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Class-balanced classifiers for long-tailed data.
#[derive(Debug, Parser)]
#[command(
    name = "cbfit",
    version,
    after_help = "Without a command cbfit trains: cbfit --train embeddings.parquet --beta 0.9999 --loss sigmoid",
    // One help, not a short and a long one that differ.
    disable_help_flag = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do; training where no command is named.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of training.
    #[command(flatten)]
    pub train: TrainArgs,
    /// Print help
    #[arg(short, long, global = true, action = clap::ArgAction::HelpShort, help_heading = "Run")]
    pub help: Option<bool>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fit a model (the same as cbfit without a command)
    Train(Box<TrainArgs>),
    /// Write the predictions of a model
    Predict(PredictArgs),
    /// Score a model on labelled data
    Eval(EvalArgs),
    /// Tell which weighting helps on your data, if any, and by how much
    Compare(Box<CompareArgs>),
    /// Search for the setting with the best out-of-fold score
    Tune(Box<TuneArgs>),
    /// Print class weights, for use in any training
    Weights(WeightsArgs),
    /// Find the training rows that help or hurt a model on validation rows
    Influence(Box<InfluenceArgs>),
    /// Describe a data file or a model
    Inspect(InspectArgs),
    /// Draw a model's scores, or a comparison, as one HTML file
    Report(ReportArgs),
}

/// How files are read.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Data")]
pub struct FileArgs {
    /// csv, tsv, parquet, arrow, npy or svmlight [from the content]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Separator of CSV files [from the content]
    #[arg(long, value_name = "CHAR")]
    pub delimiter: Option<String>,
    /// CSV files start with data; columns are called 0, 1, 2, ...
    #[arg(long)]
    pub no_header: bool,
}

/// Where labels and row weights are.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Data")]
pub struct LabelArgs {
    /// Column of the labels [the one named label, labels, target, y, class, class_id, category_id or species]
    #[arg(long, value_name = "COLUMN")]
    pub label: Option<String>,
    /// Labels in a file of their own: labels.npy or meta.parquet:COLUMN
    #[arg(long, value_name = "FILE", conflicts_with = "label")]
    pub label_file: Option<String>,
    /// Names of the classes 0, 1, 2, ...: one a line
    #[arg(long, value_name = "FILE")]
    pub class_names: Option<String>,
    /// Rows without a label
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub unlabeled: UnlabeledArg,
    /// Column of row weights
    #[arg(long, value_name = "COLUMN")]
    pub weight_col: Option<String>,
}

/// Which columns are features, and which names the rows.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Data")]
pub struct ColumnArgs {
    /// Feature columns: a,b,c*,!d [the only vector column, else every column without another role]
    #[arg(long, value_name = "SELECTOR")]
    pub features: Option<String>,
    /// Column that names the rows [id, image_id, uuid, file_name or key]
    #[arg(long, value_name = "COLUMN")]
    pub id_col: Option<String>,
}

/// What to do with rows without a label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum UnlabeledArg {
    /// Stop
    #[default]
    Error,
    /// Leave them out
    Drop,
}

/// What to do with missing feature values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum MissingArg {
    /// Stop
    #[default]
    Error,
    /// Fill with the mean of the training rows
    Mean,
    /// Fill with zero
    Zero,
}

/// How features are brought to one scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ScaleArg {
    /// None for vectors, standard for columns
    #[default]
    Auto,
    /// As they are
    None,
    /// Each row to length 1
    L2,
    /// Each feature to mean 0 and deviation 1
    Standard,
}

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

/// Losses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LossArg {
    /// Multinomial cross-entropy
    #[default]
    Softmax,
    /// One binary cross-entropy a class
    Sigmoid,
    /// Sigmoid with easy rows turned down
    Focal,
    /// Softmax with easy rows turned down
    SoftmaxFocal,
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

/// When to draw progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressArg {
    /// A moving line on a terminal, a plain line every 10 s elsewhere
    #[default]
    Auto,
    /// A moving line everywhere
    Always,
    /// No progress, only results
    Never,
}

/// Flags of every command that talks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Threads [all cores]; results are the same with any number
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print one JSON object on stdout
    #[arg(long)]
    pub json: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
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
    /// Strength of the l2 penalty [chosen on the validation rows]
    #[arg(long, allow_negative_numbers = true, value_name = "L2", help_heading = "Learner")]
    pub l2: Option<String>,
    /// What the penalty falls on
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, help_heading = "Learner")]
    pub decay: DecayArg,
    /// Metric by which l2 and beta are chosen: macro_recall, macro_f1, top1, worst_class, g_mean, mcc, log_loss, ...
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
    /// Learning rate of a minibatch optimizer [from the scale of the features]
    #[arg(long, allow_negative_numbers = true, value_name = "RATE", help_heading = "Learner")]
    pub lr: Option<f64>,
    /// Momentum of sgd and nesterov [0.9]
    #[arg(long, allow_negative_numbers = true, value_name = "M", help_heading = "Learner")]
    pub momentum: Option<f64>,
    /// Schedule of the learning rate [cosine]
    #[arg(long, value_name = "NAME", value_enum, help_heading = "Learner")]
    pub schedule: Option<ScheduleArg>,
    /// Epochs without a lower balanced log-loss of the validation rows before a minibatch fit stops [5]
    #[arg(long, value_name = "N", help_heading = "Learner")]
    pub patience: Option<usize>,

    /// Model file [name of the training file with .cbfit]
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub out: Option<String>,
    /// Key of every random choice
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 0, help_heading = "Run")]
    pub seed: u64,
    /// Progress on stderr
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, help_heading = "Run")]
    pub progress: ProgressArg,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Prior under which probabilities are given.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Prior")]
pub struct PriorArgs {
    /// Class shares the probabilities are for: trained (as the weights tilt them), natural (training shares), uniform,
    /// tau=TAU (natural shares to the power 1 - TAU), em (estimated from the data) or a FILE of lines class,share
    /// [trained; natural for a calibrated model]
    #[arg(long, value_name = "PRIOR")]
    pub prior: Option<String>,
}

/// Flags of `predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Model file
    pub model: String,
    /// Files, globs or folders; - is stdin
    #[arg(required = true)]
    pub data: Vec<String>,
    /// Predictions: .parquet, .csv, .npy or .jsonl; - is CSV on stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub out: String,
    /// Write the probabilities of all classes
    #[arg(long)]
    pub proba: bool,
    /// Write the K most probable classes
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub top_k: usize,
    /// Predict the class of least expected cost, from a CSV matrix: true classes down, predicted classes across
    #[arg(long, value_name = "FILE")]
    pub costs: Option<String>,
    /// Prior of the probabilities.
    #[command(flatten)]
    pub prior: PriorArgs,
    /// Column that names the rows [id, image_id, uuid, file_name or key]
    #[arg(long, value_name = "COLUMN", help_heading = "Data")]
    pub id_col: Option<String>,
    /// How files are read.
    #[command(flatten)]
    pub file: FileArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What to do with rows of classes the model does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum UnseenArg {
    /// Count them as wrong
    #[default]
    Wrong,
    /// Leave them out
    Ignore,
    /// Stop
    Error,
}

/// Flags of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Model file
    pub model: String,
    /// Files, globs or folders; - is stdin
    #[arg(required = true)]
    pub data: Vec<String>,
    /// Write a table with one line a class
    #[arg(long, value_name = "FILE")]
    pub by_class: Option<String>,
    /// Exit with status 7 unless METRIC is at least (for losses: at most) VALUE
    #[arg(long, value_name = "METRIC=VALUE")]
    pub min: Vec<String>,
    /// Rows of classes the model does not know
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub unseen: UnseenArg,
    /// Predict the class of least expected cost, from a CSV matrix: true classes down, predicted classes across
    #[arg(long, value_name = "FILE")]
    pub costs: Option<String>,
    /// Prior of the probabilities.
    #[command(flatten)]
    pub prior: PriorArgs,
    /// How files are read.
    #[command(flatten)]
    pub file: FileArgs,
    /// Where labels are.
    #[command(flatten)]
    pub labels: LabelArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Form of a printed table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// Aligned columns
    #[default]
    Table,
    /// Comma-separated, full precision
    Csv,
    /// One object
    Json,
}

/// Normalisation of class weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum NormArg {
    /// The weights of all rows have mean 1
    #[default]
    Samples,
    /// The weights of the classes sum to their number (Cui et al. 2019)
    Classes,
    /// As the scheme gives them
    None,
}

/// Flags of `weights`.
#[derive(Debug, Args)]
pub struct WeightsArgs {
    /// A file of lines class,count, or data with a label column
    pub input: String,
    /// Values of beta: 0.9999, 1-1e-7, N=10000
    #[arg(long, value_name = "BETA,..", value_delimiter = ',', default_values = ["0.9", "0.99", "0.999", "0.9999"])]
    pub beta: Vec<String>,
    /// Add the beta at which the rarest class weighs RATIO times the most frequent one
    #[arg(long, allow_negative_numbers = true, value_name = "RATIO")]
    pub ratio: Option<f64>,
    /// What the weights sum to
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub norm: NormArg,
    /// Form of the output
    #[arg(long = "as", value_name = "FORM", value_enum, default_value_t)]
    pub form: TableFormat,
    /// How files are read.
    #[command(flatten)]
    pub file: FileArgs,
    /// Where labels are.
    #[command(flatten)]
    pub labels: LabelArgs,
}

/// Flags of `influence`.
#[derive(Debug, Args)]
pub struct InfluenceArgs {
    /// Model file, of loss softmax or sigmoid
    pub model: String,
    /// The files the model was fitted on
    #[arg(long, value_name = "PATH", num_args = 1.., required = true, help_heading = "Data")]
    pub train: Vec<String>,
    /// Files of validation rows, better with labels that were checked
    #[arg(long, value_name = "PATH", num_args = 1.., required = true, help_heading = "Data")]
    pub valid: Vec<String>,
    /// Labels of --valid in a file of their own
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub valid_label_file: Option<String>,
    /// Ask about the validation loss of these classes, each weighing the same [the mean of all rows]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub class: Vec<String>,
    /// Let all classes of the validation rows weigh the same
    #[arg(long, conflicts_with = "class")]
    pub balanced: bool,
    /// Rows printed of each end: harmful (influence above 0) and helpful
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Also by how much each row's own loss would rise without it
    #[arg(long = "self")]
    pub self_influence: bool,
    /// Write all rows: .csv or .parquet
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<String>,
    /// Column that names the rows [id, image_id, uuid, file_name or key]
    #[arg(long, value_name = "COLUMN", help_heading = "Data")]
    pub id_col: Option<String>,
    /// How files are read.
    #[command(flatten)]
    pub file: FileArgs,
    /// Where labels are.
    #[command(flatten)]
    pub labels: LabelArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A data file, glob or folder, or a model
    pub input: String,
    /// How files are read.
    #[command(flatten)]
    pub file: FileArgs,
    /// Where labels are.
    #[command(flatten)]
    pub labels: LabelArgs,
    /// Which columns are features.
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Flags of the commands that fit over folds.
#[derive(Debug, Clone, Args)]
pub struct FoldArgs {
    /// Files, globs or folders; - is stdin
    #[arg(required = true)]
    pub data: Vec<String>,
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
    /// Strength of the l2 penalty [chosen for each treatment]
    #[arg(long, allow_negative_numbers = true, value_name = "L2", help_heading = "Learner")]
    pub l2: Option<String>,
    /// Largest class weight, where the mean over rows is 1
    #[arg(long, allow_negative_numbers = true, value_name = "W", help_heading = "Imbalance")]
    pub max_weight: Option<f64>,
    /// Metric that decides: macro_recall, macro_f1, top1, worst_class, g_mean, mcc, log_loss, ...
    #[arg(long, value_name = "METRIC", default_value = "macro_recall", help_heading = "Learner")]
    pub metric: String,
    /// Folds of the cross-validation
    #[arg(long, value_name = "K", default_value_t = 5, help_heading = "Learner")]
    pub folds: usize,
    /// Repeats of it with other folds
    #[arg(long, value_name = "R", default_value_t = 1, help_heading = "Learner")]
    pub repeats: usize,
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

/// Flags of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Model file
    #[arg(requires = "data", required_unless_present = "compare")]
    pub model: Option<String>,
    /// Files, globs or folders of labelled rows; - is stdin
    pub data: Vec<String>,
    /// HTML file [name of the model, or of the comparison, with .html]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<String>,
    /// Models of the same classes to draw beside MODEL, up to four
    #[arg(long, value_name = "MODEL", num_args = 1.., requires = "model")]
    pub against: Vec<String>,
    /// A comparison to draw: what cbfit compare --json wrote
    #[arg(long, value_name = "FILE")]
    pub compare: Option<String>,
    /// Prior of the probabilities.
    #[command(flatten)]
    pub prior: PriorArgs,
    /// How files are read.
    #[command(flatten)]
    pub file: FileArgs,
    /// Where labels are.
    #[command(flatten)]
    pub labels: LabelArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
}
