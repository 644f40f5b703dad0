//! `cbfit eval`: a model scored on labelled data.

use serde::Serialize;

use super::args::{EvalArgs, UnseenArg};
use super::scoring::{Scorer, say_left_out, unseen_text};
use super::shared::{prior_of, prior_text, read_options};
use super::talk::{Progress, Talk};
use super::{kernels, print, print_json, with_threads};
use crate::data::dataset::Dataset;
use crate::data::dataset_reader::DatasetReader;
use crate::data::roles::LabelNeed;
use crate::labels::{LabelMap, UNSEEN};
use crate::metrics::{Evaluation, Gate, evaluate};
use crate::output::AtomicFile;
use crate::report::predictions::guard_formula;
use crate::report::text;
use crate::{Error, Result};

#[derive(Serialize)]
struct EvalReport<'a> {
    schema: &'static str,
    model: &'a str,
    data: &'a str,
    rows: u64,
    prior: &'a str,
    class_names: &'a [String],
    unseen: Vec<UnseenClass<'a>>,
    scores: &'a Evaluation,
}

#[derive(Serialize)]
struct UnseenClass<'a> {
    class: &'a str,
    rows: u64,
}

/// Runs the command.
///
/// # Errors
/// Those of the model and the data; [`Error::Gate`] where a `--min` is not met.
pub fn run(args: EvalArgs) -> Result<u8> {
    let gates = args.min.iter().map(|text| Gate::parse(text)).collect::<Result<Vec<_>>>()?;
    let options = read_options(&args.file, &args.labels)?;
    let prior = prior_of(&args.prior)?;
    let talk = Talk::new(args.run.quiet, Progress::Off);
    with_threads(&args.run, || {
        let scorer = Scorer::load(&args.model, kernels()?)?;
        let metadata = &scorer.saved.metadata;
        let labels = &metadata.label_map;
        let reader =
            DatasetReader::open(&args.data, &options, &metadata.encoder, labels, LabelNeed::Required)?;
        let mut data = reader.read_all()?;
        say_left_out(&talk, &data);
        let mut probabilities = scorer.logits(&mut data);
        let correction = scorer.correction(&prior, &probabilities)?;
        correction.posteriors_in_place(&mut probabilities);
        let mut truth = data.labels.take().unwrap_or_default();
        let mut weights = data.row_weights.take();
        handle_unseen(&args, &data, &mut truth, &mut probabilities, &mut weights, labels.classes(), &talk)?;
        let scores = evaluate(&probabilities, &truth, &metadata.counts, weights.as_deref())?;
        if let Some(path) = &args.by_class {
            write_by_class(path, &scores, labels)?;
            talk.phase("Saved", path);
        }
        if args.run.json {
            print_json(&EvalReport {
                schema: "cbfit.eval/1",
                model: &args.model,
                data: &data.source.name,
                rows: scores.rows,
                prior: &args.prior.prior,
                class_names: &labels.names,
                unseen: data.unseen.iter().map(|(class, rows)| UnseenClass { class, rows: *rows }).collect(),
                scores: &scores,
            })?;
        } else if !args.run.quiet {
            let lines = text::evaluation_lines(&scores, labels, prior_text(&prior));
            print(&(lines.join("\n") + "\n"))?;
        }
        let failed: Vec<String> = gates.iter().filter_map(|gate| gate.failure(&scores)).collect();
        if failed.is_empty() { Ok(0) } else { Err(Error::Gate { failed }) }
    })
}

fn handle_unseen(
    args: &EvalArgs,
    data: &Dataset,
    truth: &mut Vec<u32>,
    probabilities: &mut Vec<f32>,
    weights: &mut Option<Vec<f64>>,
    classes: usize,
    talk: &Talk,
) -> Result<()> {
    if data.unseen.is_empty() {
        return Ok(());
    }
    let rows: u64 = data.unseen.iter().map(|(_, rows)| rows).sum();
    match args.unseen {
        UnseenArg::Wrong => talk.phase("Unseen", &unseen_text(&data.unseen, data.rows() as u64)),
        UnseenArg::Error => {
            let classes = data.unseen.iter().map(|(name, _)| name.clone()).collect();
            return Err(Error::UnseenLabels { file: data.source.name.clone(), rows, classes });
        }
        UnseenArg::Ignore => {
            let known: Vec<usize> = (0..truth.len()).filter(|&row| truth[row] != UNSEEN).collect();
            if known.is_empty() {
                let why = " of classes the model knows".into();
                return Err(Error::NoRows { file: data.source.name.clone(), why });
            }
            let gather = |row: &usize| probabilities[row * classes..(row + 1) * classes].to_vec();
            *probabilities = known.iter().flat_map(gather).collect();
            *truth = known.iter().map(|&row| truth[row]).collect();
            *weights = weights.take().map(|w| known.iter().map(|&row| w[row]).collect());
            talk.phase("Unseen", &format!("{rows} rows of {} unseen classes left out", data.unseen.len()));
        }
    }
    Ok(())
}

fn write_by_class(path: &str, scores: &Evaluation, labels: &LabelMap) -> Result<()> {
    let mut writer = csv::Writer::from_writer(AtomicFile::create(path)?);
    let failed = |error: csv::Error| Error::io(path, "write", std::io::Error::other(error));
    let number = |value: f64| if value.is_nan() { String::new() } else { value.to_string() };
    writer
        .write_record([
            "class",
            "train_rows",
            "rows",
            "recall",
            "recall_low",
            "recall_high",
            "precision",
            "f1",
            "average_precision",
            "calibration_error",
            "log_loss",
            "true_share",
            "predicted_share",
            "mean_probability",
        ])
        .map_err(failed)?;
    for class in &scores.per_class {
        let mut record = vec![
            guard_formula(&labels.names[class.class]).into_owned(),
            class.train_rows.to_string(),
            class.rows.to_string(),
        ];
        let values = [
            class.recall,
            class.recall_low,
            class.recall_high,
            class.precision,
            class.f1,
            class.average_precision,
            class.calibration_error,
            class.log_loss,
            class.true_share,
            class.predicted_share,
            class.mean_probability,
        ];
        record.extend(values.map(number));
        writer.write_record(&record).map_err(failed)?;
    }
    let file = writer.into_inner().map_err(|error| Error::io(path, "write", error.into_error()))?;
    file.commit()
}
