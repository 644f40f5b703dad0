//! Rows of a comparison: a file through cbfit's own reader, or a made shape.

use cbfit::data::dataset::read_training;
use cbfit::data::options::ReadOptions;
use cbfit::data::scale::{Scale, Scaler};
use cbfit::matrix::Matrix;
use clap::Args;

use crate::{Outcome, made};

/// Where the rows come from.
#[derive(Args)]
pub struct Source {
    /// Training file
    #[arg(long, conflicts_with = "made")]
    train: Option<String>,
    /// Feature columns as in cbfit
    #[arg(long, requires = "train")]
    features: Option<String>,
    /// Made rows: ROWS,FEATURES,CLASSES,zipf|even,f32|f16
    #[arg(long)]
    made: Option<String>,
}

/// Scaled features and labels.
pub struct Data {
    pub features: Matrix<'static>,
    pub labels: Vec<u32>,
    pub classes: usize,
}

impl Data {
    pub fn read(source: &Source) -> Outcome<Self> {
        if let Some(spec) = &source.made {
            return Ok(made::Shape::parse(spec)?.make());
        }
        let path = source.train.clone().ok_or("--train or --made is missing")?;
        let options = ReadOptions {
            label: Some("label".into()),
            features: source.features.clone(),
            ..ReadOptions::default()
        };
        let mut read = read_training(&[path], &options)?;
        let rows: Vec<usize> = (0..read.rows()).collect();
        let (scaler, _) = Scaler::fit(Scale::auto(&read.encoder), &read.features, &rows, None);
        scaler.apply(&mut read.features);
        let labels = read.labels.ok_or("no labels")?;
        Ok(Data { features: read.features, labels, classes: read.label_map.classes() })
    }
}
