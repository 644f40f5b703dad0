//! Cross entropy and softmax focal loss.

/// Loss of one row with gradient and Hessian diagonal in the logits.
///
/// With `l = log p_y`, `q = 1 - p_y` the loss `-q^g l` has the gradient `A (p - onehot)`, `A = q^g - g q^(g-1) p_y l`,
/// and the Hessian `A (diag p - p p^T) - A' (p - onehot)(p - onehot)^T` with
/// `A' = dA/dl = -g p_y q^(g-1) (2 + l - (g - 1) p_y l / q)`.
pub(super) fn row(z: &[f64], label: usize, gamma: f64, gradient: &mut [f64], hessian: &mut [f64]) -> f64 {
    let own = z[label];
    let peak = z.iter().copied().fold(own, f64::max);
    let mut others = 0.0;
    for (class, &z) in z.iter().enumerate() {
        gradient[class] = (z - peak).exp();
        if class != label {
            others += gradient[class];
        }
    }
    let total = others + gradient[label];
    let p_own = gradient[label] / total;
    // 1 - p_y and a small loss are formed from the other classes: the subtraction would lose their digits.
    let miss = others / total;
    let cross_entropy = if own == peak { others.ln_1p() } else { (peak - own) + total.ln() };
    let not_finite: f64 = z.iter().map(|z| z * 0.0).sum();

    let (focus, slope, slope_rate) = modulator(gamma, p_own, miss, cross_entropy);
    for (class, gradient) in gradient.iter_mut().enumerate() {
        let p = *gradient / total;
        let (difference, rest) = if class == label { (-miss, miss) } else { (p, 1.0 - p) };
        *gradient = slope * difference + not_finite;
        hessian[class] = slope * p * rest - slope_rate * difference * difference;
    }
    focus * cross_entropy + not_finite
}

/// `q^g`, `A` and `A'` of [`row`] from `p_y`, `q` and `-log p_y`.
fn modulator(gamma: f64, p: f64, q: f64, cross_entropy: f64) -> (f64, f64, f64) {
    if gamma == 0.0 {
        return (1.0, 1.0, 0.0);
    }
    if q == 0.0 {
        return (0.0, 0.0, 0.0); // A' may grow without bound here, its product with q^2 vanishes
    }
    let focus = q.powf(gamma);
    let ratio = cross_entropy / q; // tends to 1 with q to 0
    let slope = focus * (1.0 + gamma * p * ratio);
    let slope_rate = -gamma * p * (focus / q) * (2.0 - cross_entropy + (gamma - 1.0) * p * ratio);
    (focus, slope, slope_rate)
}
