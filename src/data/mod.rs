//! Readers of feature files, column roles, encoding, splits: from a path to a `Dataset`.

pub mod csv;
mod csv_scan;
mod input;
pub mod table;
