//! Commits that were too large to fetch, so that they are not fetched again at each look.

use std::fs;
use std::io;

use super::error::SourceError;
use super::mirror::Mirror;
use crate::config::Size;
use crate::id::CommitSha;

/// The folder of the marks: a file for each commit, with the limit that it was over.
const REFUSED: &str = "refused";

impl Mirror {
    /// Notes that a commit cannot be fetched within the present limit.
    ///
    /// # Errors
    ///
    /// Where that cannot be written.
    pub fn refuse(&self, commit: &CommitSha) -> Result<(), SourceError> {
        let folder = self.path().join(REFUSED);
        let file = folder.join(commit.as_str());
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&file, self.limits().pack.to_string()))
            .map_err(|error| SourceError::io("write", &file, error))
    }

    /// Whether a commit was too large once.
    pub fn is_marked(&self, commit: &CommitSha) -> bool {
        self.path().join(REFUSED).join(commit.as_str()).exists()
    }

    /// Forgets that a commit was too large.
    ///
    /// # Errors
    ///
    /// Where the mark cannot be removed.
    pub fn forgive(&self, commit: &CommitSha) -> Result<(), SourceError> {
        let file = self.path().join(REFUSED).join(commit.as_str());
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SourceError::io("remove", &file, error))
            }
            _ => Ok(()),
        }
    }

    /// The limit that a commit was too large for, while it is not larger than it was then.
    ///
    /// # Errors
    ///
    /// Where that cannot be read.
    pub fn refused(&self, commit: &CommitSha) -> Result<Option<Size>, SourceError> {
        let file = self.path().join(REFUSED).join(commit.as_str());
        match fs::read_to_string(&file) {
            Ok(text) => {
                let then = text.trim().parse().unwrap_or(0);
                Ok((self.limits().pack <= then).then_some(Size(self.limits().pack)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SourceError::io("read", &file, error)),
        }
    }
}
