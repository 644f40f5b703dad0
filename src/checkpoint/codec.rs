//! Values as bytes: little-endian numbers, to the last bit, and counts in front of lists.

use std::collections::VecDeque;

/// A value that a checkpoint can hold.
pub trait Stored: Sized {
    /// Appends the value to `out`.
    fn store(&self, out: &mut Vec<u8>);

    /// Takes a value off the front of `from`; `None` where the bytes are no such value. Takes memory in proportion to the
    /// bytes there are, whatever counts they claim.
    fn load(from: &mut &[u8]) -> Option<Self>;

    /// Appends `values` to `out`, without their number.
    fn store_all(values: &[Self], out: &mut Vec<u8>) {
        values.iter().for_each(|value| value.store(out));
    }

    /// Takes `count` values off the front of `from`.
    fn load_all(count: usize, from: &mut &[u8]) -> Option<Vec<Self>> {
        // Every value has a byte at least.
        if count > from.len() {
            return None;
        }
        (0..count).map(|_| Self::load(from)).collect()
    }
}

/// The bytes of `value`.
pub fn bytes_of(value: &impl Stored) -> Vec<u8> {
    let mut out = Vec::new();
    value.store(&mut out);
    out
}

/// The value that `bytes` are, all of them.
pub fn value_of<T: Stored>(mut bytes: &[u8]) -> Option<T> {
    let value = T::load(&mut bytes)?;
    bytes.is_empty().then_some(value)
}

/// Implements [`Stored`] for numbers by their little-endian bytes.
macro_rules! store_numbers {
    ($($number:ty),+) => {$(
        impl Stored for $number {
            fn store(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn store_all(values: &[Self], out: &mut Vec<u8>) {
                out.reserve(size_of_val(values));
                values.iter().for_each(|value| value.store(out));
            }

            fn load(from: &mut &[u8]) -> Option<Self> {
                let (bytes, rest) = from.split_first_chunk()?;
                *from = rest;
                Some(<$number>::from_le_bytes(*bytes))
            }

            fn load_all(count: usize, from: &mut &[u8]) -> Option<Vec<Self>> {
                const BYTES: usize = size_of::<$number>();
                let (values, rest) = from.split_at_checked(count.checked_mul(BYTES)?)?;
                *from = rest;
                Some(values.as_chunks::<BYTES>().0.iter().map(|bytes| <$number>::from_le_bytes(*bytes)).collect())
            }
        }
    )+};
}

store_numbers!(u8, u32, i32, u64, f32, f64);

/// Implements [`Stored`] for a struct by the fields named, in that order.
macro_rules! store_fields {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl $crate::checkpoint::codec::Stored for $type {
            fn store(&self, out: &mut Vec<u8>) {
                $(self.$field.store(out);)+
            }

            fn load(from: &mut &[u8]) -> Option<Self> {
                $(let $field = $crate::checkpoint::codec::Stored::load(from)?;)+
                Some(Self { $($field),+ })
            }
        }
    };
}
pub(crate) use store_fields;

/// Counts, places and numbers of steps. Those of a file are below 2^48, so that sums of them are numbers as well.
impl Stored for usize {
    fn store(&self, out: &mut Vec<u8>) {
        (*self as u64).store(out);
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        u64::load(from)?.try_into().ok().filter(|&number: &usize| number < 1 << 48)
    }
}

impl Stored for bool {
    fn store(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        match u8::load(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<T: Stored> Stored for Option<T> {
    fn store(&self, out: &mut Vec<u8>) {
        self.is_some().store(out);
        self.iter().for_each(|value| value.store(out));
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        Some(if bool::load(from)? { Some(T::load(from)?) } else { None })
    }
}

impl<T: Stored> Stored for Vec<T> {
    fn store(&self, out: &mut Vec<u8>) {
        self.len().store(out);
        T::store_all(self, out);
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        let count = usize::load(from)?;
        T::load_all(count, from)
    }
}

impl<T: Stored> Stored for VecDeque<T> {
    fn store(&self, out: &mut Vec<u8>) {
        self.len().store(out);
        self.iter().for_each(|value| value.store(out));
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        Vec::load(from).map(VecDeque::from)
    }
}

impl Stored for String {
    fn store(&self, out: &mut Vec<u8>) {
        self.len().store(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        Vec::load(from).and_then(|bytes| String::from_utf8(bytes).ok())
    }
}

impl<A: Stored, B: Stored> Stored for (A, B) {
    fn store(&self, out: &mut Vec<u8>) {
        self.0.store(out);
        self.1.store(out);
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        Some((A::load(from)?, B::load(from)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Sample {
        weights: Vec<f32>,
        pairs: VecDeque<(u32, f64)>,
        name: String,
        best: Option<usize>,
        done: bool,
    }
    store_fields!(Sample { weights, pairs, name, best, done });

    fn sample() -> Sample {
        Sample {
            weights: vec![1.5, -0.0, f32::MIN_POSITIVE / 2.0],
            pairs: [(7, f64::INFINITY), (0, 1e-310)].into(),
            name: "l2 0.1, β".into(),
            best: Some(3),
            done: true,
        }
    }

    #[test]
    fn values_come_back_to_the_last_bit() {
        let bytes = bytes_of(&sample());
        let back: Sample = value_of(&bytes).unwrap();
        assert_eq!(back, sample());
        assert_eq!(back.weights[1].to_bits(), (-0.0f32).to_bits());
        assert!(value_of::<f32>(&bytes_of(&f32::NAN)).unwrap().is_nan());
    }

    #[test]
    fn other_bytes_are_refused() {
        let bytes = bytes_of(&sample());
        for end in 0..bytes.len() {
            assert!(value_of::<Sample>(&bytes[..end]).is_none(), "cut at {end}");
        }
        assert!(value_of::<Sample>(&[&bytes[..], &[0]].concat()).is_none(), "a byte too many");
        assert!(value_of::<bool>(&[2]).is_none());
        assert!(value_of::<String>(&bytes_of(&vec![0xffu8])).is_none());
        for claimed in [u64::MAX, 1 << 61, 1 << 40] {
            let hostile = bytes_of(&claimed);
            assert!(value_of::<Vec<f32>>(&hostile).is_none());
            assert!(value_of::<Vec<Vec<u8>>>(&hostile).is_none());
            assert!(value_of::<VecDeque<(u32, f64)>>(&hostile).is_none());
        }
    }
}
