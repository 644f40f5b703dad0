//! Instruction sets and kernels; the only module with `unsafe` code.
