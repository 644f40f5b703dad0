//! From the columns of a file to their roles: label, features, row weights, ids, split.

use super::files::kind_name;
use super::options::ReadOptions;
use super::selector::select;
use super::table::{Field, FieldKind};
use crate::{Error, Result};

/// Names under which a label column is found unasked, whatever their case.
const LABEL_NAMES: [&str; 8] =
    ["label", "labels", "target", "y", "class", "class_id", "category_id", "species"];
const ID_NAMES: [&str; 5] = ["id", "image_id", "uuid", "file_name", "key"];
const WEIGHT_NAMES: [&str; 2] = ["weight", "sample_weight"];
const SPLIT_NAME: &str = "split";
/// What label columns carry behind their stem when a file holds the label in several forms.
const FORM_SUFFIXES: [&str; 5] = ["_name", "_text", "_str", "_id", "_idx"];
/// Columns listed in a note.
const LISTED: usize = 8;

/// Whether a label is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelNeed {
    /// A file without labels is an error.
    Required,
    /// Labels are read where a label column is found.
    Optional,
    /// Labels are not read.
    Ignored,
}

/// Columns (indices into the fields) by role, except features.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Roles {
    pub(super) label: Option<usize>,
    pub(super) weight: Option<usize>,
    pub(super) id: Option<usize>,
    pub(super) split: Option<usize>,
}

impl Roles {
    /// Roles as asked for in `options` and by the usual names.
    pub(super) fn find(file: &str, fields: &[Field], options: &ReadOptions, need: LabelNeed) -> Result<Self> {
        let scalar = |role: &'static str, name: &Option<String>| -> Result<Option<usize>> {
            let Some(name) = name else { return Ok(None) };
            let column = named(file, fields, role, name)?;
            require_scalar(file, &fields[column], role)?;
            Ok(Some(column))
        };
        let label = match need {
            LabelNeed::Ignored => None,
            _ if options.label_file.is_some() => None,
            need => find_label(file, fields, options.label.as_deref(), need)?,
        };
        let weight = scalar("weight", &options.weight_col)?;
        if let Some(column) = weight
            && !matches!(fields[column].kind, FieldKind::Int | FieldKind::Float)
        {
            return Err(unsupported(file, &fields[column], "weight"));
        }
        let split = scalar("split", &options.split_col)?;
        let id = match scalar("id", &options.id_col)? {
            Some(column) => Some(column),
            None => ID_NAMES.iter().find_map(|name| {
                let is_id = |f: &Field| f.name.eq_ignore_ascii_case(name) && is_scalar(&f.kind);
                fields.iter().position(is_id).filter(|&column| Some(column) != label)
            }),
        };
        Ok(Roles { label, weight, id, split })
    }

    fn holds(&self, column: usize) -> bool {
        [self.label, self.weight, self.id, self.split].contains(&Some(column))
    }
}

/// The label column: the one asked for, else the only one with a usual name.
fn find_label(file: &str, fields: &[Field], wanted: Option<&str>, need: LabelNeed) -> Result<Option<usize>> {
    let required = need == LabelNeed::Required;
    let column = match wanted {
        Some(name) => match named(file, fields, "label", name) {
            Err(_) if !required => return Ok(None),
            found => found?,
        },
        None => {
            let usual = |f: &Field| LABEL_NAMES.iter().any(|name| f.name.eq_ignore_ascii_case(name));
            let hits: Vec<usize> =
                (0..fields.len()).filter(|&i| usual(&fields[i]) && is_scalar(&fields[i].kind)).collect();
            match hits[..] {
                [column] => column,
                _ if !required => return Ok(None),
                [] => {
                    let columns = fields.iter().map(|f| f.name.clone()).collect();
                    return Err(Error::NoLabelColumn { file: file.into(), columns });
                }
                _ => {
                    let candidates = hits.iter().map(|&column| fields[column].name.clone()).collect();
                    return Err(Error::LabelAmbiguous { file: file.into(), candidates });
                }
            }
        }
    };
    require_scalar(file, &fields[column], "label")?;
    Ok(Some(column))
}

fn named(file: &str, fields: &[Field], role: &'static str, name: &str) -> Result<usize> {
    fields.iter().position(|field| field.name == name).ok_or_else(|| Error::ColumnMissing {
        file: file.to_owned(),
        role,
        wanted: name.to_owned(),
        columns: fields.iter().map(|field| field.name.clone()).collect(),
    })
}

fn is_scalar(kind: &FieldKind) -> bool {
    !matches!(kind, FieldKind::Vector { .. } | FieldKind::Other(_))
}

fn require_scalar(file: &str, field: &Field, role: &'static str) -> Result<()> {
    if is_scalar(&field.kind) { Ok(()) } else { Err(unsupported(file, field, role)) }
}

fn unsupported(file: &str, field: &Field, role: &'static str) -> Error {
    Error::UnsupportedType {
        file: file.to_owned(),
        column: field.name.clone(),
        kind: kind_name(&field.kind),
        role,
    }
}

/// Feature columns, ascending, and notes on what was taken and left out.
pub(super) fn find_features(
    file: &str,
    fields: &[Field],
    roles: &Roles,
    selector: Option<&str>,
) -> Result<(Vec<usize>, Vec<String>)> {
    let (columns, notes) = match selector {
        None => default_features(file, fields, roles)?,
        Some(selector) => {
            // Only what stays after exclusions counts: `!a` may be what tells two vector columns apart.
            let usable = usable_features(fields, roles).0;
            let selected = select(selector, file, fields, &usable)?;
            if let Some(&label) = selected.by_name.iter().find(|&&column| Some(column) == roles.label) {
                let why = "the label cannot be a feature as well";
                let help = "leave it out, or name another label with --label";
                return Err(Error::bad_value("--features", &fields[label].name, why, help));
            }
            for &column in &selected.by_name {
                if let FieldKind::Other(_) = fields[column].kind {
                    return Err(unsupported(file, &fields[column], "a feature"));
                }
            }
            let starts_from_default = selector.trim_start().starts_with('!') && selected.by_name.is_empty();
            let columns: Vec<usize> = selected
                .columns
                .into_iter()
                .filter(|&c| !matches!(fields[c].kind, FieldKind::Other(_)))
                .filter(|&c| !roles.holds(c) || (selected.by_name.contains(&c) && roles.id == Some(c)))
                .collect();
            if starts_from_default { prefer_vector(file, fields, columns)? } else { (columns, Vec::new()) }
        }
    };
    if columns.is_empty() {
        return Err(Error::NoFeatures { file: file.to_owned() });
    }
    Ok((columns, notes))
}

fn default_features(file: &str, fields: &[Field], roles: &Roles) -> Result<(Vec<usize>, Vec<String>)> {
    let (usable, mut left_out) = usable_features(fields, roles);
    let (columns, notes) = prefer_vector(file, fields, usable)?;
    left_out.extend(notes);
    Ok((columns, left_out))
}

/// The vector column alone where there is one, else all columns.
fn prefer_vector(file: &str, fields: &[Field], columns: Vec<usize>) -> Result<(Vec<usize>, Vec<String>)> {
    let is_vector = |&column: &usize| matches!(fields[column].kind, FieldKind::Vector { .. });
    let vectors: Vec<usize> = columns.iter().copied().filter(is_vector).collect();
    match vectors[..] {
        [] => Ok((columns, Vec::new())),
        [vector] if columns.len() == 1 => Ok((vec![vector], Vec::new())),
        [vector] => {
            let others = columns.iter().filter(|&&column| column != vector);
            let others = listed(others.map(|&column| fields[column].name.as_str()));
            let note =
                format!("features are the vectors of column {:?} alone, not {others}", fields[vector].name);
            Ok((vec![vector], vec![note]))
        }
        _ => Err(Error::FeaturesAmbiguous {
            file: file.to_owned(),
            candidates: vectors.iter().map(|&column| fields[column].name.clone()).collect(),
        }),
    }
}

/// Columns that become features unasked, and notes on the others.
fn usable_features(fields: &[Field], roles: &Roles) -> (Vec<usize>, Vec<String>) {
    let label = roles.label.map(|column| fields[column].name.as_str());
    let mut usable = Vec::new();
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    for (column, field) in fields.iter().enumerate() {
        if roles.holds(column) && roles.id != Some(column) {
            continue;
        }
        match reason_to_leave_out(field, label, roles.id == Some(column)) {
            None => usable.push(column),
            Some(reason) => match by_reason.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(&field.name),
                None => by_reason.push((reason, vec![&field.name])),
            },
        }
    }
    let notes = by_reason
        .into_iter()
        .map(|(reason, names)| format!("not among the features: {} ({reason})", listed(names.into_iter())))
        .collect();
    (usable, notes)
}

fn reason_to_leave_out(field: &Field, label: Option<&str>, is_id: bool) -> Option<&'static str> {
    let name = field.name.to_lowercase();
    if is_id || ID_NAMES.contains(&name.as_str()) {
        Some("identifies rows")
    } else if matches!(field.kind, FieldKind::Other(_)) {
        Some("of a type that cannot be a feature")
    } else if name.starts_with("unnamed: ") {
        Some("without a name, mostly a row index")
    } else if WEIGHT_NAMES.contains(&name.as_str()) {
        Some("row weights are used only with --weight-col")
    } else if name == SPLIT_NAME {
        Some("a split is used only with --split-col")
    } else if is_another_label(&name, label) {
        Some("looks like another form of the label")
    } else {
        None
    }
}

/// `label5` beside `label`, `class_name` beside `class_id`: such a column gives the answer away. Coordinates `y1`, `y2`
/// are features unless the label is `y`.
fn is_another_label(name: &str, label: Option<&str>) -> bool {
    let stem = label_stem(name);
    let usual = LABEL_NAMES.iter().filter(|name| **name != "y").any(|usual| label_stem(usual) == stem);
    usual || label.is_some_and(|label| label_stem(&label.to_lowercase()) == stem)
}

fn label_stem(name: &str) -> &str {
    let stem = FORM_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let short = stem.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    if short.is_empty() { name } else { short }
}

pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED { format!("{shown} and {} more", names.len() - LISTED) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Dtype;

    fn fields(names: &[&str]) -> Vec<Field> {
        let kind = |name: &str| match name {
            _ if name.starts_with("emb") => FieldKind::Vector { len: Some(4), dtype: Dtype::F16 },
            _ if name.starts_with("date") => FieldKind::Other("timestamp".into()),
            _ => FieldKind::Float,
        };
        names.iter().map(|n| Field { name: (*n).into(), kind: kind(n), class_names: None }).collect()
    }

    fn roles(names: &[&str], options: &ReadOptions) -> Result<Roles> {
        Roles::find("t", &fields(names), options, LabelNeed::Required)
    }

    fn features(names: &[&str], options: &ReadOptions) -> Result<(Vec<String>, Vec<String>)> {
        let fields = fields(names);
        let roles = Roles::find("t", &fields, options, LabelNeed::Required)?;
        let (columns, notes) = find_features("t", &fields, &roles, options.features.as_deref())?;
        Ok((columns.into_iter().map(|column| fields[column].name.clone()).collect(), notes))
    }

    fn with_label(label: &str) -> ReadOptions {
        ReadOptions { label: Some(label.into()), ..ReadOptions::default() }
    }

    fn with_features(selector: &str) -> ReadOptions {
        ReadOptions { features: Some(selector.into()), ..ReadOptions::default() }
    }

    #[test]
    fn the_label_is_the_only_usual_name() {
        let auto = ReadOptions::default();
        assert_eq!(roles(&["x", "Class"], &auto).unwrap().label, Some(1));
        assert_eq!(roles(&["x", "label", "y"], &auto).unwrap_err().code(), "E0204");
        assert_eq!(roles(&["x", "z"], &auto).unwrap_err().code(), "E0203");
        assert_eq!(roles(&["x", "label"], &with_label("lable")).unwrap_err().code(), "E0202");
        assert_eq!(roles(&["x", "embedding"], &with_label("embedding")).unwrap_err().code(), "E0318");
        let optional = Roles::find("t", &fields(&["x", "label", "y"]), &auto, LabelNeed::Optional).unwrap();
        assert_eq!(optional.label, None);
    }

    #[test]
    fn other_forms_of_the_label_do_not_become_features() {
        let (names, notes) = features(&["x", "label", "label5", "y1"], &ReadOptions::default()).unwrap();
        assert_eq!(names, ["x", "y1"]);
        assert_eq!(notes, ["not among the features: label5 (looks like another form of the label)"]);
        assert_eq!(features(&["x", "label", "label5"], &with_label("label5")).unwrap().0, ["x"]);
        assert_eq!(features(&["x", "class_id", "class_name"], &ReadOptions::default()).unwrap().0, ["x"]);
        assert_eq!(features(&["x", "fine", "fine_name"], &with_label("fine")).unwrap().0, ["x"]);
        assert_eq!(features(&["x", "y", "y2"], &ReadOptions::default()).unwrap().0, ["x"]);
        assert_eq!(
            features(&["x", "label", "label5"], &with_features("x,label5")).unwrap().0,
            ["x", "label5"]
        );
    }

    #[test]
    fn ids_weights_and_splits_are_left_out_with_a_note() {
        let names = ["image_id", "weight", "split", "x", "date", "Unnamed: 0", "label"];
        let (taken, notes) = features(&names, &ReadOptions::default()).unwrap();
        assert_eq!((taken, notes.len()), (vec!["x".to_string()], 5));
        let found = roles(&names, &ReadOptions::default()).unwrap();
        assert_eq!((found.id, found.weight, found.split), (Some(0), None, None));
        let asked = ReadOptions { weight_col: Some("weight".into()), ..ReadOptions::default() };
        assert_eq!(roles(&names, &asked).unwrap().weight, Some(1));
    }

    #[test]
    fn a_vector_column_is_taken_alone() {
        let (names, notes) = features(&["a", "emb", "label"], &ReadOptions::default()).unwrap();
        assert_eq!(names, ["emb"]);
        assert_eq!(notes, ["features are the vectors of column \"emb\" alone, not a"]);
        let two = ["emb1", "emb2", "label"];
        assert_eq!(features(&two, &ReadOptions::default()).unwrap_err().code(), "E0205");
        assert_eq!(features(&two, &with_features("!emb1")).unwrap().0, ["emb2"]);
        assert_eq!(features(&two, &with_features("emb*")).unwrap().0, ["emb1", "emb2"]);
    }

    #[test]
    fn selected_columns_must_be_usable() {
        let code =
            |selector: &str| features(&["x", "date", "label"], &with_features(selector)).unwrap_err().code();
        assert_eq!(code("x,label"), "E0208");
        assert_eq!(code("date"), "E0318");
        assert_eq!(code("!x"), "E0206");
        assert_eq!(features(&["x", "date", "label"], &with_features("*")).unwrap().0, ["x"]);
    }
}
