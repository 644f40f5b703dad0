//! How far a fit can be from the optimum: a bound from a dual point, valid without any assumption.
//!
//! For a convex loss the residuals `alpha_i = dloss/dz` of any parameters give a point of Fenchel's dual
//! (Rockafellar 1970, section 31). With an undecayed bias the dual asks for `sum_i w_i alpha_i = 0`, which residuals
//! meet only at the optimum. Writing `alpha_i = q_i - onehot(y_i)`, the mixture `q_i' = (1 - e) q_i + e r` with one
//! fixed `r` meets it exactly for the smallest `e` that keeps `r` in the domain; `loss*(q' - y)` is convex in q' and
//! never positive, so the dual value is bounded from sums that the gradient pass already has.

use serde::{Deserialize, Serialize};

use super::objective::{Objective, Value};
use crate::checkpoint::codec::store_fields;
use crate::loss::Loss;

/// What is known about the distance of a fit from the optimum of its objective.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// J at the parameters.
    pub objective: f64,
    /// Euclidean norm of the gradient of J over all parameters.
    pub gradient_norm: f64,
    /// Upper bound on `(J - min J) / J`; `None` where no bound exists (non-convex loss, or weights without l2).
    pub relative_gap: Option<f64>,
}
store_fields!(Certificate { objective, gradient_norm, relative_gap });

impl Certificate {
    /// Of parameters at which no pass was whole.
    pub(super) fn unknown() -> Self {
        Certificate { objective: f64::NAN, gradient_norm: f64::NAN, relative_gap: None }
    }
}

/// The certificate at `theta`, where J is `value` and its gradient `gradient`.
pub fn certify(objective: &Objective<'_>, theta: &[f32], value: Value, gradient: &[f32]) -> Certificate {
    let kernels = objective.kernels();
    let total = value.objective();
    // A gap that is no number proves nothing; `max` alone would turn it into 0.
    let relative_gap = dual_value(objective, theta, value, gradient)
        .map(|dual| (total - dual) / total.abs())
        .filter(|gap| !gap.is_nan())
        .map(|gap| gap.max(0.0));
    Certificate { objective: total, gradient_norm: kernels.dot(gradient, gradient).sqrt(), relative_gap }
}

/// The relative gap that [`certify`] would find if the biases were balanced and nothing else changed: what Newton steps
/// in the biases can hope for.
pub(super) fn gap_if_balanced(
    objective: &Objective<'_>,
    theta: &[f32],
    value: Value,
    gradient: &[f32],
) -> Option<f64> {
    let mut balanced = gradient.to_vec();
    let bias_at = balanced.len() - objective.problem().classes;
    balanced[bias_at..].fill(0.0);
    certify(objective, theta, value, &balanced).relative_gap
}

/// A lower bound on the minimum of J.
fn dual_value(objective: &Objective<'_>, theta: &[f32], value: Value, gradient: &[f32]) -> Option<f64> {
    let problem = objective.problem();
    let (on_weights, on_bias) = objective.decays();
    if !problem.loss.is_convex() || on_weights <= 0.0 {
        return None;
    }
    let classes = problem.classes;
    let bias_at = theta.len() - classes;
    let (weight, bias) = theta.split_at(bias_at);
    let (weight_gradient, bias_gradient) = gradient.split_at(bias_at);

    if on_bias > 0.0 {
        // Every parameter is penalised: the dual has no constraint and the gap is the gradient's.
        let features = problem.rows.features();
        let norm = |values: &[f32]| objective.kernels().dot(values, values);
        let by_class = (0..classes).map(|class| {
            let own =
                norm(&weight_gradient[class * features..][..features]) + norm(&bias_gradient[class..=class]);
            own / problem.l2_factor(class)
        });
        return Some(value.objective() - by_class.sum::<f64>() / (2.0 * on_weights));
    }

    let moments = objective.moments();
    let mixture = Mixture::new(problem.loss, &moments.class_share, bias_gradient);
    // <W, G> with G the gradient of the mean loss alone, and the linear term of the biases and offsets.
    let mut linear = 0.0;
    for (class, (&b, &g)) in bias.iter().zip(bias_gradient).enumerate() {
        let offset = problem.offsets.map_or(0.0, |offsets| f64::from(offsets[class]));
        linear += (f64::from(b) + offset) * f64::from(g);
    }
    let keep = 1.0 - mixture.share;
    let features = problem.rows.features();
    let mut dual_norm = 0.0;
    for class in 0..classes {
        let at = class * features;
        let factor = problem.l2_factor(class);
        for j in 0..features {
            let w = f64::from(weight[at + j]);
            let loss_gradient = f64::from(weight_gradient[at + j]) - on_weights * factor * w;
            linear += w * loss_gradient;
            let shift = mixture.point[class] * moments.mean[j] - f64::from(moments.class_sums[at + j]);
            dual_norm += (keep * loss_gradient + mixture.share * shift).powi(2) / factor;
        }
    }
    // Margins add `<alpha', -m_y onehot(y)>`. Its part of q cancels against the same part in the conjugate of the loss.
    let margin = |class: usize| problem.margins.map_or(0.0, |margins| f64::from(margins[class]));
    let margins: f64 = (0..classes)
        .map(|class| moments.class_share[class] * margin(class) * (1.0 - mixture.point[class]))
        .sum();
    Some(keep * (value.loss - linear) + mixture.share * margins - dual_norm / (2.0 * on_weights))
}

/// `share` and `point` of the mixture `(1 - share) q_i + share point` that balances the bias gradient.
struct Mixture {
    share: f64,
    point: Vec<f64>,
}

impl Mixture {
    fn new(loss: Loss, class_share: &[f64], bias_gradient: &[f32]) -> Self {
        let predicted = || class_share.iter().zip(bias_gradient).map(|(&y, &g)| (y, y + f64::from(g)));
        let needed = |(y, q): (f64, f64)| {
            let below = if q > 0.0 { 1.0 - y / q } else { 0.0 };
            // In a simplex the upper limit follows from the lower ones.
            let above = if loss == Loss::Softmax { 0.0 } else { (y - q) / (1.0 - q).max(f64::MIN_POSITIVE) };
            below.max(above)
        };
        // Rounding of the sums may ask for less than the point needs; a relative 1e-12 more costs nothing.
        let share = predicted().map(needed).fold(0.0, f64::max).min(1.0) * (1.0 + 1e-12);
        let point = predicted()
            .map(|(y, q)| if share > 0.0 { (y - (1.0 - share) * q) / share } else { 0.0 })
            .collect();
        Mixture { share: share.min(1.0), point }
    }
}
