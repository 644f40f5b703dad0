//! Repetition and definition levels of list columns, turned into rows of one length.
//!
//! Levels are those of the Dremel paper as Parquet uses them: repetition 0 begins a row; a definition level below
//! `element_def` has no element (null or empty list), one below `max_def` a null element.

use crate::Result;
use crate::data::vectors::{Element, VectorRows};

/// Levels that tell rows, elements and nulls of a list column apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ListShape {
    /// Definition level of a value.
    pub(crate) max_def: i16,
    /// Lowest definition level that has an element.
    pub(crate) element_def: i16,
}

/// Groups the levels of one column chunk to rows; pages may end in the middle of one.
pub(crate) struct RowGrouper {
    shape: ListShape,
    /// Elements of the row that is not ended yet.
    open: Option<usize>,
}

impl RowGrouper {
    pub(crate) fn new(shape: ListShape) -> Self {
        RowGrouper { shape, open: None }
    }

    /// Takes the next levels; their present values stand in `rows.values` from `start` on.
    pub(crate) fn take<T: Element>(
        &mut self,
        rows: &mut VectorRows<'_, T>,
        start: usize,
        rep: &[i16],
        def: &[i16],
    ) -> Result<()> {
        // Folds without an early end are vectorised; a million levels a millisecond would show.
        if def.iter().fold(true, |all, &level| all & (level == self.shape.max_def)) {
            self.take_present(rows, rep)
        } else {
            self.take_with_nulls(rows, start, rep, def)
        }
    }

    /// Every level has a value, and all values are in place.
    fn take_present<T: Element>(&mut self, rows: &mut VectorRows<'_, T>, rep: &[i16]) -> Result<()> {
        let mut at = 0;
        while at < rep.len() {
            if rep[at] == 0 {
                self.close(rows)?;
                self.open = Some(0);
            }
            // The expected end of the row in one step, where nothing contradicts it.
            let open = self.open.unwrap_or(0);
            let ahead = rows.len().and_then(|len| len.checked_sub(open)).unwrap_or(0).max(1);
            let expected = &rep[at..rep.len().min(at + ahead)];
            let ours = 1 + if expected[1..].iter().fold(true, |all, &level| all & (level != 0)) {
                expected.len() - 1
            } else {
                expected[1..].iter().take_while(|&&level| level != 0).count()
            };
            self.open = Some(open + ours);
            at += ours;
        }
        Ok(())
    }

    fn take_with_nulls<T: Element>(
        &mut self,
        rows: &mut VectorRows<'_, T>,
        start: usize,
        rep: &[i16],
        def: &[i16],
    ) -> Result<()> {
        let mut present = rows.values.split_off(start).into_iter();
        for (&rep, &def) in rep.iter().zip(def) {
            if rep == 0 {
                self.close(rows)?;
                if def + 1 < self.shape.element_def {
                    rows.null_row()?;
                    continue;
                }
                self.open = Some(0);
                if def < self.shape.element_def {
                    continue;
                }
            }
            let value = if def == self.shape.max_def { present.next() } else { Some(T::NAN) };
            rows.values.extend(value);
            self.open = Some(self.open.unwrap_or(0) + 1);
        }
        Ok(())
    }

    fn close<T: Element>(&mut self, rows: &mut VectorRows<'_, T>) -> Result<()> {
        match self.open.take() {
            Some(found) => rows.close_row(found),
            None => Ok(()),
        }
    }

    /// Ends the last row of the column chunk.
    pub(crate) fn finish<T: Element>(mut self, rows: &mut VectorRows<'_, T>) -> Result<()> {
        self.close(rows)
    }
}
