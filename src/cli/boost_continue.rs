//! Rows of a run that goes on with an earlier model: what they and the model know of each other.

use serde_json::{Value, json};

use super::plan::TrainPlan;
use super::plan_continue::Earlier;
use super::train_data::TrainData;
use crate::metrics::Standing;
use crate::report::train::BoostTrial;
use crate::{Error, Result};

/// An earlier model, against the rows of this run.
pub(super) struct Continuing<'e> {
    pub earlier: &'e Earlier,
    /// Whether all of its rounds were grown on the rows of this run: then the run ends as one without a break.
    pub is_whole: bool,
    /// How it stood after each of its rounds, where the rows held out are the same.
    pub scores: Vec<Standing>,
    /// Rounds that were grown on other data, with the fingerprints of these.
    lineage: Vec<Value>,
}

impl<'e> Continuing<'e> {
    /// Holds `earlier` against `data`.
    ///
    /// # Errors
    /// [`Error::BadValue`] where it was fitted to rows that this run holds out.
    pub(super) fn new(earlier: &'e Earlier, plan: &TrainPlan, data: &TrainData) -> Result<Self> {
        let metadata = &earlier.saved.metadata;
        let config = &metadata.config;
        let is_same_data = metadata.data_fingerprint == data.main.source.fingerprint;
        let held = data.held_out(plan);
        let held_before = config["held_out"].as_str().unwrap_or("unknown");
        if is_same_data && data.has_rows_to_add() {
            let why = if config["refitted"] == json!(true) {
                "was fitted to all of these rows, and those held out could not say when to stop".to_owned()
            } else if held != held_before {
                format!("was fitted while other rows were held out ({held_before}, not {held})")
            } else {
                String::new()
            };
            if !why.is_empty() {
                let help = "hold out the same rows, or none: --valid-fraction 0, with --rounds for the rounds to come";
                return Err(Error::bad_value("--init-model", &earlier.path, why, help));
            }
        }
        let mut lineage = config["lineage"].as_array().cloned().unwrap_or_default();
        if !is_same_data {
            lineage.push(json!({ "rounds": earlier.rounds(), "data": metadata.data_fingerprint }));
        }
        let is_scored_alike = held == held_before && config["metric"].as_str() == Some(plan.metric.name());
        let scores = if is_same_data && is_scored_alike { scores_of(earlier) } else { Vec::new() };
        Ok(Continuing { earlier, is_whole: is_same_data && lineage.is_empty(), scores, lineage })
    }

    /// Rounds that were grown on other data, as the file records them; `None` where all were grown on these.
    pub(super) fn lineage(&self) -> Option<&[Value]> {
        (!self.lineage.is_empty()).then_some(&self.lineage)
    }
}

/// Scores after each round of `earlier` that it has kept; empty where its file does not tell.
fn scores_of(earlier: &Earlier) -> Vec<Standing> {
    let trials: Vec<BoostTrial> =
        serde_json::from_value(earlier.saved.metadata.history.clone()).unwrap_or_default();
    let scheme = earlier.scheme.to_string();
    let own = trials.into_iter().find(|trial| trial.scheme == scheme);
    let standings = own.map(|trial| trial.scores.standings()).unwrap_or_default();
    standings.get(..earlier.rounds()).map(<[Standing]>::to_vec).unwrap_or_default()
}
