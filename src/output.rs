//! The one writer of files: whole or not at all.
