//! The system's allocator with a count of bytes: what a reader asks for, whether it touches it or not.

#![allow(unsafe_code)] // An allocator can be counted in no other way.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// More than this at once is refused, so that a size that is believed ends the process and not the machine.
const MOST: usize = 3 << 30;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Counts what it hands on to the system's allocator.
pub struct Counting;

/// Starts the peak anew and returns the bytes allocated now.
pub fn forget_peak() -> usize {
    let now = NOW.load(Relaxed);
    PEAK.store(now, Relaxed);
    now
}

/// Most bytes allocated at a time since [`forget_peak`].
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Whether `bytes` more may be had.
fn take(bytes: usize) -> bool {
    let now = NOW.fetch_add(bytes, Relaxed).saturating_add(bytes);
    let may = bytes <= MOST && now <= MOST;
    if may {
        PEAK.fetch_max(now, Relaxed);
    } else {
        give(bytes);
    }
    may
}

fn give(bytes: usize) {
    NOW.fetch_sub(bytes, Relaxed);
}

// SAFETY: every pointer comes from `System` and goes back to it with the layout it was asked for.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !take(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: `at` came from `System` with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !take(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: as in `dealloc`; the caller promises that `size` is positive and in range.
        let moved = unsafe { System.realloc(at, layout, size) };
        give(if moved.is_null() { size } else { layout.size() });
        moved
    }
}
