//! `cbfit tune`: the setting with the best out-of-fold score, within a budget.

use std::time::{Duration, Instant};

use super::args::TuneArgs;
use super::fold_plan::{FoldPlan, Watch};
use super::interrupt::Interrupt;
use super::shared::say_scant;
use super::talk::Talk;
use super::{kernels, print_json, print_text, with_threads};
use crate::experiment::treatment::{Treatment, standard_treatments};
use crate::experiment::tune::{Budget, Search};
use crate::model::Learner;
use crate::report::tune::{TuneReport, Tuning, tune_lines};
use crate::{Error, Result};

/// Runs the command.
///
/// # Errors
/// Those of reading and fitting; [`Error::BadValue`] for a budget that allows nothing.
pub fn run(args: TuneArgs) -> Result<u8> {
    let run_args = args.folds.run.clone();
    let limit = time_limit(args.time_limit)?;
    if args.trials == Some(0) {
        return Err(Error::bad_value("--trials", "0", "allows nothing", "give a whole number from 1"));
    }
    let plan = FoldPlan::new(args.folds)?;
    let interrupt = Interrupt::listen();
    let mut talk = Talk::new(run_args.quiet, plan.progress);
    say_scant(&talk, plan.read.memory.as_ref());
    with_threads(&run_args, || {
        let budget = Budget { trials: args.trials, until: limit.map(|limit| Instant::now() + limit) };
        let Some(report) = tuned(&plan, budget, &mut talk, &interrupt)? else {
            talk.clear_progress();
            talk.phase("Stopped", "interrupted before the first combination had all its folds");
            return Ok(interrupt.exit_status());
        };
        if run_args.json {
            print_json(&report)?;
        } else if !run_args.quiet {
            print_text(&(tune_lines(&report).join("\n") + "\n"))?;
        }
        Ok(if interrupt.is_set() { interrupt.exit_status() } else { 0 })
    })
}

fn time_limit(seconds: Option<f64>) -> Result<Option<Duration>> {
    let bad = |value: f64| {
        let help = "give seconds above 0";
        Error::bad_value("--time-limit", value.to_string(), "is no time that can pass", help)
    };
    seconds
        .map(|value| {
            Duration::try_from_secs_f64(value).ok().filter(|limit| !limit.is_zero()).ok_or_else(|| bad(value))
        })
        .transpose()
}

/// `None` where an interrupt came before anything was done.
fn tuned(
    plan: &FoldPlan,
    budget: Budget,
    talk: &mut Talk,
    interrupt: &Interrupt,
) -> Result<Option<TuneReport>> {
    let started = Instant::now();
    let kernels = kernels()?;
    let mut rows = plan.read(talk)?;
    let settings = plan.settings(&rows)?;
    let mut kinds = Vec::new();
    for (&learner, &loss) in plan.learners.iter().flat_map(|l| plan.losses.iter().map(move |loss| (l, loss)))
    {
        let standard = standard_treatments(loss, &rows.counts)?;
        kinds.push(standard.into_iter().map(|treatment| treatment.by(learner)).collect());
    }
    let treatments = in_turns(kinds);
    // A limit of time may end the search after the first.
    let certain = budget.until.map_or(budget.trials.unwrap_or(usize::MAX), |_| 1).min(treatments.len());
    rows.hold_memory(plan, &settings, &treatments[..certain], talk)?;
    let features = |learner: Learner, train: &[usize]| rows.features(learner, train);
    talk.phase(
        "Tune",
        &format!("by {} on {}, test data play no part", plan.metric.name(), plan.folds_text()),
    );
    let search = Search {
        data: rows.data(&features),
        counts: &rows.counts,
        folds: &rows.folds,
        metric: plan.metric,
        settings: &settings,
        budget,
        seed: plan.seed,
        kernels,
    };
    let mut watch = Watch::new(talk, interrupt, plan);
    let Some(tuned) = search.run(treatments, &mut watch)? else { return Ok(None) };
    watch.talk().clear_progress();
    let tuning = Tuning {
        tuned: &tuned,
        labels: rows.labels(),
        counts: &rows.counts,
        folds: &rows.folds,
        metric: plan.metric,
        main: rows.main(),
        paths: &plan.data,
        prior: plan.prior_text.as_deref(),
        boost_flags: &plan.boost_flags,
        seconds: started.elapsed().as_secs_f64(),
    };
    tuning.report().map(Some)
}

/// The first of each list, then the second of each, and so on: a budget that ends early has seen something of all.
fn in_turns(kinds: Vec<Vec<Treatment>>) -> Vec<Treatment> {
    let longest = kinds.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|at| kinds.iter().filter_map(move |kind| kind.get(at).cloned())).collect()
}
