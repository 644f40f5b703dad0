//! Flags that several commands share, checked: how files are read, the prior, outputs that must not be inputs.

use super::args::{ColumnArgs, FileArgs, LabelArgs, MemoryArgs, PriorArgs, UnlabeledArg};
use super::talk::Talk;
use crate::data::format::Format;
use crate::data::options::{ReadOptions, Unlabeled};
use crate::error::nearest;
use crate::labels::LabelMap;
use crate::memory::{IDLE, MemoryLimit};
use crate::report::format::bytes;
use crate::report::text;
use crate::{Error, Result};

/// Refuses a flag that cannot act.
///
/// # Errors
/// [`Error::NoEffect`] where it was given.
pub fn no_effect(given: bool, flag: &str, with: &str, help: &str) -> Result<()> {
    if given {
        return Err(Error::NoEffect { flag: flag.into(), with: with.into(), help: help.into() });
    }
    Ok(())
}

/// Refuses an output that is one of the inputs, however it is spelt.
pub fn refuse_overwriting<'a>(out: &str, inputs: impl Iterator<Item = &'a String>) -> Result<()> {
    let Ok(target) = std::fs::canonicalize(out) else { return Ok(()) };
    for input in inputs {
        if std::fs::canonicalize(input).is_ok_and(|input| input == target) {
            let help = "name another file with --out";
            return Err(Error::bad_value("--out", out, "is an input of the same run", help));
        }
    }
    Ok(())
}

/// How files are read, from the flags that commands share; features, ids, missing values and split are left at their
/// defaults.
///
/// # Errors
/// [`Error::BadValue`] for a format or separator that does not exist, [`Error::NoEffect`] for CSV flags with another
/// format.
pub fn read_options(file: &FileArgs, labels: &LabelArgs) -> Result<ReadOptions> {
    let format = file.format.as_deref().map(str::parse::<Format>).transpose()?;
    let delimiter = match file.delimiter.as_deref() {
        None => None,
        Some("\\t" | "tab") => Some(b'\t'),
        Some(text) => match *text.as_bytes() {
            [byte] if byte.is_ascii() => Some(byte),
            _ => {
                return Err(Error::bad_value(
                    "--delimiter",
                    text,
                    "is not one ASCII character",
                    "give one such as ; or tab",
                ));
            }
        },
    };
    if let Some(name) = file.format.as_deref().filter(|_| !matches!(format, Some(Format::Csv | Format::Tsv)))
    {
        let with = format!("--format {name}");
        no_effect(delimiter.is_some(), "--delimiter", &with, "it is for CSV files")?;
        no_effect(file.no_header, "--no-header", &with, "it is for CSV files")?;
    }
    Ok(ReadOptions {
        label: labels.label.clone(),
        label_file: labels.label_file.clone(),
        class_names: labels.class_names.clone(),
        weight_col: labels.weight_col.clone(),
        unlabeled: match labels.unlabeled {
            UnlabeledArg::Error => Unlabeled::Error,
            UnlabeledArg::Drop => Unlabeled::Drop,
        },
        format,
        delimiter,
        has_header: !file.no_header,
        ..ReadOptions::default()
    })
}

/// The memory that rows may take.
///
/// # Errors
/// Those of [`MemoryLimit::parse`].
pub fn memory_of(args: &MemoryArgs) -> Result<Option<MemoryLimit>> {
    MemoryLimit::parse(args.memory_limit.as_deref(), args.spill_dir.as_deref())
}

/// Warns of a limit that the process exceeds before it has read a row.
pub fn say_scant(talk: &Talk, memory: Option<&MemoryLimit>) {
    const CODE: &str = "W15";
    let Some(memory) = memory.filter(|memory| memory.bytes < IDLE) else { return };
    let text = format!(
        "{CODE}    --memory-limit {} is less than cbfit takes before it has read a row; {} is the least that it can keep to",
        bytes(memory.bytes),
        bytes(IDLE)
    );
    talk.phase("Warning", &text);
}

/// Refuses the flags of reading data where none are read; `with` names what is.
///
/// # Errors
/// [`Error::NoEffect`] for the first flag given.
pub fn refuse_data_flags(
    file: &FileArgs,
    labels: &LabelArgs,
    columns: &ColumnArgs,
    with: &str,
) -> Result<()> {
    let given = [
        ("--format", file.format.is_some()),
        ("--delimiter", file.delimiter.is_some()),
        ("--no-header", file.no_header),
        ("--label", labels.label.is_some()),
        ("--label-file", labels.label_file.is_some()),
        ("--class-names", labels.class_names.is_some()),
        ("--unlabeled", labels.unlabeled != UnlabeledArg::Error),
        ("--weight-col", labels.weight_col.is_some()),
        ("--features", columns.features.is_some()),
        ("--id-col", columns.id_col.is_some()),
    ];
    for (flag, given) in given {
        no_effect(given, flag, with, "leave it out")?;
    }
    Ok(())
}

/// The prior asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum PriorPlan {
    /// As the weights tilt it.
    Trained,
    /// Shares of the training rows.
    Natural,
    /// The same share for every class.
    Uniform,
    /// Natural shares to the power `1 - tau`: subtracts `tau log pi` from the natural log posterior (Menon et al. 2021).
    Tau(f64),
    /// Estimated from the data scored.
    Em,
    /// A file of lines class,share.
    File(String),
}

/// Reads `--prior`: a keyword, in any case, or a file; `None` where it is left to the model.
///
/// # Errors
/// [`Error::BadValue`] where it is neither.
pub fn prior_of(args: &PriorArgs) -> Result<Option<PriorPlan>> {
    const KEYWORDS: [&str; 4] = ["trained", "natural", "uniform", "em"];
    let Some(prior) = &args.prior else { return Ok(None) };
    Ok(Some(match prior.to_ascii_lowercase().as_str() {
        "trained" | "as-trained" => PriorPlan::Trained,
        "natural" => PriorPlan::Natural,
        "uniform" => PriorPlan::Uniform,
        "em" => PriorPlan::Em,
        tau if tau.starts_with("tau=") => match tau[4..].parse::<f64>() {
            Ok(value) if value.is_finite() => PriorPlan::Tau(value),
            _ => {
                let help = "tau=0 is natural, tau=1 uniform";
                return Err(Error::bad_value("--prior", prior, "has no number after tau=", help));
            }
        },
        _ if std::path::Path::new(prior).exists() => PriorPlan::File(prior.clone()),
        other => {
            let known = format!("{}, tau=TAU", KEYWORDS.join(", "));
            let why = format!("is neither a file nor one of {known}");
            let help = match nearest(other, &KEYWORDS.map(String::from)) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("give {known} or a file of lines class,share"),
            };
            return Err(Error::bad_value("--prior", prior, why, help));
        }
    }))
}

/// What probabilities under `prior` are, in words.
pub fn prior_text(prior: &PriorPlan) -> &'static str {
    match prior {
        PriorPlan::Trained => "as trained",
        PriorPlan::Natural => "under the natural prior",
        PriorPlan::Uniform => "under the uniform prior",
        PriorPlan::Tau(_) => "under the natural prior to a power",
        PriorPlan::Em => "under the prior estimated from these rows",
        PriorPlan::File(_) => "under the given prior",
    }
}

/// The codes of classes that --class names.
///
/// # Errors
/// [`Error::BadValue`] for a name that is no class.
pub fn class_codes(asked: &[String], labels: &LabelMap) -> Result<Vec<u32>> {
    let code = |name: &String| {
        let found = labels.names.iter().position(|known| known == name);
        found.map(|code| code as u32).ok_or_else(|| {
            let help = match nearest(name, &labels.names) {
                Some(near) => format!("did you mean {}?", text::printable(near)),
                None => "cbfit inspect MODEL lists its classes".into(),
            };
            Error::bad_value("--class", name, "is no class of the model", help)
        })
    };
    asked.iter().map(code).collect()
}
