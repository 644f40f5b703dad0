//! The rows of a training run: read, split, scaled.

use std::borrow::Cow;
use std::time::Instant;

use super::plan::{TrainPlan, ValidationPlan};
use super::plan_continue::Earlier;
use super::scoring::{say_left_out, say_spilled, scale, unseen_text};
use super::talk::Talk;
use crate::data::dataset::{Dataset, each_beside, read_training};
use crate::data::dataset_reader::DatasetReader;
use crate::data::options::ReadOptions;
use crate::data::roles::LabelNeed;
use crate::data::scale::{Scale, Scaler};
use crate::data::split::{Part, StratifiedSplit};
use crate::labels::ClassCounts;
use crate::linear::rows::Rows;
use crate::linear::search::{Sample, Validation, WeightedSample};
use crate::matrix::{Dtype, Matrix};
use crate::metrics::Metric;
use crate::report::format::{bytes, seconds, thousands};
use crate::report::text;
use crate::report::train::{DataSummary, SplitSummary};
use crate::weighting::WeightSummary;
use crate::{Error, Result};

/// Rows by part, scaled.
pub struct TrainData {
    /// The training files.
    pub main: Dataset,
    /// Rows of `main` to fit on.
    pub train: Vec<usize>,
    valid: Held,
    test: Held,
    /// The scaling, fitted on `train`.
    pub scaler: Scaler,
    constant_columns: usize,
    kept_classes: Vec<String>,
}

/// Rows that are not fitted on in the search.
enum Held {
    None,
    /// Rows of the training files.
    Rows(Vec<usize>),
    /// Files of their own.
    File(Box<Dataset>),
}

/// Features and labels of held rows.
pub struct HeldPart<'a> {
    /// The rows.
    pub rows: Rows<'a>,
    /// Their labels.
    pub labels: Vec<u32>,
}

impl HeldPart<'_> {
    /// These rows as the validation of a search.
    pub fn validation(&self, metric: Metric) -> Validation<'_> {
        Validation { rows: self.rows, labels: &self.labels, metric }
    }
}

/// Rows to fit on, with labels and weights gathered in their order.
pub struct OwnedSample<'a> {
    features: &'a Matrix<'a>,
    rows: Cow<'a, [usize]>,
    /// One a row.
    pub labels: Vec<u32>,
    /// One a row, where rows have weights.
    pub row_weights: Option<Vec<f64>>,
    /// Number of classes.
    pub classes: usize,
}

impl OwnedSample<'_> {
    /// The view that fits take.
    pub fn view(&self) -> Sample<'_> {
        Sample {
            rows: Rows::chosen(self.features, &self.rows),
            labels: &self.labels,
            row_weights: self.row_weights.as_deref(),
            classes: self.classes,
        }
    }

    /// The rows of the training files, ascending.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// What the class weights of `weighted`, made of this sample, amount to.
    pub fn weight_summary(&self, weighted: &WeightedSample<'_>) -> WeightSummary {
        let rows = self.row_weights.as_deref().map(|weights| (self.labels.as_slice(), weights));
        WeightSummary::new(&weighted.class_weights, &weighted.counts, rows)
    }
}

impl TrainData {
    /// Reads the files of `plan`, splits them and scales the features.
    ///
    /// # Errors
    /// Those of reading; [`Error::NoRows`] for an empty part.
    pub fn read(plan: &TrainPlan, talk: &mut Talk) -> Result<Self> {
        let begun = Instant::now();
        let mut main = match plan.boost.as_ref().and_then(|boost| boost.earlier.as_deref()) {
            Some(earlier) => read_as(plan, earlier)?,
            None => read_training(&plan.train, &plan.read)?,
        };
        say_read(talk, "Read", &main, begun);
        say_spilled(talk, &main, plan.read.memory.as_ref());
        for note in &main.notes {
            talk.phase("", note);
        }
        let split = split(plan, &mut main)?;
        if let Some(earlier) = plan.boost.as_ref().and_then(|boost| boost.earlier.as_deref()) {
            check_classes(&main, &split.train, earlier)?;
        }
        main.fill_missing(&split.train);
        talk.phase("Labels", &text::labels_line(&main.counts(Some(&split.train))));
        let mut valid = split.valid;
        if let ValidationPlan::Files(paths) = &plan.validation {
            let options = beside(plan, &plan.valid_label_file, &[&main]);
            valid = Held::File(read_more(talk, "Valid", paths, &options, &main)?);
        }
        let mut test = split.test;
        if !plan.test.is_empty() {
            if test.len() > 0 {
                let rows = thousands(test.len() as u64);
                talk.phase(
                    "",
                    &format!("{rows} test rows of the split column are left out: --test names others"),
                );
            }
            let others: Vec<&Dataset> = [Some(&main), valid.file()].into_iter().flatten().collect();
            let options = beside(plan, &plan.test_label_file, &others);
            test = Held::File(read_more(talk, "Test", &plan.test, &options, &main)?);
        }
        let chosen = Scale::choose(plan.scale, &main.encoder)?;
        let (scaler, constant_columns) =
            Scaler::fit(chosen, &main.features, &split.train, main.row_weights.as_deref());
        let sets = [Some(&mut main), valid.file_mut(), test.file_mut()].into_iter().flatten().collect();
        each_beside(plan.read.memory.as_ref(), sets, |set, memory| scale(set, &scaler, memory, talk))?;
        let names = &main.label_map.names;
        let kept_classes = split.kept_classes.iter().map(|&class| names[class as usize].clone()).collect();
        let data =
            TrainData { train: split.train, valid, test, scaler, constant_columns, kept_classes, main };
        data.check()?;
        data.say_split(plan, talk);
        Ok(data)
    }

    /// The files, each with its rows.
    pub fn sets(&mut self) -> Vec<&mut Dataset> {
        let sets = [Some(&mut self.main), self.valid.file_mut(), self.test.file_mut()];
        sets.into_iter().flatten().collect()
    }

    /// Fails where rows on disk could not be read, so that nothing made of them is of use.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn check(&self) -> Result<()> {
        self.main.features.check()?;
        [self.valid.file(), self.test.file()].into_iter().flatten().try_for_each(|data| data.features.check())
    }

    /// Validation rows, where there are any.
    pub fn valid_part(&self) -> Option<HeldPart<'_>> {
        self.part(&self.valid)
    }

    /// Test rows, where there are any.
    pub fn test_part(&self) -> Option<HeldPart<'_>> {
        self.part(&self.test)
    }

    fn part<'a>(&'a self, held: &'a Held) -> Option<HeldPart<'a>> {
        match held {
            Held::None => None,
            Held::Rows(rows) => {
                Some(HeldPart { rows: Rows::chosen(&self.main.features, rows), labels: self.labels_of(rows) })
            }
            Held::File(dataset) => Some(HeldPart {
                rows: Rows::all(&dataset.features),
                labels: dataset.labels.clone().unwrap_or_default(),
            }),
        }
    }

    /// Whether validation rows can join the training rows in a last fit.
    pub fn has_rows_to_add(&self) -> bool {
        matches!(self.valid, Held::Rows(_))
    }

    /// The rows of the search.
    pub fn train_sample(&self) -> OwnedSample<'_> {
        self.sample(Cow::Borrowed(&self.train))
    }

    /// Training and validation rows of the training files together.
    pub fn all_sample(&self) -> OwnedSample<'_> {
        let mut rows = self.train.clone();
        if let Held::Rows(valid) = &self.valid {
            rows.extend_from_slice(valid);
        }
        rows.sort_unstable();
        self.sample(Cow::Owned(rows))
    }

    fn sample<'a>(&'a self, rows: Cow<'a, [usize]>) -> OwnedSample<'a> {
        let weights = self.main.row_weights.as_ref();
        OwnedSample {
            features: &self.main.features,
            labels: self.labels_of(&rows),
            row_weights: weights.map(|w| rows.iter().map(|&row| w[row]).collect()),
            classes: self.main.label_map.classes(),
            rows,
        }
    }

    fn labels_of(&self, rows: &[usize]) -> Vec<u32> {
        let labels = self.main.labels.as_deref().unwrap_or_default();
        rows.iter().map(|&row| labels[row]).collect()
    }

    /// The data as reports name it; `counts` are those of the rows of the search.
    pub fn summary(&self, counts: &ClassCounts) -> DataSummary {
        DataSummary {
            source: self.main.source.name.clone(),
            rows: self.main.source.rows,
            features: self.main.features.cols(),
            dtype: self.main.features.dtype().name(),
            classes: self.main.label_map.classes(),
            fingerprint: self.main.source.fingerprint.clone(),
            imbalance_factor: counts.imbalance_factor(),
            dropped_unlabeled: self.main.dropped_unlabeled,
            notes: self.main.notes.clone(),
        }
    }

    /// Which rows are held out of the search, in words that are the same for the same rows; `plan` is that of the run.
    pub fn held_out(&self, plan: &TrainPlan) -> String {
        match (&self.valid, &plan.validation) {
            (Held::File(dataset), _) => format!("rows {}", dataset.source.fingerprint),
            (Held::Rows(_), ValidationPlan::Fraction(share)) => format!("share {share}"),
            (Held::Rows(_), _) => "split column".into(),
            (Held::None, _) => "none".into(),
        }
    }

    /// Rows by part.
    pub fn split_summary(&self) -> SplitSummary {
        SplitSummary {
            train_rows: self.train.len(),
            valid_rows: self.valid.len(),
            test_rows: self.test.len(),
            kept_classes: self.kept_classes.clone(),
        }
    }

    fn say_split(&self, plan: &TrainPlan, talk: &Talk) {
        let how = match &plan.validation {
            ValidationPlan::Fraction(share) => format!("{} % of each class", 100.0 * share),
            ValidationPlan::SplitColumn => "by the split column".into(),
            ValidationPlan::Files(_) => "from its own files".into(),
            ValidationPlan::None => "none".into(),
        };
        let mut text = format!(
            "train {}   valid {} ({how})",
            thousands(self.train.len() as u64),
            thousands(self.valid.len() as u64)
        );
        if self.test.len() > 0 {
            text += &format!("   test {}", thousands(self.test.len() as u64));
        }
        talk.phase("Split", &text);
        if !self.kept_classes.is_empty() {
            talk.phase(
                "",
                &format!("{} classes are too small to split and stay in train", self.kept_classes.len()),
            );
        }
        if self.scaler.scale != Scale::None {
            let is_sparse = self.main.features.dtype() == Dtype::Sparse;
            let constant = match self.constant_columns {
                0 => String::new(),
                n if is_sparse => format!("   {n} constant columns stay as they are"),
                n => format!("   {n} constant columns stay at 0"),
            };
            let how = match self.scaler.scale {
                Scale::L2 => "rows to length 1",
                _ if is_sparse => "columns to deviation 1; means stay, so that zeros stay zeros",
                _ => "columns to mean 0, deviation 1",
            };
            talk.phase("Scale", &format!("{how}{constant}"));
        }
    }
}

impl Held {
    fn file(&self) -> Option<&Dataset> {
        if let Held::File(dataset) = self { Some(dataset) } else { None }
    }

    fn file_mut(&mut self) -> Option<&mut Dataset> {
        if let Held::File(dataset) = self { Some(dataset) } else { None }
    }

    fn len(&self) -> usize {
        match self {
            Held::None => 0,
            Held::Rows(rows) => rows.len(),
            Held::File(dataset) => dataset.rows(),
        }
    }
}

struct Split {
    train: Vec<usize>,
    valid: Held,
    test: Held,
    kept_classes: Vec<u32>,
}

fn split(plan: &TrainPlan, main: &mut Dataset) -> Result<Split> {
    let all = || (0..main.rows()).collect();
    match &plan.validation {
        ValidationPlan::Files(_) | ValidationPlan::None => {
            Ok(Split { train: all(), valid: Held::None, test: Held::None, kept_classes: Vec::new() })
        }
        ValidationPlan::Fraction(share) => {
            let labels = main.labels.as_deref().unwrap_or_default();
            let split = StratifiedSplit::new(labels, main.label_map.classes(), *share, plan.seed)?;
            if split.valid.is_empty() {
                let why = format!(" for validation: no class has {} rows", (0.5 / share).ceil());
                return Err(Error::NoRows { file: main.source.name.clone(), why });
            }
            Ok(Split {
                train: split.train,
                valid: Held::Rows(split.valid),
                test: Held::None,
                kept_classes: split.kept_classes,
            })
        }
        ValidationPlan::SplitColumn => {
            let part = |part| main.rows_of(part).unwrap_or_default();
            let (train, valid, test) = (part(Part::Train), part(Part::Valid), part(Part::Test));
            for (rows, name) in [(&train, "train"), (&valid, "valid")] {
                if rows.is_empty() {
                    let why = format!(" that the split column calls {name}");
                    return Err(Error::NoRows { file: main.source.name.clone(), why });
                }
            }
            main.keep_classes_of(&train)?;
            let test = if test.is_empty() { Held::None } else { Held::Rows(test) };
            Ok(Split { train, valid: Held::Rows(valid), test, kept_classes: Vec::new() })
        }
    }
}

/// Reads the training files as `earlier` reads rows: with its columns, levels and classes.
fn read_as(plan: &TrainPlan, earlier: &Earlier) -> Result<Dataset> {
    let metadata = &earlier.saved.metadata;
    let need = LabelNeed::Required;
    let reader = DatasetReader::open(&plan.train, &plan.read, &metadata.encoder, &metadata.label_map, need)?;
    let main = reader.read_all()?;
    if main.unseen.is_empty() {
        return Ok(main);
    }
    let rows: u64 = main.unseen.iter().map(|(_, rows)| rows).sum();
    let names: Vec<&str> = main.unseen.iter().map(|(name, _)| name.as_str()).collect();
    Err(not_of(
        earlier,
        &main,
        format!("{} rows are of classes that it has not: {}", thousands(rows), shown(&names)),
    ))
}

/// Every class of `earlier` needs rows to weigh it by.
fn check_classes(main: &Dataset, train: &[usize], earlier: &Earlier) -> Result<()> {
    let names = &earlier.saved.metadata.label_map.names;
    let counts = main.counts(Some(train));
    let found = |name: &&String| {
        let place = main.label_map.names.iter().position(|own| own == *name);
        place.is_some_and(|class| counts.rows[class] > 0)
    };
    let missing: Vec<&str> = names.iter().filter(|name| !found(name)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(not_of(earlier, main, format!("no training row is of its classes {}", shown(&missing))))
}

fn not_of(earlier: &Earlier, main: &Dataset, why: String) -> Error {
    Error::FeatureMismatch { file: main.source.name.clone(), detail: format!("{}: {why}", earlier.path) }
}

fn shown(names: &[&str]) -> String {
    const SHOWN: usize = 6;
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    let names: Vec<String> =
        names.iter().take(SHOWN).map(|name| text::printable(name).into_owned()).collect();
    format!("{}{more}", names.join(", "))
}

/// How files of held-out rows are read while the rows of `others` stay where they are.
fn beside(plan: &TrainPlan, label_file: &Option<String>, others: &[&Dataset]) -> ReadOptions {
    let held = others.iter().map(|other| other.features.bytes_in_memory()).sum();
    let label_file = label_file.clone();
    ReadOptions { split_col: None, weight_col: None, label_file, ..plan.read.clone() }.beside(held)
}

fn read_more(
    talk: &Talk,
    name: &str,
    paths: &[String],
    options: &ReadOptions,
    main: &Dataset,
) -> Result<Box<Dataset>> {
    let begun = Instant::now();
    let reader = DatasetReader::open(paths, options, &main.encoder, &main.label_map, LabelNeed::Required)?;
    let dataset = reader.read_all()?;
    say_read(talk, name, &dataset, begun);
    say_spilled(talk, &dataset, options.memory.as_ref());
    if !dataset.unseen.is_empty() {
        talk.phase("", &unseen_text(&dataset.unseen, dataset.rows() as u64));
        if dataset.unseen.iter().map(|(_, rows)| rows).sum::<u64>() == dataset.rows() as u64 {
            let why = " of classes that the training rows have".into();
            return Err(Error::NoRows { file: dataset.source.name, why });
        }
    }
    Ok(Box::new(dataset))
}

fn say_read(talk: &Talk, name: &str, dataset: &Dataset, begun: Instant) {
    let took = begun.elapsed().as_secs_f64();
    let speed = if dataset.source.bytes > 0 && took > 0.0 {
        format!("  {}/s", bytes((dataset.source.bytes as f64 / took) as u64))
    } else {
        String::new()
    };
    talk.phase(
        name,
        &format!(
            "{}   {} rows x {}   {}{speed}",
            dataset.source.name,
            thousands(dataset.source.rows),
            text::columns_text(&dataset.features),
            seconds(took)
        ),
    );
    say_left_out(talk, dataset);
}
