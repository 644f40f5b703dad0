//! What the file of a boosted model records of its fit.

use serde_json::json;

use super::boost_continue::Continuing;
use super::boost_start::LinearStarts;
use super::plan::TrainPlan;
use super::plan_boost::BoostPlan;
use super::train_data::TrainData;
use super::train_save::{Fitted, saved_model};
use crate::boost::model::BoostModel;
use crate::hybrid::fit::StartFit;
use crate::hybrid::model::HybridModel;
use crate::linear::search::{Recipe, WeightedSample};
use crate::model::Model;
use crate::model_file::{LinearStartRecord, SavedModel};
use crate::report::train::BoostTrial;

/// What a model was made of.
pub(super) struct Made<'m> {
    pub trees: BoostModel,
    /// The linear functions below the trees.
    pub start: Option<(&'m LinearStarts<'m>, &'m StartFit)>,
    /// What was fitted.
    pub recipe: &'m Recipe,
    /// The rows and weights of the trees.
    pub weighted: &'m WeightedSample<'m>,
    /// Whether these are all rows, those held out in the search included.
    pub refitted: bool,
    pub trials: &'m [BoostTrial],
    /// The model that was gone on with.
    pub continuing: Option<&'m Continuing<'m>>,
}

/// `made` with its record.
pub(super) fn record(plan: &TrainPlan, boost: &BoostPlan, data: &TrainData, made: Made<'_>) -> SavedModel {
    let mut config = json!({
        "options": boost.options,
        "rounds": made.trees.rounds(),
        "patience": boost.stopping.patience,
        "max_bins": boost.binning.max_bins,
        "max_weight": plan.max_weight,
        "metric": plan.metric.name(),
        "refit": plan.refit,
        "refitted": made.refitted,
        "held_out": data.held_out(plan),
        "seed": plan.seed,
    });
    if let Some(lineage) = made.continuing.and_then(Continuing::lineage) {
        config["lineage"] = json!(lineage);
    }
    let (model, linear_start) = match made.start {
        None => (Model::Boost(made.trees), None),
        Some((starts, fit)) => {
            let start = starts.start(fit);
            let record = LinearStartRecord::of(fit.l2, &start.features);
            (Model::Hybrid(HybridModel { start, trees: made.trees }), Some(record))
        }
    };
    let weights = &made.weighted.class_weights;
    saved_model(
        data,
        Fitted {
            model,
            linear_start,
            scheme: &weights.scheme,
            conditions: made.weighted.conditions(made.recipe),
            config,
            certificate: json!(null),
            history: json!(made.trials),
        },
    )
}
