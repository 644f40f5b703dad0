//! beta of the effective number of samples (Cui et al. 2019), kept as `eps = 1 - beta`.
//!
//! A beta near 1 has no digits left once it is rounded to a float, so the decimal text is complemented before it is
//! rounded: `0.9999999` becomes the float nearest to 1e-7, not `1.0 - 0.9999999` with its error of 1e-9 relative.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// beta in `[0, 1)`. Written and read back as the text of [`Display`](fmt::Display), without loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Beta {
    /// `1 - beta`, in `(0, 1]`.
    eps: f64,
}

impl Beta {
    /// Reads `0.9999`, `.99`, `9.99e-1`, `1-1e-7` (that is `eps` after the minus) or `N=10000` (`beta = (N-1)/N`).
    /// [`Error::BadBeta`] for anything outside `[0, 1)`.
    pub fn parse(text: &str) -> Result<Beta> {
        let trimmed = text.trim();
        let eps = match trimmed.strip_prefix("N=").or_else(|| trimmed.strip_prefix("n=")) {
            Some(prototypes) => eps_of_prototypes(prototypes.trim()),
            None => match trimmed.strip_prefix("1-").or_else(|| trimmed.strip_prefix("1 -")) {
                Some(eps) => eps_of_complement(eps.trim()),
                None => eps_of_decimal(trimmed),
            },
        };
        eps.and_then(usable_eps)
            .map(|eps| Beta { eps })
            .map_err(|why| Error::BadBeta { text: text.into(), why: why.into() })
    }

    /// beta = `1 - eps`, `eps` in `(0, 1]`; [`Error::BadBeta`] outside.
    pub fn from_eps(eps: f64) -> Result<Beta> {
        usable_eps(eps)
            .map(|eps| Beta { eps })
            .map_err(|why| Error::BadBeta { text: format!("1-{eps:e}"), why: why.into() })
    }

    /// The beta whose weights of the rarest and the commonest class stand in `ratio`, for counts (sums of row
    /// weights) `n_max >= n_min > 0`. The ratio runs monotonically from 1 at beta = 0 to `n_max / n_min` as beta
    /// approaches 1, hence the bisection. [`Error::BadValue`] for a ratio outside `[1, n_max / n_min]`.
    pub fn for_ratio(ratio: f64, n_max: f64, n_min: f64) -> Result<Beta> {
        let bad = |why: String| {
            let help = "give a ratio between 1 (no weighting) and the imbalance factor (--weighting inverse)";
            Err(Error::bad_value("--ratio", ratio.to_string(), why, help))
        };
        if !(n_min > 0.0 && n_max >= n_min && n_max.is_finite()) {
            return bad(format!("counts {n_max} and {n_min} are not two positive class counts"));
        }
        let imbalance = n_max / n_min;
        if !(1.0..=imbalance).contains(&ratio) {
            return bad(format!("the ratio of two weights lies between 1 and {imbalance} on these counts"));
        }
        let reached = |eps: f64| Beta { eps }.weight_ratio(n_max, n_min);
        // Below this the ratio equals the imbalance factor to the last bit.
        let (mut low, mut high) = (f64::EPSILON / 16.0 / n_max.max(1.0), 1.0_f64);
        if ratio <= 1.0 {
            return Ok(Beta { eps: high });
        }
        loop {
            let middle = (low.ln() * 0.5 + high.ln() * 0.5).exp();
            if middle <= low || middle >= high {
                return Ok(Beta { eps: low });
            }
            if reached(middle) >= ratio { low = middle } else { high = middle }
        }
    }

    /// How many times the rarest class weighs what the commonest does.
    pub fn weight_ratio(self, n_max: f64, n_min: f64) -> f64 {
        self.effective_number(n_max) / self.effective_number(n_min)
    }

    /// `1 - beta`, the number all formulas start from.
    pub fn eps(self) -> f64 {
        self.eps
    }

    /// beta rounded to a float; for display and comparison only.
    pub fn value(self) -> f64 {
        1.0 - self.eps
    }

    /// `E_n = (1 - beta^n) / (1 - beta)` for `n` rows, or `n` as a sum of row weights; 0 for `n <= 0`.
    /// Relative error below 1e-15 for every `eps` down to 2^-53 and `n` up to 1e12.
    pub fn effective_number(self, n: f64) -> f64 {
        if n <= 0.0 {
            return 0.0;
        }
        -(n * (-self.eps).ln_1p()).exp_m1() / self.eps
    }
}

impl fmt::Display for Beta {
    /// The shortest of `0.9999`, `1-1e-9` and `N=30000` that reads back as the same beta; plain decimals up to eight
    /// characters win, being what people know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scientific = format!("{:e}", self.eps);
        let mut forms = Vec::with_capacity(3);
        if let Ok(eps) = Decimal::parse(&scientific)
            && let Some(decimal) = eps.one_minus()
        {
            if decimal.len() <= 8 {
                return f.write_str(&decimal);
            }
            forms.push(decimal);
        }
        forms.push(format!("1-{scientific}"));
        let prototypes = (1.0 / self.eps).round();
        if prototypes < 1e15 && 1.0 / prototypes == self.eps {
            forms.push(format!("N={prototypes}"));
        }
        let shortest = forms.iter().min_by_key(|form| form.len()).map_or("", String::as_str);
        f.write_str(shortest)
    }
}

impl TryFrom<String> for Beta {
    type Error = Error;

    fn try_from(text: String) -> Result<Beta> {
        Beta::parse(&text)
    }
}

impl From<Beta> for String {
    fn from(beta: Beta) -> String {
        beta.to_string()
    }
}

type Why = &'static str;
const NOT_A_NUMBER: Why = "is not a number";
const OUTSIDE: Why = "is outside [0, 1)";
const IS_ONE: Why = "is 1, where the effective number is the count itself";
const TOO_CLOSE: Why = "is closer to 1 than 1e-307";

/// Subnormal `eps` has too few digits to divide by.
fn usable_eps(eps: f64) -> Result<f64, Why> {
    match eps {
        eps if eps.is_nan() => Err(NOT_A_NUMBER),
        0.0 => Err(IS_ONE),
        eps if !(0.0..=1.0).contains(&eps) => Err(OUTSIDE),
        eps if eps < f64::MIN_POSITIVE => Err(TOO_CLOSE),
        eps => Ok(eps),
    }
}

fn eps_of_prototypes(text: &str) -> Result<f64, Why> {
    let n = Decimal::parse(text)?.to_f64();
    if n.is_finite() && n >= 1.0 { Ok(1.0 / n) } else { Err("needs a finite N of at least 1") }
}

fn eps_of_complement(text: &str) -> Result<f64, Why> {
    let eps = Decimal::parse(text)?;
    match eps.to_f64() {
        0.0 if !eps.is_zero() => Err(TOO_CLOSE),
        value => Ok(value),
    }
}

fn eps_of_decimal(text: &str) -> Result<f64, Why> {
    let beta = Decimal::parse(text)?;
    if beta.is_zero() {
        return Ok(1.0);
    }
    if beta.negative || beta.point > 0 {
        return Err(if beta.to_f64() == 1.0 { IS_ONE } else { OUTSIDE });
    }
    match beta.one_minus() {
        Some(eps) => match eps.parse() {
            Ok(0.0) => Err(TOO_CLOSE),
            Ok(eps) => Ok(eps),
            Err(_) => Err(NOT_A_NUMBER),
        },
        // One minus less than 1e-40 rounds to 1.
        None => Ok(1.0),
    }
}

/// Decimal text taken apart: value = `0.digits * 10^point`, no leading or trailing zero among the digits.
struct Decimal<'a> {
    text: &'a str,
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Result<Self, Why> {
        if text.contains(',') {
            return Err("has a comma; the decimal sign is a point");
        }
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let negative = mantissa.starts_with('-');
        let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all = whole.bytes().chain(fraction.bytes());
        if all.clone().any(|b| !b.is_ascii_digit()) || all.clone().next().is_none() {
            return Err(NOT_A_NUMBER);
        }
        let mut digits: Vec<u8> = all.map(|b| b - b'0').collect();
        let leading = digits.iter().take_while(|&&d| d == 0).count();
        digits.drain(..leading);
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Ok(Decimal { text, negative, digits, point: exponent + whole.len() as i64 - leading as i64 })
    }

    fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    fn to_f64(&self) -> f64 {
        self.text.parse().unwrap_or(f64::NAN)
    }

    /// The text of `1 - value`, exactly, for a value in `[1e-40, 1]`; `None` for smaller ones, whose text is long.
    fn one_minus(&self) -> Option<String> {
        if self.point > 0 {
            return Some("0".into());
        }
        let zeros = usize::try_from(-self.point).ok().filter(|&zeros| zeros < 40)?;
        let mut text = "0.".to_string();
        text.extend(std::iter::repeat_n('9', zeros));
        let last = self.digits.len().saturating_sub(1);
        for (place, digit) in self.digits.iter().enumerate() {
            let complement = if place == last { 10 - digit } else { 9 - digit };
            text.push(char::from(b'0' + complement));
        }
        Some(text)
    }
}

fn parse_exponent(text: &str) -> Result<i64, Why> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || digits.bytes().any(|b| !b.is_ascii_digit()) {
        return Err(NOT_A_NUMBER);
    }
    if digits.len() > 9 {
        return Err("has an exponent of more than 9 digits");
    }
    text.parse().map_err(|_| NOT_A_NUMBER)
}

/// .9, .99, ... as far as their weights differ by 5 % on counts between `n_min` and `n_max`.
///
/// # Errors
/// [`Error::BadBeta`] never in practice: the values are constants.
pub fn distinct_betas(n_max: f64, n_min: f64) -> Result<Vec<Beta>> {
    let ratio = |beta: &Beta| beta.weight_ratio(n_max, n_min);
    let mut betas: Vec<Beta> = Vec::new();
    for digits in 1..=6 {
        let beta = Beta::from_eps(10f64.powi(-digits))?;
        if betas.last().is_none_or(|last| ratio(&beta) > 1.05 * ratio(last)) {
            betas.push(beta);
        }
    }
    // Where the first weighs all classes alike, it only stands for no weighting.
    if betas.len() > 1 && ratio(&betas[0]) < 1.01 {
        betas.remove(0);
    }
    Ok(betas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn eps(text: &str) -> f64 {
        Beta::parse(text).unwrap().eps()
    }

    #[test]
    fn every_notation_gives_the_float_nearest_to_the_decimal_eps() {
        assert_eq!(eps("0.9999"), 1e-4);
        assert_eq!(eps(".99"), 0.01);
        assert_eq!(eps(" 9.99e-1 "), 1e-3);
        assert_eq!(eps("999E-3"), 1e-3);
        assert_eq!(eps("0.9999999"), 1e-7);
        assert_eq!(eps("0.99999999999999999999"), 1e-20);
        assert_eq!(eps("1-1e-7"), 1e-7);
        assert_eq!(eps("1 - 0.25"), 0.25);
        assert_eq!(eps("N=10000"), 1e-4);
        assert_eq!(eps("N=1"), 1.0);
        assert_eq!(eps("0"), 1.0);
        assert_eq!(eps("-0.0"), 1.0);
        assert_eq!(eps("1e-50"), 1.0);
        assert_eq!(eps("1e-9"), 1.0 - 1e-9);
        assert_eq!(eps("0.125"), 0.875);
    }

    #[test]
    fn what_is_no_beta_is_refused_with_its_reason() {
        for (text, reason) in [
            ("1", "is 1"),
            ("1.000", "is 1"),
            ("10e-1", "is 1"),
            ("1-0", "is 1"),
            ("1.2", "outside"),
            ("-0.1", "outside"),
            ("1-1.5", "outside"),
            ("1--1e-3", "outside"),
            ("0,9999", "comma"),
            ("nan", "not a number"),
            ("inf", "not a number"),
            ("", "not a number"),
            (".", "not a number"),
            ("0.9.9", "not a number"),
            ("0.9e", "not a number"),
            ("0.9e99999999999", "exponent"),
            ("0.9e9999999999x", "not a number"),
            ("N=0.5", "at least 1"),
            ("N=-3", "at least 1"),
            ("N=1e999", "at least 1"),
            ("1-1e-400", "closer"),
            ("1-1e-310", "closer"),
        ] {
            let error = Beta::parse(text).unwrap_err();
            assert_eq!(error.code(), "E0207", "{text}");
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
        let nines = format!("0.{}", "9".repeat(400));
        assert!(Beta::parse(&nines).unwrap_err().to_string().contains("closer"));
    }

    #[test]
    fn display_is_short() {
        for (text, shown) in [
            ("0.9999", "0.9999"),
            ("N=10000", "0.9999"),
            ("1-1e-7", "1-1e-7"),
            ("0.9999999", "1-1e-7"),
            ("N=30000", "N=30000"),
            (".5", "0.5"),
            ("0", "0"),
        ] {
            assert_eq!(Beta::parse(text).unwrap().to_string(), shown);
        }
        assert_eq!(serde_json::to_string(&Beta::parse("0.99").unwrap()).unwrap(), "\"0.99\"");
        assert!(serde_json::from_str::<Beta>("\"1\"").is_err());
    }

    #[test]
    fn effective_numbers_agree_with_sixty_digit_arithmetic() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/weighting.json")).unwrap();
        let cases = golden["effective_number"].as_array().unwrap();
        assert!(cases.len() > 100);
        for case in cases {
            let beta = Beta::parse(case["beta"].as_str().unwrap()).unwrap();
            let n: f64 = case["n"].as_str().unwrap().parse().unwrap();
            let expected: f64 = case["effective_number"].as_str().unwrap().parse().unwrap();
            let error = (beta.effective_number(n) / expected - 1.0).abs();
            assert!(error <= 1e-15, "{case}: relative error {error:e}");
        }
    }

    #[test]
    fn limits_of_the_effective_number() {
        let zero = Beta::parse("0").unwrap();
        assert_eq!([1.0, 5.0, 1e12].map(|n| zero.effective_number(n)), [1.0; 3]);
        let nearly_one = Beta::parse("1-1e-300").unwrap();
        assert!((nearly_one.effective_number(12_345.0) / 12_345.0 - 1.0).abs() < 1e-15);
        assert_eq!(nearly_one.effective_number(0.0), 0.0);
    }

    #[test]
    fn a_ratio_outside_the_possible_is_refused() {
        for ratio in [0.5, 101.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Beta::for_ratio(ratio, 5000.0, 50.0).unwrap_err().code(), "E0208");
        }
        assert_eq!(Beta::for_ratio(2.0, 5.0, 0.0).unwrap_err().code(), "E0208");
        assert_eq!(Beta::for_ratio(1.0, 5000.0, 50.0).unwrap().eps(), 1.0);
    }

    proptest! {
        #[test]
        fn text_round_trips(log_eps in -700.0..0.0f64) {
            let beta = Beta::from_eps(log_eps.exp()).unwrap();
            prop_assert_eq!(Beta::parse(&beta.to_string()).unwrap(), beta);
        }

        #[test]
        fn for_ratio_reaches_its_ratio(
            n_min in 1.0..1e4f64, imbalance in 1.0..1e5f64, share in 0.0..=1.0f64,
        ) {
            let (n_max, wanted) = (n_min * imbalance, imbalance.powf(share));
            let wanted = wanted.clamp(1.0, n_max / n_min);
            let beta = Beta::for_ratio(wanted, n_max, n_min).unwrap();
            let ratio = beta.effective_number(n_max) / beta.effective_number(n_min);
            prop_assert!((ratio / wanted - 1.0).abs() < 1e-11, "{} for {}", ratio, wanted);
        }

        #[test]
        fn effective_number_lies_between_one_and_the_count(n in 1u32..1_000_000, log_eps in -40.0..0.0f64) {
            let beta = Beta::from_eps(log_eps.exp()).unwrap();
            let effective = beta.effective_number(f64::from(n));
            prop_assert!(effective >= 1.0 - 1e-15 && effective <= f64::from(n) * (1.0 + 1e-15));
            prop_assert!(effective <= (1.0 / beta.eps()) * (1.0 + 1e-15));
        }
    }

    #[test]
    fn betas_that_weigh_alike_are_left_out() {
        let eps = |n_max, n_min| -> Vec<f64> {
            distinct_betas(n_max, n_min).unwrap().into_iter().map(Beta::eps).collect()
        };
        // Up to .9999 the ratio of E_n grows by a factor, from there on by less than 5 %.
        assert_eq!(eps(500.0, 5.0), [0.1, 1e-2, 1e-3, 1e-4]);
        // .9 and .99 weigh classes of 1,000 rows and more alike: one stands for both, and is left out.
        assert_eq!(eps(1e5, 1e3)[..2], [1e-3, 1e-4]);
        assert_eq!(eps(7.0, 7.0), [0.1], "no beta is another");
    }

    #[test]
    fn a_beta_is_one_less_its_eps() {
        assert_eq!(Beta::from_eps(0.25).unwrap().value(), 0.75);
        let beta = Beta::parse("0.5").unwrap();
        assert!((beta.weight_ratio(2.0, 1.0) - 1.5).abs() < 1e-15);
    }

    #[test]
    fn ratios_of_the_most_unequal_counts_are_met() {
        for (ratio, n_max) in [(9e11, 1e12), (0.5e12, 1e12), (1.5, 1e12)] {
            let found = Beta::for_ratio(ratio, n_max, 1.0).unwrap().weight_ratio(n_max, 1.0);
            assert!((found / ratio - 1.0).abs() < 1e-9, "{found} for {ratio}");
        }
    }
}
