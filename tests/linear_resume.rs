//! Fits that are left after any step and gone on with end with the same bits, in every metric of L-BFGS and by every rule
//! of minibatches.
#![allow(clippy::unwrap_used)] // Helpers outside test functions.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use cbfit::checkpoint::journal::{Journal, Keeping};
use cbfit::linear::fit::Optimizer;
use cbfit::linear::objective::Objective;
use cbfit::linear::problem::{Decay, Problem};
use cbfit::linear::rows::Rows;
use cbfit::linear::series::FitSeries;
use cbfit::linear::solver::Fit;
use cbfit::linear::solver::minibatch::Rule;
use cbfit::linear::solver::schedule::Schedule;
use cbfit::loss::Loss;
use cbfit::matrix::{Matrix, SparseRows, Storage};
use cbfit::rng::CounterRng;
use cbfit::simd::Kernels;

const LBFGS: Optimizer = Optimizer::Lbfgs { tolerance: 1e-6, max_iterations: 60, certified: true };
const OFTEN: [usize; 7] = [1, 2, 4, 6, 9, 13, 19];

struct Data {
    matrix: Matrix<'static>,
    labels: Vec<u32>,
    weights: Vec<f32>,
    classes: usize,
}

impl Data {
    fn new(rows: usize, features: usize, classes: usize, sparse: bool) -> Self {
        let mut rng = CounterRng::new(3, features as u64);
        let mut labels = Vec::new();
        let (mut dense, mut entries) = (Vec::new(), SparseRows::default());
        for row in 0..rows {
            let label = if row < classes { row } else { (rng.next_f64().powi(2) * classes as f64) as usize };
            labels.push(label as u32);
            let value =
                |at: usize, draw: f64| (draw - 0.5 + f64::from(u8::from(at % classes == label)) * 0.6) as f32;
            if sparse {
                let columns: Vec<u32> =
                    (0..features as u32).step_by(97).map(|at| at + (row % 89) as u32).collect();
                let columns: Vec<u32> = columns.into_iter().filter(|&at| (at as usize) < features).collect();
                let values: Vec<f32> = columns.iter().map(|&at| value(at as usize, rng.next_f64())).collect();
                entries.push(&columns, &values);
            } else {
                dense.extend((0..features).map(|at| value(at, rng.next_f64())));
            }
        }
        let matrix = if sparse {
            Matrix::from_storage(Storage::Sparse(entries), features)
        } else {
            Matrix::from_f32(dense, features)
        };
        let weights = (0..rows).map(|row| 0.5 + (row % 3) as f32).collect();
        Data { matrix, labels, weights, classes }
    }

    fn problem(&self, loss: Loss, decay: Decay) -> Problem<'_> {
        Problem {
            decay,
            ..Problem::new(Rows::all(&self.matrix), &self.labels, &self.weights, self.classes, loss, 0.0)
        }
    }
}

/// Where a run is left: after a step of a fit.
type Left = Option<(usize, usize)>;

/// Two fits of a series, the second from the first where that helps; `None` where they were left.
fn run(
    problem: Problem<'_>,
    optimizer: &Optimizer,
    journal: Option<&Journal>,
    left: Left,
    stop: &Cell<bool>,
) -> Option<[Fit; 2]> {
    let mut objective = Objective::new(problem, Kernels::best());
    let mut start = problem.start();
    let is_minibatch = matches!(optimizer, Optimizer::Minibatch { .. });
    let mut series = FitSeries::new(journal);
    let mut fits = Vec::new();
    for (number, l2) in [1e-2, 1e-3].into_iter().enumerate() {
        objective.set_l2(l2);
        let mut score = |theta: &[f32]| -f64::from(theta[0]).abs();
        let score = is_minibatch.then_some(&mut score as &mut dyn FnMut(&[f32]) -> f64);
        let mut watch = |progress: &cbfit::linear::fit::Progress| {
            stop.set(left == Some((number, progress.step)));
            if stop.get() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let fit = series.fit(&mut objective, &start, optimizer, score, &mut watch).unwrap();
        if stop.get() {
            return None;
        }
        if !is_minibatch {
            start.clone_from(&fit.theta);
        }
        fits.push(fit);
    }
    fits.try_into().ok()
}

fn keeping(path: &Path, stop: &Rc<Cell<bool>>) -> Keeping {
    let stop = Rc::clone(stop);
    Keeping {
        path: path.to_str().unwrap().into(),
        every: Duration::from_secs(1000),
        settings: vec![("data".into(), "these".into())],
        is_stopping: Box::new(move || stop.get()),
        say: Box::new(|_, _| {}),
    }
}

fn bits(fits: &[Fit; 2]) -> Vec<(Vec<u32>, String)> {
    let of = |fit: &Fit| {
        let rest = format!("{:?} {} {} {}", fit.certificate, fit.converged, fit.steps, fit.passes);
        (fit.theta.iter().map(|w| w.to_bits()).collect(), rest)
    };
    fits.iter().map(of).collect()
}

/// Leaves both fits after each of the steps `left` and the one after it. Returns how many steps the first takes as a whole.
fn check(what: &str, problem: Problem<'_>, optimizer: &Optimizer, left: &[usize]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.checkpoint");
    let stop = Rc::new(Cell::new(false));
    let whole = run(problem, optimizer, None, None, &stop).unwrap();
    let steps = whole.each_ref().map(|fit| fit.steps);
    for (fit, steps) in steps.into_iter().enumerate() {
        for step in left.iter().copied().filter(|&step| step <= steps) {
            let journal = Journal::new(keeping(&path, &stop));
            assert!(run(problem, optimizer, Some(&journal), Some((fit, step)), &stop).is_none());
            journal.close();
            stop.set(false);
            // Left once more, a step later.
            let journal = Journal::resume(keeping(&path, &stop)).unwrap().ok().unwrap();
            assert_eq!(journal.holds(), (fit, true));
            let is_over = run(problem, optimizer, Some(&journal), Some((fit, step + 1)), &stop).is_some();
            journal.close();
            stop.set(false);
            assert_eq!(path.exists(), !is_over);
            if !is_over {
                let journal = Journal::resume(keeping(&path, &stop)).unwrap().ok().unwrap();
                let resumed = run(problem, optimizer, Some(&journal), None, &stop).unwrap();
                assert_eq!(bits(&resumed), bits(&whole), "{what}: fit {fit} left after step {step}");
                journal.close();
            }
            assert!(!path.exists());
        }
    }
    steps[0]
}

#[test]
fn lbfgs_goes_on_in_every_metric() {
    let table = Data::new(300, 10, 4, false);
    check("the Hessian", table.problem(Loss::Softmax, Decay::Weights), &LBFGS, &OFTEN);
    check("a decayed bias", table.problem(Loss::Sigmoid, Decay::Both), &LBFGS, &OFTEN);
    check(
        "a loss without a bound",
        table.problem(Loss::Focal { gamma: 1.0 }, Decay::Weights),
        &LBFGS,
        &OFTEN,
    );
    let loose = Optimizer::Lbfgs { tolerance: 1e-3, max_iterations: 40, certified: false };
    check("an estimate", table.problem(Loss::Softmax, Decay::Weights), &loose, &OFTEN);
    let classes = Data::new(600, 150, 30, false);
    check("products of features", classes.problem(Loss::Softmax, Decay::Weights), &loose, &[1, 4]);
    let close = Optimizer::Lbfgs { tolerance: 1e-10, max_iterations: 24, certified: false };
    let steps = check("hard rows", classes.problem(Loss::Softmax, Decay::Weights), &close, &[13]);
    assert!(steps > 13, "hard rows are taken after 12 passes: {steps} steps");
    let wide = Data::new(40, 4200, 3, false);
    check("products of rows", wide.problem(Loss::Softmax, Decay::Weights), &loose, &[1, 4]);
    let sparse = Data::new(150, 5000, 3, true);
    check("products of some features", sparse.problem(Loss::Softmax, Decay::Weights), &loose, &[2]);
}

#[test]
fn minibatches_go_on_by_every_rule() {
    let data = Data::new(500, 20, 5, false);
    for (rule, patience) in [
        (Rule::Sgd { momentum: 0.9, nesterov: false }, 3),
        (Rule::Sgd { momentum: 0.5, nesterov: true }, 30),
        (Rule::AdamW, 2),
    ] {
        let schedule = Schedule::Cosine;
        let optimizer = Optimizer::Minibatch {
            rule,
            epochs: 12,
            batch: Some(32),
            rate: None,
            schedule,
            patience,
            seed: 4,
        };
        check(rule.name(), data.problem(Loss::Softmax, Decay::Weights), &optimizer, &OFTEN);
    }
}
