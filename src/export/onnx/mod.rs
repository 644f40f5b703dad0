//! Models as ONNX: features in, labels and probabilities out, in operators of opset 17 that every runtime has.
//!
//! The input `features` holds what the model reads after text has become numbers: `N x D` floats, NaN where a value is missing
//! and the model takes that. Scaling, prior and calibration are part of the graph. Outputs are `label` (names, or whole
//! numbers) and `probabilities`, `N x C`.

mod codes;
mod evaluate;
mod graph;
mod posterior;
mod proto;
mod start;
mod trees;

pub use evaluate::OnnxModel;

use prost::Message;

use self::graph::{Graph, integer, integers, rows_of};
use self::proto::{Entry, FLOAT, INT64, ModelProto, OperatorSet, STRING};
use crate::calibrate::offsets::Offsets;
use crate::data::missing::Missing;
use crate::data::scale::{Scale, Scaler};
use crate::labels::{LabelKind, LabelMap};
use crate::linear::model::LinearModel;
use crate::model::Model;
use crate::model_file::SavedModel;
use crate::weighting::prior::Prior;
use crate::{Error, Result};

/// ONNX 1.12, of 2022.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
const ML_OPSET: i64 = 3;

/// The largest message of protocol buffers; beyond it tensors would have to lie in files of their own.
const MOST_BYTES: usize = (1 << 31) - 1;

/// The file of `saved` with probabilities under `prior`.
///
/// # Errors
/// [`Error::BadValue`] for what these operators do not express, and above 2 GiB.
pub fn render(saved: &SavedModel, prior: &Prior) -> Result<Vec<u8>> {
    let metadata = &saved.metadata;
    let mut graph = Graph::default();
    let width = metadata.encoder.width();
    let logits = match &saved.model {
        Model::Linear(model) => {
            let filled = match metadata.encoder.missing {
                Missing::Mean | Missing::Zero => filled(&mut graph, "features", &metadata.encoder.fills()),
                Missing::Error | Missing::Keep => "features".into(),
            };
            let scaled = scaled(&mut graph, &saved.scaler, filled);
            linear(&mut graph, model, &scaled)
        }
        Model::Boost(model) => trees::logits(&mut graph, model, "features")?,
        Model::Hybrid(model) => {
            let added = trees::logits(&mut graph, &model.trees, "features")?;
            let start = start::logits(&mut graph, &model.start, "features")?;
            graph.node("Add", &[&added, &start], vec![])
        }
    };
    let logs = posterior::log_posterior(&mut graph, &metadata.posterior(prior)?, &logits)?;
    graph.named_node("Softmax", "", &[&logs], vec![integer("axis", 1)], "probabilities");
    let decided = match &metadata.offsets {
        None => "probabilities".to_owned(),
        // Offsets act on the natural posterior, whatever the prior of the probabilities.
        Some(Offsets { offset, .. }) => {
            let natural = metadata.posterior(&Prior::Natural)?;
            let logs = posterior::log_posterior(&mut graph, &natural, &logits)?;
            let logs = graph.node("LogSoftmax", &[&logs], vec![integer("axis", 1)]);
            posterior::moved_by(&mut graph, logs, offset)
        }
    };
    let element = labels(&mut graph, &metadata.label_map, &decided);
    let outputs = vec![
        rows_of("label", element, None),
        rows_of("probabilities", FLOAT, Some(metadata.label_map.classes())),
    ];
    let entry = |key: &str, value: String| Entry { key: key.into(), value };
    let set = |domain: &str, version| OperatorSet { domain: domain.into(), version };
    let names: Vec<String> = metadata.encoder.feature_names().collect();
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "cbfit".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph.finish(rows_of("features", FLOAT, Some(width)), outputs)),
        opset_import: vec![set("", OPSET), set(graph::ML, ML_OPSET)],
        metadata_props: vec![
            entry("loss", metadata.loss.name().into()),
            entry("prior", prior.name().into()),
            // Lists of texts always become JSON.
            entry("feature_names", serde_json::to_string(&names).unwrap_or_default()),
            entry("class_names", serde_json::to_string(&metadata.label_map.names).unwrap_or_default()),
        ],
    };
    let bytes = model.encoded_len();
    if bytes > MOST_BYTES {
        let why = format!("{bytes} bytes are more than an ONNX file can hold");
        return Err(Error::bad_value(
            "--to",
            "onnx",
            why,
            "the model file itself is readable as safetensors",
        ));
    }
    Ok(model.encode_to_vec())
}

/// The rows called `rows` with their missing values replaced, one number a feature.
fn filled(graph: &mut Graph, rows: &str, fills: &[f32]) -> String {
    let missing = graph.node("IsNaN", &[rows], vec![]);
    let fills = graph.floats(&[fills.len()], fills.to_vec());
    graph.node("Where", &[&missing, &fills, rows], vec![])
}

/// Standardised in two operators, which keeps the digits that folding large means into the biases would lose.
fn scaled(graph: &mut Graph, scaler: &Scaler, rows: String) -> String {
    match scaler.scale {
        Scale::None => rows,
        Scale::L2 => {
            let settings = vec![integers("axes", vec![1]), integer("keepdims", 1)];
            let norm = graph.node("ReduceL2", &[&rows], settings);
            // A row of zeros stays.
            let least = graph.float(f32::MIN_POSITIVE);
            let norm = graph.node("Max", &[&norm, &least], vec![]);
            graph.node("Div", &[&rows, &norm], vec![])
        }
        Scale::Standard => {
            let mean = graph.floats(&[scaler.mean.len()], scaler.mean.clone());
            let deviation = graph.floats(&[scaler.deviation.len()], scaler.deviation.clone());
            let centred = graph.node("Sub", &[&rows, &mean], vec![]);
            graph.node("Div", &[&centred, &deviation], vec![])
        }
    }
}

fn linear(graph: &mut Graph, model: &LinearModel, rows: &str) -> String {
    let weight = graph.floats(&[model.classes(), model.features], model.weight.clone());
    let bias = graph.floats(&[model.bias.len()], model.bias.clone());
    graph.node("Gemm", &[rows, &weight, &bias], vec![integer("transB", 1)])
}

/// The label of the largest of `values`, and the type of labels.
fn labels(graph: &mut Graph, labels: &LabelMap, values: &str) -> i32 {
    let settings = vec![integer("axis", 1), integer("keepdims", 0)];
    let best = graph.node("ArgMax", &[values], settings);
    let numbers = || labels.names.iter().map(|name| name.parse()).collect::<Result<Vec<i64>, _>>().ok();
    let (names, element) = match numbers().filter(|_| labels.kind == LabelKind::Int) {
        Some(numbers) => (graph.integers(numbers), INT64),
        None => (graph.texts(&labels.names), STRING),
    };
    graph.named_node("Gather", "", &[&names, &best], vec![integer("axis", 0)], "label");
    element
}
