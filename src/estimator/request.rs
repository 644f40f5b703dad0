//! What a fit is asked beside features and labels: weights of rows, where to start, who watches.

use std::ops::ControlFlow;

use super::fitted::Fitted;
use crate::matrix::Matrix;
use crate::stop::Stop;

/// How far a fit is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Iterations, epochs or rounds done.
    pub done: usize,
    /// Of them at most.
    pub at_most: usize,
    /// The objective so far: J of a linear fit, the mean loss of a boosted one.
    pub objective: f64,
}

/// Ends fits from elsewhere: clones share one switch.
#[derive(Debug, Clone)]
pub struct Cancel {
    pub(super) stop: Stop,
}

impl Default for Cancel {
    fn default() -> Self {
        Cancel { stop: Stop::new() }
    }
}

impl Cancel {
    /// A switch that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends all fits that watch this switch in the midst of their current step; they return what they had reached before
    /// it, which may be where they started: a model without a round or an iteration.
    pub fn cancel(&self) {
        self.stop.set();
    }

    /// Whether it was switched.
    pub fn is_cancelled(&self) -> bool {
        self.stop.is_set()
    }
}

/// Sees each step of a fit; `Break` ends it with what was reached.
pub type Watch<'w> = dyn FnMut(&Step) -> ControlFlow<()> + 'w;

/// What a fit is asked beside features and labels. `Request::default()` asks for nothing.
pub struct Request<'r, L> {
    /// A positive weight for each row, beside that of its class.
    pub sample_weight: Option<&'r [f64]>,
    /// A model of the same classes and features to start from: a linear fit starts at its parameters, a boosted one goes on
    /// with its rounds.
    pub warm_start: Option<&'r Fitted<L>>,
    /// Ends the fit from elsewhere.
    pub cancel: Option<&'r Cancel>,
    /// Sees its steps.
    pub watch: Option<&'r mut Watch<'r>>,
}

impl<L> Default for Request<'_, L> {
    fn default() -> Self {
        Request { sample_weight: None, warm_start: None, cancel: None, watch: None }
    }
}

impl<L> Request<'_, L> {
    /// Has the switch break off whatever goes through `rows`.
    pub(super) fn may_stop<'m>(&self, rows: Matrix<'m>) -> Matrix<'m> {
        match self.cancel {
            Some(cancel) => rows.stopped_by(&cancel.stop),
            None => rows,
        }
    }

    /// Tells a step; whether to go on.
    pub(super) fn tell(&mut self, step: &Step) -> ControlFlow<()> {
        if let Some(watch) = &mut self.watch {
            watch(step)?;
        }
        if self.cancel.is_some_and(Cancel::is_cancelled) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
