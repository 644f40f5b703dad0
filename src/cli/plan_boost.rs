//! The flags of boosting, checked.

use super::args::{
    BoostArgs, CalibrateArg, DecayArg, HessianArg, LearnerArg, MissingArg, OptimizerArg, ScaleArg, TrainArgs,
    TreesArg,
};
use super::boost_start::{StartPlan, start_of};
use super::plan::{ValidationPlan, finite, out_of_range, validation_of};
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
    /// Rounds between two snapshots.
    pub snapshot_every: Option<usize>,
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
        for (given, flag) in flags(&given) {
            no_effect(given, flag, "--learner linear", help)?;
        }
        return Ok(None);
    }
    refuse_linear_flags(args)?;
    let start = start_of(given.init.as_deref(), is_validated)?;
    let defaults = BoostOptions::default();
    let options = BoostOptions {
        learning_rate: args.lr.take(),
        max_leaves: given.max_leaves.unwrap_or(defaults.max_leaves),
        max_depth: given.max_depth,
        min_rows: given.min_rows.unwrap_or(defaults.min_rows),
        min_child_weight: given.min_child_weight.unwrap_or(defaults.min_child_weight),
        l2: leaf_l2(args, defaults.l2)?,
        max_delta_step: given.max_delta_step,
        curvature: given.hessian.map(curvature_of),
        trees: trees_of(&given)?,
        init: match start {
            StartPlan::Constant(init) => init,
            StartPlan::Linear(_) => defaults.init,
        },
        row_sample: given.row_sample.unwrap_or(defaults.row_sample),
        column_sample: given.column_sample.unwrap_or(defaults.column_sample),
        seed: args.seed,
        ..defaults
    };
    options.check()?;
    let patience = args.patience.take();
    no_effect(patience.is_some() && !is_validated, "--patience", "--valid-fraction 0", "leave it out")?;
    if given.snapshot_every == Some(0) {
        return Err(out_of_range("--snapshot-every", 0, "is not positive", "give a number of rounds from 1"));
    }
    let rounds = given.rounds.unwrap_or(if is_validated { ROUNDS_AT_MOST } else { ROUNDS });
    for (flag, value) in [("--rounds", rounds), ("--patience", patience.unwrap_or(PATIENCE))] {
        if value == 0 {
            return Err(out_of_range(flag, value, "is not positive", "give a whole number from 1"));
        }
    }
    // Nothing is left that validation rows would have to choose.
    args.l2 = (!is_validated).then(|| "0".to_owned());
    Ok(Some(BoostPlan {
        start,
        options,
        binning: BinningOptions {
            max_bins: given.max_bins.unwrap_or(BinningOptions::default().max_bins),
            seed: args.seed,
            ..BinningOptions::default()
        },
        stopping: Stopping {
            // Rounds are those to come, as LightGBM and XGBoost count them.
            rounds: earlier.as_ref().map_or(0, |earlier| earlier.rounds()).saturating_add(rounds),
            patience: patience.unwrap_or(PATIENCE),
        },
        earlier,
        snapshot_every: given.snapshot_every,
    }))
}

fn flags(args: &BoostArgs) -> [(bool, &'static str); 14] {
    [
        (args.rounds.is_some(), "--rounds"),
        (args.max_leaves.is_some(), "--max-leaves"),
        (args.max_depth.is_some(), "--max-depth"),
        (args.min_rows.is_some(), "--min-rows"),
        (args.min_child_weight.is_some(), "--min-child-weight"),
        (args.max_delta_step.is_some(), "--max-delta-step"),
        (args.trees.is_some(), "--trees"),
        (args.directions.is_some(), "--directions"),
        (args.hessian.is_some(), "--hessian"),
        (args.row_sample.is_some(), "--row-sample"),
        (args.column_sample.is_some(), "--column-sample"),
        (args.max_bins.is_some(), "--max-bins"),
        (args.init.is_some(), "--init"),
        (args.snapshot_every.is_some(), "--snapshot-every"),
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
        (args.calibrate != CalibrateArg::None, "--calibrate"),
        (args.offsets.is_some(), "--offsets"),
        (args.oof.is_some(), "--oof"),
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

fn leaf_l2(args: &mut TrainArgs, default: f64) -> Result<f64> {
    let Some(text) = args.l2.take() else { return Ok(default) };
    let help = "give a number of rows such as 1; it is not searched for trees";
    let value = text.parse::<f64>().map_err(|_| Error::bad_value("--l2", &text, "is not a number", help))?;
    finite("--l2", value)
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
