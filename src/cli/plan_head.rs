//! The flags of heads, and of what the loss does to the logits by class, checked.

use super::args::{DecayArg, LossArg, OptimizerArg, TrainArgs};
use super::plan::out_of_range;
use super::shared::no_effect;
use crate::linear::heads::{Head, Setting};
use crate::loss::Loss;
use crate::{Error, Result};

/// The head and its setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadPlan {
    /// Which head.
    pub head: Head,
    /// A given setting, or `None` to choose one where there are any.
    pub setting: Option<Setting>,
}

impl HeadPlan {
    /// Whether validation rows have a setting to choose.
    pub fn is_open(self) -> bool {
        self.setting.is_none() && !self.head.settings().is_empty()
    }
}

pub(super) fn head_of(text: Option<&str>) -> Result<HeadPlan> {
    let text = text.unwrap_or("linear");
    let (name, setting) = text.split_once(':').map_or((text, None), |(name, setting)| (name, Some(setting)));
    let Some(head) = Head::ALL.into_iter().find(|head| head.name() == name) else {
        let known = Head::ALL.map(Head::name).join(", ");
        return Err(Error::bad_value("--head", text, "is no head", format!("choose one of {known}")));
    };
    let setting = setting.map(|setting| head.parse_setting("--head", setting)).transpose()?;
    Ok(HeadPlan { head, setting })
}

/// Closed forms minimise no loss: what would shape one is refused.
pub(super) fn check_closed_form(args: &TrainArgs, head: Head) -> Result<()> {
    let with = format!("--head {}", head.name());
    let weighs = args.weighting.is_some() || args.weights.is_some();
    let weighs = weighs || args.beta.is_some() || args.ratio.is_some() || args.max_weight.is_some();
    let of_the_loss = [
        (args.loss != LossArg::Softmax, "--loss"),
        (args.l2.is_some(), "--l2"),
        (args.decay != DecayArg::Weights, "--decay"),
        (args.optimizer != OptimizerArg::Auto, "--optimizer"),
        (args.logit_adjust.is_some(), "--logit-adjust"),
        (args.vs_gamma.is_some(), "--vs-gamma"),
        (args.ldam.is_some(), "--ldam"),
        (args.resample.is_some(), "--resample"),
        (head == Head::Ncm && weighs, "class weights"),
    ];
    for (given, flag) in of_the_loss {
        no_effect(given, flag, &with, "it minimises no loss: leave one of them out")?;
    }
    Ok(())
}

pub(super) fn vs_gamma_of(gamma: Option<f64>) -> Result<f64> {
    const MOST: f64 = 4.0;
    match gamma {
        Some(gamma) if !(0.0..=MOST).contains(&gamma) => {
            let why = format!("is outside 0 to {MOST}");
            Err(out_of_range("--vs-gamma", gamma, &why, "the paper takes .05 to .3"))
        }
        gamma => Ok(gamma.unwrap_or(0.0)),
    }
}

pub(super) fn ldam_of(margin: Option<f64>, loss: Loss) -> Result<f64> {
    let with = format!("--loss {}", loss.name());
    let is_focal = matches!(loss, Loss::Focal { .. } | Loss::SoftmaxFocal { .. });
    no_effect(margin.is_some() && is_focal, "--ldam", &with, "add --loss softmax or sigmoid")?;
    match margin {
        Some(margin) if !(margin.is_finite() && margin >= 0.0) => {
            Err(out_of_range("--ldam", margin, "is negative or not a number", "give logits, such as 1"))
        }
        margin => Ok(margin.unwrap_or(0.0)),
    }
}
