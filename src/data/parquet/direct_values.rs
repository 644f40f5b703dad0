//! Values of a page into their place in the matrix: plain, of separate byte streams, or from a dictionary.

use half::f16;

use super::runs::{Run, Runs, unpack};
use crate::data::vectors::Element;
use crate::positioned::Number;

/// Bytes that must stand behind packed numbers, whatever they are: eight bytes are loaded for each number.
pub(crate) const SLACK: usize = 8;

/// Largest dictionary, as the number of bits of an index. Those of 20 bits already take longer than plain values.
const MAX_WIDTH: u32 = 24;

/// A width vectors are decoded in.
pub(crate) trait Value: Element + Number {
    /// Values from their little-endian bytes one after the other; `bytes` may hold more.
    fn plain(bytes: &[u8], out: &mut [Self]) -> Option<()>;
    /// Values from streams of their first, second ... bytes; `bytes` holds exactly those.
    fn split(bytes: &[u8], out: &mut [Self]) -> Option<()>;
}

impl Value for f32 {
    fn plain(bytes: &[u8], out: &mut [Self]) -> Option<()> {
        let bytes = bytes.as_chunks::<4>().0.get(..out.len())?;
        out.iter_mut().zip(bytes).for_each(|(out, &bytes)| *out = f32::from_le_bytes(bytes));
        Some(())
    }

    fn split(bytes: &[u8], out: &mut [Self]) -> Option<()> {
        if bytes.len() != size_of_val(out) {
            return None;
        }
        let (low, high) = bytes.split_at(out.len() * 2);
        let ((a, b), (c, d)) = (low.split_at(out.len()), high.split_at(out.len()));
        for ((((out, &a), &b), &c), &d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out = f32::from_le_bytes([a, b, c, d]);
        }
        Some(())
    }
}

impl Value for f16 {
    fn plain(bytes: &[u8], out: &mut [Self]) -> Option<()> {
        let bytes = bytes.as_chunks::<2>().0.get(..out.len())?;
        out.iter_mut().zip(bytes).for_each(|(out, &bytes)| *out = f16::from_le_bytes(bytes));
        Some(())
    }

    fn split(bytes: &[u8], out: &mut [Self]) -> Option<()> {
        if bytes.len() != size_of_val(out) {
            return None;
        }
        let (low, high) = bytes.split_at(out.len());
        for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
            *out = f16::from_le_bytes([low, high]);
        }
        Some(())
    }
}

/// The distinct values of a column chunk.
pub(crate) struct Dictionary<T> {
    /// Filled up to a power of two, so that a masked index needs no check.
    values: Vec<T>,
    entries: usize,
}

impl<T: Value> Dictionary<T> {
    /// Of `entries` plain values.
    pub(crate) fn new(bytes: &[u8], entries: usize) -> Option<Self> {
        if entries == 0 || entries > bytes.len() / size_of::<T>() || entries > 1 << MAX_WIDTH {
            return None;
        }
        let mut values = vec![T::NAN; entries.next_power_of_two()];
        T::plain(bytes, &mut values[..entries])?;
        Some(Dictionary { values, entries })
    }

    /// Values by the indices in `bytes`, which end [`SLACK`] bytes before its end.
    pub(crate) fn look_up(&self, bytes: &[u8], mut out: &mut [T]) -> Option<()> {
        let (&width, bytes) = bytes.split_first()?;
        let width = u32::from(width);
        let indices = bytes.get(..bytes.len().checked_sub(SLACK)?)?;
        let mut runs = Runs::new(indices, width, out.len()).ok()?;
        while let Some(run) = runs.next().ok()? {
            match run {
                Run::Repeated(index, n) => {
                    let (now, later) = out.split_at_mut_checked(n)?;
                    now.fill(*self.values[..self.entries].get(index as usize)?);
                    out = later;
                }
                Run::Packed(group, n) => {
                    let (now, later) = out.split_at_mut_checked(n)?;
                    let start = indices.len() - runs.rest() - group.len();
                    let last = self.packed(bytes.get(start..)?, width, now)?;
                    if last as usize >= self.entries {
                        return None;
                    }
                    out = later;
                }
            }
        }
        Some(())
    }

    /// Values by packed indices; returns the largest index.
    fn packed(&self, bytes: &[u8], width: u32, out: &mut [T]) -> Option<u32> {
        macro_rules! of_width {
            ($($width:literal)*) => {
                match width {
                    $($width => groups::<$width, T>(&self.values, bytes, out),)*
                    _ => None,
                }
            };
        }
        if width == 0 {
            out.fill(*self.values.first()?);
            return Some(0);
        }
        of_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24)
    }
}

/// Indices of `W` bits in groups of eight, which take `W` bytes.
fn groups<const W: usize, T: Copy>(values: &[T], bytes: &[u8], out: &mut [T]) -> Option<u32> {
    let mask = values.len() - 1;
    let values = &values[..=mask];
    // One for each place in a group, so that no comparison waits for another.
    let mut largest = [0u32; 8];
    let (whole, rest) = out.as_chunks_mut::<8>();
    for (at, out) in whole.iter_mut().enumerate() {
        let group = bytes.get(at * W..at * W + W + SLACK)?;
        for (place, (out, largest)) in out.iter_mut().zip(&mut largest).enumerate() {
            let word = group[place * W / 8..].first_chunk::<8>()?;
            let index = (u64::from_le_bytes(*word) >> (place * W % 8)) as u32 & ((1 << W) - 1);
            *largest = index.max(*largest);
            *out = values[index as usize & mask];
        }
    }
    let mut largest = largest.into_iter().fold(0, u32::max);
    let mut next = rest.iter_mut();
    unpack(bytes.get(whole.len() * W..)?, W as u32, next.len(), &mut |index, _| {
        largest = index.max(largest);
        if let Some(out) = next.next() {
            *out = values[index as usize & mask];
        }
    });
    Some(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(indices: &[u32], width: u32) -> Vec<u8> {
        let mut bytes = vec![width as u8, (indices.len().div_ceil(8) << 1 | 1) as u8];
        let start = bytes.len();
        bytes.resize(start + indices.len().div_ceil(8) * width as usize + SLACK, 0);
        for (at, index) in indices.iter().enumerate() {
            for bit in (0..width as usize).filter(|bit| index >> bit & 1 == 1) {
                let place = at * width as usize + bit;
                bytes[start + place / 8] |= 1 << (place % 8);
            }
        }
        bytes
    }

    #[test]
    fn indices_of_every_width_find_their_values() {
        for width in 1..=MAX_WIDTH {
            let entries = (1usize << width).min(1000) - usize::from(width > 1);
            let plain: Vec<u8> = (0..entries).flat_map(|n| (n as f32).to_le_bytes()).collect();
            let dictionary = Dictionary::<f32>::new(&plain, entries).unwrap();
            let indices: Vec<u32> = (0..77).map(|n| (n * 7919) % entries as u32).collect();
            let mut out = vec![0.0; indices.len()];
            dictionary.look_up(&packed(&indices, width), &mut out).unwrap();
            assert!(out.iter().zip(&indices).all(|(&out, &index)| out == index as f32), "{width}");
            if width > 1 {
                for at in [0, 76] {
                    let mut beyond = indices.clone();
                    beyond[at] = entries as u32;
                    assert!(dictionary.look_up(&packed(&beyond, width), &mut out).is_none());
                }
            }
        }
    }

    #[test]
    fn too_few_bytes_are_no_values() {
        let plain = [0u8; 12];
        assert!(f32::plain(&plain, &mut [0.0; 4]).is_none());
        assert!(f32::split(&plain, &mut [0.0; 4]).is_none());
        assert!(f16::plain(&plain, &mut [f16::ONE; 7]).is_none());
        assert!(f16::split(&plain, &mut [f16::ONE; 7]).is_none());
        assert!(Dictionary::<f32>::new(&plain, 4).is_none());
        let dictionary = Dictionary::<f32>::new(&plain, 3).unwrap();
        assert!(dictionary.look_up(&[2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0], &mut [0.0; 9]).is_none());
        assert!(dictionary.look_up(&[], &mut [0.0]).is_none());
    }

    #[test]
    fn streams_of_bytes_are_put_together() {
        let mut out = [0.0f32; 2];
        let [a, b] = [1.5f32, -3.25].map(f32::to_le_bytes);
        let bytes: Vec<u8> = (0..4).flat_map(|at| [a[at], b[at]]).collect();
        f32::split(&bytes, &mut out).unwrap();
        assert_eq!(out, [1.5, -3.25]);
    }
}
