//! From the schema of a Parquet file to fields: one for every column at the root, whatever is nested in it.

use ::parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type};

use super::lists::ListShape;
use crate::data::table::{Field, FieldKind};
use crate::matrix::Dtype;

/// Physical form of a readable leaf; the conversion follows from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Leaf {
    Bool,
    Int32,
    /// 32 bits whose sign bit is part of the value.
    UInt32,
    Int64,
    UInt64,
    Half,
    Float,
    Double,
    /// Bytes that are text; `declared` where the file says so.
    Text {
        declared: bool,
    },
}

/// Where the values of a field lie and how they are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    /// Index of the leaf column.
    pub(crate) leaf: usize,
    pub(crate) form: Leaf,
    /// Definition level of a present value; 0 where every value is present.
    pub(crate) max_def: i16,
    /// How the leaf's values group to vectors; `None` for a scalar.
    pub(crate) list: Option<ListShape>,
}

/// The fields of a file, and for each the place of its values (`None` for [`FieldKind::Other`]).
pub(crate) fn fields_of(schema: &SchemaDescriptor) -> Vec<(Field, Option<Source>)> {
    let roots = schema.root_schema().get_fields();
    let mut first_leaf = vec![None; roots.len()];
    let mut leaves = vec![0usize; roots.len()];
    for leaf in 0..schema.num_columns() {
        let root = schema.get_column_root_idx(leaf);
        first_leaf[root].get_or_insert(leaf);
        leaves[root] += 1;
    }
    let describe = |(index, root): (usize, &std::sync::Arc<Type>)| {
        let source = match (first_leaf[index], leaves[index]) {
            (Some(leaf), 1) => source_of(root, leaf, &schema.column(leaf)),
            _ => None,
        };
        let kind = source.map_or_else(|| FieldKind::Other(type_name(root)), |source| kind_of(&source));
        (Field { name: root.name().to_owned(), kind, class_names: None }, source)
    };
    roots.iter().enumerate().map(describe).collect()
}

fn kind_of(source: &Source) -> FieldKind {
    if source.list.is_some() {
        let dtype = if source.form == Leaf::Half { Dtype::F16 } else { Dtype::F32 };
        return FieldKind::Vector { len: None, dtype };
    }
    match source.form {
        Leaf::Bool => FieldKind::Bool,
        Leaf::Int32 | Leaf::UInt32 | Leaf::Int64 | Leaf::UInt64 => FieldKind::Int,
        Leaf::Half | Leaf::Float | Leaf::Double => FieldKind::Float,
        Leaf::Text { .. } => FieldKind::Text,
    }
}

fn source_of(root: &Type, leaf: usize, column: &ColumnDescriptor) -> Option<Source> {
    let form = leaf_form(column)?;
    let max_def = column.max_def_level();
    let list = match column.max_rep_level() {
        0 if root.is_primitive() => None,
        1 if is_list(root) && !matches!(form, Leaf::Text { .. }) => {
            Some(ListShape { max_def, element_def: column.repeated_ancestor_def_level() })
        }
        _ => return None,
    };
    Some(Source { leaf, form, max_def, list })
}

/// A list of plain values: `repeated` at the root, or a group marked as list with a repeated child. Writers name the
/// inner levels as they like (list/element, bag/array_element, ...) and some leave one out.
fn is_list(root: &Type) -> bool {
    let info = root.get_basic_info();
    if root.is_primitive() {
        return info.has_repetition() && info.repetition() == Repetition::REPEATED;
    }
    let marked = info.converted_type() == ConvertedType::LIST
        || matches!(info.logical_type_ref(), Some(LogicalType::List));
    let Some([repeated]) = marked.then(|| root.get_fields()) else { return false };
    repeated.is_primitive() || repeated.get_fields().iter().all(|element| element.is_primitive())
}

fn leaf_form(column: &ColumnDescriptor) -> Option<Leaf> {
    use ConvertedType as C;
    let converted = column.converted_type();
    let logical = column.logical_type_ref();
    match column.physical_type() {
        Physical::BOOLEAN => Some(Leaf::Bool),
        Physical::FLOAT => Some(Leaf::Float),
        Physical::DOUBLE => Some(Leaf::Double),
        physical @ (Physical::INT32 | Physical::INT64) => {
            let unsigned = match (logical, converted) {
                (Some(LogicalType::Integer(int)), _) => !int.is_signed,
                (None, C::UINT_8 | C::UINT_16 | C::UINT_32 | C::UINT_64) => true,
                (None, C::NONE | C::INT_8 | C::INT_16 | C::INT_32 | C::INT_64) => false,
                _ => return None,
            };
            Some(match (physical == Physical::INT32, unsigned) {
                (true, false) => Leaf::Int32,
                (true, true) => Leaf::UInt32,
                (false, false) => Leaf::Int64,
                (false, true) => Leaf::UInt64,
            })
        }
        Physical::FIXED_LEN_BYTE_ARRAY => {
            let half = matches!(logical, Some(LogicalType::Float16)) && column.type_length() == 2;
            half.then_some(Leaf::Half)
        }
        Physical::BYTE_ARRAY => match (logical, converted) {
            (Some(LogicalType::String | LogicalType::Enum | LogicalType::Json), _)
            | (None, C::UTF8 | C::ENUM | C::JSON) => Some(Leaf::Text { declared: true }),
            (None, C::NONE) => Some(Leaf::Text { declared: false }),
            _ => None,
        },
        Physical::INT96 => None,
    }
}

fn type_name(root: &Type) -> String {
    let info = root.get_basic_info();
    let logical = info.logical_type_ref().map(|logical| format!("{logical:?}"));
    match (logical, info.converted_type()) {
        (Some(logical), _) => logical,
        (None, converted) if converted != ConvertedType::NONE => converted.to_string(),
        _ if root.is_group() => "a nested structure".into(),
        _ if root.get_physical_type() == Physical::INT96 => "a timestamp (INT96)".into(),
        _ => root.get_physical_type().to_string(),
    }
}
