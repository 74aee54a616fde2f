//! A copy of the record while the daemon writes it.

use std::path::Path;

use super::{FILE_NAME, HEAD_FILE, Store, StoreError, audit};

impl Store {
    /// Writes a whole copy of the record, as it is at one instant, into `folder`, with the head of its
    /// audit log beside it.
    ///
    /// # Errors
    ///
    /// Where there is a record already, or it cannot be written.
    pub fn copy_into(&self, folder: &Path) -> Result<(), StoreError> {
        let copy = folder.join(FILE_NAME);
        let failed = |source| StoreError::of(source, &copy, "be written");
        // It refuses to overwrite a file that holds anything.
        self.lock()
            .execute("VACUUM INTO ?1", [copy.to_string_lossy()])
            .map_err(failed)?;
        // The copy's own, not the file's beside us: that may have gone on meanwhile.
        let head = {
            let connection = rusqlite::Connection::open(&copy).map_err(failed)?;
            audit::head(&connection)?
        };
        if head.count > 0 {
            audit::write_head(&copy, &head).map_err(|source| StoreError::Beside {
                file: folder.join(HEAD_FILE),
                source,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use crate::store::DaemonLease;

    #[test]
    fn a_copy_is_a_whole_record_and_never_overwrites_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let lease = store.take_daemon_lease("me", now(), |_| false).unwrap();
        assert_eq!(lease, DaemonLease::Taken);
        let copy = tempfile::tempdir().unwrap();
        store.copy_into(copy.path()).unwrap();
        assert!(store.copy_into(copy.path()).is_err());
        // What comes later is not in it, and it goes on by itself.
        store.take_daemon_lease("other", now(), |_| true).unwrap();
        let restored = Store::open(copy.path()).unwrap();
        assert_eq!(restored.audit_records().unwrap().len(), 1);
        assert_eq!(restored.audit_verify(&[]).unwrap().faults, []);
        assert_eq!(store.audit_records().unwrap().len(), 2);
    }
}
