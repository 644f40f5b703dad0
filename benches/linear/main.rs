//! The Rust side of the comparison of linear learners: one solver on one problem a process, JSON lines on stdout.
//! `benches/compare.py` runs it beside the peers in Python; README.md there says what the figures mean.

mod data;
mod made;
mod memory;
mod peers;
mod solver;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use cbfit::data::split::StratifiedSplit;
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use data::{Data, Source};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Task>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Task {
    /// Fit one problem
    Fit(FitArgs),
    /// Choose l2 on validation rows and fit
    Tune(TuneArgs),
    /// Time one evaluation of J and its gradient
    Pass(PassArgs),
    /// Print the rows that a stratified split holds out
    Split(SplitArgs),
}

/// The problem, apart from l2.
#[derive(Args)]
struct ProblemArgs {
    #[command(flatten)]
    source: Source,
    /// Beta of the effective number, or `none`
    #[arg(long)]
    beta: String,
    /// softmax or sigmoid
    #[arg(long)]
    loss: String,
    #[arg(long)]
    threads: usize,
}

#[derive(Args)]
struct FitArgs {
    #[command(flatten)]
    problem: ProblemArgs,
    #[arg(long)]
    l2: f64,
    /// cbfit, linfa-f32, linfa-f64, smartcore-f32 or smartcore-f64
    #[arg(long)]
    solver: String,
    /// Relative gap at which cbfit stops
    #[arg(long, default_value_t = 1e-5)]
    tolerance: f64,
    /// J at which a peer that is run with rising limits has come far enough
    #[arg(long, default_value_t = 0.0)]
    target: f64,
    /// Factor between the iteration limits of such a peer
    #[arg(long, default_value_t = 1.4)]
    ladder: f64,
    /// Seconds of fitting
    #[arg(long)]
    budget: f64,
    /// Where the parameters go: f64, C x D weights, then C biases
    #[arg(long)]
    theta: PathBuf,
}

#[derive(Args)]
struct TuneArgs {
    #[command(flatten)]
    problem: ProblemArgs,
    /// `search` (cbfit's own path of l2 and its patience) or `values`
    #[arg(long)]
    solver: String,
    /// Values of l2 for `values`, strong to weak
    #[arg(long, value_delimiter = ',')]
    values: Vec<f64>,
    #[arg(long)]
    theta: PathBuf,
}

#[derive(Args)]
struct PassArgs {
    #[command(flatten)]
    problem: ProblemArgs,
    #[arg(long)]
    repeat: usize,
}

#[derive(Args)]
struct SplitArgs {
    #[command(flatten)]
    source: Source,
}

/// Share of every class that is held out to choose l2, and the key of the draw.
const HELD_OUT: (f64, u64) = (0.1, 0);

fn main() -> Outcome<()> {
    match Cli::parse().command {
        None => println!("benches/compare.py runs this; see benches/README.md"),
        Some(Task::Fit(args)) => fit(&args)?,
        Some(Task::Tune(args)) => tune(&args)?,
        Some(Task::Pass(args)) => {
            with_problem(&args.problem, |data, weights, loss| {
                solver::pass(data, weights, loss, args.repeat)
            })?;
        }
        Some(Task::Split(args)) => {
            let data = Data::read(&args.source)?;
            let split = StratifiedSplit::new(&data.labels, data.classes, HELD_OUT.0, HELD_OUT.1)?;
            emit(json!({ "valid": split.valid }));
        }
    }
    Ok(())
}

fn fit(args: &FitArgs) -> Outcome<()> {
    with_problem(&args.problem, |data, weights, loss| {
        let case = solver::Case { data, weights, loss, l2: args.l2 };
        let budget = Duration::from_secs_f64(args.budget);
        let theta = match args.solver.as_str() {
            "cbfit" => solver::fit_to(&case, args.tolerance, budget)?,
            "linfa-f32" => peers::linfa_f32(&case, args.target, args.ladder, budget)?,
            "linfa-f64" => peers::linfa_f64(&case, args.target, args.ladder, budget)?,
            "smartcore-f32" => peers::smartcore_f32(&case)?,
            "smartcore-f64" => peers::smartcore_f64(&case)?,
            other => return Err(format!("no solver {other}").into()),
        };
        write_theta(&args.theta, &theta)
    })
}

fn tune(args: &TuneArgs) -> Outcome<()> {
    with_problem(&args.problem, |data, _, loss| {
        let values = match args.solver.as_str() {
            "search" => None,
            "values" => Some(&args.values[..]),
            other => return Err(format!("no way of tuning {other}").into()),
        };
        let theta = solver::tune(data, &args.problem.beta, loss, values)?;
        write_theta(&args.theta, &theta)
    })
}

/// Reads the problem and runs `work` on a pool of the threads asked for.
fn with_problem(
    args: &ProblemArgs,
    work: impl FnOnce(&Data, &[f32], cbfit::loss::Loss) -> Outcome<()> + Send,
) -> Outcome<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build()?;
    let data = pool.install(|| Data::read(&args.source).map_err(|error| error.to_string()))?;
    let weights = solver::row_weights(&data, &args.beta)?;
    let loss = solver::loss(&args.loss)?;
    emit(json!({
        "event": "ready", "rows": data.features.rows(), "features": data.features.cols(),
        "classes": data.classes, "rss_kb": memory::resident_kb(),
    }));
    memory::forget_peak();
    pool.install(|| work(&data, &weights, loss).map_err(|error| error.to_string()))?;
    emit(json!({ "event": "memory", "peak_kb": memory::peak_kb() }));
    Ok(())
}

/// One JSON line, at once: what a process has said counts even when it is stopped.
fn emit(line: Value) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // The driver may have gone; then there is nobody left to tell.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn write_theta(path: &PathBuf, theta: &[f64]) -> Outcome<()> {
    let bytes: Vec<u8> = theta.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(fs::write(path, bytes)?)
}
