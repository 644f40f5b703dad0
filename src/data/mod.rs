//! Readers of feature files, column roles, encoding, splits: from a path to a [`dataset::Dataset`].
//!
//! A [`table::TableReader`] turns one file into named columns; [`roles`] says which column is what; [`encode`] makes
//! features of them; [`dataset`] and [`dataset_reader`] put it together for training and for scoring.

mod blocks;
mod columns;
pub mod cost_matrix;
pub mod counts;
pub mod csv;
mod csv_scan;
pub mod dataset;
pub mod dataset_reader;
pub mod encode;
mod encode_bind;
mod encode_fill;
mod encode_fit;
mod files;
mod fingerprint;
mod finite;
pub mod format;
pub mod guard;
mod hugging_face;
mod input;
pub mod ipc;
mod ipc_columns;
mod ipc_direct;
mod ipc_messages;
mod kept;
mod label_counts;
mod labels_read;
pub mod npy;
mod npy_header;
pub mod options;
pub mod parquet;
pub mod paths;
pub mod roles;
pub mod scale;
mod selector;
mod sparse;
pub mod split;
pub mod svmlight;
mod svmlight_lines;
pub mod table;
mod vectors;

pub(crate) use encode_fit::column_means;
