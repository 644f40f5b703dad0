//! What each column did for the linear functions that trees start from.
//!
//! A linear function knows no interactions: the Shapley value of a column is what its features add beyond their mean over
//! the training rows, whichever columns are known before. The values of a sum are the sums of the values, so these and those of
//! the trees ([`crate::boost::shap`]) explain the score of both.

use rayon::prelude::*;

use super::model::HybridModel;
use crate::boost::model::logit_of_score;
use crate::boost::shap::Explained;
use crate::data::scale::Scale;
use crate::matrix::Matrix;

/// Explains the linear part of the scores of a model.
#[derive(Debug)]
pub struct LinearExplainer {
    classes: usize,
    columns: Vec<Column>,
    /// Logits of the means of all features, one a class.
    expected: Vec<f64>,
    /// Score of the second of two classes at a logit of 1.
    score_of_logit: f64,
}

/// What a column adds to the logits beyond its mean.
#[derive(Debug)]
enum Column {
    /// Slopes, one a class, over the distance of a number from the mean.
    Number { mean: f64, slopes: Vec<f64> },
    /// `(categories + 1) x C`, the last row for a missing or unknown category.
    Categories(Vec<f64>),
}

impl Column {
    fn logit(&self, value: f32, class: usize, classes: usize) -> f64 {
        match self {
            Column::Number { .. } if value.is_nan() => 0.0,
            Column::Number { mean, slopes } => {
                slopes.get(class).map_or(0.0, |slope| slope * (f64::from(value) - mean))
            }
            Column::Categories(table) => {
                let categories = (table.len() / classes.max(1)).saturating_sub(1);
                let is_code = (0.0..categories as f32).contains(&value);
                let row = if is_code { value as usize } else { categories };
                table.get(row * classes + class).copied().unwrap_or(0.0)
            }
        }
    }
}

impl LinearExplainer {
    /// Prepares for `model`.
    ///
    /// # Errors
    /// What is in the way, in words: categories whose shares of the training rows the model does not hold, which is so where
    /// there are many of them in a model of before those were kept, and rows that are scaled to one length.
    pub fn new(model: &HybridModel) -> Result<Self, &'static str> {
        let HybridModel { start, trees } = model;
        let (linear, scaler) = (&start.model, start.features.scaler());
        if scaler.scale == Scale::L2 {
            return Err("has linear functions of rows of length 1, which no column adds to on its own");
        }
        let classes = linear.classes();
        let mut expected: Vec<f64> = linear.bias.iter().map(|&bias| f64::from(bias)).collect();
        let shares = start.features.shares();
        let means_are_known = !shares.is_empty() || scaler.mean.iter().any(|&mean| mean != 0.0);
        if start.features.has_categories() && !means_are_known {
            return Err("has linear functions of many categories, and does not keep how often each was met");
        }
        let mirrors = |(a, b): (&f32, &f32)| *a == -*b;
        let is_mirrored = |a: &[f32], b: &[f32]| a.iter().zip(b).all(mirrors);
        if classes == 2
            && !(is_mirrored(linear.weights_of(0), linear.weights_of(1)) && linear.bias[0] == -linear.bias[1])
        {
            return Err("has linear functions of two classes that do not mirror each other");
        }
        let mut columns = Vec::new();
        for (column, &fill) in start.features.columns().iter().zip(start.features.fill()) {
            let first = column.first;
            columns.push(match column.categories {
                None => {
                    let deviation = scaler.deviation.get(first).map_or(1.0, |&x| f64::from(x));
                    let slope = |class: usize| f64::from(linear.weights_of(class)[first]) / deviation;
                    let slopes: Vec<f64> = (0..classes).map(slope).collect();
                    // What stands for missing numbers is their mean.
                    let mean = f64::from(fill);
                    let scaled_from = scaler.mean.get(first).map_or(0.0, |&x| f64::from(x));
                    expected
                        .iter_mut()
                        .zip(&slopes)
                        .for_each(|(sum, slope)| *sum += slope * (mean - scaled_from));
                    Column::Number { mean, slopes }
                }
                Some(categories) => {
                    let mut table = start.category_logits(first, categories);
                    if let Some(shares) = shares.get(first..first + categories) {
                        centre(&mut table, shares, &mut expected);
                    }
                    Column::Categories(table)
                }
            });
        }
        let score_of_logit = 1.0 / f64::from(logit_of_score(&trees.loss));
        Ok(LinearExplainer { classes, columns, expected, score_of_logit })
    }

    /// Adds the contributions to the scores `of` the rows of `matrix` to `cells`, which hold those of the trees as
    /// [`crate::boost::shap::Explainer::contributions`] gives them for the same arguments.
    pub fn add_to(&self, cells: &mut [f32], matrix: &Matrix, of: Explained<'_>) {
        let group = self.columns.len() + 1;
        let width = match of {
            Explained::Outputs(outputs) => outputs.len(),
            Explained::OfRow(_) => 1,
        };
        cells.par_chunks_mut((width * group).max(1)).enumerate().for_each(|(row, cells)| {
            let outputs = match of {
                Explained::Outputs(outputs) => outputs,
                Explained::OfRow(outputs) => outputs.get(row..=row).unwrap_or(&[]),
            };
            for (cells, &output) in cells.chunks_exact_mut(group).zip(outputs) {
                let (class, factor) = self.class_of(output);
                let logits = self
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(at, column)| column.logit(matrix.get(row, at), class, self.classes));
                let expected = self.expected.get(class).copied();
                for (cell, logit) in cells.iter_mut().zip(logits.chain(expected)) {
                    *cell = (f64::from(*cell) + factor * logit) as f32;
                }
            }
        });
    }

    /// The class whose logit an output speaks of, and the score at a logit of 1.
    fn class_of(&self, output: u32) -> (usize, f64) {
        match self.classes {
            2 => (1, self.score_of_logit),
            _ => (output as usize, 1.0),
        }
    }
}

/// Moves the mean of a table of [`crate::hybrid::model::LinearStart::category_logits`], whose categories were met in these
/// shares of the rows, to the logits `expected`.
fn centre(table: &mut [f64], shares: &[f32], expected: &mut [f64]) {
    let known: f64 = shares.iter().map(|&share| f64::from(share)).sum();
    let shares: Vec<f64> = shares.iter().map(|&share| f64::from(share)).chain([1.0 - known]).collect();
    let classes = expected.len().max(1);
    for (class, expected) in expected.iter_mut().enumerate() {
        let of_class = table.iter().skip(class).step_by(classes);
        let mean: f64 = of_class.zip(&shares).map(|(logit, share)| logit * share).sum();
        table.iter_mut().skip(class).step_by(classes).for_each(|logit| *logit -= mean);
        *expected += mean;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boost::binning::{Binner, BinningOptions};
    use crate::boost::model::BoostModel;
    use crate::boost::shap::Explainer;
    use crate::data::encode::{FeatureEncoder, InputColumn};
    use crate::data::missing::Missing;
    use crate::hybrid::features::LinearFeatures;
    use crate::hybrid::model::LinearStart;
    use crate::linear::model::LinearModel;
    use crate::loss::Loss;
    use crate::simd::Kernels;

    /// Linear functions of a number with gaps and of `levels` categories, fitted to all rows, below no trees at all.
    fn hybrid(levels: usize, classes: usize, loss: Loss) -> (HybridModel, Matrix<'static>) {
        let rows = 60;
        let of_row = |row: usize| {
            let number = if row.is_multiple_of(7) { f32::NAN } else { (row * 37 % rows) as f32 };
            let code = if row.is_multiple_of(13) { f32::NAN } else { (row * 5 % levels) as f32 };
            [number, code]
        };
        let matrix = Matrix::from_f32((0..rows).flat_map(of_row).collect(), 2);
        let names = (0..levels).map(|level| format!("l{level:03}")).collect();
        let inputs = vec![
            InputColumn::Numeric { name: "n".into(), mean: None },
            InputColumn::Codes { name: "c".into(), levels: names },
        ];
        let encoder = FeatureEncoder { inputs, missing: Missing::Keep };
        let all: Vec<usize> = (0..rows).collect();
        let (features, _) = LinearFeatures::fit(&matrix.clone(), &encoder, &all, None);
        let width = features.width();
        let half: Vec<f32> = (0..classes * width).map(|at| (at * 11 % 17) as f32 / 8.0 - 1.0).collect();
        let (weight, bias) = match classes {
            2 => (
                half[..width].iter().map(|w| -w).chain(half[..width].iter().copied()).collect(),
                vec![-0.5, 0.5],
            ),
            _ => (half, vec![0.25; classes]),
        };
        let model = LinearModel { weight, bias, features: width, loss };
        let labels: Vec<u32> = (0..rows).map(|row| (row % classes) as u32).collect();
        let binner = Binner::fit(&matrix, &labels, &BinningOptions::default()).unwrap();
        let base = vec![0.75; if classes == 2 { 1 } else { classes }];
        let trees = BoostModel { loss, classes, binner, base, trees: Vec::new() };
        (HybridModel { start: LinearStart { features, model }, trees }, matrix)
    }

    #[test]
    fn contributions_add_up_and_are_0_in_the_mean() {
        let losses = [(2, Loss::Softmax), (2, Loss::Sigmoid), (3, Loss::Softmax)];
        // Forty categories are kept as sparse rows, whose scaling holds no means.
        for ((classes, loss), levels) in losses.into_iter().flat_map(|loss| [5, 40].map(|n| (loss, n))) {
            let (model, matrix) = hybrid(levels, classes, loss);
            assert_eq!(model.start.features.shares().is_empty(), levels == 5);
            let logits = model.logits(&matrix, Kernels::best()).unwrap();
            let outputs: Vec<u32> = (0..model.trees.outputs() as u32).collect();
            let of = Explained::Outputs(&outputs);
            let mut cells = Explainer::new(&model.trees).unwrap().contributions(&matrix, of).unwrap();
            LinearExplainer::new(&model).unwrap().add_to(&mut cells, &matrix, of);
            let mut sums = vec![[0.0f64; 2]; outputs.len()];
            for (row, cells) in cells.chunks_exact(3 * outputs.len()).enumerate() {
                for (output, cells) in cells.chunks_exact(3).enumerate() {
                    let logit = |class: usize| f64::from(logits[row * classes + class]);
                    let score = match (classes, loss) {
                        (2, Loss::Softmax) => logit(1) - logit(0),
                        (2, _) => logit(1),
                        _ => logit(output),
                    };
                    let total: f64 = cells.iter().map(|&cell| f64::from(cell)).sum();
                    assert!((total - score).abs() < 1e-5, "{loss:?}, row {row}: {total} {score}");
                    sums[output].iter_mut().zip(cells).for_each(|(sum, &cell)| *sum += f64::from(cell));
                }
            }
            assert!(sums.iter().flatten().all(|sum| sum.abs() < 1e-3), "{sums:?}");
        }
    }

    #[test]
    fn one_score_a_row_is_that_of_its_class() {
        let (model, matrix) = hybrid(5, 3, Loss::Softmax);
        let start = LinearExplainer::new(&model).unwrap();
        let every: Vec<u32> = (0..3).collect();
        let asked: Vec<u32> = (0..matrix.rows()).map(|row| (row % 3) as u32).collect();
        let (mut all, mut own) = (vec![0.0; matrix.rows() * 9], vec![0.0; matrix.rows() * 3]);
        start.add_to(&mut all, &matrix, Explained::Outputs(&every));
        start.add_to(&mut own, &matrix, Explained::OfRow(&asked));
        for (row, own) in own.chunks_exact(3).enumerate() {
            assert_eq!(own, &all[row * 9 + row % 3 * 3..][..3]);
        }
    }

    #[test]
    fn categories_without_shares_are_refused() {
        let (mut model, _) = hybrid(40, 3, Loss::Softmax);
        assert!(LinearExplainer::new(&model).is_ok());
        model.start.features = model.start.features.with_shares(Vec::new()).unwrap();
        let why = LinearExplainer::new(&model).unwrap_err();
        assert!(why.contains("many categories"), "{why}");
    }
}
