//! The raw command line: one table of flags. [`super::plan`] and its like turn it into what a run does.
#![allow(rustdoc::broken_intra_doc_links)] // Brackets in help texts are defaults, not links.

mod boost;
mod describe;
mod export;
mod folds;
mod manual;
mod score;
mod shared;
mod train;

use std::ffi::OsString;
use std::path::Path;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};

use crate::model_file;
use crate::report::text::one_line;

/// Longest tip, in characters.
const MOST_CHARS: usize = 1000;

pub use boost::{BoostArgs, GoingOnArgs, HessianArg, LearnerArg, TreesArg};
pub use describe::{CheckArgs, ExplainArgs, ImportanceArg, InspectArgs, NormArg, TableFormat, WeightsArgs};
pub use export::{ExportArgs, ExportFormat};
pub use folds::{CompareArgs, FoldArgs, TuneArgs};
pub use manual::{CompletionsArgs, ManArgs};
pub use score::{EvalArgs, InfluenceArgs, PredictArgs, ReportArgs, UnseenArg};
pub use shared::{
    ColumnArgs, FileArgs, LabelArgs, LossArg, MemoryArgs, MissingArg, PriorArgs, ProgressArg, RunArgs,
    ScaleArg, UnlabeledArg,
};
pub use train::{
    CalibrateArg, DecayArg, OffsetsArg, OptimizerArg, ResampleArg, ScheduleArg, TrainArgs, WeightingArg,
};

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

impl Cli {
    /// Reads a command line, the name of the program first.
    ///
    /// # Errors
    /// Those of clap; of a file that stands where a command should with a word on what to do with it.
    pub fn read<T: Into<OsString> + Clone>(line: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        Cli::try_parse_from(line).map_err(|mut error| {
            if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
                && Path::new(word).is_file()
            {
                let tip = if model_file::read_metadata(word).is_ok() {
                    format!("{word} is a model: cbfit inspect {word}, or cbfit predict {word} DATA")
                } else {
                    format!("{word} is a file; to train on it: cbfit --train {word}")
                };
                let tip = StyledStr::from(one_line(&tip, MOST_CHARS).into_owned());
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
            }
            error
        })
    }
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
    /// Look for everything in data that would stop or mislead a run
    Check(Box<CheckArgs>),
    /// Write a model for other programs, or for people
    Export(ExportArgs),
    /// Draw a model's scores, or a comparison, as one HTML file
    Report(ReportArgs),
    /// Explain an error code, or list all
    Explain(ExplainArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Write manual pages into a folder
    Man(ManArgs),
}
