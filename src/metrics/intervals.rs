//! Intervals around shares.

/// 97.5 % quantile of the standard normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % interval `(low, high)` of a share `share` seen in `n` trials (Wilson 1927); NaN where `n` is 0.
/// `n` may be an effective number of trials.
pub fn wilson_95(share: f64, n: f64) -> (f64, f64) {
    if n.is_nan() || n <= 0.0 {
        return (f64::NAN, f64::NAN);
    }
    let z2 = Z_95 * Z_95;
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    // At shares 0 and 1 the bound is the share itself; rounding would leave it by an ulp.
    let low = if share <= 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if share >= 1.0 { 1.0 } else { (centre + half).min(1.0) };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        // scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
        for (k, n, low, high) in [
            (8.0, 10.0, 0.490_162_471_536_641_8, 0.943_317_848_545_624_8),
            (0.0, 3.0, 0.0, 0.561_497_031_755_045_4),
            (500.0, 1000.0, 0.469_069_600_368_104_2, 0.530_930_399_631_895_8),
        ] {
            let found = wilson_95(k / n, n);
            assert!((found.0 - low).abs() < 1e-12 && (found.1 - high).abs() < 1e-12, "{k}/{n}: {found:?}");
        }
        assert!(wilson_95(0.5, 0.0).0.is_nan());
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_share(k in 0u32..100, more in 0u32..100) {
            prop_assume!(k + more > 0);
            let n = f64::from(k + more);
            let share = f64::from(k) / n;
            let (low, high) = wilson_95(share, n);
            prop_assert!(0.0 <= low && low <= share && share <= high && high <= 1.0);
        }
    }
}
