//! Readers of feature files, column roles, encoding, splits: from a path to a `Dataset`.

pub mod counts;
pub mod csv;
pub mod format;
pub mod guard;
mod hugging_face;
pub mod ipc;
mod ipc_columns;
mod ipc_messages;
pub mod npy;
mod npy_header;
pub mod parquet;
pub mod paths;
pub mod scale;
pub mod split;
pub mod table;
mod vectors;
