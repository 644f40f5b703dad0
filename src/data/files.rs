//! Several files of the same columns, read as one table.

use std::fs;

use super::columns::{append_rows, common_kind};
use super::format::{OpenOptions, open_table};
use super::options::ReadOptions;
use super::paths;
use super::table::{ColumnBuffer, Field, FieldKind, TableReader, new_buffer};
use crate::matrix::Dtype;
use crate::{Error, Result};

/// Files kept open from looking at their columns to reading them; more are opened again in their turn, because
/// systems limit the number of open files.
const KEPT_OPEN: usize = 64;

fn expand(patterns: &[String], options: &ReadOptions) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for pattern in patterns {
        files.extend(paths::expand(pattern, options.format)?);
    }
    Ok(files)
}

fn open_file(path: &str, options: &ReadOptions) -> Result<Box<dyn TableReader>> {
    let ReadOptions { format, delimiter, has_header, .. } = *options;
    let block_bytes = options.memory.as_ref().map(|memory| memory.block);
    open_table(path, &OpenOptions { format, delimiter, has_header, block_bytes })
}

/// One file of the set.
struct Member {
    path: String,
    /// Name for messages.
    source: String,
    reader: Option<Box<dyn TableReader>>,
    fields: Vec<Field>,
    /// Whether each column can be written back as the file spells it.
    keeps_spelling: Vec<bool>,
    /// For each column of the set, its place in this file.
    places: Vec<usize>,
}

/// The files of a data set, their columns checked against each other.
pub(super) struct FileSet {
    members: Vec<Member>,
    fields: Vec<Field>,
    options: ReadOptions,
}

impl FileSet {
    /// Opens every file that `patterns` name. Columns are those of the first file; the others may hold them in another
    /// order, and in another kind where one kind holds both.
    pub(super) fn open(patterns: &[String], options: &ReadOptions) -> Result<Self> {
        match Self::open_all(patterns, options) {
            // Separator and header may be meant for the label file, which then has to be one of text.
            Err(Error::NoEffect { .. }) if options.label_file.is_some() => {
                Self::open_all(patterns, &options.without_text_options())
            }
            set => set,
        }
    }

    fn open_all(patterns: &[String], options: &ReadOptions) -> Result<Self> {
        let mut members: Vec<Member> = Vec::new();
        for path in expand(patterns, options)? {
            let reader = open_file(&path, options)?;
            let fields = reader.fields().to_vec();
            check_duplicates(reader.source(), &fields)?;
            members.push(Member {
                source: reader.source().to_owned(),
                keeps_spelling: (0..fields.len()).map(|column| reader.keeps_spelling(column)).collect(),
                places: (0..fields.len()).collect(),
                // Standard input cannot be opened again.
                reader: (members.len() < KEPT_OPEN || path == "-").then_some(reader),
                path,
                fields,
            });
        }
        let Some(first) = members.first() else {
            return Err(Error::NotFound { path: patterns.join(" "), near: Vec::new() });
        };
        let mut fields = first.fields.clone();
        let first_source = first.source.clone();
        for member in &mut members[1..] {
            member.places = unify(&first_source, &mut fields, member)?;
        }
        Ok(FileSet { members, fields, options: options.clone() })
    }

    /// Columns of the set.
    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether the files were opened with the separator and the header of `options`.
    pub(super) fn follows_text_options(&self, options: &ReadOptions) -> bool {
        (self.options.delimiter, self.options.has_header) == (options.delimiter, options.has_header)
    }

    /// Number of files.
    pub(super) fn files(&self) -> usize {
        self.members.len()
    }

    /// Name of a file for messages.
    pub(super) fn source(&self, file: usize) -> &str {
        &self.members[file].source
    }

    /// Name of the set for messages: its first file, and how many more.
    pub(super) fn name(&self) -> String {
        match self.members.len() {
            1 => self.members[0].source.clone(),
            n => format!("{} and {} more", self.members[0].source, n - 1),
        }
    }

    /// Number of rows of all files, where all of them tell.
    pub(super) fn row_count(&self) -> Option<u64> {
        let of_member = |member: &Member| member.reader.as_ref().and_then(|reader| reader.row_count());
        self.members.iter().map(of_member).sum()
    }

    /// Bytes of all files on disk; standard input counts 0.
    pub(super) fn bytes(&self) -> u64 {
        self.members.iter().filter_map(|member| fs::metadata(&member.path).ok()).map(|meta| meta.len()).sum()
    }

    /// The kind in which a column keeps the spelling of its values: text where whole numbers would lose it.
    pub(super) fn spelled_kind(&self, column: usize) -> FieldKind {
        let keeps = |member: &Member| member.keeps_spelling[member.places[column]];
        if self.members.iter().all(keeps) { self.fields[column].kind.clone() } else { FieldKind::Text }
    }

    /// Class names that a file gives for a column.
    pub(super) fn class_names(&self, file: usize, column: usize) -> Option<&[String]> {
        let member = &self.members[file];
        member.fields[member.places[column]].class_names.as_deref()
    }

    /// Starts reading columns, each in a kind that its own widens to.
    pub(super) fn read(self, columns: Vec<(usize, FieldKind)>) -> Blocks {
        Blocks { set: self, columns, file: 0, row: 0 }
    }
}

fn check_duplicates(file: &str, fields: &[Field]) -> Result<()> {
    let mut names: Vec<(&str, usize)> = fields.iter().zip(1..).map(|(f, at)| (f.name.as_str(), at)).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(()),
        Some(pair) => Err(Error::DuplicateColumns {
            file: file.to_owned(),
            name: pair[0].0.to_owned(),
            positions: names.iter().filter(|(name, _)| *name == pair[0].0).map(|(_, at)| *at).collect(),
        }),
    }
}

/// Places of the set's columns in a further file; widens the set's kinds to hold that file's.
fn unify(first: &str, fields: &mut [Field], member: &Member) -> Result<Vec<usize>> {
    let differ = |what: String| Error::FilesDiffer { file: member.source.clone(), what };
    let mut places = Vec::with_capacity(fields.len());
    for field in fields.iter_mut() {
        let place = member.fields.iter().position(|other| other.name == field.name);
        let place = place.ok_or_else(|| differ(format!("column {:?} of {first}", field.name)))?;
        let kind = common_kind(&field.kind, &member.fields[place].kind);
        field.kind = kind.ok_or_else(|| {
            let (here, there) = (kind_name(&member.fields[place].kind), kind_name(&field.kind));
            differ(format!("the type of column {:?} in {first}: {here} here, {there} there", field.name))
        })?;
        places.push(place);
    }
    match member.fields.iter().find(|other| fields.iter().all(|field| field.name != other.name)) {
        None => Ok(places),
        Some(extra) => Err(Error::FilesDiffer {
            file: first.to_owned(),
            what: format!("column {:?} of {}", extra.name, member.source),
        }),
    }
}

/// A kind as messages name it.
pub(super) fn kind_name(kind: &FieldKind) -> String {
    match kind {
        FieldKind::Int => "whole numbers".into(),
        FieldKind::Float => "numbers".into(),
        FieldKind::Bool => "true/false".into(),
        FieldKind::Text => "text".into(),
        FieldKind::Vector { len: Some(len), .. } => format!("vectors of {len}"),
        FieldKind::Vector { len: None, .. } => "vectors".into(),
        FieldKind::Other(name) => name.clone(),
    }
}

/// Where a block of rows comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockOrigin {
    /// Index of the file in the set.
    pub(super) file: usize,
    /// Rows of that file before the block.
    pub(super) first_row: u64,
    /// Rows of the block.
    pub(super) rows: usize,
}

/// The rows of a [`FileSet`], block by block.
pub(super) struct Blocks {
    set: FileSet,
    columns: Vec<(usize, FieldKind)>,
    file: usize,
    row: u64,
}

impl Blocks {
    /// The files read.
    pub(super) fn set(&self) -> &FileSet {
        &self.set
    }

    /// The column of the set that a buffer is for.
    pub(super) fn column(&self, slot: usize) -> usize {
        self.columns[slot].0
    }

    /// Empty buffers, one a column read.
    pub(super) fn new_buffers(&self) -> Result<Vec<ColumnBuffer>> {
        self.columns.iter().map(|(column, kind)| self.new_buffer(*column, kind)).collect()
    }

    fn new_buffer(&self, column: usize, kind: &FieldKind) -> Result<ColumnBuffer> {
        new_buffer(kind).ok_or_else(|| Error::UnsupportedType {
            file: self.set.name(),
            column: self.set.fields[column].name.clone(),
            kind: kind_name(kind),
            role: "a column to read",
        })
    }

    /// Appends the next block to `into` (from [`Blocks::new_buffers`], or left from the block before); `None` after
    /// the last file.
    pub(super) fn append_next(&mut self, into: &mut [ColumnBuffer]) -> Result<Option<BlockOrigin>> {
        while self.file < self.set.members.len() {
            let rows = self.append_from_file(into)?;
            if rows > 0 {
                let origin = BlockOrigin { file: self.file, first_row: self.row, rows };
                self.row += rows as u64;
                return Ok(Some(origin));
            }
            // Closes the file.
            self.set.members[self.file].reader = None;
            (self.file, self.row) = (self.file + 1, 0);
        }
        Ok(None)
    }

    fn append_from_file(&mut self, into: &mut [ColumnBuffer]) -> Result<usize> {
        let starts = self.row == 0;
        let member = &mut self.set.members[self.file];
        let reader = match &mut member.reader {
            Some(reader) => reader,
            None => member.reader.insert(open_file(&member.path, &self.set.options)?),
        };
        let places: Vec<usize> = self.columns.iter().map(|(column, _)| member.places[*column]).collect();
        for (&place, (_, kind)) in places.iter().zip(&self.columns) {
            if starts && *kind == FieldKind::Text && reader.fields()[place].kind != FieldKind::Text {
                reader.read_as_text(place);
            }
        }
        // Columns of the wanted kind go straight into the caller's buffers, the others through one of their own.
        let mut direct = Vec::with_capacity(into.len());
        let mut buffers = Vec::with_capacity(into.len());
        for (buffer, &place) in into.iter_mut().zip(&places) {
            let kind = &reader.fields()[place].kind;
            let own = new_buffer(kind).filter(|_| !holds(buffer, kind));
            direct.push(own.is_none());
            buffers.push(own.unwrap_or_else(|| std::mem::replace(buffer, ColumnBuffer::Float(Vec::new()))));
        }
        let rows = reader.append_block(&places, &mut buffers)?;
        for (at, (buffer, direct)) in buffers.into_iter().zip(direct).enumerate() {
            if direct {
                into[at] = buffer;
            } else if !append_rows(&mut into[at], &buffer, None) {
                return Err(Error::FilesDiffer {
                    file: member.source.clone(),
                    what: format!(
                        "the vector length of column {:?}",
                        self.set.fields[self.columns[at].0].name
                    ),
                });
            }
        }
        Ok(rows)
    }
}

/// Whether a reader can append rows of `kind` to the buffer.
fn holds(buffer: &ColumnBuffer, kind: &FieldKind) -> bool {
    match (buffer, kind) {
        (ColumnBuffer::Int { .. }, FieldKind::Int)
        | (ColumnBuffer::Float(_), FieldKind::Float)
        | (ColumnBuffer::Bool { .. }, FieldKind::Bool)
        | (ColumnBuffer::Text(_), FieldKind::Text) => true,
        (ColumnBuffer::Vector(matrix), FieldKind::Vector { len, dtype }) => {
            let fits = match dtype {
                Dtype::Sparse => len.is_some_and(|len| len <= matrix.cols()),
                _ => matrix.rows() == 0 || *len == Some(matrix.cols()),
            };
            matrix.dtype() == *dtype && fits
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[&str]) -> (tempfile::TempDir, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let write = |(at, text): (usize, &&str)| {
            let path = folder.path().join(format!("{at}.csv"));
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let paths = texts.iter().enumerate().map(write).collect();
        (folder, paths)
    }

    #[test]
    fn files_in_another_order_and_kind_become_one_column() {
        let (_folder, paths) = files(&["a,b\n1,007\n2,8\n", "b,a\nx,2.5\n"]);
        let set = FileSet::open(&paths, &ReadOptions::default()).unwrap();
        assert_eq!(set.fields()[0].kind, FieldKind::Float);
        assert_eq!(set.fields()[1].kind, FieldKind::Text);
        let mut blocks = set.read(vec![(0, FieldKind::Float), (1, FieldKind::Text)]);
        let mut buffers = blocks.new_buffers().unwrap();
        let first = blocks.append_next(&mut buffers).unwrap().unwrap();
        assert_eq!(first, BlockOrigin { file: 0, first_row: 0, rows: 2 });
        let second = blocks.append_next(&mut buffers).unwrap().unwrap();
        assert_eq!(second, BlockOrigin { file: 1, first_row: 0, rows: 1 });
        assert_eq!(blocks.append_next(&mut buffers).unwrap(), None);
        let (ColumnBuffer::Float(a), ColumnBuffer::Text(b)) = (&buffers[0], &buffers[1]) else { panic!() };
        assert_eq!(a, &[1.0, 2.0, 2.5]);
        assert_eq!([b.get(0), b.get(1), b.get(2)], [Some("007"), Some("8"), Some("x")]);
    }

    #[test]
    fn files_of_other_columns_are_named() {
        let (_folder, paths) = files(&["a,b\n1,2\n", "a\n1\n", "a,b,c\n1,2,3\n"]);
        let fail = |picked: [usize; 2]| {
            let picked = picked.map(|i| paths[i].clone());
            FileSet::open(&picked, &ReadOptions::default()).err().unwrap().to_string()
        };
        assert_eq!(fail([0, 1]), format!("{} lacks column \"b\" of {}", paths[1], paths[0]));
        assert_eq!(fail([0, 2]), format!("{} lacks column \"c\" of {}", paths[0], paths[2]));
    }
}
