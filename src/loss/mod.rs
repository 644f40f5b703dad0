//! Pointwise losses with gradient and Hessian.
