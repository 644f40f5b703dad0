//! Checkpoints of a run of three fits, left at a step that is always the same, and the run that goes on from them.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use cbfit::boost::binning::{Binner, BinningOptions};
use cbfit::boost::fit::Stopping;
use cbfit::boost::kept::kept_fit;
use cbfit::boost::options::{BoostOptions, Trees};
use cbfit::boost::trainer::{BoostProblem, Trainer};
use cbfit::checkpoint::file;
use cbfit::checkpoint::journal::{Journal, Keeping};
use cbfit::linear::fit::Optimizer;
use cbfit::linear::objective::Objective;
use cbfit::linear::problem::Problem;
use cbfit::linear::rows::Rows;
use cbfit::linear::series::FitSeries;
use cbfit::linear::solver::minibatch::Rule;
use cbfit::linear::solver::schedule::Schedule;
use cbfit::loss::Loss;
use cbfit::matrix::Matrix;
use cbfit::metrics::Standing;
use cbfit::rng::CounterRng;
use cbfit::simd::Kernels;

use super::mutate::damaged;

const CLASSES: usize = 3;
const FEATURES: usize = 4;

/// Where a run is left: a fit and a step of it.
type Left = Option<(usize, usize)>;

/// The checkpoints of runs that were left in each of their fits, in order.
pub fn left(folder: &Path) -> [Vec<u8>; 4] {
    [(0, 3), (1, 2), (2, 2), (3, 2)].map(|left| {
        let path = folder.join("left.checkpoint");
        let stop = Rc::new(Cell::new(false));
        let journal = Journal::new(keeping(&path, &stop));
        run(&journal, Some(left), &stop).unwrap();
        assert!(stop.get(), "the run has ended before {left:?}");
        journal.close();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        bytes
    })
}

/// Goes on from the checkpoint at `path` to the end.
pub fn go_on(path: &Path) -> cbfit::Result<()> {
    let stop = Rc::new(Cell::new(false));
    match Journal::resume(keeping(path, &stop))? {
        Ok(journal) => run(&journal, None, &stop),
        Err(_) => panic!("{} is not there", path.display()),
    }
}

/// A checkpoint of which one part is damaged and has a checksum that holds all the same: `other` is spliced in.
pub fn forged(folder: &Path, bytes: &[u8], other: &[u8], rng: &mut CounterRng) -> Vec<u8> {
    let path = folder.join("forged.checkpoint");
    let shown = path.to_str().unwrap();
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        file::read(shown).ok().flatten()
    };
    let mut sections = read(bytes).unwrap();
    // The settings come first: all but one in eight of their damages would say no more than that they are others.
    let part = if rng.below(8) == 0 { 0 } else { 1 + rng.below(2) };
    let other = read(other).map_or_else(|| other.to_vec(), |sections| sections[part].clone());
    sections[part] = damaged(&sections[part], &other, rng);
    let [settings, finished, rest] = &sections;
    file::write(shown, [&[settings], &[finished], &[rest]]).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    bytes
}

fn keeping(path: &Path, stop: &Rc<Cell<bool>>) -> Keeping {
    let stop = Rc::clone(stop);
    Keeping {
        path: path.to_str().unwrap().into(),
        every: Duration::from_secs(1000),
        settings: vec![("data fingerprint".into(), "1f".into()), ("seed".into(), "0".into())],
        is_stopping: Box::new(move || stop.get()),
        say: Box::new(|_, _| {}),
    }
}

/// L-BFGS, minibatches, trees a class and trees for all.
fn run(journal: &Journal, left: Left, stop: &Cell<bool>) -> cbfit::Result<()> {
    let mut rng = CounterRng::new(2, 7);
    let labels: Vec<u32> = (0..90).map(|row| if row % 9 == 8 { 2 } else { row % 2 }).collect();
    let values = labels.iter().flat_map(|&label| [f64::from(label), 0.0, 1.0, -f64::from(label)]);
    let values: Vec<f32> = values.map(|mean| (mean + rng.next_f64()) as f32).collect();
    let matrix = Matrix::from_f32(values, FEATURES);
    let weights = vec![1.0; labels.len()];
    let reached = |fit: usize, step: usize| {
        stop.set(left == Some((fit, step)));
        if stop.get() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };

    let problem = Problem::new(Rows::all(&matrix), &labels, &weights, CLASSES, Loss::Softmax, 1e-3);
    let minibatch = Optimizer::Minibatch {
        rule: Rule::AdamW,
        epochs: 6,
        batch: Some(16),
        rate: None,
        schedule: Schedule::Cosine,
        patience: 3,
        seed: 1,
    };
    let lbfgs = Optimizer::Lbfgs { tolerance: 1e-6, max_iterations: 40, certified: true };
    let mut objective = Objective::new(problem, Kernels::best());
    for (fit, optimizer) in [lbfgs, minibatch].iter().enumerate() {
        let mut score = |theta: &[f32]| -f64::from(theta[0]).abs();
        let score = (fit == 1).then_some(&mut score as &mut dyn FnMut(&[f32]) -> f64);
        let mut watch = |progress: &cbfit::linear::fit::Progress| reached(fit, progress.step);
        let start = problem.start();
        FitSeries::new(Some(journal)).fit(&mut objective, &start, optimizer, score, &mut watch)?;
        if stop.get() {
            return Ok(());
        }
    }

    let binner = Binner::fit(&matrix, &labels, &BinningOptions::default())?;
    let features = binner.bin(&matrix)?;
    for (fit, trees) in [(2, Trees::PerClass), (3, Trees::Vector(cbfit::boost::options::Lanes::Four))] {
        let problem = BoostProblem {
            features: &features,
            binner: &binner,
            labels: &labels,
            weights: &weights,
            classes: CLASSES,
            loss: Loss::Softmax,
            offsets: None,
            start: None,
        };
        let options = BoostOptions { trees, min_rows: 2, max_leaves: 5, ..BoostOptions::default() };
        let mut trainer = Trainer::new(problem, &options, Kernels::best())?;
        let mut score = |trainer: &Trainer<'_>| {
            let metric = -f64::from(trainer.logits()[0]).abs();
            Standing { metric, noise: 0.0, balanced_log_loss: 1.0 }
        };
        let stopping = Stopping { rounds: 4, patience: 2 };
        let mut watch = |trainer: &Trainer<'_>, _: &_, _| reached(fit, trainer.model().rounds());
        kept_fit(Some(journal), &mut trainer, stopping, &[], Some(&mut score), &mut watch)?;
        if stop.get() {
            return Ok(());
        }
        // What has been taken from the file is put to work.
        trainer.into_model().logits(&matrix)?;
    }
    Ok(())
}
