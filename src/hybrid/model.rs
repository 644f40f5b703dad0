//! Linear functions with trees on top.

use serde::{Deserialize, Serialize};

use super::features::LinearFeatures;
use crate::Result;
use crate::boost::model::BoostModel;
use crate::linear::model::LinearModel;
use crate::matrix::Matrix;
use crate::simd::Kernels;

/// Linear functions of rows as trees read them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

    /// What a column of `categories`, whose features begin at `first`, adds to the logits: `(categories + 1) x C`, the last
    /// row for a missing or unknown category. Rows that are scaled to one length add up to no such thing.
    pub fn category_logits(&self, first: usize, categories: usize) -> Vec<f64> {
        let (classes, scaler) = (self.model.classes(), self.features.scaler());
        let mut table = vec![0.0; (categories + 1) * classes];
        for class in 0..classes {
            let mut absent = 0.0;
            for (category, &weight) in
                self.model.weights_of(class)[first..first + categories].iter().enumerate()
            {
                let of_feature = |values: &[f32], unscaled: f64| {
                    values.get(first + category).map_or(unscaled, |&value| f64::from(value))
                };
                let weight = f64::from(weight) / of_feature(&scaler.deviation, 1.0);
                table[category * classes + class] = weight;
                absent -= weight * of_feature(&scaler.mean, 0.0);
            }
            table.iter_mut().skip(class).step_by(classes).for_each(|logit| *logit += absent);
        }
        table
    }
}

/// A linear model, and trees that were boosted on its logits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    use crate::data::encode::{FeatureEncoder, InputColumn};
    use crate::data::missing::Missing;
    use crate::data::scale::{Scale, Scaler};
    use crate::loss::Loss;

    #[test]
    fn a_column_of_categories_is_a_table_of_logits() {
        let levels = ["p", "q", "r"].map(str::to_owned).to_vec();
        let inputs = vec![
            InputColumn::Numeric { name: "x".into(), mean: None },
            InputColumn::Codes { name: "c".into(), levels },
        ];
        let encoder = FeatureEncoder { inputs, missing: Missing::Keep };
        let scaler = Scaler {
            scale: Scale::Standard,
            mean: vec![0.5, 0.5, 0.25, 0.125],
            deviation: vec![2.0, 0.5, 0.4, 0.3],
        };
        let features = LinearFeatures::from_parts(&encoder, vec![0.5, 0.0], scaler).unwrap();
        let model = LinearModel {
            weight: vec![3.0, -1.0, 2.0, 0.5, 3.0, 0.0, -2.0, 1.5],
            bias: vec![0.25, -0.5],
            features: 4,
            loss: Loss::Softmax,
        };
        let start = LinearStart { features, model };
        let column = start.features.columns()[1];
        let table = start.category_logits(column.first, column.categories.unwrap());
        let rows = Matrix::from_f32(vec![f32::NAN, 0.0, f32::NAN, 1.0, 0.5, 2.0, 0.5, f32::NAN], 2);
        let logits = start.logits(&rows, Kernels::best());
        for (at, (logit, added)) in logits.iter().zip(&table).enumerate() {
            let wanted = added + f64::from(start.model.bias[at % 2]);
            assert!((f64::from(*logit) - wanted).abs() < 1e-5, "{at}: {logit} {wanted}");
        }
        assert_eq!((logits.len(), table.len()), (8, 8));
    }

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
