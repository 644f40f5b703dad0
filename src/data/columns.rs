//! Moving rows between column buffers: kept rows only, and kinds widened where files of one data set differ.

use super::sparse::RowBuilder;
use super::table::{ColumnBuffer, FieldKind, NULL_TEXT};
use crate::matrix::{Dtype, MatRef, Matrix, RowBuffer, SparseRows, Storage};

/// The kind that holds the values of both, `None` where there is none (vectors against scalars).
pub(super) fn common_kind(a: &FieldKind, b: &FieldKind) -> Option<FieldKind> {
    use FieldKind::{Bool, Float, Int, Other, Text, Vector};
    Some(match (a, b) {
        (a, b) if a == b => a.clone(),
        (Vector { len: a, dtype: da }, Vector { len: b, dtype: db }) => {
            // What a sparse file says of the length is its largest index only: longer vectors hold its own.
            let fits = |len: usize, dtype: Dtype, longest| len == longest || dtype == Dtype::Sparse;
            if let (Some(a), Some(b)) = (*a, *b)
                && !(fits(a, *da, a.max(b)) && fits(b, *db, a.max(b)))
            {
                return None;
            }
            Vector { len: (*a).max(*b), dtype: common_dtype(*da, *db) }
        }
        (Vector { .. }, _) | (_, Vector { .. }) => return None,
        (Other(name), _) | (_, Other(name)) => Other(name.clone()),
        (Text, _) | (_, Text) => Text,
        (Float, _) | (_, Float) => Float,
        (Int | Bool, Int | Bool) => Int,
    })
}

/// The width that holds vectors of both. Beside sparse rows dense ones become sparse: that at most doubles their bytes,
/// the other way round sparse rows could outgrow any memory.
pub(super) fn common_dtype(a: Dtype, b: Dtype) -> Dtype {
    match (a, b) {
        _ if a == b => a,
        (Dtype::Sparse, _) | (_, Dtype::Sparse) => Dtype::Sparse,
        _ => Dtype::F32,
    }
}

/// Appends the rows of `from` that `keep` marks (all without it) to `into`, whose kind is that of `from` or wider by
/// [`common_kind`]. Returns `false` where it is not.
pub(super) fn append_rows(into: &mut ColumnBuffer, from: &ColumnBuffer, keep: Option<&[bool]>) -> bool {
    let kept = (0..from.rows()).filter(|&row| keep.is_none_or(|keep| keep[row]));
    match (into, from) {
        (ColumnBuffer::Vector(into), ColumnBuffer::Vector(from)) => append_vectors(into, from, keep),
        (ColumnBuffer::Text(into), from) => {
            let texts = Spelled::of(from);
            match from {
                ColumnBuffer::Text(levels) => {
                    let codes: Vec<u32> = levels.levels().iter().map(|level| into.intern(level)).collect();
                    kept.for_each(|row| {
                        into.push_code(codes.get(levels.codes()[row] as usize).copied().unwrap_or(NULL_TEXT));
                    });
                }
                _ => kept.for_each(|row| into.push(texts.get(row).as_deref())),
            }
            !matches!(from, ColumnBuffer::Vector(_))
        }
        (into, from) => append_scalars(into, &numbers(from), kept),
    }
}

fn append_scalars(into: &mut ColumnBuffer, from: &Numbers, kept: impl Iterator<Item = usize>) -> bool {
    match (into, from) {
        (ColumnBuffer::Float(into), Numbers::Float(from)) => into.extend(kept.map(|row| from[row])),
        (ColumnBuffer::Float(into), from) => into.extend(kept.map(|row| from.get(row))),
        (ColumnBuffer::Int { values, nulls }, from @ (Numbers::Int(..) | Numbers::Bool(..))) => {
            kept.for_each(|row| push_nullable(values, nulls, from.int(row)));
        }
        (ColumnBuffer::Bool { values, nulls }, Numbers::Bool(from, absent)) => {
            kept.for_each(|row| {
                push_nullable(values, nulls, absent.binary_search(&row).is_err().then_some(from[row]));
            });
        }
        _ => return false,
    }
    true
}

fn push_nullable<T: Default>(values: &mut Vec<T>, nulls: &mut Vec<usize>, value: Option<T>) {
    if value.is_none() {
        nulls.push(values.len());
    }
    values.push(value.unwrap_or_default());
}

/// Scalars of any kind, seen as numbers.
pub(super) enum Numbers<'a> {
    Float(&'a [f64]),
    Int(&'a [i64], &'a [usize]),
    Bool(&'a [bool], &'a [usize]),
    /// Text and vectors.
    None,
}

/// The numbers of a column.
pub(super) fn numbers(column: &ColumnBuffer) -> Numbers<'_> {
    match column {
        ColumnBuffer::Float(values) => Numbers::Float(values),
        ColumnBuffer::Int { values, nulls } => Numbers::Int(values, nulls),
        ColumnBuffer::Bool { values, nulls } => Numbers::Bool(values, nulls),
        ColumnBuffer::Text(_) | ColumnBuffer::Vector(_) => Numbers::None,
    }
}

impl Numbers<'_> {
    /// One value, NaN where it is missing.
    pub(super) fn get(&self, row: usize) -> f64 {
        match self {
            Numbers::Float(values) => values[row],
            _ => self.int(row).map_or(f64::NAN, |value| value as f64),
        }
    }

    fn int(&self, row: usize) -> Option<i64> {
        match self {
            Numbers::Int(values, nulls) => nulls.binary_search(&row).is_err().then(|| values[row]),
            Numbers::Bool(values, nulls) => {
                nulls.binary_search(&row).is_err().then(|| i64::from(values[row]))
            }
            Numbers::Float(_) | Numbers::None => None,
        }
    }
}

/// Scalars of any kind, seen as text: the spelling one-hot levels and class names are matched by.
pub(super) struct Spelled<'a>(&'a ColumnBuffer);

impl<'a> Spelled<'a> {
    pub(super) fn of(column: &'a ColumnBuffer) -> Self {
        Spelled(column)
    }

    /// The text of a row, `None` where it is missing.
    pub(super) fn get(&self, row: usize) -> Option<std::borrow::Cow<'a, str>> {
        match self.0 {
            ColumnBuffer::Text(text) => text.get(row).map(Into::into),
            ColumnBuffer::Float(values) => (!values[row].is_nan()).then(|| values[row].to_string().into()),
            ColumnBuffer::Int { values, nulls } => {
                nulls.binary_search(&row).is_err().then(|| values[row].to_string().into())
            }
            ColumnBuffer::Bool { values, nulls } => {
                nulls.binary_search(&row).is_err().then(|| if values[row] { "true" } else { "false" }.into())
            }
            ColumnBuffer::Vector(_) => None,
        }
    }
}

/// Appends rows of vectors; f16 and bf16 widen to f32 where `into` is f32, all become sparse where it is sparse. `false`
/// where lengths or widths differ. A matrix without columns takes on the length of the first rows appended, a sparse one
/// grows to that of wider sparse rows.
pub(super) fn append_vectors(into: &mut Matrix, from: &Matrix, keep: Option<&[bool]>) -> bool {
    if into.dtype() == Dtype::Sparse {
        return append_sparse(into, from, keep);
    }
    if into.cols() == 0 {
        *into = Matrix::empty(into.dtype(), from.cols());
    }
    if into.cols() != from.cols() {
        return false;
    }
    let cols = from.cols();
    match (into.storage_mut(), from.row_range(0, from.rows(), &mut RowBuffer::default())) {
        (Storage::F32(into), MatRef::F32(from)) => extend_rows(into, from, cols, keep, |x| x),
        (Storage::F32(into), MatRef::F16(from)) => extend_rows(into, from, cols, keep, half::f16::to_f32),
        (Storage::F32(into), MatRef::Bf16(from)) => extend_rows(into, from, cols, keep, half::bf16::to_f32),
        (Storage::F16(into), MatRef::F16(from)) => extend_rows(into, from, cols, keep, |x| x),
        (Storage::Bf16(into), MatRef::Bf16(from)) => extend_rows(into, from, cols, keep, |x| x),
        _ => return false,
    }
    true
}

fn append_sparse(into: &mut Matrix, from: &Matrix, keep: Option<&[bool]>) -> bool {
    let is_new = into.cols() == 0 && into.rows() == 0;
    let fits = from.dtype() == Dtype::Sparse || from.cols() == into.cols() || is_new;
    let cols = into.cols().max(from.cols());
    let wider = cols > into.cols();
    let Storage::Sparse(rows) = into.storage_mut() else { return false };
    if !fits {
        return false;
    }
    let mut builder = RowBuilder::default();
    match (from.sparse(), keep) {
        (Some(from), None) => rows.append(from),
        (_, keep) => {
            for row in (0..from.rows()).filter(|&row| keep.is_none_or(|keep| keep[row])) {
                from.visit_rows([row], |_, values| builder.add_row(0, values));
                builder.finish(rows);
            }
        }
    }
    if wider {
        let rows = std::mem::take(rows);
        *into = Matrix::from_storage(Storage::Sparse(rows), cols);
    }
    true
}

fn extend_rows<A: Copy, B>(
    into: &mut Vec<B>,
    from: &[A],
    cols: usize,
    keep: Option<&[bool]>,
    widen: impl Fn(A) -> B + Copy,
) {
    match keep {
        None => into.extend(from.iter().map(|&x| widen(x))),
        Some(keep) => {
            let rows = from.chunks_exact(cols.max(1)).zip(keep).filter(|(_, keep)| **keep);
            rows.for_each(|(row, _)| into.extend(row.iter().map(|&x| widen(x))));
        }
    }
}

/// Drops the rows from `start` on that `keep` does not mark (`keep[0]` stands for row `start`).
pub(super) fn retain_vectors(matrix: &mut Matrix, start: usize, keep: &[bool]) {
    fn retain<T: Copy>(values: &mut Vec<T>, cols: usize, start: usize, keep: &[bool]) {
        let mut end = start * cols;
        for (row, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
            let from = (start + row) * cols;
            values.copy_within(from..from + cols, end);
            end += cols;
        }
        values.truncate(end);
    }
    let cols = matrix.cols();
    match matrix.storage_mut() {
        Storage::F32(values) => retain(values, cols, start, keep),
        Storage::F16(values) => retain(values, cols, start, keep),
        Storage::Bf16(values) => retain(values, cols, start, keep),
        Storage::Sparse(rows) => {
            let mut kept = SparseRows::default();
            for (row, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
                kept.append(rows.range(start + row, start + row + 1));
            }
            rows.truncate(start);
            rows.append(kept.range(0, kept.rows()));
        }
        // Rows are dropped before they go to a file; what was lent is a copy by now.
        Storage::File(_) | Storage::Lent(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{TextColumn, new_buffer};
    use super::*;

    fn int_with_null() -> ColumnBuffer {
        ColumnBuffer::Int { values: vec![1, 0, 3], nulls: vec![1] }
    }

    #[test]
    fn whole_numbers_widen_to_floats_and_text() {
        let mut floats = new_buffer(&FieldKind::Float).unwrap();
        assert!(append_rows(&mut floats, &int_with_null(), None));
        let ColumnBuffer::Float(values) = &floats else { panic!() };
        assert_eq!((values[0], values[1].is_nan(), values[2]), (1.0, true, 3.0));
        let mut text = ColumnBuffer::Text(TextColumn::default());
        assert!(append_rows(&mut text, &int_with_null(), Some(&[false, true, true])));
        let ColumnBuffer::Text(text) = &text else { panic!() };
        assert_eq!([text.get(0), text.get(1)], [None, Some("3")]);
    }

    #[test]
    fn nulls_are_counted_from_the_rows_already_there() {
        let mut ints = int_with_null();
        assert!(append_rows(&mut ints, &int_with_null(), Some(&[true, true, false])));
        let ColumnBuffer::Int { values, nulls } = ints else { panic!() };
        assert_eq!((values, nulls), (vec![1, 0, 3, 1, 0], vec![1, 4]));
    }

    #[test]
    fn vectors_widen_and_rows_are_dropped() {
        let half =
            Matrix::from_storage(Storage::F16((0..4).map(|i| half::f16::from_f32(i as f32)).collect()), 2);
        let mut matrix = Matrix::empty(Dtype::F32, 0);
        assert!(append_vectors(&mut matrix, &half, None));
        assert!(append_vectors(&mut matrix, &half, Some(&[false, true])));
        assert_eq!(matrix, Matrix::from_f32(vec![0.0, 1.0, 2.0, 3.0, 2.0, 3.0], 2));
        retain_vectors(&mut matrix, 1, &[false, true]);
        assert_eq!(matrix, Matrix::from_f32(vec![0.0, 1.0, 2.0, 3.0], 2));
        assert!(!append_vectors(&mut matrix, &Matrix::from_f32(vec![1.0], 1), None));
    }

    #[test]
    fn sparse_rows_grow_in_width_and_take_in_dense_ones() {
        let dense = Matrix::from_f32(vec![0.0, 1.0, 2.0, 0.0], 2);
        let mut matrix = Matrix::empty(Dtype::Sparse, 0);
        assert!(append_vectors(&mut matrix, &dense, Some(&[true, false])));
        let mut wide = SparseRows::default();
        wide.push(&[4], &[5.0]);
        wide.push(&[], &[]);
        let wide = Matrix::from_storage(Storage::Sparse(wide), 5);
        assert!(append_vectors(&mut matrix, &wide, None));
        assert!(append_vectors(&mut matrix, &wide, Some(&[false, true])));
        assert_eq!((matrix.rows(), matrix.cols(), matrix.stored()), (4, 5, 2));
        assert!(!append_vectors(&mut matrix, &dense, None));
        retain_vectors(&mut matrix, 1, &[false, true, false]);
        assert_eq!((matrix.rows(), matrix.stored(), matrix.get(0, 1)), (2, 1, 1.0));
        // A matrix that is not sparse holds no sparse rows: nothing says how many columns they would take.
        assert!(!append_vectors(&mut Matrix::empty(Dtype::F32, 5), &wide, None));
    }

    #[test]
    fn kinds_meet_in_the_narrowest_that_holds_both() {
        let vector = |len, dtype| FieldKind::Vector { len, dtype };
        assert_eq!(common_kind(&FieldKind::Bool, &FieldKind::Int), Some(FieldKind::Int));
        assert_eq!(common_kind(&FieldKind::Int, &FieldKind::Text), Some(FieldKind::Text));
        assert_eq!(
            common_kind(&vector(Some(3), Dtype::F16), &vector(None, Dtype::F32)),
            Some(vector(Some(3), Dtype::F32))
        );
        assert_eq!(common_kind(&vector(Some(3), Dtype::F16), &vector(Some(4), Dtype::F16)), None);
        assert_eq!(common_kind(&vector(None, Dtype::F16), &FieldKind::Float), None);
        let sparse = |len| vector(Some(len), Dtype::Sparse);
        assert_eq!(common_kind(&sparse(3), &sparse(7)), Some(sparse(7)));
        assert_eq!(common_kind(&sparse(3), &vector(Some(4), Dtype::F16)), Some(sparse(4)));
        assert_eq!(common_kind(&vector(Some(2), Dtype::F32), &sparse(3)), None);
    }
}
