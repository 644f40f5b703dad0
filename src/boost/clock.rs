//! Where the time of a fit goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What a fit spends time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Derivatives of the loss, and their fixed-point words.
    Gradient,
    /// Building and subtracting histograms.
    Histogram,
    /// Seeking cuts.
    Split,
    /// Parting rows.
    Partition,
    /// Values of leaves, and scores.
    Leaf,
}

impl Phase {
    /// All phases, in the order of a round.
    pub const ALL: [Phase; 5] =
        [Phase::Gradient, Phase::Histogram, Phase::Split, Phase::Partition, Phase::Leaf];

    /// `"gradient"`, `"histogram"`, `"split"`, `"partition"` or `"leaf"`.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Gradient => "gradient",
            Phase::Histogram => "histogram",
            Phase::Split => "split",
            Phase::Partition => "partition",
            Phase::Leaf => "leaf",
        }
    }
}

/// Time by phase, summed over the tasks of all threads.
#[derive(Debug, Default)]
pub(super) struct Clock([AtomicU64; Phase::ALL.len()]);

impl Clock {
    /// Does `work` on the account of `phase`.
    pub(super) fn time<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.0[phase as usize].fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// Seconds of a phase.
    pub(super) fn seconds(&self, phase: Phase) -> f64 {
        self.0[phase as usize].load(Ordering::Relaxed) as f64 * 1e-9
    }
}
