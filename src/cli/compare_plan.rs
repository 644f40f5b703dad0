//! The treatments that `compare` is told to set side by side.

use super::plan::finite;
use crate::experiment::treatment::{Treatment, standard_treatments};
use crate::labels::ClassCounts;
use crate::linear::heads::Head;
use crate::loss::Loss;
use crate::model::Learner;
use crate::weighting::{Beta, Resampling, Scheme};
use crate::{Error, Result};

/// A treatment as it was named, before the counts are known.
#[derive(Debug, Clone, PartialEq)]
pub enum SchemePlan {
    /// Class weights.
    Scheme(Scheme),
    /// Effective number with the beta of this weight ratio.
    Ratio(f64),
    /// tau of the logit-adjusted loss.
    LogitAdjust(f64),
    /// gamma of vector scaling.
    VectorScaling(f64),
    /// Largest margin of LDAM.
    Ldam(f64),
    /// Resampled rows.
    Resampled(Resampling),
    /// A head.
    Head(Head),
}

impl SchemePlan {
    /// Reads `inverse`, `effective:0.999`, `ratio:50`, `vs:0.2`, `over-sampling`, `lda`, ...
    ///
    /// # Errors
    /// [`Error::BadValue`] and [`Error::BadBeta`].
    pub fn parse(text: &str) -> Result<Self> {
        let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value)));
        let number = |value: &str| {
            let help = "write it as ratio:50 or logit-adjust:1";
            let parsed: f64 = value
                .trim()
                .parse()
                .map_err(|_| Error::bad_value("--schemes", text, "has no number", help))?;
            finite("--schemes", parsed)
        };
        let resampled = |name: &str| {
            let kinds = [Resampling::Balanced, Resampling::Over, Resampling::Under];
            kinds.into_iter().find(|kind| name.strip_suffix("-sampling") == Some(kind.name()))
        };
        let head =
            |name: &str| Head::ALL.into_iter().find(|head| *head != Head::Linear && head.name() == name);
        Ok(match (name.trim(), value) {
            ("none", None) => SchemePlan::Scheme(Scheme::None),
            ("sqrt", None) => SchemePlan::Scheme(Scheme::Sqrt),
            ("inverse", None) => SchemePlan::Scheme(Scheme::Inverse),
            ("effective", Some(beta)) => SchemePlan::Scheme(Scheme::Effective(Beta::parse(beta)?)),
            ("ratio", Some(value)) => SchemePlan::Ratio(number(value)?),
            ("logit-adjust", None) => SchemePlan::LogitAdjust(1.0),
            ("logit-adjust", Some(value)) => SchemePlan::LogitAdjust(number(value)?),
            ("vs", Some(value)) => SchemePlan::VectorScaling(number(value)?),
            ("ldam", Some(value)) => SchemePlan::Ldam(number(value)?),
            (name, None) if resampled(name).is_some() => {
                SchemePlan::Resampled(resampled(name).unwrap_or(Resampling::Balanced))
            }
            (name, None) if head(name).is_some() => SchemePlan::Head(head(name).unwrap_or(Head::Lda)),
            _ => {
                let help = "treatments are none, sqrt, inverse, effective:BETA, ratio:R, logit-adjust:TAU, vs:GAMMA, \
                            ldam:MARGIN, balanced-sampling, over-sampling, under-sampling, tau-norm, lws, ncm and lda";
                return Err(Error::bad_value("--schemes", text, "is no treatment", help));
            }
        })
    }

    fn treatment(&self, loss: Loss, counts: &ClassCounts) -> Result<Treatment> {
        let plain = Treatment::plain(loss);
        Ok(match self {
            SchemePlan::Scheme(scheme) => Treatment::weighted(loss, scheme.clone()),
            SchemePlan::Ratio(ratio) => Treatment::weighted(loss, Scheme::with_ratio(*ratio, counts)?),
            SchemePlan::LogitAdjust(tau) => Treatment { logit_adjust: *tau, ..plain },
            SchemePlan::VectorScaling(gamma) => Treatment { vs_gamma: *gamma, ..plain },
            SchemePlan::Ldam(margin) => Treatment { ldam: *margin, ..plain },
            SchemePlan::Resampled(resampling) => Treatment { resampling: Some(*resampling), ..plain },
            // Discriminant analysis decides by equal priors.
            SchemePlan::Head(Head::Lda) => Treatment { head: Head::Lda, scheme: Scheme::Inverse, ..plain },
            SchemePlan::Head(head) => Treatment { head: *head, ..plain },
        })
    }
}

/// The treatments of rows with these `counts`, each learner and loss with all that it can be given: the unweighted fit,
/// then those named, or the standard ones where none is.
///
/// # Errors
/// [`Error::BadValue`] for a ratio that these counts do not have, and for a treatment that no learner can be given.
pub fn treatments(
    schemes: &[SchemePlan],
    learners: &[Learner],
    losses: &[Loss],
    counts: &ClassCounts,
) -> Result<Vec<Treatment>> {
    let mut treatments = Vec::new();
    for (&learner, &loss) in learners.iter().flat_map(|l| losses.iter().map(move |loss| (l, loss))) {
        if schemes.is_empty() {
            treatments.extend(standard_treatments(loss, counts)?.into_iter().map(|t| t.by(learner)));
            continue;
        }
        let start = treatments.len();
        treatments.extend([Treatment::plain(loss), Treatment::adjusted(loss)].map(|t| t.by(learner)));
        for scheme in schemes {
            let treatment = scheme.treatment(loss, counts)?.by(learner);
            let fits = learner == Learner::Linear || treatment.suits_trees();
            if !fits && !learners.contains(&Learner::Linear) {
                let help = "leave it out, or add --learners linear";
                let why = "is for linear functions, not for trees";
                return Err(Error::bad_value("--schemes", treatment.to_string(), why, help));
            }
            if fits && !treatments[start..].contains(&treatment) {
                treatments.push(treatment);
            }
        }
    }
    Ok(treatments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn treatments_are_read_and_none_comes_first_once() {
        let plans: Vec<SchemePlan> = ["inverse", "none", "effective:0.99", "ratio:2", "logit-adjust:0.5"]
            .map(|text| SchemePlan::parse(text).unwrap())
            .to_vec();
        let counts = ClassCounts::from_rows(vec![100, 10]);
        let names: Vec<String> =
            treatments(&plans, &[Learner::Linear], &[Loss::Softmax, Loss::Sigmoid], &counts)
                .unwrap()
                .iter()
                .map(|t| format!("{} {t}", t.loss.name()))
                .collect();
        assert_eq!(names.len(), 12);
        assert_eq!(names[..3], ["softmax none", "softmax none + adjust", "softmax inverse"]);
        assert_eq!((names[5].as_str(), names[6].as_str()), ("softmax adjusted loss 0.5", "sigmoid none"));
    }

    #[test]
    fn other_names_are_refused() {
        for text in ["invers", "effective", "effective:1", "ratio:x", "none:1", "logit-adjust:inf"] {
            assert!(SchemePlan::parse(text).is_err(), "{text}");
        }
        let too_much = SchemePlan::parse("ratio:50").unwrap();
        let counts = ClassCounts::from_rows(vec![100, 10]);
        let refused = |plan: &SchemePlan, learner| {
            treatments(std::slice::from_ref(plan), learner, &[Loss::Softmax], &counts).unwrap_err().code()
        };
        assert_eq!(refused(&too_much, &[Learner::Linear]), "E0208");
        assert_eq!(refused(&SchemePlan::Head(Head::Lda), &[Learner::Boost]), "E0208");
    }

    #[test]
    fn each_learner_gets_what_it_can_be_given() {
        let plans = ["inverse", "lda"].map(|text| SchemePlan::parse(text).unwrap());
        let counts = ClassCounts::from_rows(vec![100, 10]);
        let all = treatments(&plans, &[Learner::Linear, Learner::Boost], &[Loss::Softmax], &counts).unwrap();
        let names: Vec<String> = all.iter().map(|t| format!("{} {t}", t.learner)).collect();
        let wanted = [
            "linear none",
            "linear none + adjust",
            "linear inverse",
            "linear lda, inverse",
            "boost none",
            "boost none + adjust",
            "boost inverse",
        ];
        assert_eq!(names, wanted);
    }
}
