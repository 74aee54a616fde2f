//! The keys, their file, and the lock that keeps sealing and rotating apart.

use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use super::{STRANDED, SealError, sealed_files, sealed_name, write_whole};

/// The file of keys in the data folder, where the settings name no other.
const FILE: &str = "seal.key";

/// The file that is locked while something is sealed or opened.
const LOCK: &str = "seal.lock";

/// What stands above the keys in their file.
const HEADING: &str = "# What Mainstay keeps is sealed with the first of these keys; older ones still open it.\n\
                       # Keep a copy apart from the backups: without the keys they cannot be opened.\n";

/// Where the keys are. They are read anew each time, so that a rotation beside a running daemon is
/// seen by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    data_dir: PathBuf,
    file: PathBuf,
}

/// How the lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// With others: a file is sealed or opened.
    Shared,
    /// Alone: a file is sealed with another key, or a state is put in its place by hand.
    Alone,
}

/// The lock, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // Closing the file would do it too; but a child that was just forked may hold it open.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// A master key.
pub(super) struct Key {
    pub(super) id: String,
    pub(super) bytes: [u8; 32],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, bytes: _ } = self;
        f.debug_struct("Key")
            .field("id", id)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys of a data folder, in `file` where the settings name one.
    pub fn of(data_dir: &Path, file: Option<&Path>) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            file: file.map_or_else(|| data_dir.join(FILE), Path::to_owned),
        }
    }

    /// Where the keys are.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Makes the first key where there is none, and looks whether the keys can be used.
    ///
    /// # Errors
    ///
    /// [`SealError::KeysLost`] where the keys are gone while there is something that they sealed.
    pub fn ready(&self) -> Result<(), SealError> {
        let _hold = self.hold(Hold::Alone)?;
        if self.file.symlink_metadata().is_ok() {
            return self.newest().map(|_| ());
        }
        self.none_is_needed()?;
        self.write(&[new_key()?])
    }

    /// Looks whether the keys can be used, where there are any yet.
    ///
    /// # Errors
    ///
    /// As for [`Keys::ready`].
    pub fn look(&self) -> Result<(), SealError> {
        if self.file.symlink_metadata().is_ok() {
            return self.newest().map(|_| ());
        }
        self.none_is_needed()
    }

    fn none_is_needed(&self) -> Result<(), SealError> {
        let states = sealed_files(&self.data_dir.join("states"));
        let stranded = || stranded(&self.data_dir.join("runs"));
        match states.into_iter().next().or_else(stranded) {
            Some(sealed) => Err(SealError::KeysLost {
                keys: self.file.clone(),
                sealed,
            }),
            None => Ok(()),
        }
    }

    /// Takes the lock, and waits for whoever has it.
    ///
    /// # Errors
    ///
    /// Where the file of the lock cannot be used.
    pub fn hold(&self, hold: Hold) -> Result<Held, SealError> {
        let path = self.data_dir.join(LOCK);
        // Whoever may only read the folder can still lock what is there.
        let file = File::open(&path)
            .or_else(|_| {
                File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600)
                    .open(&path)
            })
            .map_err(SealError::io("lock", &path))?;
        let operation = match hold {
            Hold::Shared => FlockOperation::LockShared,
            Hold::Alone => FlockOperation::LockExclusive,
        };
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Held(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(SealError::io("lock", &path)(error.into())),
            }
        }
    }

    /// The key that is sealed with.
    pub(super) fn newest(&self) -> Result<Key, SealError> {
        let keys = self.file.clone();
        self.read_all()?
            .into_iter()
            .next()
            .ok_or(SealError::NoKey { keys })
    }

    /// The key of that name, which `path` is sealed with.
    pub(super) fn named(&self, id: &str, path: &Path) -> Result<Key, SealError> {
        self.read_all()?
            .into_iter()
            .find(|key| key.id == id)
            .ok_or_else(|| SealError::KeyMissing {
                path: path.into(),
                key: id.to_owned(),
                keys: self.file.clone(),
            })
    }

    /// The keys, newest first.
    pub(super) fn read_all(&self) -> Result<Vec<Key>, SealError> {
        let reading = SealError::io("read the keys", &self.file);
        let text = match fs::metadata(&self.file) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                return Err(SealError::KeysOpen {
                    keys: self.file.clone(),
                    mode: metadata.permissions().mode() & 0o7777,
                });
            }
            Ok(metadata) if !self.is_ours(metadata.uid()) => {
                return Err(SealError::KeysOfAnother {
                    keys: self.file.clone(),
                    owner: metadata.uid(),
                });
            }
            Ok(_) => fs::read_to_string(&self.file).map_err(reading)?,
            Err(error) => return Err(reading(error)),
        };
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = line.split_once(' ').and_then(|(id, digits)| {
                let bytes = hex::decode(digits.trim()).ok()?.try_into().ok()?;
                let id = id.to_owned();
                Some(Key { id, bytes })
            });
            keys.push(key.ok_or_else(|| SealError::KeysMalformed {
                keys: self.file.clone(),
                line: number + 1,
            })?);
        }
        Ok(keys)
    }

    /// Whether the owner of the file of keys is one who could read all of the data folder anyway:
    /// this process's user, root, or the folder's owner, for whom root looks into it.
    fn is_ours(&self, owner: u32) -> bool {
        let folder = || fs::metadata(&self.data_dir).is_ok_and(|folder| folder.uid() == owner);
        owner == geteuid().as_raw() || owner == 0 || folder()
    }

    /// Writes the keys; the lock is held alone.
    pub(super) fn write(&self, keys: &[Key]) -> Result<(), SealError> {
        write_whole(&self.file, |file| {
            file.write_all(HEADING.as_bytes())?;
            for Key { id, bytes } in keys {
                writeln!(file, "{id} {}", hex::encode(bytes))?;
            }
            Ok(())
        })
        .map_err(SealError::io("write the keys", &self.file))
    }
}

/// A sealed state below the folder of runs that an apply could not save. It is in a run's own folder
/// or in that of an attempt; what Terraform writes is deeper, and logs can be missed.
fn stranded(runs: &Path) -> Option<PathBuf> {
    let folders = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut at = folders(runs)
        .into_iter()
        .flat_map(|run| [vec![run.clone()], folders(&run)].concat());
    at.find_map(|folder| {
        let state = sealed_name(&folder.join(STRANDED));
        state.is_file().then_some(state)
    })
}

/// A new key with a name of its own.
pub(super) fn new_key() -> Result<Key, SealError> {
    Ok(Key {
        id: hex::encode(random::<6>()?),
        bytes: random()?,
    })
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SealError::Random)?;
    Ok(bytes)
}

/// The names of the keys, for tests.
#[cfg(test)]
pub(super) fn names(keys: &Keys) -> Vec<String> {
    let all = keys.read_all().unwrap();
    all.into_iter().map(|key| key.id).collect()
}

/// Whether a file of keys that this user owns is read, for tests.
#[cfg(test)]
pub(super) fn is_ours(keys: &Keys, owner: u32) -> bool {
    keys.is_ours(owner)
}
