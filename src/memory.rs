//! How much memory a run may take, and where rows go that do not fit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::output::free_bytes;
use crate::{Error, Result};

/// Share of the memory of the machine that a run may take unasked.
const DEFAULT_SHARE: f64 = 0.8;
/// Most bytes of a block at work with what is made of its rows: logits of 100,000 classes took gigabytes, and more than
/// this makes nothing faster.
const MOST_AT_WORK: u64 = 1 << 27;
/// Bytes of a process that has not read a row: 14 MB as measured.
pub const IDLE: u64 = 16_000_000;
/// Bytes of rows that are read together at most, and at least.
const MOST_OF_BLOCK: u64 = 64 << 20;
const LEAST_OF_BLOCK: u64 = 1 << 20;

/// A limit for the resident memory of the process.
///
/// Half of it is for the rows of features, of all sets of files together: more of them go to a file without a name and
/// are read from there block by block. The other half is for what is kept of every row besides (label, weight, place), for
/// blocks of rows on every thread, and for the model and its solver. With little memory the files are still in the cache of
/// the system as far as that has room, which does not count as memory of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: u64,
    /// The folder of the files.
    pub folder: PathBuf,
    /// Bytes of rows that are read from a source at a time.
    pub block: u64,
    /// Bytes of rows of other sets of files that stay in memory beside those that this limit is for.
    pub held: u64,
    /// Bytes that are needed besides rows.
    pub needed: u64,
}

impl MemoryLimit {
    /// A limit of `bytes`, with files in `folder`.
    pub fn new(bytes: u64, folder: PathBuf) -> Self {
        MemoryLimit {
            bytes,
            folder,
            block: (bytes / 16).clamp(LEAST_OF_BLOCK, MOST_OF_BLOCK),
            held: 0,
            needed: 0,
        }
    }

    /// The same for another set of files, while rows that take `held` bytes in memory stay there.
    #[must_use]
    pub fn beside(mut self, held: u64) -> Self {
        self.held = self.held.saturating_add(held);
        self
    }

    /// The same where `needed` bytes are needed besides rows.
    #[must_use]
    pub fn besides(self, needed: u64) -> Self {
        MemoryLimit { needed, ..self }
    }

    /// The limit that `text` states (`2G`, `512M`, `80%` of the memory of this machine, or of its control group where
    /// that is less), by default 80 %; `None` where none is stated and the system does not tell how much memory it has.
    /// Files go to `folder`, by default [`default_folder`].
    ///
    /// # Errors
    /// [`Error::BadValue`] for anything else.
    pub fn parse(text: Option<&str>, folder: Option<&str>) -> Result<Option<Self>> {
        let folder = folder.map_or_else(default_folder, PathBuf::from);
        if !folder.is_dir() {
            let help = "name a folder on a disk with room for the rows";
            return Err(Error::bad_value("--spill-dir", folder.display().to_string(), "is no folder", help));
        }
        let bytes = match text {
            None => machine_memory().map(|all| (DEFAULT_SHARE * all as f64) as u64),
            Some(text) => Some(stated(text)?),
        };
        Ok(bytes.map(|bytes| Self::new(bytes, folder)))
    }

    /// Bytes that rows of features may take in memory.
    pub fn for_rows(&self) -> u64 {
        (self.bytes / 2).min(self.bytes.saturating_sub(self.needed)).saturating_sub(self.held)
    }

    /// The same for rows that each cost `more` bytes besides the `bytes` of their features while their block is at work.
    #[must_use]
    pub fn with_cost(mut self, bytes: u64, more: u64) -> Self {
        let (bytes, more) = (bytes.max(1) as f64, more as f64);
        // A quarter is for the block at work, but no more than makes it faster.
        let rows = (self.bytes / 4).min(MOST_AT_WORK) as f64 / (bytes + more);
        self.block = self.block.min(((rows * bytes) as u64).max(bytes as u64));
        self
    }

    /// Refuses what needs `need` bytes in memory and cannot do with less; `help` says how to mend it.
    ///
    /// # Errors
    /// [`Error::OverMemory`].
    pub fn check(&self, what: impl Into<String>, need: u64, help: impl Into<String>) -> Result<()> {
        if need <= self.bytes {
            return Ok(());
        }
        Err(Error::OverMemory { what: what.into(), need, have: self.bytes, help: help.into() })
    }
}

/// Refuses to write `need` bytes of rows where the disk of `folder` has not room for them; where it does not tell, the
/// disk itself will.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] with both numbers.
pub fn check_disk(folder: &Path, need: u64) -> io::Result<()> {
    match free_bytes(folder) {
        Some(free) if free < need => Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "rows that exceed --memory-limit take {need} bytes, {free} are free; --spill-dir names another folder"
            ),
        )),
        _ => Ok(()),
    }
}

/// `TMPDIR`, else `/var/tmp`, which is on a disk where `/tmp` often is not, else the temporary folder of the system.
pub fn default_folder() -> PathBuf {
    let lasting = Path::new("/var/tmp");
    match std::env::var_os("TMPDIR") {
        None if cfg!(unix) && lasting.is_dir() => lasting.to_owned(),
        _ => std::env::temp_dir(),
    }
}

fn stated(text: &str) -> Result<u64> {
    let bad = |why: &str| {
        Error::bad_value("--memory-limit", text, why, "give bytes such as 2G or 512M, or a share such as 80%")
    };
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let number: f64 = number.parse().map_err(|_| bad("is no amount of memory"))?;
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "%" if number > 100.0 => return Err(bad("is more than all memory")),
        "%" => {
            let all =
                machine_memory().ok_or_else(|| bad("is a share, and this system does not tell of what"))?;
            all as f64 / 100.0
        }
        "" | "B" => 1.0,
        "K" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        "T" | "TB" => 1e12,
        "KIB" => f64::from(1 << 10),
        "MIB" => f64::from(1 << 20),
        "GIB" => f64::from(1 << 30),
        "TIB" => (1u64 << 40) as f64,
        _ => return Err(bad("has a unit other than K, M, G, T and %")),
    };
    let bytes = number * factor;
    if bytes >= 1e6 { Ok(bytes as u64) } else { Err(bad("is less than a megabyte")) }
}

/// Bytes of memory of this machine, or of the control group of this process where that has less.
fn machine_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)?;
    Some(control_group_memory().map_or(total, |limit| total.min(limit)))
}

/// The least limit of the control groups that this process is in.
fn control_group_memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(group_limit).min()
}

/// The least limit of the group that a line of `/proc/self/cgroup` names, and of those above it.
fn group_limit(line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let limit = |group: &Path| {
        let place = Path::new(root).join(group.strip_prefix("/").ok()?).join(file);
        fs::read_to_string(place).ok()?.trim().parse().ok()
    };
    Path::new(path).ancestors().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_shares_are_read() {
        for (text, bytes) in [
            ("2G", 2_000_000_000),
            ("512M", 512_000_000),
            ("1.5 GiB", 3 << 29),
            ("1000000", 1_000_000),
            ("3tb", 3_000_000_000_000),
        ] {
            assert_eq!(stated(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "G", "2X", "120%", "10k", "-1G", "nan"] {
            assert_eq!(stated(text).unwrap_err().code(), "E0208", "{text}");
        }
    }

    #[test]
    fn a_block_leaves_room_for_what_is_made_of_it() {
        let limit = MemoryLimit::new(64 << 20, default_folder());
        assert_eq!((limit.for_rows(), limit.block), (32 << 20, 4 << 20));
        assert_eq!(limit.clone().with_cost(1000, 3000).block, 4 << 20);
        assert_eq!(limit.with_cost(1000, 999_000).block, (16 << 20) / 1000);
    }

    #[test]
    fn a_limit_is_refused_with_both_numbers() {
        let limit = MemoryLimit::new(1_000_000, default_folder());
        assert!(limit.check("weights", 1_000_000, "").is_ok());
        let error = limit.check("weights", 2_000_000, "fewer classes").unwrap_err();
        assert_eq!((error.code(), error.help()), ("E0802", "fewer classes".into()));
    }

    #[test]
    fn sets_of_rows_share_a_limit() {
        let limit = MemoryLimit::new(1_000_000, default_folder());
        let beside = limit.clone().beside(200_000).beside(100_000);
        assert_eq!((limit.for_rows(), beside.for_rows()), (500_000, 200_000));
        assert_eq!(beside.clone().beside(u64::MAX).for_rows(), 0);
        assert_eq!(beside.clone().besides(400_000).for_rows(), 200_000);
        assert_eq!(beside.clone().besides(600_000).for_rows(), 100_000);
        assert_eq!(beside.besides(u64::MAX).for_rows(), 0);
    }

    #[test]
    fn a_disk_is_asked_before_it_is_filled() {
        assert!(check_disk(&default_folder(), 1).is_ok());
        if free_bytes(&default_folder()).is_some() {
            let error = check_disk(&default_folder(), u64::MAX).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(error.to_string().contains("--spill-dir"), "{error}");
        }
    }
}
