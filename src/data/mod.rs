//! Readers of feature files, column roles, encoding, splits: from a path to a `Dataset`.

pub mod guard;
mod hugging_face;
pub mod parquet;
pub mod table;
mod vectors;
