//! Readers of feature files, column roles, encoding, splits: from a path to a `Dataset`.

mod blocks;
mod columns;
pub mod csv;
mod csv_scan;
pub mod dataset;
pub mod dataset_reader;
pub mod encode;
mod encode_bind;
mod encode_fit;
mod files;
mod fingerprint;
mod finite;
mod input;
mod labels_read;
pub mod options;
pub mod roles;
pub mod scale;
mod selector;
pub mod split;
pub mod table;
