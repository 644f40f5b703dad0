//! Readers of feature files, column roles, encoding, splits: from a path to a [`dataset::Dataset`].
//!
//! A [`table::TableReader`] turns one file into named columns; [`roles`] says which column is what; [`encode`] makes
//! features of them; [`dataset`] and [`dataset_reader`] put it together for training and for scoring.

#[cfg(feature = "files")]
mod blocks;
mod columns;
#[cfg(feature = "files")]
pub mod cost_matrix;
#[cfg(feature = "files")]
pub mod counts;
#[cfg(feature = "files")]
pub mod csv;
#[cfg(feature = "files")]
mod csv_scan;
#[cfg(feature = "files")]
pub mod dataset;
#[cfg(feature = "files")]
pub mod dataset_reader;
pub mod encode;
#[cfg(feature = "files")]
mod encode_bind;
mod encode_fill;
#[cfg(feature = "files")]
mod encode_fit;
#[cfg(feature = "files")]
mod files;
#[cfg(feature = "files")]
mod fingerprint;
mod finite;
#[cfg(feature = "files")]
pub mod format;
#[cfg(feature = "files")]
pub mod guard;
#[cfg(feature = "files")]
mod hugging_face;
#[cfg(feature = "files")]
mod input;
#[cfg(feature = "files")]
pub mod ipc;
#[cfg(feature = "files")]
mod ipc_columns;
#[cfg(feature = "files")]
mod ipc_direct;
#[cfg(feature = "files")]
mod ipc_messages;
#[cfg(feature = "files")]
mod kept;
#[cfg(feature = "files")]
mod label_counts;
#[cfg(feature = "files")]
mod labels_read;
pub mod missing;
#[cfg(feature = "files")]
pub mod npy;
#[cfg(feature = "files")]
mod npy_header;
#[cfg(feature = "files")]
pub mod options;
#[cfg(feature = "files")]
pub mod parquet;
#[cfg(feature = "files")]
pub mod paths;
#[cfg(feature = "files")]
pub mod roles;
pub mod scale;
#[cfg(feature = "files")]
mod selector;
mod sparse;
pub mod split;
#[cfg(feature = "files")]
pub mod svmlight;
#[cfg(feature = "files")]
mod svmlight_lines;
pub mod table;
#[cfg(feature = "files")]
mod vectors;

pub(crate) use encode_fill::column_means;
pub(crate) use finite::check_finite;
