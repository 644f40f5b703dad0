//! Models of an unfinished run, beside its output: a run that is killed loses the rounds since the last one.

use std::cell::RefCell;

use super::talk::Talk;
use crate::model_file::{self, SavedModel};
use crate::report::format::thousands;

/// A fit of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// That of a weighting, by its number from 0.
    Search(usize),
    /// That of training and validation rows together.
    Refit,
}

/// Writes the model of a fit every so many rounds, each time over the one before. LightGBM and XGBoost keep a file for
/// every such round; here later rounds hold the earlier ones, and the finished model takes the place of all.
#[derive(Debug)]
pub(super) struct Snapshots<'s> {
    /// Rounds between two; `None` for none at all.
    every: Option<usize>,
    out: &'s str,
    written: RefCell<Vec<String>>,
}

impl<'s> Snapshots<'s> {
    /// Snapshots beside the model file `out`.
    pub(super) fn new(every: Option<usize>, out: &'s str) -> Self {
        Snapshots { every, out, written: RefCell::default() }
    }

    /// Whether there is one after `round`.
    pub(super) fn is_due(&self, round: usize) -> bool {
        self.every.is_some_and(|every| round.is_multiple_of(every))
    }

    /// Whether there are any.
    pub(super) fn are_wanted(&self) -> bool {
        self.every.is_some()
    }

    /// Writes `saved`. What keeps it from being written is said, and does not end the run: its model is in memory.
    pub(super) fn save(&self, stage: Stage, saved: &SavedModel, talk: &Talk) {
        let path = path_of(self.out, stage);
        if let Err(error) = model_file::save(&path, saved) {
            talk.phase("Note", &format!("no snapshot: {error}"));
            return;
        }
        let mut written = self.written.borrow_mut();
        if !written.contains(&path) {
            let every = thousands(self.every.unwrap_or(0) as u64);
            talk.phase("Snapshot", &format!("{path} every {every} rounds; --init-model goes on from it"));
            written.push(path);
        }
    }

    /// Removes those of this run, whose model is saved.
    pub(super) fn remove(&self) {
        for path in self.written.borrow_mut().drain(..) {
            // One that somebody has moved away is no fault.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The first fit of a run has `OUT.snapshot`, that of the second weighting `OUT.snapshot.2`, the last one
/// `OUT.snapshot.refit`.
pub(super) fn path_of(out: &str, stage: Stage) -> String {
    match stage {
        Stage::Search(0) => format!("{out}.snapshot"),
        Stage::Search(number) => format!("{out}.snapshot.{}", number + 1),
        Stage::Refit => format!("{out}.snapshot.refit"),
    }
}
