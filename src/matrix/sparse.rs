//! Rows of which only the values that are not zero are stored (compressed sparse rows).

/// Rows of `(column, value)` entries, columns ascending within a row; every value without an entry is 0.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseRows {
    /// Where each row starts among the entries, and where the last one ends.
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Default for SparseRows {
    fn default() -> Self {
        SparseRows { starts: vec![0], columns: Vec::new(), values: Vec::new() }
    }
}

impl SparseRows {
    /// Appends a row.
    ///
    /// # Panics
    /// Where the columns do not ascend, or their number is not that of the values.
    pub fn push(&mut self, columns: &[u32], values: &[f32]) {
        assert_eq!(columns.len(), values.len(), "one value a column");
        assert!(columns.is_sorted_by(|a, b| a < b), "columns of a row ascend");
        self.columns.extend_from_slice(columns);
        self.values.extend_from_slice(values);
        self.starts.push(self.columns.len());
    }

    /// Appends rows.
    pub fn append(&mut self, rows: SparseRef<'_>) {
        let offset = self.columns.len();
        let (columns, values) = rows.entries();
        self.columns.extend_from_slice(columns);
        self.values.extend_from_slice(values);
        self.starts.extend(rows.starts[1..].iter().map(|start| offset + start - rows.starts[0]));
    }

    /// Leaves no rows, and the memory for others.
    pub fn clear(&mut self) {
        self.starts.truncate(1);
        self.columns.clear();
        self.values.clear();
    }

    /// Leaves the first `rows` rows, or all where there are fewer.
    pub fn truncate(&mut self, rows: usize) {
        self.starts.truncate(rows.saturating_add(1));
        let end = self.starts.last().copied().unwrap_or(0);
        self.columns.truncate(end);
        self.values.truncate(end);
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// One more than the largest column, 0 without entries.
    pub fn width(&self) -> usize {
        self.columns.iter().max().map_or(0, |&column| column as usize + 1)
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.columns.len()
    }

    /// Rows `start..end`.
    pub fn range(&self, start: usize, end: usize) -> SparseRef<'_> {
        SparseRef { starts: &self.starts[start..=end], columns: &self.columns, values: &self.values }
    }

    /// Columns and values of all entries, row after row; columns stay as they are.
    pub fn entries_mut(&mut self) -> (&[u32], &mut [f32]) {
        (&self.columns, &mut self.values)
    }
}

/// A borrowed run of [`SparseRows`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SparseRef<'a> {
    /// One more than there are rows; places in `columns` and `values`.
    starts: &'a [usize],
    columns: &'a [u32],
    values: &'a [f32],
}

impl<'a> SparseRef<'a> {
    /// Number of rows.
    pub fn rows(self) -> usize {
        self.starts.len() - 1
    }

    /// Rows `start..end` of these.
    pub(super) fn range(self, start: usize, end: usize) -> SparseRef<'a> {
        SparseRef { starts: &self.starts[start..=end], ..self }
    }

    /// Number of entries.
    pub(super) fn len(self) -> usize {
        self.starts[self.rows()] - self.starts[0]
    }

    /// Columns (ascending) and values of a row.
    pub fn row(self, row: usize) -> (&'a [u32], &'a [f32]) {
        let range = self.starts[row]..self.starts[row + 1];
        (&self.columns[range.clone()], &self.values[range])
    }

    /// Columns and values of every row in turn.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u32], &'a [f32])> {
        (0..self.rows()).map(move |row| self.row(row))
    }

    /// Columns and values of all rows, one after the other.
    pub fn entries(self) -> (&'a [u32], &'a [f32]) {
        let range = self.starts[0]..self.starts[self.rows()];
        (&self.columns[range.clone()], &self.values[range])
    }

    /// Bytes of the entries and of the places of the rows.
    pub(super) fn bytes(self) -> u64 {
        let entry = size_of::<u32>() + size_of::<f32>();
        (self.len() * entry + size_of_val(self.starts)) as u64
    }

    /// One more than the largest column of these rows, 0 without entries.
    pub fn width(self) -> usize {
        // Columns ascend within a row.
        self.iter().filter_map(|(columns, _)| columns.last()).max().map_or(0, |&column| column as usize + 1)
    }

    /// Entries of a row in the columns of a range.
    pub fn row_within(self, row: usize, range: std::ops::Range<u32>) -> (&'a [u32], &'a [f32]) {
        let (columns, values) = self.row(row);
        let inside =
            columns.partition_point(|&c| c < range.start)..columns.partition_point(|&c| c < range.end);
        (&columns[inside.clone()], &values[inside])
    }

    /// The value of a row in a column.
    pub fn get(self, row: usize, column: usize) -> f32 {
        let (columns, values) = self.row(row);
        columns.binary_search_by_key(&column, |&c| c as usize).map_or(0.0, |at| values[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_appended_and_looked_up() {
        let mut rows = SparseRows::default();
        rows.push(&[1, 4], &[2.0, 3.0]);
        rows.push(&[], &[]);
        rows.push(&[0], &[5.0]);
        assert_eq!((rows.rows(), rows.entries(), rows.width()), (3, 3, 5));
        assert_eq!([rows.range(0, 3).get(0, 4), rows.range(0, 3).get(1, 4)], [3.0, 0.0]);
        let mut copy = SparseRows::default();
        copy.append(rows.range(1, 3));
        copy.append(rows.range(0, 1));
        let seen: Vec<_> = copy.range(0, 3).iter().map(|(columns, _)| columns.to_vec()).collect();
        assert_eq!(seen, [vec![], vec![0], vec![1, 4]]);
        assert_eq!(copy.range(1, 2).entries(), (&[0u32][..], &[5.0f32][..]));
        assert_eq!((rows.range(0, 1).width(), rows.range(1, 2).width()), (5, 0));
        assert_eq!(rows.range(0, 3).row_within(0, 2..5), (&[4u32][..], &[3.0f32][..]));
        assert!(rows.range(0, 3).row_within(2, 1..5).0.is_empty());
        copy.truncate(2);
        assert_eq!((copy.rows(), copy.entries()), (2, 1));
    }

    #[test]
    #[should_panic(expected = "ascend")]
    fn columns_out_of_order_are_refused() {
        SparseRows::default().push(&[2, 2], &[1.0, 1.0]);
    }
}
