//! Files of vectors.

use cbfit::rng::CounterRng;

use super::cli::Folder;

/// A `.npy` array of `descr` values, of which `bytes` are the bytes.
pub fn npy(descr: &str, shape: &str, bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    let mut file = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    file.extend(format!("{dictionary:<117}\n").bytes());
    file.extend(bytes);
    file
}

/// Clouds about a corner a class, of a long tail of six classes, in `x.npy` and `y.npy`.
pub fn clouds(folder: &Folder, rows: usize, columns: usize) {
    let mut rng = CounterRng::new(3, 0);
    let labels: Vec<u32> =
        (0..rows).map(|row| [0, 0, 0, 0, 1, 1, 2, 3, 0, 4, 5, 0][row * 7919 % 12]).collect();
    let mut values = Vec::with_capacity(rows * columns);
    for &label in &labels {
        for column in 0..columns {
            let corner = if column % 6 == label as usize { 0.4 } else { 0.0 };
            values.push((rng.next_f64() - 0.5 + corner) as f32);
        }
    }
    folder.write(
        "x.npy",
        npy("<f4", &format!("{rows}, {columns}"), values.into_iter().flat_map(f32::to_le_bytes)),
    );
    folder.write("y.npy", npy("<u4", &format!("{rows},"), labels.into_iter().flat_map(u32::to_le_bytes)));
}
