//! Flags of the commands that fit nothing.

use clap::{Args, ValueEnum};

use super::shared::{ColumnArgs, FileArgs, LabelArgs, RunArgs};

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

/// Flags of `explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Code of an error, such as E0310; all of them without
    pub code: Option<String>,
    /// Print the page of all errors in Markdown
    #[arg(long, conflicts_with = "code")]
    pub markdown: bool,
}
