//! Some rows of a problem that stand for all: stratified, the weights of a class scaled to what the whole class weighs.

use super::problem::Problem;
use super::rows::Rows;

/// Rows that a class keeps if it has them.
const FEWEST_OF_CLASS: usize = 8;

/// Some rows of a problem.
pub(super) struct Sample<'a> {
    rows: Rows<'a>,
    pub(super) index: Vec<usize>,
    labels: Vec<u32>,
    weights: Vec<f32>,
}

impl<'a> Sample<'a> {
    /// About `size` rows, evenly spaced within each class.
    pub(super) fn of(problem: &Problem<'a>, size: usize) -> Self {
        let mut counts = vec![0usize; problem.classes];
        for &label in problem.labels {
            counts[label as usize] += 1;
        }
        let rows = problem.labels.len();
        let taken: Vec<usize> =
            counts.iter().map(|&n| (n * size).div_ceil(rows.max(1)).max(FEWEST_OF_CLASS).min(n)).collect();
        let mut seen = vec![0usize; problem.classes];
        let mut positions = Vec::with_capacity(size);
        for (position, &label) in problem.labels.iter().enumerate() {
            let class = label as usize;
            let (before, after) = (seen[class] * taken[class], (seen[class] + 1) * taken[class]);
            seen[class] += 1;
            if before / counts[class] < after / counts[class] {
                positions.push(position);
            }
        }
        let scale = |class: usize| counts[class] as f64 / taken[class] as f64;
        let labels: Vec<u32> = positions.iter().map(|&at| problem.labels[at]).collect();
        let weights = positions
            .iter()
            .zip(&labels)
            .map(|(&at, &label)| (f64::from(problem.weights[at]) * scale(label as usize)) as f32)
            .collect();
        let index = positions.iter().map(|&position| problem.rows.matrix_row(position)).collect();
        Sample { rows: problem.rows, index, labels, weights }
    }

    /// `whole` with these rows alone.
    pub(super) fn problem<'s>(&'s self, whole: &Problem<'s>) -> Problem<'s>
    where
        'a: 's,
    {
        let rows = Rows::chosen(self.rows.matrix(), &self.index);
        Problem { rows, labels: &self.labels, weights: &self.weights, ..*whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Loss;
    use crate::matrix::Matrix;

    #[test]
    fn a_sample_keeps_rare_classes_and_the_weight_of_each() {
        let labels: Vec<u32> = (0..1000).map(|row| if row % 100 == 0 { 1 } else { 0 }).collect();
        let weights = vec![0.5; 1000];
        let matrix = Matrix::from_f32(vec![0.0; 1000], 1);
        let rows = Rows::all(&matrix);
        let whole = Problem::new(rows, &labels, &weights, 2, Loss::Softmax, 0.1);
        let sample = Sample::of(&whole, 100);
        let of_class = |class| sample.labels.iter().filter(|&&label| label == class).count();
        assert_eq!((of_class(0), of_class(1)), (99, FEWEST_OF_CLASS));
        let weight = |class| {
            let of_class = sample.labels.iter().zip(&sample.weights).filter(|(label, _)| **label == class);
            of_class.map(|(_, &weight)| weight).sum::<f32>()
        };
        assert!((weight(0) - 495.0).abs() < 1e-3 && (weight(1) - 5.0).abs() < 1e-3);
        assert!(sample.index.is_sorted());
    }
}
