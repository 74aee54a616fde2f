//! Why the record could not be read or written.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::FILE_NAME;
use crate::run::IllegalEvent;

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
    /// The disk is full.
    #[error(
        "the database {file} cannot be written, since the disk is full. What was recorded stays, and what runs is \
         recorded as soon as there is room: make some on that disk"
    )]
    Full {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The file, its folder or its disk cannot be written.
    #[error(
        "the database {file} cannot be written: the file, its folder or the disk is read-only for this user. What was \
         recorded stays: give the user of the daemon the right to write there, or mount the disk for writing"
    )]
    ReadOnly {
        /// The file.
        file: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A file beside the database cannot be written.
    #[error("cannot write {file}")]
    Beside {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process took the run, or the whole record, over.
    #[error(
        "another process took over {}: nothing more is recorded by this one",
        run.map_or_else(|| "this record".to_owned(), |run| format!("run {run}"))
    )]
    LeaseLost {
        /// The run's number.
        run: Option<i64>,
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
        Self::of(source, Path::new(FILE_NAME), "be read or written")
    }
}

impl StoreError {
    /// What SQLite says, with what a person can do about it.
    pub(super) fn of(source: rusqlite::Error, file: &Path, action: &'static str) -> Self {
        let file = file.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt {
                file,
                finding: source.to_string(),
            },
            Some(ErrorCode::DiskFull) => Self::Full { file, source },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { file, source }
            }
            _ => Self::Sqlite {
                file,
                action,
                source,
            },
        }
    }

    /// The same with the whole path of the file.
    pub(super) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Corrupt { finding, .. } => Self::Corrupt {
                file: path.to_owned(),
                finding,
            },
            Self::Full { source, .. }
            | Self::ReadOnly { source, .. }
            | Self::Sqlite { source, .. } => Self::of(source, path, "be read or written"),
            other => other,
        }
    }

    /// Whether it is the disk or the file that fails, so that a person must see to it.
    pub(super) fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Full { .. } | Self::ReadOnly { .. } | Self::Corrupt { .. } => true,
            Self::Sqlite { source, .. } => {
                matches!(
                    source.sqlite_error_code(),
                    Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen)
                )
            }
            _ => false,
        }
    }
}
