//! What a run says: text and JSON.

pub mod compare;
pub mod format;
pub mod html;
mod nulls;
pub mod predictions;
pub mod text;
pub mod train;
