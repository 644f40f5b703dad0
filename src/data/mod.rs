//! Readers of feature files, column roles, encoding, splits: from a path to a `Dataset`.

pub mod table;
