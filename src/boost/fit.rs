//! A whole boosted fit: rounds until rows held out gain no more.

use std::ops::ControlFlow;

use super::trainer::{Round, Trainer};

/// When a fit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping {
    /// Rounds at most.
    pub rounds: usize,
    /// Rounds without a better score after which the fit ends, where there is a score.
    pub patience: usize,
}

/// Scores the fit as it is; larger is better, NaN is worst.
pub type Score<'s> = dyn FnMut(&Trainer<'_>) -> f64 + 's;

/// What a fit came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Rounds kept.
    pub rounds: usize,
    /// Rounds made.
    pub made: usize,
    /// Whether the watch ended it.
    pub interrupted: bool,
    /// Score after each round made; empty without a score.
    pub scores: Vec<f64>,
}

/// Rounds that a score is averaged over: metrics of labels move in steps.
const SMOOTHED: usize = 3;

/// Rounds without any cut after which further ones are not waited for: with samples of rows or columns one may come empty.
const FRUITLESS: usize = 5;

/// Boosts `trainer`, and leaves it with the rounds of the best score, or with all of them where nothing scores it.
pub fn fit(
    trainer: &mut Trainer<'_>,
    stopping: Stopping,
    mut score: Option<&mut Score<'_>>,
    watch: &mut dyn FnMut(&Round, Option<f64>) -> ControlFlow<()>,
) -> Outcome {
    let mut outcome = Outcome { rounds: 0, made: 0, interrupted: false, scores: Vec::new() };
    let mut best: Option<f64> = None;
    let mut fruitless = 0;
    while outcome.made < stopping.rounds && fruitless < FRUITLESS {
        let trees_before = trainer.model().trees.len();
        let round = trainer.round();
        outcome.made += 1;
        let trees = trainer.model().trees.len() - trees_before;
        fruitless = if round.leaves > trees { 0 } else { fruitless + 1 };
        let scored = score.as_mut().map(|score| score(trainer));
        match scored {
            None => outcome.rounds = outcome.made,
            Some(value) => {
                outcome.scores.push(if value.is_nan() { f64::NEG_INFINITY } else { value });
                let recent = &outcome.scores[outcome.scores.len().saturating_sub(SMOOTHED)..];
                let smoothed = recent.iter().sum::<f64>() / recent.len() as f64;
                if best.is_none_or(|best| smoothed > best) {
                    best = Some(smoothed);
                    outcome.rounds = outcome.made;
                }
            }
        }
        if watch(&round, scored).is_break() {
            outcome.interrupted = true;
            break;
        }
        if scored.is_some() && outcome.made - outcome.rounds >= stopping.patience {
            break;
        }
    }
    trainer.truncate(outcome.rounds);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boost::binning::{Binner, BinningOptions};
    use crate::boost::options::BoostOptions;
    use crate::boost::trainer::BoostProblem;
    use crate::loss::Loss;
    use crate::matrix::Matrix;
    use crate::simd::Kernels;

    /// Fits rows that a line tells apart, scored by `score` of the number of rounds.
    fn outcome(
        stopping: Stopping,
        score: Option<&mut dyn FnMut(usize) -> f64>,
        end: usize,
    ) -> (Outcome, usize) {
        let values: Vec<f32> = (0..200).map(|row| (row * 37 % 200) as f32).collect();
        let labels: Vec<u32> = values.iter().map(|&x| u32::from(x > 60.0) + u32::from(x > 150.0)).collect();
        let matrix = Matrix::from_f32(values, 1);
        let binner = Binner::fit(&matrix, &labels, &BinningOptions::default()).unwrap();
        let binned = binner.bin(&matrix).unwrap();
        let problem = BoostProblem {
            features: &binned,
            binner: &binner,
            labels: &labels,
            weights: &[1.0; 200],
            classes: 3,
            loss: Loss::Softmax,
            offsets: None,
            start: None,
        };
        let mut trainer = Trainer::new(problem, &BoostOptions::default(), Kernels::best()).unwrap();
        let mut by_rounds = score.map(|score| move |trainer: &Trainer<'_>| score(trainer.model().rounds()));
        let score = by_rounds.as_mut().map(|score| score as &mut Score<'_>);
        let mut watch = |round: &Round, _| {
            if round.number == end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let outcome = fit(&mut trainer, stopping, score, &mut watch);
        (outcome, trainer.model().rounds())
    }

    #[test]
    fn the_best_round_is_kept_and_patience_ends_the_fit() {
        let mut peak = |rounds: usize| -((rounds as f64) - 7.0).abs();
        let (outcome, kept) = outcome(Stopping { rounds: 50, patience: 4 }, Some(&mut peak), usize::MAX);
        // The mean of three rounds is highest at 6, 7, 8.
        assert_eq!((outcome.rounds, outcome.made, kept), (8, 12, 8));
        assert_eq!(outcome.scores.len(), 12);
    }

    #[test]
    fn scores_that_are_no_numbers_are_worst() {
        let mut broken = |rounds: usize| if rounds < 3 { f64::NAN } else { 1.0 };
        let (outcome, kept) = outcome(Stopping { rounds: 9, patience: 9 }, Some(&mut broken), usize::MAX);
        assert_eq!((outcome.made, outcome.rounds, kept), (9, 5, 5));
    }

    #[test]
    fn without_a_score_all_rounds_stay_and_a_watch_ends_it() {
        let (all, kept) = outcome(Stopping { rounds: 6, patience: 1 }, None, usize::MAX);
        assert_eq!((all.rounds, kept, all.interrupted), (6, 6, false));
        let (stopped, kept) = outcome(Stopping { rounds: 6, patience: 1 }, None, 4);
        assert_eq!((stopped.rounds, kept, stopped.interrupted), (4, 4, true));
    }
}
