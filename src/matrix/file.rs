//! Rows that are too large for memory: they lie in a file without a name and are read block by block.
//!
//! Passes over rows return numbers, and run on many threads. A read that fails in one is therefore kept in the file and
//! its rows are 0; whoever started the pass asks [`super::Matrix::check`] before it trusts the numbers. The alternative,
//! a `Result` for every block, would go through every kernel for an event that ends the run anyway.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use half::{bf16, f16};
use zerocopy::IntoBytes;

use super::{Dtype, MatRef, Matrix, Storage};
use crate::memory::check_disk;
use crate::output::nameless_file;
use crate::positioned::{Number, read_exact_at};
use crate::stop::Stop;
use crate::{Error, Result};

/// Bytes of rows that are read together where rows are visited one after the other: a system call costs little beside
/// them, and they stay in a second-level cache until they are used.
const TOGETHER: usize = 64 << 10;
/// Bytes between two rows that are rather read than skipped.
const GAP: usize = 4 << 10;
/// Bytes of a block where all rows are gone through.
const BLOCK: usize = 1 << 20;

/// Rows of a [`Matrix`] in a file. A file that copies share never changes.
#[derive(Debug, Clone)]
pub struct FileRows {
    shared: Arc<Shared>,
    dtype: Dtype,
    rows: usize,
    cols: usize,
}

#[derive(Debug)]
struct Shared {
    file: File,
    /// Where the file lies, and others may be made.
    folder: PathBuf,
    failure: OnceLock<(&'static str, io::Error)>,
}

impl PartialEq for FileRows {
    /// Whether they are the same rows of the same file.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
            && (self.dtype, self.rows, self.cols) == (other.dtype, other.rows, other.cols)
    }
}

/// Memory for rows that are read from a file; of no use, and empty, where rows are in memory.
#[derive(Debug, Default)]
pub struct RowBuffer {
    single: Vec<f32>,
    half: Vec<f16>,
    brain: Vec<bf16>,
}

impl FileRows {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width of the values.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The folder of the file.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn row_bytes(&self) -> usize {
        self.cols * self.dtype.width()
    }

    /// Rows that make a block where all are gone through.
    pub fn block_rows(&self) -> usize {
        (BLOCK / self.row_bytes().max(1)).max(1)
    }

    /// Rows `start..end`.
    pub fn read<'b>(&self, start: usize, end: usize, buffer: &'b mut RowBuffer) -> MatRef<'b> {
        match self.dtype {
            Dtype::F16 => MatRef::F16(self.read_into(start, end, &mut buffer.half)),
            Dtype::Bf16 => MatRef::Bf16(self.read_into(start, end, &mut buffer.brain)),
            Dtype::F32 | Dtype::Sparse => MatRef::F32(self.read_into(start, end, &mut buffer.single)),
        }
    }

    fn read_into<'b, T: Number>(&self, start: usize, end: usize, values: &'b mut Vec<T>) -> &'b [T] {
        values.resize((end - start) * self.cols, T::new_zeroed());
        let from = start as u64 * self.row_bytes() as u64;
        if let Err(error) = read_exact_at(&self.shared.file, values.as_mut_bytes(), from) {
            self.fail("read", error);
            values.fill(T::new_zeroed());
        }
        values
    }

    fn fail(&self, action: &'static str, error: io::Error) {
        // The first error says most.
        let _ = self.shared.failure.set((action, error));
    }

    /// Whether reading has failed.
    pub fn has_failed(&self) -> bool {
        self.shared.failure.get().is_some()
    }

    /// Fails where reading has failed.
    pub fn check(&self) -> Result<()> {
        let Some((action, error)) = self.shared.failure.get() else { return Ok(()) };
        let copy = || io::Error::new(error.kind(), error.to_string());
        let error = error.raw_os_error().map_or_else(copy, io::Error::from_raw_os_error);
        Err(Error::io(name_in(&self.shared.folder), action, error))
    }

    /// Calls `visit` with the place in `rows` and the values of each of them. Rows that lie near each other in ascending
    /// order are read together.
    pub fn visit(&self, rows: impl Iterator<Item = usize>, mut visit: impl FnMut(usize, MatRef<'_>)) {
        let row_bytes = self.row_bytes().max(1);
        let (most, gap) = ((TOGETHER / row_bytes).max(1), 1 + GAP / row_bytes);
        let (mut buffer, mut together) = (RowBuffer::default(), Vec::new());
        let (mut rows, mut place) = (rows.peekable(), 0);
        while let Some(first) = rows.next() {
            let mut last = first;
            together.clear();
            together.push(first);
            while let Some(row) = rows.next_if(|&row| row >= last && row - last <= gap && row - first < most)
            {
                together.push(row);
                last = row;
            }
            let block = self.read(first, last + 1, &mut buffer);
            for &row in &together {
                visit(place, row_of(block, row - first, self.cols));
                place += 1;
            }
        }
    }

    /// All rows after `edit` has changed them, block by block: in their places, unless others share the file or rows change
    /// their length, else in a file of their own. Where rows cannot be read or written the result has the shape that it
    /// should have, and fails [`FileRows::check`].
    pub(super) fn edited(self, edit: impl Fn(&mut Matrix)) -> Matrix<'static> {
        let mut shape = (self.dtype, self.cols);
        let edited = self.try_edited(edit, &mut shape);
        match edited {
            Ok(matrix) if !self.has_failed() => return matrix,
            Err(Error::Io { action, source, .. }) => self.fail(action, source),
            Ok(_) | Err(_) => {}
        }
        let (dtype, cols) = shape;
        Matrix::from_storage(Storage::File(FileRows { dtype, cols, ..self }), cols)
    }

    fn try_edited(&self, edit: impl Fn(&mut Matrix), shape: &mut (Dtype, usize)) -> Result<Matrix<'static>> {
        let mut buffer = RowBuffer::default();
        let mut writer: Option<FileRowsWriter> = None;
        // Nobody else can come to share what this alone holds.
        let is_alone = Arc::strong_count(&self.shared) == 1;
        for start in (0..self.rows).step_by(self.block_rows()) {
            let end = (start + self.block_rows()).min(self.rows);
            let storage = self.read(start, end, &mut buffer).to_storage(&Stop::default());
            let mut block = Matrix::from_storage(storage, self.cols);
            edit(&mut block);
            *shape = (block.dtype(), block.cols());
            if is_alone && *shape == (self.dtype, self.cols) {
                self.put(start, &block).map_err(|error| Error::io(name_in(self.folder()), "write", error))?;
                continue;
            }
            let writer = match &mut writer {
                Some(writer) => writer,
                None => {
                    let rows = self.rows as u64;
                    writer.insert(FileRowsWriter::create(self.folder(), shape.0, shape.1, rows)?)
                }
            };
            writer.append(&block)?;
        }
        let same_file = Matrix::from_storage(Storage::File(self.clone()), self.cols);
        Ok(writer.map_or(same_file, FileRowsWriter::finish))
    }

    /// Writes the rows of `block` over those from `start` on.
    fn put(&self, start: usize, block: &Matrix) -> io::Result<()> {
        let mut file = &self.shared.file;
        file.seek(SeekFrom::Start(start as u64 * self.row_bytes() as u64))?;
        write_as_stored(file, block)
    }
}

/// Writes dense rows in memory as they are.
fn write_as_stored(mut file: &File, block: &Matrix) -> io::Result<()> {
    match block.in_memory() {
        Some(MatRef::F32(values)) => file.write_all(values.as_bytes()),
        Some(MatRef::F16(values)) => file.write_all(values.as_bytes()),
        Some(MatRef::Bf16(values)) => file.write_all(values.as_bytes()),
        Some(MatRef::Sparse(_)) | None => unreachable!("only dense rows in memory are written"),
    }
}

/// Row `at` of a block of dense rows.
fn row_of(block: MatRef<'_>, at: usize, cols: usize) -> MatRef<'_> {
    let range = at * cols..(at + 1) * cols;
    match block {
        MatRef::F32(values) => MatRef::F32(&values[range]),
        MatRef::F16(values) => MatRef::F16(&values[range]),
        MatRef::Bf16(values) => MatRef::Bf16(&values[range]),
        MatRef::Sparse(_) => block,
    }
}

/// How messages call a file of rows.
fn name_in(folder: &Path) -> String {
    format!("{}: temporary file of rows", folder.display())
}

/// Rows being written to a file.
#[derive(Debug)]
pub struct FileRowsWriter {
    file: File,
    folder: PathBuf,
    dtype: Dtype,
    rows: usize,
    cols: usize,
}

impl FileRowsWriter {
    /// For some `rows` dense rows of `cols` values, in a file without a name on the disk of `folder`.
    ///
    /// # Errors
    /// [`Error::Io`], where the disk has no room for so many rows among them.
    pub fn create(folder: &Path, dtype: Dtype, cols: usize, rows: u64) -> Result<Self> {
        let bytes = rows.saturating_mul((cols * dtype.width()) as u64);
        check_disk(folder, bytes).map_err(|error| Error::io(name_in(folder), "write", error))?;
        let file = nameless_file(folder).map_err(|error| Error::io(name_in(folder), "create", error))?;
        Ok(FileRowsWriter { file, folder: folder.to_owned(), dtype, rows: 0, cols })
    }

    /// Width of the values.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends the rows of a matrix in memory; f16 and bf16 widen to f32 where the file holds f32.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk among them.
    ///
    /// # Panics
    /// Where the rows have another number of columns or a width that does not widen to that of the file.
    pub fn append(&mut self, block: &Matrix) -> Result<()> {
        assert_eq!(block.cols(), self.cols, "rows of one file have one length");
        let written = match (&block.storage, self.dtype) {
            _ if block.dtype() == self.dtype => write_as_stored(&self.file, block),
            (Storage::F16(values), Dtype::F32) => self.write_wide(values, |x| x.to_f32()),
            (Storage::Bf16(values), Dtype::F32) => self.write_wide(values, |x| x.to_f32()),
            _ => unreachable!("the file holds narrower rows than these"),
        };
        written.map_err(|error| Error::io(name_in(&self.folder), "write", error))?;
        self.rows += block.rows();
        Ok(())
    }

    fn write_wide<T: Copy>(&mut self, values: &[T], widen: impl Fn(T) -> f32) -> io::Result<()> {
        values.chunks(BLOCK).try_for_each(|values| {
            let wide: Vec<f32> = values.iter().map(|&x| widen(x)).collect();
            self.file.write_all(wide.as_bytes())
        })
    }

    /// The rows written.
    pub fn finish(self) -> Matrix<'static> {
        let shared = Shared { file: self.file, folder: self.folder, failure: OnceLock::new() };
        let (dtype, rows, cols) = (self.dtype, self.rows, self.cols);
        Matrix::from_storage(Storage::File(FileRows { shared: Arc::new(shared), dtype, rows, cols }), cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(rows: usize, cols: usize) -> Vec<f32> {
        (0..rows * cols).map(|at| (at as f32 * 0.37).sin()).collect()
    }

    fn in_file(block: &Matrix) -> Matrix<'static> {
        let rows = block.rows() as u64;
        let folder = std::env::temp_dir();
        let mut writer = FileRowsWriter::create(&folder, block.dtype(), block.cols(), rows).unwrap();
        writer.append(block).unwrap();
        writer.finish()
    }

    fn file_of<'m>(matrix: &'m Matrix<'m>) -> &'m FileRows {
        let Storage::File(file) = &matrix.storage else { panic!() };
        file
    }

    #[test]
    fn rows_come_back_in_any_order_and_width() {
        let (rows, cols) = (3000, 50);
        let single = Matrix::from_f32(values(rows, cols), cols);
        let half = values(rows, cols).into_iter().map(f16::from_f32).collect();
        let brain = values(rows, cols).into_iter().map(bf16::from_f32).collect();
        for matrix in [
            single,
            Matrix::from_storage(Storage::F16(half), cols),
            Matrix::from_storage(Storage::Bf16(brain), cols),
        ] {
            let held = in_file(&matrix);
            assert_eq!((held.rows(), held.cols(), held.dtype()), (rows, cols, matrix.dtype()));
            assert_eq!((held.bytes(), held.stored()), (matrix.bytes(), matrix.stored()));
            let lists: [Vec<usize>; 5] = [
                (0..rows).collect(),
                (0..rows).filter(|row| row % 10 != 3).collect(),
                (0..rows).step_by(400).collect(),
                (0..rows).rev().step_by(7).collect(),
                vec![5, 5, 4, 2999, 0, 1, 1, 2],
            ];
            for list in lists {
                assert_eq!(held.select_rows(&list), matrix.select_rows(&list));
            }
            assert_eq!(held.get(2999, 49), matrix.get(2999, 49));
            let all: Vec<Matrix<'static>> = held
                .blocks()
                .map(|(start, end)| held.select_rows(&(start..end).collect::<Vec<_>>()))
                .collect();
            assert_eq!(all.iter().map(Matrix::rows).sum::<usize>(), rows);
            assert!(held.check().is_ok());
        }
    }

    #[test]
    fn edited_rows_lie_in_a_file_of_their_own() {
        let (rows, cols) = (40_000, 20);
        let narrow = Matrix::from_storage(
            Storage::F16(values(rows, cols).into_iter().map(f16::from_f32).collect()),
            cols,
        );
        let held = in_file(&narrow);
        let mut doubled = held.clone();
        assert!(doubled.edit_in_file(|block| {
            let wide: Vec<f32> = (0..block.rows())
                .flat_map(|row| (0..cols).map(move |col| (row, col)))
                .map(|(row, col)| 2.0 * block.get(row, col))
                .collect();
            *block = Matrix::from_f32(wide, cols);
        }));
        assert_eq!((doubled.dtype(), held.dtype(), doubled.rows()), (Dtype::F32, Dtype::F16, rows));
        assert!(doubled != held && doubled.clone() == doubled);
        for row in [0, 1, 20_000, rows - 1] {
            assert_eq!(doubled.get(row, 7), 2.0 * narrow.get(row, 7));
        }
        assert!(!narrow.clone().edit_in_file(|_| {}));
    }

    #[test]
    fn rows_that_nobody_shares_are_edited_in_their_places() {
        let (rows, cols) = (40_000, 20);
        let wide = Matrix::from_f32(values(rows, cols), cols);
        let mut held = in_file(&wide);
        let file = file_of(&held).shared.file.try_clone().unwrap();
        let halve = |block: &mut Matrix| {
            let Storage::F32(values) = block.storage_mut() else { panic!() };
            values.iter_mut().for_each(|x| *x *= 0.5);
        };
        held.edit_in_file(halve);
        let mut bytes = [0u8; 4];
        let last = rows * cols - 1;
        read_exact_at(&file, &mut bytes, 4 * last as u64).unwrap();
        assert_eq!(f32::from_le_bytes(bytes), 0.5 * values(rows, cols)[last], "another file was written");
        assert!((0..rows).step_by(97).all(|row| held.get(row, 3) == 0.5 * wide.get(row, 3)));
        // Whoever shares the rows keeps them as they are.
        let mut quarter = held.clone();
        quarter.edit_in_file(halve);
        assert_eq!(
            (quarter.get(999, 1), held.get(999, 1)),
            (0.25 * wide.get(999, 1), 0.5 * wide.get(999, 1))
        );
        // Rows that become longer need another file.
        held.edit_in_file(|block| *block = Matrix::from_f32(vec![1.0; block.rows() * 21], 21));
        assert_eq!((held.rows(), held.cols(), held.get(rows - 1, 20)), (rows, 21, 1.0));
        assert!(held.check().is_ok() && quarter.check().is_ok());
    }

    #[test]
    fn a_second_file_is_not_begun_without_room_for_it() {
        let (folder, cols) = (std::env::temp_dir(), 4);
        if crate::output::free_bytes(&folder).is_none() {
            return println!("skipped: this system does not tell how much room a disk has");
        }
        let Storage::File(file) = in_file(&Matrix::from_f32(values(1 << 16, cols), cols)).storage else {
            panic!()
        };
        // More rows than any disk holds: only the first block of them is there to be read.
        let mut held = Matrix::from_storage(Storage::File(FileRows { rows: 1 << 56, ..file }), cols);
        let shared = held.clone();
        held.edit_in_file(|block| *block = Matrix::from_f32(vec![0.0; block.stored()], cols));
        let error = held.check().unwrap_err();
        assert!(error.to_string().contains("--spill-dir"), "{error}");
        assert!(shared.rows() == held.rows());
        let error = FileRowsWriter::create(&folder, Dtype::F16, 1 << 20, 1 << 60).unwrap_err();
        assert_eq!(error.code(), "E0402");
    }

    #[test]
    fn rows_that_cannot_be_read_are_zero_and_known() {
        let held = in_file(&Matrix::from_f32(values(1000, 8), 8));
        let mut edited = held.clone();
        assert!(!held.has_failed() && held.check().is_ok());
        file_of(&held).shared.file.set_len(500 * 32).unwrap();
        assert_eq!(held.get(10, 3), values(1000, 8)[83]);
        assert!(!held.has_failed());
        assert_eq!(held.get(700, 3), 0.0);
        let error = held.check().unwrap_err();
        assert_eq!((error.code(), held.has_failed()), ("E0402", true));
        assert!(error.to_string().contains("cannot read"), "{error}");
        // What is made of them fails, too, in the shape that it should have.
        edited.edit_in_file(|block| *block = Matrix::from_f32(vec![1.0; block.rows() * 3], 3));
        assert_eq!((edited.rows(), edited.cols(), edited.has_failed()), (1000, 3, true));
    }

    #[test]
    fn f16_widens_where_the_file_is_f32() {
        let half = Matrix::from_storage(Storage::F16(vec![f16::from_f32(0.5); 6]), 3);
        let mut writer = FileRowsWriter::create(&std::env::temp_dir(), Dtype::F32, 3, 4).unwrap();
        writer.append(&half).unwrap();
        writer.append(&Matrix::from_f32(vec![0.25; 3], 3)).unwrap();
        assert_eq!((writer.rows(), writer.cols(), writer.dtype()), (3, 3, Dtype::F32));
        let held = writer.finish();
        assert_eq!([held.get(0, 0), held.get(1, 2), held.get(2, 1)], [0.5, 0.5, 0.25]);
    }
}
