//! What a run says: text and JSON.

pub mod calibration;
pub mod compare;
pub mod format;
pub mod html;
pub mod influence;
mod nulls;
pub mod predictions;
pub mod text;
pub mod train;
pub mod tune;
