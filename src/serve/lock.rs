//! The lock of the data folder, and its key.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The file that is locked. It holds the number of the process that locked it last.
const LOCK_FILE: &str = "daemon.lock";

/// The lock file of the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the lock file {file}")]
pub struct LockError {
    file: PathBuf,
    #[source]
    source: std::io::Error,
}

/// The data folder, taken until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// Takes the folder; `None` where another process has it.
    pub(super) fn take(folder: &Path) -> Result<Option<Self>, LockError> {
        let path = folder.join(LOCK_FILE);
        let failed = |source| LockError {
            file: path.clone(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Some(Self { _file: file }))
    }

    /// Whether a process has the folder.
    pub(super) fn is_taken(folder: &Path) -> bool {
        File::open(folder.join(LOCK_FILE))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }
}

/// Reads the 32 bytes of a key, making them at the first start, readable by their owner alone.
pub(super) fn read_or_make_key(file: &Path) -> std::io::Result<[u8; 32]> {
    loop {
        match std::fs::read(file) {
            Ok(bytes) => {
                return bytes.try_into().map_err(|bytes: Vec<u8>| {
                    std::io::Error::new(
                        std::io::ErrorKind::InvalidData,
                        format!(
                            "it holds {} bytes and not 32; move it away to have a new one made",
                            bytes.len()
                        ),
                    )
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut key = [0_u8; 32];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        // Whole or not at all: written aside, then put in place unless another process was first.
        let mut aside = tempfile::Builder::new()
            .prefix(".key")
            .tempfile_in(folder)?;
        aside.write_all(&key)?;
        aside.as_file().sync_all()?;
        match aside.persist_noclobber(file) {
            Ok(_) => return Ok(key),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_data_folder_is_locked_by_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!DataDirLock::is_taken(folder.path()));
        let first = DataDirLock::take(folder.path()).unwrap();
        assert!(first.is_some());
        assert!(DataDirLock::take(folder.path()).unwrap().is_none());
        assert!(DataDirLock::is_taken(folder.path()));
        drop(first);
        assert!(!DataDirLock::is_taken(folder.path()));
        assert!(DataDirLock::take(folder.path()).unwrap().is_some());
    }

    #[test]
    fn a_key_stays_the_same_and_is_nobody_elses_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k");
        let key = read_or_make_key(&file).unwrap();
        assert_eq!(read_or_make_key(&file).unwrap(), key);
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(&file, b"short").unwrap();
        assert!(read_or_make_key(&file).is_err());
    }
}
