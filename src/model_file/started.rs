//! The linear functions that trees start from as tensors, and back.
//!
//! Over W linear features made of the D columns that trees read: `start.weight` (C x W) and `start.bias` (C), `start.fill`
//! (D) with what stands for a missing number, where they are standardised `start.mean` and `start.scale` (W each), and where
//! these hold no means, though there are categories, `start.shares` (W) with how often each was met.

use std::collections::BTreeMap;

use super::MAX_FEATURES;
use super::container::{NamedTensor, Tensors, Values};
use super::metadata::ModelMetadata;
use crate::data::scale::{Scale, Scaler};
use crate::hybrid::features::{LinearFeatures, linear_width};
use crate::hybrid::model::LinearStart;
use crate::linear::model::LinearModel;

/// The tensors of `start`.
pub fn tensors(start: &LinearStart) -> Vec<NamedTensor<'_>> {
    let LinearStart { features, model } = start;
    let row =
        |name, values| NamedTensor { name, shape: vec![<[f32]>::len(values)], values: Values::F32(values) };
    let shape = vec![model.classes(), model.features];
    let mut tensors = vec![
        NamedTensor { name: "start.weight", shape, values: Values::F32(&model.weight) },
        row("start.bias", &model.bias),
        row("start.fill", features.fill()),
    ];
    let Scaler { scale, mean, deviation } = features.scaler();
    if *scale == Scale::Standard {
        tensors.extend([row("start.mean", mean), row("start.scale", deviation)]);
    }
    if !features.shares().is_empty() {
        tensors.push(row("start.shares", features.shares()));
    }
    tensors
}

/// Whether the tensors are there that `metadata` tells of, in the shapes that its columns and classes ask for.
///
/// # Errors
/// The first contradiction in words.
pub fn check_shapes(shapes: &BTreeMap<&str, &[usize]>, metadata: &ModelMetadata) -> Result<(), String> {
    let Some(record) = metadata.linear_start else {
        return match shapes.keys().find(|name| name.starts_with("start.")) {
            Some(foreign) => Err(format!("it has {foreign}, but nothing says what its trees start from")),
            None => Ok(()),
        };
    };
    let (classes, columns) = (metadata.label_map.classes(), metadata.encoder.width());
    let width = linear_width(&metadata.encoder);
    if !(1..=MAX_FEATURES).contains(&width) {
        return Err(format!("its trees start from {width} features; 1 to {MAX_FEATURES} are possible"));
    }
    let scaled = (record.scale == Scale::Standard).then_some(vec![width]);
    let wanted = [
        ("start.weight", Some(vec![classes, width])),
        ("start.bias", Some(vec![classes])),
        ("start.fill", Some(vec![columns])),
        ("start.mean", scaled.clone()),
        ("start.scale", scaled),
        ("start.shares", record.shares.then_some(vec![width])),
    ];
    for (name, wanted) in wanted {
        let found = shapes.get(name).map(|shape| shape.to_vec());
        if found != wanted {
            return Err(format!("its {name} is {} instead of {}", text(&found), text(&wanted)));
        }
    }
    Ok(())
}

fn text(shape: &Option<Vec<usize>>) -> String {
    shape.as_ref().map_or("missing".into(), |sides| format!("{:?}", &sides[..sides.len().min(4)]))
}

/// The linear functions of `tensors`, where `metadata` tells of some; shapes have been checked.
///
/// # Errors
/// The first contradiction in words.
pub fn unpack(tensors: &mut Tensors, metadata: &ModelMetadata) -> Result<Option<LinearStart>, String> {
    let Some(record) = metadata.linear_start else { return Ok(None) };
    let mut take =
        |name: &str| tensors.floats.remove(name).ok_or_else(|| format!("its {name} are no floats"));
    let (weight, bias, fill) = (take("start.weight")?, take("start.bias")?, take("start.fill")?);
    let (mean, deviation) = match record.scale {
        Scale::Standard => (take("start.mean")?, take("start.scale")?),
        Scale::None | Scale::L2 => (Vec::new(), Vec::new()),
    };
    let scaler = Scaler { scale: record.scale, mean, deviation };
    let shares = if record.shares { take("start.shares")? } else { Vec::new() };
    let features = LinearFeatures::from_parts(&metadata.encoder, fill, scaler)
        .ok_or("the scaling of its linear functions does not fit their features")?
        .with_shares(shares)
        .ok_or("the shares of its categories are none")?;
    let model = LinearModel { weight, bias, features: features.width(), loss: metadata.loss };
    Ok(Some(LinearStart { features, model }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{boosted, bytes_of, load_bytes, unscaled_scaler};
    use super::super::{LinearStartRecord, SavedModel, save};
    use super::*;
    use crate::Error;
    use crate::boost::options::Trees;
    use crate::data::encode::InputColumn;
    use crate::hybrid::model::HybridModel;
    use crate::matrix::Matrix;
    use crate::model::Model;
    use crate::simd::Kernels;

    /// Trees of [`boosted`] on linear functions of a number, five categories and another number, or of three numbers as
    /// they are.
    fn hybrid(with_codes: bool) -> SavedModel {
        hybrid_with_shares(with_codes, Vec::new())
    }

    /// The same, whose scaling holds no means where there are shares.
    fn hybrid_with_shares(with_codes: bool, shares: Vec<f32>) -> SavedModel {
        let mut saved = boosted(3, Trees::Auto);
        let metadata = &mut saved.metadata;
        let mut scaler = unscaled_scaler();
        if with_codes {
            let number = |name: &str| InputColumn::Numeric { name: name.into(), mean: None };
            let levels = ["p", "q", "r", "s", "t"].map(str::to_owned).to_vec();
            let codes = InputColumn::Codes { name: "c".into(), levels };
            metadata.encoder.inputs = vec![number("a"), codes, number("b")];
            let mean = if shares.is_empty() { 0.5 } else { 0.0 };
            scaler = Scaler { scale: Scale::Standard, mean: vec![mean; 7], deviation: vec![2.0; 7] };
        }
        let features = LinearFeatures::from_parts(&metadata.encoder, vec![3.0, 0.0, 1.0], scaler).unwrap();
        let features = features.with_shares(shares).unwrap();
        metadata.linear_start = Some(LinearStartRecord::of(1e-3, &features));
        metadata.format_version = metadata.needed_version();
        let width = features.width();
        let weight = (0..3 * width).map(|at| at as f32 / 8.0 - 1.0).collect();
        let model = LinearModel { weight, bias: vec![0.0, -1.0, 0.1], features: width, loss: metadata.loss };
        let Model::Boost(trees) = saved.model else { panic!("no trees") };
        saved.model = Model::Hybrid(HybridModel { start: LinearStart { features, model }, trees });
        saved
    }

    #[test]
    fn linear_functions_come_back_bit_for_bit() {
        let shares = vec![0.0, 0.25, 0.125, 0.0, 0.5, 0.0625, 0.0];
        for (saved, version) in [(hybrid(false), 4), (hybrid(true), 4), (hybrid_with_shares(true, shares), 5)]
        {
            assert_eq!(saved.metadata.format_version, version);
            let bytes = bytes_of(&saved);
            let loaded = load_bytes(&bytes).unwrap();
            assert_eq!(loaded, saved);
            assert_eq!(bytes_of(&loaded), bytes);
        }
    }

    #[test]
    fn a_flipped_bit_of_linear_functions_is_an_error_or_another_sound_model() {
        let rows = Matrix::from_f32(vec![f32::NAN, 0.0, 1.0, 50.0, 3.0, 1.0, 7.0, 9.0, 2.0], 3);
        for saved in [hybrid(false), hybrid(true)] {
            let bytes = bytes_of(&saved);
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                if let Ok(loaded) = load_bytes(&flipped)
                    && loaded.model.features() == 3
                {
                    let logits = loaded.model.logits(&rows, Kernels::best()).unwrap();
                    assert_eq!(logits.len(), 3 * loaded.model.classes());
                }
            }
        }
    }

    #[test]
    fn contradictions_are_named() {
        fn start(saved: &mut SavedModel) -> &mut LinearStart {
            match &mut saved.model {
                Model::Hybrid(model) => &mut model.start,
                _ => panic!("no linear functions"),
            }
        }
        type Spoil = fn(&mut SavedModel);
        let spoilers: [(Spoil, &str); 8] = [
            (
                |s| s.metadata.linear_start.as_mut().unwrap().shares = true,
                "format 4 has no shares of categories",
            ),
            (|s| s.metadata.linear_start = None, "different losses or learners"),
            (|s| s.metadata.format_version = 3, "format 3 has no trees that start from linear functions"),
            (|s| s.metadata.linear_start.as_mut().unwrap().l2 = -1.0, "l2 of its linear functions is -1"),
            (
                |s| s.metadata.linear_start.as_mut().unwrap().scale = Scale::None,
                "different losses or learners",
            ),
            (|s| start(s).model.weight[2] = f32::NAN, "start.weight"),
            (|s| start(s).model.bias.truncate(2), "start.weight is [2, 7] instead of [3, 7]"),
            (|s| drop(s.metadata.encoder.inputs.pop()), "instead of [3, 6]"),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (spoil, expected) in spoilers {
            let mut saved = hybrid(true);
            spoil(&mut saved);
            let error = save(folder.path().join("m.cbfit"), &saved).unwrap_err();
            assert!(matches!(error, Error::BadModel { .. }));
            assert!(error.to_string().contains(expected), "{error} instead of {expected}");
        }
    }
}
