//! Flags of the commands that make help for shells and `man`.

use clap::Args;
use clap_complete::Shell;

/// Flags of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Flags of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder of the pages cbfit.1, cbfit-train.1, ...; made where there is none
    pub folder: String,
}
