//! What a run says: text and JSON.
