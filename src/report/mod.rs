//! What a run says: text and JSON.

pub mod format;
pub mod predictions;
pub mod text;
pub mod train;
