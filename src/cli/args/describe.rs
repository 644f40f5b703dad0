//! Flags of the commands that fit nothing.

use clap::{Args, ValueEnum};

use super::boost::LearnerArg;
use super::shared::{ColumnArgs, FileArgs, LabelArgs, MissingArg, RunArgs};

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

/// How a feature's part in boosted trees is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportanceArg {
    /// Training loss that its cuts took away, in rows of mean weight
    Gain,
    /// Its cuts
    Splits,
    /// Training rows that met its cuts
    Cover,
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A data file, glob or folder, or a model
    pub input: String,
    /// All features of a model of trees by this measure [the ten of most gain]
    #[arg(long, value_name = "HOW", value_enum, help_heading = "Trees")]
    pub importance: Option<ImportanceArg>,
    /// Only the trees of this class, of a model with a tree a class
    #[arg(long, value_name = "NAME", requires = "importance", help_heading = "Trees")]
    pub class: Option<String>,
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

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files, globs or folders with the rows to train on, or with --against to score
    #[arg(required = true)]
    pub data: Vec<String>,
    /// Check that the data fit this model instead of whether one can be trained on them
    #[arg(long, value_name = "MODEL")]
    pub against: Option<String>,
    /// Check these files as validation rows
    #[arg(long, value_name = "PATH", num_args = 1.., help_heading = "Data")]
    pub valid: Vec<String>,
    /// Labels of --valid in a file of their own
    #[arg(long, value_name = "FILE", help_heading = "Data", requires = "valid")]
    pub valid_label_file: Option<String>,
    /// Check these files as test rows
    #[arg(long, value_name = "PATH", num_args = 1.., help_heading = "Data")]
    pub test: Vec<String>,
    /// Labels of --test in a file of their own
    #[arg(long, value_name = "FILE", help_heading = "Data", requires = "test")]
    pub test_label_file: Option<String>,
    /// Column that says train, valid or test for each row
    #[arg(long, value_name = "COLUMN", help_heading = "Data")]
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
    /// Learner that the data are for; boost takes missing values as they are
    #[arg(long, value_name = "NAME", value_enum, default_value_t, help_heading = "Learner")]
    pub learner: LearnerArg,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Flags of `explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Code of an error or a warning, such as E0310 or W05; all of them without
    pub code: Option<String>,
    /// Print the page of all errors in Markdown
    #[arg(long, conflicts_with = "code")]
    pub markdown: bool,
}
