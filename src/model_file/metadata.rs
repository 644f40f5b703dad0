//! What a model file says about itself, as JSON under the key `cbfit`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calibrate::decisions::Decisions;
use crate::calibrate::offsets::Offsets;
use crate::calibrate::{Calibration, Posterior};
use crate::data::encode::FeatureEncoder;
use crate::data::scale::Scale;
use crate::hybrid::features::LinearFeatures;
use crate::labels::{ClassCounts, LabelKind, LabelMap};
use crate::loss::Loss;
use crate::model::Learner;
use crate::weighting::prior::{Prior, PriorCorrection};
use crate::weighting::{Beta, FitConditions, LogitLink, Normalisation, Scheme};

/// The newest format this build reads. Models that hold nothing new are written in the format that first held it all, so
/// that older builds read them: 1 without, 2 with a calibration or decision offsets, 3 with trees, 4 with trees on top of
/// linear functions, 5 where these keep the shares of categories.
pub const FORMAT_VERSION: u64 = 5;

/// Most classes a model may have.
pub const MAX_CLASSES: usize = 10_000_000;

/// Longest name of a class, in bytes.
pub const MAX_NAME_BYTES: usize = 64 * 1024;

/// How the class weights came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightingRecord {
    /// Name of the scheme: `none`, `inverse`, `sqrt`, `effective` or `custom` (from a file).
    pub scheme: String,
    /// Beta as it was written or chosen (`0.9999`, `1-1e-7`); only with the effective scheme.
    pub beta: Option<String>,
    /// Name of the normalisation: `samples`, `classes` or `none`.
    pub normalisation: String,
}

impl WeightingRecord {
    /// The record of weights by `scheme`, where the mean row weighs 1.
    pub fn of(scheme: &Scheme) -> Self {
        WeightingRecord {
            scheme: scheme.name().into(),
            beta: scheme.beta().map(|beta| beta.to_string()),
            normalisation: Normalisation::Samples.name().into(),
        }
    }

    /// The scheme that is named, `class_weights` being those of a file; `None` where it is unknown.
    ///
    /// # Errors
    /// [`crate::Error::BadBeta`].
    pub fn scheme(&self, class_weights: &[f64]) -> crate::Result<Option<Scheme>> {
        Ok(match (self.scheme.as_str(), self.beta.as_deref()) {
            ("none", _) => Some(Scheme::None),
            ("inverse", _) => Some(Scheme::Inverse),
            ("sqrt", _) => Some(Scheme::Sqrt),
            ("effective", Some(beta)) => Some(Scheme::Effective(Beta::parse(beta)?)),
            ("custom", _) => Some(Scheme::Custom(class_weights.to_vec())),
            _ => None,
        })
    }
}

/// The linear functions that trees start from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearStartRecord {
    /// Strength of the penalty they were fitted with.
    pub l2: f64,
    /// How their features are scaled.
    pub scale: Scale,
    /// Whether they keep the shares of their categories, which their scaling does not hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares: bool,
}

impl LinearStartRecord {
    /// The record of functions of `features`, fitted with the penalty `l2`.
    pub fn of(l2: f64, features: &LinearFeatures) -> Self {
        LinearStartRecord { l2, scale: features.scaler().scale, shares: !features.shares().is_empty() }
    }
}

/// Everything in a model file except its tensors. C is the number of classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelMetadata {
    /// Version of the layout of the file, at most [`FORMAT_VERSION`]: [`ModelMetadata::needed_version`].
    pub format_version: u64,
    /// Version of the cbfit that wrote the file.
    pub cbfit_version: String,
    /// What kind of model it is.
    #[serde(default, skip_serializing_if = "Learner::is_linear")]
    pub learner: Learner,
    /// The linear functions that its trees start from, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear_start: Option<LinearStartRecord>,
    /// Loss the model was fitted with.
    pub loss: Loss,
    /// The C class names in the order of the rows of `weight`.
    pub label_map: LabelMap,
    /// Rows of each class fitted on (C values each).
    pub counts: ClassCounts,
    /// One weight a class, normalised as `weighting` says.
    pub class_weights: Vec<f64>,
    /// Where the weights come from.
    pub weighting: WeightingRecord,
    /// tau of the logit-adjusted loss; 0 without adjustment.
    pub logit_adjust: f64,
    /// What else ties logits to the posterior.
    #[serde(default, skip_serializing_if = "LogitLink::is_identity")]
    pub logit_link: LogitLink,
    /// How columns became features.
    pub encoder: FeatureEncoder,
    /// How features were scaled; means and deviations are tensors.
    pub scale: Scale,
    /// The effective configuration of the run.
    pub config: Value,
    /// Identifies the training data.
    pub data_fingerprint: String,
    /// Scores on the validation and test parts.
    pub metrics: Value,
    /// Gradient norm and bound on the gap of the objective at the end of the fit.
    pub certificate: Value,
    /// Objective and scores along the fit.
    pub history: Value,
    /// Map of the posterior under the natural prior, fitted on out-of-fold rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Offsets that decide the label, fitted on out-of-fold rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets: Option<Offsets>,
}

impl ModelMetadata {
    /// What follows from a fit under `conditions` with weights by `scheme`; everything that is said besides is empty.
    pub fn of_fit(
        learner: Learner,
        linear_start: Option<LinearStartRecord>,
        scheme: &Scheme,
        conditions: FitConditions,
        label_map: LabelMap,
        encoder: FeatureEncoder,
        scale: Scale,
    ) -> Self {
        let FitConditions { loss, counts, alpha, logit_adjust, link } = conditions;
        let mut metadata = ModelMetadata {
            format_version: 1,
            cbfit_version: env!("CARGO_PKG_VERSION").into(),
            learner,
            linear_start,
            loss,
            label_map,
            counts,
            class_weights: alpha,
            weighting: WeightingRecord::of(scheme),
            logit_adjust,
            logit_link: link,
            encoder,
            scale,
            config: Value::Null,
            data_fingerprint: String::new(),
            metrics: Value::Null,
            certificate: Value::Null,
            history: Value::Null,
            calibration: None,
            offsets: None,
        };
        metadata.format_version = metadata.needed_version();
        metadata
    }

    /// The way from this model's logits to probabilities under `prior`, through its calibration where it has one.
    ///
    /// # Errors
    /// Those of [`PriorCorrection::new`].
    pub fn posterior(&self, prior: &Prior) -> crate::Result<Posterior> {
        Posterior::new(&self.conditions(), prior, self.calibration.as_ref())
    }

    /// The same without its calibration.
    ///
    /// # Errors
    /// Those of [`PriorCorrection::new`].
    pub fn prior_correction(&self, prior: &Prior) -> crate::Result<PriorCorrection> {
        self.conditions().correction(prior)
    }

    /// What the probabilities of this model depend on besides its logits.
    pub fn conditions(&self) -> FitConditions {
        FitConditions {
            loss: self.loss,
            counts: self.counts.clone(),
            alpha: self.class_weights.clone(),
            logit_adjust: self.logit_adjust,
            link: self.logit_link.clone(),
        }
    }

    /// How its labels are decided: by its offsets where it has some, else by probability.
    ///
    /// # Errors
    /// Those of [`PriorCorrection::new`].
    pub fn decisions(&self) -> crate::Result<Decisions> {
        Decisions::of_model(self.offsets.as_ref(), |prior| self.posterior(prior))
    }

    /// The oldest format that holds this model.
    pub fn needed_version(&self) -> u64 {
        match self.learner {
            Learner::Boost if self.linear_start.is_some_and(|start| start.shares) => 5,
            Learner::Boost if self.linear_start.is_some() => 4,
            Learner::Boost => 3,
            Learner::Linear if self.calibration.is_some() || self.offsets.is_some() => 2,
            Learner::Linear => 1,
        }
    }

    /// Checks what the types leave open: C values of everything, unique names of the stated kind, finite numbers.
    /// Returns the first contradiction in words.
    pub fn validate(&self) -> Result<(), String> {
        let classes = self.label_map.classes();
        if self.format_version == 0 {
            return Err("its format version is 0".into());
        }
        if !(2..=MAX_CLASSES).contains(&classes) {
            return Err(format!("it has {classes} classes; 2 to {MAX_CLASSES} are possible"));
        }
        let lengths = [
            ("row counts", self.counts.rows.len()),
            ("weighted counts", self.counts.weighted.len()),
            ("class weights", self.class_weights.len()),
        ];
        if let Some((what, found)) = lengths.into_iter().find(|(_, length)| *length != classes) {
            return Err(format!("it has {classes} classes, but {found} {what}"));
        }
        validate_names(&self.label_map)?;
        non_negative("class weight", &self.class_weights)?;
        non_negative("weighted count", &self.counts.weighted)?;
        if !self.logit_adjust.is_finite() {
            return Err(format!("its logit adjustment is {}", self.logit_adjust));
        }
        self.logit_link.validate(classes)?;
        if self.format_version < self.needed_version() {
            let what = match (self.learner, self.linear_start) {
                (Learner::Linear, _) => "calibration and no offsets",
                (Learner::Boost, None) => "trees",
                (Learner::Boost, Some(start)) if start.shares => "shares of categories",
                (Learner::Boost, Some(_)) => "trees that start from linear functions",
            };
            return Err(format!("format {} has no {what}", self.format_version));
        }
        match self.linear_start {
            Some(_) if self.learner.is_linear() => {
                return Err("it says what trees start from, and has none".into());
            }
            Some(start) if !(start.l2.is_finite() && start.l2 >= 0.0) => {
                return Err(format!("the l2 of its linear functions is {}", start.l2));
            }
            _ => {}
        }
        let calibration = self.calibration.as_ref().and_then(|map| map.fault(classes));
        if let Some(fault) = calibration.or(self.offsets.as_ref().and_then(|offsets| offsets.fault(classes)))
        {
            return Err(fault);
        }
        match self.loss {
            Loss::Focal { gamma } | Loss::SoftmaxFocal { gamma } if !(gamma.is_finite() && gamma >= 0.0) => {
                Err(format!("its gamma is {gamma}"))
            }
            _ => Ok(()),
        }
    }
}

fn validate_names(labels: &LabelMap) -> Result<(), String> {
    if let Some(name) = labels.names.iter().find(|name| name.len() > MAX_NAME_BYTES) {
        return Err(format!("a class name has {} bytes; the limit is {MAX_NAME_BYTES}", name.len()));
    }
    // Predictions are written in the label's own type, so every name has to be a value of it.
    let fits = |name: &str| match labels.kind {
        LabelKind::Int => name.parse::<i64>().is_ok(),
        LabelKind::Bool => matches!(name, "true" | "false"),
        LabelKind::Text => true,
    };
    if let Some(name) = labels.names.iter().find(|name| !fits(name)) {
        return Err(format!("class {name:?} is no value of label kind {:?}", labels.kind));
    }
    let mut sorted: Vec<&str> = labels.names.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("class name {:?} occurs twice", pair[0])),
        None => Ok(()),
    }
}

fn non_negative(what: &str, values: &[f64]) -> Result<(), String> {
    match values.iter().position(|value| !(value.is_finite() && *value >= 0.0)) {
        Some(class) => Err(format!("{what} of class {class} is {}", values[class])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;
    use crate::calibrate::offsets::OffsetMetric;

    fn vector(scale: Vec<f64>) -> Calibration {
        Calibration::Vector { scale, offset: vec![0.0; 3] }
    }

    fn calibrate(metadata: &mut ModelMetadata, calibration: Calibration) {
        metadata.calibration = Some(calibration);
        metadata.format_version = metadata.needed_version();
    }

    #[test]
    fn models_without_a_calibration_are_written_as_before_and_calibrated_ones_come_back() {
        let mut metadata = example().metadata;
        let plain = serde_json::to_string(&metadata).unwrap();
        assert!(!plain.contains("calibration") && !plain.contains("offsets"), "{plain}");
        assert_eq!(serde_json::from_str::<ModelMetadata>(&plain).unwrap(), metadata);
        let offsets = Offsets { metric: OffsetMetric::MacroF1, tau: 0.5, offset: vec![0.1, 1.0 / 3.0, 0.0] };
        for map in [Calibration::Prior, Calibration::Temperature { scale: 0.1 + 0.2 }, vector(vec![0.1; 3])] {
            metadata.offsets = Some(offsets.clone());
            calibrate(&mut metadata, map);
            assert_eq!((metadata.format_version, metadata.validate()), (2, Ok(())));
            let text = serde_json::to_string(&metadata).unwrap();
            assert_eq!(serde_json::from_str::<ModelMetadata>(&text).unwrap(), metadata);
        }
        metadata.offsets = Some(Offsets { offset: vec![0.0], ..offsets });
        assert!(metadata.validate().unwrap_err().contains("offsets are not 3"));
    }

    #[test]
    fn contradictions_are_named() {
        type Spoil = fn(&mut ModelMetadata);
        let cases: [(Spoil, &str); 13] = [
            (|m| m.class_weights.truncate(2), "2 class weights"),
            (|m| m.counts.rows.push(1), "4 row counts"),
            (|m| m.label_map.names[1] = m.label_map.names[0].clone(), "occurs twice"),
            (|m| m.label_map.kind = LabelKind::Int, "no value of label kind Int"),
            (|m| m.label_map.names[0] = "x".repeat(70_000), "70000 bytes"),
            (|m| m.label_map.names.truncate(1), "1 classes"),
            (|m| m.class_weights[2] = -0.5, "class weight of class 2 is -0.5"),
            (|m| m.counts.weighted[0] = f64::NAN, "weighted count of class 0 is NaN"),
            (|m| m.loss = Loss::Focal { gamma: f64::INFINITY }, "gamma is inf"),
            (|m| m.calibration = Some(Calibration::Prior), "format 1 has no calibration"),
            (|m| calibrate(m, Calibration::Temperature { scale: 0.0 }), "has scale 0"),
            (|m| calibrate(m, vector(vec![1.0; 2])), "not 3 finite scales"),
            (|m| calibrate(m, vector(vec![1.0, f64::NAN, 1.0])), "not 3 finite scales"),
        ];
        for (spoil, expected) in cases {
            let mut metadata = example().metadata;
            assert_eq!(metadata.validate(), Ok(()));
            spoil(&mut metadata);
            let found = metadata.validate().unwrap_err();
            assert!(found.contains(expected), "{found} instead of {expected}");
        }
    }

    #[test]
    fn json_keeps_every_bit_and_refuses_unknown_keys() {
        let mut metadata = example().metadata;
        metadata.class_weights = vec![0.1 + 0.2, 1.0 / 3.0, 5e-324];
        let mut json = serde_json::to_value(&metadata).unwrap();
        let text = serde_json::to_string(&json).unwrap();
        assert_eq!(serde_json::from_str::<ModelMetadata>(&text).unwrap(), metadata);
        json["surprise"] = 1.into();
        assert!(serde_json::from_value::<ModelMetadata>(json).is_err());
    }

    #[test]
    fn a_weighting_is_recorded_and_read_again() {
        for scheme in [Scheme::None, Scheme::Inverse, Scheme::Sqrt, Scheme::effective(0.999).unwrap()] {
            let record = WeightingRecord::of(&scheme);
            assert_eq!((record.scheme.as_str(), record.normalisation.as_str()), (scheme.name(), "samples"));
            assert_eq!(record.scheme(&[]).unwrap(), Some(scheme));
        }
        let custom = WeightingRecord::of(&Scheme::Custom(vec![1.0]));
        assert_eq!(custom.scheme(&[2.0, 3.0]).unwrap(), Some(Scheme::Custom(vec![2.0, 3.0])));
        let of = |scheme: &str, beta: Option<&str>| WeightingRecord {
            scheme: scheme.into(),
            beta: beta.map(String::from),
            ..custom.clone()
        };
        assert_eq!(of("effective", Some("1")).scheme(&[]).unwrap_err().code(), "E0207");
        assert_eq!(of("effective", None).scheme(&[]).unwrap(), None);
        assert_eq!(of("balanced", Some("0.9")).scheme(&[]).unwrap(), None);
    }

    #[test]
    fn a_fit_is_recorded_in_the_oldest_format_that_holds_it() {
        let of = |learner, start: Option<LinearStartRecord>| {
            let example = example().metadata;
            let conditions = FitConditions {
                loss: Loss::Softmax,
                counts: example.counts.clone(),
                alpha: vec![0.5, 1.0, 4.0],
                logit_adjust: 0.25,
                link: LogitLink { shift: vec![0.0, 1.0, 0.0], ..LogitLink::default() },
            };
            let (labels, encoder) = (example.label_map, example.encoder);
            let scheme = Scheme::Inverse;
            let prior = Prior::Natural;
            let expected = conditions.correction(&prior).unwrap();
            let made =
                ModelMetadata::of_fit(learner, start, &scheme, conditions, labels, encoder, Scale::Standard);
            assert_eq!(made.prior_correction(&prior).unwrap(), expected);
            assert_eq!(made.validate(), Ok(()));
            // Without a calibration that is all there is.
            assert_eq!(made.posterior(&prior).unwrap().correction(), &expected);
            (made.format_version, made.class_weights, made.logit_adjust, made.weighting.scheme)
        };
        let rest = (vec![0.5, 1.0, 4.0], 0.25, "inverse".to_owned());
        let expected = |version| (version, rest.0.clone(), rest.1, rest.2.clone());
        assert_eq!(of(Learner::Linear, None), expected(1));
        assert_eq!(of(Learner::Boost, None), expected(3));
        assert_eq!(
            of(Learner::Boost, Some(LinearStartRecord { l2: 0.0, scale: Scale::None, shares: false })),
            expected(4)
        );
    }

    #[test]
    fn what_trees_start_from_is_checked() {
        let start = |l2| {
            let mut metadata = example().metadata;
            metadata.linear_start = Some(LinearStartRecord { l2, scale: Scale::None, shares: false });
            metadata
        };
        let mut metadata = start(0.5);
        assert!(metadata.validate().unwrap_err().contains("and has none"));
        metadata.learner = Learner::Boost;
        assert!(metadata.validate().unwrap_err().contains("trees that start from linear functions"));
        metadata.format_version = 4;
        assert_eq!(metadata.validate(), Ok(()));
        for l2 in [-1.0, f64::NAN] {
            let metadata = ModelMetadata { learner: Learner::Boost, format_version: 4, ..start(l2) };
            assert!(metadata.validate().unwrap_err().contains("l2 of its linear functions"), "{l2}");
        }
        metadata.linear_start = Some(LinearStartRecord { l2: 0.5, scale: Scale::Standard, shares: true });
        assert!(metadata.validate().unwrap_err().contains("format 4 has no shares of categories"));
        let mut metadata = example().metadata;
        metadata.format_version = 0;
        assert!(metadata.validate().unwrap_err().contains("version is 0"));
        metadata.format_version = 1;
        metadata.logit_adjust = f64::INFINITY;
        assert!(metadata.validate().unwrap_err().contains("logit adjustment is inf"));
    }
}
