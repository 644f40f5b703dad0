//! What the commands that fit over folds hold in memory: what their fits say of each row, copies of the features that are
//! scaled by the rows of a fold, and the fits themselves.

use super::fold_plan::{FoldPlan, FoldRows, View};
use super::need::{LinearNeed, Need, ROW_BYTES};
use super::scoring::SCORE_BYTES;
use super::talk::Talk;
use crate::Result;
use crate::data::missing::Missing;
use crate::data::scale::Scale;
use crate::experiment::fold_fits::FitSettings;
use crate::experiment::readings::Reading;
use crate::experiment::treatment::Treatment;
use crate::matrix::Dtype;
use crate::model::Learner;
use crate::report::format::thousands;

/// Strengths that a treatment is read at where it has a path: the best one and its neighbours, or the one that it has at an
/// end.
const FEWEST_LEVELS: usize = 2;

impl FoldRows {
    /// Refuses fits of `treatments`, what all of them say being held at once, that cannot stay within the memory limit, and
    /// takes rows to disk that do not fit in beside the rest.
    ///
    /// # Errors
    /// Those of [`Need::hold`].
    pub(super) fn hold_memory(
        &mut self,
        plan: &FoldPlan,
        settings: &FitSettings,
        treatments: &[Treatment],
        talk: &Talk,
    ) -> Result<()> {
        let rows = self.main().rows();
        let classes = self.main().label_map.classes();
        let said: usize = treatments.iter().map(|treatment| said_bytes(settings, treatment)).sum();
        let held = rows / plan.folds;
        // One learner fits after the other.
        let needs = self.views.iter().map(|view| fit_need(view, plan, settings));
        let fits = needs.max_by_key(Need::total).unwrap_or_default();
        let need = fits
            .rows(rows, ROW_BYTES)
            .and(
                format!("what {} candidates say of {} rows", treatments.len(), thousands(rows as u64)),
                &[rows as u64, plan.repeats as u64, said as u64],
                "take fewer rows, candidates or --repeats",
            )
            .and(
                format!("scores of {} rows held out", thousands(held as u64)),
                &[held as u64, classes as u64, SCORE_BYTES / 2],
                "take more --folds",
            );
        let sets = self.views.iter_mut().map(|view| (view.copy_bytes(), &mut view.data)).collect();
        need.hold(plan.read.memory.as_ref(), sets, talk)
    }

    /// Bytes of rows in memory, and of the copies of them that are made.
    pub(super) fn bytes_in_memory(&self) -> u64 {
        let of = |view: &View| match view.data.features.is_in_file() {
            true => 0,
            false => view.data.features.bytes().saturating_add(view.copy_bytes()),
        };
        self.views.iter().map(of).sum()
    }
}

impl View {
    /// Bytes of a copy that is prepared by the rows of a fold, where one is; of the rows of trees, that comparison of rows
    /// with each other takes one.
    fn copy_bytes(&self) -> u64 {
        let features = &self.data.features;
        let is_copied = self.scale != Scale::None || self.learner == Learner::Boost;
        match features.dtype() {
            Dtype::F16 | Dtype::Bf16 if is_copied => features.bytes().saturating_mul(2),
            _ if is_copied || self.data.encoder.missing == Missing::Mean => features.bytes(),
            _ => 0,
        }
    }
}

/// Bytes of what is kept of each row and repeat about fits of `treatment`, at least.
fn said_bytes(settings: &FitSettings, treatment: &Treatment) -> usize {
    let given = match treatment.learner {
        Learner::Linear => settings.linear.l2.is_some() || !treatment.head.is_fitted(),
        Learner::Boost => settings.boost.rounds.is_some(),
    };
    let levels = if given { 1 } else { FEWEST_LEVELS } * treatment.head.settings().len().max(1);
    levels * (size_of::<Reading>() + settings.taus_of(treatment).len() * size_of::<u32>())
}

/// What a fit of the rows of a fold needs.
fn fit_need(view: &View, plan: &FoldPlan, settings: &FitSettings) -> Need {
    let features = &view.data.features;
    let classes = view.data.label_map.classes();
    let rows = view.data.rows() - view.data.rows() / plan.folds;
    let need = Need::default();
    match view.learner {
        // All rows, and those of the fold parted.
        Learner::Boost => need.boosted_fit(features, rows, classes, 2),
        Learner::Linear => {
            let of_loss = |&loss| {
                Need::default().linear_fit(&LinearNeed {
                    loss,
                    classes,
                    features: features.cols(),
                    rows,
                    optimizer: Some(&settings.linear.optimizer),
                    is_search: settings.linear.l2.is_none(),
                })
            };
            plan.losses.iter().map(of_loss).max_by_key(Need::total).unwrap_or(need)
        }
    }
}
