//! What a training run keeps beside its output so that a run which is killed goes on where it was.
//!
//! A run is a fixed sequence of fits: the trials of a search, the fit of all rows, the folds of a calibration. Its
//! [`journal`] holds what the finished ones came to, and the state of the one at work. A run that resumes walks the same
//! way, takes each finished fit out of the journal instead of making it, puts the next one into the state it was in, and
//! so ends with the bytes that the run without a break would have. Everything between the fits is computed again: it is
//! cheap, and the same.

pub mod codec;
pub mod file;
pub mod journal;
