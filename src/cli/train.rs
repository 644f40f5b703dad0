//! `cbfit train`: read, split, weigh, search, refit, test, save.

use std::ops::ControlFlow;
use std::time::Instant;

use super::args::TrainArgs;
use super::interrupt::Interrupt;
use super::plan::{OptimizerPlan, TrainPlan, ValidationPlan, WeightingPlan};
use super::scoring::Scorer;
use super::talk::Talk;
use super::{kernels, print_json, with_threads};
use crate::data::counts::read_class_weights;
use crate::data::dataset::{Dataset, DatasetReader, LabelNeed, read_training};
use crate::data::encode::Scaler;
use crate::data::roles::ReadOptions;
use crate::data::split::{Part, stratified_split};
use crate::labels::ClassCounts;
use crate::linear::fit::{Optimizer, Progress, fit, suits_lbfgs};
use crate::linear::objective::Objective;
use crate::linear::rows::Rows;
use crate::linear::search::{
    Grid, Recipe, Sample, SearchWatch, Trial, Validation, WeightedSample, model_of, search,
};
use crate::linear::solver::Fit;
use crate::matrix::Matrix;
use crate::model_file::{self, SavedModel};
use crate::report::text;
use crate::report::train::{Chosen, DataSummary, SplitSummary, TrainReport, TrialSummary};
use crate::simd::Kernels;
use crate::weighting::{Beta, Scheme, WeightSummary};
use crate::{Error, Result};
