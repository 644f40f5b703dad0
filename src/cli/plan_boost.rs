//! The flags of boosting, checked.

use clap::ValueEnum;

use super::args::{
    BoostArgs, CalibrateArg, DecayArg, HessianArg, LearnerArg, MissingArg, OptimizerArg, ScaleArg, TrainArgs,
    TreesArg,
};
use super::boost_start::{StartPlan, start_of};
use super::plan::{ValidationPlan, count, finite, out_of_range, validation_of};
use super::plan_continue::{Earlier, earlier_of};
use super::shared::no_effect;
use crate::boost::binning::BinningOptions;
use crate::boost::fit::Stopping;
use crate::boost::gradient::Curvature;
use crate::boost::options::{BoostOptions, Lanes, Trees};
use crate::{Error, Result};

/// How trees are boosted.
#[derive(Debug, Clone, PartialEq)]
pub struct BoostPlan {
    /// Where the fit starts.
    pub start: StartPlan,
    /// Settings of the fit.
    pub options: BoostOptions,
    /// Settings of the bins; which columns are categories is known once data are read.
    pub binning: BinningOptions,
    /// When the fit ends, the rounds of an earlier model included.
    pub stopping: Stopping,
    /// The model to go on with.
    pub earlier: Option<Box<Earlier>>,
}

/// Rounds where validation rows end a fit, and where nothing does.
const ROUNDS_AT_MOST: usize = 500;
const ROUNDS: usize = 100;
/// Rounds without a better score.
const PATIENCE: usize = 30;

/// Takes the flags of boosting out of `args`, so that what is left is those of every learner. `None` for another learner.
///
/// # Errors
/// [`Error::NoEffect`] for flags of the other learner, [`Error::BadValue`] for values.
pub(super) fn boost_of(args: &mut TrainArgs) -> Result<Option<BoostPlan>> {
    let is_validated = validation_of(args)? != ValidationPlan::None;
    let earlier = earlier_of(args, is_validated)?.map(Box::new);
    let given = std::mem::take(&mut args.boost);
    if args.learner == LearnerArg::Linear {
        let help = "add --learner boost, or leave it out";
        refuse_boost_flags(&given, "--learner linear", help)?;
        return Ok(None);
    }
    refuse_linear_flags(args)?;
    let l2 = leaf_l2(args)?;
    let start = start_of(given.init.as_deref(), is_validated)?;
    let (options, binning) = options_of(&given, start, args.lr.take(), l2, args.seed)?;
    let patience = args.patience.take();
    no_effect(patience.is_some() && !is_validated, "--patience", "--valid-fraction 0", "leave it out")?;
    let rounds = given.rounds.unwrap_or(if is_validated { ROUNDS_AT_MOST } else { ROUNDS });
    count("--rounds", rounds)?;
    count("--patience", patience.unwrap_or(PATIENCE))?;
    // Nothing is left that validation rows would have to choose.
    args.l2 = (!is_validated).then(|| "0".to_owned());
    let is_plain = matches!(start, StartPlan::Constant(_)) && earlier.is_none();
    let is_crossed = args.calibrate != CalibrateArg::None || args.offsets.is_some() || args.oof.is_some();
    let help = "rows out of fold are those of fits that start from constants: leave one of them out";
    no_effect(is_crossed && !is_plain, "--calibrate", "--init linear and --init-model", help)?;
    Ok(Some(BoostPlan {
        start,
        options,
        binning,
        stopping: Stopping {
            // Rounds are those to come, as LightGBM and XGBoost count them.
            rounds: earlier.as_ref().map_or(0, |earlier| earlier.rounds()).saturating_add(rounds),
            patience: patience.unwrap_or(PATIENCE),
        },
        earlier,
    }))
}

/// Settings of a fit and of its bins from the flags given.
///
/// # Errors
/// [`Error::BadValue`].
pub(super) fn options_of(
    given: &BoostArgs,
    start: StartPlan,
    learning_rate: Option<f64>,
    l2: Option<f64>,
    seed: u64,
) -> Result<(BoostOptions, BinningOptions)> {
    let (defaults, bins) = (BoostOptions::default(), BinningOptions::default());
    let options = BoostOptions {
        learning_rate: learning_rate.unwrap_or(defaults.learning_rate),
        max_leaves: given.max_leaves.unwrap_or(defaults.max_leaves),
        max_depth: given.max_depth,
        min_rows: given.min_rows.unwrap_or(defaults.min_rows),
        min_child_weight: given.min_child_weight.unwrap_or(defaults.min_child_weight),
        l2,
        max_delta_step: given.max_delta_step,
        curvature: given.hessian.map(curvature_of),
        trees: trees_of(given)?,
        init: match start {
            StartPlan::Constant(init) => init,
            StartPlan::Linear(_) => defaults.init,
        },
        row_sample: given.row_sample.unwrap_or(defaults.row_sample),
        column_sample: given.column_sample.unwrap_or(defaults.column_sample),
        seed,
        ..defaults
    };
    options.check()?;
    Ok((options, BinningOptions { max_bins: given.max_bins.unwrap_or(bins.max_bins), seed, ..bins }))
}

/// Refuses flags of boosting where nothing is boosted.
///
/// # Errors
/// [`Error::NoEffect`].
pub(super) fn refuse_boost_flags(given: &BoostArgs, with: &str, help: &str) -> Result<()> {
    flags(given).into_iter().try_for_each(|(flag, value)| no_effect(value.is_some(), flag, with, help))
}

/// The flags that were given, each after a space with its value.
pub(super) fn given_text(args: &BoostArgs, learning_rate: Option<f64>) -> String {
    let learning_rate = ("--lr", learning_rate.map(|rate| rate.to_string()));
    let given = flags(args).into_iter().filter(|(flag, _)| *flag != "--rounds").chain([learning_rate]);
    given.filter_map(|(flag, value)| Some(format!(" {flag} {}", value?))).collect()
}

/// Every flag with the value it was given.
fn flags(args: &BoostArgs) -> [(&'static str, Option<String>); 13] {
    fn text(value: Option<impl ToString>) -> Option<String> {
        value.map(|value| value.to_string())
    }
    fn name(value: Option<impl ValueEnum>) -> Option<String> {
        Some(value?.to_possible_value()?.get_name().to_owned())
    }
    [
        ("--rounds", text(args.rounds)),
        ("--max-leaves", text(args.max_leaves)),
        ("--max-depth", text(args.max_depth)),
        ("--min-rows", text(args.min_rows)),
        ("--min-child-weight", text(args.min_child_weight)),
        ("--max-delta-step", text(args.max_delta_step)),
        ("--trees", name(args.trees)),
        ("--directions", text(args.directions)),
        ("--hessian", name(args.hessian)),
        ("--row-sample", text(args.row_sample)),
        ("--column-sample", text(args.column_sample)),
        ("--max-bins", text(args.max_bins)),
        ("--init", args.init.clone()),
    ]
}

fn refuse_linear_flags(args: &TrainArgs) -> Result<()> {
    let linear_only = [
        (args.head.is_some(), "--head"),
        (args.decay != DecayArg::Weights, "--decay"),
        (args.optimizer != OptimizerArg::Auto, "--optimizer"),
        (args.epochs.is_some(), "--epochs"),
        (args.tolerance.is_some(), "--tolerance"),
        (args.batch.is_some(), "--batch"),
        (args.momentum.is_some(), "--momentum"),
        (args.schedule.is_some(), "--schedule"),
        (args.vs_gamma.is_some(), "--vs-gamma"),
        (args.ldam.is_some(), "--ldam"),
        (args.resample.is_some(), "--resample"),
        (args.scale != ScaleArg::Auto, "--scale"),
        (args.missing != MissingArg::Error, "--missing"),
    ];
    for (given, flag) in linear_only {
        let help = match flag {
            "--scale" => "trees ask for the order of values alone: leave it out",
            "--missing" => "trees send missing values to the better side of each cut: leave it out",
            "--epochs" => "rounds of trees are limited by --rounds",
            _ => "it serves the linear learner: leave it out, or take --learner linear",
        };
        no_effect(given, flag, "--learner boost", help)?;
    }
    Ok(())
}

fn leaf_l2(args: &mut TrainArgs) -> Result<Option<f64>> {
    let Some(text) = args.l2.take() else { return Ok(None) };
    let help = "give a number of rows such as 1; it is not searched for trees";
    let value = text.parse::<f64>().map_err(|_| Error::bad_value("--l2", &text, "is not a number", help))?;
    finite("--l2", value).map(Some)
}

pub(super) fn curvature_of(hessian: HessianArg) -> Curvature {
    match hessian {
        HessianArg::Newton => Curvature::Newton,
        HessianArg::Abs => Curvature::Absolute,
    }
}

pub(super) fn trees_of(args: &BoostArgs) -> Result<Trees> {
    let lanes = match args.directions {
        None | Some(7) => Lanes::Eight,
        Some(3) => Lanes::Four,
        Some(15) => Lanes::Sixteen,
        Some(other) => {
            return Err(out_of_range("--directions", other, "is not possible", "give 3, 7 or 15"));
        }
    };
    match args.trees {
        Some(TreesArg::PerClass) => {
            let help = "they serve trees for all classes: leave one of them out";
            no_effect(args.directions.is_some(), "--directions", "--trees per-class", help)?;
            Ok(Trees::PerClass)
        }
        Some(TreesArg::Vector) => Ok(Trees::Vector(lanes)),
        None if args.directions.is_some() => Ok(Trees::Vector(lanes)),
        None => Ok(Trees::Auto),
    }
}
