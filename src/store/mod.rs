//! The record: one SQLite file in `data_dir`, written before and after everything that matters.

mod commands;
mod overrides;
mod repositories;
mod runs;
mod tellings;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use commands::{Command, CommandState, NewCommand};
pub use overrides::Overridden;
pub use repositories::{BaseMove, ProposalRow, ProposalState, Repository, WorkspaceRow};
pub use runs::{Begin, RunFilter, RunUpdate, StepRow};
pub use tellings::Telling;

use crate::run::IllegalEvent;

/// The name of the file in `data_dir`.
pub const FILE_NAME: &str = "mainstay.db";

/// How long a writer waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The steps from an empty file to the present form, in order. A step that was released is never edited.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("overrides.sql")];

/// Why the record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is damaged. It is left as it is.
    #[error(
        "the database {file} is damaged ({finding}). It was left as it is. Put a backup in its place, or move it away to \
         start with an empty record: states of workspaces are kept beside it, but what was applied is then compared anew"
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What was found.
        finding: String,
    },
    /// The file was written by a newer version.
    #[error(
        "the database {file} has form {found}, and this version knows forms up to {known}: use a newer Mainstay"
    )]
    TooNew {
        /// The file.
        file: PathBuf,
        /// Its form.
        found: usize,
        /// The newest form that is known.
        known: usize,
    },
    /// There is no file, and the command only reads.
    #[error(
        "nothing is recorded at {file} yet: start `mainstay serve` with these settings, or name those of the daemon \
         by `--config`"
    )]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// The folder cannot be made.
    #[error("cannot make the folder {folder}; `data_dir` in the settings names it")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("the database {file} cannot {action}")]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// A value in the file is none that this version writes.
    #[error("the database holds a {what} that this version does not understand: {value}")]
    Unreadable {
        /// What it should be.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// A run cannot take that event where it stands.
    #[error("run {run} is not where it was thought to be")]
    Illegal {
        /// The run's number.
        run: i64,
        /// The state and the event.
        #[source]
        source: IllegalEvent,
    },
    /// A row that must be there is not.
    #[error("there is no {what} {key} in the database")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// By which key.
        key: String,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sqlite {
            file: PathBuf::from(FILE_NAME),
            action: "be read or written",
            source,
        }
    }
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
}

impl Store {
    /// Opens the record in `data_dir`, making and migrating it where needed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] for a damaged file, which is left as it is.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(data_dir).map_err(|source| StoreError::Folder {
            folder: data_dir.to_owned(),
            source,
        })?;
        Self::open_with(
            data_dir.join(FILE_NAME),
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
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
            move |source: rusqlite::Error| match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                    StoreError::Corrupt {
                        file,
                        finding: source.to_string(),
                    }
                }
                _ => StoreError::Sqlite {
                    file,
                    action,
                    source,
                },
            }
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
        Ok(Self {
            connection: Mutex::new(connection),
            file,
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
            ours: connection.total_changes(),
        })
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
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

fn migrate(connection: &mut Connection, file: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Sqlite {
        file: file.to_owned(),
        action: "be migrated",
        source,
    };
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

    #[test]
    fn a_reader_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::open_existing(folder.path()).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
