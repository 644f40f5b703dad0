//! Going on with an earlier model: its settings take the place of flags that are not given, and refuse those that differ.

use std::fmt::Display;

use super::args::{HessianArg, LearnerArg, TrainArgs, TreesArg};
use super::boost_start::{StartPlan, start_of};
use super::plan::{WeightingPlan, loss_of, weighting_of};
use super::plan_boost::{curvature_of, trees_of};
use super::shared::no_effect;
use crate::boost::gradient::Curvature;
use crate::boost::model::BoostModel;
use crate::boost::options::{BoostOptions, Lanes, Trees};
use crate::boost::start::Init;
use crate::data::counts::read_class_weights;
use crate::hybrid::model::LinearStart;
use crate::linear::heads::Head;
use crate::loss::Loss;
use crate::model::Model;
use crate::model_file::{self, SavedModel};
use crate::weighting::{ClassWeights, Normalisation, Scheme};
use crate::{Error, Result};

/// A model of trees that boosting goes on with.
#[derive(Debug, Clone, PartialEq)]
pub struct Earlier {
    /// Its file.
    pub path: String,
    /// The model, with the record of its fit.
    pub saved: SavedModel,
    /// Its weighting.
    pub scheme: Scheme,
}

impl Earlier {
    /// Its trees.
    pub fn trees(&self) -> Option<&BoostModel> {
        self.saved.model.trees()
    }

    /// The linear functions below them.
    pub fn start(&self) -> Option<&LinearStart> {
        match &self.saved.model {
            Model::Hybrid(model) => Some(&model.start),
            _ => None,
        }
    }

    /// Its rounds.
    pub fn rounds(&self) -> usize {
        self.trees().map_or(0, BoostModel::rounds)
    }
}

/// Takes `--init-model` out of `args`, reads the model, and completes the other flags by its settings. `None` without it.
///
/// # Errors
/// Those of [`model_file::load`]; [`Error::BadValue`] for a model without trees and where flags ask for other settings than
/// those of the model, which names them all; [`Error::NoEffect`].
pub(super) fn earlier_of(args: &mut TrainArgs, is_validated: bool) -> Result<Option<Earlier>> {
    let Some(path) = args.going_on.init_model.take() else { return Ok(None) };
    let with = "--init-model";
    no_effect(
        args.learner == LearnerArg::Linear,
        with,
        "--learner linear",
        "add --learner boost, or leave it out",
    )?;
    no_effect(
        args.columns.features.is_some(),
        "--features",
        with,
        "the model has its columns: leave it out",
    )?;
    no_effect(
        args.labels.class_names.is_some(),
        "--class-names",
        with,
        "the model has its classes: leave it out",
    )?;
    let saved = model_file::load(&path)?;
    if saved.model.trees().is_none() {
        let help =
            "name a model of --learner boost; --init linear starts from linear functions fitted for it";
        return Err(Error::bad_value(with, path, "has no trees to go on with", help));
    }
    let scheme = scheme_of(&saved, &path)?;
    let mut settings = Settings { saved: &saved, differing: Vec::new() };
    settings.adopt_weighting(args, &scheme)?;
    settings.adopt_loss(args)?;
    settings.adopt_options(args, &path)?;
    settings.adopt_start(args)?;
    let config = &saved.metadata.config;
    let seed = config["seed"].as_u64().unwrap_or(0);
    settings.expect("--seed", args.seed == seed, seed, args.seed);
    if is_validated {
        let text = |name: &str| config[name].as_str().map(str::to_owned);
        args.metric = args.metric.take().or_else(|| text("metric"));
        args.patience = args.patience.or(config["patience"].as_u64().map(|patience| patience as usize));
    }
    if !settings.differing.is_empty() {
        let why = format!("has other settings: {}", settings.differing.join("; "));
        let help =
            "give the settings of the model; those left out are taken from it, but for --loss and --seed";
        return Err(Error::bad_value(with, path, why, help));
    }
    Ok(Some(Earlier { path, saved, scheme }))
}

/// The weighting that `saved` was fitted under.
fn scheme_of(saved: &SavedModel, path: &str) -> Result<Scheme> {
    let metadata = &saved.metadata;
    metadata.weighting.scheme(&metadata.class_weights)?.ok_or_else(|| {
        let why = format!("it names no weighting to go on with: {:?}", metadata.weighting.scheme);
        Error::BadModel { path: path.into(), why }
    })
}

/// The settings of a model, and what flags asked for instead.
struct Settings<'s> {
    saved: &'s SavedModel,
    differing: Vec<String>,
}

impl Settings<'_> {
    fn expect(&mut self, flag: &str, is_same: bool, of_model: impl Display, asked: impl Display) {
        if !is_same {
            self.differing.push(format!("{flag} {of_model}, not {asked}"));
        }
    }

    /// Sets a flag that is not given, compares one that is.
    fn adopt<T: PartialEq + Display>(&mut self, flag: &str, asked: &mut Option<T>, of_model: Option<T>) {
        match (&asked, &of_model) {
            (None, _) => *asked = of_model,
            (Some(given), Some(own)) => self.expect(flag, given == own, own, given),
            (Some(given), None) => self.expect(flag, false, "at its default", given),
        }
    }

    fn adopt_weighting(&mut self, args: &mut TrainArgs, scheme: &Scheme) -> Result<()> {
        let metadata = &self.saved.metadata;
        let cap = metadata.config["max_weight"].as_f64();
        let flags = [&args.beta, &args.weights].map(Option::is_some);
        if flags.contains(&true) || args.weighting.is_some() || args.ratio.is_some() {
            let asked = match weighting_of(args, Head::Linear)? {
                WeightingPlan::Scheme(scheme) => Some(scheme),
                // A beta left open is the one that was found.
                WeightingPlan::ChooseBeta => matches!(scheme, Scheme::Effective(_)).then(|| scheme.clone()),
                WeightingPlan::Ratio(ratio) => Some(Scheme::with_ratio(ratio, &metadata.counts)?),
                WeightingPlan::File(path) => {
                    Some(Scheme::Custom(read_class_weights(&path, &metadata.label_map)?))
                }
            };
            let is_same = match (&asked, scheme) {
                (Some(asked @ Scheme::Custom(_)), Scheme::Custom(own)) => {
                    let asked = ClassWeights::new(asked, &metadata.counts, Normalisation::Samples, cap)?;
                    are_equal(&asked.alpha, own)
                }
                _ => asked.as_ref() == Some(scheme),
            };
            let asked = asked.map_or("effective".into(), |asked| asked.to_string());
            self.expect("weighting", is_same, scheme, asked);
        }
        (args.weighting, args.weights, args.ratio, args.beta) = (None, None, None, None);
        self.adopt("--max-weight", &mut args.max_weight, cap);
        let tau = metadata.logit_adjust;
        self.adopt("--logit-adjust", &mut args.logit_adjust, (tau != 0.0).then_some(tau));
        Ok(())
    }

    fn adopt_loss(&mut self, args: &mut TrainArgs) -> Result<()> {
        let own = self.saved.metadata.loss;
        if let (Loss::Focal { gamma } | Loss::SoftmaxFocal { gamma }, None) = (own, args.gamma)
            && loss_of(args.loss, Some(gamma)).is_ok_and(|asked| asked == own)
        {
            args.gamma = Some(gamma);
        }
        let asked = loss_of(args.loss, args.gamma)?;
        self.expect("--loss", asked == own, loss_text(own), loss_text(asked));
        Ok(())
    }

    fn adopt_options(&mut self, args: &mut TrainArgs, path: &str) -> Result<()> {
        let config = &self.saved.metadata.config;
        let own: BoostOptions = serde_json::from_value(config["options"].clone()).map_err(|_| {
            Error::BadModel { path: path.into(), why: "it does not say how its trees were grown".into() }
        })?;
        let given = &mut args.boost;
        self.adopt("--max-leaves", &mut given.max_leaves, Some(own.max_leaves));
        self.adopt("--max-depth", &mut given.max_depth, own.max_depth);
        self.adopt("--min-rows", &mut given.min_rows, Some(own.min_rows));
        self.adopt("--min-child-weight", &mut given.min_child_weight, Some(own.min_child_weight));
        self.adopt("--max-delta-step", &mut given.max_delta_step, own.max_delta_step);
        self.adopt("--row-sample", &mut given.row_sample, Some(own.row_sample));
        self.adopt("--column-sample", &mut given.column_sample, Some(own.column_sample));
        let max_bins = config["max_bins"].as_u64().map(|bins| bins as usize);
        self.adopt("--max-bins", &mut given.max_bins, max_bins);
        let classes = self.saved.model.classes();
        match given.hessian {
            None => {
                given.hessian = own.curvature.map(|curvature| match curvature {
                    Curvature::Newton => HessianArg::Newton,
                    Curvature::Absolute => HessianArg::Abs,
                });
            }
            Some(asked) => {
                let (asked, own) = (curvature_of(asked), own.curvature(classes));
                self.expect("--hessian", asked == own, curvature_text(own), curvature_text(asked));
            }
        }
        if given.trees.is_some() || given.directions.is_some() {
            let asked = trees_of(given)?.lanes(classes);
            let own = own.trees.lanes(classes);
            self.expect("--trees", asked == own, lanes_text(own), lanes_text(asked));
        } else {
            (given.trees, given.directions) = match own.trees {
                Trees::Auto => (None, None),
                Trees::PerClass => (Some(TreesArg::PerClass), None),
                Trees::Vector(lanes) => (Some(TreesArg::Vector), Some(directions(lanes))),
            };
        }
        // How far each step goes is a matter of the trees to come.
        args.lr = args.lr.or(Some(own.learning_rate));
        match args.l2.as_deref().map(str::parse::<f64>) {
            Some(Ok(asked)) => {
                let own = own.l2(classes);
                self.expect("--l2", asked == own, own, asked);
            }
            // What is no number is refused where flags are read.
            Some(Err(_)) => {}
            None => args.l2 = own.l2.map(|l2| l2.to_string()),
        }
        Ok(())
    }

    fn adopt_start(&mut self, args: &mut TrainArgs) -> Result<()> {
        let metadata = &self.saved.metadata;
        let init = serde_json::from_value(metadata.config["options"]["init"].clone());
        let own = match metadata.linear_start {
            Some(start) => StartPlan::Linear(Some(start.l2)),
            None => StartPlan::Constant(init.unwrap_or(Init::Weighted)),
        };
        if args.boost.init.is_some() {
            let asked = start_of(args.boost.init.as_deref(), true)?;
            let is_open = matches!((asked, own), (StartPlan::Linear(None), StartPlan::Linear(_)));
            self.expect("--init", is_open || asked == own, start_text(own), start_text(asked));
        }
        args.boost.init = Some(start_text(own));
        Ok(())
    }
}

/// Whether class weights are the same to rounding.
fn are_equal(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs())
}

fn loss_text(loss: Loss) -> String {
    match loss {
        Loss::Softmax | Loss::Sigmoid => loss.name().to_owned(),
        Loss::Focal { gamma } | Loss::SoftmaxFocal { gamma } => format!("{} --gamma {gamma}", loss.name()),
    }
}

fn lanes_text(lanes: Option<Lanes>) -> String {
    lanes.map_or("per-class".into(), |lanes| format!("vector --directions {}", directions(lanes)))
}

fn curvature_text(curvature: Curvature) -> &'static str {
    match curvature {
        Curvature::Newton => "newton",
        Curvature::Absolute => "abs",
    }
}

fn directions(lanes: Lanes) -> usize {
    match lanes {
        Lanes::Four => 3,
        Lanes::Eight => 7,
        Lanes::Sixteen => 15,
    }
}

fn start_text(start: StartPlan) -> String {
    match start {
        StartPlan::Constant(Init::Weighted) => "weighted".into(),
        StartPlan::Constant(Init::Paper) => "paper".into(),
        StartPlan::Constant(Init::Zero) => "zero".into(),
        StartPlan::Linear(Some(l2)) => format!("linear:{l2:e}"),
        StartPlan::Linear(None) => "linear".into(),
    }
}
