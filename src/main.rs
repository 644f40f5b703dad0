//! The `cbfit` binary: parse, run, exit status.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cbfit::data::guard::silence_decoder_panics();
    cbfit::output::outlive_size_limits();
    let cli = cbfit::cli::args::Cli::parse();
    match cbfit::cli::run(cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            if cbfit::cli::is_closed_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            eprintln!("error[{}]: {error}\n help: {}", error.code(), error.help());
            ExitCode::from(error.exit_status())
        }
    }
}
