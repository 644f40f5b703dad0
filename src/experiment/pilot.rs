//! Where on its path a treatment does best, found on one fold.

use super::fold_fits::Part;
use super::readings::{Decision, Reader, Readings};
use super::strength::Strength;
use crate::labels::ClassCounts;
use crate::linear::path::PATIENCE;
use crate::metrics::{Metric, Standing};

/// Walks the path: the first treatment from its stiff end with patience, the others from the best of the one before
/// until the best has a worse neighbour on both sides.
pub(super) struct Pilot<'p> {
    part: Part<'p>,
    metric: Metric,
    taus: usize,
    near: Option<Strength>,
    train_rows: Vec<u64>,
    path: Vec<Strength>,
    /// How the values tried stand, by their place on the path.
    tried: Vec<Option<Standing>>,
    at: Option<usize>,
    waited: usize,
}

impl<'p> Pilot<'p> {
    /// `taus` is the number of adjustments that decisions are read with, 0 for none, `near` the strength at which another
    /// treatment did best.
    pub(super) fn new(part: &Part<'p>, metric: Metric, taus: usize, near: Option<Strength>) -> Self {
        let train_rows = ClassCounts::of(&part.train.labels, None, part.train.classes).rows;
        let (path, tried) = (Vec::new(), Vec::new());
        Pilot { part: *part, metric, taus, near, train_rows, path, tried, at: None, waited: 0 }
    }

    /// What of `path` to try next; `None` once the best is known.
    pub(super) fn next(
        &mut self,
        path: &[Strength],
        fitted: Option<(&Reader<'_>, &[f32])>,
    ) -> Option<Strength> {
        if self.path.is_empty() {
            self.path = path.to_vec();
            self.tried = vec![None; self.path.len()];
        }
        if let (Some(at), Some((reader, logits))) = (self.at, fitted) {
            self.tried[at] = Some(self.standing(reader, logits));
        }
        self.at = match (self.near, self.at) {
            (None, None) => Some(0),
            (Some(near), None) => Some(self.place_of(near)),
            (None, Some(at)) => self.after(at),
            (Some(_), Some(_)) => self.untried_beside(self.best()),
        };
        self.at.map(|at| self.path[at])
    }

    /// The best strength tried, and it with its neighbours, stiff ones first.
    pub(super) fn found(&self) -> (Strength, Vec<Strength>) {
        let best = self.best();
        let around = &self.path[best.saturating_sub(1)..(best + 2).min(self.path.len())];
        (self.path[best], around.to_vec())
    }

    /// Place of the best strength tried.
    fn best(&self) -> usize {
        let (places, standings): (Vec<usize>, Vec<Standing>) = self.standings().unzip();
        Standing::choose(&standings).map_or(0, |best| places[best])
    }

    /// Place of the most flexible strength that is as stiff as `near`.
    fn place_of(&self, near: Strength) -> usize {
        self.path.iter().rposition(|strength| strength.is_as_stiff_as(near)).unwrap_or(0)
    }

    fn standings(&self) -> impl Iterator<Item = (usize, Standing)> + '_ {
        self.tried.iter().enumerate().filter_map(|(place, standing)| Some((place, (*standing)?)))
    }

    /// The next place down the path, unless patience has ended.
    fn after(&mut self, at: usize) -> Option<usize> {
        let highest = |upto: usize| {
            self.standings()
                .filter(|(place, _)| *place < upto)
                .map(|(_, s)| s.metric)
                .fold(f64::NEG_INFINITY, f64::max)
        };
        let reaches = self.tried[at].is_some_and(|standing| standing.metric >= highest(at));
        self.waited = if reaches || self.best() == at { 0 } else { self.waited + 1 };
        (self.waited < PATIENCE && at + 1 < self.path.len()).then_some(at + 1)
    }

    /// A neighbour of `place` that was not tried, the stronger one first.
    fn untried_beside(&self, place: usize) -> Option<usize> {
        let stronger = place.checked_sub(1).filter(|&place| self.tried[place].is_none());
        let weaker = Some(place + 1).filter(|&place| place < self.path.len() && self.tried[place].is_none());
        stronger.or(weaker)
    }

    fn standing(&self, reader: &Reader<'_>, logits: &[f32]) -> Standing {
        let labels = self.part.held_labels;
        let mut readings = Readings::new(labels.len(), self.taus);
        let places: Vec<usize> = (0..labels.len()).collect();
        reader.read(logits, labels, &places, &mut readings);
        let standing = |decision| {
            readings.standing(decision, places.iter().copied(), labels, &self.train_rows, self.metric)
        };
        let adjusted: Vec<Standing> = (0..self.taus).map(|tau| standing(Decision::Adjusted(tau))).collect();
        let best = Standing::highest(&adjusted).and_then(|best| adjusted.get(best).copied());
        best.unwrap_or_else(|| standing(Decision::MostProbable))
    }
}
