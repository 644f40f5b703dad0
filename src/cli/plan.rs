//! From raw flags to what a run does: every flag is checked against the others before a file is opened.

use super::args::{
    CalibrateArg, DecayArg, LossArg, MissingArg, OffsetsArg, ResampleArg, ScaleArg, TrainArgs, WeightingArg,
};
use super::keeping::{KeepPlan, keep_of};
use super::plan_boost::{BoostPlan, boost_of};
use super::plan_head::{HeadPlan, check_closed_form, head_of, ldam_of, vs_gamma_of};
use super::plan_optimizer::{OptimizerPlan, optimizer_of};
use super::shared::{memory_of, no_effect, read_options, refuse_overwriting};
use super::talk::{Progress, progress_of};
use crate::calibrate::Method;
use crate::calibrate::offsets::OffsetMetric;
use crate::data::missing::Missing;
use crate::data::options::{Categories, ReadOptions};
use crate::data::scale::Scale;
use crate::experiment::folds::MOST_FOLDS;
use crate::linear::heads::Head;
use crate::linear::problem::Decay;
use crate::loss::Loss;
use crate::metrics::Metric;
use crate::report::predictions::PredictionFormat;
use crate::weighting::normalise::check_cap;
use crate::weighting::{Beta, Normalisation, Resampling, Scheme};
use crate::{Error, Result};

/// A training run, checked.
#[derive(Debug)]
pub struct TrainPlan {
    /// Training files.
    pub train: Vec<String>,
    /// Where validation rows come from.
    pub validation: ValidationPlan,
    /// File of the labels of the validation files.
    pub valid_label_file: Option<String>,
    /// Test files; empty for none.
    pub test: Vec<String>,
    /// File of the labels of the test files.
    pub test_label_file: Option<String>,
    /// How files are read.
    pub read: ReadOptions,
    /// Scaling of the features; `None` decides by their kind.
    pub scale: Option<Scale>,
    /// Class weights.
    pub weighting: WeightingPlan,
    /// Cap of the class weights.
    pub max_weight: Option<f64>,
    /// tau of the logit adjustment.
    pub logit_adjust: f64,
    /// gamma of vector scaling.
    pub vs_gamma: f64,
    /// Largest margin of LDAM.
    pub ldam: f64,
    /// How rows are resampled.
    pub resampling: Option<Resampling>,
    /// How the linear functions come about, and what it leaves open, if given.
    pub head: HeadPlan,
    /// How trees are boosted; `None` for a linear model.
    pub boost: Option<BoostPlan>,
    /// Loss.
    pub loss: Loss,
    /// A given l2, or `None` to choose it.
    pub l2: Option<f64>,
    /// What the penalty falls on.
    pub decay: Decay,
    /// How fits are solved.
    pub optimizer: OptimizerPlan,
    /// Metric that chooses.
    pub metric: Metric,
    /// Whether the chosen setting is fitted again on training and validation rows together.
    pub refit: bool,
    /// What is made of rows out of fold.
    pub calibration: Option<CalibrationPlan>,
    /// Model file to write.
    pub out: String,
    /// What is kept while it runs.
    pub keep: KeepPlan,
    /// Key of random choices.
    pub seed: u64,
    /// How progress is shown.
    pub progress: Progress,
}

/// Where validation rows come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ValidationPlan {
    /// A share of each class of the training rows.
    Fraction(f64),
    /// Files of their own.
    Files(Vec<String>),
    /// A column of the training files.
    SplitColumn,
    /// No validation.
    None,
}

/// Where class weights come from.
#[derive(Debug, Clone, PartialEq)]
pub enum WeightingPlan {
    /// A scheme that is settled.
    Scheme(Scheme),
    /// Effective number with beta chosen on the validation rows.
    ChooseBeta,
    /// Effective number with the beta of this weight ratio.
    Ratio(f64),
    /// A file of lines class,weight.
    File(String),
}

/// What is made of rows out of fold; one of the three at least.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationPlan {
    /// Map of the probabilities.
    pub method: Option<Method>,
    /// Metric of decision offsets.
    pub offsets: Option<OffsetMetric>,
    /// File of the out-of-fold probabilities.
    pub oof: Option<String>,
    /// Number of folds.
    pub folds: usize,
}

impl TrainPlan {
    /// Checks the flags of training.
    ///
    /// # Errors
    /// [`Error::NoEffect`] for a flag that cannot act, [`Error::BadValue`] and [`Error::BadBeta`] for values.
    pub fn new(mut args: TrainArgs) -> Result<Self> {
        let boost = boost_of(&mut args)?;
        let is_boosted = boost.is_some();
        let loss = loss_of(args.loss, args.gamma)?;
        let head = head_of(args.head.as_deref())?;
        if !head.head.is_fitted() {
            check_closed_form(&args, head.head)?;
        }
        let earlier = boost.as_ref().and_then(|boost| boost.earlier.as_deref());
        let weighting = match earlier {
            Some(earlier) => WeightingPlan::Scheme(earlier.scheme.clone()),
            None => weighting_of(&args, head.head)?,
        };
        if matches!(weighting, WeightingPlan::Scheme(Scheme::None)) {
            no_effect(args.max_weight.is_some(), "--max-weight", "--weighting none", "leave it out")?;
        }
        args.max_weight.map_or(Ok(()), |cap| check_cap(cap, Normalisation::Samples))?;
        let decay = decay_of(args.decay);
        let l2 = l2_of(&args)?;
        let validation = validation_of(&args)?;
        let optimizer = optimizer_of(&args, &validation)?;
        let choosing = (l2.is_none() && head.head.is_fitted())
            || head.is_open()
            || weighting == WeightingPlan::ChooseBeta;
        if validation == ValidationPlan::None {
            check_without_validation(&args, l2, &weighting, head)?;
        } else if !choosing {
            let with = "settings that are all given";
            no_effect(args.metric.is_some(), "--metric", with, "nothing is left to choose: leave it out")?;
        }
        if matches!(validation, ValidationPlan::Files(_)) {
            let help = "rows of --valid files are never fitted on: leave it out";
            no_effect(args.no_refit, "--no-refit", "--valid", help)?;
        }
        let metric = Metric::parse(args.metric.as_deref().unwrap_or("macro_recall"))?;
        let out = args.out.clone().unwrap_or_else(|| default_out(&args.train));
        refuse_overwriting(&out, args.train.iter().chain(&args.valid).chain(&args.test))?;
        let calibration = calibration_of(&args, &out)?;
        Ok(TrainPlan {
            out,
            read: ReadOptions {
                features: args.columns.features.clone(),
                id_col: args.columns.id_col.clone(),
                split_col: args.split_col.clone(),
                missing: if is_boosted { Missing::Keep } else { missing_of(args.missing) },
                categories: if is_boosted { Categories::Codes } else { Categories::OneHot },
                memory: memory_of(&args.memory)?,
                ..read_options(&args.file, &args.labels)?
            },
            scale: scale_of(args.scale),
            boost,
            max_weight: args.max_weight,
            vs_gamma: vs_gamma_of(args.vs_gamma)?,
            ldam: ldam_of(args.ldam, loss)?,
            resampling: args.resample.map(|how| match how {
                ResampleArg::Balanced => Resampling::Balanced,
                ResampleArg::Over => Resampling::Over,
                ResampleArg::Under => Resampling::Under,
            }),
            head,
            logit_adjust: finite("--logit-adjust", args.logit_adjust.unwrap_or(0.0))?,
            refit: !args.no_refit
                && matches!(validation, ValidationPlan::Fraction(_) | ValidationPlan::SplitColumn),
            keep: keep_of(&args)?,
            seed: args.seed,
            progress: progress_of(args.progress, args.run.quiet)?,
            calibration,
            train: args.train,
            valid_label_file: args.valid_label_file,
            test: args.test,
            test_label_file: args.test_label_file,
            validation,
            weighting,
            loss,
            l2,
            decay,
            optimizer,
            metric,
        })
    }
}

fn calibration_of(args: &TrainArgs, out: &str) -> Result<Option<CalibrationPlan>> {
    let method = match args.calibrate {
        CalibrateArg::None => None,
        CalibrateArg::Prior => Some(Method::Prior),
        CalibrateArg::Temperature => Some(Method::Temperature),
        CalibrateArg::Vector => Some(Method::Vector),
    };
    let offsets = args.offsets.map(|metric| match metric {
        OffsetsArg::MacroRecall => OffsetMetric::MacroRecall,
        OffsetsArg::MacroF1 => OffsetMetric::MacroF1,
    });
    if method.is_none() && offsets.is_none() && args.oof.is_none() {
        let help = "add --calibrate, --offsets or --oof, or leave it out";
        no_effect(args.folds.is_some(), "--folds", "--calibrate none", help)?;
        return Ok(None);
    }
    let folds = args.folds.unwrap_or(5);
    if !(2..=MOST_FOLDS).contains(&folds) {
        let why = format!("is not within 2 and {MOST_FOLDS}");
        return Err(out_of_range("--folds", folds, &why, "5 or 10 folds are usual"));
    }
    if let Some(path) = &args.oof {
        PredictionFormat::of_path(path).map_err(|error| {
            Error::bad_value("--oof", path, "names no format by its ending", error.help())
        })?;
        let inputs = args.train.iter().chain(&args.valid).chain(&args.test);
        if path == "-" || path == out {
            let why = if path == out { "is the model file, too" } else { "is no file" };
            return Err(Error::bad_value("--oof", path, why, "name a file such as oof.parquet"));
        }
        refuse_overwriting(path, inputs)?;
    }
    Ok(Some(CalibrationPlan { method, offsets, oof: args.oof.clone(), folds }))
}

/// A number that is one.
pub(super) fn finite(flag: &str, value: f64) -> Result<f64> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(out_of_range(flag, value, "is not a number", "give a finite number"))
    }
}

/// A number of things of which there is one at least.
pub(super) fn count(flag: &str, value: usize) -> Result<usize> {
    const MOST: usize = 1_000_000_000;
    match value {
        1..=MOST => Ok(value),
        _ => Err(out_of_range(flag, value, "is outside 1 to 1e9", "give a whole number from 1")),
    }
}

pub(super) fn out_of_range(flag: &str, value: impl ToString, why: &str, help: &str) -> Error {
    Error::bad_value(flag, value.to_string(), why, help)
}

/// The loss with its gamma.
pub(super) fn loss_of(loss: LossArg, gamma: Option<f64>) -> Result<Loss> {
    if let Some(gamma) = gamma
        && !(gamma.is_finite() && gamma >= 0.0)
    {
        return Err(out_of_range(
            "--gamma",
            gamma,
            "is negative or not a number",
            "gamma is 0 or more; the paper tries .5, 1 and 2",
        ));
    }
    let plain = |name: &str| {
        no_effect(
            gamma.is_some(),
            "--gamma",
            &format!("--loss {name}"),
            "add --loss focal, or leave --gamma out",
        )
    };
    Ok(match loss {
        LossArg::Softmax => {
            plain("softmax")?;
            Loss::Softmax
        }
        LossArg::Sigmoid => {
            plain("sigmoid")?;
            Loss::Sigmoid
        }
        LossArg::Focal => Loss::Focal { gamma: gamma.unwrap_or(1.0) },
        LossArg::SoftmaxFocal => Loss::SoftmaxFocal { gamma: gamma.unwrap_or(1.0) },
    })
}

pub(super) fn weighting_of(args: &TrainArgs, head: Head) -> Result<WeightingPlan> {
    if args.weighting.is_none() && args.weights.is_none() && args.beta.is_none() && args.ratio.is_none() {
        match head {
            // The first stage of decoupling is unweighted, and resampled rows are balanced already.
            Head::TauNorm | Head::Lws => return Ok(WeightingPlan::Scheme(Scheme::None)),
            Head::Linear if args.resample.is_some() => return Ok(WeightingPlan::Scheme(Scheme::None)),
            // Equal priors.
            Head::Ncm | Head::Lda => return Ok(WeightingPlan::Scheme(Scheme::Inverse)),
            Head::Linear => {}
        }
    }
    if let Some(path) = &args.weights {
        return Ok(WeightingPlan::File(path.clone()));
    }
    let scheme = args.weighting.unwrap_or(WeightingArg::Effective);
    let plain = |name: &str, scheme: Scheme| {
        let with = format!("--weighting {name}");
        let help = "leave --weighting out to weigh by the effective number";
        no_effect(args.beta.is_some(), "--beta", &with, help)?;
        no_effect(args.ratio.is_some(), "--ratio", &with, help)?;
        Ok(WeightingPlan::Scheme(scheme))
    };
    match scheme {
        WeightingArg::None => plain("none", Scheme::None),
        WeightingArg::Inverse => plain("inverse", Scheme::Inverse),
        WeightingArg::Sqrt => plain("sqrt", Scheme::Sqrt),
        WeightingArg::Effective => Ok(match (args.beta.as_deref(), args.ratio) {
            (None | Some("auto"), None) => WeightingPlan::ChooseBeta,
            (Some(beta), _) => WeightingPlan::Scheme(Scheme::Effective(Beta::parse(beta)?)),
            (None, Some(ratio)) => WeightingPlan::Ratio(ratio),
        }),
    }
}

fn decay_of(decay: DecayArg) -> Decay {
    match decay {
        DecayArg::Weights => Decay::Weights,
        DecayArg::Both => Decay::Both,
        DecayArg::Bias => Decay::Bias,
        DecayArg::None => Decay::None,
    }
}

/// A given l2; `None` for `auto`.
pub(super) fn l2_value(text: &str) -> Result<Option<f64>> {
    let help = "give a number such as 1e-3, or auto";
    match (text, text.parse::<f64>()) {
        ("auto", _) => Ok(None),
        (_, Ok(l2)) if l2.is_finite() && l2 >= 0.0 => Ok(Some(l2)),
        (_, Ok(_)) => Err(Error::bad_value("--l2", text, "is negative or not finite", help)),
        (_, Err(_)) => Err(Error::bad_value("--l2", text, "is not a number", help)),
    }
}

fn l2_of(args: &TrainArgs) -> Result<Option<f64>> {
    let given = args.l2.as_deref().map(l2_value).transpose()?.flatten();
    if args.decay == DecayArg::None {
        no_effect(args.l2.is_some(), "--l2", "--decay none", "leave one of them out")?;
        return Ok(Some(0.0));
    }
    Ok(given)
}

pub(super) fn validation_of(args: &TrainArgs) -> Result<ValidationPlan> {
    if args.split_col.is_some() {
        return Ok(ValidationPlan::SplitColumn);
    }
    if !args.valid.is_empty() {
        let help = "rows of validation files are never fitted: leave it out";
        no_effect(args.no_refit, "--no-refit", "--valid", help)?;
        return Ok(ValidationPlan::Files(args.valid.clone()));
    }
    let fraction = args.valid_fraction.unwrap_or(0.1);
    if !(0.0..1.0).contains(&fraction) {
        let help = "give a share from 0 (no validation) to below 1";
        return Err(out_of_range("--valid-fraction", fraction, "is outside [0, 1)", help));
    }
    Ok(if fraction == 0.0 { ValidationPlan::None } else { ValidationPlan::Fraction(fraction) })
}

fn check_without_validation(
    args: &TrainArgs,
    l2: Option<f64>,
    weighting: &WeightingPlan,
    head: HeadPlan,
) -> Result<()> {
    let with = "--valid-fraction 0";
    no_effect(args.metric.is_some(), "--metric", with, "nothing is chosen without validation: leave it out")?;
    no_effect(args.no_refit, "--no-refit", with, "all rows are fitted anyway: leave it out")?;
    no_effect(args.patience.is_some(), "--patience", with, "leave it out")?;
    let needs = |flag: &str, help: &str| {
        Err(Error::bad_value("--valid-fraction", "0", format!("leaves no rows to choose {flag} on"), help))
    };
    if l2.is_none() && head.head.is_fitted() {
        return needs("l2", "give --l2, or keep some rows for validation");
    }
    if let (true, Some(first)) = (head.is_open(), head.head.settings().last()) {
        let name = head.head.name();
        return needs("the head", &format!("give its setting, such as --head {name}:{first}"));
    }
    if *weighting == WeightingPlan::ChooseBeta {
        return needs(
            "beta",
            "give --beta, --ratio or another --weighting, or keep some rows for validation",
        );
    }
    Ok(())
}

/// What to do with missing values.
pub(super) fn missing_of(missing: MissingArg) -> Missing {
    match missing {
        MissingArg::Error => Missing::Error,
        MissingArg::Mean => Missing::Mean,
        MissingArg::Zero => Missing::Zero,
    }
}

/// The scaling asked for; `None` decides by the kind of the features.
pub(super) fn scale_of(scale: ScaleArg) -> Option<Scale> {
    match scale {
        ScaleArg::Auto => None,
        ScaleArg::None => Some(Scale::None),
        ScaleArg::L2 => Some(Scale::L2),
        ScaleArg::Standard => Some(Scale::Standard),
    }
}

/// Model file in the current folder, named after the first training path.
fn default_out(train: &[String]) -> String {
    let path = train.first().map_or("", String::as_str);
    let stem = std::path::Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
    let stem: String = stem.chars().filter(|c| !"*?[]".contains(*c)).collect();
    let stem = stem.trim_end_matches(['.', '_', '-']);
    if stem.is_empty() || path == "-" { "model.cbfit".into() } else { format!("{stem}.cbfit") }
}
