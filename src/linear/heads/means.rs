//! Nearest class mean (Mensink et al. 2013; the baseline of Kang et al. 2020) as linear functions.

use rayon::prelude::*;

use crate::linear::model::LinearModel;
use crate::linear::rows::Rows;
use crate::linear::search::Sample;
use crate::loss::Loss;

/// Weighted means of the rows of each class. Row weights scale out: only their ratios within a class count.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMeans {
    /// `C x D`, row-major.
    pub means: Vec<f64>,
    /// Sum of the row weights of each class.
    pub weights: Vec<f64>,
    /// Mean squared distance of the rows of each class to its mean.
    pub scatter: Vec<f64>,
    features: usize,
}

impl ClassMeans {
    /// One pass over the rows, in parallel over classes.
    pub fn of(sample: &Sample<'_>) -> Self {
        let features = sample.rows.features();
        let by_class = positions_by_class(sample.labels, sample.classes);
        let classes: Vec<(Vec<f64>, f64, f64)> = by_class
            .par_iter()
            .map(|positions| mean_of(&sample.rows, positions, |row| sample.row_weight(row)))
            .collect();
        let mut means = Vec::with_capacity(sample.classes * features);
        let (mut weights, mut scatter) = (Vec::new(), Vec::new());
        for (mean, weight, spread) in classes {
            means.extend(mean);
            weights.push(weight);
            scatter.push(spread);
        }
        ClassMeans { means, weights, scatter, features }
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        self.weights.len()
    }

    /// The mean of a class: D values.
    pub fn mean(&self, class: usize) -> &[f64] {
        &self.means[class * self.features..][..self.features]
    }

    /// Mean of the class means under shares of the classes: D values.
    pub fn centre(&self, shares: &[f64]) -> Vec<f64> {
        let mut centre = vec![0.0; self.features];
        for (class, share) in shares.iter().enumerate() {
            centre.iter_mut().zip(self.mean(class)).for_each(|(sum, mean)| *sum += share * mean);
        }
        centre
    }

    /// Decides for the mean at the smallest Euclidean distance. Logits are the log-densities of spherical Gaussians with
    /// the variance that the classes have on average, so that their softmax is a posterior under equal priors.
    pub fn nearest_mean(&self) -> LinearModel {
        let classes = self.classes();
        let centre = self.centre(&vec![1.0 / classes as f64; classes]);
        let variance = self.scatter.iter().sum::<f64>() / (classes * self.features.max(1)) as f64;
        let scale = if variance > 0.0 { 1.0 / variance } else { 1.0 };
        // Distances from the centre of the means: -|x - mu_c|^2/2 up to what all classes share.
        self.model(|class| {
            let offset: Vec<f64> = self.mean(class).iter().zip(&centre).map(|(m, c)| m - c).collect();
            let middle = self.mean(class).iter().zip(&centre).map(|(m, c)| 0.5 * (m + c));
            let bias = -offset.iter().zip(middle).map(|(o, m)| o * m).sum::<f64>();
            (offset.iter().map(|o| scale * o).collect(), scale * bias)
        })
    }

    /// Decides for the mean at the smallest angle to the row: `w_c = mu_c / ||mu_c||`, no bias.
    pub fn nearest_direction(&self) -> LinearModel {
        self.model(|class| {
            let length = self.mean(class).iter().map(|m| m * m).sum::<f64>().sqrt();
            let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
            (self.mean(class).iter().map(|m| scale * m).collect(), 0.0)
        })
    }

    /// The linear functions that `of` gives for each class.
    pub(super) fn model(&self, of: impl Fn(usize) -> (Vec<f64>, f64)) -> LinearModel {
        let mut weight = Vec::with_capacity(self.means.len());
        let mut bias = Vec::with_capacity(self.classes());
        for class in 0..self.classes() {
            let (row, intercept) = of(class);
            weight.extend(row.into_iter().map(|w| w as f32));
            bias.push(intercept as f32);
        }
        LinearModel { weight, bias, features: self.features, loss: Loss::Softmax }
    }
}

/// Positions of the rows of each class, ascending.
pub(super) fn positions_by_class(labels: &[u32], classes: usize) -> Vec<Vec<usize>> {
    let mut by_class = vec![Vec::new(); classes];
    for (position, &label) in labels.iter().enumerate() {
        if let Some(positions) = by_class.get_mut(label as usize) {
            positions.push(position);
        }
    }
    by_class
}

/// Mean of the rows at `positions`, the sum of their weights, and their mean squared distance to the mean.
fn mean_of(rows: &Rows<'_>, positions: &[usize], weight: impl Fn(usize) -> f64) -> (Vec<f64>, f64, f64) {
    let mut mean = vec![0.0; rows.features()];
    let (mut total, mut squares) = (0.0, 0.0);
    rows.visit(positions.iter().copied(), |at, row| {
        let weight = weight(positions[at]);
        total += weight;
        row.for_each_entry(|feature, x| {
            mean[feature] += weight * f64::from(x);
            squares += weight * f64::from(x) * f64::from(x);
        });
    });
    let scale = if total > 0.0 { 1.0 / total } else { 0.0 };
    mean.iter_mut().for_each(|m| *m *= scale);
    let scatter = (scale * squares - mean.iter().map(|m| m * m).sum::<f64>()).max(0.0);
    (mean, total, scatter)
}
