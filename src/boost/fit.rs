//! A whole boosted fit: rounds until rows held out gain no more.

use std::ops::ControlFlow;

use super::model::BoostedTree;
use super::trainer::{Round, Trainer};
use crate::metrics::Standing;

/// When a fit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping {
    /// Rounds of the model at most, those included that it has before the fit.
    pub rounds: usize,
    /// Rounds without a better score after which the fit ends, where there is a score: a higher metric or, where that is
    /// noisy, a lower balanced log-loss, which decides within the noise. Recall moves in steps, and while it waits for
    /// the next the loss still falls.
    pub patience: usize,
}

/// Scores the fit as it is.
pub type Score<'s> = dyn FnMut(&Trainer<'_>) -> Standing + 's;

/// What a fit came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Rounds kept, those included that the model had before the fit.
    pub rounds: usize,
    /// Rounds made, and those before.
    pub made: usize,
    /// Whether the watch ended it.
    pub interrupted: bool,
    /// Score after each round made, and after each before it where these are known; empty without a score.
    pub scores: Vec<Standing>,
}

/// Sees the fit after each round, its score where it has one; `Break` ends the fit.
pub type Watch<'w> = dyn FnMut(&Trainer<'_>, &Round, Option<Standing>) -> ControlFlow<()> + 'w;

/// Rounds that a score is averaged over: metrics of labels move in steps.
const SMOOTHED: usize = 3;

/// Rounds without any cut after which further ones are not waited for: with samples of rows or columns one may come empty.
const FRUITLESS: usize = 5;

/// Boosts `trainer`, and leaves it with the rounds that [`Standing::choose`] picks, or with all of them where nothing scores
/// them. What it starts from has a score as well where that is more than a constant: none of the new rounds is kept where
/// none is better.
pub fn fit(
    trainer: &mut Trainer<'_>,
    stopping: Stopping,
    score: Option<&mut Score<'_>>,
    watch: &mut Watch<'_>,
) -> Outcome {
    resume(trainer, stopping, &[], Past::default(), score, watch)
}

/// Rounds that a fit had made when it was left: their trees, and the score after each where there is a score.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    /// Trees in the order of their rounds.
    pub trees: Vec<BoostedTree>,
    /// One a round.
    pub scores: Vec<Standing>,
}

/// Goes on with a fit of which `trainer` has the rounds so far. With `scores`, which the same score gave after each of
/// them, it ends as one fit without a break would. `past` are rounds that this very call has made before it was left.
pub fn resume(
    trainer: &mut Trainer<'_>,
    stopping: Stopping,
    scores: &[Standing],
    past: Past,
    mut score: Option<&mut Score<'_>>,
    watch: &mut Watch<'_>,
) -> Outcome {
    let first = trainer.model().rounds();
    let mut progress = Progress::default();
    match score.as_mut() {
        Some(_) if first > 0 && scores.len() == first => {
            scores.iter().enumerate().for_each(|(before, &score)| progress.add(before + 1, score));
        }
        Some(score) if trainer.starts_from_a_model() => progress.add_candidate(first, score(trainer)),
        _ => {}
    }
    let mut made = first;
    let mut interrupted = false;
    let mut fruitless = 0;
    if !past.trees.is_empty() {
        fruitless = fruitless_end(&past.trees, trainer.rounds_of(&past.trees));
        trainer.extend(past.trees);
        made = trainer.model().rounds();
        (first + 1..).zip(past.scores).for_each(|(round, score)| progress.add(round, score));
    }
    let is_over = |progress: &Progress, made| {
        !progress.scores.is_empty() && made - progress.last_gain >= stopping.patience
    };
    while made < stopping.rounds && fruitless < FRUITLESS && !is_over(&progress, made) {
        let trees_before = trainer.model().trees.len();
        let Some(round) = trainer.whole_round() else {
            interrupted = true;
            break;
        };
        made += 1;
        let trees = trainer.model().trees.len() - trees_before;
        fruitless = if round.leaves > trees { 0 } else { fruitless + 1 };
        let scored = score.as_mut().map(|score| score(trainer));
        if let Some(standing) = scored {
            progress.add(made, standing);
        }
        if watch(trainer, &round, scored).is_break() {
            interrupted = true;
            break;
        }
    }
    let rounds = progress.chosen().unwrap_or(if score.is_some() { first } else { made });
    trainer.truncate(rounds);
    Outcome { rounds, made, interrupted, scores: progress.scores }
}

/// Rounds at the end of `trees`, which are those of `rounds` rounds, that have no cut.
fn fruitless_end(trees: &[BoostedTree], rounds: usize) -> usize {
    let a_round = (trees.len() / rounds.max(1)).max(1);
    let is_fruitless = |trees: &&[BoostedTree]| trees.iter().all(|tree| tree.tree.leaves() == 1);
    trees.rchunks(a_round).take_while(is_fruitless).count()
}

/// How the rounds so far stand.
#[derive(Default)]
struct Progress {
    /// After each round, as scored.
    scores: Vec<Standing>,
    /// Numbers of rounds to choose from, and how they stand, their metrics averaged.
    candidates: Vec<(usize, Standing)>,
    /// The highest metric and the lowest loss of the candidates.
    best: Option<(f64, f64)>,
    /// The last round that was better than all before in one of the two.
    last_gain: usize,
}

impl Progress {
    /// Takes in the score after round `made`.
    fn add(&mut self, made: usize, standing: Standing) {
        self.scores.push(standing);
        let recent = &self.scores[self.scores.len().saturating_sub(SMOOTHED)..];
        let metric = recent.iter().map(|standing| standing.metric).sum::<f64>() / recent.len() as f64;
        self.add_candidate(made, Standing { metric, ..standing });
    }

    /// Takes in how a number of rounds stands that may be kept.
    fn add_candidate(&mut self, rounds: usize, standing: Standing) {
        let Standing { metric, balanced_log_loss: loss, noise } = standing;
        let (highest, lowest) = self.best.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let may_decide = noise > 0.0;
        if self.best.is_none() || metric > highest || may_decide && loss < lowest {
            self.last_gain = rounds;
        }
        self.best = Some((highest.max(metric), lowest.min(loss)));
        self.candidates.push((rounds, standing));
    }

    /// Rounds to keep.
    fn chosen(&self) -> Option<usize> {
        let standings: Vec<Standing> = self.candidates.iter().map(|&(_, standing)| standing).collect();
        Standing::choose(&standings).map(|best| self.candidates[best].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boost::binning::{Binner, BinningOptions};
    use crate::boost::options::BoostOptions;
    use crate::boost::trainer::BoostProblem;
    use crate::loss::Loss;
    use crate::matrix::Matrix;
    use crate::metrics::Metric;
    use crate::simd::Kernels;

    /// Rows that a line tells apart, before the first round.
    fn with_trainer<T>(test: impl FnOnce(&mut Trainer<'_>) -> T) -> T {
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
        test(&mut Trainer::new(problem, &BoostOptions::default(), Kernels::best()).unwrap())
    }

    /// Fits these rows, scored by `score` of the number of rounds.
    fn outcome(
        stopping: Stopping,
        score: Option<&mut dyn FnMut(usize) -> Standing>,
        end: usize,
    ) -> (Outcome, usize) {
        let mut by_rounds = score.map(|score| move |trainer: &Trainer<'_>| score(trainer.model().rounds()));
        let score = by_rounds.as_mut().map(|score| score as &mut Score<'_>);
        let mut watch = |_: &Trainer<'_>, round: &Round, _: Option<Standing>| {
            if round.number == end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        with_trainer(|trainer| {
            let outcome = fit(trainer, stopping, score, &mut watch);
            (outcome, trainer.model().rounds())
        })
    }

    /// A measure without noise.
    fn exact(value: f64) -> Standing {
        Standing::new(Metric::LogLoss, -value, 0.0, f64::NAN)
    }

    #[test]
    fn the_best_round_is_kept_and_patience_ends_the_fit() {
        let mut peak = |rounds: usize| exact(-((rounds as f64) - 7.0).abs());
        let (outcome, kept) = outcome(Stopping { rounds: 50, patience: 4 }, Some(&mut peak), usize::MAX);
        // The mean of three rounds is highest at 6, 7, 8.
        assert_eq!((outcome.rounds, outcome.made, kept), (8, 12, 8));
        assert_eq!(outcome.scores.len(), 12);
    }

    #[test]
    fn within_the_noise_of_recall_the_balanced_log_loss_decides_and_is_waited_for() {
        // Recall is highest at round 2 and level with that from 2 to 16; the loss is lowest at 12.
        let mut recall = |rounds: usize| {
            let value = if rounds == 2 {
                0.61
            } else if rounds <= 16 {
                0.60
            } else {
                0.50
            };
            Standing::new(Metric::MacroRecall, value, 0.04, 1.0 + ((rounds as f64) - 12.0).abs())
        };
        let (outcome, kept) = outcome(Stopping { rounds: 50, patience: 5 }, Some(&mut recall), usize::MAX);
        assert_eq!((outcome.rounds, outcome.made, kept), (12, 17, 12));
    }

    #[test]
    fn scores_that_are_no_numbers_are_worst() {
        let mut broken = |rounds: usize| exact(if rounds < 3 { f64::NAN } else { 1.0 });
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

    #[test]
    fn a_fit_goes_on_as_if_it_had_not_been_left() {
        let peak = |trainer: &Trainer<'_>| exact(-((trainer.model().rounds() as f64) - 7.0).abs());
        let scored = |trainer: &mut Trainer<'_>, rounds, scores: &[Standing]| {
            let stopping = Stopping { rounds, patience: 4 };
            let past = Past::default();
            resume(trainer, stopping, scores, past, Some(&mut { peak }), &mut |_, _, _| {
                ControlFlow::Continue(())
            })
        };
        let whole = with_trainer(|trainer| scored(trainer, 50, &[]));
        for rounds in [1, 5, 8] {
            let parts = with_trainer(|trainer| {
                let first = scored(trainer, rounds, &[]);
                scored(trainer, 50, &first.scores)
            });
            assert_eq!(parts, whole, "left after {rounds} rounds");
        }
        // Scores of other rows say nothing: what there is has a score of its own, and nothing better comes.
        let past = with_trainer(|trainer| {
            for _ in 0..9 {
                trainer.round();
            }
            let outcome = scored(trainer, 50, &[exact(0.0)]);
            (outcome, trainer.model().rounds())
        });
        assert_eq!((past.0.rounds, past.0.made, past.1), (9, 13, 9));
    }
}
