//! `cbfit export`: a model as the file of another program, read back and compared before it is trusted.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};

use clap::ValueEnum;
use serde_json::json;

use super::args::{ExportArgs, ExportFormat};
use super::scoring::fixed_prior;
use super::shared::{PriorPlan, no_effect, prior_of, prior_text, refuse_overwriting};
use super::talk::{Talk, automatic_progress};
use super::{kernels, print_json, with_threads};
use crate::boost::dump;
use crate::boost::model::BoostModel;
use crate::boost::names::Names;
use crate::calibrate::Calibration;
use crate::export::lightgbm::LightgbmText;
use crate::export::lightgbm_reader::LightgbmTrees;
use crate::export::onnx::{self, OnnxModel};
use crate::export::probe::{probe_rows, scaled_rows};
use crate::export::{linear_csv, names};
use crate::labels::LabelMap;
use crate::linear::model::LinearModel;
use crate::loss::Loss;
use crate::matrix::Matrix;
use crate::model::Model;
use crate::model_file::{self, ModelMetadata, SavedModel};
use crate::output::AtomicFile;
use crate::report::format::{bytes, short, thousands};
use crate::report::text;
use crate::weighting::prior::{Prior, training_shares};
use crate::{Error, Result};

/// Rows that an export is compared on.
const CHECKED_ROWS: usize = 1000;

/// Largest difference of scores that rounding leaves: cbfit adds up trees in f32, others in f64.
const LARGEST_DIFFERENCE: f64 = 1e-3;

/// Names for the form that people read, often on a terminal.
fn printable_names(names: Names) -> Names {
    let safe = |names: Vec<String>| names.iter().map(|name| text::printable(name).into_owned()).collect();
    Names {
        classes: safe(names.classes),
        columns: safe(names.columns),
        levels: names.levels.into_iter().map(|levels| levels.map(safe)).collect(),
    }
}

/// Runs the command.
///
/// # Errors
/// Those of the model and of the output; [`Error::BadValue`] where the model cannot be written as asked.
pub fn run(args: ExportArgs) -> Result<u8> {
    no_effect(
        args.run.json && args.out == "-",
        "--json",
        "--out -",
        "write the export to a file with --out",
    )?;
    if args.out != "-" {
        refuse_overwriting(&args.out, std::iter::once(&args.model))?;
    }
    let prior = prior_of(&args.prior)?;
    if args.to == ExportFormat::Onnx && args.out == "-" {
        let help = "name the file with --out";
        return Err(Error::bad_value("--to", "onnx", "is binary, which is not for a terminal", help));
    }
    if !matches!(args.to, ExportFormat::Lightgbm | ExportFormat::Onnx) {
        let help = "only ONNX and scores for LightGBM have a prior folded in";
        no_effect(prior.is_some(), "--prior", "this form of export", help)?;
    }
    let talk = Talk::new(args.run.quiet, automatic_progress());
    with_threads(&args.run, || {
        let saved = model_file::load(&args.model)?;
        let (size, check) = match (args.to, &saved.model) {
            (ExportFormat::Csv, Model::Linear(model)) => write_csv(&args, model, &saved)?,
            (ExportFormat::Lightgbm, Model::Boost(model)) => {
                write_lightgbm(&args, model, &saved, prior.as_ref(), &talk)?
            }
            (ExportFormat::Text, Model::Boost(model)) => {
                let names = printable_names(names(&saved.metadata));
                (write(&args.out, |out| dump::write_text(model, &names, out))?, None)
            }
            (ExportFormat::Json, Model::Boost(model)) => {
                write_trees_json(&args, model, &names(&saved.metadata))?
            }
            (ExportFormat::Onnx, _) => write_onnx(&args, &saved, prior.as_ref(), &talk)?,
            (_, Model::Linear(_)) => {
                return Err(wrong_kind(&args, "a linear model", "take --to csv or onnx"));
            }
            (_, Model::Hybrid(_)) => {
                let kind = "trees that start from linear functions";
                return Err(wrong_kind(&args, kind, "take --to onnx"));
            }
            (ExportFormat::Csv, Model::Boost(_)) => {
                return Err(wrong_kind(&args, "trees", "take --to lightgbm, text, json or onnx"));
            }
        };
        if args.out != "-" {
            talk.phase("Saved", &format!("{} ({})", args.out, bytes(size)));
        }
        match check {
            Some(Check::Difference(largest)) => talk.phase(
                "Checked",
                &format!(
                    "read back, {} differ by at most {} on {} made rows",
                    if args.to == ExportFormat::Onnx { "probabilities" } else { "scores" },
                    short(largest),
                    thousands(CHECKED_ROWS as u64)
                ),
            ),
            Some(Check::Equal) => talk.phase("Checked", "read back, it is the model to the last bit"),
            None => {}
        }
        if args.run.json {
            let difference = match check {
                Some(Check::Difference(largest)) => Some(largest),
                Some(Check::Equal) => Some(0.0),
                None => None,
            };
            print_json(&json!({
                "schema": "cbfit.export/1",
                "out": args.out,
                "bytes": size,
                "largest_difference": difference,
            }))?;
        }
        Ok(0)
    })
}

/// What reading an export back said.
enum Check {
    /// Largest difference of scores.
    Difference(f64),
    /// The same model.
    Equal,
}

fn wrong_kind(args: &ExportArgs, kind: &str, help: &str) -> Error {
    let form = args.to.to_possible_value().map_or_else(String::new, |form| form.get_name().to_owned());
    Error::bad_value("--to", form, format!("cannot hold what {} is: {kind}", args.model), help)
}

/// Writes to `path`, whole or not at all, or to stdout for `-`; returns the number of bytes.
fn write(path: &str, content: impl FnOnce(&mut Counted<&mut dyn Write>) -> io::Result<()>) -> Result<u64> {
    if path == "-" {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut counted = Counted { out: &mut out as &mut dyn Write, bytes: 0 };
        let done = content(&mut counted).and_then(|()| counted.flush());
        return done.map(|()| counted.bytes).map_err(|source| Error::io("<stdout>", "write", source));
    }
    let mut file = AtomicFile::create(path)?;
    let mut counted = Counted { out: &mut file as &mut dyn Write, bytes: 0 };
    content(&mut counted).map_err(|source| Error::io(path, "write", source))?;
    let bytes = counted.bytes;
    file.commit()?;
    Ok(bytes)
}

/// Counts what is written.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// An export that reads back as something else: nothing a user did.
fn differs(out: &str, why: String) -> Error {
    Error::BadModel { path: out.into(), why }
}

fn write_csv(args: &ExportArgs, model: &LinearModel, saved: &SavedModel) -> Result<(u64, Option<Check>)> {
    let features: Vec<String> = saved.metadata.encoder.feature_names().collect();
    let table = linear_csv::render(model, &saved.scaler, &saved.metadata.label_map.names, &features)?;
    let kernels = kernels()?;
    let logits = |values: Vec<f32>| {
        let mut matrix = Matrix::from_f32(values, model.features);
        saved.scaler.apply(&mut matrix);
        model.logits(&matrix, kernels)
    };
    let largest = linear_csv::largest_difference(&table, &saved.scaler, CHECKED_ROWS, logits)
        .map_err(|why| differs(&args.out, why))?;
    let size = write(&args.out, |out| out.write_all(table.as_bytes()))?;
    Ok((size, Some(Check::Difference(largest))))
}

fn write_trees_json(args: &ExportArgs, model: &BoostModel, names: &Names) -> Result<(u64, Option<Check>)> {
    let size = write(&args.out, |out| dump::write_json(model, names, out))?;
    if args.out == "-" {
        return Ok((size, None));
    }
    let file = File::open(&args.out).map_err(|source| Error::io(&args.out, "read", source))?;
    match dump::read_json(BufReader::new(file)) {
        Ok(back) if back == *model => Ok((size, Some(Check::Equal))),
        Ok(_) => Err(differs(&args.out, "it reads back as another model".into())),
        Err(why) => Err(differs(&args.out, why)),
    }
}

fn write_onnx(
    args: &ExportArgs,
    saved: &SavedModel,
    prior: Option<&PriorPlan>,
    talk: &Talk,
) -> Result<(u64, Option<Check>)> {
    let metadata = &saved.metadata;
    let plan = prior.unwrap_or(default_prior(metadata));
    let Some(fixed) = fixed_prior(plan, &metadata.label_map, &metadata.counts)? else {
        let why = "it is estimated from rows, of which an export has none";
        let asked = args.prior.prior.as_deref().unwrap_or("natural");
        return Err(Error::bad_value("--prior", asked, why, "name the shares, or export --prior trained"));
    };
    let rendered = onnx::render(saved, &fixed)?;
    let largest = onnx_difference(&rendered, saved, &fixed).map_err(|why| differs(&args.out, why))?;
    if largest > LARGEST_DIFFERENCE {
        let why = format!("probabilities read back differ by {}; please report this", short(largest));
        return Err(differs(&args.out, why));
    }
    let size = write(&args.out, |out| out.write_all(&rendered))?;
    let width = thousands(metadata.encoder.width() as u64);
    let classes = thousands(metadata.label_map.classes() as u64);
    talk.phase(
        "ONNX",
        &format!("features [rows, {width}] -> label, probabilities [rows, {classes}] {}", prior_text(plan)),
    );
    Ok((size, Some(Check::Difference(largest))))
}

/// Largest difference between the probabilities of the file and ours on made rows.
fn onnx_difference(rendered: &[u8], saved: &SavedModel, prior: &Prior) -> Result<f64, String> {
    let failed = |error: Error| error.to_string();
    let mut rows = match saved.model.trees() {
        Some(trees) => probe_rows(&trees.binner, CHECKED_ROWS),
        None => scaled_rows(&saved.scaler, saved.metadata.encoder.width(), CHECKED_ROWS),
    };
    let found = OnnxModel::parse(rendered)?.run(&rows)?.probabilities;
    saved.scaler.apply(&mut rows);
    let mut ours = saved.model.logits(&rows, kernels().map_err(failed)?).map_err(failed)?;
    saved.metadata.posterior(prior).map_err(failed)?.posteriors_in_place(&mut ours);
    if found.len() != ours.len() {
        return Err(format!("{} probabilities read back, not {}", found.len(), ours.len()));
    }
    let difference = |(found, own): (&f32, &f32)| f64::from((found - own).abs());
    // A probability that is no number is never the largest.
    match found.iter().any(|p| p.is_nan()) {
        true => Err("some probabilities read back are no numbers".into()),
        false => Ok(found.iter().zip(&ours).map(difference).fold(0.0, f64::max)),
    }
}

/// The prior where none is asked for.
fn default_prior(metadata: &ModelMetadata) -> &'static PriorPlan {
    if metadata.calibration.is_some() { &PriorPlan::Natural } else { &PriorPlan::Trained }
}

fn write_lightgbm(
    args: &ExportArgs,
    model: &BoostModel,
    saved: &SavedModel,
    prior: Option<&PriorPlan>,
    talk: &Talk,
) -> Result<(u64, Option<Check>)> {
    let metadata = &saved.metadata;
    let prior = prior.unwrap_or(default_prior(metadata));
    let asked = args.prior.prior.as_deref().unwrap_or("natural");
    let shift = logit_shift(metadata, prior, asked)?;
    let names = names(metadata);
    let export = LightgbmText::new(model, &names, &shift)?;
    let rendered = export.render();
    let largest = lightgbm_difference(&rendered, model, &shift).map_err(|why| differs(&args.out, why))?;
    if largest > LARGEST_DIFFERENCE {
        let why = format!("scores read back differ by {}; please report this", short(largest));
        return Err(differs(&args.out, why));
    }
    let size = write(&args.out, |out| out.write_all(rendered.as_bytes()))?;
    talk.phase(
        "LightGBM",
        &format!(
            "{} trees, {}; probabilities {}",
            thousands(export.tree_count() as u64),
            export.objective(),
            prior_text(prior)
        ),
    );
    talk.phase("Classes", &classes_text(&metadata.label_map));
    if model.classes > 2 && matches!(model.loss, Loss::Sigmoid | Loss::Focal { .. }) {
        talk.phase("", "LightGBM gives the sigmoid of each class; cbfit divides them by their sum");
    }
    if metadata.offsets.is_some() {
        talk.phase("", "the offsets that decide labels stay behind: scores and probabilities are exported");
    }
    Ok((size, Some(Check::Difference(largest))))
}

/// The numbers that stand for the classes.
fn classes_text(labels: &LabelMap) -> String {
    const SHOWN: usize = 8;
    let named = labels.names.iter().enumerate().take(SHOWN);
    let mut classes: Vec<String> =
        named.map(|(at, name)| format!("{at} = {}", text::printable(name))).collect();
    if labels.classes() > SHOWN {
        classes.push(format!("{} more in their order", labels.classes() - SHOWN));
    }
    classes.join(", ")
}

/// What a prior adds to the logits, one a class, where that is all it does.
///
/// # Errors
/// [`Error::BadValue`] where it does something else.
fn logit_shift(metadata: &ModelMetadata, prior: &PriorPlan, asked: &str) -> Result<Vec<f64>> {
    let names = &metadata.label_map.names;
    let refuse = |why: String| {
        let help = "export --prior trained, and put the probabilities right afterwards";
        Error::bad_value("--prior", asked, why, help)
    };
    let shares = training_shares(&metadata.counts);
    let empty = (0..names.len()).find(|&c| shares[c] <= 0.0 || metadata.class_weights[c] <= 0.0);
    if let Some(class) = empty {
        let why = format!(
            "class {} has no training rows: cbfit gives it probability 0",
            text::printable(&names[class])
        );
        return Err(Error::bad_value("--to", "lightgbm", why, "train without this class"));
    }
    let Some(fixed) = fixed_prior(prior, &metadata.label_map, &metadata.counts)? else {
        return Err(refuse("it is estimated from rows, of which an export has none".into()));
    };
    if fixed == Prior::AsTrained {
        return Ok(vec![0.0; names.len()]);
    }
    if metadata.calibration.as_ref().is_some_and(|map| *map != Calibration::Prior) {
        return Err(refuse("the model is calibrated, which is more than a shift of its scores".into()));
    }
    // With two classes a sigmoid's odds are those of a softmax, unless the loss saw the logits shifted.
    let shifts = match metadata.loss {
        Loss::Softmax => true,
        Loss::Sigmoid => names.len() == 2 && metadata.logit_adjust == 0.0,
        Loss::Focal { .. } | Loss::SoftmaxFocal { .. } => false,
    };
    if !shifts || !metadata.logit_link.is_identity() {
        return Err(refuse(format!(
            "with loss {} it is more than a shift of the scores",
            metadata.loss.name()
        )));
    }
    let mut shift = vec![0.0; names.len()];
    metadata.prior_correction(&fixed)?.log_posterior(&vec![0.0; names.len()], &mut shift);
    match shift.iter().position(|shift| !shift.is_finite()) {
        Some(class) => Err(refuse(format!("class {} has share 0", text::printable(&names[class])))),
        None => Ok(shift),
    }
}

/// Largest difference between the scores of the file and ours.
fn lightgbm_difference(rendered: &str, model: &BoostModel, shift: &[f64]) -> Result<f64, String> {
    let read = LightgbmTrees::parse(rendered)?;
    let rows = probe_rows(&model.binner, CHECKED_ROWS);
    let ours = model.scores(&rows).map_err(|error| error.to_string())?;
    let mut largest = 0.0f64;
    let mut values = vec![0.0; model.binner.columns()];
    for (row, ours) in ours.chunks_exact(model.outputs()).enumerate() {
        values.iter_mut().enumerate().for_each(|(column, value)| *value = f64::from(rows.get(row, column)));
        let mut found = vec![0.0; read.outputs];
        read.add_scores(&values, &mut found);
        for (output, (found, &own)) in found.iter().zip(ours).enumerate() {
            let shift = if model.classes == 2 { shift[1] - shift[0] } else { shift[output] };
            let wanted = f64::from(own) + shift;
            largest = largest.max((found - wanted).abs() / wanted.abs().max(1.0));
        }
    }
    Ok(largest)
}
