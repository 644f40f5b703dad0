//! `cbfit influence`: the training rows that help or hurt validation rows.

use serde_json::{Value, json};

use super::args::InfluenceArgs;
use super::need::{Need, ROW_BYTES};
use super::scoring::{say_left_out, say_spilled, scale};
use super::shared::{class_codes, memory_of, read_options, refuse_overwriting, say_scant};
use super::talk::{Progress, Talk};
use super::{kernels, print_json, print_text, with_threads};
use crate::data::dataset::Dataset;
use crate::data::dataset_reader::DatasetReader;
use crate::data::options::ReadOptions;
use crate::data::roles::LabelNeed;
use crate::labels::{LabelMap, UNSEEN};
use crate::linear::influence::{Influence, OwnFit, Stationarity};
use crate::linear::model::LinearModel;
use crate::linear::problem::{Decay, Problem};
use crate::linear::rows::Rows;
use crate::loss::logit_adjustment;
use crate::model_file::{self, ModelMetadata, SavedModel};
use crate::report::format::{short, thousands};
use crate::report::influence::{InfluenceRows, RowsFormat, id_texts};
use crate::report::text;
use crate::weighting::{ClassWeights, Normalisation, Scheme};
use crate::{Error, Result};

/// Relative gap of the objective up to which the model counts as fitted to the rows; training stops at 1e-3.
const FITTED_GAP: f64 = 1e-2;

/// Bytes of a parameter: in the model, as it is solved for, and in f64 the vectors of conjugate gradients.
const SOLVER_BYTES: u64 = 48;

/// Runs the command.
///
/// # Errors
/// Those of the model, the data and the output; [`Error::BadValue`] for a class or a model that it is not for.
pub fn run(args: InfluenceArgs) -> Result<u8> {
    let out = args.out.as_deref().map(|path| RowsFormat::of_path(path).map(|format| (path, format)));
    let out = out.transpose()?;
    if let Some((path, _)) = out {
        refuse_overwriting(path, args.train.iter().chain(&args.valid).chain([&args.model]))?;
    }
    let options = ReadOptions {
        id_col: args.id_col.clone(),
        memory: memory_of(&args.memory)?,
        ..read_options(&args.file, &args.labels)?
    };
    let valid_options = ReadOptions {
        weight_col: None,
        id_col: None,
        label_file: args.valid_label_file.clone(),
        ..options.clone()
    };
    let talk = Talk::new(args.run.quiet, Progress::Off);
    say_scant(&talk, options.memory.as_ref());
    with_threads(&args.run, || {
        let saved = model_file::load(&args.model)?;
        let Some(model) = saved.model.linear() else {
            let why = "is a model of trees";
            return Err(Error::bad_value("--model", &args.model, why, "influence is that of linear models"));
        };
        let penalty = Penalty::of(&args.model, &saved.metadata)?;
        let classes = class_codes(&args.class, &saved.metadata.label_map)?;
        let mut train = read(&args.train, &options, &saved, &talk)?;
        let valid_options = valid_options.clone().beside(train.features.bytes_in_memory());
        let mut valid = read(&args.valid, &valid_options, &saved, &talk)?;
        let sets = vec![(0, &mut train), (0, &mut valid)];
        need(&saved, model, sets[0].1.rows()).hold(options.memory.as_ref(), sets, &talk)?;
        let labels = labels_of_train(&train)?;
        let asked = Asked::of(&valid, &classes, args.balanced, &saved.metadata.label_map)?;

        let weights = row_weights(&saved.metadata, labels, train.row_weights.as_deref());
        let tau = saved.metadata.logit_adjust;
        let offsets = (tau != 0.0).then(|| logit_adjustment(&saved.metadata.counts, tau));
        let problem = Problem {
            offsets: offsets.as_deref(),
            decay: penalty.decay,
            ..Problem::new(
                Rows::all(&train.features),
                labels,
                &weights,
                saved.model.classes(),
                saved.metadata.loss,
                penalty.l2,
            )
        };
        if problem.total_weight() <= 0.0 {
            let why = " of classes that the model weighs".into();
            return Err(Error::NoRows { file: train.source.name.clone(), why });
        }
        let theta = [&model.weight[..], &model.bias[..]].concat();
        let mut influence = Influence::new(problem, &theta, kernels()?)?;
        let fit = influence.stationarity();
        let is_same = train.source.fingerprint == saved.metadata.data_fingerprint;
        say_fit(&talk, &fit, is_same);
        let query =
            influence.query(Rows::chosen(&valid.features, &asked.rows), &asked.labels, &asked.weights);
        let (residual, products) = query.accuracy();
        talk.phase(
            "Solved",
            &format!(
                "{} validation rows, residual {residual:.0e} after {products} products",
                asked.rows.len()
            ),
        );
        let names = &saved.metadata.label_map.names;
        let self_influence = args.self_influence.then(|| influence.self_influence());
        let rows =
            table(&train, labels, names, influence.of_rows(&query), &influence.own_fits(), self_influence);
        if let Some((path, format)) = out {
            rows.write(path, format)?;
            talk.phase("Saved", &format!("{} rows in {path}", thousands(rows.labels.len() as u64)));
        }
        let (harmful, helpful) = ends(&rows.influence, args.top);
        if args.run.json {
            let of = |order: &[usize]| order.iter().map(|&row| row_json(&rows, row)).collect::<Vec<Value>>();
            print_json(&json!({
                "schema": "cbfit.influence/1",
                "model": args.model,
                "train": train.source.name,
                "valid": valid.source.name,
                "valid_rows": asked.rows.len(),
                "same_data": is_same,
                "gradient_norm": fit.gradient_norm,
                "relative_gap": fit.relative_gap,
                "solve": { "relative_residual": residual, "products": products },
                "harmful": of(&harmful),
                "helpful": of(&helpful),
            }))?;
        } else if !args.run.quiet {
            let part = |title: &str, order: &[usize]| format!("{title}\n{}", aligned(&rows, order));
            let harmful = part("Harmful: the validation loss would fall without them", &harmful);
            let helpful = part("Helpful: the validation loss would rise without them", &helpful);
            print_text(&format!("{harmful}\n{helpful}"))?;
        }
        Ok(0)
    })
}

/// What is held in memory besides features while `rows` training rows are asked about.
fn need(saved: &SavedModel, model: &LinearModel, rows: usize) -> Need {
    let (classes, parameters) = (model.classes(), model.weight.len() + model.bias.len());
    Need::default()
        .rows(rows, ROW_BYTES)
        .and(
            format!("logits of {} rows and {} classes", thousands(rows as u64), thousands(classes as u64)),
            &[rows as u64, classes as u64, size_of::<f32>() as u64],
            "take fewer rows",
        )
        .and(
            format!("{} parameters with their solver", thousands(parameters as u64)),
            &[parameters as u64, SOLVER_BYTES],
            "fit a smaller model",
        )
        .curvature(saved.metadata.loss, classes, model.features, rows, "take fewer features")
}

/// The penalty the model was fitted under.
struct Penalty {
    l2: f64,
    decay: Decay,
}

impl Penalty {
    fn of(path: &str, metadata: &ModelMetadata) -> Result<Self> {
        let set = |name: &str| metadata.config.get(name).is_some_and(|value| !value.is_null());
        if !metadata.logit_link.is_identity() || set("resample") || set("head_setting") {
            let why = "is no minimum of a plain loss over its training rows";
            let help = "influence is for models without --head, --resample, --vs-gamma and --ldam";
            return Err(Error::bad_value("MODEL", path, why, help));
        }
        let missing = |what: &str| {
            let why = format!("does not record the {what} it was fitted with");
            Error::bad_value("MODEL", path, why, "fit the model with this cbfit")
        };
        let l2 = metadata.config.get("l2").and_then(Value::as_f64).filter(|l2| l2.is_finite() && *l2 >= 0.0);
        let decay = metadata.config.get("decay").and_then(|decay| serde_json::from_value(decay.clone()).ok());
        Ok(Penalty { l2: l2.ok_or_else(|| missing("l2"))?, decay: decay.ok_or_else(|| missing("decay"))? })
    }
}

fn read(paths: &[String], options: &ReadOptions, saved: &SavedModel, talk: &Talk) -> Result<Dataset> {
    let metadata = &saved.metadata;
    let reader =
        DatasetReader::open(paths, options, &metadata.encoder, &metadata.label_map, LabelNeed::Required)?;
    let mut data = reader.read_all()?;
    say_spilled(talk, &data, options.memory.as_ref());
    say_left_out(talk, &data);
    scale(&mut data, &saved.scaler, options.memory.as_ref(), talk)?;
    Ok(data)
}

/// Labels of training rows, all of classes the model knows.
fn labels_of_train(train: &Dataset) -> Result<&[u32]> {
    if !train.unseen.is_empty() {
        let rows = train.unseen.iter().map(|(_, rows)| rows).sum();
        let classes = train.unseen.iter().map(|(name, _)| name.clone()).collect();
        return Err(Error::UnseenLabels { file: train.source.name.clone(), rows, classes });
    }
    Ok(train.labels.as_deref().unwrap_or_default())
}

/// The validation rows whose mean loss is asked about.
struct Asked {
    rows: Vec<usize>,
    labels: Vec<u32>,
    /// Sum 1.
    weights: Vec<f32>,
}

impl Asked {
    /// The rows of `classes`, or of all known ones. Several classes named, or all where `balanced`, weigh the same.
    fn of(valid: &Dataset, classes: &[u32], balanced: bool, map: &LabelMap) -> Result<Self> {
        let labels = valid.labels.as_deref().unwrap_or_default();
        let mut counts = vec![0u64; map.classes()];
        let mut wanted = vec![classes.is_empty(); map.classes()];
        classes.iter().for_each(|&class| wanted[class as usize] = true);
        let is_asked = |label: u32| label != UNSEEN && wanted[label as usize];
        let rows: Vec<usize> = (0..labels.len()).filter(|&row| is_asked(labels[row])).collect();
        rows.iter().for_each(|&row| counts[labels[row] as usize] += 1);
        let lacking = classes.iter().find(|&&class| counts[class as usize] == 0);
        if let Some(&class) = lacking {
            let why = format!(" of class {}", text::printable(&map.names[class as usize]));
            return Err(Error::NoRows { file: valid.source.name.clone(), why });
        }
        if rows.is_empty() {
            let why = " of classes the model knows".into();
            return Err(Error::NoRows { file: valid.source.name.clone(), why });
        }
        let present = counts.iter().filter(|&&n| n > 0).count() as f64;
        let labels: Vec<u32> = rows.iter().map(|&row| labels[row]).collect();
        let weight = |&label: &u32| match balanced || !classes.is_empty() {
            true => (1.0 / (present * counts[label as usize] as f64)) as f32,
            false => (1.0 / rows.len() as f64) as f32,
        };
        Ok(Asked { weights: labels.iter().map(weight).collect(), rows, labels })
    }
}

/// Weights of the rows as the fit had them: row weight times the recorded class weight.
fn row_weights(metadata: &ModelMetadata, labels: &[u32], given: Option<&[f64]>) -> Vec<f32> {
    let alpha = metadata.class_weights.clone();
    let recorded = ClassWeights {
        scheme: Scheme::None,
        normalisation: Normalisation::None,
        max_weight: None,
        raw: alpha.clone(),
        alpha,
        capped: 0,
    };
    recorded.row_weights(labels, given)
}

fn say_fit(talk: &Talk, fit: &Stationarity, is_same: bool) {
    let gap = short(fit.relative_gap);
    let near = fit.relative_gap.abs() <= FITTED_GAP;
    let text = match (is_same, near) {
        (true, true) => format!("these are the rows of the model; it is within {gap} of its minimum"),
        (false, true) => format!(
            "these are not the rows of the model, or not in their order, but it is within {gap} of the minimum on them"
        ),
        (true, false) => format!(
            "these are the files of the model, but it is {gap} from the minimum on all their rows: it was fitted on a \
             part of them, with row weights, or not to its end; take influences as rough"
        ),
        (false, false) => format!(
            "these are NOT the rows the model was fitted on: it is {gap} from the minimum on them, and influences do \
             not say what a refit would do"
        ),
    };
    talk.phase("Fit", &text);
}

fn table(
    train: &Dataset,
    labels: &[u32],
    names: &[String],
    influence: Vec<f64>,
    fits: &[OwnFit],
    self_influence: Option<Vec<f64>>,
) -> InfluenceRows {
    InfluenceRows {
        ids: train.ids.as_ref().map(|(_, ids)| id_texts(ids)),
        labels: labels.iter().map(|&label| names[label as usize].clone()).collect(),
        fitted: fits.iter().map(|fit| names[fit.fitted as usize].clone()).collect(),
        influence,
        own_loss: fits.iter().map(|fit| fit.loss).collect(),
        margin: fits.iter().map(|fit| fit.margin).collect(),
        self_influence,
    }
}

/// The `top` most harmful rows and the `top` most helpful ones; the first row among equals.
fn ends(influence: &[f64], top: usize) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..influence.len()).collect();
    order.sort_by(|&a, &b| influence[b].total_cmp(&influence[a]));
    let harmful = order.iter().copied().filter(|&row| influence[row] > 0.0).take(top).collect();
    order.sort_by(|&a, &b| influence[a].total_cmp(&influence[b]));
    let helpful = order.iter().copied().filter(|&row| influence[row] < 0.0).take(top).collect();
    (harmful, helpful)
}

fn row_json(rows: &InfluenceRows, row: usize) -> Value {
    let mut value = json!({
        "row": row,
        "label": rows.labels[row],
        "fitted": rows.fitted[row],
        "influence": rows.influence[row],
        "own_loss": rows.own_loss[row],
        "margin": rows.margin[row],
    });
    if let Some(ids) = &rows.ids {
        value["id"] = json!(ids[row]);
    }
    if let Some(values) = &rows.self_influence {
        value["self_influence"] = json!(values[row]);
    }
    value
}

fn aligned(rows: &InfluenceRows, order: &[usize]) -> String {
    let mut header = vec!["row"];
    header.extend(rows.ids.as_ref().map(|_| "id"));
    header.extend(["label", "fitted", "influence", "own loss", "margin"]);
    header.extend(rows.self_influence.as_ref().map(|_| "self"));
    let mut lines: Vec<Vec<String>> = vec![header.into_iter().map(String::from).collect()];
    for &row in order {
        let mut line = vec![row.to_string()];
        line.extend(rows.ids.as_ref().map(|ids| text::printable(&ids[row]).into_owned()));
        line.extend([&rows.labels, &rows.fitted].map(|names| text::printable(&names[row]).into_owned()));
        line.push(format!("{:+.3e}", rows.influence[row]));
        line.extend([&rows.own_loss, &rows.margin].map(|values| format!("{:.3}", values[row])));
        line.extend(rows.self_influence.as_ref().map(|values| format!("{:.3}", values[row])));
        lines.push(line);
    }
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        text += &(cells.join("  ") + "\n");
    }
    text
}
