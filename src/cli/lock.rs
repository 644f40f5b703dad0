//! One run a model file or comparison: the lock beside it.
//!
//! The system holds the lock and gives it free when the process ends, however it ends: there is no stale one to guess at.
//! What stands in the file is for messages, and for whoever tidies up after a process that was killed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::output::{AtomicFile, Passing, remove_remains};
use crate::{Error, Result};

/// The lock of a file, held until this value goes.
#[derive(Debug)]
pub struct Lock {
    /// Gone before the lock is: who gets the lock of a file that is no longer there tries again.
    _path: Passing,
    _file: File,
}

/// Who holds a lock.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    /// Which start of the machine its number is of.
    boot: String,
    /// Seconds since 1970.
    started: u64,
}

/// Bytes of a lock file that are read at most.
const MOST_BYTES: u64 = 512;

impl Lock {
    /// Locks `out`, removes what a run that was killed has left of its own, and sees that `out` can be written. `None` where
    /// it is no regular file, or lies on a file system without locks.
    ///
    /// # Errors
    /// [`Error::Locked`] while another run holds it; [`Error::Io`]; those of [`AtomicFile::check`].
    pub fn take(out: &str) -> Result<Option<Self>> {
        let held = Self::hold(out);
        if !matches!(held, Err(Error::Locked { .. })) {
            // Under the lock: a run that is killed here leaves a file that the next one finds by its name in the lock.
            AtomicFile::check(out)?;
        }
        held
    }

    fn hold(out: &str) -> Result<Option<Self>> {
        const ATTEMPTS: usize = 100;
        if fs::metadata(out).is_ok_and(|metadata| !metadata.is_file()) {
            return Ok(None);
        }
        let target = resolved(Path::new(out));
        let mut name = target.clone().into_os_string();
        name.push(".lock");
        let path = PathBuf::from(name);
        let failed = |source| Error::io(path.display().to_string(), "lock", source);
        for _ in 0..ATTEMPTS {
            let mut file = open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {}
                // The one who held it has removed it meanwhile.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {
                    let holder =
                        Holder::read(&mut file).map_or("one that has just begun".into(), |h| h.text());
                    return Err(Error::Locked { path: out.into(), holder });
                }
                Err(TryLockError::Error(_)) => return Ok(None),
            }
            if let Some(before) = Holder::read(&mut file)
                && before.is_gone()
            {
                remove_remains(&target, before.pid);
            }
            let lock = Lock { _path: Passing::new(path.clone()), _file: file };
            Holder::this().write(&lock._file).map_err(failed)?;
            return Ok(Some(lock));
        }
        Err(Error::Locked { path: out.into(), holder: "one after the other".into() })
    }
}

/// The file that a path leads to, links followed as far as there are files.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(target) = fs::canonicalize(path) {
        return target;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (fs::canonicalize(folder), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A link in its place would have the file that it leads to written over.
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    }
    options.open(path)
}

/// Whether the file at `path` is this one.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let here = file.metadata().ok().map(place);
        here.is_some() && here == fs::symlink_metadata(path).ok().map(place)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

impl Holder {
    fn this() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Holder { pid: std::process::id(), boot: boot(), started }
    }

    fn read(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        file.rewind().ok()?;
        file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn write(&self, mut file: &File) -> io::Result<()> {
        let text = serde_json::to_string(self)? + "\n";
        // Over who was there before, in one write: a run that is killed here must leave the one name or the other, or nobody
        // would tidy up.
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    }

    /// Whether no process has its number: it was killed, or the machine has been started again.
    fn is_gone(&self) -> bool {
        let processes = Path::new("/proc");
        processes.join("self").exists() && !processes.join(self.pid.to_string()).exists()
    }

    fn text(&self) -> String {
        let elsewhere = if self.boot == boot() { "" } else { ", on another machine" };
        format!("process {} since {}{elsewhere}", self.pid, utc(self.started))
    }
}

/// Identifies a start of the machine; empty where that cannot be told.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// `2026-11-28 17:50:03 UTC`, by Hinnant's algorithm for the civil calendar.
fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_888_203), "2026-11-28 17:50:03 UTC");
    }

    #[test]
    fn one_holds_it_at_a_time_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("m.cbfit");
        let out = out.to_str().unwrap();
        let lock = Lock::take(out).unwrap().unwrap();
        let error = Lock::take(out).unwrap_err();
        assert_eq!(error.code(), "E0403");
        let me = format!("process {} since 20", std::process::id());
        assert!(error.to_string().contains(&me), "{error}");
        drop(lock);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Lock::take("/dev/null").unwrap().is_none());
    }

    #[test]
    fn what_a_killed_run_has_left_is_taken_over_and_tidied_up() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // Above the largest number that a process can have.
        fs::write(at("m.cbfit.lock"), r#"{"pid":4294967295,"boot":"another","started":5}"#).unwrap();
        fs::write(at(".cbfit-4294967295-3.tmp"), "half").unwrap();
        fs::write(at(".cbfit-1-3.tmp"), "of a process that lives").unwrap();
        let lock = Lock::take(at("m.cbfit").to_str().unwrap()).unwrap().unwrap();
        let holder = fs::read_to_string(at("m.cbfit.lock")).unwrap();
        assert!(holder.contains(&format!("\"pid\":{},", std::process::id())), "{holder}");
        assert!(at(".cbfit-4294967295-3.tmp").exists() != Path::new("/proc/self").exists());
        assert!(at(".cbfit-1-3.tmp").exists());
        drop(lock);
        fs::write(at("m.cbfit.lock"), "no holder").unwrap();
        assert!(Lock::take(at("m.cbfit").to_str().unwrap()).unwrap().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "kept").unwrap();
        std::os::unix::fs::symlink(&precious, folder.path().join("m.cbfit.lock")).unwrap();
        let error = Lock::take(folder.path().join("m.cbfit").to_str().unwrap()).unwrap_err();
        assert_eq!(error.code(), "E0402");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
    }
}
