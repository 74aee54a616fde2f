//! Another key for everything that is sealed.
//!
//! It may be killed at any instant, and works beside a running daemon:
//!
//! | step | killed after it |
//! |---|---|
//! | the new key is written before the old ones | both open what they sealed; what is sealed from now on has the new one |
//! | each file is opened and sealed anew, aside, and put in its place under the lock | each file is sealed with one of the keys in the file of keys |
//! | under the lock nothing is left of an old key | as before |
//! | the file of keys is written without it | done |
//!
//! A daemon seals under the same lock, which it shares, and reads the keys under it: once the last
//! look found nothing of an old key, nothing is sealed with it any more.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::keys::new_key;
use super::{Broken, Hold, Keys, SealError, cipher, decrypt, header, read_header, sealed_files};

/// What a rotation came to.
#[derive(Debug)]
pub struct Rotated {
    /// The name of the new key.
    pub key: String,
    /// How many files were sealed anew.
    pub resealed: usize,
    /// The names of the keys that are gone.
    pub retired: Vec<String>,
    /// What could not be sealed anew, and why; the keys that these need stay.
    pub left: Vec<(PathBuf, SealError)>,
}

impl Keys {
    /// Makes a new key, seals everything below `folders` with it, and drops the keys that nothing
    /// is sealed with any more.
    ///
    /// # Errors
    ///
    /// Where the keys cannot be read or written. Repeating it is safe.
    pub fn rotate(&self, folders: &[PathBuf]) -> Result<Rotated, SealError> {
        let new = {
            let _alone = self.hold(Hold::Alone)?;
            let mut keys = self.read_all()?;
            let new = new_key()?;
            let name = new.id.clone();
            keys.insert(0, new);
            self.write(&keys)?;
            name
        };
        let all = || folders.iter().flat_map(|folder| sealed_files(folder));
        let mut resealed = 0;
        for path in all() {
            let _alone = self.hold(Hold::Alone)?;
            // What fails here is looked at once more below.
            if matches!(self.reseal(&path, &new), Ok(Done::Resealed)) {
                resealed += 1;
            }
        }
        let _alone = self.hold(Hold::Alone)?;
        let mut left = Vec::new();
        let mut used = BTreeSet::from([new.clone()]);
        let mut every = false;
        for path in all() {
            match self.reseal(&path, &new) {
                Ok(Done::Resealed) => resealed += 1,
                Ok(Done::Nothing) => {}
                Err(error) => {
                    match header(&path) {
                        Ok(header) => _ = used.insert(header.key),
                        // Any of them may be the one that it needs.
                        Err(_) => every = true,
                    }
                    left.push((path, error));
                }
            }
        }
        let (keep, retired): (Vec<_>, Vec<_>) = self
            .read_all()?
            .into_iter()
            .partition(|key| every || used.contains(&key.id));
        self.write(&keep)?;
        Ok(Rotated {
            key: new,
            resealed,
            retired: retired.into_iter().map(|key| key.id).collect(),
            left,
        })
    }

    /// Seals a file with the newest key, where it is not.
    fn reseal(&self, path: &Path, newest: &str) -> Result<Done, SealError> {
        let file = match File::open(path) {
            Ok(file) => file,
            // It was swept away meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Done::Nothing),
            Err(error) => return Err(SealError::io("read", path)(error)),
        };
        let mut file = BufReader::new(file);
        let (header, lines) = read_header(&mut file, path)?;
        if header.key == newest {
            return Ok(Done::Nothing);
        }
        let damaged = || SealError::Damaged { path: path.into() };
        let salt = hex::decode(&header.salt).map_err(|_| damaged())?;
        let old = cipher(&self.named(&header.key, path)?.bytes, &salt);
        // In memory: in the clear it is never on the disk.
        let mut plain = Vec::new();
        decrypt(&old, &lines, file, &mut plain).map_err(|broken| match broken {
            Broken::Seal => damaged(),
            Broken::Io(source) => SealError::io("open", path)(source),
        })?;
        self.put(plain.as_slice(), path, &header.label)?;
        Ok(Done::Resealed)
    }
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Resealed,
    /// It has the newest key, or is gone.
    Nothing,
}
