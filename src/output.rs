//! The one writer of files: a file appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// Larger than the default of `BufWriter`: models and predictions come in megabytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Distinguishes the temporary files of one process; the process id distinguishes processes.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// A file under a temporary name in the folder of its target, which [`AtomicFile::commit`] moves into place.
///
/// Until then, and for ever where it is dropped without commit, an old file of that name stays as it was. Only the
/// owner can read the temporary file. A target that is no regular file (a pipe, `/dev/null`) is written directly.
#[derive(Debug)]
pub struct AtomicFile {
    writer: BufWriter<File>,
    /// As the user wrote it, for messages.
    path: String,
    /// Symbolic links resolved, so that a link stays a link to the new content.
    target: PathBuf,
    /// `None` once moved, or where the target is written directly.
    temporary: Option<Passing>,
    /// Bytes written so far.
    written: u64,
}

impl AtomicFile {
    /// Opens a temporary file beside `path`.
    /// Fails with [`Error::Io`] where the folder does not exist or is not writable, or `path` is a folder.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let asked = path.as_ref();
        let path = asked.display().to_string();
        let create_failed = |source| Error::io(path.clone(), "create", source);

        let existing = match fs::metadata(asked) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(create_failed(error)),
        };
        let target = match &existing {
            Some(metadata) if metadata.is_dir() => {
                return Err(create_failed(io::ErrorKind::IsADirectory.into()));
            }
            Some(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(asked).map_err(create_failed)?;
                let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
                return Ok(AtomicFile {
                    writer,
                    path,
                    target: asked.to_owned(),
                    temporary: None,
                    written: 0,
                });
            }
            Some(_) => fs::canonicalize(asked).map_err(create_failed)?,
            None if asked.file_name().is_none() => {
                return Err(create_failed(io::ErrorKind::InvalidInput.into()));
            }
            None => asked.to_owned(),
        };
        let (file, temporary) = open_temporary(folder_of(&target), PRIVATE).map_err(create_failed)?;
        let writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(AtomicFile { writer, path, target, temporary: Some(temporary), written: 0 })
    }

    /// Whether [`AtomicFile::create`] would do for `path`, found out before hours of work that end there. A target that
    /// is no regular file is not opened: the reader of a pipe would take that for its end.
    /// Fails as [`AtomicFile::create`] does.
    pub fn check(path: impl AsRef<Path>) -> Result<()> {
        let is_special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_dir() && !metadata.is_file());
        if is_special { Ok(()) } else { Self::create(path).map(drop) }
    }

    /// The path as it was given to [`AtomicFile::create`].
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Refuses to begin `bytes` bytes that the disk has no room for.
    pub fn reserve(&self, bytes: u64) -> Result<()> {
        match self.temporary.as_ref().and_then(|temporary| free_bytes(folder_of(&temporary.0))) {
            Some(free) if free < bytes => Err(Error::io(
                self.path.clone(),
                "write",
                full_disk(io::ErrorKind::StorageFull, bytes, Some(free)),
            )),
            _ => Ok(()),
        }
    }

    /// Flushes, syncs, takes the mode of the old file (or the usual one) and moves the file over its target.
    /// On [`Error::Io`] the temporary file is gone and an old file is as it was.
    pub fn commit(mut self) -> Result<()> {
        self.finish().map_err(|source| Error::io(self.path.clone(), "write", self.explained(source)))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        let Some(temporary) = &self.temporary else { return Ok(()) };
        let file = self.writer.get_ref();
        let folder = folder_of(&self.target);
        let permissions = match fs::metadata(&self.target) {
            Ok(old) => old.permissions(),
            Err(_) => usual_permissions(folder)?,
        };
        file.set_permissions(permissions)?;
        file.sync_all()?;
        fs::rename(&temporary.0, &self.target)?;
        if let Some(temporary) = self.temporary.take() {
            temporary.keep();
        }
        sync_folder(folder)
    }

    /// `error`, with what was to be written and what is free where that is the reason.
    fn explained(&self, error: io::Error) -> io::Error {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            kind @ (StorageFull | QuotaExceeded | FileTooLarge) => {
                full_disk(kind, self.written, free_bytes(folder_of(&self.target)))
            }
            _ => error,
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len() as u64;
        let written = self.writer.write(bytes);
        written.map_err(|error| self.explained(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.writer.flush();
        flushed.map_err(|error| self.explained(error))
    }
}

/// For formats whose beginning states what follows.
impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.writer.seek(to)
    }
}

/// A file that is to be gone when the process ends, and goes with this value at the latest.
#[derive(Debug)]
pub struct Passing(PathBuf);

/// All of the process.
static PASSING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

impl Passing {
    /// Takes charge of the file `path`.
    pub fn new(path: PathBuf) -> Self {
        PASSING.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Passing(path)
    }

    /// Removes all that there are, for a process that ends without unwinding.
    pub fn remove_all() {
        for path in PASSING.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = fs::remove_file(path);
        }
    }

    /// Lets the file be.
    fn keep(self) {
        PASSING.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.0);
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let mut all = PASSING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = all.iter().position(|path| *path == self.0) {
            all.swap_remove(at);
            // Nothing can be reported from here, and the target is untouched either way.
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Removes what a process of the id `process`, which is no more, has left unfinished in the folder of `target`.
pub fn remove_remains(target: &Path, process: u32) {
    let Ok(entries) = fs::read_dir(folder_of(target)) else { return };
    let start = format!("{TEMPORARY}{process}-");
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_left = name.to_str().is_some_and(|name| name.starts_with(&start) && name.ends_with(".tmp"));
        if is_left {
            // Somebody else's, or gone by now: no matter.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Has writes beyond the limit of a file's size fail like writes to a full disk, instead of ending the process.
#[cfg(feature = "cli")]
pub fn outlive_size_limits() {
    #[cfg(unix)]
    {
        let ignored = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        // Where that is refused, the process ends as it did.
        let _ = signal_hook::flag::register(signal_hook::consts::signal::SIGXFSZ, ignored);
    }
}

/// Start of the names of temporary files.
const TEMPORARY: &str = ".cbfit-";

/// Bytes that the file system of `folder` has left for this user, where it can be asked.
#[cfg(unix)]
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    let room = rustix::fs::statvfs(folder).ok()?;
    room.f_bavail.checked_mul(room.f_frsize)
}

/// As of no system but unix.
#[cfg(not(unix))]
pub(crate) fn free_bytes(_: &Path) -> Option<u64> {
    None
}

fn full_disk(kind: io::ErrorKind, bytes: u64, free: Option<u64>) -> io::Error {
    let free = free.map_or(String::new(), |free| format!(", {free} are free"));
    io::Error::new(kind, format!("{kind}: {bytes} bytes are to be written{free}"))
}

const PRIVATE: u32 = 0o600;
const SHARED: u32 = 0o666; // the umask takes its share off

fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file to write and read again that has no name, so that whatever ends the process leaves nothing behind. Where the
/// system makes none that never had a name, only the owner could open it in the moment that it has one.
/// Fails with the error of the operating system where `folder` does not exist or is not writable.
pub(crate) fn nameless_file(folder: &Path) -> io::Result<File> {
    // What the other way cannot do either, it says itself.
    if let Some(file) = never_named(folder) {
        return Ok(file);
    }
    let mut options = OpenOptions::new();
    options.read(true);
    // Deleted by the system when it is closed: an open file keeps its name there.
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, 0x0400_0000);
    // Without a name from here on, or on Windows when it is closed.
    let (file, passing) = open_new(folder, PRIVATE, options)?;
    drop(passing);
    Ok(file)
}

/// A file that never has a name and can be given none, on file systems that make such.
#[cfg(target_os = "linux")]
fn never_named(folder: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::from_raw_mode(PRIVATE)).ok().map(File::from)
}

/// Other systems make none.
#[cfg(not(target_os = "linux"))]
fn never_named(_: &Path) -> Option<File> {
    None
}

fn open_temporary(folder: &Path, mode: u32) -> io::Result<(File, Passing)> {
    open_new(folder, mode, OpenOptions::new())
}

/// A new file of a name nobody uses. A name can be taken where an earlier process of the same id (id 1 in every
/// container) was killed, hence the retries.
fn open_new(folder: &Path, mode: u32, mut options: OpenOptions) -> io::Result<(File, Passing)> {
    const ATTEMPTS: usize = 10_000;
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    for _ in 0..ATTEMPTS {
        let number = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!("{TEMPORARY}{}-{number}.tmp", std::process::id()));
        match options.open(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (file, Passing::new(temporary))),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What a plainly created file would have got. The umask itself can only be read by setting it, which is
/// `unsafe` and visible to other threads, so an empty file is asked instead.
fn usual_permissions(folder: &Path) -> io::Result<fs::Permissions> {
    let (probe, _removed) = open_temporary(folder, SHARED)?;
    probe.metadata().map(|metadata| metadata.permissions())
}

/// Makes the rename itself durable. Some file systems cannot sync a folder and some folders cannot be opened for
/// reading: the file is then in place all the same.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_target_changes_at_commit_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(names_in(folder.path()), ["out.csv"]);
    }

    #[test]
    fn a_dropped_file_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.cbfit");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(names_in(folder.path()).len(), 1);
        drop(file);
        assert_eq!(names_in(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn many_files_at_once_do_not_collide() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<AtomicFile> =
            (0..50).map(|i| AtomicFile::create(folder.path().join(format!("f{i}"))).unwrap()).collect();
        assert_eq!(names_in(folder.path()).len(), 50);
        files.into_iter().for_each(|file| file.commit().unwrap());
        assert!(names_in(folder.path()).iter().all(|name| name.starts_with('f')));
    }

    #[test]
    fn a_missing_folder_and_a_folder_as_target_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("no/such/out.csv"), folder.path().to_owned(), PathBuf::from("..")] {
            let error = AtomicFile::create(&path).unwrap_err();
            assert_eq!(error.code(), "E0402", "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    }

    #[cfg(unix)]
    mod unix {
        use super::*;
        use std::os::unix::fs::PermissionsExt;

        fn mode(path: &Path) -> u32 {
            fs::metadata(path).unwrap().permissions().mode() & 0o777
        }

        #[test]
        fn private_while_temporary_then_the_usual_mode() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out.csv");
            let file = AtomicFile::create(&path).unwrap();
            assert_eq!(mode(&file.temporary.as_ref().unwrap().0), 0o600);
            file.commit().unwrap();
            let plain = folder.path().join("plain");
            fs::write(&plain, "").unwrap();
            assert_eq!(mode(&path), mode(&plain));
        }

        #[test]
        #[cfg(target_os = "linux")]
        fn a_nameless_file_never_has_a_name() {
            use std::io::Read;
            use std::os::unix::fs::MetadataExt;
            let folder = tempfile::tempdir().unwrap();
            let long_ago = std::time::SystemTime::UNIX_EPOCH;
            File::open(folder.path()).unwrap().set_modified(long_ago).unwrap();
            let mut file = nameless_file(folder.path()).unwrap();
            let metadata = file.metadata().unwrap();
            assert_eq!((metadata.nlink(), metadata.permissions().mode() & 0o777), (0, 0o600));
            if never_named(folder.path()).is_some() {
                // A name that comes or goes changes its folder.
                assert_eq!(fs::metadata(folder.path()).unwrap().modified().unwrap(), long_ago);
            } else {
                println!("skipped: this file system makes no file without a name");
            }
            file.write_all(b"rows").unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!((text.as_str(), names_in(folder.path()).len()), ("rows", 0));
            let error = nameless_file(&folder.path().join("nowhere")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }

        #[test]
        fn the_mode_of_an_old_file_is_kept() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("secret.cbfit");
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            AtomicFile::create(&path).unwrap().commit().unwrap();
            assert_eq!(mode(&path), 0o640);
        }

        #[test]
        fn a_link_stays_a_link() {
            let folder = tempfile::tempdir().unwrap();
            let real = folder.path().join("real");
            let link = folder.path().join("link");
            fs::write(&real, "old").unwrap();
            std::os::unix::fs::symlink(&real, &link).unwrap();
            let mut file = AtomicFile::create(&link).unwrap();
            file.write_all(b"new").unwrap();
            file.commit().unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        }

        #[test]
        fn a_device_is_written_and_never_replaced() {
            let mut file = AtomicFile::create("/dev/null").unwrap();
            file.write_all(b"gone").unwrap();
            file.commit().unwrap();
            assert!(!fs::metadata("/dev/null").unwrap().is_file());
        }

        #[test]
        fn a_full_disk_is_an_error_at_commit() {
            if !Path::new("/dev/full").exists() {
                return println!("skipped: no /dev/full here");
            }
            let mut file = AtomicFile::create("/dev/full").unwrap();
            file.write_all(b"no room").unwrap();
            let error = file.commit().unwrap_err();
            assert!(error.to_string().contains("cannot write"), "{error}");
        }
    }
}
