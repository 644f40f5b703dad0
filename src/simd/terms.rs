//! What the row kernels compute at one place: the one-vs-rest term of a logit, and the end of a softmax row.

use super::lanes::Lanes;
use super::math::{NEGLIGIBLE, exp, like, log1p_unit};

/// Value and slope in `u = -z^t` of `sigma(u)^gamma softplus(u)`; without `FOCAL`, gamma is 0.
///
/// `sigma(u)^gamma` is taken as `exp(-gamma softplus(-u))`, which neither overflows nor loses the small powers.
/// Terms below 4e-31 count as 0.
#[inline(always)]
pub(super) fn one_vs_rest_term<L: Lanes, const FOCAL: bool>(u: L, gamma: L, zero: L, one: L) -> (L, L) {
    let e = exp(zero.sub(u.abs()));
    let log1p = log1p_unit(e);
    let softplus = zero.max(u).add(log1p);
    let near = one.div(one.add(e));
    let far = e.mul(near);
    let q = u.if_less(zero, far, near);
    if !FOCAL {
        return (softplus, q);
    }
    let p = u.if_less(zero, near, far);
    let mirrored = zero.max(zero.sub(u)).add(log1p);
    // For negative u value and slope are about exp(-(gamma + 1) |u|); see NEGLIGIBLE.
    let logarithm = zero.sub(gamma.mul_add(mirrored, mirrored));
    let focus = exp(zero.sub(gamma.mul(mirrored)));
    let focus = logarithm.if_less(like(u, NEGLIGIBLE), zero, focus);
    (focus.mul(softplus), focus.mul(gamma.mul(p).mul_add(softplus, q)))
}

/// Loss and slope of a softmax row, once its exponentials are summed.
pub(super) struct SoftmaxEnd {
    /// `-(1 - p_y)^gamma log p_y`.
    pub loss: f64,
    /// The gradient is `slope * (p - onehot)`.
    slope: f64,
    /// `1 - p_y`.
    miss: f64,
    total: f64,
}

impl SoftmaxEnd {
    /// From the logit of the true class, the largest logit, `exp(own - peak)` and the sum of `exp(z - peak)` over
    /// the other classes.
    pub(super) fn new(own: f32, peak: f32, own_exp: f32, others: f64, gamma: f64) -> Self {
        let total = f64::from(own_exp) + others;
        let cross_entropy =
            if own == peak { others.ln_1p() } else { f64::from(peak) - f64::from(own) + total.ln() };
        let miss = others / total;
        if gamma == 0.0 {
            return SoftmaxEnd { loss: cross_entropy, slope: 1.0, miss, total };
        }
        let focus = miss.powf(gamma);
        // -log p / (1 - p) tends to 1 where the row is fitted perfectly.
        let ratio = if miss > 0.0 { cross_entropy / miss } else { 1.0 };
        let slope = focus * (1.0 + gamma * (1.0 - miss) * ratio);
        SoftmaxEnd { loss: focus * cross_entropy, slope, miss, total }
    }

    /// What the exponentials of the other classes are multiplied by to become residuals.
    pub(super) fn others_factor(&self, weight: f32) -> f32 {
        (f64::from(weight) * self.slope / self.total) as f32
    }

    /// One over the sum of all exponentials: what makes an exponential a probability.
    pub(super) fn inverse_total(&self) -> f32 {
        (1.0 / self.total) as f32
    }

    /// Probability of the true class.
    pub(super) fn hit(&self) -> f32 {
        (1.0 - self.miss) as f32
    }

    /// Residual of the true class.
    pub(super) fn own_residual(&self, weight: f32) -> f32 {
        (-f64::from(weight) * self.slope * self.miss) as f32
    }
}
