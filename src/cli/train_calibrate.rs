//! The part of training that looks at rows out of fold: calibration, decision offsets, out-of-fold probabilities.

use std::ops::ControlFlow;
use std::time::Instant;

use super::interrupt::Interrupt;
use super::plan::CalibrationPlan;
use super::talk::Talk;
use super::train_data::{OwnedSample, TrainData};
use crate::Result;
use crate::calibrate::Method;
use crate::calibrate::decisions::most_probable;
use crate::checkpoint::journal::Journal;
use crate::experiment::calibrated::{Calibrated, ScoredRows, cross_calibrate};
use crate::experiment::crossfit::{Estimator, OutOfFold, Setting, cross_fit};
use crate::experiment::folds::Folds;
use crate::labels::{ClassCounts, UNSEEN};
use crate::linear::search::Recipe;
use crate::metrics::{Evaluation, evaluate};
use crate::model_file::SavedModel;
use crate::report::calibration::{CalibrationReport, ProbabilityScores, natural_name};
use crate::report::format::{seconds, thousands};
use crate::report::predictions::{
    PredictionBlock, PredictionFormat, PredictionSchema, PredictionWriter, Truth,
};
use crate::simd::Kernels;
use crate::weighting::Scheme;
use crate::weighting::prior::training_shares;

/// The setting of the model, to be fitted again fold by fold.
pub struct CrossFitting<'c> {
    /// What is asked for.
    pub plan: &'c CalibrationPlan,
    /// Key of the folds.
    pub seed: u64,
    /// The data of the run.
    pub data: &'c TrainData,
    /// The rows the model is fitted on.
    pub sample: &'c OwnedSample<'c>,
    /// The chosen weighting.
    pub scheme: &'c Scheme,
    /// The chosen setting.
    pub estimator: Estimator<'c>,
    /// The rest of it.
    pub recipe: &'c Recipe,
    /// Keeps the fits, where something does.
    pub journal: Option<&'c Journal>,
    /// Arithmetic.
    pub kernels: &'static Kernels,
}

/// What the out-of-fold rows gave.
struct Outcome {
    /// The maps for the model.
    calibrated: Calibrated,
    /// What is printed and reported.
    report: CalibrationReport,
}

impl CrossFitting<'_> {
    /// Puts the maps that out-of-fold rows give into `saved`, and says what they are worth. `None` where the run was
    /// interrupted, which leaves the model as it is.
    ///
    /// # Errors
    /// Those of the folds, the fits and the out-of-fold file.
    pub fn calibrate(
        &self,
        saved: &mut SavedModel,
        talk: &mut Talk,
        interrupt: &Interrupt,
    ) -> Result<Option<CalibrationReport>> {
        let outcome = if interrupt.is_set() { None } else { self.run(talk, interrupt)? };
        let Some(Outcome { calibrated, report }) = outcome else {
            talk.phase("Stopped", "before the out-of-fold rows were done: the model has no calibration");
            return Ok(None);
        };
        let metadata = &mut saved.metadata;
        metadata.calibration = calibrated.calibration;
        metadata.offsets = calibrated.offsets;
        metadata.format_version = metadata.needed_version();
        for (number, line) in report.lines().iter().enumerate() {
            talk.phase(if number == 0 { "Calib" } else { "" }, line);
        }
        Ok(Some(report))
    }

    /// Fits the folds and the maps, and writes the out-of-fold file. `None` where the run was interrupted.
    fn run(&self, talk: &mut Talk, interrupt: &Interrupt) -> Result<Option<Outcome>> {
        let (labels, classes) = (&self.sample.labels, self.sample.classes);
        let folds = Folds::new(labels, classes, self.plan.folds, self.seed, 0)?;
        let setting = Setting {
            sample: self.sample.view(),
            scheme: self.scheme,
            estimator: self.estimator,
            recipe: self.recipe,
        };
        let begun = Instant::now();
        let crossed = cross_fit(&setting, folds, self.journal, self.kernels, &mut |fold, step| {
            let took = seconds(begun.elapsed().as_secs_f64());
            talk.progress(&format!("fold {} of {}: step {step}, {took}", fold + 1, self.plan.folds));
            if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        talk.clear_progress();
        let Some(oof) = crossed? else { return Ok(None) };
        let scored = Scored::of(self.sample, &oof);
        let log_shares: Vec<f64> = training_shares(&scored.counts).iter().map(|share| share.ln()).collect();
        let rows = ScoredRows {
            labels: &scored.labels,
            row_weights: scored.row_weights.as_deref(),
            log_shares: &log_shares,
        };
        let calibrated = cross_calibrate(&oof, &rows, self.plan.method, self.plan.offsets)?;
        let trained = exponentials(&oof.trained_log_posteriors());
        let report = self.report(&oof, &scored, &calibrated, &trained)?;
        if let Some(path) = &self.plan.oof {
            let mapped = self.plan.method.map(|_| exponentials(&calibrated.log_posterior));
            let probabilities = mapped.as_deref().unwrap_or(&trained);
            let decided = self.plan.offsets.map(|_| calibrated.decisions.as_slice());
            self.write(path, &oof, probabilities, decided)?;
            let kind = self.plan.method.map_or("as trained".into(), |method| natural_name(Some(method)));
            let rows = thousands(scored.labels.len() as u64);
            talk.phase("Saved", &format!("{path}: out-of-fold probabilities of {rows} rows, {kind}"));
        }
        Ok(Some(Outcome { calibrated, report }))
    }

    fn report(
        &self,
        oof: &OutOfFold,
        scored: &Scored,
        calibrated: &Calibrated,
        trained: &[f32],
    ) -> Result<CalibrationReport> {
        let natural = exponentials(&oof.natural_log_posteriors());
        let mut scores = vec![
            ProbabilityScores::of("as trained", &scored.evaluate(trained)?),
            ProbabilityScores::of(natural_name(None), &scored.evaluate(&natural)?),
        ];
        if let Some(method) = self.plan.method.filter(|method| *method != Method::Prior) {
            let after = scored.evaluate(&exponentials(&calibrated.log_posterior))?;
            scores.push(ProbabilityScores::of(natural_name(Some(method)), &after));
        }
        Ok(CalibrationReport {
            folds: self.plan.folds,
            rows: scored.labels.len(),
            left_out: self.sample.labels.len() - scored.labels.len(),
            calibration: calibrated.calibration.clone(),
            scores,
            offsets: calibrated.rules,
        })
    }

    /// The out-of-fold file holds every row of the training files, so that its rows are theirs.
    fn write(
        &self,
        path: &str,
        oof: &OutOfFold,
        probabilities: &[f32],
        decided: Option<&[u32]>,
    ) -> Result<()> {
        let (rows, classes) = (self.data.main.rows(), self.sample.classes);
        let mut all = vec![f32::NAN; rows * classes];
        let mut predicted = vec![UNSEEN; rows];
        let by_probability = most_probable(probabilities, classes);
        let decided = decided.unwrap_or(&by_probability);
        for (at, &position) in oof.folds.scored().iter().enumerate() {
            let row = self.sample.rows()[position];
            predicted[row] = decided[at];
            all[row * classes..(row + 1) * classes]
                .copy_from_slice(&probabilities[at * classes..(at + 1) * classes]);
        }
        let mut writer = open(path, self.data)?;
        let ids = self.data.main.ids.as_ref().filter(|_| has_columns(path)).map(|(_, ids)| ids);
        let labels = self.data.main.labels.as_deref().unwrap_or_default();
        let truth = Some(Truth { first_row: 0, labels });
        writer.write_block(&PredictionBlock { ids, truth, predicted: &predicted, probabilities: &all })?;
        writer.finish().map(drop)
    }
}

/// Opens the out-of-fold file `path`; what is dropped unfinished leaves nothing behind.
///
/// # Errors
/// Those of [`PredictionWriter::create`].
pub fn open(path: &str, data: &TrainData) -> Result<PredictionWriter> {
    let id = data.main.ids.as_ref().filter(|_| has_columns(path));
    let schema = PredictionSchema {
        id: id.map(|(name, ids)| (name.clone(), ids.kind())),
        labels: data.main.label_map.clone(),
        top_k: 1,
        full_probabilities: true,
        with_truth: true,
        extra: Vec::new(),
    };
    PredictionWriter::create(path, PredictionFormat::of_path(path)?, &schema)
}

fn has_columns(path: &str) -> bool {
    PredictionFormat::of_path(path).is_ok_and(|format| format != PredictionFormat::Npy)
}

/// Labels and weights of the out-of-fold rows, and the counts of all rows fitted on.
struct Scored {
    labels: Vec<u32>,
    row_weights: Option<Vec<f64>>,
    counts: ClassCounts,
}

impl Scored {
    fn of(sample: &OwnedSample<'_>, oof: &OutOfFold) -> Self {
        let rows = oof.folds.scored();
        let weights = sample.row_weights.as_ref();
        Scored {
            labels: rows.iter().map(|&row| sample.labels[row]).collect(),
            row_weights: weights.map(|w| rows.iter().map(|&row| w[row]).collect()),
            counts: ClassCounts::of(&sample.labels, sample.row_weights.as_deref(), sample.classes),
        }
    }

    fn evaluate(&self, probabilities: &[f32]) -> Result<Evaluation> {
        evaluate(probabilities, &self.labels, &self.counts, self.row_weights.as_deref())
    }
}

fn exponentials(logs: &[f64]) -> Vec<f32> {
    logs.iter().map(|log| log.exp() as f32).collect()
}
