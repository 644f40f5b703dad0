//! Readers of feature files, column roles, encoding, splits: from a path to a `Dataset`.

mod columns;
pub mod csv;
mod csv_scan;
mod files;
mod input;
pub mod options;
pub mod roles;
mod selector;
pub mod table;
