//! The `cbfit` binary: parse, run, exit status.

use std::process::ExitCode;

use cbfit::report::text::one_line;

/// Longest message, in characters.
const MOST_CHARS: usize = 4000;

fn main() -> ExitCode {
    cbfit::data::guard::silence_decoder_panics();
    cbfit::output::outlive_size_limits();
    let cli = cbfit::cli::args::Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match cbfit::cli::run(cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            if cbfit::cli::is_closed_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            // Messages carry names from files, which may be long and hold what steers a terminal.
            let line = |text: String| one_line(&text, MOST_CHARS).into_owned();
            eprintln!("error[{}]: {}\n help: {}", error.code(), line(error.to_string()), line(error.help()));
            ExitCode::from(error.exit_status())
        }
    }
}
