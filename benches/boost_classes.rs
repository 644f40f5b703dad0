//! Trees for all classes at once against time: log-loss and macro recall of test rows along the rounds, as JSON lines on
//! stdout. `boost_classes.py` beside prepares the rows, runs this and LightGBM on them, and prints the ratios.

mod raw_rows;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cbfit::boost::binning::{Binner, BinningOptions};
use cbfit::boost::clock::Phase;
use cbfit::boost::gradient::Curvature;
use cbfit::boost::options::{BoostOptions, Lanes, Trees};
use cbfit::boost::trainer::{BoostProblem, Trainer};
use cbfit::loss::Loss;
use cbfit::matrix::Matrix;
use cbfit::rng::CounterRng;
use cbfit::simd::Kernels;
use clap::Parser;
use raw_rows::Rows;
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Cli {
    /// Folder of raw rows, `train` and `test`
    #[arg(long)]
    rows: Option<PathBuf>,
    /// Made rows, where none are given: ROWS,FEATURES,CLASSES
    #[arg(long, default_value = "20000,128,100")]
    made: String,
    /// Writes the made rows to this folder and ends
    #[arg(long)]
    export: Option<PathBuf>,
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    #[arg(long, default_value_t = 63)]
    leaves: usize,
    #[arg(long, default_value_t = 20)]
    min_rows: usize,
    /// Share of each step; cbfit's default where not given
    #[arg(long)]
    lr: Option<f64>,
    #[arg(long, default_value_t = 64)]
    bins: usize,
    /// 4, 8 or 16; 0 for a tree a class
    #[arg(long, default_value_t = 8)]
    lanes: usize,
    /// Newton steps instead of absolute ones
    #[arg(long)]
    newton: bool,
    /// Weights n_c^-BALANCE
    #[arg(long, default_value_t = 0.0)]
    balance: f64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Rounds between two readings
    #[arg(long, default_value_t = 5)]
    every: usize,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<()> {
    let cli = Cli::parse();
    rayon::ThreadPoolBuilder::new().num_threads(cli.threads).build_global()?;
    let (train, test) = match &cli.rows {
        Some(folder) => (raw_rows::read(folder, "train")?, raw_rows::read(folder, "test")?),
        None => made(&cli.made)?,
    };
    if let Some(folder) = &cli.export {
        return export(folder, &train, &test);
    }
    let classes = train.classes;
    let start_kb = peak_kb();
    let mut counts = vec![0.0f64; classes];
    train.labels.iter().for_each(|&label| counts[label as usize] += 1.0);
    let weights: Vec<f32> =
        train.labels.iter().map(|&label| counts[label as usize].powf(-cli.balance) as f32).collect();
    let options = BoostOptions {
        learning_rate: cli.lr.unwrap_or(BoostOptions::default().learning_rate),
        max_leaves: cli.leaves,
        min_rows: cli.min_rows,
        seed: cli.seed,
        curvature: cli.newton.then_some(Curvature::Newton),
        trees: match cli.lanes {
            0 => Trees::PerClass,
            4 => Trees::Vector(Lanes::Four),
            8 => Trees::Vector(Lanes::Eight),
            _ => Trees::Vector(Lanes::Sixteen),
        },
        ..BoostOptions::default()
    };
    let (start, start_cpu) = (Instant::now(), cpu_seconds());
    let binning = BinningOptions { max_bins: cli.bins, ..BinningOptions::default() };
    let binner = Binner::fit(&train.features, &train.labels, &binning)?;
    let binned = binner.bin(&train.features)?;
    let binning_time = start.elapsed();
    let problem = BoostProblem {
        features: &binned,
        binner: &binner,
        labels: &train.labels,
        weights: &weights,
        classes,
        loss: Loss::Softmax,
        offsets: None,
        start: None,
    };
    let mut trainer = Trainer::new(problem, &options, Kernels::best())?;
    let (mut fitting, mut fitting_cpu) = (start.elapsed(), cpu_seconds() - start_cpu);
    for round in 1..=cli.rounds {
        let (begun, begun_cpu) = (Instant::now(), cpu_seconds());
        let loss = trainer.round().loss;
        fitting += begun.elapsed();
        fitting_cpu += cpu_seconds() - begun_cpu;
        if round == 1 || round % cli.every == 0 || round == cli.rounds {
            let begun = Instant::now();
            let logits = trainer.model().logits(&test.features)?;
            let predicting = begun.elapsed();
            let (log_loss, macro_recall) = scores(&logits, &test.labels, classes);
            println!(
                "{}",
                json!({"round": round, "seconds": seconds(fitting), "cpu": fitting_cpu, "train_loss": loss,
                       "log_loss": log_loss, "macro_recall": macro_recall,
                       "predict_seconds": seconds(predicting)})
            );
        }
    }
    let phases: Vec<_> = Phase::ALL.iter().map(|&phase| (phase.name(), trainer.seconds(phase))).collect();
    let phases: serde_json::Map<String, serde_json::Value> =
        phases.into_iter().map(|(name, seconds)| (name.into(), json!(seconds))).collect();
    println!(
        "{}",
        json!({"rows": train.labels.len(), "classes": classes, "features": train.features.cols(),
               "binning": seconds(binning_time), "phases": phases, "start_kb": start_kb,
               "peak_kb": peak_kb(),
               "isa": Kernels::best().isa().name(), "threads": cli.threads})
    );
    Ok(())
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 1e4
}

/// Processor seconds of all threads so far; 0 where Linux does not say.
fn cpu_seconds() -> f64 {
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}

/// Largest number of kilobytes resident as Linux counts it.
fn peak_kb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

/// Mean log-loss, and mean recall of the classes that have rows.
fn scores(logits: &[f32], labels: &[u32], classes: usize) -> (f64, f64) {
    let mut loss = 0.0;
    let (mut hits, mut rows) = (vec![0.0f64; classes], vec![0.0f64; classes]);
    for (z, &label) in logits.chunks_exact(classes).zip(labels) {
        let label = label as usize;
        let best = (0..classes).fold(0, |best, class| if z[class] > z[best] { class } else { best });
        let sum: f64 = z.iter().map(|&value| f64::from(value - z[best]).exp()).sum();
        loss += sum.ln() + f64::from(z[best] - z[label]);
        rows[label] += 1.0;
        hits[label] += f64::from(u8::from(best == label));
    }
    let recalls: Vec<f64> =
        hits.iter().zip(&rows).filter(|(_, rows)| **rows > 0.0).map(|(hits, rows)| hits / rows).collect();
    (loss / labels.len() as f64, recalls.iter().sum::<f64>() / recalls.len() as f64)
}

/// Gaussian classes in 32 hidden dimensions, a hundred times as many rows in the first as in the last; as many test rows
/// as training rows, classes in the same shares.
fn made(spec: &str) -> Outcome<(Rows, Rows)> {
    const HIDDEN: usize = 32;
    const NOISE: f64 = 0.3;
    let parts: Vec<usize> = spec.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let [rows, features, classes] = parts[..] else { return Err("three numbers make a shape".into()) };
    let mut rng = CounterRng::new(7, 0);
    let mut normal = |n: usize| -> Vec<f64> { (0..n).map(|_| gaussian(&mut rng)).collect() };
    let (centres, mixing) = (normal(classes * HIDDEN), normal(HIDDEN * features));
    let share = |class: usize| 100f64.powf(-(class as f64) / (classes.max(2) - 1) as f64);
    let ends: Vec<f64> = (0..classes)
        .scan(0.0, |sum, class| {
            *sum += share(class);
            Some(*sum)
        })
        .collect();
    let draw = |stream: u64| {
        let mut rng = CounterRng::new(7, stream);
        let (mut values, mut labels) = (Vec::with_capacity(rows * features), Vec::with_capacity(rows));
        for _ in 0..rows {
            let at = rng.next_f64() * ends[classes - 1];
            let label = ends.partition_point(|&end| end <= at).min(classes - 1);
            let centre = &centres[label * HIDDEN..][..HIDDEN];
            let hidden: Vec<f64> = centre.iter().map(|centre| centre + gaussian(&mut rng)).collect();
            for feature in 0..features {
                let mixed = (0..HIDDEN).map(|h| hidden[h] * mixing[h * features + feature]).sum::<f64>();
                values.push((mixed / (HIDDEN as f64).sqrt() + NOISE * gaussian(&mut rng)) as f32);
            }
            labels.push(label as u32);
        }
        Rows { features: Matrix::from_f32(values, features), labels, classes }
    };
    let train = draw(1);
    Ok((train, draw(2)))
}

fn gaussian(rng: &mut CounterRng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.next_f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.next_f64()).cos()
}

/// Writes both as `raw_rows` reads them.
fn export(folder: &Path, train: &Rows, test: &Rows) -> Outcome<()> {
    fs::create_dir_all(folder)?;
    for (name, rows) in [("train", train), ("test", test)] {
        let cells =
            (0..rows.labels.len()).flat_map(|row| (0..rows.features.cols()).map(move |col| (row, col)));
        let values: Vec<u8> =
            cells.flat_map(|(row, col)| rows.features.get(row, col).to_le_bytes()).collect();
        fs::write(folder.join(format!("{name}.f32")), values)?;
        let labels: Vec<u8> = rows.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        fs::write(folder.join(format!("{name}.u32")), labels)?;
    }
    let shape = json!({"features": train.features.cols(), "classes": train.classes});
    Ok(fs::write(folder.join("shape.json"), shape.to_string())?)
}
