//! tau-normalisation of a fitted model (Kang et al. 2020, section 4.2).

use crate::linear::model::LinearModel;

/// `||w_c||` of every class.
pub fn norms(model: &LinearModel) -> Vec<f64> {
    let squares = |row: &[f32]| row.iter().map(|&w| f64::from(w) * f64::from(w)).sum::<f64>();
    (0..model.classes()).map(|class| squares(model.weights_of(class)).sqrt()).collect()
}

/// `model` with `w_c / ||w_c||^tau` for its weights and without its biases, which the paper drops. Classes of many rows
/// have long weights, and tau (0 to 1) takes that advantage from them. On features whose mean is far from 0 a bias is
/// no small part of a logit, and dropping it changes decisions even at tau 0. A class of zero weights stays as it is.
pub fn tau_norm(model: &LinearModel, tau: f64) -> LinearModel {
    let mut weight = model.weight.clone();
    for (row, norm) in weight.chunks_exact_mut(model.features.max(1)).zip(norms(model)) {
        let factor = if norm > 0.0 { norm.powf(-tau) } else { 1.0 };
        row.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
    }
    LinearModel { weight, bias: vec![0.0; model.classes()], ..*model }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Loss;

    #[test]
    fn lengths_shrink_to_the_power_that_is_left() {
        let model = LinearModel {
            weight: vec![3.0, 4.0, 0.6, 0.8, 0.0, 0.0],
            bias: vec![1.0, -2.0, 0.5],
            features: 2,
            loss: Loss::Softmax,
        };
        for tau in [0.0, 0.5, 1.0] {
            let normed = tau_norm(&model, tau);
            let expected = [5f64.powf(1.0 - tau), 1.0, 0.0];
            let found = norms(&normed);
            assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{found:?}");
            assert_eq!(normed.bias, [0.0; 3]);
        }
        assert_eq!(tau_norm(&model, 0.0).weight, model.weight);
    }
}
