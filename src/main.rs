//! The `cbfit` binary.

fn main() {}
