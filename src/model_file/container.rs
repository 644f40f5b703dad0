//! The safetensors layout of a model: header length, JSON header, tensors of f32 or u32 without gaps.
//!
//! Nothing the file states is believed before it is held against the length of the file.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use safetensors::tensor::{Dtype, TensorInfo};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Error, Result};

/// Longest JSON header read or written, in bytes.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;

const LENGTH_BYTES: u64 = 8;
/// Bytes of a value of a tensor.
pub const VALUE_BYTES: u64 = 4;
const METADATA_KEY: &str = "cbfit";

/// A tensor to be written: name, shape, row-major values.
pub struct NamedTensor<'a> {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub values: Values<'a>,
}

/// Values of a tensor, four bytes each.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    F32(&'a [f32]),
    U32(&'a [u32]),
}

impl Values<'_> {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::U32(values) => values.len(),
        }
    }

    fn dtype(&self) -> Dtype {
        match self {
            Values::F32(_) => Dtype::F32,
            Values::U32(_) => Dtype::U32,
        }
    }

    /// The bytes of the values from `start` on, `count` of them at most.
    fn bytes(&self, start: usize, count: usize, into: &mut Vec<u8>) {
        let range = start..(start + count).min(self.len());
        match self {
            Values::F32(values) => into.extend(values[range].iter().flat_map(|value| value.to_le_bytes())),
            Values::U32(values) => into.extend(values[range].iter().flat_map(|value| value.to_le_bytes())),
        }
    }
}

/// Tensors by name.
#[derive(Default)]
pub struct Tensors {
    pub floats: BTreeMap<String, Vec<f32>>,
    pub integers: BTreeMap<String, Vec<u32>>,
}

/// A model file whose header has been read and checked against its length.
pub struct Container<R> {
    path: String,
    file: R,
    file_bytes: u64,
    data_start: u64,
    /// JSON of the model's metadata.
    pub metadata: String,
    header: String,
}

/// The part of the header every version shares. Tensors are passed over, for those of a newer version are unknown.
#[derive(Deserialize)]
struct SharedHeader {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, String>,
}

impl<R: Read> Container<R> {
    /// Reads the header of a file of `file_bytes` bytes called `path`, not its tensors.
    pub fn open(path: &str, mut file: R, file_bytes: u64) -> Result<Self> {
        let mut length = [0; LENGTH_BYTES as usize];
        read_exact(&mut file, &mut length, path)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES {
            let why = format!("its header claims {header_bytes} bytes; the limit is {MAX_HEADER_BYTES}");
            return Err(bad(path, why));
        }
        let data_start = LENGTH_BYTES + header_bytes;
        if data_start > file_bytes {
            let why = format!("it ends at byte {file_bytes}, its header at byte {data_start}");
            return Err(bad(path, why));
        }
        let mut header = vec![0; header_bytes as usize];
        read_exact(&mut file, &mut header, path)?;
        let header =
            String::from_utf8(header).map_err(|error| bad(path, format!("header not UTF-8: {error}")))?;
        let mut shared: SharedHeader = parse_json(&header, path, "header")?;
        let Some(metadata) = shared.metadata.remove(METADATA_KEY) else {
            return Err(bad(path, "it is a safetensors file that cbfit did not write"));
        };
        Ok(Container { path: path.to_owned(), file, file_bytes, data_start, metadata, header })
    }

    /// Checks that the header lists tensors of f32 or u32 which cover the rest of the file, one after the other.
    pub fn into_tensors(self) -> Result<TensorReader<R>> {
        let mut infos = tensor_infos(&self.header, &self.path)?;
        infos.sort_by_key(|(_, info)| info.data_offsets);
        let mut end = 0;
        for (name, info) in &infos {
            let bytes = tensor_bytes(info);
            let starts_at_end = info.data_offsets.0 as u64 == end;
            let (Some(bytes), true, Dtype::F32 | Dtype::U32) = (bytes, starts_at_end, info.dtype) else {
                let why = format!(
                    "tensor {name} is {:?} {:?} at bytes {:?}, not f32 or u32 values from byte {end} on",
                    info.dtype,
                    info.shape.iter().take(4).collect::<Vec<_>>(),
                    info.data_offsets
                );
                return Err(bad(&self.path, why));
            };
            end += bytes; // below 2^64: `tensor_bytes` equals the difference of two offsets, and `end` is the first
        }
        let expected = self.data_start.checked_add(end);
        if expected != Some(self.file_bytes) {
            let why = format!(
                "it has {} bytes, its header describes {}",
                self.file_bytes,
                expected.map_or("more than 2^64".into(), |bytes| bytes.to_string())
            );
            return Err(bad(&self.path, why));
        }
        Ok(TensorReader { path: self.path, file: self.file, infos })
    }
}

/// The tensors of a [`Container`], read in the order of the file.
pub struct TensorReader<R> {
    path: String,
    file: R,
    infos: Vec<(String, TensorInfo)>,
}

impl<R: Read> TensorReader<R> {
    /// Names and shapes in the order of the file.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.infos.iter().map(|(name, info)| (name.as_str(), info.shape.as_slice()))
    }

    /// Reads all tensors; every f32 is finite.
    pub fn read(mut self) -> Result<Tensors> {
        let mut tensors = Tensors::default();
        for (name, info) in std::mem::take(&mut self.infos) {
            let count = tensor_bytes(&info).unwrap_or(0) / VALUE_BYTES;
            if info.dtype == Dtype::U32 {
                let values = self.read_values(&name, count, u32::from_le_bytes)?;
                tensors.integers.insert(name, values);
                continue;
            }
            let values = self.read_values(&name, count, f32::from_le_bytes)?;
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Err(bad(&self.path, format!("value {at} of tensor {name} is {}", values[at])));
            }
            tensors.floats.insert(name, values);
        }
        Ok(tensors)
    }

    fn read_values<T>(&mut self, name: &str, count: u64, from_bytes: fn([u8; 4]) -> T) -> Result<Vec<T>> {
        let mut values: Vec<T> = Vec::new();
        // The count is bounded by the length of the file, which a sparse file makes as large as it likes.
        if usize::try_from(count).is_err() || values.try_reserve_exact(count as usize).is_err() {
            let what = format!("tensor {name} of {}", self.path);
            return Err(Error::TooLarge { what, need: count * VALUE_BYTES, limit: isize::MAX as u64 });
        }
        let mut chunk = [0u8; 64 * 1024];
        let mut left = count * VALUE_BYTES;
        while left > 0 {
            let part = &mut chunk[..left.min(64 * 1024) as usize];
            read_exact(&mut self.file, part, &self.path)?;
            values.extend(part.as_chunks::<4>().0.iter().map(|bytes| from_bytes(*bytes)));
            left -= part.len() as u64;
        }
        Ok(values)
    }
}

/// Writes the container with `tensors` in the given order. Returns the number of bytes. The bytes depend on the
/// arguments alone. Fails with [`Error::TooLarge`] where the header would be longer than readers accept.
pub fn write(out: &mut impl Write, path: &str, metadata: &str, tensors: &[NamedTensor<'_>]) -> Result<u64> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!({ METADATA_KEY: metadata }));
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += VALUE_BYTES as usize * tensor.values.len();
        let info = TensorInfo {
            dtype: tensor.values.dtype(),
            shape: tensor.shape.clone(),
            data_offsets: (start, end),
        };
        let info = serde_json::to_value(info).map_err(|error| bad(path, error.to_string()))?;
        header.insert(tensor.name.into(), info);
    }
    let mut header = serde_json::Value::from(header).to_string();
    // The data start at a multiple of 8 bytes, as the format asks.
    let padded = header.len().next_multiple_of(LENGTH_BYTES as usize);
    header.extend(std::iter::repeat_n(' ', padded - header.len()));
    let need = header.len() as u64;
    if need > MAX_HEADER_BYTES {
        return Err(Error::TooLarge { what: format!("header of {path}"), need, limit: MAX_HEADER_BYTES });
    }
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(|source| Error::io(path, "write", source));
    put(&need.to_le_bytes())?;
    put(header.as_bytes())?;
    const CHUNK: usize = 16 * 1024;
    let mut buffer = Vec::with_capacity(VALUE_BYTES as usize * CHUNK);
    for tensor in tensors {
        for start in (0..tensor.values.len()).step_by(CHUNK) {
            buffer.clear();
            tensor.values.bytes(start, CHUNK, &mut buffer);
            put(&buffer)?;
        }
    }
    Ok(LENGTH_BYTES + need + end as u64)
}

/// Bytes a tensor takes by its shape, `None` where that overflows or differs from its offsets.
fn tensor_bytes(info: &TensorInfo) -> Option<u64> {
    let (start, end) = info.data_offsets;
    let by_shape = info.shape.iter().try_fold(VALUE_BYTES, |bytes, &side| bytes.checked_mul(side as u64))?;
    (end.checked_sub(start)? as u64 == by_shape).then_some(by_shape)
}

/// Tensors of this version by name. A fixed set of keys keeps a hostile header from filling a map.
fn tensor_infos(header: &str, path: &str) -> Result<Vec<(String, TensorInfo)>> {
    const NAMES: [&str; 17] = [
        "weight",
        "bias",
        "scaler.mean",
        "scaler.scale",
        "boost.base",
        "boost.features",
        "boost.cuts",
        "boost.trees",
        "boost.nodes",
        "boost.sets",
        "boost.values",
        "start.weight",
        "start.bias",
        "start.fill",
        "start.mean",
        "start.scale",
        "start.shares",
    ];
    struct Infos(Vec<(String, TensorInfo)>);
    impl<'de> Deserialize<'de> for Infos {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
            struct Keys;
            impl<'de> Visitor<'de> for Keys {
                type Value = Infos;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("tensors by name")
                }

                fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<Infos, M::Error> {
                    let mut infos: Vec<(String, TensorInfo)> = Vec::new();
                    while let Some(key) = map.next_key::<String>()? {
                        if key == "__metadata__" {
                            map.next_value::<serde::de::IgnoredAny>()?;
                        } else if !NAMES.contains(&key.as_str()) {
                            return Err(M::Error::custom(format_args!("unknown tensor {key:?}")));
                        } else if infos.iter().any(|(name, _)| *name == key) {
                            return Err(M::Error::custom(format_args!("duplicate tensor {key:?}")));
                        } else {
                            infos.push((key, map.next_value()?));
                        }
                    }
                    Ok(Infos(infos))
                }
            }
            deserializer.deserialize_map(Keys)
        }
    }
    parse_json::<Infos>(header, path, "header").map(|infos| infos.0)
}

/// Parses JSON from a model file; a hostile text cannot blow up the message.
pub fn parse_json<'a, T: Deserialize<'a>>(text: &'a str, path: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let reason: String = error.to_string().chars().take(200).collect();
        bad(path, format!("{what}: {reason}"))
    })
}

/// [`Error::BadModel`] for `path`.
pub fn bad(path: &str, why: impl Into<String>) -> Error {
    Error::BadModel { path: path.into(), why: why.into() }
}

fn read_exact(file: &mut impl Read, into: &mut [u8], path: &str) -> Result<()> {
    file.read_exact(into).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => bad(path, "it ends early"),
        _ => Error::io(path, "read", source),
    })
}
