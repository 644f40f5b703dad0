//! The command line: raw flags, a validated plan, one file a subcommand.

pub mod args;
mod boost_continue;
mod boost_record;
mod boost_start;
pub mod check;
mod check_findings;
mod check_reading;
mod check_rows;
pub mod compare;
mod compare_plan;
mod contrib;
pub mod eval;
pub mod explain;
mod export;
mod fold_memory;
mod fold_plan;
pub mod influence;
pub mod inspect;
mod inspect_trees;
mod interrupt;
mod keeping;
mod lock;
mod manual;
mod need;
pub mod plan;
mod plan_boost;
mod plan_continue;
pub mod plan_head;
pub mod plan_optimizer;
pub mod predict;
pub mod report;
mod row_facts;
mod scoring;
mod shared;
pub mod talk;
pub mod train;
mod train_boost;
mod train_calibrate;
mod train_data;
mod train_memory;
mod train_save;
mod train_talk;
pub mod tune;
pub mod weights;

use std::io::Write;

use args::{Cli, Command, RunArgs};

use crate::output::AtomicFile;
use crate::report::text::plain;
use crate::simd::{Isa, Kernels};
use crate::{Error, Result};

/// Runs a parsed command line and returns the exit status.
///
/// # Errors
/// Everything that ends a run; [`Error::exit_status`] is its status.
pub fn run(cli: Cli) -> Result<u8> {
    match cli.command {
        None => train::run(cli.train),
        Some(Command::Train(args)) => train::run(*args),
        Some(Command::Predict(args)) => predict::run(args),
        Some(Command::Eval(args)) => eval::run(args),
        Some(Command::Compare(args)) => compare::run(*args),
        Some(Command::Tune(args)) => tune::run(*args),
        Some(Command::Weights(args)) => weights::run(args),
        Some(Command::Influence(args)) => influence::run(*args),
        Some(Command::Inspect(args)) => inspect::run(args),
        Some(Command::Check(args)) => check::run(*args),
        Some(Command::Export(args)) => export::run(args),
        Some(Command::Report(args)) => report::run(args),
        Some(Command::Explain(args)) => explain::run(&args),
        Some(Command::Completions(args)) => manual::completions(&args),
        Some(Command::Man(args)) => manual::man(&args),
    }
}

/// Whether the reader of stdout went away, which is no failure of ours.
pub fn is_closed_pipe(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Runs `work` on the number of threads asked for.
fn with_threads<T: Send>(run: &RunArgs, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if run.threads == Some(0) {
        return Err(Error::bad_value("--threads", "0", "is not positive", "give a whole number from 1"));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(run.threads.unwrap_or(0)).build();
    match pool {
        Ok(pool) => pool.install(work),
        Err(error) => Err(Error::bad_value(
            "--threads",
            run.threads.map_or("default".into(), |n| n.to_string()),
            error.to_string(),
            "ask for fewer threads",
        )),
    }
}

/// The kernels of the best instruction set here, or of the one that `CBFIT_ISA` names.
fn kernels() -> Result<&'static Kernels> {
    let Ok(name) = std::env::var("CBFIT_ISA") else { return Ok(Kernels::best()) };
    let help = "take scalar, avx2, avx512, avx512bf16, amx or neon, as far as this machine has it, or unset CBFIT_ISA";
    let Some(isa) = Isa::from_name(&name) else {
        return Err(Error::bad_value("CBFIT_ISA", name, "is no instruction set", help));
    };
    Kernels::for_isa(isa)
        .ok_or_else(|| Error::bad_value("CBFIT_ISA", name, "is not available on this machine", help))
}

/// Writes a result to stdout.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| Error::io("<stdout>", "write", e))
}

/// Writes a result with names from files in it to stdout: none of them may steer the terminal.
fn print_text(text: &str) -> Result<()> {
    print(&plain(text))
}

/// Writes a result to stdout as one JSON object.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::io("<stdout>", "write", std::io::Error::other(e)))?;
    print(&(text + "\n"))
}

/// Writes a result to a file as one JSON object, whole or not at all.
fn write_json(path: &str, value: &impl serde::Serialize) -> Result<()> {
    let failed = |e| Error::io(path, "write", e);
    let text = serde_json::to_string_pretty(value).map_err(|e| failed(std::io::Error::other(e)))?;
    let mut file = AtomicFile::create(path)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.commit()
}
