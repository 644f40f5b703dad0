//! Codes of categories in ONNX operators.

use super::graph::{Graph, integer};
use super::proto::INT64;

/// For each of `rows` the row of `table`, of `width` values each, that the code in `column` names; the last row of it for
/// codes that are missing, negative or beyond.
pub(super) fn looked_up(
    graph: &mut Graph,
    rows: &str,
    column: usize,
    table: Vec<f32>,
    width: usize,
) -> String {
    let height = table.len() / width.max(1);
    let table = graph.floats(&[height, width], table);
    let column = graph.integers(vec![column as i64]);
    let (zero, last) = (graph.float(0.0), graph.float(height.saturating_sub(1) as f32));
    let code = graph.node("Gather", &[rows, &column], vec![integer("axis", 1)]);
    // No number is not at least 0 either.
    let is_code = graph.node("GreaterOrEqual", &[&code, &zero], vec![]);
    let code = graph.node("Where", &[&is_code, &code, &last], vec![]);
    let code = graph.node("Min", &[&code, &last], vec![]);
    let code = graph.node("Cast", &[&code], vec![integer("to", i64::from(INT64))]);
    let found = graph.node("Gather", &[&table, &code], vec![integer("axis", 0)]);
    let axis = graph.integers(vec![1]);
    graph.node("Squeeze", &[&found, &axis], vec![])
}
