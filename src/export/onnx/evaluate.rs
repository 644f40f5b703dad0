//! Reads an exported file back and runs it: the operators that exports use, by the specification of ONNX, in plain f32.

use std::collections::HashMap;

use prost::Message;

use super::proto::{AttributeProto, FLOAT, GraphProto, INT64, ModelProto, NodeProto, TensorProto};
use crate::matrix::Matrix;

/// A file read back.
#[derive(Debug)]
pub struct OnnxModel {
    graph: GraphProto,
}

/// What a model says of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxOutput {
    /// One a row, numbers as text.
    pub labels: Vec<String>,
    /// `N x C`.
    pub probabilities: Vec<f32>,
}

/// Values between operators; floats are rows of `cols` values.
#[derive(Debug, Clone)]
enum Value {
    Floats { cols: usize, data: Vec<f32> },
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

type Outcome<T> = Result<T, String>;

impl OnnxModel {
    /// Decodes a file.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8]) -> Outcome<Self> {
        let model = ModelProto::decode(bytes).map_err(|error| error.to_string())?;
        model.graph.map(|graph| OnnxModel { graph }).ok_or_else(|| "it has no graph".into())
    }

    /// Runs the model on all rows of `features`.
    ///
    /// # Errors
    /// What cannot be run, in words.
    pub fn run(&self, features: &Matrix) -> Outcome<OnnxOutput> {
        let cols = features.cols();
        let rows = (0..features.rows()).flat_map(|row| (0..cols).map(move |col| (row, col)));
        let data = rows.map(|(row, col)| features.get(row, col)).collect();
        let mut values: HashMap<&str, Value> = HashMap::new();
        values.insert("features", Value::Floats { cols, data });
        for tensor in &self.graph.initializer {
            values.insert(&tensor.name, constant(tensor)?);
        }
        for node in &self.graph.node {
            let made =
                Operator { node, values: &values }.run().map_err(|why| format!("{}: {why}", node.name))?;
            let output = node.output.first().ok_or("a node without output")?;
            values.insert(output, made);
        }
        let labels = match values.remove("label") {
            Some(Value::Integers(labels)) => labels.iter().map(i64::to_string).collect(),
            Some(Value::Texts(labels)) => labels,
            _ => return Err("it makes no labels".into()),
        };
        match values.remove("probabilities") {
            Some(Value::Floats { data, .. }) => Ok(OnnxOutput { labels, probabilities: data }),
            _ => Err("it makes no probabilities".into()),
        }
    }
}

fn constant(tensor: &TensorProto) -> Outcome<Value> {
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).map_err(|error| error.to_string());
    Ok(match tensor.data_type {
        FLOAT => {
            let cols = tensor.dims.last().map_or(1, |&cols| cols as usize);
            Value::Floats { cols, data: tensor.float_data.clone() }
        }
        INT64 => Value::Integers(tensor.int64_data.clone()),
        _ => Value::Texts(tensor.string_data.iter().map(text).collect::<Outcome<_>>()?),
    })
}

/// A node among the values so far.
struct Operator<'o> {
    node: &'o NodeProto,
    values: &'o HashMap<&'o str, Value>,
}

impl Operator<'_> {
    fn run(&self) -> Outcome<Value> {
        match self.node.op_type.as_str() {
            "Add" => self.pairwise(|a, b| a + b),
            "Sub" => self.pairwise(|a, b| a - b),
            "Mul" => self.pairwise(|a, b| a * b),
            "Div" => self.pairwise(|a, b| a / b),
            "Max" => self.pairwise(f32::max),
            "Min" => self.pairwise(f32::min),
            "Neg" => self.each(|x| -x),
            "Exp" => self.each(f32::exp),
            "Log" => self.each(f32::ln),
            "Softplus" => self.each(|x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
            // Truth as a number.
            "GreaterOrEqual" => self.pairwise(|a, b| f32::from(u8::from(a >= b))),
            "IsNaN" => self.each(|x| f32::from(u8::from(x.is_nan()))),
            "Clip" => self.clip(),
            "Where" => self.choose(),
            "Gemm" => self.gemm(),
            "ReduceL2" => {
                self.by_row(|row| vec![row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32])
            }
            "Softmax" => self.by_row(|row| log_softmax(row).into_iter().map(f32::exp).collect()),
            "LogSoftmax" => self.by_row(log_softmax),
            "ArgMax" => self.arg_max(),
            "Cast" => Ok(Value::Integers(self.floats(0)?.1.iter().map(|&x| x as i64).collect())),
            "Gather" => self.gather(),
            // What is squeezed here are rows of rows of one row.
            "Squeeze" => self.each(|x| x),
            "Concat" => self.concat(),
            "TreeEnsembleRegressor" => self.trees(),
            other => Err(format!("no exporter writes {other}")),
        }
    }

    fn value(&self, input: usize) -> Outcome<&Value> {
        let name = self.node.input.get(input).ok_or("an input is missing")?;
        self.values.get(name.as_str()).ok_or_else(|| format!("{name} is not there"))
    }

    fn floats(&self, input: usize) -> Outcome<(usize, &[f32])> {
        match self.value(input)? {
            Value::Floats { cols, data } => Ok((*cols, data)),
            _ => Err("an input is no number".into()),
        }
    }

    fn attribute(&self, name: &str) -> Outcome<&AttributeProto> {
        let own = self.node.attribute.iter().find(|own| own.name == name);
        own.ok_or_else(|| format!("no {name}"))
    }

    fn each(&self, of: impl Fn(f32) -> f32) -> Outcome<Value> {
        let (cols, data) = self.floats(0)?;
        Ok(Value::Floats { cols, data: data.iter().map(|&x| of(x)).collect() })
    }

    fn by_row(&self, of: impl Fn(&[f32]) -> Vec<f32>) -> Outcome<Value> {
        let (cols, data) = self.floats(0)?;
        let rows: Vec<Vec<f32>> = data.chunks(cols.max(1)).map(of).collect();
        Ok(Value::Floats { cols: rows.first().map_or(0, Vec::len), data: rows.concat() })
    }

    fn pairwise(&self, of: impl Fn(f32, f32) -> f32) -> Outcome<Value> {
        let (cols, [a, b]) = self.aligned([0, 1])?;
        Ok(Value::Floats { cols, data: a.into_iter().zip(b).map(|(a, b)| of(a, b)).collect() })
    }

    fn choose(&self) -> Outcome<Value> {
        let (cols, [condition, yes, no]) = self.aligned([0, 1, 2])?;
        let sides = yes.into_iter().zip(no);
        let data = condition.into_iter().zip(sides).map(|(is, (yes, no))| if is != 0.0 { yes } else { no });
        Ok(Value::Floats { cols, data: data.collect() })
    }

    /// Inputs broadcast to the largest of their shapes: each is rows, a row, a column or a number.
    fn aligned<const N: usize>(&self, inputs: [usize; N]) -> Outcome<(usize, [Vec<f32>; N])> {
        let (mut rows, mut cols) = (1, 1);
        for input in inputs {
            let (width, data) = self.floats(input)?;
            cols = cols.max(width);
            rows = rows.max(data.len() / width.max(1));
        }
        let mut all = inputs.map(|_| Vec::new());
        for (input, out) in inputs.into_iter().zip(&mut all) {
            let (width, data) = self.floats(input)?;
            let height = data.len() / width.max(1);
            if ![1, rows].contains(&height) || ![1, cols].contains(&width) {
                return Err(format!("{height} x {width} values beside {rows} x {cols}"));
            }
            let place = |row: usize, col: usize| (row % height) * width + col % width;
            *out = (0..rows * cols).map(|at| data[place(at / cols, at % cols)]).collect();
        }
        Ok((cols, all))
    }

    fn clip(&self) -> Outcome<Value> {
        let (low, high) = (self.floats(1)?.1.first().copied(), self.floats(2)?.1.first().copied());
        let (low, high) = low.zip(high).ok_or("no limits")?;
        self.each(|x| x.max(low).min(high))
    }

    /// `A B^T + C` with sums in f64.
    fn gemm(&self) -> Outcome<Value> {
        let ((width, a), (depth, b), (_, c)) = (self.floats(0)?, self.floats(1)?, self.floats(2)?);
        if self.attribute("transB")?.i != 1 || width != depth || b.len() != c.len() * depth {
            return Err("shapes that do not fit".into());
        }
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let of_row =
            |row| b.chunks(depth.max(1)).zip(c).map(move |(b, &c)| (dot(row, b) + f64::from(c)) as f32);
        Ok(Value::Floats { cols: c.len(), data: a.chunks(width.max(1)).flat_map(of_row).collect() })
    }

    fn arg_max(&self) -> Outcome<Value> {
        let (cols, data) = self.floats(0)?;
        let best =
            |row: &[f32]| (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best });
        Ok(Value::Integers(data.chunks(cols.max(1)).map(|row| best(row) as i64).collect()))
    }

    fn gather(&self) -> Outcome<Value> {
        let Value::Integers(places) = self.value(1)? else { return Err("places are no integers".into()) };
        let taken = |length: usize| -> Outcome<Vec<usize>> {
            let valid = |&place: &i64| usize::try_from(place).ok().filter(|&place| place < length);
            places
                .iter()
                .map(|place| valid(place).ok_or_else(|| format!("place {place} of {length}")))
                .collect()
        };
        match (self.value(0)?, self.attribute("axis")?.i) {
            (Value::Integers(all), 0) => {
                Ok(Value::Integers(taken(all.len())?.into_iter().map(|at| all[at]).collect()))
            }
            (Value::Texts(all), 0) => {
                Ok(Value::Texts(taken(all.len())?.into_iter().map(|at| all[at].clone()).collect()))
            }
            (Value::Floats { cols, data }, 0) => {
                let rows = taken(data.len() / (*cols).max(1))?;
                let data =
                    rows.into_iter().flat_map(|row| data[row * cols..(row + 1) * cols].iter().copied());
                Ok(Value::Floats { cols: *cols, data: data.collect() })
            }
            (Value::Floats { cols, data }, _) => {
                let columns = taken(*cols)?;
                let of_row = |row: &[f32]| columns.iter().map(|&col| row[col]).collect::<Vec<f32>>();
                Ok(Value::Floats {
                    cols: columns.len(),
                    data: data.chunks((*cols).max(1)).flat_map(of_row).collect(),
                })
            }
            _ => Err("an axis that no exporter writes".into()),
        }
    }

    fn concat(&self) -> Outcome<Value> {
        let parts: Vec<(usize, &[f32])> =
            (0..self.node.input.len()).map(|input| self.floats(input)).collect::<Outcome<_>>()?;
        let (first_cols, first) = parts.first().ok_or("nothing to join")?;
        let rows = first.len() / (*first_cols).max(1);
        if parts.iter().any(|(cols, data)| data.len() != rows * cols) {
            return Err("parts of different length".into());
        }
        let of_row = |row: usize| {
            parts.iter().flat_map(move |(cols, data)| data[row * cols..(row + 1) * cols].iter().copied())
        };
        let cols = parts.iter().map(|(cols, _)| cols).sum();
        Ok(Value::Floats { cols, data: (0..rows).flat_map(of_row).collect() })
    }

    /// The sum of the leaves that a row comes to, and of the base.
    fn trees(&self) -> Outcome<Value> {
        let whole = |name: &str| self.attribute(name).map(|own| &own.ints[..]);
        let numbers = |name: &str| self.attribute(name).map(|own| &own.floats[..]);
        let (trees, ids) = (whole("nodes_treeids")?, whole("nodes_nodeids")?);
        let (features, values) = (whole("nodes_featureids")?, numbers("nodes_values")?);
        let (yes, no) = (whole("nodes_truenodeids")?, whole("nodes_falsenodeids")?);
        let missing_yes = whole("nodes_missing_value_tracks_true")?;
        let modes = &self.attribute("nodes_modes")?.strings;
        let count = trees.len();
        if [ids.len(), features.len(), values.len(), yes.len(), no.len(), missing_yes.len(), modes.len()]
            .iter()
            .any(|&length| length != count)
        {
            return Err("lists of different length".into());
        }
        let place: HashMap<(i64, i64), usize> = (0..count).map(|at| ((trees[at], ids[at]), at)).collect();
        let mut leaves: HashMap<usize, Vec<(usize, f32)>> = HashMap::new();
        let targets = whole("target_treeids")?.iter().zip(whole("target_nodeids")?);
        let added = whole("target_ids")?.iter().zip(numbers("target_weights")?);
        for ((&tree, &node), (&output, &weight)) in targets.zip(added) {
            let leaf = *place.get(&(tree, node)).ok_or("a leaf that is not there")?;
            leaves.entry(leaf).or_default().push((output as usize, weight));
        }
        let base = numbers("base_values")?;
        let roots: Vec<usize> = (0..count).filter(|&at| ids[at] == 0).collect();
        let (cols, data) = self.floats(0)?;
        let mut scores = Vec::with_capacity(data.len() / cols.max(1) * base.len());
        for row in data.chunks(cols.max(1)) {
            let first = scores.len();
            scores.extend_from_slice(base);
            for &root in &roots {
                let mut at = root;
                // No walk is longer than all nodes.
                for _ in 0..count {
                    if modes[at] == b"LEAF" {
                        break;
                    }
                    let x = *row.get(features[at] as usize).ok_or("a feature that is not there")?;
                    let is_yes = x <= values[at] || x.is_nan() && missing_yes[at] == 1;
                    let next = if is_yes { yes[at] } else { no[at] };
                    at = *place.get(&(trees[at], next)).ok_or("a node that is not there")?;
                }
                for &(output, weight) in leaves.get(&at).into_iter().flatten() {
                    *scores.get_mut(first + output).ok_or("an output that is not there")? += weight;
                }
            }
        }
        Ok(Value::Floats { cols: base.len(), data: scores })
    }
}

fn log_softmax(row: &[f32]) -> Vec<f32> {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total = row.iter().map(|x| (x - top).exp()).sum::<f32>().ln();
    row.iter().map(|x| x - top - total).collect()
}
