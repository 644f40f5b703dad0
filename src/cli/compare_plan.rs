//! From the raw flags of `compare` to what it does.

use super::args::{CompareArgs, LossArg};
use super::plan::{finite, l2_value, loss_of, missing_of, scale_of};
use super::shared::{no_effect, read_options, refuse_overwriting};
use super::talk::{Progress, progress_of};
use crate::data::options::ReadOptions;
use crate::data::scale::Scale;
use crate::experiment::treatment::{Treatment, standard_treatments};
use crate::labels::ClassCounts;
use crate::loss::Loss;
use crate::metrics::Metric;
use crate::weighting::normalise::check_cap;
use crate::weighting::{Beta, Normalisation, Scheme};
use crate::{Error, Result};

/// A comparison, checked.
#[derive(Debug)]
pub struct ComparePlan {
    /// Files to compare on.
    pub data: Vec<String>,
    /// Test files; empty for none.
    pub test: Vec<String>,
    /// How files are read.
    pub read: ReadOptions,
    /// File of the labels of the test files.
    pub test_label_file: Option<String>,
    /// Scaling of the features; `None` decides by their kind.
    pub scale: Option<Scale>,
    /// Treatments named; empty for the standard ones.
    pub schemes: Vec<SchemePlan>,
    /// Cap of the class weights.
    pub max_weight: Option<f64>,
    /// Losses, each with every treatment.
    pub losses: Vec<Loss>,
    /// A given l2, or `None` to choose it.
    pub l2: Option<f64>,
    /// The metric that decides.
    pub metric: Metric,
    /// Folds of a repeat.
    pub folds: usize,
    /// Repeats.
    pub repeats: usize,
    /// JSON file to write.
    pub out: Option<String>,
    /// Key of random choices.
    pub seed: u64,
    /// How progress is shown.
    pub progress: Progress,
}

/// A treatment as it was named, before the counts are known.
#[derive(Debug, Clone, PartialEq)]
pub enum SchemePlan {
    /// Class weights.
    Scheme(Scheme),
    /// Effective number with the beta of this weight ratio.
    Ratio(f64),
    /// tau of the logit-adjusted loss.
    LogitAdjust(f64),
}

const MOST_REPEATS: usize = 1000;

impl ComparePlan {
    /// Checks the flags.
    ///
    /// # Errors
    /// [`Error::NoEffect`] for a flag that cannot act, [`Error::BadValue`] and [`Error::BadBeta`] for values.
    pub fn new(args: CompareArgs) -> Result<Self> {
        let is_focal = |loss: &LossArg| matches!(loss, LossArg::Focal | LossArg::SoftmaxFocal);
        if !args.losses.iter().any(is_focal) {
            let help = "add --losses focal, or leave --gamma out";
            no_effect(args.gamma.is_some(), "--gamma", "losses without focusing", help)?;
        }
        let losses = args
            .losses
            .iter()
            .map(|loss| loss_of(*loss, args.gamma.filter(|_| is_focal(loss))))
            .collect::<Result<Vec<Loss>>>()?;
        args.max_weight.map_or(Ok(()), |cap| check_cap(cap, Normalisation::Samples))?;
        if !(1..=MOST_REPEATS).contains(&args.repeats) {
            let why = format!("is not within 1 and {MOST_REPEATS}");
            return Err(Error::bad_value("--repeats", args.repeats.to_string(), why, "leave it out for one"));
        }
        if let Some(out) = &args.out {
            refuse_overwriting(out, args.data.iter().chain(&args.test))?;
        }
        Ok(ComparePlan {
            schemes: args.schemes.iter().map(|text| SchemePlan::parse(text)).collect::<Result<Vec<_>>>()?,
            max_weight: args.max_weight,
            losses,
            l2: args.l2.as_deref().map(l2_value).transpose()?.flatten(),
            metric: Metric::parse(&args.metric)?,
            folds: args.folds,
            repeats: args.repeats,
            read: ReadOptions {
                features: args.columns.features.clone(),
                id_col: args.columns.id_col.clone(),
                missing: missing_of(args.missing),
                ..read_options(&args.file, &args.labels)?
            },
            test_label_file: args.test_label_file,
            scale: scale_of(args.scale),
            progress: progress_of(args.progress, args.run.quiet)?,
            out: args.out,
            seed: args.seed,
            data: args.data,
            test: args.test,
        })
    }

    /// The treatments on rows of these `counts`, each loss with all of them; the unweighted fit comes first.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a ratio that these counts do not have.
    pub fn treatments(&self, counts: &ClassCounts) -> Result<Vec<Treatment>> {
        let mut treatments = Vec::new();
        for &loss in &self.losses {
            if self.schemes.is_empty() {
                treatments.extend(standard_treatments(loss, counts)?);
                continue;
            }
            let plain = Treatment { loss, scheme: Scheme::None, logit_adjust: 0.0 };
            let start = treatments.len();
            treatments.push(plain);
            for scheme in &self.schemes {
                let treatment = scheme.treatment(loss, counts)?;
                if !treatments[start..].contains(&treatment) {
                    treatments.push(treatment);
                }
            }
        }
        Ok(treatments)
    }
}

impl SchemePlan {
    fn parse(text: &str) -> Result<Self> {
        let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value)));
        let number = |value: &str| {
            let help = "write it as ratio:50 or logit-adjust:1";
            value.trim().parse().map_err(|_| Error::bad_value("--schemes", text, "has no number", help))
        };
        Ok(match (name.trim(), value) {
            ("none", None) => SchemePlan::Scheme(Scheme::None),
            ("sqrt", None) => SchemePlan::Scheme(Scheme::Sqrt),
            ("inverse", None) => SchemePlan::Scheme(Scheme::Inverse),
            ("effective", Some(beta)) => SchemePlan::Scheme(Scheme::Effective(Beta::parse(beta)?)),
            ("ratio", Some(value)) => SchemePlan::Ratio(number(value)?),
            ("logit-adjust", None) => SchemePlan::LogitAdjust(1.0),
            ("logit-adjust", Some(value)) => {
                SchemePlan::LogitAdjust(finite("--schemes logit-adjust", number(value)?)?)
            }
            _ => {
                let help = "treatments are none, sqrt, inverse, effective:BETA, ratio:R and logit-adjust:TAU";
                return Err(Error::bad_value("--schemes", text, "is no treatment", help));
            }
        })
    }

    fn treatment(&self, loss: Loss, counts: &ClassCounts) -> Result<Treatment> {
        let weighted = |scheme| Treatment { loss, scheme, logit_adjust: 0.0 };
        Ok(match self {
            SchemePlan::Scheme(scheme) => weighted(scheme.clone()),
            SchemePlan::Ratio(ratio) => {
                let (n_min, n_max) = counts.extremes().unwrap_or((0.0, 0.0));
                weighted(Scheme::Effective(Beta::for_ratio(*ratio, n_max, n_min)?))
            }
            SchemePlan::LogitAdjust(tau) => Treatment { loss, scheme: Scheme::None, logit_adjust: *tau },
        })
    }
}
