//! Which weighting helps on given rows, if any, and by how much.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::coding::{check_lengths, coded};
use super::features::Features;
use super::request::Cancel;
use super::{Weighting, refuse};
use crate::Result;
use crate::boost::binning::BinningOptions;
use crate::boost::options::BoostOptions;
use crate::data::check_finite;
use crate::data::scale::{Scale, Scaler};
use crate::experiment::boost_fits::BoostSettings;
use crate::experiment::compare::{Question, compare as compare_fits};
use crate::experiment::fold_fits::{FitSettings, FoldData, FoldWatch, fit_folds};
use crate::experiment::folds::Folds;
use crate::experiment::linear_fits::LinearSettings;
use crate::experiment::strength::Strength;
use crate::experiment::treatment::{TAUS, Treatment, standard_treatments};
use crate::experiment::verdict::{best, find};
use crate::labels::ClassCounts;
use crate::linear::fit::Optimizer;
use crate::linear::problem::Decay;
use crate::loss::Loss;
use crate::matrix::Matrix;
use crate::metrics::Metric;
use crate::model::Learner;
use crate::simd::Kernels;
use crate::weighting::Prior;

/// What is compared: on every candidate the same folds and the same search for l2 or rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Contest {
    /// What fits; by default linear functions.
    pub learners: Vec<Learner>,
    /// Losses; by default softmax.
    pub losses: Vec<Loss>,
    /// Weightings; `None`: none, none adjusted after training, square root, the betas that differ on these counts, inverse,
    /// and the logit-adjusted loss.
    pub weightings: Option<Vec<Weighting>>,
    /// Stratified folds, at least 2; by default 5.
    pub folds: usize,
    /// Times that rows are dealt to folds anew; by default 1.
    pub repeats: usize,
    /// What decides; by default macro recall.
    pub metric: Metric,
    /// Whether linear functions are of features standardised by the rows of each fit; by default no.
    pub standardize: bool,
    /// Key of folds and draws; by default 0.
    pub seed: u64,
}

impl Default for Contest {
    fn default() -> Self {
        Contest {
            learners: vec![Learner::Linear],
            losses: vec![Loss::Softmax],
            weightings: None,
            folds: 5,
            repeats: 1,
            metric: Metric::MacroRecall,
            standardize: false,
            seed: 0,
        }
    }
}

/// One treatment of the imbalance and how it did out of fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name: learner and loss where there are several, and the weighting.
    pub name: String,
    /// The deciding metric, mean over repeats.
    pub value: f64,
    /// Difference from the first candidate, with the ends of its 95 % interval (paired stratified bootstrap); `None` of the
    /// first.
    pub difference: Option<[f64; 3]>,
    /// p-value of that difference after Holm's correction.
    pub p_holm: Option<f64>,
    /// Log-loss under the natural prior.
    pub natural_log_loss: f64,
    /// Calibration error under the natural prior.
    pub natural_ece: f64,
}

/// All candidates, and what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The first is the baseline, without weights.
    pub candidates: Vec<Candidate>,
    /// Place of the one to take: the simplest within a standard error of the best.
    pub recommended: usize,
    /// Place of the one with the best metric.
    pub best: usize,
    /// The finding in a sentence or two.
    pub verdict: String,
    /// The deciding metric.
    pub metric: String,
}

/// Compares treatments of the imbalance on rows `x` with labels `y`. `None` where `cancel` came before two folds were done.
///
/// # Errors
/// [`crate::Error::BadValue`] for a setting out of its range; [`crate::Error::LengthMismatch`], [`crate::Error::NotFinite`],
/// [`crate::Error::NoRows`], [`crate::Error::OneClass`].
pub fn compare<L: Ord + Clone>(
    x: &impl Features,
    y: &[L],
    contest: &Contest,
    cancel: &Cancel,
) -> Result<Option<Comparison>> {
    if contest.learners.is_empty() || contest.losses.is_empty() {
        return Err(refuse("learners and losses", "", "at least one of each"));
    }
    let features = x.matrix()?.stopped_by(&cancel.stop);
    check_lengths(features.rows(), y.len(), None)?;
    let is_boosted = |learner: &Learner| *learner == Learner::Boost;
    check_finite(&features, !contest.learners.iter().all(is_boosted))?;
    let (classes, labels) = coded(y)?;
    let counts = ClassCounts::of(&labels, None, classes.len());
    let folds = (0..contest.repeats.max(1) as u64)
        .map(|repeat| Folds::new(&labels, classes.len(), contest.folds, contest.seed, repeat))
        .collect::<Result<Vec<Folds>>>()?;
    let mut treatments = Vec::new();
    for &learner in &contest.learners {
        for &loss in &contest.losses {
            let own = match &contest.weightings {
                None => standard_treatments(loss, &counts)?,
                Some(weightings) => {
                    let weighted =
                        |weighting: &Weighting| Ok(Treatment::weighted(loss, weighting.scheme(&counts)?));
                    let named = weightings.iter().map(weighted).collect::<Result<Vec<_>>>()?;
                    let plain = [Treatment::plain(loss), Treatment::adjusted(loss)];
                    let others = named.into_iter().filter(|treatment| !treatment.is_plain());
                    plain.into_iter().chain(others).collect()
                }
            };
            treatments.extend(own.into_iter().map(|treatment| treatment.by(learner)));
        }
    }
    let scaled = |learner: Learner, train: &[usize]| -> Matrix<'_> {
        if learner == Learner::Boost || !contest.standardize {
            return features.reborrow();
        }
        let (scaler, _) = Scaler::fit(Scale::Standard, &features, train, None);
        let mut scaled = features.reborrow();
        scaler.apply(&mut scaled);
        scaled
    };
    let data = FoldData { labels: &labels, row_weights: None, classes: classes.len(), features: &scaled };
    let settings = settings(contest);
    let mut watch = Watched { cancel };
    let Some(table) = fit_folds(data, &folds, &treatments, &settings, Kernels::best(), &mut watch)? else {
        return Ok(None);
    };
    let folds = table.finished_folds(&folds);
    let question = Question {
        labels: &labels,
        counts: &counts,
        folds: &folds,
        candidates: &treatments,
        metric: contest.metric,
        taus: TAUS.len(),
        seed: contest.seed,
    };
    summary(&question, &compare_fits(&question, &table)?).map(Some)
}

fn settings(contest: &Contest) -> FitSettings {
    let optimizer = Optimizer::Lbfgs { tolerance: 1e-3, max_iterations: 1000, certified: true };
    FitSettings {
        linear: LinearSettings { l2: None, optimizer: optimizer.loosened(), decay: Decay::Weights },
        boost: BoostSettings {
            rounds: None,
            options: BoostOptions { seed: contest.seed, ..BoostOptions::default() },
            binning: BinningOptions::default(),
        },
        near: None,
        prior: Prior::AsTrained,
        taus: TAUS.to_vec(),
        max_weight: None,
        metric: contest.metric,
        seed: contest.seed,
    }
}

fn summary(question: &Question<'_>, compared: &crate::experiment::compare::Comparison) -> Result<Comparison> {
    let (metric, values) = (question.metric, compared.replicates.values());
    let (standpoints, _) = compared.standpoints(question);
    let finding = find(&standpoints, metric);
    let candidates = standpoints.iter().zip(&compared.candidates).zip(values);
    let candidates = candidates.map(|((standpoint, own), &value)| {
        let gap = standpoint.against_baseline;
        Candidate {
            name: standpoint.name.clone(),
            value,
            difference: gap.map(|gap| [gap.value, gap.low, gap.high]),
            p_holm: gap.map(|gap| gap.p_holm),
            natural_log_loss: own.natural_log_loss,
            natural_ece: own.natural_ece,
        }
    });
    Ok(Comparison {
        candidates: candidates.collect(),
        recommended: finding.as_ref().map_or(0, |finding| finding.recommended),
        best: best(&standpoints).unwrap_or(0),
        verdict: finding.map_or(String::new(), |finding| finding.sentence),
        metric: metric.name().into(),
    })
}

struct Watched<'w> {
    cancel: &'w Cancel,
}

impl FoldWatch for Watched<'_> {
    fn fold(&mut self, _: usize, _: usize) {}

    fn begin(&mut self, _: &Treatment, _: Strength) {}

    fn progress(&mut self, _: usize) -> ControlFlow<()> {
        if self.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
