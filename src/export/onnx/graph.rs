//! A graph of ONNX operators while it is put together.

use super::proto::{
    AttributeProto, Dimension, FLOAT, GraphProto, INT64, Length, NodeProto, STRING, Shape, TensorProto,
    TensorType, TypeProto, ValueInfo,
};

/// Domain of the operators of classical models.
pub(super) const ML: &str = "ai.onnx.ml";

/// Nodes and constants so far. Values go by names, of which the graph makes new ones.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

/// Setting of an operator.
pub(super) fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, kind: 2, ..AttributeProto::default() }
}

/// Setting of an operator.
pub(super) fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: s.into(), kind: 3, ..AttributeProto::default() }
}

/// Setting of an operator.
pub(super) fn floats(name: &str, floats: Vec<f32>) -> AttributeProto {
    AttributeProto { name: name.into(), floats, kind: 6, ..AttributeProto::default() }
}

/// Setting of an operator.
pub(super) fn integers(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto { name: name.into(), ints, kind: 7, ..AttributeProto::default() }
}

/// Setting of an operator.
pub(super) fn texts(name: &str, strings: Vec<&str>) -> AttributeProto {
    let strings = strings.into_iter().map(|text| text.as_bytes().to_vec()).collect();
    AttributeProto { name: name.into(), strings, kind: 8, ..AttributeProto::default() }
}

impl Graph {
    /// The output of a new node.
    pub(super) fn node(&mut self, op_type: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = format!("{}_{}", op_type.to_lowercase(), self.nodes.len());
        self.named_node(op_type, "", inputs, attributes, &name)
    }

    /// The same with the domain of the operator and the name of the output given.
    pub(super) fn named_node(
        &mut self,
        op_type: &str,
        domain: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        output: &str,
    ) -> String {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![output.into()],
            name: format!("make_{output}"),
            op_type: op_type.into(),
            attribute: attributes,
            domain: domain.into(),
        });
        output.into()
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        let name = format!("constant_{}", self.constants.len());
        self.constants.push(TensorProto { name: name.clone(), ..tensor });
        name
    }

    /// A constant of `float`s.
    pub(super) fn floats(&mut self, dims: &[usize], float_data: Vec<f32>) -> String {
        self.constant(TensorProto {
            dims: lengths(dims),
            data_type: FLOAT,
            float_data,
            ..TensorProto::default()
        })
    }

    /// A number.
    pub(super) fn float(&mut self, value: f32) -> String {
        self.floats(&[], vec![value])
    }

    /// A row of numbers, narrowed.
    pub(super) fn row(&mut self, values: &[f64]) -> String {
        self.floats(&[values.len()], values.iter().map(|&value| value as f32).collect())
    }

    /// A constant of `int64`s in one dimension.
    pub(super) fn integers(&mut self, int64_data: Vec<i64>) -> String {
        let dims = lengths(&[int64_data.len()]);
        self.constant(TensorProto { dims, data_type: INT64, int64_data, ..TensorProto::default() })
    }

    /// A constant of texts in one dimension.
    pub(super) fn texts(&mut self, texts: &[String]) -> String {
        let string_data = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let dims = lengths(&[texts.len()]);
        self.constant(TensorProto { dims, data_type: STRING, string_data, ..TensorProto::default() })
    }

    /// The finished graph.
    pub(super) fn finish(self, input: ValueInfo, output: Vec<ValueInfo>) -> GraphProto {
        GraphProto {
            node: self.nodes,
            name: "cbfit".into(),
            initializer: self.constants,
            input: vec![input],
            output,
        }
    }
}

fn lengths(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|&length| length as i64).collect()
}

/// An input or output: rows, of `width` values each where that is given.
pub(super) fn rows_of(name: &str, element: i32, width: Option<usize>) -> ValueInfo {
    let rows = Dimension { length: Some(Length::Named("rows".into())) };
    let values = width.map(|width| Dimension { length: Some(Length::Known(width as i64)) });
    let dim = std::iter::once(rows).chain(values).collect();
    let tensor = TensorType { element, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), kind: Some(TypeProto { tensor: Some(tensor) }) }
}
