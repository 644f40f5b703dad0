//! Fits that a journal keeps: their trees, and the score after each round.

use std::ops::ControlFlow;

use super::binned::BINS;
use super::fit::{Outcome, Past, Score, Stopping, Watch, resume};
use super::model::{BoostedTree, Output};
use super::trainer::Trainer;
use super::tree::{BinSet, Child, Node, Test, Tree};
use crate::Result;
use crate::checkpoint::codec::{Stored, store_fields};
use crate::checkpoint::journal::{Journal, Unit};
use crate::metrics::Standing;

/// What a fit came to: the trees that it has kept of its own, and its [`Outcome`].
struct Done {
    trees: Vec<BoostedTree>,
    rounds: usize,
    made: usize,
    scores: Vec<Standing>,
}
store_fields!(Done { trees, rounds, made, scores });
store_fields!(Past { trees, scores });
store_fields!(Standing { metric, noise, balanced_log_loss });

/// A fit of `trainer` as by [`resume`] with the rounds that `journal` knows of, where there is one.
///
/// # Errors
/// [`crate::Error::BadCheckpoint`] where the journal has something else in its place.
pub fn kept_fit(
    journal: Option<&Journal>,
    trainer: &mut Trainer<'_>,
    stopping: Stopping,
    scores: &[Standing],
    score: Option<&mut Score<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Outcome> {
    let Some(journal) = journal else {
        return Ok(resume(trainer, stopping, scores, Past::default(), score, watch));
    };
    let unit = journal.begin();
    let first = trainer.model().trees.len();
    if let Some(Done { trees, rounds, made, scores }) = unit.finished()? {
        extend(trainer, trees, &unit)?;
        trainer.truncate(rounds);
        let is_whole = trainer.model().rounds() == rounds;
        return if is_whole {
            Ok(Outcome { rounds, made, interrupted: false, scores })
        } else {
            Err(unit.misfit())
        };
    }
    let past: Past = unit.state()?.unwrap_or_default();
    let expected = if score.is_some() { trainer.rounds_of(&past.trees) } else { 0 };
    if !trainer.model().admits(&past.trees) || past.scores.len() != expected {
        return Err(unit.misfit());
    }
    let mut seen = past.scores.clone();
    let outcome = resume(trainer, stopping, scores, past, score, &mut |trainer, round, scored| {
        seen.extend(scored);
        let flow = watch(trainer, round, scored);
        unit.offer(&|| {
            let mut out = trees_bytes(trainer, first);
            seen.store(&mut out);
            Some(out)
        });
        flow
    });
    let trees = trainer.model().trees.get(first..).unwrap_or_default().to_vec();
    let Outcome { rounds, made, .. } = outcome;
    unit.finish(&Done { trees, rounds, made, scores: outcome.scores.clone() }, None);
    Ok(outcome)
}

/// So many rounds of `trainer`, which has none yet, those included that `journal` knows of; `watch` is told of each other.
/// Whether none was left out.
///
/// # Errors
/// [`crate::Error::BadCheckpoint`] where the journal has something else in its place.
pub fn kept_rounds(
    journal: Option<&Journal>,
    trainer: &mut Trainer<'_>,
    rounds: usize,
    watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<()> {
    let unit = journal.map(Journal::begin);
    if let Some(unit) = &unit {
        let known = match unit.finished::<Vec<BoostedTree>>()? {
            Some(trees) => Some(trees),
            None => unit.state()?,
        };
        extend(trainer, known.unwrap_or_default(), unit)?;
    }
    for round in trainer.model().rounds() + 1..=rounds {
        if trainer.whole_round().is_none() {
            return Ok(());
        }
        let flow = watch(round);
        if let Some(unit) = &unit {
            unit.offer(&|| Some(trees_bytes(trainer, 0)));
        }
        if flow.is_break() {
            return Ok(());
        }
    }
    if let Some(unit) = unit {
        unit.finish(&trainer.model().trees, None);
    }
    Ok(())
}

fn extend(trainer: &mut Trainer<'_>, trees: Vec<BoostedTree>, unit: &Unit<'_>) -> Result<()> {
    if !trainer.model().admits(&trees) {
        return Err(unit.misfit());
    }
    trainer.extend(trees);
    Ok(())
}

/// The trees of a fit from the tree `first` on, as a list is stored.
fn trees_bytes(trainer: &Trainer<'_>, first: usize) -> Vec<u8> {
    let trees = trainer.model().trees.get(first..).unwrap_or_default();
    let mut out = Vec::new();
    trees.len().store(&mut out);
    BoostedTree::store_all(trees, &mut out);
    out
}

store_fields!(BoostedTree { tree, output, values });
store_fields!(Tree { nodes });
store_fields!(Node { feature, test, missing_left, children, gain, cover, left_cover });

impl Stored for Output {
    fn store(&self, out: &mut Vec<u8>) {
        let output = match self {
            Output::One(output) => Some(*output),
            Output::All => None,
        };
        output.store(out);
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        Some(Option::load(from)?.map_or(Output::All, Output::One))
    }
}

impl Stored for [Child; 2] {
    fn store(&self, out: &mut Vec<u8>) {
        for child in self {
            let (is_leaf, place) = match *child {
                Child::Node(node) => (false, node),
                Child::Leaf(leaf) => (true, leaf),
            };
            (is_leaf, place).store(out);
        }
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        let mut child = || {
            let (is_leaf, place) = Stored::load(from)?;
            Some(if is_leaf { Child::Leaf(place) } else { Child::Node(place) })
        };
        Some([child()?, child()?])
    }
}

impl Stored for Test {
    fn store(&self, out: &mut Vec<u8>) {
        match self {
            Test::UpTo { bin, threshold } => {
                out.push(0);
                (*bin, *threshold).store(out);
            }
            Test::Among(set) => {
                out.push(1);
                u64::store_all(set, out);
            }
        }
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        Some(match u8::load(from)? {
            0 => {
                let (bin, threshold) = Stored::load(from)?;
                Test::UpTo { bin, threshold }
            }
            1 => Test::Among(BinSet::try_from(u64::load_all(BINS / 64, from)?).ok()?),
            _ => return None,
        })
    }
}
