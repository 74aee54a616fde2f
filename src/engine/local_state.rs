//! A state that Mainstay keeps itself, with the versions before it.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use serde::Deserialize;

use crate::plan::StateVersion;

/// How many earlier versions of a state are kept.
const VERSIONS: usize = 50;

/// What the state's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// There is none: nothing was applied yet.
    Absent,
    /// A state that reads well, with its serial number.
    Sound(u64),
    /// It is empty, and another process has it locked: the first apply runs.
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

/// Looks at the state in `path`.
///
/// A second signal has left Terraform's state empty, and with an empty state
/// the next plan wants to create everything anew: nothing is planned against
/// one. The whole file is parsed, since a cut one begins well.
pub(super) fn look(path: &Path) -> io::Result<Condition> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Condition::Absent),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    match head(file) {
        Ok(head) => Ok(Condition::Sound(head.serial)),
        Err(error) if error.is_io() => Err(error.into()),
        // Terraform makes the file before it locks it, so that it is empty
        // during the whole of the first apply.
        Err(_) if length == 0 && is_locked(path)? => Ok(Condition::BeingWritten),
        Err(_) => Ok(Condition::Corrupt),
    }
}

/// Which state is in `path`; `None` where there is none, or none that can be read.
pub fn mark(path: &Path) -> Option<StateVersion> {
    let head = head(File::open(path).ok()?).ok()?;
    Some(StateVersion {
        lineage: head.lineage,
        serial: head.serial,
    })
}

/// Reads a state to its end, piece by piece: one may be larger than all that a daemon should hold.
fn head(file: File) -> serde_json::Result<Head> {
    serde_json::from_reader(BufReader::new(file))
}

/// Puts the version `kept` in the place of a damaged state, which stays beside it, and notes that
/// it was done: what was applied after that version is not in it.
///
/// Only who alone may write the state may call this.
pub(super) fn restore(path: &Path, kept: &Path, unix: i64) -> io::Result<()> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    fs::copy(path, beside(&format!(".{unix}.damaged")))?;
    // The note comes first: a state that was put back is never taken for one that was not.
    let version = kept.file_name().unwrap_or_default().to_string_lossy();
    fs::write(note(path), format!("{version}\n"))?;
    let new = beside(".new");
    fs::copy(kept, &new)?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, path)
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

/// Makes the folder of the state, for its owner alone.
pub(super) fn prepare(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// Keeps the present state beside it as a version, and drops the oldest
/// beyond [`VERSIONS`]. `unix` is the time in seconds since 1970.
pub(super) fn keep(path: &Path, serial: u64, unix: i64) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{serial}-{unix}.backup"));
    let kept = PathBuf::from(name);
    // Copied under another name first: half a version must not look like one.
    let new = kept.with_extension("new");
    fs::copy(path, &new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    File::open(&new)?.sync_all()?;
    fs::rename(&new, &kept)?;
    let versions = versions(path)?;
    for old in versions.iter().skip(VERSIONS) {
        fs::remove_file(old)?;
    }
    Ok(kept)
}

/// The versions that are kept of a state, newest first.
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
mod tests {
    use super::*;

    fn state(serial: u64) -> String {
        format!(r#"{{"version":4,"serial":{serial},"lineage":"l","resources":[]}}"#)
    }

    #[test]
    fn an_empty_or_cut_state_is_corrupt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.tfstate");
        assert_eq!(look(&path).unwrap(), Condition::Absent);
        fs::write(&path, state(7)).unwrap();
        assert_eq!(look(&path).unwrap(), Condition::Sound(7));
        for bad in ["", "{", "{}", "not a state", &state(7)[..40]] {
            fs::write(&path, bad).unwrap();
            assert_eq!(look(&path).unwrap(), Condition::Corrupt, "{bad:?}");
        }
    }

    #[test]
    fn a_damaged_state_makes_way_for_the_newest_version_and_that_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.tfstate");
        fs::write(&path, state(7)).unwrap();
        let kept = keep(&path, 7, 1000).unwrap();
        fs::write(&path, "{\"version\":").unwrap();
        assert_eq!(restored(&path), None);
        restore(&path, &kept, 2000).unwrap();
        assert_eq!(look(&path).unwrap(), Condition::Sound(7));
        assert_eq!(restored(&path).as_deref(), Some("s.tfstate.7-1000.backup"));
        let damaged = dir.path().join("s.tfstate.2000.damaged");
        assert_eq!(fs::read_to_string(damaged).unwrap(), "{\"version\":");
        is_whole_again(&path).unwrap();
        is_whole_again(&path).unwrap();
        assert_eq!(restored(&path), None);
    }

    #[test]
    fn the_newest_fifty_versions_are_kept_and_the_rest_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.tfstate");
        for number in 0..60_u64 {
            fs::write(&path, state(number)).unwrap();
            keep(&path, number, 1000 + i64::try_from(number).unwrap()).unwrap();
        }
        let kept = versions(&path).unwrap();
        assert_eq!(kept.len(), VERSIONS);
        assert!(
            kept[0].ends_with("s.tfstate.59-1059.backup"),
            "{:?}",
            kept[0]
        );
        assert_eq!(fs::read_to_string(&kept[0]).unwrap(), state(59));
        assert_eq!(
            fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o777,
            0o600
        );
        // The state and its versions, nothing half made.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), VERSIONS + 1);
    }

    #[test]
    fn the_folder_of_a_state_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/s.tfstate");
        prepare(&path).unwrap();
        let mode = fs::metadata(path.parent().unwrap())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
