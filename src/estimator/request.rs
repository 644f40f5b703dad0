//! What a fit is asked beside features and labels: weights of rows, where to start, who watches.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fitted::Fitted;

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
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    switch: Arc<AtomicBool>,
}

impl Cancel {
    /// A switch that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends all fits that watch this switch after their current step; they return what they have reached.
    pub fn cancel(&self) {
        self.switch.store(true, Ordering::Relaxed);
    }

    /// Whether it was switched.
    pub fn is_cancelled(&self) -> bool {
        self.switch.load(Ordering::Relaxed)
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
