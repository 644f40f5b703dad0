//! Linear functions with trees on top.

use super::features::LinearFeatures;
use crate::Result;
use crate::boost::model::BoostModel;
use crate::linear::model::LinearModel;
use crate::matrix::Matrix;
use crate::simd::Kernels;

/// Linear functions of rows as trees read them.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearStart {
    /// What the functions are of.
    pub features: LinearFeatures,
    /// `C x W` weights over the W features made.
    pub model: LinearModel,
}

impl LinearStart {
    /// Logits of all rows of `matrix`, `N x C`.
    pub fn logits(&self, matrix: &Matrix, kernels: &'static Kernels) -> Vec<f32> {
        self.model.logits(&self.features.apply(matrix), kernels)
    }
}

/// A linear model, and trees that were boosted on its logits.
#[derive(Debug, Clone, PartialEq)]
pub struct HybridModel {
    /// Where the trees start.
    pub start: LinearStart,
    /// What they add.
    pub trees: BoostModel,
}

impl HybridModel {
    /// Logits of all rows of `matrix`, `N x C`.
    ///
    /// # Errors
    /// Those of [`BoostModel::logits`].
    pub fn logits(&self, matrix: &Matrix, kernels: &'static Kernels) -> Result<Vec<f32>> {
        // The trees first: they say where a matrix has not the columns of the model.
        let mut logits = self.trees.logits(matrix)?;
        let start = self.start.logits(matrix, kernels);
        logits.iter_mut().zip(start).for_each(|(logit, start)| *logit += start);
        Ok(logits)
    }
}

/// Two classes have one score in trees, which stands for the logits `(-z, z)`. The minimum of every loss is of that form
/// up to rounding and a common shift that no loss sees; this makes `model` exactly so.
pub fn mirrored(mut model: LinearModel) -> LinearModel {
    if model.classes() == 2 {
        let mirror = |a: &mut [f32], b: &mut [f32]| {
            for (a, b) in a.iter_mut().zip(b) {
                *b = 0.5 * (*b - *a);
                *a = -*b;
            }
        };
        let (first, second) = model.weight.split_at_mut(model.features);
        mirror(first, second);
        let (first, second) = model.bias.split_at_mut(1);
        mirror(first, second);
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Loss;

    #[test]
    fn two_classes_mirror_each_other_and_three_stay() {
        let model = LinearModel {
            weight: vec![1.0, -2.0, 3.0, 2.0],
            bias: vec![0.5, 0.0],
            features: 2,
            loss: Loss::Softmax,
        };
        let made = mirrored(model.clone());
        assert_eq!((made.weight, made.bias), (vec![-1.0, -2.0, 1.0, 2.0], vec![0.25, -0.25]));
        let three = LinearModel { weight: vec![1.0; 6], bias: vec![1.0; 3], ..model };
        assert_eq!(mirrored(three.clone()), three);
    }
}
