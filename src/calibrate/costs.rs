//! Decisions by least expected cost (Elkan, IJCAI 2001): the class k of least `sum_y p_y cost(y, k)`.

use rayon::prelude::*;

/// What it costs to predict one class where another is true.
#[derive(Debug, Clone, PartialEq)]
pub struct CostMatrix {
    classes: usize,
    /// C x C: row y, the true class, holds the cost of each prediction.
    costs: Vec<f64>,
}

/// What the costs of two classes amount to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// The second class is predicted where its probability is above this.
    Above(f64),
    /// The second class is predicted where its probability is below this: every mistake is cheaper than being right.
    Below(f64),
    /// This class never costs more than the other one.
    Always(u32),
}

impl CostMatrix {
    /// Costs of `classes` classes, row-major by true class; `None` unless these are C x C finite numbers.
    pub fn new(costs: Vec<f64>, classes: usize) -> Option<Self> {
        let fits = classes > 0 && classes.checked_mul(classes) == Some(costs.len());
        (fits && costs.iter().all(|cost| cost.is_finite())).then_some(CostMatrix { classes, costs })
    }

    /// The class of least expected cost of each row of `probabilities` (rows x C); the first among equals.
    pub fn decide(&self, probabilities: &[f32]) -> Vec<u32> {
        let room = || vec![0.0; self.classes];
        probabilities
            .par_chunks_exact(self.classes)
            .map_init(room, |expected, row| {
                expected.fill(0.0);
                for (p, costs) in row.iter().zip(self.costs.chunks_exact(self.classes)) {
                    if *p > 0.0 {
                        let p = f64::from(*p);
                        expected.iter_mut().zip(costs).for_each(|(sum, cost)| *sum += p * cost);
                    }
                }
                let best =
                    (1..self.classes).fold(0, |best, k| if expected[k] < expected[best] { k } else { best });
                best as u32
            })
            .collect()
    }

    /// Mean cost of the decisions `predicted` for rows of the classes `labels`, weighted by `row_weights`; rows of
    /// labels the matrix does not know have no cost and are left out. NaN without other rows.
    pub fn mean(&self, labels: &[u32], predicted: &[u32], row_weights: Option<&[f64]>) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for (row, (&label, &predicted)) in labels.iter().zip(predicted).enumerate() {
            let (y, k) = (label as usize, predicted as usize);
            if y < self.classes && k < self.classes {
                let weight = row_weights.map_or(1.0, |weights| weights[row]);
                sum += weight * self.costs[y * self.classes + k];
                total += weight;
            }
        }
        sum / total
    }

    /// The threshold on the probability of the second of two classes, `(c01 - c00) / (c01 - c00 + c10 - c11)` with
    /// `c_yk` the cost of predicting k where y is true; `None` for another number of classes.
    pub fn threshold(&self) -> Option<Threshold> {
        let [c00, c01, c10, c11] = self.costs[..] else { return None };
        let (false_alarm, miss) = (c01 - c00, c10 - c11);
        let at = false_alarm / (false_alarm + miss);
        Some(if false_alarm > 0.0 && miss > 0.0 {
            Threshold::Above(at)
        } else if false_alarm < 0.0 && miss < 0.0 {
            Threshold::Below(at)
        } else {
            Threshold::Always(u32::from(false_alarm < 0.0 || miss > 0.0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(costs: [f64; 4]) -> CostMatrix {
        CostMatrix::new(costs.into(), 2).unwrap()
    }

    #[test]
    fn costs_of_one_for_every_mistake_are_the_argmax() {
        let zero_one = CostMatrix::new(vec![0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0], 3).unwrap();
        let p = [0.5, 0.25, 0.25, 0.25, 0.25, 0.5, 0.375, 0.375, 0.25, 0.0, 1.0, 0.0];
        assert_eq!(zero_one.decide(&p), [0, 2, 0, 1]);
        assert_eq!(zero_one.mean(&[0, 0, 9, 1], &[0, 2, 0, 1], None), 1.0 / 3.0);
        assert_eq!(zero_one.mean(&[0, 0, 9, 1], &[0, 2, 0, 1], Some(&[1.0, 2.0, 9.0, 1.0])), 0.5);
        assert!(zero_one.mean(&[9], &[0], None).is_nan());
    }

    #[test]
    fn a_dear_mistake_moves_the_decision_to_its_threshold() {
        // Missing class 1 costs nine times a false alarm: class 1 from a tenth on.
        let costs = two([0.0, 1.0, 9.0, 0.0]);
        assert_eq!(costs.threshold(), Some(Threshold::Above(0.1)));
        assert_eq!(costs.decide(&[0.91, 0.09, 0.89, 0.11]), [0, 1]);
        // What is right may cost, too: only differences within a row count.
        let shifted = two([5.0, 6.0, 10.0, 1.0]);
        assert_eq!(shifted.threshold(), costs.threshold());
        assert_eq!(shifted.decide(&[0.91, 0.09, 0.89, 0.11]), [0, 1]);
        assert_eq!(two([1.0, 0.0, 0.0, 1.0]).threshold(), Some(Threshold::Below(0.5)));
        assert_eq!(two([1.0, 0.0, 0.0, 1.0]).decide(&[0.75, 0.25]), [1]);
        assert_eq!(two([0.0, 1.0, 0.0, 1.0]).threshold(), Some(Threshold::Always(0)));
        assert_eq!(two([1.0, 0.0, 1.0, 0.0]).threshold(), Some(Threshold::Always(1)));
        assert_eq!(CostMatrix::new(vec![0.0; 9], 3).unwrap().threshold(), None);
    }

    #[test]
    fn matrices_of_another_shape_or_without_numbers_are_none() {
        assert!(CostMatrix::new(vec![0.0; 5], 2).is_none());
        assert!(CostMatrix::new(Vec::new(), 0).is_none());
        assert!(CostMatrix::new(vec![0.0, f64::NAN, 1.0, 0.0], 2).is_none());
    }
}
