//! Parquet's hybrid of runs and bit-packed groups of eight, which holds levels and dictionary indices.

/// Numbers that follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Run<'a> {
    /// One number, so many times.
    Repeated(u32, usize),
    /// So many numbers, packed with the lowest bit first; the bytes hold all of them.
    Packed(&'a [u8], usize),
}

/// The runs of `left` numbers of `width` bits.
pub(crate) struct Runs<'a> {
    bytes: &'a [u8],
    width: u32,
    left: usize,
}

impl<'a> Runs<'a> {
    pub(crate) fn new(bytes: &'a [u8], width: u32, count: usize) -> Result<Self, String> {
        if width > 32 {
            Err(format!("numbers of {width} bits"))
        } else {
            Ok(Runs { bytes, width, left: count })
        }
    }

    /// Bytes behind the runs read so far.
    pub(crate) fn rest(&self) -> usize {
        self.bytes.len()
    }

    /// The next run, `None` after all numbers.
    pub(crate) fn next(&mut self) -> Result<Option<Run<'a>>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        let header = run_header(&mut self.bytes).ok_or("runs that end early")?;
        let (packed, length) = (header & 1 == 1, (header >> 1) as usize);
        if length == 0 {
            return Err("an empty run".into());
        }
        let width = self.width as usize;
        if packed {
            let size = length.saturating_mul(width).min(self.bytes.len());
            let (group, rest) = self.bytes.split_at(size);
            self.bytes = rest;
            let n = self.left.min(length.saturating_mul(8));
            if n.saturating_mul(width) > size * 8 {
                return Err("a bit-packed run that ends early".into());
            }
            self.left -= n;
            return Ok(Some(Run::Packed(group, n)));
        }
        let (value, rest) =
            self.bytes.split_at_checked(width.div_ceil(8)).ok_or("a run without its value")?;
        self.bytes = rest;
        let value = value.iter().rev().fold(0u32, |value, &byte| value << 8 | u32::from(byte));
        let n = self.left.min(length);
        self.left -= n;
        Ok(Some(Run::Repeated(value, n)))
    }
}

/// Walks `count` numbers of `width` bits.
pub(crate) fn for_each_run(
    bytes: &[u8],
    width: u32,
    count: usize,
    mut run: impl FnMut(u32, usize),
) -> Result<(), String> {
    let mut runs = Runs::new(bytes, width, count)?;
    while let Some(next) = runs.next()? {
        match next {
            Run::Repeated(value, n) => run(value, n),
            Run::Packed(group, n) => unpack(group, width, n, &mut run),
        }
    }
    Ok(())
}

fn run_header(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..32).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Hands on the first `n` numbers of a packed run.
pub(crate) fn unpack(group: &[u8], width: u32, n: usize, run: &mut impl FnMut(u32, usize)) {
    let mask = if width == 32 { u32::MAX } else { (1 << width) - 1 };
    let (mut window, mut bits) = (0u64, 0u32);
    let mut bytes = group.iter();
    for _ in 0..n {
        while bits < width {
            window |= u64::from(bytes.next().copied().unwrap_or(0)) << bits;
            bits += 8;
        }
        run(window as u32 & mask, 1);
        window >>= width;
        bits -= width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(bytes: &[u8], width: u32, count: usize) -> Result<Vec<u32>, String> {
        let mut out = Vec::new();
        for_each_run(bytes, width, count, |value, n| out.extend(std::iter::repeat_n(value, n)))?;
        Ok(out)
    }

    #[test]
    fn runs_and_packed_groups_alternate() {
        // The example of the Parquet specification: 0..=7 packed in 3 bits, then a run of five 4s.
        let bytes = [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010, 10, 4];
        assert_eq!(expand(&bytes, 3, 13).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 4, 4, 4, 4, 4]);
        assert_eq!(expand(&bytes, 3, 2).unwrap(), [0, 1]);
        assert!(expand(&bytes, 3, 14).is_err());
        assert!(expand(&[0, 0], 3, 1).is_err());
        assert_eq!(expand(&[0b11], 0, 8).unwrap(), [0; 8]);
    }
}
