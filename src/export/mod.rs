//! Models as files of other programs, with a check that they say there what they say here.
//!
//! [`lightgbm`] writes boosted trees as LightGBM does, [`lightgbm_reader`] reads that back, and [`probe`] makes rows that
//! try every threshold; [`linear_csv`] writes the weights of a linear model over the features as they are read; [`onnx`] writes
//! models with scaling, prior, calibration and labels for any ONNX runtime.

pub mod lightgbm;
pub mod lightgbm_reader;
pub mod linear_csv;
pub mod onnx;
pub mod probe;

use crate::boost::names::Names;
use crate::data::encode::InputColumn;
use crate::model_file::ModelMetadata;

/// Largest code of a category that the formats here list or look up.
const MOST_CODE: f32 = 65_535.0;

/// The first of `codes` that is no whole number from 0 to [`MOST_CODE`].
fn odd_code(codes: &[f32]) -> Option<f32> {
    codes.iter().copied().find(|code| !((0.0..=MOST_CODE).contains(code) && code.fract() == 0.0))
}

/// What classes, features and categories of a model are called.
pub fn names(metadata: &ModelMetadata) -> Names {
    let levels = |input: &InputColumn| match input {
        InputColumn::Codes { levels, .. } => vec![Some(levels.clone())],
        _ => vec![None; input.width()],
    };
    Names {
        classes: metadata.label_map.names.clone(),
        columns: metadata.encoder.feature_names().collect(),
        levels: metadata.encoder.inputs.iter().flat_map(levels).collect(),
    }
}
