//! The checkpoint of a training run: what the flags ask for, and what has to be the same for another run to go on from it.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::args::TrainArgs;
use super::interrupt::Interrupt;
use super::plan::{TrainPlan, WeightingPlan};
use super::talk::Talk;
use super::train_data::TrainData;
use crate::checkpoint::journal::{Journal, Keeping, Settings};
use crate::linear::search::Recipe;
use crate::simd::Kernels;
use crate::weighting::Scheme;
use crate::{Error, Result};

/// How a run keeps what it has finished.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeepPlan {
    /// Time between two checkpoints; `None` for none at all.
    pub every: Option<Duration>,
    /// Whether to go on from the one there is.
    pub resume: bool,
}

/// Reads `--checkpoint-every` and `--resume`.
///
/// # Errors
/// [`Error::BadValue`].
pub(super) fn keep_of(args: &TrainArgs) -> Result<KeepPlan> {
    let text = args.checkpoint_every.as_deref().unwrap_or("60s");
    let every = every_of(text)?;
    if args.resume && every.is_none() {
        let why = "leaves --resume without checkpoints";
        return Err(Error::bad_value("--checkpoint-every", text, why, "leave one of them out"));
    }
    Ok(KeepPlan { every, resume: args.resume })
}

fn every_of(text: &str) -> Result<Option<Duration>> {
    const UNITS: [(&str, f64); 5] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)];
    if matches!(text, "0" | "never") {
        return Ok(None);
    }
    let amounts = UNITS.iter().filter_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let read = |(number, seconds): (&str, &f64)| Some(number.parse::<f64>().ok()? * seconds);
    let seconds = amounts.filter_map(read).find(|seconds| *seconds > 0.0);
    let every = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let help = "give a time such as 60s, 5m or 1h, or never";
    every.map(Some).ok_or_else(|| Error::bad_value("--checkpoint-every", text, "is no time", help))
}

/// What decides the fits of a run.
pub(super) struct Deciding<'d> {
    pub plan: &'d TrainPlan,
    pub data: &'d TrainData,
    pub recipe: &'d Recipe,
    /// Weightings to try.
    pub schemes: &'d [Scheme],
    pub kernels: &'static Kernels,
}

impl Deciding<'_> {
    /// The journal of the run: that of its checkpoint, or an empty one. `None` where none is wanted, or the model goes
    /// where nothing can be put beside it.
    ///
    /// # Errors
    /// Those of [`Journal::resume`], [`Error::BadValue`] for `--resume` of what has no checkpoint.
    pub(super) fn journal(&self, talk: &Talk, interrupt: &Interrupt) -> Result<Option<Journal>> {
        let KeepPlan { every, resume } = self.plan.keep;
        let Some(every) = every else { return Ok(None) };
        let out = &self.plan.out;
        if fs::metadata(out).is_ok_and(|metadata| !metadata.is_file()) {
            if resume {
                let why = "is no regular file: there is no checkpoint beside it";
                return Err(Error::bad_value("--out", out, why, "leave --resume out"));
            }
            return Ok(None);
        }
        let path = format!("{out}.checkpoint");
        let (interrupt, voice) = (interrupt.clone(), talk.clone());
        let keeping = Keeping {
            path: path.clone(),
            every,
            settings: self.settings()?,
            is_stopping: Box::new(move || interrupt.is_set()),
            say: Box::new(move |name, text| voice.phase(name, text)),
        };
        if !resume {
            if fs::exists(&path).unwrap_or(false) {
                talk.phase("Note", &format!("{path} is of an earlier run; --resume would go on from it"));
            }
            return Ok(Some(Journal::new(keeping)));
        }
        Ok(Some(match Journal::resume(keeping)? {
            Ok(journal) => {
                let (fits, is_amid) = journal.holds();
                let amid = if is_amid { ", amid the next" } else { "" };
                talk.phase("Resumed", &format!("{path}: after {fits} finished fits{amid}"));
                journal
            }
            // What was killed before its first checkpoint is to be started again by the same command.
            Err(keeping) => {
                talk.phase("Note", &format!("there is no {path}: training from the start"));
                Journal::new(keeping)
            }
        }))
    }

    /// Names and values of all that decides the bytes of the fits. Paths, threads and test rows do not.
    fn settings(&self) -> Result<Settings> {
        let Deciding { plan, data, recipe, .. } = self;
        let mut value = json!({
            "cbfit": env!("CARGO_PKG_VERSION"),
            "instruction set": self.kernels.isa().name(),
            "data": {
                "fingerprint": data.main.source.fingerprint,
                "rows": data.main.source.rows,
                "features": data.main.features.cols(),
                "held out": data.held_out(plan),
                "rows fitted": digest(data.train.iter().flat_map(|row| row.to_le_bytes())),
                "row weights": data.main.row_weights.as_ref().map(|w| digest(w.iter().flat_map(|w| w.to_le_bytes()))),
                "missing": plan.read.missing,
                "scale": data.scaler.scale,
            },
            "weighting": match &plan.weighting {
                WeightingPlan::Scheme(_) | WeightingPlan::File(_) => "given".into(),
                WeightingPlan::ChooseBeta => "chosen".into(),
                WeightingPlan::Ratio(ratio) => format!("ratio {ratio}"),
            },
            "schemes": self.schemes.iter().map(scheme_text).collect::<Vec<_>>().join(", "),
            "loss": recipe.loss,
            "logit_adjust": recipe.logit_adjust,
            "vs_gamma": recipe.vs_gamma,
            "ldam": recipe.ldam,
            "resample": plan.resampling,
            "max_weight": recipe.max_weight,
            "head": plan.head.head,
            "head_setting": plan.head.setting.map(|setting| setting.to_string()),
            "l2": plan.l2,
            "decay": recipe.decay,
            "metric": plan.metric.name(),
            "refit": plan.refit,
            "seed": plan.seed,
        });
        if plan.boost.is_none() {
            value["optimizer"] = json!(recipe.optimizer);
        }
        if let Some(boost) = &plan.boost {
            value["boost"] = json!({
                "options": boost.options,
                "max_bins": boost.binning.max_bins,
                "start": format!("{:?}", boost.start),
                "rounds": boost.stopping.rounds,
                "patience": boost.stopping.patience,
                "optimizer": format!("{:?}", plan.optimizer),
            });
            if let Some(earlier) = &boost.earlier {
                let bytes =
                    fs::read(&earlier.path).map_err(|e| Error::io(earlier.path.clone(), "read", e))?;
                value["boost"]["init_model"] = json!(digest(bytes));
            }
        }
        if let Some(wanted) = &plan.calibration {
            value["calibrate"] = json!({
                "method": wanted.method.map(|method| method.name()),
                "offsets": wanted.offsets.map(|metric| format!("{metric:?}")),
                "folds": wanted.folds,
            });
        }
        let mut settings = Settings::new();
        flatten("", &value, &mut settings);
        Ok(settings)
    }
}

/// The name of a scheme, and what tells apart those whose weights come from a file.
fn scheme_text(scheme: &Scheme) -> String {
    match scheme {
        Scheme::Custom(weights) => {
            format!("{scheme} {}", digest(weights.iter().flat_map(|weight| weight.to_le_bytes())))
        }
        _ => scheme.to_string(),
    }
}

/// 16 hexadecimal digits of the SHA-256 of bytes.
fn digest(bytes: impl IntoIterator<Item = u8>) -> String {
    const CHUNK: usize = 1 << 16;
    let mut hash = Sha256::new();
    let mut chunk = Vec::with_capacity(CHUNK);
    for byte in bytes {
        chunk.push(byte);
        if chunk.len() == CHUNK {
            hash.update(&chunk);
            chunk.clear();
        }
    }
    hash.update(&chunk);
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// One entry for each value that is no object, under the names that lead to it.
fn flatten(name: &str, value: &Value, settings: &mut Settings) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name} {field}") };
                flatten(&name, value, settings);
            }
        }
        Value::String(text) => settings.push((name.into(), text.clone())),
        Value::Null => settings.push((name.into(), "none".into())),
        other => settings.push((name.into(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_refused() {
        let seconds = |text| every_of(text).unwrap().map(|every| every.as_secs_f64());
        assert_eq!(
            ["60s", "60", "1m", "1.5h", "20ms"].map(seconds),
            [60.0, 60.0, 60.0, 5400.0, 0.02].map(Some)
        );
        assert_eq!(["0", "never"].map(seconds), [None, None]);
        for text in ["", "s", "-3s", "soon", "1d", "nan", "inf", "1e300h", "0s"] {
            assert_eq!(every_of(text).unwrap_err().code(), "E0208", "{text}");
        }
    }
}
