//! What the fits of a run came to, in the order they are made, and the state of the one at work.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, Instant};

use super::codec::{Stored, bytes_of, store_fields, value_of};
use super::file::{self, bad};
use crate::{Error, Result};

/// A checkpoint is due no sooner than so many times the time that writing the last one took.
const SHARE_OF_TIME: u32 = 20;
/// Longest value of a setting that is shown, and differences that are named.
const MOST_SHOWN: usize = 60;
const MOST_LINES: usize = 40;

/// What decides the bytes of a model: names and values, in a fixed order.
pub type Settings = Vec<(String, String)>;

/// Says something in a phase of its own: the name of the phase, then the text.
pub type Say = dyn Fn(&str, &str);

/// Where a journal is kept, and when it is written.
pub struct Keeping {
    /// The file.
    pub path: String,
    /// Time between two writes.
    pub every: Duration,
    /// What decides the bytes of the model; a journal of others is refused.
    pub settings: Settings,
    /// Whether the run is to end: the state is then written at the next step, for the last time.
    pub is_stopping: Box<dyn Fn() -> bool>,
    /// Tells the user what happens to the file.
    pub say: Box<Say>,
}

/// The journal of a run. Borrowed by all of its fits, one at a time.
#[derive(Debug)]
pub struct Journal {
    path: String,
    inner: RefCell<Inner>,
}

struct Inner {
    keeping: Keeping,
    finished: Vec<Vec<u8>>,
    /// Units begun in this run.
    begun: usize,
    /// Units of the file that was gone on from.
    known: usize,
    /// What is handed on to the next unit, such as the metric of a solver, with the key of its series.
    carried: Option<(usize, Vec<u8>)>,
    /// State of the unit after the last finished one, until that begins.
    state: Option<Vec<u8>>,
    series: usize,
    written: Instant,
    took: Duration,
    is_sealed: bool,
    has_said: bool,
}

/// What a checkpoint holds besides its settings and the results of units.
struct Rest {
    carried: Option<(usize, Vec<u8>)>,
    state: Option<Vec<u8>>,
}
store_fields!(Rest { carried, state });

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("finished", &self.finished.len()).finish_non_exhaustive()
    }
}

/// One fit of a run.
#[derive(Debug)]
pub struct Unit<'j> {
    journal: &'j Journal,
    number: usize,
    state: Option<Vec<u8>>,
}

impl Journal {
    /// A journal without entries.
    pub fn new(keeping: Keeping) -> Self {
        Journal::of(keeping, Vec::new(), Rest { carried: None, state: None })
    }

    fn of(keeping: Keeping, finished: Vec<Vec<u8>>, rest: Rest) -> Self {
        let path = keeping.path.clone();
        let inner = Inner {
            keeping,
            known: finished.len(),
            finished,
            begun: 0,
            carried: rest.carried,
            state: rest.state,
            series: 0,
            written: Instant::now(),
            took: Duration::ZERO,
            is_sealed: false,
            has_said: false,
        };
        Journal { path, inner: RefCell::new(inner) }
    }

    /// The journal in the file of `keeping`; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::BadCheckpoint`], [`Error::OtherCheckpoint`] where it is of other settings, [`Error::Io`].
    pub fn resume(keeping: Keeping) -> Result<std::result::Result<Self, Keeping>> {
        let path = &keeping.path;
        let Some([settings, finished, rest]) = file::read(path)? else { return Ok(Err(keeping)) };
        let part = |name: &str| bad(path, format!("its {name} are not laid out as they should be"));
        let settings: Settings = value_of(&settings).ok_or_else(|| part("settings"))?;
        let differences = differences(&settings, &keeping.settings);
        if !differences.is_empty() {
            return Err(Error::OtherCheckpoint { path: path.clone(), differences });
        }
        let finished = value_of(&finished).ok_or_else(|| part("finished fits"))?;
        let rest = value_of(&rest).ok_or_else(|| part("states"))?;
        Ok(Ok(Journal::of(keeping, finished, rest)))
    }

    /// Number of finished fits, and whether there is a state of one that is not.
    pub fn holds(&self) -> (usize, bool) {
        let inner = self.inner.borrow();
        (inner.finished.len(), inner.state.is_some())
    }

    /// A key for fits that hand something on to each other.
    pub fn series(&self) -> usize {
        let mut inner = self.inner.borrow_mut();
        inner.series += 1;
        inner.series
    }

    /// The next fit of the run.
    pub fn begin(&self) -> Unit<'_> {
        let mut inner = self.inner.borrow_mut();
        let number = inner.begun;
        inner.begun += 1;
        // A run that is to end leaves fits out: what it would make now is no part of the run without a break.
        if (inner.keeping.is_stopping)() {
            inner.seal(None);
        }
        let state = if number == inner.finished.len() { inner.state.take() } else { None };
        Unit { journal: self, number, state }
    }

    /// Ends the journal with the run. Its file is removed, or where the run was stopped, brought up to date.
    pub fn close(self) {
        let mut inner = self.inner.into_inner();
        if (inner.keeping.is_stopping)() {
            inner.seal(None);
        } else {
            // It may not have been written.
            let _ = std::fs::remove_file(&inner.keeping.path);
        }
    }
}

impl Unit<'_> {
    /// What the fit came to, where the journal knows.
    ///
    /// # Errors
    /// [`Error::BadCheckpoint`] where the entry is that of another fit.
    pub fn finished<T: Stored>(&self) -> Result<Option<T>> {
        let inner = self.journal.inner.borrow();
        if self.number >= inner.known {
            return Ok(None);
        }
        inner.finished.get(self.number).map(|bytes| self.read(bytes)).transpose()
    }

    /// The state to go on from, where the journal has one.
    ///
    /// # Errors
    /// [`Error::BadCheckpoint`] where it is that of another fit.
    pub fn state<T: Stored>(&self) -> Result<Option<T>> {
        self.state.as_ref().map(|bytes| self.read(bytes)).transpose()
    }

    /// What the fits of `series` have handed on to this one.
    ///
    /// # Errors
    /// [`Error::BadCheckpoint`] where it is something else.
    pub fn carried<T: Stored>(&self, series: usize) -> Result<Option<T>> {
        let inner = self.journal.inner.borrow();
        let is_next = self.number == inner.known;
        let carried = inner.carried.as_ref().filter(|(of, _)| is_next && *of == series);
        carried.map(|(_, bytes)| self.read(bytes)).transpose()
    }

    /// Says that what was read does not fit the problem of the fit.
    pub fn misfit(&self) -> Error {
        bad(&self.journal.path, format!("its state of fit {} is not one of this run", self.number + 1))
    }

    fn read<T: Stored>(&self, bytes: &[u8]) -> Result<T> {
        value_of(bytes).ok_or_else(|| self.misfit())
    }

    /// Offers the fit as it is after a step, which `state` writes down; `None` where it cannot go on from here, and would
    /// start again. To be called after whoever ends the fit at a signal has seen the step.
    pub fn offer(&self, state: &dyn Fn() -> Option<Vec<u8>>) {
        let mut inner = self.journal.inner.borrow_mut();
        if inner.is_sealed {
            return;
        }
        if (inner.keeping.is_stopping)() {
            inner.seal(state());
        } else if inner.written.elapsed() >= inner.keeping.every.max(SHARE_OF_TIME * inner.took) {
            inner.write(state());
        }
    }

    /// Keeps what the fit came to, and what it hands on to the next of its series.
    pub fn finish(&self, result: &impl Stored, carried: Option<(usize, Vec<u8>)>) {
        let mut inner = self.journal.inner.borrow_mut();
        if !inner.is_sealed && self.number == inner.finished.len() {
            inner.finished.push(bytes_of(result));
            inner.carried = carried;
        }
    }
}

impl Inner {
    /// Writes what there is for the last time.
    fn seal(&mut self, state: Option<Vec<u8>>) {
        if !std::mem::replace(&mut self.is_sealed, true) {
            // Where the unit at work has not been entered again, its state is still the one that was read.
            let state = state.or_else(|| self.state.clone());
            self.write(state);
        }
    }

    fn write(&mut self, state: Option<Vec<u8>>) {
        let begun = Instant::now();
        let Keeping { path, settings, say, .. } = &self.keeping;
        // As a `Rest` and a list of lists of bytes are stored, without another copy of either.
        let of_length = |bytes: &Vec<u8>| bytes_of(&bytes.len());
        let carried =
            self.carried.as_ref().map(|(series, bytes)| (bytes_of(series), of_length(bytes), bytes));
        let (settings, count, yes, no) =
            (bytes_of(settings), bytes_of(&self.finished.len()), bytes_of(&true), bytes_of(&false));
        let state_length = state.as_ref().map(of_length);
        let mut rest: Vec<&[u8]> = match &carried {
            Some((series, length, bytes)) => vec![&yes, series, length, bytes],
            None => vec![&no],
        };
        match state_length.as_ref().zip(state.as_ref()) {
            Some((length, bytes)) => rest.extend([&yes[..], length, bytes]),
            None => rest.push(&no),
        }
        let lengths: Vec<Vec<u8>> = self.finished.iter().map(of_length).collect();
        let units = lengths.iter().zip(&self.finished).flat_map(|(length, unit)| [&length[..], unit]);
        let finished: Vec<&[u8]> = [&count[..]].into_iter().chain(units).collect();
        match file::write(path, [&[&settings], &finished, &rest]) {
            Err(error) if !self.has_said || self.is_sealed => say("Note", &format!("no checkpoint: {error}")),
            Err(_) => {}
            Ok(_) if self.is_sealed => {
                say("Kept", &format!("{path}: the same command with --resume goes on from it"))
            }
            Ok(_) if !self.has_said => {
                say("Kept", &format!("{path}, for --resume; removed once the model is saved"))
            }
            Ok(_) => {}
        }
        self.has_said = true;
        self.took = begun.elapsed();
        self.written = Instant::now();
    }
}

/// Settings whose values differ, each in a line.
fn differences(there: &Settings, here: &Settings) -> Vec<String> {
    let find = |settings: &Settings, name: &str| {
        settings.iter().find(|(known, _)| known == name).map_or("not set".into(), |(_, value)| value.clone())
    };
    let names =
        here.iter().chain(there.iter().filter(|(name, _)| here.iter().all(|(known, _)| known != name)));
    let pairs = names.map(|(name, _)| (name, find(there, name), find(here, name)));
    let differing = pairs.filter(|(_, there, here)| there != here);
    let mut lines: Vec<String> = differing
        .map(|(name, there, here)| format!("{} {}, not {}", shown(name), shown(&there), shown(&here)))
        .collect();
    if lines.len() > MOST_LINES {
        let more = lines.split_off(MOST_LINES).len();
        lines.push(format!("and {more} more"));
    }
    lines
}

fn shown(value: &str) -> String {
    let mut text: String = value.chars().filter(|c| !c.is_control()).take(MOST_SHOWN).collect();
    if value.chars().count() > MOST_SHOWN {
        text += "...";
    }
    text
}
