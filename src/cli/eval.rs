//! `cbfit eval`: a model scored on labelled data.

use serde::Serialize;

use super::args::{EvalArgs, UnseenArg};
use super::scoring::{EVALUATED_BYTES, Scorer, say_left_out, say_spilled, unseen_text};
use super::shared::{PriorPlan, memory_of, prior_of, prior_text, read_options, say_scant};
use super::talk::{Progress, Talk};
use super::{kernels, print_json, print_text, with_threads};
use crate::calibrate::costs::{CostMatrix, Threshold};
use crate::calibrate::decisions::{Decisions, most_probable};
use crate::data::dataset::Dataset;
use crate::data::dataset_reader::DatasetReader;
use crate::data::options::ReadOptions;
use crate::data::roles::LabelNeed;
use crate::labels::{LabelMap, UNSEEN};
use crate::metrics::{Evaluation, Gate, evaluate_decisions};
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
    #[serde(skip_serializing_if = "Option::is_none")]
    costs: Option<&'a CostReport<'a>>,
    scores: &'a Evaluation,
}

/// What the decisions cost. Rows of classes the model does not know have no cost and are left out.
#[derive(Serialize)]
struct CostReport<'a> {
    file: &'a str,
    /// Mean cost of the decisions.
    mean: f64,
    /// Mean cost where the most probable class is predicted.
    mean_of_most_probable: f64,
    /// Probability of the second of two classes from which on it is predicted.
    threshold: Option<f64>,
    #[serde(skip)]
    rule: Option<Threshold>,
}

impl<'a> CostReport<'a> {
    fn of(file: &'a str, matrix: &CostMatrix, rows: &Predicted) -> Self {
        let weights = rows.weights.as_deref();
        let classes = rows.probabilities.len() / rows.truth.len().max(1);
        let most_probable = most_probable(&rows.probabilities, classes.max(1));
        let rule = matrix.threshold();
        CostReport {
            file,
            mean: matrix.mean(&rows.truth, &rows.decided, weights),
            mean_of_most_probable: matrix.mean(&rows.truth, &most_probable, weights),
            threshold: match rule {
                Some(Threshold::Above(p)) => Some(p),
                _ => None,
            },
            rule,
        }
    }

    fn line(&self, labels: &LabelMap) -> String {
        let name = |code: usize| text::printable(labels.names.get(code).map_or("", String::as_str));
        let rule = match self.rule {
            None => String::new(),
            Some(Threshold::Above(p)) => format!("   {} is predicted above p* = {p:.4}", name(1)),
            Some(Threshold::Below(p)) => format!("   {} is predicted below p* = {p:.4}", name(1)),
            Some(Threshold::Always(code)) => format!("   {} never costs more", name(code as usize)),
        };
        format!(
            "mean cost {:.6} by least expected cost, {:.6} by the most probable class{rule}",
            self.mean, self.mean_of_most_probable
        )
    }
}

/// Rows to score.
struct Predicted {
    truth: Vec<u32>,
    probabilities: Vec<f32>,
    decided: Vec<u32>,
    weights: Option<Vec<f64>>,
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
    let memory = memory_of(&args.memory)?;
    let options = ReadOptions { memory, ..read_options(&args.file, &args.labels)? };
    let asked = prior_of(&args.prior)?;
    let talk = Talk::new(args.run.quiet, Progress::Off);
    say_scant(&talk, options.memory.as_ref());
    with_threads(&args.run, || {
        let scorer = Scorer::load(&args.model, &args.data, kernels()?)?;
        let prior = scorer.prior(asked.clone(), &talk);
        let decisions = scorer.decisions(args.costs.as_deref(), &talk)?;
        let metadata = &scorer.saved.metadata;
        let labels = &metadata.label_map;
        let reader =
            DatasetReader::open(&args.data, &options, &metadata.encoder, labels, LabelNeed::Required)?;
        let mut data = reader.read_all()?;
        say_spilled(&talk, &data, options.memory.as_ref());
        say_left_out(&talk, &data);
        scorer.need(data.rows(), EVALUATED_BYTES).hold(
            options.memory.as_ref(),
            vec![(0, &mut data)],
            &talk,
        )?;
        let mut probabilities = scorer.logits(&mut data, &options, &talk)?;
        let posterior = scorer.posterior(&prior, &probabilities)?;
        let decided = decisions.of(&posterior, &mut probabilities);
        let truth = data.labels.take().unwrap_or_default();
        let mut rows = Predicted { truth, probabilities, decided, weights: data.row_weights.take() };
        handle_unseen(&args, &data, &mut rows, labels.classes(), &talk)?;
        let (weights, counts) = (rows.weights.as_deref(), &metadata.counts);
        // Refuses what is no probability before a cost is made of it.
        let scores = evaluate_decisions(&rows.probabilities, &rows.truth, counts, weights, &rows.decided)?;
        let costs = match (&args.costs, &decisions) {
            (Some(file), Decisions::Costs(matrix)) => Some(CostReport::of(file, matrix, &rows)),
            _ => None,
        };
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
                prior: args.prior.prior.as_deref().unwrap_or(default_name(&prior)),
                costs: costs.as_ref(),
                class_names: &labels.names,
                unseen: data.unseen.iter().map(|(class, rows)| UnseenClass { class, rows: *rows }).collect(),
                scores: &scores,
            })?;
        } else if !args.run.quiet {
            let mut lines = text::evaluation_lines(&scores, labels, prior_text(&prior));
            lines.extend(costs.iter().map(|costs| costs.line(labels)));
            print_text(&(lines.join("\n") + "\n"))?;
        }
        let failed: Vec<String> = gates.iter().filter_map(|gate| gate.failure(&scores)).collect();
        if failed.is_empty() { Ok(0) } else { Err(Error::Gate { failed }) }
    })
}

/// Name of the prior that the model chose.
fn default_name(prior: &PriorPlan) -> &'static str {
    if *prior == PriorPlan::Natural { "natural" } else { "trained" }
}

fn handle_unseen(
    args: &EvalArgs,
    data: &Dataset,
    rows: &mut Predicted,
    classes: usize,
    talk: &Talk,
) -> Result<()> {
    if data.unseen.is_empty() {
        return Ok(());
    }
    let unseen: u64 = data.unseen.iter().map(|(_, rows)| rows).sum();
    match args.unseen {
        UnseenArg::Wrong => talk.phase("Unseen", &unseen_text(&data.unseen, data.rows() as u64)),
        UnseenArg::Error => {
            let classes = data.unseen.iter().map(|(name, _)| name.clone()).collect();
            return Err(Error::UnseenLabels { file: data.source.name.clone(), rows: unseen, classes });
        }
        UnseenArg::Ignore => {
            let known: Vec<usize> = (0..rows.truth.len()).filter(|&row| rows.truth[row] != UNSEEN).collect();
            if known.is_empty() {
                let why = " of classes the model knows".into();
                return Err(Error::NoRows { file: data.source.name.clone(), why });
            }
            let gather = |row: &usize| rows.probabilities[row * classes..(row + 1) * classes].to_vec();
            rows.probabilities = known.iter().flat_map(gather).collect();
            rows.truth = known.iter().map(|&row| rows.truth[row]).collect();
            rows.decided = known.iter().map(|&row| rows.decided[row]).collect();
            rows.weights = rows.weights.take().map(|w| known.iter().map(|&row| w[row]).collect());
            talk.phase("Unseen", &format!("{unseen} rows of {} unseen classes left out", data.unseen.len()));
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
