//! Work that is broken off: one flag, which rows carry along to whatever goes through them.
//!
//! Loops over blocks of rows ask it before each block, and skip what is left. What they then give has the right size and
//! no meaning. The flag is never taken back: who asks it after a loop, and finds it off, knows that the loop was whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether what is computed is still wanted; clones share one flag. The default is always wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Option<Arc<Flag>>);

#[derive(Debug, Default)]
struct Flag {
    is_set: AtomicBool,
    #[cfg(test)]
    countdown: Option<Countdown>,
}

impl Stop {
    /// A flag that is off.
    pub(crate) fn new() -> Self {
        Stop(Some(Arc::default()))
    }

    /// Has all that share the flag break off.
    pub(crate) fn set(&self) {
        if let Some(flag) = &self.0 {
            flag.is_set.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was set. To be asked for a block of rows, not for each.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        let Some(flag) = &self.0 else { return false };
        #[cfg(test)]
        flag.count();
        flag.is_set.load(Ordering::Relaxed)
    }
}

impl Stop {
    /// Each of `values` as `copy` gives it; of the right number, and otherwise anything, where the flag is set.
    pub(crate) fn copied<T, U: Copy + Default>(&self, values: &[T], copy: impl Fn(&T) -> U) -> Vec<U> {
        /// Some milliseconds of fresh memory.
        const BLOCK: usize = 1 << 20;
        let mut copied = Vec::with_capacity(values.len());
        for block in values.chunks(BLOCK) {
            if self.is_set() {
                return vec![U::default(); values.len()];
            }
            copied.extend(block.iter().map(&copy));
        }
        copied
    }
}

/// Sets a flag at a place in the midst of the work.
#[cfg(test)]
#[derive(Debug, Default)]
struct Countdown {
    asked: std::sync::atomic::AtomicUsize,
    most: usize,
}

#[cfg(test)]
impl Flag {
    fn count(&self) {
        if let Some(Countdown { asked, most }) = &self.countdown
            && asked.fetch_add(1, Ordering::Relaxed) >= *most
        {
            self.is_set.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
impl Stop {
    /// A flag that is found off `blocks` times.
    pub(crate) fn after(blocks: usize) -> Self {
        let countdown = Some(Countdown { most: blocks, ..Countdown::default() });
        Stop(Some(Arc::new(Flag { countdown, ..Flag::default() })))
    }

    /// How often it was asked, where it counts.
    pub(crate) fn asked(&self) -> usize {
        let countdown = self.0.as_ref().and_then(|flag| flag.countdown.as_ref());
        countdown.map_or(0, |countdown| countdown.asked.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_a_flag_and_the_default_has_none() {
        let (stop, never) = (Stop::new(), Stop::default());
        let other = stop.clone();
        assert!(!other.is_set());
        stop.set();
        never.set();
        assert!(other.is_set() && !never.is_set());
    }

    #[test]
    fn a_countdown_lets_so_many_blocks_pass() {
        let stop = Stop::after(3);
        let answers: Vec<bool> = (0..5).map(|_| stop.is_set()).collect();
        assert_eq!(answers, [false, false, false, true, true]);
        assert_eq!(stop.asked(), 5);
    }
}
