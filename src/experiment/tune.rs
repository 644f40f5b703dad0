//! The search for a setting: treatments one after the other while the budget lasts, then ever finer weights around the
//! best, all scored out of fold on the same folds.

use std::ops::ControlFlow;
use std::time::Instant;

use super::compare::{Compared, Judge, Question, Setting};
use super::fold_fits::{FitSettings, FoldData, FoldWatch, fit_folds};
use super::folds::Folds;
use super::readings::{Decision, Readings};
use super::strength::Strength;
use super::treatment::Treatment;
use crate::Result;
use crate::labels::ClassCounts;
use crate::metrics::{Metric, Standing};
use crate::simd::Kernels;
use crate::weighting::{Beta, Scheme};

/// Rounds of refinement of the ratio of weights.
const REFINEMENTS: usize = 2;

/// What a search may cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// Treatments at most.
    pub trials: Option<usize>,
    /// No treatment begins after this moment.
    pub until: Option<Instant>,
}

impl Budget {
    fn is_spent(&self, trials: usize) -> bool {
        self.trials.is_some_and(|most| trials >= most) || self.until.is_some_and(|end| Instant::now() >= end)
    }
}

/// One setting and its out-of-fold score.
#[derive(Debug, Clone)]
pub struct Scored {
    /// Fit and reading.
    pub setting: Setting,
    /// How much the fit may bend.
    pub strength: Strength,
    /// Strength of the adjustment after training.
    pub tau: Option<f64>,
    /// How it stands over all out-of-fold rows.
    pub standing: Standing,
}

/// A finished search.
pub struct Tuned {
    /// Treatments tried, in order.
    pub treatments: Vec<Treatment>,
    /// Every setting of them.
    pub scored: Vec<Scored>,
    /// Place of the chosen one.
    pub best: usize,
    /// The choice made for each fold on the other folds: what its score is worth beyond the rows that chose it.
    pub honest: Compared,
    /// Fits made.
    pub fits: usize,
    /// Whether the budget ended the search.
    pub is_cut_short: bool,
}

/// What is searched over and how it is judged.
pub struct Search<'s> {
    /// The rows.
    pub data: FoldData<'s>,
    /// Rows of each class.
    pub counts: &'s ClassCounts,
    /// One a repeat.
    pub folds: &'s [Folds],
    /// The metric to optimise.
    pub metric: Metric,
    /// What all fits have in common.
    pub settings: &'s FitSettings,
    /// What the search may cost.
    pub budget: Budget,
    /// Key of random choices.
    pub seed: u64,
    /// Kernels.
    pub kernels: &'static Kernels,
}

impl Search<'_> {
    /// Tries `treatments` in order, then refines the weights of the best. `None` where the watch stopped it before the first
    /// was done.
    ///
    /// # Errors
    /// Those of the weighting and the fits.
    pub fn run(&self, treatments: Vec<Treatment>, watch: &mut dyn FoldWatch) -> Result<Option<Tuned>> {
        let mut done = Done::default();
        let mut is_cut_short = false;
        let mut waiting = treatments;
        for round in 0..=REFINEMENTS {
            for treatment in waiting.drain(..) {
                is_cut_short |= self.budget.is_spent(done.treatments.len()) && !done.treatments.is_empty();
                if is_cut_short || self.fit(treatment, &mut done, watch)?.is_break() {
                    is_cut_short = true;
                    break;
                }
            }
            if is_cut_short || round == REFINEMENTS {
                break;
            }
            waiting = self.between_the_best(&done)?;
        }
        if done.treatments.is_empty() {
            return Ok(None);
        }
        let question = self.question();
        let judge = Judge { question: &question, readings: &done.readings };
        let settings: Vec<Setting> = done.scored.iter().map(|scored| scored.setting).collect();
        let honest = judge.compare(&settings);
        let chosen = honest.final_setting;
        let best = settings.iter().position(|setting| *setting == chosen).unwrap_or(0);
        let Done { treatments, scored, fits, .. } = done;
        Ok(Some(Tuned { treatments, scored, best, honest, fits, is_cut_short }))
    }

    fn question(&self) -> Question<'_> {
        Question {
            labels: self.data.labels,
            counts: self.counts,
            folds: self.folds,
            candidates: &[],
            metric: self.metric,
            taus: self.settings.taus.len(),
            seed: self.seed,
        }
    }

    fn fit(
        &self,
        treatment: Treatment,
        done: &mut Done,
        watch: &mut dyn FoldWatch,
    ) -> Result<ControlFlow<()>> {
        let one = std::slice::from_ref(&treatment);
        let learner = |scored: &&Scored| done.treatments[scored.setting.treatment].learner;
        let alike: Vec<&Scored> = done.scored.iter().filter(|s| learner(s) == treatment.learner).collect();
        let standings: Vec<Standing> = alike.iter().map(|scored| scored.standing).collect();
        let near = Standing::choose(&standings).map(|best| alike[best].strength);
        let settings = FitSettings { near, ..self.settings.clone() };
        let table = fit_folds(self.data, self.folds, one, &settings, self.kernels, watch)?;
        // A part of the folds is not to be held against all of them.
        let Some(table) = table.filter(|table| table.is_complete(self.folds)) else {
            return Ok(ControlFlow::Break(()));
        };
        let place = done.treatments.len();
        done.fits += table.work.fits;
        done.readings.extend(table.readings);
        let taus = self.settings.taus_of(&treatment);
        let adjusted = taus.iter().enumerate().map(|(at, &tau)| (Decision::Adjusted(at), Some(tau)));
        let trained = (!treatment.is_adjusted).then_some((Decision::MostProbable, None));
        let decisions: Vec<(Decision, Option<f64>)> = trained.into_iter().chain(adjusted).collect();
        let question = self.question();
        let judge = Judge { question: &question, readings: &done.readings };
        let held = &self.folds[0];
        for (at, level) in table.levels[0].iter().enumerate() {
            for &(decision, tau) in &decisions {
                let setting = Setting { treatment: place, level: at, decision };
                let rows = (0..self.data.labels.len()).filter(|&row| held.fold_of(row).is_some());
                let standing = judge.standing(setting, 0, rows);
                done.scored.push(Scored { setting, strength: level.strength, tau, standing });
            }
        }
        done.treatments.push(treatment);
        Ok(ControlFlow::Continue(()))
    }

    /// Treatments of the loss that does best whose ratio of weights lies between the best one's and its neighbours'.
    fn between_the_best(&self, done: &Done) -> Result<Vec<Treatment>> {
        let standings: Vec<Standing> = done.scored.iter().map(|scored| scored.standing).collect();
        let Some(best) = Standing::choose(&standings) else { return Ok(Vec::new()) };
        let best = &done.treatments[done.scored[best].setting.treatment];
        let Some((n_min, n_max)) = self.counts.extremes().filter(|_| best.is_weighting()) else {
            return Ok(Vec::new());
        };
        let ratio_of = |scheme: &Scheme| match scheme {
            Scheme::None => Some(1.0),
            Scheme::Inverse => Some(n_max / n_min),
            Scheme::Effective(beta) => Some(beta.weight_ratio(n_max, n_min)),
            Scheme::Sqrt | Scheme::Custom(_) => None,
        };
        let Some(at) = ratio_of(&best.scheme) else { return Ok(Vec::new()) };
        let mut ratios: Vec<f64> = done
            .treatments
            .iter()
            .filter(|other| (other.learner, other.loss) == (best.learner, best.loss) && other.is_weighting())
            .filter_map(|other| ratio_of(&other.scheme))
            .collect();
        ratios.sort_by(f64::total_cmp);
        let below = ratios.iter().copied().rfind(|&ratio| ratio < at);
        let above = ratios.iter().copied().find(|&ratio| ratio > at);
        let mut between = Vec::new();
        for neighbour in [below, above].into_iter().flatten() {
            let ratio = (at * neighbour).sqrt();
            let scheme = Scheme::Effective(Beta::for_ratio(ratio, n_max, n_min)?);
            between.push(Treatment { scheme, ..best.clone() });
        }
        Ok(between)
    }
}

#[derive(Default)]
struct Done {
    treatments: Vec<Treatment>,
    readings: Vec<Vec<Vec<Readings>>>,
    scored: Vec<Scored>,
    fits: usize,
}
