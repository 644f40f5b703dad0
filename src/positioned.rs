//! Reads at a given place of a file that many threads may share, straight into the memory of numbers.

use std::fs::File;
use std::io::{self, ErrorKind};

use rayon::prelude::*;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::simd::prefer_large_pages;

/// Bytes that a thread reads at a time: long enough for a system call, short enough to share out.
const AT_ONCE: usize = 1 << 20;

/// A number that may hold any bits.
pub(crate) trait Number: FromBytes + FromZeros + IntoBytes + Copy + Send + Sync {}
impl<T: FromBytes + FromZeros + IntoBytes + Copy + Send + Sync> Number for T {}

/// Lengthens `values` by `more`; `None` where there is no memory. Room is made for `expected` values, those of blocks that
/// follow included, so that they need not be moved; the file must have shown that it may hold them. Fresh memory is zero
/// already, and its pages are first touched by the thread that fills them; behind values that are there, all threads have
/// to write zeros first.
pub(crate) fn grow<T: Number>(values: &mut Vec<T>, more: usize, expected: usize) -> Option<()> {
    if values.is_empty() && values.capacity() < more {
        let fresh = T::new_vec_zeroed(expected.max(more)).or_else(|_| T::new_vec_zeroed(more));
        *values = fresh.ok()?;
        prefer_large_pages(values);
        values.truncate(more);
        return Some(());
    }
    if values.capacity() - values.len() < more {
        values.try_reserve(expected.max(more)).or_else(|_| values.try_reserve(more)).ok()?;
        prefer_large_pages(values.spare_capacity_mut());
    }
    values.par_extend(rayon::iter::repeat_n(T::new_zeroed(), more));
    Some(())
}

/// Fills `into` with the bytes of `file` from byte `start` on, on all threads; they are taken as numbers of this machine.
pub(crate) fn read_numbers_at<T: Number>(file: &File, into: &mut [T], start: u64) -> io::Result<()> {
    let part = |(at, part): (usize, &mut [u8])| read_exact_at(file, part, start + (at * AT_ONCE) as u64);
    into.as_mut_bytes().par_chunks_mut(AT_ONCE).enumerate().try_for_each(part)
}

/// Fills `into` with the bytes of `file` from byte `start` on; the cursor of the file plays no part.
#[cfg(unix)]
fn read_some(file: &File, into: &mut [u8], start: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, start)
}

#[cfg(windows)]
fn read_some(file: &File, into: &mut [u8], start: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, into, start)
}

/// One thread at a time: the cursor is shared.
#[cfg(not(any(unix, windows)))]
fn read_some(mut file: &File, into: &mut [u8], start: u64) -> io::Result<usize> {
    use std::io::{Read, Seek, SeekFrom};
    static CURSOR: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _held = CURSOR.lock();
    file.seek(SeekFrom::Start(start))?;
    file.read(into)
}

/// Fills `into` with the bytes of `file` from byte `start` on.
///
/// # Errors
/// [`ErrorKind::UnexpectedEof`] where the file ends before.
pub(crate) fn read_exact_at(file: &File, mut into: &mut [u8], mut start: u64) -> io::Result<()> {
    while !into.is_empty() {
        match read_some(file, into, start) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                into = into.get_mut(read..).unwrap_or_default();
                start += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn values_grow_by_zeros_without_being_moved() {
        let mut values: Vec<f32> = Vec::new();
        grow(&mut values, 3, 100).unwrap();
        assert_eq!((&values[..], values.capacity()), (&[0.0; 3][..], 100));
        values.fill(1.0);
        let place = values.as_ptr();
        grow(&mut values, 2, 2).unwrap();
        assert_eq!((&values[..], values.as_ptr()), (&[1.0, 1.0, 1.0, 0.0, 0.0][..], place));
        grow(&mut values, 1000, 0).unwrap();
        assert_eq!((values.len(), values[2], values[1004]), (1005, 1.0, 0.0));
    }

    #[test]
    fn a_place_is_read_whole_or_not_at_all() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut into = [0; 4];
        read_exact_at(&file, &mut into, 3).unwrap();
        assert_eq!(&into, b"3456");
        let error = read_exact_at(&file, &mut into, 7).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
}
