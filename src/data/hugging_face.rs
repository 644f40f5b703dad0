//! Class names that Hugging Face `datasets` leaves in the metadata of Parquet and Arrow files.

use serde_json::Value;

use super::table::Field;

/// Key of the metadata entry.
pub(crate) const KEY: &str = "huggingface";

/// Sets [`Field::class_names`] of the columns that `metadata` (JSON) declares as `ClassLabel`.
/// Metadata of another shape is passed over: it is a convenience, not part of the data.
pub(crate) fn name_classes(fields: &mut [Field], metadata: &str) {
    let Ok(root) = serde_json::from_str::<Value>(metadata) else { return };
    for field in fields {
        let feature = &root["info"]["features"][field.name.as_str()];
        if feature["_type"] != "ClassLabel" {
            continue;
        }
        let Some(names) = feature["names"].as_array() else { continue };
        field.class_names = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::FieldKind;

    fn label() -> [Field; 1] {
        [Field { name: "label".into(), kind: FieldKind::Int, class_names: None }]
    }

    #[test]
    fn names_are_found_and_other_shapes_are_harmless() {
        let mut fields = label();
        name_classes(
            &mut fields,
            r#"{"info":{"features":{"label":{"names":["cat","dog"],"_type":"ClassLabel"}}}}"#,
        );
        assert_eq!(fields[0].class_names.as_deref(), Some(&["cat".to_owned(), "dog".to_owned()][..]));
        for other in [
            "",
            "[]",
            "{\"info\":3}",
            r#"{"info":{"features":{"label":{"_type":"ClassLabel","names":[1]}}}}"#,
        ] {
            let mut fields = label();
            name_classes(&mut fields, other);
            assert_eq!(fields[0].class_names, None, "{other}");
        }
    }
}
