//! The study that the defaults of boosting stand on: many settings on many data sets, each fit judged on rows that neither
//! it nor the choice of its rounds saw. One JSON line a fit is added to a file; fits that are there already are passed
//! over. `benches/boost_study.py` prepares the rows and makes the tables.

mod parts;
#[path = "../raw_rows/mod.rs"]
mod raw_rows;
mod settings;

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use cbfit::boost::binned::BinnedMatrix;
use cbfit::boost::binning::{Binner, BinningOptions};
use cbfit::boost::model::BoostModel;
use cbfit::boost::trainer::{BoostProblem, Trainer};
use cbfit::labels::ClassCounts;
use cbfit::metrics::evaluate_quick;
use cbfit::simd::Kernels;
use cbfit::weighting::{Prior, PriorCorrection, training_shares};
use clap::Parser;
use serde_json::{Value, json};

use parts::Parts;
use raw_rows::Rows;
use settings::{Plan, Setting};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
struct Cli {
    /// Folder of prepared rows
    #[arg(long)]
    rows: Option<PathBuf>,
    /// Data sets in it
    #[arg(long, value_delimiter = ',')]
    sets: Vec<String>,
    #[arg(long, value_delimiter = ',', default_value = "0,1,2,3,4")]
    seeds: Vec<u64>,
    #[arg(long, value_enum, default_value_t = Plan::Full)]
    plan: Plan,
    /// Rows of a set, three fifths of them to fit
    #[arg(long, default_value_t = 8000)]
    cap: usize,
    #[arg(long, default_value_t = 300)]
    rounds: usize,
    /// File of JSON lines
    #[arg(long, default_value = "boost_study.jsonl")]
    out: PathBuf,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// Rounds without a better score by any rule after which a fit ends.
const PATIENCE: usize = 30;

/// Rounds that a score is averaged over, as `cbfit` does.
const SMOOTHED: usize = 3;

/// What the number of rounds may be chosen by.
const RULES: [&str; 4] = ["trained_recall", "uniform_recall", "balanced_log_loss", "log_loss"];

fn main() -> Outcome<()> {
    let cli = Cli::parse();
    let Some(folder) = &cli.rows else {
        println!("benches/boost_study.py prepares rows for this");
        return Ok(());
    };
    let done: HashSet<String> = match fs::read_to_string(&cli.out) {
        Ok(lines) => lines.lines().filter_map(key_of).collect(),
        Err(_) => HashSet::new(),
    };
    let mut out = OpenOptions::new().create(true).append(true).open(&cli.out)?;
    // One thread, whose processor time is then that of the fit.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    for &seed in &cli.seeds {
        for set in &cli.sets {
            let rows = raw_rows::read(&folder.join(set), "train").map_err(|error| error.to_string())?;
            let parts = Parts::draw(&rows, cli.cap, seed);
            let bins: Vec<(usize, Binned)> = [254, 64]
                .into_iter()
                .map(|bins| Ok((bins, Binned::new(&parts, bins)?)))
                .collect::<cbfit::Result<_>>()?;
            for setting in settings::settings(cli.plan, rows.classes) {
                let key = json!([set, seed, setting.json()]);
                if done.contains(&key.to_string()) {
                    continue;
                }
                let Some((_, bins)) = bins.iter().find(|(bins, _)| *bins == setting.bins) else { continue };
                let result = pool.install(|| fit(&parts, bins, &setting, seed, cli.rounds))?;
                let line = json!({"set": set, "seed": seed, "setting": setting.json(), "result": result});
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}

fn key_of(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(json!([line["set"], line["seed"], line["setting"]]).to_string())
}

struct Binned {
    binner: Binner,
    fit: BinnedMatrix,
    valid: BinnedMatrix,
}

impl Binned {
    fn new(parts: &Parts, max_bins: usize) -> cbfit::Result<Self> {
        let options = BinningOptions { max_bins, ..BinningOptions::default() };
        let binner = Binner::fit(&parts.fit.features, &parts.fit.labels, &options)?;
        let (fit, valid) = (binner.bin(&parts.fit.features)?, binner.bin(&parts.valid.features)?);
        Ok(Binned { binner, fit, valid })
    }
}

fn fit(parts: &Parts, bins: &Binned, setting: &Setting, seed: u64, rounds: usize) -> Outcome<Value> {
    let classes = parts.fit.classes;
    let counts = ClassCounts::of(&parts.fit.labels, None, classes);
    let weights = setting.class_weights(&counts)?;
    let row_weights = weights.row_weights(&parts.fit.labels, None);
    let problem = BoostProblem {
        features: &bins.fit,
        binner: &bins.binner,
        labels: &parts.fit.labels,
        weights: &row_weights,
        classes,
        loss: setting.loss,
        offsets: None,
        start: None,
    };
    let shares = training_shares(&counts);
    let under = |prior: &Prior| PriorCorrection::new(setting.loss, &weights.alpha, &shares, 0.0, prior);
    let priors = [under(&Prior::AsTrained)?, under(&Prior::Natural)?, under(&Prior::Uniform)?];
    let mut trainer = Trainer::new(problem, &setting.options(seed), Kernels::best())?;
    let valid = trainer.add_validation(&bins.valid, None)?;
    let mut best = [(f64::NEG_INFINITY, 0usize); RULES.len()];
    let mut history: Vec<[f64; RULES.len()]> = Vec::new();
    let (mut cpu, mut leaves) = (0.0, 0);
    for round in 1..=rounds {
        let before = cpu_seconds();
        leaves += trainer.round().leaves;
        cpu += cpu_seconds() - before;
        let logits = trainer.validation_logits(valid).unwrap_or_default();
        history.push(scores(&logits, &parts.valid.labels, &priors));
        let recent = &history[history.len().saturating_sub(SMOOTHED)..];
        for (rule, best) in best.iter_mut().enumerate() {
            let smoothed = recent.iter().map(|scores| scores[rule]).sum::<f64>() / recent.len() as f64;
            if smoothed > best.0 {
                *best = (smoothed, round);
            }
        }
        if best.iter().all(|&(_, at)| round - at >= PATIENCE) {
            break;
        }
    }
    let model = trainer.into_model();
    let mut by_rule = serde_json::Map::new();
    for (rule, (_, round)) in RULES.iter().zip(best) {
        let mut model = model.clone();
        model.truncate(round);
        let judged = |rows: &Rows| judge(&model, rows, &counts, &priors);
        by_rule.insert(
            (*rule).to_owned(),
            json!({"rounds": round, "valid": judged(&parts.valid)?, "held": judged(&parts.held)?}),
        );
    }
    let most = counts.rows.iter().max().copied();
    Ok(json!({
        "fit_rows": parts.fit.labels.len(), "held_rows": parts.held.labels.len(), "classes": classes,
        "features": bins.fit.features().len(), "largest": most, "imbalance": counts.imbalance_factor(),
        "made": history.len(), "leaves": leaves, "cpu": cpu, "by_rule": by_rule,
    }))
}

/// By each of [`RULES`] what a model is worth; larger is better.
fn scores(logits: &[f32], labels: &[u32], priors: &[PriorCorrection; 3]) -> [f64; RULES.len()] {
    let classes = priors[0].classes();
    let (mut z, mut logs) = (vec![0.0; classes], vec![0.0; classes]);
    let mut rows = vec![0.0; classes];
    let mut sums = vec![[0.0; RULES.len()]; classes];
    for (row, &label) in logits.chunks_exact(classes).zip(labels) {
        let label = label as usize;
        z.iter_mut().zip(row).for_each(|(wide, &narrow)| *wide = f64::from(narrow));
        let sums = &mut sums[label];
        rows[label] += 1.0;
        // The classes of the losses here have no order but that of their logits.
        sums[0] += f64::from(u8::from(first_largest(&z) == label));
        priors[2].log_posterior(&z, &mut logs);
        sums[1] += f64::from(u8::from(first_largest(&logs) == label));
        sums[2] += logs[label];
        priors[1].log_posterior(&z, &mut logs);
        sums[3] += logs[label];
    }
    let total: f64 = rows.iter().sum();
    let by_class = |rule: usize| {
        let means =
            sums.iter().zip(&rows).filter(|(_, rows)| **rows > 0.0).map(|(sum, rows)| sum[rule] / rows);
        means.sum::<f64>() / rows.iter().filter(|rows| **rows > 0.0).count() as f64
    };
    [by_class(0), by_class(1), by_class(2), sums.iter().map(|sum| sum[3]).sum::<f64>() / total]
}

fn first_largest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, at| if values[at] > values[best] { at } else { best })
}

/// The figures of a model on `rows` under each prior.
fn judge(
    model: &BoostModel,
    rows: &Rows,
    counts: &ClassCounts,
    priors: &[PriorCorrection; 3],
) -> Outcome<Value> {
    let logits = model.logits(&rows.features)?;
    let mut figures = serde_json::Map::new();
    for (name, prior) in ["trained", "natural", "uniform"].iter().zip(priors) {
        let mut values = logits.clone();
        prior.posteriors_in_place(&mut values);
        let scores = evaluate_quick(&values, &rows.labels, counts, None)?;
        figures.insert(
            (*name).to_owned(),
            json!({
                "log_loss": scores.log_loss, "balanced_log_loss": scores.balanced_log_loss,
                "macro_recall": scores.macro_recall, "macro_f1": scores.macro_f1, "top1": scores.top1,
            }),
        );
    }
    Ok(Value::Object(figures))
}

/// Processor seconds of this thread so far; 0 where Linux does not say.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) * 1e-9
}
