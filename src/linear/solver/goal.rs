//! When a fit is good enough: its gap is certified where it stands, or at a point near by that is better for that.
//!
//! Besides imbalanced biases ([`super::balance`]) a certificate pays `||gradient||^2 / (2 l2)`, most of it for the
//! directions of large curvature, where L-BFGS in its metric is no more exact than anywhere else. A combination of the
//! last points whose gradient is shorter ([`History::flattest`]) is certified several passes before the walk itself.

use super::balance::BiasNewton;
use super::history::History;
use super::lbfgs::LbfgsOptions;
use super::walk::Walk;
use crate::checkpoint::codec::store_fields;
use crate::linear::certificate::gap_if_balanced;
use crate::linear::objective::Objective;

/// Share of a promise that was not kept which the next has to fall below: to try one costs some passes, and in f64 as
/// much as a fit.
const BETTER: f64 = 0.5;
const BETTER_IN_F64: f64 = 0.1;

/// What is asked of a fit.
pub(super) struct Goal {
    tolerance: f64,
    certified: bool,
    newton: Option<BiasNewton>,
}

/// What a fit has tried to be certified.
#[derive(Debug)]
pub(super) struct Tried {
    /// Gap that a point has to promise to be evaluated, and to be evaluated in f64.
    promise: f64,
    promise_in_f64: f64,
    /// Where the Hessian of the biases was taken.
    pub(super) balanced_at: Option<Vec<f32>>,
}
store_fields!(Tried { promise, promise_in_f64, balanced_at });

impl Tried {
    pub(super) fn nothing(tolerance: f64) -> Self {
        Tried { promise: tolerance, promise_in_f64: tolerance, balanced_at: None }
    }
}

impl Goal {
    pub(super) fn new(options: &LbfgsOptions, tried: &Tried, objective: &Objective<'_>) -> Self {
        let LbfgsOptions { tolerance, certified, .. } = *options;
        let newton = tried.balanced_at.as_ref().and_then(|theta| BiasNewton::at(objective, theta));
        Goal { tolerance, certified, newton }
    }

    /// Whether the walk has arrived where its model promises `estimate` as relative gap; it may be moved.
    pub(super) fn is_reached(
        &mut self,
        estimate: f64,
        walk: &mut Walk,
        history: &History,
        tried: &mut Tried,
        objective: &mut Objective<'_>,
    ) -> bool {
        if estimate > self.tolerance {
            return false;
        }
        match walk.certificate(objective).relative_gap {
            Some(gap) if gap <= self.tolerance => self.is_confirmed(walk, objective),
            // An estimate has to rest on a step of this fit, and where no bound exists, be the smaller.
            Some(_) if !self.certified => estimate <= 0.5 * self.tolerance && !history.is_foreign(),
            None => estimate <= 0.1 * self.tolerance && !history.is_foreign(),
            Some(_) => self.is_reached_nearby(walk, history, tried, objective),
        }
    }

    /// Whether the gap is met in f32, too.
    fn is_confirmed(&self, walk: &mut Walk, objective: &mut Objective<'_>) -> bool {
        if self.certified {
            walk.refine(objective);
        }
        walk.is_within(self.tolerance, objective)
    }

    fn is_reached_nearby(
        &mut self,
        walk: &mut Walk,
        history: &History,
        tried: &mut Tried,
        objective: &mut Objective<'_>,
    ) -> bool {
        let flattest = history.flattest(objective, &walk.gradient);
        let promise = flattest.squared / (2.0 * objective.decays().0 * walk.value.objective().abs());
        if promise > tried.promise {
            return false;
        }
        tried.promise = BETTER * promise.max(0.1 * tried.promise);
        let kernels = objective.kernels();
        let mut near = walk.moved(objective, |theta| history.add_to(&flattest, kernels, theta));
        // Where J is far from quadratic, so is that point from here.
        if near.value.objective() > walk.value.objective() * (1.0 + self.tolerance) {
            near = walk.clone();
        }
        if self.newton.is_none() {
            self.newton = BiasNewton::at(objective, &near.theta);
            tried.balanced_at = Some(near.theta.clone());
        }
        if let Some(newton) = &self.newton {
            near.balance_bias(objective, newton, self.tolerance, false);
        }
        let is_met = near.is_within(self.tolerance, objective) && self.is_confirmed(&mut near, objective)
            || self.is_reached_in_f64(&mut near, tried, objective);
        if is_met && !objective.is_stopped() {
            *walk = near;
        }
        is_met
    }

    /// Whether nothing but the rounding of logits was left.
    fn is_reached_in_f64(&self, near: &mut Walk, tried: &mut Tried, objective: &mut Objective<'_>) -> bool {
        let Some(newton) = self.newton.as_ref().filter(|_| objective.affords_f64()) else { return false };
        match gap_if_balanced(objective, &near.theta, near.value, &near.gradient) {
            Some(promise) if promise <= tried.promise_in_f64 => {
                tried.promise_in_f64 = BETTER_IN_F64 * promise;
            }
            _ => return false,
        }
        near.refine_in_f64(objective);
        if !near.is_within(self.tolerance, objective) {
            near.balance_bias(objective, newton, self.tolerance, true);
        }
        near.is_within(self.tolerance, objective)
    }
}
