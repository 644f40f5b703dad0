//! Levels of a page that say: only whole vectors of one length, no nulls.

use super::runs::{Run, Runs};

/// Whether the repetition levels of a page, of which the first stands at value `first` of its column chunk, begin a row
/// at every multiple of `len` and nowhere else. A row may go on from page to page.
pub(crate) fn rows_of_one_length(bytes: &[u8], count: usize, first: usize, len: usize) -> Option<()> {
    let past = first.checked_rem(len)?;
    // Levels until the next row begins.
    let mut ahead = if past == 0 { 0 } else { len - past };
    let mut runs = Runs::new(bytes, 1, count).ok()?;
    while let Some(run) = runs.next().ok()? {
        match run {
            Run::Repeated(1, n) => ahead = ahead.checked_sub(n)?,
            Run::Repeated(0, 1) if ahead == 0 => ahead = len - 1,
            Run::Repeated(0, _) if len == 1 => {}
            Run::Packed(group, n) => ahead = rows_of_bits(group, n, ahead, len)?,
            Run::Repeated(..) => return None,
        }
    }
    Some(())
}

/// As [`rows_of_one_length`], of `n` bits; 64 of them are compared at once with what they should be.
fn rows_of_bits(group: &[u8], n: usize, mut ahead: usize, len: usize) -> Option<usize> {
    for at in (0..n).step_by(64) {
        let count = (n - at).min(64);
        let mut expected = u64::MAX;
        while ahead < count {
            expected &= !(1 << ahead);
            ahead += len;
        }
        ahead -= count;
        if (word_at(group, at / 8) ^ expected) & lowest(count) != 0 {
            return None;
        }
    }
    Some(ahead)
}

/// Whether all of a page's levels are `max`, so that nothing is null.
pub(crate) fn all_present(bytes: &[u8], count: usize, max: i16) -> Option<()> {
    let max = u32::try_from(max).ok()?;
    let width = u32::BITS - max.leading_zeros();
    // Levels of lists have one or two bits; of those a word holds a whole number.
    if !matches!(width, 1 | 2) {
        return None;
    }
    let expected = u64::from(max) * if width == 1 { u64::MAX } else { u64::MAX / 3 };
    let mut runs = Runs::new(bytes, width, count).ok()?;
    while let Some(run) = runs.next().ok()? {
        match run {
            Run::Repeated(level, _) if level == max => {}
            Run::Repeated(..) => return None,
            Run::Packed(group, n) => {
                let bits = n * width as usize;
                let same = |at: usize| (word_at(group, at / 8) ^ expected) & lowest((bits - at).min(64)) == 0;
                (0..bits).step_by(64).all(same).then_some(())?;
            }
        }
    }
    Some(())
}

/// Eight bytes from `at` on, zeros behind the end.
fn word_at(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    match rest.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// A mask of the lowest 1 to 64 bits.
fn lowest(bits: usize) -> u64 {
    u64::MAX >> (64 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels as one packed run, or as runs of equal ones.
    fn encoded(levels: &[u32], width: u32, packed: bool) -> Vec<u8> {
        let varint = |mut n: usize| {
            let mut bytes = Vec::new();
            while n >= 0x80 {
                bytes.push(n as u8 | 0x80);
                n >>= 7;
            }
            bytes.push(n as u8);
            bytes
        };
        if !packed {
            let runs = levels.chunk_by(|a, b| a == b);
            return runs.flat_map(|run| [varint(run.len() << 1), vec![run[0] as u8]].concat()).collect();
        }
        let groups = levels.len().div_ceil(8);
        let mut bytes = vec![0; groups * width as usize];
        for (at, level) in levels.iter().enumerate() {
            bytes[at * width as usize / 8] |= (level << (at * width as usize % 8)) as u8;
        }
        [varint(groups << 1 | 1), bytes].concat()
    }

    #[test]
    fn rows_must_begin_where_the_length_says() {
        for (len, first, count) in [(1, 0, 100), (2, 1, 99), (7, 3, 200), (64, 0, 640), (200, 150, 500)] {
            let levels: Vec<u32> = (first..first + count).map(|at| u32::from(at % len != 0)).collect();
            for packed in [false, true] {
                let holds = |levels: &[u32], len: usize| {
                    rows_of_one_length(&encoded(levels, 1, packed), count, first, len).is_some()
                };
                assert!(holds(&levels, len), "{len} {first} {packed}");
                assert!(!holds(&levels, len + 1));
                for at in 0..count {
                    let mut other = levels.clone();
                    other[at] ^= 1;
                    assert!(!holds(&other, len), "{len} {first} {packed} {at}");
                }
            }
        }
        assert!(rows_of_one_length(&[], 0, 0, 0).is_none());
    }

    #[test]
    fn one_absent_value_is_seen() {
        for (max, width) in [(1, 1), (2, 2), (3, 2)] {
            let levels = vec![max as u32; 101];
            for packed in [false, true] {
                let holds = |levels: &[u32]| all_present(&encoded(levels, width, packed), 101, max).is_some();
                assert!(holds(&levels));
                for at in 0..levels.len() {
                    let mut other = levels.clone();
                    other[at] -= 1;
                    assert!(!holds(&other), "{max} {packed} {at}");
                }
            }
        }
        assert!(all_present(&[2, 4], 1, 4).is_none());
    }
}
