//! The linear functions that boosting starts from: read off the flags, fitted to the rows of a run.

use std::ops::ControlFlow;
use std::time::Instant;

use super::boost_continue::Continuing;
use super::interrupt::Interrupt;
use super::plan::TrainPlan;
use super::talk::Talk;
use super::train_data::{HeldPart, OwnedSample, TrainData};
use crate::boost::start::Init;
use crate::checkpoint::journal::Journal;
use crate::hybrid::features::LinearFeatures;
use crate::hybrid::fit::{StartFit, StartProblem};
use crate::hybrid::model::LinearStart;
use crate::linear::fit::Progress;
use crate::linear::rows::Rows;
use crate::linear::search::{Recipe, Sample, SearchWatch, Trial, Validation};
use crate::matrix::Matrix;
use crate::report::format::{seconds, short, thousands};
use crate::simd::Kernels;
use crate::weighting::Scheme;
use crate::{Error, Result};

/// Where boosting starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StartPlan {
    /// At one score a class.
    Constant(Init),
    /// At the logits of linear functions with this l2, or with one to be chosen.
    Linear(Option<f64>),
}

/// Reads `--init`.
///
/// # Errors
/// [`Error::BadValue`] where it names no start, or leaves an l2 open that no validation rows can choose.
pub(super) fn start_of(text: Option<&str>, is_validated: bool) -> Result<StartPlan> {
    const HELP: &str = "give weighted, paper, zero, linear or linear:L2, such as linear:1e-3";
    let text = text.unwrap_or("weighted");
    let bad = |why: &str, help: &str| Err(Error::bad_value("--init", text, why, help));
    match text.split_once(':').map_or((text, None), |(name, l2)| (name, Some(l2))) {
        ("weighted", None) => Ok(StartPlan::Constant(Init::Weighted)),
        ("paper", None) => Ok(StartPlan::Constant(Init::Paper)),
        ("zero", None) => Ok(StartPlan::Constant(Init::Zero)),
        ("linear", None) if is_validated => Ok(StartPlan::Linear(None)),
        ("linear", None) => bad(
            "leaves the l2 of the linear functions to validation rows, and there are none",
            "give it, such as linear:1e-3, or keep some rows for validation",
        ),
        ("linear", Some(l2)) => match l2.parse::<f64>() {
            Ok(l2) if l2.is_finite() && l2 >= 0.0 => Ok(StartPlan::Linear(Some(l2))),
            _ => bad("has no l2 of 0 or more after the colon", HELP),
        },
        _ => bad("is no start", HELP),
    }
}

/// Linear features of the rows of a run.
pub(super) struct LinearStarts<'d> {
    features: LinearFeatures,
    /// Of the training files.
    main: Matrix<'d>,
    /// Of a validation file.
    valid: Option<Matrix<'d>>,
    recipe: Recipe,
    seed: u64,
    journal: Option<&'d Journal>,
    kernels: &'static Kernels,
}

impl<'d> LinearStarts<'d> {
    /// Makes the features of all rows; means and deviations are those of the rows of the search, or of the model that is
    /// gone on with, where that knows other rows.
    pub(super) fn new(
        plan: &TrainPlan,
        data: &'d TrainData,
        continuing: Option<&Continuing<'_>>,
        recipe: &Recipe,
        journal: Option<&'d Journal>,
        kernels: &'static Kernels,
    ) -> Self {
        let matrix = &data.main.features;
        let known = continuing.filter(|continuing| !continuing.is_whole).and_then(|c| c.earlier.start());
        let (features, main) = match known {
            Some(start) => (start.features.clone(), start.features.apply(matrix)),
            None => {
                let weights = data.main.row_weights.as_deref();
                LinearFeatures::fit(matrix, &data.main.encoder, &data.train, weights)
            }
        };
        let valid = data.valid_part().map(|part| part.rows.matrix());
        let valid = valid.filter(|valid| !std::ptr::eq(*valid, matrix)).map(|valid| features.apply(valid));
        // Other features than those that trees read: more of them, and fewer zeros.
        let optimizer = plan.optimizer.of_rows(&main, data.train.len(), data.main.label_map.classes());
        let recipe = Recipe { optimizer, ..*recipe };
        LinearStarts { features, main, valid, recipe, seed: plan.seed, journal, kernels }
    }

    /// Fits the functions to `sample` under `scheme`, with the l2 that is best on `valid` where none is given.
    pub(super) fn fit(
        &self,
        sample: &OwnedSample<'_>,
        scheme: &Scheme,
        l2: Option<f64>,
        valid: Option<(&HeldPart<'_>, crate::metrics::Metric)>,
        talk: &mut Talk,
        interrupt: &Interrupt,
    ) -> Result<StartFit> {
        let begun = Instant::now();
        let problem = StartProblem {
            sample: Sample {
                rows: Rows::chosen(&self.main, sample.rows()),
                labels: &sample.labels,
                row_weights: sample.row_weights.as_deref(),
                classes: sample.classes,
            },
            scheme,
            recipe: &self.recipe,
            seed: self.seed,
            journal: self.journal,
            kernels: self.kernels,
        };
        let mut watch = Watch { talk, interrupt, begun, trials: 0 };
        let l2 = match (l2, valid) {
            (Some(l2), _) => l2,
            (None, None) => 0.0,
            (None, Some((part, metric))) => {
                let places = places_of(part);
                let rows = self.rows_of(&places);
                problem.choose_l2(&Validation { rows, labels: &part.labels, metric }, &mut watch)?
            }
        };
        let trials = watch.trials;
        let fitted = problem.fit(l2, &mut |step| watch.step(step))?;
        talk.clear_progress();
        let how = if trials > 0 { format!("best of {trials}") } else { "given".to_owned() };
        let (width, took) = (thousands(self.features.width() as u64), seconds(begun.elapsed().as_secs_f64()));
        talk.phase("Start", &format!("linear over {width} features   l2 {} ({how})   {took}", short(l2)));
        Ok(fitted)
    }

    /// The functions of a model that was fitted to other rows, and what they say of `sample`.
    pub(super) fn fit_of(&self, continuing: &Continuing<'_>, sample: &OwnedSample<'_>) -> Option<StartFit> {
        let (record, start) = (continuing.earlier.saved.metadata.linear_start?, continuing.earlier.start()?);
        let logits = start.model.logits_of(Rows::chosen(&self.main, sample.rows()), self.kernels);
        Some(StartFit { model: start.model.clone(), l2: record.l2, logits })
    }

    /// Logits of the rows `part` by the functions of `fit`.
    pub(super) fn logits(&self, fit: &StartFit, part: &HeldPart<'_>) -> Vec<f32> {
        fit.model.logits_of(self.rows_of(&places_of(part)), self.kernels)
    }

    /// The functions as a model has them.
    pub(super) fn start(&self, fit: &StartFit) -> LinearStart {
        LinearStart { features: self.features.clone(), model: fit.model.clone() }
    }

    /// The validation rows, which are the rows `places` of their matrix.
    fn rows_of<'p>(&'p self, places: &'p [usize]) -> Rows<'p> {
        Rows::chosen(self.valid.as_ref().unwrap_or(&self.main), places)
    }
}

fn places_of(part: &HeldPart<'_>) -> Vec<usize> {
    (0..part.rows.len()).map(|at| part.rows.matrix_row(at)).collect()
}

/// Shows the fits on the moving line, and ends them where a signal comes.
struct Watch<'w> {
    talk: &'w mut Talk,
    interrupt: &'w Interrupt,
    begun: Instant,
    trials: usize,
}

impl Watch<'_> {
    fn step(&mut self, step: usize) -> ControlFlow<()> {
        let took = seconds(self.begun.elapsed().as_secs_f64());
        self.talk.progress(&format!("linear start: step {step}, {took}"));
        if self.interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl SearchWatch for Watch<'_> {
    fn begin(&mut self, _: &Scheme, _: f64) {
        self.trials += 1;
    }

    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.step(progress.step)
    }

    fn trial(&mut self, _: &Trial, _: bool) {}
}
