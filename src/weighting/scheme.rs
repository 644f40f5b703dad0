//! From class counts to raw class weights.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Beta;
use crate::labels::ClassCounts;
use crate::{Error, Result};

/// Rule that turns the count of a class into its weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Every class weighs 1.
    None,
    /// `1 / n_c`.
    Inverse,
    /// `1 / sqrt(n_c)`.
    Sqrt,
    /// `1 / E_n`, the inverse of the effective number of samples (Cui et al. 2019).
    Effective(Beta),
    /// Weights of the user, one a class in code order.
    Custom(Vec<f64>),
}

impl Scheme {
    /// [`Scheme::Effective`] of a beta given as a number.
    ///
    /// # Errors
    /// [`Error::BadBeta`] outside `[0, 1)`.
    pub fn effective(beta: f64) -> Result<Self> {
        // By its shortest text: .9999 is meant to be one less 1e-4 exactly.
        Beta::parse(&beta.to_string()).map(Scheme::Effective)
    }

    /// [`Scheme::Effective`] of the beta whose largest weight on `counts` is `ratio` times its smallest.
    ///
    /// # Errors
    /// Those of [`Beta::for_ratio`].
    pub fn with_ratio(ratio: f64, counts: &ClassCounts) -> Result<Self> {
        let (least, most) = counts.extremes().unwrap_or((0.0, 0.0));
        Beta::for_ratio(ratio, most, least).map(Scheme::Effective)
    }

    /// Beta of effective numbers.
    pub fn beta(&self) -> Option<Beta> {
        if let Scheme::Effective(beta) = self { Some(*beta) } else { None }
    }

    /// `none`, `inverse`, `sqrt`, `effective` or `custom`.
    pub fn name(&self) -> &'static str {
        match self {
            Scheme::None => "none",
            Scheme::Inverse => "inverse",
            Scheme::Sqrt => "sqrt",
            Scheme::Effective(_) => "effective",
            Scheme::Custom(_) => "custom",
        }
    }

    /// Raw weight of each class from the (weighted) counts, before any normalisation; 0 for a class without rows.
    /// [`Error::BadCounts`] where no class has rows or a count is not finite, [`Error::BadWeight`] where custom
    /// weights are not one positive finite number for every class with rows.
    pub fn class_weights(&self, counts: &ClassCounts) -> Result<Vec<f64>> {
        check_counts(counts)?;
        let weight = |class: usize, n: f64| match self {
            Scheme::None => 1.0,
            Scheme::Inverse => 1.0 / n,
            Scheme::Sqrt => 1.0 / n.sqrt(),
            Scheme::Effective(beta) => 1.0 / beta.effective_number(n),
            Scheme::Custom(given) => given[class],
        };
        if let Scheme::Custom(given) = self
            && given.len() != counts.classes()
        {
            return Err(bad_weight(format!("{} weights for {} classes", given.len(), counts.classes())));
        }
        let alpha: Vec<f64> = counts
            .weighted
            .iter()
            .enumerate()
            .map(|(class, &n)| if n > 0.0 { weight(class, n) } else { 0.0 })
            .collect();
        let unusable = |(class, &a): (usize, &f64)| {
            let has_rows = counts.weighted[class] > 0.0;
            (has_rows && !(a > 0.0 && a.is_finite())).then_some((class, a))
        };
        let mut bad = alpha.iter().enumerate().filter_map(unusable);
        match bad.next() {
            None => Ok(alpha),
            Some((class, a)) => {
                let others = bad.count();
                Err(bad_weight(format!(
                    "class {class} (by code) weighs {a}, {others} other classes weigh no positive number either"
                )))
            }
        }
    }
}

fn bad_weight(detail: String) -> Error {
    Error::BadWeight { place: "class weights".into(), detail }
}

fn check_counts(counts: &ClassCounts) -> Result<()> {
    let bad = |detail| Err(Error::BadCounts { place: "class counts".into(), detail });
    if let Some(class) = counts.weighted.iter().position(|n| !n.is_finite() || *n < 0.0) {
        return bad(format!("class {class} (by code) counts {}", counts.weighted[class]));
    }
    if counts.weighted.iter().all(|&n| n == 0.0) {
        return bad("no class has rows".into());
    }
    Ok(())
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scheme::Effective(beta) => write!(f, "effective {beta}"),
            other => f.write_str(other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: &[u64]) -> ClassCounts {
        ClassCounts::from_rows(rows.to_vec())
    }

    #[test]
    fn raw_weights_follow_their_formulas_and_skip_empty_classes() {
        let counts = counts(&[4, 0, 16]);
        let weights = |scheme: Scheme| scheme.class_weights(&counts).unwrap();
        let effective = |beta| Scheme::Effective(Beta::parse(beta).unwrap());
        assert_eq!(weights(Scheme::None), [1.0, 0.0, 1.0]);
        assert_eq!(weights(Scheme::Inverse), [0.25, 0.0, 0.0625]);
        assert_eq!(weights(Scheme::Sqrt), [0.5, 0.0, 0.25]);
        assert_eq!(weights(effective("0")), weights(Scheme::None));
        let effective = weights(effective("0.5"));
        assert!((effective[0] - 1.0 / 1.875).abs() < 1e-15, "{effective:?}");
        let custom = Scheme::Custom(vec![2.0, f64::NAN, 3.0]).class_weights(&counts).unwrap();
        assert_eq!(custom, [2.0, 0.0, 3.0]);
    }

    #[test]
    fn custom_weights_must_be_positive_and_complete() {
        for given in
            [vec![1.0], vec![1.0, -1.0], vec![1.0, f64::NAN], vec![0.0, 1.0], vec![1.0, f64::INFINITY]]
        {
            let error = Scheme::Custom(given).class_weights(&counts(&[1, 2])).unwrap_err();
            assert_eq!(error.code(), "E0316");
        }
    }

    #[test]
    fn counts_without_rows_are_refused() {
        assert_eq!(Scheme::None.class_weights(&counts(&[0, 0])).unwrap_err().code(), "E0317");
        let broken = ClassCounts { rows: vec![1], weighted: vec![f64::NAN] };
        assert_eq!(Scheme::Inverse.class_weights(&broken).unwrap_err().code(), "E0317");
    }

    #[test]
    fn a_beta_is_shown_with_its_scheme() {
        assert_eq!(Scheme::Sqrt.to_string(), "sqrt");
        assert_eq!(Scheme::Effective(Beta::parse("1-1e-9").unwrap()).to_string(), "effective 1-1e-9");
    }

    #[test]
    fn schemes_of_numbers_are_those_of_their_text() {
        let betas = [0.9999, 0.0, 0.5].map(|beta| Scheme::effective(beta).unwrap().beta().unwrap());
        assert_eq!(betas, ["0.9999", "0", "0.5"].map(|text| Beta::parse(text).unwrap()));
        assert_eq!(Scheme::effective(1.0).unwrap_err().code(), "E0207");
        assert_eq!((Scheme::Inverse.beta(), Scheme::Custom(vec![]).name()), (None, "custom"));
        let weights = Scheme::with_ratio(3.0, &counts(&[900, 0, 30])).unwrap();
        let weights = weights.class_weights(&counts(&[900, 0, 30])).unwrap();
        assert!((weights[2] / weights[0] - 3.0).abs() < 1e-9, "{weights:?}");
    }
}
