//! Resident memory of this process as Linux counts it; `None` elsewhere.

use std::fs;

/// Kilobytes resident now.
pub fn resident_kb() -> Option<u64> {
    field("VmRSS:")
}

/// Largest number of kilobytes resident since the start or [`forget_peak`].
pub fn peak_kb() -> Option<u64> {
    field("VmHWM:")
}

/// Starts the peak anew, so that reading the data does not count as the solver's.
pub fn forget_peak() {
    // Where it cannot be reset the peak stays that of the whole process, an upper bound.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn field(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}
