//! Arrow arrays onto the end of column buffers.

use std::borrow::Cow;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType, OffsetSizeTrait, PrimitiveArray};
use arrow_schema::DataType;
use half::f16;

use super::table::{ColumnBuffer, FieldKind, TextColumn, new_buffer};
use super::vectors::{Element, VectorRows, VectorState, unusable};
use crate::matrix::{Dtype, Matrix};
use crate::{Error, Result};

/// File and column name, for messages.
type Place<'a> = (&'a str, &'a str);

/// What an Arrow type can serve as.
pub(crate) fn kind_of(data_type: &DataType) -> FieldKind {
    use DataType as D;
    let vector = |item: &arrow_schema::FieldRef, len| match kind_of(item.data_type()) {
        _ if matches!(item.data_type(), D::Dictionary(..)) => None,
        FieldKind::Int | FieldKind::Float | FieldKind::Bool => {
            let dtype = if *item.data_type() == D::Float16 { Dtype::F16 } else { Dtype::F32 };
            Some(FieldKind::Vector { len, dtype })
        }
        _ => None,
    };
    let known = match data_type {
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => {
            Some(FieldKind::Int)
        }
        D::Float16 | D::Float32 | D::Float64 => Some(FieldKind::Float),
        D::Boolean => Some(FieldKind::Bool),
        D::Utf8 | D::LargeUtf8 | D::Utf8View => Some(FieldKind::Text),
        D::Dictionary(_, values) => match kind_of(values) {
            FieldKind::Vector { .. } | FieldKind::Other(_) => None,
            scalar => Some(scalar),
        },
        D::FixedSizeList(item, len) => {
            usize::try_from(*len).ok().filter(|&len| len > 0).and_then(|len| vector(item, Some(len)))
        }
        D::List(item) | D::LargeList(item) => vector(item, None),
        _ => None,
    };
    known.unwrap_or_else(|| FieldKind::Other(data_type.to_string()))
}

/// Appends all rows of `array` to `buffer`, which must be of the kind [`kind_of`] gave.
pub(crate) fn append_array(
    place: Place<'_>,
    array: &dyn Array,
    buffer: &mut ColumnBuffer,
    state: &mut VectorState,
    rows_before: u64,
) -> Result<()> {
    match buffer {
        ColumnBuffer::Vector(matrix) if matrix.dtype() == Dtype::F16 => {
            let child = item_of(place, array)?;
            let values = halves(place, child)?;
            append_lists::<f16>(place, array, &values, matrix, state, rows_before)
        }
        ColumnBuffer::Vector(matrix) => {
            let child = item_of(place, array)?;
            let values = singles(place, child)?;
            append_lists::<f32>(place, array, &values, matrix, state, rows_before)
        }
        _ if matches!(array.data_type(), DataType::Dictionary(..)) => {
            append_dictionary(place, array, buffer, rows_before)
        }
        ColumnBuffer::Int { values, nulls } => append_ints(place, array, values, nulls, rows_before),
        ColumnBuffer::Float(values) => append_floats(place, array, values),
        ColumnBuffer::Bool { values, nulls } => {
            let array = array.as_boolean_opt().ok_or_else(|| mismatch(place, array))?;
            for value in array {
                if value.is_none() {
                    nulls.push(values.len());
                }
                values.push(value.unwrap_or(false));
            }
            Ok(())
        }
        ColumnBuffer::Text(text) => for_each_text(place, array, |value| text.push(value)),
    }
}

fn append_ints(
    place: Place<'_>,
    array: &dyn Array,
    values: &mut Vec<i64>,
    nulls: &mut Vec<usize>,
    rows_before: u64,
) -> Result<()> {
    let start = values.len();
    match array.data_type() {
        DataType::Int8 => values.extend(numbers::<Int8Type>(array).iter().map(|&v| i64::from(v))),
        DataType::Int16 => values.extend(numbers::<Int16Type>(array).iter().map(|&v| i64::from(v))),
        DataType::Int32 => values.extend(numbers::<Int32Type>(array).iter().map(|&v| i64::from(v))),
        DataType::Int64 => values.extend_from_slice(numbers::<Int64Type>(array)),
        DataType::UInt8 => values.extend(numbers::<UInt8Type>(array).iter().map(|&v| i64::from(v))),
        DataType::UInt16 => values.extend(numbers::<UInt16Type>(array).iter().map(|&v| i64::from(v))),
        DataType::UInt32 => values.extend(numbers::<UInt32Type>(array).iter().map(|&v| i64::from(v))),
        DataType::UInt64 => {
            for (row, &value) in numbers::<UInt64Type>(array).iter().enumerate() {
                values.push(match i64::try_from(value) {
                    Ok(value) => value,
                    // What stands under a null means nothing.
                    Err(_) if array.is_null(row) => 0,
                    Err(_) => return Err(too_large_integer(place, value, rows_before + row as u64 + 1)),
                });
            }
        }
        _ => return Err(mismatch(place, array)),
    }
    for_each_null(array, |row| {
        nulls.push(start + row);
        values[start + row] = 0;
    });
    Ok(())
}

fn append_floats(place: Place<'_>, array: &dyn Array, values: &mut Vec<f64>) -> Result<()> {
    let start = values.len();
    match array.data_type() {
        DataType::Float16 => values.extend(numbers::<Float16Type>(array).iter().map(|v| v.to_f64())),
        DataType::Float32 => values.extend(numbers::<Float32Type>(array).iter().map(|&v| f64::from(v))),
        DataType::Float64 => values.extend_from_slice(numbers::<Float64Type>(array)),
        _ => return Err(mismatch(place, array)),
    }
    for_each_null(array, |row| values[start + row] = f64::NAN);
    Ok(())
}

fn for_each_text<'a>(
    place: Place<'_>,
    array: &'a dyn Array,
    mut each: impl FnMut(Option<&'a str>),
) -> Result<()> {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().for_each(&mut each),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().for_each(&mut each),
        DataType::Utf8View => array.as_string_view().iter().for_each(&mut each),
        _ => return Err(mismatch(place, array)),
    }
    Ok(())
}

/// Decodes the values of a dictionary once and copies them to the rows.
fn append_dictionary(
    place: Place<'_>,
    array: &dyn Array,
    buffer: &mut ColumnBuffer,
    rows_before: u64,
) -> Result<()> {
    let dictionary = array.as_any_dictionary_opt().ok_or_else(|| mismatch(place, array))?;
    let entries = dictionary.values();
    // The decoder gives a column without any value an empty dictionary.
    let keys = if entries.is_empty() { vec![0; array.len()] } else { dictionary.normalized_keys() };
    let key_of = |row: usize| (!array.is_null(row) && entries.is_valid(keys[row])).then(|| keys[row]);
    let rows = (0..array.len()).map(|row| if entries.is_empty() { None } else { key_of(row) });
    if let ColumnBuffer::Text(text) = buffer {
        return append_text_keys(place, entries, rows, text);
    }
    let mut decoded = new_buffer(&kind_of(entries.data_type())).ok_or_else(|| mismatch(place, array))?;
    append_array(place, entries, &mut decoded, &mut VectorState::default(), rows_before)?;
    match (buffer, &decoded) {
        (ColumnBuffer::Int { values, nulls }, ColumnBuffer::Int { values: entries, .. }) => {
            for key in rows {
                if key.is_none() {
                    nulls.push(values.len());
                }
                values.push(key.map_or(0, |key| entries[key]));
            }
        }
        (ColumnBuffer::Bool { values, nulls }, ColumnBuffer::Bool { values: entries, .. }) => {
            for key in rows {
                if key.is_none() {
                    nulls.push(values.len());
                }
                values.push(key.is_some_and(|key| entries[key]));
            }
        }
        (ColumnBuffer::Float(values), ColumnBuffer::Float(entries)) => {
            values.extend(rows.map(|key| key.map_or(f64::NAN, |key| entries[key])));
        }
        _ => return Err(mismatch(place, array)),
    }
    Ok(())
}

/// Levels are numbered as rows bring them up, whatever order and surplus the dictionary has.
fn append_text_keys(
    place: Place<'_>,
    entries: &dyn Array,
    rows: impl Iterator<Item = Option<usize>>,
    text: &mut TextColumn,
) -> Result<()> {
    let mut names = Vec::with_capacity(entries.len());
    for_each_text(place, entries, |name| names.push(name))?;
    let mut codes: Vec<Option<u32>> = vec![None; names.len()];
    for key in rows {
        match key.and_then(|key| Some((key, names[key]?))) {
            None => text.push(None),
            Some((key, name)) => {
                let code = *codes[key].get_or_insert_with(|| text.intern(name));
                text.push_code(code);
            }
        }
    }
    Ok(())
}

fn append_lists<T: Element>(
    place: Place<'_>,
    array: &dyn Array,
    items: &[T],
    matrix: &mut Matrix,
    state: &mut VectorState,
    rows_before: u64,
) -> Result<()> {
    let mut rows = VectorRows::<T>::start(place.0, place.1, matrix, state, rows_before)?;
    match array.data_type() {
        DataType::FixedSizeList(_, _) => {
            let lists = array.as_fixed_size_list();
            let len = lists.value_length() as usize;
            let first = lists.value_offset_at(0);
            push_rows(&mut rows, array, items, |row| first + row * len..first + (row + 1) * len)?;
        }
        DataType::List(_) => {
            push_rows(&mut rows, array, items, range_by(array.as_list::<i32>().value_offsets()))?
        }
        DataType::LargeList(_) => {
            push_rows(&mut rows, array, items, range_by(array.as_list::<i64>().value_offsets()))?
        }
        _ => return Err(mismatch(place, array)),
    }
    rows.finish(matrix);
    Ok(())
}

fn range_by<O: OffsetSizeTrait>(offsets: &[O]) -> impl Fn(usize) -> Range<usize> + '_ {
    |row| offsets[row].as_usize()..offsets[row + 1].as_usize()
}

fn push_rows<T: Element>(
    rows: &mut VectorRows<'_, T>,
    array: &dyn Array,
    items: &[T],
    range: impl Fn(usize) -> Range<usize>,
) -> Result<()> {
    rows.values.reserve(items.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            rows.null_row()?;
        } else {
            let items = &items[range(row)];
            rows.values.extend_from_slice(items);
            rows.close_row(items.len())?;
        }
    }
    Ok(())
}

fn item_of<'a>(place: Place<'_>, array: &'a dyn Array) -> Result<&'a dyn Array> {
    Ok(match array.data_type() {
        DataType::FixedSizeList(_, _) => array.as_fixed_size_list().values(),
        DataType::List(_) => array.as_list::<i32>().values(),
        DataType::LargeList(_) => array.as_list::<i64>().values(),
        _ => return Err(mismatch(place, array)),
    })
}

fn halves<'a>(place: Place<'_>, items: &'a dyn Array) -> Result<Cow<'a, [f16]>> {
    let items = items.as_primitive_opt::<Float16Type>().ok_or_else(|| mismatch(place, items))?;
    let mut values = Cow::Borrowed(&items.values()[..]);
    for_each_null(items, |item| values.to_mut()[item] = f16::NAN);
    Ok(values)
}

fn singles<'a>(place: Place<'_>, items: &'a dyn Array) -> Result<Cow<'a, [f32]>> {
    let mut values = match items.data_type() {
        DataType::Float32 => Cow::Borrowed(numbers::<Float32Type>(items)),
        DataType::Float64 => Cow::Owned(numbers::<Float64Type>(items).iter().map(|&v| v as f32).collect()),
        DataType::Int8 => Cow::Owned(numbers::<Int8Type>(items).iter().map(|&v| f32::from(v)).collect()),
        DataType::Int16 => Cow::Owned(numbers::<Int16Type>(items).iter().map(|&v| f32::from(v)).collect()),
        DataType::Int32 => Cow::Owned(numbers::<Int32Type>(items).iter().map(|&v| v as f32).collect()),
        DataType::Int64 => Cow::Owned(numbers::<Int64Type>(items).iter().map(|&v| v as f32).collect()),
        DataType::UInt8 => Cow::Owned(numbers::<UInt8Type>(items).iter().map(|&v| f32::from(v)).collect()),
        DataType::UInt16 => Cow::Owned(numbers::<UInt16Type>(items).iter().map(|&v| f32::from(v)).collect()),
        DataType::UInt32 => Cow::Owned(numbers::<UInt32Type>(items).iter().map(|&v| v as f32).collect()),
        DataType::UInt64 => Cow::Owned(numbers::<UInt64Type>(items).iter().map(|&v| v as f32).collect()),
        DataType::Boolean => {
            Cow::Owned(items.as_boolean().values().iter().map(|v| f32::from(u8::from(v))).collect())
        }
        _ => return Err(mismatch(place, items)),
    };
    for_each_null(items, |item| values.to_mut()[item] = f32::NAN);
    Ok(values)
}

/// The values of an array whose type was just matched; empty for any other.
fn numbers<P: ArrowPrimitiveType>(array: &dyn Array) -> &[P::Native] {
    array.as_primitive_opt::<P>().map_or(&[], |array: &PrimitiveArray<P>| array.values())
}

fn for_each_null(array: &dyn Array, mut each: impl FnMut(usize)) {
    if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
        (0..array.len()).filter(|&row| nulls.is_null(row)).for_each(&mut each);
    }
}

fn too_large_integer((file, column): Place<'_>, value: u64, row: u64) -> Error {
    let kind = format!("u64 with {value} in row {row}, beyond {}", i64::MAX);
    Error::UnsupportedType {
        file: file.to_owned(),
        column: column.to_owned(),
        kind,
        role: "a column of integers",
    }
}

fn mismatch((file, column): Place<'_>, array: &dyn Array) -> Error {
    unusable(file, column, array.data_type().to_string())
}
