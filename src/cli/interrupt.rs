//! Ctrl-C: the first ends training after the current epoch and saves, the second leaves at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Remembers the first signal.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens for SIGINT and SIGTERM from now on.
    pub fn listen() -> Self {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM] {
            let seen = Arc::new(AtomicBool::new(false));
            // Order matters: the shutdown acts on the second signal because the flag is set after it is checked.
            // A platform that refuses a handler leaves the default one in force.
            let _ = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&seen));
            let _ = signal_hook::flag::register(signal, seen);
            let _ = signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.signal), signal as usize);
        }
        interrupt
    }

    /// Whether a signal has come.
    pub fn is_set(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// Exit status of an interrupted run: 130 for SIGINT, 143 for SIGTERM.
    pub fn exit_status(&self) -> u8 {
        128 + self.signal.load(Ordering::Relaxed) as u8
    }
}
