//! Counter-based random numbers: the value at `(seed, stream, counter)` depends on nothing else, so shuffles and
//! samples are the same on any number of threads and after a resume.

/// A stream of numbers keyed by `(seed, stream)`; SplitMix64 (Steele, Lea, Flood 2014) applied to a counter.
#[derive(Debug, Clone)]
pub struct CounterRng {
    key: u64,
    counter: u64,
}

impl CounterRng {
    /// The stream `stream` (an epoch, a fold, a class) of `seed`, from its start.
    pub fn new(seed: u64, stream: u64) -> Self {
        CounterRng { key: mix(seed ^ mix(stream.wrapping_add(0x9E37_79B9_7F4A_7C15))), counter: 0 }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.key.wrapping_add(self.counter))
    }

    /// Uniform in `[0, 1)`.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..bound`; `bound` must be positive. The bias of the multiply-shift is below 2^-40 for any row count.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Puts `items` in random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The finaliser of SplitMix64: every input bit changes half of the output bits.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, stream| CounterRng::new(seed, stream).next_u64();
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn a_flipped_input_bit_changes_about_half_of_the_output() {
        // Mean 32, standard deviation of the mean of 64 draws .5.
        let flips = |bit: u32| u64::from((mix(12_345) ^ mix(12_345 ^ (1 << bit))).count_ones());
        assert!((0..64).map(flips).sum::<u64>().abs_diff(64 * 32) < 64 * 3);
    }

    #[test]
    fn every_place_of_a_shuffle_is_equally_likely() {
        let mut hits = [[0u32; 4]; 4];
        for stream in 0..8000 {
            let mut items = [0, 1, 2, 3];
            CounterRng::new(1, stream).shuffle(&mut items);
            for (place, &item) in items.iter().enumerate() {
                hits[item][place] += 1;
            }
        }
        // 2,000 expected, standard deviation 39: five of them.
        assert!(hits.iter().flatten().all(|&n| n.abs_diff(2000) < 195), "{hits:?}");
    }
}
