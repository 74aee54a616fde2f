//! Opens the record where nothing can be written: a disk that is mounted for reading only, a full one,
//! a folder of another user. What is known can be seen all the same.
//!
//! SQLite reads a file with a write-ahead log only where it may keep an index of that log beside it.
//! Where it may not, the file is read as one that never changes, and where the log holds something
//! that is not in the file yet, from a copy of both.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, OpenFlags};

use super::{FILE_NAME, MIGRATIONS, Store, StoreError};

/// So often a copy is begun anew where somebody wrote meanwhile.
const COPIES: usize = 3;

/// How a record was opened to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writable {
    /// It can be written as well.
    Yes,
    /// It cannot, and shows what was recorded last.
    No,
}

impl Store {
    /// Opens the record in `data_dir` to be read, also where it cannot be written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] where there is none; [`StoreError::Corrupt`] for a damaged file; where it
    /// cannot be read either, why it cannot be opened in the ordinary way.
    pub fn open_to_read(data_dir: &Path) -> Result<(Self, Writable), StoreError> {
        let error = match Self::open_existing(data_dir) {
            Ok(store) => return Ok((store, Writable::Yes)),
            Err(error @ (StoreError::Missing { .. } | StoreError::Corrupt { .. })) => {
                return Err(error);
            }
            Err(error) if error.is_of_the_disk() => error,
            Err(error) => return Err(error),
        };
        let file = data_dir.join(FILE_NAME);
        let reading: [fn(&Path) -> Option<Self>; 3] =
            [beside_its_log, as_one_that_never_changes, from_a_copy];
        for read in reading {
            if let Some(store) = read(&file) {
                return Ok((store, Writable::No));
            }
        }
        Err(error)
    }

    fn reader(connection: Connection, file: &Path) -> Option<Self> {
        let found: u32 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .ok()?;
        // An older form would have to be brought to the present one first.
        if found as usize != MIGRATIONS.len() {
            return None;
        }
        connection.pragma_update(None, "query_only", true).ok()?;
        Self::of(connection, file.to_owned()).ok()
    }
}

/// Reads the file with its write-ahead log, where the index of that is there already.
fn beside_its_log(file: &Path) -> Option<Store> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Store::reader(Connection::open_with_flags(file, flags).ok()?, file)
}

/// Reads the file alone, where its log holds nothing.
fn as_one_that_never_changes(file: &Path) -> Option<Store> {
    if std::fs::metadata(log_of(file)).is_ok_and(|log| log.len() > 0) {
        return None;
    }
    let mut address = "file:".to_owned();
    for byte in file.to_str()?.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_') {
            address.push(char::from(byte));
        } else {
            address.push_str(&format!("%{byte:02x}"));
        }
    }
    address.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    Store::reader(Connection::open_with_flags(address, flags).ok()?, file)
}

/// Reads a copy of the file and its log in a temporary folder, which goes with the store.
fn from_a_copy(file: &Path) -> Option<Store> {
    for _ in 0..COPIES {
        let folder = tempfile::tempdir().ok()?;
        let copy = folder.path().join(FILE_NAME);
        let before = (state(file), state(&log_of(file)));
        std::fs::copy(file, &copy).ok()?;
        if before.1.is_some() {
            std::fs::copy(log_of(file), log_of(&copy)).ok()?;
        }
        if before != (state(file), state(&log_of(file))) {
            continue;
        }
        for file in [copy.clone(), log_of(&copy)] {
            make_writable(&file);
        }
        let mut store = Store::open_existing(folder.path()).ok()?;
        store.lock().pragma_update(None, "query_only", true).ok()?;
        store.copy = Some(folder);
        return Some(store);
    }
    None
}

/// A copy has the rights of what it was made from.
fn make_writable(file: &Path) {
    if let Ok(about) = std::fs::metadata(file) {
        let mut rights = about.permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o600);
        // Where this fails, opening it says so.
        let _ = std::fs::set_permissions(file, rights);
    }
}

/// Where SQLite keeps what is not in the file yet.
fn log_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push("-wal");
    PathBuf::from(name)
}

/// What changes when somebody writes to a file.
fn state(file: &Path) -> Option<(u64, SystemTime)> {
    let about = std::fs::metadata(file).ok()?;
    Some((about.len(), about.modified().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::id::RepoName;
    use crate::store::tests::order;

    fn is_read(store: &Store) {
        assert_eq!(store.open_runs().unwrap().len(), 1);
        let repo: RepoName = "acme/infra".parse().unwrap();
        assert!(store.repositories().unwrap().iter().all(|r| r.repo == repo));
        let error = store.add_run(&order("dns"), now()).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    }

    #[test]
    fn a_record_whose_log_is_empty_is_read_as_one_that_never_changes() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("100% ours?");
        let store = Store::open(&named).unwrap();
        store.add_run(&order("network"), now()).unwrap();
        // The last one who closes it brings its log into the file.
        drop(store);
        let before = std::fs::read_dir(&named).unwrap().count();
        is_read(&as_one_that_never_changes(&named.join(FILE_NAME)).unwrap());
        assert_eq!(std::fs::read_dir(&named).unwrap().count(), before);
    }

    #[test]
    fn what_is_only_in_the_log_is_read_from_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let store = Store::open(folder.path()).unwrap();
        store.add_run(&order("network"), now()).unwrap();
        assert!(as_one_that_never_changes(&file).is_none());
        is_read(&from_a_copy(&file).unwrap());
        is_read(&beside_its_log(&file).unwrap());
        drop(store);
    }

    #[test]
    fn a_record_that_can_be_written_is_opened_as_ever() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            Store::open_to_read(folder.path()),
            Err(StoreError::Missing { .. })
        ));
        drop(Store::open(folder.path()).unwrap());
        let (_store, writable) = Store::open_to_read(folder.path()).unwrap();
        assert_eq!(writable, Writable::Yes);
    }
}
