//! The model file: safetensors with JSON metadata.
