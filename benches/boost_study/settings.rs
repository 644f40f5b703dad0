//! What the study varies.

use cbfit::boost::binned::MAX_VALUE_BINS;
use cbfit::boost::gradient::Curvature;
use cbfit::boost::options::{BoostOptions, Lanes, Trees};
use cbfit::labels::ClassCounts;
use cbfit::loss::Loss;
use cbfit::weighting::{Beta, ClassWeights, Normalisation, Scheme};
use serde_json::{Value, json};

/// How classes weigh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weights {
    /// All the same.
    None,
    /// Effective numbers whose largest ratio is the square root of that of the counts.
    Effective,
    /// Inverse counts.
    Inverse,
}

/// One fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Directions of the sketches of a tree for all classes; 0 for a tree a class.
    pub directions: u8,
    pub curvature: Curvature,
    pub learning_rate: f64,
    pub weights: Weights,
    pub bins: usize,
    /// `None`: the default of the curvature.
    pub max_delta_step: Option<f64>,
    /// `None`: the default of the trees.
    pub l2: Option<f64>,
    pub loss: Loss,
}

/// Which fits a data set gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plan {
    /// All of them.
    Full,
    /// Fewer, of vector trees and 64 bins: for many features and classes.
    Wide,
    /// Penalties of the leaves, of either trees at their default Hessian and at a learning rate of 0.1.
    L2,
}

const NEWTON: (Curvature, f64) = (Curvature::Newton, 0.1);
const ABSOLUTE: (Curvature, f64) = (Curvature::Absolute, 0.3);
const EXTREMES: [Weights; 2] = [Weights::None, Weights::Inverse];

/// The fits of a set of `classes` classes, in the order of what they are worth.
///
/// Trees x Hessian x learning rate x weights are crossed; every other question is asked at the two pairs of Hessian and
/// learning rate that are the defaults, without weights and with those that balance.
pub fn settings(plan: Plan, classes: usize) -> Vec<Setting> {
    let base = |directions, (curvature, learning_rate), weights| Setting {
        directions,
        curvature,
        learning_rate,
        weights,
        bins: MAX_VALUE_BINS,
        max_delta_step: None,
        l2: None,
        loss: Loss::Softmax,
    };
    match plan {
        Plan::Wide => return wide(base),
        Plan::L2 => return penalties(base, classes),
        Plan::Full => {}
    }
    let vector = if classes > 2 { 7 } else { 0 };
    let mut all = Vec::new();
    let crossed: &[u8] = if classes > 2 { &[7, 0] } else { &[0] };
    for &directions in crossed {
        for learning_rate in [0.1, 0.3, 0.05] {
            for curvature in [Curvature::Newton, Curvature::Absolute] {
                for weights in [Weights::None, Weights::Inverse, Weights::Effective] {
                    all.push(base(directions, (curvature, learning_rate), weights));
                }
            }
        }
    }
    for weights in EXTREMES {
        for pair in [NEWTON, ABSOLUTE] {
            if classes > 2 {
                all.extend([3, 15].map(|directions| base(directions, pair, weights)));
            }
            all.push(Setting { bins: 64, ..base(vector, pair, weights) });
        }
        for max_delta_step in [0.0, 1.0] {
            for &directions in crossed {
                let newton = base(directions, NEWTON, weights);
                all.push(Setting { max_delta_step: Some(max_delta_step), ..newton });
            }
        }
        for pair in [NEWTON, ABSOLUTE] {
            for loss in [Loss::Sigmoid, Loss::Focal { gamma: 1.0 }] {
                // With one score a row the sigmoid loss is the softmax loss.
                if classes > 2 || loss != Loss::Sigmoid {
                    all.push(Setting { loss, ..base(vector, pair, weights) });
                }
            }
        }
    }
    all
}

/// The fits of [`Plan::Wide`], from `base` of directions, Hessian and learning rate, and weights.
fn wide(base: impl Fn(u8, (Curvature, f64), Weights) -> Setting) -> Vec<Setting> {
    let base = |directions, pair, weights| Setting { bins: 64, ..base(directions, pair, weights) };
    let mut all = Vec::new();
    for learning_rate in [0.1, 0.3] {
        for curvature in [Curvature::Newton, Curvature::Absolute] {
            all.extend(EXTREMES.map(|weights| base(7, (curvature, learning_rate), weights)));
        }
    }
    for pair in [NEWTON, ABSOLUTE] {
        let plain = base(7, pair, Weights::None);
        all.extend([3, 15].map(|directions| base(directions, pair, Weights::None)));
        all.extend([Loss::Sigmoid, Loss::Focal { gamma: 1.0 }].map(|loss| Setting { loss, ..plain }));
        all.push(Setting { bins: MAX_VALUE_BINS, ..plain });
    }
    let newton = base(7, NEWTON, Weights::None);
    all.extend([0.0, 1.0].map(|limit| Setting { max_delta_step: Some(limit), ..newton }));
    all
}

/// The fits of [`Plan::L2`].
fn penalties(base: impl Fn(u8, (Curvature, f64), Weights) -> Setting, classes: usize) -> Vec<Setting> {
    let mut kinds = vec![(0, NEWTON)];
    if classes > 2 {
        kinds.push((7, (Curvature::Absolute, 0.1)));
    }
    let fits = |(directions, pair)| {
        let of_weights =
            move |weights| [1.0, 0.0, 4.0, 16.0, 64.0, 256.0].map(|l2| (directions, pair, weights, Some(l2)));
        EXTREMES.map(of_weights)
    };
    let all = kinds.into_iter().flat_map(fits).flatten();
    all.map(|(directions, pair, weights, l2)| Setting { l2, ..base(directions, pair, weights) }).collect()
}

impl Setting {
    /// Options of the fit.
    pub fn options(&self, seed: u64) -> BoostOptions {
        BoostOptions {
            learning_rate: self.learning_rate,
            curvature: Some(self.curvature),
            max_delta_step: self.max_delta_step,
            l2: self.l2,
            trees: match self.directions {
                0 => Trees::PerClass,
                3 => Trees::Vector(Lanes::Four),
                7 => Trees::Vector(Lanes::Eight),
                _ => Trees::Vector(Lanes::Sixteen),
            },
            seed,
            ..BoostOptions::default()
        }
    }

    /// Weights of the classes for rows of these counts.
    ///
    /// # Errors
    /// Those of [`ClassWeights::new`].
    pub fn class_weights(&self, counts: &ClassCounts) -> cbfit::Result<ClassWeights> {
        let scheme = match self.weights {
            Weights::None => Scheme::None,
            Weights::Inverse => Scheme::Inverse,
            Weights::Effective => {
                let (least, most) = counts.extremes().unwrap_or((1.0, 1.0));
                Scheme::Effective(Beta::for_ratio((most / least).sqrt(), most, least)?)
            }
        };
        ClassWeights::new(&scheme, counts, Normalisation::Samples, None)
    }

    /// The fields of a line of results.
    pub fn json(&self) -> Value {
        json!({
            "trees": if self.directions == 0 { "per-class".to_owned() } else { format!("vector-{}", self.directions) },
            "hessian": if self.curvature == Curvature::Newton { "newton" } else { "abs" },
            "lr": self.learning_rate,
            "weights": match self.weights {
                Weights::None => "none",
                Weights::Effective => "effective",
                Weights::Inverse => "inverse",
            },
            "bins": self.bins,
            "max_delta_step": self.max_delta_step,
            "l2": self.l2,
            "loss": self.loss.name(),
        })
    }
}
