//! Which optimizer flags ask for, and which one the rows decide for.

use super::args::{OptimizerArg, ScheduleArg, TrainArgs};
use super::plan::{ValidationPlan, count, out_of_range};
use super::shared::no_effect;
use crate::Result;
use crate::linear::fit::{Optimizer, suits_lbfgs};
use crate::linear::solver::minibatch::Rule;
use crate::linear::solver::schedule::Schedule;
use crate::matrix::Matrix;

/// The optimizer, as far as flags settle it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptimizerPlan {
    /// By the shape of the data.
    Auto {
        /// What L-BFGS would use.
        lbfgs: Optimizer,
        /// What minibatches would use.
        minibatch: Optimizer,
    },
    /// This one.
    Given(Optimizer),
}

impl OptimizerPlan {
    /// The optimizer for `rows` of these features.
    pub fn of_rows(self, features: &Matrix<'_>, rows: usize, classes: usize) -> Optimizer {
        match self {
            OptimizerPlan::Given(optimizer) => optimizer,
            OptimizerPlan::Auto { lbfgs, .. } if suits_lbfgs(features, rows, classes) => lbfgs,
            OptimizerPlan::Auto { minibatch, .. } => minibatch,
        }
    }
}

/// L-BFGS and minibatches as training has them where no flag changes them.
pub(super) fn default_optimizers(seed: u64) -> Result<OptimizerPlan> {
    let args = TrainArgs { seed, ..TrainArgs::default() };
    optimizer_of(&args, &ValidationPlan::Fraction(0.1))
}

/// The optimizer of `args`.
///
/// # Errors
/// [`crate::Error::NoEffect`] for a flag that cannot act, [`crate::Error::BadValue`] for values.
pub(super) fn optimizer_of(args: &TrainArgs, validation: &ValidationPlan) -> Result<OptimizerPlan> {
    let minibatch_only = [
        (args.batch.is_some(), "--batch"),
        (args.lr.is_some(), "--lr"),
        (args.momentum.is_some(), "--momentum"),
        (args.schedule.is_some(), "--schedule"),
        (args.patience.is_some(), "--patience"),
    ];
    let name = match args.optimizer {
        OptimizerArg::Auto => "auto",
        OptimizerArg::Lbfgs => "lbfgs",
        OptimizerArg::Sgd => "sgd",
        OptimizerArg::Nesterov => "nesterov",
        OptimizerArg::Adamw => "adamw",
    };
    let with = format!("--optimizer {name}");
    if matches!(args.optimizer, OptimizerArg::Auto | OptimizerArg::Lbfgs) {
        for (given, flag) in minibatch_only {
            no_effect(given, flag, &with, "add --optimizer sgd, nesterov or adamw")?;
        }
    }
    match args.optimizer {
        OptimizerArg::Auto => {
            no_effect(args.epochs.is_some(), "--epochs", &with, "name the optimizer as well")?;
            no_effect(args.tolerance.is_some(), "--tolerance", &with, "add --optimizer lbfgs")?;
        }
        OptimizerArg::Adamw => {
            no_effect(args.momentum.is_some(), "--momentum", &with, "add --optimizer sgd")?;
        }
        _ => {}
    }
    let is_minibatch =
        matches!(args.optimizer, OptimizerArg::Sgd | OptimizerArg::Nesterov | OptimizerArg::Adamw);
    if is_minibatch {
        no_effect(args.tolerance.is_some(), "--tolerance", &with, "add --optimizer lbfgs")?;
        let validated = *validation != ValidationPlan::None;
        no_effect(args.patience.is_some() && !validated, "--patience", "--valid-fraction 0", "leave it out")?;
    }
    let momentum = args.momentum.unwrap_or(0.9);
    if !(0.0..1.0).contains(&momentum) {
        return Err(out_of_range("--momentum", momentum, "is outside [0, 1)", "give a share such as 0.9"));
    }
    let epochs = args.epochs.map(|epochs| count("--epochs", epochs)).transpose()?;
    let lbfgs = Optimizer::Lbfgs {
        tolerance: positive("--tolerance", args.tolerance)?.unwrap_or(1e-3),
        max_iterations: epochs.unwrap_or(1000),
        certified: true,
    };
    let minibatch = Optimizer::Minibatch {
        rule: match args.optimizer {
            OptimizerArg::Adamw => Rule::AdamW,
            other => Rule::Sgd { momentum, nesterov: other == OptimizerArg::Nesterov },
        },
        epochs: epochs.unwrap_or(20),
        batch: args.batch.map(|rows| count("--batch", rows)).transpose()?,
        rate: positive("--lr", args.lr)?,
        schedule: match args.schedule {
            None | Some(ScheduleArg::Cosine) => Schedule::Cosine,
            Some(ScheduleArg::Step) => Schedule::Step,
            Some(ScheduleArg::Constant) => Schedule::Constant,
        },
        patience: args.patience.map_or(Ok(5), |epochs| count("--patience", epochs))?,
        seed: args.seed,
    };
    Ok(match args.optimizer {
        OptimizerArg::Auto => OptimizerPlan::Auto { lbfgs, minibatch },
        OptimizerArg::Lbfgs => OptimizerPlan::Given(lbfgs),
        _ => OptimizerPlan::Given(minibatch),
    })
}

fn positive(flag: &str, value: Option<f64>) -> Result<Option<f64>> {
    match value {
        Some(value) if !(value.is_finite() && value > 0.0) => {
            Err(out_of_range(flag, value, "is not positive", "give a number above 0"))
        }
        value => Ok(value),
    }
}
