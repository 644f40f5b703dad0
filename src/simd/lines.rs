//! Floats in whole cache lines, so that no vector of a row of whole lines straddles two.

/// A growing buffer of f32 that starts at a cache line; values beyond what was written are 0.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines(Vec<Line>);

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; FLOATS]);

const FLOATS: usize = 16;

impl Lines {
    /// Makes room for `floats` values; those there before stay, new ones are 0.
    pub(super) fn resize(&mut self, floats: usize) {
        self.0.resize(floats.div_ceil(FLOATS), Line([0.0; FLOATS]));
    }

    /// Memory for `floats` values of an empty buffer, not written yet.
    pub(super) fn reserve(&mut self, floats: usize) -> &mut [impl Sized] {
        self.0.reserve_exact(floats.div_ceil(FLOATS));
        self.0.spare_capacity_mut()
    }

    pub(super) fn values(&self) -> &[f32] {
        // SAFETY: a line is sixteen f32 without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * FLOATS) }
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        // SAFETY: a line is sixteen f32 without padding, and any bits are an f32.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * FLOATS) }
    }
}
