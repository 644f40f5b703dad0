//! Student's t distribution. Own code, because the crate weighed for it (statrs 0.19.1) is right to 9 digits at 10^6
//! degrees of freedom, and its quantile does not end at 10^9; a comparison of many rows has such degrees.

/// Most terms of the continued fraction; 10^9 degrees of freedom take fewer than 1,000.
const MOST_TERMS: u32 = 100_000;

/// Probability that `|T| >= |t|` for Student's t of `degrees` > 0 degrees of freedom, to 1e-12 of itself or better;
/// NaN for arguments that are.
pub fn two_sided(t: f64, degrees: f64) -> f64 {
    if t.is_nan() || degrees.is_nan() || degrees <= 0.0 {
        return f64::NAN;
    }
    if t.is_infinite() {
        return 0.0;
    }
    let square = t * t / degrees;
    let (a, b) = (degrees / 2.0, 0.5);
    // I_x(a, b) at x = 1 / (1 + square), without the rounding of x near 1. DLMF 8.17.22 converges fast on its side of
    // the mean of the beta distribution, and 8.17.4 turns to that side.
    let (x, rest) = (1.0 / (1.0 + square), 1.0 / (1.0 + 1.0 / square));
    let front = (-a * square.ln_1p() + b * rest.ln() - ln_beta_half(a)).exp();
    if square == 0.0 {
        1.0
    } else if rest > (b + 1.0) / (a + b + 2.0) {
        front / (a * continued_fraction(x, a, b))
    } else {
        1.0 - front / (b * continued_fraction(rest, b, a))
    }
}

/// The `t` with `two_sided(t, degrees) = p` for `p` in (0, 1]; NaN outside.
pub fn two_sided_quantile(p: f64, degrees: f64) -> f64 {
    if !(p > 0.0 && p <= 1.0 && degrees > 0.0) {
        return f64::NAN;
    }
    let mut high = 1.0;
    while two_sided(high, degrees) > p && high < f64::MAX / 2.0 {
        high *= 2.0;
    }
    let mut low = 0.0;
    // Halving ends when no float lies between: 53 steps from the first bit on, more for quantiles near 0.
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if two_sided(middle, degrees) > p { low = middle } else { high = middle }
    }
}

/// `ln B(a, 1/2)` by Stirling's series of `ln(Γ(a + 1/2) / Γ(a))` (DLMF 5.11.13), `a` moved to where it is exact.
fn ln_beta_half(a: f64) -> f64 {
    const LN_SQRT_PI: f64 = 0.572_364_942_924_700_1;
    let (mut a, mut product) = (a, 1.0);
    while a < 20.0 {
        product *= a / (a + 0.5);
        a += 1.0;
    }
    let r = 1.0 / (a * a);
    let series = (-1.0 / 8.0 + r * (1.0 / 192.0 + r * (-1.0 / 640.0 + r * (17.0 / 14_336.0)))) / a;
    LN_SQRT_PI - (0.5 * a.ln() + series + product.ln())
}

/// The denominator `1 + d_1 / (1 + d_2 / (1 + ...))` of DLMF 8.17.22, by Lentz's method.
fn continued_fraction(x: f64, a: f64, b: f64) -> f64 {
    let away_from_zero = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut value, mut numerator, mut denominator) = (1.0, 1.0, 0.0);
    for term in 1..=MOST_TERMS {
        let m = f64::from(term / 2);
        let d = if term % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        denominator = 1.0 / away_from_zero(1.0 + d * denominator);
        numerator = away_from_zero(1.0 + d / numerator);
        let step = numerator * denominator;
        value *= step;
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_and_quantiles_are_those_of_scipy() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/statistics.json")).unwrap();
        let number = |case: &serde_json::Value, key: &str| case[key].as_f64().unwrap();
        let near = |found: f64, wanted: f64| (found - wanted).abs() <= 1e-12 * wanted.abs();
        for case in golden["student"].as_array().unwrap() {
            let (t, degrees) = (number(case, "t"), number(case, "degrees"));
            let (tail, quantile) = (two_sided(t, degrees), two_sided_quantile(number(case, "p"), degrees));
            assert!(near(tail, number(case, "two_sided")), "{case}: {tail:e}");
            assert!(near(quantile, number(case, "quantile")), "{case}: {quantile}");
        }
        assert!(golden["student"].as_array().unwrap().len() > 50);
    }

    #[test]
    fn the_ends_are_exact_and_nonsense_is_nan() {
        assert_eq!(two_sided(0.0, 3.0), 1.0);
        assert_eq!(two_sided(f64::INFINITY, 3.0), 0.0);
        assert_eq!(two_sided(-2.0, 3.0), two_sided(2.0, 3.0));
        assert!(two_sided(1.0, 0.0).is_nan() && two_sided(f64::NAN, 2.0).is_nan());
        assert!(two_sided_quantile(0.0, 2.0).is_nan() && two_sided_quantile(0.5, f64::NAN).is_nan());
        assert!(two_sided_quantile(1.0, 5.0) < 1e-15);
    }
}
