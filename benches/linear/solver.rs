//! cbfit in the comparison. All that is used of `cbfit::linear` is used here.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use cbfit::data::split::StratifiedSplit;
use cbfit::labels::ClassCounts;
use cbfit::linear::fit::{Optimizer, Progress, fit};
use cbfit::linear::merge::{Merged, equal_rows};
use cbfit::linear::objective::Objective;
use cbfit::linear::path::PathStart;
use cbfit::linear::problem::{Decay, Problem};
use cbfit::linear::rows::Rows;
use cbfit::linear::search::{Grid, Recipe, Sample, SearchWatch, Trial, Validation, WeightedSample, search};
use cbfit::linear::series::FitSeries;
use cbfit::linear::solver::Fit;
use cbfit::linear::solver::memory::Memory;
use cbfit::loss::Loss;
use cbfit::metrics::Metric;
use cbfit::simd::{Isa, Kernels};
use cbfit::weighting::{Beta, ClassWeights, Normalisation, Scheme};
use serde_json::json;

use crate::data::Data;
use crate::{HELD_OUT, Outcome, emit};

/// One problem.
pub struct Case<'a> {
    pub data: &'a Data,
    pub weights: &'a [f32],
    pub loss: Loss,
    pub l2: f64,
}

impl Case<'_> {
    fn problem(&self) -> Problem<'_> {
        Problem::new(
            Rows::all(&self.data.features),
            &self.data.labels,
            self.weights,
            self.data.classes,
            self.loss,
            self.l2,
        )
    }
}

/// The settings of `cbfit train`: its tolerance, certified in the last fit, and its iterations.
const TOLERANCE: f64 = 1e-3;
const ITERATIONS: usize = 1000;

/// The kernels of the level that `CBFIT_ISA` names, as in cbfit, else the best ones.
fn kernels() -> &'static Kernels {
    let named = std::env::var("CBFIT_ISA").ok().and_then(|name| Isa::from_name(&name));
    named.and_then(Kernels::for_isa).unwrap_or_else(Kernels::best)
}

fn lbfgs(tolerance: f64, max_iterations: usize) -> Optimizer {
    Optimizer::Lbfgs { tolerance, max_iterations, certified: true }
}

pub fn loss(name: &str) -> Outcome<Loss> {
    match name {
        "softmax" => Ok(Loss::Softmax),
        "sigmoid" => Ok(Loss::Sigmoid),
        other => Err(format!("no loss {other}").into()),
    }
}

fn scheme(beta: &str) -> Outcome<Scheme> {
    Ok(if beta == "none" { Scheme::None } else { Scheme::Effective(Beta::parse(beta)?) })
}

pub fn row_weights(data: &Data, beta: &str) -> Outcome<Vec<f32>> {
    let counts = ClassCounts::of(&data.labels, None, data.classes);
    let weights = ClassWeights::new(&scheme(beta)?, &counts, Normalisation::Samples, None)?;
    Ok(weights.row_weights(&data.labels, None))
}

/// Fits to a certified relative gap, telling J after every iteration. The clock runs from the preparation of the
/// objective to the returned certificate.
pub fn fit_to(case: &Case<'_>, tolerance: f64, budget: Duration) -> Outcome<Vec<f64>> {
    let begun = Instant::now();
    let whole = case.problem();
    let merged = equal_rows(&whole.rows, whole.labels, whole.weights);
    let problem = match &merged {
        Some(Merged { index, labels, weights }) => {
            Problem { rows: Rows::chosen(&case.data.features, index), labels, weights, ..whole }
        }
        None => whole,
    };
    let mut objective = Objective::new(problem, kernels());
    let start = objective.problem().start();
    let optimizer = lbfgs(tolerance, 100 * ITERATIONS);
    let fit = fit(&mut objective, &mut Memory::default(), &start, &optimizer, None, &mut |progress| {
        let elapsed = begun.elapsed();
        if !progress.on_sample {
            let (seconds, objective) = (elapsed.as_secs_f64(), progress.objective);
            emit(json!({ "event": "point", "seconds": seconds, "objective": objective }));
        }
        if elapsed < budget { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    emit(json!({
        "event": "end", "seconds": begun.elapsed().as_secs_f64(), "objective": fit.certificate.objective,
        "ended": if fit.converged || begun.elapsed() < budget { "itself" } else { "budget" },
        "converged": fit.converged, "certified_gap": fit.certificate.relative_gap,
        "iterations": fit.steps, "passes": fit.passes,
    }));
    Ok(fit.theta.iter().map(|&value| f64::from(value)).collect())
}

/// J of parameters over the features as they are, `C x D` weights then C biases.
pub fn objective_of(case: &Case<'_>, theta: &[f64]) -> f64 {
    let mut objective = Objective::new(case.problem(), kernels());
    let mut theta: Vec<f32> = theta.iter().map(|&value| value as f32).collect();
    objective.enter(&mut theta);
    let mut gradient = vec![0.0; theta.len()];
    objective.evaluate(&theta, &mut gradient).objective()
}

/// Times the set-up of a problem and passes for J and its gradient at parameters that are not zero.
pub fn pass(data: &Data, weights: &[f32], loss: Loss, repeat: usize) -> Outcome<()> {
    let case = Case { data, weights, loss, l2: 1e-4 };
    let begun = Instant::now();
    let mut objective = Objective::new(case.problem(), kernels());
    emit(json!({ "event": "setup", "seconds": begun.elapsed().as_secs_f64() }));
    let mut gradient = vec![0.0; objective.problem().parameters()];
    let mut theta = objective.problem().start();
    theta.iter_mut().enumerate().for_each(|(at, value)| *value = 0.01 * ((at % 7) as f32 - 3.0));
    objective.enter(&mut theta); // J is then that of the peers, which do not centre.
    for _ in 0..repeat {
        let begun = Instant::now();
        let value = objective.evaluate(&theta, &mut gradient);
        let seconds = begun.elapsed().as_secs_f64();
        emit(json!({ "event": "pass", "seconds": seconds, "objective": value.objective() }));
    }
    Ok(())
}

/// Chooses l2 by macro recall on held-out rows, as `cbfit train` does or among `values`, and fits all rows with it.
pub fn tune(data: &Data, beta: &str, loss: Loss, values: Option<&[f64]>) -> Outcome<Vec<f64>> {
    let split = StratifiedSplit::new(&data.labels, data.classes, HELD_OUT.0, HELD_OUT.1)?;
    let labels_of = |rows: &[usize]| rows.iter().map(|&row| data.labels[row]).collect::<Vec<u32>>();
    let (train_labels, valid_labels) = (labels_of(&split.train), labels_of(&split.valid));
    let sample = |rows, labels| Sample { rows, labels, row_weights: None, classes: data.classes };
    let searched = sample(Rows::chosen(&data.features, &split.train), &train_labels);
    let validation = Validation {
        rows: Rows::chosen(&data.features, &split.valid),
        labels: &valid_labels,
        metric: Metric::MacroRecall,
    };
    let (scheme, kernels) = (scheme(beta)?, self::kernels());
    let recipe = Recipe {
        loss,
        logit_adjust: 0.0,
        vs_gamma: 0.0,
        ldam: 0.0,
        resampling: None,
        decay: Decay::Weights,
        max_weight: None,
        optimizer: lbfgs(TOLERANCE, ITERATIONS).for_choosing(),
    };

    let begun = Instant::now();
    let mut fits = FitSeries::new(None);
    let (l2, start, trials) = match values {
        None => {
            let mut trials = Trials(0);
            let grid = Grid { schemes: vec![scheme.clone()], l2: None };
            let best = search(searched, &recipe, &grid, &validation, kernels, &mut fits, &mut trials)?;
            let best = best.ok_or("nothing was tried")?;
            (best.l2, best.fit.theta, trials.0)
        }
        Some(values) => {
            let weighted = WeightedSample::new(searched, &scheme, &recipe)?;
            let mut objective = Objective::new(weighted.problem(&recipe, 0.0), kernels);
            let mut start = PathStart::new(objective.problem().start());
            let mut best: Option<(f64, f64, Vec<f32>)> = None;
            for &l2 in values {
                objective.set_l2(l2);
                let mut go_on = |_: &Progress| ControlFlow::Continue(());
                let optimizer = &recipe.optimizer;
                let fit = fits.fit(&mut objective, &start.at(l2), optimizer, None, &mut go_on)?;
                let recall = validation
                    .evaluate(&weighted.classifier(&fit.theta, &recipe), kernels, false)?
                    .macro_recall;
                tell_trial(l2, &fit, recall);
                start.pass(l2, fit.theta.clone());
                if best.as_ref().is_none_or(|(highest, ..)| recall > *highest) {
                    best = Some((recall, l2, fit.theta));
                }
            }
            let (_, l2, theta) = best.ok_or("no value of l2 was given")?;
            (l2, theta, values.len())
        }
    };
    let weighted = WeightedSample::new(sample(Rows::all(&data.features), &data.labels), &scheme, &recipe)?;
    let mut objective = Objective::new(weighted.problem(&recipe, l2), kernels);
    let optimizer = lbfgs(TOLERANCE, ITERATIONS);
    let last = fits.fit(&mut objective, &start, &optimizer, None, &mut |_| ControlFlow::Continue(()))?;
    let seconds = begun.elapsed().as_secs_f64();
    emit(json!({ "event": "end", "seconds": seconds, "objective": last.certificate.objective, "l2": l2,
        "fits": trials + 1, "passes": last.passes, "converged": last.converged }));
    Ok(last.theta.iter().map(|&value| f64::from(value)).collect())
}

fn tell_trial(l2: f64, fit: &Fit, recall: f64) {
    let (iterations, passes, j) = (fit.steps, fit.passes, fit.certificate.objective);
    emit(
        json!({ "event": "trial", "l2": l2, "iterations": iterations, "passes": passes, "objective": j, "recall": recall }),
    );
}

/// Counts the fits of a search.
struct Trials(usize);

impl SearchWatch for Trials {
    fn begin(&mut self, _: &Scheme, _: f64) {}

    fn progress(&mut self, _: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn trial(&mut self, trial: &Trial, _: bool) {
        self.0 += 1;
        tell_trial(trial.l2, &trial.fit, trial.valid.macro_recall);
    }
}
