//! What several test files need: real data where it is present, small made data everywhere.
#![allow(dead_code)] // Each test file uses its own part.

pub mod cli;
pub mod table;
pub mod vectors;

use std::path::PathBuf;

use cbfit::matrix::Matrix;
use cbfit::rng::CounterRng;

/// A file of the shared real data, or `None` with a printed reason where it is absent.
pub fn shared(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CBFIT_SHARED_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        Some(path)
    } else {
        println!("skipped: {name} is not in {}", folder.display());
        None
    }
}

/// A file of the repository.
pub fn repo(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Gaussian clouds with a long tail: features (rows x `features`) and labels; class c has about `most / (c + 1)^2` rows.
pub fn long_tail(classes: usize, features: usize, most: usize, seed: u64) -> (Matrix<'static>, Vec<u32>) {
    let mut rng = CounterRng::new(seed, 0);
    let mut normal = move || {
        let (u, v) = (rng.next_f64().max(1e-300), rng.next_f64());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    let mut values = Vec::new();
    let mut labels = Vec::new();
    for class in 0..classes {
        let centre: Vec<f64> = (0..features).map(|_| 0.7 * normal()).collect();
        for _ in 0..(most / (class + 1).pow(2)).max(3) {
            values.extend(centre.iter().map(|c| (c + normal() + 1.5) as f32));
            labels.push(class as u32);
        }
    }
    (Matrix::from_f32(values, features), labels)
}
