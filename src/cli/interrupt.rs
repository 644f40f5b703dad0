//! Ctrl-C: the first ends training after the current epoch and saves, the second leaves at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Remembers the last signal.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens for SIGINT and SIGTERM from now on.
    pub fn listen() -> Self {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM] {
            // A platform that refuses a handler leaves the default one in force.
            let _ = signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.signal), signal as usize);
        }
        leave_at_second(&interrupt);
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

/// A thread that waits for two signals, and then takes unfinished files along.
#[cfg(unix)]
fn leave_at_second(interrupt: &Interrupt) {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    let Ok((mut came, comes)) = UnixStream::pair() else { return };
    for signal in [SIGINT, SIGTERM] {
        let _ = comes.try_clone().map(|comes| signal_hook::low_level::pipe::register(signal, comes));
    }
    let interrupt = interrupt.clone();
    std::thread::spawn(move || {
        if came.read_exact(&mut [0; 2]).is_ok() {
            crate::output::Passing::remove_all();
            signal_hook::low_level::exit(i32::from(interrupt.exit_status()));
        }
    });
}

#[cfg(not(unix))]
fn leave_at_second(_: &Interrupt) {
    for signal in [SIGINT, SIGTERM] {
        let seen = Arc::new(std::sync::atomic::AtomicBool::new(false));
        // Order matters: the shutdown acts on the second signal because the flag is set after it is checked.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&seen));
        let _ = signal_hook::flag::register(signal, seen);
    }
}
