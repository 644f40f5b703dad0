//! The Rust side of the comparison of boosted learners: one fit a process, one JSON line on stdout.
//! `benches/boost_peers.py` runs it beside its peers and prints the table.

use std::error::Error;
use std::fs;
use std::time::Instant;

use cbfit::boost::binning::{Binner, BinningOptions};
use cbfit::boost::clock::Phase;
use cbfit::boost::options::BoostOptions;
use cbfit::boost::trainer::{BoostProblem, Trainer};
use cbfit::data::dataset::read_training;
use cbfit::data::dataset_reader::DatasetReader;
use cbfit::data::options::ReadOptions;
use cbfit::data::roles::LabelNeed;
use cbfit::loss::Loss;
use cbfit::simd::Kernels;
use clap::Parser;
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Args {
    /// Training file: numbers, and a column `label`
    #[arg(long)]
    train: Option<String>,
    /// Test file with the same columns
    #[arg(long, requires = "train")]
    test: Option<String>,
    /// softmax or sigmoid
    #[arg(long, default_value = "softmax")]
    loss: String,
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    #[arg(long, default_value_t = 63)]
    leaves: usize,
    #[arg(long, default_value_t = 0.1)]
    lr: f64,
    #[arg(long, default_value_t = 20)]
    min_rows: usize,
    #[arg(long, default_value_t = 0.0)]
    l2: f64,
    #[arg(long, default_value_t = 254)]
    max_bins: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Columns whose values are categories
    #[arg(long, value_delimiter = ',')]
    categorical: Vec<usize>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    match (&args.train, &args.test) {
        (Some(train), Some(test)) => {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build()?;
            let line = pool.install(|| run(&args, train, test).map_err(|error| error.to_string()))?;
            println!("{line}");
        }
        _ => println!("benches/boost_peers.py runs this"),
    }
    Ok(())
}

fn run(args: &Args, train: &str, test: &str) -> Outcome<serde_json::Value> {
    let options = ReadOptions { label: Some("label".into()), ..ReadOptions::default() };
    let train = read_training(&[train.to_owned()], &options)?;
    let (encoder, map) = (&train.encoder, &train.label_map);
    let test =
        DatasetReader::open(&[test.to_owned()], &options, encoder, map, LabelNeed::Required)?.read_all()?;
    let labels = train.labels.as_deref().ok_or("no labels")?;
    let test_labels = test.labels.as_deref().ok_or("no labels in the test file")?;
    let classes = map.classes();
    let loss = match args.loss.as_str() {
        "softmax" => Loss::Softmax,
        "sigmoid" => Loss::Sigmoid,
        other => return Err(format!("no loss {other}").into()),
    };
    // Where it cannot be reset the peak stays that of the whole process, an upper bound.
    let _ = fs::write("/proc/self/clear_refs", "5");

    let (clock, cpu) = (Instant::now(), cpu_seconds());
    let binning = BinningOptions {
        max_bins: args.max_bins,
        categorical: args.categorical.clone(),
        ..BinningOptions::default()
    };
    let binner = Binner::fit(&train.features, labels, &binning)?;
    let features = binner.bin(&train.features)?;
    let (binning_seconds, binning_cpu) = (clock.elapsed().as_secs_f64(), cpu_seconds() - cpu);

    let (clock, cpu) = (Instant::now(), cpu_seconds());
    let weights = vec![1.0; labels.len()];
    let problem = BoostProblem {
        features: &features,
        binner: &binner,
        labels,
        weights: &weights,
        classes,
        loss,
        offsets: None,
        start: None,
    };
    let options = BoostOptions {
        learning_rate: args.lr,
        max_leaves: args.leaves,
        min_rows: args.min_rows,
        l2: Some(args.l2),
        ..BoostOptions::default()
    };
    let mut trainer = Trainer::new(problem, &options, Kernels::best())?;
    let leaves: usize = (0..args.rounds).map(|_| trainer.round().leaves).sum();
    let (train_seconds, train_cpu) = (clock.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let phases: serde_json::Map<String, serde_json::Value> =
        Phase::ALL.iter().map(|&phase| (phase.name().into(), json!(trainer.seconds(phase)))).collect();
    let peak = peak_kb();
    let model = trainer.into_model();

    let (clock, cpu) = (Instant::now(), cpu_seconds());
    let logits = model.logits(&test.features)?;
    let (predict_seconds, predict_cpu) = (clock.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let (log_loss, macro_recall) = score(&logits, test_labels, classes, loss);
    Ok(json!({
        "learner": "cbfit", "rows": labels.len(), "features": features.features().len(), "classes": classes,
        "rounds": model.rounds(), "leaves": leaves, "threads": args.threads,
        "bin_s": binning_seconds, "bin_cpu": binning_cpu,
        "train_s": train_seconds, "train_cpu": train_cpu, "phases_s": phases,
        "predict_s": predict_seconds, "predict_cpu": predict_cpu,
        "log_loss": log_loss, "macro_recall": macro_recall, "peak_kb": peak,
    }))
}

/// Mean log-loss, and recall averaged over the classes that the test rows have.
fn score(logits: &[f32], labels: &[u32], classes: usize, loss: Loss) -> (f64, f64) {
    let (mut total, mut hits, mut rows) = (0.0, vec![0.0; classes], vec![0.0; classes]);
    for (z, &label) in logits.chunks_exact(classes).zip(labels) {
        let Some(own) = z.get(label as usize) else { continue };
        let p = |z: f32| match loss {
            Loss::Softmax => f64::from(z).exp(),
            _ => 1.0 / (1.0 + f64::from(-z).exp()),
        };
        let peak = if loss == Loss::Softmax { z.iter().copied().fold(f32::MIN, f32::max) } else { 0.0 };
        let sum: f64 = z.iter().map(|&z| p(z - peak)).sum();
        total -= (p(own - peak) / sum).max(1e-15).ln();
        rows[label as usize] += 1.0;
        let best = z.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class);
        hits[label as usize] += f64::from(best == Some(label as usize));
    }
    let recalls: Vec<f64> = hits.iter().zip(&rows).filter(|(_, n)| **n > 0.0).map(|(h, n)| h / n).collect();
    (total / labels.len() as f64, recalls.iter().sum::<f64>() / recalls.len() as f64)
}

/// CPU seconds of this process so far, of all threads; 0 where Linux does not say.
fn cpu_seconds() -> f64 {
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}

fn peak_kb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}
