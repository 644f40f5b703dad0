//! Flags that several commands share.

use clap::{Args, ValueEnum};

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

/// How much memory rows may take.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Run")]
pub struct MemoryArgs {
    /// Memory of the process, such as 2G, 512M or 80% of the machine or its control group. Dense rows that take more than
    /// half of it are streamed from a temporary file, with the same results [80%]
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<String>,
    /// Folder of that file [TMPDIR, else /var/tmp]
    #[arg(long, value_name = "DIR")]
    pub spill_dir: Option<String>,
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
