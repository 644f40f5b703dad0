//! Fits over the same rows or most of them, one after the other: they share what they learn of the curvature, and a journal
//! keeps them.

use super::fit::{Optimizer, Score, State, Watch, fit, fit_from};
use super::objective::Objective;
use super::solver::Fit;
use super::solver::memory::Memory;
use crate::Result;
use crate::checkpoint::codec::bytes_of;
use crate::checkpoint::journal::Journal;

/// What a series of fits knows of the curvature, and the journal of the run that makes them.
#[derive(Debug, Default)]
pub struct FitSeries<'j> {
    memory: Memory,
    journal: Option<(&'j Journal, usize)>,
}

impl<'j> FitSeries<'j> {
    /// A series without a fit so far, kept in `journal` where there is one.
    pub fn new(journal: Option<&'j Journal>) -> Self {
        let journal = journal.map(|journal| (journal, journal.series()));
        FitSeries { memory: Memory::default(), journal }
    }

    /// The next fit, as [`fit`]. What the journal knows of it is taken from there.
    ///
    /// # Errors
    /// Those of [`fit`]; [`crate::Error::BadCheckpoint`] where the journal has something else in its place.
    pub fn fit(
        &mut self,
        objective: &mut Objective<'_>,
        start: &[f32],
        optimizer: &Optimizer,
        score: Option<&mut Score<'_>>,
        watch: &mut Watch<'_>,
    ) -> Result<Fit> {
        let memory = &mut self.memory;
        let Some((journal, series)) = self.journal else {
            let fit = fit(objective, memory, start, optimizer, score, watch);
            memory.rest();
            return fit;
        };
        let unit = journal.begin();
        if let Some(fit) = unit.finished::<Fit>()? {
            let is_whole = fit.theta.len() == objective.problem().parameters();
            return if is_whole { Ok(fit) } else { Err(unit.misfit()) };
        }
        if let Some(carried) = unit.carried::<Memory>(series)? {
            if !carried.fits(objective) {
                return Err(unit.misfit());
            }
            *memory = carried;
        }
        let state = unit.state::<State>()?;
        if state.as_ref().is_some_and(|state| !state.fits(objective, optimizer)) {
            return Err(unit.misfit());
        }
        let fit = fit_from(objective, memory, start, state, optimizer, score, &mut |progress, state| {
            let flow = watch(progress);
            unit.offer(state);
            flow
        })?;
        memory.rest();
        unit.finish(&fit, Some((series, bytes_of(memory))));
        Ok(fit)
    }
}
