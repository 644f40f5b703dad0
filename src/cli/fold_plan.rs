//! What the commands that fit over folds have in common: flags checked, rows read, features prepared, progress shown.

use std::ops::ControlFlow;
use std::time::Instant;

use super::args::{FoldArgs, LearnerArg, LossArg, MissingArg, PriorArgs, ScaleArg};
use super::boost_start::{StartPlan, start_of};
use super::interrupt::Interrupt;
use super::plan::{count, l2_value, loss_of, missing_of, scale_of};
use super::plan_boost::{given_text, options_of, refuse_boost_flags};
use super::plan_optimizer::default_optimizers;
use super::scoring::{fixed_prior, say_spilled};
use super::shared::{PriorPlan, memory_of, no_effect, prior_of, read_options};
use super::talk::{Progress, Talk, progress_of};
use crate::data::dataset::{Dataset, read_training};
use crate::data::missing::Missing;
use crate::data::options::{Categories, ReadOptions};
use crate::data::scale::{Scale, Scaler};
use crate::experiment::boost_fits::BoostSettings;
use crate::experiment::fold_fits::{FitSettings, FoldData, FoldWatch};
use crate::experiment::folds::Folds;
use crate::experiment::linear_fits::LinearSettings;
use crate::experiment::strength::Strength;
use crate::experiment::treatment::{TAUS, Treatment};
use crate::labels::ClassCounts;
use crate::linear::problem::Decay;
use crate::loss::Loss;
use crate::matrix::Matrix;
use crate::metrics::Metric;
use crate::model::Learner;
use crate::report::format::{seconds, thousands};
use crate::report::text;
use crate::weighting::normalise::check_cap;
use crate::weighting::{Normalisation, Prior};
use crate::{Error, Result};

const MOST_REPEATS: usize = 1000;

/// Data and folds, checked.
#[derive(Debug)]
pub struct FoldPlan {
    /// Files to fit on.
    pub data: Vec<String>,
    /// How files are read.
    pub read: ReadOptions,
    scale: Option<Scale>,
    /// Cap of the class weights.
    pub max_weight: Option<f64>,
    /// Losses, each with every treatment.
    pub losses: Vec<Loss>,
    /// Learners, each with every loss.
    pub learners: Vec<Learner>,
    l2: Option<f64>,
    boost: BoostSettings,
    /// The flags of boosting that were given, for command lines to paste.
    pub boost_flags: String,
    /// The metric that decides.
    pub metric: Metric,
    /// Prior that decisions and losses are under, where one was asked for.
    pub prior: Option<PriorPlan>,
    /// The same as it was written.
    pub prior_text: Option<String>,
    /// Folds of a repeat.
    pub folds: usize,
    /// Repeats.
    pub repeats: usize,
    /// Key of random choices.
    pub seed: u64,
    /// How progress is shown.
    pub progress: Progress,
}

impl FoldPlan {
    /// Checks the flags.
    ///
    /// # Errors
    /// [`Error::NoEffect`] for a flag that cannot act, [`Error::BadValue`] for values.
    pub fn new(args: FoldArgs) -> Result<Self> {
        args.max_weight.map_or(Ok(()), |cap| check_cap(cap, Normalisation::Samples))?;
        if !(1..=MOST_REPEATS).contains(&args.repeats) {
            let why = format!("is not within 1 and {MOST_REPEATS}");
            return Err(Error::bad_value("--repeats", args.repeats.to_string(), why, "leave it out for one"));
        }
        let learners = learners_of(&args)?;
        let start = start_of(args.boost.init.as_deref(), true)?;
        let help = "trees of a comparison start from constants: leave it out";
        no_effect(matches!(start, StartPlan::Linear(_)), "--init linear", "folds", help)?;
        let (options, binning) = options_of(&args.boost, start, args.lr, None, args.seed)?;
        args.boost.rounds.map(|rounds| count("--rounds", rounds)).transpose()?;
        Ok(FoldPlan {
            learners,
            boost: BoostSettings { rounds: args.boost.rounds, options, binning },
            boost_flags: given_text(&args.boost, args.lr),
            losses: losses_of(&args)?,
            max_weight: args.max_weight,
            l2: args.l2.as_deref().map(l2_value).transpose()?.flatten(),
            metric: Metric::parse(&args.metric)?,
            prior: fold_prior(&args.prior)?,
            prior_text: args.prior.prior.clone(),
            folds: args.folds,
            repeats: args.repeats,
            read: ReadOptions {
                features: args.columns.features.clone(),
                id_col: args.columns.id_col.clone(),
                missing: missing_of(args.missing),
                memory: memory_of(&args.memory)?,
                ..read_options(&args.file, &args.labels)?
            },
            scale: scale_of(args.scale),
            progress: progress_of(args.progress, args.run.quiet)?,
            seed: args.seed,
            data: args.data,
        })
    }

    /// Reads the rows and says what they are.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read(&self, talk: &Talk) -> Result<FoldRows> {
        let mut views = Vec::new();
        let mut held = 0;
        for &learner in &self.learners {
            let options = self.read_options(learner).beside(held);
            let data = read_training(&self.data, &options)?;
            held += data.features.bytes_in_memory();
            if views.is_empty() {
                let (name, rows) = (&data.source.name, thousands(data.source.rows));
                talk.phase("Read", &format!("{name}   {rows} rows x {}", text::columns_text(&data.features)));
            }
            say_spilled(talk, &data, options.memory.as_ref());
            let scale = Scale::choose(self.scale.filter(|_| learner == Learner::Linear), &data.encoder)?;
            views.push(View { learner, data, scale });
        }
        let main = &views[0].data;
        main.notes.iter().for_each(|note| talk.phase("", note));
        let counts = main.counts(None);
        talk.phase("Labels", &text::labels_line(&counts));
        let labels = main.labels.as_deref().unwrap_or_default();
        let folds = (0..self.repeats as u64)
            .map(|repeat| Folds::new(labels, main.label_map.classes(), self.folds, self.seed, repeat))
            .collect::<Result<Vec<Folds>>>()?;
        Ok(FoldRows { counts, folds, views })
    }

    /// How `learner` reads files: trees keep text and missing values as they are.
    pub fn read_options(&self, learner: Learner) -> ReadOptions {
        match learner {
            Learner::Linear => self.read.clone(),
            Learner::Boost => {
                ReadOptions { missing: Missing::Keep, categories: Categories::Codes, ..self.read.clone() }
            }
        }
    }

    /// How fits of these rows are made.
    ///
    /// # Errors
    /// Those of the file of a prior.
    pub fn settings(&self, rows: &FoldRows) -> Result<FitSettings> {
        let main = rows.main();
        let mut boost = self.boost.clone();
        boost.binning.categorical = rows.categorical();
        let optimizer =
            default_optimizers(self.seed)?.of_rows(&main.features, main.rows(), main.label_map.classes());
        let asked = self.prior.as_ref();
        let asked = asked.map(|plan| fixed_prior(plan, &main.label_map, &rows.counts)).transpose()?;
        let linear = LinearSettings { l2: self.l2, optimizer: optimizer.loosened(), decay: Decay::Weights };
        Ok(FitSettings {
            linear,
            boost,
            near: None,
            prior: asked.flatten().unwrap_or(Prior::AsTrained),
            taus: TAUS.to_vec(),
            max_weight: self.max_weight,
            metric: self.metric,
            seed: self.seed,
        })
    }

    /// `5 folds x 2 repeats`.
    pub fn folds_text(&self) -> String {
        match self.repeats {
            1 => format!("{} folds", self.folds),
            repeats => format!("{} folds x {repeats} repeats", self.folds),
        }
    }
}

/// The prior asked for; the rows of a fold are too few to estimate one from.
fn fold_prior(args: &PriorArgs) -> Result<Option<PriorPlan>> {
    let prior = prior_of(args)?;
    let help = "give trained, natural, uniform, tau=TAU or a file of lines class,share";
    match prior {
        Some(PriorPlan::Em) => {
            Err(Error::bad_value("--prior", "em", "is estimated where a model is applied", help))
        }
        prior => Ok(prior),
    }
}

/// Each loss, the focal ones once for each gamma.
fn losses_of(args: &FoldArgs) -> Result<Vec<Loss>> {
    let is_focal = |loss: &LossArg| matches!(loss, LossArg::Focal | LossArg::SoftmaxFocal);
    if !args.losses.iter().any(is_focal) {
        let help = "add --losses focal, or leave --gamma out";
        no_effect(!args.gamma.is_empty(), "--gamma", "losses without focusing", help)?;
    }
    let gammas: Vec<Option<f64>> =
        if args.gamma.is_empty() { vec![None] } else { args.gamma.iter().copied().map(Some).collect() };
    let mut losses = Vec::new();
    for loss in &args.losses {
        let gammas = if is_focal(loss) { gammas.as_slice() } else { &[None] };
        for &gamma in gammas {
            let loss = loss_of(*loss, gamma)?;
            if !losses.contains(&loss) {
                losses.push(loss);
            }
        }
    }
    Ok(losses)
}

/// The learners asked for, once each.
fn learners_of(args: &FoldArgs) -> Result<Vec<Learner>> {
    let mut learners: Vec<Learner> = Vec::new();
    for learner in &args.learners {
        let learner = match learner {
            LearnerArg::Linear => Learner::Linear,
            LearnerArg::Boost => Learner::Boost,
        };
        if !learners.contains(&learner) {
            learners.push(learner);
        }
    }
    if !learners.contains(&Learner::Boost) {
        let (with, help) = ("--learners linear", "add --learners boost, or leave it out");
        refuse_boost_flags(&args.boost, with, help)?;
        no_effect(args.lr.is_some(), "--lr", with, help)?;
    }
    if !learners.contains(&Learner::Linear) {
        let (with, help) = ("--learners boost", "add --learners linear, or leave it out");
        no_effect(args.l2.is_some(), "--l2", with, help)?;
        no_effect(args.scale != ScaleArg::Auto, "--scale", with, help)?;
        no_effect(args.missing != MissingArg::Error, "--missing", with, help)?;
    }
    if learners.len() > 1 && args.data.iter().any(|path| path == "-") {
        let (with, help) =
            ("--learners linear,boost", "each learner reads the data in its own way: give a file");
        no_effect(true, "-", with, help)?;
    }
    Ok(learners)
}

/// The rows as a learner takes them.
pub(super) struct View {
    pub(super) learner: Learner,
    pub(super) data: Dataset,
    pub(super) scale: Scale,
}

/// The rows of a run over folds.
pub struct FoldRows {
    /// Rows of each class.
    pub counts: ClassCounts,
    /// One a repeat.
    pub folds: Vec<Folds>,
    /// One a learner.
    pub(super) views: Vec<View>,
}

impl FoldRows {
    /// The data as the first learner takes them.
    pub fn main(&self) -> &Dataset {
        &self.views[0].data
    }

    /// Columns of trees that hold codes.
    fn categorical(&self) -> Vec<usize> {
        let boosted = self.views.iter().find(|view| view.learner == Learner::Boost);
        let categories = boosted.map_or(Vec::new(), |view| view.data.encoder.categories());
        (0..categories.len()).filter(|&at| categories[at].is_some()).collect()
    }

    fn view(&self, learner: Learner) -> &View {
        self.views.iter().find(|view| view.learner == learner).unwrap_or(&self.views[0])
    }

    /// Labels of all rows.
    pub fn labels(&self) -> &[u32] {
        self.main().labels.as_deref().unwrap_or_default()
    }

    /// What the fits take.
    pub fn data<'a>(&'a self, features: &'a crate::experiment::fold_fits::Features<'a>) -> FoldData<'a> {
        FoldData {
            labels: self.labels(),
            row_weights: self.main().row_weights.as_deref(),
            classes: self.main().label_map.classes(),
            features,
        }
    }

    /// Features of all rows for `learner` as the rows `train` would have prepared them.
    pub fn features(&self, learner: Learner, train: &[usize]) -> Matrix<'_> {
        let View { data, scale, .. } = self.view(learner);
        if *scale == Scale::None && data.encoder.missing != Missing::Mean {
            return data.features.reborrow();
        }
        self.prepared(learner, train).0.features
    }

    /// The data for `learner`, filled and scaled by what the rows `train` know, and the scaling.
    pub fn prepared(&self, learner: Learner, train: &[usize]) -> (Dataset, Scaler) {
        let View { data, scale, .. } = self.view(learner);
        let mut filled = data.clone();
        filled.fill_missing(train);
        let weights = data.row_weights.as_deref();
        let (scaler, _) = Scaler::fit(*scale, &filled.features, train, weights);
        scaler.apply(&mut filled.features);
        (filled, scaler)
    }
}

/// Shows where the fits stand, and listens for an interrupt.
pub struct Watch<'w> {
    talk: &'w mut Talk,
    interrupt: &'w Interrupt,
    begun: Instant,
    place: String,
    doing: String,
    of_folds: usize,
}

impl<'w> Watch<'w> {
    /// For fits over the folds of `plan`.
    pub fn new(talk: &'w mut Talk, interrupt: &'w Interrupt, plan: &FoldPlan) -> Self {
        let of_folds = plan.folds;
        Watch {
            talk,
            interrupt,
            begun: Instant::now(),
            place: "all rows".into(),
            doing: String::new(),
            of_folds,
        }
    }

    /// The voice of the run.
    pub fn talk(&mut self) -> &mut Talk {
        self.talk
    }

    /// From now on fits are of all rows.
    pub fn all_rows(&mut self) {
        self.place = "all rows".into();
    }
}

impl FoldWatch for Watch<'_> {
    fn fold(&mut self, repeat: usize, fold: usize) {
        let repeat = if repeat > 0 { format!("repeat {}, ", repeat + 1) } else { String::new() };
        self.place = format!("{repeat}fold {} of {}", fold + 1, self.of_folds);
    }

    fn begin(&mut self, treatment: &Treatment, strength: Strength) {
        let unit = if strength.rounds().is_some() { "rounds" } else { "l2" };
        let (place, loss) = (&self.place, treatment.loss.name());
        self.doing = format!("{place}: {} {loss} {treatment}  {unit} {strength}", treatment.learner);
    }

    fn progress(&mut self, step: usize) -> ControlFlow<()> {
        let took = seconds(self.begun.elapsed().as_secs_f64());
        self.talk.progress(&format!("{}, step {step}, {took}", self.doing));
        if self.interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
