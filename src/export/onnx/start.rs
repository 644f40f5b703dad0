//! The linear functions that trees start from in ONNX operators: what [`LinearStart::logits`] does.
//!
//! Numbers are filled, scaled and multiplied like those of a linear model. The features of a category, 1 for it and 0 for
//! the others of its column, are not made: a table holds what each category adds to the logits once all of them are scaled.
//! Its numbers are worked out in f64, for the scaled features of frequent and rare categories nearly cancel.

use super::codes::looked_up;
use super::graph::{Graph, integer};
use super::{filled, linear, scaled};
use crate::data::scale::{Scale, Scaler};
use crate::hybrid::features::LinearColumn;
use crate::hybrid::model::LinearStart;
use crate::linear::model::LinearModel;
use crate::{Error, Result};

/// The logits of `start` on the rows called `rows`.
///
/// # Errors
/// [`Error::BadValue`] for categories in rows that are scaled to one length, which no fit makes.
pub(super) fn logits(graph: &mut Graph, start: &LinearStart, rows: &str) -> Result<String> {
    let columns = start.features.columns();
    let is_coded = columns.iter().any(|column| column.categories.is_some());
    if is_coded && start.features.scaler().scale == Scale::L2 {
        let why = "the linear functions below its trees are of categories in rows of length 1";
        return Err(Error::bad_value("--to", "onnx", why, "train the model again with this version"));
    }
    let mut sum = of_numbers(graph, start, &columns, rows);
    for (at, column) in columns.iter().enumerate() {
        let Some(categories) = column.categories else { continue };
        let table = start.category_logits(column.first, categories).into_iter().map(|x| x as f32).collect();
        let added = looked_up(graph, rows, at, table, start.model.classes());
        sum = graph.node("Add", &[&sum, &added], vec![]);
    }
    Ok(sum)
}

/// Biases and what the columns of numbers add to them.
fn of_numbers(graph: &mut Graph, start: &LinearStart, columns: &[LinearColumn], rows: &str) -> String {
    let LinearStart { features, model } = start;
    let numbers: Vec<usize> =
        (0..columns.len()).filter(|&column| columns[column].categories.is_none()).collect();
    if numbers.is_empty() {
        return graph.floats(&[model.bias.len()], model.bias.clone());
    }
    let rows = match numbers.len() == columns.len() {
        true => rows.to_owned(),
        false => {
            let places = graph.integers(numbers.iter().map(|&column| column as i64).collect());
            graph.node("Gather", &[rows, &places], vec![integer("axis", 1)])
        }
    };
    let fills: Vec<f32> = numbers.iter().map(|&column| features.fill()[column]).collect();
    let filled = filled(graph, &rows, &fills);
    let own =
        |values: &[f32]| numbers.iter().filter_map(|&at| values.get(columns[at].first).copied()).collect();
    let scaler = features.scaler();
    let scaler = Scaler { scale: scaler.scale, mean: own(&scaler.mean), deviation: own(&scaler.deviation) };
    let scaled = scaled(graph, &scaler, filled);
    let weights = |class: usize| -> Vec<f32> { own(model.weights_of(class)) };
    let model = LinearModel {
        weight: (0..model.classes()).flat_map(weights).collect(),
        bias: model.bias.clone(),
        features: numbers.len(),
        loss: model.loss,
    };
    linear(graph, &model, &scaled)
}
