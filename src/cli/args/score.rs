//! Flags of the commands that put a model to use.

use clap::{Args, ValueEnum};

use super::shared::{FileArgs, LabelArgs, MemoryArgs, PriorArgs, RunArgs};

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
    /// Write what each feature added to the score of the predicted class (trees): columns c_FEATURE, which add up to the
    /// score with the column expected, its mean over the training rows. Scores are logits as trained, of two classes the
    /// log-odds
    #[arg(long)]
    pub contrib: bool,
    /// With --contrib: the scores of these classes instead, columns c_CLASS_FEATURE and expected_CLASS
    #[arg(long, value_name = "NAME", num_args = 1.., requires = "contrib")]
    pub class: Vec<String>,
    /// Prior of the probabilities.
    #[command(flatten)]
    pub prior: PriorArgs,
    /// Column that names the rows [id, image_id, uuid, file_name or key]
    #[arg(long, value_name = "COLUMN", help_heading = "Data")]
    pub id_col: Option<String>,
    /// How files are read.
    #[command(flatten)]
    pub file: FileArgs,
    /// How much memory rows may take.
    #[command(flatten)]
    pub memory: MemoryArgs,
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
    /// How much memory rows may take.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
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
    /// How much memory rows may take.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
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
    /// How much memory rows may take.
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
}
