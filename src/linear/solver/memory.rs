//! What a fit leaves to the next one over the same rows or most of them: its metric, and its last steps.

use super::history::History;
use super::metric::{Preconditioner, weigh_alike};
use crate::checkpoint::codec::store_fields;
use crate::linear::objective::Objective;

/// The model of the Hessian that L-BFGS ended with. For the next value of l2 on a path it saves a fifth of the passes
/// beside the metric alone.
#[derive(Debug, Default)]
pub struct Memory {
    pub(super) preconditioner: Preconditioner,
    last: Option<Last>,
}
store_fields!(Memory { preconditioner, last });

/// The last steps of a fit, and the objective they were made on.
#[derive(Debug)]
struct Last {
    history: History,
    class_share: Vec<f64>,
    /// l2 in the weights and the bias of each class.
    decays: Vec<(f64, f64)>,
}
store_fields!(Last { history, class_share, decays });

impl Memory {
    /// A metric without steps.
    pub(super) fn of(preconditioner: Preconditioner) -> Self {
        Memory { preconditioner, last: None }
    }

    /// The steps left by the fit before, as they were on `objective`; none where that weighs classes in another way.
    pub(super) fn recall(&mut self, objective: &Objective<'_>) -> History {
        let parameters = objective.problem().parameters();
        match self.last.take() {
            Some(Last { mut history, class_share, decays })
                if weigh_alike(&class_share, &objective.moments().class_share) =>
            {
                history.move_to(objective, &decays);
                history
            }
            _ => History::new(parameters),
        }
    }

    /// Keeps the steps `history` of a fit of `objective`.
    pub(super) fn keep(&mut self, mut history: History, objective: &Objective<'_>) {
        history.shrink();
        let class_share = objective.moments().class_share.clone();
        self.last = Some(Last { history, class_share, decays: decays(objective) });
    }

    /// Lets go of what the next fit makes anew in any case.
    pub(in crate::linear) fn rest(&mut self) {
        self.preconditioner.rest();
    }

    /// Whether this can have been left by fits of the classes and features of `objective`.
    pub(in crate::linear) fn fits(&self, objective: &Objective<'_>) -> bool {
        let problem = objective.problem();
        self.preconditioner.fits(objective)
            && self.last.as_ref().is_none_or(|last| {
                last.history.fits(problem.parameters()) && last.decays.len() == problem.classes
            })
    }
}

/// l2 in the weights and the bias of each class.
pub(super) fn decays(objective: &Objective<'_>) -> Vec<(f64, f64)> {
    let (on_weights, on_bias) = objective.decays();
    let problem = objective.problem();
    let of_class = |factor: f64| (factor * on_weights, factor * on_bias);
    (0..problem.classes).map(|class| of_class(problem.l2_factor(class))).collect()
}
