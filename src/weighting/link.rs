//! What ties the logits of a model to the posterior beside its loss, its class weights and its logit adjustment.

use serde::{Deserialize, Serialize};

/// The loss saw `scale_c z_c + shift_c` where the model gives `z_c`, with `margin_y` taken from the logit of the true
/// class y. Each list has one value a class, or is empty where it changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogitLink {
    /// Factors, positive: those of vector scaling, or what tau-normalisation has divided by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scale: Vec<f64>,
    /// Summands: the biases that tau-normalisation has dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shift: Vec<f64>,
    /// Margins of LDAM, not negative.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub margins: Vec<f64>,
}

impl LogitLink {
    /// Whether the loss saw the logits of the model.
    pub fn is_identity(&self) -> bool {
        *self == LogitLink::default()
    }

    /// Checks lengths and values for so many classes; returns the first contradiction in words.
    pub fn validate(&self, classes: usize) -> Result<(), String> {
        type List<'a> = (&'a str, &'a [f64], fn(f64) -> bool);
        let lists: [List<'_>; 3] = [
            ("factor", &self.scale, |factor| factor > 0.0),
            ("shift", &self.shift, |_| true),
            ("margin", &self.margins, |margin| margin >= 0.0),
        ];
        for (what, values, is_valid) in lists {
            if !values.is_empty() && values.len() != classes {
                return Err(format!("it has {classes} classes, but {} logit {what}s", values.len()));
            }
            if let Some(class) = values.iter().position(|&value| !(value.is_finite() && is_valid(value))) {
                return Err(format!("the logit {what} of class {class} is {}", values[class]));
            }
        }
        Ok(())
    }

    /// `log eta_c` up to a constant of the row, from log probabilities `log_p` of a softmax fitted with the margins m:
    /// `eta_c` is proportional to `p_c (1 - p_c + p_c exp(-m_c))`, which sets the derivative of the expected loss
    /// `sum_y eta_y CE(z - m_y e_y, y)` to zero.
    pub(super) fn undo_softmax_margins(&self, log_p: &mut [f64]) {
        for (log_p, margin) in log_p.iter_mut().zip(&self.margins) {
            *log_p += (log_p.exp() * (-margin).exp_m1()).ln_1p();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Loss;
    use crate::weighting::{Prior, PriorCorrection};

    const ETA: [f64; 4] = [0.55, 0.3, 0.1, 0.05];
    const PI: [f64; 4] = [0.6, 0.2, 0.15, 0.05];
    const ALPHA: [f64; 4] = [0.5, 1.0, 1.5, 4.0];

    /// Logits that minimise `sum_y alpha_y eta_y loss(z less the margin of y, y)`, by gradient descent.
    fn optimum(loss: Loss, margins: &[f64]) -> Vec<f64> {
        let mut z = vec![0.0; 4];
        for _ in 0..40_000 {
            let mut total = [0.0; 4];
            for label in 0..4 {
                let (mut moved, mut gradient, mut hessian) = (z.clone(), [0.0; 4], [0.0; 4]);
                moved[label] -= margins[label];
                loss.row_f64(&moved, label, &mut gradient, &mut hessian);
                total.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += ALPHA[label] * ETA[label] * g);
            }
            z.iter_mut().zip(total).for_each(|(z, g)| *z -= g);
        }
        z
    }

    #[test]
    fn natural_posteriors_come_back_through_margins_factors_and_shifts() {
        let margins = vec![0.4, 0.9, 0.0, 2.5];
        let (scale, shift) = (vec![1.0, 0.5, 0.2, 3.0], vec![0.0, 1.0, -2.0, 0.5]);
        for loss in [Loss::Softmax, Loss::Sigmoid] {
            let seen = optimum(loss, &margins);
            let logits: Vec<f64> = (0..4).map(|c| (seen[c] - shift[c]) / scale[c]).collect();
            let link = LogitLink { scale: scale.clone(), shift: shift.clone(), margins: margins.clone() };
            let under = |prior: Prior| {
                let mut out = [0.0; 4];
                let plain = PriorCorrection::new(loss, &ALPHA, &PI, 0.0, &prior).unwrap();
                plain.through(&link, &prior).posterior(&logits, &mut out);
                out
            };
            let natural = under(Prior::Natural);
            assert!(natural.iter().zip(ETA).all(|(n, e)| (n - e).abs() < 1e-7), "{loss:?}: {natural:?}");
            let largest = |p: &[f64]| (0..4).max_by(|&a, &b| p[a].total_cmp(&p[b]));
            assert_eq!(largest(&under(Prior::AsTrained)), largest(&logits), "decisions are the model's own");
        }
    }

    #[test]
    fn contradictions_are_named() {
        let link = |scale: &[f64], margins: &[f64]| LogitLink {
            scale: scale.to_vec(),
            margins: margins.to_vec(),
            ..LogitLink::default()
        };
        assert_eq!(link(&[], &[0.5, 0.0]).validate(2), Ok(()));
        assert!(link(&[1.0], &[]).validate(2).unwrap_err().contains("1 logit factors"));
        assert!(link(&[1.0, 0.0], &[]).validate(2).unwrap_err().contains("factor of class 1 is 0"));
        assert!(link(&[], &[-1.0, 0.0]).validate(2).unwrap_err().contains("margin of class 0 is -1"));
    }

    #[test]
    fn any_part_makes_a_link() {
        assert!(LogitLink::default().is_identity());
        let zero = || vec![0.0];
        for link in [
            LogitLink { scale: zero(), ..LogitLink::default() },
            LogitLink { shift: zero(), ..LogitLink::default() },
            LogitLink { margins: zero(), ..LogitLink::default() },
        ] {
            assert!(!link.is_identity(), "{link:?}");
        }
        let shift = LogitLink { shift: vec![0.0, f64::NAN], ..LogitLink::default() };
        assert!(shift.validate(2).unwrap_err().contains("shift of class 1 is NaN"));
    }
}
