//! Resampled training sets as what they are: the same rows with whole-number weights.
//!
//! A row drawn k times counts as one row of weight k, so that a fit over a million draws reads no more rows than there
//! are, and every tool for weighted rows serves: the shares of the classes change as under class weights, and
//! [`super::prior::PriorCorrection`] takes the ratio of a class's resampled to its original share as its weight.

use serde::{Deserialize, Serialize};

use crate::rng::CounterRng;

/// How a balanced set of rows is drawn from a long-tailed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// As many draws as there are rows: classes take turns, as in the sampler of Kang et al. 2020, and each draw takes
    /// one row of its class, all alike and with replacement. A linear fit over fixed features is then their cRT.
    Balanced,
    /// Every row once, and in each class random ones again, with replacement, up to the rows of the largest class.
    Over,
    /// In each class as many random rows as the smallest has, without replacement.
    Under,
}

/// Stream of the classes that get one draw more where the draws do not divide evenly; classes use those below.
const REMAINDER: u64 = u64::MAX;

impl Resampling {
    /// `"balanced"`, `"over"` or `"under"`.
    pub fn name(self) -> &'static str {
        match self {
            Resampling::Balanced => "balanced",
            Resampling::Over => "over",
            Resampling::Under => "under",
        }
    }

    /// How often each row is drawn: one whole number a label, 0 for one that is not among the `classes`. Depends on
    /// nothing but the arguments; each class with rows keeps at least one.
    pub fn multiplicities(self, labels: &[u32], classes: usize, seed: u64) -> Vec<f64> {
        let mut rows_of = vec![Vec::new(); classes];
        for (row, &label) in labels.iter().enumerate() {
            if let Some(rows) = rows_of.get_mut(label as usize) {
                rows.push(row);
            }
        }
        let present: Vec<usize> = (0..classes).filter(|&class| !rows_of[class].is_empty()).collect();
        let sizes = || present.iter().map(|&class| rows_of[class].len());
        let (smallest, largest) = (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0));
        let turns = self.turns(sizes().sum(), &present, classes, seed);
        let mut times = vec![0.0; labels.len()];
        for &class in &present {
            let rows = &mut rows_of[class];
            let mut rng = CounterRng::new(seed, class as u64);
            let mut draw = |rows: &[usize], draws: usize| {
                (0..draws).for_each(|_| times[rows[rng.below(rows.len())]] += 1.0);
            };
            match self {
                Resampling::Balanced => draw(rows, turns[class]),
                Resampling::Over => {
                    draw(rows, largest - rows.len());
                    rows.iter().for_each(|&row| times[row] += 1.0);
                }
                Resampling::Under => {
                    rng.shuffle(rows);
                    rows[..smallest].iter().for_each(|&row| times[row] = 1.0);
                }
            }
        }
        times
    }

    /// Draws of each class where classes take turns over `rows` draws.
    fn turns(self, rows: usize, present: &[usize], classes: usize, seed: u64) -> Vec<usize> {
        let mut turns = vec![0; classes];
        if self == Resampling::Balanced && !present.is_empty() {
            let mut order = present.to_vec();
            CounterRng::new(seed, REMAINDER).shuffle(&mut order);
            for (place, class) in order.into_iter().enumerate() {
                turns[class] = rows / present.len() + usize::from(place < rows % present.len());
            }
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{ClassCounts, UNSEEN};

    /// 30, 7 and 4 rows, the classes mixed, and one label of no class.
    fn labels() -> Vec<u32> {
        let mut labels: Vec<u32> =
            (0..41).map(|row| if row < 30 { 0 } else { 1 + u32::from(row >= 37) }).collect();
        CounterRng::new(5, 0).shuffle(&mut labels);
        labels.push(UNSEEN);
        labels
    }

    fn drawn(resampling: Resampling, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let labels = labels();
        let times = resampling.multiplicities(&labels, 3, seed);
        assert_eq!((times.len(), times[41]), (42, 0.0));
        let counts = ClassCounts::of(&labels, Some(&times), 3);
        (times, counts.weighted)
    }

    #[test]
    fn classes_come_out_equal() {
        assert_eq!(drawn(Resampling::Over, 1).1, [30.0; 3]);
        assert_eq!(drawn(Resampling::Under, 1).1, [4.0; 3]);
        let mut balanced = drawn(Resampling::Balanced, 1).1;
        balanced.sort_by(f64::total_cmp);
        assert_eq!(balanced, [13.0, 14.0, 14.0], "41 draws over three classes");
    }

    #[test]
    fn over_keeps_every_row_and_under_repeats_none() {
        assert!(drawn(Resampling::Over, 2).0[..41].iter().all(|&times| times >= 1.0));
        assert!(drawn(Resampling::Under, 2).0.iter().all(|&times| times == 0.0 || times == 1.0));
        assert!(
            drawn(Resampling::Balanced, 2).0.contains(&0.0),
            "most rows of the largest class are left out"
        );
    }

    #[test]
    fn draws_follow_the_seed_alone() {
        for resampling in [Resampling::Balanced, Resampling::Over, Resampling::Under] {
            assert_eq!(drawn(resampling, 3), drawn(resampling, 3));
            assert_ne!(drawn(resampling, 3).0, drawn(resampling, 4).0, "{}", resampling.name());
        }
    }

    #[test]
    fn rows_of_a_class_are_equally_likely() {
        let labels = [0, 0, 0, 0, 1, 1];
        for resampling in [Resampling::Balanced, Resampling::Under] {
            let mut sums = [0.0; 4];
            for seed in 0..4000 {
                let times = resampling.multiplicities(&labels, 2, seed);
                sums.iter_mut().zip(&times).for_each(|(sum, times)| *sum += times);
            }
            // 3,000 and 2,000 expected; five standard deviations are 240 and 160.
            let expected: f64 = sums.iter().sum::<f64>() / 4.0;
            assert!(sums.iter().all(|sum| (sum - expected).abs() < 0.08 * expected), "{sums:?}");
        }
    }

    #[test]
    fn classes_without_rows_are_passed_over() {
        assert_eq!(Resampling::Over.multiplicities(&[2, 2, 0], 4, 0)[2], 2.0);
        assert!(Resampling::Balanced.multiplicities(&[], 3, 0).is_empty());
    }

    #[test]
    fn every_way_has_its_name() {
        let names = [Resampling::Balanced, Resampling::Over, Resampling::Under].map(Resampling::name);
        assert_eq!(names, ["balanced", "over", "under"]);
    }
}
