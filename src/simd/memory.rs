//! Asking the system for large pages, and the processor for what is needed soon.

/// Asks for large memory pages where `memory` holds whole ones: a hundred megabytes are then mapped in by some fifty page
/// faults instead of 25,000, which take longer than reading a file of that size. To be called before the memory is
/// first written; values stay as they are, and where the system has no such pages nothing happens.
pub fn prefer_large_pages<T>(memory: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        /// Size of a large page, a multiple of all sizes of small ones.
        const LARGE: usize = 2 << 20;
        let range = memory.as_mut_ptr_range();
        let start = range.start.cast::<u8>();
        let skipped = start.align_offset(LARGE);
        let whole = size_of_val(memory).saturating_sub(skipped) / LARGE * LARGE;
        if whole > 0 {
            // SAFETY: `skipped + whole` bytes lie within `memory`, which is borrowed for writing; the advice changes how
            // the system backs them, never what they hold. A refusal is no error: pages then stay small.
            unsafe { libc::madvise(start.add(skipped).cast(), whole, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// Asks the processor for the cache line at `at`, which need not be readable; nothing where it takes no such hints.
#[inline(always)]
pub(super) fn prefetch_at<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which faults at no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Asks for the memory of an item that will be read soon; values stay as they are. An index beyond the slice asks for
/// nothing.
#[inline(always)]
pub fn prefetch<T>(items: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(item) = items.get(index) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: part of the base architecture; a hint that neither reads nor writes.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (items, index);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_as_they_are() {
        let mut values: Vec<u32> = (0..3 << 20).collect();
        prefer_large_pages(&mut values[1..]);
        assert!(values.iter().enumerate().all(|(at, &value)| at as u32 == value));
        prefer_large_pages::<f32>(&mut []);
        prefer_large_pages(&mut [0u8; 100]);
    }
}
