//! Why something could not be sealed or opened.

use std::io;
use std::path::{Path, PathBuf};

use super::Label;
use crate::clock::Timestamp;

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file could not be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was to be done with it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is no file of keys, while there are sealed files.
    #[error(
        "the keys {} are not there, and {} is sealed with one of them: put the file of keys back from where it is kept apart",
        keys.display(), sealed.display()
    )]
    KeysLost {
        /// Where they are looked for.
        keys: PathBuf,
        /// A file that needs them.
        sealed: PathBuf,
    },
    /// The file of keys can be read by others.
    #[error(
        "the keys {} are open to others (mode {mode:04o}): `chmod 600` the file, and rotate the keys where somebody may have read it",
        keys.display()
    )]
    KeysOpen {
        /// The file.
        keys: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// The file of keys belongs to another user, who could read and change it.
    #[error(
        "the keys {} belong to the user {owner}: `chown` the file to the daemon's user, and rotate the keys",
        keys.display()
    )]
    KeysOfAnother {
        /// The file.
        keys: PathBuf,
        /// The number of its owner.
        owner: u32,
    },
    /// A line of the file of keys is none.
    #[error(
        "line {line} of the keys {} is no key: each is a name, a space and 64 hexadecimal digits",
        keys.display()
    )]
    KeysMalformed {
        /// The file.
        keys: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// The file of keys holds none.
    #[error("the keys {} hold no key", keys.display())]
    NoKey {
        /// The file.
        keys: PathBuf,
    },
    /// The key that a file is sealed with is not among the keys.
    #[error(
        "{} is sealed with the key `{key}`, which is not in {}: put that key back into the file",
        path.display(), keys.display()
    )]
    KeyMissing {
        /// The sealed file.
        path: PathBuf,
        /// The key's name.
        key: String,
        /// The file of keys.
        keys: PathBuf,
    },
    /// The file is not sealed.
    #[error("{} is no sealed file of this version of Mainstay", path.display())]
    NotSealed {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what was sealed.
    #[error("{} was changed or cut since it was sealed", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs elsewhere.
    #[error(
        "{} holds a {:?} of {} in {}, and belongs elsewhere",
        path.display(), is.kind, is.workspace, is.repository
    )]
    Another {
        /// The file.
        path: PathBuf,
        /// What it says that it is.
        is: Box<Label>,
    },
    /// Its time is over.
    #[error("{} was to be opened until {at} only", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When its time ended.
        at: Timestamp,
    },
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl SealError {
    pub(super) fn io<'p>(
        what: &'static str,
        path: &'p Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'p> {
        move |source| Self::Io {
            what,
            path: path.into(),
            source,
        }
    }

    /// Whether the file is not whole, so that an earlier version may stand for it.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::NotSealed { .. } | Self::Damaged { .. })
    }
}
