//! A fitted linear classifier.

use crate::loss::Loss;

/// Weights and biases of a linear classifier of C classes over D features.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearModel {
    /// C x D, row-major.
    pub weight: Vec<f32>,
    /// One a class.
    pub bias: Vec<f32>,
    /// Number of features D.
    pub features: usize,
    /// Loss it was fitted with.
    pub loss: Loss,
}

impl LinearModel {
    /// All zeros.
    pub fn new(classes: usize, features: usize, loss: Loss) -> Self {
        LinearModel { weight: vec![0.0; classes * features], bias: vec![0.0; classes], features, loss }
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }
}
