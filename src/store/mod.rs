//! The record: one SQLite file in `data_dir`, written before and after everything that matters.

mod audit;
mod backup;
mod commands;
mod error;
mod leases;
mod overrides;
mod proposals;
mod reading;
mod repositories;
mod run_rows;
mod runs;
mod showing;
mod steps;
mod tellings;
mod workspaces;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

pub use audit::HEAD_FILE;
pub use commands::{Command, CommandState, NewCommand};
pub use error::StoreError;
pub use leases::{DaemonLease, LEASE, Renewal, TakeOver};
pub use proposals::{ProposalRow, ProposalState};
pub use reading::Writable;
pub use repositories::{BaseMove, Repository};
pub use run_rows::{OpenRun, RunFilter};
pub use runs::{Begin, RunUpdate};
pub use showing::{Meddled, Meddling, text_digest};
pub use steps::StepRow;
pub use tellings::{Ground, Shown, Telling};
pub use workspaces::WorkspaceRow;

use self::leases::Fences;
use crate::audit::Head;
use crate::clock::{Timestamp, now};

/// The name of the file in `data_dir`.
pub const FILE_NAME: &str = "mainstay.db";

/// How long a writer waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The steps from an empty file to the present form, in order. A step that was released is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("overrides.sql"),
    include_str!("tellings.sql"),
];

/// Why nothing can be recorded at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What fails, and what to do.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
}

/// How far the record has come; equal as long as nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    others: i64,
    ours: u64,
}

/// The record, open.
pub struct Store {
    connection: Mutex<Connection>,
    file: PathBuf,
    /// How far the audit log had come when that was noted last beside the file.
    noted: Mutex<Head>,
    /// What this process holds.
    fences: Mutex<Fences>,
    /// Why the last write failed, where it was the disk.
    trouble: Mutex<Option<Trouble>>,
    /// Changes of ours that nothing follows from.
    quiet: AtomicU64,
    /// The folder of a copy that is read in the record's place, as long as it is.
    copy: Option<tempfile::TempDir>,
}

impl Store {
    /// Opens the record in `data_dir`, making and migrating it where needed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] for a damaged file, which is left as it is.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        // What is in it is its owner's alone; a folder that is there stays as it is.
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir);
        made.map_err(|source| StoreError::Folder {
            folder: data_dir.to_owned(),
            source,
        })?;
        let store = Self::open_with(
            data_dir.join(FILE_NAME),
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        store.audit_reconcile(now())?;
        Ok(store)
    }

    /// Opens the record in `data_dir` where there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] where there is none; nothing is made.
    pub fn open_existing(data_dir: &Path) -> Result<Self, StoreError> {
        let file = data_dir.join(FILE_NAME);
        if !file.exists() {
            return Err(StoreError::Missing { file });
        }
        Self::open_with(
            file,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
    }

    fn open_with(file: PathBuf, flags: OpenFlags) -> Result<Self, StoreError> {
        let failed = |action: &'static str| {
            let file = file.clone();
            move |source: rusqlite::Error| StoreError::of(source, &file, action)
        };
        let mut connection =
            Connection::open_with_flags(&file, flags).map_err(failed("be opened"))?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .map_err(failed("be opened"))?;
        // FULL: a record that was acknowledged outlives a power cut, not only a crash.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .map_err(failed("be opened"))?;
        let finding: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(failed("be checked"))?;
        if finding != "ok" {
            return Err(StoreError::Corrupt { file, finding });
        }
        migrate(&mut connection, &file)?;
        Self::of(connection, file)
    }

    /// A connection to a record in its present form.
    fn of(connection: Connection, file: PathBuf) -> Result<Self, StoreError> {
        let noted = audit::head(&connection)?;
        Ok(Self {
            connection: Mutex::new(connection),
            file,
            noted: Mutex::new(noted),
            fences: Mutex::default(),
            trouble: Mutex::default(),
            quiet: AtomicU64::default(),
            copy: None,
        })
    }

    /// The file of the record.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What changes with every write, be it this process's or another's: cheap to ask.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn version(&self) -> Result<Version, StoreError> {
        let connection = self.lock();
        Ok(Version {
            others: connection.query_row("PRAGMA data_version", [], |row| row.get(0))?,
            ours: connection
                .total_changes()
                .saturating_sub(self.quiet.load(Ordering::Relaxed)),
        })
    }

    /// Why nothing can be recorded at present, where the last write failed for the disk's sake.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Leaves changes out of the [`Version`].
    fn keep_quiet(&self, changes: u64) {
        self.quiet.fetch_add(changes, Ordering::Relaxed);
    }

    fn fences(&self) -> MutexGuard<'_, Fences> {
        self.fences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic between two statements leaves a transaction that is rolled back, so the connection is good.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` as one transaction that is durable when this returns.
    fn write<T>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = self
            .transact(work)
            .map_err(|error| error.in_file(&self.file));
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match &done {
            Err(error) if error.is_of_the_disk() => {
                let since = trouble.as_ref().map_or_else(now, |before| before.since);
                *trouble = Some(Trouble {
                    text: crate::fault::chain(error),
                    since,
                });
            }
            Ok(_) => *trouble = None,
            Err(_) => {}
        }
        done
    }

    fn transact<T>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        let head = audit::head(&transaction)?;
        transaction.commit()?;
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted != head {
            // It stays behind where this fails, and the next write tries it again.
            match audit::write_head(&self.file, &head) {
                Ok(()) => *noted = head,
                Err(error) => {
                    warn!("The head of the audit log could not be noted beside it: {error}");
                }
            }
        }
        Ok(value)
    }
}

fn migrate(connection: &mut Connection, file: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::of(source, file, "be migrated");
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let found: u32 = transaction
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(failed)?;
    let found = found as usize;
    if found > MIGRATIONS.len() {
        return Err(StoreError::TooNew {
            file: file.to_owned(),
            found,
            known: MIGRATIONS.len(),
        });
    }
    for migration in &MIGRATIONS[found..] {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "user_version", MIGRATIONS.len() as u32)
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// Writes a value as JSON.
fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types have string keys and no failing serialiser")
}

/// Reads a value from JSON that this module wrote.
fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable {
        what,
        value: text.chars().take(200).collect(),
    })
}

/// Writes a unit variant or a name as plain text.
fn to_text<T: Serialize>(value: &T) -> String {
    to_json(value).trim_matches('"').to_owned()
}

/// Reads what [`to_text`] wrote.
fn from_text<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|_| {
        StoreError::Unreadable {
            what,
            value: text.to_owned(),
        }
    })
}

/// Reads an optional column that [`to_text`] wrote.
fn opt_text<T: DeserializeOwned>(
    what: &'static str,
    text: Option<String>,
) -> Result<Option<T>, StoreError> {
    text.map(|text| from_text(what, &text)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_gets_a_record() {
        let folder = tempfile::tempdir().unwrap();
        Store::open(&folder.path().join("deep/var")).unwrap();
        Store::open_existing(&folder.path().join("deep/var")).unwrap();
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        std::fs::write(
            &file,
            b"this is no database, but it is long enough to be read as one",
        )
        .unwrap();
        let error = Store::open(folder.path()).map(|_| ()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(
            std::fs::read(&file)
                .unwrap()
                .starts_with(b"this is no database")
        );
    }

    #[test]
    fn a_page_of_rubbish_in_the_middle_is_found() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let file = folder.path().join(FILE_NAME);
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = 4096 * 2;
        bytes[middle..middle + 4096].fill(0xa5);
        std::fs::write(&file, bytes).unwrap();
        let error = Store::open(folder.path()).map(|_| ()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let raw = Connection::open(folder.path().join(FILE_NAME)).unwrap();
        raw.pragma_update(None, "user_version", 99_u32).unwrap();
        drop(raw);
        let error = Store::open(folder.path()).map(|_| ()).unwrap_err();
        assert!(
            matches!(error, StoreError::TooNew { found: 99, .. }),
            "{error}"
        );
    }

    pub(super) fn order(workspace: &str) -> crate::run::NewRun {
        crate::run::NewRun {
            repo: "acme/infra".parse().unwrap(),
            workspace: workspace.parse().unwrap(),
            purpose: crate::run::Purpose::Merge,
            proposal: None,
            commit: "1".repeat(40).parse().unwrap(),
            base: None,
            tree: "2".repeat(40).parse().unwrap(),
            inputs: "in".into(),
            trigger: crate::run::Trigger::Commit,
        }
    }

    #[test]
    fn a_full_disk_is_said_and_loses_nothing_that_was_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let limit = |pages: u32| {
            let connection = store.lock();
            connection
                .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
                .unwrap();
        };
        // SQLite keeps at least the pages that there are.
        limit(1);
        let mut recorded = 0;
        let error = loop {
            match store.add_run(&order("network"), now()) {
                Ok(_) => recorded += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert!(error.to_string().contains(folder.path().to_str().unwrap()));
        let trouble = store.trouble().unwrap();
        assert!(
            trouble.text.contains("the disk is full"),
            "{}",
            trouble.text
        );
        assert_eq!(store.open_runs().unwrap().len(), recorded);
        limit(100_000);
        store.add_run(&order("network"), now()).unwrap();
        assert_eq!(store.trouble(), None);
        assert_eq!(store.open_runs().unwrap().len(), recorded + 1);
        assert_eq!(store.audit_verify(&[]).unwrap().faults, []);
    }

    #[test]
    fn a_disk_that_cannot_be_written_is_said_and_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.add_run(&order("network"), now()).unwrap();
        // SQLite answers a write as it does on a disk that is mounted for reading only. Rights on the
        // file would not do: the tests may run as a user whom none of them stops.
        let query_only = |on: bool| store.lock().pragma_update(None, "query_only", on).unwrap();
        query_only(true);
        let error = store.add_run(&order("dns"), now()).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        assert!(store.trouble().unwrap().text.contains("read-only"));
        assert_eq!(store.open_runs().unwrap().len(), 1);
        query_only(false);
        store.add_run(&order("dns"), now()).unwrap();
        assert_eq!(store.trouble(), None);
    }

    #[test]
    fn the_runs_under_way_are_found_without_looking_at_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let connection = store.lock();
        let plan = |condition: &str| -> String {
            connection
                .query_row(
                    &format!(
                        "EXPLAIN QUERY PLAN SELECT id FROM runs WHERE {condition} ORDER BY id"
                    ),
                    [],
                    |row| row.get(3),
                )
                .unwrap()
        };
        for condition in [run_rows::ACTIVE, run_rows::OPEN] {
            let plan = plan(condition);
            assert!(plan.contains("runs_open"), "{plan}");
        }
    }

    #[test]
    fn a_reader_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::open_existing(folder.path()).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
