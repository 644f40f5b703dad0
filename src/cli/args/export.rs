//! Flags of `export`.

use clap::{Args, ValueEnum};

use super::shared::{PriorArgs, RunArgs};

/// What a model is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// ONNX: features in, labels and probabilities out, scaling, prior and calibration included
    Onnx,
    /// LightGBM's text (trees): the same scores in LightGBM and whatever reads its models
    Lightgbm,
    /// Indented tests and leaf values (trees)
    Text,
    /// All of the trees, numbers to the last bit (trees)
    Json,
    /// Weights and intercepts over the features as they are read (linear models)
    Csv,
}

/// Flags of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Model file
    pub model: String,
    /// What to write
    #[arg(long, value_name = "FORM", value_enum)]
    pub to: ExportFormat,
    /// File to write; - is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub out: String,
    /// Prior of the probabilities, with --to onnx and lightgbm.
    #[command(flatten)]
    pub prior: PriorArgs,
    /// Flags of every command.
    #[command(flatten)]
    pub run: RunArgs,
}
