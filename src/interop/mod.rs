//! cbfit's learners behind the traits of other libraries, each under the feature of its name.

#[cfg(feature = "linfa")]
pub mod linfa;
#[cfg(feature = "polars")]
pub mod polars;
#[cfg(feature = "smartcore")]
pub mod smartcore;
