//! Which columns of a file are the inputs of a fitted encoder.

use super::encode::{FeatureEncoder, InputColumn};
use super::files::kind_name;
use super::roles::listed;
use super::table::{Field, FieldKind};
use crate::matrix::Dtype;
use crate::{Error, Result};

impl FeatureEncoder {
    /// For every input its column in a file and the kind to read it in; `taken` are columns with another role.
    /// Columns are found by name, in any order. Where that fails, a file without names goes by position, and the only
    /// vector column stands for the only vector input.
    ///
    /// # Errors
    /// [`Error::FeatureMismatch`] with the columns that are missing, those that the model does not know, and vector
    /// lengths that differ.
    pub(super) fn bind(
        &self,
        file: &str,
        fields: &[Field],
        taken: &[usize],
    ) -> Result<Vec<(usize, FieldKind)>> {
        let free: Vec<usize> = (0..fields.len()).filter(|column| !taken.contains(column)).collect();
        let columns = match self.by_name(fields) {
            Some(columns) => columns,
            None => self
                .by_position(fields, &free)
                .or_else(|| self.by_only_vector(fields, &free))
                .ok_or_else(|| self.mismatch(file, fields, &free))?,
        };
        let mut bound = Vec::with_capacity(columns.len());
        for (input, column) in self.inputs.iter().zip(columns) {
            let kind =
                self.kind_to_read(input, &fields[column]).map_err(|detail| Error::FeatureMismatch {
                    file: file.to_owned(),
                    detail: format!("column {:?} {detail}", fields[column].name),
                })?;
            bound.push((column, kind));
        }
        Ok(bound)
    }

    fn by_name(&self, fields: &[Field]) -> Option<Vec<usize>> {
        let place = |input: &InputColumn| fields.iter().position(|field| field.name == input.name());
        self.inputs.iter().map(place).collect()
    }

    fn by_position(&self, fields: &[Field], free: &[usize]) -> Option<Vec<usize>> {
        let nameless = fields.iter().enumerate().all(|(at, field)| field.name == at.to_string());
        (nameless && free.len() == self.inputs.len()).then(|| free.to_vec())
    }

    fn by_only_vector(&self, fields: &[Field], free: &[usize]) -> Option<Vec<usize>> {
        let [InputColumn::Vector { .. }] = self.inputs[..] else { return None };
        let is_vector = |&column: &usize| matches!(fields[column].kind, FieldKind::Vector { .. });
        let vectors: Vec<usize> = free.iter().copied().filter(is_vector).collect();
        (vectors.len() == 1).then_some(vectors)
    }

    fn kind_to_read(&self, input: &InputColumn, field: &Field) -> Result<FieldKind, String> {
        match (input, &field.kind) {
            // The length of sparse vectors is the largest index of the file: shorter ones end in zeros, and what longer
            // ones hold beyond is left out by the encoder.
            (InputColumn::Vector { .. }, FieldKind::Vector { dtype: Dtype::Sparse, .. }) => {
                Ok(field.kind.clone())
            }
            (InputColumn::Vector { len, .. }, FieldKind::Vector { len: found, .. }) => match found {
                Some(found) if found != len => {
                    Err(format!("holds vectors of {found} values, the model needs vectors of {len}"))
                }
                _ => Ok(field.kind.clone()),
            },
            (InputColumn::Vector { len, .. }, kind) => {
                Err(format!("holds {}, the model needs vectors of {len}", kind_name(kind)))
            }
            (_, kind @ (FieldKind::Vector { .. } | FieldKind::Other(_))) => {
                let needed = if input.levels().is_some() { "text" } else { "numbers" };
                Err(format!("holds {}, the model needs {needed}", kind_name(kind)))
            }
            (InputColumn::OneHot { .. } | InputColumn::Codes { .. }, _) => Ok(FieldKind::Text),
            // Text is read, so that the message can show a word of it.
            (InputColumn::Numeric { .. }, kind) => Ok(kind.clone()),
        }
    }

    fn mismatch(&self, file: &str, fields: &[Field], free: &[usize]) -> Error {
        let names: Vec<&str> = self.inputs.iter().map(InputColumn::name).collect();
        let missing: Vec<&str> =
            names.iter().copied().filter(|name| fields.iter().all(|field| field.name != *name)).collect();
        let unknown = free.iter().map(|&column| &fields[column]);
        let unknown: Vec<&str> = unknown
            .filter(|field| {
                !names.contains(&field.name.as_str()) && !matches!(field.kind, FieldKind::Other(_))
            })
            .map(|field| field.name.as_str())
            .collect();
        let mut detail =
            format!("{} of {} columns missing: {}", missing.len(), names.len(), listed(missing.into_iter()));
        if !unknown.is_empty() {
            detail.push_str(&format!("; columns the model does not know: {}", listed(unknown.into_iter())));
        }
        Error::FeatureMismatch { file: file.to_owned(), detail }
    }
}

#[cfg(test)]
mod tests {
    use super::super::missing::Missing;
    use super::*;

    fn numeric(names: &[&str]) -> FeatureEncoder {
        let inputs =
            names.iter().map(|name| InputColumn::Numeric { name: (*name).into(), mean: None }).collect();
        FeatureEncoder { inputs, missing: Missing::Error }
    }

    fn vector(len: usize) -> FeatureEncoder {
        let inputs = vec![InputColumn::Vector { name: "embedding".into(), len, means: None }];
        FeatureEncoder { inputs, missing: Missing::Error }
    }

    fn fields(columns: &[(&str, FieldKind)]) -> Vec<Field> {
        let field = |(name, kind): &(&str, FieldKind)| Field {
            name: (*name).into(),
            kind: kind.clone(),
            class_names: None,
        };
        columns.iter().map(field).collect()
    }

    fn places(encoder: &FeatureEncoder, fields: &[Field], taken: &[usize]) -> Result<Vec<usize>> {
        encoder.bind("t", fields, taken).map(|bound| bound.into_iter().map(|(column, _)| column).collect())
    }

    #[test]
    fn names_in_any_order_then_position() {
        let named = fields(&[("b", FieldKind::Int), ("x", FieldKind::Text), ("a", FieldKind::Float)]);
        assert_eq!(places(&numeric(&["a", "b"]), &named, &[]).unwrap(), [2, 0]);
        let nameless = fields(&[("0", FieldKind::Int), ("1", FieldKind::Int), ("2", FieldKind::Int)]);
        assert_eq!(places(&numeric(&["a", "b"]), &nameless, &[0]).unwrap(), [1, 2]);
        assert_eq!(places(&numeric(&["a", "b"]), &nameless, &[]).unwrap_err().code(), "E0503");
    }

    #[test]
    fn codes_are_read_as_text_whatever_the_file_holds() {
        let inputs = vec![InputColumn::Codes { name: "c".into(), levels: vec!["1".into()] }];
        let encoder = FeatureEncoder { inputs, missing: Missing::Keep };
        for kind in [FieldKind::Text, FieldKind::Int, FieldKind::Bool] {
            let found = encoder.bind("t", &fields(&[("x", FieldKind::Int), ("c", kind)]), &[]).unwrap();
            assert_eq!(found, [(1, FieldKind::Text)]);
        }
        let vector = fields(&[("c", FieldKind::Vector { len: Some(2), dtype: Dtype::F32 })]);
        let error = encoder.bind("t", &vector, &[]).unwrap_err().to_string();
        assert!(error.ends_with("the model needs text"), "{error}");
    }

    #[test]
    fn missing_and_unknown_columns_are_listed() {
        let named = fields(&[("b", FieldKind::Int), ("c", FieldKind::Int), ("label", FieldKind::Int)]);
        let error = places(&numeric(&["a", "b"]), &named, &[2]).unwrap_err();
        let expected =
            "t does not fit the model: 1 of 2 columns missing: a; columns the model does not know: c";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn the_only_vector_column_may_have_another_name() {
        let of = |len| FieldKind::Vector { len, dtype: Dtype::F32 };
        let one = fields(&[("id", FieldKind::Text), ("features", of(Some(8)))]);
        assert_eq!(places(&vector(8), &one, &[]).unwrap(), [1]);
        assert!(
            places(&vector(9), &one, &[]).unwrap_err().to_string().contains("of 8 values, the model needs")
        );
        let sparse = fields(&[("features", FieldKind::Vector { len: Some(9), dtype: Dtype::Sparse })]);
        assert_eq!(places(&vector(8), &sparse, &[]).unwrap(), [0]);
        let two = fields(&[("v", of(Some(8))), ("w", of(None))]);
        assert_eq!(places(&vector(8), &two, &[]).unwrap_err().code(), "E0503");
        let text = fields(&[("embedding", FieldKind::Text)]);
        assert_eq!(places(&vector(8), &text, &[]).unwrap_err().code(), "E0503");
    }
}
