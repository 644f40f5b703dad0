//! Rows as raw numbers, for benches that share them with Python: `NAME.f32` and `NAME.u32` are little-endian values row by
//! row and the classes of the rows, `shape.json` beside them says `{"features": .., "classes": ..}`.

use std::error::Error;
use std::fs;
use std::path::Path;

use cbfit::matrix::Matrix;
use serde::Deserialize;

/// Rows with their classes.
pub struct Rows {
    /// Values.
    pub features: Matrix<'static>,
    /// Class of each row, below `classes`.
    pub labels: Vec<u32>,
    /// Number of classes.
    pub classes: usize,
}

#[derive(Deserialize)]
struct Shape {
    features: usize,
    classes: usize,
}

/// The rows NAME of a folder.
pub fn read(folder: &Path, name: &str) -> Result<Rows, Box<dyn Error>> {
    let shape: Shape = serde_json::from_str(&fs::read_to_string(folder.join("shape.json"))?)?;
    let words = |kind: &str| -> Result<Vec<[u8; 4]>, Box<dyn Error>> {
        let bytes = fs::read(folder.join(format!("{name}.{kind}")))?;
        Ok(bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect())
    };
    let values: Vec<f32> = words("f32")?.into_iter().map(f32::from_le_bytes).collect();
    let labels: Vec<u32> = words("u32")?.into_iter().map(u32::from_le_bytes).collect();
    if values.len() != labels.len() * shape.features {
        let (values, rows, features) = (values.len(), labels.len(), shape.features);
        return Err(format!("{name}: {values} values for {rows} rows of {features} features").into());
    }
    Ok(Rows { features: Matrix::from_f32(values, shape.features), labels, classes: shape.classes })
}
