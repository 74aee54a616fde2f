//! The data folder belongs to one daemon at a time, and has a key of its own.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// Whoever asks for the holder has the lock for an instant; a daemon that starts waits so long.
const HOLDER_ASKED: Duration = Duration::from_millis(200);

/// Why the data folder cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error(
        "another `mainstay serve` (process {holder}) works with {folder}: end it first, or give this one a `data_dir` of its own"
    )]
    Taken {
        /// The folder.
        folder: PathBuf,
        /// The process that has it.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("cannot use the lock file {file}")]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// The data folder, taken until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// Takes the folder.
    ///
    /// # Errors
    ///
    /// [`LockError::Taken`] where another daemon has it.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join("daemon.lock");
        let failed = |source| LockError::File {
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
        if !Self::is_ours_within(&file, HOLDER_ASKED) {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed)?;
            return Err(LockError::Taken {
                folder: folder.to_owned(),
                holder: holder.trim().to_owned(),
            });
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }

    /// Whether the lock could be had in that time.
    fn is_ours_within(file: &File, limit: Duration) -> bool {
        let began = Instant::now();
        while flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if began.elapsed() > limit {
                return false;
            }
            std::thread::sleep(limit / 20);
        }
        true
    }

    /// The number of the process that has the folder; `None` where no daemon has it.
    ///
    /// # Errors
    ///
    /// [`LockError::File`] where the lock file is there and cannot be read.
    pub fn holder(folder: &Path) -> Result<Option<u32>, LockError> {
        let path = folder.join("daemon.lock");
        let failed = |source| LockError::File {
            file: path.clone(),
            source,
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            return Ok(None);
        }
        let mut holder = String::new();
        file.read_to_string(&mut holder).map_err(failed)?;
        Ok(holder.trim().parse().ok())
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
    fn a_data_folder_has_one_daemon_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDirLock::take(folder.path()).unwrap();
        let error = DataDirLock::take(folder.path()).unwrap_err();
        assert!(
            error.to_string().contains(&std::process::id().to_string()),
            "{error}"
        );
        drop(first);
        DataDirLock::take(folder.path()).unwrap();
    }

    #[test]
    fn who_has_the_folder_can_be_asked_and_asking_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(DataDirLock::holder(folder.path()).unwrap(), None);
        let lock = DataDirLock::take(folder.path()).unwrap();
        let ours = Some(std::process::id());
        assert_eq!(DataDirLock::holder(folder.path()).unwrap(), ours);
        drop(lock);
        assert_eq!(DataDirLock::holder(folder.path()).unwrap(), None);
        DataDirLock::take(folder.path()).unwrap();
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
