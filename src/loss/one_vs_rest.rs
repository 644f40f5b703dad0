//! Focal and sigmoid losses: independent terms, one a class, of `u = z^t`.

/// Value, slope and curvature in `u` of `(1 - p)^gamma softplus(-u)`, `p` the logistic function of `u`.
///
/// With `q = 1 - p` and `l = log p`: slope `q^g (g p l - q)`, curvature `q^g (g p l (q - g p) + (2 g + 1) p q)`.
fn term(u: f64, gamma: f64) -> (f64, f64, f64) {
    let e = (-u.abs()).exp();
    let log1p = e.ln_1p();
    let (near, far) = (1.0 / (1.0 + e), e / (1.0 + e));
    let (p, q) = if u >= 0.0 { (near, far) } else { (far, near) };
    let log_p = -((-u).max(0.0) + log1p);
    // log q = -softplus(u); the power of q itself would lose q where p is nearly 1.
    let focus = if gamma == 0.0 { 1.0 } else { (-gamma * (u.max(0.0) + log1p)).exp() };
    // At the far ends p log p is 0 times a large number, never NaN: log p is finite for finite u.
    let g_p_log_p = gamma * p * log_p;
    let curvature = focus * (g_p_log_p * (q - gamma * p) + (2.0 * gamma + 1.0) * p * q);
    let nan_if_not_finite = u * 0.0;
    (-focus * log_p + nan_if_not_finite, focus * (g_p_log_p - q) + nan_if_not_finite, curvature)
}

/// Loss of one row with gradient and Hessian diagonal in the logits.
pub(super) fn row(z: &[f64], label: usize, gamma: f64, gradient: &mut [f64], hessian: &mut [f64]) -> f64 {
    let mut loss = 0.0;
    for (class, &z) in z.iter().enumerate() {
        let sign = if class == label { 1.0 } else { -1.0 };
        let (value, slope, curvature) = term(sign * z, gamma);
        loss += value;
        gradient[class] = sign * slope;
        hessian[class] = curvature;
    }
    loss
}

/// Largest curvature of a term over all logits: .25, .325, .390, .496, .701 at gamma 0, .5, 1, 2, 5.
pub(super) fn largest_curvature(gamma: f64) -> f64 {
    let curvature = |u: f64| term(u, gamma).2;
    const STEP: f64 = 0.125;
    let peak = (-320..=320)
        .map(|i| f64::from(i) * STEP)
        .max_by(|&a, &b| curvature(a).total_cmp(&curvature(b)))
        .unwrap_or(0.0);
    // The peak lies between the neighbours of the best grid point; thirds shrink that interval to nothing.
    let (mut low, mut high) = (peak - STEP, peak + STEP);
    for _ in 0..60 {
        let third = (high - low) / 3.0;
        if curvature(low + third) < curvature(high - third) { low += third } else { high -= third }
    }
    curvature((low + high) / 2.0)
}
