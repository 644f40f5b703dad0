//! Work without the interpreter: on a pool of threads, ended by Ctrl-C, its panics caught.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use cbfit::estimator::Cancel;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{exception, internal};

/// How long Ctrl-C may go unseen.
const POLL: Duration = Duration::from_millis(25);

/// A pool and who may use it: threads do not survive a fork, so that a child process makes its own.
struct Pool {
    process: u32,
    threads: Option<usize>,
    pool: Arc<ThreadPool>,
}

static POOL: Mutex<Option<Pool>> = Mutex::new(None);

/// The pool of `threads` threads; without a number as many as the machine has, or `RAYON_NUM_THREADS`.
fn pool(threads: Option<usize>) -> PyResult<Arc<ThreadPool>> {
    let mut kept = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    match &*kept {
        Some(own) if own.process == process && own.threads == threads => return Ok(Arc::clone(&own.pool)),
        _ => {}
    }
    let built = ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build();
    let built = built.map_err(|error| PyRuntimeError::new_err(format!("no threads: {error}")))?;
    let pool = Arc::new(built);
    let earlier = kept.replace(Pool { process, threads, pool: Arc::clone(&pool) });
    // Waiting for the threads of a parent process would take forever.
    if let Some(foreign) = earlier.filter(|earlier| earlier.process != process) {
        std::mem::forget(foreign);
    }
    Ok(pool)
}

/// Does `work`, which does not take long.
pub fn briefly<T: Send>(py: Python<'_>, work: impl FnOnce() -> cbfit::Result<T> + Send) -> PyResult<T> {
    let pool = pool(None)?;
    let done = py.detach(|| catch_unwind(AssertUnwindSafe(|| pool.install(work))));
    finished(done)
}

/// Does `work` on `threads` threads. A signal switches `cancel`, and its exception is raised once `work` has broken off,
/// which it does within some blocks of rows.
pub fn interruptibly<T: Send>(
    py: Python<'_>,
    threads: Option<usize>,
    cancel: &Cancel,
    work: impl FnOnce() -> cbfit::Result<T> + Send,
) -> PyResult<T> {
    let pool = pool(threads)?;
    py.detach(|| {
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            let worker = move || {
                // Nobody has gone: the receiver waits below.
                let _ = sender.send(catch_unwind(AssertUnwindSafe(|| pool.install(work))));
            };
            thread::Builder::new().spawn_scoped(scope, worker)?;
            let mut signal = None;
            loop {
                match receiver.recv_timeout(POLL) {
                    Ok(done) => break signal.map_or_else(|| finished(done), Err),
                    Err(RecvTimeoutError::Disconnected) => break Err(internal(&"a thread was lost")),
                    Err(RecvTimeoutError::Timeout) if signal.is_none() => {
                        signal = Python::attach(|py| py.check_signals()).err();
                        if signal.is_some() {
                            cancel.cancel();
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        })
    })
}

fn finished<T>(done: thread::Result<cbfit::Result<T>>) -> PyResult<T> {
    match done {
        Ok(result) => result.map_err(exception),
        Err(payload) => Err(internal(&*payload)),
    }
}
