//! What a training run holds in memory besides rows of features.

use super::boost_start::StartPlan;
use super::need::{LinearNeed, Need, ROW_BYTES};
use super::plan::TrainPlan;
use super::scoring::SCORE_BYTES;
use super::talk::Talk;
use super::train_data::TrainData;
use crate::Result;
use crate::data::dataset::Dataset;
use crate::hybrid::features::{linear_width, made_bytes};
use crate::linear::fit::Optimizer;
use crate::report::format::thousands;

/// Refuses a run that cannot stay within the memory limit, features on disk or not, and takes rows to disk that do not fit
/// in beside the rest.
///
/// # Errors
/// Those of [`Need::hold`].
pub(super) fn hold_memory(
    plan: &TrainPlan,
    data: &mut TrainData,
    optimizer: &Optimizer,
    talk: &Talk,
) -> Result<()> {
    let (rows, classes) = (data.main.rows(), data.main.label_map.classes());
    let valid = data.valid_part().map_or(0, |part| part.labels.len()) as u64;
    let need = Need::default().rows(rows, ROW_BYTES).and(
        format!("scores of {} validation rows", thousands(valid)),
        &[valid, classes as u64, SCORE_BYTES],
        "hold out fewer rows with --valid-fraction",
    );
    let linear = |features, l2: Option<f64>| LinearNeed {
        loss: plan.loss,
        classes,
        features,
        rows: data.train.len(),
        optimizer: plan.head.head.is_fitted().then_some(optimizer),
        is_search: l2.is_none(),
    };
    let start = plan.boost.as_ref().and_then(|boost| match boost.start {
        StartPlan::Linear(l2) => Some(linear(linear_width(&data.main.encoder), l2)),
        StartPlan::Constant(_) => None,
    });
    let need = match (&plan.boost, &start) {
        (None, _) => need.linear_fit(&linear(data.main.features.cols(), plan.l2)),
        // The functions are fitted before there are trees.
        (Some(_), Some(start)) => {
            let grown = Need::default().boosted_fit(&data.main.features, rows, classes, 1);
            need.and_larger(Need::default().linear_fit(start), grown)
        }
        (Some(_), None) => need.boosted_fit(&data.main.features, rows, classes, 1),
    };
    // Linear functions take rows on a scale of their own, and without gaps.
    let with_copy = |set: &mut Dataset| start.as_ref().map_or(0, |_| made_bytes(&set.features, &set.encoder));
    let sets = data.sets().into_iter().map(|set| (with_copy(set), set)).collect();
    need.hold(plan.read.memory.as_ref(), sets, talk)
}
