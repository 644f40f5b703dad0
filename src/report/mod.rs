//! What a run says: text and JSON.

pub mod predictions;
