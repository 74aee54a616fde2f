//! A state that Mainstay keeps itself, with the versions before it: sealed while it rests.
//!
//! In the state's folder stand `NAME.sealed` and its versions, `NAME.SERIAL-TIME.backup.sealed`. A
//! plan gets a copy in the clear in its run's own folder, which goes when the run ends. An apply gets
//! it in the folder `open`, which holds nothing else and is all that the apply may write:
//!
//! | step of an apply | what stands after it | killed there, the next one |
//! |---|---|---|
//! | the sealed state is copied as a version | sealed, version | has a version more |
//! | it is opened aside and renamed into `open` | sealed, open | seals the open one again: it is the same |
//! | Terraform writes the open one, whole | sealed, open and newer | seals the open one: it is the truth |
//! | Terraform is killed in the middle of its write | sealed, open and cut | puts the version back, and says so |
//! | the open one is sealed aside | as before, and half a file that nobody reads | as before |
//! | it is renamed over the sealed one | both the same | seals the open one again |
//! | the open one is removed | sealed | has nothing to do |
//!
//! So wherever an open one stands that no Terraform has locked, it is the newest truth, or cut. Only
//! who alone works on the workspace seals it: the run that the record gave the workspace to.
//!
//! Mainstay used to keep states and versions in the clear, under the names without `.sealed`. What is
//! found there is sealed when the workspace is worked on next.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use serde::Deserialize;

use super::error::LockInfo;
use crate::id::{RepoName, WorkspaceName};
use crate::plan::StateVersion;
use crate::seal::{self, Hold, Keys, Kind, Label, SealError, Wanted, remove, sealed_name};

/// How many earlier versions of a state are kept.
const VERSIONS: usize = 50;

/// The folder beside the sealed state where an apply finds it in the clear.
const OPEN: &str = "open";

/// A state that Mainstay keeps, and what it is sealed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptState {
    /// Its file, without the ending of sealed ones.
    pub path: PathBuf,
    /// The keys.
    pub keys: Keys,
    /// The repository that it belongs to.
    pub repo: RepoName,
    /// The workspace that it belongs to.
    pub workspace: WorkspaceName,
    /// The commit that is worked on, and that a new state is of.
    pub commit: Option<String>,
}

/// What the state's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// There is none: nothing was applied yet.
    Absent,
    /// A state that reads well, with its serial number.
    Sound(u64),
    /// It is empty or in the middle of a write, and another process has it locked.
    BeingWritten,
    /// It is empty, or no state.
    Corrupt,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "version")]
    _version: u64,
    serial: u64,
    lineage: String,
}

/// What Terraform writes beside a state that it locked.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Holder {
    #[serde(rename = "ID")]
    id: Option<String>,
    who: Option<String>,
    created: Option<String>,
    operation: Option<String>,
}

/// Why a state that is put in place by hand is refused.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A file or the keys cannot be used.
    #[error("the state cannot be put in its place")]
    Seal(#[from] SealError),
    /// A file cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An apply has the state.
    #[error(
        "an apply has the state, or ended without closing it: end the apply first, or let the daemon find out how it ended"
    )]
    Open,
    /// It is no state.
    #[error("{} is no state of Terraform's: it has no `version`, `serial` and `lineage`", path.display())]
    NoState {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to another line of states.
    #[error(
        "its lineage is `{new}`, and that of the kept state is `{kept}`: it is the state of something else"
    )]
    Lineage {
        /// Of the new one.
        new: String,
        /// Of the kept one.
        kept: String,
    },
    /// That it is done cannot be noted first.
    #[error("nothing was done, since it cannot be noted")]
    NotNoted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is not newer.
    #[error(
        "its serial is {new}, and that of the kept state is {kept}: give it a larger one, so that no plan that was made before is applied to it"
    )]
    Serial {
        /// Of the new one.
        new: u64,
        /// Of the kept one.
        kept: u64,
    },
}

/// Whether a state by hand must continue the kept one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It must.
    No,
    /// Whatever it is, it takes the place.
    Yes,
}

impl KeptState {
    /// Where it is sealed.
    pub fn sealed(&self) -> PathBuf {
        sealed_name(&self.path)
    }

    /// The folder that an apply may write: its state is in it, and nothing else of ours.
    pub fn open_folder(&self) -> PathBuf {
        open_folder(&self.path)
    }

    /// Where an apply finds it.
    pub(super) fn opened(&self) -> PathBuf {
        opened(&self.path)
    }

    /// The file that stands for the state now: the open one, or where it rests.
    pub(super) fn standing(&self) -> PathBuf {
        let plain = [self.opened(), self.path.clone()];
        let found = plain.into_iter().find(|path| path.exists());
        found.unwrap_or_else(|| self.sealed())
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            kind: Kind::State,
            repository: self.repo.to_string(),
            workspace: self.workspace.to_string(),
        }
    }

    fn label(&self, kind: Kind, head: Option<Head>) -> Label {
        let (lineage, serial) = head.map(|head| (head.lineage, head.serial)).unzip();
        Label {
            kind,
            repository: self.repo.to_string(),
            workspace: self.workspace.to_string(),
            commit: self.commit.clone(),
            run: None,
            lineage,
            serial,
            expires_at: None,
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    }

    /// Who has the open state locked, as Terraform wrote it beside the state.
    pub(super) fn holder(&self) -> LockInfo {
        let opened = self.opened();
        let name = opened.file_name().unwrap_or_default().to_string_lossy();
        let beside = opened.with_file_name(format!(".{name}.lock.info"));
        let held = fs::read(beside).ok();
        held.and_then(|text| serde_json::from_slice::<Holder>(&text).ok())
            .map(
                |Holder {
                     id,
                     who,
                     created,
                     operation,
                 }| LockInfo {
                    id,
                    who,
                    created,
                    operation,
                },
            )
            .unwrap_or_default()
    }

    /// Makes the folders of the state, for their owner alone.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let folder = self.open_folder();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        for folder in folder.ancestors().take(2) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    /// Seals what stands in the clear where a state should rest: what an apply left, or what an
    /// earlier Mainstay kept. What is empty or cut stays as it is.
    ///
    /// Only who alone works on the workspace may call this. It may be killed at any instant, and be
    /// repeated.
    ///
    /// # Errors
    ///
    /// Where a file or the keys cannot be used; nothing is lost then.
    pub fn settle(&self, unix: i64) -> Result<(), SealError> {
        self.settle_former()?;
        let plain = self.opened();
        let Some(head) = self.read_unlocked(&plain)? else {
            return Ok(());
        };
        // Terraform only ever continues what it was given; where it did not, neither is lost.
        if let Some(serial) = self.is_no_part_of(&head) {
            self.keep(serial, unix)?;
        }
        self.take_in(&plain, head)
    }

    /// Seals what an earlier Mainstay kept in the clear.
    pub(super) fn settle_former(&self) -> Result<(), SealError> {
        self.seal_former_versions()?;
        let plain = self.path.clone();
        let Some(head) = self.read_unlocked(&plain)? else {
            return Ok(());
        };
        if self.is_no_part_of(&head).is_some() {
            let source = io::Error::other(format!(
                "it does not continue {}, which stands beside it: move one of the two away",
                self.sealed().display()
            ));
            return Err(io_error("seal", &plain)(source));
        }
        self.take_in(&plain, head)
    }

    /// A whole state in the clear that no Terraform is at.
    fn read_unlocked(&self, plain: &Path) -> Result<Option<Head>, SealError> {
        let head = read_head(plain).map_err(io_error("read", plain))?;
        if head.is_some() && is_locked(plain).map_err(io_error("lock", plain))? {
            return Ok(None);
        }
        Ok(head)
    }

    /// The serial of the sealed state, where there is one that `head` does not continue.
    fn is_no_part_of(&self, head: &Head) -> Option<u64> {
        let kept = seal::label(&self.sealed()).ok()?;
        let serial = kept.serial.unwrap_or(0);
        let continues = kept.lineage.as_deref() == Some(&head.lineage) && serial <= head.serial;
        (!continues).then_some(serial)
    }

    fn take_in(&self, plain: &Path, head: Head) -> Result<(), SealError> {
        let label = self.label(Kind::State, Some(head));
        self.keys.seal(plain, &self.sealed(), &label)?;
        remove(plain).map_err(io_error("remove", plain))
    }

    /// Whether a Terraform has the open state locked.
    pub(super) fn is_being_written(&self) -> Result<bool, SealError> {
        let opened = self.opened();
        Ok(opened.exists() && is_locked(&opened).map_err(io_error("lock", &opened))?)
    }

    fn seal_former_versions(&self) -> Result<(), SealError> {
        let versions =
            versions(&self.path).map_err(io_error("list the versions of", &self.path))?;
        for plain in versions {
            if seal::is_sealed(&plain) {
                continue;
            }
            let head = read_head(&plain).map_err(io_error("read", &plain))?;
            let label = self.label(Kind::State, head);
            self.keys.seal(&plain, &sealed_name(&plain), &label)?;
            remove(&plain).map_err(io_error("remove", &plain))?;
        }
        Ok(())
    }

    /// Copies the state in the clear into `to`, a file of the caller's own, for a plan. Gives its
    /// serial number, and `None` where there is no state; `to` is not there then.
    ///
    /// # Errors
    ///
    /// [`SealError::Damaged`] where it is empty or cut, and others where a file or the keys cannot
    /// be used.
    pub fn copy(&self, to: &Path) -> Result<Option<u64>, SealError> {
        match self.look(to)? {
            Condition::Sound(serial) => Ok(Some(serial)),
            Condition::Absent => Ok(None),
            Condition::BeingWritten | Condition::Corrupt => Err(self.is_damaged()),
        }
    }

    /// What the state holds; `None` where there is none.
    ///
    /// # Errors
    ///
    /// As for [`KeptState::copy`].
    pub fn content(&self) -> Result<Option<Vec<u8>>, SealError> {
        match self.read()? {
            (Condition::Sound(_), content) => Ok(Some(content)),
            (Condition::Absent, _) => Ok(None),
            (Condition::BeingWritten | Condition::Corrupt, _) => Err(self.is_damaged()),
        }
    }

    fn is_damaged(&self) -> SealError {
        SealError::Damaged {
            path: self.standing(),
        }
    }

    /// Says what is there, and copies what is sound into `to`.
    pub(super) fn look(&self, to: &Path) -> Result<Condition, SealError> {
        remove(to).map_err(io_error("remove", to))?;
        let (condition, content) = self.read()?;
        if let Condition::Sound(_) = condition {
            seal::write_whole(to, |file| file.write_all(&content))
                .map_err(io_error("write", to))?;
        }
        Ok(condition)
    }

    /// Reads the state, in the clear where it stands so.
    ///
    /// A second signal has left Terraform's state empty, and with an empty state the next plan wants
    /// to create everything anew: nothing is planned against one. The whole file is parsed, since a
    /// cut one begins well.
    fn read(&self) -> Result<(Condition, Vec<u8>), SealError> {
        let condition = |content: &[u8]| match serde_json::from_slice::<Head>(content) {
            Ok(head) => Condition::Sound(head.serial),
            Err(_) => Condition::Corrupt,
        };
        for plain in [self.opened(), self.path.clone()] {
            let content = match fs::read(&plain) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error("read", &plain)(error)),
            };
            match condition(&content) {
                Condition::Corrupt => {}
                sound => return Ok((sound, content)),
            }
            // Terraform makes the file before it locks it, so that it is empty during the whole of
            // the first apply.
            if !is_locked(&plain).map_err(io_error("lock", &plain))? {
                return Ok((Condition::Corrupt, Vec::new()));
            }
            if !self.sealed().exists() {
                return Ok((Condition::BeingWritten, Vec::new()));
            }
        }
        let sealed = self.sealed();
        if !sealed.exists() {
            return Ok((Condition::Absent, Vec::new()));
        }
        match self.keys.read_whole(&sealed, &self.wanted()) {
            Ok(content) => Ok((condition(&content), content)),
            Err(error) if error.is_damage() => Ok((Condition::Corrupt, Vec::new())),
            Err(error) => Err(error),
        }
    }

    /// Opens the state where an apply writes it; no file is there where there is no state.
    ///
    /// Only who alone works on the workspace may call this.
    pub(super) fn open(&self) -> Result<(), SealError> {
        let sealed = self.sealed();
        if sealed.exists() {
            self.keys.open(&sealed, &self.opened(), &self.wanted())?;
        }
        Ok(())
    }

    /// Keeps the present state beside it as a version, and drops the oldest
    /// beyond [`VERSIONS`]. `unix` is the time in seconds since 1970.
    pub(super) fn keep(&self, serial: u64, unix: i64) -> Result<PathBuf, SealError> {
        let sealed = self.sealed();
        let kept = sealed_name(&self.beside(&format!(".{serial}-{unix}.backup")));
        copy_whole(&sealed, &kept).map_err(io_error("keep a version of", &sealed))?;
        let listing = io_error("list the versions of", &self.path);
        for old in versions(&self.path).map_err(listing)?.iter().skip(VERSIONS) {
            remove(old).map_err(io_error("remove", old))?;
        }
        Ok(kept)
    }

    /// Puts the version `kept` in the place of a damaged state, which stays beside it, and notes that
    /// it was done: what was applied after that version is not in it.
    ///
    /// Only who alone may write the state may call this.
    pub(super) fn restore(&self, kept: &Path, unix: i64) -> Result<(), SealError> {
        let damaged = sealed_name(&self.beside(&format!(".{unix}.damaged")));
        let sealed = self.sealed();
        let plain: Vec<PathBuf> = [self.opened(), self.path.clone()]
            .into_iter()
            .filter(|path| path.exists())
            .collect();
        match plain.first() {
            Some(plain) => {
                let label = self.label(Kind::Damaged, None);
                self.keys.seal(plain, &damaged, &label)?;
            }
            None => copy_whole(&sealed, &damaged).map_err(io_error("keep", &sealed))?,
        }
        // The note comes first: a state that was put back is never taken for one that was not.
        let version = kept.file_stem().unwrap_or_default().to_string_lossy();
        fs::write(note(&self.path), format!("{version}\n"))
            .map_err(io_error("write", &note(&self.path)))?;
        if seal::is_sealed(kept) {
            copy_whole(kept, &sealed).map_err(io_error("put back", kept))?;
        } else {
            let head = read_head(kept).map_err(io_error("read", kept))?;
            let label = self.label(Kind::State, head);
            self.keys.seal(kept, &sealed, &label)?;
        }
        for path in plain {
            remove(&path).map_err(io_error("remove", &path))?;
        }
        Ok(())
    }

    /// Copies the state with its versions into a folder, sealed, whatever of it stands in the clear.
    /// Of an apply that is under way it takes what Terraform has saved so far.
    ///
    /// # Errors
    ///
    /// [`SealError::Damaged`] where the state is empty, cut or just being written; all the rest is
    /// copied by then.
    pub fn copy_sealed(&self, into: &Path) -> Result<(), SealError> {
        let place = |path: &Path| into.join(path.file_name().unwrap_or_default());
        for version in versions(&self.path).map_err(io_error("list the versions of", &self.path))? {
            if seal::is_sealed(&version) {
                copy_whole(&version, &place(&version)).map_err(io_error("copy", &version))?;
            } else {
                let head = read_head(&version).map_err(io_error("read", &version))?;
                let label = self.label(Kind::State, head);
                self.keys
                    .seal(&version, &place(&sealed_name(&version)), &label)?;
            }
        }
        let sealed = self.sealed();
        if sealed.exists() {
            copy_whole(&sealed, &place(&sealed)).map_err(io_error("copy", &sealed))?;
        }
        let note = note(&self.path);
        if note.exists() {
            copy_whole(&note, &place(&note)).map_err(io_error("copy", &note))?;
        }
        if self.standing() != sealed
            && let Some(content) = self.content()?
        {
            let label = self.label(Kind::State, serde_json::from_slice(&content).ok());
            self.keys.seal_content(&content, &place(&sealed), &label)?;
        }
        Ok(())
    }

    /// Puts a state in place by hand; the one that was there is kept as a version. `unix` is the
    /// time in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`PushError`] says what speaks against it; nothing is changed then.
    pub fn push(
        &self,
        new: &Path,
        force: Force,
        unix: i64,
        note: impl FnOnce() -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<(), PushError> {
        let using = |path: &Path| {
            let path = path.to_owned();
            move |source| PushError::Io { path, source }
        };
        fs::metadata(new).map_err(using(new))?;
        let head = read_head(new)
            .map_err(using(new))?
            .ok_or_else(|| PushError::NoState { path: new.into() })?;
        self.prepare().map_err(using(&self.path))?;
        // Alone: no apply opens the state meanwhile, and one that was planned before finds another
        // serial, and is refused by Terraform.
        let alone = self.keys.hold(Hold::Alone)?;
        let mut broken = Vec::new();
        for plain in [self.opened(), self.path.clone()] {
            if !plain.exists() {
                continue;
            }
            let whole = read_head(&plain).map_err(using(&plain))?.is_some();
            if whole || force == Force::No || is_locked(&plain).map_err(using(&plain))? {
                return Err(PushError::Open);
            }
            broken.push(plain);
        }
        let kept = mark(&self.path);
        if let (Some(kept), Force::No) = (&kept, force) {
            if kept.lineage != head.lineage {
                return Err(PushError::Lineage {
                    new: head.lineage,
                    kept: kept.lineage.clone(),
                });
            }
            if head.serial <= kept.serial {
                return Err(PushError::Serial {
                    new: head.serial,
                    kept: kept.serial,
                });
            }
        }
        note().map_err(PushError::NotNoted)?;
        if self.sealed().exists() {
            self.keep(kept.map_or(0, |kept| kept.serial), unix)?;
        }
        let label = self.label(Kind::State, Some(head));
        self.keys.seal_held(&alone, new, &self.sealed(), &label)?;
        for plain in broken {
            let damaged = sealed_name(&self.beside(&format!(".{unix}.damaged")));
            let label = self.label(Kind::Damaged, None);
            self.keys.seal_held(&alone, &plain, &damaged, &label)?;
            remove(&plain).map_err(using(&plain))?;
        }
        Ok(())
    }
}

fn open_folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).join(OPEN)
}

fn opened(path: &Path) -> PathBuf {
    open_folder(path).join(path.file_name().unwrap_or_default())
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SealError + use<> {
    let path = path.to_owned();
    move |source| SealError::Io { what, path, source }
}

/// What a state says of itself; `None` where there is none, or the file is empty or cut.
fn read_head(path: &Path) -> io::Result<Option<Head>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Copies a file, whole or not at all.
fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    seal::write_whole(to, |file| {
        io::copy(&mut File::open(from)?, file).map(|_| ())
    })
}

/// Which state is kept in `path`, as it stands open or as its seal says; `None` where there is none,
/// or none that can be read. It needs no key.
pub fn mark(path: &Path) -> Option<StateVersion> {
    for plain in [opened(path), path.to_owned()] {
        if let Ok(Some(head)) = read_head(&plain) {
            return Some(StateVersion {
                lineage: head.lineage,
                serial: head.serial,
            });
        }
    }
    let label = seal::label(&sealed_name(path)).ok()?;
    Some(StateVersion {
        lineage: label.lineage?,
        serial: label.serial?,
    })
}

/// The version that was put in the place of a damaged state, until an apply has ended well since.
pub fn restored(path: &Path) -> Option<String> {
    let text = fs::read_to_string(note(path)).ok()?;
    Some(text.trim().to_owned())
}

/// Notes that an apply has ended well: the state is again what was applied.
///
/// # Errors
///
/// Where the note cannot be removed.
pub fn is_whole_again(path: &Path) -> io::Result<()> {
    match fs::remove_file(note(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn note(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".restored");
    PathBuf::from(name)
}

/// Whether another process holds Terraform's lock on the state.
fn is_locked(path: &Path) -> io::Result<bool> {
    let file = File::options().read(true).write(true).open(path)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The versions that are kept of a state, newest first, sealed or not.
pub(super) fn versions(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Ok(Vec::new());
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let file = entry.file_name();
        let order = file
            .to_str()
            .map(|file| file.strip_suffix(".sealed").unwrap_or(file))
            .and_then(|file| {
                file.strip_prefix(name)?
                    .strip_prefix('.')?
                    .strip_suffix(".backup")
            })
            .and_then(|middle| middle.split_once('-'))
            .and_then(|(serial, unix)| {
                Some((unix.parse::<i64>().ok()?, serial.parse::<u64>().ok()?))
            });
        if let Some(order) = order {
            found.push((order, entry.path()));
        }
    }
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
#[path = "local_state/tests.rs"]
mod tests;
